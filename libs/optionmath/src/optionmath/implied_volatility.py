"""Implied volatility of European prices to machine precision, with a status per element, alone or with all greeks.

One bad row never spoils a batch, and never comes back as a number: it is NaN with a `VolatilityStatus`.
Inputs broadcast against each other. Units: $ per share; years; rate and dividend yield as fractions a year.

Accuracy against a 50-digit inversion of the same double price: σ√T is right to about 2e-15 absolute and a few roundings
relative, that is, volatility to 1e-13 for a day and more. Where price and time value lose digits against each other
(deep in the money, or next to the upper bound), the digits that the price itself still has limit the answer.
The first call in a fresh process loads the compiled kernels from disk.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from optionmath.blackscholes import Bools, Codes, Floats, Greeks, VolatilityStatus
from optionmath.kernels import european
from optionmath.slices import over_slices, plain

__all__ = [
    "ImpliedGreeks",
    "QuoteVolatility",
    "VolatilityStatus",
    "implied_volatility",
    "implied_volatility_and_greeks",
    "implied_volatility_of_quotes",
]

_OPTIONS_PER_SLICE = 8_192


@dataclass(frozen=True, slots=True)
class ImpliedGreeks:
    """Implied volatility, the greeks at it and a `VolatilityStatus` per element; NaN in all where it is not OK."""

    volatility: Floats
    greeks: Greeks
    status: Codes


@dataclass(frozen=True, slots=True)
class QuoteVolatility:
    """Implied volatility at the bid, the mid and the ask; NaN where there is none. status is that of the mid."""

    bid: Floats
    mid: Floats
    ask: Floats
    status: Codes


class _Batch:
    """Inputs that broadcast, and contiguous columns of any stretch of them."""

    def __init__(self, floats: tuple[npt.ArrayLike, ...], is_call: npt.ArrayLike) -> None:
        *columns, call = np.broadcast_arrays(
            *(np.asarray(each, dtype=np.float64) for each in floats), np.asarray(is_call, dtype=np.bool_)
        )
        self.shape: tuple[int, ...] = call.shape
        self.size = int(call.size)
        # a scalar input stays one number until its slice is due: no full-size column is written for it
        self._columns = [each if each.ndim == 1 else each.reshape(-1) for each in columns]
        self._call: Bools = call if call.ndim == 1 else call.reshape(-1)

    def between(self, start: int, stop: int) -> tuple[Floats, Floats, Floats, Floats, Floats, Floats, Bools]:
        value, spot, strike, years, rate, dividend_yield = (plain(each[start:stop]) for each in self._columns)
        return value, spot, strike, years, rate, dividend_yield, plain(self._call[start:stop])


def implied_volatility(
    value: npt.ArrayLike,
    spot: npt.ArrayLike,
    strike: npt.ArrayLike,
    years: npt.ArrayLike,
    rate: npt.ArrayLike,
    dividend_yield: npt.ArrayLike,
    is_call: npt.ArrayLike,
) -> tuple[Floats, Codes]:
    """Volatility that gives `value`, and a `VolatilityStatus` per element. Never raises for a bad element."""
    batch = _Batch((value, spot, strike, years, rate, dividend_yield), is_call)
    volatility, status = np.empty(batch.size), np.zeros(batch.size, dtype=np.int8)

    def work(start: int, stop: int) -> None:
        columns, found = batch.between(start, stop), volatility[start:stop]
        if european.implied(*columns, found):
            european.mend(*columns, found, status[start:stop])

    over_slices(work, batch.size, at_least=_OPTIONS_PER_SLICE)
    return volatility.reshape(batch.shape), status.reshape(batch.shape)


def implied_volatility_and_greeks(
    value: npt.ArrayLike,
    spot: npt.ArrayLike,
    strike: npt.ArrayLike,
    years: npt.ArrayLike,
    rate: npt.ArrayLike,
    dividend_yield: npt.ArrayLike,
    is_call: npt.ArrayLike,
    *,
    out: ImpliedGreeks | None = None,
) -> ImpliedGreeks:
    """Implied volatility and delta, gamma, theta, vega and rho at it, in one pass over the data.

    out: an earlier answer of the same shape, whose arrays are written over and returned: a loop that revalues the same
    chain again and again then asks the system for no memory. Raises ValueError for other arrays.
    """
    batch = _Batch((value, spot, strike, years, rate, dividend_yield), is_call)
    answer = out or _empty(batch.shape)
    greeks = answer.greeks
    columns = (answer.volatility, greeks.delta, greeks.gamma, greeks.theta, greeks.vega, greeks.rho)
    if any(each.shape != batch.shape or not each.flags.c_contiguous for each in (*columns, answer.status)):
        raise ValueError(f"out must be contiguous and have the shape {batch.shape}, was {answer.volatility.shape}")
    found = [each.reshape(-1) for each in columns]
    status = answer.status.reshape(-1)

    def work(start: int, stop: int) -> None:
        inputs = batch.between(start, stop)
        volatility, delta, gamma, theta, vega, rho = (each[start:stop] for each in found)
        status[start:stop] = VolatilityStatus.OK
        if european.implied_with_greeks(*inputs, volatility, delta, gamma, theta, vega, rho):
            european.mend_with_greeks(*inputs, volatility, delta, gamma, theta, vega, rho, status[start:stop])

    over_slices(work, batch.size, at_least=_OPTIONS_PER_SLICE)
    return answer


def _empty(shape: tuple[int, ...]) -> ImpliedGreeks:
    volatility, delta, gamma, theta, vega, rho = (np.empty(shape) for _ in range(6))
    return ImpliedGreeks(volatility, Greeks(delta, gamma, theta, vega, rho), np.empty(shape, dtype=np.int8))


def implied_volatility_of_quotes(
    bid: npt.ArrayLike,
    ask: npt.ArrayLike,
    spot: npt.ArrayLike,
    strike: npt.ArrayLike,
    years: npt.ArrayLike,
    rate: npt.ArrayLike,
    dividend_yield: npt.ArrayLike,
    is_call: npt.ArrayLike,
) -> QuoteVolatility:
    """Volatility at bid, mid and ask. A side that is NaN, zero or negative is no quote.

    The status tells what became of the mid: NO_QUOTE, ONE_SIDED or CROSSED where there is none, else that of its
    volatility. With an infinite ask it is NOT_A_NUMBER. The side that a one-sided quote has keeps its own volatility;
    of a crossed quote neither is believed.
    """
    low, high = np.broadcast_arrays(np.asarray(bid, dtype=np.float64), np.asarray(ask, dtype=np.float64))
    terms = (spot, strike, years, rate, dividend_yield, is_call)
    has_bid, has_ask = low > 0, high > 0
    crossed = has_bid & has_ask & (low > high)
    with np.errstate(invalid="ignore"):
        mid = np.where(has_bid & has_ask & ~crossed, low + (high - low) / 2, np.nan)
    middle, status = implied_volatility(mid, *terms)
    at_bid, _ = implied_volatility(np.where(has_bid & ~crossed, low, np.nan), *terms)
    at_ask, _ = implied_volatility(np.where(has_ask & ~crossed, high, np.nan), *terms)
    for where, code in (
        (crossed, VolatilityStatus.CROSSED),
        (has_bid ^ has_ask, VolatilityStatus.ONE_SIDED),
        (~has_bid & ~has_ask, VolatilityStatus.NO_QUOTE),
    ):
        status[np.broadcast_to(where, status.shape)] = code
    return QuoteVolatility(at_bid, middle, at_ask, status)
