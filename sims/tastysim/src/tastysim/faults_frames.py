"""Faults of the two streams, between a stream and its websocket: the streams themselves know nothing of them."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tastysim.faults import (
    DelayFrames,
    Disconnect,
    DropFrames,
    DuplicateFrames,
    FreezeStream,
    Occasion,
    RefuseConnection,
    RefuseQuoteToken,
    ReorderFrames,
    SkewClock,
    SlowStream,
    StaleOrders,
)
from tastysim.faults_installed import Faults
from tastysim.faults_skew import skewed

_LOOK_SECONDS = 0.02


def transport_of(send: Send) -> asyncio.Transport:
    """The connection under a `send` of uvicorn. Raises RuntimeError under another server, or behind a wrapper."""
    found: asyncio.Transport | None = getattr(getattr(send, "__self__", None), "transport", None)
    if found is None:
        raise RuntimeError("this server does not show its connections: a fault that resets one is not possible")
    return found


def reset(transport: asyncio.Transport) -> None:
    """End a connection with RST."""
    linger = struct.pack("ii", 1, 0)
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    transport.abort()


class Line:
    """One websocket connection: what passes, what does not, and when."""

    def __init__(self, faults: Faults, stream: str, receive: Receive, send: Send) -> None:
        self._faults, self.stream, self._receive, self._send = faults, stream, receive, send
        self.account: str | None = None
        """The one account that is listened to."""
        self.closed = False
        self._frozen_until = 0.0
        self._frozen_by = ""
        self._deaf = False
        """Nothing is read from the connection."""
        self._quote_token_refused = False
        self._overtaken: list[tuple[Message, int]] = []
        """Held frames, and how many are still to overtake each."""
        self._newest: dict[int, Message] = {}
        """The newest message about each order, while old ones may come again."""
        self._tasks: set[asyncio.Task[None]] = set()

    async def receive(self) -> Message:
        message = await self._receive()
        if self.stream == "account" and self.account is None:
            self.account = _connected(message)
        if self.stream == "dxlink" and self._faults.has(RefuseQuoteToken) and '"AUTH"' in (message.get("text") or ""):
            said = _decoded(message)
            if said.get("type") == "AUTH" and self._faults.strike(RefuseQuoteToken, Occasion(stream=self.stream)):
                self._quote_token_refused = True
                return {**message, "text": orjson.dumps(said | {"token": "refused"}).decode()}
        return message

    async def send(self, message: Message) -> None:
        if self.closed:
            return
        plain = message["type"] != "websocket.send" or not (
            self._faults.installed or self._overtaken or self._frozen_by or self._quote_token_refused
        )
        if plain:
            await self._send(message)
            return
        said = _decoded(message)
        occasion = _occasion(self, said)
        cut = self._faults.strike(Disconnect, occasion, when=lambda each: _is_at_frame(each.fault))
        if cut is not None:
            await self.cut(cut.code, abrupt=cut.abrupt)
            return
        if self._faults.strike(DropFrames, occasion):
            return
        freeze = self._faults.strike(FreezeStream, occasion) if not self._frozen_by else None
        if freeze is not None:
            self._freeze(freeze)
        await self._thawed()
        slow = self._faults.strike(SlowStream, occasion)
        if slow is not None:
            await asyncio.sleep(len(message.get("text") or message.get("bytes") or "") / slow.bytes_per_second)
        if self.stream == "account" and (skew := self._faults.strike(SkewClock, occasion)):
            message = {"type": "websocket.send", "text": orjson.dumps(skewed(said, skew.seconds)).decode()}
        await self._pass(message, occasion)
        if self._quote_token_refused and said.get("type") == "AUTH_STATE":
            await self.cut(1008, abrupt=False)

    async def _pass(self, message: Message, occasion: Occasion) -> None:
        """Send a frame now, later, behind others, more than once, or with an older one after it."""
        delay = self._faults.strike(DelayFrames, occasion)
        if delay is not None:
            self._spawn(self._later(message, delay.seconds))
            return
        behind = self._faults.strike(ReorderFrames, occasion)
        if behind is not None:
            self._overtaken.append((message, behind.behind))
            self._spawn(self._at_the_latest(message, behind.seconds))
            return
        copies = self._faults.strike(DuplicateFrames, occasion)
        for _ in range(1 + (copies.copies if copies else 0)):
            await self._deliver(message)
        if occasion.order_id is not None and self._faults.has(StaleOrders):
            older = self._newest.get(occasion.order_id)
            self._newest[occasion.order_id] = message
            if older is not None and self._faults.strike(StaleOrders, occasion):
                await self._deliver(older)
        held, self._overtaken = self._overtaken, []
        for each, left in held:
            if left > 1:
                self._overtaken.append((each, left - 1))
            else:
                await self._deliver(each)

    async def _deliver(self, message: Message) -> None:
        if not self.closed:
            await self._send(message)

    async def _later(self, message: Message, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._deliver(message)

    async def _at_the_latest(self, message: Message, seconds: float) -> None:
        await asyncio.sleep(seconds)
        for each in self._overtaken:
            if each[0] is message:
                self._overtaken.remove(each)
                await self._deliver(message)
                return

    def _freeze(self, fault: FreezeStream) -> None:
        self._frozen_by = self._faults.name_of(fault)
        self._frozen_until = time.monotonic() + (fault.seconds if fault.seconds is not None else 1e9)
        if not fault.pongs:
            transport_of(self._send).pause_reading()
            self._deaf = True

    async def _thawed(self) -> None:
        """Wait until nothing holds the line."""
        while self._frozen_by and not self.closed:
            if time.monotonic() >= self._frozen_until or not self._faults.is_standing(self._frozen_by):
                self._frozen_by = ""
                if self._deaf:
                    self._deaf = False
                    transport_of(self._send).resume_reading()
                return
            await asyncio.sleep(_LOOK_SECONDS)

    async def cut(self, code: int, *, abrupt: bool) -> None:
        """End the connection; what the stream still sends goes nowhere."""
        self.closed = True
        with suppress(RuntimeError):
            if abrupt:
                reset(transport_of(self._send))
            else:
                await self._send({"type": "websocket.close", "code": code, "reason": "Reconnection is required"})

    def end(self) -> None:
        """The connection is over."""
        self.closed = True
        for task in self._tasks:
            task.cancel()

    def cut_soon(self, fault: Disconnect) -> None:
        """End the connection from outside its own tasks."""
        self._spawn(self.cut(fault.code, abrupt=fault.abrupt))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(_quietly(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class FrameFaults:
    """All connections of both streams."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._lines: set[Line] = set()

    async def serve(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a connection through its line."""
        stream = "dxlink" if scope["path"].startswith("/dxlink") else "account"
        refused = self._faults.strike(RefuseConnection, Occasion(stream=stream))
        if refused is not None:
            await receive()
            await send({"type": "websocket.http.response.start", "status": refused.status, "headers": []})
            await send({"type": "websocket.http.response.body", "body": b""})
            return
        line = Line(self._faults, stream, receive, send)
        self._lines.add(line)
        try:
            await app(scope, line.receive, line.send)
        finally:
            self._lines.discard(line)
            line.end()

    def step(self) -> None:
        """End the connections that are to end now."""
        if not self._faults.has(Disconnect):
            return
        for line in [each for each in self._lines if not each.closed]:
            occasion = Occasion(account=line.account, stream=line.stream)
            cut = self._faults.strike(Disconnect, occasion, when=lambda each: not _is_at_frame(each.fault))
            if cut is not None:
                line.cut_soon(cut)


def _is_at_frame(fault: object) -> bool:
    return isinstance(fault, Disconnect) and fault.at_frame


async def _quietly(work: Coroutine[Any, Any, None]) -> None:
    with suppress(RuntimeError):  # the connection has ended meanwhile
        await work


def _decoded(message: Message) -> dict[str, Any]:
    try:
        found = orjson.loads(message.get("text") or message.get("bytes") or b"")
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _connected(message: Message) -> str | None:
    """The account that a message connects, when it is one alone."""
    if "connect" not in (message.get("text") or ""):
        return None
    said = _decoded(message)
    value = said.get("value")
    named = value if isinstance(value, list) else [value]
    alone = said.get("action") == "connect" and len(named) == 1 and isinstance(named[0], str)
    return str(named[0]) if alone else None


def _occasion(line: Line, said: dict[str, Any]) -> Occasion:
    frame, data = str(said.get("type") or said.get("action") or ""), said.get("data")
    if line.stream == "dxlink" or not isinstance(data, dict):
        return Occasion(account=line.account, stream=line.stream, frame=frame)
    order = data if frame == "Order" else {}
    return Occasion(
        account=data.get("account-number", line.account), stream=line.stream, frame=frame,
        status=str(order.get("status", "")), order_id=order.get("id"),
        external_identifier=order.get("external-identifier"),
    )  # fmt: skip
