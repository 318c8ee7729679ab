"""Scenario grids: every cell is the plain formula at the shocked inputs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from optionmath.blackscholes import Floats, price
from optionmath.scenario import european_grid, european_portfolio_grid, european_portfolio_profit

SPOT_SHOCKS = np.linspace(-0.2, 0.2, 21)
VOLATILITY_SHOCKS = np.linspace(-0.5, 1.0, 11)
Book = tuple[Floats, Floats, Floats, Floats, float, float, npt.NDArray[np.bool_], Floats]


def book(count: int = 150, seed: int = 1) -> Book:
    """Long and short calls and puts of many underlyings, a day to a year out."""
    generator = np.random.default_rng(seed)
    spot = generator.uniform(20, 600, count)
    return (
        spot,
        spot * generator.uniform(0.7, 1.4, count),
        generator.uniform(1 / 365, 1, count),
        generator.uniform(0.1, 0.9, count),
        0.04,
        0.01,
        generator.random(count) < 0.5,
        generator.integers(-10, 11, count) * 100.0,
    )


def one_by_one(options: Book, days: float = 0.0) -> Floats:
    """The grid by the plain formula."""
    spot, strike, years, sigma, rate, dividend_yield, is_call, quantity = options
    column = (slice(None), np.newaxis, np.newaxis)
    value = price(
        spot[column] * (1 + SPOT_SHOCKS)[:, np.newaxis],
        strike[column],
        years[column] - days / 365,
        sigma[column] * (1 + VOLATILITY_SHOCKS),
        rate,
        dividend_yield,
        is_call[column],
    )
    return np.asarray(quantity[column] * value)


@pytest.mark.parametrize("days", [0.0, 7.0, 400.0])
def test_every_cell_is_the_formula_at_the_shocked_inputs(days: float) -> None:
    """150 positions × 21 × 11, now, in a week and past every expiration: within 1e-14 of the notional."""
    options = book()
    found = european_grid(*options, SPOT_SHOCKS, VOLATILITY_SHOCKS, days_forward=days)
    notional = np.abs(options[7]) * (options[0] + options[1])
    error = np.abs(found - one_by_one(options, days)).max(axis=(1, 2))
    assert found.shape == (150, 21, 11)
    assert (error <= 1e-14 * notional).all()


def test_the_portfolio_is_the_sum_of_its_positions() -> None:
    """At each date; and the profit is what it is worth there less what it is worth now."""
    options, dates = book(), [0.0, 10.0, 45.0]
    total = european_portfolio_grid(*options, SPOT_SHOCKS, VOLATILITY_SHOCKS, days_forward=dates)
    scale = float((np.abs(options[7]) * options[0]).sum())
    for date, grid in zip(dates, total, strict=True):
        assert grid == pytest.approx(one_by_one(options, date).sum(axis=0), abs=1e-13 * scale)
    profit = european_portfolio_profit(*options, SPOT_SHOCKS, VOLATILITY_SHOCKS, days_forward=dates)
    now = (options[7] * price(*options[:7])).sum()
    assert profit == pytest.approx(total - now, abs=1e-13 * scale)
    unmoved = european_portfolio_profit(*options, 0.0, 0.0)
    assert unmoved == pytest.approx(np.zeros((1, 1, 1)), abs=1e-13 * scale)


def test_the_ends_of_the_world() -> None:
    """Worthless stock, no volatility, no time: discounted intrinsic of the forward, to the last bit."""
    put, call = european_grid(100, [110, 90], [0.5, 0.0], 0.2, 0.03, 0.0, [False, True], [2, -3], [-1, 0], [-1, 0])
    assert put[0] == pytest.approx([2 * 110 * np.exp(-0.015)] * 2, rel=1e-15)
    assert put[1, 0] == pytest.approx(2 * (110 * np.exp(-0.015) - 100), rel=1e-14)
    assert call.tolist() == [[0.0, 0.0], [-30.0, -30.0]]


def test_a_bad_position_is_nan_alone_but_makes_the_total_unknown() -> None:
    """NaN volatility, negative volatility, negative strike, infinite spot."""
    spot, strike = [100, 100, 100, np.inf, 100], [100, 100, -1, 100, 100]
    terms = (spot, strike, 0.5, [0.2, np.nan, 0.2, 0.2, -0.2], 0.03, 0.0, True, 1)
    found = european_grid(*terms, [0.0, 0.1], [0.0])
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1:]).all()
    assert np.isnan(european_portfolio_grid(*terms, [0.0, 0.1], [0.0])).all()


def test_shocks_below_minus_one_are_refused() -> None:
    """A price cannot fall by more than all of it."""
    with pytest.raises(ValueError, match="spot shocks must be"):
        european_grid(100, 100, 0.5, 0.2, 0.03, 0.0, True, 1, [-1.1], [0.0])
    with pytest.raises(ValueError, match="volatility shocks must be"):
        european_grid(100, 100, 0.5, 0.2, 0.03, 0.0, True, 1, [0.0], [np.nan])
    with pytest.raises(ValueError, match="one dimension"):
        european_grid(np.full((2, 2), 100), 100, 0.5, 0.2, 0.03, 0.0, True, 1, [0.0], [0.0])


def test_an_empty_book_is_worth_nothing() -> None:
    """No positions: an empty grid, and a total of zero."""
    none = (np.array([]),) * 4 + (0.0, 0.0, np.array([], dtype=bool), np.array([]))
    assert european_grid(*none, SPOT_SHOCKS, VOLATILITY_SHOCKS).shape == (0, 21, 11)
    assert not european_portfolio_grid(*none, SPOT_SHOCKS, VOLATILITY_SHOCKS).any()
