"""An executor with its ledger and bus, at a simulated broker whose faults are made on demand."""

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

import asyncpg
import httpx
import numpy as np
import pytest
import uvicorn
from sqlalchemy import text
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chassis.bus import make_broker
from chassis.clock import SystemClock
from chassis.database import make_engine, transaction
from chassis.embedded import free_port
from executor.handlers import Executor
from executor.lanes import Lane
from executor.settings import ExecutorSettings
from ledger import fills, gate, intents, migrations
from ledger.tables import Intent
from schemas.columns import ColumnBatch, ColumnKind
from schemas.market import OptionChain
from schemas.orders import IntentState
from tastyclient import ClientSettings, TastyClient
from tastysim.service import build as build_simulator
from tastysim.settings import SimSettings
from testkit import eventually

ACCOUNT = "5WT00001"
FAST: dict[str, Any] = {
    "walk_step_seconds": 1, "sweep_busy_seconds": 0.3, "sweep_idle_seconds": 0.3, "second_sweep_seconds": 0.3,
    "read_timeout_seconds": 1.0, "quarantine_after_seconds": 2.0, "requests_per_second": 100, "retry_base_seconds": 0.1,
    "cancel_again_seconds": 0.5, "hung_leg_seconds": 1.0, "hung_repair_seconds": 2.0,
}  # fmt: skip


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
    url: str
    nats_url: str
    database_url: str
    simulator: Any
    brokerage: Any
    risk: Any
    gateway: Any
    executor: Executor = None  # type: ignore[assignment]
    _running: Any = None

    @property
    def simulator_broker(self) -> Any:
        """The first account at the simulator."""
        return self.brokerage.broker(ACCOUNT)

    @property
    def lane(self) -> Lane:
        return self.executor.desk.lanes[ACCOUNT]

    async def start(self, *, ready: bool = True, **changes: Any) -> None:
        """Start an executor of its own process name; `kill` or `stop` ends it."""
        settings = ExecutorSettings(
            **{
                "nats_url": self.nats_url, "broker_url": self.url,
                "broker_streamer_url": self.url.replace("http", "ws") + "/streamer", **FAST, **changes,
            }
        )  # fmt: skip
        broker = make_broker(settings)
        engine = make_engine(self.database_url, role="tt_executor")
        self.executor = Executor(settings, broker, engine, self._client(), self._client(), SystemClock())
        await broker.connect()
        await self.executor.kill_switch.start()
        async with transaction(self.risk) as session:
            await self.executor.kill_switch.on_gate(await gate.read(session))
        await broker.start()
        self.quote()
        self._running = asyncio.create_task(self.executor.run_loop())
        if ready:
            await eventually(lambda: self.executor.reconciled, timeout=20)

    def _client(self) -> TastyClient:
        return TastyClient(
            ClientSettings.model_validate(
                {
                    "base_url": self.url, "client_secret": "demo-client-secret", "refresh_token": "demo-refresh-token",
                    "read_timeout_seconds": 1.0, "requests_per_second": 100, "burst": 100,
                }
            )
        )  # fmt: skip

    async def kill(self) -> None:
        """End the executor where it stands: nothing is released, nothing is written."""
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        self.executor.broker._stopping_on_purpose = True  # type: ignore[attr-defined]
        await self.executor.broker.stop()
        finishing = self.lane.finishing if self.executor.desk.lanes else None
        if finishing is not None:
            finishing.cancel()
        await self.executor.client.__aexit__()
        await self.executor.urgent.__aexit__()
        await self.executor.engine.dispose()

    async def stop(self) -> None:
        """End it as the service does."""
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        self.executor.broker._stopping_on_purpose = True  # type: ignore[attr-defined]
        await self.executor.broker.stop()
        await self.executor.close()

    def quote(self) -> None:
        """Give the executor the simulator's book, as marketdata would."""
        quote_everything(self.executor, self.simulator)

    async def fault(self, kind: str, **fields: Any) -> None:
        """Make something go wrong at the broker."""
        async with httpx.AsyncClient(base_url=self.url, trust_env=False) as client:
            (await client.post("/sim/faults", json={"kind": kind, **fields})).raise_for_status()

    async def fills(self, behaviour: str) -> None:
        """How orders fill from now on: `never`, `immediate`, `partial:1`, …"""
        async with httpx.AsyncClient(base_url=self.url, trust_env=False) as client:
            (await client.put("/sim/fills", json={"behavior": behaviour})).raise_for_status()

    def legs(self) -> tuple[str, str]:
        """A put spread on SPY, out of the money: (short, long)."""
        market = self.simulator
        rows = [row for row in range(market.rows["SPY"].start, market.rows["SPY"].stop) if not market.is_call[row]]
        day = sorted({market.expiration[row] for row in rows})[3]
        near = sorted(
            (row for row in rows if market.expiration[row] == day and market.strike[row] < market.spot[0]),
            key=lambda row: -market.strike[row],
        )
        short, long = (market.options[row].occ for row in near[1:3])
        return short, long

    async def approve(self, offset: str = "0.00", **changes: Any) -> str:
        """Approve a put spread on SPY whose limit is mid plus an offset; returns the intent id."""
        identity, now = str(uuid.uuid4()), datetime.now(UTC)
        short, long = self.legs()
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

    async def approve_close(self, **changes: Any) -> str:
        """Approve to buy the spread back, at a price at which it fills."""
        short, long = self.legs()
        book = self.executor.market.net_book([(short, 1), (long, -1)])
        assert book is not None
        worst = book.natural.quantize(Decimal("0.01")) - Decimal("0.05")
        return await self.approve(
            purpose="close", limit_price=worst, worst_price=worst, decision_mid=book.mid,
            legs=[
                {"occ_symbol": short, "action": "Buy to Close", "quantity": 1},
                {"occ_symbol": long, "action": "Sell to Close", "quantity": 1},
            ],
            **changes,
        )  # fmt: skip

    async def change(self, intent_id: str, what: str) -> None:
        """Change the past of an intent: the ledger's guards refuse that to everybody in the product."""
        statement = f"UPDATE ledger.intent SET {what} WHERE intent_id = '{intent_id}'"
        await as_owner(self.database_url, statement, unguarded=True)

    async def age(self, intent_id: str) -> None:
        """Let an order have been sent ten minutes ago: a younger one may not be listed yet."""
        await self.change(intent_id, "submitting_at = submitting_at - interval '10 minutes'")

    async def intent(self, intent_id: str) -> Intent:
        async with transaction(self.risk) as session:
            return await intents.get(session, intent_id)

    async def walk(self, intent_id: str) -> list[Intent]:
        """Every step of the intent's walk, oldest first."""
        async with transaction(self.risk) as session:
            found = await intents.in_states(session, set(IntentState), ACCOUNT)
        own = [each for each in found if intent_id in (each.intent_id, each.root_intent_id)]
        return sorted(own, key=lambda each: each.walk_step)

    async def states(self, intent_id: str) -> list[str]:
        """Of every step of the intent's walk, oldest first."""
        return [each.state for each in await self.walk(intent_id)]

    async def until(self, intent_id: str, *states: IntentState, timeout: float = 20) -> None:
        """Wait until a step of the walk stands in one of the states."""

        async def there() -> bool:
            return bool({state.value for state in states} & set(await self.states(intent_id)))

        try:
            await eventually(there, timeout=timeout)
        except AssertionError:
            raise AssertionError(f"{await self.states(intent_id)} instead of {states}") from None

    async def held(self) -> dict[str, int]:
        """What the ledger holds."""
        async with transaction(self.risk) as session:
            return {row.occ_symbol: row.signed_quantity for row in await fills.positions(session, ACCOUNT)}

    async def frozen(self) -> dict[str, str]:
        async with transaction(self.risk) as session:
            return await fills.frozen(session, ACCOUNT)

    async def mode(self) -> str:
        """Of the gate's row for everything."""
        async with transaction(self.risk) as session:
            return str((await session.execute(text("SELECT mode FROM ledger.gate WHERE scope = 'all'"))).scalar_one())

    async def alarms(self) -> list[str]:
        """Codes of the alarms that were written, oldest first."""
        async with transaction(self.risk) as session:
            statement = text("SELECT action FROM ledger.audit WHERE action LIKE 'alarm:%' ORDER BY id")
            return [row[6:] for row in (await session.execute(statement)).scalars()]

    def at_broker(self) -> dict[str, int]:
        """What the broker holds."""
        return {symbol: quantity for symbol, (quantity, _) in self.simulator_broker.positions.items() if quantity}

    def working(self) -> list[Any]:
        """Orders that work at the broker."""
        return [order for order in self.simulator_broker.orders.values() if not order.is_terminal]

    def accepted(self, intent_id: str) -> int:
        """How often the simulator took this intent's order."""
        return sum(
            event["what"] == "submitted" and event["external-identifier"] == f"tt-{intent_id}"
            for event in self.simulator_broker.history()
        )


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


ROOM = (
    "INSERT INTO ledger.limit_value (name, account_number, version, value, who, why) "
    "SELECT name, '', 2, highest, 'demo', 'room for a trial' FROM ledger.limit_range WHERE name LIKE 'messages%'"
)
"""No throttle of messages: what is tried here are sends."""


async def as_owner(database_url: str, statement: str, *, unguarded: bool = False) -> None:
    """Change the ledger as nobody in the product can. unguarded: its triggers are off."""
    connection = await asyncpg.connect(database_url)
    try:
        if unguarded:
            await connection.execute("SET session_replication_role = replica")
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture
async def idle_rig(database_url: str, provisioned_nats_url: str, tmp_path: Path) -> AsyncIterator[Rig]:
    """A rig whose executor is not started yet."""
    await asyncio.to_thread(migrations.upgrade, database_url)
    await as_owner(database_url, ROOM)
    port = free_port()
    app = build_simulator(SimSettings(port=port, data_dir=tmp_path / "sim"))
    wire = Wire(app)
    server = uvicorn.Server(
        uvicorn.Config(wire, port=port, log_level="error", ws_per_message_deflate=False, timeout_graceful_shutdown=1)
    )
    serving = asyncio.create_task(server.serve())
    await eventually(lambda: server.started)
    risk, gateway = make_engine(database_url, role="tt_risk"), make_engine(database_url, role="tt_gateway")
    yield Rig(
        wire, f"http://127.0.0.1:{port}", provisioned_nats_url, database_url, app.state.market, app.state.brokerage,
        risk, gateway,
    )  # fmt: skip
    server.should_exit = True
    await serving
    await risk.dispose()
    await gateway.dispose()


@pytest.fixture
async def rig(idle_rig: Rig) -> AsyncIterator[Rig]:
    """A rig whose executor is ready."""
    await idle_rig.start()
    yield idle_rig
    await idle_rig.stop()
