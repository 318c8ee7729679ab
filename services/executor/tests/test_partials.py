"""Orders that filled in part, and structures whose legs filled unevenly."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.domain.partials import AtTimeOut, PartialPolicy, Shape, at_time_out, excess, repair, shape_of
from ledger.core import Execution
from schemas.trade import Leg, OrderAction

SHORT, LONG = "SPY   261218P00600000", "SPY   261218P00595000"
SPREAD = (
    Leg(occ_symbol=SHORT, action=OrderAction.SELL_TO_OPEN, quantity=1),
    Leg(occ_symbol=LONG, action=OrderAction.BUY_TO_OPEN, quantity=1),
)


def sold(count: int) -> Execution:
    return Execution(SHORT, -count, Decimal("1.00"))


def bought(count: int) -> Execution:
    return Execution(LONG, count, Decimal("0.50"))


@pytest.mark.parametrize(
    ("filled", "extended", "expected"),
    [
        (0, False, AtTimeOut.CANCEL),
        (4, False, AtTimeOut.EXTEND),
        (4, True, AtTimeOut.CANCEL),
        (5, False, AtTimeOut.CANCEL),
        (9, False, AtTimeOut.CANCEL),
    ],
)
def test_half_of_the_size_is_accepted_and_less_is_worked_for_as_long_again(
    filled: int, extended: bool, expected: AtTimeOut
) -> None:
    assert at_time_out(filled, 10, 50, PartialPolicy.WORK, extended=extended) is expected


def test_less_than_half_is_unwound_where_that_is_the_policy() -> None:
    assert at_time_out(4, 10, 50, PartialPolicy.UNWIND, extended=False) is AtTimeOut.UNWIND
    assert at_time_out(5, 10, 50, PartialPolicy.UNWIND, extended=False) is AtTimeOut.CANCEL
    assert at_time_out(0, 10, 50, PartialPolicy.UNWIND, extended=False) is AtTimeOut.CANCEL


def test_legs_that_filled_alike_leave_nothing_over() -> None:
    assert excess(SPREAD, [sold(2), bought(2)]) == {}
    assert excess(SPREAD, []) == {}


def test_a_leg_that_filled_alone_is_the_excess() -> None:
    assert excess(SPREAD, [sold(3), bought(1)]) == {SHORT: 2}


@given(st.integers(0, 9), st.integers(0, 9))
def test_the_excess_is_what_complete_units_do_not_explain(short: int, long: int) -> None:
    found = excess(SPREAD, [*(sold(1) for _ in range(short)), *(bought(1) for _ in range(long))])
    assert found == {
        symbol: count - min(short, long) for symbol, count in ((SHORT, short), (LONG, long)) if count > min(short, long)
    }


def test_a_late_second_half_is_not_hung() -> None:
    """The broker sends the legs' fills in messages of their own."""
    assert shape_of(None, 30, 120) is Shape.EVEN
    assert shape_of(29.9, 30, 120) is Shape.LATE
    assert shape_of(30, 30, 120) is Shape.HUNG
    assert shape_of(120, 30, 120) is Shape.OVERDUE


def test_the_repair_closes_the_leg_that_stands_alone() -> None:
    found = repair(SPREAD, {SHORT: 2})
    assert found is not None
    assert [(leg.occ_symbol, leg.action, leg.quantity) for leg in found.legs] == [(SHORT, OrderAction.BUY_TO_CLOSE, 2)]


def test_a_repair_never_opens_anything() -> None:
    closing = (Leg(occ_symbol=SHORT, action=OrderAction.BUY_TO_CLOSE, quantity=1),)
    assert repair(closing, {SHORT: 1}) is None
    assert repair(SPREAD, {}) is None
