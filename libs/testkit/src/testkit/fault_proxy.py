"""A TCP proxy whose line can be made bad: late, thin, silent, half open, reset, refused; and good again."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit, urlunsplit

_CHUNK = 65_536
_RESET = struct.pack("ii", 1, 0)  # linger on, for 0 seconds: closing sends RST instead of FIN


class LineFault(StrEnum):
    """What is wrong with the line."""

    DELAY = "delay"
    """Every chunk comes `amount` seconds late, both ways."""
    THROTTLE = "throttle"
    """`amount` bytes a second, both ways."""
    DROP = "drop"
    """Connections stay open and every byte vanishes, both ways."""
    HALF_OPEN = "half_open"
    """What the client sends arrives; nothing comes back, and the client is not told."""
    RESET = "reset"
    """Every connection is reset now; new ones work."""
    REFUSE = "refuse"
    """Every connection is reset, and new ones too."""


@dataclass(eq=False, slots=True)
class _Pair:
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    lost: bool = False
    """Bytes of it have vanished: it cannot be healed, only ended."""


class FaultProxy:
    """Stands between clients and the server of a URL. Begin with `start`; every fault lasts until `heal`."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._server: asyncio.Server | None = None
        self._address = ""
        self._fault: LineFault | None = None
        self._amount = 0.0
        self._pairs: set[_Pair] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections = 0
        """Ever accepted."""
        self.dropped = 0
        """Bytes that vanished."""

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()[:2]
        self._address = f"{host}:{port}"

    async def stop(self) -> None:
        """Stop listening and end every connection."""
        if self._server is not None:
            self._server.close()
        self._reset_all()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def url(self, url: str) -> str:
        """A URL of the server as a client must write it to go through here."""
        parts = urlsplit(url)
        login = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{login[0]}{login[1]}{self._address}"))

    def fault(self, fault: LineFault, amount: float = 0.0) -> None:
        """Make the line bad from now on. amount: seconds of a delay, bytes a second of a throttle."""
        if fault in (LineFault.RESET, LineFault.REFUSE):
            self._reset_all()
        self._fault = None if fault is LineFault.RESET else fault
        self._amount = amount

    def heal(self) -> None:
        """Make the line good; connections that lost bytes are reset."""
        self._fault = None
        for pair in [each for each in self._pairs if each.lost]:
            self._reset(pair)

    def _reset_all(self) -> None:
        for pair in list(self._pairs):
            self._reset(pair)

    def _reset(self, pair: _Pair) -> None:
        for end in (pair.client, pair.server):
            found = end.get_extra_info("socket")
            with suppress(OSError):
                if found is not None:
                    found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            end.transport.abort()
        self._pairs.discard(pair)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if self._fault is LineFault.REFUSE:
            writer.transport.abort()
            return
        try:
            there, back = await asyncio.open_connection(self._host, self._port)
        except OSError:
            writer.transport.abort()
            return
        pair = _Pair(writer, back)
        self._pairs.add(pair)
        ways = [
            asyncio.create_task(self._pass(pair, reader, back, returning=False)),
            asyncio.create_task(self._pass(pair, there, writer, returning=True)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            return  # the proxy stops; the server that made this task would report a cancellation as a failure
        finally:
            for way in ways:
                way.cancel()
            for end in (writer, back):
                end.transport.abort() if pair.lost else end.close()
            self._pairs.discard(pair)

    async def _pass(
        self, pair: _Pair, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, returning: bool
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                fault, amount = self._fault, self._amount
                if fault is LineFault.DROP or (fault is LineFault.HALF_OPEN and returning):
                    self.dropped += len(data)
                    pair.lost = True
                    continue
                if fault is LineFault.DELAY:
                    await asyncio.sleep(amount)
                elif fault is LineFault.THROTTLE and amount > 0:
                    await asyncio.sleep(len(data) / amount)
                if pair.lost:
                    continue  # the stream has a hole: nothing after it may arrive
                writer.write(data)
                await writer.drain()
