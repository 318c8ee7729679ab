"""Broker against ledger: differences, forgotten accounts, busted trades, contracts that ended."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from executor.domain.comparing import (
    Entry,
    Memory,
    deliveries,
    disagreements,
    lasting,
    lost_memory,
    reversals,
    told,
    unbooked,
)
from schemas.trade import OrderAction

NOW = datetime(2026, 11, 24, 17, 0, tzinfo=UTC)
PUT = "SPY   261218P00600000"
books = st.dictionaries(st.sampled_from(["A", "B", "C"]), st.integers(-3, 3))


def test_disagreements_name_both_sides() -> None:
    assert disagreements({"A": 1, "B": -2}, {"A": 1, "C": 3}) == {"B": (-2, 0), "C": (0, 3)}
    assert told({PUT: (0, 3)}) == {"SPY": f"{PUT}: broker reports 3, ledger holds 0"}


@given(books, books)
def test_books_agree_exactly_when_nothing_differs(ledger: dict[str, int], broker: dict[str, int]) -> None:
    """A contract that is held flat is the same as one that is not held."""
    same = {key: value for key, value in ledger.items() if value} == {
        key: value for key, value in broker.items() if value
    }
    assert (not disagreements(ledger, broker)) == same


def test_a_fill_between_two_reads_is_no_lasting_difference() -> None:
    assert lasting({"A": (0, 1)}, {"A": (0, 1)}) == {"A": (0, 1)}
    assert lasting({"A": (0, 1)}, {"A": (1, 2)}) == {}
    assert lasting({}, {"A": (0, 1)}) == {}


def memory(**changes: object) -> Memory:
    facts: dict[str, object] = {
        "expected_orders": {"1": NOW - timedelta(hours=1), "2": NOW - timedelta(hours=1)},
        "listed_orders": frozenset({"1", "2"}), "orphaned_orders": (), "ledger_positions": 2, "broker_positions": 2,
    }  # fmt: skip
    return Memory(**(facts | changes))  # type: ignore[arg-type]


def test_a_broker_that_lists_what_was_sent_is_believed() -> None:
    assert lost_memory(memory(), NOW) is None
    assert lost_memory(memory(listed_orders=frozenset({"1"}), broker_positions=0), NOW) is None


def test_an_emptied_account_is_recognised() -> None:
    """A sandbox is wiped every day: nothing that the ledger holds is there any more."""
    why = lost_memory(memory(listed_orders=frozenset(), broker_positions=0), NOW)
    assert why is not None
    assert "emptied" in why


def test_an_order_of_a_moment_ago_may_not_be_listed_yet() -> None:
    young = {"1": NOW - timedelta(seconds=5)}
    assert lost_memory(memory(expected_orders=young, listed_orders=frozenset(), broker_positions=0), NOW) is None


def test_a_ledger_that_does_not_know_its_own_orders_is_an_old_copy() -> None:
    why = lost_memory(memory(orphaned_orders=("77",)), NOW)
    assert why is not None
    assert "77" in why


def test_a_new_ledger_at_an_account_that_others_use_is_no_loss() -> None:
    assert lost_memory(memory(expected_orders={}, ledger_positions=0, broker_positions=5), NOW) is None


def entry(number: int, **changes: object) -> Entry:
    facts: dict[str, object] = {
        "transaction_id": number, "kind": "Trade", "sub_kind": "Sell to Open", "symbol": PUT, "action": "Sell to Open",
        "quantity": 2, "price": Decimal("1.25"), "at": NOW + timedelta(seconds=number), "order_id": "9",
        "exec_id": "e1", "reverses": None,
    }  # fmt: skip
    return Entry(**(facts | changes))  # type: ignore[arg-type]


def test_a_bust_names_the_trade_it_takes_back() -> None:
    (found,) = reversals([entry(1), entry(2, reverses=1)])
    assert (found.order_id, found.symbol, found.quantity, found.price) == ("9", PUT, 2, Decimal("1.25"))
    assert found.corrected_price is None


def test_a_correction_is_a_bust_and_the_trade_anew() -> None:
    (found,) = reversals([entry(1), entry(2, reverses=1), entry(3, price=Decimal("1.20"))])
    assert found.corrected_price == Decimal("1.20")


def test_a_second_trade_of_the_order_is_no_correction() -> None:
    (found,) = reversals([entry(1), entry(2, reverses=1), entry(3, exec_id="e2")])
    assert found.corrected_price is None


def test_an_expiration_closes_what_is_held() -> None:
    expired = entry(4, kind="Receive Deliver", sub_kind="Expiration", action=None, order_id=None, price=Decimal(0))
    (short,) = deliveries([expired], {PUT: -2})
    (long,) = deliveries([expired], {PUT: 2})
    assert (short.action, long.action) == (OrderAction.BUY_TO_CLOSE, OrderAction.SELL_TO_CLOSE)
    assert (short.quantity, short.price) == (2, Decimal(0))
    assert deliveries([expired], {}) == []


def test_shares_and_money_are_no_contracts() -> None:
    assert deliveries([entry(5, kind="Receive Deliver", symbol="SPY")], {"SPY": 100}) == []
    assert deliveries([entry(6, kind="Money Movement")], {PUT: 1}) == []


def test_a_trade_without_its_fill_is_looked_up() -> None:
    """The stream may be healthy and still have dropped a fill."""
    assert unbooked([entry(1)], {}) == {"9"}
    assert unbooked([entry(1)], {("9", PUT): 2}) == set()
    assert unbooked([entry(1), entry(2)], {("9", PUT): 2}) == {"9"}


def test_a_trade_that_was_taken_back_is_not_missing() -> None:
    assert unbooked([entry(1), entry(2, reverses=1)], {}) == set()
