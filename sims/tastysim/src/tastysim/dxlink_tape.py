"""The tape: every trade of the market, for TimeAndSale events."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from optionmath.sessions import is_open
from tastysim.dxlink_columns import FeedColumns, Ints
from tastysim.dxlink_events import event_index, known
from tastysim.market import Floats

TRADES_MAX = 200_000
"""Trades that are remembered for snapshots and for readers that lag."""


@dataclass(frozen=True, slots=True)
class _Page:
    """The trades of one step."""

    number: int
    at_ms: int
    generation: int
    extended: bool
    rows: Ints
    price: Floats
    size: Floats
    bid: Floats
    ask: Floats


class Tape:
    """Trades in the order in which they happened. Call `record` after every step of the market."""

    def __init__(self, columns: FeedColumns) -> None:
        self._columns = columns
        self._pages: deque[_Page] = deque()
        self._held = 0
        self.number = 0
        """Of the newest page; a reader remembers how far it has read."""
        self._volume = columns.column("volume").copy()
        self._generation = columns.generation

    def record(self) -> None:
        """Write down what traded in this step."""
        columns, market = self._columns, self._columns.market
        volume = columns.column("volume")
        if columns.generation != self._generation:
            self._volume, self._generation = volume.copy(), columns.generation
        rows = np.flatnonzero(np.concatenate([market.traded_at, columns.spot_changed]) == market.steps)
        traded = volume[rows] - self._volume[rows]
        self._volume = volume
        if not market.steps or not len(rows):
            return
        self.number += 1
        size = np.where(traded >= 1, traded, columns.column("last_size")[rows])
        self._pages.append(
            _Page(
                self.number, int(time.time() * 1000), columns.generation, not is_open(market.now), rows,
                columns.column("last")[rows], np.maximum(1, np.round(size)), columns.column("bid")[rows],
                columns.column("ask")[rows],
            )
        )  # fmt: skip
        self._held += len(rows)
        while self._held > TRADES_MAX and len(self._pages) > 1:
            self._held -= len(self._pages.popleft().rows)

    def after(self, number: int, wanted: npt.NDArray[np.bool_]) -> Iterator[dict[str, Any]]:
        """Events of the pages after one, oldest first, of the rows that are wanted."""
        fresh = []
        for page in reversed(self._pages):
            if page.number <= number:
                break
            fresh.append(page)
        for page in reversed(fresh):
            yield from self._events(page, wanted)

    def since(self, at_ms: int, row: int) -> list[dict[str, Any]]:
        """The snapshot of one symbol's trades from a time on, newest first, as far as they are remembered."""
        wanted = np.zeros(len(self._columns.names), np.bool_)
        wanted[row] = True
        found = [event for page in self._pages if page.at_ms >= at_ms for event in self._events(page, wanted)]
        return found[::-1]

    def _events(self, page: _Page, wanted: npt.NDArray[np.bool_]) -> Iterator[dict[str, Any]]:
        if page.generation != self._columns.generation:
            return
        for place in np.flatnonzero(wanted[page.rows]).tolist():
            price, bid, ask = float(page.price[place]), float(page.bid[place]), float(page.ask[place])
            side = "BUY" if price >= ask else "SELL" if price <= bid else "UNDEFINED"
            yield {
                "eventSymbol": self._columns.names[int(page.rows[place])], "eventTime": 0, "eventFlags": 0,
                "index": event_index(page.at_ms, page.number & 0x3FFFFF), "time": page.at_ms,
                "sequence": page.number & 0x3FFFFF, "timeNanoPart": 0, "exchangeCode": "Q", "price": known(price, 4),
                "size": known(float(page.size[place]), 0), "bidPrice": known(bid, 4), "askPrice": known(ask, 4),
                "exchangeSaleConditions": "@", "tradeThroughExempt": "N", "aggressorSide": side, "spreadLeg": False,
                "extendedTradingHours": page.extended, "validTick": True, "type": "NEW", "buyer": None, "seller": None,
            }  # fmt: skip
