"""Profit and loss by model of legs that do not all expire together; price × date × volatility grids of any position.

At the earliest expiration the near legs have their exercise value and the far legs a Black–Scholes value with the time
they have left and, by default, the implied volatility they have now (sticky strike); the same figures are given with
that volatility stressed down and up. Such a maximum loss is a model's, not a bound, unless it can be proved: when every
leg that lives on is long and American, it is worth at least its exercise value, and the exact payoff bounds the loss.
That proof covers the moment of the earliest expiration alone: early assignment of a short call for a dividend, or an
index option that settles European, is outside it.

All holdings are of one underlying. Float $ for the whole position; `cash` is what was received for it (paid: negative).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

import numpy as np

from optionmath.payoff import AnyLeg, Payoff, PayoffLeg, Risk, StockLeg, analyse, remaining_risk
from optionmath.revaluation import (
    DAYS_PER_YEAR,
    Book,
    Floats,
    Holding,
    OptionHolding,
    Scenarios,
    ShareHolding,
    leg_greeks,
    revalue,
)

_POINTS, _DEVIATIONS = 400, 5.0
_ZOOM_POINTS, _ZOOM_ROUNDS = 33, 8
"""Each round narrows a bracket to 1/16 of its width: 1e-9 of a grid step after eight."""
_NOWHERE = 1e-6
_NOTHING = 1e-6
VOLATILITY_BAND = 0.20


class LossBasis(StrEnum):
    """What stands behind a maximum loss."""

    EXACT = "exact"
    """Every leg expires at the horizon: arithmetic."""
    BOUND = "bound"
    """The legs that live on are long and American: it cannot be exceeded at the horizon."""
    MODEL = "model"
    """It holds if the model and its volatility do."""


@dataclass(frozen=True, slots=True)
class Extremes:
    """Under one volatility: $ of the whole position at the horizon. None = unlimited."""

    volatility_factor: float
    max_profit: float | None
    max_profit_at: float | None
    """Price of the underlying."""
    max_loss: float | None
    """Magnitude; 0 when it cannot lose."""
    max_loss_at: float | None
    breakevens: tuple[float, ...]
    profit_intervals: tuple[tuple[float, float | None], ...]
    """Where it earns; an upper end of None: from there on, as far as the model was asked."""


@dataclass(frozen=True, slots=True)
class ModelPayoff:
    """Profit and loss at the horizon; `stressed` repeats the figures with volatility lower and higher."""

    horizon_years: float
    expected: Extremes
    stressed: tuple[Extremes, ...]
    max_loss: float | None
    """The bound where one can be proved, else the model's worst over all volatilities; None = unlimited."""
    basis: LossBasis
    risk: Risk
    """Including legs that outlive what covers them."""


def model_payoff(
    holdings: Sequence[Holding],
    spot: float,
    cash: float,
    *,
    horizon_years: float | None = None,
    volatility_band: float = VOLATILITY_BAND,
) -> ModelPayoff:
    """Extremes, breakevens and risk at a horizon, by default the earliest expiration of the options.

    volatility_band: relative stress of implied volatility, 0.2 = a fifth lower and higher. Raises ValueError without
    options, with several underlyings, for a horizon after the earliest expiration, or when a leg cannot be valued.
    """
    options = _options(holdings)
    earliest = min(each.years for each in options)
    horizon = earliest if horizon_years is None else horizon_years
    if not 0 <= horizon <= earliest:
        raise ValueError("the horizon lies between now and the earliest expiration")
    legs = [_exact(each) for each in holdings]
    risk = _risk(holdings, options)
    ends = analyse(legs, Decimal(str(cash)))
    if all(each.years <= horizon for each in options):
        only = _from_exact(ends)
        return ModelPayoff(horizon, only, (), only.max_loss, LossBasis.EXACT, ends.risk)
    prices = _prices(options, spot, horizon)
    cases = [
        _extremes(holdings, spot, cash, horizon, factor, prices, ends, risk)
        for factor in (1.0, 1.0 - volatility_band, 1.0 + volatility_band)
    ]
    surviving = [each for each in options if each.years > horizon]
    provable = horizon == earliest and all(each.american and each.signed_quantity > 0 for each in surviving)
    if risk is Risk.UNLIMITED or ends.max_loss is None:
        loss = None
    elif provable:
        loss = float(ends.max_loss)
    else:
        loss = max(each.max_loss for each in cases if each.max_loss is not None)
    return ModelPayoff(
        horizon, cases[0], tuple(cases[1:]), loss, LossBasis.BOUND if provable else LossBasis.MODEL, risk
    )


def _options(holdings: Sequence[Holding]) -> list[OptionHolding]:
    options = [each for each in holdings if isinstance(each, OptionHolding)]
    if not options or len({each.underlying for each in holdings}) != 1:
        raise ValueError("a position has options, all of one underlying")
    return options


def _exact(holding: Holding) -> AnyLeg:
    quantity = holding.signed_quantity
    if isinstance(holding, ShareHolding):
        return StockLeg(Decimal(str(quantity)))
    if quantity != int(quantity):
        raise ValueError("contracts are whole")
    return PayoffLeg(holding.is_call, Decimal(str(holding.strike)), int(quantity), Decimal(str(holding.multiplier)))


def _risk(holdings: Sequence[Holding], options: Sequence[OptionHolding]) -> Risk:
    moments = sorted({each.years for each in options})
    return remaining_risk(
        [
            [_exact(each) for each in holdings if isinstance(each, ShareHolding) or each.years >= moment]
            for moment in moments
        ]
    )


def _from_exact(found: Payoff) -> Extremes:
    return Extremes(
        1.0,
        None if found.max_profit is None else float(found.max_profit),
        None,
        None if found.max_loss is None else float(found.max_loss),
        None,
        tuple(float(each) for each in found.breakevens),
        tuple((float(each.low), None if each.high is None else float(each.high)) for each in found.profit_intervals),
    )


def _prices(options: Sequence[OptionHolding], spot: float, horizon: float) -> Floats:
    """Where to look: five deviations around the spot, every strike with room beyond it, and almost zero."""
    deviation = max(each.sigma for each in options) * np.sqrt(max(horizon, 1.0 / DAYS_PER_YEAR))
    around = spot * np.exp(np.linspace(-_DEVIATIONS, _DEVIATIONS, _POINTS) * deviation)
    strikes = np.array([each.strike for each in options])
    wide = np.linspace(0.25 * min(spot, strikes.min()), 2.5 * max(spot, strikes.max()), _POINTS // 2)
    return np.unique(np.concatenate((around, strikes, wide, [_NOWHERE * spot])))


def _at(
    holdings: Sequence[Holding], spot: float, cash: float, elapsed: float, factor: float
) -> Callable[[Floats], Floats]:
    """P&L as a function of prices; `factor` scales the volatility of all legs."""
    book = Book.of(holdings, {holdings[0].underlying: spot})

    def profit(prices: Floats) -> Floats:
        shocks = Scenarios(book.underlyings, prices[None, :] / spot - 1.0, np.full((1, prices.size), factor), elapsed)
        return np.asarray(revalue(book, shocks).sum(axis=0) + cash)

    return profit


def _extremes(
    holdings: Sequence[Holding],
    spot: float,
    cash: float,
    horizon: float,
    factor: float,
    prices: Floats,
    ends: Payoff,
    risk: Risk,
) -> Extremes:
    profit = _at(holdings, spot, cash, horizon, factor)
    values = profit(prices)
    if not np.isfinite(values).all():
        raise ValueError("a leg cannot be valued: a number of it is missing or senseless")
    breakevens, intervals = _signs(profit, prices, values)
    high, low = _peak(profit, prices, values), _peak(lambda each: -profit(each), prices, -values)
    return Extremes(
        factor,
        None if ends.max_profit is None else high[1],
        None if ends.max_profit is None else high[0],
        None if ends.max_loss is None or risk is Risk.UNLIMITED else max(low[1], 0.0),
        None if ends.max_loss is None or risk is Risk.UNLIMITED else low[0],
        breakevens,
        intervals,
    )


def _signs(
    profit: Callable[[Floats], Floats], prices: Floats, values: Floats
) -> tuple[tuple[float, ...], tuple[tuple[float, float | None], ...]]:
    """Where P&L changes sign or leaves zero, and where it is above zero; a ten-thousandth of a cent is zero."""
    sign = np.where(np.abs(values) < _NOTHING, 0.0, np.sign(values))
    zeros: list[float] = []
    intervals: list[tuple[float, float | None]] = []
    start: float | None = 0.0 if sign[0] > 0 else None
    for at in np.flatnonzero(sign[1:] != sign[:-1]):
        left, right = float(prices[at]), float(prices[at + 1])
        at_zero = right if sign[at] else left
        edge = _crossing(profit, left, right) if sign[at] and sign[at + 1] else at_zero
        if not zeros or edge > zeros[-1]:
            zeros.append(edge)
        if start is not None:
            intervals.append((start, edge))
        start = edge if sign[at + 1] > 0 else None
    if start is not None:
        intervals.append((start, None))
    return tuple(zeros), tuple(intervals)


def _peak(profit: Callable[[Floats], Floats], prices: Floats, values: Floats) -> tuple[float, float]:
    """(price, value) of the greatest value, refined around the best grid point."""
    best = int(np.argmax(values))
    low, high = float(prices[max(best - 1, 0)]), float(prices[min(best + 1, prices.size - 1)])
    found = (float(prices[best]), float(values[best]))
    for _ in range(_ZOOM_ROUNDS):
        inside = np.linspace(low, high, _ZOOM_POINTS)
        reached = profit(inside)
        top = int(np.argmax(reached))
        if reached[top] > found[1]:
            found = (float(inside[top]), float(reached[top]))
        low, high = float(inside[max(top - 1, 0)]), float(inside[min(top + 1, _ZOOM_POINTS - 1)])
    return found


def _crossing(profit: Callable[[Floats], Floats], low: float, high: float) -> float:
    """The price in the bracket where P&L changes sign, to the last digits."""
    for _ in range(_ZOOM_ROUNDS):
        inside = np.linspace(low, high, _ZOOM_POINTS)
        below = profit(inside) < 0
        changes = np.flatnonzero(below[1:] != below[:-1])
        if not changes.size:
            break
        low, high = float(inside[changes[0]]), float(inside[changes[0] + 1])
    ends = profit(np.array([low, high]))
    return low if ends[0] == ends[1] else low + (high - low) * float(ends[0] / (ends[0] - ends[1]))


def profit_grid(
    holdings: Sequence[Holding],
    spot: float,
    cash: float,
    *,
    prices: Floats,
    elapsed_years: Sequence[float],
    volatility_factors: Sequence[float] = (1.0,),
) -> Floats:
    """P&L in $ for every date, volatility and price: [elapsed time, volatility factor, price].

    Expired legs have the exercise value they would have at that price. Prices of zero or less give NaN.
    """
    book = Book.of(holdings, {each.underlying: spot for each in holdings})
    if len(book.underlyings) != 1:
        raise ValueError("a price grid is of one underlying")
    factors = np.asarray(volatility_factors, dtype=np.float64)
    returns = np.tile(prices / spot - 1.0, factors.size)[None, :]
    scaled = np.repeat(factors, prices.size)[None, :]
    out = np.empty((len(elapsed_years), factors.size, prices.size))
    for row, elapsed in enumerate(elapsed_years):
        values = revalue(book, Scenarios(book.underlyings, returns, scaled, elapsed)).sum(axis=0)
        out[row] = values.reshape(factors.size, prices.size) + cash
    return out


@dataclass(frozen=True, slots=True)
class PositionCurve:
    """A position over prices at one moment, $; arrays have one element a price. Greeks as in `LegGreeks`, summed."""

    price: Floats
    profit: Floats
    delta: Floats
    gamma: Floats
    theta: Floats
    vega: Floats


def position_curve(
    holdings: Sequence[Holding],
    spot: float,
    cash: float,
    *,
    prices: Floats,
    elapsed_years: float = 0.0,
    volatility_factor: float = 1.0,
) -> PositionCurve:
    """P&L and greeks of a position of one underlying at each price, after some time and at another volatility."""
    one = Book.of(holdings, {each.underlying: spot for each in holdings})
    if len(one.underlyings) != 1:
        raise ValueError("a position curve is of one underlying")
    count, legs = prices.size, one.size.size

    def spread(column: Floats) -> Floats:
        return np.tile(column, count)

    index = np.repeat(np.arange(count), legs)
    wide = Book(
        tuple(str(number) for number in range(count)),
        tuple(str(number) for number in range(count)),
        np.asarray(prices, dtype=np.float64),
        index,
        index,
        np.tile(one.is_option, count),
        np.tile(one.is_call, count),
        np.tile(one.american, count),
        spread(one.strike),
        np.maximum(spread(one.years) - elapsed_years, 0.0),
        spread(one.sigma) * volatility_factor,
        spread(one.rate),
        spread(one.dividend_yield),
        spread(one.size),
    )
    found = leg_greeks(wide)
    value, delta, gamma, theta, vega = (
        np.asarray(np.bincount(index, weights=each, minlength=count), dtype=np.float64)
        for each in (found.value, found.delta, found.gamma, found.theta, found.vega)
    )
    return PositionCurve(wide.spots, value + cash, delta, gamma, theta, vega)
