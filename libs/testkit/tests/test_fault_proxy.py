"""The proxy passes everything on until its line is made bad, and does so again once it is healed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from testkit import eventually
from testkit.fault_proxy import FaultProxy, LineFault


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.close()


@pytest.fixture
async def proxy() -> AsyncIterator[FaultProxy]:
    server = await asyncio.start_server(_echo, "127.0.0.1", 0)
    found = FaultProxy(f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    await found.start()
    yield found
    await found.stop()
    server.close()


class Client:
    """One connection through the proxy."""

    def __init__(self, proxy: FaultProxy) -> None:
        self.host, port = proxy.url("tcp://there:1").removeprefix("tcp://").split(":")
        self.port = int(port)

    async def __aenter__(self) -> Client:
        self.reader, self.writer = await asyncio.open_connection(self.host, self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()

    async def ask(self, text: bytes, patience: float = 5.0) -> bytes:
        self.writer.write(text)
        async with asyncio.timeout(patience):
            return await self.reader.read(65_536)


async def test_a_good_line_passes_everything(proxy: FaultProxy) -> None:
    """Nothing is installed: nothing changes."""
    async with Client(proxy) as client:
        assert await client.ask(b"hello") == b"hello"
    assert proxy.connections == 1


async def test_login_and_path_of_a_url_stay(proxy: FaultProxy) -> None:
    """A client of PostgreSQL needs its user and database."""
    url = proxy.url("postgresql://postgres@127.0.0.1:5432/postgres")
    assert url.startswith("postgresql://postgres@127.0.0.1:")
    assert url.endswith("/postgres")
    assert ":5432" not in url


@pytest.mark.parametrize("fault", [LineFault.DROP, LineFault.HALF_OPEN])
async def test_a_silent_line_stays_open(proxy: FaultProxy, fault: LineFault) -> None:
    """The client is told nothing; after healing the connection that lost bytes is reset, and a new one works."""
    async with Client(proxy) as client:
        assert await client.ask(b"before") == b"before"
        proxy.fault(fault)
        with pytest.raises(TimeoutError):
            await client.ask(b"lost", 0.2)
        assert proxy.dropped == 4
        proxy.heal()
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            await _until_reset(client)
    async with Client(proxy) as client:
        assert await client.ask(b"after") == b"after"


async def _until_reset(client: Client) -> None:
    if await client.ask(b"more") == b"":
        raise ConnectionResetError


async def test_a_reset_ends_connections_and_new_ones_work(proxy: FaultProxy) -> None:
    """As a load balancer that restarts."""
    async with Client(proxy) as client:
        assert await client.ask(b"before") == b"before"
        proxy.fault(LineFault.RESET)
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            await _until_reset(client)
    async with Client(proxy) as client:
        assert await client.ask(b"after") == b"after"


async def test_a_refused_line_ends_new_connections_too(proxy: FaultProxy) -> None:
    """Until it is healed."""
    proxy.fault(LineFault.REFUSE)
    async with Client(proxy) as client:
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            await _until_reset(client)
    proxy.heal()
    async with Client(proxy) as client:
        assert await client.ask(b"after") == b"after"


async def test_a_late_line_is_late_and_loses_nothing(proxy: FaultProxy) -> None:
    """Both ways: twice the delay for a round trip."""
    async with Client(proxy) as client:
        await client.ask(b"before")
        proxy.fault(LineFault.DELAY, 0.1)
        began = time.monotonic()
        assert await client.ask(b"slow") == b"slow"
        assert time.monotonic() - began >= 0.2


async def test_a_thin_line_takes_its_time(proxy: FaultProxy) -> None:
    """Bytes a second, both ways."""
    async with Client(proxy) as client:
        await client.ask(b"before")
        proxy.fault(LineFault.THROTTLE, 10_000)
        began, received = time.monotonic(), b""
        client.writer.write(b"x" * 1000)
        while len(received) < 1000:
            received += await client.reader.read(65_536)
        assert time.monotonic() - began >= 0.2


async def test_connections_are_forgotten_when_they_end(proxy: FaultProxy) -> None:
    """A proxy that lives through a thousand schedules holds nothing of them."""
    async with Client(proxy) as client:
        await client.ask(b"before")
    await eventually(lambda: not proxy._pairs)
