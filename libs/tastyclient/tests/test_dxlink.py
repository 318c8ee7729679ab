"""The protocol machine: handshake, subscriptions as data, columns out, and a typed error for everything else."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest
import websockets
from hypothesis import given
from hypothesis import strategies as st

from tastyclient import Columns, DXLink, MarketStream, ProtocolError
from testkit import eventually

QUOTE = ["Quote", [".SPY261218P600", 1.25, 1.3, 10, "NaN", 1, 2, "SPY", 600.1, 600.2, 3.0, 4, 5, 6]]


def streaming() -> DXLink:
    machine = DXLink("secret")
    for message in (
        {"type": "SETUP", "channel": 0},
        {"type": "AUTH_STATE", "state": "UNAUTHORIZED"},
        {"type": "AUTH_STATE", "state": "AUTHORIZED"},
        {"type": "CHANNEL_OPENED", "channel": 1},
    ):
        assert machine.feed(json.dumps(message)) == []
    return machine


def sent(machine: DXLink) -> list[dict[str, object]]:
    return [json.loads(text) for text in machine.take_outgoing()]


def test_handshake_goes_from_setup_to_feed_setup() -> None:
    """Each answer brings the next request, the token among them."""
    messages = sent(streaming())
    assert [each["type"] for each in messages] == ["SETUP", "AUTH", "CHANNEL_REQUEST", "FEED_SETUP"]
    assert messages[1]["token"] == "secret"
    assert messages[3]["acceptDataFormat"] == "COMPACT"


def test_subscriptions_are_the_difference_and_are_replayed_on_a_new_connection() -> None:
    """What is wanted is data: only changes are sent, and everything again after a restart."""
    machine = streaming()
    machine.take_outgoing()
    machine.want("Quote", ["SPY", "QQQ"])
    machine.want("Quote", ["QQQ", "IWM"])
    added, added_later, removed = sent(machine)
    assert [row["symbol"] for row in added["add"]] == ["QQQ", "SPY"]  # type: ignore[attr-defined]
    assert [row["symbol"] for row in added_later["add"]] == ["IWM"]  # type: ignore[attr-defined]
    assert [row["symbol"] for row in removed["remove"]] == ["SPY"]  # type: ignore[attr-defined]
    machine.restart("second")
    for state in ("UNAUTHORIZED", "AUTHORIZED"):
        machine.feed(json.dumps({"type": "AUTH_STATE", "state": state}))
    machine.feed('{"type":"CHANNEL_OPENED","channel":1}')
    assert [row["symbol"] for row in sent(machine)[-1]["add"]] == ["IWM", "QQQ"]  # type: ignore[attr-defined]


def test_25000_symbols_are_sent_in_bounded_messages() -> None:
    """No message grows without limit."""
    machine = streaming()
    machine.take_outgoing()
    machine.want("Quote", [f"S{number}" for number in range(25_000)])
    messages = sent(machine)
    assert len(messages) == 25
    assert sum(len(each["add"]) for each in messages) == 25_000  # type: ignore[arg-type]


def test_compact_data_becomes_columns_and_nan_stays_missing() -> None:
    """Several symbols and several types in one frame."""
    trade = ["Trade", ["SPY", 600.15, 5, 1000, 7]]
    quotes, trades = streaming().feed(json.dumps({"type": "FEED_DATA", "channel": 1, "data": [*QUOTE, *trade]}))
    assert quotes.symbols == [".SPY261218P600", "SPY"]
    assert list(quotes.values["bidPrice"]) == [1.25, 600.1]
    assert np.isnan(quotes.values["askSize"][0])
    assert trades.values["dayVolume"][0] == 1000


def test_the_servers_own_field_order_is_followed() -> None:
    """FEED_CONFIG may announce another layout than was asked for."""
    machine = streaming()
    machine.feed('{"type":"FEED_CONFIG","channel":1,"eventFields":{"Trade":["eventType","price","eventSymbol"]}}')
    (trades,) = machine.feed('{"type":"FEED_DATA","channel":1,"data":["Trade",["Trade",1.5,"SPY"]]}')
    assert (trades.symbols, list(trades.values["price"])) == (["SPY"], [1.5])


def test_full_data_is_read_too() -> None:
    """Objects instead of arrays."""
    (quotes,) = streaming().feed(
        '{"type":"FEED_DATA","channel":1,"data":[{"eventType":"Quote","eventSymbol":"SPY","bidPrice":1}]}'
    )
    assert quotes.values["bidPrice"][0] == 1
    assert np.isnan(quotes.values["askPrice"][0])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"type":"NEW"}',
        '{"type":"FEED_DATA","data":["Quote"]}',
        '{"type":"FEED_DATA","data":["Quote",["SPY",1]]}',
        '{"type":"FEED_DATA","data":["Trade",["SPY","x",1,1,1]]}',
        '{"type":"FEED_DATA","data":["Trade",[7,1,1,1,1]]}',
        '{"type":"AUTH_STATE","state":"UNAUTHORIZED"}',
        '{"type":"ERROR","error":"TIMEOUT","message":"late"}',
    ],
)
def test_what_is_not_understood_is_a_typed_error(text: str) -> None:
    """The loop reconnects; nothing half-read is used."""
    with pytest.raises(ProtocolError):
        streaming().feed(text)


@given(st.one_of(st.binary(max_size=80), st.text(max_size=80)))
def test_any_bytes_are_events_or_a_typed_error(text: bytes | str) -> None:
    """No input crashes the reader."""
    try:
        streaming().feed(text)
    except ProtocolError:
        return


async def test_the_loop_reconnects_with_a_new_token_and_subscribes_again() -> None:
    """A server that drops the connection costs a reconnect, not a subscription."""
    tokens: list[str] = []
    subscribed: list[list[str]] = []

    async def serve(socket: websockets.ServerConnection) -> None:
        async for text in socket:
            message = json.loads(text)
            if message["type"] == "SETUP":
                await socket.send('{"type":"SETUP","channel":0}')
                await socket.send('{"type":"AUTH_STATE","channel":0,"state":"UNAUTHORIZED"}')
            elif message["type"] == "AUTH":
                tokens.append(message["token"])
                await socket.send('{"type":"AUTH_STATE","channel":0,"state":"AUTHORIZED"}')
            elif message["type"] == "CHANNEL_REQUEST":
                await socket.send('{"type":"CHANNEL_OPENED","channel":1}')
            elif message["type"] == "FEED_SUBSCRIPTION":
                subscribed.append([row["symbol"] for row in message["add"]])
                await socket.send(json.dumps({"type": "FEED_DATA", "channel": 1, "data": QUOTE}))
                if len(tokens) == 1:
                    await socket.close()

    received: list[Columns] = []
    status: list[bool] = []
    async with websockets.serve(serve, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]

        async def token() -> tuple[str, str]:
            return f"token-{len(tokens)}", f"ws://127.0.0.1:{port}"

        stream = MarketStream(
            token, lambda columns, _: received.append(columns), lambda up, _: status.append(up), back_off_seconds=0.01
        )
        stream.want("Quote", ["SPY"])
        running = asyncio.create_task(stream.run())
        await eventually(lambda: len(received) >= 2)
        running.cancel()
    assert tokens[:2] == ["token-0", "token-1"]
    assert subscribed[:2] == [["SPY"], ["SPY"]]
    assert status[:3] == [True, False, True]
    assert stream.statistics.events >= 4
