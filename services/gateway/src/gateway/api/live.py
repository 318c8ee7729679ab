"""The WebSocket: a snapshot of each subscribed channel, then its deltas in order."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from importlib.metadata import version

import orjson
from fastapi import APIRouter, WebSocket, WebSocketDisconnect

from gateway import metrics
from gateway.auth import COOKIE, Auth
from gateway.domain import Channel, Permission, ReadModel
from gateway.handlers import Gateway, now_utc

QUEUE_MESSAGES, PING_SECONDS, SIGNED_OUT = 200, 1.0, 4401
PROTOCOL = 1


@dataclass(eq=False, slots=True)
class Reader:
    """One connection. A reader that falls behind loses its backlog and gets snapshots instead."""

    channels: set[Channel] = field(default_factory=set)
    queue: asyncio.Queue[bytes] = field(default_factory=lambda: asyncio.Queue(QUEUE_MESSAGES))
    behind: bool = False

    def offer(self, data: bytes) -> None:
        """Queue a message, or note that the reader is behind."""
        try:
            self.queue.put_nowait(data)
        except asyncio.QueueFull:
            self.behind = True


class Hub:
    """All connections; encodes each delta once."""

    def __init__(self, model: ReadModel, flush_seconds: float) -> None:
        self._model, self._flush_seconds = model, flush_seconds
        self.readers: set[Reader] = set()

    async def run(self) -> None:
        """Send what changed, gathered; and a sign of life every second."""
        since_ping = 0.0
        while True:
            await asyncio.sleep(self._flush_seconds)
            self.flush()
            since_ping += self._flush_seconds
            if since_ping >= PING_SECONDS:
                since_ping = 0.0
                ping = orjson.dumps({"type": "ping", "ts": now_utc().isoformat()})
                for reader in self.readers:
                    reader.offer(ping)

    def flush(self) -> None:
        """Turn what changed into one message a channel."""
        for channel in Channel:
            delta = self._model.take(channel)
            if delta is None:
                continue
            metrics.deltas.labels(channel.value).inc()
            data = orjson.dumps(
                {"type": "delta", "ch": channel.value, "seq": delta.seq, "put": delta.put, "del": delta.deleted}
            )
            for reader in self.readers:
                if channel in reader.channels:
                    reader.offer(data)
        for reader in self.readers:
            if reader.behind:
                self._catch_up(reader)

    def _catch_up(self, reader: Reader) -> None:
        while not reader.queue.empty():
            reader.queue.get_nowait()
        reader.behind = False
        for channel in reader.channels:
            metrics.resyncs.labels(channel.value).inc()
            reader.offer(self.snapshot(channel))

    def snapshot(self, channel: Channel) -> bytes:
        """Everything in a channel as of its last delta."""
        return orjson.dumps(
            {
                "type": "snapshot",
                "ch": channel.value,
                "seq": self._model.seq(channel),
                "items": self._model.items(channel),
            }
        )


def routes(gateway: Gateway, auth: Auth, hub: Hub) -> APIRouter:
    """The WebSocket route."""
    api = APIRouter()

    @api.websocket("/ws")
    async def ws(socket: WebSocket) -> None:
        token = socket.cookies.get(COOKIE)
        principal = auth.by_bearer(socket.headers.get("authorization", ""))
        if principal is None and token:
            principal = await auth.by_cookie(token)
        await socket.accept()
        if principal is None or not principal.may(Permission.READ) or not _same_origin(socket):
            await socket.close(SIGNED_OUT)
            return
        reader = Reader()
        reader.offer(
            orjson.dumps(
                {
                    "type": "hello",
                    "protocol": PROTOCOL,
                    "mode": gateway.settings.mode.value,
                    "username": principal.username,
                    "role": principal.role.value,
                    "version": version("tastytrades-gateway"),
                    "server_time": now_utc().isoformat(),
                }
            )
        )
        hub.readers.add(reader)
        metrics.connections.set(len(hub.readers))
        sending = asyncio.create_task(_send(socket, reader))
        try:
            while True:
                _take(orjson.loads(await socket.receive_text()), reader, hub)
        except (WebSocketDisconnect, orjson.JSONDecodeError, RuntimeError, KeyError, TypeError):
            pass
        finally:
            hub.readers.discard(reader)
            metrics.connections.set(len(hub.readers))
            sending.cancel()

    return api


def _take(message: dict[str, object], reader: Reader, hub: Hub) -> None:
    """Subscribe or resynchronise; names that are no channel are told apart from the rest."""
    kind = message.get("type")
    wanted = message["channels"] if kind == "subscribe" else [message["ch"]] if kind == "resync" else []
    for name in wanted if isinstance(wanted, list) else []:
        try:
            channel = Channel(str(name))
        except ValueError:
            reader.offer(orjson.dumps({"type": "error", "detail": f"there is no channel {name}"}))
            continue
        # pending changes go out first, so that the snapshot's number is the last one sent
        hub.flush()
        reader.channels.add(channel)
        reader.offer(hub.snapshot(channel))


async def _send(socket: WebSocket, reader: Reader) -> None:
    try:
        while True:
            await socket.send_text((await reader.queue.get()).decode())
    except (WebSocketDisconnect, RuntimeError):
        return


def _same_origin(socket: WebSocket) -> bool:
    """Browsers name the page that connects; programs name none."""
    origin = socket.headers.get("origin")
    return origin is None or origin.split("://", 1)[-1] == socket.headers.get("host")
