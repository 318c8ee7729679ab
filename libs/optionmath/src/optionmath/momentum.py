"""Momentum and option-flow scores: comparable across underlyings, signed by the trade's direction.

Their sign convention: a bullish trade likes positive scores, a bearish one negative scores, a neutral one small ones.
Evidence for them is weak; they break ties. Sources: Jegadeesh and Titman (1993) for twelve months less the last one;
Lee and Ready (1991) for the side of a trade.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from optionmath.realised_volatility import log_returns

Floats = npt.NDArray[np.float64]
YEAR, MONTH = 252, 21
QUARTER, WEEK = 60, 5
WINSOR = 3.0
_CROSS_SECTION_MIN, _FLOW_DAYS = 3, 20


class Direction(IntEnum):
    """What a trade hopes for."""

    BEARISH = -1
    NEUTRAL = 0
    BULLISH = 1


@dataclass(frozen=True, slots=True)
class Momentum:
    """Return over a window that ends `skip` days ago, in standard deviations of that window."""

    value: float | None
    """None with a history too short, broken or motionless."""
    days: int
    """Days back to the window's start; 0 without a value."""
    skip: int


def momentum(closes: npt.ArrayLike) -> Momentum:
    """ln(P[t−21] / P[t−252]) over sigma · sqrt(231); with fewer than 253 closes ln(P[t−5] / P[t−60]) likewise.

    closes: oldest first, adjusted for splits. sigma: standard deviation of the window's daily log returns. A missing
    close at either end gives None; gaps inside are left out of sigma.
    """
    price = np.asarray(closes, dtype=np.float64)
    days, skip = (YEAR, MONTH) if len(price) > YEAR else (QUARTER, WEEK)
    if len(price) <= days:
        return Momentum(None, 0, 0)
    window = price[len(price) - 1 - days : len(price) - skip]
    returns = log_returns(window)[1:]
    returns = returns[np.isfinite(returns)]
    if not (window[0] > 0 and window[-1] > 0) or len(returns) < (days - skip) // 2:
        return Momentum(None, 0, 0)
    deviation = float(np.std(returns, ddof=1))
    if not deviation > 1e-12:
        return Momentum(None, 0, 0)
    value = float(np.log(window[-1] / window[0])) / (deviation * float(np.sqrt(days - skip)))
    return Momentum(value, days, skip) if np.isfinite(value) else Momentum(None, 0, 0)


def cross_sectional_z(values: npt.ArrayLike, *, groups: Sequence[str] | None = None, winsor: float = WINSOR) -> Floats:
    """Distance from the mean in standard deviations (n − 1), cut at ± `winsor`; with `groups` within each group.

    Missing values stay NaN and do not count. NaN in a cross-section of fewer than three; 0 where all are equal.
    Raises ValueError for groups of another length or a winsor that is not positive.
    """
    raw = np.asarray(values, dtype=np.float64)
    if not winsor > 0 or (groups is not None and len(groups) != len(raw)):
        raise ValueError(f"winsor {winsor} must be positive, and there must be one group for each of {len(raw)} values")
    names = np.asarray(groups if groups is not None else [""] * len(raw), dtype=np.str_)
    found = np.full(raw.shape, np.nan)
    for name in np.unique(names):
        rows = (names == name) & np.isfinite(raw)
        if int(rows.sum()) < _CROSS_SECTION_MIN:
            continue
        centred = raw[rows] - raw[rows].mean()
        deviation = float(np.sqrt((centred**2).sum() / (len(centred) - 1)))
        motionless = deviation <= 1e-12 * float(np.abs(raw[rows]).max())
        found[rows] = 0.0 if motionless else np.clip(centred / deviation, -winsor, winsor)
    return found


def signed_for(z: npt.ArrayLike, direction: npt.ArrayLike) -> Floats:
    """Score of trades from their underlying's z: z when bullish (1), −z when bearish (−1), −|z| when neutral (0)."""
    score, way = np.asarray(z, dtype=np.float64), np.asarray(direction)
    return np.where(way == Direction.NEUTRAL, -np.abs(score), score * way)


def trade_side(
    price: npt.ArrayLike, bid: npt.ArrayLike, ask: npt.ArrayLike, previous_price: npt.ArrayLike
) -> npt.NDArray[np.int8]:
    """Who traded: 1 a buyer, −1 a seller, 0 unknown. Above the mid a buyer, below it a seller; at it the tick decides.

    The tick test compares with the last different price. A crossed or missing quote leaves the tick test alone.
    """
    p, b, a, last = (np.asarray(each, dtype=np.float64) for each in (price, bid, ask, previous_price))
    with np.errstate(invalid="ignore"):
        quoted = (b > 0) & (a >= b)
        by_quote = np.where(quoted, np.sign(p - (a + b) / 2), 0.0)
        by_tick = np.sign(p - last)
    side = np.where(by_quote != 0, by_quote, by_tick)
    return np.where(np.isfinite(side), side, 0).astype(np.int8)


def traded_delta_dollars(
    side: npt.ArrayLike, contracts: npt.ArrayLike, delta: npt.ArrayLike, spot: float, *, multiplier: float = 100.0
) -> float:
    """Σ side · contracts · delta · multiplier · spot: dollars of the underlying that option buyers took on.

    Trades with a missing size or delta are left out.
    """
    terms = np.asarray(side, np.float64) * np.asarray(contracts, np.float64) * np.asarray(delta, np.float64)
    return float(terms[np.isfinite(terms)].sum() * multiplier * spot)


def flow_without_trades(
    call_delta_volume: npt.ArrayLike, put_delta_volume: npt.ArrayLike, open_interest: npt.ArrayLike
) -> Floats:
    """(Σ call delta·volume − |Σ put delta·volume|) / open interest, where only the day's volumes are known.

    NaN without open interest. Open interest is that of the evening before.
    """
    calls, puts, interest = (
        np.asarray(each, dtype=np.float64) for each in (call_delta_volume, put_delta_volume, open_interest)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(interest > 0, (calls - np.abs(puts)) / interest, np.nan)


def time_series_z(history: npt.ArrayLike, *, window: int = _FLOW_DAYS, winsor: float = WINSOR) -> float | None:
    """Last value against the `window` values before it (same time of day), cut at ± `winsor`.

    None when the last is missing, when fewer than half of the window's values are there, or when they are all equal.
    """
    values = np.asarray(history, dtype=np.float64)
    if len(values) < 2 or not np.isfinite(values[-1]):
        return None
    earlier = values[-1 - window : -1]
    earlier = earlier[np.isfinite(earlier)]
    if len(earlier) < max(2, (window + 1) // 2):
        return None
    deviation = float(np.std(earlier, ddof=1))
    if deviation <= 1e-12 * float(np.abs(earlier).max()):
        return None
    return float(np.clip((values[-1] - earlier.mean()) / deviation, -winsor, winsor))
