"""Rank and percentile of implied volatility within its own past year.

Rank: where today's value lies between the year's low and high. Percentile: the share of earlier days on which it was
lower. (thinkorswim calls the rank "IV percentile".) Both from 0 to 1, as the broker's metrics give them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

Floats = npt.NDArray[np.float64]
YEAR = 252


@dataclass(frozen=True, slots=True)
class VolatilityRank:
    """Rank and percentile of the last value of a history; None where they mean nothing."""

    current: float | None
    """Last value, fraction a year; None when the last day is missing."""
    rank: float | None
    """0 at the low, 1 at the high; None when low and high are equal or there is one day only."""
    percentile: float | None
    """Share of the earlier days with a lower value; None without earlier days."""
    low: float | None
    high: float | None
    observations: int
    """Good days in the window, today included."""
    coverage: float
    """Observations over the window's length: below 1 the history is short or has gaps."""


def volatility_rank(history: npt.ArrayLike, *, window: int = YEAR) -> VolatilityRank:
    """Rank of the last value within the last `window` days, itself included. Missing or non-positive days are skipped.

    Raises ValueError for a window below 2.
    """
    if window < 2:
        raise ValueError(f"a window of {window} days ranks nothing: it must be at least 2")
    values = np.asarray(history, dtype=np.float64)[-window:]
    with np.errstate(invalid="ignore"):
        good = values[np.isfinite(values) & (values > 0)]
    count = len(good)
    if not count:
        return VolatilityRank(None, None, None, None, None, 0, 0.0)
    low, high = float(good.min()), float(good.max())
    last = float(values[-1])
    if not (np.isfinite(last) and last > 0):
        return VolatilityRank(None, None, None, low, high, count, count / window)
    return VolatilityRank(
        current=last,
        rank=(last - low) / (high - low) if high > low else None,
        percentile=float(np.mean(good[:-1] < last)) if count > 1 else None,
        low=low,
        high=high,
        observations=count,
        coverage=count / window,
    )


def rolling_rank(history: npt.ArrayLike, *, window: int = YEAR, minimum: int = YEAR) -> tuple[Floats, Floats]:
    """Rank and percentile of every day within the window that ends there, same length as the history.

    NaN where the day is missing, where fewer than `minimum` good days are in the window, and (rank) where they are all
    equal. Agrees with `volatility_rank` on the last day. Raises ValueError unless 2 <= minimum <= window.
    """
    if not 2 <= minimum <= window:
        raise ValueError(f"minimum {minimum} must lie between 2 and the window of {window} days")
    values = np.asarray(history, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        clean = np.where(np.isfinite(values) & (values > 0), values, np.nan)
    if not len(clean):
        return clean, clean.copy()
    padded = np.concatenate((np.full(window - 1, np.nan), clean))
    view = sliding_window_view(padded, window)
    count = np.isfinite(view).sum(axis=1)
    low = np.where(np.isfinite(view), view, np.inf).min(axis=1)
    high = np.where(np.isfinite(view), view, -np.inf).max(axis=1)
    usable = np.isfinite(clean) & (count >= minimum)
    with np.errstate(invalid="ignore", divide="ignore"):
        rank = np.where(usable & (high > low), (clean - low) / (high - low), np.nan)
        percentile = np.where(usable, (view < clean[:, None]).sum(axis=1) / (count - 1), np.nan)
    return rank, percentile
