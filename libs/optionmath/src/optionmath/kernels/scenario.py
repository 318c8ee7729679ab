"""Values of European positions in every cell of a grid of shocks, in vector code without a branch (see `elementary`).

Prices are discounted: f = S e^(-qT), k = K e^(-rT); s = σ√T. A spot shock multiplies f, one of volatility multiplies s.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from optionmath.kernels.elementary import ROOT_HALF, erfcx_pair, exp, inlined, log, vectorised

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

DEVIATION_MIN = 1e-60
"""Stands for zero total volatility: the price is then its intrinsic to the last bit, and nothing divides by zero."""


@inlined
def _value(f: float, k: float, x: float, s: float, is_call: bool) -> float:
    """Black's value; x = ln(f/k), s > 0."""
    d1 = x / s + 0.5 * s
    d2 = d1 - s
    half = 0.5 * exp(-0.5 * d1 * d1) * f  # f φ(d1) = k φ(d2): one exponential serves both
    e1, e2 = erfcx_pair(abs(d1) * ROOT_HALF, abs(d2) * ROOT_HALF)
    tail1, tail2 = half * e1, half * e2
    n1 = tail1 if (d1 < 0.0) == is_call else f - tail1
    n2 = tail2 if (d2 < 0.0) == is_call else k - tail2
    return n1 - n2 if is_call else n2 - n1


@vectorised
def grid(
    forward: Floats,
    strike: Floats,
    deviation: Floats,
    is_call: Bools,
    quantity: Floats,
    spot_factor: Floats,
    spot_log: Floats,
    volatility_factor: Floats,
    out: Floats,
) -> None:
    """out[p, c] = quantity[p] × value of position p in cell c."""
    for p in range(forward.size):
        f, k, s, call = forward[p], strike[p], deviation[p], is_call[p]
        good = f > 0.0 and k > 0.0 and f < math.inf and k < math.inf and s >= 0.0 and s < math.inf
        lots = quantity[p] if good else math.nan
        x = log(f) - log(k) if good else 0.0
        row = out[p]
        for c in range(row.size):
            moved = max(s * volatility_factor[c], DEVIATION_MIN)
            row[c] = lots * _value(f * spot_factor[c], k, x + spot_log[c], moved, call)


@vectorised
def grid_total(
    forward: Floats,
    strike: Floats,
    deviation: Floats,
    is_call: Bools,
    quantity: Floats,
    spot_factor: Floats,
    spot_log: Floats,
    volatility_factor: Floats,
    total: Floats,
) -> None:
    """Adds to total[c] quantity × value of each position in cell c; a bad one makes all NaN."""
    for p in range(forward.size):
        f, k, s, call = forward[p], strike[p], deviation[p], is_call[p]
        good = f > 0.0 and k > 0.0 and f < math.inf and k < math.inf and s >= 0.0 and s < math.inf
        lots = quantity[p] if good else math.nan
        x = log(f) - log(k) if good else 0.0
        for c in range(total.size):
            moved = max(s * volatility_factor[c], DEVIATION_MIN)
            total[c] += lots * _value(f * spot_factor[c], k, x + spot_log[c], moved, call)
