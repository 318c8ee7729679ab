"""Time series out of indexed events: snapshots put together, pending transactions held back, removals applied."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tastyclient.events import Columns, EventFlag, canonical_candle

Event = dict[str, float | int | str]
_END = EventFlag.SNAPSHOT_END | EventFlag.SNAPSHOT_SNIP


@dataclass(frozen=True, slots=True)
class SeriesChange:
    """What became true of one symbol's series: events oldest first, indices that are gone."""

    symbol: str
    snapshot: bool
    """The events are the whole series: forget what was known before."""
    truncated: bool
    """The server has more than it sent."""
    events: tuple[Event, ...]
    removed: tuple[int, ...]


@dataclass(slots=True)
class _Pending:
    events: dict[int, Event] = field(default_factory=dict)
    removed: dict[int, None] = field(default_factory=dict)
    snapshot: bool = False
    open: bool = False
    truncated: bool = False


class SeriesReader:
    """Feed it the columns of Candle, TimeAndSale, Greeks or Series events that carry eventFlags and index.

    Half a snapshot is never shown: a change comes out when the snapshot has ended and no transaction is pending.
    After a reconnect the server sends the snapshot again; `restart` forgets what was half-read.
    """

    def __init__(self) -> None:
        self._pending: dict[str, _Pending] = {}

    def restart(self) -> None:
        """A new connection begins."""
        self._pending.clear()

    def take(self, columns: Columns) -> Iterator[SeriesChange]:
        """Changes that these events complete. KeyError without eventFlags and index among the fields."""
        for event in columns.events():
            symbol = canonical_candle(str(event["eventSymbol"]))
            flags, index = EventFlag(int(event["eventFlags"]) & 0x7F), int(event["index"])
            if flags & EventFlag.SNAPSHOT_BEGIN or symbol not in self._pending:
                begins = bool(flags & EventFlag.SNAPSHOT_BEGIN)
                self._pending[symbol] = _Pending(snapshot=begins, open=begins)
            pending = self._pending[symbol]
            if flags & EventFlag.REMOVE_EVENT:
                pending.events.pop(index, None)
                pending.removed[index] = None
            else:
                pending.removed.pop(index, None)
                pending.events[index] = event
            if flags & _END:
                pending.open = False
                pending.truncated = bool(flags & EventFlag.SNAPSHOT_SNIP)
            if not pending.open and not flags & EventFlag.TX_PENDING:
                del self._pending[symbol]
                yield SeriesChange(
                    symbol,
                    pending.snapshot,
                    pending.truncated,
                    tuple(pending.events[each] for each in sorted(pending.events)),
                    () if pending.snapshot else tuple(sorted(pending.removed)),
                )
