"""The account stream: heartbeats, tolerant reading, and no "live" before everything was read again after a gap."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import websockets
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tastyclient.account_stream import AccountStream, Notification, Other, Reply, StreamRefusedError, Unreadable, parse
from tastyclient.errors import UnknownOutcomeError
from testkit import eventually

SCALE = int(os.environ.get("TT_TEST_SCALE", "1"))
ORDER = {
    "type": "Order",
    "data": {"id": 1, "account-number": "5WT00001", "status": "Live", "legs": [], "invented": [1]},
    "timestamp": 1,
}
UNREADABLE = {"type": "Order", "data": {"id": 1, "status": "Pondering"}}


@dataclass
class Broker:
    """The server side: answers as told and remembers."""

    connect: str = "ok"
    heartbeat: str = "ok"
    messages: list[dict[str, Any]] = field(default_factory=list)
    sockets: list[websockets.ServerConnection] = field(default_factory=list)
    url: str = ""

    async def serve(self, socket: websockets.ServerConnection) -> None:
        self.sockets.append(socket)
        async for text in socket:
            message = json.loads(text)
            self.messages.append(message)
            status = self.connect if message["action"] == "connect" else self.heartbeat
            if status != "nothing":
                await self.push(
                    {
                        "status": status,
                        "action": message["action"],
                        "request-id": message["request-id"],
                        "message": "failed",
                    }
                )

    async def push(self, message: object) -> None:
        await self.sockets[-1].send(json.dumps(message))


@asynccontextmanager
async def served(broker: Broker) -> AsyncIterator[Broker]:
    async with websockets.serve(broker.serve, "127.0.0.1", 0) as listening:
        broker.url = f"ws://127.0.0.1:{next(iter(listening.sockets)).getsockname()[1]}"
        yield broker


@dataclass
class Reader:
    """Everything the stream reported, in order."""

    log: list[object] = field(default_factory=list)
    asked: int = 0
    allow: asyncio.Event = field(default_factory=asyncio.Event)
    failures: int = 0

    async def token(self) -> str:
        self.asked += 1
        return f"token-{self.asked}"

    async def resync(self) -> None:
        self.log.append("reads again")
        await self.allow.wait()
        if self.failures:
            self.failures -= 1
            raise UnknownOutcomeError("the broker did not answer")

    def stream(self, broker: Broker, *, resync: bool = True, **options: Any) -> AccountStream:
        return AccountStream(
            broker.url,
            ["5WT00001"],
            self.token,
            lambda notification: self.log.append(type(notification).__name__),
            lambda up, reason: self.log.append((up, reason)),
            0.01,
            resync=self.resync if resync else None,
            **options,
        )


@asynccontextmanager
async def running(stream: AccountStream) -> AsyncIterator[None]:
    task = asyncio.create_task(stream.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_it_is_live_only_after_everything_was_read_again() -> None:
    """What comes meanwhile is held back and delivered in order before the word."""
    async with served(Broker()) as broker:
        reader = Reader()
        stream = reader.stream(broker)
        async with running(stream):
            await eventually(lambda: reader.log == ["reads again"])
            await broker.push(ORDER)
            await broker.push({"results": [ORDER, ORDER]})
            await broker.push({"type": "Novel", "data": {}})
            await eventually(lambda: stream.unknown["Novel"])
            assert reader.log == ["reads again"]
            assert not stream.live
            reader.allow.set()
            await eventually(lambda: stream.live)
            await broker.push(ORDER)
            await eventually(lambda: len(reader.log) == 6)
    assert reader.log == ["reads again", *["PlacedOrder"] * 3, (True, ""), "PlacedOrder"]


async def test_a_reconnect_demands_everything_again() -> None:
    """And says meanwhile that it is not live."""
    async with served(Broker()) as broker:
        reader = Reader()
        reader.allow.set()
        stream = reader.stream(broker)
        async with running(stream):
            await eventually(lambda: stream.live)
            await broker.sockets[0].close()
            await eventually(lambda: stream.gaps == 2 and stream.live)
    assert [each if isinstance(each, str) else each[0] for each in reader.log] == [  # type: ignore[index]
        "reads again", True, False, "reads again", True,
    ]  # fmt: skip
    assert stream.reconnects == 1


async def test_a_notification_that_cannot_be_read_is_a_gap_and_not_a_disconnect() -> None:
    """A status the broker invented: something happened, so everything is read; the connection stays."""
    async with served(Broker()) as broker:
        reader = Reader()
        reader.allow.set()
        stream = reader.stream(broker)
        async with running(stream):
            await eventually(lambda: stream.live)
            await broker.push(UNREADABLE)
            await eventually(lambda: stream.gaps == 2 and stream.live)
    assert len(broker.sockets) == 1
    assert stream.unreadable == 1
    told = [each for each in reader.log if isinstance(each, tuple) and not each[0]]
    assert "PlacedOrder.status" in told[0][1]


async def test_reading_again_is_tried_until_it_succeeds() -> None:
    """A broker that does not answer keeps the stream from being live, and is asked again."""
    async with served(Broker()) as broker:
        reader = Reader(failures=2)
        reader.allow.set()
        stream = reader.stream(broker)
        async with running(stream):
            await eventually(lambda: stream.live)
    assert reader.log.count("reads again") == 3
    assert sum(isinstance(each, tuple) and "not read again" in each[1] for each in reader.log) == 2


async def test_without_a_resync_every_gap_is_told_to_whoever_listens() -> None:
    """True once for each gap: then everything must be read."""
    async with served(Broker()) as broker:
        reader = Reader()
        async with running(reader.stream(broker, resync=False)):
            await eventually(lambda: reader.log)
            await broker.push(ORDER)
            await broker.push(UNREADABLE)
            await eventually(lambda: len(reader.log) == 4)
    assert [each[0] if isinstance(each, tuple) else each for each in reader.log] == [True, "PlacedOrder", False, True]


async def test_every_message_carries_a_fresh_token_and_its_own_number() -> None:
    """The token of the connection's start is long over when it matters."""
    async with served(Broker()) as broker:
        reader = Reader()
        async with running(reader.stream(broker, heartbeat_seconds=0.3)):
            await eventually(lambda: len(broker.messages) >= 4)
    assert [each["action"] for each in broker.messages[:3]] == ["connect", "heartbeat", "heartbeat"]
    assert broker.messages[0]["value"] == ["5WT00001"]
    assert [each["auth-token"] for each in broker.messages[:3]] == [f"Bearer token-{number}" for number in (1, 2, 3)]
    assert len({each["request-id"] for each in broker.messages}) == len(broker.messages)


async def test_a_heartbeat_that_is_not_answered_is_a_gap() -> None:
    """Also while notifications keep coming."""
    async with served(Broker(heartbeat="nothing")) as broker:
        reader = Reader()
        reader.allow.set()
        stream = reader.stream(broker, heartbeat_seconds=0.05)
        async with running(stream):
            await eventually(lambda: len(broker.sockets) >= 2)
    told = [each[1] for each in reader.log if isinstance(each, tuple) and not each[0]]
    assert told[0].startswith("GapError: a heartbeat of")


@pytest.mark.parametrize("action", ["connect", "heartbeat"])
async def test_a_refused_action_ends_the_connection_with_the_reason(action: str) -> None:
    """And it is never live on an account that was refused."""
    refusing = Broker(connect="error") if action == "connect" else Broker(heartbeat="error")
    async with served(refusing) as broker:
        reader = Reader()
        reader.allow.set()
        async with running(reader.stream(broker, heartbeat_seconds=0.05)):
            await eventually(lambda: (False, f"StreamRefusedError: {action}: failed") in reader.log)
            await eventually(lambda: len(broker.sockets) >= 2)
    assert ((True, "") in reader.log) == (action == "heartbeat")


async def test_what_has_no_model_is_handed_over_as_it_came() -> None:
    """What has no documented form and what the broker may add."""
    others: list[Other] = []
    async with served(Broker()) as broker:
        reader = Reader()
        reader.allow.set()
        stream = reader.stream(broker, on_other=others.append)
        async with running(stream):
            await eventually(lambda: stream.live)
            await broker.push({"type": "OrderChain", "data": {"id": 7}})
            await eventually(lambda: others)
    assert others == [Other("OrderChain", {"id": 7})]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"status": "ok", "action": "connect", "request-id": 1}, Reply("connect", True, "", 1)),
        ({"status": "error", "action": "x", "message": "not implemented"}, Reply("x", False, "not implemented", None)),
        ({"type": "OrderChain", "data": [1]}, Other("OrderChain", [1])),
        ({"type": ["Order"], "data": {}}, Other("['Order']", {})),
        ({}, Other("None", None)),
        ({"results": [7]}, Other("", 7)),
    ],
)
def test_each_message_has_one_meaning(message: object, expected: object) -> None:
    """Replies, notifications without a model, and what is neither."""
    assert parse(json.dumps(message)) == [expected]


@pytest.mark.parametrize("text", ["", "[]", "7", "{", b"\xff", "null"])
def test_what_is_no_object_is_refused(text: str | bytes) -> None:
    """The connection is made anew."""
    with pytest.raises(StreamRefusedError):
        parse(text)


json_values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from(["Live", "1.5"])
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=6), inner, max_size=4)),
    max_leaves=12,
)
fields = st.dictionaries(
    st.sampled_from(
        [
            "id", "status", "price", "price-effect", "legs", "account-number", "quantity", "symbol", "updated-at",
            "cash-balance", "cash-balance-effect", "quantity-direction", "average-open-price", "multiplier",
        ]
    ),
    json_values,
    max_size=8,
)  # fmt: skip


@settings(max_examples=150 * SCALE, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.one_of(
        st.binary(max_size=100),
        st.text(max_size=100),
        json_values.map(json.dumps),
        st.fixed_dictionaries(
            {},
            optional={
                "type": st.one_of(
                    st.sampled_from(["Order", "ComplexOrder", "CurrentPosition", "AccountBalance", "TradingStatus"]),
                    json_values,
                ),
                "data": st.one_of(fields, json_values),
                "status": json_values,
                "action": json_values,
                "request-id": json_values,
                "message": json_values,
                "results": st.one_of(json_values, st.lists(fields, max_size=3)),
            },
        ).map(json.dumps),
    )
)
def test_anything_at_all_is_notifications_or_a_typed_error(text: bytes | str) -> None:
    """Bytes, text, JSON of any form and almost-notifications."""
    try:
        found = parse(text)
    except StreamRefusedError:
        return
    assert all(isinstance(each, Notification | Reply | Other | Unreadable) for each in found)
