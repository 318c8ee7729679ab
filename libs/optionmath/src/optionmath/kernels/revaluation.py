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


@nb.njit(cache=True, nogil=True, fastmath={"contract", "nsz"}, error_model="numpy")
def revalue(  # type: ignore[no-untyped-def]
    is_option, is_call, american, underlying, position, spot, strike, forward, discounted, deviation, root, size,
    factor, factor_log, volatility_factor, volatility_shift, out,
):  # fmt: skip
    """Adds to out[position, scenario] the $ value of each leg; a leg with a bad number makes its position's row NaN.

    A leg's arrays have one element a leg: spot and strike undiscounted, forward = spot · e^(-qT), discounted =
    strike · e^(-rT), deviation = σ√T, root = √T, size = signed units. Scenario arrays are [underlying, scenario].
    American options are worth at least their exercise value.
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
        for c in range(row.size):
            deviated = max(v * grown[c] + t * shifted[c], DEVIATION_MIN)
            value = _black(f * moved[c], d, x + moved_log[c], deviated, call)
            intrinsic = exercised * moved[c] - paid if call else paid - exercised * moved[c]
            row[c] += units * (intrinsic if intrinsic > value else value)  # a NaN value stays NaN


@nb.njit(cache=True, nogil=True, error_model="numpy")
def leg_greeks(is_option, is_call, american, spot, strike, years, sigma, rate, yields, size, out):  # type: ignore[no-untyped-def]
    """out[leg] = value, delta, gamma, theta a day, vega a point, rho a point, vanna, vomma; all times size.

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
            exercise = sign * (s - k)
            if american[leg] and row[0] < exercise:
                row[:] = 0.0
                row[0], row[1] = exercise, sign
        for g in range(row.size):
            row[g] *= units
