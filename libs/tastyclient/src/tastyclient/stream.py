"""The websocket loop around the DXLink machine: reconnects with back-off, replays what is wanted, notes silence."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import websockets

from tastyclient.dxlink import CHANNELS, KEEPALIVE_SECONDS, Channel, DXLink, Outgoing, State
from tastyclient.dxlink_compiled import CompiledReader
from tastyclient.dxlink_errors import ProtocolError
from tastyclient.dxlink_subscriptions import NO_LIMITS, Limits
from tastyclient.errors import BrokerError
from tastyclient.events import Columns

STALL_SECONDS = 75.0
"""Longer silence ends a connection: the server owes a sign of life every 60 s. A dead line shows sooner, by pings."""
PING_SECONDS = 10.0
HANDSHAKE_SECONDS = 10.0
BACK_OFF_SECONDS_MAX = 30.0
TOKEN_SECONDS = 23.5 * 3600
"""A quote token lives 24 hours."""
BAD_FRAMES_MAX = 20
"""So many unreadable messages in a row end a connection."""
PACE_SECONDS = 61.0
"""A minute of subscription changes, and a second for what travels late."""
COMPILE_AFTER_EVENTS = 10_000_000
"""The compiled reader is loaded once a feed has cost as much as loading does: a quiet feed never pays for it."""


@dataclass(slots=True)
class Statistics:
    """What happened since the start."""

    frames: int = 0
    events: int = 0
    bad_frames: int = 0
    """Messages that could not be read, and errors the server reported without ending the connection."""
    last_bad: str = ""
    """What the newest of them was."""
    reconnects: int = 0
    renewals: int = 0
    """Reconnects for a new token."""
    last_message: float | None = None
    """Monotonic seconds."""


class MarketStream:
    """Streams market data for ever. `token` is asked for the token and the address before each connection.

    on_columns is called with the events of a frame and the receive time in epoch nanoseconds; on_status with True once
    the channel is open and what is wanted is being asked for, with False and the reason when the connection ends.
    Neither may block; a slow reader puts a `ConflatingQueue` between. `compile_after_events`: load the compiled reader
    in the background after so many events (None = never, 0 = at once).
    """

    def __init__(
        self,
        token: Callable[[], Awaitable[tuple[str, str]]],
        on_columns: Callable[[Columns, int], None],
        on_status: Callable[[bool, str], None],
        *,
        fields: Mapping[str, tuple[str, ...]] | None = None,
        channels: Iterable[Channel] = CHANNELS,
        limits: Limits = NO_LIMITS,
        stall_seconds: float = STALL_SECONDS,
        back_off_seconds: float = 0.5,
        token_seconds: float = TOKEN_SECONDS,
        handshake_seconds: float = HANDSHAKE_SECONDS,
        keepalive_seconds: int = KEEPALIVE_SECONDS,
        compile_after_events: int | None = COMPILE_AFTER_EVENTS,
    ) -> None:
        self.statistics = Statistics()
        self._token = token
        self._on_columns = on_columns
        self._on_status = on_status
        self._stall_seconds = stall_seconds
        self._back_off_seconds = back_off_seconds
        self._token_seconds = token_seconds
        self._handshake_seconds = handshake_seconds
        self._compile_after_events = compile_after_events
        self._compiled = CompiledReader()
        self.machine = DXLink(
            "", fields=fields, channels=channels, limits=limits, compiled=self._compiled,
            keepalive_seconds=keepalive_seconds,
        )  # fmt: skip
        self._pace = _Pace(limits.changes_per_minute)
        self._wake = asyncio.Event()
        self._ready = False
        self._bad_in_a_row = 0

    @property
    def symbols(self) -> list[str]:
        """Names of the numbers in `Columns.ids`; grows, and never changes what it holds."""
        return self.machine.symbols.names

    def want(
        self, event_type: str, symbols: Iterable[str], *, source: str | None = None, from_time: int | None = None
    ) -> None:
        """State the desired symbols of an event type; takes effect at once and survives every reconnect.

        Errors as of `DXLink.want`.
        """
        self.machine.want(event_type, symbols, source=source, from_time=from_time)
        self._wake.set()

    def add(
        self, event_type: str, symbols: Iterable[str], *, source: str | None = None, from_time: int | None = None
    ) -> None:
        """Want these too. Errors as of `DXLink.want`."""
        self.machine.add(event_type, symbols, source=source, from_time=from_time)
        self._wake.set()

    def remove(self, event_type: str, symbols: Iterable[str], *, source: str | None = None) -> None:
        """Want these no more."""
        self.machine.remove(event_type, symbols, source=source)
        self._wake.set()

    def reset(self) -> None:
        """Want nothing."""
        self.machine.reset()
        self._wake.set()

    async def run(self) -> None:
        """Connect, stream, and connect again whatever happened; ends only by cancellation."""
        failures = 0
        while True:
            began = time.monotonic()
            try:
                token, address = await self._token()
                await self._connection(token, address)
                reason = "the server closed the connection"
            except _RenewalDue:
                self.statistics.renewals += 1
                self._on_status(False, "the token is renewed")
                continue
            except (OSError, websockets.WebSocketException, ProtocolError, BrokerError, TimeoutError) as error:
                reason = f"{type(error).__name__}: {error}"
            self._on_status(False, reason)
            self.statistics.reconnects += 1
            failures = 0 if time.monotonic() - began > self._stall_seconds else failures + 1
            longest = min(BACK_OFF_SECONDS_MAX, self._back_off_seconds * 2 ** min(failures, 10))
            await asyncio.sleep(random.uniform(longest / 2, longest))

    async def _connection(self, token: str, address: str) -> None:
        async with websockets.connect(
            address,
            proxy=None,
            max_size=2**24,
            compression=None,
            open_timeout=HANDSHAKE_SECONDS,
            ping_interval=PING_SECONDS,
            ping_timeout=2 * PING_SECONDS,
            close_timeout=1,
        ) as socket:
            began = time.monotonic()
            self.machine.restart(token)
            self._ready, self._bad_in_a_row = False, 0
            sending = asyncio.create_task(self._send(socket))
            try:
                while True:
                    self._take(await self._next(socket, began))
                    if sending.done():
                        sending.result()
            finally:
                sending.cancel()

    async def _next(self, socket: websockets.ClientConnection, began: float) -> bytes:
        """The next message. TimeoutError when handshake or silence last too long, _RenewalDue for the token."""
        now = time.monotonic()
        token_left = began + self._token_seconds - now
        patience = self._stall_seconds if self._ready else began + self._handshake_seconds - now
        if token_left <= 0 and self._ready:
            raise _RenewalDue
        try:
            async with asyncio.timeout(min(patience, token_left) if self._ready else patience):
                return await socket.recv(decode=False)
        except TimeoutError:
            if self._ready and token_left < patience:
                raise _RenewalDue from None
            if self._ready:
                raise TimeoutError(f"the server was silent for {patience:g} s") from None
            raise TimeoutError(f"the server was not ready to stream after {self._handshake_seconds:g} s") from None

    def _take(self, text: bytes) -> None:
        received, statistics = time.time_ns(), self.statistics
        statistics.frames += 1
        statistics.last_message = time.monotonic()
        try:
            found = self.machine.feed(text)
        except ProtocolError as error:
            self._bad_in_a_row += 1
            if error.fatal or self._bad_in_a_row > BAD_FRAMES_MAX:
                raise
            statistics.bad_frames += 1
            statistics.last_bad = str(error)
            return
        self._bad_in_a_row = 0
        if not found:
            self._wake.set()
        if not self._ready and self.machine.state is State.STREAMING:
            self._ready = True
            self._on_status(True, "")
        for columns in found:
            statistics.events += len(columns)
            self._on_columns(columns, received)
        if self._compile_after_events is not None and statistics.events >= self._compile_after_events:
            self._compiled.load_in_background()
            self._compile_after_events = None

    async def _send(self, socket: websockets.ClientConnection) -> None:
        """Write what the machine wants to say, signs of life, and changes no faster than the server allows."""
        changes: deque[Outgoing] = deque()
        due = time.monotonic()
        while True:
            self._wake.clear()
            now = time.monotonic()
            if now >= due and self.machine.state is not State.CONNECTING:
                self.machine.keepalive()
                due = now + self.machine.server_patience_seconds / 3
            for message in self.machine.take_outgoing():
                if message.changes:
                    changes.append(message)
                else:
                    await socket.send(message.text)
            pause = 0.0
            while changes and not (pause := self._pace.wait_seconds(changes[0].changes)):
                await socket.send(changes.popleft().text)
            rest = due - time.monotonic()
            until = min(rest if rest > 0 else 1.0, pause or 3600.0)
            with suppress(TimeoutError):
                async with asyncio.timeout(max(until, 0.01)):
                    await self._wake.wait()


class _RenewalDue(Exception):
    """The token ends soon."""


class _Pace:
    """Subscription changes a minute: never more than that in any minute, however the server counts them."""

    def __init__(self, per_minute: int | None) -> None:
        self._per_minute = per_minute
        self._sent: deque[tuple[float, int]] = deque()

    def wait_seconds(self, changes: int) -> float:
        """0 and the changes are counted, or how long to wait first."""
        if self._per_minute is None or not changes:
            return 0.0
        now = time.monotonic()
        while self._sent and self._sent[0][0] <= now - PACE_SECONDS:
            self._sent.popleft()
        if not self._sent or sum(count for _, count in self._sent) + changes <= self._per_minute:
            self._sent.append((now, changes))
            return 0.0
        return self._sent[0][0] + PACE_SECONDS - now
