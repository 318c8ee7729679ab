"""Run one schedule in a world, heal everything, wait until nothing is under way, and check the books."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import httpx
import nats
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from chassis.database import transaction
from chassis.service import EXIT_SETTINGS
from e2e.crash_processes import PRODUCER
from e2e.crash_schedule import ACTIVE_SECONDS, Action, Order, Schedule
from e2e.crash_world import LOSS_ALLOWED, World
from ledger import gate
from schemas import subjects
from schemas.account import GateMode, KillScope
from schemas.commands import KillCommand
from schemas.orders import CancelOrders
from testkit import eventually as until
from testkit.checker import IN_FLIGHT, Stop, Truth, Violation, check, read, sound
from testkit.fault_proxy import LineFault

REST_SECONDS = 90.0
"""After healing, everything is settled within this time, or that is a violation too."""
WARM_SECONDS = 30.0
SETTLE_SECONDS, POLL_SECONDS, RESTART_SECONDS = 0.8, 0.1, 0.05
AWAY = (
    SQLAlchemyError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    nats.errors.Error,
    RedisError,
    OSError,
    TimeoutError,
)
"""What an act of the harness may meet while a server is away."""


@dataclass
class Result:
    """What came of a schedule."""

    seed: int
    violations: list[Violation]
    seconds: float
    restarts: int
    struck: list[str]
    """Failpoints that struck."""
    recoveries: list[float]
    """Seconds from the end of an executor to its next one being reconciled."""
    submitted: int
    permits: int
    ends: dict[str, int]
    """State and reason → intents that rest so."""
    stopped: bool
    log: str


@dataclass
class Run:
    """One schedule under way."""

    world: World
    schedule: Schedule
    mutant: str = ""
    """An executor with one thing wrong (`e2e.crash_mutants`), to see that it is found."""
    patience: float = REST_SECONDS
    account: str = ""
    stops: list[Stop] = field(default_factory=list)
    identities: dict[int, str] = field(default_factory=dict)
    lives: dict[str, int] = field(default_factory=dict)
    """How many processes of a service there have been."""
    processes: dict[str, int] = field(default_factory=dict)
    healed: bool = False
    _ready: bool = False
    _died_at: dict[str, float] = field(default_factory=dict)
    _log_offset: dict[str, int] = field(default_factory=dict)
    recoveries: list[float] = field(default_factory=list)

    async def go(self) -> Result:
        """Everything, in order."""
        began = time.monotonic()
        world, schedule = self.world, self.schedule
        self.account = await world.new_account()
        history = len(world.brokerage.store.history())
        await self._steer("PUT", f"/sim/accounts/{self.account}/fills", {"behavior": schedule.fills})
        await self._steer("PUT", "/sim/clock", {"speed": schedule.speed})
        if schedule.faults:
            await self._steer("POST", "/sim/faults", list(schedule.faults))
        supervisors = [asyncio.create_task(self._supervise(name)) for name in ("relay", "executor")]
        try:
            if schedule.warm:
                await self._warm()
            acts = [
                self._at(order.at, lambda order=order, n=n: self._order(n, order))
                for n, order in enumerate(schedule.orders)
            ]
            acts += [self._at(action.at, lambda action=action: self._act(action)) for action in schedule.actions]
            await asyncio.gather(*acts)
            await asyncio.sleep(SETTLE_SECONDS)
            await self._heal()
            violations = await self._rest(history)
            ends, submitted = await self._counts(history)
            with contextlib.suppress(*AWAY):
                await world.resume_everything()
                await self._gate_announced()
        finally:
            for task in supervisors:
                task.cancel()
            await asyncio.gather(*supervisors, return_exceptions=True)
            self._end_processes()
        log = self._log_text()
        return Result(
            schedule.seed, violations, time.monotonic() - began, sum(self.lives.values()) - 2,
            [json.loads(line)["point"] for line in log.splitlines() if line.startswith('{"event":"failpoint.struck"')],
            self.recoveries, submitted, ends.pop("permits", 0), ends, bool(self.stops), log,
        )  # fmt: skip

    # processes

    def _environment(self, name: str) -> dict[str, str]:
        armed = self.schedule.points if name == "executor" else self.schedule.relay_points
        life = self.lives.get(name, 0)
        points = armed[life] if life < len(armed) and not self.healed else ""
        lines = {action.target.split()[0] for action in self.schedule.actions if action.what == "line"}
        return self.world.environment(name, self.account, points, frozenset(lines))

    async def _supervise(self, name: str) -> None:
        """Start a service, and again whenever it has ended: what a supervisor does."""
        log = self.world.folder / f"{name}.log"
        self._log_offset.setdefault(name, log.stat().st_size if log.exists() else 0)
        while True:
            environment = self._environment(name)
            self.lives[name] = self.lives.get(name, 0) + 1
            wrong = f":{self.mutant}" if self.mutant and name == "executor" else ""
            number = await self.world.forks.start(f"{name}{wrong}", environment, log)
            self.processes[name] = number
            ready = asyncio.create_task(self._reconciled(log, self._died_at.get(name))) if name == "executor" else None
            await until(lambda number=number: number in self.world.forks.ended, timeout=3600, every=RESTART_SECONDS)
            self._died_at[name] = time.monotonic()
            if self.world.forks.ended[number] == EXIT_SETTINGS:
                raise RuntimeError(f"{name} refused its settings: {self._log_text()[-500:]}")
            if ready is not None:
                ready.cancel()
            await asyncio.sleep(RESTART_SECONDS)

    async def _warm(self) -> None:
        """The first executor is reconciled, or has died on its way there."""
        with contextlib.suppress(AssertionError):
            await until(lambda: self._ready or self.lives.get("executor", 0) > 1, timeout=WARM_SECONDS, every=0.05)

    async def _reconciled(self, log: Any, since: float | None) -> None:
        """Note how long an executor took from the end of the one before to the last step of its recovery."""
        offset = log.stat().st_size if log.exists() else 0
        while True:
            await asyncio.sleep(0.05)
            with log.open("rb") as stream:
                stream.seek(offset)
                if b'"step": "ready"' in stream.read():
                    break
        self._ready = True
        if since is not None:
            self.recoveries.append(time.monotonic() - since)

    def _end_processes(self) -> None:
        for number in self.processes.values():
            if number not in self.world.forks.ended:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(number, signal.SIGCONT)
                    os.kill(number, signal.SIGKILL)

    def _log_text(self) -> str:
        found = []
        for name, offset in self._log_offset.items():
            with (self.world.folder / f"{name}.log").open("rb") as stream:
                stream.seek(offset)
                found.append(stream.read().decode(errors="replace"))
        return "\n".join(found)

    # what a schedule does

    async def _at(self, seconds: float, act: Callable[[], Awaitable[None]]) -> None:
        await asyncio.sleep(seconds)
        with contextlib.suppress(*AWAY):
            await act()

    async def _steer(self, method: str, path: str, body: object) -> None:
        async with httpx.AsyncClient(base_url=self.world.url, trust_env=False, timeout=15) as client:
            (await client.request(method, path, json=body)).raise_for_status()

    async def _order(self, number: int, order: Order) -> None:
        kind = {"offset": Decimal(order.offset), "quantity": order.quantity}
        identity = await self.world.approve(self.account, number, **kind)  # type: ignore[arg-type]
        self.identities[number] = identity
        if not order.closes:
            return
        deadline = time.monotonic() + ACTIVE_SECONDS
        while time.monotonic() < deadline:
            await asyncio.sleep(POLL_SECONDS)
            state = "SELECT state FROM ledger.intent WHERE root_intent_id = $1 ORDER BY walk_step DESC LIMIT 1"
            connection = await asyncpg.connect(self.world.postgres.url, timeout=5)
            try:
                filled = await connection.fetchval(state, identity) == "filled"
            finally:
                await connection.close()
            if filled:
                await self.world.approve(self.account, number, quantity=order.quantity, closes=True)
                return

    async def _act(self, action: Action) -> None:
        world, target = self.world, action.target
        match action.what:
            case "kill" if target in ("nats", "postgres"):
                await world.restart_server(target)
            case "kill":
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.processes[target], signal.SIGKILL)
            case "freeze":
                numbers = world.processes_of(target, self.processes)
                self._signal(numbers, signal.SIGSTOP)
                await asyncio.sleep(action.seconds)
                self._signal(numbers, signal.SIGCONT)
            case "line":
                link, fault = target.split()
                world.lines[link].fault(LineFault(fault), action.amount)
                await asyncio.sleep(action.seconds)
                world.lines[link].heal()
            case "stop":
                await self._stop(*target.split())
            case "cancel":
                now = datetime.now(UTC)
                message = CancelOrders(
                    ts_event=now, account_number=self.account, requested_by="trial",
                    valid_until=now + timedelta(minutes=5),
                )  # fmt: skip
                headers = {"tt-type": message.type_name(), "tt-version": str(message.version)}
                data = message.model_dump_json().encode()
                await world.bus.jetstream(timeout=2).publish(subjects.cancel(self.account), data, headers=headers)
            case "wipe_nats":
                await world.wipe_nats()
            case "flush_cache":
                await world.cache.flushall()

    @staticmethod
    def _signal(numbers: list[int], name: signal.Signals) -> None:
        for number in numbers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, name)

    async def _stop(self, how: str, mode: str) -> None:
        """Press the kill switch, and note by the ledger's clock when the stop had committed."""
        if how == "broadcast":
            command = KillCommand(
                command_id=f"trial-{self.schedule.seed}", mode=GateMode(mode), who="trial", why="trial"
            )
            for _ in range(5):
                await self.world.bus.publish(subjects.KILL, command.model_dump_json().encode())
                await asyncio.sleep(0.1)
        else:
            async with transaction(self.world.engines["tt_risk"]) as session:
                await gate.tighten(session, KillScope.ALL, "", GateMode(mode), "trial", "trial", PRODUCER)
        connection = await asyncpg.connect(self.world.postgres.url, timeout=5)
        try:
            statement = "SELECT clock_timestamp() FROM ledger.gate WHERE scope = 'all' AND mode <> 'run'"
            at = await until(lambda: connection.fetchval(statement), timeout=10)
        except AssertionError:
            return  # nobody listened to the broadcast: there is no stop to hold anybody to
        finally:
            await connection.close()
        self.stops.append(Stop(at, mode == "cancel_working"))

    # the end

    async def _heal(self) -> None:
        """Nothing is wrong any more: what cannot settle now never will."""
        self.healed = True
        await self._steer("DELETE", "/sim/faults", None)
        for line in self.world.lines.values():
            line.heal()
        for target in ("executor", "relay", "nats", "postgres", "valkey"):
            self._signal(self.world.processes_of(target, self.processes), signal.SIGCONT)

    def _held_seconds(self) -> float:
        """How long the broker may still hold a request that it was sent before the faults were healed."""
        return max(
            (fault.get("seconds") or 0.0 for fault in self.schedule.faults if "hold" in fault["kind"]), default=0.0
        )

    def _truth(self, history: int) -> Truth:
        broker = self.world.brokerage.broker(self.account)
        events = [
            event
            for event in self.world.brokerage.store.history()[history:]
            if event.get("account-number") == self.account and event["what"] != "fault"
        ]
        positions = {symbol: quantity for symbol, (quantity, _) in broker.positions.items() if quantity}
        working = {
            str(order.id): order.external_identifier or "" for order in broker.orders.values() if not order.is_terminal
        }
        return Truth(self.account, events, positions, working, self.stops, LOSS_ALLOWED)

    async def _rest(self, history: int) -> list[Violation]:
        """What is wrong once nothing moves any more; at the end of the patience, what is wrong then."""
        healed = time.monotonic()
        earliest, latest = healed + self._held_seconds(), healed + self.patience
        found = [Violation("unrest", "I25", "the ledger was not read")]
        while time.monotonic() < latest:
            with contextlib.suppress(*AWAY):
                found = await self._judged(history)
                if not found and time.monotonic() >= earliest:
                    return []
                if any(each.kind in ("duplicate", "permit_after_kill") for each in found):
                    return found  # time does not heal these
            await asyncio.sleep(POLL_SECONDS)
        return found

    async def _judged(self, history: int) -> list[Violation]:
        connection = await self.world.ask()
        books = await read(connection, self.account)
        if moving := [row for row in books.intents if row["state"] in IN_FLIGHT]:
            return [Violation("unrest", "I25", f"{row['intent_id']} rests {row['state']}") for row in moving]
        truth = self._truth(history)
        found = check(truth, books) + await sound(connection)
        if truth.working:
            found.append(Violation("unrest", "I25", f"orders {', '.join(truth.working)} still work"))
        return found

    async def _counts(self, history: int) -> tuple[dict[str, int], int]:
        """How the intents ended, with `permits` beside them; orders that the broker took."""
        with contextlib.suppress(*AWAY):
            books = await read(await self.world.ask(), self.account)
            ends = Counter(f"{row['state']} {row['reason_code']}".strip() for row in books.intents)
            submitted = sum(event["what"] == "submitted" for event in self._truth(history).history)
            return {**ends, "permits": len(books.permits)}, submitted
        return {}, 0

    async def _gate_announced(self) -> None:
        """The relay has told everybody that everything runs."""
        connection = await self.world.ask()
        count = "SELECT count(*) FROM ledger.outbox WHERE published_at IS NULL"

        async def told() -> bool:
            return not await connection.fetchval(count)

        with contextlib.suppress(AssertionError):
            await until(told, timeout=10, every=0.05)
