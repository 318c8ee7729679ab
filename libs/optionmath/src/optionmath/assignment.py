"""Risk that short American options are assigned: before an ex-date, for the interest, at expiration, at the pin.

An American call is exercised early only for a dividend, on the eve of its ex-date, when the dividend is worth more than
what is left of the option; an American put for the interest on the strike, when that is worth more than waiting.
Units: $ per share, years, fractions a year. Inputs broadcast; a bad element is NaN, level NONE, with its status.
Sources: Hull, Options, Futures, and Other Derivatives, chapter 15.12; Cboe, covered calls and early assignment; OCC
exercise by exception (one cent in the money).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from optionmath import american, blackscholes
from optionmath.american_lanes import PricingStatus
from optionmath.blackscholes import Bools, Codes, Floats

_DAYS = 365.0
_CENT = 0.01
_BISECTIONS = 60


class AssignmentLevel(IntEnum):
    """How soon to act."""

    NONE = 0
    WATCH = 1
    """Likely if nothing changes: less than one and a half dividends, or the interest to expiration, is left."""
    LIKELY = 2
    """A holder who reckons exercises at the next occasion."""


class AssignmentReason(IntFlag):
    """Why; several may hold at once."""

    NONE = 0
    DIVIDEND = 1
    """A call in the money with an ex-date before expiration that its extrinsic value does not cover."""
    INTEREST = 2
    """A put in the money whose extrinsic value is less than the interest on the strike, net of dividends to come."""
    PARITY = 4
    """It trades at or below its intrinsic value: whoever buys it gains by exercising."""
    EXPIRATION = 8
    """In the money by a cent or more within the last day: it will be exercised by exception."""
    PIN = 16
    """So near the strike shortly before expiration that nobody knows which side it ends on."""


@dataclass(frozen=True, slots=True)
class AssignmentPolicy:
    """Thresholds; the defaults are those of common practice."""

    watch_cover: float = 1.5
    """WATCH below this many dividends of extrinsic value; LIKELY below one."""
    review_days: float = 1.0
    """Until the next occasion to act: interest over this time against the extrinsic value makes a put LIKELY."""
    pin_days: float = 2.0
    pin_band: float = 0.01
    """Half-width around the strike, a fraction of it."""

    def __post_init__(self) -> None:
        if not (self.watch_cover >= 1 and self.review_days > 0 and self.pin_days >= 0 and 0 < self.pin_band < 1):
            raise ValueError("watch_cover must be 1 or more, days positive and the band within 0 and 1")


@dataclass(frozen=True, slots=True)
class AssignmentRisk:
    """One element per short option."""

    extrinsic: Floats
    """Price less intrinsic value, $ per share; may be negative for a quote below parity."""
    depth: Floats
    """In the money by this fraction of the strike; negative out of the money."""
    dividend_cover: Floats
    """Extrinsic value over the next dividend, for calls with an ex-date before expiration; else NaN."""
    interest_cover: Floats
    """Extrinsic value over the interest to expiration less the dividend, for puts where that is positive; else NaN."""
    early_probability: Floats
    """Risk-neutral chance of rational early exercise. Call: of being above the critical price on the eve of the
    ex-date. Put: of touching, net of the dividend, today's critical price (1 beyond it): a lower bound."""
    expiration_probability: Floats
    """Risk-neutral chance of ending in the money."""
    pin_probability: Floats
    """Risk-neutral chance of ending within the band around the strike."""
    level: Codes
    reasons: Codes
    """`AssignmentReason` bits."""
    status: Codes
    """`optionmath.american.PricingStatus`."""


@dataclass(frozen=True, slots=True)
class _Shorts:
    spot: Floats
    strike: Floats
    years: Floats
    price: Floats
    volatility: Floats
    rate: Floats
    ex_years: Floats
    dividend: Floats
    call: Bools
    early: Bools
    """American, and with time left."""
    pays: Bools
    """A dividend goes ex before expiration."""

    @property
    def forward_spot(self) -> Floats:
        """Spot less what the dividend is worth now: grown at the rate it is the forward."""
        return self.spot - np.where(self.pays, self.dividend * np.exp(-self.rate * self.ex_years), 0.0)


def assignment_risk(
    spot: npt.ArrayLike,
    strike: npt.ArrayLike,
    years: npt.ArrayLike,
    price: npt.ArrayLike,
    volatility: npt.ArrayLike,
    rate: npt.ArrayLike,
    is_call: npt.ArrayLike,
    *,
    ex_years: npt.ArrayLike = np.nan,
    dividend: npt.ArrayLike = 0.0,
    american_style: npt.ArrayLike = True,
    policy: AssignmentPolicy = AssignmentPolicy(),
) -> AssignmentRisk:
    """What threatens each short option, how soon, and with what chance.

    price: what the option trades at (a mid); volatility: its implied one. ex_years, dividend: the next ex-date, years
    from now, and amount; NaN or 0 where there is none. European options can only be exercised at expiration.
    """
    floats = (spot, strike, years, price, volatility, rate, ex_years, dividend)
    *columns, call, style = np.broadcast_arrays(
        *(np.asarray(each, dtype=np.float64) for each in floats),
        np.asarray(is_call, dtype=np.bool_),
        np.asarray(american_style, dtype=np.bool_),
    )
    shape = call.shape
    flat = [each.reshape(-1) for each in columns]
    status = _status(flat)
    bad = status != PricingStatus.OK
    s, k, t, p, v, r = (
        np.where(bad, fill, each) for each, fill in zip(flat[:6], (1.0, 1.0, 1.0, 0.1, 0.2, 0.0), strict=True)
    )
    ex, paid = flat[6], flat[7]
    pays = np.isfinite(ex) & (ex > 0) & (ex < t) & (paid > 0)
    shorts = _Shorts(
        s,
        k,
        t,
        p,
        v,
        r,
        np.where(pays, ex, 0.0),
        np.where(pays, paid, 0.0),
        call.reshape(-1),
        style.reshape(-1) & (t > 0),
        pays,
    )
    found = _measures(shorts, policy)
    level, reasons = _rules(shorts, found, policy)
    values = {name: np.where(bad, np.nan, each).reshape(shape) for name, each in found.items()}
    level, reasons = np.where(bad, 0, level).astype(np.int8), np.where(bad, 0, reasons).astype(np.int8)
    return AssignmentRisk(
        **values, level=level.reshape(shape), reasons=reasons.reshape(shape), status=status.reshape(shape)
    )


def _status(flat: list[Floats]) -> Codes:
    s, k, t, p, v, r, ex, paid = flat
    finite = np.isfinite(s) & np.isfinite(k) & np.isfinite(t) & np.isfinite(p) & np.isfinite(v) & np.isfinite(r)
    with np.errstate(invalid="ignore"):
        within = (s > 0) & (k > 0) & (t >= 0) & (p >= 0) & (v >= 0) & ~(paid < 0) & ~np.isinf(ex)
    status = np.full(s.size, PricingStatus.OK, dtype=np.int8)
    status[~within] = PricingStatus.OUT_OF_RANGE
    status[~finite] = PricingStatus.NOT_A_NUMBER
    return status


def _measures(o: _Shorts, policy: AssignmentPolicy) -> dict[str, Floats]:
    gain = np.where(o.call, o.spot - o.strike, o.strike - o.spot)
    extrinsic = o.price - np.maximum(gain, 0.0)
    interest = -o.strike * np.expm1(-o.rate * o.years) - o.dividend * np.exp(-o.rate * o.ex_years)
    with np.errstate(divide="ignore", invalid="ignore"):
        dividend_cover = np.where(o.call & o.pays & o.early, extrinsic / o.dividend, np.nan)
        interest_cover = np.where(~o.call & o.early & (interest > 0), extrinsic / interest, np.nan)
    above = _above(o, o.strike, o.years)
    band = policy.pin_band
    return {
        "extrinsic": extrinsic,
        "depth": gain / o.strike,
        "dividend_cover": dividend_cover,
        "interest_cover": interest_cover,
        "early_probability": _early(o),
        "expiration_probability": np.where(o.call, above, 1.0 - above),
        "pin_probability": _above(o, o.strike * (1 - band), o.years) - _above(o, o.strike * (1 + band), o.years),
    }


def _rules(o: _Shorts, found: dict[str, Floats], policy: AssignmentPolicy) -> tuple[Codes, Codes]:
    extrinsic, depth = found["extrinsic"], found["depth"]
    money = depth > 0
    days = o.years * _DAYS
    with np.errstate(invalid="ignore"):
        by_dividend = money & (found["dividend_cover"] < policy.watch_cover)
        for_dividend = money & (found["dividend_cover"] < 1.0)
        by_interest = money & (found["interest_cover"] < 1.0)
    wait = np.minimum(o.years, policy.review_days / _DAYS)
    goes_ex = o.pays & (o.ex_years <= wait)  # a holder of the stock would lose the dividend by selling it today
    waiting = -o.strike * np.expm1(-o.rate * wait)
    for_interest = by_interest & (extrinsic < waiting) & ~goes_ex
    parity = money & o.early & (extrinsic <= 0)
    ends = (days <= 1.0) & (depth * o.strike >= _CENT)
    pinned = (days <= policy.pin_days) & (np.abs(depth) <= policy.pin_band)
    reasons = (
        by_dividend * AssignmentReason.DIVIDEND
        + by_interest * AssignmentReason.INTEREST
        + parity * AssignmentReason.PARITY
        + ends * AssignmentReason.EXPIRATION
        + pinned * AssignmentReason.PIN
    )
    likely = for_dividend | for_interest | parity | ends
    level = np.where(likely, AssignmentLevel.LIKELY, np.where(reasons > 0, AssignmentLevel.WATCH, AssignmentLevel.NONE))
    return level.astype(np.int8), reasons.astype(np.int8)


def _above(o: _Shorts, barrier: Floats, at: Floats) -> Floats:
    """Risk-neutral chance that the stock is above `barrier` at time `at`: lognormal around its forward."""
    spot = np.maximum(np.where(o.ex_years < at, o.forward_spot, o.spot), 1e-300)
    deviation = o.volatility * np.sqrt(at)
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.log(spot / barrier) + o.rate * at - 0.5 * deviation * deviation
        chance = ndtr(distance / deviation)
    return np.asarray(np.where(deviation > 0, chance, (distance > 0).astype(np.float64)))


def _early(o: _Shorts) -> Floats:
    chance = np.zeros(o.spot.size)
    calls = o.call & o.pays & o.early
    if calls.any():
        critical = _critical_before_ex(o, calls)
        eve = _Shorts(*(getattr(o, name)[calls] for name in _Shorts.__slots__))
        chance[calls] = np.where(np.isfinite(critical), _before_ex(eve, critical), 0.0)
    puts = ~o.call & o.early & (o.volatility > 0)
    if puts.any():
        chance[puts] = _touch(o, puts)
    return chance


def _before_ex(o: _Shorts, critical: Floats) -> Floats:
    deviation = o.volatility * np.sqrt(o.ex_years)
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.log(o.spot / critical) + o.rate * o.ex_years - 0.5 * deviation**2
        chance = ndtr(distance / deviation)
    return np.asarray(np.where(deviation > 0, chance, (distance >= 0).astype(np.float64)))


def _critical_before_ex(o: _Shorts, which: Bools) -> Floats:
    """Stock price on the eve of the ex-date above which exercise beats holding the call; inf where none is.

    Holding is worth the European call on the stock without the dividend (no other follows): Roll, 1977; Whaley, 1981.
    """
    k, paid, r, v = o.strike[which], o.dividend[which], o.rate[which], o.volatility[which]
    left = o.years[which] - o.ex_years[which]
    never = paid <= -k * np.expm1(-r * left)  # the interest saved by waiting exceeds the dividend
    low, high = k.copy(), 1e4 * (k + paid)
    for _ in range(_BISECTIONS):
        middle = np.sqrt(low * high)
        kept = blackscholes.price(np.maximum(middle - paid, 1e-12), k, left, v, r, 0.0, True)
        waits = kept > middle - k
        low, high = np.where(waits, middle, low), np.where(waits, high, middle)
    return np.asarray(np.where(never, np.inf, high))


def _touch(o: _Shorts, which: Bools) -> Floats:
    """Chance of touching the put's critical price before expiration (reflection; Haug, chapter 4.17)."""
    s, k, t, v, r = o.forward_spot[which], o.strike[which], o.years[which], o.volatility[which], o.rate[which]
    s = np.maximum(s, 1e-12)
    critical = american.early_exercise(s, k, t, v, r, 0.0, False, accuracy=american.Accuracy.STANDARD).critical_price
    deviation, drift = v * np.sqrt(t), r - 0.5 * v * v
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        b = np.log(critical / s)
        down = ndtr((b - drift * t) / deviation)
        back = np.exp(2 * drift * b / (v * v)) * ndtr((b + drift * t) / deviation)
        chance = np.where(b >= 0, 1.0, np.clip(down + back, 0.0, 1.0))
    return np.asarray(np.where(np.isfinite(critical), chance, 0.0))
