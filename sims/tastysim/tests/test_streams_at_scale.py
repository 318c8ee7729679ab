"""25,000 symbols streamed by the running simulator to one client: nothing is dropped, and a cut heals at once.

Short by default; `TT_STREAM_SECONDS` sets for how long the undisturbed stream is watched (600 = ten minutes), and
`TT_STREAM_KINDS` which events every symbol is subscribed to (`Quote,Greeks,Trade,Summary` = 100,000 subscriptions).
The broker allows 10,000 changes of subscriptions a minute, so that 25,000 take two minutes to ask for again;
the simulator's limit is off here, and the five seconds are what client and server need.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
import psutil
import pytest

from tastyclient import ConflatingQueue, MarketStream, NestedChain, NotFoundError, TastyClient
from testkit import Relay, eventually, relayed

SYMBOLS = 25_000
UNIVERSE = "40"
"""Underlyings of the market: with their options, more than 25,000 symbols."""
WATCHED_SECONDS = float(os.environ.get("TT_STREAM_SECONDS", "4"))
STEP_SECONDS, RESEND_STEPS = 0.25, 24
KINDS = tuple(os.environ.get("TT_STREAM_KINDS", "Quote").split(","))


@dataclass
class Reader:
    """A stream, its queue, and when each subscription was last heard."""

    client: TastyClient
    relay: Relay
    queue: ConflatingQueue = field(default_factory=lambda: ConflatingQueue(events_max=250_000))
    heard: dict[str, np.ndarray[Any, np.dtype[np.float64]]] = field(default_factory=dict)
    wanted: dict[str, np.ndarray[Any, np.dtype[np.int64]]] = field(default_factory=dict)
    down: list[str] = field(default_factory=list)
    up: int = 0

    def __post_init__(self) -> None:
        self.stream = MarketStream(self._token, self.queue.put, self._status)

    async def _token(self) -> tuple[str, str]:
        found = await self.client.quote_token()
        return found.token, self.relay.url(found.dxlink_url)

    def _status(self, up: bool, reason: str) -> None:
        if up:
            self.up += 1
        else:
            self.down.append(reason)

    def want(self, names: list[str]) -> None:
        """Every name in every type that it has."""
        for kind in KINDS:
            part = [name for name in names if kind != "Greeks" or name.startswith(".")]
            self.stream.want(kind, part)
            numbers = self.stream.machine.symbols.numbers
            self.wanted[kind] = np.array([numbers[name] for name in part])
            self.heard[kind] = np.full(len(self.stream.symbols), -np.inf)

    async def read(self) -> None:
        while True:
            columns, _ = await self.queue.get()
            self.heard[columns.event_type][columns.ids] = time.monotonic()

    def fresh(self, since: float) -> int:
        """Subscriptions heard of since then."""
        return sum(int((self.heard[kind][rows] >= since).sum()) for kind, rows in self.wanted.items())

    def oldest(self) -> float:
        """Age of the value that was heard of longest ago, of the types that are sent again, seconds."""
        kinds = [kind for kind in self.wanted if kind != "Summary"]
        return time.monotonic() - min(float(self.heard[kind][self.wanted[kind]].min()) for kind in kinds)


async def names_of(client: TastyClient) -> list[str]:
    """Streamer symbols of every underlying and contract of the simulator."""
    found: list[str] = []
    chains: list[NestedChain] = []
    async with httpx.AsyncClient(trust_env=False) as plain:
        health = await plain.get(f"{client.transport.settings.base_url}/sim/health")
    for symbol in health.json()["underlyings"]:
        found.append(symbol)
        with suppress(NotFoundError):
            chains += await client.nested_chain(symbol)
    for root in chains:
        for expiration in root.expirations:
            for strike in expiration.strikes:
                found += [strike.call_streamer_symbol, strike.put_streamer_symbol]
    return found


@pytest.mark.slow
@pytest.mark.timeout(180 + WATCHED_SECONDS)
async def test_25000_symbols_stream_without_a_drop_and_heal_in_five_seconds(
    simulator_with: Callable[..., Any], client_with: Callable[..., TastyClient], capsys: pytest.CaptureFixture[str]
) -> None:
    """Real processes: every value is kept and none is older than the simulator resends; then the line is cut."""
    simulator = simulator_with(universe=UNIVERSE)
    async with client_with(base_url=simulator.url) as client, relayed(simulator.url) as relay:
        reader = Reader(client, relay)
        reader.want((await names_of(client))[:SYMBOLS])
        subscriptions = len(reader.stream.machine.wanted)
        assert subscriptions >= SYMBOLS
        server, own = psutil.Process(simulator.process.pid), psutil.Process()
        tasks = [asyncio.create_task(work) for work in (reader.stream.run(), reader.read())]
        began = time.monotonic()
        await eventually(lambda: reader.fresh(began) == subscriptions, timeout=60)
        first = time.monotonic() - began
        spent, events = [sum(each.cpu_times()[:2]) for each in (server, own)], reader.stream.statistics.events
        oldest, until = 0.0, time.monotonic() + WATCHED_SECONDS
        while time.monotonic() < until:
            await asyncio.sleep(min(1.0, WATCHED_SECONDS / 4))
            oldest = max(oldest, reader.oldest())
        statistics = reader.stream.statistics
        rate = (statistics.events - events) / WATCHED_SECONDS
        cpu = [
            (sum(each.cpu_times()[:2]) - at) / WATCHED_SECONDS for each, at in zip((server, own), spent, strict=True)
        ]
        assert (reader.queue.dropped, reader.queue.conflated) == (0, 0)
        assert (statistics.reconnects, statistics.bad_frames, reader.down) == (0, 0, [])
        cut = time.monotonic()
        relay.cut()
        await eventually(lambda: reader.fresh(cut) == subscriptions and reader.up == 2, timeout=30)
        healed = time.monotonic() - cut
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    told = {
        "subscriptions": subscriptions,
        "first_values_seconds": round(first, 2), "watched_seconds": WATCHED_SECONDS, "events_per_second": round(rate),
        "server_cpu": round(cpu[0], 3), "client_cpu": round(cpu[1], 3), "oldest_seconds": round(oldest, 1),
        "healed_seconds": round(healed, 2), "dropped": reader.queue.dropped, "conflated": reader.queue.conflated,
    }  # fmt: skip
    with capsys.disabled():
        sys.stdout.write(f"\n{told}\n")
    assert rate > 1_000
    assert oldest < 2 * RESEND_STEPS * STEP_SECONDS
    assert healed < 5.0 * len(KINDS)
