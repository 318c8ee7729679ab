"""What the feed owes its readers: rows when they change, both formats, every contract, candles that fit."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from fastapi import WebSocketDisconnect
from hypothesis import given
from hypothesis import strategies as st

from tastysim.candle_history import within_bar
from tastysim.candle_periods import midnight, parse_candle
from tastysim.dxlink_events import FIELDS
from tastysim.dxlink_server import Feed
from tastysim.market import ModelMarket

NOON = datetime(2026, 11, 24, 17, 0, tzinfo=UTC)


class Client:
    """One connection to a feed in this process."""

    def __init__(self, feed: Feed) -> None:
        self.feed, self.said = feed, list[dict[str, Any]]()
        self._inbox: asyncio.Queue[str | None] = asyncio.Queue()
        self.slow = asyncio.Event()
        self.slow.set()

    async def accept(self) -> None:
        return

    async def receive_text(self) -> str:
        found = await self._inbox.get()
        if found is None:
            raise WebSocketDisconnect
        return found

    async def send_text(self, data: str) -> None:
        await self.slow.wait()
        self.said.append(json.loads(data))

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        self._inbox.put_nowait(None)

    async def tell(self, **message: Any) -> None:
        self._inbox.put_nowait(json.dumps({"channel": 1} | message))
        await self.settle()

    async def subscribe(self, *pairs: tuple[str, str], **more: Any) -> None:
        rows = [{"type": kind, "symbol": symbol} | more for kind, symbol in pairs]
        await self.tell(type="FEED_SUBSCRIPTION", add=rows)

    async def settle(self) -> None:
        for _ in range(60):
            await asyncio.sleep(0)

    async def steps(self, count: int) -> None:
        for _ in range(count):
            self.feed.columns.market.step(0.25)
            self.feed.tick()
            await self.settle()

    def events(self, kind: str) -> list[dict[str, Any]]:
        """Events of a type, in the order of arrival, from either format."""
        fields: dict[str, list[str]] = {}
        found: list[dict[str, Any]] = []
        for message in self.said:
            fields |= message.get("eventFields", {})
            if message["type"] != "FEED_DATA":
                continue
            if isinstance(message["data"][0], dict):
                found += [each for each in message["data"] if each["eventType"] == kind]
            elif message["data"][0] == kind:
                flat, width = message["data"][1], len(fields[kind])
                assert len(flat) % width == 0
                found += [
                    dict(zip(fields[kind], flat[at : at + width], strict=True)) for at in range(0, len(flat), width)
                ]
        return found


@asynccontextmanager
async def connected(feed: Feed, contract: str = "AUTO", **setup: Any) -> AsyncIterator[Client]:
    client = Client(feed)
    serving = asyncio.create_task(feed.serve(client))
    await client.tell(type="SETUP", channel=0, version="0.1")
    await client.tell(type="AUTH", channel=0, token="any")
    await client.tell(type="CHANNEL_REQUEST", service="FEED", parameters={"contract": contract})
    if setup:
        await client.tell(type="FEED_SETUP", acceptAggregationPeriod=0, **setup)
    try:
        yield client
    finally:
        await client.close()
        await serving


@pytest.fixture
def feed() -> Feed:
    return Feed(ModelMarket(7, NOON), lambda _: time.time() + 3600)


def contract_of(feed: Feed, symbol: str = "SPY") -> str:
    """A contract near the money."""
    market = feed.columns.market
    own = market.rows[symbol]
    at = own.start + int(np.argmin(np.abs(market.strike[own] - market.spot[market.index_of(symbol) or 0])))
    return market.options[at].streamer


async def test_without_a_setup_events_are_full_objects_of_every_field(feed: Feed) -> None:
    """With the type and the symbol by name."""
    async with connected(feed) as client:
        option = contract_of(feed)
        await client.subscribe(*((kind, symbol) for kind in FIELDS for symbol in ("SPY", option) if kind != "Candle"))
        await client.steps(400)
        for kind in FIELDS:
            if kind != "Candle":
                assert set(client.events(kind)[0]) == {"eventType", *FIELDS[kind]}


async def test_compact_events_keep_the_order_that_was_asked_for(feed: Feed) -> None:
    """A name the server does not know is sent as NaN, so that the next value is never misread."""
    names = ["askPrice", "invented", "eventSymbol", "bidPrice"]
    async with connected(feed, acceptDataFormat="COMPACT", acceptEventFields={"Quote": names}) as client:
        await client.subscribe(("Quote", "SPY"))
        (data,) = [each["data"] for each in client.said if each["type"] == "FEED_DATA"]
    assert data[0] == "Quote"
    ask, invented, symbol, bid = data[1]
    assert (invented, symbol) == ("NaN", "SPY")
    assert bid < ask


async def test_only_what_changed_is_sent_again(feed: Feed) -> None:
    """A step brings the rows it changed, and those whose turn it is to be confirmed: each within 24 steps."""
    market = feed.columns.market
    own = market.rows["SPY"]
    symbols = [option.streamer for option in market.options[own]]
    async with connected(feed, acceptDataFormat="COMPACT") as client:
        await client.subscribe(*(("Quote", symbol) for symbol in symbols))
        assert {each["eventSymbol"] for each in client.events("Quote")} == set(symbols)
        await client.steps(1)
        confirmed = 0
        for _ in range(24):
            client.said.clear()
            await client.steps(1)
            sent = {each["eventSymbol"] for each in _plain(client, "Quote")}
            changed = {symbols[row] for row in np.flatnonzero(market.quoted_at[own] == market.steps)}
            assert changed <= sent
            confirmed += len(sent - changed)
            assert len(sent - changed) <= len(symbols) // 24 + 1
        assert confirmed > len(symbols) // 2


def _plain(client: Client, kind: str) -> list[dict[str, Any]]:
    """Events in the server's own field order: the news of it came earlier."""
    width = len(FIELDS[kind])
    found = []
    for message in client.said:
        if message["type"] == "FEED_DATA" and message["data"][0] == kind:
            flat = message["data"][1]
            found += [dict(zip(FIELDS[kind], flat[at : at + width], strict=True)) for at in range(0, len(flat), width)]
    return found


async def test_readers_of_the_same_rows_share_one_encoding(feed: Feed) -> None:
    """Ten clients cost one."""
    names = [option.streamer for option in feed.columns.market.options[feed.columns.market.rows["SPY"]]]
    async with connected(feed, acceptDataFormat="COMPACT") as first:
        others = [connected(feed, acceptDataFormat="COMPACT") for _ in range(9)]
        clients = [first, *[await other.__aenter__() for other in others]]
        for client in clients:
            await client.subscribe(*(("Quote", name) for name in names))
        await first.steps(1)
        encoded, shared = feed.encoder.encoded, feed.encoder.shared
        await first.steps(5)
        assert feed.encoder.shared - shared == 9 * (feed.encoder.encoded - encoded)
        assert feed.encoder.encoded > encoded
        for other in others:
            await other.__aexit__(None, None, None)


async def test_a_slow_reader_is_owed_the_newest_values_and_no_backlog(feed: Feed) -> None:
    """While it does not read, steps are not queued: then each symbol comes once, as it is now."""
    async with connected(feed, acceptDataFormat="COMPACT") as client:
        await client.subscribe(("Quote", "SPY"))
        await client.steps(1)
        client.slow.clear()
        await client.steps(50)
        client.said.clear()
        client.slow.set()
        await client.settle()
        quotes = _plain(client, "Quote")
    assert len(quotes) <= 2
    assert (quotes[-1]["bidPrice"], quotes[-1]["askPrice"]) == feed.columns.market.spot_quote(0)


async def test_an_aggregation_period_spares_a_reader(feed: Feed) -> None:
    """An hour: after the first value nothing, however often the market moves; a new symbol comes at once."""
    async with connected(feed) as client:
        await client.tell(type="FEED_SETUP", acceptAggregationPeriod=3600)
        assert client.said[-1]["aggregationPeriod"] == 60.0
        await client.subscribe(("Quote", "SPY"))
        await client.steps(1)
        seen = len(client.events("Quote"))
        await client.steps(20)
        assert len(client.events("Quote")) == seen
        await client.subscribe(("Quote", "QQQ"))
        assert client.events("Quote")[-1]["eventSymbol"] == "QQQ"


async def test_a_wildcard_brings_everything_that_has_the_event(feed: Feed) -> None:
    """Underlying events of every underlying."""
    async with connected(feed, "STREAM") as client:
        await client.subscribe(("Underlying", "*"))
        found = {each["eventSymbol"] for each in client.events("Underlying")}
    assert found == {each.symbol for each in feed.columns.market.listed}


async def test_the_contract_decides_whether_a_past_is_sent(feed: Feed) -> None:
    """HISTORY and AUTO begin with a snapshot of candles, STREAM and TICKER with nothing but the bar that runs."""
    counts = {}
    for contract in ("AUTO", "HISTORY", "STREAM", "TICKER"):
        async with connected(feed, contract) as client:
            await client.subscribe(("Candle", "SPY{=1d}"), fromTime=0)
            await client.steps(3)
            counts[contract] = client.events("Candle")
            assert {each["eventSymbol"] for each in counts[contract]} == {"SPY{=d}"}
    assert len(counts["AUTO"]) > 200
    assert counts["HISTORY"][0]["eventFlags"] == 4
    for contract in ("STREAM", "TICKER"):
        assert {each["time"] for each in counts[contract]} == {counts["AUTO"][0]["time"]}
        assert {each["eventFlags"] for each in counts[contract]} == {0}


async def test_trades_are_told_in_order_and_their_past_on_request(feed: Feed) -> None:
    """Every trade once; a snapshot has them newest first, between its two flags."""
    async with connected(feed, "STREAM") as live, connected(feed, "HISTORY") as later:
        await live.subscribe(("TimeAndSale", "SPY"))
        await live.steps(400)
        trades = live.events("TimeAndSale")
        await later.subscribe(("TimeAndSale", "SPY"), fromTime=0)
        past = later.events("TimeAndSale")
    indices = [each["index"] for each in trades]
    assert len(trades) > 3
    assert len(set(indices)) == len(indices)
    assert all(each["price"] > 0 and each["size"] >= 1 for each in trades)
    assert [each["index"] for each in past] == indices[::-1]
    assert (past[0]["eventFlags"], past[-1]["eventFlags"]) == (4, 8)


async def test_a_running_bar_is_told_again_when_it_changes_and_ends_once(feed: Feed) -> None:
    """Ten-second bars of a minute: each opens where its first price was and holds what came in it."""
    async with connected(feed, acceptDataFormat="COMPACT") as client:
        await client.subscribe(("Candle", "SPY{=10s}"))
        await client.steps(240)
        events = client.events("Candle")
    starts = sorted({each["time"] for each in events if each["eventFlags"] == 0})
    assert len(starts) >= 6
    assert {second - first for first, second in pairwise(starts)} == {10_000}
    assert [each["time"] for each in events] == sorted(each["time"] for each in events)


async def test_a_contract_has_candles_priced_from_its_underlying(feed: Feed) -> None:
    """Highs above lows; the newest bar is about the contract's price."""
    option = contract_of(feed)
    async with connected(feed) as client:
        await client.subscribe(("Candle", f"{option}{{=h}}"), fromTime=0)
        events = client.events("Candle")
    assert len(events) > 20
    assert all(each["low"] <= each["close"] <= each["high"] for each in events)
    row = feed.columns.row(option)
    assert row is not None
    assert events[0]["close"] == pytest.approx(feed.columns.at("last", row), abs=0.5)


async def test_what_is_no_candle_or_nothing_known_is_an_empty_snapshot(feed: Feed) -> None:
    """Bars of ticks are not kept: BEGIN, END and REMOVE in one event; no symbol at all is met with silence."""
    async with connected(feed) as client:
        await client.subscribe(("Candle", "SPY{=5t}"), ("Candle", "SPY"), ("Quote", "NOBODY"), fromTime=0)
        await client.steps(2)
        (event,) = client.events("Candle")
        assert (event["eventFlags"], event["close"]) == (14, "NaN")
        assert client.events("Quote") == []


@pytest.mark.parametrize(
    ("symbol", "canonical"),
    [
        ("AAPL{=1d}", "AAPL{=d}"),
        ("AAPL{=5m,tho=true}", "AAPL{=5m,tho=true}"),
        ("AAPL{=1w,tho=true,price=bid}", "AAPL{=w,price=bid,tho=true}"),
        (".SPY261218P690{=h}", ".SPY261218P690{=h}"),
    ],
)
def test_candle_symbols_come_back_in_the_servers_spelling(symbol: str, canonical: str) -> None:
    """A period of one loses its 1, attributes stand in order."""
    found = parse_candle(symbol)
    assert found is not None
    assert found.canonical == canonical


@pytest.mark.parametrize(
    "symbol", ["AAPL", "AAPL{}", "AAPL{=0m}", "AAPL{=5x}", "AAPL{=m,price=mine}", "{=m}", "A{=m}{"]
)
def test_what_is_no_candle_symbol_is_none(symbol: str) -> None:
    """Instead of an error: the feed is silent about what it does not know."""
    assert parse_candle(symbol) is None


@given(
    st.sampled_from(["s", "m", "h", "d", "w", "mo", "o", "y"]),
    st.integers(1, 30),
    st.integers(10_000, 25_000),
    st.integers(0, 86_399),
)
def test_every_instant_lies_in_its_bar(unit: str, number: int, day: int, offset: int) -> None:
    """Bars begin at or before what they hold, and earlier instants never lie in later bars."""
    found = parse_candle(f"A{{={number}{unit}}}")
    assert found is not None
    at = midnight(day) + offset
    first, second = found.starts(np.array([at, at + 60]), np.array([day, day])).tolist()
    assert first <= second
    assert first <= max(at, day * 86_400) * 1000


@given(st.integers(0, 10_000), st.lists(st.floats(5, 500), min_size=4, max_size=4), st.floats(0, 1e8))
def test_minutes_make_up_exactly_the_bar_of_their_day(day: int, prices: list[float], volume: float) -> None:
    """Open, high, low, close and volume of the day, from 390 minutes that stay within it."""
    low, first, last, high = sorted(round(price, 2) for price in prices)
    found, traded = within_bar("SPY", day, (first, high, low, last), volume, 390)
    opens, highs, lows, closes = found
    assert (opens[0], closes[-1], highs.max(), lows.min()) == (first, last, high, low)
    assert np.all(lows <= np.minimum(opens, closes))
    assert np.all(highs >= np.maximum(opens, closes))
    assert traded.sum() == round(volume)
    assert np.all(traded >= 0)
