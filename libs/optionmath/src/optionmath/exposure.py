"""Exposure of option dealers and where open interest sits: gamma, its flip, charm and vanna, walls, max pain.

Who holds what is not observable. The usual assumption is that dealers are long the calls and short the puts that the
public trades, so calls count positive and puts negative; take the results as context, never as a gate.
Sources: SqueezeMetrics, "Gamma Exposure" (2016), for the sign and the dollars per 1 % move; max pain: McMillan.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq

from optionmath.blackscholes import greeks

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
MULTIPLIER = 100.0
ONE_HOUR = 1 / (365 * 24)
"""Years. Below it gamma at the strike grows without bound, so shorter times count as this."""


def dollar_gamma(
    gamma: npt.ArrayLike,
    open_interest: npt.ArrayLike,
    spot: npt.ArrayLike,
    is_call: npt.ArrayLike,
    *,
    multiplier: float = MULTIPLIER,
) -> Floats:
    """Dollars that dealers must trade for a move of 1 %, per row: ± gamma · open interest · multiplier · S² / 100.

    gamma: per share and dollar, never negative. NaN for a row with a missing or negative gamma or open interest.
    """
    g, interest, s = (np.asarray(each, dtype=np.float64) for each in (gamma, open_interest, spot))
    sign = np.where(np.asarray(is_call, dtype=bool), 1.0, -1.0)
    with np.errstate(invalid="ignore"):
        return np.where((g >= 0) & (interest >= 0), sign * g * interest * multiplier * s * s / 100, np.nan)


def dollar_delta_change(
    sensitivity: npt.ArrayLike,
    open_interest: npt.ArrayLike,
    spot: npt.ArrayLike,
    is_call: npt.ArrayLike,
    *,
    multiplier: float = MULTIPLIER,
) -> Floats:
    """Change of the dealers' dollar delta, per row: ± sensitivity · open interest · multiplier · S.

    Charm exposure with charm (delta per calendar day): dollars a day. Vanna exposure with vanna (delta per volatility
    point): dollars per point. NaN for a row with a missing sensitivity or a missing or negative open interest.
    """
    d, interest, s = (np.asarray(each, dtype=np.float64) for each in (sensitivity, open_interest, spot))
    sign = np.where(np.asarray(is_call, dtype=bool), 1.0, -1.0)
    with np.errstate(invalid="ignore"):
        return np.where(interest >= 0, sign * d * interest * multiplier * s, np.nan)


@dataclass(frozen=True, slots=True)
class StrikeExposure:
    """Sums per strike, ascending: dollars per 1 % move, calls positive, puts negative."""

    strike: Floats
    calls: Floats
    puts: Floats

    @property
    def net(self) -> Floats:
        return self.calls + self.puts


def by_strike(strike: npt.ArrayLike, is_call: npt.ArrayLike, exposure: npt.ArrayLike) -> StrikeExposure:
    """Add up rows (any expirations) per strike; missing rows add nothing."""
    k, value = np.asarray(strike, dtype=np.float64), np.asarray(exposure, dtype=np.float64)
    call = np.asarray(is_call, dtype=bool)
    good = np.isfinite(k) & np.isfinite(value)
    strikes, where = np.unique(k[good], return_inverse=True)
    calls, puts = np.zeros(len(strikes)), np.zeros(len(strikes))
    np.add.at(calls, where[call[good]], value[good][call[good]])
    np.add.at(puts, where[~call[good]], value[good][~call[good]])
    return StrikeExposure(strikes, calls, puts)


@dataclass(frozen=True, slots=True)
class OpenContracts:
    """Columns of the open contracts of one underlying, all expirations; one length.

    years: to expiration; sigma: implied volatility, fraction a year; open_interest: contracts.
    Rows without time, volatility or open interest are left out.
    """

    strike: Floats
    years: Floats
    sigma: Floats
    is_call: Bools
    open_interest: Floats

    @classmethod
    def of(
        cls,
        strike: npt.ArrayLike,
        years: npt.ArrayLike,
        sigma: npt.ArrayLike,
        is_call: npt.ArrayLike,
        open_interest: npt.ArrayLike,
    ) -> OpenContracts:
        """Only the rows that can be valued. Raises ValueError for unequal lengths."""
        columns = [np.asarray(each, dtype=np.float64) for each in (strike, years, sigma, open_interest)]
        call = np.asarray(is_call, dtype=bool)
        if any(each.shape != call.shape for each in columns) or call.ndim != 1:
            raise ValueError(f"columns need one length: got {[each.shape for each in (*columns, call)]}")
        good = np.isfinite(np.stack(columns)).all(axis=0) & (np.stack(columns) > 0).all(axis=0)
        k, t, v, interest = (each[good] for each in columns)
        return cls(k, np.maximum(t, ONE_HOUR), v, call[good], interest)


@dataclass(frozen=True, slots=True)
class GammaExposure:
    """Dealer gamma at the spot, $ per 1 % move, and where it changes sign."""

    calls: float
    puts: float
    """Negative."""
    strikes: StrikeExposure
    flip: float | None
    """Price at which the net exposure is zero, nearest to the spot; None when none was found in the searched range."""
    rows: int
    """Contracts (rows) that could be valued."""

    @property
    def net(self) -> float:
        return self.calls + self.puts


def gamma_exposure(
    contracts: OpenContracts,
    spot: float,
    *,
    rate: float = 0.0,
    dividend_yield: float = 0.0,
    multiplier: float = MULTIPLIER,
    search: float = 0.2,
) -> GammaExposure:
    """Gamma exposure of one underlying. The flip is searched within ± `search` of the spot, volatilities held.

    Raises ValueError for a spot that is not positive or a search outside 0 to 1.
    """
    if not (spot > 0 and 0 < search < 1):
        raise ValueError(f"spot {spot} must be positive and search {search} between 0 and 1")
    gamma = _gamma(contracts, spot, rate, dividend_yield)
    value = dollar_gamma(gamma, contracts.open_interest, spot, contracts.is_call, multiplier=multiplier)
    return GammaExposure(
        calls=float(value[contracts.is_call].sum()),
        puts=float(value[~contracts.is_call].sum()),
        strikes=by_strike(contracts.strike, contracts.is_call, value),
        flip=_flip(contracts, spot, rate, dividend_yield, search),
        rows=len(contracts.strike),
    )


def gamma_profile(
    contracts: OpenContracts,
    prices: npt.ArrayLike,
    *,
    rate: float = 0.0,
    dividend_yield: float = 0.0,
    multiplier: float = MULTIPLIER,
) -> Floats:
    """Net gamma exposure ($ per 1 % move) if the underlying stood at each price, volatilities held by strike."""
    levels = np.atleast_1d(np.asarray(prices, dtype=np.float64))
    return np.array([_net(contracts, float(each), rate, dividend_yield) * multiplier for each in levels])


def walls(
    strike: npt.ArrayLike, is_call: npt.ArrayLike, weight: npt.ArrayLike, spot: float, *, count: int = 1
) -> tuple[Floats, Floats]:
    """The `count` strikes with most weight, heaviest first: calls at or above the spot, puts at or below it.

    weight: open interest, or gamma exposure of either sign. Fewer when there are fewer; of equal weight the strike
    nearer to the spot first. Rows of one strike (several expirations) are added up.
    """
    sums = by_strike(strike, is_call, np.abs(np.asarray(weight, dtype=np.float64)))
    found = []
    for amounts, side in ((sums.calls, sums.strike >= spot), (sums.puts, sums.strike <= spot)):
        usable = side & (amounts > 0)
        k, amount = sums.strike[usable], amounts[usable]
        order = np.lexsort((np.abs(k - spot), -amount))
        found.append(k[order[:count]])
    return found[0], found[1]


def max_pain(strike: npt.ArrayLike, is_call: npt.ArrayLike, open_interest: npt.ArrayLike) -> float | None:
    """Strike at which the holders of one expiration's options get least at expiration; None without open interest.

    Of several the lowest.
    """
    sums = by_strike(strike, is_call, open_interest)
    if not (sums.calls.sum() + sums.puts.sum() > 0):
        return None
    distance = sums.strike[:, None] - sums.strike[None, :]
    paid = np.maximum(distance, 0.0) @ sums.calls + np.maximum(-distance, 0.0) @ sums.puts
    return float(sums.strike[int(np.argmin(paid))])


def _gamma(contracts: OpenContracts, spot: float, rate: float, dividend_yield: float) -> Floats:
    c = contracts
    return greeks(spot, c.strike, c.years, c.sigma, rate, dividend_yield, c.is_call).gamma


def _net(contracts: OpenContracts, spot: float, rate: float, dividend_yield: float) -> float:
    gamma = _gamma(contracts, spot, rate, dividend_yield)
    return float(dollar_gamma(gamma, contracts.open_interest, spot, contracts.is_call, multiplier=1.0).sum())


def _flip(contracts: OpenContracts, spot: float, rate: float, dividend_yield: float, search: float) -> float | None:
    if not len(contracts.strike):
        return None
    levels = spot * np.linspace(1 - search, 1 + search, 81)
    net = np.array([_net(contracts, float(each), rate, dividend_yield) for each in levels])
    crossings = np.flatnonzero(np.sign(net[:-1]) * np.sign(net[1:]) < 0)
    roots = [
        float(brentq(lambda s: _net(contracts, s, rate, dividend_yield), levels[i], levels[i + 1], rtol=1e-8))
        for i in crossings
    ]
    return min(roots, key=lambda root: abs(root - spot)) if roots else None
