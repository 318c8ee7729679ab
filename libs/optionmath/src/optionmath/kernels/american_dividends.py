"""Options on a stock that pays known cash amounts: finite differences on the logarithm of the stock itself.

Crank–Nicolson, the first two steps after every kink as four implicit half-steps (Rannacher, 1984); the American
condition by Brennan and Schwartz (1977), exact for one boundary: the elimination ends on the side where exercise pays.
A lane is an option with a grid of its own; eight lanes side by side are vector code.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from optionmath.kernels.elementary import compiled

Floats = npt.NDArray[np.float64]

LANES = 8
_REACH = 5.5
"""Standard deviations that the grid covers beyond spot and strike."""
_DAMPED = 2


@compiled
def solve(
    spot: Floats,
    strike: Floats,
    years: Floats,
    volatility: Floats,
    rate: Floats,
    carry_yield: Floats,
    sign: Floats,
    american: bool,
    count: npt.NDArray[np.int64],
    ex_years: Floats,
    amount: Floats,
    nodes: int,
    steps: int,
    value: Floats,
    delta: Floats,
    gamma: Floats,
    first: int,
    end: int,
) -> None:
    """Value, delta and gamma of options first to end, eight at a time; sign is 1 for a call, -1 for a put.

    count: how many of the dividends (ex_years ascending, amount in $) fall within the option's life; equal in the
    eight of a group. steps: time steps of a whole life, shared out to the spans between dividends.
    """
    grid, old = np.empty((nodes, LANES)), np.empty((nodes, LANES))
    right, inverse = np.empty((nodes, LANES)), np.empty((nodes, LANES))
    payoff = np.empty((nodes, LANES))
    low, high, width, origin = np.empty(LANES), np.empty(LANES), np.empty(LANES), np.empty(LANES)
    down, mid, up, kept_slope, kept_level = (
        np.empty(LANES),
        np.empty(LANES),
        np.empty(LANES),
        np.empty(LANES),
        np.empty(LANES),
    )
    fade, discount, begin, stop = np.empty(LANES), np.empty(LANES), np.empty(LANES), np.empty(LANES)
    pick = np.empty(LANES, dtype=np.int64)
    for start in range(first, end, LANES):
        for w in range(LANES):
            pick[w] = min(start + w, end - 1)  # the last group repeats its last option
        dividends = count[start]
        for w in range(LANES):
            p = pick[w]
            paid = 0.0
            for d in range(dividends):
                paid += amount[d]
            reach = _REACH * volatility[p] * math.sqrt(years[p])
            drift = (rate[p] - carry_yield[p]) * years[p]
            bottom = min(max(spot[p] - paid, 0.3 * spot[p]), strike[p])
            low[w] = math.log(bottom) - reach + min(drift, 0.0)
            high[w] = math.log(max(spot[p], strike[p] + paid)) + reach + max(drift, 0.0)
            width[w] = (high[w] - low[w]) / (nodes - 1)
            # node 0 is the side of exercise: low prices for a put, high ones for a call; the strike lies on a node
            edge = high[w] if sign[p] > 0 else low[w]
            direction = -sign[p]
            nearest = math.floor((math.log(strike[p]) - edge) * direction / width[w] + 0.5)
            origin[w] = math.log(strike[p]) - direction * width[w] * nearest
            kept_slope[w], kept_level[w] = sign[p], -sign[p] * strike[p]
        for j in range(nodes):
            for w in range(LANES):
                p = pick[w]
                grid[j, w] = math.exp(origin[w] - sign[p] * width[w] * j)
                payoff[j, w] = max(sign[p] * (grid[j, w] - strike[p]), 0.0)
                old[j, w] = payoff[j, w]
                if abs(grid[j, w] - strike[p]) < 1e-9 * strike[p]:  # the mean of the payoff around its kink
                    half = 0.5 * width[w]
                    old[j, w] = (
                        strike[p] / width[w] * (math.expm1(half) - half if sign[p] > 0 else half + math.expm1(-half))
                    )
        for span in range(dividends, -1, -1):
            share = 0.0
            for w in range(LANES):
                p = pick[w]
                stop[w] = years[p] if span == dividends else ex_years[span]
                begin[w] = 0.0 if span == 0 else ex_years[span - 1]
                share = max(share, (stop[w] - begin[w]) / years[p])
            todo = max(_DAMPED + 2, math.ceil(steps * share))
            for w in range(LANES):
                p = pick[w]
                dt = (stop[w] - begin[w]) / todo
                spread = 0.5 * dt * 0.5 * volatility[p] ** 2 / width[w] ** 2
                slant = -sign[p] * 0.5 * dt * (rate[p] - carry_yield[p] - 0.5 * volatility[p] ** 2) / (2.0 * width[w])
                down[w], up[w] = spread - slant, spread + slant
                mid[w] = 1.0 + 2.0 * spread + 0.5 * dt * rate[p]
                fade[w], discount[w] = math.exp(-carry_yield[p] * dt), math.exp(-rate[p] * dt)
                inverse[nodes - 1, w] = 0.0
            for j in range(nodes - 2, 0, -1):
                for w in range(LANES):
                    inverse[j, w] = 1.0 / (mid[w] - up[w] * down[w] * inverse[j + 1, w])
            for n in range(todo + _DAMPED):
                damped = n < 2 * _DAMPED
                for w in range(LANES):
                    right[nodes - 1, w] = 0.0
                for j in range(nodes - 2, 0, -1):
                    for w in range(LANES):
                        known = old[j, w]
                        if not damped:
                            known = down[w] * old[j - 1, w] + (2.0 - mid[w]) * old[j, w] + up[w] * old[j + 1, w]
                        right[j, w] = (known + up[w] * right[j + 1, w]) * inverse[j, w]
                for w in range(LANES):
                    shrink = math.sqrt(fade[w]) if damped else fade[w]
                    cut = math.sqrt(discount[w]) if damped else discount[w]
                    kept_slope[w], kept_level[w] = kept_slope[w] * shrink, kept_level[w] * cut
                    old[0, w] = kept_slope[w] * grid[0, w] + kept_level[w]
                    if american and old[0, w] < payoff[0, w]:
                        p = pick[w]
                        kept_slope[w], kept_level[w] = sign[p], -sign[p] * strike[p]
                        old[0, w] = payoff[0, w]
                    old[nodes - 1, w] = 0.0
                for j in range(1, nodes - 1):
                    for w in range(LANES):
                        kept = right[j, w] + down[w] * inverse[j, w] * old[j - 1, w]
                        old[j, w] = max(kept, payoff[j, w]) if american else kept
            if span > 0:
                for w in range(LANES):
                    _go_ex(
                        grid,
                        old,
                        right,
                        payoff,
                        w,
                        nodes,
                        sign[pick[w]],
                        origin[w],
                        width[w],
                        amount[span - 1],
                        kept_slope[w],
                        kept_level[w],
                        american,
                    )
                    if grid[0, w] > amount[span - 1]:
                        kept_level[w] -= kept_slope[w] * amount[span - 1]
                    else:  # a put on stock that the dividend makes worthless
                        kept_slope[w] = 0.0
                    p = pick[w]
                    if american and old[0, w] <= payoff[0, w]:
                        kept_slope[w], kept_level[w] = sign[p], -sign[p] * strike[p]
        for w in range(min(LANES, end - start)):
            p = pick[w]
            at = (origin[w] - math.log(spot[p])) * sign[p] / width[w]
            base = min(max(int(at) - 2, 0), nodes - 6)
            u = at - base
            v0, v1, v2 = _interpolated(old, w, base, u)
            inner = -sign[p] / width[w]  # d(position)/d(ln S)
            value[p] = max(v0, sign[p] * (spot[p] - strike[p]), 0.0) if american else max(v0, 0.0)
            delta[p] = v1 * inner / spot[p]
            gamma[p] = (v2 * inner * inner - v1 * inner) / (spot[p] * spot[p])


@compiled
def _interpolated(old: Floats, w: int, base: int, u: float) -> tuple[float, float, float]:
    """Value and two derivatives by position of the polynomial through six neighbours, at position base + u."""
    value, first, second = 0.0, 0.0, 0.0
    for i in range(6):
        p, q, r, scale = 1.0, 0.0, 0.0, 1.0
        for m in range(6):
            if m != i:
                x = u - m
                r = r * x + 2.0 * q
                q = q * x + p
                p = p * x
                scale *= i - m
        value += old[base + i, w] * p / scale
        first += old[base + i, w] * q / scale
        second += old[base + i, w] * r / scale
    return value, first, second


@compiled
def _go_ex(
    grid: Floats,
    old: Floats,
    fresh: Floats,
    payoff: Floats,
    w: int,
    nodes: int,
    sign: float,
    origin: float,
    width: float,
    paid: float,
    slope: float,
    level: float,
    american: bool,
) -> None:
    """Values just before the stock falls by `paid`: those of the fallen price, or exercise. A price below 0 is 0."""
    for j in range(nodes):
        fallen = grid[j, w] - paid
        if fallen <= 0.0:
            kept = 0.0 if sign > 0 else level
        else:
            at = (origin - math.log(fallen)) * sign / width
            if at <= 0.0:
                kept = slope * fallen + level
            elif at >= nodes - 1:
                kept = 0.0
            else:
                base = min(max(int(at) - 1, 0), nodes - 4)
                u = at - base
                a, b, c, d = old[base, w], old[base + 1, w], old[base + 2, w], old[base + 3, w]
                kept = (
                    -a * (u - 1.0) * (u - 2.0) * (u - 3.0) / 6.0
                    + b * u * (u - 2.0) * (u - 3.0) / 2.0
                    - c * u * (u - 1.0) * (u - 3.0) / 2.0
                    + d * u * (u - 1.0) * (u - 2.0) / 6.0
                )
        fresh[j, w] = max(kept, payoff[j, w]) if american else max(kept, 0.0)
    for j in range(nodes):
        old[j, w] = fresh[j, w]
