"""Both streams under faults: what our streams then report and do, and that reading again finds what was lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Protocol

import httpx
import pytest
import websockets

from tastyclient import (
    AccountStream,
    Columns,
    MarketStream,
    NewLeg,
    NewOrder,
    Notification,
    OrderStatus,
    PlacedOrder,
    Position,
    TastyClient,
)
from tastysim.faults import (
    DelayFrames,
    Disconnect,
    DropFrames,
    DuplicateFrames,
    ErrorBefore,
    ExpireToken,
    FaultBase,
    FreezeStream,
    LagAccount,
    LateLegFills,
    RefuseConnection,
    RefuseQuoteToken,
    ReorderFrames,
    SkewClock,
    SlowStream,
    StaleOrders,
)
from testkit import eventually

SETUP = '{"type":"SETUP","channel":0,"version":"0.1","keepaliveTimeout":60,"acceptKeepaliveTimeout":60}'


class FaultsOf(Protocol):
    """The fixture `faults` of conftest."""

    http: httpx.Client

    def install(self, *faults: FaultBase) -> list[str]: ...
    def remove(self, name: str) -> dict[str, Any]: ...
    def row(self, name: str) -> dict[str, Any]: ...
    def history(self, account: str) -> list[dict[str, Any]]: ...
    def told(self, account: str, *what: str) -> list[str]: ...


@dataclass
class Heard:
    """Our account stream at work: what it told, when it was up, how often it read everything again."""

    stream: AccountStream
    notifications: list[Notification] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    resyncs: int = 0
    seen_orders: dict[int, PlacedOrder] = field(default_factory=dict)
    """What the newest reading over REST found."""

    def statuses(self, order_id: int) -> list[OrderStatus]:
        """Statuses of an order as they came."""
        return [each.status for each in self.orders(order_id)]

    def orders(self, order_id: int) -> list[PlacedOrder]:
        """Messages about an order as they came."""
        return [each for each in self.notifications if isinstance(each, PlacedOrder) and each.id == order_id]


@pytest.fixture
async def heard(
    client: TastyClient, address: str, account: str, request: pytest.FixtureRequest
) -> AsyncIterator[Heard]:
    """The account stream of the test's account, live; it beats every 5 s, or as the test says."""

    async def resync() -> None:
        found.resyncs += 1
        found.seen_orders = {each.id: each for each in await client.live_orders(account)}

    stream = AccountStream(
        f"{address.replace('http', 'ws', 1)}/streamer", [account], client.access_token,
        lambda each: found.notifications.append(each),
        lambda up, reason: None if up else found.reasons.append(reason),
        back_off_seconds=0.05, resync=resync, heartbeat_seconds=getattr(request, "param", 5.0),
        on_refused=client.forget_access_token,
    )  # fmt: skip
    found = Heard(stream)
    running = asyncio.create_task(stream.run())
    await eventually(lambda: stream.live)
    yield found
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


_LEGS: dict[str, tuple[NewLeg, NewLeg]] = {}


async def order(client: TastyClient, account: str, price: str) -> PlacedOrder:
    """A put credit spread: at 0.05 it fills with the next step, at 5.90 it rests."""
    if not _LEGS:
        puts = [strike.put for strike in (await client.nested_chain("SPY"))[0].expirations[3].strikes]
        _LEGS["SPY"] = (
            NewLeg(symbol=puts[12], action="Sell to Open", quantity=1),
            NewLeg(symbol=puts[9], action="Buy to Open", quantity=1),
        )
    return await client.submit(account, NewOrder(legs=_LEGS["SPY"], price=Decimal(price), external_identifier="x"))


async def until_filled(client: TastyClient, account: str, placed: PlacedOrder) -> None:
    """Until a read shows the fill."""

    async def done() -> bool:
        return (await client.order(account, placed.id)).status is OrderStatus.FILLED

    await eventually(done)


async def test_a_fill_is_lost_while_heartbeats_are_answered(
    faults: FaultsOf, client: TastyClient, account: str, heard: Heard
) -> None:
    """Nothing tells the stream: it stays live without a gap; only a read shows the fill."""
    faults.install(DropFrames(stream="account", account=account, frames=("Order",), statuses=("Filled",)))
    placed = await order(client, account, "0.05")
    await until_filled(client, account, placed)
    await eventually(lambda: [each for each in heard.notifications if isinstance(each, Position)])
    assert heard.statuses(placed.id) == [OrderStatus.LIVE]
    assert (heard.stream.live, heard.stream.gaps, heard.reasons) == (True, 1, [])


async def test_messages_come_more_than_once(faults: FaultsOf, client: TastyClient, account: str, heard: Heard) -> None:
    """The same message three times, with the same `updated-at` and the same fills."""
    faults.install(DuplicateFrames(account=account, frames=("Order",), copies=2))
    placed = await order(client, account, "0.05")
    await eventually(lambda: len(heard.orders(placed.id)) == 6)
    assert heard.statuses(placed.id) == [OrderStatus.LIVE] * 3 + [OrderStatus.FILLED] * 3
    last = heard.orders(placed.id)[3:]
    assert {each.updated_at for each in last} == {last[0].updated_at}
    assert {fill.fill_id for each in last for leg in each.legs for fill in leg.fills} == {
        fill.fill_id for leg in last[0].legs for fill in leg.fills
    }


async def test_messages_overtake_each_other(faults: FaultsOf, client: TastyClient, account: str, heard: Heard) -> None:
    """Filled comes before Live: the times tell them apart."""
    faults.install(ReorderFrames(account=account, frames=("Order",), times=1, behind=1, seconds=5.0))
    placed = await order(client, account, "0.05")
    await eventually(lambda: len(heard.orders(placed.id)) == 2)
    first, second = heard.orders(placed.id)
    assert (first.status, second.status) == (OrderStatus.FILLED, OrderStatus.LIVE)
    assert first.updated_at is not None
    assert second.updated_at is not None
    assert first.updated_at > second.updated_at


async def test_a_message_that_nothing_overtakes_comes_at_the_latest_in_time(
    faults: FaultsOf, client: TastyClient, account: str, heard: Heard
) -> None:
    """An order that rests says nothing more: its one message comes after `seconds`; a delayed one likewise."""
    faults.install(
        ReorderFrames(account=account, frames=("Order",), times=1, behind=1000, seconds=0.3),
        DelayFrames(account=account, frames=("Order",), skip=0, times=1, seconds=0.4),
    )
    began = time.monotonic()
    delayed, reordered = await order(client, account, "5.90"), await order(client, account, "5.80")
    await eventually(lambda: heard.orders(delayed.id) and heard.orders(reordered.id))
    assert time.monotonic() - began >= 0.3
    assert heard.stream.live


async def test_an_older_message_comes_after_a_newer_one(
    faults: FaultsOf, client: TastyClient, account: str, heard: Heard
) -> None:
    """After Filled comes Live again, with its older `updated-at`."""
    faults.install(StaleOrders(account=account))
    placed = await order(client, account, "0.05")
    await eventually(lambda: len(heard.orders(placed.id)) == 3)
    live, filled, stale = heard.orders(placed.id)
    assert (live.status, filled.status, stale.status) == (OrderStatus.LIVE, OrderStatus.FILLED, OrderStatus.LIVE)
    assert stale.updated_at == live.updated_at
    assert filled.updated_at is not None
    assert stale.updated_at is not None
    assert stale.updated_at < filled.updated_at


async def test_fills_of_a_leg_are_pushed_late(
    faults: FaultsOf, client: TastyClient, account: str, heard: Heard
) -> None:
    """Filled with the fills of one leg, and Filled again with all of them."""
    faults.install(LateLegFills(account=account, seconds=0.3))
    placed = await order(client, account, "0.05")
    await eventually(lambda: heard.statuses(placed.id).count(OrderStatus.FILLED) == 2)
    first, second = (each for each in heard.orders(placed.id) if each.status is OrderStatus.FILLED)
    assert [len(leg.fills) for leg in first.legs] == [1, 0]
    assert [len(leg.fills) for leg in second.legs] == [1, 1]


async def test_positions_are_pushed_late(faults: FaultsOf, client: TastyClient, account: str, heard: Heard) -> None:
    """The fill is told at once, what is held comes later."""
    [name] = faults.install(LagAccount(account=account, seconds=3600))
    placed = await order(client, account, "0.05")
    await eventually(lambda: OrderStatus.FILLED in heard.statuses(placed.id))
    assert not [each for each in heard.notifications if isinstance(each, Position)]
    faults.remove(name)
    await eventually(lambda: len([each for each in heard.notifications if isinstance(each, Position)]) == 2)


@pytest.mark.parametrize(("code", "abrupt"), [(1012, False), (1012, True), (4000, False)])
async def test_a_fill_in_a_gap_is_found_by_reading_again(
    faults: FaultsOf, client: TastyClient, account: str, heard: Heard, code: int, abrupt: bool
) -> None:
    """The connection ends in the place of the fill's message; live again only after a read, which has the fill."""
    cut = Disconnect(account=account, frames=("Order",), statuses=("Filled",), code=code, abrupt=abrupt)
    faults.install(cut)
    placed = await order(client, account, "0.05")
    await eventually(lambda: heard.resyncs == 2 and heard.stream.live)
    assert heard.stream.reconnects == 1
    assert OrderStatus.FILLED not in heard.statuses(placed.id)
    assert heard.seen_orders[placed.id].status is OrderStatus.FILLED
    assert abrupt or str(code) in heard.reasons[0]


async def test_a_connection_ends_now_and_cannot_be_made_again_for_a_while(
    faults: FaultsOf, client: TastyClient, account: str, heard: Heard
) -> None:
    """502 to the first two handshakes, and a resync that fails once: the stream tries on and is live in the end."""
    [refusing, _, _] = faults.install(
        RefuseConnection(stream="account", times=2, status=502),
        ErrorBefore(account=account, method="GET", path="*/orders/live", times=3),
        Disconnect(account=account),
    )
    await eventually(lambda: heard.stream.reconnects >= 3 and heard.stream.live)
    assert faults.remove(refusing)["struck"] == 2
    assert any("502" in reason for reason in heard.reasons)
    assert any("not read again" in reason for reason in heard.reasons)
    placed = await order(client, account, "5.90")
    await eventually(lambda: heard.orders(placed.id))


@pytest.mark.parametrize("heard", [0.3], indirect=True)
@pytest.mark.parametrize("pongs", [True, False])
async def test_a_silent_account_stream_is_noticed_by_its_heartbeats(
    faults: FaultsOf, client: TastyClient, account: str, heard: Heard, pongs: bool
) -> None:
    """The socket is open and says nothing: the connection is made anew and everything read again."""
    [name] = faults.install(FreezeStream(account=account, times=1, pongs=pongs))
    await eventually(lambda: heard.reasons)
    assert "heartbeat" in heard.reasons[0]
    placed = await order(client, account, "5.90")
    faults.remove(name)
    await eventually(lambda: heard.stream.live and heard.resyncs >= 2)
    assert placed.id in heard.seen_orders or heard.orders(placed.id)


async def test_a_frozen_line_gives_everything_once_it_thaws(faults: FaultsOf, client: TastyClient) -> None:
    """Nothing for half a second, not even the answer to a keepalive, then all in order."""
    address = (await client.quote_token()).dxlink_url
    async with websockets.connect(address, proxy=None) as socket:
        faults.install(FreezeStream(stream="dxlink", times=1, seconds=0.5))
        began = time.monotonic()
        await socket.send(SETUP)
        assert '"SETUP"' in str(await asyncio.wait_for(socket.recv(), 10))
        assert time.monotonic() - began >= 0.5
        assert '"AUTH_STATE"' in str(await asyncio.wait_for(socket.recv(), 10))


async def test_a_frozen_line_without_pongs_answers_no_ping(faults: FaultsOf, client: TastyClient) -> None:
    """A dead peer: neither frames nor pongs; both come back when it lives again."""
    address = (await client.quote_token()).dxlink_url
    async with websockets.connect(address, proxy=None, ping_interval=None) as socket:
        [name] = faults.install(FreezeStream(stream="dxlink", times=1, pongs=False))
        await socket.send(SETUP)
        await eventually(lambda: faults.row(name)["struck"])
        pong = await socket.ping()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(pong), 0.3)
        faults.remove(name)
        await asyncio.wait_for(pong, 10)
        assert '"SETUP"' in str(await asyncio.wait_for(socket.recv(), 10))


@pytest.mark.parametrize("heard", [0.3], indirect=True)
async def test_a_dead_token_costs_the_connection_until_it_is_renewed(
    faults: FaultsOf, client: TastyClient, account: str, heard: Heard
) -> None:
    """A heartbeat with a token that ended is answered `failed`; with a new one the stream is live again."""
    faults.install(ExpireToken(account=account, method="GET", path="*/balances/*", moment="after", times=1))
    await client.balance(account)
    await eventually(lambda: heard.reasons)
    assert "failed" in heard.reasons[0]
    await eventually(lambda: heard.stream.live and heard.resyncs >= 2)


async def test_times_in_notifications_follow_the_brokers_clock(
    faults: FaultsOf, client: TastyClient, account: str, heard: Heard
) -> None:
    """An hour ahead, in what is pushed too."""
    [name] = faults.install(SkewClock(account=account, seconds=3600))
    placed = await order(client, account, "5.90")
    await eventually(lambda: heard.orders(placed.id))
    faults.remove(name)
    right = await client.order(account, placed.id)
    pushed = heard.orders(placed.id)[0]
    assert right.received_at is not None
    assert pushed.received_at is not None
    assert (pushed.received_at - right.received_at).total_seconds() == 3600


@dataclass
class Feed:
    """Our market stream at work."""

    stream: MarketStream
    quotes: int = 0
    ups: int = 0
    reasons: list[str] = field(default_factory=list)


@pytest.fixture
async def feed(client: TastyClient, request: pytest.FixtureRequest) -> AsyncIterator[Feed]:
    """Quotes of three underlyings, streaming; silence of 20 s ends a connection, or as the test says."""

    async def token() -> tuple[str, str]:
        found = await client.quote_token()
        return found.token, found.dxlink_url

    def took(columns: Columns, _: int) -> None:
        found.quotes += len(columns)

    def changed(up: bool, reason: str) -> None:
        found.ups += up
        if not up:
            found.reasons.append(reason)

    patience = getattr(request, "param", 20.0)
    stream = MarketStream(token, took, changed, stall_seconds=patience, back_off_seconds=0.05)
    found = Feed(stream)
    stream.want("Quote", ["SPY", "QQQ", "IWM"])
    running = asyncio.create_task(stream.run())
    await eventually(lambda: found.quotes)
    yield found
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def more(feed: Feed, ups: int) -> None:
    """Until the stream has been up so often and quotes flow again."""
    await eventually(lambda: feed.ups == ups)
    before = feed.quotes
    await eventually(lambda: feed.quotes > before)


@pytest.mark.parametrize("abrupt", [False, True])
async def test_a_feed_that_is_cut_comes_back_with_what_it_wants(faults: FaultsOf, feed: Feed, abrupt: bool) -> None:
    """502 to the first handshake after it; then everything is subscribed again by itself."""
    faults.install(RefuseConnection(stream="dxlink", times=1), Disconnect(stream="dxlink", abrupt=abrupt))
    await more(feed, 2)
    assert len(feed.reasons) == 2
    assert abrupt or "1012" in feed.reasons[0]
    assert "502" in feed.reasons[1]


async def test_a_refused_quote_token_is_asked_for_anew(faults: FaultsOf, feed: Feed) -> None:
    """The handshake fails, and the next one has a token of its own."""
    [name, _] = faults.install(RefuseQuoteToken(times=1), Disconnect(stream="dxlink"))
    await more(feed, 2)
    assert faults.remove(name)["struck"] == 1
    assert len(feed.reasons) == 2


@pytest.mark.parametrize("feed", [0.7], indirect=True)
async def test_a_silent_feed_is_noticed_by_the_watchdog(faults: FaultsOf, feed: Feed) -> None:
    """Open and mute: the stall is told and a new connection streams."""
    faults.install(FreezeStream(stream="dxlink", times=1))
    await more(feed, 2)
    assert "silent" in feed.reasons[0]


async def test_lost_doubled_and_slow_frames_do_not_end_a_feed(faults: FaultsOf, feed: Feed) -> None:
    """A third of the data is lost, the rest comes twice over a thin line: quotes flow, nothing is unreadable."""
    names = faults.install(
        DropFrames(stream="dxlink", frames=("FEED_DATA",), probability=0.33, seed=3),
        DuplicateFrames(stream="dxlink", frames=("FEED_DATA",)),
        SlowStream(stream="dxlink", bytes_per_second=20_000),
    )
    before = feed.quotes
    await eventually(lambda: all(faults.row(name)["struck"] for name in names) and feed.quotes > before + 6)
    assert (feed.ups, feed.reasons, feed.stream.statistics.bad_frames) == (1, [], 0)


async def test_a_thin_line_slows_what_comes(faults: FaultsOf, client: TastyClient) -> None:
    """An answer of about 100 bytes takes a fifth of a second at 500 bytes a second."""
    address = (await client.quote_token()).dxlink_url
    faults.install(SlowStream(stream="dxlink", bytes_per_second=500))
    async with websockets.connect(address, proxy=None) as socket:
        began = time.monotonic()
        await socket.send(SETUP)
        text = str(await asyncio.wait_for(socket.recv(), 10))
        assert time.monotonic() - began >= len(text) / 500 * 0.9
