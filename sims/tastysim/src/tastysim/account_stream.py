"""The account stream, server side: who listens to what, and what is pushed to whom.

Every message carries a token. `connect` comes first; an error is answered and the connection lives. A client that sends
heartbeats and stops is closed after a minute; one that never sent any is judged by the pings of its websocket.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import orjson
from fastapi import WebSocketDisconnect

from tastysim.dxlink_server import Socket

SILENCE_SECONDS = 60.0
WAITING_MAX = 1_000
"""Notifications that wait for a slow client; more end its connection, since a gap must not go unnoticed."""
_ACCOUNTS = ("connect", "account-subscribe")
_TOPICS = {
    "quote-alerts-subscribe": "QuoteAlert",
    "public-watchlists-subscribe": "PublicWatchlists",
    "user-message-subscribe": "UserMessage",
}
"""Action → the notifications it asks for; the others belong to an account."""
_LOOKS_PER_PATIENCE = 10


@dataclass(eq=False, slots=True)
class _Listener:
    """One connection: what it listens to, and what waits to be sent."""

    session: str = field(default_factory=lambda: secrets.token_hex(4))
    accounts: set[str] = field(default_factory=set)
    topics: set[str] = field(default_factory=set)
    waiting: asyncio.Queue[bytes] = field(default_factory=lambda: asyncio.Queue(WAITING_MAX))
    beats: bool = False
    heard: float = field(default_factory=time.monotonic)
    lagging: asyncio.Event = field(default_factory=asyncio.Event)

    def wants(self, kind: str, account: object) -> bool:
        """Whether a notification is for this client."""
        return kind in self.topics or (kind not in _TOPICS.values() and account in self.accounts)


class AccountStream:
    """All account-stream connections; pushes in the broker's shapes.

    valid: whether an access token may listen. knows: whether an account exists.
    """

    def __init__(
        self,
        valid: Callable[[str], bool],
        knows: Callable[[str], bool],
        *,
        silence_seconds: float = SILENCE_SECONDS,
    ) -> None:
        self._valid, self._knows, self._silence_seconds = valid, knows, silence_seconds
        self._listeners: set[_Listener] = set()

    def push(self, kind: str, data: dict[str, Any]) -> None:
        """Send a notification to everyone who asked for it: encoded once."""
        account, text = data.get("account-number"), b""
        for listener in self._listeners:
            if not listener.wants(kind, account):
                continue
            text = text or orjson.dumps({"type": kind, "data": data, "timestamp": int(time.time() * 1000)})
            try:
                listener.waiting.put_nowait(text)
            except asyncio.QueueFull:
                listener.lagging.set()

    async def serve(self, socket: Socket) -> None:
        """Speak with one client until it leaves."""
        await socket.accept()
        listener = _Listener()
        works = (self._read(socket, listener), self._send(socket, listener), self._watch(socket, listener))
        tasks = [asyncio.create_task(work) for work in works]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._listeners.discard(listener)
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        for each in ended:
            if isinstance(each, Exception) and not isinstance(each, WebSocketDisconnect | RuntimeError | OSError):
                raise each

    async def _read(self, socket: Socket, listener: _Listener) -> None:
        while True:
            try:
                text: object = await socket.receive_text()
            except KeyError:
                text = None
            listener.heard = time.monotonic()
            await socket.send_text(orjson.dumps(self.answer(text, listener)).decode())

    def answer(self, text: object, listener: _Listener) -> dict[str, Any]:
        """The reply to one message. `text`: anything a socket gave."""
        message = _decoded(text)
        if message is None:
            return {"status": "error", "web-socket-session-id": listener.session, "message": "invalid message"}
        action, value, number = message.get("action"), message.get("value"), message.get("request-id")
        action = action if isinstance(action, str) else ""
        reply: dict[str, Any] = {"action": action[:60], "web-socket-session-id": listener.session}
        if isinstance(number, int | str):
            reply["request-id"] = number
        token = message.get("auth-token")
        if not isinstance(token, str) or not self._valid(token.removeprefix("Bearer ")):
            return reply | {"status": "error", "message": "failed"}
        if action in _ACCOUNTS:
            return reply | self._connect(value, listener)
        if listener not in self._listeners:
            return reply | {"status": "error", "message": "connect-not-completed"}
        if action in _TOPICS:
            listener.topics.add(_TOPICS[action])
        elif action == "heartbeat":
            listener.beats = True
        else:
            return reply | {"status": "error", "message": "not implemented"}
        return reply | {"status": "ok"}

    def _connect(self, value: object, listener: _Listener) -> dict[str, Any]:
        named = [value] if isinstance(value, str) else value
        if not isinstance(named, list) or not named:
            return {"status": "error", "message": "failed"}
        numbers = {each for each in named if isinstance(each, str)}
        if len(numbers) != len(named) or not all(self._knows(number) for number in numbers):
            return {"status": "error", "message": "failed"}
        listener.accounts |= numbers
        self._listeners.add(listener)
        return {"status": "ok", "value": value}

    async def _send(self, socket: Socket, listener: _Listener) -> None:
        while True:
            await socket.send_text((await listener.waiting.get()).decode())

    async def _watch(self, socket: Socket, listener: _Listener) -> None:
        """Close a connection that fell silent, or that reads too slowly to be told everything."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._silence_seconds / _LOOKS_PER_PATIENCE):
                    await listener.lagging.wait()
            if listener.lagging.is_set():
                await socket.close(1008, "too slow: notifications were lost")
                return
            if listener.beats and time.monotonic() - listener.heard > self._silence_seconds:
                await socket.close(1001, "no heartbeat")
                return


def _decoded(text: object) -> dict[str, Any] | None:
    """The object of a message; None when it is none."""
    if not isinstance(text, str):
        return None
    try:
        found = orjson.loads(text)
    except (orjson.JSONDecodeError, UnicodeEncodeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
