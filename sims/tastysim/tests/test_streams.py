"""The streams as servers: the protocol's errors for what the wire cannot mean, and news for its account alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest
import websockets

from tastyclient import AccountStream, NewLeg, NewOrder, Notification, TastyClient
from tastyclient.account_stream import Reply, parse
from testkit import eventually


async def said(socket: websockets.ClientConnection, message: object) -> dict[str, Any]:
    """The server's next message after ours."""
    await socket.send(message if isinstance(message, bytes) else json.dumps(message))
    found: dict[str, Any] = json.loads(await asyncio.wait_for(socket.recv(), 10))
    return found


SETUP = {"type": "SETUP", "channel": 0, "version": "0.1-test", "keepaliveTimeout": 60, "acceptKeepaliveTimeout": 60}
OPEN = {"type": "CHANNEL_REQUEST", "channel": 1, "service": "FEED", "parameters": {"contract": "TICKER"}}


@asynccontextmanager
async def connected(client: TastyClient, **setup: object) -> AsyncIterator[websockets.ClientConnection]:
    """A DXLink connection whose token was accepted."""
    token = await client.quote_token()
    async with websockets.connect(token.dxlink_url, proxy=None) as socket:
        assert (await said(socket, SETUP | setup))["type"] == "SETUP"
        assert json.loads(await socket.recv())["state"] == "UNAUTHORIZED"
        assert (await said(socket, {"type": "AUTH", "channel": 0, "token": token.token}))["state"] == "AUTHORIZED"
        yield socket


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ([], "INVALID_MESSAGE"),
        (b"\x00\xff", "INVALID_MESSAGE"),
        ("text alone", "INVALID_MESSAGE"),
        ({"type": "KEEPALIVE", "channel": "one"}, "INVALID_MESSAGE"),
        ({"type": "FEED_SUBSCRIPTION", "channel": 1, "add": [{"type": "Quote"}]}, "INVALID_MESSAGE"),
        ({"type": "FEED_SETUP", "channel": 1, "acceptDataFormat": "XML"}, "INVALID_MESSAGE"),
        ({"type": "FEED_SETUP", "channel": 1, "acceptEventFields": {"Quote": "bidPrice"}}, "INVALID_MESSAGE"),
        ({"type": "CHANNEL_REQUEST", "channel": 3, "service": "FEED", "parameters": {"contract": "SOME"}},
         "INVALID_MESSAGE"),
        (OPEN | {"channel": 3, "parameters": {"contract": ["AUTO"]}}, "INVALID_MESSAGE"),
        (OPEN | {"channel": 2}, "BAD_ACTION"),
        (OPEN, "BAD_ACTION"),
        (OPEN | {"channel": 5, "service": "DOM"}, "BAD_ACTION"),
        (SETUP, "BAD_ACTION"),
        ({"type": "FEED_SUBSCRIPTION", "channel": 1, "add": [{"type": "Quote", "symbol": "*"}]}, "BAD_ACTION"),
        ({"type": "FEED_SUBSCRIPTION", "channel": 9, "add": []}, "BAD_ACTION"),
        ({"type": "DANCE", "channel": 0}, "BAD_ACTION"),
    ],
)  # fmt: skip
async def test_what_the_wire_cannot_mean_is_an_error_and_the_connection_lives(
    client: TastyClient, message: object, kind: str
) -> None:
    """Each names its kind; the next message is answered as ever."""
    async with connected(client) as socket:
        opened = await said(socket, OPEN)
        assert opened["parameters"] == {"contract": "TICKER", "subFormat": "LIST"}
        answer = await said(socket, message)
        assert (answer["type"], answer["error"]) == ("ERROR", kind)
        assert (await said(socket, {"type": "CHANNEL_CANCEL", "channel": 1}))["type"] == "CHANNEL_CLOSED"
        assert (await said(socket, OPEN))["type"] == "CHANNEL_OPENED"


async def test_setup_comes_first_and_then_the_token(client: TastyClient) -> None:
    """Before them a request is refused; a second AUTH says nothing; an unknown version ends the connection."""
    token = await client.quote_token()
    async with websockets.connect(token.dxlink_url, proxy=None) as socket:
        early = await said(socket, {"type": "AUTH", "channel": 0, "token": token.token})
        assert early["error"] == "BAD_ACTION"
        await said(socket, SETUP)
        await socket.recv()
        assert (await said(socket, OPEN))["error"] == "UNAUTHORIZED"
        await said(socket, {"type": "AUTH", "channel": 0, "token": token.token})
        await socket.send(json.dumps({"type": "AUTH", "channel": 0, "token": token.token}))
        assert (await said(socket, OPEN))["type"] == "CHANNEL_OPENED"
    async with websockets.connect(token.dxlink_url, proxy=None) as socket:
        assert (await said(socket, SETUP | {"version": "7.0"}))["error"] == "UNSUPPORTED_PROTOCOL"
        with pytest.raises(websockets.ConnectionClosed):
            await socket.recv()


async def test_a_bad_token_is_refused_and_the_connection_closed(client: TastyClient) -> None:
    """UNAUTHORIZED once more, then the error, then the end: nobody waits for ever."""
    async with websockets.connect((await client.quote_token()).dxlink_url, proxy=None) as socket:
        await said(socket, SETUP)
        await socket.recv()
        answer = await said(socket, {"type": "AUTH", "channel": 0, "token": "dx-sim-guessed"})
        assert answer == {"type": "AUTH_STATE", "channel": 0, "state": "UNAUTHORIZED"}
        assert json.loads(await socket.recv())["error"] == "UNAUTHORIZED"
        with pytest.raises(websockets.ConnectionClosed):
            await socket.recv()


async def test_silence_ends_a_connection_and_the_server_gives_signs_of_life(client: TastyClient) -> None:
    """Both sides said one second: the server speaks within it, and closes on a client that does not."""
    async with connected(client, keepaliveTimeout=1, acceptKeepaliveTimeout=1) as socket:
        assert json.loads(await asyncio.wait_for(socket.recv(), 5)) == {"type": "KEEPALIVE", "channel": 0}
        found = [json.loads(text) async for text in socket]
    assert found[-1]["error"] == "TIMEOUT"
    assert "The message was last received" in found[-1]["message"]


async def test_an_action_before_the_connection_is_complete_is_refused(client: TastyClient, address: str) -> None:
    """As is one that is not known, an account that is not there, and a token that is not good."""
    token = f"Bearer {await client.access_token()}"

    async def reply(socket: websockets.ClientConnection, **message: object) -> object:
        await socket.send(json.dumps({"auth-token": token} | message))
        (found,) = parse(await socket.recv())
        return found

    async with websockets.connect(_streamer(address), proxy=None) as socket:
        assert await reply(socket, action="heartbeat", **{"request-id": 1}) == Reply(
            "heartbeat", False, "connect-not-completed", 1
        )
        assert await reply(socket, action="connect", value=["5WT99999"]) == Reply("connect", False, "failed", None)
        connect: dict[str, object] = {"action": "connect", "value": "5WT00001", "request-id": 2}
        assert await reply(socket, **connect, **{"auth-token": "Bearer sim-guessed"}) == Reply(
            "connect", False, "failed", 2
        )
        assert await reply(socket, **connect) == Reply("connect", True, "", 2)
        assert await reply(socket, action="heartbeat") == Reply("heartbeat", True, "", None)
        assert await reply(socket, action="dance", **{"request-id": 3}) == Reply("dance", False, "not implemented", 3)
        await socket.send(b"\x00")
        assert json.loads(await socket.recv())["message"] == "invalid message"


async def test_notifications_reach_the_listeners_of_their_account_alone(
    client: TastyClient, address: str, account: str
) -> None:
    """Our own stream, live after its resync: an order of one account is not told to another's listener."""
    told: dict[str, list[Notification]] = {account: [], "5WT00001": []}
    live: set[str] = set()
    tasks = []

    async def nothing_to_read() -> None:
        return

    for number, seen in told.items():
        stream = AccountStream(
            _streamer(address),
            [number],
            client.access_token,
            seen.append,
            lambda up, _, number=number: live.add(number) if up else live.discard(number),  # type: ignore[misc]
            resync=nothing_to_read,
        )
        tasks.append(asyncio.create_task(stream.run()))
    await eventually(lambda: len(live) == 2)
    strike = (await client.nested_chain("SPY"))[0].expirations[3].strikes[12]
    leg = NewLeg(symbol=strike.put, action="Buy to Open", quantity=1)
    await client.submit(account, NewOrder(legs=(leg,), price=Decimal("-0.01"), external_identifier="far"))
    await eventually(lambda: told[account])
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert told["5WT00001"] == []


def _streamer(address: str) -> str:
    return f"{address.replace('http', 'ws', 1)}/streamer"
