"""DXLink as a protocol machine without I/O: text in, columns and outgoing messages out (DXLink AsyncAPI 1.0.2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

CHANNEL = 1
KEEPALIVE_SECONDS = 60
SYMBOLS_PER_MESSAGE = 1_000

FIELDS: Mapping[str, tuple[str, ...]] = {
    "Quote": ("eventSymbol", "bidPrice", "askPrice", "bidSize", "askSize", "bidTime", "askTime"),
    "Trade": ("eventSymbol", "price", "size", "dayVolume", "time"),
    "Greeks": ("eventSymbol", "volatility", "delta", "gamma", "theta", "vega", "rho", "time"),
    "Summary": ("eventSymbol", "openInterest", "prevDayClosePrice"),
}
"""Event type → the fields asked for, in the order COMPACT data carries them unless the server says otherwise."""


class ProtocolError(ValueError):
    """The server sent something that cannot be understood; the connection must be made anew."""


class State(StrEnum):
    CONNECTING = "connecting"
    AUTHORIZING = "authorizing"
    OPENING = "opening"
    STREAMING = "streaming"


@dataclass(frozen=True, slots=True)
class Columns:
    """Events of one type in one frame, oldest first. NaN = the server sent none."""

    event_type: str
    symbols: list[str]
    values: dict[str, npt.NDArray[np.float64]]

    def __len__(self) -> int:
        return len(self.symbols)


@dataclass(slots=True)
class DXLink:
    """One connection. Feed it text; collect what it wants to send with `take_outgoing`.

    `want` states which symbols of an event type are desired; the difference to what is subscribed is sent when
    possible, and everything again after `restart` (a new connection).
    """

    token: str
    state: State = State.CONNECTING
    _outgoing: list[str] = field(default_factory=list)
    _wanted: dict[str, set[str]] = field(default_factory=dict)
    _subscribed: dict[str, set[str]] = field(default_factory=dict)
    _layout: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.restart(self.token)

    def restart(self, token: str) -> None:
        """Begin a new connection with a token; wanted symbols stay wanted."""
        self.token, self.state = token, State.CONNECTING
        self._outgoing.clear()
        self._subscribed.clear()
        self._layout = dict(FIELDS)
        self._send(
            {
                "type": "SETUP",
                "channel": 0,
                "version": "0.1-tastytrades/0.1.0",
                "keepaliveTimeout": KEEPALIVE_SECONDS,
                "acceptKeepaliveTimeout": KEEPALIVE_SECONDS,
            }
        )

    def want(self, event_type: str, symbols: Iterable[str]) -> None:
        """State the desired symbols of one event type; replaces what was wanted. KeyError for an unknown type."""
        if event_type not in FIELDS:
            raise KeyError(f"event type {event_type!r} is not one of {', '.join(FIELDS)}")
        self._wanted[event_type] = set(symbols)
        self._reconcile()

    def keepalive(self) -> None:
        """Send a sign of life; due at least every half keepalive timeout."""
        self._send({"type": "KEEPALIVE", "channel": 0})

    def take_outgoing(self) -> list[str]:
        """Messages to write to the socket, in order; they are forgotten here."""
        taken, self._outgoing = self._outgoing, []
        return taken

    def feed(self, text: str | bytes) -> list[Columns]:
        """Read one message. Returns its events; raises ProtocolError for anything not understood."""
        try:
            message = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise ProtocolError(f"not JSON: {error}") from None
        if not isinstance(message, dict):
            raise ProtocolError(f"a message is an object, this is {type(message).__name__}")
        kind = message.get("type")
        if kind == "FEED_DATA":
            return self._data(message.get("data"))
        if kind == "AUTH_STATE":
            self._authorization(message.get("state"))
        elif kind == "CHANNEL_OPENED":
            self._open()
        elif kind == "FEED_CONFIG":
            self._configure(message.get("eventFields"))
        elif kind == "ERROR":
            raise ProtocolError(f"the server reports {message.get('error')}: {message.get('message')}")
        elif kind == "CHANNEL_CLOSED":
            raise ProtocolError("the server closed the channel")
        elif kind not in ("SETUP", "KEEPALIVE"):
            raise ProtocolError(f"unknown message type {kind!r}")
        return []

    def _authorization(self, state: object) -> None:
        if state == "AUTHORIZED":
            self.state = State.OPENING
            self._send(
                {"type": "CHANNEL_REQUEST", "channel": CHANNEL, "service": "FEED", "parameters": {"contract": "AUTO"}}
            )
        elif self.state is State.CONNECTING:
            self.state = State.AUTHORIZING
            self._send({"type": "AUTH", "channel": 0, "token": self.token})
        else:
            raise ProtocolError("the token was refused: ask the broker for a new one")

    def _open(self) -> None:
        self.state = State.STREAMING
        self._send(
            {
                "type": "FEED_SETUP",
                "channel": CHANNEL,
                "acceptAggregationPeriod": 0.1,
                "acceptDataFormat": "COMPACT",
                "acceptEventFields": {kind: list(names) for kind, names in FIELDS.items()},
            }
        )
        self._reconcile()

    def _configure(self, layout: object) -> None:
        if layout is None:
            return
        if not isinstance(layout, dict) or not all(isinstance(names, list) for names in layout.values()):
            raise ProtocolError("eventFields is not a table of lists")
        self._layout.update({str(kind): tuple(str(name) for name in names) for kind, names in layout.items()})

    def _reconcile(self) -> None:
        if self.state is not State.STREAMING:
            return
        changes: dict[str, list[dict[str, str]]] = {"add": [], "remove": []}
        for kind, wanted in self._wanted.items():
            have = self._subscribed.setdefault(kind, set())
            changes["add"] += [{"type": kind, "symbol": symbol} for symbol in sorted(wanted - have)]
            changes["remove"] += [{"type": kind, "symbol": symbol} for symbol in sorted(have - wanted)]
            self._subscribed[kind] = set(wanted)
        for verb, rows in changes.items():
            for start in range(0, len(rows), SYMBOLS_PER_MESSAGE):
                part = rows[start : start + SYMBOLS_PER_MESSAGE]
                self._send({"type": "FEED_SUBSCRIPTION", "channel": CHANNEL, verb: part})

    def _data(self, data: object) -> list[Columns]:
        if not isinstance(data, list):
            raise ProtocolError("FEED_DATA carries no list")
        if data and isinstance(data[0], dict):
            return self._full(data)
        if len(data) % 2:
            raise ProtocolError("COMPACT data is pairs of type and values")
        found = []
        for kind, values in zip(data[::2], data[1::2], strict=True):
            name = kind if isinstance(kind, str) else str(kind[0]) if isinstance(kind, list) and kind else ""
            if name in self._layout and isinstance(values, list):
                found.append(_columns(name, self._layout[name], values))
        return found

    def _full(self, rows: list[Any]) -> list[Columns]:
        flat: dict[str, list[Any]] = {}
        for row in rows:
            kind = row.get("eventType") if isinstance(row, dict) else None
            if kind in self._layout:
                flat.setdefault(kind, []).extend(row.get(name) for name in self._layout[kind])
        return [_columns(kind, self._layout[kind], values) for kind, values in flat.items()]

    def _send(self, message: dict[str, Any]) -> None:
        self._outgoing.append(orjson.dumps(message).decode())


def _columns(event_type: str, layout: tuple[str, ...], values: list[Any]) -> Columns:
    width = len(layout)
    if not width or len(values) % width or "eventSymbol" not in layout:
        raise ProtocolError(f"{event_type} data of {len(values)} values does not fit its {width} fields")
    symbols = values[layout.index("eventSymbol") :: width]
    if not all(isinstance(symbol, str) for symbol in symbols):
        raise ProtocolError(f"{event_type} data names a symbol that is not text")
    columns = {
        name: _numbers(event_type, name, values[index::width])
        for index, name in enumerate(layout)
        if name not in ("eventSymbol", "eventType")
    }
    return Columns(event_type, symbols, columns)


def _numbers(event_type: str, name: str, values: list[Any]) -> npt.NDArray[np.float64]:
    """Numbers, the texts "NaN" and "Infinity", and null (NaN)."""
    try:
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    except (TypeError, ValueError):
        raise ProtocolError(f"{event_type}.{name} holds a value that is not a number") from None
