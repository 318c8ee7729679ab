"""DXLink as a protocol machine without I/O: text in, columns and outgoing messages out (DXLink AsyncAPI 1.0.2)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

import orjson

from tastyclient.dxlink_compiled import CompiledReader
from tastyclient.dxlink_decode import COMPILED_BYTES_MIN, Decoder, RowColumns
from tastyclient.dxlink_errors import FrameError, ProtocolError, ServerError, TokenRefusedError
from tastyclient.dxlink_layout import Layout, SymbolTable
from tastyclient.dxlink_subscriptions import NO_LIMITS, Key, Limits, Wanted, row
from tastyclient.events import EVENT_FIELDS, FIELDS, Columns

__all__ = [
    "CHANNELS", "Channel", "Columns", "Contract", "DXLink", "FrameError", "Outgoing", "ProtocolError", "ServerError",
    "State", "TokenRefusedError",
]  # fmt: skip

KEEPALIVE_SECONDS = 60
"""Our patience, told to the server; and its patience until it tells its own."""
AGGREGATION_SECONDS = 0.1
VERSION = "0.1-tastytrades/0.1.0"
UNKNOWN_MAX = 100
"""Different unknown names that are counted apart; a server cannot fill the memory with new ones."""


class State(StrEnum):
    CONNECTING = "connecting"
    AUTHORIZING = "authorizing"
    OPENING = "opening"
    STREAMING = "streaming"


class Contract(StrEnum):
    """What a channel delivers."""

    AUTO = "AUTO"
    TICKER = "TICKER"
    """The newest value."""
    STREAM = "STREAM"
    """Every event."""
    HISTORY = "HISTORY"
    """A snapshot of the past, then every event."""


@dataclass(frozen=True, slots=True)
class Channel:
    """One feed channel: an odd number, its contract, and the event types it carries (empty: all the others do not)."""

    number: int
    contract: Contract = Contract.AUTO
    event_types: frozenset[str] = frozenset()
    aggregation_seconds: float = AGGREGATION_SECONDS


CHANNELS = (Channel(1), Channel(3, Contract.HISTORY, frozenset({"Candle"})))
"""Candles stand apart: under AUTO the server does not always send their past."""


class Outgoing(NamedTuple):
    """A message to write; `changes` is how many subscriptions it changes, for whoever keeps to the server's pace."""

    text: str
    changes: int = 0


@dataclass(slots=True)
class _Open:
    """What is known of a channel on this connection."""

    plan: Channel
    requested: bool = False
    opened: bool = False
    closing: bool = False
    set_up: frozenset[str] | None = None
    subscribed: dict[str, dict[Key, int | None]] = field(default_factory=dict)


class DXLink:
    """One connection after the other. Feed it text; write what `take_outgoing` gives, in order.

    What is wanted is data: `want`, `add` and `remove` state it, the difference to what is subscribed is sent when the
    channel is open, and everything again after `restart` (a new connection). `fields` replaces what is asked for per
    event type. `unknown` counts message and event types that this machine has no use for.
    """

    def __init__(
        self,
        token: str,
        *,
        fields: Mapping[str, tuple[str, ...]] | None = None,
        channels: Iterable[Channel] = CHANNELS,
        limits: Limits = NO_LIMITS,
        compiled: CompiledReader | None = None,
        keepalive_seconds: int = KEEPALIVE_SECONDS,
    ) -> None:
        """KeyError for fields of an unknown event type; ValueError for an even or repeated channel number."""
        self.fields = dict(FIELDS) | dict(fields or {})
        if unknown := set(self.fields) - set(EVENT_FIELDS):
            raise KeyError(f"event types {sorted(unknown)} are not among {', '.join(EVENT_FIELDS)}")
        self.plans = {plan.number: plan for plan in channels}
        if not self.plans or any(number < 1 or number % 2 == 0 for number in self.plans):
            raise ValueError("a channel number is odd and positive, and there is at least one")
        self._first = next(iter(self.plans))
        self.symbols = SymbolTable()
        self.unknown: Counter[str] = Counter()
        self.wanted = Wanted(limits)
        self.keepalive_seconds = keepalive_seconds
        self._decoder = Decoder(self.symbols, compiled)
        self._outgoing: list[Outgoing] = []
        self._channels: dict[int, _Open] = {}
        self._layouts: dict[int, dict[str, Layout]] = {}
        self.restart(token)

    def restart(self, token: str) -> None:
        """Begin a new connection with a token; wanted symbols stay wanted."""
        self.token, self.state = token, State.CONNECTING
        self.server_patience_seconds = float(KEEPALIVE_SECONDS)
        self._outgoing.clear()
        self._channels = {number: _Open(plan) for number, plan in self.plans.items()}
        self._layouts = {
            number: {event_type: Layout(event_type, names, number) for event_type, names in self.fields.items()}
            for number in self.plans
        }
        self._decoder.forget()
        patience = self.keepalive_seconds
        self._send("SETUP", 0, version=VERSION, keepaliveTimeout=patience, acceptKeepaliveTimeout=patience)

    # what is wanted

    def want(
        self, event_type: str, symbols: Iterable[str], *, source: str | None = None, from_time: int | None = None
    ) -> None:
        """State the desired symbols of one event type (of orders: and source); replaces what was wanted of it.

        from_time: epoch milliseconds from which a time series is wanted. KeyError for an unknown type,
        SubscriptionLimitError for more than the server allows: then nothing has changed.
        """
        self._known(event_type)
        self.wanted.replace(event_type, list(symbols), source, from_time)
        self._reconcile(event_type)

    def add(
        self, event_type: str, symbols: Iterable[str], *, source: str | None = None, from_time: int | None = None
    ) -> None:
        """Want these too; again with another from_time replaces the series. Errors as of `want`."""
        self._known(event_type)
        self.wanted.add(event_type, list(symbols), source, from_time)
        self._reconcile(event_type)

    def remove(self, event_type: str, symbols: Iterable[str], *, source: str | None = None) -> None:
        """Want these no more; those never wanted are passed over. KeyError for an unknown type."""
        self._known(event_type)
        self.wanted.remove(event_type, list(symbols), source)
        self._reconcile(event_type)

    def reset(self) -> None:
        """Want nothing of any type."""
        self.wanted.clear()
        for channel in self._channels.values():
            if channel.opened and any(channel.subscribed.values()):
                channel.subscribed.clear()
                self._send("FEED_SUBSCRIPTION", channel.plan.number, 1, reset=True)

    def close_channel(self, number: int) -> None:
        """Ask the server to close a channel; it is opened again when something of it is wanted."""
        channel = self._channels[number]
        if channel.opened and not channel.closing:
            channel.closing = True
            self._send("CHANNEL_CANCEL", number, 1)

    def keepalive(self) -> None:
        """Send a sign of life; due at least every half of `server_patience_seconds`."""
        self._send("KEEPALIVE", 0)

    def take_outgoing(self) -> list[Outgoing]:
        """Messages to write to the socket, in order; they are forgotten here."""
        taken, self._outgoing = self._outgoing, []
        return taken

    # what comes in

    def feed(self, text: str | bytes) -> list[Columns]:
        """Read one message. Returns its events; raises a ProtocolError that names whatever is not understood."""
        if text.__class__ is bytes and len(text) >= COMPILED_BYTES_MIN:
            found = self._decoder.compiled_frame(text, self._layouts)
            if found is not None:
                return found
        try:
            message = orjson.loads(text)
        except (orjson.JSONDecodeError, UnicodeEncodeError, RecursionError) as error:
            raise FrameError(f"not JSON: {error}") from None
        try:
            kind, values = message["data"]
            layout = self._layouts[message["channel"]][kind]
            plain = message["type"] == "FEED_DATA" and values.__class__ is list
        except (KeyError, TypeError, ValueError):
            plain = False
        if plain and len(values) == layout.width:
            return [RowColumns(layout, values, self.symbols)]
        return self._read(message)

    def _read(self, message: object) -> list[Columns]:
        """Any message; the commonest kind, one event, has been read already when it was well-formed."""
        if not isinstance(message, dict):
            raise FrameError(f"a message is an object, this is {type(message).__name__}")
        kind = message.get("type")
        if kind == "FEED_DATA":
            return self._data(message.get("channel", self._first), message.get("data"))
        if not isinstance(kind, str):
            raise FrameError(f"a message names its type as text, this one {kind!r:.60}")
        self._control(kind, message)
        return []

    def _control(self, kind: str, message: Mapping[str, Any]) -> None:
        if kind == "SETUP":
            patience = message.get("keepaliveTimeout")
            if isinstance(patience, int | float) and 1 <= patience <= 3600:
                self.server_patience_seconds = float(patience)
        elif kind == "AUTH_STATE":
            self._authorization(message.get("state"))
        elif kind == "CHANNEL_OPENED":
            self._opened(self._channel(message))
        elif kind == "CHANNEL_CLOSED":
            self._closed(self._channel(message))
        elif kind == "FEED_CONFIG":
            self._configure(self._channel(message), message.get("eventFields"))
        elif kind == "ERROR":
            number = message.get("channel", 0)
            raise ServerError(
                str(message.get("error"))[:60],
                str(message.get("message"))[:300],
                number if isinstance(number, int) else 0,
            )
        elif kind != "KEEPALIVE":
            self._count(kind)

    def _channel(self, message: Mapping[str, Any]) -> _Open:
        number = message.get("channel", self._first)
        channel = self._channels.get(number) if number.__class__ is int else None
        if channel is None:
            raise FrameError(f"{message.get('type')} names channel {number!r:.40}, which was not asked for")
        return channel

    def _authorization(self, state: object) -> None:
        if state == "AUTHORIZED":
            if self.state in (State.CONNECTING, State.AUTHORIZING):
                self.state = State.OPENING
                for number in self.plans:
                    if number == self._first or any(self._number(kind) == number for kind in self.wanted.types()):
                        self._request(self._channels[number])
        elif state != "UNAUTHORIZED":
            raise FrameError(f"AUTH_STATE is neither AUTHORIZED nor UNAUTHORIZED but {state!r:.60}")
        elif self.state is State.CONNECTING:
            self.state = State.AUTHORIZING
            self._send("AUTH", 0, token=self.token)
        else:
            raise TokenRefusedError("the token was refused: ask the broker for a new one")

    def _request(self, channel: _Open) -> None:
        if not channel.requested:
            channel.requested = True
            contract = channel.plan.contract.value
            self._send("CHANNEL_REQUEST", channel.plan.number, service="FEED", parameters={"contract": contract})

    def _opened(self, channel: _Open) -> None:
        channel.opened, channel.closing = True, False
        if channel.plan.number == self._first:
            self.state = State.STREAMING
        self._set_up(channel)
        for event_type in self.wanted.types():
            if self._number(event_type) == channel.plan.number:
                self._reconcile(event_type)

    def _closed(self, channel: _Open) -> None:
        if not channel.closing:
            raise ProtocolError(f"the server closed channel {channel.plan.number}")
        number = channel.plan.number
        fresh = self._channels[number] = _Open(channel.plan)
        if any(self._number(event_type) == number for event_type in self.wanted.types()):
            self._request(fresh)

    def _set_up(self, channel: _Open) -> None:
        """Say what is accepted; again when a further event type is wanted."""
        number = channel.plan.number
        types = frozenset(kind for kind in self.wanted.types() if self._number(kind) == number) | (
            channel.set_up or frozenset()
        )
        if types == channel.set_up:
            return
        channel.set_up = types
        accepted = {kind: list(names) for kind, names in self.fields.items() if kind in types}
        self._send(
            "FEED_SETUP",
            number,
            acceptAggregationPeriod=channel.plan.aggregation_seconds,
            acceptDataFormat="COMPACT",
            **({"acceptEventFields": accepted} if accepted else {}),
        )

    def _configure(self, channel: _Open, fields: object) -> None:
        if fields is None:
            return
        if not isinstance(fields, dict) or not all(isinstance(names, list) for names in fields.values()):
            raise FrameError("FEED_CONFIG.eventFields is not a table of lists")
        layouts: dict[str, Layout] = {}
        for event_type, names in fields.items():
            if not all(isinstance(name, str) for name in names):
                raise FrameError(f"FEED_CONFIG.eventFields.{event_type[:40]} names a field that is not text")
            if event_type in EVENT_FIELDS:
                layouts[event_type] = Layout(event_type, names, channel.plan.number, self.fields.get(event_type, ()))
            else:
                self._count(event_type)
        self._layouts[channel.plan.number].update(layouts)
        self._decoder.forget()

    def _data(self, number: object, data: object) -> list[Columns]:
        layouts = self._layouts.get(number) if number.__class__ is int else None
        if layouts is None:
            raise FrameError(f"FEED_DATA names channel {number!r:.40}, which was not asked for")
        if data.__class__ is not list:
            raise FrameError("FEED_DATA carries no list")
        if data and data[0].__class__ is dict:
            return self._full(layouts, data)
        return self._compact(layouts, data)

    def _compact(self, layouts: Mapping[str, Layout], data: list[Any]) -> list[Columns]:
        if len(data) % 2:
            raise FrameError("COMPACT data is pairs of type and values")
        found = []
        for index in range(0, len(data), 2):
            kind, values = data[index], data[index + 1]
            if kind.__class__ is list and kind:
                kind = kind[0]  # the older form: type and fields in one list
            if kind.__class__ is not str or values.__class__ is not list:
                raise FrameError("COMPACT data is pairs of a type's name and a list of values")
            layout = layouts.get(kind)
            if layout is None:
                self._count(kind)
            elif values:
                found.append(self._decoder.compact(layout, values))
        return found

    def _full(self, layouts: Mapping[str, Layout], rows: list[Any]) -> list[Columns]:
        flat: dict[str, list[Any]] = {}
        for each in rows:
            kind = each.get("eventType") if isinstance(each, dict) else None
            if not isinstance(kind, str):
                raise FrameError("FULL data is a list of objects that name their eventType")
            if kind in layouts:
                flat.setdefault(kind, []).extend(each.get(name) for name in layouts[kind].names)
            else:
                self._count(kind)
        return [self._decoder.compact(layouts[kind], values) for kind, values in flat.items()]

    # what goes out

    def _known(self, event_type: str) -> None:
        if event_type not in self.fields:
            raise KeyError(f"event type {event_type!r} is not one of {', '.join(self.fields)}")

    def _number(self, event_type: str) -> int:
        """The channel that carries an event type."""
        for number, plan in self.plans.items():
            if event_type in plan.event_types:
                return number
        return next((number for number, plan in self.plans.items() if not plan.event_types), self._first)

    def _reconcile(self, event_type: str) -> None:
        """Send the difference between what is wanted and what is subscribed."""
        wanted = self.wanted.of(event_type)
        self.symbols.add(symbol for symbol, _ in wanted)
        channel = self._channels[self._number(event_type)]
        if not channel.opened or channel.closing:
            if self.state in (State.OPENING, State.STREAMING) and wanted:
                self._request(channel)
            return
        self._set_up(channel)
        have = channel.subscribed.get(event_type, {})
        gone = [row(event_type, key, None) for key in have if key not in wanted]
        new = [row(event_type, key, at) for key, at in wanted.items() if key not in have or have[key] != at]
        channel.subscribed[event_type] = dict(wanted)
        for verb, rows in (("remove", gone), ("add", new)):
            step = self.wanted.limits.symbols_per_message
            for start in range(0, len(rows), step):
                part = rows[start : start + step]
                self._send("FEED_SUBSCRIPTION", channel.plan.number, len(part), **{verb: part})

    def _count(self, name: str) -> None:
        self.unknown[name[:60] if len(self.unknown) < UNKNOWN_MAX or name[:60] in self.unknown else "others"] += 1

    def _send(self, kind: str, channel: int, changes: int = 0, /, **rest: Any) -> None:
        text = orjson.dumps({"type": kind, "channel": channel, **rest}).decode()
        self._outgoing.append(Outgoing(text, changes))
