"""Black (1976): options on a forward or future, vectorised over float64 arrays that broadcast.

The same formulas as `optionmath.blackscholes` with the forward in the place of the spot and a dividend yield equal to
the rate: the forward has no drift. Units: $ per share; years; volatility and rate as fractions a year (continuous).
Source: Black, The pricing of commodity contracts (1976); Hull, Options, Futures, and Other Derivatives, chapter 18.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from optionmath import blackscholes
from optionmath.blackscholes import Codes, Floats, Greeks, SecondOrderGreeks


def price(
    forward: npt.ArrayLike,
    strike: npt.ArrayLike,
    years: npt.ArrayLike,
    sigma: npt.ArrayLike,
    rate: npt.ArrayLike,
    is_call: npt.ArrayLike,
) -> Floats:
    """European option value, $ per share. At zero time or zero volatility: the discounted intrinsic."""
    return blackscholes.price(forward, strike, years, sigma, rate, rate, is_call)


def greeks(
    forward: npt.ArrayLike,
    strike: npt.ArrayLike,
    years: npt.ArrayLike,
    sigma: npt.ArrayLike,
    rate: npt.ArrayLike,
    is_call: npt.ArrayLike,
) -> Greeks:
    """Greeks with the forward held fixed: delta and gamma per dollar of forward; rho is then -T × price, for 0.01.

    theta: $ per calendar day; vega: $ per volatility point. NaN where time or volatility is not positive.
    """
    found = blackscholes.greeks(forward, strike, years, sigma, rate, rate, is_call)
    value = price(forward, strike, years, sigma, rate, is_call)
    rho = np.where(np.isnan(found.delta), np.nan, -np.asarray(years, dtype=np.float64) * value * 0.01)
    return replace(found, rho=np.asarray(rho))


def second_order_greeks(
    forward: npt.ArrayLike,
    strike: npt.ArrayLike,
    years: npt.ArrayLike,
    sigma: npt.ArrayLike,
    rate: npt.ArrayLike,
    is_call: npt.ArrayLike,
) -> SecondOrderGreeks:
    """Vanna, charm and vomma of the forward's delta. NaN where time or volatility is not positive."""
    return blackscholes.second_order_greeks(forward, strike, years, sigma, rate, rate, is_call)


def implied_volatility(
    value: npt.ArrayLike,
    forward: npt.ArrayLike,
    strike: npt.ArrayLike,
    years: npt.ArrayLike,
    rate: npt.ArrayLike,
    is_call: npt.ArrayLike,
) -> tuple[Floats, Codes]:
    """Volatility that gives `value`, and a `VolatilityStatus` per element. Never raises for a bad element."""
    return blackscholes.implied_volatility(value, forward, strike, years, rate, rate, is_call)
