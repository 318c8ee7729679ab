"""Where, how likely and how soon an order trades between mid and natural: one model for live, paper and backtest.

Prices are placed by their share of the way from mid to natural: 0 at mid, 1 at natural, negative when better than mid.

An order resting at share x fills at a rate of λ(x) = λ₀ exp(k (x − θ)) a second: each step towards natural makes a fill
more likely by the same factor. θ, the expected fill, is a quarter of the way for tight markets and half of it where a
leg's bid–ask spread is 25 % of its mid or more. λ₀ follows from what θ means: of orders that move from mid to natural
at a steady pace in five minutes, half have traded by the time they get to θ:

    ∫ λ dt from 0 to θ = (λ₀ T / k) (1 − exp(−kθ)) = ln 2,  T = 300 s.

At natural or worse an order takes the quotes and trades at once. k = 8 (from mid to natural the rate grows about
3,000-fold) is a prior; it is to be refitted when the journal holds enough own fills. θ: published slippage priors of
0.2–0.35 for the most liquid underlyings and above 0.5 for wide ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from strategies.chain import Floats

_TIGHT, _WIDE = 0.25, 0.50
_WIDE_AT_SPREAD_PCT = 25.0
_STEEPNESS = 8.0
_PACE_SECONDS = 300.0


def fill_share(widest_spread_pct: npt.ArrayLike) -> Floats:
    """Share of the way from mid to natural at which an order is expected to trade, 0.25–0.5.

    widest_spread_pct: bid–ask spread in percent of its mid of the widest leg. NaN stays NaN.
    """
    spread = np.asarray(widest_spread_pct, dtype=np.float64)
    return np.asarray(np.clip(_TIGHT + (_WIDE - _TIGHT) * spread / _WIDE_AT_SPREAD_PCT, _TIGHT, _WIDE))


def expected_fill(mid: Floats, natural: Floats, widest_spread_pct: Floats) -> Floats:
    """Net price, $ per share, credit positive: a quarter of the way to natural when tight, half when 25 % wide."""
    return np.asarray(mid - fill_share(widest_spread_pct) * (mid - natural))


def price_share(price: npt.ArrayLike, mid: npt.ArrayLike, natural: npt.ArrayLike) -> Floats:
    """Share of the way from mid to natural of a net price, $ per share, credit positive.

    Where mid equals natural: 1 at or below it, minus infinity above. NaN where natural is better than mid.
    """
    p, m, n = (np.asarray(each, dtype=np.float64) for each in (price, mid, natural))
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(m == n, np.where(p <= n, 1.0, -np.inf), (m - p) / (m - n))
    return np.asarray(np.where(n > m, np.nan, share))


def fill_rate(share: npt.ArrayLike, widest_spread_pct: npt.ArrayLike) -> Floats:
    """Fills a second of an order resting at a share; infinite at natural or worse."""
    x, theta = np.asarray(share, dtype=np.float64), fill_share(widest_spread_pct)
    at_theta = _STEEPNESS * np.log(2) / (_PACE_SECONDS * -np.expm1(-_STEEPNESS * theta))
    with np.errstate(over="ignore"):
        rate = at_theta * np.exp(_STEEPNESS * (x - theta))
    return np.asarray(np.where(x >= 1, np.inf, rate))


def fill_probability(share: npt.ArrayLike, seconds: npt.ArrayLike, widest_spread_pct: npt.ArrayLike) -> Floats:
    """Probability that an order at a share trades within so many seconds (0–1); 1 at natural, also within none."""
    rate, time = fill_rate(share, widest_spread_pct), np.maximum(np.asarray(seconds, dtype=np.float64), 0.0)
    with np.errstate(invalid="ignore"):
        probability = -np.expm1(-rate * time)
    return np.asarray(np.where(np.isposinf(rate), 1.0, probability))


def seconds_to_fill(uniform: npt.ArrayLike, share: npt.ArrayLike, widest_spread_pct: npt.ArrayLike) -> Floats:
    """When an order at a share trades, in seconds, for a uniform draw in [0, 1): what paper and backtest draw."""
    rate = fill_rate(share, widest_spread_pct)
    with np.errstate(divide="ignore"):
        return np.asarray(-np.log1p(-np.asarray(uniform, dtype=np.float64)) / rate)


@dataclass(frozen=True, slots=True)
class Walk:
    """An order that starts at a share and is moved in equal steps, resting step_seconds at each price."""

    steps: int
    step_seconds: float
    final_share: float = 1.0
    start_share: float = 0.0

    def __post_init__(self) -> None:
        if self.steps < 0 or not self.step_seconds > 0 or not self.final_share >= self.start_share:
            raise ValueError(f"{self} is no walk: steps >= 0, step_seconds > 0, final_share >= start_share")

    @property
    def shares(self) -> Floats:
        """Where it rests, start and end included."""
        return np.linspace(self.start_share, self.final_share, self.steps + 1)


@dataclass(frozen=True, slots=True)
class WalkFill:
    """What to expect of a walk."""

    probability: float
    """That it trades before it is given up, 0–1."""
    share: float
    """Mean share at which it trades, given that it does; NaN when it never does."""
    seconds: float
    """Mean time until it trades, given that it does; NaN when it never does."""


def walk_fill(walk: Walk, widest_spread_pct: float) -> WalkFill:
    """Probability, mean price and mean time of a walk."""
    each = fill_probability(walk.shares, walk.step_seconds, widest_spread_pct)
    reached = np.concatenate(([1.0], np.cumprod(1 - each)[:-1]))
    weight = reached * each
    total = float(weight.sum())
    if not total > 0:
        return WalkFill(total, float("nan"), float("nan"))
    rate = fill_rate(walk.shares, widest_spread_pct)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        inside = 1 / rate - walk.step_seconds / np.expm1(rate * walk.step_seconds)  # mean of a truncated exponential
    inside = np.where(np.isfinite(inside), inside, 0.0)
    when = np.arange(walk.steps + 1) * walk.step_seconds + inside
    return WalkFill(total, float(weight @ walk.shares) / total, float(weight @ when) / total)


def walk_outcome(uniform: float, walk: Walk, widest_spread_pct: float) -> tuple[float, float] | None:
    """(seconds, share) at which a walk trades for a uniform draw in [0, 1), or None when it is given up first."""
    needed = float(-np.log1p(-uniform))
    for step, (share, rate) in enumerate(zip(walk.shares, fill_rate(walk.shares, widest_spread_pct), strict=True)):
        if needed < rate * walk.step_seconds:
            return step * walk.step_seconds + needed / float(rate), float(share)
        needed -= float(rate) * walk.step_seconds
    return None
