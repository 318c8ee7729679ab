"""Black–Scholes–Merton prices, greeks and implied volatility, vectorised over float64 arrays.

Units: prices, spot, strike in $ per share; years; volatility, rate and dividend yield as fractions a year (continuous).
Source: Hull, Options, Futures, and Other Derivatives, chapters 15, 17 and 19.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
_ROOT_TWO_PI = float(np.sqrt(2 * np.pi))
_NEWTON_STEPS, _VOLATILITY_MAX = 64, 10.0


class VolatilityStatus(IntEnum):
    """Why an implied volatility is what it is; anything but OK comes with NaN."""

    OK = 0
    BELOW_INTRINSIC = 1
    ABOVE_BOUND = 2
    NO_TIME = 3
    NOT_A_NUMBER = 4


@dataclass(frozen=True, slots=True)
class Greeks:
    """Per share. theta: $ per calendar day; vega: $ per volatility point; rho: $ per percentage point of rate."""

    delta: Floats
    gamma: Floats
    theta: Floats
    vega: Floats
    rho: Floats


def _d1(spot: Floats, strike: Floats, years: Floats, sigma: Floats, carry: Floats) -> Floats:
    return np.asarray((np.log(spot / strike) + (carry + sigma * sigma / 2) * years) / (sigma * np.sqrt(years)))


def price(
    spot: npt.ArrayLike,
    strike: npt.ArrayLike,
    years: npt.ArrayLike,
    sigma: npt.ArrayLike,
    rate: npt.ArrayLike,
    dividend_yield: npt.ArrayLike,
    is_call: npt.ArrayLike,
) -> Floats:
    """European option value, $ per share. At zero time or zero volatility: the discounted intrinsic of the forward."""
    s, k, t, v, r, q = (
        np.asarray(each, dtype=np.float64) for each in (spot, strike, years, sigma, rate, dividend_yield)
    )
    sign = np.where(np.asarray(is_call, dtype=bool), 1.0, -1.0)
    forward_value, strike_value = s * np.exp(-q * t), k * np.exp(-r * t)
    with np.errstate(divide="ignore", invalid="ignore"):
        d1 = _d1(s, k, t, v, r - q)
        d2 = d1 - v * np.sqrt(t)
        value = sign * (forward_value * ndtr(sign * d1) - strike_value * ndtr(sign * d2))
    intrinsic = np.maximum(sign * (forward_value - strike_value), 0.0)
    return np.asarray(np.where((t <= 0) | (v <= 0), intrinsic, value))


def greeks(
    spot: npt.ArrayLike,
    strike: npt.ArrayLike,
    years: npt.ArrayLike,
    sigma: npt.ArrayLike,
    rate: npt.ArrayLike,
    dividend_yield: npt.ArrayLike,
    is_call: npt.ArrayLike,
) -> Greeks:
    """First-order greeks and gamma. NaN where time or volatility is not positive."""
    s, k, t, v, r, q = (
        np.asarray(each, dtype=np.float64) for each in (spot, strike, years, sigma, rate, dividend_yield)
    )
    sign = np.where(np.asarray(is_call, dtype=bool), 1.0, -1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        root = np.sqrt(t)
        d1 = _d1(s, k, t, v, r - q)
        d2 = d1 - v * root
        density = np.exp(-d1 * d1 / 2) / _ROOT_TWO_PI
        fade, discount = np.exp(-q * t), np.exp(-r * t)
        carry_cost = sign * (q * s * fade * ndtr(sign * d1) - r * k * discount * ndtr(sign * d2))
        theta = (-s * fade * density * v / (2 * root) + carry_cost) / 365
        found = (
            sign * fade * ndtr(sign * d1),
            fade * density / (s * v * root),
            theta,
            s * fade * density * root / 100,
            sign * k * t * discount * ndtr(sign * d2) / 100,
        )
    bad = (t <= 0) | (v <= 0)
    return Greeks(*(np.asarray(np.where(bad, np.nan, each)) for each in found))


def implied_volatility(
    value: npt.ArrayLike,
    spot: npt.ArrayLike,
    strike: npt.ArrayLike,
    years: npt.ArrayLike,
    rate: npt.ArrayLike,
    dividend_yield: npt.ArrayLike,
    is_call: npt.ArrayLike,
) -> tuple[Floats, npt.NDArray[np.int8]]:
    """Volatility that gives `value`, and a `VolatilityStatus` per element. Never raises for a bad element.

    Newton steps kept inside a bracket that each step narrows; elements that leave it are bisected.
    """
    p, s, k, t, r, q = np.broadcast_arrays(
        *(np.asarray(each, dtype=np.float64) for each in (value, spot, strike, years, rate, dividend_yield))
    )
    call = np.broadcast_to(np.asarray(is_call, dtype=bool), p.shape)
    with np.errstate(invalid="ignore", over="ignore"):
        fade, discount = s * np.exp(-q * t), k * np.exp(-r * t)
        intrinsic = np.maximum(np.where(call, fade - discount, discount - fade), 0.0)
        bound = np.where(call, fade, discount)
        status = np.full(p.shape, VolatilityStatus.OK, dtype=np.int8)
        status[p <= intrinsic] = VolatilityStatus.BELOW_INTRINSIC
        status[p >= bound] = VolatilityStatus.ABOVE_BOUND
        status[t <= 0] = VolatilityStatus.NO_TIME
        finite = np.isfinite(p) & np.isfinite(s) & np.isfinite(k) & np.isfinite(t) & (s > 0) & (k > 0)
        status[~finite] = VolatilityStatus.NOT_A_NUMBER
    result = np.full(p.shape, np.nan)
    good = status == VolatilityStatus.OK
    if good.any():
        result[good] = _solve(p[good], s[good], k[good], t[good], r[good], q[good], call[good])
    return result, status


def _solve(p: Floats, s: Floats, k: Floats, t: Floats, r: Floats, q: Floats, call: Bools) -> Floats:
    low, high = np.zeros_like(p), np.full_like(p, _VOLATILITY_MAX)
    sigma = np.clip(np.sqrt(2 * np.abs(np.log(s / k) + (r - q) * t) / t), 0.05, 2.0)
    for _ in range(_NEWTON_STEPS):
        difference = price(s, k, t, sigma, r, q, call) - p
        high = np.where(difference > 0, sigma, high)
        low = np.where(difference <= 0, sigma, low)
        vega = greeks(s, k, t, sigma, r, q, call).vega * 100
        with np.errstate(divide="ignore", invalid="ignore"):
            step = sigma - difference / vega
        following = np.where(np.isfinite(step) & (step > low) & (step < high), step, (low + high) / 2)
        if bool(np.all(np.abs(following - sigma) <= 1e-15 + 1e-14 * sigma)):
            return following
        sigma = following
    return sigma
