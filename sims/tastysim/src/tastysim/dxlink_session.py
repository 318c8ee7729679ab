"""One DXLink connection as a state machine without I/O: a message in, answers out (DXLink AsyncAPI 1.0.2).

SETUP comes first, then AUTH, then channels on odd numbers. What cannot be read or is not allowed is answered by ERROR;
only an unsupported version, a token that is refused and silence end a connection.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from tastysim.dxlink_events import FIELDS

PATIENCE_SECONDS = 60.0
AGGREGATION_SECONDS = 0.1
AGGREGATION_SECONDS_MAX = 60.0
CHANNELS_MAX = 1_000
VERSION = "1.0-sim"
CONTRACTS = frozenset({"AUTO", "TICKER", "STREAM", "HISTORY"})
_MINUTE = 60.0
Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class FeedLimits:
    """What one user may ask for. None = no limit."""

    sessions: int | None = None
    subscriptions: int | None = None
    """Pairs of event type and symbol in one session."""
    per_type: Mapping[str, int] = field(default_factory=dict)
    changes_per_minute: int | None = None


BROKER_LIMITS = FeedLimits(
    sessions=5, subscriptions=25_000, per_type={"Candle": 100, "Order": 100, "Series": 100}, changes_per_minute=10_000
)
"""As the broker documents them."""


class Wrong(Exception):
    """A message that is answered by ERROR. `closes`: and ends the connection."""

    def __init__(self, kind: str, text: str, channel: int = 0, *, closes: bool = False) -> None:
        super().__init__(text)
        self.kind, self.text, self.channel, self.closes = kind, text, channel, closes


@dataclass(slots=True)
class Channel:
    """One feed channel: what it subscribes to and how it wants its data."""

    number: int
    contract: str = "AUTO"
    compact: bool = False
    period_seconds: float = AGGREGATION_SECONDS
    fields: dict[str, tuple[str, ...]] = field(default_factory=dict)
    announced: set[str] = field(default_factory=set)
    """Event types whose fields the client was told."""
    symbols: dict[str, dict[str, float | None]] = field(default_factory=dict)
    """Event type → symbol → from when, epoch milliseconds."""
    fresh: list[tuple[str, str]] = field(default_factory=list)
    """Subscribed since the last frame: their current value is due at once."""
    version: int = 0
    """Grows with every change of what is subscribed."""

    def names(self, kind: str) -> tuple[str, ...]:
        """The fields of an event type, in order."""
        return self.fields.get(kind) or FIELDS[kind]

    def has_snapshots(self, kind: str) -> bool:
        """Whether a new subscription begins with the past of the symbol."""
        return self.contract == "HISTORY" or (self.contract == "AUTO" and kind in ("Candle", "Series"))


class Session:
    """The protocol's side of one connection. `until` answers when a token ends (epoch seconds), None = refused."""

    def __init__(
        self, until: Callable[[str], float | None], limits: FeedLimits, sessions: Callable[[], int] = lambda: 0
    ) -> None:
        self._until, self._limits, self._sessions = until, limits, sessions
        self.channels: dict[int, Channel] = {}
        self.set_up = self.authorized = False
        self.token_ends = math.inf
        self.patience_seconds = self.client_patience_seconds = PATIENCE_SECONDS
        self.closing: str | None = None
        """Why the connection is to be closed."""
        self._changes: deque[tuple[float, int]] = deque()

    def take(self, text: object) -> list[Answer]:
        """Answers to one message. `text`: anything a socket gave."""
        try:
            return self._answer(_read(text))
        except Wrong as wrong:
            return self.refuse(wrong)

    def refuse(self, wrong: Wrong) -> list[Answer]:
        """The ERROR message of something that is not allowed."""
        if wrong.closes:
            self.closing = wrong.text
        found: list[Answer] = [{"type": "ERROR", "channel": wrong.channel, "error": wrong.kind, "message": wrong.text}]
        if wrong.kind == "UNAUTHORIZED" and wrong.closes:
            return [{"type": "AUTH_STATE", "channel": 0, "state": "UNAUTHORIZED"}, *found]
        return found

    def _answer(self, message: dict[str, Any]) -> list[Answer]:
        kind, number = message.get("type"), message.get("channel", 0)
        if not isinstance(kind, str):
            raise Wrong("INVALID_MESSAGE", "a message names its type")
        if not isinstance(number, int) or isinstance(number, bool) or number < 0:
            raise Wrong("INVALID_MESSAGE", "channel is not a whole number")
        if kind == "KEEPALIVE":
            return []
        if kind == "SETUP":
            return self._set_up(message)
        if not self.set_up:
            raise Wrong("BAD_ACTION", f"{kind[:40]} is not allowed before SETUP", number)
        if kind == "AUTH":
            return self._authorize(message.get("token"))
        if kind not in ("CHANNEL_REQUEST", "CHANNEL_CANCEL", "FEED_SETUP", "FEED_SUBSCRIPTION"):
            raise Wrong("BAD_ACTION", f"{kind[:40]} is not known or not allowed now", number)
        if not self.authorized:
            raise Wrong("UNAUTHORIZED", f"{kind} is not allowed before the token was accepted", number)
        if kind == "CHANNEL_REQUEST":
            return self._open(number, message)
        channel = self.channels.get(number)
        if channel is None:
            raise Wrong("BAD_ACTION", f"channel {number} is not open", number)
        if kind == "CHANNEL_CANCEL":
            del self.channels[number]
            return [{"type": "CHANNEL_CLOSED", "channel": number}]
        return self._configure(channel, message) if kind == "FEED_SETUP" else self._subscribe(channel, message)

    def _set_up(self, message: dict[str, Any]) -> list[Answer]:
        if self.set_up:
            raise Wrong("BAD_ACTION", "SETUP was done")
        version = message.get("version")
        if not isinstance(version, str):
            raise Wrong("INVALID_MESSAGE", "SETUP names its version")
        if not version.startswith(("0.", "1.")):
            raise Wrong("UNSUPPORTED_PROTOCOL", f"version {version[:20]} is not supported", closes=True)
        theirs = _seconds(message, "keepaliveTimeout", PATIENCE_SECONDS)
        accepted = _seconds(message, "acceptKeepaliveTimeout", PATIENCE_SECONDS)
        self.client_patience_seconds = max(1.0, theirs)
        self.patience_seconds = min(PATIENCE_SECONDS, max(1.0, accepted))
        self.set_up = True
        return [
            {
                "type": "SETUP", "channel": 0, "keepaliveTimeout": math.ceil(self.patience_seconds),
                "acceptKeepaliveTimeout": math.ceil(self.patience_seconds), "version": VERSION,
            },
            {"type": "AUTH_STATE", "channel": 0, "state": "UNAUTHORIZED"},
        ]  # fmt: skip

    def _authorize(self, token: object) -> list[Answer]:
        if not isinstance(token, str):
            raise Wrong("INVALID_MESSAGE", "AUTH carries a token")
        ends = self._until(token)
        if ends is None:
            raise Wrong("UNAUTHORIZED", "the token is unknown or has expired", closes=True)
        if self.authorized:
            self.token_ends = ends
            return []
        most = self._limits.sessions
        if most is not None and self._sessions() >= most:
            raise Wrong("UNAUTHORIZED", f"a user may have {most} sessions", closes=True)
        self.authorized, self.token_ends = True, ends
        return [{"type": "AUTH_STATE", "channel": 0, "state": "AUTHORIZED", "userId": "sim"}]

    def _open(self, number: int, message: dict[str, Any]) -> list[Answer]:
        if number % 2 == 0:
            raise Wrong("BAD_ACTION", "the protocol was violated: an even channel was requested", number)
        if number in self.channels:
            raise Wrong("BAD_ACTION", f"channel {number} is open", number)
        if len(self.channels) >= CHANNELS_MAX:
            raise Wrong("BAD_ACTION", f"a session may have {CHANNELS_MAX} channels", number)
        service, parameters = message.get("service"), message.get("parameters", {})
        if not isinstance(service, str) or not isinstance(parameters, dict):
            raise Wrong("INVALID_MESSAGE", "CHANNEL_REQUEST names a service and its parameters", number)
        if service != "FEED":
            raise Wrong("BAD_ACTION", f"service {service[:40]} is not granted", number)
        contract = parameters.get("contract", "AUTO")
        if not isinstance(contract, str) or contract not in CONTRACTS:
            raise Wrong("INVALID_MESSAGE", "contract is one of AUTO, HISTORY, STREAM, TICKER", number)
        self.channels[number] = Channel(number, contract)
        return [{
            "type": "CHANNEL_OPENED", "channel": number, "service": "FEED",
            "parameters": {"contract": contract, "subFormat": "LIST"},
        }]  # fmt: skip

    def _configure(self, channel: Channel, message: dict[str, Any]) -> list[Answer]:
        period = message.get("acceptAggregationPeriod", channel.period_seconds)
        form = message.get("acceptDataFormat", "COMPACT" if channel.compact else "FULL")
        accepted = message.get("acceptEventFields") or {}
        if not _is_number(period) or period < 0:
            raise Wrong("INVALID_MESSAGE", "acceptAggregationPeriod is not a number of seconds", channel.number)
        if form not in ("COMPACT", "FULL"):
            raise Wrong("INVALID_MESSAGE", "acceptDataFormat is COMPACT or FULL", channel.number)
        if not isinstance(accepted, dict) or not all(
            isinstance(names, list) and names and all(isinstance(name, str) for name in names)
            for names in accepted.values()
        ):
            raise Wrong("INVALID_MESSAGE", "acceptEventFields is a table of lists of names", channel.number)
        channel.compact, channel.period_seconds = form == "COMPACT", min(float(period), AGGREGATION_SECONDS_MAX)
        channel.fields |= {kind: tuple(names) for kind, names in accepted.items() if kind in FIELDS}
        channel.announced |= set(channel.fields)
        fields = {kind: list(names) for kind, names in channel.fields.items()}
        return [config(channel, fields)]

    def _subscribe(self, channel: Channel, message: dict[str, Any]) -> list[Answer]:
        added, removed = (_rows(channel, message.get(verb)) for verb in ("add", "remove"))
        if message.get("reset"):
            after: dict[str, dict[str, float | None]] = {}
        else:
            after = {kind: channel.symbols.get(kind, {}) for kind in {*channel.symbols, *(row[0] for row in added)}}
        self._within_limits(channel, after, added, removed)
        for kind, symbol, _ in removed:
            after.get(kind, {}).pop(symbol, None)
        for kind, symbol, from_time in added:
            after.setdefault(kind, {})[symbol] = from_time
            channel.fresh.append((kind, symbol))
        channel.symbols = {kind: symbols for kind, symbols in after.items() if symbols}
        channel.version += 1
        return []

    def _within_limits(
        self, channel: Channel, after: Mapping[str, Mapping[str, object]], added: list[_Row], removed: list[_Row]
    ) -> None:
        """Wrong when a session would have more than it may; nothing has changed then."""
        limits, number = self._limits, channel.number
        if limits.changes_per_minute is not None:
            now = time.monotonic()
            while self._changes and self._changes[0][0] < now - _MINUTE:
                self._changes.popleft()
            count = len(added) + len(removed)
            if sum(each for _, each in self._changes) + count > limits.changes_per_minute:
                raise Wrong("BAD_ACTION", f"more than {limits.changes_per_minute} changes in a minute", number)
            self._changes.append((now, count))
        if limits.subscriptions is None and not limits.per_type:
            return
        others = [each.symbols for each in self.channels.values() if each is not channel]
        counts: dict[str, int] = {}
        for symbols in [*others, after]:
            for kind, names in symbols.items():
                counts[kind] = counts.get(kind, 0) + len(names)
        for kind, symbol in {(kind, symbol) for kind, symbol, _ in added}:
            counts[kind] = counts.get(kind, 0) + (symbol not in after.get(kind, {}))
        gone = {(kind, symbol) for kind, symbol, _ in removed}
        for kind, symbol in gone:
            counts[kind] = counts.get(kind, 0) - (symbol in after.get(kind, {}))
        most = limits.subscriptions
        if most is not None and sum(counts.values()) > most:
            raise Wrong("BAD_ACTION", f"a session may have {most} subscriptions", number)
        for kind, allowed in limits.per_type.items():
            if counts.get(kind, 0) > allowed:
                raise Wrong("BAD_ACTION", f"a session may have {allowed} subscriptions of {kind}", number)


_Row = tuple[str, str, float | None]


def config(channel: Channel, fields: Mapping[str, list[str]]) -> Answer:
    """FEED_CONFIG: how a channel is configured, and the fields of event types."""
    found: Answer = {
        "type": "FEED_CONFIG", "channel": channel.number, "aggregationPeriod": channel.period_seconds,
        "dataFormat": "COMPACT" if channel.compact else "FULL",
    }  # fmt: skip
    return found | {"eventFields": fields} if fields else found


def _read(text: object) -> dict[str, Any]:
    if not isinstance(text, str):
        raise Wrong("INVALID_MESSAGE", "a message is text")
    try:
        message = orjson.loads(text)
    except (orjson.JSONDecodeError, UnicodeEncodeError, RecursionError):
        raise Wrong("INVALID_MESSAGE", "the message is not JSON") from None
    if not isinstance(message, dict):
        raise Wrong("INVALID_MESSAGE", "a message is an object")
    return message


def _rows(channel: Channel, rows: object) -> list[_Row]:
    """Entries of `add` or `remove`."""
    found: list[_Row] = []
    if rows is None:
        return found
    if not isinstance(rows, list):
        raise Wrong("INVALID_MESSAGE", "add and remove are lists", channel.number)
    for each in rows:
        kind, symbol, at = (
            (each.get(name) for name in ("type", "symbol", "fromTime")) if isinstance(each, dict) else (0, 0, 0)
        )
        if not isinstance(kind, str) or not isinstance(symbol, str) or not (at is None or _is_number(at)):
            raise Wrong("INVALID_MESSAGE", "a subscription names its type and symbol", channel.number)
        if symbol == "*" and channel.contract not in ("AUTO", "STREAM"):
            raise Wrong("BAD_ACTION", f"{channel.contract} has no wildcard", channel.number)
        found.append((kind, symbol, None if at is None else float(at)))
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _seconds(message: Mapping[str, Any], name: str, default: float) -> float:
    found = message.get(name, default)
    if not _is_number(found):
        raise Wrong("INVALID_MESSAGE", f"{name} is not a number of seconds")
    return float(found)
