"""Enumerate credit spreads and iron condors of one expiration as columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from schemas.trade import SpreadType
from strategies.chain import ChainSnapshot, Floats
from strategies.rules import RuleSet

Rows = npt.NDArray[np.int64]
_NONE = -1


@dataclass(frozen=True, slots=True)
class Structures:
    """Candidates of one expiration and one type. Legs are chain rows; -1 = no such leg.

    Per share, credit positive: mid and natural. put_width and call_width are 0 where there is no such side.
    """

    spread_type: SpreadType
    short_put: Rows
    long_put: Rows
    short_call: Rows
    long_call: Rows
    mid: Floats
    natural: Floats
    put_width: Floats
    call_width: Floats

    def __len__(self) -> int:
        return len(self.mid)

    @property
    def width(self) -> Floats:
        """The wider side: what can be lost, before the credit."""
        return np.maximum(self.put_width, self.call_width)

    def legs(self) -> tuple[Rows, ...]:
        """Leg columns that exist for this type."""
        return tuple(
            rows for rows in (self.short_put, self.long_put, self.short_call, self.long_call) if rows[0] != _NONE
        )


def enumerate_expiration(chain: ChainSnapshot, rows: Rows, rules: RuleSet) -> list[Structures]:
    """All structures of the rule set among the contracts `rows` of one expiration; empty types are left out."""
    puts = _verticals(chain, rows[~chain.is_call[rows]], rules)
    calls = _verticals(chain, rows[chain.is_call[rows]], rules)
    found: list[Structures] = []
    if SpreadType.PUT_CREDIT_SPREAD in rules.strategies and len(puts[0]):
        found.append(_single(chain, puts, SpreadType.PUT_CREDIT_SPREAD))
    if SpreadType.CALL_CREDIT_SPREAD in rules.strategies and len(calls[0]):
        found.append(_single(chain, calls, SpreadType.CALL_CREDIT_SPREAD))
    if SpreadType.IRON_CONDOR in rules.strategies and len(puts[0]) and len(calls[0]):
        condors = _condors(chain, puts, calls)
        if len(condors):
            found.append(condors)
    return found


def _verticals(chain: ChainSnapshot, rows: Rows, rules: RuleSet) -> tuple[Rows, Rows]:
    """(short, long) rows of every usable out-of-the-money credit vertical of one side within the width bound."""
    rows = rows[chain.usable[rows]]
    if len(rows) < 2:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    strike, delta = chain.strike[rows], np.abs(chain.delta[rows])
    with np.errstate(invalid="ignore"):
        sellable = (delta >= rules.short_delta_min) & (delta <= rules.short_delta_max)
    distance = strike[:, None] - strike[None, :]
    distance = np.where(chain.is_call[rows][:, None], -distance, distance)
    short, long = np.nonzero(sellable[:, None] & (distance > 0) & (distance <= rules.width_max))
    return rows[short], rows[long]


def _single(chain: ChainSnapshot, side: tuple[Rows, Rows], spread_type: SpreadType) -> Structures:
    short, long = side
    mid, natural, width = _side_prices(chain, short, long)
    nothing, zero = np.full(len(short), _NONE, dtype=np.int64), np.zeros(len(short))
    if spread_type is SpreadType.PUT_CREDIT_SPREAD:
        return Structures(spread_type, short, long, nothing, nothing, mid, natural, width, zero)
    return Structures(spread_type, nothing, nothing, short, long, mid, natural, zero, width)


def _condors(chain: ChainSnapshot, puts: tuple[Rows, Rows], calls: tuple[Rows, Rows]) -> Structures:
    put_index, call_index = np.nonzero(chain.strike[puts[0]][:, None] < chain.strike[calls[0]][None, :])
    put_mid, put_natural, put_width = _side_prices(chain, *puts)
    call_mid, call_natural, call_width = _side_prices(chain, *calls)
    return Structures(
        SpreadType.IRON_CONDOR,
        puts[0][put_index],
        puts[1][put_index],
        calls[0][call_index],
        calls[1][call_index],
        put_mid[put_index] + call_mid[call_index],
        put_natural[put_index] + call_natural[call_index],
        put_width[put_index],
        call_width[call_index],
    )


def _side_prices(chain: ChainSnapshot, short: Rows, long: Rows) -> tuple[Floats, Floats, Floats]:
    mid = chain.mid
    return (
        mid[short] - mid[long],
        chain.bid[short] - chain.ask[long],
        np.abs(chain.strike[short] - chain.strike[long]),
    )
