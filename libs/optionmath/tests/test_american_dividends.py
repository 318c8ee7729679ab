"""Options on discrete dividends: against QuantLib's finite differences in the same model, and what must always hold."""

from __future__ import annotations

import os
from dataclasses import fields

import numpy as np
import numpy.typing as npt
import pytest
import QuantLib as ql
from hypothesis import given, settings
from hypothesis import strategies as st

from optionmath import american, blackscholes
from optionmath.american import PricingStatus
from optionmath.blackscholes import VolatilityStatus
from optionmath.dividends import (
    Dividends,
    european_price_with_dividends,
    implied_volatility_with_dividends,
    price_and_greeks_with_dividends,
    price_with_dividends,
)

SCALE = int(os.environ.get("TT_TEST_SCALE", "1"))
RANDOM_OPTIONS = 40 * SCALE
QUARTERLY = Dividends(tuple((30 + 91 * each) / 365 for each in range(8)), (0.75,) * 8)
NONE = Dividends((), ())
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def sample(count: int) -> tuple[Floats, Floats, Floats, Floats, Bools]:
    """Strike, years, volatility, rate and right; the spot is 100, expirations are whole days."""
    g = np.random.default_rng(5)
    days = g.integers(10, 731, count)
    days += np.isin(days, np.round(np.array(QUARTERLY.ex_years) * 365))  # at that very moment conventions differ
    years = days / 365
    sigma = g.uniform(0.1, 0.6, count)
    strike = 100 * np.exp(g.uniform(-1.5, 1.5, count) * sigma * np.sqrt(years))
    return strike, years, sigma, g.uniform(0.0, 0.08, count), g.random(count) < 0.5


def quantlib(strike: Floats, years: Floats, sigma: Floats, rate: Floats, call: Bools, *, early: bool) -> Floats:
    """QuantLib's finite differences, 300 × 600, dividends QUARTERLY taken from the spot."""
    today = ql.Date(2, 1, 2026)
    ql.Settings.instance().evaluationDate = today
    count = ql.Actual365Fixed()
    dates = [today + round(each * 365) for each in QUARTERLY.ex_years]
    schedule = ql.DividendVector(dates, list(QUARTERLY.amount))
    found = []
    for k, t, v, r, is_call in zip(strike, years, sigma, rate, call, strict=True):
        spot, income, riskless, deviation = (ql.QuoteHandle(ql.SimpleQuote(float(x))) for x in (100, 0, r, v))
        process = ql.BlackScholesMertonProcess(
            spot,
            ql.YieldTermStructureHandle(ql.FlatForward(today, income, count)),
            ql.YieldTermStructureHandle(ql.FlatForward(today, riskless, count)),
            ql.BlackVolTermStructureHandle(ql.BlackConstantVol(today, ql.NullCalendar(), deviation, count)),
        )
        last = today + round(t * 365)
        exercise = ql.AmericanExercise(today, last) if early else ql.EuropeanExercise(last)
        option = ql.VanillaOption(
            ql.PlainVanillaPayoff(ql.Option.Call if is_call else ql.Option.Put, float(k)), exercise
        )
        option.setPricingEngine(ql.FdBlackScholesVanillaEngine(process, schedule, 300, 600))
        found.append(option.NPV())
    return np.array(found)


@pytest.mark.parametrize("early", [True, False])
def test_prices_are_those_of_quantlib(early: bool) -> None:
    """As a part of the spot; seen, of 160: rms 1e-5, largest 4e-5."""
    strike, years, sigma, rate, call = sample(RANDOM_OPTIONS)
    ours = price_with_dividends if early else european_price_with_dividends
    error = ours(100.0, strike, years, sigma, rate, QUARTERLY, call) / 100
    error -= quantlib(strike, years, sigma, rate, call, early=early) / 100
    assert np.sqrt(np.mean(error**2)) < 5e-5
    assert np.abs(error).max() < 2e-4


def test_without_dividends_the_price_is_that_of_the_other_method() -> None:
    """Finite differences and spectral collocation share nothing but the model; here with a cost of borrowing."""
    strike, years, sigma, rate, call = sample(10 * RANDOM_OPTIONS)
    found = price_with_dividends(100.0, strike, years, sigma, rate, NONE, call, borrow=0.02)
    expected = american.price(100.0, strike, years, sigma, rate, 0.02, call, accuracy=american.Accuracy.REFERENCE)
    error = (found - expected) / 100
    assert np.sqrt(np.mean(error**2)) < 2e-5
    assert np.abs(error).max() < 2e-4


def test_hulls_american_call_on_two_dividends() -> None:
    """S=40, K=40, r=9 %, σ=30 %, $0.50 in two and five months, six months: 3.67 escrowed (Hull, example 15.9).

    The stock's own volatility makes the option worth a few cents more than the escrowed model's.
    """
    dividends = Dividends((2 / 12, 5 / 12), (0.5, 0.5))
    european = european_price_with_dividends(40, 40, 0.5, 0.3, 0.09, dividends, True)
    early = price_with_dividends(40, 40, 0.5, 0.3, 0.09, dividends, True)
    escrowed = blackscholes.price(40 - dividends.present_value(0.09, 0.5), 40, 0.5, 0.3, 0.09, 0.0, True)
    assert escrowed == pytest.approx(3.67, abs=0.005)
    assert 0 < european - escrowed < 0.1
    assert early > european


@settings(max_examples=25 * SCALE, deadline=None)
@given(
    st.floats(70, 140), st.floats(0.05, 1.5), st.floats(0.1, 0.7), st.floats(0.0, 0.08), st.floats(0.0, 4.0),
    st.booleans(),
)  # fmt: skip
def test_never_less_than_european_or_exercise_and_dividends_move_the_price_their_way(
    strike: float, years: float, sigma: float, rate: float, amount: float, is_call: bool
) -> None:
    """A dividend takes from a call and gives to a put, and never more than its amount, to within the error."""
    paid = Dividends((years / 2,), (amount,))
    found = float(price_with_dividends(100.0, strike, years, sigma, rate, paid, is_call))
    plain = float(price_with_dividends(100.0, strike, years, sigma, rate, NONE, is_call))
    slack = 0.02
    assert found >= max(100 - strike if is_call else strike - 100, 0.0)
    assert found >= float(european_price_with_dividends(100.0, strike, years, sigma, rate, paid, is_call)) - slack
    assert -slack <= (plain - found if is_call else found - plain) <= amount + slack


def test_a_call_is_exercised_on_the_eve_of_a_great_dividend() -> None:
    """Deep in the money, an hour before: it is worth its intrinsic value; the same call after the ex-date is not."""
    eve = Dividends((1 / 365 / 24,), (5.0,))
    found = price_and_greeks_with_dividends(150.0, 100.0, 0.25, 0.2, 0.04, eve, True)
    assert found.price == pytest.approx(50.0, abs=2e-3)
    late = price_with_dividends(145.0, 100.0, 0.25, 0.2, 0.04, NONE, True)
    assert late < 50.0


def test_greeks_are_the_differences_of_prices() -> None:
    """Where the holder waits, to the accuracy of a grid; signs as everywhere."""
    strike, years, sigma, rate, call = sample(60)
    found = price_and_greeks_with_dividends(100.0, strike, years, sigma, rate, QUARTERLY, call)

    def price(spot: float) -> Floats:
        return price_with_dividends(spot, strike, years, sigma, rate, QUARTERLY, call)

    waits = found.greeks.gamma != 0.0
    assert np.abs(found.greeks.delta - (price(100.5) - price(99.5)))[waits].max() < 5e-3
    assert (found.greeks.vega[waits] > -1e-3).all()
    gamma = (price(102.0) - 2 * price(100.0) + price(98.0)) / 4
    assert np.median(np.abs(found.greeks.gamma - gamma)[waits]) < 2e-4


def test_bad_elements_are_nan_with_their_reason_and_alone() -> None:
    """And a schedule that cannot be is refused as a whole."""
    spot = np.array([100.0, np.nan, -5.0, 100.0])
    found = price_and_greeks_with_dividends(spot, 100.0, [0.5, 0.5, 0.5, -0.5], 0.3, 0.04, QUARTERLY, True)
    s = PricingStatus
    assert found.status.tolist() == [s.OK, s.NOT_A_NUMBER, s.OUT_OF_RANGE, s.OUT_OF_RANGE]
    for column in (found.price, *(getattr(found.greeks, each.name) for each in fields(found.greeks))):
        assert np.isnan(column[1:]).all()
        assert np.isfinite(column[0])
    assert found.price[0] == price_with_dividends(100.0, 100.0, 0.5, 0.3, 0.04, QUARTERLY, True)
    with pytest.raises(ValueError, match="2 ex-dates but 1"):
        Dividends((0.1, 0.2), (1.0,))
    with pytest.raises(ValueError, match="not negative"):
        Dividends((0.1,), (-1.0,))


def test_without_volatility_the_best_moment_is_taken() -> None:
    """A call before the first great dividend, a put after it; at expiration only the intrinsic value is left."""
    paid = Dividends((0.25,), (10.0,))
    before = 100 - 90 * np.exp(-0.05 * 0.25)  # spot grows at the rate: exercised on the eve
    after = 95 * np.exp(-0.05 * 0.25) - (100 - 10 * np.exp(-0.05 * 0.25))
    found = price_with_dividends(100.0, [90.0, 95.0], 1.0, 0.0, 0.05, paid, [True, False])
    assert found == pytest.approx([before, max(after, 0.0)])
    assert price_with_dividends(100.0, 90.0, 0.0, 0.2, 0.05, paid, True) == 10.0


def test_the_price_comes_back_from_its_volatility() -> None:
    """Price → volatility → price, wherever the option is worth a cent more than without volatility."""
    strike, years, sigma, rate, call = sample(3 * RANDOM_OPTIONS)
    price = price_with_dividends(100.0, strike, years, sigma, rate, QUARTERLY, call)
    found, status = implied_volatility_with_dividends(price, 100.0, strike, years, rate, QUARTERLY, call)
    waits = price > price_with_dividends(100.0, strike, years, 0.0, rate, QUARTERLY, call) + 0.01
    assert waits.mean() > 0.8
    assert (status[waits] == VolatilityStatus.OK).all()
    again = price_with_dividends(100.0, strike, years, found, rate, QUARTERLY, call)
    assert np.abs(again - price)[waits].max() < 1e-2
    assert np.median(np.abs(found - sigma)[waits]) < 1e-5


def test_without_dividends_the_volatility_is_that_of_the_other_method() -> None:
    """Of the same prices, to the error of the grid; the reason of every bad quote is the same."""
    value = np.array([4.0, 8.0, 20.0, 19.0, 101.0, np.nan, 5.0])
    terms = (np.array([100, 100, 80, 80, 80, 100, -1.0]), 100.0, 0.5)
    found, status = implied_volatility_with_dividends(value, *terms, 0.05, NONE, False)
    expected, reasons = american.implied_volatility(value, *terms, 0.05, 0.0, False)
    assert status.tolist() == reasons.tolist()
    v = VolatilityStatus
    assert status.tolist() == [
        v.OK, v.OK, v.BELOW_INTRINSIC, v.BELOW_INTRINSIC, v.ABOVE_BOUND, v.NOT_A_NUMBER, v.BAD_INPUT,
    ]  # fmt: skip
    assert found[:2] == pytest.approx(expected[:2], abs=2e-4)
    assert np.isnan(found[2:]).all()
