"""The distribution of a smile is a distribution, and prices what it was made from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr

from optionmath.blackscholes import price
from optionmath.forward import parity_forward
from optionmath.smile import Smile, distribution, fit_smile, smile_metrics
from optionmath.svi import RawSvi


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
    """Quotes of a parabola, which is no SVI slice, are met to a fiftieth of a point; parity gives the forward."""
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
    assert fitted.volatility(strikes) == pytest.approx(sigma, abs=2.5e-4)


def test_too_few_quotes_give_no_smile_and_no_forward() -> None:
    """Missing is missing."""
    two = np.array([99.0, 101.0])
    assert parity_forward(two, two, two, 0.1, 0.0, near=100) is None
    assert fit_smile(100.0, 0.1, 0.0, two, np.array([1.0, 1.0]), np.array([0.1, 0.1]), np.array([False, True])) is None


SKEWED = RawSvi(-0.00855, 0.05665, -0.1784, 0.0128, 0.1730)
"""SPXW 2026-09-18 as of 2026-08-14, T = 0.0959."""


def through_quotes(start: Smile | None = None, noise: float = 0.0) -> Smile:
    """The smile fitted to quotes of a real slice."""
    forward, years, rate = 7800.89, 0.0959, 0.0382
    strikes = np.arange(6600.0, 8400.0, 25.0)
    sigma = np.sqrt(SKEWED.total_variance(np.log(strikes / forward)) / years) * (1 + noise)
    is_call = strikes >= forward
    mid = price(forward * np.exp(-rate * years), strikes, years, sigma, rate, 0.0, is_call)
    found = fit_smile(forward, years, rate, strikes, mid, mid * 0.02, is_call, start=start)
    assert found is not None
    return found


def test_a_fitted_smile_is_an_arbitrage_free_slice_and_follows_a_moved_market() -> None:
    """Quotes of an SVI slice are met to a hundredth of a point, cold and from the smile of a moment ago."""
    cold = through_quotes()
    assert cold.svi is not None
    assert cold.residual < 1e-4
    warm = through_quotes(start=cold, noise=0.01)
    assert warm.at_the_money == pytest.approx(cold.at_the_money * 1.01, rel=1e-4)


@pytest.mark.parametrize("scale", [0.8, 1.0, 1.15])
def test_the_distribution_of_a_slice_is_a_martingale(scale: float) -> None:
    """Mean = forward, whatever the scale; puts have the prices of the scaled smile; the CDF runs from 0 to 1."""
    smile = through_quotes()
    found = distribution(smile, volatility_scale=scale)
    assert float(found.call_value(np.array([0.0]))[0]) == pytest.approx(smile.forward, rel=1e-6)
    strikes = np.array([7000.0, 7500.0, 7800.0, 8100.0])
    sigma = smile.volatility(strikes) * scale
    puts = price(smile.forward, strikes, smile.years, sigma, 0.0, 0.0, False)
    assert found.put_value(strikes) == pytest.approx(puts, abs=0.05)
    assert (np.diff(found.cdf) >= 0).all()
    assert (found.cdf[0], found.cdf[-1]) == (pytest.approx(0.0, abs=1e-3), 1.0)


def test_smile_metrics_of_a_flat_smile_are_flat() -> None:
    """No skew, no curvature, ratio one."""
    found = smile_metrics(flat(0.25, 0.2), 0.2)
    assert found.at_the_money == pytest.approx(0.25)
    figures = (found.risk_reversal_25, found.risk_reversal_10, found.butterfly_25, found.butterfly_10, found.slope)
    assert figures == pytest.approx((0, 0, 0, 0, 0), abs=1e-12)
    assert (found.put_25_ratio, found.call_25_ratio) == pytest.approx((1, 1))


def test_smile_metrics_lie_where_the_deltas_are() -> None:
    """N(−d1) of the put points and N(d1) of the call points are .25 and .10; put skew has a positive reversal."""
    years = 0.0959
    found = smile_metrics(SKEWED, years)
    k = np.linspace(-0.3, 0.2, 200_001)
    root = np.sqrt(SKEWED.total_variance(k))
    delta = ndtr(-k / root + root / 2)
    for level, volatility in (
        (0.75, found.put_25), (0.25, found.call_25), (0.90, found.put_10), (0.10, found.call_10),
    ):  # fmt: skip
        at = int(np.argmin(np.abs(delta - level)))
        assert root[at] / np.sqrt(years) == pytest.approx(volatility, abs=1e-5)
    assert found.risk_reversal_10 > found.risk_reversal_25 > 0
    assert found.butterfly_10 > found.butterfly_25 > 0
    step = 1e-5
    sigma = np.sqrt(SKEWED.total_variance(np.array([-step, step])) / years)
    assert found.slope == pytest.approx((sigma[1] - sigma[0]) / (2 * step), rel=1e-6)
