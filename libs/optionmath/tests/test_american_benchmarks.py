"""Two other prices of American options: as published, and in order with the European price and each other."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import QuantLib as ql
from hypothesis import given, settings
from hypothesis import strategies as st

from optionmath.american_benchmarks import bjerksund_stensland, on_dates
from optionmath.blackscholes import price

SHARED = Path(os.environ.get("TT_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data"))
SCALE = int(os.environ.get("TT_TEST_SCALE", "1"))
Option = tuple[float, float, float, float, float, float, bool]
options = st.tuples(
    st.floats(60, 160), st.floats(60, 160), st.floats(0.02, 2), st.floats(0.08, 0.8), st.floats(0, 0.1),
    st.floats(0, 0.1), st.booleans(),
)  # fmt: skip
"""Spot, strike, years, volatility, rate, yield, is_call."""


def published(kind: str) -> tuple[list[npt.NDArray[np.float64]], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Inputs, values and tolerances of the rows of a kind."""
    path = SHARED / "reference" / "reference_values.csv"
    if not path.exists():
        pytest.skip(f"reference values are not at {path}: set TT_SHARED_DATA")
    with path.open() as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] == kind]
    columns = [np.array([float(row[name]) for row in rows]) for name in ("S", "K", "T", "sigma", "r", "q")]
    call = np.array([row["type"] == "call" for row in rows])
    values, tolerances = (np.array([float(row[name]) for row in rows]) for name in ("value", "tol"))
    return [*columns, call], values, tolerances


def test_the_approximation_is_that_of_the_published_table() -> None:
    """Haug (1998), page 27, and QuantLib's rows at almost no volatility."""
    inputs, values, tolerances = published("american_bs93")
    assert (np.abs(bjerksund_stensland(*inputs) - values) <= tolerances).all()


@pytest.mark.parametrize(("kind", "least"), [("american_true", 12), ("american_lsm", 15)])
def test_fifty_dates_a_year_give_the_published_values(kind: str, least: int) -> None:
    """Longstaff and Schwartz (2001), table 1: finite differences and simulation, exercise on 50 dates a year."""
    inputs, values, tolerances = published(kind)
    assert len(values) >= least
    s, k, t, v, r, q, call = inputs
    assert (np.abs(on_dates(s, k, t, v, r, q, call, 50) - values) <= tolerances).all()


def test_the_approximation_is_quantlibs() -> None:
    """To rounding, on 40 random options."""
    random, today = np.random.default_rng(7), ql.Date(1, 1, 2026)
    ql.Settings.instance().evaluationDate = today
    count = ql.Actual365Fixed()
    for _ in range(40 * SCALE):
        strike, sigma, rate, income = (random.uniform(*each) for each in ((70, 140), (0.1, 0.8), (0, 0.08), (0, 0.08)))
        days, call = int(random.integers(8, 730)), bool(random.integers(2))
        curves = (ql.YieldTermStructureHandle(ql.FlatForward(today, each, count)) for each in (income, rate))
        volatility = ql.BlackVolTermStructureHandle(ql.BlackConstantVol(today, ql.NullCalendar(), sigma, count))
        process = ql.BlackScholesMertonProcess(ql.QuoteHandle(ql.SimpleQuote(100.0)), *curves, volatility)
        payoff = ql.PlainVanillaPayoff(ql.Option.Call if call else ql.Option.Put, strike)
        option = ql.VanillaOption(payoff, ql.AmericanExercise(today, today + days))
        option.setPricingEngine(ql.BjerksundStenslandApproximationEngine(process))
        found = bjerksund_stensland(100.0, strike, days / 365, sigma, rate, income, call)
        assert found == pytest.approx(option.NPV(), abs=1e-9)


@settings(max_examples=60 * SCALE, deadline=None)
@given(options)
def test_the_approximation_lies_between_the_european_value_and_a_tree_with_frequent_exercise(option: Option) -> None:
    """And at or above intrinsic, which the tree cannot take today."""
    spot, strike, *_, is_call = option
    found, european = float(bjerksund_stensland(*option)), float(price(*option))
    intrinsic = max(spot - strike if is_call else strike - spot, 0.0)
    assert found >= max(european, intrinsic) - 1e-12
    assert found <= max(intrinsic, float(on_dates(*option, 400))) + 2e-4 * spot


@settings(max_examples=40 * SCALE, deadline=None)
@given(options, st.integers(2, 6))
def test_more_dates_are_never_worth_less(option: Option, more: int) -> None:
    """A multiple of the dates holds all of them; one date is the European option (tree error allowed for)."""
    european, allowed = float(price(*option)), 1e-4 * option[0]
    few, many = (float(on_dates(*option, each / option[2])) for each in (4, 4 * more))
    assert few >= european - allowed
    assert many >= few - allowed
    assert float(on_dates(*option, 0.01)) == pytest.approx(european, abs=1e-12)


@settings(max_examples=40 * SCALE, deadline=None)
@given(options)
def test_a_put_is_the_call_with_everything_exchanged(option: Option) -> None:
    """McDonald and Schroder (1998)."""
    spot, strike, years, sigma, rate, income, is_call = option
    other = (strike, spot, years, sigma, income, rate, not is_call)
    assert bjerksund_stensland(*option) == pytest.approx(float(bjerksund_stensland(*other)), abs=1e-9)
    assert on_dates(*option, 12) == pytest.approx(float(on_dates(*other, 12)), abs=3e-4 * spot)


def test_edges_and_bad_elements() -> None:
    """No time, no volatility: no approximation; a bad element is NaN and leaves the others alone; shapes broadcast."""
    np.testing.assert_allclose(bjerksund_stensland([100, 110], 100, 0, 0.2, 0.05, 0.02, True), [0, 10])
    assert bjerksund_stensland(90, 100, 1, 0, 0.05, 0.02, False) == 10
    functions: list[Callable[..., npt.NDArray[np.float64]]] = [
        bjerksund_stensland,
        partial(on_dates, exercises_per_year=12),
    ]
    for function in functions:
        found = function([100, np.nan, -1, 100, 100], 100, [1, 1, 1, -1, 1], 0.2, 0.05, [0.02] * 4 + [np.inf], True)
        assert np.isfinite(found).tolist() == [True, False, False, False, False]
        assert found[0] == function(100, 100, 1, 0.2, 0.05, 0.02, True)
        assert function(np.full((2, 1), 100), np.full(3, 100), 1, 0.2, 0.05, 0.02, True).shape == (2, 3)
    assert np.isnan(on_dates(100, 100, 1, 0.2, 0.05, 0.02, True, [0, np.nan])).all()
    assert np.isnan(on_dates(100, 100, 1, 0.001, 0.5, 0.0, True, 12))
