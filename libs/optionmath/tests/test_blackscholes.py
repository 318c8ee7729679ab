"""Prices and greeks against published values and against what must always hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from optionmath.blackscholes import VolatilityStatus, greeks, implied_volatility, price

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
