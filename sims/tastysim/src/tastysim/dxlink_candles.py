"""Candle events: the past of a symbol as a snapshot, and the bar that runs."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from optionmath.blackscholes import price as option_price
from optionmath.sessions import expires_at
from tastysim.candle_history import NO_MINUTES, Floats, Ints, MinuteHistory, Minutes
from tastysim.candle_periods import CandleSymbol
from tastysim.dxlink_columns import FeedColumns
from tastysim.dxlink_events import MISSING, event_index, known
from tastysim.market import RATE, YEAR_SECONDS

BARS_MAX = 8_000
"""Longer snapshots are cut off (SNAPSHOT_SNIP)."""
CONTRACT_MINUTES = 20 * 390
ENDED_MAX = 100
"""Bars that may end between two looks of a reader without being lost to it."""
REMOVE_EVENT, SNAPSHOT_BEGIN, SNAPSHOT_END, SNAPSHOT_SNIP = 2, 4, 8, 16
_COLUMN = {"last": "last", "s": "last", "bid": "bid", "ask": "ask"}


@dataclass(slots=True)
class Bar:
    """One candle. start: epoch milliseconds."""

    start: int
    open: float
    high: float
    low: float
    close: float
    volume: float = 0.0
    turnover: float = 0.0
    version: int = 0
    """Grows with every change."""

    def take(self, price: float, traded: float) -> None:
        """A price, and what traded at it."""
        if traded > 0 or price != self.close:
            self.high, self.low, self.close = max(self.high, price), min(self.low, price), price
            self.volume += traded
            self.turnover += traded * price
            self.version += 1

    def event(self, symbol: str, volatility: float, flags: int = 0) -> dict[str, Any]:
        """As an event."""
        average = self.turnover / self.volume if self.volume else np.nan
        return {
            "eventSymbol": symbol, "eventTime": 0, "eventFlags": flags, "index": event_index(self.start),
            "time": self.start, "sequence": 0, "count": max(1, round(self.volume / 100)),
            "volume": known(self.volume, 0), "VWAP": known(average, 4), "vwap": known(average, 4),
            "bidVolume": MISSING, "askVolume": MISSING, "impVolatility": known(volatility, 6),
            "openInterest": MISSING, "open": known(self.open, 4), "high": known(self.high, 4),
            "low": known(self.low, 4), "close": known(self.close, 4),
        }  # fmt: skip


@dataclass(slots=True)
class Running:
    """The bar of a candle symbol that runs, and those that ended since it is followed."""

    symbol: CandleSymbol
    bar: Bar | None = None
    ended: deque[Bar] = field(default_factory=lambda: deque(maxlen=ENDED_MAX))
    readers: int = 0
    volume: float = np.nan


class CandleBook:
    """Candles of underlyings and contracts. Call `record` after every step of the market.

    The past of a contract is its underlying's, priced with the volatility the contract has now.
    """

    def __init__(self, columns: FeedColumns) -> None:
        self._columns = columns
        self._history = MinuteHistory(columns)
        self._running: dict[str, Running] = {}

    def record(self) -> None:
        """Take the prices of this step."""
        self._history.record()
        for running in self._running.values():
            self._advance(running)

    def follow(self, symbol: CandleSymbol) -> Running:
        """The bar that runs, for one more reader."""
        running = self._running.get(symbol.canonical)
        if running is None:
            running = self._running[symbol.canonical] = Running(symbol)
            if symbol.by_time:
                bars = self._bars(symbol, self._minutes(symbol).newest(50_000))
                running.bar = bars[-1] if bars else None
            self._advance(running)
        running.readers += 1
        return running

    def leave(self, running: Running) -> None:
        """One reader less."""
        running.readers -= 1
        if running.readers <= 0:
            self._running.pop(running.symbol.canonical, None)

    def snapshot(self, running: Running, from_ms: float) -> list[dict[str, Any]]:
        """The bars from a time on, newest first, the running one included, with the flags of a snapshot."""
        symbol, volatility = running.symbol, self._volatility(running.symbol)
        bars = self._bars(symbol, self._minutes(symbol)) if symbol.by_time else []
        if running.bar is not None:
            bars = [bar for bar in bars if bar.start < running.bar.start] + [running.bar]
        bars = [bar for bar in bars if bar.start >= from_ms]
        cut = bars[-BARS_MAX:]
        if not cut:
            empty = Bar(0, np.nan, np.nan, np.nan, np.nan)
            return [empty.event(symbol.canonical, np.nan) | {
                "count": 0, "volume": MISSING, "eventFlags": SNAPSHOT_BEGIN | SNAPSHOT_END | REMOVE_EVENT
            }]  # fmt: skip
        newest = cut[-1].start
        found = [bar.event(symbol.canonical, volatility if bar.start == newest else np.nan) for bar in reversed(cut)]
        found[0]["eventFlags"] |= SNAPSHOT_BEGIN
        found[-1]["eventFlags"] |= SNAPSHOT_END if len(cut) == len(bars) else SNAPSHOT_SNIP
        return found

    def update(self, running: Running, seen: tuple[int, int] | None) -> list[dict[str, Any]]:
        """What changed since a reader saw the bar (its start and version): bars that ended, the bar that runs."""
        bar = running.bar
        if bar is None or seen == (bar.start, bar.version):
            return []
        found = [
            each.event(running.symbol.canonical, np.nan)
            for each in running.ended
            if seen is not None and (each.start, each.version) > seen
        ]
        return [*found, bar.event(running.symbol.canonical, self._volatility(running.symbol))]

    def _advance(self, running: Running) -> None:
        columns, symbol = self._columns, running.symbol
        row = columns.row(symbol.base)
        if row is None or not symbol.by_time or not columns.market.is_open:
            return
        price, volume = self._price(symbol, row), columns.at("volume", row)
        traded = max(0.0, volume - running.volume) if np.isfinite(running.volume) else 0.0
        running.volume = volume
        if not np.isfinite(price):
            return
        now = np.array([int(columns.market.now.timestamp())], np.int64)
        start = int(symbol.starts(now, np.array([columns.day()], np.int64))[0])
        if running.bar is None or running.bar.start != start:
            if running.bar is not None:
                running.ended.append(running.bar)
            running.bar = Bar(start, price, price, price, price)
            running.bar.version = 1
        running.bar.take(price, traded)

    def _price(self, symbol: CandleSymbol, row: int) -> float:
        column = _COLUMN.get(symbol.price)
        if column is not None:
            return self._columns.at(column, row)
        return (self._columns.at("bid", row) + self._columns.at("ask", row)) / 2

    def _volatility(self, symbol: CandleSymbol) -> float:
        columns = self._columns
        row = columns.row(symbol.base)
        if row is None:
            return np.nan
        return columns.at("iv", row)

    def _minutes(self, symbol: CandleSymbol) -> Minutes:
        columns = self._columns
        row = columns.row(symbol.base)
        if row is None or symbol.unit == "s":
            return NO_MINUTES
        if not columns.is_contract(row):
            return self._history.of(symbol.base)
        listed = columns.market.listed[int(columns.underlying_of(np.array([row], np.int64))[0])]
        return self._of_contract(row, self._history.of(listed.symbol).newest(CONTRACT_MINUTES), listed.dividend_yield)

    def _of_contract(self, row: int, minutes: Minutes, dividend: float) -> Minutes:
        market, option = self._columns.market, self._columns.market.options[row]
        volatility = float(market.iv[row])
        if not len(minutes) or not np.isfinite(volatility):
            return NO_MINUTES
        years = np.maximum(expires_at(option.expiration).timestamp() - minutes.seconds - 60, 0) / YEAR_SECONDS
        call = bool(self._columns.is_call[row])
        strike = float(market.strike[row])
        values = [
            np.round(option_price(spot, strike, years, volatility, RATE, dividend, call), 2) for spot in minutes.prices
        ]
        first, high, low, last = values if call else (values[0], values[2], values[1], values[3])
        return Minutes(minutes.seconds, minutes.days, np.array([first, high, low, last]), np.zeros(len(minutes)))

    def _bars(self, symbol: CandleSymbol, minutes: Minutes) -> list[Bar]:
        """The bars of a period out of minutes, oldest first."""
        if not len(minutes):
            return []
        starts = symbol.starts(minutes.seconds, minutes.days)
        first = np.flatnonzero(np.diff(starts, prepend=starts[0] - 1))
        opens, highs, lows, closes = minutes.prices
        last = np.append(first[1:], len(starts)) - 1
        columns: tuple[Ints | Floats, ...] = (
            starts[first], opens[first], np.maximum.reduceat(highs, first), np.minimum.reduceat(lows, first),
            closes[last], np.add.reduceat(minutes.volume, first), np.add.reduceat(minutes.volume * closes, first),
        )  # fmt: skip
        return [Bar(*row) for row in zip(*(column[-BARS_MAX - 1 :].tolist() for column in columns), strict=True)]
