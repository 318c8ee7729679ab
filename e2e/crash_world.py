"""Servers, a simulated broker, bad lines and processes that can be killed: everything that schedules share."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import nats
import numpy as np
import psutil
import redis.asyncio as redis
import uvicorn
from nats.aio.client import Client
from nats.js.errors import NotFoundError
from redis.exceptions import RedisError
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import embedded
from chassis.bus import provision
from chassis.database import make_engine, transaction
from chassis.embedded import Server, free_port
from e2e.crash_processes import PRODUCER, Forks
from ledger import gate, intents, migrations, outbox, reservations
from ledger.exposure import Holdings
from ledger.tables import Intent
from schemas import subjects
from schemas.account import KillScope
from schemas.columns import ColumnBatch, ColumnKind, encode
from schemas.market import OptionChain
from schemas.orders import ExecuteIntent
from tastysim.service import build as build_simulator
from tastysim.settings import SimSettings
from testkit import eventually as until
from testkit.fault_proxy import FaultProxy
from testkit.journal import lift_throttles, set_limits
from testkit.plugin import open_to_servers

UNDERLYING = "SPY"
CASH = 100_000
LOSS_OF_ONE = Decimal(400)
LOSS_ALLOWED = Decimal(1500)
"""Dollars all opening orders may risk: the hard limit of 1.5 % of the account's money."""
FEED_SECONDS, APPROVAL_SECONDS = 0.5, 10.0
FAST: Mapping[str, str] = {
    "WALK_STEP_SECONDS": "1", "SWEEP_BUSY_SECONDS": "0.3", "SWEEP_IDLE_SECONDS": "0.5", "SECOND_SWEEP_SECONDS": "0.3",
    "READ_TIMEOUT_SECONDS": "2", "QUARANTINE_AFTER_SECONDS": "2", "REQUESTS_PER_SECOND": "100",
    "RETRY_BASE_SECONDS": "0.1", "CANCEL_AGAIN_SECONDS": "0.5", "HUNG_LEG_SECONDS": "20", "HUNG_REPAIR_SECONDS": "60",
    "LEASE_SECONDS": "10", "ORDER_TIMEOUT_SECONDS": "3", "TRANSACTIONS_SECONDS": "2",
}  # fmt: skip
"""The executor's own patience, shortened: what takes minutes in production takes seconds here."""


@dataclass
class World:
    """One of everything. `open` starts it, `close` ends it; accounts are fresh for every schedule."""

    folder: Path
    nats: Server = field(init=False)
    postgres: Server = field(init=False)
    valkey: Server = field(init=False)
    cache: redis.Redis = field(init=False)
    forks: Forks = field(default_factory=Forks)
    lines: dict[str, FaultProxy] = field(default_factory=dict)
    engines: dict[str, AsyncEngine] = field(default_factory=dict)
    bus: Client = field(init=False)
    market: Any = field(init=False)
    brokerage: Any = field(init=False)
    clock: Any = field(init=False)
    url: str = ""
    """Of the simulator."""
    _tasks: list[asyncio.Task[Any]] = field(default_factory=list)
    _server: uvicorn.Server = field(init=False)
    _asker: asyncpg.Connection[Any] | None = None

    async def open(self) -> None:
        """Start servers, simulator, feed and the process that forks; migrate the ledger."""
        self.folder.mkdir(parents=True, exist_ok=True)
        open_to_servers(self.folder)
        await self.forks.begin(self.folder / "forks.log")
        self.nats = embedded.start_nats(self.folder / "nats", log_path=self.folder / "nats.log")
        self.valkey = embedded.start_valkey(self.folder / "valkey", log_path=self.folder / "valkey.log")
        self.cache = redis.from_url(self.valkey.url, socket_timeout=1, socket_connect_timeout=1)
        self.postgres = self._start_postgres(0)
        await provision(self.nats.url)
        await asyncio.to_thread(migrations.upgrade, self.postgres.url)
        await self._commit_for_real()
        await lift_throttles(self.postgres.url)
        await set_limits(self.postgres.url, {"open_order_value_max_pct": "1.5", "daily_trades_max": "500"})
        for role in ("tt_risk", "tt_gateway"):
            self.engines[role] = make_engine(self.postgres.url, role=role, pool_size=3)
        self.bus = await nats.connect(self.nats.url, max_reconnect_attempts=-1, reconnect_time_wait=0.2)
        await self._simulate()
        for name, url in (("broker", self.url), ("nats", self.nats.url), ("postgres", self.postgres.url)):
            self.lines[name] = FaultProxy(url)
            await self.lines[name].start()
        await self.announce_chain()
        self._tasks.append(asyncio.create_task(self._feed()))

    async def close(self) -> None:
        """End everything."""
        await self.forks.end()
        for line in self.lines.values():
            await line.stop()
        if self._asker is not None:
            self._asker.terminate()
        for engine in self.engines.values():
            with contextlib.suppress(Exception):  # a server that a trial killed leaves connections that cannot close
                await engine.dispose()
        self._server.should_exit = True
        await asyncio.wait(self._tasks[:1], timeout=5)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(nats.errors.Error, OSError):
            await self.bus.close()
        await self.cache.aclose()
        for server in (self.nats, self.postgres, self.valkey):
            server.stop()

    def _start_postgres(self, port: int) -> Server:
        return embedded.start_postgres(
            self.folder / "postgres", port=port, log_path=self.folder / "postgres.log", durable=False
        )

    async def _commit_for_real(self) -> None:
        """A killed server loses no commit: the log is written before each answer, only not forced to the disk."""
        connection = await asyncpg.connect(self.postgres.url)
        try:
            await connection.execute("ALTER DATABASE postgres SET synchronous_commit = on")
        finally:
            await connection.close()

    async def _simulate(self) -> None:
        port = free_port()
        app = build_simulator(SimSettings(port=port, data_dir=self.folder / "sim", step_ms=100, universe="1x400"))
        config = uvicorn.Config(
            app, port=port, log_level="error", ws_per_message_deflate=False, timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)
        self._server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]
        self._tasks.append(asyncio.create_task(self._server.serve()))
        await until(lambda: self._server.started)
        self.url = f"http://127.0.0.1:{port}"
        self.market, self.brokerage, self.clock = app.state.market, app.state.brokerage, app.state.clock

    # market

    async def announce_chain(self) -> None:
        """Say which contracts there are; the bus may have lost it."""
        span = self.market.rows[UNDERLYING]
        chain = OptionChain(
            ts_event=datetime.now(UTC), underlying_symbol=UNDERLYING, revision=1,
            occ_symbols=tuple(option.occ for option in self.market.options[span]),
        )  # fmt: skip
        headers = {"tt-type": chain.type_name(), "tt-version": str(chain.version)}
        subject, data = subjects.md_chain(UNDERLYING), chain.model_dump_json().encode()
        await self.bus.jetstream(timeout=5).publish(subject, data, headers=headers)

    async def _feed(self) -> None:
        """Publish the simulator's book, as marketdata would."""
        span = self.market.rows[UNDERLYING]
        count = span.stop - span.start
        while True:
            now = time.time_ns()
            columns = {
                "row": np.arange(1, count + 1, dtype=np.uint32), "bid": self.market.bid[span].copy(),
                "ask": self.market.ask[span].copy(), "bid_size": np.full(count, 10.0),
                "ask_size": np.full(count, 10.0), "ts_event": np.full(count, now, dtype=np.int64),
            }  # fmt: skip
            data = encode(ColumnBatch(ColumnKind.QUOTE, 1, now, columns, full=True))
            with contextlib.suppress(nats.errors.Error, OSError):
                await self.bus.publish(subjects.md_columns(ColumnKind.QUOTE, UNDERLYING), data)
            with contextlib.suppress(RedisError, OSError):
                await self.cache.set(subjects.columns_cache_key(ColumnKind.QUOTE, UNDERLYING), data)
            await asyncio.sleep(FEED_SECONDS)

    def spread(self, number: int) -> tuple[str, str, Decimal, Decimal]:
        """A put spread out of the money: (short, long, mid, natural), credit positive."""
        market = self.market
        span = market.rows[UNDERLYING]
        rows = [row for row in range(span.start, span.stop) if not market.is_call[row]]
        day = sorted({market.expiration[row] for row in rows})[3]
        below = sorted(
            (row for row in rows if market.expiration[row] == day and market.strike[row] < market.spot[0]),
            key=lambda row: -market.strike[row],
        )
        short, long = below[1 + number % 4 * 2], below[2 + number % 4 * 2]
        bid, ask = market.bid, market.ask
        mid = Decimal(str((bid[short] + ask[short] - bid[long] - ask[long]) / 2)).quantize(Decimal("0.01"))
        natural = Decimal(str(bid[short] - ask[long])).quantize(Decimal("0.01"))
        return market.options[short].occ, market.options[long].occ, mid, natural

    # ledger

    async def ask(self) -> asyncpg.Connection[Any]:
        """A connection as the database's owner."""
        if self._asker is None or self._asker.is_closed():
            self._asker = await asyncpg.connect(self.postgres.url, timeout=5, command_timeout=10)
        return self._asker

    async def new_account(self) -> str:
        """An account that nothing has happened in, whose risk row is written."""
        number: str = self.brokerage.open(CASH, "Margin").account
        money = Decimal(CASH)
        held = Holdings(money, Decimal(0), Decimal(0), money, {}, frozenset())
        async with transaction(self.engines["tt_risk"]) as session:
            await reservations.set_holdings(session, number, held, datetime.now(UTC))
        return number

    async def approve(
        self, account: str, number: int, *, offset: Decimal = Decimal(0), quantity: int = 1, closes: bool = False
    ) -> str:
        """Approve a spread as risk does, with its command in the outbox; returns the intent's id."""
        short, long, mid, natural = self.spread(number)
        identity, now = str(uuid.uuid4()), datetime.now(UTC)
        worst = -(mid + (mid - natural)) - Decimal("0.05") if closes else mid + offset - Decimal("0.15")
        first = worst if closes else mid + offset
        actions = ("Buy to Close", "Sell to Close") if closes else ("Sell to Open", "Buy to Open")
        valid_until = now + timedelta(seconds=APPROVAL_SECONDS)
        intent = Intent(
            intent_id=identity, account_number=account, proposal_id=identity, strategy_id="manual", signal_id=identity,
            purpose="close" if closes else "open", source="demo", underlying_symbol=UNDERLYING,
            spread_type="put_credit_spread",
            legs=[{"occ_symbol": short, "action": actions[0], "quantity": 1},
                  {"occ_symbol": long, "action": actions[1], "quantity": 1}],
            quantity=quantity, limit_price=first, worst_price=worst, tick_size=Decimal("0.01"),
            decision_mid=-mid if closes else mid, state="approved", root_intent_id=identity, valid_until=valid_until,
            created_at=now, updated_at=now, reserved_max_loss=None if closes else LOSS_OF_ONE * quantity,
            reserved_buying_power=None if closes else LOSS_OF_ONE * quantity,
        )  # fmt: skip
        command = ExecuteIntent(ts_event=now, intent_id=identity, account_number=account, valid_until=valid_until)
        async with transaction(self.engines["tt_risk"]) as session:
            await intents.propose(session, intent, PRODUCER)
            outbox.enqueue(
                session, PRODUCER, subjects.execute(account), command, message_id=f"exec-{identity}",
                valid_until=valid_until,
            )  # fmt: skip
        return identity

    async def resume_everything(self) -> None:
        """Let every scope run again."""
        rows = await (await self.ask()).fetch("SELECT scope, scope_value FROM ledger.gate WHERE mode <> 'run'")
        for row in rows:
            async with transaction(self.engines["tt_gateway"]) as session:
                await gate.loosen(
                    session, KillScope(row["scope"]), row["scope_value"], "trial", "the schedule is over", PRODUCER
                )

    # processes

    def environment(self, name: str, account: str, points: str, through: frozenset[str]) -> dict[str, str]:
        """What a service is started with; `through` names the lines that go through a proxy."""

        def url(link: str, plain: str) -> str:
            return self.lines[link].url(plain) if link in through else plain

        broker = url("broker", self.url)
        found = {
            "PATH": os.environ.get("PATH", ""), "TT_NATS_URL": url("nats", self.nats.url),
            "TT_DATABASE_URL": url("postgres", self.postgres.url), "TT_FAILPOINTS": points,
            "TT_REDIS_URL": self.valkey.url,
        }  # fmt: skip
        if name == "executor":
            found |= {
                "TT_BROKER_URL": broker, "TT_BROKER_STREAMER_URL": broker.replace("http", "ws") + "/streamer",
                "TT_BROKER_CLIENT_SECRET": "demo-client-secret", "TT_BROKER_REFRESH_TOKEN": "demo-refresh-token",
                "TT_ACCOUNTS": account, **{f"TT_EXECUTOR_{key}": value for key, value in FAST.items()},
            }  # fmt: skip
        return {key: value for key, value in found.items() if value}

    def processes_of(self, target: str, numbers: Mapping[str, int]) -> list[int]:
        """Process numbers of a service or of a server with everything under it."""
        if target in numbers:
            return [numbers[target]]
        server = {"nats": self.nats, "postgres": self.postgres, "valkey": self.valkey}.get(target)
        if server is None:
            return []
        try:
            root = psutil.Process(server.process.pid)
            return [root.pid, *(each.pid for each in root.children(recursive=True))]
        except psutil.NoSuchProcess:
            return []

    async def restart_server(self, target: str) -> None:
        """Kill a server and start it on its data and port."""
        server = self.nats if target == "nats" else self.postgres
        server.process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(server.process.wait)
        for _ in range(50):
            try:
                if target == "nats":
                    self.nats = await asyncio.to_thread(self._start_nats)
                else:
                    self.postgres = await asyncio.to_thread(self._start_postgres, server.port)
                return
            except embedded.ServerStartError:
                await asyncio.sleep(0.1)  # what the killed one left behind holds its memory for a moment
        raise RuntimeError(f"{target} does not start again: {server.log_path}")

    def _start_nats(self) -> Server:
        return embedded.start_nats(self.folder / "nats", port=self.nats.port, log_path=self.folder / "nats.log")

    async def wipe_nats(self) -> None:
        """Take the bus everything it holds: streams, consumers, messages."""
        self.nats.process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(self.nats.process.wait)
        shutil.rmtree(self.folder / "nats" / "jetstream", ignore_errors=True)
        self.nats = await asyncio.to_thread(self._start_nats)
        await provision(self.nats.url)
        for _ in range(50):
            try:
                await self.announce_chain()
                return
            except (nats.errors.Error, OSError, NotFoundError):
                await asyncio.sleep(0.1)
