"""Stochastic-volatility-inspired (SVI) slices: one expiration's total variance as five numbers, fitted and checked.

k = ln(K / F) is log-moneyness to the forward; w = σ² T total variance; volatilities are fractions a year.
Source: Gatheral and Jacquier (2014), Arbitrage-free SVI volatility surfaces, Quantitative Finance 14(1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np

from optionmath.blackscholes import Bools, Floats, greeks, implied_volatility, price
from optionmath.kernels import svi as kernel

_GRID = np.sinh(np.linspace(-4.6, 4.6, 93))
_QUOTES_MIN, _REACH, _HALF_SPREAD_MIN = 5, 3.5, 2e-4
_PENALTIES, _WARM_COST_MAX, _GOOD_ENOUGH = (3.0, 30.0, 300.0, 3e3, 3e4, 3e5), 25.0, 1.5
_PENALTY_FINE, _LIMITED, _REWEIGHTS = 3e3, 0.004, 4
_CLEAN = 5e-4  # smallest g on the search's grid that leaves none negative between its points


@dataclass(frozen=True, slots=True)
class RawSvi:
    """w(k) = a + b (ρ(k − m) + √((k − m)² + σ²)); b ≥ 0, |ρ| < 1, σ > 0."""

    a: float
    b: float
    rho: float
    m: float
    sigma: float

    def total_variance(self, k: Floats) -> Floats:
        """w at each log-moneyness."""
        y = k - self.m
        return np.asarray(self.a + self.b * (self.rho * y + np.sqrt(y * y + self.sigma * self.sigma)))

    def derivatives(self, k: Floats) -> tuple[Floats, Floats, Floats]:
        """w, dw/dk and d²w/dk²."""
        y = k - self.m
        root = np.sqrt(y * y + self.sigma * self.sigma)
        first = self.b * (self.rho + y / root)
        return self.a + self.b * (self.rho * y + root), first, self.b * self.sigma**2 / root**3

    def durrleman(self, k: Floats) -> Floats:
        """g(k), the risk-neutral density up to a positive factor; negative = butterfly arbitrage. −1 where w ≤ 0."""
        w, first, second = self.derivatives(k)
        positive = np.where(w > 0, w, 1.0)
        g = (1 - k * first / (2 * positive)) ** 2 - first**2 / 4 * (1 / positive + 0.25) + second / 2
        return np.asarray(np.where(w > 0, g, -1.0))

    @property
    def minimum_variance(self) -> float:
        """Least total variance of the slice, a + bσ√(1 − ρ²)."""
        return float(self.a + self.b * self.sigma * np.sqrt(1 - self.rho**2))

    def scaled(self, factor: float) -> RawSvi:
        """The slice whose volatilities are `factor` times these."""
        return RawSvi(self.a * factor**2, self.b * factor**2, self.rho, self.m, self.sigma)

    def array(self) -> Floats:
        return np.array([self.a, self.b, self.rho, self.m, self.sigma])


@dataclass(frozen=True, slots=True)
class JumpWings:
    """The slice in traders' terms (Gatheral and Jacquier, definition 3.5), all but `years` scaled to a year."""

    variance: float
    """v: at-the-money variance a year."""
    skew: float
    """ψ: at-the-money slope of volatility times √T, ∂√w/∂k."""
    put_wing: float
    """p ≥ 0: slope of the left wing over √w(0)."""
    call_wing: float
    """c ≥ 0: slope of the right wing over √w(0)."""
    minimum_variance: float
    """ṽ: least variance a year."""
    years: float


def to_jump_wings(slice_: RawSvi, years: float) -> JumpWings:
    """Jump-wings of a slice. Raises ValueError when time or at-the-money variance is not positive."""
    w = float(slice_.total_variance(np.zeros(1))[0])
    if not (years > 0 and w > 0):
        raise ValueError(f"jump-wings need positive time and at-the-money variance, were {years} and {w}")
    root, radius = np.sqrt(w), np.hypot(slice_.m, slice_.sigma)
    return JumpWings(
        variance=w / years,
        skew=float(slice_.b / (2 * root) * (slice_.rho - slice_.m / radius)),
        put_wing=float(slice_.b * (1 - slice_.rho) / root),
        call_wing=float(slice_.b * (1 + slice_.rho) / root),
        minimum_variance=slice_.minimum_variance / years,
        years=years,
    )


def from_jump_wings(wings: JumpWings) -> RawSvi:
    """The raw slice (lemma 3.2). Raises ValueError for wings that no slice has, or that many have (ψ = 0, p = c)."""
    w = wings.variance * wings.years
    root = np.sqrt(w)
    b = root / 2 * (wings.call_wing + wings.put_wing)
    if not b > 0:
        raise ValueError("jump-wings need a wing that rises")
    rho = 1 - wings.put_wing * root / b
    beta = rho - 2 * wings.skew * root / b
    drop = (wings.variance - wings.minimum_variance) * wings.years
    if not abs(beta) <= 1 or not drop >= 0 or not abs(rho) < 1:
        raise ValueError(f"no slice has the jump-wings {wings}")
    conjugate = np.sqrt(1 - rho**2)
    if abs(beta) < 1e-12:
        if 1 - conjugate < 1e-12:
            raise ValueError("symmetric jump-wings leave the curvature open")
        m, sigma = 0.0, drop / (b * (1 - conjugate))
    else:
        alpha = np.sign(beta) * np.sqrt(1 / beta**2 - 1)
        m = drop / (b * (-rho + np.sign(alpha) * np.sqrt(1 + alpha**2) - alpha * conjugate))
        sigma = alpha * m
    return RawSvi(
        float(wings.minimum_variance * wings.years - b * sigma * conjugate),
        float(b),
        float(rho),
        float(m),
        float(sigma),
    )


def repaired(wings: JumpWings) -> JumpWings:
    """Nearest slice of the SSVI family: same v, ψ, p, and c, ṽ that remove butterfly arbitrage (section 5.1)."""
    call_wing = wings.put_wing + 2 * wings.skew
    least = wings.variance * 4 * wings.put_wing * call_wing / (wings.put_wing + call_wing) ** 2
    return JumpWings(wings.variance, wings.skew, wings.put_wing, call_wing, least, wings.years)


@dataclass(frozen=True, slots=True)
class ArbitrageCheck:
    """Whether one slice can be a distribution."""

    least_density_factor: float
    """Smallest Durrleman g found; negative = butterfly arbitrage."""
    at: float
    """Log-moneyness of that smallest g."""
    left_slope: float
    right_slope: float
    """Wing slopes |dw/dk|; Lee (2004): at most 2."""
    minimum_variance: float

    @property
    def free(self) -> bool:
        """No butterfly arbitrage, wings within Lee's bound, variance never negative."""
        return (
            self.least_density_factor >= 0
            and max(self.left_slope, self.right_slope) <= 2
            and self.minimum_variance >= 0
        )


def check(slice_: RawSvi) -> ArbitrageCheck:
    """Check a slice over ±50 at-the-money deviations and ±60 radii around its vertex."""
    scale = float(np.sqrt(max(float(slice_.total_variance(np.zeros(1))[0]), 1e-8)))
    fine = np.sinh(np.linspace(-4.6, 4.6, 801))
    k = np.concatenate((fine * scale, slice_.m + fine / fine[-1] * 60 * slice_.sigma))
    g = slice_.durrleman(k)
    least = int(np.argmin(g))
    left, right = slice_.b * (1 - slice_.rho), slice_.b * (1 + slice_.rho)
    return ArbitrageCheck(float(g[least]), float(k[least]), left, right, slice_.minimum_variance)


class SviStatus(IntEnum):
    """Why a fit is what it is."""

    OK = 0
    TOO_FEW_QUOTES = 1
    BAD_INPUT = 2
    ARBITRAGE = 3
    """Fitted, but the slice still admits butterfly arbitrage: use it for display only."""


@dataclass(frozen=True, slots=True)
class SviFit:
    """A fitted slice with its quality. `slice` is None unless the status is OK or ARBITRAGE."""

    status: SviStatus
    slice: RawSvi | None
    years: float
    quotes: int = 0
    rms: float = float("nan")
    """Root mean square error, weighted as the fit, volatility as a fraction (0.001 = 0.1 volatility points)."""
    within_bid_ask: float = float("nan")
    """Share of the quotes whose fitted value lies between bid and ask; NaN when no spread was given."""
    least_density_factor: float = float("nan")
    k_min: float = float("nan")
    k_max: float = float("nan")
    steps: int = 0


def fit_svi(
    k: Floats,
    volatility: Floats,
    years: float,
    *,
    half_spread: Floats | None = None,
    start: RawSvi | None = None,
    earlier: RawSvi | None = None,
    later: RawSvi | None = None,
) -> SviFit:
    """Fit one slice to implied volatilities, each weighted by √vega / half_spread; never raises for bad quotes.

    half_spread: half the bid–ask width in volatility (fraction); floored at 0.02 points. NaN elements are left out.
    start: yesterday's or the last tick's slice; the fit begins there and is taken when it ends as well as it began.
    earlier, later: slices of neighbouring expirations; total variance is kept between them (no calendar arbitrage).
    """
    spread = np.full(len(k), np.nan) if half_spread is None else half_spread
    good = np.isfinite(k) & np.isfinite(volatility) & (volatility > 0)
    if half_spread is not None:
        good &= np.isfinite(spread) & (spread >= 0)
    if not (np.isfinite(years) and years > 0):
        return SviFit(SviStatus.BAD_INPUT, None, years)
    count = int(good.sum())
    if count < _QUOTES_MIN or np.ptp(k[good]) <= 0:
        return SviFit(SviStatus.TOO_FEW_QUOTES, None, years, count)
    order = np.argsort(k[good], kind="stable")
    x, sigma = k[good][order], volatility[good][order]
    width = np.full(count, 1e-3) if half_spread is None else np.maximum(spread[good][order], _HALF_SPREAD_MIN)
    # The root of vega: what moves a price counts, and a wing that no slice can follow does not bend the middle.
    weight = np.exp(-((x / sigma) ** 2) / (4 * years)) / width
    scale = float(np.interp(0.0, x, sigma)) * math.sqrt(years)
    grid = _GRID * scale
    floor = np.zeros(len(grid)) if earlier is None else np.maximum(earlier.total_variance(grid), 0.0)
    ceiling = np.full(len(grid), np.inf) if later is None else np.maximum(later.total_variance(grid), 1e-12)
    parameters, steps, least = _best(_Problem(x, sigma, weight, years, grid, floor, ceiling, scale), start)
    fitted = RawSvi(*(float(each) for each in parameters))
    error = np.sqrt(np.maximum(fitted.total_variance(x), 0.0) / years) - sigma
    return SviFit(
        SviStatus.OK if least >= 0 else SviStatus.ARBITRAGE,
        fitted,
        years,
        count,
        float(np.sqrt(np.average(error**2, weights=weight))),
        float("nan") if half_spread is None else float(np.mean(np.abs(error) <= spread[good][order] + 1e-12)),
        least,
        float(x[0]),
        float(x[-1]),
        steps,
    )


@dataclass(frozen=True, slots=True)
class _Problem:
    """The quotes of one slice in the form the kernel takes."""

    k: Floats
    volatility: Floats
    weight: Floats
    years: float
    grid: Floats
    floor: Floats
    ceiling: Floats
    scale: float

    def minimise(self, start: Floats, weight: Floats, penalty: float, steps: int) -> tuple[Floats, float, int, bool]:
        middle = 2 * np.log(self.scale)
        low, high = np.array([-16.0, -16.0, middle - 3, -2.0, -12.0]), np.array([7.0, 7.0, middle + 3, 2.0, 9.0])
        quotes = (self.k, self.volatility, weight, self.years)
        every = 2 if penalty < _PENALTY_FINE else 1
        limits = (self.grid[::every], self.floor[::every], self.ceiling[::every], penalty)
        found: tuple[Floats, float, int, bool] = kernel.minimise(start, *quotes, *limits, self.scale, low, high, steps)
        return found

    def follow(self, start: Floats) -> tuple[Floats, int, float, float]:
        """Warm start. A slice that arbitrage limited before is limited again: that search begins at once."""
        soft = kernel.tame(start, self.k, self.volatility, self.weight, self.years)
        least, _ = kernel.least_density_factor(start, self.grid)
        steps = 0
        if least > _LIMITED:
            start, _, steps, _ = self.minimise(start, soft, 0.0, 40)
            least, _ = kernel.least_density_factor(start, self.grid)
        if not self._clean(start, least) or least <= _LIMITED:
            start, least, more = self._freed(start, soft, _PENALTIES[2:])
            steps += more
        clean = self._clean(start, least)
        return start, steps, float(least) if clean else -1.0, self._cost(start, soft)

    def finish(self, start: Floats) -> tuple[Floats, int, float]:
        """Reweight against outliers; then, while arbitrage remains, refit with a growing penalty on it."""
        soft, parameters, steps = self.weight, start, 0
        for _ in range(_REWEIGHTS):
            following = kernel.tame(parameters, self.k, self.volatility, self.weight, self.years)
            if np.all(np.abs(following - soft) <= 0.2 * soft):
                break
            soft = following
            parameters, _, more, _ = self.minimise(parameters, soft, 0.0, 40)
            steps += more
        least, _ = kernel.least_density_factor(parameters, self.grid)
        if self._clean(parameters, least):
            return parameters, steps, float(least)
        modest = kernel.with_modest_wings(parameters, self.scale)
        best, best_cost, best_least = parameters, np.inf, float(least)
        for begin, penalties in ((modest, _PENALTIES[2:]), (parameters, _PENALTIES)):
            found, least, more = self._freed(begin, soft, penalties)
            steps += more
            cost = self._cost(found, soft) if self._clean(found, least) else np.inf
            if cost < best_cost or not np.isfinite(best_cost):
                best, best_cost, best_least = found, cost, least
            if best_cost <= _GOOD_ENOUGH * self._cost(parameters, soft) + len(self.k):
                break
        return best, steps, best_least

    def _freed(self, start: Floats, weight: Floats, penalties: tuple[float, ...]) -> tuple[Floats, float, int]:
        """Refit with a growing penalty on arbitrage until none remains: (parameters, smallest g, steps)."""
        steps = 0
        for penalty in penalties:
            start, _, more, _ = self.minimise(start, weight, penalty, 40)
            steps += more
            least, _ = kernel.least_density_factor(start, self.grid)
            if self._clean(start, least):
                break
        return start, float(least), steps

    def moved_cost(self, start: RawSvi) -> float:
        """Cost of the start itself, moved to the level of these quotes: what a fit from it has to beat."""
        before = np.sqrt(np.maximum(start.total_variance(self.k), 1e-14) / self.years)
        return self._cost(start.scaled(float(np.median(self.volatility / before))).array(), self.weight)

    def _cost(self, parameters: Floats, weight: Floats) -> float:
        slice_ = RawSvi(*(float(each) for each in parameters))
        model = np.sqrt(np.maximum(slice_.total_variance(self.k), 0.0) / self.years)
        return float(np.sum((weight * (model - self.volatility)) ** 2))

    def _clean(self, parameters: Floats, least: float) -> bool:
        return bool(least >= _CLEAN and kernel.calendar_breach(parameters, self.grid, self.floor, self.ceiling) <= 0)


def _best(problem: _Problem, start: RawSvi | None) -> tuple[Floats, int, float]:
    """Warm when that ends near the quotes and free of arbitrage, else the better of the two coarse starts."""
    if start is not None:
        parameters, steps, least, cost = problem.follow(start.array())
        if least >= 0 and cost <= min(_WARM_COST_MAX * len(problem.k), 1.1 * problem.moved_cost(start) + 0.1):
            return parameters, steps, least
    steps, best = 0, (np.zeros(5), np.inf)
    for each in kernel.cold_start(problem.k, problem.volatility, problem.weight, problem.years, problem.scale):
        parameters, cost, more, _ = problem.minimise(each, problem.weight, 0.0, 60)
        steps += more
        best = min(best, (parameters, cost), key=lambda pair: pair[1])
        if cost <= len(problem.k):
            break
    parameters, more, least = problem.finish(best[0])
    return parameters, steps + more, least


def fit_quotes(
    forward: float,
    years: float,
    rate: float,
    strike: Floats,
    bid: Floats,
    ask: Floats,
    is_call: Bools,
    *,
    start: RawSvi | None = None,
    earlier: RawSvi | None = None,
    later: RawSvi | None = None,
) -> SviFit:
    """Fit one slice to the out-of-the-money quotes of an expiration ($ per share, European or near-European).

    Left out: no bid, crossed or locked quotes, and strikes beyond 3.5 of their own standard deviations, which carry no
    information for prices that trade. within_bid_ask is measured in prices.
    """
    if not (np.isfinite(forward) and forward > 0 and np.isfinite(years) and years > 0 and np.isfinite(rate)):
        return SviFit(SviStatus.BAD_INPUT, None, years)
    with np.errstate(invalid="ignore"):
        usable = np.where(is_call, strike >= forward, strike < forward) & (bid > 0) & (ask > bid) & np.isfinite(ask)
    k3, low, high, call = strike[usable], bid[usable], ask[usable], is_call[usable]
    spot = forward * np.exp(-rate * years)
    volatility, _ = implied_volatility((low + high) / 2, spot, k3, years, rate, 0.0, call)
    k = np.log(k3 / forward)
    with np.errstate(invalid="ignore", divide="ignore"):
        vega = greeks(spot, k3, years, volatility, rate, 0.0, call).vega * 100
        near = np.abs(k) <= _REACH * volatility * np.sqrt(years)
        half_spread = (high - low) / 2 / vega
    k, volatility, half_spread = k[near], volatility[near], half_spread[near]
    k3, low, high, call = k3[near], low[near], high[near], call[near]
    fit = fit_svi(k, volatility, years, half_spread=half_spread, start=start, earlier=earlier, later=later)
    if fit.slice is None:
        return fit
    sigma = np.sqrt(np.maximum(fit.slice.total_variance(k), 0.0) / years)
    model = price(spot, k3, years, sigma, rate, 0.0, call)
    within = float(np.mean((model >= low) & (model <= high)))
    return replace(fit, within_bid_ask=within)
