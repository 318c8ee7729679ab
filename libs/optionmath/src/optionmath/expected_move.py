"""Expected move of an underlying until an expiration, in its named definitions.

They are not the same number: one standard deviation is wider than what a straddle costs (an at-the-money straddle is
worth about sqrt(2/pi) = 0.80 standard deviations), so always show which one.
Sources: tastytrade, Options Jive "Deriving Expected Move" (one standard deviation); tastytrade platform help (weights
of straddle and strangles).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
STRADDLE_SHARE = 0.85
STRADDLE_WEIGHT, FIRST_STRANGLE_WEIGHT, SECOND_STRANGLE_WEIGHT = 0.60, 0.30, 0.10


def one_deviation(spot: npt.ArrayLike, volatility: npt.ArrayLike, years: npt.ArrayLike) -> Floats:
    """Spot · volatility · sqrt(years), $ per share: one standard deviation. NaN for a negative time or volatility."""
    s, v, t = (np.asarray(each, dtype=np.float64) for each in (spot, volatility, years))
    with np.errstate(invalid="ignore"):
        return np.where((t >= 0) & (v >= 0), s * v * np.sqrt(t), np.nan)


def straddle_share(straddle: npt.ArrayLike, *, share: float = STRADDLE_SHARE) -> Floats:
    """85 % of the at-the-money straddle's price, $ per share. NaN for a negative price."""
    price = np.asarray(straddle, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        return np.where(price >= 0, share * price, np.nan)


def weighted_strangles(straddle: npt.ArrayLike, first: npt.ArrayLike, second: npt.ArrayLike) -> Floats:
    """tastytrade's formula: .60 straddle + .30 first strangle out of the money + .10 second one, $ per share."""
    a, b, c = (np.asarray(each, dtype=np.float64) for each in (straddle, first, second))
    with np.errstate(invalid="ignore"):
        good = (a >= 0) & (b >= 0) & (c >= 0)
        return np.where(good, STRADDLE_WEIGHT * a + FIRST_STRANGLE_WEIGHT * b + SECOND_STRANGLE_WEIGHT * c, np.nan)


@dataclass(frozen=True, slots=True)
class ExpectedMove:
    """Moves of one expiration, $ per share, up or down from the spot; None where the quotes do not allow one."""

    strike: float
    """Strike of the at-the-money straddle."""
    straddle: float
    """Its price, call and put together."""
    one_deviation: float | None
    straddle_share: float
    weighted_strangles: float | None


def expected_move(
    spot: float,
    strike: npt.ArrayLike,
    call_mid: npt.ArrayLike,
    put_mid: npt.ArrayLike,
    *,
    years: float | None = None,
    volatility: float | None = None,
) -> ExpectedMove | None:
    """Moves from the mids of one expiration, one row per strike; None when no strike has both mids.

    The straddle is at the strike nearest the spot (of two equally near, the lower) among those with both mids above
    zero; the strangles take the next strikes below for the put and above for the call. `one_deviation` needs years and
    volatility (fraction a year). Raises ValueError for arrays of unequal length or a spot that is not positive.
    """
    k, c, p = (np.asarray(each, dtype=np.float64) for each in (strike, call_mid, put_mid))
    if not k.shape == c.shape == p.shape or k.ndim != 1:
        raise ValueError(f"strikes, calls and puts need one length: got {k.shape}, {c.shape}, {p.shape}")
    if not spot > 0:
        raise ValueError(f"spot is {spot}: it must be positive")
    order = np.argsort(k, kind="stable")
    k, c, p = k[order], c[order], p[order]
    with np.errstate(invalid="ignore"):
        both = np.flatnonzero((c > 0) & (p > 0) & (k > 0))
    if not len(both):
        return None
    middle = int(both[np.argmin(np.abs(k[both] - spot))])
    straddle = float(c[middle] + p[middle])
    deviation = None
    if years is not None and volatility is not None:
        found = float(one_deviation(spot, volatility, years))
        deviation = found if np.isfinite(found) else None
    first, second = (_strangle(c, p, middle, steps) for steps in (1, 2))
    weighted = None
    if first is not None and second is not None:
        weighted = float(weighted_strangles(straddle, first, second))
    return ExpectedMove(float(k[middle]), straddle, deviation, float(straddle_share(straddle)), weighted)


def _strangle(calls: Floats, puts: Floats, middle: int, steps: int) -> float | None:
    if middle < steps or middle + steps >= len(calls):
        return None
    price = float(calls[middle + steps] + puts[middle - steps])
    legs_quoted = calls[middle + steps] >= 0 and puts[middle - steps] >= 0
    return price if legs_quoted else None
