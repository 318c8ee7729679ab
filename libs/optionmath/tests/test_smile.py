"""The distribution of a smile is a distribution, and prices what it was made from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr

from optionmath.blackscholes import price
from optionmath.forward import parity_forward
from optionmath.smile import Smile, distribution, fit_smile


def flat(sigma: float = 0.2, years: float = 0.1, forward: float = 100.0) -> Smile:
    return Smile(forward, years, (sigma**2 * years, 0.0, 0.0), -1.0, 1.0, 1e-8, 0.0)


@given(st.floats(0.08, 1.0), st.floats(0.01, 1.0), st.floats(-2, 2))
def test_flat_smile_gives_the_lognormal_probability(sigma: float, years: float, deviations: float) -> None:
    """Without skew P(S<K) is N(−d2)."""
    smile = flat(sigma, years)
    level = 100 * np.exp(deviations * sigma * np.sqrt(years))
    d2 = np.log(100 / level) / (sigma * np.sqrt(years)) - sigma * np.sqrt(years) / 2
    assert distribution(smile).below(np.array([level]))[0] == pytest.approx(ndtr(-d2), abs=2e-3)


def test_expected_payoffs_agree_with_the_pricing_formula() -> None:
    """∫ cdf is the put; parity gives the call."""
    spread = distribution(flat())
    strikes = np.array([90.0, 100.0, 110.0])
    assert spread.put_value(strikes) == pytest.approx(price(100, strikes, 0.1, 0.2, 0, 0, False), abs=2e-3)
    assert spread.call_value(strikes) == pytest.approx(price(100, strikes, 0.1, 0.2, 0, 0, True), abs=4e-3)


def test_skew_moves_probability_into_the_left_tail() -> None:
    """With put skew, a fall is likelier than the at-the-money volatility alone says."""
    skewed = Smile(100.0, 0.1, (0.004, -0.02, 0.02), -0.3, 0.3, 1e-5, 0.0)
    level = np.array([90.0])
    assert distribution(skewed).below(level)[0] > distribution(flat(np.sqrt(0.004 / 0.1))).below(level)[0]


@given(st.floats(-0.03, 0.0), st.floats(0.0, 0.1))
def test_the_distribution_is_monotone_whatever_the_skew(slope: float, curvature: float) -> None:
    """Probabilities rise from 0 to 1 and never fall."""
    found = distribution(Smile(100.0, 0.1, (0.004, slope, curvature), -0.5, 0.5, 1e-5, 0.0))
    assert (np.diff(found.cdf) >= 0).all()
    assert found.cdf[-1] == 1.0


def test_fit_recovers_a_quadratic_smile_from_quotes() -> None:
    """Quotes made from a known smile give the smile back; the parity forward gives the forward."""
    true = Smile(100.0, 0.12, (0.0048, -0.012, 0.03), -0.4, 0.4, 1e-6, 0.0)
    strikes = np.arange(80.0, 121.0, 2.5)
    sigma = true.volatility(strikes)
    discount = np.exp(-0.04 * 0.12)
    calls = price(100 * discount, strikes, 0.12, sigma, 0.04, 0.0, True)
    puts = price(100 * discount, strikes, 0.12, sigma, 0.04, 0.0, False)
    forward = parity_forward(strikes, calls, puts, 0.12, 0.04, near=99.0)
    assert forward is not None
    assert forward.price == pytest.approx(100.0, abs=1e-9)
    is_call = strikes >= 100
    fitted = fit_smile(100.0, 0.12, 0.04, strikes, np.where(is_call, calls, puts), np.full(len(strikes), 0.02), is_call)
    assert fitted is not None
    assert fitted.volatility(strikes) == pytest.approx(sigma, abs=1e-6)


def test_too_few_quotes_give_no_smile_and_no_forward() -> None:
    """Missing is missing."""
    two = np.array([99.0, 101.0])
    assert parity_forward(two, two, two, 0.1, 0.0, near=100) is None
    assert fit_smile(100.0, 0.1, 0.0, two, np.array([1.0, 1.0]), np.array([0.1, 0.1]), np.array([False, True])) is None
