"""Realised volatility from daily bars: five estimators over a rolling window.

Every function takes one array per bar field (oldest first) and returns an array of the same length, fractions a year;
the value at a bar rests on the window that ends there. Annualised by the square root of `periods_per_year` (252). A bad
bar (NaN, zero, negative, low above high) is left out of its window; a window with fewer than `minimum` good
observations is NaN (default: every one must be good).

Close-to-close and Yang–Zhang see the gap over night; the other three see the session only, unless `overnight` adds the
variance of the gap. Sources: Parkinson (1980); Garman and Klass (1980); Rogers and Satchell (1991); Yang and Zhang
(2000), "Drift-independent volatility estimation based on high, low, open and close prices", equations 5 to 8.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

Floats = npt.NDArray[np.float64]
PERIODS_PER_YEAR = 252.0
_YANG_ZHANG_ALPHA = 1.34


@dataclass(frozen=True, slots=True)
class Bars:
    """Daily bars, oldest first, one array per field, equal lengths. Prices adjusted for splits.

    Raises ValueError for unequal lengths. Bars whose prices are impossible become NaN in all fields.
    """

    open: Floats
    high: Floats
    low: Floats
    close: Floats

    @classmethod
    def of(cls, open: npt.ArrayLike, high: npt.ArrayLike, low: npt.ArrayLike, close: npt.ArrayLike) -> Bars:
        """Bars from anything array-like, impossible ones made NaN."""
        o, h, lo, c = (np.array(each, dtype=np.float64) for each in (open, high, low, close))
        if not o.shape == h.shape == lo.shape == c.shape or o.ndim != 1:
            raise ValueError(f"bars need four arrays of one length: got {o.shape}, {h.shape}, {lo.shape}, {c.shape}")
        with np.errstate(invalid="ignore"):
            good = (lo > 0) & (lo <= np.minimum(o, c)) & (h >= np.maximum(o, c)) & np.isfinite(h)
        for each in (o, h, lo, c):
            each[~good] = np.nan
        return cls(o, h, lo, c)


def log_returns(close: npt.ArrayLike) -> Floats:
    """ln(C_t / C_(t-1)), same length, NaN first and where either close is missing or not positive."""
    price = np.asarray(close, dtype=np.float64)
    found = np.full(price.shape, np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        logarithm = np.where(price > 0, np.log(price), np.nan)
    found[1:] = logarithm[1:] - logarithm[:-1]
    return np.where(np.isfinite(found), found, np.nan)


def close_to_close(
    close: npt.ArrayLike,
    window: int = 21,
    *,
    zero_mean: bool = False,
    minimum: int | None = None,
    periods_per_year: float = PERIODS_PER_YEAR,
) -> Floats:
    """Standard deviation (n − 1) of log returns; zero_mean: root of their mean square. `window` counts returns."""
    returns = log_returns(close)
    if zero_mean:
        return _annual(_rolling(returns**2, window, minimum, 1)[0], periods_per_year)
    return _annual(_rolling(returns, window, minimum, 2)[1], periods_per_year)


def parkinson(
    bars: Bars,
    window: int = 21,
    *,
    overnight: bool = False,
    minimum: int | None = None,
    periods_per_year: float = PERIODS_PER_YEAR,
) -> Floats:
    """Mean of ln(H/L)² / (4 ln 2). Assumes no drift."""
    return _session(
        np.log(bars.high / bars.low) ** 2 / (4 * np.log(2)), bars, window, overnight, minimum, periods_per_year
    )


def garman_klass(
    bars: Bars,
    window: int = 21,
    *,
    overnight: bool = False,
    minimum: int | None = None,
    periods_per_year: float = PERIODS_PER_YEAR,
) -> Floats:
    """Mean of ln(H/L)² / 2 − (2 ln 2 − 1) ln(C/O)². Assumes no drift."""
    return _session(daily_variance(bars), bars, window, overnight, minimum, periods_per_year)


def rogers_satchell(
    bars: Bars,
    window: int = 21,
    *,
    overnight: bool = False,
    minimum: int | None = None,
    periods_per_year: float = PERIODS_PER_YEAR,
) -> Floats:
    """Mean of u(u − c) + d(d − c) with u, d, c = ln of high, low, close over open. Right under any drift."""
    return _session(_rogers_satchell(bars), bars, window, overnight, minimum, periods_per_year)


def yang_zhang(
    bars: Bars,
    window: int = 21,
    *,
    minimum: int | None = None,
    periods_per_year: float = PERIODS_PER_YEAR,
) -> Floats:
    """Variance of the gap + k · variance of open-to-close + (1 − k) · Rogers–Satchell; k = .34 / (1.34 + (n+1)/(n−1)).

    Right under drift and gaps. n: good observations in the window.
    """
    gap = _gaps(bars)
    gap_variance, _ = _rolling(gap, window, minimum, 2)[1:]
    close_variance, _ = _rolling(np.log(bars.close / bars.open), window, minimum, 2)[1:]
    range_variance, _, count = _rolling(_rogers_satchell(bars), window, minimum, 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        k = (_YANG_ZHANG_ALPHA - 1) / (_YANG_ZHANG_ALPHA + (count + 1) / (count - 1))
        return _annual(gap_variance + k * close_variance + (1 - k) * range_variance, periods_per_year)


def daily_variance(bars: Bars, *, overnight: bool = False) -> Floats:
    """Variance of each single day (not annualised): Garman–Klass, plus the squared gap when `overnight`.

    The observation a forecast is fitted to. NaN for bad bars; with `overnight` also where the close before is missing.
    """
    own = np.log(bars.high / bars.low) ** 2 / 2 - (2 * np.log(2) - 1) * np.log(bars.close / bars.open) ** 2
    return np.asarray(own + _gaps(bars) ** 2 if overnight else own)


def _rogers_satchell(bars: Bars) -> Floats:
    up, down, close = (np.log(each / bars.open) for each in (bars.high, bars.low, bars.close))
    return np.asarray(up * (up - close) + down * (down - close))


def _gaps(bars: Bars) -> Floats:
    """ln(O_t / C_(t-1)); NaN first."""
    found = np.full(bars.open.shape, np.nan)
    found[1:] = np.log(bars.open[1:] / bars.close[:-1])
    return found


def _session(
    terms: Floats, bars: Bars, window: int, overnight: bool, minimum: int | None, periods_per_year: float
) -> Floats:
    variance = _rolling(terms, window, minimum, 1)[0]
    if overnight:
        variance = variance + _rolling(_gaps(bars), window, minimum, 2)[1]
    return _annual(variance, periods_per_year)


def _rolling(terms: Floats, window: int, minimum: int | None, least: int) -> tuple[Floats, Floats, Floats]:
    """Mean, variance (n − 1) and count of the good terms in each window; NaN where they are fewer than needed."""
    if window < least or (minimum is not None and not least <= minimum <= window):
        raise ValueError(f"a window of {window} bars with at least {minimum or window} good ones is not possible here")
    mean, variance = np.full(terms.shape, np.nan), np.full(terms.shape, np.nan)
    count = np.zeros(terms.shape)
    if len(terms) < window:
        return mean, variance, count
    view = sliding_window_view(terms, window)
    good = np.isfinite(view)
    number = good.sum(axis=1).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        average = np.where(good, view, 0.0).sum(axis=1) / number
        squares = np.where(good, view - average[:, None], 0.0) ** 2
        spread = squares.sum(axis=1) / (number - 1)
    enough = number >= (minimum or window)
    mean[window - 1 :] = np.where(enough, average, np.nan)
    variance[window - 1 :] = np.where(enough & (number >= 2), spread, np.nan)
    count[window - 1 :] = number
    return mean, variance, count


def _annual(variance: Floats, periods_per_year: float) -> Floats:
    with np.errstate(invalid="ignore"):
        return np.asarray(np.sqrt(variance * periods_per_year))
