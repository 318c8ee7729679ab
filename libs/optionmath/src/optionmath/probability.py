"""Probability of profit, expected value and expected shortfall of a position held to one expiration, in closed form.

A law is the distribution of the price at expiration: the market's own from its smile, or a forecast, the smile scaled by
forecast over implied volatility. P(S < K) = N(−d2) + φ(d2) ∂√w/∂k is the slope in strike of the undiscounted put, so
the expected value of any option payoff under the market's law is its own price. Positions are columns of legs per
share: quantity > 0 long, cash > 0 received. Source: Breeden and Litzenberger (1978); Hull, chapters 13 and 15.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import ndtr

from optionmath.blackscholes import Bools, Floats
from optionmath.smile import VarianceCurve

_GRID_POINTS, _GRID_DEVIATIONS, _MONOTONE_TOLERANCE = 401, 8.0, 1e-9
_MONITORING = 0.5825971579390107
"""−ζ(½)/√(2π): Broadie, Glasserman and Kou (1997), the shift of a barrier watched at intervals."""


class Definition(StrEnum):
    """How a volatility becomes a probability; stored with every score."""

    FLAT = "flat"
    """One volatility, the money's."""
    STRIKE = "strike"
    """N(−d2) with the volatility of the level itself; ignores the skew's slope."""
    SKEW = "skew"
    """The digital the smile implies; agrees with the option prices."""


@dataclass(frozen=True, slots=True)
class FlatCurve:
    """The same total variance everywhere."""

    variance: float

    def derivatives(self, k: Floats) -> tuple[Floats, Floats, Floats]:
        zero = np.zeros(np.shape(k))
        return zero + self.variance, zero, zero


@dataclass(frozen=True, slots=True)
class Law:
    """Distribution of the price at expiration. Build it with `market_law` or `forecast_law`.

    `definition` is what was asked for; `degraded` says that the smile's own digital was no distribution (it fell
    somewhere) and that probabilities come from `strike` instead.
    """

    curve: VarianceCurve
    years: float
    mean: float
    """Expected price, $ per share: the forward under the market's law."""
    ratio: float
    """Forecast over implied volatility; 1 is the market's own law."""
    definition: Definition
    degraded: bool
    _grid: Floats = field(repr=False)
    _integral: Floats = field(repr=False)

    def volatility(self, strike: npt.ArrayLike) -> Floats:
        """Volatility a year under this law."""
        w, _ = self._variance(np.log(np.asarray(strike, dtype=np.float64) / self.mean))
        return np.asarray(np.sqrt(w / self.years))

    def below(self, level: npt.ArrayLike) -> Floats:
        """P(S_T < level); 0 at and below 0, 1 at infinity."""
        at = np.asarray(level, dtype=np.float64)
        inside = np.where((at > 0) & np.isfinite(at), at, self.mean)
        skewed = self.definition is Definition.SKEW and not self.degraded
        found = self._digital(np.log(inside / self.mean), slope=skewed)
        known = np.where(at <= 0, 0.0, np.where(np.isposinf(at), 1.0, found))
        return np.asarray(np.where(np.isnan(at), np.nan, known))

    def put_value(self, strike: npt.ArrayLike) -> Floats:
        """E[(K − S)⁺], undiscounted, $ per share: the price that the law's smile gives."""
        at = np.asarray(strike, dtype=np.float64)
        inside = np.where(at > 0, at, self.mean)
        k = np.log(inside / self.mean)
        root = np.sqrt(self._variance(k)[0])
        d2 = -k / root - root / 2
        return np.asarray(np.where(at > 0, inside * ndtr(-d2) - self.mean * ndtr(-d2 - root), 0.0))

    def call_value(self, strike: npt.ArrayLike) -> Floats:
        """E[(S − K)⁺], undiscounted, $ per share."""
        return np.asarray(self.put_value(strike) + self.mean - np.asarray(strike, dtype=np.float64))

    def mean_below(self, level: npt.ArrayLike) -> Floats:
        """E[S; S < level], $ per share: level × P(S < level) − ∫ P. The mean at infinity."""
        at = np.asarray(level, dtype=np.float64)
        finite = np.where(np.isfinite(at), at, self._grid[-1])
        partial = finite * self.below(finite) - self._integral_below(finite)
        return np.asarray(np.where(np.isfinite(at), partial, self._own_mean))

    @property
    def _consistent(self) -> bool:
        return self.definition is not Definition.STRIKE and not self.degraded

    @property
    def _own_mean(self) -> float:
        return self.mean if self._consistent else float(self._grid[-1] - self._integral[-1])

    def _integral_below(self, level: Floats) -> Floats:
        if self._consistent:
            return self.put_value(level)
        inside = np.interp(level, self._grid, self._integral, left=0.0)
        return np.asarray(inside + np.maximum(level - self._grid[-1], 0.0))

    def _variance(self, k: Floats) -> tuple[Floats, Floats]:
        if self.definition is Definition.FLAT:
            w, _, _ = self.curve.derivatives(np.zeros(1))
            return np.full(np.shape(k), float(w[0]) * self.ratio**2), np.zeros(np.shape(k))
        w, first, _ = self.curve.derivatives(k)
        return np.maximum(w, 1e-14) * self.ratio**2, first * self.ratio**2

    def _digital(self, k: Floats, *, slope: bool) -> Floats:
        w, first = self._variance(k)
        root = np.sqrt(w)
        d2 = -k / root - root / 2
        found = ndtr(-d2)
        if slope:
            found = found + np.exp(-d2 * d2 / 2) / math.sqrt(2 * math.pi) * first / (2 * root)
        return np.asarray(np.clip(found, 0.0, 1.0))


def _law(curve: VarianceCurve, years: float, mean: float, ratio: float, definition: Definition) -> Law:
    if not (years > 0 and mean > 0 and ratio > 0):
        raise ValueError(f"a law needs positive time, mean and ratio, were {years}, {mean}, {ratio}")
    level = float(curve.derivatives(np.zeros(1))[0][0])
    if not level > 0:
        raise ValueError(f"a law needs positive variance at the money, was {level}")
    k = np.linspace(-_GRID_DEVIATIONS, _GRID_DEVIATIONS, _GRID_POINTS) * math.sqrt(level) * ratio
    grid = mean * np.exp(k)
    draft = Law(curve, years, mean, ratio, definition, False, grid, grid)
    degraded = False
    if definition is Definition.SKEW:
        cdf = draft._digital(k, slope=True)
        degraded = bool(np.any(np.diff(cdf) < -_MONOTONE_TOLERANCE))
    if definition is not Definition.STRIKE and not degraded:
        return draft
    cdf = np.maximum.accumulate(draft._digital(k, slope=False))
    integral = np.concatenate(([0.0], np.cumsum(np.diff(grid) * (cdf[1:] + cdf[:-1]) / 2)))
    return Law(curve, years, mean, ratio, definition, degraded, grid, integral)


def market_law(curve: VarianceCurve, forward: float, years: float, definition: Definition = Definition.SKEW) -> Law:
    """The distribution the option prices imply. curve: an SVI slice, a `Smile`, a `FlatCurve`.

    Raises ValueError for time, forward or variance that is not positive.
    """
    return _law(curve, years, forward, 1.0, definition)


def forecast_law(
    curve: VarianceCurve, mean: float, years: float, ratio: float, definition: Definition = Definition.SKEW
) -> Law:
    """The market's smile scaled by `ratio` (forecast over implied volatility) around another mean.

    mean: the forward for drift r − q, the spot for drift 0. Raises ValueError as `market_law`.
    """
    return _law(curve, years, mean, ratio, definition)


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
        calm = _law(law.curve, law.years, law.mean, law.ratio - ratio_error, law.definition)
        wild = _law(law.curve, law.years, law.mean, law.ratio + ratio_error, law.definition)
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


def in_the_money_probability(law: Law, is_call: npt.ArrayLike, strike: npt.ArrayLike) -> Floats:
    """P(the option ends in the money), N(d2) with the law's skew."""
    below = law.below(strike)
    return np.asarray(np.where(np.asarray(is_call, dtype=np.bool_), 1 - below, below))


def touch_probability(
    spot: npt.ArrayLike,
    barrier: npt.ArrayLike,
    years: npt.ArrayLike,
    sigma: npt.ArrayLike,
    drift: npt.ArrayLike,
    *,
    observations_per_year: float | None = None,
) -> Floats:
    """P(the price reaches `barrier` before expiration), lognormal with drift r − q; 1 at the barrier.

    observations_per_year: watched at intervals instead of always (252 = each session's close); the barrier then lies
    exp(±0.5826 σ √Δt) further away (Broadie, Glasserman and Kou, 1997), and the result is at least P(it ends beyond).
    NaN where an input makes no sense. Source: Hull, chapter 26; reflection principle.
    """
    s, h, t, v, mu = np.broadcast_arrays(
        *(np.asarray(each, dtype=np.float64) for each in (spot, barrier, years, sigma, drift))
    )
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        distance = np.log(h / s)
        side = np.where(distance >= 0, 1.0, -1.0)
        b, nu, root = side * distance, side * (mu - v * v / 2), v * np.sqrt(t)
        ends_beyond = ndtr((nu * t - b) / root)
        if observations_per_year is not None:
            b = b + _MONITORING * v / math.sqrt(observations_per_year)
        reflected = np.exp(np.minimum(2 * nu * b / (v * v), 700.0)) * ndtr((-b - nu * t) / root)
        found = np.clip(ndtr((nu * t - b) / root) + reflected, ends_beyond, 1.0)
    good = (s > 0) & (h > 0) & (t > 0) & (v > 0) & np.isfinite(mu)
    return np.asarray(np.where(good, np.where(distance == 0, 1.0, found), np.nan))


def law_touch_probability(
    law: Law, spot: float, barrier: npt.ArrayLike, *, observations_per_year: float | None = None
) -> Floats:
    """P(touch) with the law's volatility at the barrier and its drift; at least the law's own P(ends beyond)."""
    level = np.asarray(barrier, dtype=np.float64)
    drift = math.log(law.mean / spot) / law.years
    found = touch_probability(
        spot, level, law.years, law.volatility(level), drift, observations_per_year=observations_per_year
    )
    below = law.below(level)
    return np.asarray(np.maximum(found, np.where(level >= spot, 1 - below, below)))


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
