"""The streams as servers: the protocol's errors for what the wire cannot mean, and news for its account alone."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import Any

import pytest
import websockets

from tastyclient import AccountStream, NewLeg, NewOrder, Notification, TastyClient
from tastyclient.account_stream import Reply, parse
from testkit import eventually


async def said(socket: websockets.ClientConnection, message: object) -> dict[str, Any]:
    """The server's next message after ours."""
    await socket.send(json.dumps(message))
    found: dict[str, Any] = json.loads(await asyncio.wait_for(socket.recv(), 10))
    return found


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ([], "INVALID_MESSAGE"),
        ({"type": "SETUP", "channel": "one"}, "INVALID_MESSAGE"),
        ({"type": "FEED_SUBSCRIPTION", "channel": 1, "add": [{"type": "Quote"}]}, "INVALID_MESSAGE"),
        ({"type": "CHANNEL_REQUEST", "channel": 2, "service": "FEED"}, "BAD_ACTION"),
        ({"type": "FEED_SUBSCRIPTION", "channel": 9, "add": []}, "BAD_ACTION"),
        ({"type": "DANCE", "channel": 0}, "BAD_ACTION"),
    ],
)
async def test_what_the_wire_cannot_mean_is_an_error_and_the_connection_lives(
    client: TastyClient, message: object, kind: str
) -> None:
    """Each names its kind; the next message is answered as ever."""
    address = (await client.quote_token()).dxlink_url
    async with websockets.connect(address, proxy=None) as socket:
        opened = await said(socket, {"type": "CHANNEL_REQUEST", "channel": 1, "parameters": {"contract": "TICKER"}})
        assert opened["parameters"] == {"contract": "TICKER"}
        answer = await said(socket, message)
        assert (answer["type"], answer["error"]) == ("ERROR", kind)
        assert (await said(socket, {"type": "KEEPALIVE", "channel": 0}))["type"] == "KEEPALIVE"
        assert (await said(socket, {"type": "CHANNEL_CANCEL", "channel": 1}))["type"] == "CHANNEL_CLOSED"


async def test_an_action_before_the_connection_is_complete_is_refused(address: str) -> None:
    """As is one that is not known."""
    async with websockets.connect(_streamer(address), proxy=None) as socket:
        await socket.send('{"action":"heartbeat","request-id":1}')
        assert parse(await socket.recv()) == [Reply("heartbeat", False, "connect-not-completed", 1)]
        await socket.send('{"action":"connect","value":"5WT00001","request-id":2}')
        assert parse(await socket.recv()) == [Reply("connect", True, "", 2)]
        await socket.send('{"action":"dance","request-id":3}')
        assert parse(await socket.recv()) == [Reply("dance", False, "not implemented", 3)]


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
