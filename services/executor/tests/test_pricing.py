"""How an order is priced and walked, read, timed out and cancelled."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import assume, given
from hypothesis import strategies as st

from executor.domain.comparing import disagreements
from executor.domain.pricing import Book, WalkRules, next_price, start_price, timed_out, walk_due
from executor.domain.reading import STATE_OF, must_cancel
from optionmath.ticks import PENNY
from schemas.account import GateMode
from schemas.trade import Purpose
from tastyclient import OrderStatus

RULES = WalkRules(steps=4, step_seconds=10, final_pct_of_spread=100)
TICK, GRID = Decimal("0.01"), PENNY
NOW = datetime(2026, 11, 24, 17, 0, tzinfo=UTC)


def book(mid: str, natural: str) -> Book:
    return Book(Decimal(mid), Decimal(natural), 0.5)


def test_the_first_price_is_mid_in_our_favour() -> None:
    assert start_price(book("1.245", "1.10"), Decimal("1.00"), GRID) == Decimal("1.25")
    assert start_price(book("-1.245", "-1.40"), Decimal("-2.00"), GRID) == Decimal("-1.24")


def test_the_first_price_is_never_past_the_worst() -> None:
    assert start_price(book("0.90", "0.80"), Decimal("1.00"), GRID) == Decimal("1.00")


def test_the_walk_reaches_natural_in_its_steps() -> None:
    price, seen = Decimal("1.20"), []
    for step in range(1, 5):
        price = next_price(price, Decimal("0.50"), GRID, step, book("1.20", "1.00"), RULES)
        seen.append(price)
    assert seen == [Decimal("1.15"), Decimal("1.10"), Decimal("1.05"), Decimal("1.00")]


def test_a_debit_walks_to_paying_more() -> None:
    assert next_price(Decimal("-1.20"), Decimal("-2"), GRID, 2, book("-1.20", "-1.40"), RULES) == Decimal("-1.30")


prices = st.decimals("-9.99", "9.99", places=2)


@given(prices, prices, prices, prices, st.integers(1, 4))
def test_a_step_gives_way_at_least_a_tick_and_never_past_the_worst(
    current: Decimal, worst: Decimal, mid: Decimal, natural: Decimal, step: int
) -> None:
    assume(worst <= current)
    assume(natural <= mid)
    found = next_price(current, worst, GRID, step, Book(mid, natural, 0), RULES)
    assert worst <= found <= current
    assert found == current == worst or found <= current - TICK or found == worst


def test_a_step_waits_its_time_and_never_follows_a_fill() -> None:
    def due(**changes: object) -> bool:
        values: dict[str, object] = {
            "now": NOW, "placed_at": NOW - timedelta(seconds=10), "walk_step": 0, "filled": 0, "rules": RULES,
            "mode": GateMode.RUN, "purpose": Purpose.OPEN,
        }  # fmt: skip
        return walk_due(**(values | changes))  # type: ignore[arg-type]

    assert due()
    assert not due(placed_at=NOW - timedelta(seconds=9))
    assert not due(filled=1)
    assert not due(walk_step=4)
    assert not due(mode=GateMode.HALT_OPENS)
    assert due(mode=GateMode.HALT_OPENS, purpose=Purpose.CLOSE)


def test_the_whole_walk_has_one_deadline() -> None:
    assert timed_out(NOW, NOW - timedelta(seconds=300), 300)
    assert not timed_out(NOW, NOW - timedelta(seconds=299), 300)


def test_what_a_stop_cancels() -> None:
    assert not must_cancel(GateMode.HALT_OPENS, Purpose.OPEN)
    assert must_cancel(GateMode.REDUCE_ONLY, Purpose.OPEN)
    assert not must_cancel(GateMode.REDUCE_ONLY, Purpose.CLOSE)
    assert must_cancel(GateMode.CANCEL_WORKING, Purpose.CLOSE)
    assert must_cancel(GateMode.FLATTEN, Purpose.CLOSE)


def test_every_status_of_the_broker_has_a_state() -> None:
    """A new status must be mapped by a person before an order in it is believed."""
    assert STATE_OF.keys() == {status.value for status in OrderStatus}


def test_disagreements_name_both_sides() -> None:
    assert disagreements({"A": 1, "B": -2}, {"A": 1, "C": 3}) == {"B": (-2, 0), "C": (0, 3)}
