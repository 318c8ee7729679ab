"""When makers requote a contract, and at which prices and sizes. Every number follows from the contract and the time.

A contract comes up every `period` buckets, at a place of its own; when it does it is requoted with a chance of one in
two, at the latest every fourth time. So gaps between quotes are irregular, and the last requote before any instant is
found by looking at four buckets at most. Where a price jumps, all its contracts are requoted in that bucket.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tastysim.counters import Floats, Words, mix, normal, uniform
from tastysim.listed import Listed

Integers = npt.NDArray[np.int64]
PERIODS, _NEARER = (3, 8, 24, 64), (0.35, 0.9, 1.8)
"""Buckets between the turns of a contract, by its distance from the money in standard deviations to expiration."""
CROWDED = 80_000
"""Contracts from which on turns come less often, so that no step costs more."""
_CHANCE, _FORCED = 0.5, 4
_TURN, _SPREAD, _LEAN, _BID_SIZE, _ASK_SIZE = 11, 12, 13, 14, 15
_FIXED, _OF_VALUE, _OF_VEGA = (
    np.array(each) for each in ((0.003, 0.007, 0.02, 0.04), (0.0003, 0.004, 0.012, 0.03), (0.004, 0.025, 0.08, 0.2))
)
"""Half the spread by tier: $; share of the value; per $ of vega a volatility point."""
_NOISE, _LEANS = 0.12, 0.4
_SIZES = np.log(np.array((70.0, 35.0, 14.0, 7.0)))
_SIZE_NOISE = 0.8


class Turns:
    """Whose turn it is in each bucket of a day."""

    def __init__(self, ids: Words, distance: Floats) -> None:
        """distance: of each strike from the price, in standard deviations to expiration."""
        scale = max(1, -(-len(ids) // CROWDED))
        self.ids = ids
        kind = np.digitize(distance, _NEARER)
        self.period = (np.array(PERIODS, dtype=np.int64) * scale)[kind].astype(np.uint16)
        self.phase = (ids % self.period).astype(np.uint16)
        self._order, self._starts = [], []
        for each in range(len(PERIODS)):
            rows = np.nonzero(kind == each)[0]
            order = rows[np.argsort(self.phase[rows], kind="stable")].astype(np.int32)
            self._order.append(order)
            self._starts.append(np.searchsorted(self.phase[order], np.arange(PERIODS[each] * scale + 1)))
        self._lengths = [period * scale for period in PERIODS]
        self.longest = _FORCED * self._lengths[-1]
        """Buckets after which every contract has been requoted."""

    def due(self, bucket: int) -> Integers:
        """Rows that are requoted in a bucket, ascending."""
        parts = []
        for order, starts, length in zip(self._order, self._starts, self._lengths, strict=True):
            place = bucket % length
            parts.append(order[starts[place] : starts[place + 1]])
        rows = np.sort(np.concatenate(parts)).astype(np.int64)
        return rows[self._taken(rows, bucket // self.period[rows].astype(np.int64))]

    def _taken(self, rows: Integers, turn: Integers) -> npt.NDArray[np.bool_]:
        drawn = uniform(mix(mix(self.ids[rows], _TURN), turn.astype(np.uint64)))
        return np.asarray((drawn < _CHANCE) | (turn % _FORCED == 0))

    def last(self, rows: Integers, bucket: Integers | int) -> Integers:
        """The last bucket at or before `bucket` in which each row was requoted."""
        period, phase = self.period[rows].astype(np.int64), self.phase[rows].astype(np.int64)
        latest = np.asarray(bucket) - (np.asarray(bucket) - phase) % period
        found, open_rows = latest.copy(), np.arange(len(rows))
        for _ in range(_FORCED - 1):
            open_rows = open_rows[~self._taken(rows[open_rows], found[open_rows] // period[open_rows])]
            if not len(open_rows):
                break
            found[open_rows] -= period[open_rows]
        return np.asarray(found)


@dataclass(frozen=True, slots=True)
class Book:
    """Quotes, one each row. NaN: nobody quotes."""

    bid: Floats
    ask: Floats
    bid_size: Floats
    ask_size: Floats


@dataclass(frozen=True, slots=True)
class Makers:
    """How each underlying's options are quoted."""

    tier: Integers
    everywhere: npt.NDArray[np.bool_]
    """Pennies at every price."""
    program: npt.NDArray[np.bool_]
    """In the Penny Interval Program."""

    @classmethod
    def of(cls, listed: tuple[Listed, ...]) -> Makers:
        """From what is listed."""
        return cls(
            np.array([each.tier for each in listed], dtype=np.int64),
            np.array([each.tick_class == "penny" for each in listed]),
            np.array([each.penny_class for each in listed]),
        )

    def quote(
        self, ids: Words, bucket: Integers, underlying: Integers, value: Floats, vega: Floats, stress: Floats
    ) -> Book:
        """Quotes made in these buckets. stress: volatility over its level; spreads widen with its root."""
        tier, keys = self.tier[underlying], mix(ids, 0) ^ bucket.astype(np.uint64) * np.uint64(0x2545F4914F6CDD1D)
        half = _FIXED[tier] + _OF_VALUE[tier] * value + _OF_VEGA[tier] * vega
        half = half * np.sqrt(stress) * np.exp(_NOISE * normal(mix(keys, _SPREAD)))
        middle = value + half * _LEANS * (uniform(mix(keys, _LEAN)) - 0.5)
        bid, ask = self._on_grid(underlying, np.maximum(middle - half, 0.0), middle + half)
        usual = _SIZES[tier]
        sizes = [np.round(np.exp(usual + _SIZE_NOISE * normal(mix(keys, each)))) + 1 for each in (_BID_SIZE, _ASK_SIZE)]
        return Book(bid, ask, np.where(bid > 0, sizes[0], 0.0), sizes[1])

    def _on_grid(self, underlying: Integers, low: Floats, high: Floats) -> tuple[Floats, Floats]:
        """Down and up to the next valid price; the ask at least one tick above the bid."""
        small = np.where(self.program[underlying], 1.0, 5.0)
        large = np.where(self.everywhere[underlying], 1.0, np.where(self.program[underlying], 5.0, 10.0))
        cents = low * 100
        tick = np.where(cents < 300, small, large)
        bid = np.floor(cents / tick + 1e-9) * tick
        above = np.maximum(high * 100, bid + np.where(bid < 300, small, large))
        tick = np.where(above < 300, small, large)
        ask = np.ceil(above / tick - 1e-9) * tick
        return np.asarray(bid / 100), np.asarray(ask / 100)
