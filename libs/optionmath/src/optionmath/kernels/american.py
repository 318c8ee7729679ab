"""American puts by spectral collocation of the exercise boundary, many options side by side.

Everything is without dimension: strike 1, a = rT, b = qT, s = σ√T, x = ln(S/K). A call is the put with spot and strike,
and rate and yield, exchanged (McDonald and Schroder, 1998).
Source: Andersen, Lake and Offengenden, High-performance American option pricing (J. Comp. Finance, 2016), equation
system B (system A diverges where |r - q|√T is several times σ), started from Li, Analytical approximations of the
critical stock prices (Rev. Derivatives Res., 2010).
Loops run over lanes, one option each, without a branch: they become vector code (see `elementary`).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from optionmath.kernels.elementary import ONE_OVER_ROOT_TWO_PI, ROOT_HALF, compiled, erfcx, exp, inlined, log

Floats = npt.NDArray[np.float64]

_LANES = 64
_LI_STEPS = 3


@inlined
def _share(density: float, whole: float, d: float) -> float:
    """whole · Φ(d), where density = whole · e^(-d²/2)."""
    tail = 0.5 * density * erfcx(abs(d) * ROOT_HALF)
    return tail if d < 0.0 else whole - tail


@inlined
def _first_guess(a: float, b: float, s: float, top: float, node: float) -> float:
    """ln of the boundary: between its start and the perpetual one (Barone-Adesi and Whaley, 1987)."""
    omega = 2.0 * (a - b) / (s * s) - 1.0
    root = math.sqrt(omega * omega + 8.0 * a / (s * s))
    power = 0.5 * (-omega - root)
    perpetual = power / (power - 1.0)
    start = exp(top)
    gap = max(start - perpetual, 1e-300)
    fade = min(((a - b) * node * node - 2.0 * s * node) * start / gap, 0.0)
    return log(max(perpetual + gap * exp(fade), 1e-300))


@inlined
def _li_step(y: float, a: float, b: float, v: float, omega: float) -> float:
    """One Newton step of Li's equation for ln of the boundary at one time; a, b, v are those of that time."""
    v2 = v * v
    discount, fade = exp(-a), exp(-b)
    growth = a / (1.0 - discount) if a > 1e-5 else 1.0 / (1.0 - 0.5 * a * (1.0 - a / 3.0))
    root = math.sqrt(omega * omega + 8.0 * growth / v2)
    power = 0.5 * (-omega - root)
    slope = -2.0 / (v2 * root)
    beta = discount * growth * slope + 4.0 * discount * growth * growth / (v2 * v2 * root * root * root) - power
    spot = exp(y)
    d1 = (y + a - b) / v + 0.5 * v
    d2 = d1 - v
    density1, density2 = fade * exp(-0.5 * d1 * d1), discount * exp(-0.5 * d2 * d2)
    share1, share2 = _share(density1, fade, -d1), _share(density2, discount, -d2)
    phi = density1 * ONE_OVER_ROOT_TWO_PI
    european = share2 - spot * share1
    theta = a * share2 - b * spot * share1 - 0.5 * v * spot * phi
    charm = -(phi * ((a - b) / v - 0.5 * d2) + b * share1)
    residual = (1.0 - share1) * spot - beta * (1.0 - spot - european) + slope * theta
    derivative = (1.0 + beta) * (1.0 - share1) + phi / v + slope * charm
    return max(-0.5, min(0.5, residual / (spot * derivative)))


@compiled
def boundaries(
    a_: Floats,
    b_: Floats,
    s_: Floats,
    top_: Floats,
    nodes: Floats,
    points: Floats,
    weights: Floats,
    interpolation: Floats,
    rounds: int,
    depth_: Floats,
    first: int,
    end: int,
) -> None:
    """depth_[i, lane] = top - ln of the boundary at time to expiration nodes[i]² · T, top = ln min(1, r/q).

    The square of depth is smooth in the root of time: it is interpolated between Chebyshev nodes, 0 at time 0.
    Lanes first to end of whole columns: a part of a two-dimensional array would not be contiguous.
    points, weights: Gauss–Legendre on (0, 1); interpolation[i, k] gives the square at time nodes[i]² (1 - points[k]²).
    """
    n = nodes.size
    width = min(_LANES, end - first)
    squares, found = np.empty((n, width)), np.empty((n, width))
    between_, above_, below_ = np.empty(width), np.empty(width), np.empty(width)
    for start in range(first, end, _LANES):
        stop = min(end, start + _LANES)
        lanes = stop - start
        a, b, s, top = a_[start:stop], b_[start:stop], s_[start:stop], top_[start:stop]
        between, above, below = between_[:lanes], above_[:lanes], below_[:lanes]
        for i in range(n):
            node = nodes[i]
            time = node * node
            depth, square = depth_[i, start:stop], squares[i, :lanes]
            for w in range(lanes):
                depth[w] = _first_guess(a[w], b[w], s[w], top[w], node)
            for _ in range(_LI_STEPS):
                for w in range(lanes):
                    omega = 2.0 * (a[w] - b[w]) / (s[w] * s[w]) - 1.0
                    step = _li_step(depth[w], a[w] * time, b[w] * time, s[w] * node, omega)
                    moved = min(depth[w] - step, top[w])
                    depth[w] = moved if step == step else depth[w]
            for w in range(lanes):
                depth[w] = top[w] - depth[w]
                square[w] = depth[w] * depth[w]
        for _ in range(rounds):
            for i in range(n):
                node = nodes[i]
                time = node * node
                depth, new = depth_[i, start:stop], found[i, :lanes]
                for w in range(lanes):
                    v = s[w] * node
                    d1 = (top[w] - depth[w] + (a[w] - b[w]) * time) / v + 0.5 * v
                    d2 = d1 - v
                    fade, discount = exp(-b[w] * time), exp(-a[w] * time)
                    above[w] = _share(discount * exp(-0.5 * d2 * d2), discount, d2)
                    below[w] = _share(fade * exp(-0.5 * d1 * d1), fade, d1)
                for k in range(points.size):
                    for w in range(lanes):
                        between[w] = 0.0
                    for j in range(n):
                        share, other = interpolation[i, k, j], squares[j, :lanes]
                        for w in range(lanes):
                            between[w] += share * other[w]
                    part = time * points[k] * points[k]
                    weight = weights[k] * 2.0 * points[k] * time
                    for w in range(lanes):
                        v = s[w] * node * points[k]
                        inverse = 1.0 / v
                        d1 = (math.sqrt(max(between[w], 0.0)) - depth[w] + (a[w] - b[w]) * part) * inverse + 0.5 * v
                        d2 = d1 - v
                        fade, discount = exp(-b[w] * part), exp(-a[w] * part)
                        above[w] += weight * a[w] * _share(discount * exp(-0.5 * d2 * d2), discount, d2)
                        below[w] += weight * b[w] * _share(fade * exp(-0.5 * d1 * d1), fade, d1)
                for w in range(lanes):
                    usable = (above[w] > 1e-290) & (below[w] > 1e-290)
                    moved = top[w] - log(above[w] / below[w] if usable else 1.0)
                    new[w] = max(moved, 0.0) if usable else depth[w]
            for i in range(n):
                depth, square, new = depth_[i, start:stop], squares[i, :lanes], found[i, :lanes]
                for w in range(lanes):
                    depth[w] = new[w]
                    square[w] = new[w] * new[w]


@compiled
def values(
    x_: Floats,
    a_: Floats,
    b_: Floats,
    s_: Floats,
    top_: Floats,
    depth_: Floats,
    points: Floats,
    weights: Floats,
    interpolation: Floats,
    value_: Floats,
    delta_: Floats,
    gamma_: Floats,
    first: int,
    end: int,
) -> None:
    """Value of the put on strike 1, and its first and second derivatives by the spot ratio.

    The European value plus the integral of what exercise earns (Kim, 1990; Carr, Jarrow and Myneni, 1992).
    """
    n = depth_.shape[0]
    between_, spot_, european_ = np.empty(_LANES), np.empty(_LANES), np.empty(_LANES)
    for start in range(first, end, _LANES):
        stop = min(end, start + _LANES)
        lanes = stop - start
        x, a, b, s, top = x_[start:stop], a_[start:stop], b_[start:stop], s_[start:stop], top_[start:stop]
        value, delta, gamma = value_[start:stop], delta_[start:stop], gamma_[start:stop]
        between, spot, european = between_[:lanes], spot_[:lanes], european_[:lanes]
        for w in range(lanes):
            spot[w] = exp(x[w])
            d1 = (x[w] + a[w] - b[w]) / s[w] + 0.5 * s[w]
            d2 = d1 - s[w]
            fade, discount = exp(-b[w]), exp(-a[w])
            density = fade * exp(-0.5 * d1 * d1)
            share = _share(density, fade, -d1)
            value[w] = _share(discount * exp(-0.5 * d2 * d2), discount, -d2) - spot[w] * share
            european[w] = value[w]
            delta[w] = -share
            gamma[w] = density * ONE_OVER_ROOT_TWO_PI / (spot[w] * s[w])
        for k in range(points.size):
            for w in range(lanes):
                between[w] = 0.0
            for j in range(n):
                part_of, depth = interpolation[k, j], depth_[j, start:stop]
                for w in range(lanes):
                    between[w] += part_of * depth[w] * depth[w]
            point = points[k]
            weight = weights[k] * 2.0 * point
            for w in range(lanes):
                part_a, part_b, v = a[w] * point * point, b[w] * point * point, s[w] * point
                inverse = 1.0 / v
                d1 = (x[w] - top[w] + math.sqrt(max(between[w], 0.0)) + part_a - part_b) * inverse + 0.5 * v
                d2 = d1 - v
                fade, discount = exp(-part_b), exp(-part_a)
                density1, density2 = fade * exp(-0.5 * d1 * d1), discount * exp(-0.5 * d2 * d2)
                share = b[w] * _share(density1, fade, -d1)
                scaled = ONE_OVER_ROOT_TWO_PI * inverse
                phi1, phi2 = b[w] * density1 * scaled, a[w] * density2 * scaled / spot[w]
                value[w] += weight * (a[w] * _share(density2, discount, -d2) - spot[w] * share)
                delta[w] += weight * (phi1 - phi2 - share)
                gamma[w] += weight * (phi2 * (d2 * inverse + 1.0) - phi1 * (d1 * inverse - 1.0)) / spot[w]
        last = depth_[n - 1, start:stop]
        for w in range(lanes):
            exercised = (x[w] <= top[w] - last[w]) & (european[w] <= 1.0 - spot[w])
            value[w] = 1.0 - spot[w] if exercised else max(value[w], european[w], 1.0 - spot[w], 0.0)
            delta[w] = -1.0 if exercised else delta[w]
            gamma[w] = 0.0 if exercised else gamma[w]


@compiled
def grid(
    x: Floats,
    a: Floats,
    b: Floats,
    s: Floats,
    top: Floats,
    early: npt.NDArray[np.bool_],
    depth: Floats,
    points: Floats,
    weights: Floats,
    interpolation: Floats,
    scale: Floats,
    out: Floats,
    first: int,
    end: int,
) -> None:
    """out[row] = scale[row] · put on strike 1 at each x[row]: one row is one position at one volatility.

    a, b, s, top, early and depth[:, row] belong to a row; a row without early exercise gets the European value.
    """
    n = depth.shape[0]
    european = np.empty(out.shape[1])
    for row in range(first, end):
        ar, br, sr, moved, scaled, found = a[row], b[row], s[row], x[row], scale[row], out[row]
        fade, discount = exp(-br), exp(-ar)
        for c in range(moved.size):
            d1 = (moved[c] + ar - br) / sr + 0.5 * sr
            d2 = d1 - sr
            share = _share(fade * exp(-0.5 * d1 * d1), fade, -d1)
            found[c] = _share(discount * exp(-0.5 * d2 * d2), discount, -d2) - exp(moved[c]) * share
        for c in range(moved.size):
            european[c] = found[c]
        if early[row]:
            for k in range(points.size):
                square = 0.0
                for j in range(n):
                    square += interpolation[k, j] * depth[j, row] * depth[j, row]
                point = points[k]
                weight = weights[k] * 2.0 * point
                part_a, part_b, v = ar * point * point, br * point * point, sr * point
                fade, discount = exp(-part_b), exp(-part_a)
                shift, inverse = math.sqrt(max(square, 0.0)) - top[row] + part_a - part_b, 1.0 / v
                for c in range(moved.size):
                    d1 = (moved[c] + shift) * inverse + 0.5 * v
                    d2 = d1 - v
                    share = _share(fade * exp(-0.5 * d1 * d1), fade, -d1)
                    earned = ar * _share(discount * exp(-0.5 * d2 * d2), discount, -d2) - br * exp(moved[c]) * share
                    found[c] += weight * earned
            last = top[row] - depth[n - 1, row]
            for c in range(moved.size):
                payoff = 1.0 - exp(moved[c])
                exercised = (moved[c] <= last) & (european[c] <= payoff)
                found[c] = payoff if exercised else max(found[c], european[c], payoff, 0.0)
        for c in range(moved.size):
            found[c] *= scaled[c]
