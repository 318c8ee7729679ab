"""Technical indicators over bars, oldest first: same length out, NaN until there is enough history.

A missing bar is NaN in the output; window indicators are whole again when it has left the window, smoothed ones start
anew after it. Definitions and starting values are those of TA-Lib, which the tests compare with.
Sources: Wilder (1978) for RSI and ATR; Appel for MACD; Bollinger (2001).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

Floats = npt.NDArray[np.float64]


def simple_average(values: npt.ArrayLike, window: int) -> Floats:
    """Mean of the last `window` values (SMA)."""
    series = _series(values, window)
    found = np.full(series.shape, np.nan)
    if len(series) >= window:
        found[window - 1 :] = sliding_window_view(series, window).mean(axis=1)
    return found


def exponential_average(values: npt.ArrayLike, window: int) -> Floats:
    """EMA with weight 2 / (window + 1), started at the mean of the first `window` values."""
    return _in_runs(_series(values, window), lambda run: _smooth(run, window, 2 / (window + 1)))


def wilder_average(values: npt.ArrayLike, window: int) -> Floats:
    """Wilder's smoothing, weight 1 / window, started at the mean of the first `window` values."""
    return _in_runs(_series(values, window), lambda run: _smooth(run, window, 1 / window))


def true_range(high: npt.ArrayLike, low: npt.ArrayLike, close: npt.ArrayLike) -> Floats:
    """Largest of high − low, |high − last close|, |low − last close|; NaN on the first bar."""
    h, lo, c = (np.asarray(each, dtype=np.float64) for each in (high, low, close))
    found = np.full(h.shape, np.nan)
    last = c[:-1]
    found[1:] = np.maximum(h[1:] - lo[1:], np.maximum(np.abs(h[1:] - last), np.abs(lo[1:] - last)))
    return found


def average_true_range(high: npt.ArrayLike, low: npt.ArrayLike, close: npt.ArrayLike, window: int = 14) -> Floats:
    """ATR: Wilder's average of the true range, $ per share."""
    return wilder_average(true_range(high, low, close), window)


def relative_strength(close: npt.ArrayLike, window: int = 14) -> Floats:
    """RSI, 0 to 100: share of the gains in Wilder-averaged gains and losses; 0 when nothing moved."""

    def one_run(run: Floats) -> Floats:
        change = np.diff(run)
        found = np.full(run.shape, np.nan)
        gain = _smooth(np.maximum(change, 0.0), window, 1 / window)
        loss = _smooth(np.maximum(-change, 0.0), window, 1 / window)
        with np.errstate(invalid="ignore", divide="ignore"):
            found[1:] = np.where(gain + loss > 0, 100 * (gain / (gain + loss)), np.where(np.isnan(gain), np.nan, 0.0))
        return found

    return _in_runs(_series(close, window), one_run)


@dataclass(frozen=True, slots=True)
class Macd:
    """Difference of two exponential averages, its own average, and the distance between them; $ per share."""

    line: Floats
    signal: Floats
    histogram: Floats


def macd(close: npt.ArrayLike, fast: int = 12, slow: int = 26, signal: int = 9) -> Macd:
    """MACD. Like TA-Lib the fast average starts at the same bar as the slow one, and all three lines together.

    Raises ValueError unless fast < slow.
    """
    if not fast < slow:
        raise ValueError(f"fast window {fast} must be shorter than slow window {slow}")
    series = _series(close, slow)

    def one_run(run: Floats) -> Floats:
        delayed = np.full(run.shape, np.nan)
        delayed[slow - fast :] = _smooth(run[slow - fast :], fast, 2 / (fast + 1))
        return delayed - _smooth(run, slow, 2 / (slow + 1))

    line = _in_runs(series, one_run)
    average = exponential_average(line, signal)
    line = np.where(np.isnan(average), np.nan, line)
    return Macd(line, average, line - average)


@dataclass(frozen=True, slots=True)
class Bands:
    """Three lines around a price, $ per share."""

    lower: Floats
    middle: Floats
    upper: Floats


def bollinger(close: npt.ArrayLike, window: int = 20, deviations: float = 2.0) -> Bands:
    """Simple average ± `deviations` standard deviations (over n) of the same window."""
    series = _series(close, window)
    middle, spread = simple_average(series, window), np.full(series.shape, np.nan)
    if len(series) >= window:
        spread[window - 1 :] = sliding_window_view(series, window).std(axis=1)
    return Bands(middle - deviations * spread, middle, middle + deviations * spread)


def volume_weighted_price(
    high: npt.ArrayLike,
    low: npt.ArrayLike,
    close: npt.ArrayLike,
    volume: npt.ArrayLike,
    session: npt.ArrayLike | None = None,
    *,
    deviations: float = 1.0,
) -> Bands:
    """VWAP since the start of each session, from typical prices (H + L + C) / 3, with volume-weighted bands.

    session: one label per bar; a change of label starts anew. None: one session. Bars with a missing price or volume
    or a negative one add nothing and are NaN; so is a session before its first volume.
    """
    h, lo, c, v = (np.asarray(each, dtype=np.float64) for each in (high, low, close, volume))
    labels = np.zeros(len(c), dtype=np.int64) if session is None else np.asarray(session)
    typical = (h + lo + c) / 3
    with np.errstate(invalid="ignore"):
        good = np.isfinite(typical) & (v >= 0) & np.isfinite(v)
    edges = np.concatenate(([0], np.flatnonzero(labels[1:] != labels[:-1]) + 1, [len(c)]))
    middle, spread = np.full(c.shape, np.nan), np.full(c.shape, np.nan)
    for first, after in pairwise(edges):
        rows = slice(int(first), int(after))
        use = good[rows]
        weight, price = np.where(use, v[rows], 0.0), np.where(use, typical[rows], 0.0)
        origin = price[use][0] if use.any() else 0.0
        total = np.cumsum(weight)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.cumsum(weight * (price - origin)) / total
            variance = np.cumsum(weight * (price - origin) ** 2) / total - mean**2
        known = use & (total > 0)
        middle[rows] = np.where(known, mean + origin, np.nan)
        spread[rows] = np.where(known, np.sqrt(np.maximum(variance, 0.0)), np.nan)
    return Bands(middle - deviations * spread, middle, middle + deviations * spread)


@dataclass(frozen=True, slots=True)
class Pivots:
    """Levels for a session from the session before, $ per share: support s1 to s3, pivot, resistance r1 to r3."""

    s3: float
    s2: float
    s1: float
    pivot: float
    r1: float
    r2: float
    r3: float


def classic_pivots(high: float, low: float, close: float) -> Pivots:
    """Floor traders' pivots: P = (H + L + C) / 3. Raises ValueError unless low <= close <= high."""
    p, span = _pivot(high, low, close)
    return Pivots(low - 2 * (high - p), p - span, 2 * p - high, p, 2 * p - low, p + span, high + 2 * (p - low))


def fibonacci_pivots(high: float, low: float, close: float) -> Pivots:
    """P ± .382, .618 and 1 times the range. Raises ValueError unless low <= close <= high."""
    p, span = _pivot(high, low, close)
    return Pivots(p - span, p - 0.618 * span, p - 0.382 * span, p, p + 0.382 * span, p + 0.618 * span, p + span)


def camarilla_pivots(high: float, low: float, close: float) -> Pivots:
    """Close ± 1.1 times the range over 12, 6 and 4. Raises ValueError unless low <= close <= high."""
    p, span = _pivot(high, low, close)
    one, two, three = (1.1 * span / each for each in (12, 6, 4))
    return Pivots(close - three, close - two, close - one, p, close + one, close + two, close + three)


def _pivot(high: float, low: float, close: float) -> tuple[float, float]:
    if not 0 < low <= close <= high < np.inf:
        raise ValueError(f"no bar has high {high}, low {low} and close {close}")
    return (high + low + close) / 3, high - low


def _series(values: npt.ArrayLike, window: int) -> Floats:
    if window < 1:
        raise ValueError(f"a window of {window} bars holds nothing: it must be at least 1")
    series = np.asarray(values, dtype=np.float64)
    return np.where(np.isfinite(series), series, np.nan)


def _in_runs(series: Floats, indicator: Callable[[Floats], Floats]) -> Floats:
    """Apply to each run of bars without a hole, so that a hole never reaches beyond itself."""
    found = np.full(series.shape, np.nan)
    edges = np.flatnonzero(np.diff(np.concatenate(([False], np.isfinite(series), [False])).astype(np.int8)))
    for first, after in edges.reshape(-1, 2):
        found[first:after] = indicator(series[first:after])
    return found


def _smooth(run: Floats, window: int, weight: float) -> Floats:
    """s_t = s_(t-1) + weight · (x_t − s_(t-1)), from the mean of the first `window` values; NaN before."""
    found = np.full(run.shape, np.nan)
    if len(run) < window:
        return found
    start = float(run[:window].mean())
    found[window - 1 :] = list(accumulate(run[window:].tolist(), lambda s, x: s + weight * (x - s), initial=start))
    return found
