"""Volatility surface of one underlying: SVI slices joined in total variance, SSVI for thin chains, arbitrage checks.

Everything is in log-moneyness to each expiration's own forward, k = ln(K / F(T)), and total variance w = σ² T.
Source: Gatheral and Jacquier (2014), Arbitrage-free SVI volatility surfaces, Quantitative Finance 14(1).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from scipy.optimize import least_squares

from optionmath.blackscholes import Bools, Floats
from optionmath.smile import SmileMetrics, smile_metrics
from optionmath.svi import RawSvi, SviFit, SviStatus, check, fit_quotes

_GRID = np.sinh(np.linspace(-4.0, 4.0, 241))
_CALENDAR_TOLERANCE, _K_MAX = 1e-3, 2.5
_HALF_SPREAD_MIN = 2e-4
_SACRIFICE, _SACRIFICE_MIN = 3.0, 5e-3


@dataclass(frozen=True, slots=True)
class ExpirationQuotes:
    """Two-sided quotes of one expiration, $ per share; bid 0 or NaN = none. rate: continuous."""

    forward: float
    years: float
    rate: float
    strike: Floats
    bid: Floats
    ask: Floats
    is_call: Bools


@dataclass(frozen=True, slots=True)
class Slice:
    """One expiration of a surface."""

    forward: float
    years: float
    svi: RawSvi


@dataclass(frozen=True, slots=True)
class CalendarGap:
    """Where a later expiration has less total variance than an earlier one: a calendar spread with a negative price."""

    earlier_years: float
    later_years: float
    k: float
    lack: float
    """Total variance missing at k, positive."""


@dataclass(frozen=True, slots=True)
class Surface:
    """Slices in order of expiration. Build it with `fit_surface` or `Ssvi.surface`. Empty surfaces do not exist."""

    slices: tuple[Slice, ...]

    def __post_init__(self) -> None:
        years = [each.years for each in self.slices]
        if not years or years[0] <= 0 or any(b <= a for a, b in itertools.pairwise(years)):
            raise ValueError("a surface needs slices of positive, strictly increasing time")

    def forward(self, years: float) -> float:
        """Forward, $ per share: log-linear in time; beyond the expirations with the carry of the nearest pair."""
        times = np.array([each.years for each in self.slices])
        logs = np.log([each.forward for each in self.slices])
        if len(times) == 1:
            return float(self.slices[0].forward)
        at = int(np.clip(np.searchsorted(times, years), 1, len(times) - 1))
        slope = (logs[at] - logs[at - 1]) / (times[at] - times[at - 1])
        return float(np.exp(logs[at - 1] + slope * (years - times[at - 1])))

    def total_variance(self, k: Floats, years: float) -> Floats:
        """w(k, T): linear in T between expirations, proportional to T before the first and after the last.

        No arbitrage is added between two slices that have none (Gatheral and Jacquier, lemma 5.1). NaN for years ≤ 0.
        """
        if not years > 0:
            return np.full(np.shape(k), np.nan)
        first, last = self.slices[0], self.slices[-1]
        if years <= first.years or len(self.slices) == 1:
            return np.asarray(first.svi.total_variance(k) * (years / first.years))
        if years >= last.years:
            return np.asarray(last.svi.total_variance(k) * (years / last.years))
        at = int(np.searchsorted([each.years for each in self.slices], years))
        low, high = self.slices[at - 1], self.slices[at]
        share = (years - low.years) / (high.years - low.years)
        return np.asarray((1 - share) * low.svi.total_variance(k) + share * high.svi.total_variance(k))

    def volatility(self, strike: Floats, years: float) -> Floats:
        """Implied volatility a year at each strike ($) for an expiration in `years`."""
        k = np.log(np.asarray(strike) / self.forward(years))
        return np.asarray(np.sqrt(self.total_variance(k, years) / years))

    def at_the_money(self, years: float) -> float:
        """Volatility at the forward."""
        return math.sqrt(float(self.total_variance(np.zeros(1), years)[0]) / years) if years > 0 else float("nan")

    def forward_volatility(self, start: float, end: float) -> float:
        """At-the-money volatility between two times, √((T₂σ₂² − T₁σ₁²)/(T₂ − T₁)); NaN where that is negative."""
        if not 0 < start < end:
            return float("nan")
        zero = np.zeros(1)
        gained = float(self.total_variance(zero, end)[0] - self.total_variance(zero, start)[0])
        return math.sqrt(gained / (end - start)) if gained >= 0 else float("nan")

    def metrics(self) -> tuple[SmileMetrics, ...]:
        """Skew figures of every slice."""
        return tuple(smile_metrics(each.svi, each.years) for each in self.slices)

    def term(self, short_days: float = 30, long_days: float = 60) -> TermStructure:
        """At-the-money term structure between two maturities in days."""
        short, long = short_days / 365, long_days / 365
        near, far = self.at_the_money(short), self.at_the_money(long)
        return TermStructure(near, far, far / near, (far - near) / (long - short), self.forward_volatility(short, long))

    def calendar_gaps(self) -> tuple[CalendarGap, ...]:
        """Neighbouring expirations that admit calendar arbitrage, at their worst k within 27 deviations of the earlier.

        Strikes below a twelfth or above twelve times the forward are no contracts and are not looked at.
        A lack below 0.1 % of the variance, hundredths of a volatility point, does not count.
        """
        found = []
        for low, high in itertools.pairwise(self.slices):
            gap = _gap(low.svi, high.svi)
            if gap is not None:
                found.append(CalendarGap(low.years, high.years, *gap))
        return tuple(found)

    @property
    def arbitrage_free(self) -> bool:
        """No butterfly in any slice and no calendar spread between neighbours."""
        return not self.calendar_gaps() and all(check(each.svi).free for each in self.slices)


@dataclass(frozen=True, slots=True)
class TermStructure:
    """At-the-money volatilities (fractions a year) at two maturities and what lies between them."""

    short: float
    long: float
    ratio: float
    """Long over short: above 1 in contango."""
    slope: float
    """Change of volatility per year of maturity."""
    forward: float
    """Forward volatility between the two."""


def fit_surface(
    expirations: Sequence[ExpirationQuotes], *, previous: Surface | None = None, calendar_free: bool = True
) -> tuple[Surface | None, tuple[SviFit, ...]]:
    """Fit a slice per expiration, farthest first, each kept below the one after it when `calendar_free`.

    That order lets the later expiration's quotes, which reach further out, bound the earlier one's extrapolated wings.
    Where staying below fails, or misses the quotes by three times their own fit's error and half a point, they win and
    `calendar_gaps` reports it: an event or a dividend between two expirations can make such a gap real.

    previous: the surface of the last tick or session; slices start from its nearest in time. Fits come back in the
    order given, whatever their status; the surface holds those that have a slice, or is None when none has.
    """
    fits: dict[int, SviFit] = {}
    slices: list[Slice] = []
    for index in sorted(range(len(expirations)), key=lambda each: -expirations[each].years):
        years = expirations[index].years
        later = slices[-1].svi if calendar_free and slices else None
        fit = _fit(expirations[index], _nearest(previous, years), later)
        fits[index] = fit
        if fit.slice is not None and fit.status is SviStatus.OK and (not slices or years < slices[-1].years):
            slices.append(Slice(expirations[index].forward, years, fit.slice))
    surface = Surface(tuple(reversed(slices))) if slices else None
    return surface, tuple(fits[index] for index in range(len(expirations)))


def _fit(quotes: ExpirationQuotes, start: RawSvi | None, later: RawSvi | None) -> SviFit:
    """Below the later slice where that is possible without missing the quotes; else the quotes win."""
    columns = (quotes.forward, quotes.years, quotes.rate, quotes.strike, quotes.bid, quotes.ask, quotes.is_call)
    free = fit_quotes(*columns, start=start)
    if later is None or free.slice is None or _gap(free.slice, later) is None:
        return free
    bound = fit_quotes(*columns, start=start, later=later)
    missed = bound.status is not SviStatus.OK or bound.rms > _SACRIFICE * free.rms + _SACRIFICE_MIN
    return free if missed and free.status is SviStatus.OK else bound


def _gap(earlier: RawSvi, later: RawSvi) -> tuple[float, float] | None:
    """(k, lack of total variance) where the later slice lacks most against the earlier one; None when it never does."""
    k = _GRID * math.sqrt(max(float(earlier.total_variance(np.zeros(1))[0]), 1e-8))
    k = k[np.abs(k) <= _K_MAX]
    above = earlier.total_variance(k)
    lack = above - later.total_variance(k)
    worst = int(np.argmax(lack / np.maximum(above, 1e-12)))
    return (float(k[worst]), float(lack[worst])) if lack[worst] > _CALENDAR_TOLERANCE * above[worst] else None


def _nearest(surface: Surface | None, years: float) -> RawSvi | None:
    if surface is None:
        return None
    return min(surface.slices, key=lambda each: abs(each.years - years)).svi


class SsviStatus(IntEnum):
    """Why an SSVI fit is what it is."""

    OK = 0
    TOO_FEW_QUOTES = 1
    NO_CONVERGENCE = 2


@dataclass(frozen=True, slots=True)
class Ssvi:
    """w = θ/2 (1 + ρφk + √((φk + ρ)² + 1 − ρ²)) with φ(θ) = η θ^(−γ) (1 + θ)^(γ − 1) and θ per expiration.

    Free of butterfly and calendar arbitrage when η(1 + |ρ|) ≤ 2, 0 < γ ≤ ½ and θ never falls (remark 4.4).
    """

    rho: float
    eta: float
    gamma: float
    years: tuple[float, ...]
    theta: tuple[float, ...]
    """At-the-money total variance of each expiration."""

    def phi(self, theta: float) -> float:
        return float(self.eta * theta**-self.gamma * (1 + theta) ** (self.gamma - 1))

    def slice(self, theta: float) -> RawSvi:
        """The raw slice with this at-the-money total variance."""
        phi, conjugate = self.phi(theta), math.sqrt(1 - self.rho**2)
        return RawSvi(theta / 2 * conjugate**2, theta * phi / 2, self.rho, -self.rho / phi, conjugate / phi)

    def surface(self, forwards: Sequence[float]) -> Surface:
        """The surface with these forwards ($), one an expiration."""
        return Surface(
            tuple(
                Slice(forward, years, self.slice(theta))
                for forward, years, theta in zip(forwards, self.years, self.theta, strict=True)
            )
        )

    @property
    def arbitrage_free(self) -> bool:
        """The sufficient conditions above; and, per θ, θφ(1 + |ρ|) < 4 and θφ²(1 + |ρ|) ≤ 4 (theorem 4.2)."""
        tilt = 1 + abs(self.rho)
        return (
            abs(self.rho) < 1
            and 0 < self.gamma <= 0.5
            and 0 < self.eta * tilt <= 2
            and all(b >= a for a, b in itertools.pairwise(self.theta))
            and all(t * self.phi(t) * tilt < 4 and t * self.phi(t) ** 2 * tilt <= 4 for t in self.theta)
        )


@dataclass(frozen=True, slots=True)
class SsviFit:
    """A fitted surface with its quality; `ssvi` is None unless the status is OK."""

    status: SsviStatus
    ssvi: Ssvi | None
    quotes: int
    rms: float
    """Root mean square error weighted by tightness, volatility as a fraction."""
    within_bid_ask: float


def fit_ssvi(
    k: Sequence[Floats], volatility: Sequence[Floats], half_spread: Sequence[Floats], years: Sequence[float]
) -> SsviFit:
    """Fit one SSVI surface to implied volatilities of all expirations (increasing in time): the tool for thin chains.

    half_spread: half the bid–ask width in volatility. Arbitrage-free by construction: the search only visits
    parameters that meet the conditions. Expirations without quotes may be given; NaN elements are left out.
    """
    size = len(years)
    columns = zip(k, volatility, half_spread, strict=True)
    good = [np.isfinite(a) & np.isfinite(b) & (b > 0) & np.isfinite(c) for a, b, c in columns]
    which = np.concatenate([np.full(int(each.sum()), i) for i, each in enumerate(good)]) if size else np.zeros(0, int)
    if len(which) < 3 + len(np.unique(which)):
        return SsviFit(SsviStatus.TOO_FEW_QUOTES, None, len(which), float("nan"), float("nan"))
    x, sigma, width = (
        np.concatenate([column[each] for column, each in zip(quoted, good, strict=True)])
        for quoted in (k, volatility, half_spread)
    )
    weight = 1 / np.maximum(width, _HALF_SPREAD_MIN)
    time = np.asarray(years, dtype=np.float64)[which]

    def errors(parameters: Floats) -> Floats:
        rho, eta, gamma, theta = _decode(parameters)
        at = theta[which]
        phi = eta * at**-gamma * (1 + at) ** (gamma - 1)
        w = at / 2 * (1 + rho * phi * x + np.sqrt((phi * x + rho) ** 2 + 1 - rho**2))
        return np.asarray(np.sqrt(w / time) - sigma)

    start = np.concatenate(([-0.5, 0.0, 1.0], _encode_theta(x, sigma, which, np.asarray(years, dtype=np.float64))))

    def weighted(parameters: Floats) -> Floats:
        return np.asarray(np.clip(errors(parameters) * weight, -1e6, 1e6))

    found = least_squares(weighted, start, loss="soft_l1", f_scale=3.0, max_nfev=200)
    error = errors(found.x)
    rho, eta, gamma, theta = _decode(found.x)
    ssvi = Ssvi(rho, eta, gamma, tuple(years), tuple(float(each) for each in theta))
    status = SsviStatus.OK if found.success and ssvi.arbitrage_free else SsviStatus.NO_CONVERGENCE
    return SsviFit(
        status,
        ssvi if status is SsviStatus.OK else None,
        len(which),
        float(np.sqrt(np.average(error**2, weights=weight))),
        float(np.mean(np.abs(error) <= width)),
    )


def _decode(parameters: Floats) -> tuple[float, float, float, Floats]:
    """(ρ, η, γ, θ per expiration) from the free coordinates; every value meets the no-arbitrage conditions."""
    rho = 0.999 * math.tanh(float(parameters[0]))
    eta = 2 / (1 + abs(rho)) / (1 + math.exp(-float(np.clip(parameters[1], -30, 30))))
    gamma = 0.499 / (1 + math.exp(-float(np.clip(parameters[2], -30, 30)))) + 1e-3
    return rho, eta, gamma, np.cumsum(np.exp(np.clip(parameters[3:], -40, 5)))


def _encode_theta(x: Floats, sigma: Floats, which: np.ndarray[tuple[int], np.dtype[np.int64]], years: Floats) -> Floats:
    """Starting increments of θ: each expiration's volatility nearest the money, variance made non-decreasing."""
    level = np.full(len(years), np.nan)
    for i in np.unique(which):
        own = which == i
        level[i] = sigma[own][np.argmin(np.abs(x[own]))]
    known = np.isfinite(level)
    level = np.interp(years, years[known], level[known])
    theta = np.maximum.accumulate(level**2 * years)
    return np.asarray(np.log(np.maximum(np.diff(theta, prepend=0.0), 1e-8)))
