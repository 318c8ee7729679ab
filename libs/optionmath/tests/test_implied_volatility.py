"""Implied volatility over the whole domain: exact where the price has it, NaN with a reason where it has not."""

from __future__ import annotations

import os

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optionmath.blackscholes import Bools, Floats, VolatilityStatus, greeks, price
from optionmath.implied_volatility import (
    implied_volatility,
    implied_volatility_and_greeks,
    implied_volatility_of_quotes,
)

SCALE = int(os.environ.get("TT_TEST_SCALE", "1"))
ROUNDING = float(np.finfo(np.float64).eps)


def exact_deviation(value: float, spot: float, strike: float, is_call: bool, near: float) -> float:
    """σ√T that gives the double `value` at zero rates, by a 50-digit inversion that starts at `near`."""
    with mpmath.workdps(50):
        p, s, k = mpmath.mpf(value), mpmath.mpf(spot), mpmath.mpf(strike)
        sign = 1 if is_call else -1
        log_value = mpmath.log(p)
        bound = s if is_call else k
        high = p > bound / 2

        def miss(deviation: mpmath.mpf) -> mpmath.mpf:
            d1 = mpmath.log(s / k) / deviation + deviation / 2
            d2 = d1 - deviation
            if high:  # the distance from the bound has the digits
                distance = s * mpmath.ncdf(-sign * d1) + sign * k * mpmath.ncdf(sign * d2)
                if not is_call:
                    distance = k * mpmath.ncdf(d2) + s * mpmath.ncdf(-d1)
                return mpmath.log(distance) - mpmath.log(bound - p)
            return mpmath.log(sign * (s * mpmath.ncdf(sign * d1) - k * mpmath.ncdf(sign * d2))) - log_value

        return float(mpmath.findroot(miss, (near, near * (1 + 1e-7)), solver="secant", tol=mpmath.mpf("1e-60")))


def everywhere(count: int, seed: int) -> tuple[Floats, Floats, Floats, Bools]:
    """Spot, strike, σ√T and right of out-of-the-money options, log-uniform: |ln(K/S)| 1e-9…8, σ√T 0.002…12."""
    generator = np.random.default_rng(seed)
    spot = np.exp(generator.uniform(0, 9, count))
    away = np.exp(generator.uniform(np.log(1e-9), np.log(8), count)) * generator.choice([-1, 0, 1], count)
    deviation = np.exp(generator.uniform(np.log(0.002), np.log(12), count))
    strike = spot * np.exp(away)
    return spot, strike, deviation, strike >= spot


def test_machine_precision_over_the_whole_domain() -> None:
    """σ√T within 4e-15 and 8 roundings of the 50-digit inversion, and what the price itself cannot tell, everywhere."""
    spot, strike, deviation, is_call = everywhere(400 * SCALE, 1)
    value = price(spot, strike, 1.0, deviation, 0.0, 0.0, is_call)
    found, status = implied_volatility(value, spot, strike, 1.0, 0.0, 0.0, is_call)
    told = (value > 1e-280) & (np.where(is_call, spot, strike) - value > 1e-11 * spot)
    assert told.sum() > 250 * SCALE
    assert (status[told] == VolatilityStatus.OK).all()
    slope = greeks(spot, strike, 1.0, deviation, 0.0, 0.0, is_call).vega * 100
    for i in np.flatnonzero(told):
        exact = exact_deviation(value[i], spot[i], strike[i], bool(is_call[i]), deviation[i])
        blur = ROUNDING * value[i] / slope[i]  # how far one rounding of the price moves the answer
        assert abs(found[i] - exact) <= 4e-15 + 8 * ROUNDING * exact + 2 * blur, (spot[i], strike[i], deviation[i])


def test_price_to_volatility_to_price() -> None:
    """The volatility gives the price back to 1e-12 of itself or 1e-15 of the spot, over the whole domain."""
    spot, strike, deviation, is_call = everywhere(40_000 * SCALE, 2)
    years = np.random.default_rng(3).uniform(1e-4, 3, spot.size)
    value = price(spot, strike, years, deviation / np.sqrt(years), 0.0, 0.0, is_call)
    found, status = implied_volatility(value, spot, strike, years, 0.0, 0.0, is_call)
    good = status == VolatilityStatus.OK
    again = price(spot, strike, years, found, 0.0, 0.0, is_call)
    assert (np.abs(again - value) <= 1e-11 * value + 2e-15 * spot)[good].all()
    nothing_to_tell = (value < 1e-300) | (np.where(is_call, spot, strike) - value <= 1e-15 * strike)
    assert nothing_to_tell[~good].all()


@settings(deadline=None)  # the first call may compile
@given(
    x=st.floats(-1.5, 1.5),
    sigma=st.floats(0.05, 3),
    years=st.floats(1e-3, 3),
    rate=st.floats(-0.02, 0.1),
    dividend_yield=st.floats(0, 0.1),
    is_call=st.booleans(),
)
def test_the_batch_agrees_with_itself_one_by_one(
    x: float, sigma: float, years: float, rate: float, dividend_yield: float, is_call: bool
) -> None:
    """An element's answer does not depend on its neighbours: same bits in the vector loop and in its remainder."""
    strike = 100 * np.exp(x)
    value = price(100, strike, years, sigma, rate, dividend_yield, is_call)
    terms = (100.0, strike, years, rate, dividend_yield, is_call)
    alone, status = implied_volatility(value, *terms)
    many, statuses = implied_volatility(np.full(37, value), *terms)
    assert (statuses == status).all()
    if status == VolatilityStatus.OK:
        assert many == pytest.approx(np.full(37, alone), rel=4 * ROUNDING)
    else:
        assert np.isnan(many).all()


BAD = {
    "below intrinsic": (19.0, 100.0, 80.0, 0.25, VolatilityStatus.BELOW_INTRINSIC),
    "at intrinsic": (20.0, 100.0, 80.0, 0.25, VolatilityStatus.BELOW_INTRINSIC),
    "a rounding above intrinsic": (20.0 + 3.6e-15, 100.0, 80.0, 0.25, VolatilityStatus.BELOW_INTRINSIC),
    "price at the spot": (100.0, 100.0, 80.0, 0.25, VolatilityStatus.ABOVE_BOUND),
    "price above the spot": (101.0, 100.0, 80.0, 0.25, VolatilityStatus.ABOVE_BOUND),
    "no time": (22.0, 100.0, 80.0, 0.0, VolatilityStatus.NO_TIME),
    "expired": (22.0, 100.0, 80.0, -0.1, VolatilityStatus.NO_TIME),
    "NaN price": (np.nan, 100.0, 80.0, 0.25, VolatilityStatus.NOT_A_NUMBER),
    "infinite price": (np.inf, 100.0, 80.0, 0.25, VolatilityStatus.NOT_A_NUMBER),
    "zero price": (0.0, 100.0, 120.0, 0.25, VolatilityStatus.BELOW_INTRINSIC),
    "negative price": (-1.0, 100.0, 120.0, 0.25, VolatilityStatus.BELOW_INTRINSIC),
    "no strike": (22.0, 100.0, 0.0, 0.25, VolatilityStatus.BAD_INPUT),
    "no spot": (22.0, 0.0, 80.0, 0.25, VolatilityStatus.BAD_INPUT),
    "negative spot": (22.0, -100.0, 80.0, 0.25, VolatilityStatus.BAD_INPUT),
    "infinite spot": (22.0, np.inf, 80.0, 0.25, VolatilityStatus.NOT_A_NUMBER),
    "NaN strike": (22.0, 100.0, np.nan, 0.25, VolatilityStatus.NOT_A_NUMBER),
    "NaN years": (22.0, 100.0, 80.0, np.nan, VolatilityStatus.NOT_A_NUMBER),
}


def test_bad_rows_are_nan_with_their_reason_among_good_ones() -> None:
    """The table on which other libraries raise, lose the batch or answer with a number; good rows stand between."""
    good = (22.0, 100.0, 80.0, 0.25, VolatilityStatus.OK)
    rows = [row for bad in BAD.values() for row in (good, bad)]
    value, spot, strike, years, expected = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    alone, _ = implied_volatility(*good[:4], 0.0, 0.0, True)
    both = implied_volatility_and_greeks(value, spot, strike, years, 0.0, 0.0, True)
    for found, status in (
        implied_volatility(value, spot, strike, years, 0.0, 0.0, True),
        (both.volatility, both.status),
    ):
        assert status.tolist() == expected.tolist()
        assert found[::2] == pytest.approx(np.full(len(BAD), alone), rel=4 * ROUNDING)
        assert np.isnan(found[1::2]).all()
    for name in ("delta", "gamma", "theta", "vega", "rho"):
        column = getattr(both.greeks, name)
        assert np.isnan(column[1::2]).all(), name
        assert np.isfinite(column[::2]).all(), name


def anything(count: int, low: float, high: float, generator: np.random.Generator) -> Floats:
    """Log-uniform numbers, one in eight of them replaced by what no market quotes."""
    strange = [0.0, -0.0, -1.0, np.nan, np.inf, -np.inf, 1e-308, 5e-324, 1e308, 1e-200, 1e200, 1e-16, 20.0, 100.0, -1e5]
    numbers = np.exp(generator.uniform(np.log(low), np.log(high), count))
    where = generator.random(count) < 0.125
    numbers[where] = generator.choice(strange, int(where.sum()))
    return numbers


def test_whatever_comes_in_the_answer_is_right_or_missing() -> None:
    """60,000 rows of nonsense: OK means finite numbers that give the price back; all else is NaN throughout."""
    generator, count = np.random.default_rng(11), 60_000 * SCALE
    value, spot, strike = (anything(count, low, 1e6, generator) for low in (1e-12, 1e-6, 1e-6))
    years = anything(count, 1e-9, 1e3, generator)
    rate, dividend_yield = (anything(count, 1e-6, 10, generator) * generator.choice([1, -1], count) for _ in range(2))
    is_call = generator.random(count) < 0.5
    terms = (spot, strike, years, rate, dividend_yield, is_call)
    alone, status = implied_volatility(value, *terms)
    both = implied_volatility_and_greeks(value, *terms)
    good = status == VolatilityStatus.OK
    assert 0.1 < good.mean() < 0.5
    assert (both.status == status).all()
    assert both.volatility[good] == pytest.approx(alone[good], rel=1e-12)
    for column in (alone, both.volatility, *(getattr(both.greeks, name) for name in both.greeks.__slots__)):
        assert np.isfinite(column[good]).all()
        assert np.isnan(column[~good]).all()
    assert (alone[good] > 0).all()
    with np.errstate(all="ignore"):
        forward, discounted = spot * np.exp(-dividend_yield * years), strike * np.exp(-rate * years)
        again = price(spot, strike, years, alone, rate, dividend_yield, is_call)
    error, greater = np.abs(again - value), np.maximum(forward, discounted)
    assert ((error < 1e-9 * value) | (error < 1e-13 * greater))[good].all()


def test_unusable_rates_are_bad_rows() -> None:
    """A rate that is NaN, and one whose discount factor no float can hold."""
    found, status = implied_volatility(22.0, 100.0, 80.0, 0.25, [0.04, np.nan, 1e5], 0.0, True)
    assert status.tolist() == [VolatilityStatus.OK, VolatilityStatus.NOT_A_NUMBER, VolatilityStatus.BAD_INPUT]
    assert np.isnan(found[1:]).all()


def test_extreme_but_answerable_rows() -> None:
    """A price of 1e-300, one next to the bound, and volatilities of 1e-7 and 1,400 %: all solved, none guessed."""
    near_bound = price(100, 100, 1.0, 14.0, 0, 0, True)
    tiny = price(100, 100, 1.0, 1e-7, 0, 0, True)
    found, status = implied_volatility([1e-300, near_bound, tiny], 100, [130, 100, 100], 1.0, 0.0, 0.0, True)
    assert (status == VolatilityStatus.OK).all()
    assert found[0] == pytest.approx(exact_deviation(1e-300, 100, 130, True, found[0]), rel=1e-14)
    assert found[1] == pytest.approx(14.0, rel=1e-3)  # the price holds 4 digits of its distance from the bound
    assert found[2] == pytest.approx(1e-7, rel=1e-8)


def test_greeks_are_those_of_the_volatility_found() -> None:
    """One pass gives what two would: volatility as alone, greeks to 1e-11 of the separate formula's."""
    generator = np.random.default_rng(4)
    count = 5_000 * SCALE
    years, sigma = generator.uniform(0.005, 2, count), generator.uniform(0.05, 1.5, count)
    strike = 100 * np.exp(generator.uniform(-2.5, 2.5, count) * sigma * np.sqrt(years))
    rate, dividend_yield = generator.uniform(-0.01, 0.08, count), generator.uniform(0, 0.05, count)
    is_call = generator.random(count) < 0.5
    terms = (100.0, strike, years)
    value = price(*terms, sigma, rate, dividend_yield, is_call)
    both = implied_volatility_and_greeks(value, *terms, rate, dividend_yield, is_call)
    alone, status = implied_volatility(value, *terms, rate, dividend_yield, is_call)
    assert (both.status == status).all()
    assert (status == VolatilityStatus.OK).all()
    assert both.volatility == pytest.approx(alone, rel=1e-13)
    own = greeks(*terms, both.volatility, rate, dividend_yield, is_call)
    for name, scale in (("delta", 1), ("gamma", 1), ("theta", 1), ("vega", 1), ("rho", 1)):
        assert getattr(both.greeks, name) == pytest.approx(getattr(own, name), rel=1e-10, abs=1e-13 * scale), name


def test_large_small_empty_and_odd_arrays() -> None:
    """Threads, slices, broadcasting, read-only and strided columns change nothing; empty in, empty out."""
    spot, strike, deviation, is_call = everywhere(50_000, 6)
    value = price(spot, strike, 1.0, deviation, 0.0, 0.0, is_call)
    whole, _ = implied_volatility(value, spot, strike, 1.0, 0.0, 0.0, is_call)
    half, _ = implied_volatility(value[::2], spot[::2], strike[::2], 1.0, 0.0, 0.0, is_call[::2])
    assert np.array_equal(whole[::2], half, equal_nan=True) or np.allclose(whole[::2], half, rtol=1e-14, equal_nan=True)
    frozen = np.frombuffer(value.tobytes())
    again, _ = implied_volatility(frozen, spot, strike, 1.0, 0.0, 0.0, is_call)
    assert np.array_equal(whole, again, equal_nan=True)
    assert implied_volatility(value.reshape(500, 100), 50.0, 60.0, 1.0, 0.0, 0.0, True)[0].shape == (500, 100)
    assert implied_volatility([], 50.0, 60.0, 1.0, 0.0, 0.0, True)[0].shape == (0,)
    assert implied_volatility_and_greeks(5.0, 50.0, 60.0, 1.0, 0.0, 0.0, True).greeks.delta.shape == ()


def test_an_earlier_answer_can_be_written_over() -> None:
    """Same arrays, new numbers, no status left from before; another shape is refused."""
    first = implied_volatility_and_greeks([5.0, -1.0, 7.0], 100.0, 100.0, 0.25, 0.04, 0.0, True)
    fresh = implied_volatility_and_greeks([4.0, 6.0, np.nan], 100.0, 100.0, 0.25, 0.04, 0.0, True)
    again = implied_volatility_and_greeks([4.0, 6.0, np.nan], 100.0, 100.0, 0.25, 0.04, 0.0, True, out=first)
    assert again.greeks.vega is first.greeks.vega
    assert again.status.tolist() == [VolatilityStatus.OK, VolatilityStatus.OK, VolatilityStatus.NOT_A_NUMBER]
    assert np.array_equal(again.volatility, fresh.volatility, equal_nan=True)
    assert np.array_equal(again.greeks.rho, fresh.greeks.rho, equal_nan=True)
    with pytest.raises(ValueError, match="out must be contiguous"):
        implied_volatility_and_greeks([4.0, 6.0], 100.0, 100.0, 0.25, 0.04, 0.0, True, out=first)


def test_quotes() -> None:
    """Two-sided, locked, one-sided, empty, crossed, bid below the intrinsic, unreadable."""
    bid = np.array([4.0, 4.1, 0.0, 4.0, np.nan, 4.3, 0.5, 4.0])
    ask = np.array([4.2, 4.1, 4.2, np.nan, 0.0, 4.1, 30.0, np.inf])
    strike = np.array([100.0, 100, 100, 100, 100, 100, 99, 100])
    found = implied_volatility_of_quotes(bid, ask, 100.0, strike, 0.25, 0.0, 0.0, True)
    assert [VolatilityStatus(code).name for code in found.status] == [
        "OK",
        "OK",
        "ONE_SIDED",
        "ONE_SIDED",
        "NO_QUOTE",
        "CROSSED",
        "OK",
        "NOT_A_NUMBER",
    ]
    assert found.bid[0] < found.mid[0] < found.ask[0]
    assert found.bid[1] == found.mid[1] == found.ask[1]
    assert found.ask[2] == found.ask[0]
    assert np.isnan(found.bid[2])
    assert found.bid[3] == found.bid[0]
    assert np.isnan([found.mid[2], found.mid[3], found.mid[4], found.bid[5], found.ask[5], found.bid[6]]).all()
    expired = implied_volatility_of_quotes(4.0, 4.2, 100.0, 100.0, 0.0, 0.0, 0.0, True)
    assert expired.status == VolatilityStatus.NO_TIME
