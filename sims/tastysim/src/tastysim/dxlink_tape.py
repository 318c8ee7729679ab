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
from tastysim.model_trades import EXCHANGES, SALE_CONDITIONS, SHARE_CONDITIONS, Trades

TRADES_MAX = 200_000
"""Trades that are remembered for snapshots and for readers that lag."""
_SIDES = {1: "BUY", -1: "SELL"}


@dataclass(frozen=True, slots=True)
class _Page:
    """The trades of one step."""

    number: int
    generation: int
    extended: bool
    rows: Ints
    trades: Trades
    bid: Floats
    ask: Floats


class Tape:
    """Trades in the order in which they happened. Call `record` after every step of the market."""

    def __init__(self, columns: FeedColumns) -> None:
        self._columns = columns
        self._pages: deque[_Page] = deque()
        self._held = 0
        self._step = columns.market.steps
        self.number = 0
        """Of the newest page; a reader remembers how far it has read."""

    def record(self) -> None:
        """Write down what traded in this step."""
        columns = self._columns
        if columns.market.steps == self._step:
            return
        self._step = columns.market.steps
        trades = _traded(columns)
        if not len(trades):
            return
        rows = np.where(trades.row >= 0, trades.row, columns.contracts + trades.underlying)
        order = np.argsort(rows, kind="stable")
        bid, ask = np.empty(len(rows)), np.empty(len(rows))
        bid[order], ask[order] = columns.take("bid", rows[order]), columns.take("ask", rows[order])
        self.number += 1
        extended = not is_open(columns.market.now)
        self._pages.append(_Page(self.number, columns.generation, extended, rows, trades, bid, ask))
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

    def since(self, at_ms: float, row: int) -> list[dict[str, Any]]:
        """The snapshot of one symbol's trades from a time on, newest first, as far as they are remembered."""
        wanted = np.zeros(self._columns.size, np.bool_)
        wanted[row] = True
        found = [event for page in self._pages for event in self._events(page, wanted) if event["time"] >= at_ms]
        return found[::-1]

    def _events(self, page: _Page, wanted: npt.NDArray[np.bool_]) -> Iterator[dict[str, Any]]:
        if page.generation != self._columns.generation:
            return
        trades = page.trades
        for place in np.flatnonzero(wanted[page.rows]).tolist():
            row, at = int(page.rows[place]), int(trades.time_ms[place])
            sequence = (page.number * 64 + place) & 0x3FFFFF
            conditions = SALE_CONDITIONS if row < self._columns.contracts else SHARE_CONDITIONS
            condition = conditions[int(trades.condition[place]) % len(conditions)]
            yield {
                "eventSymbol": self._columns.name(row), "eventTime": 0, "eventFlags": 0,
                "index": event_index(at, sequence), "time": at, "sequence": sequence, "timeNanoPart": 0,
                "exchangeCode": EXCHANGES[int(trades.exchange[place]) % len(EXCHANGES)],
                "price": known(float(trades.price[place]), 4), "size": known(float(trades.size[place]), 0),
                "bidPrice": known(float(page.bid[place]), 4), "askPrice": known(float(page.ask[place]), 4),
                "exchangeSaleConditions": condition, "tradeThroughExempt": "N",
                "aggressorSide": _SIDES.get(int(trades.aggressor[place]), "UNDEFINED"),
                "spreadLeg": condition in ("f", "g"), "extendedTradingHours": page.extended, "validTick": True,
                "type": "NEW", "buyer": None, "seller": None,
            }  # fmt: skip


def _traded(columns: FeedColumns) -> Trades:
    """The trades of this step; where the market tells none, one of the last price for each row that traded."""
    told: Trades | None = getattr(columns.market, "trades", None)
    if told is not None:
        return told
    market = columns.market
    rows = np.flatnonzero(market.traded_at == market.steps)
    spots = np.flatnonzero(columns.spot_changed == market.steps)
    every = np.concatenate([rows, columns.contracts + spots])
    none = np.zeros(len(every), np.int8)
    return Trades(
        np.concatenate([rows, np.full(len(spots), -1)]), np.concatenate([columns.underlying_of(rows), spots]),
        columns.take("last", every), columns.take("last_size", every), none, none, none + np.int8(1),
        np.full(len(every), int(time.time() * 1000)),
    )  # fmt: skip
