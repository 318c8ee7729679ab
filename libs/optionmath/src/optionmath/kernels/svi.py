"""Least-squares fit of one raw-SVI slice: Levenberg–Marquardt in coordinates where Lee's wing bounds always hold.

Coordinates x: logit of half the left wing's slope b(1−ρ), the same of the right wing's b(1+ρ), then at the money log w,
w' and log w''. The quotes fix the last three and the wings are what arbitrage limits, so the two barely disturb each
other. Parameters are the array (a, b, ρ, m, σ) of w(k) = a + b(ρ(k − m) + √((k − m)² + σ²)).
Sources: Gatheral and Jacquier (2014), Arbitrage-free SVI volatility surfaces; the linear inner problem of the start
grid is Zeliade's quasi-explicit calibration (De Marco and Martini, 2009).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from numba import njit

Floats = npt.NDArray[np.float64]

_FAST = {"contract", "nsz"}
_SLOPE_MIN, _SLOPE_MAX, _SINE_MAX = 1e-7, 1.998, 0.99995
_GAIN_MIN, _SLOW_STEPS = 1e-3, 2  # relative improvement of the sum of squares that ends the search: 0.05 % of the error
_DENSITY_MARGIN, _MARGIN, _RADIUS_MAX = (
    0.002,
    5e-4,
    0.3,
)  # what the penalty aims beyond, so that a small shortfall is still free


@njit(cache=True, nogil=True, fastmath=_FAST)
def variance(parameters: Floats, k: float) -> tuple[float, float, float]:
    """(w, w', w'') at one log-moneyness."""
    a, b, rho, m, sigma = parameters[0], parameters[1], parameters[2], parameters[3], parameters[4]
    y = k - m
    root = math.sqrt(y * y + sigma * sigma)
    return a + b * (rho * y + root), b * (rho + y / root), b * sigma * sigma / (root * root * root)


@njit(cache=True, nogil=True, fastmath=_FAST)
def density_factor(parameters: Floats, k: float) -> float:
    """Durrleman's g(k); the slice has no butterfly arbitrage where it is not negative."""
    w, first, second = variance(parameters, k)
    if w <= 0.0:
        return -1.0
    stem = 1.0 - k * first / (2.0 * w)
    return stem * stem - first * first / 4.0 * (1.0 / w + 0.25) + second / 2.0


@njit(cache=True, nogil=True, fastmath=_FAST)
def least_variance(parameters: Floats) -> float:
    """Least total variance of the slice."""
    level: float = parameters[0] + parameters[1] * parameters[4] * math.sqrt(1.0 - parameters[2] * parameters[2])
    return level


@njit(cache=True, nogil=True, fastmath=_FAST)
def around_vertex(parameters: Floats, grid: Floats, j: int) -> float:
    """The grid's j-th point moved to the slice's own vertex and stretched to ±60 radii."""
    moved: float = parameters[3] + grid[j] / grid[-1] * 60.0 * parameters[4]
    return moved


@njit(cache=True, nogil=True)
def to_parameters(x: Floats) -> Floats:
    left = 2.0 / (1.0 + math.exp(-x[0]))
    right = 2.0 / (1.0 + math.exp(-x[1]))
    b = (left + right) / 2.0
    rho = (right - left) / (right + left)
    sine = min(max(x[3] / b - rho, -_SINE_MAX), _SINE_MAX)
    cosine = math.sqrt(1.0 - sine * sine)
    radius = b * cosine * cosine / math.exp(x[4])
    out = np.empty(5)
    out[0] = math.exp(x[2]) - b * radius * (rho * sine + 1.0)
    out[1] = b
    out[2] = rho
    out[3] = -radius * sine
    out[4] = radius * cosine
    return out


@njit(cache=True, nogil=True)
def to_coordinates(parameters: Floats) -> Floats:
    b, rho = parameters[1], parameters[2]
    left = min(max(b * (1.0 - rho), _SLOPE_MIN), _SLOPE_MAX)
    right = min(max(b * (1.0 + rho), _SLOPE_MIN), _SLOPE_MAX)
    w, first, second = variance(parameters, 0.0)
    out = np.empty(5)
    out[0] = math.log(left / (2.0 - left))
    out[1] = math.log(right / (2.0 - right))
    out[2] = math.log(max(w, 1e-12))
    out[3] = first
    out[4] = math.log(max(second, 1e-12))
    return out


@njit(cache=True, nogil=True)
def _residuals(
    x: Floats, k: Floats, volatility: Floats, weight: Floats, root_years: float,
    grid: Floats, floor: Floats, ceiling: Floats, penalty: float, out: Floats,
) -> float:  # fmt: skip
    """Weighted volatility errors, then the price of arbitrage on the grid; returns the sum of squares."""
    parameters = to_parameters(x)
    total = 0.0
    count = k.shape[0]
    for i in range(count):
        w, _, _ = variance(parameters, k[i])
        error = weight[i] * (math.sqrt(max(w, 1e-14)) / root_years - volatility[i])
        out[i] = error
        total += error * error
    if penalty > 0.0:
        size = grid.shape[0]
        for j in range(size):
            worst = min(
                density_factor(parameters, grid[j]), density_factor(parameters, around_vertex(parameters, grid, j))
            )
            lack = penalty * max(0.0, _DENSITY_MARGIN - worst)
            w, _, _ = variance(parameters, grid[j])
            outside = 20.0 * penalty * (max(0.0, w / ceiling[j] - 1.0 + _MARGIN))
            if floor[j] > 0.0:
                outside += 20.0 * penalty * max(0.0, 1.0 + _MARGIN - w / floor[j])
            out[count + j] = lack
            out[count + size + j] = outside
            total += lack * lack + outside * outside
        hole = 20.0 * penalty * max(0.0, _MARGIN - least_variance(parameters) / math.exp(x[2]))
        wide = 0.1 * penalty * max(0.0, math.log(parameters[4] / (_RADIUS_MAX * grid[-1])))
        out[count + 2 * size] = hole
        out[count + 2 * size + 1] = wide
        total += hole * hole + wide * wide
    return total


@njit(cache=True, nogil=True)
def with_modest_wings(parameters: Floats, slope: float) -> Floats:
    """The slice with the same level, slope and bend at the money and wings no steeper than `slope` beyond w'."""
    x = to_coordinates(parameters)
    left = min(2.0 / (1.0 + math.exp(-x[0])), slope + max(-x[3], 0.0))
    right = min(2.0 / (1.0 + math.exp(-x[1])), slope + max(x[3], 0.0))
    x[0] = math.log(left / (2.0 - left))
    x[1] = math.log(right / (2.0 - right))
    return to_parameters(x)


@njit(cache=True, nogil=True)
def _solve5(matrix: Floats, right: Floats) -> bool:
    """Gaussian elimination with pivoting; False when singular. Overwrites both."""
    for column in range(5):
        pivot = column
        for row in range(column + 1, 5):
            if abs(matrix[row, column]) > abs(matrix[pivot, column]):
                pivot = row
        if abs(matrix[pivot, column]) < 1e-300:
            return False
        if pivot != column:
            for j in range(5):
                matrix[column, j], matrix[pivot, j] = matrix[pivot, j], matrix[column, j]
            right[column], right[pivot] = right[pivot], right[column]
        for row in range(column + 1, 5):
            factor = matrix[row, column] / matrix[column, column]
            for j in range(column, 5):
                matrix[row, j] -= factor * matrix[column, j]
            right[row] -= factor * right[column]
    for row in range(4, -1, -1):
        for j in range(row + 1, 5):
            right[row] -= matrix[row, j] * right[j]
        right[row] /= matrix[row, row]
    return True


@njit(cache=True, nogil=True)
def _clip(x: Floats, low: Floats, high: Floats) -> None:
    for j in range(5):
        x[j] = min(max(x[j], low[j]), high[j])


@njit(cache=True, nogil=True)
def minimise(
    start: Floats, k: Floats, volatility: Floats, weight: Floats, years: float, grid: Floats, floor: Floats,
    ceiling: Floats, penalty: float, unit: float, low: Floats, high: Floats, steps_max: int,
) -> tuple[Floats, float, int, bool]:  # fmt: skip
    """Levenberg–Marquardt from the parameters `start`. Returns (parameters, sum of squares, steps, converged).

    unit: typical size of w', in which its finite difference and its longest step are measured.
    """
    root_years = math.sqrt(years)
    x = to_coordinates(start)
    count = k.shape[0] + (2 * grid.shape[0] + 2 if penalty > 0.0 else 0)
    base, moved = np.empty(count), np.empty(count)
    jacobian = np.empty((5, count))
    normal, damped = np.empty((5, 5)), np.empty((5, 5))
    gradient, step, trial = np.empty(5), np.empty(5), np.empty(5)
    _clip(x, low, high)
    cost = _residuals(x, k, volatility, weight, root_years, grid, floor, ceiling, penalty, base)
    damping, slow = 1e-3, 0
    for iteration in range(steps_max):
        for j in range(5):
            trial[:] = x
            width = 1e-6 * (1.0 + abs(x[j])) if j != 3 else 1e-6 * unit
            trial[j] += width
            _residuals(trial, k, volatility, weight, root_years, grid, floor, ceiling, penalty, moved)
            for i in range(count):
                jacobian[j, i] = (moved[i] - base[i]) / width
        for j in range(5):
            gradient[j] = 0.0
            for i in range(count):
                gradient[j] += jacobian[j, i] * base[i]
            for h in range(j + 1):
                total = 0.0
                for i in range(count):
                    total += jacobian[j, i] * jacobian[h, i]
                normal[j, h] = total
                normal[h, j] = total
        improved = False
        for _ in range(12):
            for j in range(5):
                for h in range(5):
                    damped[j, h] = normal[j, h]
                damped[j, j] += damping * (normal[j, j] + 1e-12)
                step[j] = -gradient[j]
            if _solve5(damped, step):
                for j in range(5):
                    reach = 2.0 if j != 3 else 4.0 * unit
                    trial[j] = x[j] + min(max(step[j], -reach), reach)
                _clip(trial, low, high)
                attempt = _residuals(trial, k, volatility, weight, root_years, grid, floor, ceiling, penalty, moved)
                if attempt < cost:
                    improved = True
                    break
            damping = max(damping * 8.0, 1e-8)
        if not improved:
            return to_parameters(x), cost, iteration, True
        gained = cost - attempt
        x[:] = trial
        base[:] = moved
        cost = attempt
        damping = max(damping / 10.0, 1e-14)
        slow = slow + 1 if gained <= _GAIN_MIN * cost + 1e-18 and damping < 0.1 else 0
        if slow == _SLOW_STEPS:
            return to_parameters(x), cost, iteration + 1, True
    return to_parameters(x), cost, steps_max, False


@njit(cache=True, nogil=True)
def _linear(k: Floats, w: Floats, weight: Floats, m: float, sigma: float, parameters: Floats) -> float:
    """Best (a, b, ρ) for a given vertex and curvature radius; returns the weighted sum of squares."""
    s = np.zeros((3, 4))
    for i in range(k.shape[0]):
        y = k[i] - m
        root = math.sqrt(y * y + sigma * sigma)
        v = weight[i] * weight[i]
        s[0, 0] += v
        s[0, 1] += v * y
        s[0, 2] += v * root
        s[1, 1] += v * y * y
        s[1, 2] += v * y * root
        s[2, 2] += v * root * root
        s[0, 3] += v * w[i]
        s[1, 3] += v * y * w[i]
        s[2, 3] += v * root * w[i]
    a11, a12 = s[1, 1] - s[0, 1] * s[0, 1] / s[0, 0], s[1, 2] - s[0, 1] * s[0, 2] / s[0, 0]
    a22 = s[2, 2] - s[0, 2] * s[0, 2] / s[0, 0]
    b1, b2 = s[1, 3] - s[0, 1] * s[0, 3] / s[0, 0], s[2, 3] - s[0, 2] * s[0, 3] / s[0, 0]
    determinant = a11 * a22 - a12 * a12
    if determinant <= 1e-14 * a11 * a22:
        return np.inf
    tilt = (b1 * a22 - b2 * a12) / determinant
    bend = max((b2 * a11 - b1 * a12) / determinant, 1e-4)
    tilt = min(max(tilt, -0.98 * bend), 0.98 * bend)
    level = (s[0, 3] - tilt * s[0, 1] - bend * s[0, 2]) / s[0, 0]
    total = 0.0
    for i in range(k.shape[0]):
        y = k[i] - m
        error = weight[i] * (level + tilt * y + bend * math.sqrt(y * y + sigma * sigma) - w[i])
        total += error * error
    parameters[0] = level
    parameters[1] = bend
    parameters[2] = tilt / bend
    parameters[3] = m
    parameters[4] = sigma
    return total


@njit(cache=True, nogil=True)
def cold_start(k: Floats, volatility: Floats, weight: Floats, years: float, scale: float) -> Floats:
    """The two best slices over a coarse grid of vertices and radii, shape (2, 5)."""
    count = k.shape[0]
    w, in_variance = np.empty(count), np.empty(count)
    for i in range(count):
        w[i] = volatility[i] * volatility[i] * years
        in_variance[i] = weight[i] / max(2.0 * volatility[i] * years, 1e-12)
    best = np.empty((2, 5))
    costs = np.full(2, np.inf)
    parameters = np.empty(5)
    for i in range(7):
        m = scale * (i - 3) * 0.6
        for j in range(6):
            cost = _linear(k, w, in_variance, m, scale * 0.12 * 2.2**j, parameters)
            if cost < costs[0]:
                costs[1] = costs[0]
                best[1] = best[0]
                costs[0] = cost
                best[0] = parameters
            elif cost < costs[1]:
                costs[1] = cost
                best[1] = parameters
    if not math.isfinite(costs[1]):
        best[1] = best[0]
    if not math.isfinite(costs[0]):
        best[0] = np.array([scale * scale * 0.5, scale * 0.5, -0.2, 0.0, scale])
        best[1] = best[0]
    return best


@njit(cache=True, nogil=True)
def least_density_factor(parameters: Floats, grid: Floats) -> tuple[float, float]:
    """(smallest g, where) over the grid and over the same grid moved to the slice's own vertex and radius."""
    least, where = (np.inf, 0.0) if least_variance(parameters) >= 0.0 else (-1.0, parameters[3])
    for j in range(grid.shape[0]):
        for k in (grid[j], around_vertex(parameters, grid, j)):
            g = density_factor(parameters, k)
            if g < least:
                least, where = g, k
    return least, where


@njit(cache=True, nogil=True)
def tame(parameters: Floats, k: Floats, volatility: Floats, weight: Floats, years: float) -> Floats:
    """Weights with Huber factors: what lies far outside the others counts linearly instead of squared."""
    root_years = math.sqrt(years)
    size = np.empty(k.shape[0])
    for i in range(k.shape[0]):
        w, _, _ = variance(parameters, k[i])
        size[i] = abs(weight[i] * (math.sqrt(max(w, 1e-14)) / root_years - volatility[i]))
    limit = max(3.0 * 1.4826 * np.median(size), 1.0)
    soft = np.empty(k.shape[0])
    for i in range(k.shape[0]):
        soft[i] = weight[i] * math.sqrt(min(1.0, limit / max(size[i], 1e-300)))
    return soft


@njit(cache=True, nogil=True)
def calendar_breach(parameters: Floats, grid: Floats, floor: Floats, ceiling: Floats) -> float:
    """Largest total variance below the earlier expiration's or above the later one's, on the grid."""
    worst = 0.0
    for j in range(grid.shape[0]):
        w, _, _ = variance(parameters, grid[j])
        worst = max(worst, floor[j] - w, w - ceiling[j])
    return worst
