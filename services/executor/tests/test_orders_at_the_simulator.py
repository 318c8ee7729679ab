"""Orders against a broker that answers, refuses, stays silent after accepting, or never gets the request."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chassis.bus import make_broker
from chassis.clock import SystemClock
from chassis.database import make_engine, transaction
from chassis.embedded import free_port
from executor.handlers import Executor
from executor.settings import ExecutorSettings
from ledger import fills, gate, intents, migrations
from ledger.tables import Intent
from schemas.account import GateMode, KillScope
from schemas.columns import ColumnBatch, ColumnKind
from schemas.commands import KillCommand
from schemas.market import OptionChain
from schemas.orders import IntentState
from tastyclient import ClientSettings, TastyClient
from tastysim.service import build as build_simulator
from tastysim.settings import SimSettings
from testkit import eventually

ACCOUNT = "5WT00001"


@dataclass
class Wire:
    """Between client and simulator: changes what becomes of requests that place or replace an order."""

    app: ASGIApp
    faults: list[str] = field(default_factory=list)
    """Taken from the front: `lost_answer` (accepted, then 503), `never_arrived` (503 before), `silent` (no answer)."""
    requests: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        order = scope["type"] == "http" and scope["method"] in ("POST", "PUT") and "/orders" in scope["path"]
        if not order:
            await self.app(scope, receive, send)
            return
        self.requests += 1
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "never_arrived":
            await _unavailable(send)
            return

        async def swallow(_: Message) -> None:
            return None

        await self.app(scope, receive, swallow if fault else send)
        if fault == "lost_answer":
            await _unavailable(send)
        elif fault == "silent":
            while (await receive())["type"] != "http.disconnect":
                continue


async def _unavailable(send: Send) -> None:
    await send({"type": "http.response.start", "status": 503, "headers": [(b"content-type", b"text/html")]})
    await send({"type": "http.response.body", "body": b"<html>unavailable</html>"})


@dataclass
class Rig:
    """An executor with its ledger, at a simulator behind the wire."""

    wire: Wire
    executor: Executor
    simulator: Any
    settings: ExecutorSettings
    risk: Any
    gateway: Any

    async def approve(self, offset: str = "0.00", **changes: Any) -> str:
        """Approve a put spread on SPY whose limit is mid plus an offset; returns the intent id."""
        market, identity, now = self.simulator, str(uuid.uuid4()), datetime.now(UTC)
        rows = [row for row in range(market.rows["SPY"].start, market.rows["SPY"].stop) if not market.is_call[row]]
        day = sorted({market.expiration[row] for row in rows})[3]
        near = sorted(
            (row for row in rows if market.expiration[row] == day and market.strike[row] < market.spot[0]),
            key=lambda row: -market.strike[row],
        )
        short, long = (market.options[row].occ for row in near[1:3])
        mid = self.executor.market.net_book([(short, -1), (long, 1)])
        assert mid is not None
        price = mid.mid.quantize(Decimal("0.01")) + Decimal(offset)
        values: dict[str, Any] = {
            "intent_id": identity, "account_number": ACCOUNT, "proposal_id": identity, "strategy_id": "manual",
            "signal_id": identity, "purpose": "open", "source": "demo", "underlying_symbol": "SPY",
            "spread_type": "put_credit_spread",
            "legs": [
                {"occ_symbol": short, "action": "Sell to Open", "quantity": 1},
                {"occ_symbol": long, "action": "Buy to Open", "quantity": 1},
            ],
            "quantity": 1, "limit_price": price, "worst_price": price, "tick_size": Decimal("0.01"),
            "decision_mid": mid.mid, "state": "approved", "root_intent_id": identity,
            "valid_until": now + timedelta(seconds=20), "created_at": now, "updated_at": now,
        }  # fmt: skip
        async with transaction(self.risk) as session:
            await intents.propose(session, Intent(**values | changes), "risk")
        return identity

    async def states(self, intent_id: str) -> list[str]:
        """Of every step of the intent's walk, oldest first."""
        async with transaction(self.risk) as session:
            found = await intents.in_states(session, set(IntentState), ACCOUNT)
        own = [each for each in found if intent_id in (each.intent_id, each.root_intent_id)]
        return [each.state for each in sorted(own, key=lambda each: each.walk_step)]

    async def until(self, intent_id: str, *states: IntentState, timeout: float = 20) -> None:
        """Wait until a step of the walk stands in one of the states."""

        async def there() -> bool:
            return bool({state.value for state in states} & set(await self.states(intent_id)))

        try:
            await eventually(there, timeout=timeout)
        except AssertionError:
            raise AssertionError(f"{await self.states(intent_id)} instead of {states}") from None

    def accepted(self, intent_id: str) -> int:
        """How often the simulator took this intent's order."""
        return sum(
            event["what"] == "submitted" and event["external-identifier"] == f"tt-{intent_id}"
            for event in self.simulator_broker.history()
        )

    simulator_broker: Any = None


def quote_everything(executor: Executor, market: Any) -> None:
    """Give the executor the simulator's book, as marketdata would."""
    span = market.rows["SPY"]
    symbols = tuple(option.occ for option in market.options[span])
    executor.market.set_chain(
        OptionChain(ts_event=datetime.now(UTC), underlying_symbol="SPY", revision=1, occ_symbols=symbols)
    )
    count, now = len(symbols), time.time_ns()
    sizes = np.full(count, 10.0)
    executor.market.apply(
        "SPY",
        ColumnBatch(
            ColumnKind.QUOTE,
            1,
            now,
            {
                "row": np.arange(1, count + 1, dtype=np.uint32),
                "bid": market.bid[span].copy(),
                "ask": market.ask[span].copy(),
                "bid_size": sizes,
                "ask_size": sizes,
                "ts_event": np.full(count, now, dtype=np.int64),
            },
        ),
    )


@pytest.fixture
async def rig(
    database_url: str, provisioned_nats_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Rig]:
    await asyncio.to_thread(migrations.upgrade, database_url)
    port = free_port()
    app = build_simulator(SimSettings(port=port, data_dir=tmp_path / "sim"))
    wire = Wire(app)
    server = uvicorn.Server(uvicorn.Config(wire, port=port, log_level="error", ws_per_message_deflate=False))
    serving = asyncio.create_task(server.serve())
    await eventually(lambda: server.started)
    settings = ExecutorSettings(
        nats_url=provisioned_nats_url, broker_url=f"http://127.0.0.1:{port}",
        broker_streamer_url=f"ws://127.0.0.1:{port}/streamer", walk_step_seconds=1, sweep_busy_seconds=0.3,
        sweep_idle_seconds=0.3,
        second_sweep_seconds=0.3, read_timeout_seconds=1.0, quarantine_after_seconds=2.0, requests_per_second=100,
    )  # fmt: skip

    def client() -> TastyClient:
        return TastyClient(
            ClientSettings.model_validate(
                {
                    "base_url": settings.broker_url, "client_secret": "demo-client-secret",
                    "refresh_token": "demo-refresh-token", "read_timeout_seconds": 1.0,
                    "requests_per_second": 100, "burst": 100,
                }
            )
        )  # fmt: skip

    broker = make_broker(settings)
    executor = Executor(
        settings, broker, make_engine(database_url, role="tt_executor"), client(), client(), SystemClock()
    )
    await broker.connect()
    await executor.kill_switch.start()
    risk, gateway = make_engine(database_url, role="tt_risk"), make_engine(database_url, role="tt_gateway")
    async with transaction(risk) as session:
        await executor.kill_switch.on_gate(await gate.read(session))
    await broker.start()
    market = app.state.market
    quote_everything(executor, market)
    running = asyncio.create_task(executor.run_loop())
    await eventually(lambda: executor.reconciled, timeout=20)
    made = Rig(wire, executor, market, settings, risk, gateway)
    made.simulator_broker = app.state.broker
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    broker._stopping_on_purpose = True  # type: ignore[attr-defined]
    await broker.stop()
    await executor.close()
    server.should_exit = True
    await serving
    await risk.dispose()
    await gateway.dispose()


async def test_an_approved_order_is_sent_once_filled_and_booked(rig: Rig) -> None:
    intent_id = await rig.approve("-0.05")
    await rig.until(intent_id, IntentState.FILLED)
    assert rig.accepted(intent_id) == 1
    async with transaction(rig.risk) as session:
        held = {row.occ_symbol: row.signed_quantity for row in await fills.positions(session, ACCOUNT)}
    assert held == {symbol: quantity for symbol, (quantity, _) in rig.simulator_broker.positions.items()}


async def test_an_answer_that_is_lost_is_unknown_then_adopted_and_never_sent_again(rig: Rig) -> None:
    rig.wire.faults = ["lost_answer"]
    intent_id = await rig.approve("0.30")
    await rig.until(intent_id, IntentState.WORKING, IntentState.FILLED)
    assert rig.accepted(intent_id) == 1


async def test_silence_after_sending_is_unknown_then_adopted(rig: Rig) -> None:
    rig.wire.faults = ["silent"]
    intent_id = await rig.approve("0.30")
    await rig.until(intent_id, IntentState.WORKING, IntentState.FILLED)
    assert rig.accepted(intent_id) == 1


async def test_a_5xx_before_the_broker_saw_it_stays_reserved_and_is_not_sent_again(rig: Rig) -> None:
    """Nobody can tell it from a lost answer: it is set aside, its risk stays reserved."""
    rig.wire.faults = ["never_arrived"]
    intent_id = await rig.approve("0.30")
    await rig.until(intent_id, IntentState.QUARANTINE)
    assert rig.accepted(intent_id) == 0
    assert rig.wire.requests == 1
    async with transaction(rig.risk) as session:
        assert [each.intent_id for each in await intents.reserved(session, ACCOUNT)] == [intent_id]


async def test_a_refusal_is_final_and_says_why(rig: Rig) -> None:
    rig.simulator_broker.cash = Decimal(10)
    intent_id = await rig.approve()
    await rig.until(intent_id, IntentState.REJECTED)
    async with transaction(rig.risk) as session:
        intent = await intents.get(session, intent_id)
    assert intent.reason_code == "margin_check_failed"


async def test_the_walk_replaces_the_order_step_by_step(rig: Rig) -> None:
    """Each step is an intent of its own; the broker holds one live order at a time."""
    await rig.approve("0.05", worst_price=Decimal("0.01"))

    async def walked() -> bool:
        quote_everything(rig.executor, rig.simulator)
        async with transaction(rig.risk) as session:
            steps = [each for each in await intents.in_states(session, set(IntentState)) if each.walk_step]
        return any(each.state == IntentState.FILLED.value for each in steps)

    await eventually(walked, timeout=25, every=0.2)
    history = rig.simulator_broker.history()
    identities = [event["external-identifier"] for event in history if event["what"] == "submitted"]
    assert len(identities) == len(set(identities))
    assert sum(event["what"] == "filled" for event in history) == 1
    assert [event["order-id"] for event in history if event.get("status") == "Live"]


async def test_a_lost_answer_to_a_price_step_is_adopted(rig: Rig) -> None:
    rig.wire.faults = ["", "lost_answer"]
    await rig.approve("0.20", worst_price=Decimal("0.01"))

    async def settled() -> bool:
        quote_everything(rig.executor, rig.simulator)
        async with transaction(rig.risk) as session:
            found = await intents.in_states(session, set(IntentState))
        children = [each for each in found if each.walk_step]
        return bool(children) and not any(
            each.state in (IntentState.UNKNOWN.value, IntentState.SUBMITTING.value) for each in found
        )

    await eventually(settled, timeout=20, every=0.2)
    live = [order for order in rig.simulator_broker.orders.values() if order.status == "Live"]
    assert len(live) <= 1


async def test_a_stop_cancels_at_the_broker_and_nothing_is_sent_after_it(rig: Rig) -> None:
    first = await rig.approve("0.50")
    await rig.until(first, IntentState.WORKING)
    rig.executor.kill_switch.latch(KillCommand(who="demo", why="trial"))
    await rig.executor.on_kill(KillCommand(who="demo", why="trial"))
    second = await rig.approve("0.50")
    await rig.until(first, IntentState.CANCELLED)
    await rig.until(second, IntentState.WITHDRAWN)
    assert rig.accepted(second) == 0


async def test_the_gate_alone_stops_without_any_message(rig: Rig) -> None:
    """The database is the authority: a process that heard nothing gets no permit."""
    async with transaction(rig.gateway) as session:
        await gate.tighten(session, KillScope.UNDERLYING, "SPY", GateMode.HALT_OPENS, "demo", "trial", "gateway")
    intent_id = await rig.approve()
    await rig.until(intent_id, IntentState.WITHDRAWN)
    assert rig.wire.requests == 0


async def test_stale_quotes_never_trade(rig: Rig) -> None:
    chain = rig.executor.market.chains["SPY"]
    intent_id = await rig.approve(valid_until=datetime.now(UTC) + timedelta(seconds=2))
    chain.at[ColumnKind.QUOTE][:] = time.time_ns() - 60 * 10**9
    await rig.until(intent_id, IntentState.EXPIRED, IntentState.WORKING, IntentState.FILLED)
    if rig.wire.requests == 0:
        assert await rig.states(intent_id) == [IntentState.EXPIRED.value]


async def test_what_was_being_sent_at_a_crash_is_unknown_and_adopted(rig: Rig) -> None:
    """A permit without an outcome belongs to a dead process: it is looked up, never used again."""
    intent_id = await rig.approve("0.30", valid_until=datetime.now(UTC) + timedelta(seconds=60))
    await rig.until(intent_id, IntentState.WORKING)
    async with transaction(rig.executor.engine) as session:
        lost = Intent(
            **(await intents.get(session, intent_id)).model_dump()
            | {
                "intent_id": "lost", "signal_id": "lost", "root_intent_id": intent_id, "parent_intent_id": intent_id,
                "external_identifier": None, "broker_order_id": None, "version": 1, "state": "approved", "walk_step": 7,
            }
        )  # fmt: skip
        await intents.propose(session, lost, "executor")
        await intents.record(session, lost, IntentState.SUBMITTING, "executor", external_identifier="tt-lost", epoch=0)
    await rig.executor.recovery.orphans(rig.executor.desk.lanes[ACCOUNT])
    await rig.until("lost", IntentState.UNKNOWN, IntentState.QUARANTINE)
    assert rig.accepted("lost") == 0


async def test_a_difference_found_twice_freezes_the_underlying_and_thaws_by_itself(rig: Rig) -> None:
    symbol = next(option.occ for option in rig.simulator.options if option.root_symbol == "SPY")
    rig.simulator_broker.positions[symbol] = (3, Decimal("1.00"))

    async def frozen() -> dict[str, str]:
        async with transaction(rig.risk) as session:
            return await fills.frozen(session, ACCOUNT)

    await eventually(frozen, timeout=10)
    assert "broker reports 3, ledger holds 0" in (await frozen())["SPY"]
    del rig.simulator_broker.positions[symbol]

    async def thawed() -> bool:
        return not await frozen()

    await eventually(thawed, timeout=10)
