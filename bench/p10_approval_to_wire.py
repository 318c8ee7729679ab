"""P10: from the commit of an approval to the first byte of its order at the broker's socket.

The whole road with real servers: a row approved in PostgreSQL (fsync on) with its command in the outbox, the relay,
NATS (synced always), the executor's permit (gate, lease, limits, compare-and-set, all in one transaction) and its
request at a raw TCP listener that speaks just enough HTTP. One clock, one order at a time, so that nothing queues. No
peer: nobody publishes the same road.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import asyncpg
import numpy as np
import orjson
import uvloop

from chassis.bus import make_broker, provision, publish_durable
from chassis.clock import SystemClock
from chassis.database import make_engine, transaction
from chassis.embedded import free_port, start_nats, start_postgres
from executor.domain.conditions import Stage
from executor.handlers import Executor
from executor.lanes import Lane
from executor.settings import ExecutorSettings
from ledger import gate, intents, lease, migrations, outbox
from ledger.outbox import Relay
from ledger.tables import Intent
from schemas import subjects
from schemas.columns import ColumnBatch, ColumnKind
from schemas.market import OptionChain
from schemas.orders import ExecuteIntent
from tastyclient import ClientSettings, TastyClient

ACCOUNT, ORDERS, WARM = "5WT00001", 300, 30
_ROOM = (
    "INSERT INTO ledger.limit_value (name, account_number, version, value, who, why) "
    "SELECT name, '', 2, highest, 'bench', 'room for the bench' FROM ledger.limit_range WHERE name LIKE 'messages%'"
)
SHORT, LONG = "SPY   261218P00600000", "SPY   261218P00595000"


@dataclass
class _Sink:
    """A listener that notes when the bytes of an order come in, and accepts it."""

    arrived: dict[str, float] = field(default_factory=dict)
    new: asyncio.Event = field(default_factory=asyncio.Event)
    number: int = 1000

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                at = time.perf_counter()
                length = next(
                    (int(line.split(":")[1]) for line in head.lower().split("\r\n") if "content-length" in line), 0
                )
                body = orjson.loads(await reader.readexactly(length)) if length else {}
                answer = orjson.dumps(self._answer(head, body, at))
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(answer)
                )
                writer.write(answer)
                await writer.drain()

    def _answer(self, head: str, body: dict[str, Any], at: float) -> dict[str, Any]:
        if "/oauth/token" in head:
            return {"access_token": "token", "expires_in": 900}
        if "external-identifier" not in body:
            return {"data": {"items": []}}
        name = str(body["external-identifier"])
        self.arrived.setdefault(name, at)
        self.new.set()
        self.number += 1
        legs = [{"symbol": leg["symbol"], "action": leg["action"], "quantity": leg["quantity"]} for leg in body["legs"]]
        order = {
            "id": self.number, "account-number": ACCOUNT, "status": "Cancelled", "external-identifier": name,
            "updated-at": int(time.time() * 1000), "underlying-symbol": "SPY", "legs": legs,
        }  # fmt: skip
        return {"data": {"order": order}}


def _quotes(executor: Executor) -> None:
    now = time.time_ns()
    values = {
        "row": np.array([1, 2], dtype=np.uint32), "bid": np.array([2.0, 1.0]), "ask": np.array([2.1, 1.1]),
        "bid_size": np.ones(2), "ask_size": np.ones(2), "ts_event": np.full(2, now, dtype=np.int64),
    }  # fmt: skip
    executor.market.apply("SPY", ColumnBatch(ColumnKind.QUOTE, 1, now, values))


def _intent(now: datetime) -> Intent:
    identity = str(uuid.uuid4())
    return Intent(
        intent_id=identity, account_number=ACCOUNT, proposal_id=identity, strategy_id="bench", signal_id=identity,
        purpose="close", source="bench", underlying_symbol="SPY", spread_type="put_credit_spread",
        legs=[
            {"occ_symbol": SHORT, "action": "Buy to Close", "quantity": 1},
            {"occ_symbol": LONG, "action": "Sell to Close", "quantity": 1},
        ],
        quantity=1, limit_price=Decimal("-1.10"), worst_price=Decimal("-1.10"), tick_size=Decimal("0.01"),
        decision_mid=Decimal("-1.00"), state="approved", root_intent_id=identity,
        valid_until=now + timedelta(seconds=20), created_at=now, updated_at=now,
    )  # fmt: skip


@contextlib.asynccontextmanager
async def _executor(settings: ExecutorSettings, database_url: str) -> AsyncIterator[Executor]:
    """An executor past its recovery, on the loops that a send needs: commands, approvals, relay."""

    def client() -> TastyClient:
        values = {"base_url": settings.broker_url, "client_secret": "s", "refresh_token": "t"}
        return TastyClient(ClientSettings.model_validate({**values, "requests_per_second": 1e6, "burst": 1000}))

    broker = make_broker(settings)
    engine = make_engine(database_url, role="tt_executor", pool_size=10)
    executor = Executor(settings, broker, engine, client(), client(), SystemClock())
    chain = OptionChain(ts_event=datetime.now(UTC), underlying_symbol="SPY", revision=1, occ_symbols=(SHORT, LONG))
    executor.market.set_chain(chain)
    await broker.connect()
    async with transaction(engine) as session:
        await executor.kill_switch.on_gate(await gate.read(session))
        epoch = await lease.acquire(session, ACCOUNT, settings.instance, 3600)
    lane = Lane(ACCOUNT, epoch=epoch, renewed_at=float("inf"), stage=Stage.READY, holds=())
    executor.desk.lanes[ACCOUNT] = lane
    await broker.start()
    loops = [asyncio.create_task(each) for each in (executor._approved_loop(lane), executor.relay.run())]
    try:
        yield executor
    finally:
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        broker._stopping_on_purpose = True  # type: ignore[attr-defined]
        await broker.stop()
        await executor.close()


async def _run(nats_url: str, database_url: str) -> list[float]:
    """Seconds from each commit to its first byte."""
    await provision(nats_url)
    await asyncio.to_thread(migrations.upgrade, database_url)
    owner = await asyncpg.connect(database_url)
    await owner.execute(_ROOM)
    sink, port, taken = _Sink(), free_port(), []
    server = await asyncio.start_server(sink.serve, "127.0.0.1", port)
    settings = ExecutorSettings(
        nats_url=nats_url, broker_url=f"http://127.0.0.1:{port}", broker_streamer_url="ws://127.0.0.1:1/none"
    )
    risk = make_engine(database_url, role="tt_risk")
    async with _executor(settings, database_url) as executor:
        relay = Relay(risk, "risk", partial(publish_durable, executor.broker), lambda _: None)
        relaying = asyncio.create_task(relay.run())
        for _ in range(ORDERS + WARM):
            _quotes(executor)
            intent = _intent(datetime.now(UTC))
            command = ExecuteIntent(
                ts_event=intent.created_at, intent_id=intent.intent_id, account_number=ACCOUNT,
                valid_until=intent.valid_until,
            )  # fmt: skip
            await owner.execute("DELETE FROM ledger.account_risk")
            async with transaction(risk) as session:
                await intents.propose(session, intent, "risk")
                outbox.enqueue(
                    session, "risk", subjects.execute(ACCOUNT), command, message_id=f"exec-{intent.intent_id}",
                    valid_until=intent.valid_until,
                )  # fmt: skip
            committed = time.perf_counter()
            relay.wake()
            async with asyncio.timeout(30):
                await sink.new.wait()
            sink.new.clear()
            taken.append(sink.arrived[f"tt-{intent.intent_id}"] - committed)
            await asyncio.sleep(0.02)
        relaying.cancel()
        await asyncio.gather(relaying, return_exceptions=True)
    server.close()
    await owner.close()
    await risk.dispose()
    return taken[WARM:]


def measure() -> dict[str, object]:
    """p50 and p99 over three hundred orders, one at a time."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        bus = start_nats(folder / "nats", log_path=folder / "nats.log")
        database = start_postgres(folder / "postgres", log_path=folder / "postgres.log")
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                taken = np.array(runner.run(_run(bus.url, database.url))) * 1000
        finally:
            database.stop()
            bus.stop()
    p50, p99 = (round(float(np.percentile(taken, each)), 2) for each in (50, 99))
    return {
        "what": "approval committed to the order's first byte at the broker's socket, ms",
        "ours": p50,
        "p99": p99,
        "max": round(float(taken.max()), 2),
        "orders": ORDERS,
        "peer": None,
        "peer_name": "none publishes it",
        "target": 5,
        "target_p99": 25,
        "met": p50 <= 5 and p99 <= 25,
    }
