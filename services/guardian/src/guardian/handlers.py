"""What the guardian does: hear of stops, sweep the broker's own list until it stays clean, watch the executor."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field

import httpx

from chassis import kill_file, service
from chassis.clock import Clock
from chassis.telemetry import get_logger
from guardian import metrics
from guardian.alerts import Pager
from guardian.broker import BrokerFault, CancelOnlyBroker
from guardian.domain import CLEAN_SWEEPS, Stop, UnreadableOrderError, WorkingOrder, unwanted
from guardian.settings import GuardianSettings
from schemas.account import GateMode, GateState, KillScope
from schemas.commands import KillCommand

FILE_SECONDS = 0.25
ASK_SECONDS = 2.0
CANCEL_AGAIN_SECONDS = 10.0
HELD_SWEEP_SECONDS = 5.0
"""Pause between the sweeps of a stop that is carried out but held by the file."""
AT_ONCE = 8
"""Cancellations on their way at the same time."""
log = get_logger("guardian")


@dataclass(slots=True)
class Guardian:
    """Needs the broker, and nothing else."""

    settings: GuardianSettings
    broker: CancelOnlyBroker
    clock: Clock
    pager: Pager
    stops: dict[tuple[KillScope, str], Stop] = field(default_factory=dict)
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by every stop."""
    news: dict[str, KillCommand] = field(default_factory=dict)
    """Stops that did not come from the bus, by their id, until the bridge has passed them on or they are released."""
    swept: asyncio.Event = field(default_factory=asyncio.Event)
    """Set after every sweep of a stop."""
    left: int | None = None
    """Unwanted orders at the newest sweep; None before the first of a stop."""
    executor_at: float | None = None
    """Monotonic time at which the executor was last heard; None = never."""
    last: dict[str, object] = field(default_factory=dict)
    """The newest stop in times: when it was heard, when the first cancellation went, when it was done."""
    _started: float = 0.0
    _broker_at: float = 0.0
    _accounts: list[str] = field(default_factory=list)
    _asked: dict[str, float] = field(default_factory=dict)
    _known: dict[str, None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._started = self._broker_at = self.clock.monotonic()

    # stops

    def stop(self, command: KillCommand, road: str, *, held: bool = False) -> bool:
        """Take a stop; False when this very command is known already. A laxer mode changes nothing."""
        if command.command_id and command.command_id in self._known:
            return False
        if command.command_id:
            self._known[command.command_id] = None
            if len(self._known) > 1000:
                del self._known[next(iter(self._known))]
        key, now = (command.scope, command.scope_value), self.clock.now()
        there = self.stops.get(key)
        mode = there.mode if there is not None and there.mode.severity > command.mode.severity else command.mode
        held = held or (there is not None and there.held)
        self.stops[key] = Stop(*key, mode, now, road, command.command_id, held)
        self.left = None
        self.last = {"command_id": command.command_id, "road": road, "heard_at": now.isoformat()}
        metrics.stops.labels(road).inc()
        log.warning(
            "stop.heard", road=road, scope=command.scope.value, value=command.scope_value, mode=mode.value,
            who=command.who, why=command.why,
        )  # fmt: skip
        if road != "bus":
            self.news[command.command_id] = command
        self.heard.set()
        return True

    def release(self, scope: KillScope, scope_value: str) -> bool:
        """The scope trades again: stop cancelling. Not while the file is there."""
        key = (scope, scope_value)
        if kill_file.read(self.settings.data_dir) is not None:
            return False
        self.news = {name: each for name, each in self.news.items() if (each.scope, each.scope_value) != key}
        if self.stops.pop(key, None) is None:
            return False
        log.info("stop.released", scope=scope.value, value=scope_value)
        return True

    def on_gate(self, gate: GateState) -> None:
        """The ledger's gate, as the bus tells it: a row that runs again ends its stop."""
        for row in gate.rows:
            there = self.stops.get((row.scope, row.scope_value))
            if there is not None and row.mode is GateMode.RUN and row.changed_at > there.since:
                self.release(row.scope, row.scope_value)

    async def file_loop(self) -> None:
        """Look for the file; what it asks for lasts as long as it is there."""
        while True:
            command = kill_file.read(self.settings.data_dir)
            if command is None:
                for each in self.stops.values():
                    each.held = False
            elif not self.stop(command, "file", held=True):
                key = (command.scope, command.scope_value)
                again = Stop(*key, command.mode, self.clock.now(), "file", command.command_id)
                self.stops.setdefault(key, again).held = True
            await self.clock.sleep(FILE_SECONDS)

    # sweeps

    async def sweep_loop(self) -> None:
        """Sweep while a stop lasts; at once when one is heard."""
        while True:
            rules = self.rules()
            metrics.stopping.set(bool(rules))
            clean = all(stop.clean >= CLEAN_SWEEPS for stop in rules)
            pause = self.settings.watch_seconds if not rules else HELD_SWEEP_SECONDS if clean else None
            await self._wait(self.settings.sweep_seconds if pause is None else pause)
            if rules := self.rules():
                await self._round(rules)

    async def _wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.heard.wait()
        self.heard.clear()

    def rules(self) -> list[Stop]:
        """The stops that last, and the dead man's while the executor is silent."""
        found = list(self.stops.values())
        if self.executor_is_dead():
            found.append(Stop(KillScope.ALL, "", GateMode.REDUCE_ONLY, self.clock.now(), "dead man"))
        return found

    async def _round(self, rules: list[Stop]) -> None:
        try:
            left = await self.sweep(rules)
        except (BrokerFault, UnreadableOrderError) as error:
            log.error("sweep.failed", error=str(error)[:300])
            for stop in rules:
                stop.clean = 0
            await self._reached(str(error))
            return
        for stop in rules:
            stop.clean = 0 if any(stop.concerns(order) for order in left) else stop.clean + 1
        self.left = len(left)
        metrics.working.set(len(left))
        for stop in [each for each in self.stops.values() if each.done]:
            del self.stops[stop.scope, stop.scope_value]
            self.last["clean_at"] = self.clock.now().isoformat()
            log.warning("stop.carried_out", road=stop.road, scope=stop.scope.value, value=stop.scope_value)
        self.swept.set()

    async def sweep(self, rules: list[Stop]) -> list[WorkingOrder]:
        """Cancel what the rules concern, opening orders first; returns what was still there. Raises BrokerFault."""
        with metrics.sweep_seconds.time():
            found = unwanted(await self.orders(), rules)
            slots = asyncio.Semaphore(AT_ONCE)
            for opening in (True, False):
                await asyncio.gather(*(self._cancel(order, slots) for order in found if order.opens is opening))
        if found and all(stop.road == "dead man" for stop in rules):
            await self.pager.page(
                "executor_dead",
                f"nothing was heard of the executor for {self.executor_age():.0f} s while {len(found)} opening orders "
                "worked: they were cancelled",
            )
        return found

    async def _cancel(self, order: WorkingOrder, slots: asyncio.Semaphore) -> None:
        async with slots:
            now = self.clock.monotonic()
            if now - self._asked.get(order.order_id, float("-inf")) < CANCEL_AGAIN_SECONDS:
                return
            self._asked[order.order_id] = now
            self.last.setdefault("first_cancel_at", self.clock.now().isoformat())
            try:
                await self.broker.cancel(order.account_number, order.order_id)
            except BrokerFault as error:
                # refused because it is at its end, or not answered: the next sweep sees which, and asks again
                self._asked.pop(order.order_id, None)
                metrics.cancels.labels("failed").inc()
                log.warning("cancel.failed", order=order.order_id, error=str(error)[:300])
                return
            metrics.cancels.labels("accepted").inc()
            log.warning("cancel.asked", account=order.account_number, order=order.order_id, opens=order.opens)

    async def orders(self) -> list[WorkingOrder]:
        """Everything that can fill, in every account. Raises BrokerFault or UnreadableOrderError."""
        if not self._accounts:
            wanted = [number.strip() for number in self.settings.accounts.split(",") if number.strip()]
            self._accounts = wanted or await self.broker.accounts()
        lists = await asyncio.gather(*(self.broker.working_orders(number) for number in self._accounts))
        self._broker_at = self.clock.monotonic()
        self._asked = {key: at for key, at in self._asked.items() if self._broker_at - at < 3600}
        self.pager.clear("broker_unreachable")
        return [order for each in lists for order in each]

    # watching

    def executor_heard(self) -> None:
        """A sign of life, by whichever road."""
        self.executor_at = self.clock.monotonic()

    def executor_age(self) -> float:
        """Seconds since anything was heard of the executor, or since the start."""
        return self.clock.monotonic() - (self._started if self.executor_at is None else self.executor_at)

    def executor_is_dead(self) -> bool:
        """Nothing was heard for too long, although there is a road on which it would be heard."""
        watched = bool(self.settings.executor_url) or self.executor_at is not None
        return watched and self.executor_age() > self.settings.dead_man_seconds

    def broker_age(self) -> float:
        """Seconds since the broker last gave its list."""
        return self.clock.monotonic() - self._broker_at

    async def watch_loop(self) -> None:
        """Ask whether the executor lives, and read the broker's list: a lost grant shows before it counts."""
        async with httpx.AsyncClient(timeout=ASK_SECONDS, trust_env=False) as http:
            while True:
                await asyncio.gather(self._ask_executor(http), self._look())
                metrics.executor_age.set(self.executor_age())
                metrics.broker_age.set(self.broker_age())
                service.ready.labels("guardian").set(not await self.faults())
                service.stopped.labels("guardian").set(bool(self.stops))
                if self.executor_is_dead():
                    self.heard.set()
                else:
                    self.pager.clear("executor_dead")
                await self.clock.sleep(self.settings.watch_seconds)

    async def _ask_executor(self, http: httpx.AsyncClient) -> None:
        if not self.settings.executor_url:
            return
        try:
            if (await http.get(f"{self.settings.executor_url}/healthz")).is_success:
                self.executor_heard()
        except httpx.HTTPError as error:
            log.debug("executor.silent", error=type(error).__name__)

    async def _look(self) -> None:
        try:
            await self.orders()
        except (BrokerFault, UnreadableOrderError) as error:
            await self._reached(str(error))

    async def _reached(self, reason: str) -> None:
        """Page when the broker was away for too long; during a stop that is sooner."""
        patience = self.settings.unreachable_seconds / (6 if self.rules() else 1)
        if self.broker_age() > patience:
            working = "a stop is to be carried out" if self.rules() else "no stop is waiting"
            await self.pager.page(
                "broker_unreachable",
                f"the broker gave no list of orders for {self.broker_age():.0f} s ({reason[:200]}); {working}",
            )

    # edges

    def state(self) -> dict[str, object]:
        """What an operator sees."""
        return {
            "at": self.clock.now().isoformat(),
            "stops": [
                {
                    "scope": stop.scope.value, "scope_value": stop.scope_value, "mode": stop.mode.value,
                    "since": stop.since.isoformat(), "road": stop.road, "held_by_file": stop.held,
                    "clean_sweeps": stop.clean, "command_id": stop.command_id,
                }
                for stop in self.stops.values()
            ],
            "newest_stop": self.last,
            "unwanted_orders": self.left,
            "executor_dead": self.executor_is_dead(),
            "executor_age_seconds": round(self.executor_age(), 1),
            "broker_age_seconds": round(self.broker_age(), 1),
            "alarms": self.pager.raised,
        }  # fmt: skip

    async def broker_probe(self) -> str | None:
        """Ready when the broker gave its list lately."""
        patience = max(4 * self.settings.watch_seconds, 10.0)
        if self.broker_age() > patience:
            return f"no list of orders for {self.broker_age():.0f} s"
        return None if self._accounts else "the broker has not answered yet"

    async def executor_probe(self) -> str | None:
        """Ready when there is a road on which the executor would be heard; that it is silent is told otherwise."""
        if self.settings.executor_url or self.executor_at is not None:
            return None
        return "nothing would tell of a dead executor: set TT_GUARDIAN_EXECUTOR_URL"

    async def faults(self) -> list[str]:
        """What keeps it from being ready."""
        return [each for each in (await self.broker_probe(), await self.executor_probe()) if each]
