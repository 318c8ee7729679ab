"""Prices and greeks against published values and against what must always hold."""

from __future__ import annotations

import csv
import os
from dataclasses import asdict
from pathlib import Path

import mpmath
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from optionmath import black76
from optionmath.blackscholes import (
    VolatilityStatus,
    digital,
    elasticity,
    greeks,
    implied_volatility,
    in_the_money_probability,
    price,
    second_order_greeks,
)

SHARED = Path(os.environ.get("TT_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data"))
SCALE = int(os.environ.get("TT_TEST_SCALE", "1"))

reasonable = {
    "spot": st.floats(10, 1000),
    "moneyness": st.floats(0.7, 1.4),
    "years": st.floats(1 / 365, 2),
    "sigma": st.floats(0.08, 1.5),
    "rate": st.floats(0, 0.08),
    "dividend_yield": st.floats(0, 0.05),
}


def test_hull_example_15_6() -> None:
    """S=42, K=40, r=10 %, σ=20 %, T=0.5: call 4.76, put 0.81 (Hull, 9th edition, example 15.6)."""
    assert price(42, 40, 0.5, 0.2, 0.1, 0, True) == pytest.approx(4.76, abs=5e-3)
    assert price(42, 40, 0.5, 0.2, 0.1, 0, False) == pytest.approx(0.81, abs=5e-3)


def test_hull_greeks_of_section_19() -> None:
    """S=49, K=50, r=5 %, σ=20 %, T=0.3846: delta 0.522, gamma 0.066, theta −4.31, vega 12.1, rho 8.91 (Hull, 19)."""
    found = greeks(49, 50, 0.3846, 0.2, 0.05, 0, True)
    assert found.delta == pytest.approx(0.522, abs=5e-4)
    assert found.gamma == pytest.approx(0.066, abs=5e-4)
    assert found.theta * 365 == pytest.approx(-4.31, abs=5e-3)
    assert found.vega * 100 == pytest.approx(12.1, abs=5e-2)
    assert found.rho * 100 == pytest.approx(8.91, abs=5e-3)


@given(**reasonable)
def test_put_call_parity(
    spot: float, moneyness: float, years: float, sigma: float, rate: float, dividend_yield: float
) -> None:
    """C − P is the discounted forward less the discounted strike."""
    strike = spot * moneyness
    both = price(spot, strike, years, sigma, rate, dividend_yield, np.array([True, False]))
    expected = spot * np.exp(-dividend_yield * years) - strike * np.exp(-rate * years)
    assert both[0] - both[1] == pytest.approx(expected, abs=1e-9 * spot)


@settings(deadline=None)  # the first call may compile
@given(**reasonable, is_call=st.booleans())
def test_implied_volatility_inverts_the_price(
    spot: float, moneyness: float, years: float, sigma: float, rate: float, dividend_yield: float, is_call: bool
) -> None:
    """Where the option has value beyond its intrinsic, the volatility comes back to ten digits of the price."""
    strike = spot * moneyness
    value = price(spot, strike, years, sigma, rate, dividend_yield, is_call)
    floor = price(spot, strike, years, 0.0, rate, dividend_yield, is_call)
    assume(value - floor > 1e-4)
    found, status = implied_volatility(value, spot, strike, years, rate, dividend_yield, is_call)
    assert status == VolatilityStatus.OK
    assert price(spot, strike, years, found, rate, dividend_yield, is_call) == pytest.approx(value, abs=1e-10 * spot)


def test_one_bad_row_never_spoils_a_batch() -> None:
    """Each element carries its own status; the good one is right."""
    values = np.array([4.0, 0.0, 200.0, 4.0, np.nan, np.inf])
    years = np.array([0.25, 0.25, 0.25, 0.0, 0.25, 0.25])
    found, status = implied_volatility(values, 100, 100, years, 0.0, 0.0, True)
    assert list(status) == [
        VolatilityStatus.OK,
        VolatilityStatus.BELOW_INTRINSIC,
        VolatilityStatus.ABOVE_BOUND,
        VolatilityStatus.NO_TIME,
        VolatilityStatus.NOT_A_NUMBER,
        VolatilityStatus.NOT_A_NUMBER,
    ]
    assert np.isfinite(found[0])
    assert np.isnan(found[1:]).all()


def test_expired_option_is_worth_its_intrinsic() -> None:
    """At zero time there is no time value and no greek."""
    assert list(price(105, np.array([100.0, 110.0]), 0.0, 0.2, 0.05, 0.0, True)) == [5.0, 0.0]
    assert np.isnan(greeks(105, 100, 0.0, 0.2, 0.05, 0.0, True).delta)


def _published() -> list[dict[str, str]]:
    path = SHARED / "reference" / "reference_values.csv"
    if not path.exists():
        pytest.skip(f"published values are not at {path}: set TT_SHARED_DATA")
    with path.open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["independently_reproduced"] == "1"]


def _numbers(row: dict[str, str]) -> tuple[float, float, float, float, float, float, bool]:
    spot, strike, years, sigma, rate, dividend_yield = (float(row[name]) for name in ("S", "K", "T", "sigma", "r", "q"))
    return spot, strike, years, sigma, rate, dividend_yield, row["type"] == "call"


def test_every_published_european_price() -> None:
    """182 prices of Haug's and vollib's tables, each within the tolerance it was printed with."""
    rows = [row for row in _published() if row["kind"] == "bs_price"]
    for row in rows:
        assert price(*_numbers(row)) == pytest.approx(float(row["value"]), abs=float(row["tol"])), row["id"]
    assert len(rows) > 150


def test_every_published_greek_and_digital() -> None:
    """Delta, gamma, vega, theta, elasticity (Hull, Haug) and Haug's cash-or-nothing option."""
    found = 0
    for row in _published():
        numbers = _numbers(row) if row["style"] == "european" and row["S"] and row["K"] else None
        if numbers is None or row["kind"] == "bs_price":
            continue
        own = greeks(*numbers)
        values = {
            "greek_delta": own.delta,
            "greek_gamma": own.gamma,
            "greek_vega": own.vega * 100,
            "greek_theta": own.theta * 365,
            "greek_elasticity": elasticity(*numbers),
            "digital_cash": 10 * digital(*numbers),
        }
        assert values[row["kind"]] == pytest.approx(float(row["value"]), abs=float(row["tol"])), row["id"]
        found += 1
    assert found >= 10


def test_published_probability_between_two_levels() -> None:
    """S=100, σ=25 %, 45 days, r=4 %: 0.8100794221 that the price ends between 88.5 and 111.5."""
    above = in_the_money_probability(100, np.array([88.5, 111.5]), 0.1232876712328767, 0.25, 0.04, 0, True)
    assert above[0] - above[1] == pytest.approx(0.8100794221, abs=1e-9)


@given(**reasonable, is_call=st.booleans())
def test_price_lies_between_its_bounds(
    spot: float, moneyness: float, years: float, sigma: float, rate: float, dividend_yield: float, is_call: bool
) -> None:
    """No less than the intrinsic of the forward, no more than the discounted forward (call) or strike (put)."""
    strike = spot * moneyness
    value = price(spot, strike, years, sigma, rate, dividend_yield, is_call)
    forward, discounted = spot * np.exp(-dividend_yield * years), strike * np.exp(-rate * years)
    intrinsic = max(forward - discounted if is_call else discounted - forward, 0.0)
    assert intrinsic <= value <= (forward if is_call else discounted)


@given(**reasonable)
def test_price_falls_and_is_convex_in_the_strike_and_rises_in_volatility(
    spot: float, moneyness: float, years: float, sigma: float, rate: float, dividend_yield: float
) -> None:
    """A call at 41 strikes and at 41 volatilities: no vertical, butterfly or volatility trade is free money."""
    strikes = spot * moneyness * np.linspace(0.8, 1.25, 41)
    values = price(spot, strikes, years, sigma, rate, dividend_yield, True)
    rounding = 1e-13 * spot
    assert (np.diff(values) <= rounding).all()
    assert (np.diff(values, 2) >= -rounding).all()
    rising = price(spot, spot * moneyness, years, sigma * np.linspace(0.5, 2, 41), rate, dividend_yield, True)
    assert (np.diff(rising) >= -rounding).all()


@given(**reasonable)
def test_a_call_is_the_mirror_of_a_put(
    spot: float, moneyness: float, years: float, sigma: float, rate: float, dividend_yield: float
) -> None:
    """C(S, K, r, q) = P(K, S, q, r): the right to swap one asset for another has no favourite."""
    strike = spot * moneyness
    call = price(spot, strike, years, sigma, rate, dividend_yield, True)
    put = price(strike, spot, years, sigma, dividend_yield, rate, False)
    assert call == pytest.approx(put, rel=1e-11, abs=1e-13 * spot)


@given(**reasonable)
def test_in_and_out_of_the_money_make_one(
    spot: float, moneyness: float, years: float, sigma: float, rate: float, dividend_yield: float
) -> None:
    """A digital call and put together pay $1 for certain; a strike derivative of the call is the digital."""
    terms = (years, sigma, rate, dividend_yield)
    strike = spot * moneyness
    both = digital(spot, strike, *terms, np.array([True, False]))
    assert both.sum() == pytest.approx(np.exp(-rate * years), rel=1e-12)
    step = 1e-5 * strike
    slope = np.diff(price(spot, strike + np.array([-step, step]), *terms, True))[0] / (2 * step)
    assert -slope == pytest.approx(both[0], abs=2e-6 + 1e-4 * spot * step / (sigma**2 * years * strike))


def _exact_price(s: object, k: object, t: object, v: object, r: object, q: object, is_call: bool) -> object:
    d1 = (mpmath.log(s / k) + (r - q + v * v / 2) * t) / (v * mpmath.sqrt(t))  # type: ignore[operator]
    d2, sign = d1 - v * mpmath.sqrt(t), 1 if is_call else -1  # type: ignore[operator]
    carried, discounted = s * mpmath.exp(-q * t), k * mpmath.exp(-r * t)  # type: ignore[operator]
    return sign * (carried * mpmath.ncdf(sign * d1) - discounted * mpmath.ncdf(sign * d2))


def test_price_and_every_greek_are_derivatives_of_the_exact_price() -> None:
    """Prices to 1e-13 relative and all eight greeks to 1e-9, by numerical derivatives of the 40-digit formula."""
    generator = np.random.default_rng(5)
    day, point = mpmath.mpf(1) / 365, mpmath.mpf(1) / 100
    orders = {  # of s, k, t, v, r, q; the unit; the sign
        "delta": ((1, 0, 0, 0, 0, 0), 1),
        "gamma": ((2, 0, 0, 0, 0, 0), 1),
        "theta": ((0, 0, 1, 0, 0, 0), -day),
        "vega": ((0, 0, 0, 1, 0, 0), point),
        "rho": ((0, 0, 0, 0, 1, 0), point),
        "vanna": ((1, 0, 0, 1, 0, 0), point),
        "charm": ((1, 0, 1, 0, 0, 0), -day),
        "vomma": ((0, 0, 0, 2, 0, 0), point**2),
    }
    with mpmath.workdps(40):
        for _ in range(12 * SCALE):
            years, sigma = generator.uniform(0.02, 2), generator.uniform(0.08, 1.2)
            strike = 100 * np.exp(generator.uniform(-2.5, 2.5) * sigma * np.sqrt(years))
            numbers = (100.0, strike, years, sigma, generator.uniform(0, 0.08), generator.uniform(0, 0.05))
            is_call = bool(generator.random() < 0.5)
            exact = tuple(mpmath.mpf(float(each)) for each in numbers)
            assert price(*numbers, is_call) == pytest.approx(float(_exact_price(*exact, is_call)), rel=1e-13, abs=1e-13)  # type: ignore[arg-type]
            found = {**asdict(greeks(*numbers, is_call)), **asdict(second_order_greeks(*numbers, is_call))}
            for name, (order, unit) in orders.items():
                slope = mpmath.diff(lambda *each, call=is_call: _exact_price(*each, call), exact, order)
                assert found[name] == pytest.approx(float(slope * unit), rel=1e-9, abs=1e-11), name


def test_small_prices_keep_their_digits() -> None:
    """A call 40 % out of the money with five days left: 1e-20 dollars, right to eleven digits."""
    with mpmath.workdps(40):
        exact = _exact_price(*(mpmath.mpf(each) for each in (100.0, 140.0, 5 / 365, 0.3, 0.0, 0.0)), True)
        assert price(100, 140, 5 / 365, 0.3, 0, 0, True) == pytest.approx(float(exact), rel=1e-11, abs=0)  # type: ignore[arg-type]
    assert float(exact) < 1e-19  # type: ignore[arg-type]


def test_a_bad_element_is_nan_alone() -> None:
    """NaN in, NaN out; the neighbours are untouched."""
    sigma = np.array([0.2, np.nan, 0.2])
    years = np.array([0.25, 0.25, np.nan])
    values = price(100, 100, years, sigma, 0.04, 0.0, True)
    assert np.isfinite(values).tolist() == [True, False, False]
    assert np.isfinite(second_order_greeks(100, 100, years, sigma, 0.04, 0.0, True).charm).tolist() == [
        True,
        False,
        False,
    ]
    assert np.isnan(in_the_money_probability(100, 100, [0.0, -1.0], 0.2, 0.04, 0.0, True)).all()


def test_black_76_is_black_scholes_on_the_forward() -> None:
    """Same price as on the spot; rho is -T × price, for a forward does not move with the rate."""
    spot, strike, years, sigma, rate, dividend_yield = 100.0, np.array([90.0, 100, 115]), 0.4, 0.3, 0.05, 0.02
    forward = spot * np.exp((rate - dividend_yield) * years)
    value = black76.price(forward, strike, years, sigma, rate, False)
    assert value == pytest.approx(price(spot, strike, years, sigma, rate, dividend_yield, False), rel=1e-13)
    own = black76.greeks(forward, strike, years, sigma, rate, False)
    assert own.rho == pytest.approx(-years * value / 100, rel=1e-14)
    bumped = black76.price(forward + np.array([[-1e-3], [1e-3]]), strike, years, sigma, rate, False)
    assert own.delta == pytest.approx((bumped[1] - bumped[0]) / 2e-3, abs=1e-8)
    later = black76.price(forward, strike, years - 1e-5, sigma, rate, False)
    assert own.theta == pytest.approx((later - value) / 1e-5 / 365, abs=1e-6)
    assert black76.implied_volatility(value, forward, strike, years, rate, False)[0] == pytest.approx(sigma, rel=1e-12)
    curved = black76.second_order_greeks(
        forward, strike, years, np.array([[sigma - 1e-4], [sigma + 1e-4]]), rate, False
    )
    vegas = black76.greeks(forward, strike, years, np.array([[sigma - 1e-4], [sigma + 1e-4]]), rate, False).vega
    assert curved.vomma.mean(axis=0) == pytest.approx((vegas[1] - vegas[0]) / 0.02, rel=1e-5)
