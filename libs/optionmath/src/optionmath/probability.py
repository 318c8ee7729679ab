"""Probability of profit, expected value and expected shortfall of a position held to one expiration, in closed form.

Positions are columns of legs per share: quantity > 0 long, cash > 0 received. All follows from the law's P(S < K)
and its option values; nothing is integrated numerically. Under the market's own law the expected value of a position
traded at its smile's prices is zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq

from optionmath.blackscholes import Bools, Floats
from optionmath.law import (
    Definition,
    FlatCurve,
    Law,
    forecast_law,
    in_the_money_probability,
    law_touch_probability,
    market_law,
    touch_probability,
)


@dataclass(frozen=True, slots=True)
class LinearPayoff:
    """P&L per share at one expiration: linear between knots. Build it with `of_legs`."""

    knots: Floats
    """Prices where the slope may change, ascending, the first 0."""
    values: Floats
    """P&L at the knots, $ per share."""
    last_slope: float
    """Slope beyond the last knot."""
    is_call: Bools
    strike: Floats
    quantity: Floats
    cash: float
    shares: float

    @classmethod
    def of_legs(
        cls,
        is_call: npt.ArrayLike,
        strike: npt.ArrayLike,
        quantity: npt.ArrayLike,
        cash: float,
        *,
        shares: float = 0.0,
    ) -> LinearPayoff:
        """Legs as columns; cash: $ per share received (credit) or paid (negative) for everything, fees subtracted.

        shares: stock per share of the contract (1.0 = a covered call's hundred), its cost being part of `cash`.
        Raises ValueError for columns of different length, a strike that is not positive or a number that is not finite.
        """
        call = np.atleast_1d(np.asarray(is_call, dtype=np.bool_))
        k, q = (np.atleast_1d(np.asarray(each, dtype=np.float64)) for each in (strike, quantity))
        if not (call.shape == k.shape == q.shape) or call.ndim != 1:
            raise ValueError("legs need columns of one length")
        if not (np.all(np.isfinite(k)) and np.all(k > 0) and np.all(np.isfinite(q)) and math.isfinite(cash + shares)):
            raise ValueError("legs need positive strikes and finite quantities and cash")
        knots = np.unique(np.concatenate(([0.0], k)))
        intrinsic = np.where(call, np.maximum(knots[:, None] - k, 0.0), np.maximum(k - knots[:, None], 0.0))
        values = cash + shares * knots + intrinsic @ q
        return cls(knots, values, shares + float(q[call].sum()), call, k, q, cash, shares)

    def value_at(self, price: npt.ArrayLike) -> Floats:
        """P&L at each price, $ per share."""
        at = np.asarray(price, dtype=np.float64)
        beyond = np.maximum(at - self.knots[-1], 0.0)
        return np.asarray(np.interp(at, self.knots, self.values) + self.last_slope * beyond)

    def segments(self) -> list[tuple[float, float, float, float]]:
        """(from, to, value at from, slope) of each piece; the last one ends at infinity."""
        slopes = np.append(np.diff(self.values) / np.diff(self.knots), self.last_slope)
        ends = np.append(self.knots[1:], np.inf)
        columns = zip(self.knots, ends, self.values, slopes, strict=True)
        return [(float(start), float(end), float(value), float(slope)) for start, end, value, slope in columns]

    def intervals_above(self, level: float) -> list[tuple[float, float]]:
        """Price intervals where P&L > level, in order; a piece identical to the level is not part of them."""
        found: list[tuple[float, float]] = []
        for start, end, value, slope in self.segments():
            if abs(slope) < 1e-12:
                low, high = (start, end) if value > level else (start, start)
            else:
                root = start + (level - value) / slope
                low, high = (max(start, root), end) if slope > 0 else (start, min(end, root))
            if not high > low:
                continue
            if found and abs(found[-1][1] - low) <= 1e-12 * max(1.0, low):
                found[-1] = (found[-1][0], high)
            else:
                found.append((low, high))
        return found

    def intervals_below(self, level: float) -> list[tuple[float, float]]:
        """Price intervals where P&L < level."""
        mirror = replace(self, values=-self.values, last_slope=-self.last_slope)
        return mirror.intervals_above(-level)


def probability(law: Law, intervals: list[tuple[float, float]]) -> float:
    """P(S_T inside a union of disjoint intervals)."""
    if not intervals:
        return 0.0
    bounds = law.below(np.array(intervals))
    return float(np.clip(np.sum(bounds[:, 1] - bounds[:, 0]), 0.0, 1.0))


def profit_probability(payoff: LinearPayoff, law: Law, *, at_least: float = 0.0) -> float:
    """POP: P(P&L > at_least) at expiration; at_least in $ per share (tastytrade counts a cent, 0.01)."""
    return probability(law, payoff.intervals_above(at_least))


def expected_value(payoff: LinearPayoff, law: Law) -> float:
    """E[P&L], undiscounted, $ per share: zero under the market's law for a position traded at its smile's prices."""
    options = np.where(payoff.is_call, law.call_value(payoff.strike), law.put_value(payoff.strike))
    return float(payoff.cash + payoff.shares * law.mean + np.sum(payoff.quantity * options))


def expected_shortfall(payoff: LinearPayoff, law: Law, *, confidence: float = 0.95) -> float:
    """Mean loss of the worst (1 − confidence) of outcomes, $ per share, positive = loss (Acerbi and Tasche, 2002)."""
    tail = 1 - confidence
    if not 0 < tail < 1:
        raise ValueError(f"confidence lies between 0 and 1, was {confidence}")
    level = _quantile(payoff, law, tail)
    worse = payoff.intervals_below(level)
    total = sum(_part(payoff, law, low, high) for low, high in worse)
    return -(total + level * (tail - probability(law, worse))) / tail


def _quantile(payoff: LinearPayoff, law: Law, tail: float) -> float:
    """Smallest P&L v with P(P&L ≤ v) ≥ tail."""

    def excess(level: float) -> float:
        return 1 - probability(law, payoff.intervals_above(level)) - tail

    corners = sorted({float(each) for each in payoff.values})
    low = corners[0]
    if payoff.last_slope < 0:
        step = max(abs(payoff.last_slope) * law.mean, 1.0)
        while excess(low - step) >= 0:
            step *= 2
        corners.insert(0, low - step)
    if payoff.last_slope > 0:
        step = max(payoff.last_slope * law.mean, 1.0)
        while excess(corners[-1] + step) < 0:
            step *= 2
        corners.append(corners[-1] + step)
    at = next((index for index, each in enumerate(corners) if excess(each) >= 0), len(corners) - 1)
    if at == 0 or corners[at] - corners[at - 1] < 1e-12:
        return corners[at]
    # Between two corners the distribution of P&L is continuous; a jump at the upper corner itself is that corner.
    inside = corners[at] - 1e-12 * max(1.0, abs(corners[at]))
    if excess(inside) < 0:
        return corners[at]
    return float(brentq(excess, corners[at - 1], inside, xtol=1e-12, rtol=1e-12))


def _part(payoff: LinearPayoff, law: Law, low: float, high: float) -> float:
    """E[P&L; low < S < high]."""
    total = 0.0
    for start, end, value, slope in payoff.segments():
        a, b = max(start, low), min(end, high)
        if not b > a:
            continue
        mass, means = np.diff(law.below(np.array([a, b])))[0], np.diff(law.mean_below(np.array([a, b])))[0]
        total += (value - slope * start) * float(mass) + slope * float(means)
    return total


@dataclass(frozen=True, slots=True)
class Outlook:
    """What one law says of one position held to expiration; $ per share. Probabilities add to 1."""

    definition: Definition
    degraded: bool
    profit_probability: float
    loss_probability: float
    scratch_probability: float
    """P(P&L exactly 0)."""
    expected_value: float
    expected_shortfall: float
    profit_probability_error: float
    """Standard errors from the error of the volatility forecast; 0 under the market's law."""
    expected_value_error: float


def outlook(payoff: LinearPayoff, law: Law, *, ratio_error: float = 0.0, confidence: float = 0.95) -> Outlook:
    """Probabilities, expected value and shortfall under a law, with what a forecast error of the ratio does to them.

    ratio_error: standard error of the law's volatility ratio (0.07 = 7 % of volatility); must be below the ratio.
    """
    profit, loss = profit_probability(payoff, law), probability(law, payoff.intervals_below(0.0))
    value = expected_value(payoff, law)
    errors = 0.0, 0.0
    if ratio_error > 0:
        calm, wild = law.with_ratio(law.ratio - ratio_error), law.with_ratio(law.ratio + ratio_error)
        errors = (
            abs(profit_probability(payoff, wild) - profit_probability(payoff, calm)) / 2,
            abs(expected_value(payoff, wild) - expected_value(payoff, calm)) / 2,
        )
    return Outlook(
        law.definition,
        law.degraded,
        profit,
        loss,
        max(0.0, 1 - profit - loss),
        value,
        expected_shortfall(payoff, law, confidence=confidence),
        *errors,
    )


@dataclass(frozen=True, slots=True)
class CreditBounds:
    """Credits ($ per share, today) between which defined-risk credit spreads have no arbitrage under a law."""

    low: Floats
    high: Floats

    def inside(self, credit: npt.ArrayLike, *, tolerance: npt.ArrayLike = 0.0) -> Bools:
        """Whether a credit is possible; what is outside is a bad quote, not an opportunity. tolerance: $ per share."""
        c, slack = np.asarray(credit, dtype=np.float64), np.asarray(tolerance, dtype=np.float64)
        return np.asarray((c >= self.low - slack) & (c <= self.high + slack))


def credit_bounds(
    law: Law,
    discount: float,
    *,
    short_put: npt.ArrayLike = np.nan,
    long_put: npt.ArrayLike = np.nan,
    short_call: npt.ArrayLike = np.nan,
    long_call: npt.ArrayLike = np.nan,
) -> CreditBounds:
    """D W P(beyond the long strike) ≤ credit ≤ D W P(beyond the short strike), summed over the sides given.

    NaN strikes: that side is absent. discount: e^(−rT).
    """
    ps, pl, cs, cl = np.broadcast_arrays(
        *(np.asarray(each, dtype=np.float64) for each in (short_put, long_put, short_call, long_call))
    )
    puts, calls = np.isfinite(ps) & np.isfinite(pl), np.isfinite(cs) & np.isfinite(cl)
    low = np.where(puts, (ps - pl) * law.below(pl), 0.0) + np.where(calls, (cl - cs) * (1 - law.below(cl)), 0.0)
    high = np.where(puts, (ps - pl) * law.below(ps), 0.0) + np.where(calls, (cl - cs) * (1 - law.below(cs)), 0.0)
    return CreditBounds(discount * low, discount * high)


__all__ = (
    "CreditBounds",
    "Definition",
    "FlatCurve",
    "Law",
    "LinearPayoff",
    "Outlook",
    "credit_bounds",
    "expected_shortfall",
    "expected_value",
    "forecast_law",
    "in_the_money_probability",
    "law_touch_probability",
    "market_law",
    "outlook",
    "probability",
    "profit_probability",
    "touch_probability",
)
