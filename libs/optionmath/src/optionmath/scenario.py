"""Values of European positions under shocks of spot, volatility and date: the grid behind stress tests and payoff maps.

Every cell is a full revaluation with the Black–Scholes–Merton formula, never a Taylor expansion.
Source: Hull, Options, Futures, and Other Derivatives, chapters 17 and 19 (scenario analysis).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from optionmath.blackscholes import Bools, Floats
from optionmath.kernels import scenario
from optionmath.slices import over_slices, plain

_POSITIONS_PER_SLICE = 64
_WORTHLESS_LOG = -1e4
"""Stands for ln 0 where a shock takes the spot to zero: far beyond every strike, and finite."""


def european_grid(
    spot: npt.ArrayLike,
    strike: npt.ArrayLike,
    years: npt.ArrayLike,
    volatility: npt.ArrayLike,
    rate: npt.ArrayLike,
    dividend_yield: npt.ArrayLike,
    is_call: npt.ArrayLike,
    quantity: npt.ArrayLike,
    spot_shocks: npt.ArrayLike,
    volatility_shocks: npt.ArrayLike,
    *,
    days_forward: float = 0.0,
) -> Floats:
    """quantity × value of each position in each cell; shape (positions, len(spot_shocks), len(volatility_shocks)).

    The first eight arguments broadcast to one dimension, a position each: $ per share, years, fractions a year;
    quantity in shares (contracts × multiplier for dollars), negative when short.
    spot_shocks and volatility_shocks are relative: -0.1 means 10 % lower; spot -1 is worthless stock, volatility -1 is
    none. days_forward: calendar days from now at which the position is valued. At or past expiration and at zero
    volatility: the discounted intrinsic of the forward.
    A position with a number that is not finite, a price that is not positive, or a negative volatility is NaN in all
    its cells and leaves the others alone. Raises ValueError for a shock below -1 or not finite.
    """
    positions = _Positions(spot, strike, years, volatility, rate, dividend_yield, is_call, quantity, days_forward)
    factors = _cells(spot_shocks, volatility_shocks)
    out = np.empty((positions.count, factors[0].size))

    def work(start: int, stop: int) -> None:
        scenario.grid(*positions.between(start, stop), *factors, out[start:stop])

    over_slices(work, positions.count, at_least=_POSITIONS_PER_SLICE)
    return out.reshape(positions.count, np.size(spot_shocks), np.size(volatility_shocks))


def european_portfolio_grid(
    spot: npt.ArrayLike,
    strike: npt.ArrayLike,
    years: npt.ArrayLike,
    volatility: npt.ArrayLike,
    rate: npt.ArrayLike,
    dividend_yield: npt.ArrayLike,
    is_call: npt.ArrayLike,
    quantity: npt.ArrayLike,
    spot_shocks: npt.ArrayLike,
    volatility_shocks: npt.ArrayLike,
    *,
    days_forward: npt.ArrayLike = 0.0,
) -> Floats:
    """Value of the whole portfolio, $; shape (len(days_forward), len(spot_shocks), len(volatility_shocks)).

    Arguments as in `european_grid`, with any number of dates. A portfolio with one position that cannot be valued is
    NaN everywhere: a total without it would be a wrong number.
    """
    factors = _cells(spot_shocks, volatility_shocks)
    dates = np.atleast_1d(np.asarray(days_forward, dtype=np.float64))
    total = np.zeros((dates.size, factors[0].size))
    for date, row in zip(dates, total, strict=True):
        positions = _Positions(spot, strike, years, volatility, rate, dividend_yield, is_call, quantity, float(date))
        scenario.grid_total(*positions.between(0, positions.count), *factors, row)
    return total.reshape(dates.size, np.size(spot_shocks), np.size(volatility_shocks))


def european_portfolio_profit(
    spot: npt.ArrayLike,
    strike: npt.ArrayLike,
    years: npt.ArrayLike,
    volatility: npt.ArrayLike,
    rate: npt.ArrayLike,
    dividend_yield: npt.ArrayLike,
    is_call: npt.ArrayLike,
    quantity: npt.ArrayLike,
    spot_shocks: npt.ArrayLike,
    volatility_shocks: npt.ArrayLike,
    *,
    days_forward: npt.ArrayLike = 0.0,
) -> Floats:
    """Profit (> 0) or loss of the portfolio against its model value now, $; shape as `european_portfolio_grid`."""
    book = (spot, strike, years, volatility, rate, dividend_yield, is_call, quantity)
    now = european_portfolio_grid(*book, 0.0, 0.0)
    return np.asarray(european_portfolio_grid(*book, spot_shocks, volatility_shocks, days_forward=days_forward) - now)


class _Positions:
    """Discounted forward and strike, total deviation, right and quantity of each position, ready for the kernel."""

    def __init__(
        self,
        spot: npt.ArrayLike,
        strike: npt.ArrayLike,
        years: npt.ArrayLike,
        volatility: npt.ArrayLike,
        rate: npt.ArrayLike,
        dividend_yield: npt.ArrayLike,
        is_call: npt.ArrayLike,
        quantity: npt.ArrayLike,
        days_forward: float,
    ) -> None:
        inputs = (spot, strike, years, volatility, rate, dividend_yield, quantity)
        s, k, t, v, r, q, lots, call = np.broadcast_arrays(
            *(np.atleast_1d(np.asarray(each, dtype=np.float64)) for each in inputs),
            np.atleast_1d(np.asarray(is_call, dtype=np.bool_)),
        )
        if s.ndim != 1:
            raise ValueError(f"positions must broadcast to one dimension, was {s.ndim}")
        left = np.maximum(t - days_forward / 365.0, 0.0)  # NaN stays NaN
        with np.errstate(invalid="ignore", over="ignore"):
            forward, discounted = s * np.exp(-q * left), k * np.exp(-r * left)
            deviation = np.asarray(v * np.sqrt(left))
        self.count = s.size
        self._forward = plain(forward)
        self._strike = plain(discounted)
        self._deviation = plain(np.where(v < 0, np.nan, deviation))
        self._call = plain(call)
        self._quantity = plain(lots)

    def between(self, start: int, stop: int) -> tuple[Floats, Floats, Floats, Bools, Floats]:
        part = slice(start, stop)
        return self._forward[part], self._strike[part], self._deviation[part], self._call[part], self._quantity[part]


def _cells(spot_shocks: npt.ArrayLike, volatility_shocks: npt.ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Spot factor, its logarithm and the volatility factor of each cell, spot-major."""
    spot = 1.0 + np.atleast_1d(np.asarray(spot_shocks, dtype=np.float64))
    volatility = 1.0 + np.atleast_1d(np.asarray(volatility_shocks, dtype=np.float64))
    for name, factors in (("spot", spot), ("volatility", volatility)):
        if factors.ndim != 1 or not (np.isfinite(factors) & (factors >= 0.0)).all():
            raise ValueError(f"{name} shocks must be a list of finite numbers of -1 or more")
    logs = np.full(spot.size, _WORTHLESS_LOG)
    np.log(spot, out=logs, where=spot > 0)
    return (
        np.repeat(spot, volatility.size),
        np.repeat(logs, volatility.size),
        np.tile(volatility, spot.size),
    )
