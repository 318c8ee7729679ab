"""Implied-volatility smile of one expiration and the distribution it implies."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from scipy.special import ndtr, ndtri

from optionmath.blackscholes import Bools, Floats, greeks, implied_volatility
from optionmath.svi import RawSvi, SviStatus, fit_svi

_GRID_POINTS, _DEVIATIONS = 801, 7.0
_QUOTES_MIN, _REACH = 5, 3.5


@dataclass(frozen=True, slots=True)
class Smile:
    """Smile of one expiration in k = ln(K/F): an SVI slice, or a quadratic held flat outside [k_min, k_max]."""

    forward: float
    years: float
    coefficients: tuple[float, float, float]
    """w(k) = c0 + c1 k + c2 k²."""
    k_min: float
    k_max: float
    variance_floor: float
    residual: float
    """Root mean square error of the fit, volatility as a fraction."""
    svi: RawSvi | None = None
    """The arbitrage-free slice through the same quotes; where there is one, it is the smile, at every strike."""

    def volatility(self, strike: Floats) -> Floats:
        """Volatility a year at each strike."""
        return np.asarray(np.sqrt(self.derivatives(np.log(strike / self.forward))[0] / self.years))

    def derivatives(self, k: Floats) -> tuple[Floats, Floats, Floats]:
        """w, dw/dk and d²w/dk² at each log-moneyness; without an SVI slice flat outside the quoted range."""
        if self.svi is not None:
            return self.svi.derivatives(k)
        inside = np.clip(k, self.k_min, self.k_max)
        c0, c1, c2 = self.coefficients
        w = c0 + c1 * inside + c2 * inside * inside
        free = (k >= self.k_min) & (k <= self.k_max) & (w > self.variance_floor)
        return (
            np.maximum(w, self.variance_floor),
            np.where(free, c1 + 2 * c2 * inside, 0.0),
            np.where(free, 2 * c2, 0.0),
        )

    @property
    def at_the_money(self) -> float:
        return float(self.volatility(np.array([self.forward]))[0])


def fit_smile(
    forward: float,
    years: float,
    rate: float,
    strike: Floats,
    mid: Floats,
    spread: Floats,
    is_call: Bools,
    *,
    start: Smile | None = None,
) -> Smile | None:
    """Fit the out-of-the-money quotes, weighted by how tight they are. None with fewer than five usable quotes.

    mid and spread: $ per share. Quotes whose implied volatility does not exist are left out. start: the same
    expiration's smile of a moment ago, which halves the time of the fit.
    """
    if not (forward > 0 and years > 0):
        return None
    outside = np.where(is_call, strike >= forward, strike < forward) & np.isfinite(mid) & (mid > 0)
    k = np.log(strike[outside] / forward)
    spot = forward * np.exp(-rate * years)
    volatility, status = implied_volatility(mid[outside], spot, strike[outside], years, rate, 0.0, is_call[outside])
    good = (status == 0) & (np.abs(k) <= 4 * 0.6 * np.sqrt(years) + 0.02)
    if int(good.sum()) < _QUOTES_MIN:
        return None
    k, volatility = k[good], volatility[good]
    width = spread[outside][good]
    weight = 1.0 / np.maximum(width / np.maximum(mid[outside][good], 0.01), 0.01)
    variance = volatility**2 * years
    before = start.svi if start is not None else None
    curve = _slice(k, volatility, width, forward, years, rate, is_call[outside][good], before)
    smile = Smile(
        forward,
        years,
        _parabola(k, variance, weight, curve),
        float(k.min()),
        float(k.max()),
        float(np.min(variance)) * 0.25,
        0.0,
        curve,
    )
    error = smile.volatility(forward * np.exp(k)) - volatility
    return replace(smile, residual=float(np.sqrt(np.average(error**2, weights=weight))))


def _parabola(k: Floats, variance: Floats, weight: Floats, curve: RawSvi | None) -> tuple[float, float, float]:
    """The slice's own parabola at the money; without one the quotes'."""
    if curve is not None:
        w, first, second = curve.derivatives(np.zeros(1))
        return float(w[0]), float(first[0]), float(second[0]) / 2
    c2, c1, c0 = np.polyfit(k, variance, 2, w=weight)
    return float(c0), float(c1), float(c2)


def _slice(
    k: Floats,
    volatility: Floats,
    width: Floats,
    forward: float,
    years: float,
    rate: float,
    is_call: Bools,
    start: RawSvi | None,
) -> RawSvi | None:
    """SVI slice through the quotes within 3.5 of their own deviations; None when they do not give a clean one."""
    near = np.abs(k) <= _REACH * volatility * np.sqrt(years)
    k, volatility, width = k[near], volatility[near], width[near]
    spot = forward * np.exp(-rate * years)
    vega = greeks(spot, forward * np.exp(k), years, volatility, rate, 0.0, is_call[near]).vega * 100
    half_spread = np.maximum(width, 0.0) / 2 / np.maximum(vega, 1e-12)
    fit = fit_svi(k, volatility, years, half_spread=half_spread, start=start)
    return fit.slice if fit.status is SviStatus.OK else None


@dataclass(frozen=True, slots=True)
class Distribution:
    """Risk-neutral (or forecast) distribution of the price at expiration on a grid.

    `cdf` is non-decreasing from 0 to 1; `integral` is ∫ cdf from the grid's start. Outside the grid: 0 and 1.
    """

    grid: Floats
    cdf: Floats
    integral: Floats

    def below(self, level: Floats) -> Floats:
        """P(S_T < level)."""
        return np.asarray(np.interp(level, self.grid, self.cdf, left=0.0, right=1.0))

    def put_value(self, strike: Floats) -> Floats:
        """E[(K − S)⁺], undiscounted, $ per share."""
        inside = np.interp(strike, self.grid, self.integral, left=0.0)
        return np.asarray(inside + np.maximum(strike - self.grid[-1], 0.0))

    def call_value(self, strike: Floats) -> Floats:
        """E[(S − K)⁺], undiscounted, by parity with the distribution's own mean."""
        mean = float(self.grid[-1] - self.integral[-1])
        return np.asarray(self.put_value(strike) + mean - strike)


def distribution(smile: Smile, *, volatility_scale: float = 1.0) -> Distribution:
    """Distribution that the smile implies: P(S<K) = N(−d2) + φ(d2) d√w/dk, monotone.

    volatility_scale multiplies the whole smile (a forecast distribution); 1 is the market's own.
    Source: Breeden and Litzenberger (1978), with the smile's slope in strike.
    """
    deviation = smile.at_the_money * volatility_scale * np.sqrt(smile.years)
    if smile.svi is None:
        k = np.linspace(-_DEVIATIONS * deviation, min(_DEVIATIONS * deviation, 4.0), _GRID_POINTS)
    else:
        # Dense at the money; far enough out for the fat tail that put skew implies.
        k = np.clip(np.sinh(np.linspace(-4.4, 4.2, _GRID_POINTS)) * deviation, -12.0, 4.0)
        k = k[np.concatenate((np.diff(k) > 0, [True]))]
    w, first, _ = smile.derivatives(k)
    root = np.sqrt(w) * volatility_scale
    d2 = -k / root - root / 2
    density = np.exp(-d2 * d2 / 2) / np.sqrt(2 * np.pi)
    raw = ndtr(-d2) + density * volatility_scale * first / (2 * np.sqrt(w))
    grid = smile.forward * np.exp(k)
    cdf = np.maximum.accumulate(np.clip(raw, 0.0, 1.0))
    if smile.svi is None or bool(np.any(np.diff(raw) < -1e-9)):
        cdf = cdf / cdf[-1] if cdf[-1] > 0 else cdf
        steps = np.diff(grid) * (cdf[1:] + cdf[:-1]) / 2
        return Distribution(grid, cdf, np.concatenate(([0.0], np.cumsum(steps))))
    cdf[-1] = 1.0
    # The integral of a smile's own distribution is its undiscounted put: exact, tails beyond the grid included.
    return Distribution(grid, cdf, grid * ndtr(-d2) - smile.forward * ndtr(-d2 - root))


class VarianceCurve(Protocol):
    """Total variance of one expiration as a smooth function of k = ln(K / F), with its slope and bend."""

    def derivatives(self, k: Floats) -> tuple[Floats, Floats, Floats]: ...


@dataclass(frozen=True, slots=True)
class SmileMetrics:
    """Shape of one expiration's smile; volatilities are fractions a year, deltas are forward deltas N(d1).

    NaN where the smile never reaches a delta.
    """

    years: float
    at_the_money: float
    put_25: float
    call_25: float
    put_10: float
    call_10: float
    slope: float
    """dσ/dk at the forward: volatility per unit of log-moneyness; negative with put skew."""

    @property
    def risk_reversal_25(self) -> float:
        """Put minus call: positive with put skew."""
        return self.put_25 - self.call_25

    @property
    def risk_reversal_10(self) -> float:
        return self.put_10 - self.call_10

    @property
    def butterfly_25(self) -> float:
        """Mean of the wings above the money."""
        return (self.put_25 + self.call_25) / 2 - self.at_the_money

    @property
    def butterfly_10(self) -> float:
        return (self.put_10 + self.call_10) / 2 - self.at_the_money

    @property
    def put_25_ratio(self) -> float:
        """25-delta put volatility over the money's."""
        return self.put_25 / self.at_the_money

    @property
    def call_25_ratio(self) -> float:
        return self.call_25 / self.at_the_money


_DELTA_D1 = ndtri(np.array([0.75, 0.25, 0.90, 0.10]))
"""d1 of the 25-delta put and call and the 10-delta put and call: |put delta| = N(−d1), call delta = N(d1)."""


def smile_metrics(curve: VarianceCurve, years: float) -> SmileMetrics:
    """Measure one smile: 25- and 10-delta points by a grid in k, then Newton steps on d1(k)."""
    w0, slope0, _ = curve.derivatives(np.zeros(1))
    deviation = float(np.sqrt(w0[0]))
    grid = np.linspace(-8, 8, 321) * deviation
    d1, _ = _d1_and_slope(curve, grid)
    k = np.interp(-_DELTA_D1, -d1, grid, left=np.nan, right=np.nan)
    for _ in range(3):
        value, rate = _d1_and_slope(curve, k)
        k = k - (value - _DELTA_D1) / rate
    volatility = np.sqrt(curve.derivatives(k)[0] / years)
    put_25, call_25, put_10, call_10 = (float(each) for each in volatility)
    root = float(np.sqrt(years))
    slope = float(slope0[0]) / (2 * deviation * root)
    return SmileMetrics(years, deviation / root, put_25, call_25, put_10, call_10, slope)


def _d1_and_slope(curve: VarianceCurve, k: Floats) -> tuple[Floats, Floats]:
    w, first, _ = curve.derivatives(k)
    root = np.sqrt(w)
    return -k / root + root / 2, -1 / root + first / (2 * root) * (k / w + 0.5)
