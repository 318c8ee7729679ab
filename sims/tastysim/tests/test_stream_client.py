"""Our own streams against the running simulator: what they survive, and what they ask for again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from tastyclient import (
    BROKER_LIMITS,
    Columns,
    ConflatingQueue,
    Limits,
    MarketStream,
    SeriesChange,
    SeriesReader,
    TastyClient,
    candle_symbol,
)
from testkit import Relay, eventually, relayed


@dataclass
class Told:
    """A stream and everything it reported."""

    client: TastyClient
    url: Callable[[str], str] = str
    columns: list[Columns] = field(default_factory=list)
    status: list[tuple[bool, str]] = field(default_factory=list)

    async def token(self) -> tuple[str, str]:
        found = await self.client.quote_token()
        return found.token, self.url(found.dxlink_url)

    def stream(self, **options: Any) -> MarketStream:
        return MarketStream(
            self.token,
            lambda columns, _: self.columns.append(columns),
            lambda up, reason: self.status.append((up, reason)),
            **{"back_off_seconds": 0.05, "compile_after_events": None} | options,
        )

    def of(self, event_type: str) -> list[Columns]:
        """Frames of one event type."""
        return [each for each in self.columns if each.event_type == event_type]

    def symbols(self, event_type: str) -> set[str]:
        """Symbols heard of."""
        return {symbol for each in self.of(event_type) for symbol in each.symbols}


@asynccontextmanager
async def running(stream: MarketStream) -> AsyncIterator[None]:
    task = asyncio.create_task(stream.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def relay(address: str) -> AsyncIterator[Relay]:
    """A line to the simulator that can be cut and frozen."""
    async with relayed(address) as found:
        yield found


@pytest.fixture
async def fast(client_with: Callable[..., TastyClient], fast_address: str) -> AsyncIterator[TastyClient]:
    """A client of the simulator in which much happens."""
    async with client_with(base_url=fast_address) as found:
        yield found


async def contract(client: TastyClient, symbol: str = "SPY") -> str:
    """A contract near the money, about a month out."""
    strikes = (await client.nested_chain(symbol))[0].expirations[3].strikes
    return strikes[len(strikes) // 2].call_streamer_symbol


async def test_every_event_type_arrives_with_values(fast: TastyClient) -> None:
    """Of an underlying and of a contract, in the fields we ask for."""
    client = fast
    option = await contract(client)
    both, spot = {"SPY", option}, {"SPY"}
    expected = {
        "Quote": both, "Trade": both, "TradeETH": both, "Summary": both, "Profile": both, "Greeks": {option},
        "TheoPrice": {option}, "Underlying": spot, "Series": spot,
    }  # fmt: skip
    told = Told(client)
    stream = told.stream()
    for event_type in expected:
        stream.want(event_type, [option, "SPY"])
    stream.want(
        "TimeAndSale", ["SPY", "QQQ", "IWM", "DIA", "AAPL", "MSFT", "GOOGL", "AMZN", "TSLA", "NVDA", "META", "JPM"]
    )
    async with running(stream):
        await eventually(lambda: all(told.symbols(kind) >= names for kind, names in expected.items()), timeout=20)
        await eventually(lambda: told.of("TimeAndSale"), timeout=20)
    newest = {kind: list(told.of(kind)[-1].events())[-1] for kind in [*expected, "TimeAndSale"]}
    assert stream.statistics.bad_frames == 0
    assert 0 < newest["Quote"]["bidPrice"] < newest["Quote"]["askPrice"]
    assert 0 < newest["Greeks"]["volatility"] < 2
    assert newest["Underlying"]["callVolume"] > 0
    assert newest["Series"]["forwardPrice"] > 0
    assert newest["TimeAndSale"]["price"] > 0
    assert newest["Profile"]["description"]


async def test_subscriptions_come_and_go_while_reading(client: TastyClient) -> None:
    """Without a reconnect: what was removed is heard of no more."""
    told = Told(client)
    stream = told.stream()
    stream.want("Quote", ["SPY", "QQQ"])
    async with running(stream):
        await eventually(lambda: told.symbols("Quote") == {"SPY", "QQQ"})
        stream.add("Quote", ["IWM"])
        stream.remove("Quote", ["SPY"])
        await eventually(lambda: "IWM" in told.symbols("Quote"))
        told.columns.clear()
        await eventually(lambda: len(told.of("Quote")) > 5)
    assert told.symbols("Quote") <= {"QQQ", "IWM"}
    assert [up for up, _ in told.status] == [True]


async def test_a_cut_line_is_made_anew_and_everything_asked_for_again(client: TastyClient, relay: Relay) -> None:
    """Quotes and candles."""
    told = Told(client, relay.url)
    stream = told.stream()
    stream.want("Quote", ["SPY", "QQQ"])
    stream.want("Candle", [candle_symbol("SPY", "5m")], from_time=0)
    async with running(stream):
        await eventually(lambda: told.symbols("Quote") == {"SPY", "QQQ"} and told.of("Candle"))
        relay.cut()
        await eventually(lambda: [up for up, _ in told.status] == [True, False, True])
        told.columns.clear()
        await eventually(lambda: told.symbols("Quote") == {"SPY", "QQQ"} and told.of("Candle"))
    assert stream.statistics.reconnects == 1


async def test_a_frozen_line_is_left_for_a_new_one(client: TastyClient, relay: Relay) -> None:
    """Bytes stop although the connection stands: the watchdog ends it, and the next one brings values again."""
    told = Told(client, relay.url)
    stream = told.stream(stall_seconds=0.5, handshake_seconds=0.5)
    stream.want("Quote", ["SPY"])
    async with running(stream):
        await eventually(lambda: told.of("Quote"))
        relay.freeze()
        await eventually(lambda: any(not up for up, _ in told.status))
        assert "silent for 0.5 s" in next(reason for up, reason in told.status if not up)
        relay.thaw()
        told.columns.clear()
        await eventually(lambda: told.of("Quote"))
        await eventually(lambda: told.status[-1][0])


async def test_a_restarted_simulator_is_found_again(
    simulator_with: Callable[..., Any], client_with: Callable[..., TastyClient]
) -> None:
    """Killed and started at the same address: its tokens are gone too, and a new one is asked for."""
    simulator = simulator_with(step_ms="20")
    async with client_with(base_url=simulator.url) as client:
        told = Told(client)
        stream = told.stream(back_off_seconds=0.05)
        stream.want("Quote", ["SPY"])
        async with running(stream):
            await eventually(lambda: told.of("Quote"))
            simulator.kill()
            await eventually(lambda: not told.status[-1][0])
            simulator.start()
            told.columns.clear()
            await eventually(lambda: told.of("Quote"), timeout=40)


async def test_a_token_is_renewed_before_it_ends_and_a_dead_one_costs_a_reconnect(
    simulator_with: Callable[..., Any], client_with: Callable[..., TastyClient]
) -> None:
    """The simulator ends a connection with its token: a client that renews in time never sees that."""
    simulator = simulator_with(step_ms="20", quote_token_seconds="1.5")
    async with client_with(base_url=simulator.url) as client:
        prudent, careless = Told(client), Told(client)
        renewing, trusting = prudent.stream(token_seconds=0.8), careless.stream()
        for stream in (renewing, trusting):
            stream.want("Quote", ["SPY"])
        async with running(renewing), running(trusting):
            await eventually(lambda: renewing.statistics.renewals >= 2 and trusting.statistics.reconnects >= 1)
            careless.columns.clear()
            await eventually(lambda: careless.of("Quote"))
    assert renewing.statistics.reconnects == 0
    assert "TokenRefusedError" in next(reason for up, reason in careless.status if not up)


async def test_limits_that_are_on_refuse_the_hasty_and_let_the_patient_through(
    simulator_with: Callable[..., Any], client_with: Callable[..., TastyClient]
) -> None:
    """10,000 changes a minute, 25,000 subscriptions, 100 candles, five sessions: as the broker documents."""
    simulator = simulator_with(step_ms="20", stream_limits="true")
    names = [f"NONE{number}" for number in range(10_001)]
    async with client_with(base_url=simulator.url) as client:
        hasty, patient = Told(client), Told(client)
        too_fast, paced = hasty.stream(), patient.stream(limits=BROKER_LIMITS)
        too_fast.want("Quote", names)
        paced.want("Quote", [*names, "SPY"])
        async with running(too_fast), running(paced):
            await eventually(lambda: too_fast.statistics.bad_frames == 1)
            assert "more than 10000 changes in a minute" in too_fast.statistics.last_bad
            await eventually(lambda: patient.status)
            candles = Told(client).stream(limits=Limits())
            candles.want("Candle", [candle_symbol("SPY", f"{number}m") for number in range(1, 102)], from_time=0)
            async with running(candles):
                await eventually(lambda: candles.statistics.bad_frames == 1)
                assert "100 subscriptions of Candle" in candles.statistics.last_bad
        assert paced.statistics.bad_frames == 0
        several = [Told(client) for _ in range(6)]
        tasks = [asyncio.create_task(told.stream(back_off_seconds=30.0).run()) for told in several]
        await eventually(lambda: all(told.status for told in several))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert sorted(told.status[0][0] for told in several) == [False] + 5 * [True]
    (refused,) = [told for told in several if not told.status[0][0]]
    assert "TokenRefusedError" in refused.status[0][1]


async def test_candles_bring_their_past_and_then_the_bar_that_runs(fast: TastyClient) -> None:
    """From a time on, oldest first once read; bars of one symbol agree with each other."""
    told = Told(fast)
    stream = told.stream()
    week = (int(time.time()) - 7 * 86_400) * 1000
    minutes, days = candle_symbol("SPY", "5m"), candle_symbol("SPY", "d", regular_hours=True)
    stream.want("Candle", [minutes, days], from_time=week)
    reader, changes = SeriesReader(), list[SeriesChange]()

    def read() -> bool:
        while told.columns:
            changes.extend(reader.take(told.columns.pop(0)))
        live = {change.symbol for change in changes if not change.snapshot}
        return live == {minutes, days}

    async with running(stream):
        await eventually(read, timeout=20)
    past = {change.symbol: change.events for change in changes if change.snapshot}
    for events in past.values():
        times = [event["time"] for event in events]
        assert times == sorted(times)
        assert times[0] >= week
        for event in events:
            assert event["low"] <= min(event["open"], event["close"])
            assert max(event["open"], event["close"]) <= event["high"]
    last = past[days][-2]
    own = [event for event in past[minutes] if 0 < event["time"] - last["time"] < 86_400_000]
    assert last["high"] == max(event["high"] for event in own)
    assert last["close"] == own[-1]["close"]
    assert last["volume"] == sum(event["volume"] for event in own)


async def test_a_slow_reader_gets_the_newest_values_within_its_bound(client: TastyClient) -> None:
    """The queue conflates what its reader does not fetch; nothing grows without end."""
    told = Told(client)
    queue = ConflatingQueue(events_max=8)
    stream = MarketStream(told.token, queue.put, lambda up, reason: told.status.append((up, reason)))
    option = await contract(client)
    stream.want("Quote", ["SPY", "QQQ", "IWM", option])
    async with running(stream):
        await eventually(lambda: queue.conflated > 20, timeout=30)
        assert len(queue) <= 8
    assert queue.dropped == 0
