"""VIX-style volatility index of one expiration and of a constant maturity (the IVx of a position or a watchlist).

σ² = (2/T) Σ ΔK/K² e^(rT) Q(K) − (F/K0 − 1)²/T over out-of-the-money mids; the constant maturity interpolates total
variance linearly in minutes. Source: Cboe Volatility Index methodology (VIX white paper).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from optionmath.blackscholes import Bools, Floats

MINUTES_PER_YEAR = 525_600
THIRTY_DAYS_MINUTES = 43_200
_ZERO_BIDS_IN_A_ROW = 2
_STRIP_MIN = 5


class IndexStatus(IntEnum):
    """Why an index value is what it is; anything but OK comes with NaN unless it says otherwise."""

    OK = 0
    TOO_FEW_QUOTES = 1
    BAD_INPUT = 2
    NOT_BRACKETED = 3
    """No expiration on one side of the target: the value is the nearest expiration's own, not an interpolation."""
    THIN = 4
    """The strip stops within one standard deviation of the forward on a side: the value is there, and too low."""


@dataclass(frozen=True, slots=True)
class StripVariance:
    """Model-free implied variance of one expiration."""

    status: IndexStatus
    minutes: float
    variance: float
    """σ² a year, as a fraction; the index is 100 √σ²."""
    forward: float
    """$ per share, from the strike with the smallest gap between call and put."""
    reference_strike: float
    """K0: the highest strike not above the forward."""
    strikes: int
    """How many strikes the sum rests on."""
    k_min: float
    """Log-moneyness of the lowest strike used."""
    k_max: float

    @property
    def volatility(self) -> float:
        """√σ², a fraction a year (0.1664 is an index of 16.64)."""
        return math.sqrt(self.variance) if self.variance >= 0 else float("nan")


def strip_variance(
    strike: Floats,
    call_bid: Floats,
    call_ask: Floats,
    put_bid: Floats,
    put_ask: Floats,
    minutes: float,
    rate: float,
) -> StripVariance:
    """The sum over one expiration's strip. Arrays are aligned by strike, $ per share; NaN and 0 bids are no bid.

    Puts below K0 and calls above it are taken outwards until two strikes in a row have no bid; a strike without a bid
    is left out. minutes: to settlement. rate: continuous, a fraction.
    """
    if not (math.isfinite(minutes) and minutes > 0 and math.isfinite(rate)):
        return _no_strip(IndexStatus.BAD_INPUT, minutes)
    order = np.argsort(strike, kind="stable")
    k = strike[order]
    call_low, call_high, put_low, put_high = (
        np.nan_to_num(each[order], nan=0.0) for each in (call_bid, call_ask, put_bid, put_ask)
    )
    years = minutes / MINUTES_PER_YEAR
    call, put = (call_low + call_high) / 2, (put_low + put_high) / 2
    paired = (call_low > 0) & (put_low > 0) & np.isfinite(k) & (k > 0)
    if int(paired.sum()) < _STRIP_MIN:
        return _no_strip(IndexStatus.TOO_FEW_QUOTES, minutes)
    at = np.nonzero(paired)[0]
    closest = at[np.argmin(np.abs(call - put)[at])]
    growth = math.exp(rate * years)
    forward = float(k[closest] + growth * (call[closest] - put[closest]))
    below = int(np.searchsorted(k, forward, side="right")) - 1
    if below < 0:
        return _no_strip(IndexStatus.TOO_FEW_QUOTES, minutes)
    used = np.zeros(len(k), dtype=bool)
    _walk(used, put_low, range(below - 1, -1, -1))
    _walk(used, call_low, range(below + 1, len(k)))
    used[below] = True
    chosen = k[used]
    if len(chosen) < _STRIP_MIN:
        return _no_strip(IndexStatus.TOO_FEW_QUOTES, minutes)
    quote = np.where(np.arange(len(k)) < below, put, call)
    quote[below] = (call[below] + put[below]) / 2
    total = float(np.sum(_widths(chosen) / chosen**2 * quote[used])) * growth * 2 / years
    k0 = float(k[below])
    variance = total - (forward / k0 - 1) ** 2 / years
    ends = math.log(chosen[0] / forward), math.log(chosen[-1] / forward)
    deviation = math.sqrt(max(variance, 0.0) * years)
    thin = not (variance > 0) or -ends[0] < deviation or ends[1] < deviation
    return StripVariance(
        IndexStatus.THIN if thin else IndexStatus.OK, minutes, variance, forward, k0, len(chosen), ends[0], ends[1]
    )


def _no_strip(status: IndexStatus, minutes: float) -> StripVariance:
    nan = float("nan")
    return StripVariance(status, minutes, nan, nan, nan, 0, nan, nan)


def _walk(used: Bools, bid: Floats, outwards: range) -> None:
    """Mark strikes with a bid, outwards, until two in a row have none."""
    missing = 0
    for index in outwards:
        missing = 0 if bid[index] > 0 else missing + 1
        if missing == _ZERO_BIDS_IN_A_ROW:
            return
        used[index] = bid[index] > 0


def _widths(strike: Floats) -> Floats:
    """Half the distance between a strike's neighbours; at the ends the distance to the only one."""
    width = np.empty(len(strike))
    width[1:-1] = (strike[2:] - strike[:-2]) / 2
    width[0], width[-1] = strike[1] - strike[0], strike[-1] - strike[-2]
    return width


@dataclass(frozen=True, slots=True)
class VolatilityIndex:
    """Constant-maturity volatility, a fraction a year, and the two expirations (in minutes) it lies between."""

    status: IndexStatus
    volatility: float
    near_minutes: float
    next_minutes: float

    @property
    def points(self) -> float:
        """In index points: 16.64 for 0.1664."""
        return 100 * self.volatility


def interpolate(near: StripVariance, following: StripVariance, target_minutes: float) -> float:
    """Variance a year at the target, linear in total variance between (or beyond) two expirations; may be NaN."""
    span = following.minutes - near.minutes
    if not span > 0:
        return float("nan")
    share = (following.minutes - target_minutes) / span
    total = near.minutes * near.variance * share + following.minutes * following.variance * (1 - share)
    return total / target_minutes


def volatility_index(
    strips: Sequence[StripVariance], *, target_minutes: float = THIRTY_DAYS_MINUTES, days_min: float = 0.0
) -> VolatilityIndex:
    """Constant-maturity index from the two usable expirations around the target.

    days_min: expirations nearer than this many days are ignored (Cboe's VIX uses 23; a stock's IVx needs what there
    is). With none on one side the nearest expiration's own value comes back, status NOT_BRACKETED.
    """
    nan = float("nan")
    known = [each for each in strips if each.status in (IndexStatus.OK, IndexStatus.THIN) and each.variance > 0]
    usable = sorted((each for each in known if each.minutes > days_min * 1440), key=lambda each: each.minutes)
    if not usable:
        return VolatilityIndex(IndexStatus.TOO_FEW_QUOTES, nan, nan, nan)
    before = [each for each in usable if each.minutes <= target_minutes]
    after = [each for each in usable if each.minutes > target_minutes]
    if before and before[-1].minutes == target_minutes:
        after = before[-1:]
    if not before or not after:
        nearest = after[0] if after else before[-1]
        return VolatilityIndex(IndexStatus.NOT_BRACKETED, nearest.volatility, nearest.minutes, nearest.minutes)
    near, following = before[-1], after[0]
    variance = near.variance if near is following else interpolate(near, following, target_minutes)
    thin = IndexStatus.THIN in (near.status, following.status)
    return VolatilityIndex(
        IndexStatus.THIN if thin else IndexStatus.OK,
        math.sqrt(variance) if variance >= 0 else nan,
        near.minutes,
        following.minutes,
    )
