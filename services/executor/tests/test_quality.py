"""How good a fill was against the mids it was decided and sent at."""

from __future__ import annotations

from decimal import Decimal

import pytest

from executor.domain.quality import fill_quality, max_profit
from schemas.trade import Leg, OrderAction

D = Decimal


def leg(symbol: str, action: OrderAction, quantity: int = 1) -> Leg:
    return Leg(occ_symbol=symbol, action=action, quantity=quantity)


PUT_SPREAD = (
    leg("SPY   261218P00600000", OrderAction.SELL_TO_OPEN),
    leg("SPY   261218P00595000", OrderAction.BUY_TO_OPEN),
)


def test_a_credit_below_the_mid_is_slippage() -> None:
    """0.02 a share of two spreads is $4, and 1.6 % of a maximum profit of 1.25."""
    found = fill_quality(D("1.27"), D("1.25"), 2, D("1.25"), 2.0)
    assert (found.per_share, found.dollars) == (D("0.02"), D("4.00"))
    assert found.pct_of_max_profit == pytest.approx(1.6)
    assert found.within_tolerance is True


def test_a_debit_above_the_mid_is_slippage() -> None:
    found = fill_quality(D("-1.20"), D("-1.30"), 1, D("3.70"), 2.0)
    assert found.dollars == D("10.00")
    assert found.within_tolerance is False


def test_better_than_the_mid_is_negative() -> None:
    assert fill_quality(D("1.00"), D("1.05"), 1, D("1"), 2.0).dollars == D("-5.00")


def test_without_a_maximum_profit_there_is_no_percentage() -> None:
    found = fill_quality(D("1.00"), D("0.90"), 1, None, 2.0)
    assert (found.pct_of_max_profit, found.within_tolerance) == (None, None)


def test_the_most_a_credit_spread_earns_is_its_credit() -> None:
    assert max_profit(PUT_SPREAD, D("1.25")) == D("1.25")


def test_the_most_a_debit_spread_earns_is_its_width_less_its_cost() -> None:
    spread = (
        leg("SPY   261218C00600000", OrderAction.BUY_TO_OPEN),
        leg("SPY   261218C00605000", OrderAction.SELL_TO_OPEN),
    )
    assert max_profit(spread, D("-2.00")) == D("3.00")


def test_a_long_call_has_no_maximum_and_a_calendar_none_that_is_known() -> None:
    assert max_profit((leg("SPY   261218C00600000", OrderAction.BUY_TO_OPEN),), D("-2")) is None
    calendar = (
        leg("SPY   261218C00600000", OrderAction.SELL_TO_OPEN),
        leg("SPY   270115C00600000", OrderAction.BUY_TO_OPEN),
    )
    assert max_profit(calendar, D("-2")) is None
