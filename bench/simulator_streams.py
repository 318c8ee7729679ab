"""The simulator's DXLink server: events a CPU-second, encoded and served, by how many clients read it (part of P3).

Encoded: frames of 500 quotes and greeks made from the market's columns in this process, as COMPACT arrays and as FULL
objects. Served: a simulator process with 25,000 symbols subscribed by each of some connections in quotes, greeks,
trades and summaries; its CPU time beyond that of an idle one, moving the same market. Every client subscribes to the
same, so that bodies are shared; `alone` is one client, which shares nothing.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime

import httpx
import numpy as np
import orjson
import psutil
import websockets

from chassis.embedded import free_port
from tastysim.dxlink_columns import FeedColumns
from tastysim.dxlink_events import EventEncoder
from tastysim.listed import Universe
from tastysim.market import ModelMarket

UNIVERSE, SYMBOLS, STEP_MS = "40", 25_000, 50
CLIENTS = (1, 4, 16)
SECONDS = 6.0
KINDS = ("Quote", "Greeks", "Trade", "Summary")
FIELDS = {
    "Quote": ("eventSymbol", "bidPrice", "askPrice", "bidSize", "askSize", "bidTime", "askTime"),
    "Greeks": ("eventSymbol", "volatility", "delta", "gamma", "theta", "vega", "rho", "time"),
    "Trade": ("eventSymbol", "price", "size", "dayVolume", "time"),
    "Summary": ("eventSymbol", "openInterest", "prevDayClosePrice"),
}
ROWS_A_FRAME, SUBSCRIPTIONS_A_MESSAGE = 500, 1_000


def measure() -> dict[str, object]:
    """Events a CPU-second: encoded by format, served by number of connections."""
    market = ModelMarket(7, datetime.now(UTC), universe=Universe.parse(UNIVERSE, 7))
    names = [option.streamer for option in market.options][:SYMBOLS]
    return {
        "what": "events per CPU-second of the simulator's DXLink server, 25,000 symbols",
        "encoded": {kind: _encoding(market, kind) for kind in ("Quote", "Greeks")},
        "served": _serving(names),
    }


def _encoding(market: ModelMarket, kind: str) -> dict[str, int]:
    encoder = EventEncoder(FeedColumns(market))
    for row in range(SYMBOLS):
        encoder.columns.name(row)
    parts = [np.arange(start, start + ROWS_A_FRAME) for start in range(0, SYMBOLS, ROWS_A_FRAME)]

    def rate(work: Callable[[np.ndarray], object]) -> int:
        rounds = []
        for _ in range(5):
            encoder.refresh()
            before = time.process_time_ns()
            for rows in parts:
                work(rows)
            rounds.append(SYMBOLS * 1e9 / (time.process_time_ns() - before))
        return round(float(np.median(rounds)))

    return {
        "compact": rate(lambda rows: encoder.rows(kind, FIELDS[kind], rows, compact=True)),
        "full": rate(lambda rows: encoder.rows(kind, FIELDS[kind], rows, compact=False)),
    }


def _serving(names: list[str]) -> dict[str, object]:
    port = free_port()
    clean = {key: value for key, value in os.environ.items() if not key.startswith("TT_")}
    with tempfile.TemporaryDirectory() as folder:
        own = {"PORT": str(port), "DATA_DIR": folder, "UNIVERSE": UNIVERSE, "STEP_MS": str(STEP_MS)}
        environment = clean | {f"TT_TASTYSIM_{name}": value for name, value in own.items()}
        process = subprocess.Popen([sys.executable, "-m", "tastysim"], env=environment)
        try:
            return asyncio.run(_by_clients(f"http://127.0.0.1:{port}", psutil.Process(process.pid), names))
        finally:
            process.kill()
            process.wait()


async def _by_clients(url: str, server: psutil.Process, names: list[str]) -> dict[str, object]:
    async with httpx.AsyncClient(base_url=url, trust_env=False, headers={"User-Agent": "bench/1"}) as http:
        await _started(http)
        idle = await _cpu(server)
        found: dict[str, object] = {"idle_cpu": round(idle, 3)}
        for clients in CLIENTS:
            found[str(clients)] = await _served(http, server, names, clients, idle)
        return found


async def _started(http: httpx.AsyncClient) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if (await http.get("/sim/health")).is_success:
                return
        except httpx.HTTPError:
            await asyncio.sleep(0.1)
    raise RuntimeError("the simulator did not start")


async def _cpu(server: psutil.Process) -> float:
    """CPU seconds a second of a process, over some seconds."""
    before, began = sum(server.cpu_times()[:2]), time.monotonic()
    await asyncio.sleep(SECONDS)
    return (sum(server.cpu_times()[:2]) - before) / (time.monotonic() - began)


async def _served(
    http: httpx.AsyncClient, server: psutil.Process, names: list[str], clients: int, idle: float
) -> dict[str, float]:
    events, first = [0] * clients, [asyncio.Event() for _ in range(clients)]
    reading = [asyncio.create_task(_read(http, names, number, events, first)) for number in range(clients)]
    await asyncio.gather(*(each.wait() for each in first))
    before, began = sum(events), time.monotonic()
    cpu = await _cpu(server)
    rate = (sum(events) - before) / (time.monotonic() - began)
    for task in reading:
        task.cancel()
    await asyncio.gather(*reading, return_exceptions=True)
    return {
        "events_a_second": round(rate), "cpu": round(cpu, 3), "events_a_cpu_second": round(rate / max(cpu - idle, 1e-3))
    }  # fmt: skip


async def _read(
    http: httpx.AsyncClient, names: list[str], number: int, events: list[int], first: list[asyncio.Event]
) -> None:
    """One connection: subscribe to everything, count what comes; `first` when every symbol came once in every type."""
    login = {"client_secret": "demo-client-secret", "refresh_token": "demo-refresh-token"}
    access = (await http.post("/oauth/token", json=login)).json()["access_token"]
    headers = {"Authorization": f"Bearer {access}"}
    token = (await http.get("/api-quote-tokens", headers=headers)).json()["data"]
    wanted = len(names) * len(KINDS)
    async with websockets.connect(token["dxlink-url"], proxy=None, compression=None, max_size=2**24) as socket:
        for message in _opening(token["token"], names):
            await socket.send(orjson.dumps(message).decode())
        async for text in socket:
            message = orjson.loads(text)
            if message["type"] == "FEED_DATA":
                kind, flat = message["data"]
                events[number] += len(flat) // len(FIELDS[kind])
                if events[number] >= wanted:
                    first[number].set()


def _opening(token: str, names: list[str]) -> list[dict[str, object]]:
    found: list[dict[str, object]] = [
        {"type": "SETUP", "channel": 0, "version": "0.1-bench", "keepaliveTimeout": 60, "acceptKeepaliveTimeout": 60},
        {"type": "AUTH", "channel": 0, "token": token},
        {"type": "CHANNEL_REQUEST", "channel": 1, "service": "FEED", "parameters": {"contract": "AUTO"}},
        {"type": "FEED_SETUP", "channel": 1, "acceptAggregationPeriod": 0, "acceptDataFormat": "COMPACT",
         "acceptEventFields": FIELDS},
    ]  # fmt: skip
    for kind in KINDS:
        for start in range(0, len(names), SUBSCRIPTIONS_A_MESSAGE):
            part = [{"type": kind, "symbol": name} for name in names[start : start + SUBSCRIPTIONS_A_MESSAGE]]
            found.append({"type": "FEED_SUBSCRIPTION", "channel": 1, "add": part})
    return found
