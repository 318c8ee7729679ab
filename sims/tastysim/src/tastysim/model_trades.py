"""Trades of contracts and of underlyings, minute by minute, at the quotes of their instant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from tastysim.counters import Floats, stream
from tastysim.model_hours import BUCKETS

Integers = npt.NDArray[np.int64]
SALE_CONDITIONS = ("I", "S", "f", "g", "u")
"""OPRA's: automatic, sweep, multi-leg automatic, multi-leg auction, floor."""
EXCHANGES = ("C", "Q", "N", "A", "X", "Z", "E", "I", "J", "B", "W")
SHARE_CONDITIONS = ("@", "F", "I")
"""Regular, sweep, odd lot."""
RATE_A_SECOND, RATE_MAX = 0.0012, 40.0
"""Trades a second for each listed contract; no more than so many in all."""
SHARE_TRADES = 6
"""Trades of an underlying that a minute's volume comes in."""
MID, BUYER, SELLER = 0, 1, -1
_BUCKET_MS = 250


@dataclass(frozen=True, slots=True)
class Trades:
    """What traded in a step, in the order of time. Columns of one length.

    row: of the contract, −1 for shares; underlying: index, for both; price: $ per share; size: contracts or shares;
    aggressor: 1 the buyer took the offer, −1 the seller hit the bid, 0 between; condition: index into `SALE_CONDITIONS`
    (contracts) or `SHARE_CONDITIONS`; exchange: index into `EXCHANGES`; time_ms: since the epoch.
    """

    row: Integers
    underlying: Integers
    price: Floats
    size: Floats
    aggressor: npt.NDArray[np.int8]
    condition: npt.NDArray[np.int8]
    exchange: npt.NDArray[np.int8]
    time_ms: Integers

    @classmethod
    def none(cls) -> Trades:
        """A step without trades."""
        whole, real, small = np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0, dtype=np.int8)
        return cls(whole, whole, real, real, small, small, small, whole)

    def __len__(self) -> int:
        return len(self.row)

    def where(self, kept: npt.NDArray[np.bool_] | Integers) -> Trades:
        """Some of them."""
        return Trades(*(getattr(self, each.name)[kept] for each in fields(Trades)))

    def within(self, before: int, target: int) -> Trades:
        """Those after one bucket up to another."""
        bucket = self.time_ms // _BUCKET_MS
        return self.where((bucket > before) & (bucket <= target))

    def priced(self, bid: Floats, ask: Floats) -> Trades:
        """At these quotes: buyers pay the ask, sellers get the bid, the rest meets on a cent between."""
        middle = np.round((bid + ask) / 2, 2)
        price = np.where(self.aggressor == BUYER, ask, np.where(self.aggressor == SELLER, bid, middle))
        price = np.where(price > 0, price, ask)
        return replace(self, price=price).where(np.isfinite(price))


def joined(parts: Sequence[Trades]) -> Trades:
    """All of them in the order of time."""
    if not parts:
        return Trades.none()
    together = Trades(*(np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(Trades)))
    return together.where(np.argsort(together.time_ms, kind="stable"))


@dataclass(frozen=True, slots=True)
class Prints:
    """Trades of contracts without a price yet, in the order of time."""

    row: Integers
    offset_ms: Integers
    """Since the start of the minute."""
    size: Floats
    aggressor: npt.NDArray[np.int8]
    condition: npt.NDArray[np.int8]
    exchange: npt.NDArray[np.int8]


class Flow:
    """The stream of trades of a day."""

    def __init__(self, seed: int, expected: Floats, usual_minutes: float) -> None:
        """expected: contracts of each row that a day trades."""
        self._seed = seed
        self._shares = np.cumsum(expected)
        self._a_minute = min(RATE_MAX, RATE_A_SECOND * len(expected)) * 60 * (1440 / usual_minutes) ** 0.5

    def contracts(self, minute: int) -> Prints:
        """Trades of contracts in a minute since the epoch."""
        draw = stream(self._seed, "trades", minute)
        count = int(draw.poisson(self._a_minute))
        row = np.searchsorted(self._shares, draw.random(count) * self._shares[-1], side="right")
        side, kind = draw.random(count, dtype=np.float32), draw.random(count, dtype=np.float32)
        sizes = np.ceil(draw.standard_exponential(count) ** 2 * 3)
        condition = np.digitize(kind, (0.5, 0.62, 0.9, 0.97)).astype(np.int8)
        aggressor = np.where(side < 0.42, BUYER, np.where(side < 0.82, SELLER, MID)).astype(np.int8)
        return Prints(
            np.minimum(row, len(self._shares) - 1), np.sort(draw.integers(0, 60_000, count)), np.minimum(sizes, 2000.0),
            aggressor, condition, draw.integers(0, len(EXCHANGES), count, dtype=np.int8),
        )  # fmt: skip

    def shares(self, minute: int, volume: Floats) -> Shares:
        """Trades of shares in a minute since the epoch whose sizes sum to `volume` (n) exactly."""
        draw = stream(self._seed, "shares", minute)
        count = len(volume)
        bucket = np.sort(draw.integers(0, BUCKETS, (SHARE_TRADES, count)), axis=0)
        part = np.cumsum(draw.standard_exponential((SHARE_TRADES, count)), axis=0)
        size = np.diff(np.round(part / part[-1] * volume), axis=0, prepend=0.0).ravel()
        side = draw.integers(-1, 2, (SHARE_TRADES, count), dtype=np.int8).ravel()
        code = draw.integers(0, len(SHARE_CONDITIONS) * len(EXCHANGES), size.shape, dtype=np.int16)
        name = np.broadcast_to(np.arange(count), bucket.shape).ravel()
        order = np.argsort(bucket.ravel(), kind="stable")
        kept = order[size[order] > 0]
        return Shares(name[kept], bucket.ravel()[kept].astype(np.int64), size[kept], side[kept], code[kept])


@dataclass(frozen=True, slots=True)
class Shares:
    """Trades of shares of a minute, in the order of time. bucket: inside the minute."""

    underlying: Integers
    bucket: Integers
    size: Floats
    aggressor: npt.NDArray[np.int8]
    code: npt.NDArray[np.int16]


def of_contracts(prints: Sequence[Prints], first: int, underlying: Integers) -> Trades:
    """Trades of consecutive minutes, the first one `first`, without a price yet. underlying: of each row."""
    times = [(first + number) * 60_000 + each.offset_ms for number, each in enumerate(prints)]

    def column(name: str) -> npt.NDArray[np.generic]:
        return np.concatenate([getattr(each, name) for each in prints])

    row = column("row").astype(np.int64)
    return Trades(
        row, underlying[row], np.full(len(row), np.nan), column("size").astype(np.float64),
        column("aggressor").astype(np.int8), column("condition").astype(np.int8), column("exchange").astype(np.int8),
        np.concatenate(times).astype(np.int64),
    )  # fmt: skip


def of_shares(shares: Shares, minute: int, spot: Floats) -> Trades:
    """Trades of a minute since the epoch, at a cent around the price. spot: (240, n)."""
    middle = spot[shares.bucket, shares.underlying]
    price = np.round(middle + np.where(middle < 300, 0.01, 0.02) * shares.aggressor, 2)
    small = shares.size < 100
    condition = np.where(small, 2, shares.code % 2).astype(np.int8)
    return Trades(
        np.full(len(middle), -1, dtype=np.int64), shares.underlying, price, shares.size, shares.aggressor, condition,
        (shares.code // len(SHARE_CONDITIONS)).astype(np.int8), minute * 60_000 + shares.bucket * _BUCKET_MS,
    )  # fmt: skip
