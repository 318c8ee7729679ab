"""European options on a forward: implied volatility with greeks in one pass, and scenario grids.

The hot loops have no branch and call nothing that LLVM cannot inline: they become vector code (see `elementary`).
They run over slices that the caller passes, so that every index is provably non-negative.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from optionmath.kernels.elementary import ROOT_HALF, compiled, erfcx, exp, inlined, log

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

DEVIATION_MIN = 1e-150
"""Stands for zero total volatility: the price is then its intrinsic to the last bit, and nothing divides by zero."""


@inlined
def _value(forward: float, strike: float, x: float, deviation: float, is_call: bool) -> float:
    """Black's value from the discounted forward and strike, x = ln(forward/strike), deviation = σ√T > 0."""
    d1 = x / deviation + 0.5 * deviation
    d2 = d1 - deviation
    density = forward * 0.5 * exp(-0.5 * d1 * d1)  # strike · φ(d2) = forward · φ(d1): one exponential serves both
    tail1 = density * erfcx(abs(d1) * ROOT_HALF)
    tail2 = density * erfcx(abs(d2) * ROOT_HALF)
    above = tail1 if (d1 < 0.0) == is_call else forward - tail1
    below = tail2 if (d2 < 0.0) == is_call else strike - tail2
    return above - below if is_call else below - above


@compiled
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
    """out[p, c] = quantity[p] times the value of position p in cell c; all cell arrays have out.shape[1] elements."""
    cells = spot_factor.size
    for p in range(forward.size):
        f, k, s, call, lots = forward[p], strike[p], deviation[p], is_call[p], quantity[p]
        good = f > 0.0 and k > 0.0 and f < math.inf and k < math.inf and s >= 0.0 and s < math.inf
        x = log(f) - log(k) if good else 0.0
        lots = lots if good else math.nan
        row = out[p]
        for c in range(cells):
            moved = max(s * volatility_factor[c], DEVIATION_MIN)
            row[c] = lots * _value(f * spot_factor[c], k, x + spot_log[c], moved, call)


@compiled
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
    """Adds to total[c] the sum over positions of quantity times value in cell c; one bad position makes all NaN."""
    cells = spot_factor.size
    for p in range(forward.size):
        f, k, s, call, lots = forward[p], strike[p], deviation[p], is_call[p], quantity[p]
        good = f > 0.0 and k > 0.0 and f < math.inf and k < math.inf and s >= 0.0 and s < math.inf
        x = log(f) - log(k) if good else 0.0
        lots = lots if good else math.nan
        for c in range(cells):
            moved = max(s * volatility_factor[c], DEVIATION_MIN)
            total[c] += lots * _value(f * spot_factor[c], k, x + spot_log[c], moved, call)
