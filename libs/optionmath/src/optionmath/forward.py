"""Forward price, implied rate and implied carry of an expiration from put–call parity.

C − P = e^(−rT) (F − K) for European options. American options obey it only within bounds: near the money and below
about 60 days the early-exercise value is small, and `Parity.early_exercise_bound` says how large it can be.
Source: Hull, Options, Futures, and Other Derivatives, chapters 11 and 17; Huber (1981) for the weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from optionmath.blackscholes import Bools, Floats

_STRIKES_NEAR = 12
_PAIRS_MIN, _PAIRS_NEAREST, _PAIRS_RATE_MIN = 3, 6, 8
_HUBER, _ROUNDS, _HALF_SPREAD_MIN = 1.5, 20, 0.005
_RATE_ERROR_MAX = 0.005


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
    if int(usable.sum()) < _PAIRS_MIN:
        return None
    k, c, p = strike[usable], call_mid[usable], put_mid[usable]
    nearest = np.argsort(np.abs(k - near))[:_STRIKES_NEAR]
    implied = k[nearest] + np.exp(rate * years) * (c[nearest] - p[nearest])
    middle = float(np.median(implied))
    return Forward(middle, len(nearest), float(np.median(np.abs(implied - middle))))


class ParityStatus(IntEnum):
    """How far the quotes allow the forward to be known."""

    OK = 0
    TOO_FEW_PAIRS = 1
    BAD_INPUT = 2


class RateStatus(IntEnum):
    """Whether the quotes pin down an interest rate of their own."""

    OK = 0
    TOO_FEW_PAIRS = 1
    TOO_NOISY = 2
    """Standard error above half a percentage point: short expirations, wide quotes or a narrow range of strikes."""
    AMERICAN = 3
    """Early-exercise value tilts the regression: its slope says nothing of the rate."""


@dataclass(frozen=True, slots=True)
class Parity:
    """What put–call parity says of one expiration. Every figure is NaN where its status is not OK."""

    status: ParityStatus
    forward: float
    """$ per share, with the rate that was given."""
    forward_error: float
    """Standard error, $ per share."""
    carry_yield: float
    """q = r − ln(F / S) / T, continuous: dividends and borrow together; NaN without a spot."""
    borrow: float
    """Cost of borrowing the stock a year, after the known dividends: −ln(F e^(−rT) / (S − PV(D))) / T; NaN likewise."""
    pairs: int
    outliers: int
    """Pairs that the robust weights count for less than half."""
    early_exercise_bound: float
    """Largest error of the forward that American exercise can cause, $: forward strike interest plus dividends."""
    rate_status: RateStatus
    implied_rate: float
    implied_rate_error: float
    implied_rate_forward: float
    """Forward that goes with the implied rate, $ per share."""


def fit_parity(
    strike: Floats,
    call_bid: Floats,
    call_ask: Floats,
    put_bid: Floats,
    put_ask: Floats,
    years: float,
    rate: float,
    *,
    near: float,
    spot: float = float("nan"),
    dividends_present_value: float = 0.0,
    american: bool = False,
    reach: float | None = None,
) -> Parity:
    """Robust weighted regression of C − P over the strikes around `near`; never raises.

    reach: how far from `near` strikes count, a fraction: by default 0.10, for American options 0.02 (the six nearest
    where fewer lie within).

    Arrays are aligned by strike, $ per share; only pairs with four two-sided, uncrossed quotes count, each weighted by
    the inverse square of the half-spread of C − P, and by Huber's factor against outliers. The forward uses the rate
    given; the implied rate is the regression's own slope, which only liquid European chains pin down.
    """
    scalars = (years, rate, near)
    if not all(np.isfinite(each) for each in scalars) or not (years > 0 and near > 0):
        return _nothing(ParityStatus.BAD_INPUT, 0)
    usable = _two_sided(call_bid, call_ask) & _two_sided(put_bid, put_ask) & np.isfinite(strike) & (strike > 0)
    usable &= _around(np.abs(strike / near - 1), usable, (0.02 if american else 0.10) if reach is None else reach)
    pairs = int(usable.sum())
    if pairs < _PAIRS_MIN:
        return _nothing(ParityStatus.TOO_FEW_PAIRS, pairs)
    k = strike[usable]
    gap = ((call_bid + call_ask - put_bid - put_ask) / 2)[usable]
    width = np.maximum(((call_ask - call_bid + put_ask - put_bid) / 2)[usable], _HALF_SPREAD_MIN)
    growth = np.exp(rate * years)
    (forward,), (error,), factors = _robust(np.ones((pairs, 1)), k + growth * gap, growth * width)
    rate_status, implied, implied_error, implied_forward = _implied_rate(k, gap, width, years, near, american)
    return Parity(
        ParityStatus.OK,
        forward,
        error,
        rate - float(np.log(forward / spot)) / years if spot > 0 else float("nan"),
        _borrow(forward, spot, rate, years, dividends_present_value),
        pairs,
        int((factors < 0.5).sum()),
        float(near * abs(growth - 1) + growth * dividends_present_value) if american else 0.0,
        rate_status,
        implied,
        implied_error,
        implied_forward,
    )


def _nothing(status: ParityStatus, pairs: int) -> Parity:
    nan = float("nan")
    return Parity(status, nan, nan, nan, nan, pairs, 0, nan, RateStatus.TOO_FEW_PAIRS, nan, nan, nan)


def _two_sided(bid: Floats, ask: Floats) -> Bools:
    with np.errstate(invalid="ignore"):
        return np.asarray(np.isfinite(bid) & np.isfinite(ask) & (bid > 0) & (ask >= bid))


def _around(distance: Floats, usable: Bools, reach: float) -> Bools:
    """Within reach, or the nearest few usable ones where those are too few."""
    kept = np.sort(distance[usable])[:_PAIRS_NEAREST]
    return np.asarray(distance <= max(reach, float(kept[-1]) if len(kept) else 0.0))


def _borrow(forward: float, spot: float, rate: float, years: float, dividends: float) -> float:
    if not (spot > 0 and spot - dividends > 0 and forward > 0):
        return float("nan")
    return float(-np.log(forward * np.exp(-rate * years) / (spot - dividends)) / years)


def _implied_rate(
    k: Floats, gap: Floats, width: Floats, years: float, near: float, american: bool
) -> tuple[RateStatus, float, float, float]:
    nan = float("nan")
    if american:
        return RateStatus.AMERICAN, nan, nan, nan
    if len(k) < _PAIRS_RATE_MIN or np.ptp(k) <= 0:
        return RateStatus.TOO_FEW_PAIRS, nan, nan, nan
    # Strikes relative to `near` keep the two coefficients nearly independent.
    (level, slope), (_, slope_error), _ = _robust(np.column_stack((np.ones(len(k)), near - k)), gap, width)
    if not slope > 0:
        return RateStatus.TOO_NOISY, nan, nan, nan
    error = slope_error / slope / years
    if error > _RATE_ERROR_MAX:
        return RateStatus.TOO_NOISY, nan, error, nan
    return RateStatus.OK, float(-np.log(slope) / years), error, near + level / slope


def _robust(design: Floats, target: Floats, width: Floats) -> tuple[list[float], list[float], Floats]:
    """Weighted least squares with Huber factors: coefficients, standard errors, factor of each row.

    Starts from the weighted median where one number is sought, so that a stale pair cannot set the first scale.
    """
    factors = np.ones(len(target))
    coefficients = np.zeros(design.shape[1])
    for turn in range(_ROUNDS):
        root = np.sqrt(factors) / width
        if turn == 0 and design.shape[1] == 1:
            following = np.array([np.median(target)])
        else:
            following = np.linalg.lstsq(design * root[:, None], target * root, rcond=None)[0]
        residual = (target - design @ following) / width
        limit = _HUBER * max(1.4826 * float(np.median(np.abs(residual))), 0.05)
        factors = np.minimum(1.0, limit / np.maximum(np.abs(residual), 1e-300))
        done = turn > 0 and bool(np.allclose(following, coefficients, rtol=1e-12, atol=1e-12))
        coefficients = following
        if done:
            break
    root = np.sqrt(factors) / width
    weighted = design * root[:, None]
    freedom = max(len(target) - design.shape[1], 1)
    spread = float(np.sum((root * (target - design @ coefficients)) ** 2)) / freedom
    covariance = np.linalg.pinv(weighted.T @ weighted) * spread
    return [float(each) for each in coefficients], [float(each) for each in np.sqrt(np.diag(covariance))], factors
