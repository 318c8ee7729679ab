"""Indicators agree with TA-Lib, keep their bounds, and heal after a hole."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import talib
from hypothesis import given, settings
from hypothesis import strategies as st

from optionmath.indicators import (
    average_true_range,
    bollinger,
    camarilla_pivots,
    classic_pivots,
    exponential_average,
    fibonacci_pivots,
    macd,
    relative_strength,
    simple_average,
    true_range,
    volume_weighted_price,
    wilder_average,
)

SCALE = int(os.environ.get("TT_TEST_SCALE", "1"))

Floats = npt.NDArray[np.float64]
seeds = st.integers(0, 10_000)
windows = st.integers(2, 40)


def bars(days: int, seed: int) -> tuple[Floats, Floats, Floats, Floats]:
    """High, low, close, volume."""
    random = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(random.normal(0, 0.02, days)))
    opening = close * np.exp(random.normal(0, 0.01, days))
    high = np.maximum(opening, close) * np.exp(random.exponential(0.005, days))
    low = np.minimum(opening, close) * np.exp(-random.exponential(0.005, days))
    return high, low, close, random.integers(0, 1000, days).astype(np.float64)


@settings(max_examples=40 * SCALE, deadline=None)
@given(seeds, windows)
def test_averages_and_bands_are_those_of_talib(seed: int, window: int) -> None:
    """SMA, EMA, Bollinger."""
    _, _, close, _ = bars(120, seed)
    np.testing.assert_allclose(simple_average(close, window), talib.SMA(close, window), rtol=1e-10)
    np.testing.assert_allclose(exponential_average(close, window), talib.EMA(close, window), rtol=1e-10)
    found = bollinger(close, window, 2.5)
    for ours, theirs in zip(
        (found.upper, found.middle, found.lower), talib.BBANDS(close, window, 2.5, 2.5), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-7)


@settings(max_examples=40 * SCALE, deadline=None)
@given(seeds, windows)
def test_ranges_and_strength_are_those_of_talib(seed: int, window: int) -> None:
    """True range, ATR, RSI."""
    high, low, close, _ = bars(120, seed)
    np.testing.assert_allclose(true_range(high, low, close), talib.TRANGE(high, low, close), rtol=1e-10)
    np.testing.assert_allclose(
        average_true_range(high, low, close, window), talib.ATR(high, low, close, window), rtol=1e-10
    )
    np.testing.assert_allclose(relative_strength(close, window), talib.RSI(close, window), rtol=1e-9)


@settings(max_examples=40 * SCALE, deadline=None)
@given(seeds, st.integers(2, 15), st.integers(1, 20), st.integers(2, 12))
def test_macd_is_that_of_talib(seed: int, fast: int, more: int, signal: int) -> None:
    """Line, signal and histogram, from their first value on."""
    _, _, close, _ = bars(120, seed)
    found = macd(close, fast, fast + more, signal)
    theirs = talib.MACD(close, fast, fast + more, signal)
    for ours, expected in zip((found.line, found.signal, found.histogram), theirs, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-8, atol=1e-10)


@settings(max_examples=40 * SCALE, deadline=None)
@given(seeds, windows)
def test_indicators_keep_their_bounds(seed: int, window: int) -> None:
    """RSI between 0 and 100, averages between the extremes, bands in order, ranges not negative."""
    high, low, close, _ = bars(120, seed)
    for average in (simple_average(close, window), exponential_average(close, window), wilder_average(close, window)):
        known = average[window - 1 :]
        assert (known >= close.min() - 1e-9).all()
        assert (known <= close.max() + 1e-9).all()
        assert np.isnan(average[: window - 1]).all()
    strength = relative_strength(close, window)[window:]
    assert ((strength >= 0) & (strength <= 100)).all()
    bands = bollinger(close, window)
    assert (bands.lower[window - 1 :] <= bands.upper[window - 1 :]).all()
    assert (average_true_range(high, low, close, window)[window:] >= 0).all()


@settings(max_examples=40 * SCALE, deadline=None)
@given(seeds, windows, st.integers(0, 119))
def test_a_hole_is_healed(seed: int, window: int, where: int) -> None:
    """Window indicators are whole after the window, smoothed ones start anew; nothing before the hole changes."""
    _, _, close, _ = bars(120, seed)
    broken = close.copy()
    broken[where] = np.nan
    indicators: list[Callable[[Floats], Floats]] = [
        lambda each: simple_average(each, window),
        lambda each: exponential_average(each, window),
        lambda each: relative_strength(each, window),
        lambda each: bollinger(each, window).upper,
    ]
    for indicator in indicators:
        whole, found = indicator(close), indicator(broken)
        np.testing.assert_array_equal(found[:where], whole[:where])
        assert np.isnan(found[where])
        assert np.isfinite(found[where + window + 1 :]).all()
    np.testing.assert_allclose(
        exponential_average(broken, window)[where + 1 :], exponential_average(close[where + 1 :], window)
    )


@settings(max_examples=40 * SCALE, deadline=None)
@given(seeds, st.integers(1, 4))
def test_vwap_lies_between_low_and_high_and_starts_anew_each_session(seed: int, days: int) -> None:
    """Within the session's range so far; equal to the average weighted by hand at its end."""
    high, low, close, volume = bars(30 * days, seed)
    session = np.repeat(np.arange(days), 30)
    found = volume_weighted_price(high, low, close, volume, session)
    for day in range(days):
        rows = session == day
        known = np.isfinite(found.middle[rows])
        assert (found.middle[rows][known] <= np.maximum.accumulate(high[rows])[known] * (1 + 1e-12)).all()
        assert (found.middle[rows][known] >= np.minimum.accumulate(low[rows])[known] * (1 - 1e-12)).all()
        typical = (high + low + close)[rows] / 3
        mean = np.average(typical, weights=volume[rows])
        deviation = np.sqrt(np.average((typical - mean) ** 2, weights=volume[rows]))
        assert found.middle[rows][-1] == pytest.approx(mean)
        assert found.upper[rows][-1] - mean == pytest.approx(deviation)
    assert ((found.lower <= found.middle) | np.isnan(found.middle)).all()


def test_vwap_leaves_bad_bars_out() -> None:
    """Without volume nothing is weighted; a bar without a price adds nothing."""
    found = volume_weighted_price([10, 12, 99, 14], [10, 12, 99, 14], [10, 12, np.nan, 14], [0, 100, 100, 300])
    np.testing.assert_allclose(found.middle, [np.nan, 12.0, np.nan, 13.5])
    assert volume_weighted_price([], [], [], []).middle.size == 0


@settings(max_examples=40 * SCALE, deadline=None)
@given(st.floats(1, 1000), st.floats(0, 50), st.floats(0, 1))
def test_pivots_ascend_and_are_centred_on_the_pivot(low: float, span: float, share: float) -> None:
    """Supports below, resistances above; by hand for a high of 110, a low of 100 and a close of 108."""
    high, close = low + span, min(low + span, low + share * span)
    for each in (classic_pivots, fibonacci_pivots, camarilla_pivots):
        found = each(high, low, close)
        levels = [found.s3, found.s2, found.s1, found.r1, found.r2, found.r3]
        assert np.diff(levels).min() >= -1e-9
        assert low - 1e-9 <= found.pivot <= high + 1e-9


def test_pivots_by_hand() -> None:
    """High 110, low 100, close 108: pivot 106."""
    classic, fibonacci, camarilla = (
        each(110.0, 100.0, 108.0) for each in (classic_pivots, fibonacci_pivots, camarilla_pivots)
    )
    assert (classic.s3, classic.s2, classic.s1) == pytest.approx((92, 96, 102))
    assert (classic.r1, classic.r2, classic.r3) == pytest.approx((112, 116, 122))
    assert (fibonacci.s1, fibonacci.r2) == pytest.approx((102.18, 112.18))
    assert (camarilla.s3, camarilla.r1) == pytest.approx((105.25, 108.916667))
    with pytest.raises(ValueError, match="no bar"):
        classic_pivots(100, 110, 105)


def test_too_short_a_history_is_nan_and_settings_without_sense_are_refused() -> None:
    """No window, a fast average that is slower; a price that never moved has an RSI of zero, as in TA-Lib."""
    assert np.isnan(simple_average([1.0, 2.0], 3)).all()
    assert np.isnan(exponential_average([1.0, 2.0], 3)).all()
    assert np.isnan(macd([1.0] * 30).line).all()
    assert relative_strength([5.0] * 20).tolist()[14:] == [0.0] * 6
    with pytest.raises(ValueError, match="at least 1"):
        simple_average([1.0], 0)
    with pytest.raises(ValueError, match="shorter"):
        macd([1.0], 26, 12)
