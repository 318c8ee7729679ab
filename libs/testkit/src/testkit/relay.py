"""A TCP relay between a client and a server that can be cut and frozen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit, urlunsplit

_CHUNK = 65_536


class Relay:
    """Passes bytes on, both ways."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self.address = ""
        """`host:port` for the client."""
        self.connections = 0
        """Ever made."""
        self._open: set[asyncio.StreamWriter] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._works: set[asyncio.Task[None]] = set()

    def url(self, url: str) -> str:
        """A URL of the server as the client must use it to go through here."""
        return urlunsplit(urlsplit(url)._replace(netloc=self.address))

    def cut(self) -> None:
        """Abort every connection, on both sides."""
        for writer in list(self._open):
            writer.transport.abort()

    def freeze(self) -> None:
        """Connections stay open and nothing passes from the server any more."""
        self._flows.clear()

    def thaw(self) -> None:
        """Let it pass again, what was held back first."""
        self._flows.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            server_reader, server_writer = await asyncio.open_connection(self._host, self._port)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, server_writer}
        self._open |= ends
        there = asyncio.create_task(self._pass(reader, server_writer, held=False))
        back = asyncio.create_task(self._pass(server_reader, writer, held=True))
        self._works |= {there, back}
        try:
            await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (there, back):
                task.cancel()
            for end in ends:
                end.transport.abort()
            self._open -= ends
            self._works -= {there, back}

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, held: bool) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                if held:
                    await self._flows.wait()
                writer.write(data)
                await writer.drain()


@asynccontextmanager
async def relayed(url: str) -> AsyncIterator[Relay]:
    """A relay before the server of a URL."""
    parts = urlsplit(url)
    relay = Relay(parts.hostname or "127.0.0.1", parts.port or 80)
    server = await asyncio.start_server(relay._serve, "127.0.0.1", 0)
    host, port = next(iter(server.sockets)).getsockname()[:2]
    relay.address = f"{host}:{port}"
    try:
        yield relay
    finally:
        server.close()
        relay.cut()
