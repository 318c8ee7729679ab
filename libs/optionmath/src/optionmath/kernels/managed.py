"""Monte-Carlo of a position that is closed by rules: the value of the position is tabulated once per day on a grid of
prices, and every path only looks it up. Common random numbers: the normals come in from outside.

Reasons: 0 profit target, 1 stop, 2 time, 3 expiration.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from numba import njit

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int8]
_ROOT_HALF = math.sqrt(0.5)
_POINTS_MAX, _GAP = 801, 0.1  # table points; their distance in standard deviations of the shortest leg


@njit(cache=True, nogil=True, error_model="numpy")
def position_value(
    price: float, is_call: Floats, strike: Floats, quantity: Floats, sigma: Floats, years: Floats, shares: float,
    rate: float, dividend_yield: float,
) -> float:  # fmt: skip
    """Value of the legs and shares, $ per share; a leg without time left has its intrinsic value."""
    total = shares * price
    for i in range(strike.shape[0]):
        sign = 1.0 if is_call[i] > 0.0 else -1.0
        if years[i] <= 1e-9 or sigma[i] <= 0.0:
            total += quantity[i] * max(sign * (price - strike[i]), 0.0)
            continue
        root = sigma[i] * math.sqrt(years[i])
        grown, discounted = price * math.exp(-dividend_yield * years[i]), strike[i] * math.exp(-rate * years[i])
        d1 = math.log(grown / discounted) / root + root / 2.0
        first = 0.5 * math.erfc(-sign * d1 * _ROOT_HALF)
        second = 0.5 * math.erfc(-sign * (d1 - root) * _ROOT_HALF)
        total += quantity[i] * sign * (grown * first - discounted * second)
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def simulate(
    normals: Floats, steps: int, spot: float, drift: float, path_sigma: float, rate: float, dividend_yield: float,
    is_call: Floats, strike: Floats, quantity: Floats, sigma: Floats, years: Floats, shares: float,
    cash: float, target: float, stop: float, exit_years: float, close_cost: float, expiry_cost: float,
    pnl: Floats, held: Floats, reason: Codes,
) -> None:  # fmt: skip
    """Fill P&L ($ per share), years held and reason of each path: the first half of them, then their mirror images.

    normals: (at least `steps`, paths / 2). The horizon is the nearest leg's expiration, in `steps` equal steps; the
    rules are checked at every step, target before stop before time. target, stop: P&L at or beyond which the position
    is closed (NaN = no such rule); exit_years: closed when at most this much time is left (negative = never).
    """
    horizon = years[0]
    for i in range(years.shape[0]):
        horizon = min(horizon, years[i])
    half = normals.shape[1]
    dt = horizon / steps
    move, shock = (drift - path_sigma * path_sigma / 2.0) * dt, path_sigma * math.sqrt(dt)
    watched = not (math.isnan(target) and math.isnan(stop))
    state = np.zeros(2 * half)
    open_paths = np.arange(2 * half)
    count = 2 * half
    table, left = np.empty(_POINTS_MAX), np.empty(years.shape[0])
    for step in range(1, steps + 1):
        time = step * dt
        last = step == steps
        low, high = np.inf, -np.inf
        for n in range(count):
            path = open_paths[n]
            draw = normals[step - 1, path] if path < half else -normals[step - 1, path - half]
            state[path] += move + shock * draw
            low, high = min(low, state[path]), max(high, state[path])
        timed = horizon - time <= exit_years + 1e-9
        if not (last or timed or watched):
            continue
        smallest = np.inf
        for i in range(years.shape[0]):
            left[i] = 0.0 if years[i] - time <= 1e-9 else years[i] - time
            if left[i] > 0.0:
                smallest = min(smallest, sigma[i] * math.sqrt(left[i]))
        # As fine as the sharpest leg needs, over no more prices than the open paths have reached.
        points = _POINTS_MAX
        if not last:
            points = int(min(max((high - low) / (_GAP * smallest) + 4.0, 8.0), float(_POINTS_MAX)))
            gap = max((high - low) / (points - 3), 1e-9)
            low -= gap
            for j in range(points):
                at = spot * math.exp(low + gap * j)
                table[j] = position_value(at, is_call, strike, quantity, sigma, left, shares, rate, dividend_yield)
        kept = 0
        for n in range(count):
            path = open_paths[n]
            if last:
                at = spot * math.exp(state[path])
                value = position_value(at, is_call, strike, quantity, sigma, left, shares, rate, dividend_yield)
                gain = cash + value
            else:
                x = (state[path] - low) / gap
                j = min(max(int(x), 1), points - 3)
                f = x - j
                a, b, c, d = table[j - 1], table[j], table[j + 1], table[j + 2]
                # Cubic through four neighbours (Lagrange).
                gain = cash + (
                    b
                    + f * (c - a / 3.0 - b / 2.0 - d / 6.0)
                    + f * f * ((a + c) / 2.0 - b)
                    + f * f * f * ((d - a) / 6.0 + (b - c) / 2.0)
                )
            code = -1
            if gain >= target and not last:
                code = 0
            elif gain <= stop and not last:
                code = 1
            elif last:
                code = 3
            elif timed:
                code = 2
            if code < 0:
                open_paths[kept] = path
                kept += 1
                continue
            pnl[path] = gain - (expiry_cost if code == 3 else close_cost)
            held[path] = time
            reason[path] = code
        count = kept
        if count == 0:
            return
