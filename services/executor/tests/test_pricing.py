"""How an order is priced and walked, read, timed out and cancelled."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from executor.domain.pricing import Book, Pace, WalkRules, grid_of, next_price, start_price, timed_out, walk_due
from executor.domain.reading import STATE_OF, must_cancel
from executor.settings import ExecutorSettings
from optionmath.ticks import PENNY
from schemas.account import GateMode
from schemas.trade import Purpose
from strategies.fill_model import Walk
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


def test_the_walk_rests_where_the_fill_model_says() -> None:
    """The declared walk and the one that is worked are the same schedule."""
    rules = WalkRules(steps=7, step_seconds=10, final_pct_of_spread=75)
    declared = Walk(steps=7, step_seconds=10, final_share=0.75).shares
    assert [float(rules.share(step)) for step in range(8)] == pytest.approx(list(declared))
    assert rules.share(99) == Decimal("0.75")


def test_every_price_of_an_index_spread_is_on_its_nickels() -> None:
    """Combination orders of the SPX complex trade in nickels, whatever the ticks of its single contracts."""
    grid = grid_of("SPXW", 2, (), Decimal("0.01"))
    price = start_price(book("1.23", "1.01"), Decimal("1.02"), grid)
    assert price == Decimal("1.25")
    assert next_price(price, Decimal("1.02"), grid, 4, book("1.23", "1.01"), RULES) == Decimal("1.05")


def test_a_single_contract_walks_on_the_broker_s_own_ticks() -> None:
    """Pennies below $3, nickels from there: the grid changes under the walk."""
    sizes = [(Decimal(3), Decimal("0.01")), (None, Decimal("0.05"))]
    grid = grid_of("AAPL", 1, sizes, Decimal("0.01"))
    assert start_price(book("-3.02", "-3.20"), Decimal("-4"), grid) == Decimal("-3.00")
    assert next_price(Decimal("-2.99"), Decimal("-4"), grid, 1, book("-2.99", "-3.15"), RULES) == Decimal("-3.00")
    assert next_price(Decimal("-3.00"), Decimal("-4"), grid, 2, book("-2.99", "-3.15"), RULES) == Decimal("-3.05")


def test_without_the_broker_s_ticks_the_idea_s_own_tick_counts() -> None:
    assert grid_of("AAPL", 1, (), Decimal("0.05")).tick_at(Decimal(1)) == Decimal("0.05")


def test_a_worst_price_between_two_ticks_is_not_crossed() -> None:
    grid = grid_of("SPX", 4, (), Decimal("0.05"))
    assert next_price(Decimal("1.10"), Decimal("1.03"), grid, 4, book("1.10", "0.80"), RULES) == Decimal("1.05")


def test_nothing_is_priced_from_a_book_that_is_old_locked_or_crossed() -> None:
    assert book("1.20", "1.00").tradable(15)
    assert not Book(Decimal("1.20"), Decimal("1.00"), 15.1).tradable(15)
    assert not book("1.00", "1.00").tradable(15)
    assert not book("1.00", "1.10").tradable(15)
    assert not book("NaN", "1.10").tradable(15)


def test_a_speedy_walk_is_over_before_a_patient_one_takes_its_second_step() -> None:
    settings = ExecutorSettings()
    speedy, patient = settings.walk(Pace.SPEEDY), settings.walk(Pace.PATIENT)
    assert speedy.steps * speedy.step_seconds < patient.step_seconds
    assert patient.share(patient.steps) < speedy.share(speedy.steps)
    assert all(
        each.steps * each.step_seconds < settings.order_timeout_seconds for each in (speedy, settings.walk(), patient)
    )
