"""The checker of the books finds each thing that can be wrong, and nothing where all is well."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from testkit.checker import Books, Stop, Truth, Violation, check

NOW = datetime(2026, 11, 24, 15, 0, tzinfo=UTC)
SHORT, LONG = "SPY   270115P00600000", "SPY   270115P00595000"
LEGS = (
    {"symbol": SHORT, "action": "Sell to Open", "quantity": "1"},
    {"symbol": LONG, "action": "Buy to Open", "quantity": "1"},
)


def event(what: str, status: str, *, order: int = 1001, name: str = "tt-a", filled: int = 0) -> dict[str, Any]:
    fills = [{"symbol": leg["symbol"], "fill-id": f"f{order}", "quantity": filled} for leg in LEGS] if filled else []
    return {
        "what": what, "order-id": order, "external-identifier": name, "status": status, "price": "1.25",
        "account-number": "A", "legs": LEGS, "fills": fills,
    }  # fmt: skip


def intent(state: str = "filled", **changes: Any) -> dict[str, Any]:
    return {
        "intent_id": "a", "root_intent_id": "a", "state": state, "purpose": "open", "limit_price": Decimal("1.25"),
        "reason_code": "", "reason": "", "filled_quantity": 1, "reserved_max_loss": Decimal(400), **changes,
    }  # fmt: skip


def permit(identity: str = "a", **changes: Any) -> dict[str, Any]:
    return {
        "intent_id": identity, "permitted_at": NOW, "valid_until": NOW + timedelta(seconds=30), "epoch": 1,
        "purpose": "open", **changes,
    }  # fmt: skip


def fill(symbol: str, signed: int, order: str = "1001", number: str = "f1001") -> dict[str, Any]:
    return {
        "broker_order_id": order, "occ_symbol": symbol, "fill_id": number, "signed_quantity": signed, "corrects": None
    }  # fmt: skip


HELD = {SHORT: -1, LONG: 1}
TRUTH = Truth("A", (event("submitted", "Routed"), event("filled", "Filled", filled=1)), HELD, {}, (), Decimal(1000))
STEPS = ({"intent_id": "a", "version": 1, "state": "approved"}, {"intent_id": "a", "version": 2, "state": "filled"})
BOOKS = Books((intent(),), (permit(),), (fill(SHORT, -1), fill(LONG, 1)), HELD, frozenset(), 0, STEPS)


def test_books_that_agree_have_no_violation() -> None:
    """One order, permitted, filled, booked, held."""
    assert check(TRUTH, BOOKS) == []


def wrong(**changes: Any) -> tuple[Truth, Books]:
    truth = {name: value for name, value in changes.items() if name in Truth.__dataclass_fields__}
    books = {name: value for name, value in changes.items() if name in Books.__dataclass_fields__}
    return replace(TRUTH, **{k: v for k, v in truth.items() if k != "positions"}), replace(BOOKS, **books)


CASES: dict[str, tuple[tuple[Truth, Books], str, str]] = {
    "the broker took an order twice": (
        wrong(history=(*TRUTH.history, event("submitted", "Live", order=1002))), "duplicate", "I2",
    ),
    "an order without a permit": (wrong(permits=()), "duplicate", "I3"),
    "an order at another price": (wrong(intents=(intent(limit_price=Decimal("1.30")),)), "mismatch", "I3"),
    "more filled than was ordered": (
        wrong(history=(event("submitted", "Routed"), event("filled", "Filled", filled=2))), "duplicate", "I6",
    ),
    "a permit under a stop": (wrong(stops=(Stop(NOW - timedelta(seconds=1), True),)), "permit_after_kill", "I4"),
    "a permit after the approval": (wrong(permits=(permit(valid_until=NOW - timedelta(1)),)), "mismatch", "I14"),
    "an epoch that falls": (wrong(permits=(permit(epoch=2), permit("b", epoch=1))), "mismatch", "I15"),
    "a fill that is not booked": (wrong(fills=(fill(SHORT, -1),)), "lost_fill", "I5"),
    "a fill that never was": (wrong(fills=(*BOOKS.fills, fill(LONG, 1, number="f9"))), "mismatch", "I5"),
    "a fill with the wrong sign": (wrong(fills=(fill(SHORT, 1), fill(LONG, 1))), "mismatch", "I5"),
    "a limit that was passed": (wrong(max_loss_allowed=Decimal(399)), "limit_breach", "I8"),
    "a message that was not published": (wrong(unpublished=1), "mismatch", "I13"),
    "a version that is missing": (wrong(steps=(STEPS[0], {**STEPS[1], "version": 3})), "mismatch", "I13"),
    "an end that lives again": (
        wrong(steps=(*STEPS, {"intent_id": "a", "version": 3, "state": "working"})), "mismatch", "I10",
    ),
    "an intent that rests in flight": (wrong(intents=(intent("submitting"),)), "unrest", "I25"),
    "an order whose reservation was released": (wrong(intents=(intent("not_sent"),)), "mismatch", "I9"),
    "an intent without an order": (wrong(history=(), fills=()), "mismatch", "I11"),
    "an end the broker does not know": (wrong(intents=(intent("cancelled"),)), "mismatch", "I25"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_each_fault_is_named(case: str) -> None:
    """A checker that misses one would make every schedule pass."""
    (truth, books), kind, invariant = CASES[case]
    assert (kind, invariant) in {(each.kind, each.invariant) for each in check(truth, books)}


def test_a_position_that_differs_is_named() -> None:
    """Contract by contract, frozen or not."""
    found = check(TRUTH, replace(BOOKS, positions={SHORT: -1}, frozen=frozenset({"SPY"})))
    assert found == [Violation("mismatch", "I7", f"{LONG}: broker 1, ledger 0 (frozen)")]


@pytest.mark.parametrize(
    ("stop", "purpose", "seconds", "holds"),
    [
        (Stop(NOW, False), "open", 1, True),
        (Stop(NOW, False), "close", 1, False),
        (Stop(NOW, True), "close", 1, True),
        (Stop(NOW, True), "open", -1, False),
        (Stop(NOW, True, NOW + timedelta(seconds=5)), "open", 6, False),
    ],
)
def test_a_stop_holds_what_it_says(stop: Stop, purpose: str, seconds: int, holds: bool) -> None:
    """From its commit to the resume; closes only where it stops closes."""
    assert stop.holds(NOW + timedelta(seconds=seconds), purpose) is holds


def test_who_looks_before_the_end_of_a_walk_sees_the_newest_step() -> None:
    """A walk counts once, however many steps it had."""
    steps: Callable[[str], dict[str, Any]] = lambda identity: intent(intent_id=identity, reserved_max_loss=Decimal(600))  # noqa: E731
    books = replace(BOOKS, intents=(steps("a"), steps("b")), permits=(permit(), permit("b")))
    truth = replace(TRUTH, history=(*TRUTH.history, event("submitted", "Filled", order=1002, name="tt-b")))
    assert not [each for each in check(truth, books) if each.kind == "limit_breach"]
