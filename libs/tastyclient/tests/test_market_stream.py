"""The loop around the machine: reconnects and replays, notes silence, renews the token, keeps the server's pace."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import websockets

from tastyclient.dxlink_queue import ConflatingQueue
from tastyclient.dxlink_series import SeriesReader
from tastyclient.dxlink_subscriptions import Limits
from tastyclient.errors import NotSentError
from tastyclient.events import Columns, EventFlag, StoredColumns, candle_symbol, canonical_candle
from tastyclient.stream import MarketStream
from testkit import eventually

Handler = Callable[["Server", websockets.ServerConnection, dict[str, Any]], Awaitable[None]]


@dataclass
class Server:
    """A DXLink server that answers the handshake and remembers what it was told."""

    on_subscription: Handler | None = None
    authorize: bool = True
    tokens: list[str] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)
    subscribed: list[set[str]] = field(default_factory=list)
    sockets: list[websockets.ServerConnection] = field(default_factory=list)
    url: str = ""

    async def serve(self, socket: websockets.ServerConnection) -> None:
        self.sockets.append(socket)
        self.subscribed.append(set())
        async for text in socket:
            message = json.loads(text)
            self.messages.append(message)
            kind = message["type"]
            if kind == "SETUP":
                await self.say(socket, {"type": "SETUP", "channel": 0, "keepaliveTimeout": 1})
                await self.say(socket, {"type": "AUTH_STATE", "channel": 0, "state": "UNAUTHORIZED"})
            elif kind == "AUTH":
                self.tokens.append(message["token"])
                state = "AUTHORIZED" if self.authorize else "UNAUTHORIZED"
                await self.say(socket, {"type": "AUTH_STATE", "channel": 0, "state": state})
            elif kind == "CHANNEL_REQUEST":
                await self.say(socket, {"type": "CHANNEL_OPENED", "channel": message["channel"]})
            elif kind == "FEED_SUBSCRIPTION":
                self.subscribed[-1] |= {row["symbol"] for row in message.get("add", ())}
                self.subscribed[-1] -= {row["symbol"] for row in message.get("remove", ())}
                if self.on_subscription is not None:
                    await self.on_subscription(self, socket, message)

    async def say(self, socket: websockets.ServerConnection, message: dict[str, Any]) -> None:
        await socket.send(json.dumps(message, separators=(",", ":")))


@asynccontextmanager
async def served(server: Server) -> AsyncIterator[Server]:
    async with websockets.serve(server.serve, "127.0.0.1", 0) as listening:
        server.url = f"ws://127.0.0.1:{next(iter(listening.sockets)).getsockname()[1]}"
        yield server


@dataclass
class Client:
    """A stream at a server, and everything it reported."""

    server: Server
    received: list[Columns] = field(default_factory=list)
    status: list[tuple[bool, str]] = field(default_factory=list)
    asked: int = 0

    async def token(self) -> tuple[str, str]:
        self.asked += 1
        return f"token-{self.asked}", self.server.url

    def stream(self, **options: Any) -> MarketStream:
        return MarketStream(
            self.token,
            lambda columns, _: self.received.append(columns),
            lambda up, reason: self.status.append((up, reason)),
            **{"back_off_seconds": 0.01, "compile_after_events": None} | options,
        )


@asynccontextmanager
async def running(stream: MarketStream) -> AsyncIterator[None]:
    task = asyncio.create_task(stream.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def quotes(*symbols: str) -> dict[str, Any]:
    return {
        "type": "FEED_DATA",
        "channel": 1,
        "data": ["Quote", [value for symbol in symbols for value in (symbol, 1.0, 1.1, 10, 10, 5, 6)]],
    }


async def send_quotes(server: Server, socket: websockets.ServerConnection, message: dict[str, Any]) -> None:
    await server.say(socket, quotes(*(row["symbol"] for row in message.get("add", ()))))


async def test_the_loop_reconnects_with_a_new_token_and_subscribes_again() -> None:
    """A server that drops the connection costs a reconnect, not a subscription."""

    async def drop_once(server: Server, socket: websockets.ServerConnection, message: dict[str, Any]) -> None:
        await send_quotes(server, socket, message)
        if len(server.tokens) == 1:
            await socket.close(1012, "Reconnection is required")

    async with served(Server(drop_once)) as server:
        client = Client(server)
        stream = client.stream()
        stream.want("Quote", ["SPY"])
        async with running(stream):
            await eventually(lambda: len(client.received) >= 2)
    assert server.tokens[:2] == ["token-1", "token-2"]
    assert server.subscribed[:2] == [{"SPY"}, {"SPY"}]
    assert [up for up, _ in client.status[:3]] == [True, False, True]
    assert "1012" in client.status[1][1]
    assert stream.statistics.reconnects == 1
    assert stream.statistics.events >= 2


async def test_25000_symbols_are_subscribed_again_in_five_seconds_after_a_forced_disconnect() -> None:
    """With the usual back-off; every symbol, in messages a server accepts."""
    wanted = [f".SPXW26{1200 + number % 30}P{number}" for number in range(25_000)]
    async with served(Server()) as server:
        client = Client(server)
        stream = client.stream(back_off_seconds=0.5)
        stream.want("Quote", wanted)
        async with running(stream):
            await eventually(lambda: server.subscribed and len(server.subscribed[0]) == 25_000, timeout=20)
            cut = time.monotonic()
            server.sockets[0].transport.abort()
            await eventually(lambda: len(server.subscribed) > 1 and len(server.subscribed[1]) == 25_000, timeout=20)
            took = time.monotonic() - cut
    assert server.subscribed[1] == set(wanted)
    assert max(len(json.dumps(each)) for each in server.messages) < 65_536
    assert took < 5.0


async def test_symbols_come_and_go_while_reading() -> None:
    """Without a reconnect."""
    async with served(Server(send_quotes)) as server:
        client = Client(server)
        stream = client.stream()
        stream.want("Quote", ["SPY"])
        async with running(stream):
            await eventually(lambda: client.received)
            stream.add("Quote", ["QQQ"])
            stream.remove("Quote", ["SPY"])
            await eventually(lambda: server.subscribed == [{"QQQ"}])
            await eventually(lambda: client.received[-1].symbols == ["QQQ"])
            stream.reset()
            await eventually(lambda: server.messages[-1].get("reset"))
    assert client.received[-1].ids.tolist() == [stream.symbols.index("QQQ")]
    assert [up for up, _ in client.status] == [True]


async def test_signs_of_life_go_out_within_the_servers_patience() -> None:
    """The server said it waits one second: several a second are sent, also when nothing comes in."""
    async with served(Server()) as server:
        client = Client(server)
        async with running(client.stream()):
            await eventually(lambda: sum(each["type"] == "KEEPALIVE" for each in server.messages) >= 3)
    assert client.status == [(True, "")]


async def test_a_silent_server_is_left() -> None:
    """The stall watchdog ends the connection; a new one is made."""
    async with served(Server()) as server:
        client = Client(server)
        stream = client.stream(stall_seconds=0.1)
        async with running(stream):
            await eventually(lambda: len(server.sockets) >= 2)
    assert client.status[1] == (False, "TimeoutError: the server was silent for 0.1 s")


async def test_a_server_that_never_gets_ready_is_left() -> None:
    """Connected is not enough."""

    async def mute(socket: websockets.ServerConnection) -> None:
        await socket.wait_closed()

    async with websockets.serve(mute, "127.0.0.1", 0) as listening:
        client = Client(Server(url=f"ws://127.0.0.1:{next(iter(listening.sockets)).getsockname()[1]}"))
        async with running(client.stream(handshake_seconds=0.1)):
            await eventually(lambda: len(client.status) >= 2)
    assert client.status[0] == (False, "TimeoutError: the server was not ready to stream after 0.1 s")


async def test_a_refused_token_is_asked_for_anew_with_growing_pauses() -> None:
    """Never in a tight loop."""
    async with served(Server(authorize=False)) as server:
        client = Client(server)
        async with running(client.stream(back_off_seconds=0.05)):
            await eventually(lambda: client.asked >= 3)
            began, before = time.monotonic(), client.asked
            await eventually(lambda: client.asked > before)
            assert time.monotonic() - began > 0.05
    assert all(reason.startswith("TokenRefusedError") and not up for up, reason in client.status)
    assert len(set(server.tokens)) == len(server.tokens)


async def test_the_token_is_renewed_before_it_ends() -> None:
    """A planned reconnect: no failure, no back-off, nothing lost."""
    async with served(Server(send_quotes)) as server:
        client = Client(server)
        stream = client.stream(token_seconds=0.2, back_off_seconds=60.0)
        stream.want("Quote", ["SPY"])
        async with running(stream):
            await eventually(lambda: len(server.tokens) >= 3)
    assert stream.statistics.renewals >= 2
    assert stream.statistics.reconnects == 0
    assert {reason for up, reason in client.status if not up} == {"the token is renewed"}


async def test_a_broker_that_gives_no_token_is_asked_again() -> None:
    """The reason is told."""
    status: list[str] = []

    async def token() -> tuple[str, str]:
        raise NotSentError("the broker cannot be reached")

    stream = MarketStream(token, lambda *_: None, lambda _, reason: status.append(reason), back_off_seconds=0.01)
    async with running(stream):
        await eventually(lambda: len(status) >= 2)
    assert "the broker cannot be reached" in status[0]


async def test_an_unreadable_frame_costs_itself_and_too_many_cost_the_connection() -> None:
    """They are counted and the newest is told."""

    async def spoil(server: Server, socket: websockets.ServerConnection, message: dict[str, Any]) -> None:
        await socket.send("{")
        await server.say(socket, {"type": "ERROR", "channel": 1, "error": "BAD_ACTION", "message": "no such symbol"})
        await send_quotes(server, socket, message)
        for _ in range(30 if len(server.tokens) == 1 else 0):
            await socket.send('{"type":"FEED_DATA","channel":1,"data":["Quote",[1]]}')

    async with served(Server(spoil)) as server:
        client = Client(server)
        stream = client.stream()
        stream.want("Quote", ["SPY"])
        async with running(stream):
            await eventually(lambda: len(client.received) >= 2)
    assert stream.statistics.bad_frames == 24
    assert "1 values does not fit" in client.status[1][1]
    assert "BAD_ACTION" in stream.statistics.last_bad


async def test_subscriptions_keep_the_servers_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never more in any minute (here: 0.4 s) than it allows; what has to wait goes out in order."""
    monkeypatch.setattr("tastyclient.stream.PACE_SECONDS", 0.4)
    counted: list[tuple[float, int]] = []

    async def count(_: Server, __: websockets.ServerConnection, message: dict[str, Any]) -> None:
        counted.append((time.monotonic(), len(message.get("add", ())) + len(message.get("remove", ()))))

    async with served(Server(count)) as server:
        client = Client(server)
        stream = client.stream(limits=Limits(symbols_per_message=10, changes_per_minute=100))
        stream.want("Quote", [f"S{number}" for number in range(240)])
        async with running(stream):
            await eventually(lambda: server.subscribed and len(server.subscribed[0]) == 240)
            stream.want("Quote", [])
            await eventually(lambda: not server.subscribed[0])
    assert sum(changes for _, changes in counted) == 480
    assert max(sum(changes for at, changes in counted if since <= at < since + 0.3) for since, _ in counted) <= 100


async def test_the_compiled_reader_joins_when_the_feed_is_busy() -> None:
    """In the background; the numbers stay the same."""
    async with served(Server(send_quotes)) as server:
        client = Client(server)
        stream = client.stream(compile_after_events=50)
        stream.want("Quote", [f"S{number}" for number in range(100)])
        async with running(stream):
            await eventually(lambda: client.received)
            await eventually(lambda: stream._compiled.kernels is not None, timeout=60)
            stream.add("Quote", ["LATER", *(f"T{number}" for number in range(100))])
            await eventually(lambda: len(client.received) >= 2)
    assert type(client.received[0]).__name__ != type(client.received[1]).__name__
    assert client.received[1].symbols[0] == "LATER"
    assert client.received[1].values["askPrice"].tolist() == [1.1] * 101


# the queue


def columns(event_type: str, **values: float) -> Columns:
    return StoredColumns(event_type, list(values), {"price": np.array(list(values.values()))})


async def test_the_queue_gives_what_it_was_given_in_order() -> None:
    """As long as the reader keeps up."""
    queue = ConflatingQueue()
    first, second = columns("Quote", A=1), columns("TimeAndSale", A=2)
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.put(first, 5)
    queue.put(second, 6)
    assert await waiting == (first, 5)
    assert await queue.get() == (second, 6)
    assert (len(queue), queue.conflated, queue.dropped) == (0, 0, 0)


async def test_a_full_queue_keeps_the_newest_value_of_every_symbol() -> None:
    """Older quotes give way and are counted; trades on the tape are news and stay."""
    queue = ConflatingQueue(events_max=5)
    queue.put(columns("TimeAndSale", A=1, B=2), 1)
    for price in range(100):
        queue.put(columns("Quote", A=price, B=price + 0.5), price)
    frames = [await queue.get() for _ in range(2)]
    assert [each.event_type for each, _ in frames] == ["TimeAndSale", "Quote"]
    newest, received = frames[1]
    assert dict(zip(newest.symbols, newest.values["price"].tolist(), strict=True)) == {"A": 99.0, "B": 99.5}
    assert received == 99
    assert (queue.conflated, queue.dropped, len(queue)) == (198, 0, 0)


async def test_when_conflating_does_not_suffice_the_oldest_is_dropped_and_counted() -> None:
    """The bound holds whatever comes."""
    queue = ConflatingQueue(events_max=3)
    for number in range(10):
        queue.put(columns("TimeAndSale", A=number), number)
        assert len(queue) <= 3
    queue.put(columns("Quote", **{f"S{number}": number for number in range(9)}), 10)
    assert (queue.dropped, len(queue)) == (19, 0)
    queue.put(columns("Quote", A=1), 11)
    assert (await queue.get())[1] == 11


# candles


def candle(symbol: str, index: int, flags: int, close: float = 1.0) -> Columns:
    return StoredColumns(
        "Candle",
        [symbol],
        {"close": np.array([close])},
        {"eventFlags": np.array([flags], np.int64), "index": np.array([index], np.int64)},
    )


def test_a_snapshot_comes_out_whole_and_oldest_first() -> None:
    """Half of one is never shown; another symbol's updates pass."""
    reader = SeriesReader()
    begin, end = EventFlag.SNAPSHOT_BEGIN, EventFlag.SNAPSHOT_END
    assert list(reader.take(candle("A{=1d}", 3, begin))) == []
    assert [each.snapshot for each in reader.take(candle("B{=d}", 1, 0))] == [False]
    assert list(reader.take(candle("A{=d}", 2, 0))) == []
    (change,) = reader.take(candle("A{=d}", 1, end))
    assert (change.symbol, change.snapshot, change.truncated) == ("A{=d}", True, False)
    assert [each["index"] for each in change.events] == [1, 2, 3]


def test_an_empty_and_a_truncated_snapshot_say_so() -> None:
    """Flags 14 on one event; SNIP instead of END."""
    reader = SeriesReader()
    (empty,) = reader.take(candle("A{=d}", 0, 4 | 8 | 2, float("nan")))
    assert (empty.snapshot, empty.events, empty.removed) == (True, (), ())
    (cut,) = reader.take(candle("A{=d}", 9, EventFlag.SNAPSHOT_BEGIN | EventFlag.SNAPSHOT_SNIP))
    assert cut.truncated


def test_updates_wait_for_their_transaction_and_removals_name_the_index() -> None:
    """TX_PENDING holds back; REMOVE_EVENT takes out."""
    reader = SeriesReader()
    assert list(reader.take(candle("A{=d}", 5, EventFlag.TX_PENDING, 2.0))) == []
    (change,) = reader.take(candle("A{=d}", 4, EventFlag.REMOVE_EVENT))
    assert (change.snapshot, change.removed) == (False, (4,))
    assert [each["close"] for each in change.events] == [2.0]
    reader.take(candle("A{=d}", 5, EventFlag.SNAPSHOT_BEGIN))
    reader.restart()
    assert [each.snapshot for each in reader.take(candle("A{=d}", 6, 0))] == [False]


def test_candle_symbols_are_built_and_compared() -> None:
    """The server drops a period of one and orders the attributes."""
    assert candle_symbol("SPY", "5m", regular_hours=True) == "SPY{=5m,tho=true}"
    assert canonical_candle("SPY{=1d,tho=true}") == canonical_candle("SPY{tho=true,=d}") == "SPY{=d,tho=true}"
    assert canonical_candle("SPY{=15m}") == "SPY{=15m}"
    assert canonical_candle("SPY") == "SPY"
    with pytest.raises(ValueError, match="period"):
        candle_symbol("SPY", "5 minutes")
