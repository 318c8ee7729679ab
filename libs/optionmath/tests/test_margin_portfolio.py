"""Portfolio margin: ten points of each class's range, the worst of them, offsets inside a group, and the minimum."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optionmath.blackscholes import price
from optionmath.portfolio_margin import ClassKind, ProductClass, portfolio_margin, valuation_points
from optionmath.revaluation import Book, Holding, OptionHolding, ShareHolding

SPOTS = {"XYZ": 100.0, "ABC": 50.0, "SPX": 6000.0, "SPY": 600.0}
INDEX = {
    "SPX": ProductClass(ClassKind.HIGH_CAP_BROAD_INDEX, "S&P 500"),
    "SPY": ProductClass(ClassKind.HIGH_CAP_BROAD_INDEX, "S&P 500"),
}


def put(name: str, strike: float, quantity: float, multiplier: float = 100.0) -> OptionHolding:
    return OptionHolding(name, name, False, strike, 45 / 365, 0.25, quantity, 0.04, multiplier=multiplier)


def test_the_ten_points() -> None:
    """±15 % in steps of 3 for an equity; −8 to +6 % in fifths for a high-capitalisation index; twice for a 2× fund."""
    assert valuation_points(ClassKind.EQUITY) == pytest.approx(
        [-0.15, -0.12, -0.09, -0.06, -0.03, 0.03, 0.06, 0.09, 0.12, 0.15]
    )
    assert valuation_points(ClassKind.HIGH_CAP_BROAD_INDEX)[[0, 4, 5, 9]] == pytest.approx([-0.08, -0.016, 0.012, 0.06])
    assert valuation_points(ClassKind.EQUITY, 2.0)[0] == pytest.approx(-0.30)


def test_shares_need_fifteen_percent() -> None:
    """100 shares at $100, long or short: $1,500."""
    for quantity in (100, -100):
        found = portfolio_margin(Book.of([ShareHolding("p", "XYZ", quantity)], SPOTS), {})
        assert found.requirement == Decimal(1500)


def test_a_naked_put_needs_its_loss_at_the_lowest_point() -> None:
    """Repriced by formula 15 % below the market, volatility unchanged."""
    now, then = (float(price(spot, 95, 45 / 365, 0.25, 0.04, 0.0, False)) for spot in (100, 85))
    found = portfolio_margin(Book.of([put("XYZ", 95, -1)], SPOTS), {})
    assert float(found.requirement or 0) == pytest.approx(100 * (then - now), abs=0.01)
    assert found.groups[0].worst_point == 0


def test_hedged_to_nothing_still_pays_the_minimum() -> None:
    """A far spread that barely moves: $37.50 for each of its four contracts; a mini contract of 10 pays a tenth."""
    spread = [put("XYZ", 30, -2), put("XYZ", 29, 2)]
    assert portfolio_margin(Book.of(spread, SPOTS), {}).requirement == Decimal("150.00")
    mini = [put("XYZ", 30, -2, 10.0), put("XYZ", 29, 2, 10.0)]
    assert portfolio_margin(Book.of(mini, SPOTS), {}).requirement == Decimal("15.00")


def test_gains_offset_inside_a_group_and_not_across() -> None:
    """Short SPX puts against long SPY puts: 90 % of the gain counts; two equities never help each other."""
    short, long = put("SPX", 5700, -1), put("SPY", 570, 10)
    alone = portfolio_margin(Book.of([short], SPOTS), INDEX).requirement
    together = portfolio_margin(Book.of([short, long], SPOTS), INDEX).requirement
    assert alone is not None
    assert together is not None
    assert float(together) == pytest.approx(max(0.1 * float(alone), 11 * 37.5), rel=1e-3)
    equities: list[Holding] = [put("XYZ", 95, -1), put("ABC", 47.5, 2)]
    apart = [portfolio_margin(Book.of([each], SPOTS), {}).requirement or Decimal(0) for each in equities]
    assert portfolio_margin(Book.of(equities, SPOTS), {}).requirement == sum(apart)


def test_what_cannot_be_valued_has_no_requirement() -> None:
    """None and the name, never a number that leaves it out."""
    bad = OptionHolding("bad", "XYZ", True, 100, 0.1, float("nan"), 1)
    found = portfolio_margin(Book.of([bad, put("ABC", 47.5, -1)], SPOTS), {})
    assert (found.requirement, found.unpriced) == (None, ("bad",))


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(80, 120), st.integers(-3, 3).filter(bool)), min_size=1, max_size=5),
    st.integers(2, 5),
)
def test_quantity_scales_and_a_long_put_costs_at_most_the_minimum(legs: list[tuple[int, int]], times: int) -> None:
    """k times the book, k times the requirement; the worst point bounds every point."""
    holdings = [put("XYZ", strike, quantity) for strike, quantity in legs]
    many = [put("XYZ", strike, quantity * times) for strike, quantity in legs]
    one, more = (portfolio_margin(Book.of(each, SPOTS), {}) for each in (holdings, many))
    assert float(more.requirement or 0) == pytest.approx(float(one.requirement or 0) * times, abs=0.01 * times)
    assert one.groups[0].profit.min() == one.groups[0].profit[one.groups[0].worst_point]
    assert float(one.groups[0].requirement) >= -one.groups[0].profit.min() - 1e-9
    assert np.isfinite(one.groups[0].profit).all()
