"""SVI slices: exact conversions, honest arbitrage checks, fits that recover and never sell an arbitrage as a smile."""

from __future__ import annotations

import csv
import os
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from optionmath.blackscholes import Floats, price
from optionmath.svi import (
    JumpWings,
    RawSvi,
    SviStatus,
    check,
    fit_quotes,
    fit_svi,
    from_jump_wings,
    repaired,
    to_jump_wings,
)

SHARED = Path(os.environ.get("TT_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data"))
SCALE = int(os.environ.get("TT_TEST_SCALE", "1"))
SPX = RawSvi(-0.00855, 0.05665, -0.1784, 0.0128, 0.1730)
"""SPXW 2026-09-18 as of 2026-08-14."""
YEARS = 0.0959
VOGT = RawSvi(-0.0410, 0.1331, 0.3060, 0.3586, 0.4153)
"""Gatheral and Jacquier (2014), example 3.1 (A. Vogt)."""

slices = st.builds(
    lambda w, steepness, rho, m, sigma: RawSvi(w, steepness * np.sqrt(w), rho, m * np.sqrt(w), sigma * np.sqrt(w)),
    st.floats(0.0005, 0.2), st.floats(0.05, 0.9), st.floats(-0.85, 0.85), st.floats(-0.5, 0.5), st.floats(0.3, 3.0),
)  # fmt: skip


def smile(slice_: RawSvi, deviations: float = 3.0, count: int = 61) -> tuple[Floats, Floats]:
    """Log-moneyness around the money and the exact volatilities of a slice."""
    k = np.linspace(-deviations, deviations * 0.7, count) * np.sqrt(slice_.total_variance(np.zeros(1))[0])
    return k, np.sqrt(slice_.total_variance(k) / YEARS)


def test_the_published_slice_with_butterfly_arbitrage_is_flagged() -> None:
    """Vogt's slice: variance positive, wings gentle, yet g(k) < 0 (−.0329 at .88)."""
    found = check(VOGT)
    assert not found.free
    assert found.least_density_factor == pytest.approx(-0.0329, abs=1e-4)
    assert found.at == pytest.approx(0.88, abs=0.01)
    assert found.minimum_variance > 0
    path = SHARED / "reference" / "reference_values.csv"
    if path.exists():
        rows = [row for row in csv.DictReader(path.open()) if row["kind"] == "svi_butterfly_arb"]
        assert rows
        for row in rows:
            named = dict(pair.split("=") for pair in row["extra"].split(";"))
            slice_ = RawSvi(*(float(named[name]) for name in ("a", "b", "rho", "m", "sigma")))
            assert check(slice_).free is (row["value"] != "violates")


def test_jump_wings_of_the_published_slice_and_its_repair() -> None:
    """Gatheral and Jacquier (2014), example 5.1: (v, ψ, p, c, ṽ) and the (c, ṽ) that remove the arbitrage."""
    wings = to_jump_wings(VOGT, 1.0)
    assert astuple(wings)[:5] == pytest.approx((0.01742625, -0.1752111, 0.6997381, 1.316798, 0.0116249), rel=1e-5)
    mended = repaired(wings)
    assert (mended.call_wing, mended.minimum_variance) == pytest.approx((0.3493158, 0.01548182), rel=1e-5)
    assert check(from_jump_wings(mended)).free


@given(slices, st.floats(0.01, 2.0))
def test_jump_wings_and_raw_parameters_are_the_same_slice(slice_: RawSvi, years: float) -> None:
    """There and back; the wings describe value, slope and asymptotes."""
    assume(abs(slice_.rho - slice_.m / np.hypot(slice_.m, slice_.sigma)) > 1e-3)
    assume(abs(slice_.m) > 1e-3 * slice_.sigma)
    back = from_jump_wings(to_jump_wings(slice_, years))
    k = np.linspace(-1, 1, 21) * slice_.sigma * 3
    assert back.total_variance(k) == pytest.approx(slice_.total_variance(k), rel=1e-6)


@pytest.mark.parametrize(
    "wings",
    [
        JumpWings(0.04, 0.0, 0.0, 0.0, 0.03, 1.0),
        JumpWings(0.04, -5.0, 0.5, 0.5, 0.03, 1.0),
        JumpWings(0.04, -0.1, 0.5, 0.5, 0.05, 1.0),
        JumpWings(0.04, 0.0, 0.5, 0.5, 0.04, 1.0),
    ],
)
def test_wings_that_no_slice_has_are_refused(wings: JumpWings) -> None:
    """No wing, a slope steeper than the wings, a minimum above the money, an open curvature."""
    with pytest.raises(ValueError, match="wing"):
        from_jump_wings(wings)
    with pytest.raises(ValueError, match="positive"):
        to_jump_wings(VOGT, 0.0)


@given(slices)
def test_slope_and_bend_are_the_derivatives_of_variance(slice_: RawSvi) -> None:
    """Against central differences; scaling multiplies volatility."""
    k, step = np.linspace(-2, 2, 9) * slice_.sigma, 1e-5 * slice_.sigma
    w, first, _ = slice_.derivatives(k)
    difference = (slice_.total_variance(k + step) - slice_.total_variance(k - step)) / (2 * step)
    assert first == pytest.approx(difference, abs=1e-5 * slice_.b)
    assert slice_.scaled(1.2).total_variance(k) == pytest.approx(1.44 * w, rel=1e-12)


def test_durrleman_is_the_sign_of_the_density() -> None:
    """g ≥ 0 exactly where call prices are convex in strike."""
    for slice_ in (SPX, VOGT):
        k = np.linspace(-1.5, 1.5, 3001)
        strike = np.exp(k)
        calls = price(1.0, strike, 1.0, np.sqrt(slice_.total_variance(k)), 0.0, 0.0, True)
        slope = np.diff(calls) / np.diff(strike)
        convexity = np.diff(slope) / (strike[2:] - strike[:-2])
        g = slice_.durrleman(k[1:-1])
        clear = np.abs(g) > 1e-3
        visible = clear & (np.abs(convexity) > 1e-7)
        assert visible.sum() > 500
        assert (np.sign(convexity[visible]) == np.sign(g[visible])).all()


@given(slices)
@settings(max_examples=60 * SCALE, deadline=None)
def test_a_clean_smile_gives_its_slice_back(slice_: RawSvi) -> None:
    """Exact volatilities of an arbitrage-free slice are fitted to a ten-thousandth of a point and stay free."""
    assume(check(slice_).least_density_factor > 0.01)
    k, volatility = smile(slice_)
    fit = fit_svi(k, volatility, YEARS)
    assert fit.status is SviStatus.OK
    assert fit.rms < 1e-6
    assert fit.slice is not None
    assert np.sqrt(fit.slice.total_variance(k) / YEARS) == pytest.approx(volatility, abs=1e-5)


@given(slices, st.integers(0, 2**32 - 1), st.floats(0.0, 0.03))
@settings(max_examples=60 * SCALE, deadline=None)
def test_no_fit_that_calls_itself_clean_admits_arbitrage(slice_: RawSvi, seed: int, noise: float) -> None:
    """Whatever the quotes, status OK means g ≥ 0, wings within Lee's bound and variance that stays positive."""
    k, volatility = smile(slice_, count=25)
    shaken = volatility * (1 + np.random.default_rng(seed).normal(0, noise, len(k)))
    fit = fit_svi(k, shaken, YEARS, half_spread=np.full(len(k), 0.003))
    assert fit.slice is not None
    if fit.status is SviStatus.OK:
        found = check(fit.slice)
        assert found.least_density_factor >= -1e-4
        assert max(found.left_slope, found.right_slope) <= 2
        assert found.minimum_variance >= 0


def test_quotes_with_arbitrage_get_a_slice_without() -> None:
    """Vogt's own smile is fitted as nearly as a distribution can."""
    k = np.linspace(-1.0, 1.2, 45)
    volatility = np.sqrt(VOGT.total_variance(k))
    fit = fit_svi(k, volatility, 1.0)
    assert fit.status is SviStatus.OK
    assert fit.least_density_factor >= 0
    assert 1e-4 < fit.rms < 0.01


def test_a_warm_start_finds_the_same_slice_in_fewer_steps() -> None:
    """A market that moved a little is followed, not searched for again; a useless start costs nothing but time."""
    k, volatility = smile(SPX)
    before = fit_svi(k, volatility, YEARS)
    cold, warm = fit_svi(k, volatility * 1.01, YEARS), fit_svi(k, volatility * 1.01, YEARS, start=before.slice)
    assert warm.steps < cold.steps
    assert warm.rms == pytest.approx(cold.rms, abs=1e-6)
    lost = fit_svi(k, volatility, YEARS, start=RawSvi(2.0, 1.5, 0.9, 3.0, 0.01))
    assert lost.status is SviStatus.OK
    assert lost.rms < 1e-5


def test_outliers_are_outvoted() -> None:
    """Two quotes twenty spreads off move the money by less than a tenth of a point."""
    k, volatility = smile(SPX)
    shaken = volatility.copy()
    shaken[[10, 45]] += 0.05
    fit = fit_svi(k, shaken, YEARS, half_spread=np.full(len(k), 0.0025))
    assert fit.slice is not None
    assert np.median(np.abs(np.sqrt(fit.slice.total_variance(k) / YEARS) - volatility)) < 5e-4
    assert fit.within_bid_ask > 0.9


def test_neighbouring_expirations_bound_the_slice() -> None:
    """Total variance is kept above the earlier and below the later slice, where its own quotes would cross them."""
    k, volatility = smile(SPX)
    earlier, later = SPX.scaled(1.05), SPX.scaled(0.95)
    above = fit_svi(k, volatility, YEARS, earlier=earlier).slice
    below = fit_svi(k, volatility, YEARS, later=later).slice
    assert above is not None
    assert below is not None
    assert (above.total_variance(k) >= earlier.total_variance(k) * (1 - 1e-4)).all()
    assert (below.total_variance(k) <= later.total_variance(k) * (1 + 1e-4)).all()


def test_bad_quotes_are_left_out_and_too_few_give_no_slice() -> None:
    """NaN and zero volatilities count for nothing; four quotes are not a smile; no time is no smile."""
    k, volatility = smile(SPX)
    holed = volatility.copy()
    holed[::5] = np.nan
    holed[1] = 0.0
    fit = fit_svi(k, holed, YEARS)
    assert fit.quotes == int((holed > 0).sum())
    assert fit.rms < 1e-6
    few = fit_svi(k[:4], volatility[:4], YEARS)
    assert (few.status, few.slice) == (SviStatus.TOO_FEW_QUOTES, None)
    assert fit_svi(k, volatility, 0.0).status is SviStatus.BAD_INPUT


def test_prices_of_a_slice_are_fitted_within_their_bid_and_ask() -> None:
    """From $ quotes, with one-sided and crossed ones among them."""
    forward, rate = 7800.89, 0.038
    strike = np.arange(3000.0, 10600.0, 25.0)
    sigma = np.sqrt(SPX.total_variance(np.log(strike / forward)) / YEARS)
    call = strike >= forward
    value = price(forward * np.exp(-rate * YEARS), strike, YEARS, sigma, rate, 0.0, call)
    bid, ask = value * 0.995, value * 1.005 + 1e-9
    bid[180], ask[190] = 0.0, bid[190] - 1
    fit = fit_quotes(forward, YEARS, rate, strike, bid, ask, call)
    assert fit.status is SviStatus.OK
    assert fit.rms < 1e-6
    assert fit.within_bid_ask == 1.0
    far = np.abs(np.log(strike / forward)) > 3.5 * sigma * np.sqrt(YEARS)
    assert fit.quotes == len(strike) - 2 - int(far.sum())
    assert far.any()
    assert fit_quotes(-1.0, YEARS, rate, strike, bid, ask, call).status is SviStatus.BAD_INPUT
