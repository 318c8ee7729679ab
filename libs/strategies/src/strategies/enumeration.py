"""Expirations of a chain as groups of usable legs, and structures of one kind as columns."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import numpy.typing as npt

from optionmath.forward import parity_forward
from optionmath.smile import Distribution, Smile, distribution, fit_smile
from schemas.trade import SpreadType
from strategies.chain import Bools, ChainSnapshot, Floats
from strategies.rules import RuleSet
from strategies.structures.columns import Columns

Rows = npt.NDArray[np.int64]
SIDED = (
    SpreadType.PUT_CREDIT_SPREAD,
    SpreadType.CALL_CREDIT_SPREAD,
    SpreadType.IRON_CONDOR,
    SpreadType.IRON_BUTTERFLY,
)
"""Kinds made of credit verticals, in the order in which the compiled scan numbers them."""


@dataclass(frozen=True, slots=True)
class Worlds:
    """Distributions of the price at expiration: the market's, the forecast's, and the forecast's with volatility one
    standard error higher."""

    market: Distribution
    forecast: Distribution
    pessimist: Distribution


@dataclass(slots=True)
class Group:
    """One expiration of one chain: its smile and its usable legs, puts before calls, each ascending by strike."""

    chain: ChainSnapshot
    day: date
    puts: Rows
    calls: Rows
    smile: Smile | None
    volatility_ratio: float = 1.0
    """Forecast over market volatility."""
    _worlds: Worlds | None = None
    _worth: Floats | None = None

    def worlds(self, rules: RuleSet) -> Worlds | None:
        """The distributions at expiration, made once; None without a smile."""
        if self._worlds is None and self.smile is not None:
            market = distribution(self.smile)
            ratio = self.volatility_ratio
            forecast = market if ratio == 1.0 else distribution(self.smile, volatility_scale=ratio)
            pessimist = distribution(self.smile, volatility_scale=ratio * (1 + rules.forecast_error))
            self._worlds = Worlds(market, forecast, pessimist)
        return self._worlds

    def worth(self, rules: RuleSet) -> Floats:
        """(3, puts + calls): each leg's expected payoff under the three distributions; NaN without a smile."""
        if self._worth is None:
            worlds, strike = self.worlds(rules), self.chain.strike
            self._worth = np.full((3, len(self.puts) + len(self.calls)), np.nan)
            for row, world in enumerate((worlds.market, worlds.forecast, worlds.pessimist) if worlds else ()):
                self._worth[row, : len(self.puts)] = world.put_value(strike[self.puts])
                self._worth[row, len(self.puts) :] = world.call_value(strike[self.calls])
        return self._worth


@dataclass(frozen=True, slots=True)
class Structures:
    """Structures of one kind and expiration as columns. Per share, credit positive.

    rows[leg] holds the chain row of that leg in each structure; signs[leg] its contracts a unit, short negative.
    """

    spread_type: SpreadType
    rows: Rows
    signs: tuple[int, ...]
    mid: Floats
    natural: Floats
    risk: Floats
    """Most that the legs can lose at expiration before the credit; inf when unlimited. The wider side of a condor."""
    basis: Floats
    """What the gap to the smile's value is measured against: the width, or the mid where there is no width."""
    columns: Columns | None = None
    """The placements behind structures that are not made of credit verticals."""

    def __len__(self) -> int:
        return len(self.mid)

    def one(self, index: int) -> Structures:
        """The structure at `index` alone."""
        cut = slice(index, index + 1)
        return Structures(
            self.spread_type, self.rows[:, cut], self.signs, self.mid[cut], self.natural[cut], self.risk[cut],
            self.basis[cut], _placement(self.columns, index),
        )  # fmt: skip


def _placement(columns: Columns | None, index: int) -> Columns | None:
    """The placement at `index` alone."""
    if columns is None:
        return None
    cut = slice(index, index + 1)
    return replace(
        columns, rows=columns.rows[:, cut], strikes=columns.strikes[:, cut], mid=columns.mid[cut],
        natural=columns.natural[cut], widest_spread_pct=columns.widest_spread_pct[cut], risk=columns.risk[cut],
    )  # fmt: skip


def groups_of(chain: ChainSnapshot, rules: RuleSet) -> list[Group]:
    """The expirations within the rule set's days, nearest first."""
    rows = np.nonzero((chain.dte >= rules.dte_min) & (chain.dte <= rules.dte_max))[0]
    if not len(rows):
        return []
    rows = rows[np.lexsort((chain.strike[rows], chain.is_call[rows], chain.expiration[rows]))]
    days = chain.expiration[rows]
    edges = [0, *(np.nonzero(days[1:] != days[:-1])[0] + 1).tolist(), len(rows)]
    usable, is_call = chain.usable, chain.is_call
    found = []
    for begin, end in itertools.pairwise(edges):
        own = rows[begin:end]
        good = own[usable[own]]
        first_call = int(np.count_nonzero(~is_call[good]))
        found.append(
            Group(
                chain, days[begin].astype("datetime64[D]").item(), good[:first_call], good[first_call:],
                smile_of(chain, own),
            )
        )  # fmt: skip
    return found


def sided(chain: ChainSnapshot, kind: SpreadType, legs: Sequence[Rows]) -> Structures:
    """Columns of a kind made of credit verticals: legs are (sold, bought) rows of the put side, then of the calls."""
    mid, natural = np.zeros(len(legs[0])), np.zeros(len(legs[0]))
    width = np.zeros(len(legs[0]))
    quotes = chain.mid
    for short, long in zip(legs[::2], legs[1::2], strict=True):
        mid = mid + (quotes[short] - quotes[long])
        natural = natural + (chain.bid[short] - chain.ask[long])
        width = np.maximum(width, widths(chain, short, long))
    return Structures(kind, np.vstack(legs), (-1, 1) * (len(legs) // 2), mid, natural, width, width)


def widths(chain: ChainSnapshot, short: Rows, long: Rows) -> Floats:
    """Distance of the strikes, $ per share, free of the noise of a difference of doubles."""
    return np.asarray(np.floor(np.abs(chain.strike[short] - chain.strike[long]) * 1e6 + 0.5) / 1e6)


def smile_of(chain: ChainSnapshot, rows: Rows) -> Smile | None:
    """Smile of one expiration around its parity forward; None when the quotes do not allow one."""
    years, rate = float(chain.years[rows[0]]), chain.rate
    strikes = np.unique(chain.strike[rows])
    mids = {True: np.full(len(strikes), np.nan), False: np.full(len(strikes), np.nan)}
    bid, ask = chain.bid[rows], chain.ask[rows]
    with np.errstate(invalid="ignore"):
        usable = (bid > 0) & (ask > bid) & np.isfinite(ask)
    mid = np.where(usable, (bid + ask) / 2, np.nan)
    is_call: Bools = chain.is_call[rows]
    for side, column in mids.items():
        own = is_call == side
        column[np.searchsorted(strikes, chain.strike[rows][own])] = mid[own]
    forward = parity_forward(strikes, mids[True], mids[False], years, rate, near=chain.spot)
    if forward is None:
        return None
    return fit_smile(forward.price, years, rate, chain.strike[rows], mid, ask - bid, is_call)
