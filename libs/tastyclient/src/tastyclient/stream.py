"""The websocket loop around the DXLink machine: reconnects with back-off and replays what is wanted."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

import websockets

from tastyclient.dxlink import KEEPALIVE_SECONDS, Columns, DXLink, ProtocolError
from tastyclient.errors import BrokerError

STALL_SECONDS = 30.0
BACK_OFF_SECONDS_MAX = 30.0


@dataclass(slots=True)
class Statistics:
    """What happened since the start."""

    frames: int = 0
    events: int = 0
    reconnects: int = 0
    last_message: float | None = None
    """Monotonic seconds."""


class MarketStream:
    """Streams market data for ever. `token` is asked for the token and the address before each connection.

    on_columns is called with the events of a frame and the receive time in epoch nanoseconds; on_status with whether
    the stream runs and why not. Neither may block.
    """

    def __init__(
        self,
        token: Callable[[], Awaitable[tuple[str, str]]],
        on_columns: Callable[[Columns, int], None],
        on_status: Callable[[bool, str], None],
        *,
        stall_seconds: float = STALL_SECONDS,
        back_off_seconds: float = 0.5,
    ) -> None:
        self.statistics = Statistics()
        self._token = token
        self._on_columns = on_columns
        self._on_status = on_status
        self._stall_seconds = stall_seconds
        self._back_off_seconds = back_off_seconds
        self._machine = DXLink("")
        self._wake = asyncio.Event()

    def want(self, event_type: str, symbols: Iterable[str]) -> None:
        """State the desired symbols of an event type; takes effect at once and survives every reconnect."""
        self._machine.want(event_type, symbols)
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
            except (OSError, websockets.WebSocketException, ProtocolError, BrokerError, TimeoutError) as error:
                reason = f"{type(error).__name__}: {error}"
            self._on_status(False, reason)
            self.statistics.reconnects += 1
            failures = 0 if time.monotonic() - began > self._stall_seconds else failures + 1
            longest = min(BACK_OFF_SECONDS_MAX, self._back_off_seconds * 2 ** min(failures, 10))
            await asyncio.sleep(random.uniform(longest / 2, longest))

    async def _connection(self, token: str, address: str) -> None:
        async with websockets.connect(address, max_size=2**24, compression=None, ping_interval=None) as socket:
            self._machine.restart(token)
            sending = asyncio.create_task(self._send(socket))
            try:
                streaming = False
                while True:
                    text = await asyncio.wait_for(socket.recv(), self._stall_seconds)
                    received = time.time_ns()
                    self.statistics.frames += 1
                    self.statistics.last_message = time.monotonic()
                    for columns in self._machine.feed(text):
                        self.statistics.events += len(columns)
                        self._on_columns(columns, received)
                        if not streaming:
                            streaming = True
                            self._on_status(True, "")
                    self._wake.set()
                    if sending.done():
                        sending.result()
            finally:
                sending.cancel()

    async def _send(self, socket: websockets.ClientConnection) -> None:
        due = time.monotonic() + KEEPALIVE_SECONDS / 3
        self._wake.set()
        while True:
            try:
                await asyncio.wait_for(self._wake.wait(), max(0.01, due - time.monotonic()))
            except TimeoutError:
                self._machine.keepalive()
                due = time.monotonic() + KEEPALIVE_SECONDS / 3
            self._wake.clear()
            for message in self._machine.take_outgoing():
                await socket.send(message)
