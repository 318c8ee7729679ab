"""The account stream: orders, positions and balances as the broker pushes them; reconnects by itself.

The stream pushes and never repeats: whatever was missed is missed. Every gap (a new connection, a heartbeat that was
not answered, a notification that could not be read, a process that slept) therefore demands that everything is read
over REST again, and the stream calls itself live only after that.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import websockets
from pydantic import ValidationError

from tastyclient.errors import BrokerError
from tastyclient.models import Balance, PlacedComplexOrder, PlacedOrder, Position, TradingStatus

HEARTBEAT_SECONDS, SILENCE_SECONDS, BACK_OFF_SECONDS_MAX = 10.0, 35.0, 30.0
"""The server takes heartbeats between 2 and 60 s apart."""
HANDSHAKE_SECONDS = PING_SECONDS = 10.0
HELD_MAX = 10_000
"""Notifications kept while everything is read again; more are a gap of their own."""
UNKNOWN_MAX = 100

Notification = PlacedOrder | PlacedComplexOrder | Position | Balance | TradingStatus
_MODELS: dict[
    str, type[PlacedOrder] | type[PlacedComplexOrder] | type[Position] | type[Balance] | type[TradingStatus]
] = {
    "Order": PlacedOrder,
    "ComplexOrder": PlacedComplexOrder,
    "CurrentPosition": Position,
    "AccountBalance": Balance,
    "TradingStatus": TradingStatus,
}


class StreamRefusedError(ValueError):
    """The server refused to connect the accounts, or sent something that cannot be read."""


class GapError(ValueError):
    """Notifications may have been missed: the connection is made anew."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The server's answer to an action of ours."""

    action: str
    ok: bool
    message: str
    request_id: int | None


@dataclass(frozen=True, slots=True)
class Other:
    """A notification of a type that has no model here, as the broker sent it."""

    kind: str
    data: object


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A notification of a known type whose content does not fit: something happened, and what is not known."""

    kind: str
    reason: str


def parse(text: str | bytes) -> list[Notification | Reply | Other | Unreadable]:
    """Everything one message says. StreamRefusedError when it is not a JSON object."""
    try:
        message = orjson.loads(text)
    except (orjson.JSONDecodeError, UnicodeEncodeError, RecursionError) as error:
        raise StreamRefusedError(f"not JSON: {error}") from None
    if not isinstance(message, dict):
        raise StreamRefusedError(f"a message is an object, this is {type(message).__name__}")
    results = message.get("results")
    return [_read(each) for each in (results if isinstance(results, list) else [message])]


def _read(message: object) -> Notification | Reply | Other | Unreadable:
    if not isinstance(message, dict):
        return Other("", message)
    kind = message.get("type")
    if kind is None and ("action" in message or "status" in message):
        number = message.get("request-id")
        return Reply(
            str(message.get("action", ""))[:60],
            message.get("status") != "error",
            str(message.get("message", ""))[:300],
            number if isinstance(number, int) else None,
        )
    model = _MODELS.get(kind) if isinstance(kind, str) else None
    if model is None:
        return Other(str(kind)[:60], message.get("data"))
    try:
        return model.model_validate(message.get("data"))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return Unreadable(str(kind), f"{model.__name__}.{where}: {first['msg']}")


@dataclass(slots=True)
class AccountStream:
    """Notifications of some accounts for ever. No callback may block.

    With `resync`: after every gap it is awaited while notifications are held back; when it returns, they are delivered
    in order, and only then on_status(True, "") says that the stream is live. When it raises, or another gap opens
    meanwhile, it is asked again; on_status(False, reason) has told why. Reading twice does no harm to a reader that
    knows fills by their identity.

    Without `resync`: on_status(True, "") comes as soon as the accounts are connected, once for each gap, and whoever
    listens must then read everything over REST before it opens anything.
    """

    address: str
    accounts: Sequence[str]
    token: Callable[[], Awaitable[str]]
    """Asked before every message we send: each must carry a token that is still good."""
    on_notification: Callable[[Notification], None]
    on_status: Callable[[bool, str], None]
    back_off_seconds: float = 0.5
    last_message: float | None = None
    """Monotonic seconds of the newest message, heartbeat answers included."""
    resync: Callable[[], Awaitable[None]] | None = None
    on_other: Callable[[Other], None] | None = None
    """Notifications without a model here (external transactions, order chains, alerts, …)."""
    on_refused: Callable[[str], None] | None = None
    """Told the token that the server refused, so that the next one is new (`TastyClient.forget_access_token`)."""
    heartbeat_seconds: float = HEARTBEAT_SECONDS
    live: bool = False
    gaps: int = 0
    reconnects: int = 0
    unknown: Counter[str] = field(default_factory=Counter)
    """Notifications without a model, by type."""
    unreadable: int = 0
    _held: list[Notification] | None = None
    _resyncing: asyncio.Task[None] | None = None
    _again: bool = False
    _request: int = 0
    _said: str = ""
    """The token of the newest message."""
    _unanswered: dict[int, float] = field(default_factory=dict)
    _fault: Exception | None = None

    async def run(self) -> None:
        """Connect, listen, and connect again whatever happened; ends only by cancellation."""
        failures = 0
        while True:
            began, self._fault = time.monotonic(), None
            try:
                await self._connection()
                reason = "the server closed the connection"
            except (
                OSError,
                websockets.WebSocketException,
                BrokerError,
                TimeoutError,
                StreamRefusedError,
                GapError,
            ) as error:
                reason = self._told(error)
            self.live = False
            self.on_status(False, reason)
            self.reconnects += 1
            failures = 0 if time.monotonic() - began > SILENCE_SECONDS else failures + 1
            longest = min(BACK_OFF_SECONDS_MAX, self.back_off_seconds * 2 ** min(failures, 8))
            await asyncio.sleep(random.uniform(longest / 2, longest))

    def _told(self, error: Exception) -> str:
        """Why the connection ended: what our own side found comes before the socket's view of it."""
        cause = self._fault or error
        return f"{type(cause).__name__}: {cause}"

    async def _connection(self) -> None:
        async with websockets.connect(
            self.address,
            proxy=None,  # as for requests: the environment has no say in where orders are heard of
            compression=None,
            max_size=2**22,
            close_timeout=1,
            ping_interval=PING_SECONDS,
            ping_timeout=2 * PING_SECONDS,
        ) as socket:
            self._held, self._again = [], False
            self._unanswered.clear()
            await self._say(socket, "connect", list(self.accounts))
            beating = asyncio.create_task(self._beat(socket))
            try:
                silence = min(HANDSHAKE_SECONDS, SILENCE_SECONDS)
                connected = False
                while True:
                    try:
                        async with asyncio.timeout(silence):
                            message = await socket.recv(decode=False)
                    except TimeoutError:
                        raise GapError(f"the server was silent for {silence:g} s") from None
                    self.last_message = time.monotonic()
                    if self._resyncing is not None and self._resyncing.done():
                        self._resyncing.result()  # what the caller's own code raised ends the stream
                    for each in parse(message):
                        if isinstance(each, Reply) and each.action == "connect" and each.ok and not connected:
                            connected, silence = True, SILENCE_SECONDS
                            self._gap("connected")
                        else:
                            self._take(each)
            finally:
                beating.cancel()
                if self._resyncing is not None:
                    self._resyncing.cancel()
                    self._resyncing = None

    def _take(self, each: Notification | Reply | Other | Unreadable) -> None:
        if isinstance(each, Reply):
            if each.request_id is not None:
                self._unanswered.pop(each.request_id, None)
            elif each.action == "heartbeat":
                self._unanswered.clear()
            if not each.ok and each.action in ("connect", "heartbeat"):
                if self.on_refused is not None:
                    self.on_refused(self._said)
                raise StreamRefusedError(f"{each.action}: {each.message}")
        elif isinstance(each, Other):
            self.unknown[each.kind if len(self.unknown) < UNKNOWN_MAX or each.kind in self.unknown else "others"] += 1
            if self.on_other is not None and each.kind:
                self.on_other(each)
        elif isinstance(each, Unreadable):
            self.unreadable += 1
            self._gap(f"a notification {each.kind} cannot be read: {each.reason}")
        elif self._held is None:
            self.on_notification(each)
        elif len(self._held) < HELD_MAX:
            self._held.append(each)
        else:
            self._held.clear()
            self._gap(f"more than {HELD_MAX} notifications while everything is read again")

    def _gap(self, reason: str) -> None:
        """Something may have been missed: nothing is live until everything was read again."""
        self.gaps += 1
        was_live, self.live = self.live, False
        if was_live:
            self.on_status(False, reason)
        if self.resync is None:
            self._deliver()
            self.live = True
            self.on_status(True, "")
            return
        if self._held is None:
            self._held = []
        self._again = True
        if self._resyncing is None:
            self._resyncing = asyncio.create_task(self._catch_up(self.resync))

    async def _catch_up(self, resync: Callable[[], Awaitable[None]]) -> None:
        failures = 0
        while self._again:
            self._again = False
            try:
                await resync()
            except (BrokerError, OSError, TimeoutError, ValueError) as error:
                self._again = True
                failures += 1
                self.on_status(False, f"not read again: {type(error).__name__}: {error}")
                longest = min(BACK_OFF_SECONDS_MAX, self.back_off_seconds * 2 ** min(failures, 8))
                await asyncio.sleep(random.uniform(longest / 2, longest))
        self._resyncing = None
        self._deliver()
        self.live = True
        self.on_status(True, "")

    def _deliver(self) -> None:
        held, self._held = self._held or [], None
        for notification in held:
            self.on_notification(notification)

    async def _beat(self, socket: websockets.ClientConnection) -> None:
        """Heartbeats; ends the connection when one stays unanswered or this process slept through several."""
        try:
            while True:
                before = time.monotonic()
                await asyncio.sleep(self.heartbeat_seconds)
                now = time.monotonic()
                if now - before > self.heartbeat_seconds + SILENCE_SECONDS:
                    raise GapError(f"this process slept for {now - before:.0f} s")
                late = [now - at for at in self._unanswered.values() if now - at > 1.5 * self.heartbeat_seconds]
                if late:
                    raise GapError(f"a heartbeat of {max(late):.0f} s ago was not answered")
                await self._say(socket, "heartbeat", None)
        except (OSError, websockets.WebSocketException, BrokerError, GapError) as error:
            self._fault = error
            await socket.close()

    async def _say(self, socket: websockets.ClientConnection, action: str, value: list[str] | None) -> None:
        self._request += 1
        self._said = await self.token()
        message: dict[str, Any] = {
            "action": action,
            "auth-token": f"Bearer {self._said}",
            "request-id": self._request,
        }
        if value is not None:
            message["value"] = value
        if action == "heartbeat":
            self._unanswered[self._request] = time.monotonic()
        await socket.send(orjson.dumps(message).decode())
