"""Distribution of the price at one expiration: the market's own, from its smile, or a forecast, the smile scaled.

P(S < K) = N(−d2) + φ(d2) ∂√w/∂k is the slope in strike of the undiscounted put, so that every option has its own price
as expected payoff. Source: Breeden and Litzenberger (1978); Hull, chapters 13, 15 and 26.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from optionmath.blackscholes import Floats
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

    def with_ratio(self, ratio: float) -> Law:
        """The same law with another volatility ratio."""
        return _law(self.curve, self.years, self.mean, ratio, self.definition)

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
