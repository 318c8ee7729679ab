"""Full revaluation of a book of legs under many scenarios, and its greeks.

The scenario loop has no branch and calls nothing that LLVM cannot inline: it becomes vector code (see `elementary`).
One logarithm a leg and one a scenario and underlying are all that is taken; a valuation costs one exponential.
"""

from __future__ import annotations

import math

import numba as nb

from optionmath.kernels.elementary import ROOT_HALF, erfcx, exp, log

DEVIATION_MIN = 1e-150
"""Stands for zero total volatility: the price is then its intrinsic to the last bit, and nothing divides by zero."""
_ROOT_TWO_PI = math.sqrt(2 * math.pi)


@nb.njit(cache=True, nogil=True, fastmath={"contract", "nsz"}, error_model="numpy")
def logarithms(factor, out):  # type: ignore[no-untyped-def]
    """out = ln factor, elementwise; NaN where the factor is not a positive normal number."""
    for u in range(factor.shape[0]):
        source, row = factor[u], out[u]
        for c in range(row.size):
            x = source[c]
            row[c] = log(x) if x > 1e-300 and x < math.inf else math.nan


@nb.njit(fastmath={"contract", "nsz"}, error_model="numpy", forceinline=True)
def _black(forward: float, strike: float, x: float, deviation: float, is_call: bool) -> float:
    """Black's value from the discounted forward and strike, x = ln(forward/strike), deviation = σ√T > 0."""
    d1 = x / deviation + 0.5 * deviation
    d2 = d1 - deviation
    density = forward * 0.5 * exp(-0.5 * d1 * d1)  # strike · φ(d2) = forward · φ(d1): one exponential serves both
    tail1 = density * erfcx(abs(d1) * ROOT_HALF)
    tail2 = density * erfcx(abs(d2) * ROOT_HALF)
    above = tail1 if (d1 < 0.0) == is_call else forward - tail1
    below = tail2 if (d2 < 0.0) == is_call else strike - tail2
    return above - below if is_call else below - above


@nb.njit(error_model="numpy")
def _seed(sign: float, rate: float, yields: float, deviation: float, n: float) -> float:
    """First guess of the critical price: between the strike and the price without end of time."""
    q_end = 0.5 * (-n + sign * math.sqrt(n * n + 8.0 * max(rate, 1e-12) / (deviation * deviation)))
    if abs(1.0 - 1.0 / q_end) < 1e-12:
        return 1.0
    end = 1.0 / (1.0 - 1.0 / q_end)
    if abs(end - 1.0) < 1e-12:
        return 1.0
    h = -((rate - yields) * sign + 2.0 * deviation) * sign / (end - 1.0)
    return max(1.0 + (end - 1.0) * (1.0 - math.exp(min(h, 0.0))), 1e-3)


@nb.njit(error_model="numpy")
def _boundary(sign: float, rate: float, yields: float, deviation: float, seed: float) -> tuple[float, float, float]:
    """ln of the critical price, ln of the premium there, and the exponent q: Barone-Adesi and Whaley (1987), strike 1.

    rate and yields are times years. Newton's method from `seed`, from theirs if it is 0, until a step is below 1e-6
    (the next would be below 1e-11); NaN where early exercise never pays.
    """
    if not (deviation > 0.0 and (rate if sign < 0.0 else yields) > 1e-9):
        return math.nan, math.nan, math.nan
    w = deviation * deviation
    n = 2.0 * (rate - yields) / w - 1.0
    ratio = rate / -math.expm1(-rate) if abs(rate) > 1e-12 else 1.0
    q = 0.5 * (-n + sign * math.sqrt(n * n + 8.0 * ratio / w))
    fade, discount = math.exp(-yields), math.exp(-rate)
    s = seed if seed > 0.0 else _seed(sign, rate, yields, deviation, n)
    tail = 0.5
    for _ in range(60):
        d1 = (math.log(s) + rate - yields) / deviation + 0.5 * deviation
        tail = 0.5 * math.erfc(-sign * d1 * ROOT_HALF)
        other = 0.5 * math.erfc(-sign * (d1 - deviation) * ROOT_HALF)
        density = math.exp(-0.5 * d1 * d1) / _ROOT_TWO_PI
        missing = sign * (s * fade * tail - discount * other) + sign * (1.0 - fade * tail) * s / q - sign * (s - 1.0)
        slope = sign * (fade * tail - 1.0) + sign / q * (1.0 - fade * tail - sign * fade * density / deviation)
        following = s - missing / slope
        following = following if following > 0.2 * s else 0.2 * s
        if abs(following - s) <= 1e-6 * s:
            s = following
            break
        s = following
    premium = sign * s / q * (-math.expm1(-yields) + fade * (1.0 - tail))
    return math.log(s), math.log(premium), q


_NODES = (0.4538377907, 0.8534362195, 1.5, 2.1465637805, 2.5461622093)
"""Multiples of a leg's volatility where its boundary is solved: Chebyshev's on 0.4 to 2.6, for stresses up and down."""
_NODE_LOW, _NODE_HIGH = 0.4, 2.6
BOUNDARY_COLUMNS = 13
_BOUNDARY_FAR = 8.0
"""A boundary more than 3,000 times from the strike is none: the premium is nothing, and its numbers would overflow."""


@nb.njit(cache=True, nogil=True, error_model="numpy")
def boundaries(american, is_call, spot, strike, rate, yields, deviation, out):  # type: ignore[no-untyped-def]
    """Early exercise of each American leg over volatilities, so that a scenario needs no root: out[leg, column].

    Columns 0 to 4 and 5 to 9: divided differences, in multiples of the leg's volatility, of ln(critical price/strike)
    and of ln(premium there/strike); 10 and 11: the numerators of N and 4M/K; 12: ln(spot/strike), NaN where early
    exercise pays nowhere near. rate and yields are times years.
    """
    height, amplitude = out[:, :5], out[:, 5:10]
    for leg in range(strike.size):
        out[leg, :] = 0.0
        out[leg, 12] = math.nan
        if not american[leg]:
            continue
        sign, r, q = (1.0 if is_call[leg] else -1.0), rate[leg], yields[leg]
        seed, reach = 0.0, 0.0
        for node in range(5):
            y, a, _ = _boundary(sign, r, q, _NODES[node] * deviation[leg], seed)
            height[leg, node], amplitude[leg, node] = y, a
            reach = max(reach, abs(y))
            seed = math.exp(y * _NODES[min(node + 1, 4)] / _NODES[node]) if y == y else 0.0
        for order in range(1, 5):
            for node in range(4, order - 1, -1):
                width = _NODES[node] - _NODES[node - order]
                height[leg, node] = (height[leg, node] - height[leg, node - 1]) / width
                amplitude[leg, node] = (amplitude[leg, node] - amplitude[leg, node - 1]) / width
        out[leg, 10] = 2.0 * (r - q)
        out[leg, 11] = 8.0 * (r / -math.expm1(-r) if abs(r) > 1e-12 else 1.0)
        if reach < _BOUNDARY_FAR and math.isfinite(height[leg, 4] + amplitude[leg, 4]):
            out[leg, 12] = math.log(spot[leg] / strike[leg])


@nb.njit(fastmath={"contract", "nsz"}, error_model="numpy", forceinline=True)
def _interpolated(t: float, c0: float, c1: float, c2: float, c3: float, c4: float) -> float:
    """Newton's polynomial through the nodes at t."""
    p = c4 * (t - _NODES[3]) + c3
    p = p * (t - _NODES[2]) + c2
    p = p * (t - _NODES[1]) + c1
    return p * (t - _NODES[0]) + c0


@nb.njit(cache=True, nogil=True, fastmath={"contract", "nsz"}, error_model="numpy")
def revalue(  # type: ignore[no-untyped-def]
    is_option, is_call, american, underlying, position, spot, strike, forward, discounted, deviation, root, size,
    boundary, factor, factor_log, volatility_factor, volatility_shift, out,
):  # fmt: skip
    """Adds to out[position, scenario] the $ value of each leg; a leg with a bad number makes its position's row NaN.

    A leg's arrays have one element a leg: spot and strike undiscounted, forward = spot · e^(-qT), discounted =
    strike · e^(-rT), deviation = σ√T, root = √T, size = signed units, boundary as from `boundaries`. Scenario arrays
    are [underlying, scenario]. An American option adds its early-exercise premium and is worth at least its exercise.
    """
    for leg in range(size.size):
        u = underlying[leg]
        moved, moved_log, grown, shifted = factor[u], factor_log[u], volatility_factor[u], volatility_shift[u]
        row, units = out[position[leg]], size[leg]
        s, k = spot[leg], strike[leg]
        if not is_option[leg]:
            worth = units * s
            for c in range(row.size):
                row[c] += worth * moved[c]
            continue
        f, d, v, t, call = forward[leg], discounted[leg], deviation[leg], root[leg], is_call[leg]
        good = f > 0.0 and d > 0.0 and f < math.inf and d < math.inf and v >= 0.0 and v < math.inf
        x = log(f) - log(d) if good else math.nan
        units = units if good else math.nan
        exercised, paid = (s, k) if american[leg] else (0.0, 0.0)
        b = boundary[leg]
        if american[leg] and b[12] == b[12]:
            sign, at, drift, growth, per_v = (1.0 if call else -1.0), b[12], b[10], b[11], 1.0 / v
            y0, y1, y2, y3, y4, a0, a1, a2, a3, a4 = b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9]
            for c in range(row.size):
                deviated = max(v * grown[c] + t * shifted[c], DEVIATION_MIN)
                value = _black(f * moved[c], d, x + moved_log[c], deviated, call)
                intrinsic = sign * (s * moved[c] - k)
                m = max(_NODE_LOW, min(_NODE_HIGH, deviated * per_v))
                per_w = 1.0 / (m * m * v * v)
                n = drift * per_w - 1.0
                q = 0.5 * (sign * math.sqrt(n * n + growth * per_w) - n)
                beyond = at + moved_log[c] - _interpolated(m, y0, y1, y2, y3, y4)
                premium = k * exp(_interpolated(m, a0, a1, a2, a3, a4) + q * beyond)
                most = (s - f) * moved[c] if call else k - d  # no premium is worth more than the carry it saves
                premium = premium if premium < most else most
                value = value + premium if sign * beyond < 0.0 else value
                row[c] += units * (intrinsic if intrinsic > value else value)
            continue
        for c in range(row.size):
            deviated = max(v * grown[c] + t * shifted[c], DEVIATION_MIN)
            value = _black(f * moved[c], d, x + moved_log[c], deviated, call)
            intrinsic = exercised * moved[c] - paid if call else paid - exercised * moved[c]
            row[c] += units * (intrinsic if intrinsic > value else value)  # a NaN value stays NaN


@nb.njit(error_model="numpy")
def _european(sign: float, s: float, k: float, t: float, v: float, r: float, q: float) -> float:
    """Scalar value of a European option with time and volatility."""
    deviation = v * math.sqrt(t)
    d1 = (math.log(s / k) + (r - q) * t) / deviation + 0.5 * deviation
    above = 0.5 * math.erfc(-sign * d1 * ROOT_HALF)
    below = 0.5 * math.erfc(-sign * (d1 - deviation) * ROOT_HALF)
    return sign * (s * math.exp(-q * t) * above - k * math.exp(-r * t) * below)


@nb.njit(error_model="numpy")
def _american(sign: float, s: float, k: float, t: float, v: float, r: float, q: float) -> float:
    """Scalar value of an American option with time and volatility: European value and early-exercise premium."""
    y, a, e = _boundary(sign, r * t, q * t, v * math.sqrt(t), 0.0)
    value = _european(sign, s, k, t, v, r, q)
    beyond = math.log(s / k) - y
    if sign * beyond < 0.0:
        most = -s * math.expm1(-q * t) if sign > 0.0 else -k * math.expm1(-r * t)
        value += min(k * math.exp(min(a + e * beyond, 700.0)), most)
    return max(value, sign * (s - k))


@nb.njit(error_model="numpy")
def _american_greeks(sign, s, k, t, v, r, q, row):  # type: ignore[no-untyped-def]
    """Differences of `_american`, central, into row as `leg_greeks` orders it."""
    h, dv, dt, dr = 1e-3 * s, min(1e-3, 0.25 * v), min(1e-4, 0.25 * t), 1e-4
    here = _american(sign, s, k, t, v, r, q)
    up, down = _american(sign, s + h, k, t, v, r, q), _american(sign, s - h, k, t, v, r, q)
    high, low = _american(sign, s, k, t, v + dv, r, q), _american(sign, s, k, t, v - dv, r, q)
    cross = (
        _american(sign, s + h, k, t, v + dv, r, q) - _american(sign, s - h, k, t, v + dv, r, q)
        - _american(sign, s + h, k, t, v - dv, r, q) + _american(sign, s - h, k, t, v - dv, r, q)
    )  # fmt: skip
    row[0] = here
    row[1] = (up - down) / (2.0 * h)
    row[2] = (up - 2.0 * here + down) / (h * h)
    row[3] = -(_american(sign, s, k, t + dt, v, r, q) - _american(sign, s, k, t - dt, v, r, q)) / (2.0 * dt) / 365.0
    row[4] = (high - low) / (2.0 * dv) / 100.0
    row[5] = (_american(sign, s, k, t, v, r + dr, q) - _american(sign, s, k, t, v, r - dr, q)) / (2.0 * dr) / 100.0
    row[6] = cross / (4.0 * h * dv) / 100.0
    row[7] = (high - 2.0 * here + low) / (dv * dv) / 10_000.0


@nb.njit(cache=True, nogil=True, error_model="numpy")
def leg_greeks(is_option, is_call, american, spot, strike, years, sigma, rate, yields, size, out):  # type: ignore[no-untyped-def]
    """out[leg] = value, delta, gamma, theta a day, vega a point, rho a point, vanna, vomma; all times size.

    In closed form; by differences where an American option's early exercise may pay.

    vanna: change of delta per volatility point; vomma: change of vega per volatility point. An option without time or
    volatility has its exercise value and, in the money, a delta of one; NaN for a bad leg.
    """
    for leg in range(size.size):
        s, k, units = spot[leg], strike[leg], size[leg]
        row = out[leg]
        row[:] = 0.0
        if not is_option[leg]:
            row[0], row[1] = s, 1.0
        else:
            t, v, r, q = years[leg], sigma[leg], rate[leg], yields[leg]
            sign = 1.0 if is_call[leg] else -1.0
            if not (s > 0.0 and k > 0.0 and math.isfinite(s + k + t + v + r + q) and t >= 0.0 and v >= 0.0):
                row[:] = math.nan
                continue
            fade, discount = math.exp(-q * t), math.exp(-r * t)
            if t <= 0.0 or v <= 0.0:
                row[0] = max(sign * (s * fade - k * discount), 0.0)
                row[1] = sign * fade if row[0] > 0.0 else 0.0
            else:
                deviation = v * math.sqrt(t)
                d1 = (math.log(s / k) + (r - q) * t) / deviation + 0.5 * deviation
                d2 = d1 - deviation
                density = math.exp(-0.5 * d1 * d1) / _ROOT_TWO_PI
                n1 = 0.5 * math.erfc(-sign * d1 * ROOT_HALF)
                n2 = 0.5 * math.erfc(-sign * d2 * ROOT_HALF)
                vega = s * fade * density * math.sqrt(t) / 100.0
                row[0] = sign * (s * fade * n1 - k * discount * n2)
                row[1] = sign * fade * n1
                row[2] = fade * density / (s * deviation)
                decay = s * fade * density * v / (2.0 * math.sqrt(t))
                row[3] = (sign * (q * s * fade * n1 - r * k * discount * n2) - decay) / 365.0
                row[4] = vega
                row[5] = sign * k * t * discount * n2 / 100.0
                row[6] = -fade * density * d2 / v / 100.0
                row[7] = vega * d1 * d2 / v / 100.0
                if american[leg] and (q if is_call[leg] else r) * t > 1e-6:
                    _american_greeks(sign, s, k, t, v, r, q, row)
            exercise = sign * (s - k)
            if american[leg] and row[0] <= exercise:
                row[:] = 0.0
                row[0], row[1] = exercise, sign
        for g in range(row.size):
            row[g] *= units
