"""Look-ups in tabulated distributions: the same arithmetic as `numpy.interp`, compiled, with indexed tables."""

from __future__ import annotations

import numpy as np

from strategies.chain import Floats
from strategies.kernels.compile import compiled_plain

Ints = np.ndarray[tuple[int], np.dtype[np.int64]]
CELLS = 1024
"""Cells of equal width of an index table: they point at the last grid point at or below their start."""

_STEPS_MAX = 80


@compiled_plain
def index_grid(grid: Floats, table: Ints, low: float, high: float) -> float:
    """Fill the index table of an ascending grid for x from low to high; returns cells per unit of x."""
    width = max(high - low, 1e-9) / table.shape[0]
    j = _last_at_or_below(grid, low)
    for cell in range(table.shape[0]):
        start = low + cell * width
        while j + 2 < grid.shape[0] and grid[j + 1] <= start:
            j += 1
        table[cell] = j
    return float(1.0 / width)


@compiled_plain
def _last_at_or_below(grid: Floats, x: float) -> int:
    """Index of the segment that holds x, by bisection; the first or the last one for x outside the grid."""
    low, high = 0, grid.shape[0] - 1
    while high - low > 1:
        middle = (low + high) // 2
        if grid[middle] <= x:
            low = middle
        else:
            high = middle
    return low


@compiled_plain
def slopes_of(grid: Floats, values: Floats, out: Floats) -> None:
    """Slope of each segment, as `numpy.interp` forms it."""
    for j in range(grid.shape[0] - 1):
        out[j] = (values[j + 1] - values[j]) / (grid[j + 1] - grid[j])


@compiled_plain
def segment(grid: Floats, table: Ints, origin: float, scale: float, x: float) -> int:
    """Index j with grid[j] <= x < grid[j + 1]; x must lie within the grid, below its last point."""
    cell = int((x - origin) * scale)
    if not 0 <= cell < table.shape[0]:
        return _last_at_or_below(grid, x)
    j = table[cell]
    while j > 0 and grid[j] > x:
        j -= 1
    while j + 2 < grid.shape[0] and grid[j + 1] <= x:
        j += 1
    return int(j)


@compiled_plain
def below(
    grid: Floats,
    cdf: Floats,
    slope: Floats,
    table: Ints,
    origin: float,
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
    j = segment(grid, table, origin, scale, x)
    return float(slope[j] * (x - grid[j]) + cdf[j])


@compiled_plain
def _line(
    grid: Floats,
    cdf: Floats,
    slope: Floats,
    table: Ints,
    origin: float,
    scale: float,
    x: float,
) -> tuple[float, float, float, float]:
    """(value, slope, start, end) of the piece of the distribution function that holds x."""
    if not x >= grid[0]:
        return 0.0, 0.0, -np.inf, grid[0]
    if x >= grid[-1]:
        return 1.0, 0.0, grid[-1], np.inf
    j = segment(grid, table, origin, scale, x)
    return slope[j] * (x - grid[j]) + cdf[j], slope[j], grid[j], grid[j + 1]


@compiled_plain
def credits_for_probabilities(
    grid: Floats,
    cdf: Floats,
    slope: Floats,
    table: Ints,
    origin: float,
    scale: float,
    put_strike: float,
    call_strike: float,
    without_credit: float,
    wanted: float,
    least: float,
    credit_max: float,
    guess: float,
) -> tuple[float, float]:
    """Least credits c > 0.01 with F(call + c − 0.01) − F(put − c + 0.01) >= wanted, and >= least (least <= wanted).

    inf where no credit up to credit_max reaches it; −inf where the probability asks nothing. without_credit is
    F(call) − F(put). F is piecewise linear, so Newton's step is exact once it stays on its piece.
    """
    high = credit_max - 0.01
    top = 0.0
    if high > 0.0 and without_credit < wanted:
        top = below(grid, cdf, slope, table, origin, scale, call_strike + high)
        top -= below(grid, cdf, slope, table, origin, scale, put_strike - high)
    first = second = np.inf
    for turn in range(2):
        probability = wanted if turn == 0 else least
        if probability <= 0.0:
            found = -np.inf
        elif not high > 0.0:
            found = np.inf
        elif without_credit >= probability:
            found = np.nextafter(0.01, 1.0)
        elif top < probability:
            found = np.inf
        else:
            found = _solve(
                grid, cdf, slope, table, origin, scale, put_strike, call_strike, probability, high, guess - 0.01
            )
            guess = found
        if turn == 0:
            first = found
        else:
            second = found
    return first, second


@compiled_plain
def _solve(
    grid: Floats,
    cdf: Floats,
    slope: Floats,
    table: Ints,
    origin: float,
    scale: float,
    put_strike: float,
    call_strike: float,
    probability: float,
    high: float,
    x: float,
) -> float:
    """The credit, 0.01 + x with x in (0, high], at which the probability is reached; x is a first guess."""
    low = 0.0
    if not low < x <= high:
        x = (low + high) / 2
    for _ in range(_STEPS_MAX):
        up, up_slope, up_start, up_end = _line(grid, cdf, slope, table, origin, scale, call_strike + x)
        down, down_slope, down_start, down_end = _line(grid, cdf, slope, table, origin, scale, put_strike - x)
        value = up - down
        if value < probability:
            low = x
        else:
            high = x
        following = x + (probability - value) / (up_slope + down_slope)
        if up_start <= call_strike + following <= up_end and down_start <= put_strike - following <= down_end:
            return following + 0.01
        x = following if low < following < high else (low + high) / 2
        if not low < x < high:
            break
    return high + 0.01
