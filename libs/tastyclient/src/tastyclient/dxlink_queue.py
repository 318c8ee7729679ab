"""A bounded queue between a feed and a slower reader: newest values survive, and what was given up is counted."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

import numpy as np

from tastyclient.events import Columns, Floats, Ints, StoredColumns

LATEST_WINS = frozenset({"Quote", "Trade", "TradeETH", "Summary", "Profile", "Greeks", "TheoPrice", "Underlying"})
"""Event types of which only the newest value counts; of the others each event is news."""


@dataclass(slots=True)
class ConflatingQueue:
    """Give `put` to a stream and read with `get`. Never blocks the stream, never holds more than `events_max` events.

    When full, older values of a symbol give way to its newest (`conflated`); when that does not suffice, the oldest
    frames are given up (`dropped`).
    """

    events_max: int = 100_000
    conflated: int = 0
    dropped: int = 0
    _frames: deque[tuple[Columns, int]] = field(default_factory=deque)
    _size: int = 0
    _ready: asyncio.Event = field(default_factory=asyncio.Event)

    def __len__(self) -> int:
        """Events that wait."""
        return self._size

    def put(self, columns: Columns, received: int) -> None:
        """Add the events of one frame; received: epoch nanoseconds."""
        self._frames.append((columns, received))
        self._size += len(columns)
        if self._size > self.events_max:
            self._conflate()
            while self._size > self.events_max:
                oldest, _ = self._frames.popleft()
                self._size -= len(oldest)
                self.dropped += len(oldest)
        if self._frames:
            self._ready.set()

    async def get(self) -> tuple[Columns, int]:
        """The oldest frame and when it was received; waits for one."""
        while not self._frames:
            self._ready.clear()
            await self._ready.wait()
        columns, received = self._frames.popleft()
        self._size -= len(columns)
        return columns, received

    def _conflate(self) -> None:
        """One frame per type, its newest value of each symbol; frames of the other types stay, in order."""
        kept: deque[tuple[Columns, int]] = deque()
        merged: dict[str, list[tuple[Columns, int]]] = {}
        for columns, received in self._frames:
            if columns.event_type in LATEST_WINS:
                merged.setdefault(columns.event_type, []).append((columns, received))
            else:
                kept.append((columns, received))
        for frames in merged.values():
            kept.extend(_newest(frames))
        size = sum(len(columns) for columns, _ in kept)
        self.conflated += self._size - size
        self._frames, self._size = kept, size


def _newest(frames: list[tuple[Columns, int]]) -> list[tuple[Columns, int]]:
    """The newest value of every symbol. Frames of equal fields become one; others keep what nothing newer replaces."""
    seen: set[str] = set()
    parts: list[tuple[Columns, int]] = []
    for columns, received in reversed(frames):
        symbols = columns.symbols
        rows = []
        for row in range(len(symbols) - 1, -1, -1):
            if symbols[row] not in seen:
                seen.add(symbols[row])
                rows.append(row)
        if rows:
            parts.append((StoredColumns.chosen(columns, np.array(rows[::-1], np.int64)), received))
    parts.reverse()
    first = parts[0][0]
    if any(list(each.values) != list(first.values) or list(each.texts) != list(first.texts) for each, _ in parts):
        return parts
    return [(_joined([columns for columns, _ in parts]), parts[-1][1])]


def _joined(parts: list[Columns]) -> Columns:
    first = parts[0]
    values: dict[str, Floats] = {name: np.concatenate([each.values[name] for each in parts]) for name in first.values}
    integers: dict[str, Ints] = {
        name: np.concatenate([each.integers[name] for each in parts]) for name in first.integers
    }
    return StoredColumns(
        first.event_type,
        [symbol for each in parts for symbol in each.symbols],
        values,
        integers,
        {name: [text for each in parts for text in each.texts[name]] for name in first.texts},
        np.concatenate([each.ids for each in parts]),
    )
