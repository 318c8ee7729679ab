"""Five estimators: published conventions, right on simulated paths, never poisoned by a bad bar."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optionmath.realised_volatility import (
    Bars,
    close_to_close,
    daily_variance,
    garman_klass,
    log_returns,
    parkinson,
    rogers_satchell,
    yang_zhang,
)

SCALE = int(os.environ.get("TT_TEST_SCALE", "1"))

SHARED = Path(os.environ.get("TT_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data"))
DAYS = 4_000 * SCALE
Floats = npt.NDArray[np.float64]
Estimator = Callable[..., Floats]
RANGE_ESTIMATORS: list[Estimator] = [parkinson, garman_klass, rogers_satchell]
ALL: list[Estimator] = [
    *RANGE_ESTIMATORS,
    yang_zhang,
    lambda bars, window, **more: close_to_close(bars.close, window, **more),
]


def simulated(volatility: float, drift: float, gap_share: float, days: int, seed: int) -> Bars:
    """Geometric Brownian bars; `gap_share` of the variance falls overnight. Extremes are those of the continuous path:
    sampled exactly between 40 points a session (Brownian bridge)."""
    random, steps = np.random.default_rng(seed), 40
    daily = volatility**2 / 252
    session, night = daily * (1 - gap_share), daily * gap_share
    step = random.normal(drift / 252 / steps, np.sqrt(session / steps), (days, steps))
    end = np.cumsum(step, axis=1)
    start = end - step
    reach = -2 * session / steps * np.log(random.random((2, days, steps)))
    top = ((start + end + np.sqrt(step**2 + reach[0])) / 2).max(axis=1)
    bottom = ((start + end - np.sqrt(step**2 + reach[1])) / 2).min(axis=1)
    gap = random.normal(0, np.sqrt(night), days)
    opening = np.cumsum(gap) + np.concatenate(([0.0], np.cumsum(end[:, -1])[:-1]))
    return Bars.of(*(100 * np.exp(opening + each) for each in (0.0, top, bottom, end[:, -1])))


@pytest.mark.parametrize("estimator", ALL)
def test_estimators_find_the_volatility_of_a_driftless_session(estimator: Estimator) -> None:
    """No gap, no drift: all five are right within four standard errors of the least efficient one."""
    found = estimator(simulated(0.2, 0.0, 0.0, DAYS, 1), DAYS - 1)[-1]
    assert found == pytest.approx(0.2, rel=4 * np.sqrt(0.5 / DAYS))


def test_the_gap_belongs_to_yang_zhang_and_close_to_close_only() -> None:
    """A third of the variance falls overnight: the others see two thirds, unless the gap is added."""
    bars, tolerance = simulated(0.3, 0.0, 1 / 3, DAYS, 2), 4 * np.sqrt(0.5 / DAYS)
    for estimator in RANGE_ESTIMATORS:
        assert estimator(bars, DAYS - 1)[-1] == pytest.approx(0.3 * np.sqrt(2 / 3), rel=tolerance)
        assert estimator(bars, DAYS - 1, overnight=True)[-1] == pytest.approx(0.3, rel=tolerance)
    assert yang_zhang(bars, DAYS - 1)[-1] == pytest.approx(0.3, rel=tolerance)
    assert close_to_close(bars.close, DAYS - 1)[-1] == pytest.approx(0.3, rel=tolerance)


def test_drift_misleads_parkinson_and_not_rogers_satchell() -> None:
    """A drift of 300 % a year: Rogers–Satchell and Yang–Zhang do not move, Parkinson does."""
    bars = simulated(0.2, 3.0, 0.0, DAYS, 3)
    assert rogers_satchell(bars, DAYS - 1)[-1] == pytest.approx(0.2, rel=4 * np.sqrt(0.5 / DAYS))
    assert yang_zhang(bars, DAYS - 1)[-1] == pytest.approx(0.2, rel=4 * np.sqrt(0.5 / DAYS))
    assert parkinson(bars, DAYS - 1)[-1] > 0.23


def test_spy_in_july_2026() -> None:
    """21 days to 2026-07-27 from recorded bars: values computed independently of this code, in percent."""
    path = SHARED / "ohlc" / "SPY_daily_2016_2026.csv"
    if not path.exists():
        pytest.skip(f"daily bars are not at {path}: set TT_SHARED_DATA")
    frame = pl.read_csv(path).filter(pl.col("Date") <= "2026-07-27")
    bars = Bars.of(*(frame[name].to_numpy() for name in ("Open", "High", "Low", "Close")))
    found = [
        close_to_close(bars.close),
        close_to_close(bars.close, zero_mean=True),
        *(each(bars) for each in (parkinson, garman_klass, rogers_satchell, yang_zhang)),
    ]
    assert [round(100 * each[-1], 2) for each in found] == [11.35, 11.09, 10.39, 11.58, 11.93, 14.52]


@settings(max_examples=60 * SCALE, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 1000), st.integers(2, 30))
def test_volatility_does_not_depend_on_the_price_level(seed: int, scale: float, window: int) -> None:
    """Cents or thousands of dollars."""
    bars = simulated(0.25, 0.1, 0.2, 60, seed)
    other = Bars.of(*(each * scale for each in (bars.open, bars.high, bars.low, bars.close)))
    for estimator in ALL:
        np.testing.assert_allclose(estimator(bars, window), estimator(other, window), rtol=1e-6)


@settings(max_examples=60 * SCALE, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 59), st.sampled_from([np.nan, 0.0, -1.0, np.inf, 1e9]))
def test_a_bad_bar_touches_only_the_windows_that_hold_it(seed: int, where: int, value: float) -> None:
    """Values before it and beyond its window are what they were; the others are NaN, or close when gaps are allowed."""
    bars, window = simulated(0.25, 0.0, 0.2, 60, seed), 10
    low = bars.low.copy()
    low[where] = value
    broken = Bars.of(bars.open, bars.high, low, bars.close)
    for estimator in ALL:
        whole, found = estimator(bars, window), estimator(broken, window)
        apart = np.r_[0:where, min(60, where + window + 1) : 60]
        np.testing.assert_array_equal(found[apart], whole[apart])
        assert np.isnan(found[where : where + window]).all()
        lenient = estimator(broken, window, minimum=window - 2)
        assert np.isfinite(lenient[window + 1 :]).all()


def test_too_short_a_history_is_nan_and_an_impossible_window_is_refused() -> None:
    """Never a number from half a window unless asked for."""
    bars = simulated(0.2, 0.0, 0.0, 20, 4)
    for estimator in ALL:
        assert np.isnan(estimator(bars, 21)).all()
        with pytest.raises(ValueError, match="not possible"):
            estimator(bars, 10, minimum=11)
    with pytest.raises(ValueError, match="one length"):
        Bars.of([1.0], [1.0, 2.0], [1.0], [1.0])


def test_log_returns_and_daily_variances_by_hand() -> None:
    """A close of zero has no logarithm; a day without range has no variance; the gap adds its square."""
    np.testing.assert_allclose(
        log_returns([100.0, 110.0, 0.0, 50.0, 55.0]), [np.nan, np.log(1.1), np.nan, np.nan, np.log(1.1)]
    )
    bars = Bars.of([100.0, 110.0], [100.0, 121.0], [100.0, 110.0], [100.0, 110.0])
    np.testing.assert_allclose(daily_variance(bars), [0.0, np.log(1.1) ** 2 / 2])
    np.testing.assert_allclose(daily_variance(bars, overnight=True), [np.nan, np.log(1.1) ** 2 * 1.5])
