"""Anything at all at every door of the simulator: an answer in its shapes, never an exception and never a 500.

Seeded and short by default; `TT_FUZZ_SECONDS` sets how long each test goes on.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from fastapi import WebSocketDisconnect
from fastapi.routing import APIRoute
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tastyclient import TastyClient
from tastysim.account_stream import AccountStream, _Listener
from tastysim.dxlink_events import FIELDS
from tastysim.dxlink_server import Feed
from tastysim.dxlink_session import BROKER_LIMITS, Session
from tastysim.market import ModelMarket
from tastysim.service import build
from tastysim.settings import SimSettings
from testkit import Mutator, fuzz_rounds

SYMBOLS = ("SPY", "SPY{=5m}", "AAPL{=d,tho=true}", "QQQ{=w,price=mark}", "IWM{=3mo}", "TLT{=o}", "*", "NONE")
ERRORS = {"INVALID_MESSAGE", "BAD_ACTION", "UNAUTHORIZED", "UNSUPPORTED_PROTOCOL", "TIMEOUT"}
HANDSHAKE: list[dict[str, Any]] = [
    {"type": "SETUP", "channel": 0, "version": "0.1-fuzz", "keepaliveTimeout": 60, "acceptKeepaliveTimeout": 60},
    {"type": "AUTH", "channel": 0, "token": "good"},
]
FEED: list[dict[str, Any]] = [
    *({"type": "CHANNEL_REQUEST", "channel": number, "service": "FEED", "parameters": {"contract": contract}}
      for number, contract in ((1, "AUTO"), (3, "HISTORY"), (5, "STREAM"), (7, "TICKER"))),
    {"type": "FEED_SETUP", "channel": 1, "acceptAggregationPeriod": 0.1, "acceptDataFormat": "COMPACT",
     "acceptEventFields": {"Quote": ["eventSymbol", "bidPrice"], "Candle": ["eventSymbol", "index", "close", "vwap"]}},
    {"type": "FEED_SETUP", "channel": 3, "acceptAggregationPeriod": 0, "acceptDataFormat": "FULL"},
    *({"type": "FEED_SUBSCRIPTION", "channel": 1 + 2 * (number % 4),
       "add": [{"type": kind, "symbol": symbol, "fromTime": 1_790_000_000_000} for symbol in SYMBOLS]}
      for number, kind in enumerate(FIELDS)),
    {"type": "FEED_SUBSCRIPTION", "channel": 1, "remove": [{"type": "Quote", "symbol": "SPY"}]},
    {"type": "FEED_SUBSCRIPTION", "channel": 3, "reset": True},
    {"type": "CHANNEL_CANCEL", "channel": 5},
    {"type": "KEEPALIVE", "channel": 0},
]  # fmt: skip
LISTENER: list[dict[str, Any]] = [
    {"action": action, "value": ["5WT00001"], "auth-token": "Bearer good", "request-id": 1, "source": "fuzz/1"}
    for action in ("connect", "heartbeat", "account-subscribe", "quote-alerts-subscribe", "public-watchlists-subscribe")
]
LEG = {"instrument-type": "Equity Option", "symbol": "SPY   261218P00690000", "quantity": 1, "action": "Buy to Open"}
ORDER: dict[str, Any] = {
    "order-type": "Limit", "time-in-force": "GTD", "gtc-date": "2026-12-18", "price": "1.25", "price-effect": "Debit",
    "stop-trigger": "1.5", "legs": [LEG, LEG | {"action": "Sell to Open"}], "external-identifier": "fuzz",
    "advanced-instructions": {"strict-position-effect-validation": True},
    "rules": {"route-after": "2026-11-25T15:00:00Z", "cancel-at": "2026-11-25T20:00:00Z", "order-conditions": [
        {"action": "route", "symbol": "SPY", "instrument-type": "Equity", "indicator": "last", "comparator": "lte",
         "threshold": "600"}]},
}  # fmt: skip
BODIES: list[dict[str, Any]] = [
    ORDER,
    {"type": "OTOCO", "trigger-order": ORDER, "orders": [ORDER, ORDER], "ratio-price-threshold": "1"},
    {"name": "mine", "watchlist-entries": [{"symbol": "SPY", "instrument-type": "Equity"}], "group-name": "g"},
    {"field": "Last", "operator": ">", "threshold": "1", "symbol": "SPY", "dx-symbol": "SPY"},
    {"grant_type": "refresh_token", "client_secret": "demo-client-secret", "refresh_token": "demo-refresh-token"},
    {"margin-or-cash": "Margin", "funding-amount": 1000, "amount": "10.5", "steps": 1, "is-frozen": False},
    {"code": "x", "redirect-uri": "http://localhost", "scope": "read"},
    {"paused": False, "speed": 1, "now": "2026-11-25T15:00:00Z"},
]  # fmt: skip
BODY_OF = {
    "complex-orders": 1, "orders": 0, "margin": 0, "watchlists": 2, "alerts": 3, "oauth": 4, "sandbox": 5,
    "consents": 6, "clock": 7, "latency": 5, "trading-status": 5,
}  # fmt: skip
"""A word of a path → which of the bodies fits it."""
PLACES = ("5WT00001", "5WT00001", "1", "2", "mine", "x%2Fy", "-1", "9" * 30)
"""What stands for a number or a name in a path."""


class Socket:
    """A client that says what is put into it and keeps what it is told."""

    def __init__(self) -> None:
        self.inbox: asyncio.Queue[object] = asyncio.Queue()
        self.told: list[str] = []
        self.closed = False

    async def accept(self) -> None:
        return

    async def receive_text(self) -> str:
        found = await self.inbox.get()
        if found is None:
            raise WebSocketDisconnect
        if isinstance(found, bytes):
            raise KeyError("text")
        return str(found)

    async def send_text(self, data: str) -> None:
        self.told.append(data)

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        self.closed = True


def messages(mutator: Mutator, templates: list[dict[str, Any]]) -> Iterator[object]:
    """The messages of a client that means well, damaged now and then, in some disorder."""
    for template in templates:
        chance = mutator.random.random()
        if chance < 0.5:
            yield json.dumps(template)
        elif chance < 0.9:
            yield mutator.text(template)
        elif chance < 0.95:
            yield mutator.data(template)
        if mutator.random.random() < 0.1:
            yield mutator.text(mutator.random.choice(templates))


def filled(mutator: Mutator, path: str) -> str:
    """A path with something in its places, most often what is there."""
    return "/".join(
        part if not part.startswith("{")
        else "5WT00001" if part == "{number}" and mutator.random.random() < 0.8
        else mutator.random.choice(PLACES)
        for part in path.split("/")
    )  # fmt: skip


def body_for(mutator: Mutator, path: str) -> bytes:
    """A body that fits the route, damaged; now and then a sound one, or one of another route."""
    likely = [index for word, index in BODY_OF.items() if word in path]
    template = BODIES[likely[0]] if likely and mutator.random.random() < 0.8 else mutator.random.choice(BODIES)
    return json.dumps(template).encode() if mutator.random.random() < 0.1 else mutator.data(template)


def good(token: str) -> float | None:
    return time.time() + 3600 if token == "good" else None


@pytest.fixture(scope="module")
def market() -> ModelMarket:
    """One market for all."""
    return ModelMarket(7, datetime(2026, 11, 24, 17, 0, tzinfo=UTC))


async def test_dxlink_answers_anything_with_its_own_messages(market: ModelMarket) -> None:
    """Whole connections, damaged anywhere, while the market moves: what comes out is JSON of the protocol."""
    feed = Feed(market, good, BROKER_LIMITS)
    errors = 0
    for number in fuzz_rounds(25):
        mutator, socket = Mutator(number), Socket()
        serving = asyncio.create_task(feed.serve(socket))
        start = [json.dumps(each) for each in HANDSHAKE] if mutator.random.random() < 0.9 else []
        for message in [*start, *messages(mutator, [*FEED, *FEED])]:
            socket.inbox.put_nowait(message)
            if mutator.random.random() < 0.2:
                market.step(0.25)
                feed.tick()
                await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)
        socket.inbox.put_nowait(None)
        await serving
        for text in socket.told:
            answer = json.loads(text)
            assert isinstance(answer["channel"], int)
            if answer["type"] == "ERROR":
                errors += 1
                assert answer["error"] in ERRORS
                assert answer["message"]
    assert errors > 0
    assert feed.sessions() == 0


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.one_of(
            st.text(), st.binary(), st.none(), st.sampled_from([json.dumps(each) for each in [*HANDSHAKE, *FEED]])
        )
    )
)
def test_the_dxlink_machine_never_raises(sequence: list[object]) -> None:
    """Whatever the sequence, it answers with messages and remembers at most the channels that were opened."""
    session = Session(good, BROKER_LIMITS)
    for text in sequence:
        for answer in session.take(text):
            assert json.loads(json.dumps(answer))["type"]
    assert set(session.channels) <= {1, 3, 5, 7}


async def test_the_account_stream_answers_anything_with_a_status(market: ModelMarket) -> None:
    """Every message has a reply, and only one that carries the token and the account connects."""
    stream = AccountStream(lambda token: token == "good", lambda number: number == "5WT00001")
    for number in fuzz_rounds(2_000):
        mutator, listener = Mutator(number), _Listener()
        for message in messages(mutator, LISTENER):
            reply = stream.answer(message, listener)
            assert reply["status"] in ("ok", "error")
            assert reply["status"] == "ok" or reply["message"]
            json.loads(json.dumps(reply))
        assert listener.accounts <= {"5WT00001"}
        stream._listeners.clear()


async def test_real_sockets_survive_frames_that_are_none(client: TastyClient, address: str) -> None:
    """Binary frames, invalid UTF-8, a megabyte of brackets, bytes that are no websocket: the next client is served."""
    urls = (f"{address.replace('http', 'ws', 1)}/dxlink", f"{address.replace('http', 'ws', 1)}/streamer")
    host, port = address.removeprefix("http://").split(":")
    for number in fuzz_rounds(12):
        mutator = Mutator(number)
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            mutator.random.choice((b"", b"GET /dxlink HTTP/1.1\r\n\r\n", b"\x81\xff")) + mutator.random.randbytes(300)
        )
        with suppress(OSError):
            await writer.drain()
        writer.transport.abort()
        for url in urls:
            with suppress(websockets.ConnectionClosed, TimeoutError):
                async with websockets.connect(url, proxy=None, close_timeout=1) as socket:
                    await socket.send(mutator.data(HANDSHAKE[0]))
                    await socket.send(mutator.random.choice(("[" * 1_000_000, "{}", "\x00", "9" * 400)))
                    await socket.send([b"\xff\xfe", mutator.random.randbytes(50)], text=True)
                    for _ in range(3):
                        await asyncio.wait_for(socket.recv(), 5)
    assert (await client.quote_token()).token
    async with websockets.connect(urls[0], proxy=None) as socket:
        await socket.send(json.dumps(HANDSHAKE[0]))
        assert json.loads(await socket.recv())["type"] == "SETUP"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[tuple[httpx.AsyncClient, list[tuple[str, str]]]]:
    """The REST interface in this process, and every route that takes a body."""
    app = build(SimSettings(data_dir=tmp_path))
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://sim", headers={"User-Agent": "fuzz/1"}) as found:
        login = await found.post("/oauth/token", json=BODIES[4])
        found.headers["Authorization"] = f"Bearer {login.json()['access_token']}"
        yield found, [each for each in _routes(app.routes) if "faults" not in each[1] and "scenario" not in each[1]]


def _routes(routes: Iterable[object]) -> Iterator[tuple[str, str]]:
    """Method and path of everything that takes a body, routers within routers included."""
    for route in routes:
        inner = getattr(route, "original_router", None)
        if inner is not None:
            yield from _routes(inner.routes)
        elif isinstance(route, APIRoute):
            for method in sorted(route.methods & {"POST", "PUT", "PATCH", "DELETE"}):
                yield method, route.path


async def test_every_route_answers_any_body_in_the_brokers_envelope(
    api: tuple[httpx.AsyncClient, list[tuple[str, str]]],
) -> None:
    """4xx with a code and a message, or success: never a 500."""
    http, routes = api
    assert len(routes) > 20
    seen: set[int] = set()
    for number in fuzz_rounds(400):
        mutator = Mutator(number)
        method, path = routes[number % len(routes)]
        path, content = filled(mutator, path), body_for(mutator, path)
        answer = await http.request(method, path, content=content, headers={"Content-Type": "application/json"})
        seen.add(answer.status_code)
        assert answer.status_code < 500, (method, path, content, answer.text)
        if answer.status_code >= 400:
            body = answer.json()
            error = body.get("error", {"code": body.get("error_code"), "message": body.get("error_description")})
            assert error["code"], (method, path, content, body)
            assert error["message"], (method, path, content, body)
    assert seen & {200, 201}
    assert {400, 404} <= seen


@pytest.mark.parametrize("path", ["/accounts/5WT00001/orders/dry-run", "/margin/accounts/5WT00001/dry-run"])
@pytest.mark.parametrize("spoiled", [{"action": ["Buy to Open"]}, {"quantity": "1" * 400}])
async def test_a_leg_that_cannot_be_looked_up_or_counted_is_refused(
    api: tuple[httpx.AsyncClient, list[tuple[str, str]]], path: str, spoiled: dict[str, Any]
) -> None:
    """A list for an action, a quantity beyond all decimals."""
    http, _ = api
    answer = await http.post(path, json=ORDER | {"legs": [LEG | spoiled]})
    assert answer.status_code in (400, 422)
