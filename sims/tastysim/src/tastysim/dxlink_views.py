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

LAYOUTS_MAX = 500
RESEND_STEPS = 24
"""An unchanged value is sent again after so many steps, so that a reader can tell quiet from stale."""
PACE_STEPS = {
    "Quote": 1, "Greeks": 8, "TheoPrice": 8, "Trade": 4, "TradeETH": 4, "Underlying": 8, "Series": 40,
    "Summary": 240, "Profile": 960,
}  # fmt: skip
"""Least number of steps between two values of one symbol. Rows take turns, so that no step carries all of them."""


class Layout:
    """Subscribed rows of one event type, shared by every channel that has the same; and which of them are due."""

    def __init__(self, kind: str, rows: Ints) -> None:
        self.kind, self.rows = kind, rows
        self._pace = PACE_STEPS.get(kind, 1)
        self._again = max(self._pace, RESEND_STEPS)
        self._turn = (rows % self._pace).astype(np.int16)
        self._confirmed = (rows % self._again).astype(np.int16)
        self._step = -1
        self._found: dict[int, Ints] = {}

    def due(self, columns: FeedColumns, last: int) -> Ints:
        """Rows whose turn came after a step and whose value changed, and those not sent for a while.

        The turn of a row depends on the step alone: connections that keep up are owed the same rows, found once.
        """
        step = columns.market.steps
        if step != self._step:
            self._found.clear()
            self._step = step
        found = self._found.get(last)
        if found is None:
            found = self._found[last] = self._due(columns, step, last)
        return found

    def _due(self, columns: FeedColumns, step: int, last: int) -> Ints:
        if step <= last:
            return self.rows[:0]
        changed = columns.changed(self.kind, self.rows)
        if changed is None:
            return self.rows[_since(self._turn, self._pace, step, last)]
        chosen = _since(self._confirmed, self._again, step, last)
        if self._pace == 1:
            return self.rows[chosen | (changed > last)]
        turn = last - (last + self._turn.astype(np.int64)) % self._pace
        found: Ints = self.rows[chosen | (_since(self._turn, self._pace, step, last) & (changed > turn))]
        return found


def _since(phase: npt.NDArray[np.int16], period: int, step: int, last: int) -> npt.NDArray[np.bool_]:
    """Whether (step + phase) became a multiple of the period after `last`."""
    if step - last >= period:
        return np.ones(len(phase), np.bool_)
    ahead = phase + np.int16(step % period)
    ahead -= np.where(ahead >= period, np.int16(period), np.int16(0))
    found: npt.NDArray[np.bool_] = ahead < step - last
    return found


class Layouts:
    """All layouts of a feed."""

    def __init__(self, columns: FeedColumns) -> None:
        self._columns, self._generation = columns, -1
        self._held: dict[tuple[str, bytes], Layout] = {}

    def of(self, channel: Channel, kind: str) -> Layout:
        """The layout of what a channel subscribes to now."""
        if self._generation != self._columns.generation or len(self._held) > LAYOUTS_MAX:
            self._held.clear()
            self._generation = self._columns.generation
        rows = subscribed_rows(channel, kind, self._columns)
        key = kind, rows.tobytes()
        found = self._held.get(key)
        if found is None:
            found = self._held[key] = Layout(kind, rows)
        return found


@dataclass(slots=True)
class View:
    """The layout of one event type on one channel, and up to which step it was sent."""

    layout: Layout
    version: int
    generation: int
    last_step: int

    def due(self, columns: FeedColumns) -> Ints:
        """Rows to send now."""
        found = self.layout.due(columns, self.last_step)
        self.last_step = columns.market.steps
        return found


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
