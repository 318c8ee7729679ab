"""Surfaces without static arbitrage, and the prices and greeks on them.

One SSVI surface an underlying (Gatheral and Jacquier 2014, Arbitrage-free SVI volatility surfaces, section 4):

    w(k, θ) = θ/2 (1 + ρφk + √((φk + ρ)² + 1 − ρ²)),   φ(θ) = η θ^(−γ) (1 + θ)^(γ − 1)

with k = ln(K/F). Free of butterfly and calendar arbitrage while η(1 + |ρ|) ≤ 2, 0 < γ ≤ ½ and θ never falls with T;
here η(1 + |ρ|) ≤ 1.7 always. θ follows from the variance now, its level and the reports to come:

    θ(T) = L²T + (V² − L²)(1 − e^(−κT))/κ + Σ reports before T of e²,   L² = 1.1 × the long-run level

so it rises with T, spans a report with a step and falls back after it. Skew steepens and smiles flatten as V rises.
Dividends are escrowed: S' = S − PV(dividends before expiration), F = S' e^(rT) (Hull, section 15.12).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from tastysim.counters import Floats
from tastysim.listed import RATE
from tastysim.model_paths import REVERSION

GAMMA = 0.45
LEVEL_FACTOR = 1.05
_MONTH = 30 / 365
_YEARS_MIN = 1 / 525_600
_SKEW_MOVES, _CURVATURE_MOVES = 0.25, 0.25
RHO_MAX, ETA_MAX = 0.85, 0.9
_ROOT_TWO_PI = float(np.sqrt(2 * np.pi))


@dataclass(frozen=True, slots=True)
class Cells:
    """Everything that contracts of one underlying and expiration share, at one instant or several: any shape."""

    spot: Floats
    escrowed: Floats
    years: Floats
    theta: Floats
    phi: Floats
    rho: Floats
    discount: Floats


@dataclass(frozen=True, slots=True)
class Values:
    """Per contract. Units as `optionmath.blackscholes.Greeks`."""

    price: Floats
    volatility: Floats
    delta: Floats
    gamma: Floats
    theta: Floats
    vega: Floats
    rho: Floats


def variance_to(years: npt.ArrayLike, volatility: npt.ArrayLike, level: npt.ArrayLike) -> Floats:
    """θ without reports: total variance at the money of `years` from now."""
    t, long_run = np.asarray(years, dtype=np.float64), (np.asarray(level) * LEVEL_FACTOR) ** 2
    fading = -np.expm1(-REVERSION * t) / REVERSION
    return np.asarray(long_run * t + (np.asarray(volatility) ** 2 - long_run) * fading)


def month_volatility(volatility: Floats, level: Floats, reports: Floats) -> Floats:
    """Volatility that 30 days imply. reports: variance of the reports in them."""
    return np.asarray(np.sqrt((variance_to(_MONTH, volatility, level) + reports) / _MONTH))


def smile_of(volatility: Floats, level: Floats, skew: Floats, curvature: Floats) -> tuple[Floats, Floats]:
    """ρ and η of a surface in this state."""
    deviation = np.clip(np.log(volatility / level), -1.0, 1.4)
    rho = np.clip(skew * (1 + _SKEW_MOVES * deviation), -RHO_MAX, RHO_MAX)
    eta = np.minimum(curvature * np.exp(-_CURVATURE_MOVES * deviation), ETA_MAX)
    return np.asarray(rho), np.asarray(eta)


def cells(
    spot: Floats, volatility: Floats, level: Floats, rho: Floats, eta: Floats, years: Floats, reports: Floats,
    paid: Floats,
) -> Cells:  # fmt: skip
    """reports: variance of the reports before the expiration; paid: present value of the dividends before it, $."""
    t = np.maximum(years, _YEARS_MIN)
    theta = variance_to(t, volatility, level) + reports
    phi = eta * theta**-GAMMA * (1 + theta) ** (GAMMA - 1)
    return Cells(spot, spot - paid, t, theta, phi, np.broadcast_to(rho, theta.shape), np.exp(-RATE * t))


def values(
    at: Cells,
    pick: npt.NDArray[np.int64],
    strike: Floats,
    is_call: npt.NDArray[np.bool_],
    american: npt.NDArray[np.bool_],
) -> Values:
    """Prices and greeks of contracts. pick: each one's cell, an index into the flattened cells.

    European values on the surface; an American contract is never worth less than exercising it now.
    """
    spot, escrowed, years, theta, phi, rho, discount = (
        np.ravel(each)[pick] for each in (at.spot, at.escrowed, at.years, at.theta, at.phi, at.rho, at.discount)
    )
    present = strike * discount
    k = np.log(present / escrowed)
    slope = phi * k
    variance = 0.5 * theta * (1 + rho * slope + np.sqrt((slope + rho) ** 2 + 1 - rho * rho))
    deviation, root = np.sqrt(variance), np.sqrt(years)
    sign = np.where(is_call, 1.0, -1.0)
    d1 = deviation * 0.5 - k / deviation
    near, far = ndtr(sign * d1), ndtr(sign * (d1 - deviation))
    density = np.exp(-0.5 * d1 * d1) / _ROOT_TWO_PI
    european = sign * (escrowed * near - present * far)
    floor = np.where(american, np.maximum(sign * (spot - strike), 0.0), 0.0)
    volatility = deviation / root
    carry = sign * present * far
    return Values(
        np.maximum(european, floor),
        volatility,
        sign * near,
        density / (escrowed * deviation),
        (-escrowed * density * volatility / (2 * root) - RATE * carry) / 365,
        escrowed * density * root / 100,
        carry * years / 100,
    )
