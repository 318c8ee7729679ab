"""Black–Scholes–Merton prices, greeks and probabilities, vectorised over float64 arrays that broadcast.

Units: prices, spot, strike in $ per share; years; volatility, rate and dividend yield as fractions a year (continuous).
NumPy only: a few hundred options do not wait for a compiler. For whole chains and implied volatilities see
`optionmath.implied_volatility`, for grids of scenarios `optionmath.scenario`.
Sources: Hull, Options, Futures, and Other Derivatives, chapters 15, 17, 19 and 26; Haug, The Complete Guide to Option
Pricing Formulas (2007), chapter 2, for vanna, charm and vomma.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt
from scipy.special import erfcx, ndtr

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.int8]
_ROOT_TWO, _ROOT_TWO_PI = float(np.sqrt(2)), float(np.sqrt(2 * np.pi))
_DAYS, _POINT = 365.0, 0.01


class VolatilityStatus(IntEnum):
    """Why an implied volatility is what it is; anything but OK comes with NaN."""

    OK = 0
    BELOW_INTRINSIC = 1
    """The price is no more than the intrinsic value of the forward, to within its rounding: no volatility gives it."""
    ABOVE_BOUND = 2
    """The price is no less than the discounted forward (call) or strike (put), to within its rounding."""
    NO_TIME = 3
    """At or past expiration, or within 30 microseconds of it."""
    NOT_A_NUMBER = 4
    """An input is NaN or infinite."""
    BAD_INPUT = 5
    """Spot or strike is not positive (nor within 1e-100 to 1e100), or a discount factor is more than a float holds."""
    NO_QUOTE = 6
    """Neither bid nor ask."""
    ONE_SIDED = 7
    """Only a bid, or only an ask: there is no mid."""
    CROSSED = 8
    """The bid is above the ask."""


@dataclass(frozen=True, slots=True)
class Greeks:
    """Per share. theta: $ per calendar day; vega: $ per volatility point; rho: $ per percentage point of rate."""

    delta: Floats
    gamma: Floats
    theta: Floats
    vega: Floats
    rho: Floats


@dataclass(frozen=True, slots=True)
class SecondOrderGreeks:
    """Per share. How delta and vega change with volatility and time."""

    vanna: Floats
    """Change of delta per volatility point; of vega per dollar of spot, the same number."""
    charm: Floats
    """Change of delta as one calendar day passes."""
    vomma: Floats
    """Change of vega ($ per volatility point) per volatility point."""


@dataclass(frozen=True, slots=True)
class _Terms:
    """What every formula shares. spot and strike are discounted; both normal arguments are NaN where s is not > 0."""

    spot: Floats
    strike: Floats
    years: Floats
    sigma: Floats
    rate: Floats
    dividend_yield: Floats
    sign: Floats
    d1: Floats
    d2: Floats
    density: Floats
    """φ(d1)."""
    dead: Bools
    """No time or no volatility left."""


def _terms(
    spot: npt.ArrayLike,
    strike: npt.ArrayLike,
    years: npt.ArrayLike,
    sigma: npt.ArrayLike,
    rate: npt.ArrayLike,
    dividend_yield: npt.ArrayLike,
    is_call: npt.ArrayLike,
) -> _Terms:
    s, k, t, v, r, q = (
        np.asarray(each, dtype=np.float64) for each in (spot, strike, years, sigma, rate, dividend_yield)
    )
    sign = np.where(np.asarray(is_call, dtype=bool), 1.0, -1.0)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        left = np.maximum(t, 0.0)
        forward, discounted = s * np.exp(-q * left), k * np.exp(-r * left)
        deviation = v * np.sqrt(left)
        d1 = np.log(forward / discounted) / deviation + deviation / 2
        d2 = d1 - deviation
        density = np.exp(-d1 * d1 / 2) / _ROOT_TWO_PI
    dead = np.asarray((t <= 0) | (v <= 0))
    d1, d2, density = np.asarray(d1), np.asarray(d2), np.asarray(density)
    return _Terms(np.asarray(forward), np.asarray(discounted), t, v, r, q, sign, d1, d2, density, dead)


def _price(terms: _Terms) -> Floats:
    """Intrinsic value plus the out-of-the-money option of the pair: small prices keep all their digits."""
    f, k, d1, d2 = terms.spot, terms.strike, terms.d1, terms.d2
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        call_side = f <= k
        near, far = np.where(call_side, d1, -d2), np.where(call_side, d2, -d1)
        worth, cost = np.where(call_side, f, k), np.where(call_side, k, f)
        density = f * terms.density * _ROOT_TWO_PI / 2
        tails = density * (erfcx(np.maximum(-near, 0.0) / _ROOT_TWO) - erfcx(-far / _ROOT_TWO))
        extra = np.where(near <= 0, tails, worth * ndtr(near) - cost * ndtr(far))
        extra = np.where(terms.dead, 0.0 * (terms.years + terms.sigma), np.maximum(extra, 0.0))
        return np.asarray(np.maximum(terms.sign * (f - k), 0.0) + extra)


def price(
    spot: npt.ArrayLike,
    strike: npt.ArrayLike,
    years: npt.ArrayLike,
    sigma: npt.ArrayLike,
    rate: npt.ArrayLike,
    dividend_yield: npt.ArrayLike,
    is_call: npt.ArrayLike,
) -> Floats:
    """European option value, $ per share. At zero time or zero volatility: the discounted intrinsic of the forward.

    Negative time counts as zero. NaN where an input is; relative error of an out-of-the-money price about 1e-13.
    """
    return _price(_terms(spot, strike, years, sigma, rate, dividend_yield, is_call))


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
    terms = _terms(spot, strike, years, sigma, rate, dividend_yield, is_call)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        s, root = np.asarray(spot, dtype=np.float64), np.sqrt(np.maximum(terms.years, 0.0))
        n1, n2 = ndtr(terms.sign * terms.d1), ndtr(terms.sign * terms.d2)
        carry = terms.sign * (terms.dividend_yield * terms.spot * n1 - terms.rate * terms.strike * n2)
        vega = terms.spot * terms.density * root
        found = (
            terms.sign * terms.spot / s * n1,
            terms.spot / s * terms.density / (s * terms.sigma * root),
            (carry - vega * terms.sigma / (2 * terms.years)) / _DAYS,
            vega * _POINT,
            terms.sign * terms.strike * terms.years * n2 * _POINT,
        )
    return Greeks(*(np.asarray(np.where(terms.dead, np.nan, each)) for each in found))


def second_order_greeks(
    spot: npt.ArrayLike,
    strike: npt.ArrayLike,
    years: npt.ArrayLike,
    sigma: npt.ArrayLike,
    rate: npt.ArrayLike,
    dividend_yield: npt.ArrayLike,
    is_call: npt.ArrayLike,
) -> SecondOrderGreeks:
    """Vanna, charm and vomma. NaN where time or volatility is not positive."""
    terms = _terms(spot, strike, years, sigma, rate, dividend_yield, is_call)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        fade = terms.spot / np.asarray(spot, dtype=np.float64)
        root = np.sqrt(np.maximum(terms.years, 0.0))
        drift = (terms.rate - terms.dividend_yield) / (terms.sigma * root) - terms.d2 / (2 * terms.years)
        delta = terms.sign * fade * ndtr(terms.sign * terms.d1)
        found = (
            -fade * terms.density * terms.d2 / terms.sigma * _POINT,
            (terms.dividend_yield * delta - fade * terms.density * drift) / _DAYS,
            terms.spot * terms.density * root * terms.d1 * terms.d2 / terms.sigma * _POINT**2,
        )
    return SecondOrderGreeks(*(np.asarray(np.where(terms.dead, np.nan, each)) for each in found))


def in_the_money_probability(
    spot: npt.ArrayLike,
    strike: npt.ArrayLike,
    years: npt.ArrayLike,
    sigma: npt.ArrayLike,
    rate: npt.ArrayLike,
    dividend_yield: npt.ArrayLike,
    is_call: npt.ArrayLike,
) -> Floats:
    """Risk-neutral P(S_T > K) of a call, P(S_T < K) of a put: N(±d2). NaN where time or volatility is not positive."""
    terms = _terms(spot, strike, years, sigma, rate, dividend_yield, is_call)
    return np.asarray(np.where(terms.dead, np.nan, ndtr(terms.sign * terms.d2)))


def digital(
    spot: npt.ArrayLike,
    strike: npt.ArrayLike,
    years: npt.ArrayLike,
    sigma: npt.ArrayLike,
    rate: npt.ArrayLike,
    dividend_yield: npt.ArrayLike,
    is_call: npt.ArrayLike,
) -> Floats:
    """Value of $1 paid at expiration if the option ends in the money (cash or nothing), $. NaN as the probability."""
    probability = in_the_money_probability(spot, strike, years, sigma, rate, dividend_yield, is_call)
    return np.asarray(probability * np.exp(-np.asarray(rate, dtype=np.float64) * np.asarray(years, dtype=np.float64)))


def elasticity(
    spot: npt.ArrayLike,
    strike: npt.ArrayLike,
    years: npt.ArrayLike,
    sigma: npt.ArrayLike,
    rate: npt.ArrayLike,
    dividend_yield: npt.ArrayLike,
    is_call: npt.ArrayLike,
) -> Floats:
    """Per cent that the price changes per cent of the spot (lambda). NaN where delta is, or where the price is 0."""
    delta = greeks(spot, strike, years, sigma, rate, dividend_yield, is_call).delta
    value = price(spot, strike, years, sigma, rate, dividend_yield, is_call)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(value > 0, delta * np.asarray(spot, dtype=np.float64) / value, np.nan))


def implied_volatility(
    value: npt.ArrayLike,
    spot: npt.ArrayLike,
    strike: npt.ArrayLike,
    years: npt.ArrayLike,
    rate: npt.ArrayLike,
    dividend_yield: npt.ArrayLike,
    is_call: npt.ArrayLike,
) -> tuple[Floats, Codes]:
    """`optionmath.implied_volatility.implied_volatility`, whose compiled kernel is loaded by the first call only."""
    from optionmath import implied_volatility as compiled

    return compiled.implied_volatility(value, spot, strike, years, rate, dividend_yield, is_call)
