"""The executor's loops and what it hears: one lane for each account, everything else in the parts it is made of."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial

from faststream.nats import NatsBroker
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis.bus import ordered, publish_durable
from chassis.clock import Clock
from chassis.database import transaction
from chassis.failpoints import failpoint
from chassis.kill_switch import KillSwitch
from chassis.telemetry import get_logger
from executor import metrics
from executor.cancels import Cancels
from executor.desk import PRODUCER, Desk, LeaseLostError, wait
from executor.domain.conditions import Stage
from executor.lanes import Lane
from executor.lookups import Lookups
from executor.observe import Observer
from executor.proposals import Proposals
from executor.reconcile import Reconciler
from executor.recovery import Recovery, stream_of
from executor.settings import ExecutorSettings
from executor.standing import Standing
from executor.stopping import Stopping
from executor.structures import Structures
from executor.submit import Sender
from executor.surroundings import Surroundings
from executor.walk import Walker
from ledger import fills, gate, intents, lease
from ledger.observations import Source
from ledger.outbox import Relay
from schemas import subjects
from schemas.commands import KillCommand
from schemas.orders import CancelOrders, ExecuteIntent, IntentState
from strategies.live_chain import LiveMarket
from tastyclient import Balance, BrokerError, Notification, PlacedOrder, TastyClient

POLL_SECONDS, WALK_SECONDS, CANCEL_SECONDS, STRUCTURE_SECONDS = 0.25, 0.5, 1.0, 5.0
SWEEP_PAUSE_SECONDS = 1.0
"""Least time between two sweeps: a fill brings several messages that ask for one."""
log = get_logger("executor")


@dataclass(slots=True)
class Executor:
    """The only process that sends orders."""

    settings: ExecutorSettings
    broker: NatsBroker
    engine: AsyncEngine
    client: TastyClient
    urgent: TastyClient
    clock: Clock
    market: LiveMarket = field(default_factory=LiveMarket)
    kill_switch: KillSwitch = field(init=False)
    relay: Relay = field(init=False)
    desk: Desk = field(init=False)
    cancels: Cancels = field(init=False)
    sender: Sender = field(init=False)
    walker: Walker = field(init=False)
    lookups: Lookups = field(init=False)
    reconciler: Reconciler = field(init=False)
    recovery: Recovery = field(init=False)
    structures: Structures = field(init=False)
    surroundings: Surroundings = field(init=False)
    standing: Standing = field(init=False)
    stopping: Stopping = field(init=False)
    _stops: dict[str, asyncio.Event] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.kill_switch = KillSwitch(
            self.broker, self.settings, on_command=self.on_kill, working_orders=self._working_since_the_stop
        )
        self.relay = Relay(self.engine, PRODUCER, self._publish, self._relay_failed)
        self.desk = Desk(
            self.settings, self.broker, self.engine, self.client, self.urgent, self.clock, self.market,
            self.kill_switch, self.relay.wake,
        )  # fmt: skip
        self.cancels = Cancels(self.desk, Observer(self.desk))
        proposals = Proposals(self.desk)
        self.sender = Sender(self.desk, self.cancels)
        self.walker = Walker(self.desk, self.sender, self.cancels)
        self.lookups = Lookups(self.desk, self.cancels)
        self.reconciler = Reconciler(self.desk, self.cancels, self.lookups)
        self.surroundings = Surroundings(self.desk)
        self.standing = Standing(self.desk, self.surroundings)
        self.recovery = Recovery(self.desk, self.cancels, self.lookups, self.reconciler, self.surroundings)
        self.structures = Structures(self.desk, self.cancels, proposals)
        self.stopping = Stopping(self.desk, self.cancels)
        for client in (self.client, self.urgent):
            client.transport.on_response = self.standing.on_response
        self.broker.subscriber(**ordered(subjects.execute(), subjects.EXEC, "executor"))(self.on_execute)
        self.broker.subscriber(**ordered(subjects.cancel(), subjects.EXEC, "executor-cancel"))(self.on_cancel)

    # commands

    async def on_execute(self, message: ExecuteIntent) -> None:
        """An approval waits in the ledger."""
        lane = self.desk.lane_of(message.account_number)
        if lane is not None:
            failpoint("executor.execute.received")
            lane.waiting.add(message.intent_id)
            lane.wake.set()

    async def on_cancel(self, message: CancelOrders) -> None:
        """Cancel one order, or every one of an account: noted in the ledger here, asked of the broker in its lane."""
        if message.give_up:
            await self.lookups.give_up(message)
        else:
            await self.cancels.note(message)

    async def on_kill(self, command: KillCommand) -> None:
        """Cancel at once, and write the gate: the message may have come from any client of the bus."""
        for stop in self._stops.values():
            stop.set()
        failpoint("executor.kill.heard")
        while True:
            try:
                async with transaction(self.engine) as session:
                    await gate.tighten(
                        session, command.scope, command.scope_value, command.mode, command.who, command.why, PRODUCER
                    )
                failpoint("executor.kill.committed")
                self.relay.wake()
                return
            except (SQLAlchemyError, OSError) as error:
                log.warning("gate.not_written", error=type(error).__name__)
                await asyncio.sleep(0.2)

    # loops

    async def run_loop(self) -> None:
        """Find the accounts, then run a lane for each; one that loses its lease ends the process."""
        await self.surroundings.start()
        await self.standing.start()
        for number in await self._find_accounts():
            self.desk.lanes[number] = Lane(number)
            self._stops[number] = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.surroundings.loop(), name="surroundings")
            tasks.create_task(self.standing.loop(), name="standing")
            for lane in self.desk.lanes.values():
                tasks.create_task(self._run_lane(lane), name=f"lane-{lane.account_number}")

    async def _run_lane(self, lane: Lane) -> None:
        """Recover, then do everything an account needs, each in a loop of its own."""
        while not await self.desk.tolerant("start", lane.account_number, partial(self.recovery.start, lane)):
            await self.clock.sleep(1.0)
        lane.stream = stream_of(self.desk, lane, self.recovery)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(lane.stream.run())
            tasks.create_task(self.lookups.loop(lane))
            tasks.create_task(self.stopping.loop(lane, self._stops[lane.account_number]))
            for loop in (
                self._lease_loop,
                self._notification_loop,
                self._sweep_loop,
                self._approved_loop,
                self._walk_loop,
                self._cancel_loop,
                self._structure_loop,
            ):
                tasks.create_task(loop(lane))

    async def _find_accounts(self) -> list[str]:
        wanted = {number.strip() for number in self.settings.accounts.split(",") if number.strip()}
        while True:
            try:
                found = [account.account_number for account in await self.urgent.accounts()]
            except BrokerError as error:
                log.warning("accounts.not_read", error=str(error)[:300])
                await self.clock.sleep(1.0)
                continue
            missing = wanted - set(found)
            if missing:
                log.error("accounts.unknown", accounts=sorted(missing), advice="correct TT_ACCOUNTS")
            if chosen := sorted(wanted & set(found) if wanted else found):
                return chosen
            await self.clock.sleep(5.0)

    async def _lease_loop(self, lane: Lane) -> None:
        """Renew the lease at a third of its time; its end is counted from before it was asked for."""
        number, seconds = lane.account_number, self.settings.lease_seconds
        while True:
            await self.clock.sleep(seconds / 3)
            asked = self.clock.monotonic()
            try:
                async with transaction(self.engine) as session:
                    kept = await lease.renew(session, number, self.settings.instance, lane.epoch or 0, seconds)
            except (SQLAlchemyError, OSError) as error:
                log.warning("lease.not_renewed", account=number, error=type(error).__name__)
                continue
            if not kept:
                raise LeaseLostError(number)
            failpoint("executor.lease.renewed")
            lane.renewed_at = asked

    async def _notification_loop(self, lane: Lane) -> None:
        while True:
            message = await lane.notifications.get()
            failpoint("executor.notification.received")
            try:
                await self._notified(lane, message)
            finally:
                lane.notifications.task_done()

    async def _notified(self, lane: Lane, message: Notification) -> None:
        number = lane.account_number
        if isinstance(message, PlacedOrder):
            done = await self.desk.tolerant(
                "notification", number, partial(self.cancels.see, message, number, Source.STREAM)
            )
            if not done:
                lane.sweep.set()
        elif isinstance(message, Balance):
            await self.desk.tolerant("balance", number, partial(self.reconciler.balance, message))
        else:
            lane.sweep.set()

    async def _approved_loop(self, lane: Lane) -> None:
        """The command wakes; the poll finds what a lost command left, and retries whose turn has come."""
        while True:
            await wait(lane.wake, POLL_SECONDS)
            await self.desk.tolerant("execute", lane.account_number, partial(self._approved, lane))

    async def _approved(self, lane: Lane) -> None:
        lane.waiting.clear()
        if lane.unsent:
            await self.sender.settle_unsent(lane)
        async with transaction(self.engine) as session:
            waiting = list(await intents.in_states(session, [IntentState.APPROVED], lane.account_number))
        for intent in waiting:
            await self.sender.execute(lane, intent)
            failpoint("executor.approved.done")

    async def _walk_loop(self, lane: Lane) -> None:
        while True:
            await self.clock.sleep(WALK_SECONDS)
            if lane.stage.closes:
                await self.desk.tolerant("walk", lane.account_number, partial(self.walker.round, lane))

    async def _cancel_loop(self, lane: Lane) -> None:
        while True:
            await wait(lane.cancel, CANCEL_SECONDS)
            await self.desk.tolerant("cancel", lane.account_number, partial(self.cancels.again, lane))

    async def _structure_loop(self, lane: Lane) -> None:
        while True:
            await self.clock.sleep(min(STRUCTURE_SECONDS, self.settings.hung_leg_seconds / 2))
            await self.desk.tolerant("structures", lane.account_number, partial(self.structures.round, lane))

    async def _sweep_loop(self, lane: Lane) -> None:
        """Compare broker and ledger: often while something is open, and now and then."""
        while True:
            pause = self.settings.sweep_idle_seconds
            if lane.stage.closes:
                done = await self.desk.tolerant("sweep", lane.account_number, partial(self.reconciler.sweep, lane))
                metrics.sweeps.labels("ok" if done else "failed").inc()
                if not done or await self._busy(lane):
                    pause = self.settings.sweep_busy_seconds
            else:
                pause = min(1.0, pause)
            await self.clock.sleep(min(SWEEP_PAUSE_SECONDS, self.settings.sweep_busy_seconds))
            await wait(lane.sweep, pause)

    async def _busy(self, lane: Lane) -> bool:
        try:
            async with transaction(self.engine) as session:
                return bool(await intents.open_intents(session, lane.account_number))
        except (SQLAlchemyError, OSError):
            return True

    # edges

    async def announce(self) -> None:
        """Publish what is held at start: the bus may have lost it."""
        async with transaction(self.engine) as session:
            rows = await session.execute(text("SELECT DISTINCT account_number, underlying_symbol FROM ledger.position"))
            for account_number, underlying in rows.all():
                await fills.publish_position(session, account_number, underlying, PRODUCER)

    def _working_since_the_stop(self) -> int | None:
        return self.stopping.working_since_the_stop()

    async def _publish(self, subject: str, data: bytes, **arguments: object) -> None:
        await publish_durable(self.broker, subject, data, **arguments)  # type: ignore[arg-type]

    def _relay_failed(self, error: Exception) -> None:
        metrics.outbox_failures.inc()
        log.warning("outbox.failed", error=f"{type(error).__name__}: {error}"[:200])

    @property
    def reconciled(self) -> bool:
        """Whether every account has recovered."""
        return bool(self.desk.lanes) and all(lane.stage is Stage.READY for lane in self.desk.lanes.values())

    async def probe(self) -> str | None:
        """Ready when every account knows what is at the broker and nothing but the second sweep holds it back."""
        if not self.desk.lanes:
            return "no account yet"
        found = []
        for number, lane in sorted(self.desk.lanes.items()):
            reasons = [hold.value for hold in lane.holds if hold.value not in ("second_sweep", "throttled")]
            if reasons or not lane.stage.closes:
                found.append(f"{number}: {', '.join(reasons)} ({lane.reason or lane.stream_reason})")
        return "; ".join(found) or None

    async def close(self) -> None:
        """Give the leases back and close the connections."""
        try:
            async with transaction(self.engine) as session:
                for number, lane in self.desk.lanes.items():
                    if lane.epoch is not None:
                        await lease.release(session, number, self.settings.instance, lane.epoch)
        except (SQLAlchemyError, OSError):
            log.warning("lease.not_released")
        for lane in self.desk.lanes.values():
            if lane.finishing is not None:
                lane.finishing.cancel()
        await self.client.__aexit__()
        await self.urgent.__aexit__()
        await self.engine.dispose()
