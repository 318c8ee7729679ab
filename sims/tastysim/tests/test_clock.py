"""The simulator's time: pauses, speeds, jumps; no decision left out; the same history whatever the speed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from tastysim.behaviour import Behaviour
from tastysim.brokerage import Brokerage
from tastysim.clock import IDLE_STEP_SECONDS, WORKING_STEP_SECONDS, Clock, ClockRefusal
from tastysim.fills import FillDesk
from tastysim.market import ModelMarket
from tastysim.outside import OutsideMarket
from tastysim.service import build
from tastysim.settings import SimSettings, load
from tastysim.store import Store
from testkit.eventually import eventually

NOW = datetime(2026, 11, 24, 16, 0, tzinfo=UTC)
SCALE = int(os.environ.get("TT_TEST_SCALE", "1"))
ACCOUNT = "5WT00001"


class Bare(OutsideMarket):
    """A market without contracts whose time moves."""

    def step(self, seconds: float) -> None:
        self.steps += 1
        self.now += timedelta(seconds=seconds)

    def settlement(self, symbol: str, day: object) -> None:
        """None is known."""


class Watched:
    """A clock over a bare market, and every time at which it decided."""

    def __init__(self, *, working: bool = False, **how: Any) -> None:
        self.market = Bare(NOW)
        self.decided: list[datetime] = [NOW]
        self.clock = Clock(self.market, self.decided.append, lambda: working, **how)

    @property
    def seconds(self) -> list[float]:
        """Length of each step."""
        return [(after - before).total_seconds() for before, after in pairwise(self.decided)]


async def run_until(watched: Watched, reached: Callable[[], bool]) -> None:
    """Let time run until something is reached."""
    running = asyncio.create_task(watched.clock.run())
    try:
        await eventually(reached, every=0.005)
    finally:
        running.cancel()


@pytest.mark.parametrize(("working", "longest"), [(True, WORKING_STEP_SECONDS), (False, IDLE_STEP_SECONDS)])
async def test_no_step_is_longer_than_decisions_allow(working: bool, longest: float) -> None:
    """At 100,000 times the pace of time every minute still is decided about while an order works."""
    watched = Watched(working=working, interval=0.02, speed=100_000)
    await run_until(watched, lambda: watched.market.now > NOW + timedelta(hours=3))
    assert max(watched.seconds) == longest


async def test_a_grid_makes_all_steps_equal_at_every_speed() -> None:
    """Slower than the grid nothing happens for a while; faster, several steps each time."""
    for speed in (7.0, 300.0):
        watched = Watched(working=True, interval=0.01, speed=speed, grid=2.5)
        await run_until(watched, lambda: len(watched.decided) > 2)  # noqa: B023
        await watched.clock.advance(6.0)
        assert set(watched.seconds) == {2.5}


async def test_a_machine_that_cannot_keep_up_falls_behind_and_decides_all_the_same() -> None:
    """Time that is not made up is told; no step grows longer."""
    market, seconds = Bare(NOW), list[float]()

    def slowly(now: datetime) -> None:
        seconds.append((now - NOW).total_seconds())
        for _ in range(200_000):
            pass

    clock = Clock(market, slowly, lambda: True, interval=0.01, speed=100_000)
    running = asyncio.create_task(clock.run())
    await eventually(lambda: clock.behind > 1000)
    running.cancel()
    assert {round(after - before, 6) for before, after in pairwise(seconds)} <= {60.0, 40.0}


async def test_paused_nothing_moves_until_it_is_told_to() -> None:
    """A pause holds while the clock runs; an advance moves it all the same, and it stays paused."""
    watched = Watched(interval=0.005, paused=True)
    ticks = list[int]()
    watched.clock._after = lambda: ticks.append(1)
    await run_until(watched, lambda: len(ticks) > 5)
    assert watched.decided == [NOW]
    await watched.clock.set({"advance-seconds": 90})
    assert (watched.decided[-1], watched.clock.paused) == (NOW + timedelta(seconds=90), True)
    await watched.clock.set({"until": (NOW + timedelta(hours=2)).isoformat(), "speed": 60})
    assert watched.market.now == NOW + timedelta(hours=2)
    await watched.clock.set({"paused": False})
    await run_until(watched, lambda: watched.market.now > NOW + timedelta(hours=2, seconds=1))


async def test_closed_hours_are_jumped_over_once_the_market_closes() -> None:
    """From the evening to the next session's opening in one go, the weekend and the holiday included."""
    watched = Watched(interval=0.005, skip_closed=True)
    watched.market.now = evening = datetime(2026, 11, 25, 21, 30, tzinfo=UTC)  # the day before Thanksgiving
    watched.market.is_open = False
    opening = datetime(2026, 11, 27, 14, 30, tzinfo=UTC)
    await run_until(watched, lambda: watched.market.now >= opening)
    assert opening in watched.decided
    steps = [(after - before).total_seconds() for before, after in pairwise([evening, *watched.decided[1:]])]
    assert max(steps) <= IDLE_STEP_SECONDS
    assert watched.market.now < opening + timedelta(seconds=30)  # a market that stays closed is not jumped over again


async def test_a_step_that_fails_does_not_stop_time() -> None:
    """It is counted and logged; the next one comes."""
    market, calls = Bare(NOW), list[datetime]()

    def now_and_then(now: datetime) -> None:
        calls.append(now)
        if len(calls) == 2:
            raise RuntimeError("this one fails")

    def no_feed() -> None:
        if len(calls) == 3:
            raise RuntimeError("nor does this one")

    clock = Clock(market, now_and_then, lambda: False, interval=0.005, after=no_feed)
    running = asyncio.create_task(clock.run())
    await eventually(lambda: len(calls) > 4)
    running.cancel()
    assert clock.as_wire()["failures"] == 2


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"speed": 0}, "speed"), ({"speed": 100_001}, "speed"), ({"speed": True}, "speed"), ({"speed": "2"}, "speed"),
        ({"paused": 1}, "paused"), ({"advance-seconds": -1}, "advance-seconds"), ({"until": "soon"}, "until"),
        ({"until": "2026-11-24T15:00:00Z"}, "until"), ({"until": "2026-11-24T17:00:00"}, "until"),
        ({"pause": True}, "pause"), ({"paused": True, "speed": -1}, "speed"),
    ],
)  # fmt: skip
async def test_what_cannot_be_set_is_refused_and_changes_nothing(body: dict[str, Any], field: str) -> None:
    """The refusal names the field."""
    watched = Watched()
    with pytest.raises(ClockRefusal) as refused:
        await watched.clock.set(body)
    assert refused.value.field == field
    assert (watched.clock.paused, watched.clock.speed, watched.decided) == (False, 1.0, [NOW])


async def test_live_quotes_keep_the_machines_time() -> None:
    """A market in real time is neither faster nor moved; a pause is allowed."""
    clock = Watched(real_time=True, speed=60).clock
    assert clock.speed == 1.0
    for body in ({"speed": 2}, {"advance-seconds": 1}):
        with pytest.raises(ClockRefusal, match="the machine's"):
            await clock.set(body)
    await clock.set({"paused": True, "speed": 1})
    assert clock.paused


def spread(market: ModelMarket, number: int, share: float, quantity: int) -> dict[str, Any]:
    """A put spread of SPY sold at a share of the way from mid to natural."""
    rows = [row for row in range(market.rows["SPY"].start, market.rows["SPY"].stop) if not market.is_call[row]]
    near = [row for row in rows if market.expiration[row] == market.expirations[2]]
    short, long = near[len(near) // 2 - 4 * number], near[len(near) // 2 - 4 * number - 2]
    mid = (market.bid[short] + market.ask[short] - market.bid[long] - market.ask[long]) / 2
    natural = market.bid[short] - market.ask[long]
    legs = [
        {"symbol": market.options[row].occ, "action": action, "quantity": quantity, "instrument-type": "Equity Option"}
        for row, action in ((short, "Sell to Open"), (long, "Buy to Open"))
    ]
    price = f"{max(0.01, mid - share * (mid - natural)):.2f}"
    return {"order-type": "Limit", "time-in-force": "Day", "price": price, "price-effect": "Credit", "legs": legs}


async def history(folder: Path, fills: str, way: Callable[[Clock, datetime], Awaitable[None]]) -> list[dict[str, Any]]:
    """The same orders at the same market times, with time let pass in some way between them."""
    market = ModelMarket(7, NOW)
    desk = FillDesk(NOW, 7)
    brokerage = Brokerage(market, Store(folder), ACCOUNT, 100_000, desk)
    desk.default = Behaviour.parse(fills)
    clock = Clock(market, brokerage.step, brokerage.works, interval=0.005, speed=1.0, grid=5.0)
    for number in range(4 * SCALE):
        await way(clock, NOW + timedelta(seconds=100 * number))
        brokerage.broker(ACCOUNT).submit(spread(market, number, 0.25 * number, 1 + number % 2), market.now)
    await way(clock, NOW + timedelta(seconds=400 * SCALE + 200))
    return brokerage.store.history()


async def at_once(clock: Clock, until: datetime) -> None:
    """As fast as it goes."""
    await clock.set({"until": until.isoformat()})


async def by_fits_and_starts(clock: Clock, until: datetime) -> None:
    """At several speeds, with pauses between, the last stretch step by step."""
    running = asyncio.create_task(clock.run())
    for speed in (900.0, 4000.0, 2000.0):
        before = clock.as_wire()["steps"]
        if (until - datetime.fromisoformat(clock.as_wire()["market-time"])).total_seconds() < 60:
            break
        await clock.set({"paused": False, "speed": speed})
        await eventually(lambda: clock.as_wire()["steps"] > before, every=0.001)  # noqa: B023
        await clock.set({"paused": True})
        await asyncio.sleep(0.011)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    while (now := datetime.fromisoformat(clock.as_wire()["market-time"])) < until:
        await clock.set({"advance-seconds": min(5.0, (until - now).total_seconds())})


@pytest.mark.parametrize("fills", ["book", "model", "partial:20"])
async def test_the_same_seed_and_orders_give_the_same_history_at_any_speed(tmp_path: Path, fills: str) -> None:
    """Every event, fill, price and market time is the same, bit for bit, whatever speeds and pauses lay between."""
    one = await history(tmp_path / "one", fills, at_once)
    other = await history(tmp_path / "other", fills, by_fits_and_starts)
    assert one == other
    assert any(event.get("fills") for event in one)


async def test_the_clock_and_the_fills_are_steered_over_http(tmp_path: Path) -> None:
    """Paused, an order is taken and answered but nothing happens; an advance fills it; behaviours change by route."""
    app = build(SimSettings(data_dir=tmp_path, paused=True, step_ms=20, fills="immediate"))
    market, broker = app.state.market, app.state.broker
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://sim", headers={"User-Agent": "test/1"}) as http,
    ):
        order = broker.submit(spread(market, 1, 0.5, 1), market.now)
        never = await http.put(f"/sim/accounts/{ACCOUNT}/fills", json={"behavior": "never"})
        assert never.json()["accounts"] == {ACCOUNT: "never"}
        clock = (await http.put("/sim/clock", json={"advance-seconds": 30})).json()
        assert (clock["paused"], order.status) == (True, "Live")
        why = (await http.get(f"/sim/accounts/{ACCOUNT}/orders/{order.id}/fill")).json()
        assert (why["behavior"], why["why"]) == ("never", "never fills")
        assert (await http.put(f"/sim/accounts/{ACCOUNT}/fills", json={"behavior": None})).json()["accounts"] == {}
        await http.put("/sim/fills", json={"behavior": "reject:halted"})
        await http.put("/sim/clock", json={"advance-seconds": 1})
        assert (order.status, order.reject_reason) == ("Rejected", "halted")
        for path, body in (("/sim/clock", {"speed": 0}), ("/sim/fills", {"behavior": "maybe"}), ("/sim/clock", [])):
            assert (await http.put(path, json=body)).status_code == 400
        assert (await http.get("/sim/fills")).json()["behavior"] == "reject:halted"


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [("FILLS", "maybe", "TT_TASTYSIM_FILLS: 'maybe' is no fill behaviour"), ("SPEED", "100001", "SPEED is '100001'"),
     ("MARKET", "buss:nats://user:secret@host", r"MARKET is \(not shown\)")],
)  # fmt: skip
def test_a_wrong_setting_is_one_line_that_shows_no_secret(name: str, value: str, shown: str) -> None:
    """The line names the variable."""
    with pytest.raises(SystemExit, match=shown):
        load({f"TT_TASTYSIM_{name}": value})
