"""Positions across expirations: breakevens are zeros, extremes are found, a model's loss is never sold as a bound."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optionmath.blackscholes import price
from optionmath.payoff import Risk
from optionmath.payoff_model import LossBasis, model_payoff, position_curve, profit_grid
from optionmath.revaluation import Holding, OptionHolding, ShareHolding

SCALE = int(os.environ.get("TT_TEST_SCALE", "1"))
NEAR, FAR = 30 / 365, 58 / 365


def option(
    strike: float, quantity: float, years: float = NEAR, *, is_call: bool = True, american: bool = True
) -> OptionHolding:
    return OptionHolding("p", "XYZ", is_call, strike, years, 0.25, quantity, 0.04, 0.0, 100.0, american)


def worth(legs: list[Holding], spot: float = 100.0) -> float:
    return sum(
        each.signed_quantity * spot
        if isinstance(each, ShareHolding)
        else each.signed_quantity
        * each.multiplier
        * float(price(spot, each.strike, each.years, each.sigma, each.rate, each.dividend_yield, each.is_call))
        for each in legs
    )


CALENDAR: list[Holding] = [option(100, -1), option(100, 1, FAR)]


def test_long_calendar() -> None:
    """Earns most at its strike, loses at most its debit (provable when American), two breakevens around the strike."""
    found = model_payoff(CALENDAR, 100.0, -worth(CALENDAR))
    assert found.expected.max_profit_at == pytest.approx(100.0)
    far = float(price(100.0, 100.0, FAR - NEAR, 0.25, 0.04, 0.0, True)) * 100
    assert found.expected.max_profit == pytest.approx(far - worth(CALENDAR), abs=1e-9)
    assert (found.basis, found.risk) == (LossBasis.BOUND, Risk.DEFINED)
    assert found.max_loss == pytest.approx(worth(CALENDAR))
    assert found.max_loss is not None
    assert found.expected.max_loss is not None
    assert 0.9 * found.max_loss < found.expected.max_loss <= found.max_loss
    low, high = found.expected.breakevens
    assert low < 100 < high
    assert found.expected.profit_intervals == ((low, high),)


def test_european_or_short_far_legs_are_only_a_model() -> None:
    """SPX against SPXW: no floor at the exercise value; the loss shown is the worst of the volatility band."""
    european = [replace(each, american=False) for each in CALENDAR if isinstance(each, OptionHolding)]
    found = model_payoff(european, 100.0, -worth(list(european)))
    assert found.basis is LossBasis.MODEL
    assert found.max_loss == max(each.max_loss or 0.0 for each in (found.expected, *found.stressed))


def test_a_volatility_fall_hurts_a_calendar_and_a_rise_helps_it() -> None:
    """Long vega: the stressed profit is ordered with volatility, and so is the distance between breakevens."""
    found = model_payoff(CALENDAR, 100.0, -worth(CALENDAR))
    lower, higher = found.stressed
    assert lower.max_profit is not None
    assert found.expected.max_profit is not None
    assert higher.max_profit is not None
    assert lower.max_profit < found.expected.max_profit < higher.max_profit
    assert higher.breakevens[-1] - higher.breakevens[0] > lower.breakevens[-1] - lower.breakevens[0]


def test_a_reverse_calendar_is_naked_after_the_near_leg() -> None:
    """Short calls that outlive the long ones: unlimited, whatever the picture at the near expiration says."""
    found = model_payoff([option(100, 1), option(100, -1, FAR)], 100.0, 100.0)
    assert (found.risk, found.max_loss, found.expected.max_loss) == (Risk.UNLIMITED, None, None)


def test_poor_mans_covered_call_and_diagonal() -> None:
    """A deep far call under a near short call: loss provably at most the debit; worse strikes add their difference."""
    pmcc: list[Holding] = [option(80, 1, 1.0), option(105, -1)]
    found = model_payoff(pmcc, 100.0, -worth(pmcc))
    assert found.max_loss == pytest.approx(worth(pmcc))
    assert found.risk is Risk.DEFINED
    diagonal: list[Holding] = [option(100, -1), option(105, 1, FAR)]
    assert model_payoff(diagonal, 100.0, 50.0).max_loss == pytest.approx(450.0)


def test_one_expiration_is_the_exact_payoff() -> None:
    """A put spread and a covered call: no model is needed and none is named."""
    spread = [option(95, -1, is_call=False), option(90, 1, is_call=False)]
    found = model_payoff(spread, 100.0, 130.0)
    assert (found.basis, found.max_loss, found.expected.breakevens) == (LossBasis.EXACT, 370.0, (93.7,))
    covered: list[Holding] = [ShareHolding("p", "XYZ", 100), option(105, -1)]
    assert model_payoff(covered, 100.0, -9800.0).risk is Risk.SUBSTANTIAL


def test_what_is_refused() -> None:
    """No options, two underlyings, a horizon beyond the first expiration, fractions of contracts."""
    with pytest.raises(ValueError, match="one underlying"):
        model_payoff([ShareHolding("p", "XYZ", 1)], 100.0, 0.0)
    with pytest.raises(ValueError, match="one underlying"):
        model_payoff([option(100, 1), ShareHolding("p", "ABC", 1)], 100.0, 0.0)
    with pytest.raises(ValueError, match="horizon"):
        model_payoff(CALENDAR, 100.0, 0.0, horizon_years=FAR)
    with pytest.raises(ValueError, match="cannot be valued"):
        model_payoff([option(100, -1), replace(option(100, 1, FAR), sigma=float("nan"))], 100.0, 0.0)
    with pytest.raises(ValueError, match="whole"):
        model_payoff([option(100, 0.5), option(100, 1, FAR)], 100.0, 0.0)


positions = st.lists(
    st.builds(
        option,
        st.sampled_from([90.0, 95.0, 100.0, 105.0, 110.0]),
        st.sampled_from([-2.0, -1.0, 1.0, 2.0]),
        st.sampled_from([NEAR, FAR]),
        is_call=st.booleans(),
        american=st.booleans(),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=25 * SCALE, deadline=None)
@given(positions, st.integers(-500, 500))
def test_breakevens_are_zeros_and_extremes_bound_a_fine_grid(legs: list[OptionHolding], cash: int) -> None:
    """At every breakeven P&L is zero; nothing on a fine grid passes an extreme that is not unlimited."""
    found = model_payoff(legs, 100.0, float(cash))
    prices = np.linspace(40, 160, 2001)
    values = profit_grid(legs, 100.0, float(cash), prices=prices, elapsed_years=[found.horizon_years])[0, 0]
    expected = found.expected
    zeros = np.array(expected.breakevens)
    if zeros.size and found.basis is not LossBasis.EXACT:
        at = profit_grid(legs, 100.0, float(cash), prices=zeros, elapsed_years=[found.horizon_years])[0, 0]
        assert at == pytest.approx(0.0, abs=1e-6)
    if expected.max_profit is not None:
        assert values.max() <= expected.max_profit + 1e-6
    if expected.max_loss is not None:
        assert values.min() >= -expected.max_loss - 1e-6
    for at, value in zip(prices, values, strict=True):
        if abs(value) > 1e-6:
            inside = any(low <= at and (high is None or at <= high) for low, high in expected.profit_intervals)
            assert inside == (value > 0)


def test_grid_is_price_by_date_by_volatility() -> None:
    """Each cell is the position priced with that spot, time and volatility; at the market it is worth its cost."""
    prices, elapsed, factors = np.array([90.0, 100.0, 110.0]), [0.0, 10 / 365, NEAR], [0.8, 1.0, 1.3]
    cash = -worth(CALENDAR)
    grid = profit_grid(CALENDAR, 100.0, cash, prices=prices, elapsed_years=elapsed, volatility_factors=factors)
    assert grid.shape == (3, 3, 3)
    assert grid[0, 1, 1] == pytest.approx(0.0, abs=1e-9)
    moved: list[Holding] = [
        replace(each, years=each.years - 10 / 365, sigma=0.25 * 1.3)
        for each in CALENDAR
        if isinstance(each, OptionHolding)
    ]
    assert grid[1, 2, 2] == pytest.approx(worth(moved, 110.0) + cash)


def test_curve_has_the_slope_that_its_delta_says() -> None:
    """P&L and greeks of calendar plus shares over prices: delta is the slope, gamma the slope of delta."""
    legs: list[Holding] = [*CALENDAR, ShareHolding("p", "XYZ", -40)]
    prices = np.linspace(80, 120, 4001)
    found = position_curve(legs, 100.0, 4000.0, prices=prices, elapsed_years=5 / 365, volatility_factor=1.1)
    grid = profit_grid(legs, 100.0, 4000.0, prices=prices, elapsed_years=[5 / 365], volatility_factors=[1.1])[0, 0]
    assert found.profit == pytest.approx(grid, abs=1e-7)
    assert np.gradient(found.profit, prices)[1:-1] == pytest.approx(found.delta[1:-1], abs=1e-2)
    assert np.gradient(found.delta, prices)[1:-1] == pytest.approx(found.gamma[1:-1], abs=1e-2)
