"""American options on a continuous yield: against QuantLib, published tables, and what must always hold."""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import QuantLib as ql
from hypothesis import given, settings
from hypothesis import strategies as st

from optionmath import american, blackscholes
from optionmath.american import Accuracy, PricingStatus
from optionmath.blackscholes import VolatilityStatus

SHARED = Path(os.environ.get("TT_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data"))
SCALE = int(os.environ.get("TT_TEST_SCALE", "1"))
RANDOM_OPTIONS = 250 * SCALE
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Terms = tuple[Floats, Floats, Floats, Floats, Floats, Floats, Bools]
option = st.tuples(
    st.just(100.0), st.floats(60, 160), st.floats(0.02, 2), st.floats(0.05, 0.9), st.floats(0.001, 0.1),
    st.floats(0, 0.1), st.booleans(),
)  # fmt: skip
"""Spot, strike, years, volatility, rate, yield, is_call."""
Option = tuple[float, float, float, float, float, float, bool]


@dataclass(frozen=True, slots=True)
class Sample:
    """Random options with whole days to expiration, as QuantLib counts them."""

    spot: Floats
    strike: Floats
    years: Floats
    volatility: Floats
    rate: Floats
    dividend_yield: Floats
    is_call: Bools

    @property
    def terms(self) -> Terms:
        return (
            self.spot, self.strike, self.years, self.volatility, self.rate, self.dividend_yield, self.is_call,
        )  # fmt: skip


def sample(count: int, *, seed: int = 1, volatility: tuple[float, float] = (0.08, 1.0), rate: float = 0.08) -> Sample:
    """A week to two years, rates and yields up to `rate`, strikes two deviations either way."""
    g = np.random.default_rng(seed)
    years = g.integers(7, 731, count) / 365
    sigma = g.uniform(*volatility, count)
    strike = 100 * np.exp(g.uniform(-2, 2, count) * sigma * np.sqrt(years))
    rates, yields = g.uniform(0.005, rate, count), g.uniform(0.0, rate, count)
    return Sample(np.full(count, 100.0), strike, years, sigma, rates, yields, g.random(count) < 0.5)


@cache
def quantlib_of_random_options() -> Floats:
    return quantlib(sample(RANDOM_OPTIONS))


def quantlib(options: Sample) -> Floats:
    """QuantLib's spectral collocation, high precision."""
    today = ql.Date(2, 1, 2026)
    ql.Settings.instance().evaluationDate = today
    count = ql.Actual365Fixed()
    quotes = [ql.SimpleQuote(1.0) for _ in range(4)]
    spot, income, rate, sigma = (ql.QuoteHandle(each) for each in quotes)
    process = ql.BlackScholesMertonProcess(
        spot,
        ql.YieldTermStructureHandle(ql.FlatForward(today, income, count)),
        ql.YieldTermStructureHandle(ql.FlatForward(today, rate, count)),
        ql.BlackVolTermStructureHandle(ql.BlackConstantVol(today, ql.NullCalendar(), sigma, count)),
    )
    engine = ql.QdFpAmericanEngine(process, ql.QdFpAmericanEngine.highPrecisionScheme())
    found = []
    for s, k, t, v, r, q, call in zip(*options.terms, strict=True):
        for quote, value in zip(quotes, (s, q, r, v), strict=True):
            quote.setValue(float(value))
        payoff = ql.PlainVanillaPayoff(ql.Option.Call if call else ql.Option.Put, float(k))
        priced = ql.VanillaOption(payoff, ql.AmericanExercise(today, today + round(t * 365)))
        priced.setPricingEngine(engine)
        found.append(priced.NPV())
    return np.array(found)


@pytest.mark.parametrize(
    ("accuracy", "rms", "largest"),
    [(Accuracy.STANDARD, 1e-4, 1.5e-3), (Accuracy.FINE, 1e-5, 2e-4), (Accuracy.REFERENCE, 1e-6, 1e-5)],
)
def test_prices_are_those_of_quantlib(accuracy: Accuracy, rms: float, largest: float) -> None:
    """Relative to the price, over random options; seen: 6e-5, 5e-6 and 3e-7 rms, 1e-3, 1e-4 and 4e-6 at most."""
    options = sample(RANDOM_OPTIONS)
    expected = quantlib_of_random_options()
    error = american.price(*options.terms, accuracy=accuracy) / expected - 1
    assert np.sqrt(np.mean(error**2)) < rms
    assert np.abs(error).max() < largest


def test_low_volatility_and_high_rates_do_not_break_the_boundary() -> None:
    """Where |r - q|√T is several times σ the other equation system diverges: here 3e-5 of the spot at most."""
    options = sample(RANDOM_OPTIONS // 2, seed=2, volatility=(0.01, 0.08), rate=0.15)
    error = american.price(*options.terms, accuracy=Accuracy.FINE) - quantlib(options)
    assert np.abs(error).max() / 100 < 1e-4


@pytest.mark.parametrize(
    ("kind", "rows", "beyond"), [("american_ju", 31, 0.0), ("american_true", 12, 0.001), ("american_lsm", 15, 0.001)]
)
def test_published_values(kind: str, rows: int, beyond: float) -> None:
    """Ju (1999); Longstaff and Schwartz (2001), whose option has 50 dates of exercise a year: up to 0.001 less."""
    path = SHARED / "reference" / "reference_values.csv"
    if not path.exists():
        pytest.skip(f"reference values are not at {path}: set TT_SHARED_DATA")
    with path.open() as file:
        found = [row for row in csv.DictReader(file) if row["kind"] == kind]
    assert len(found) >= rows
    columns = [np.array([float(row[name]) for row in found]) for name in ("S", "K", "T", "sigma", "r", "q")]
    s, k, t, v, r, q = columns
    price = american.price(s, k, t, v, r, q, [row["type"] == "call" for row in found], accuracy=Accuracy.FINE)
    expected, tolerance = (np.array([float(row[name]) for row in found]) for name in ("value", "tol"))
    assert (np.abs(price - expected) <= tolerance + beyond).all()


def test_greeks_are_the_differences_of_prices() -> None:
    """Delta and gamma from the integral, theta from the equation, vega and rho, against differences of fine prices."""
    options = sample(200)
    s, k, t, v, r, q, call = options.terms

    def price(*, spot: float = 0.0, years: float = 0.0, volatility: float = 0.0, rate: float = 0.0) -> Floats:
        return american.price(
            s + spot, k, t * (1 + years), v + volatility, r + rate, q, call, accuracy=Accuracy.REFERENCE
        )

    greeks = american.price_and_greeks(*options.terms, accuracy=Accuracy.REFERENCE).greeks
    smooth = np.abs(greeks.delta) < 0.995  # at the boundary gamma jumps: a difference across it means nothing
    scale = 100 / (v * np.sqrt(t))
    delta = (price(spot=0.05) - price(spot=-0.05)) / 0.1
    gamma = (price(spot=0.05) + price(spot=-0.05) - 2 * price()) / 0.05**2
    theta = -(price(years=1e-3) - price(years=-1e-3)) / (2e-3 * t) / 365
    assert np.abs(greeks.delta - delta)[smooth].max() < 2e-4
    assert np.abs((greeks.gamma - gamma) * scale)[smooth].max() < 0.02 * scale.max() / 100
    assert np.abs(greeks.theta - theta)[smooth].max() < 2e-3
    assert np.abs(greeks.vega - (price(volatility=1e-4) - price(volatility=-1e-4)) / 0.02)[smooth].max() < 2e-3
    assert np.abs(greeks.rho - (price(rate=1e-4) - price(rate=-1e-4)) / 0.02)[smooth].max() < 2e-3


def test_standard_greeks_are_close_to_the_best_ones() -> None:
    """Root mean square differences over random options: what a risk report shows is settled by them."""
    options = sample(RANDOM_OPTIONS)
    standard = american.price_and_greeks(*options.terms).greeks
    best = american.price_and_greeks(*options.terms, accuracy=Accuracy.REFERENCE).greeks
    limits = {"delta": 2e-4, "gamma": 1e-3, "theta": 1e-3, "vega": 3e-3, "rho": 6e-3}
    for each in fields(standard):
        difference = getattr(standard, each.name) - getattr(best, each.name)
        assert np.sqrt(np.mean(difference**2)) < limits[each.name], each.name


@settings(max_examples=60 * SCALE, deadline=None)
@given(option)
def test_worth_at_least_the_european_and_exercise(terms: Option) -> None:
    """The right to exercise early is never worth less than nothing."""
    spot, strike, *_, is_call = terms
    price = american.price(*terms)
    assert price >= max(spot - strike if is_call else strike - spot, 0.0)
    assert price >= blackscholes.price(*terms) - 2e-4 * spot


@settings(max_examples=40 * SCALE, deadline=None)
@given(option)
def test_a_call_without_dividends_is_european(terms: Option) -> None:
    """Waiting costs nothing and keeps the interest on the strike (Merton, 1973)."""
    spot, strike, years, volatility, rate, _, _ = terms
    found = american.early_exercise(spot, strike, years, volatility, rate, 0.0, True)
    assert found.price == blackscholes.price(spot, strike, years, volatility, rate, 0.0, True)
    assert found.premium == 0
    assert not found.exercise_now
    assert np.isnan(found.critical_price)


@settings(max_examples=40 * SCALE, deadline=None)
@given(option)
def test_exchanging_stock_and_strike_exchanges_call_and_put(terms: Option) -> None:
    """C(S, K, r, q) = P(K, S, q, r) (McDonald and Schroder, 1998)."""
    spot, strike, years, volatility, rate, income, _ = terms
    call = american.price(spot, strike, years, volatility, rate, income, True)
    put = american.price(strike, spot, years, volatility, income, rate, False)
    assert call == pytest.approx(float(put), rel=1e-12)


@settings(max_examples=40 * SCALE, deadline=None)
@given(option)
def test_worth_more_with_more_volatility_and_more_time(terms: Option) -> None:
    """To within the error of a price."""
    spot, strike, years, volatility, rate, income, is_call = terms
    steps = np.linspace(1.0, 2.0, 9)
    slack = 3e-4 * spot
    longer = american.price(spot, strike, years * steps, volatility, rate, income, is_call)
    wilder = american.price(spot, strike, years, volatility * steps, rate, income, is_call)
    nearer = american.price(spot * steps, strike, years, volatility, rate, income, is_call)
    assert (np.diff(longer) > -slack).all()
    assert (np.diff(wilder) > -slack).all()
    assert ((np.diff(nearer) if is_call else -np.diff(nearer)) > -slack).all()


@pytest.mark.parametrize("is_call", [False, True])
def test_the_boundary_moves_away_from_the_strike_with_time_left(is_call: bool) -> None:
    """From its limit at expiration on; the critical price now is its last value, and exercise pays beyond it only."""
    left = np.linspace(0.0, 1.0, 50)
    critical = american.exercise_boundary(100.0, 1.0, 0.25, 0.05, 0.03, is_call, left)
    assert critical[0] == pytest.approx(500 / 3 if is_call else 100.0)
    assert ((np.diff(critical) > 0) if is_call else (np.diff(critical) < 0)).all()
    now = american.early_exercise(critical[-1] * np.array([0.999, 1.001]), 100.0, 1.0, 0.25, 0.05, 0.03, is_call)
    assert now.critical_price == pytest.approx(critical[-1])
    assert now.exercise_now.tolist() == ([False, True] if is_call else [True, False])
    outside = american.exercise_boundary(100.0, 1.0, 0.25, 0.05, 0.03, is_call, [-0.1, 1.1])
    assert np.isnan(outside).all()


def test_the_price_comes_back_from_its_volatility() -> None:
    """Price → volatility → price, wherever the option is worth a cent more than without volatility."""
    options = sample(RANDOM_OPTIONS)
    s, k, t, v, r, q, call = options.terms
    price = american.price(*options.terms)
    found, status = american.implied_volatility(price, s, k, t, r, q, call)
    waits = price > american.price(s, k, t, 0.0, r, q, call) + 0.01
    assert waits.mean() > 0.8
    assert (status[waits] == VolatilityStatus.OK).all()
    error = np.abs(american.price(s, k, t, found, r, q, call) - price)[waits]
    assert np.quantile(error, 0.99) < 1e-4
    assert error.max() < 0.02  # at the boundary a price steps by its own error: what falls within is not attained
    assert np.median(np.abs(found - v)[waits]) < 1e-7
    assert np.isnan(found[status != VolatilityStatus.OK]).all()


def test_implied_volatility_of_quantlibs_prices() -> None:
    """The median error is a few millionths where a good price's error is: BAW inverts to hundreds of millionths."""
    options = sample(RANDOM_OPTIONS)
    s, k, t, v, r, q, call = options.terms
    found, status = american.implied_volatility(quantlib_of_random_options(), s, k, t, r, q, call)
    assert np.median(np.abs(found - v)[status == VolatilityStatus.OK]) < 1e-5


def test_every_kind_of_bad_element_is_nan_with_its_reason() -> None:
    """And the good one between them is what it is alone."""
    spot = np.array([100, np.nan, -1, 100, 100, 100, 100, np.inf])
    years = np.array([1, 1, 1, -1, 1, 1, 1, 1.0])
    volatility = np.array([0.2, 0.2, 0.2, 0.2, -0.2, np.nan, 0.2, 0.2])
    rate = np.array([0.05, 0.05, 0.05, 0.05, 0.05, 0.05, -0.02, 0.05])
    income = np.array([0, 0, 0, 0, 0, 0, -0.04, 0])
    found = american.price_and_greeks(spot, 100, years, volatility, rate, income, False)
    s = PricingStatus
    assert found.status.tolist() == [
        s.OK, s.NOT_A_NUMBER, s.OUT_OF_RANGE, s.OUT_OF_RANGE, s.OUT_OF_RANGE, s.NOT_A_NUMBER, s.TWO_BOUNDARIES,
        s.NOT_A_NUMBER,
    ]  # fmt: skip
    for column in (found.price, *(getattr(found.greeks, each.name) for each in fields(found.greeks))):
        assert np.isnan(column[1:]).all()
        assert np.isfinite(column[0])
    assert found.price[0] == american.price(100, 100, 1, 0.2, 0.05, 0, False)
    assert american.price([], 100, 1, 0.2, 0.05, 0, False).shape == (0,)


def test_bad_quotes_have_no_volatility() -> None:
    """Below or at exercise, above the bound, no time, no number, no price: NaN, each with its status."""
    value = np.array([19.0, 20.0, 101.0, 21.0, np.nan, 21.0, 21.0])
    spot = np.array([80, 80, 80, 80, 80, -1, 80.0])
    years = np.array([1, 1, 1, 0, 1, 1, 1.0])
    found, status = american.implied_volatility(value, spot, 100, years, 0.05, 0, False)
    v = VolatilityStatus
    assert status.tolist() == [
        v.BELOW_INTRINSIC, v.BELOW_INTRINSIC, v.ABOVE_BOUND, v.NO_TIME, v.NOT_A_NUMBER, v.BAD_INPUT, v.OK,
    ]  # fmt: skip
    assert np.isnan(found[:-1]).all()
    assert np.isfinite(found[-1])


def test_without_volatility_the_best_date_is_taken() -> None:
    """A put on a certain price is exercised at once when interest exceeds the yield, else as late as pays."""
    assert american.price(80, 100, 2, 0.0, 0.05, 0.0, False) == 20.0
    assert american.price(80, 100, 2, 0.0, 0.0, 0.05, False) == pytest.approx(100 - 80 * np.exp(-0.1))
    assert american.price(100, 80, 2, 0.0, 0.05, 0.0, True) == pytest.approx(100 - 80 * np.exp(-0.1))
    assert american.price([90, 110], 100, 0.0, 0.2, 0.05, 0.0, [False, True]).tolist() == [10.0, 10.0]
    assert american.price(100, 100, 1, 1e-5, 0.05, 0.02, True) == pytest.approx(
        float(american.price(100, 100, 1, 0.0, 0.05, 0.02, True)), abs=1e-3
    )


def test_the_grid_is_a_full_revaluation_of_every_cell() -> None:
    """Same shape and meaning as the European grid: quantity × price, also with the date moved."""
    options = sample(40)
    quantity = np.where(np.arange(40) % 2, -100.0, 200.0)
    moves, shifts = np.linspace(-0.3, 0.3, 5), np.array([-0.5, 0.0, 0.5])
    grid = american.american_grid(*options.terms, quantity, moves, shifts, days_forward=3)
    s, k, t, v, r, q, call = (each[:, None, None] for each in options.terms)
    cells = american.price(s * (1 + moves[:, None]), k, t - 3 / 365, v * (1 + shifts), r, q, call)
    assert grid.shape == (40, 5, 3)
    assert np.abs(grid - quantity[:, None, None] * cells).max() < 1e-6


def test_the_grid_reaches_worthless_stock_and_no_volatility() -> None:
    """Spot -100 %: the put is worth its strike at once, the call nothing. Bad positions are NaN and alone."""
    grid = american.american_grid(
        [100, 100, np.nan, 100], 100, [0.5, 0.5, 0.5, 0.0], 0.2, 0.05, 0.03, [False, True, True, False],
        [1, 1, 1, -2], [-1.0, -0.1, 0.1], [-1.0, 0.0],
    )  # fmt: skip
    assert grid[0, 0].tolist() == [100.0, 100.0]
    assert grid[1, 0].tolist() == [0.0, 0.0]
    assert grid[0, 1, 0] == 10.0
    assert grid[1, 2, 0] == pytest.approx(110 * np.exp(-0.015) - 100 * np.exp(-0.025))
    assert np.isnan(grid[2]).all()
    assert grid[3, :, 1].tolist() == pytest.approx([-200.0, -20.0, 0.0])
    with pytest.raises(ValueError, match="spot shocks"):
        american.american_grid(100, 100, 1, 0.2, 0, 0, True, 1, [-1.1], [0])
