"""The volatility at which a model that only prices forward gives a price: for batches, an answer or NaN per element."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from optionmath.american_lanes import Picked
from optionmath.blackscholes import Floats

VOLATILITY_MAX = 10.0
_STEPS_MAX, _SETTLED = 60, 2e-4
_HIT = 1e-9
"""Price error, a part of the scale, at which a volatility is found."""


def volatility_search(
    target: Floats,
    european: Floats,
    scale: Floats,
    reprice: Callable[[Picked, Floats], Floats],
    image: Callable[[Picked, Floats], Floats],
    *,
    bounded: bool,
) -> Floats:
    """Volatility of each target price; NaN where it is above 1,000 %.

    european: the closed-form volatility of the target, NaN where there is none; bounded: it is never below the answer.
    reprice(which, volatility): the model's prices of some elements; image(which, price): closed-form volatilities.
    Secant steps on the image of the model's price, which is nearly the volatility itself, within a bracket that every
    step narrows; steps that leave it are bisected. A step below 2e-4 of the volatility is the last: what it leaves is
    that part times the error of the secant's slope, some 1e-6.
    """
    known = np.isfinite(european)
    high = np.where(known & bounded, european * (1 + 1e-9), VOLATILITY_MAX)
    low, sigma = np.zeros(target.size), np.where(known, european, 1.0)
    last_sigma, last_image = np.full(target.size, np.nan), np.full(target.size, np.nan)
    found, active = np.full(target.size, np.nan), np.arange(target.size)
    for _ in range(_STEPS_MAX):
        v = sigma[active]
        value = reprice(active, v)
        above = value > target[active]
        high[active] = np.where(above, np.minimum(high[active], v), high[active])
        low[active] = np.where(above, low[active], np.maximum(low[active], v))
        shown = image(active, value)
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = (shown - last_image[active]) / (v - last_sigma[active])
            slope = np.where(np.isfinite(slope) & (slope > 0.05), slope, 1.0)
            following = v - (shown - european[active]) / slope
        last_sigma[active], last_image[active] = v, shown
        inside = (following > low[active]) & (following < high[active])
        following = np.where(inside, following, 0.5 * (low[active] + high[active]))
        moved = np.abs(following - v)
        hit = np.abs(value - target[active]) <= _HIT * scale[active]
        done = hit | (inside & (moved <= _SETTLED * v)) | (high[active] - low[active] <= 1e-8 * v)
        found[active[done]] = np.where(hit, v, following)[done]
        sigma[active] = following
        active = active[~done]
        if not active.size:
            break
    found[found > 0.999 * VOLATILITY_MAX] = np.nan
    return found
