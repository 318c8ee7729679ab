"""Look-ups in tabulated distributions: the same arithmetic as `numpy.interp`, compiled, with indexed tables."""

from __future__ import annotations

import numpy as np
from numba import njit

from strategies.chain import Floats

CELLS = 1024
"""Cells of equal width of an index table: they point at the last grid point at or below their start."""

_STEPS_MAX = 80


@njit(cache=True, nogil=True, error_model="numpy")
def index_grid(grid: Floats, table: np.ndarray[tuple[int], np.dtype[np.int64]]) -> float:
    """Fill the index table of an ascending grid; returns cells per unit of x."""
    width = (grid[-1] - grid[0]) / table.shape[0]
    j = 0
    for cell in range(table.shape[0]):
        start = grid[0] + cell * width
        while j + 2 < grid.shape[0] and grid[j + 1] <= start:
            j += 1
        table[cell] = j
    return float(1.0 / width)


@njit(cache=True, nogil=True, error_model="numpy")
def slopes_of(grid: Floats, values: Floats, out: Floats) -> None:
    """Slope of each segment, as `numpy.interp` forms it."""
    for j in range(grid.shape[0] - 1):
        out[j] = (values[j + 1] - values[j]) / (grid[j + 1] - grid[j])


@njit(cache=True, nogil=True, error_model="numpy")
def segment(grid: Floats, table: np.ndarray[tuple[int], np.dtype[np.int64]], scale: float, x: float) -> int:
    """Index j with grid[j] <= x < grid[j + 1]; x must lie within the grid, below its last point."""
    cell = min(int((x - grid[0]) * scale), table.shape[0] - 1)
    j = table[cell]
    while j > 0 and grid[j] > x:
        j -= 1
    while j + 2 < grid.shape[0] and grid[j + 1] <= x:
        j += 1
    return int(j)


@njit(cache=True, nogil=True, error_model="numpy")
def below(
    grid: Floats,
    cdf: Floats,
    slope: Floats,
    table: np.ndarray[tuple[int], np.dtype[np.int64]],
    scale: float,
    x: float,
) -> float:
    """P(S < x): 0 left of the grid, 1 right of it."""
    if not x >= grid[0]:
        return 0.0
    if x > grid[-1]:
        return 1.0
    if x == grid[-1]:
        return float(cdf[-1])
    j = segment(grid, table, scale, x)
    return float(slope[j] * (x - grid[j]) + cdf[j])


@njit(cache=True, nogil=True, error_model="numpy")
def put_values(grid: Floats, integral: Floats, strikes: Floats, out: Floats) -> None:
    """E[(K − S)⁺] at ascending strikes, undiscounted, $ per share: `Distribution.put_value`."""
    last = grid.shape[0] - 1
    j = 0
    for k in range(strikes.shape[0]):
        x = strikes[k]
        if not x >= grid[0]:
            out[k] = 0.0
        elif x >= grid[last]:
            out[k] = integral[last] + max(x - grid[last], 0.0)
        else:
            while grid[j + 1] <= x:
                j += 1
            slope = (integral[j + 1] - integral[j]) / (grid[j + 1] - grid[j])
            out[k] = slope * (x - grid[j]) + integral[j]


@njit(cache=True, nogil=True, error_model="numpy")
def _line(
    grid: Floats,
    cdf: Floats,
    slope: Floats,
    table: np.ndarray[tuple[int], np.dtype[np.int64]],
    scale: float,
    x: float,
) -> tuple[float, float, float, float]:
    """(value, slope, start, end) of the piece of the distribution function that holds x."""
    if not x >= grid[0]:
        return 0.0, 0.0, -np.inf, grid[0]
    if x >= grid[-1]:
        return 1.0, 0.0, grid[-1], np.inf
    j = segment(grid, table, scale, x)
    return slope[j] * (x - grid[j]) + cdf[j], slope[j], grid[j], grid[j + 1]


@njit(cache=True, nogil=True, error_model="numpy")
def credit_for_probability(
    grid: Floats,
    cdf: Floats,
    slope: Floats,
    table: np.ndarray[tuple[int], np.dtype[np.int64]],
    scale: float,
    put_strike: float,
    call_strike: float,
    probability: float,
    credit_max: float,
    guess: float,
) -> float:
    """Least credit c > 0.01 with F(call + c − 0.01) − F(put − c + 0.01) >= probability; inf when none up to credit_max.

    −inf when the probability asks nothing. F is piecewise linear, so Newton's step is exact once it stays on its piece.
    """
    if probability <= 0.0:
        return -np.inf
    high, low = credit_max - 0.01, 0.0
    if not high > 0.0:
        return np.inf
    top = below(grid, cdf, slope, table, scale, call_strike + high)
    if top - below(grid, cdf, slope, table, scale, put_strike - high) < probability:
        return np.inf
    bottom = below(grid, cdf, slope, table, scale, call_strike)
    if bottom - below(grid, cdf, slope, table, scale, put_strike) >= probability:
        return np.nextafter(0.01, 1.0)
    x = guess - 0.01
    if not low < x < high:
        x = (low + high) / 2
    for _ in range(_STEPS_MAX):
        up, up_slope, up_start, up_end = _line(grid, cdf, slope, table, scale, call_strike + x)
        down, down_slope, down_start, down_end = _line(grid, cdf, slope, table, scale, put_strike - x)
        value = up - down
        if value < probability:
            low = x
        else:
            high = x
        step = (probability - value) / (up_slope + down_slope)
        following = x + step
        if up_start <= call_strike + following <= up_end and down_start <= put_strike - following <= down_end:
            return following + 0.01
        x = following if low < following < high else (low + high) / 2
        if not low < x < high:
            break
    return high + 0.01
