"""Forward price of an expiration from put–call parity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optionmath.blackscholes import Floats

_STRIKES_NEAR = 12


@dataclass(frozen=True, slots=True)
class Forward:
    """Forward in $ per share, how many strikes it rests on, and their spread around it ($, median absolute)."""

    price: float
    strikes: int
    dispersion: float


def parity_forward(
    strike: Floats, call_mid: Floats, put_mid: Floats, years: float, rate: float, *, near: float
) -> Forward | None:
    """Median of K + e^(rT)(C − P) over the strikes nearest `near`; None with fewer than three usable pairs.

    American early-exercise value is ignored: it is small near the money for DTE below about 60.
    """
    usable = np.isfinite(call_mid) & np.isfinite(put_mid)
    if int(usable.sum()) < 3:
        return None
    k, c, p = strike[usable], call_mid[usable], put_mid[usable]
    nearest = np.argsort(np.abs(k - near))[:_STRIKES_NEAR]
    implied = k[nearest] + np.exp(rate * years) * (c[nearest] - p[nearest])
    middle = float(np.median(implied))
    return Forward(middle, len(nearest), float(np.median(np.abs(implied - middle))))
