"""What a channel is owed of one event type: which rows it subscribes to, and which of them are due."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tastysim.candle_periods import CandleSymbol, parse_candle
from tastysim.dxlink_candles import Running
from tastysim.dxlink_columns import FeedColumns, Ints
from tastysim.dxlink_events import OF_CONTRACTS_ALONE, OF_UNDERLYINGS_ALONE
from tastysim.dxlink_session import Channel

RESEND_STEPS = 24
"""An unchanged value is sent again after so many steps, so that a reader can tell quiet from stale."""
PACE_STEPS = {
    "Quote": 1, "Greeks": 8, "TheoPrice": 8, "Trade": 4, "TradeETH": 4, "Underlying": 8, "Series": 40,
    "Summary": 240, "Profile": 960,
}  # fmt: skip
"""Least number of steps between two values of one symbol. Rows take turns, so that no step carries all of them."""


@dataclass(slots=True)
class View:
    """The rows of one event type on one channel, and up to which step they were sent."""

    kind: str
    rows: Ints
    version: int
    generation: int
    last_step: int

    def due(self, columns: FeedColumns) -> Ints:
        """Rows whose turn came since the last time and whose value changed, and those not sent for a while.

        The turn of a row depends on the step alone: connections that keep up are owed the same rows, and share them.
        """
        step, last, rows = columns.market.steps, self.last_step, self.rows
        self.last_step = step
        if step <= last:
            return rows[:0]
        pace = PACE_STEPS.get(self.kind, 1)
        changed = columns.changed(self.kind, rows)
        if changed is None:
            return rows[(step + rows) % pace < step - last]
        again = max(pace, RESEND_STEPS)
        chosen = (step + rows) % again < step - last
        turn = (step + rows) % pace
        chosen |= (turn < step - last) & (changed > last - (last + rows) % pace)
        found: Ints = rows[chosen]
        return found


def view(channel: Channel, kind: str, columns: FeedColumns, before: View | None) -> tuple[View, Ints]:
    """The view of what is subscribed now, and rows that were not in the view of before."""
    rows = subscribed_rows(channel, kind, columns)
    if before is not None and before.generation == columns.generation:
        fresh = np.setdiff1d(rows, before.rows, assume_unique=True)
        return View(kind, rows, channel.version, columns.generation, before.last_step), fresh
    return View(kind, rows, channel.version, columns.generation, columns.market.steps), rows


def subscribed_rows(channel: Channel, kind: str, columns: FeedColumns) -> Ints:
    """Rows of the symbols that are subscribed and exist, in order."""
    symbols = channel.symbols.get(kind, {})
    return fitting(kind, columns.all_rows() if "*" in symbols else rows_of(symbols, columns), columns)


def rows_of(symbols: Iterable[str], columns: FeedColumns) -> Ints:
    """Rows of those symbols that exist, in order."""
    return np.array(sorted({row for symbol in symbols if (row := columns.row(symbol)) is not None}), np.int64)


def fitting(kind: str, rows: Ints, columns: FeedColumns) -> Ints:
    """Those rows of which there are events of a type."""
    if kind in OF_CONTRACTS_ALONE:
        return rows[rows < columns.contracts]
    if kind in OF_UNDERLYINGS_ALONE:
        return rows[rows >= columns.contracts]
    return rows


@dataclass(slots=True)
class CandleReader:
    """One candle symbol on one channel."""

    symbol: CandleSymbol
    running: Running
    from_ms: float | None
    seen: tuple[int, int] | None = None
    """Start and version of the bar that was sent last."""


@dataclass(slots=True)
class ChannelState:
    """What the sending side keeps of a channel."""

    views: dict[str, View] = field(default_factory=dict)
    candles: dict[str, CandleReader] = field(default_factory=dict)
    tape_page: int = 0
    tape_version: int = -1
    tape_wanted: npt.NDArray[np.bool_] | None = None
    tape_generation: int = -1
    next_at: float = 0.0
    """Monotonic seconds: not before, however often the market moves."""


def wanted_candles(channel: Channel) -> dict[str, tuple[CandleSymbol, float | None]]:
    """Candle symbols of a channel by their canonical spelling; what is no candle symbol is passed over."""
    found = {}
    for symbol, from_ms in channel.symbols.get("Candle", {}).items():
        candle = parse_candle(symbol)
        if candle is not None:
            found[candle.canonical] = candle, from_ms
    return found
