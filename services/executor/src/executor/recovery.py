"""From a start, or from a gap of the account stream, to orders again: thirteen steps, in this order, always all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import col, select

from chassis.database import transaction
from chassis.failpoints import failpoint
from chassis.telemetry import get_logger
from executor import metrics
from executor.cancels import Cancels
from executor.desk import PRODUCER, TRANSIENT, Desk
from executor.domain.comparing import Memory, lost_memory, root_of
from executor.domain.conditions import Stage
from executor.lanes import Lane, Step
from executor.lookups import Lookups
from executor.observe import sent_at
from executor.reconcile import Reconciler
from executor.selftest import gate_self_test
from executor.surroundings import Surroundings
from ledger import fills, intents, lease
from ledger.tables import Intent
from optionmath.sessions import market_date
from schemas.orders import AT_BROKER, RESERVED_STATES, IntentState
from tastyclient import AccountStream, PlacedOrder

STEPS = (
    "start_stopped", "lease", "orphans", "stream", "broker_state", "adopt", "duplicates", "positions", "reservations",
    "drain", "second_sweep", "gate_self_test", "ready",
)  # fmt: skip
"""Step n is STEPS[n - 1]."""
BUDGET_SECONDS = 10.0
LEASE_TRY_SECONDS = 0.5
log = get_logger("executor.recovery")


class StoppedError(RuntimeError):
    """Ledger and broker do not know each other: nothing is sent until a person has looked."""


@dataclass(slots=True)
class _Read:
    """The broker's state as step 5 found it."""

    asked_at: datetime
    orders: list[PlacedOrder] = field(default_factory=list)
    complex_orders: int = 0
    positions: dict[str, int] = field(default_factory=dict)
    expected: dict[str, Intent] = field(default_factory=dict)


@dataclass(slots=True)
class Recovery:
    """Runs the steps for an account and writes down what came of each."""

    desk: Desk
    cancels: Cancels
    lookups: Lookups
    reconciler: Reconciler
    surroundings: Surroundings
    read: dict[str, _Read] = field(default_factory=dict)

    async def start(self, lane: Lane) -> None:
        """Steps 1 to 3; the stream's first connection goes on with the others."""
        lane.steps, lane.recovery_began, lane.stage = [], time.monotonic(), Stage.STARTING
        await self._step(lane, 1, self._start_stopped)
        await self._step(lane, 2, self._lease)
        await self._step(lane, 3, self._orphans)
        lane.stage, lane.reason = Stage.RECOVERING, "the account stream is being opened"

    async def resync(self, lane: Lane) -> None:
        """Steps 4 to 9, while the stream holds its messages back. Raises OSError or BrokerError: asked again then."""
        if lane.finishing is not None:
            lane.finishing.cancel()
        if lane.stage is Stage.STOPPED:
            return
        lane.stage, lane.reason = Stage.RECOVERING, "everything is being read from the broker"
        lane.steps = [step for step in lane.steps if step.number < 4]
        try:
            await self._step(lane, 4, self._stream)
            await self._step(lane, 5, self._broker_state)
            await self._step(lane, 6, self._adopt)
            await self._step(lane, 7, self._duplicates)
            await self._step(lane, 8, self._positions)
            await self._step(lane, 9, self._reservations)
        except StoppedError as error:
            lane.stage, lane.reason = Stage.STOPPED, str(error)
            self.surroundings.judge(lane)
            metrics.recoveries.labels("stopped").inc()
            await self.desk.alarm(lane.account_number, "stopped_here", lane.account_number, str(error))
        except SQLAlchemyError as error:
            raise OSError(f"the ledger did not answer ({type(error).__name__})") from error
        finally:
            self.surroundings.judge(lane)

    def finish(self, lane: Lane) -> None:
        """The stream is live and its messages are delivered: go on with steps 10 to 13."""
        if lane.stage is Stage.RECOVERING:
            lane.finishing = asyncio.create_task(self._finish(lane), name=f"recovery-{lane.account_number}")

    async def _finish(self, lane: Lane) -> None:
        await self._step(lane, 10, self._drain)
        lane.stage, lane.reason = Stage.ADOPTED, "a second reading must agree before anything opens"
        self.surroundings.judge(lane)
        lane.wake.set()
        while True:
            try:
                await self._step(lane, 11, self._second_sweep)
                await self._step(lane, 12, self._gate)
                break
            except (*TRANSIENT, ValueError, LookupError) as error:
                lane.reason = f"{type(error).__name__}: {error}"[:300]
                lane.steps = [step for step in lane.steps if step.number < 11]
                await self.desk.clock.sleep(max(1.0, self.desk.settings.second_sweep_seconds))
        await self._step(lane, 13, self._ready)

    async def _step(self, lane: Lane, number: int, act: Callable[[Lane], Awaitable[tuple[str, str]]]) -> None:
        name, began = STEPS[number - 1], time.monotonic()
        try:
            outcome, detail = await act(lane)
        except (*TRANSIENT, StoppedError, ValueError, LookupError) as error:
            self._note(lane, Step(number, name, "failed", time.monotonic() - began, f"{error}"[:300]))
            raise
        self._note(lane, Step(number, name, outcome, time.monotonic() - began, detail))

    def _note(self, lane: Lane, step: Step) -> None:
        lane.steps.append(step)
        metrics.recovery_seconds.labels(lane.account_number, step.name).set(step.seconds)
        log.info(
            "recovery.step", account=lane.account_number, number=step.number, step=step.name, outcome=step.outcome,
            seconds=round(step.seconds, 3), detail=step.detail,
        )  # fmt: skip

    async def _start_stopped(self, lane: Lane) -> tuple[str, str]:
        """1: nothing is sent. The ledger answers and is durable, a gate row is there, nobody has another build."""
        failpoint("executor.recovery.start_stopped")
        settings = text("SELECT current_setting('synchronous_commit'), current_setting('fsync')")
        async with transaction(self.desk.engine) as session:
            commit, fsync = (await session.execute(settings)).one()
            gate = (await session.execute(text("SELECT count(*) FROM ledger.gate WHERE scope = 'all'"))).scalar_one()
        if not gate:
            raise ValueError("the ledger has no gate row for everything: run the migrations")
        strange = self.surroundings.strangers()
        if strange:
            await self.desk.alarm(lane.account_number, "versions", "processes", ", ".join(strange))
        detail = f"synchronous_commit {commit}, fsync {fsync}"
        detail += f", other builds: {', '.join(strange)}" if strange else ""
        return ("held" if strange or "off" in (commit, fsync) else "ok"), detail

    async def _lease(self, lane: Lane) -> tuple[str, str]:
        """2: the account's lease, with an epoch above all before."""
        settings = self.desk.settings
        failpoint("executor.recovery.lease")
        while True:
            asked = self.desk.clock.monotonic()
            async with transaction(self.desk.engine) as session:
                epoch = await lease.acquire(session, lane.account_number, settings.instance, settings.lease_seconds)
            if epoch is not None:
                failpoint("executor.recovery.leased")
                lane.epoch, lane.renewed_at = epoch, asked
                return "ok", f"epoch {epoch}"
            lane.reason = "another process holds the account"
            await self.desk.clock.sleep(LEASE_TRY_SECONDS)

    async def _orphans(self, lane: Lane) -> tuple[str, str]:
        """3: what an earlier process was sending is unknown: it is looked up, never sent again."""
        count = await self.orphans(lane)
        return "ok", f"{count} permits without an outcome"

    async def orphans(self, lane: Lane) -> int:
        """Call every permit of an older epoch unknown, in one transaction."""
        async with transaction(self.desk.engine) as session:
            found = await intents.in_states(session, [IntentState.SUBMITTING], lane.account_number)
            older = [each for each in found if each.epoch is None or each.epoch < (lane.epoch or 0)]
            for intent in older:
                locked = await intents.get(session, intent.intent_id, lock=True)
                await intents.record(
                    session, locked, IntentState.UNKNOWN, PRODUCER, reason_code="restart",
                    reason="the sending process ended before the broker answered", strict=False,
                )  # fmt: skip
                log.warning("intent.unknown_after_restart", intent=intent.intent_id)
            failpoint("executor.recovery.orphans_before_commit")
        failpoint("executor.recovery.orphans")
        self.desk.committed()
        await self.lookups.load(lane)
        await self.cancels.resume(lane)
        lane.lookup.set()
        return len(older)

    async def _stream(self, lane: Lane) -> tuple[str, str]:
        """4: the account stream is connected and holds back what it hears."""
        failpoint("executor.recovery.stream")
        lane.seen.clear()
        return "ok", f"gap {lane.stream.gaps}" if lane.stream else "no stream"

    async def _broker_state(self, lane: Lane) -> tuple[str, str]:
        """5: every page of what the broker knows, from a day before the oldest order that is not finished."""
        failpoint("executor.recovery.reading")
        number, now = lane.account_number, self.desk.clock.now()
        async with transaction(self.desk.engine) as session:
            unfinished = await intents.open_intents(session, number)
        oldest = min((each.created_at for each in unfinished), default=now) - timedelta(days=1)
        start = market_date(self.desk.settings.market_time(oldest))
        urgent = self.desk.urgent
        listed, searched, complex_orders, positions, balance = await asyncio.gather(
            urgent.live_orders(number), urgent.orders(number, start_date=start), urgent.live_complex_orders(number),
            urgent.positions(number), urgent.balance(number),
        )  # fmt: skip
        by_number = {order.id: order for order in (*searched, *listed)}
        async with transaction(self.desk.engine) as session:
            statement = select(Intent).where(
                Intent.account_number == number, Intent.created_at >= oldest, col(Intent.broker_order_id).is_not(None)
            )
            known = (await session.execute(statement)).scalars().all()
        self.read[number] = _Read(
            asked_at=now,
            orders=sorted(by_number.values(), key=lambda order: order.id),
            complex_orders=len(complex_orders),
            positions={each.symbol: int(each.signed_quantity) for each in positions},
            expected={str(each.broker_order_id): each for each in known},
        )
        failpoint("executor.recovery.read")
        await self.reconciler.balance(balance)
        lane.read_at = self.desk.clock.monotonic()
        return "ok", f"{len(by_number)} orders since {start}, {len(complex_orders)} complex, {len(positions)} positions"

    async def _adopt(self, lane: Lane) -> tuple[str, str]:
        """6: orders belong to intents or to somebody else; fills are booked; ledger and broker know each other."""
        read = self.read[lane.account_number]
        matched = await self.reconciler.matched(lane, read.orders)
        async with transaction(self.desk.engine) as session:
            held = len(await fills.positions(session, lane.account_number))
        memory = Memory(
            expected_orders={number: sent_at(each) for number, each in read.expected.items()},
            listed_orders=frozenset(str(order.id) for order in read.orders),
            orphaned_orders=tuple(each.order_id for each in matched.orphaned),
            ledger_positions=held,
            broker_positions=len(read.positions),
        )
        if why := lost_memory(memory, self.desk.clock.now()):
            raise StoppedError(why)
        for order in read.orders:
            await self.lookups.take(lane, order, read.asked_at)
            failpoint("executor.recovery.adopted_one")
        working = [each for each in matched.foreign if each.may_fill]
        return ("held" if working else "ok"), f"{len(matched.ours)} ours, {len(working)} working for somebody else"

    async def _duplicates(self, lane: Lane) -> tuple[str, str]:
        """7: no two orders with one name; foreign ones freeze their underlying."""
        failpoint("executor.recovery.duplicates")
        matched = await self.reconciler.matched(lane, self.read[lane.account_number].orders)
        await self.reconciler.act(lane, matched)
        return ("held" if matched.surplus else "ok"), f"{len(matched.surplus)} intents with more than one order"

    async def _positions(self, lane: Lane) -> tuple[str, str]:
        """8: what the fills add up to is what the broker holds, contract by contract, or the underlying is frozen."""
        failpoint("executor.recovery.positions")
        await self.reconciler.transactions(lane)
        await self.reconciler.compare(lane, self.read[lane.account_number].positions, at_once=True)
        return ("held" if lane.differences else "ok"), f"{len(lane.differences)} contracts differ"

    async def _reservations(self, lane: Lane) -> tuple[str, str]:
        """9: what is reserved is what may still trade: every order at the broker has its reservation."""
        async with transaction(self.desk.engine) as session:
            reserved = await intents.in_states(session, RESERVED_STATES, lane.account_number)
        failpoint("executor.recovery.reservations")
        listed = {str(order.id) for order in self.read[lane.account_number].orders}
        lost = [
            each.intent_id
            for each in reserved
            if IntentState(each.state) in AT_BROKER and each.broker_order_id not in listed
        ]
        for identity in lost:
            await self.desk.alarm(lane.account_number, "order_missing", identity, "reserved, and not at the broker")
        lane.reconciled_at = self.desk.clock.monotonic()
        return ("held" if lost else "ok"), f"{len(reserved)} reservations, {len(lost)} without an order"

    async def _drain(self, lane: Lane) -> tuple[str, str]:
        """10: what was heard meanwhile goes through the same reducer."""
        failpoint("executor.recovery.drain")
        count = lane.notifications.qsize()
        await lane.notifications.join()
        return "ok", f"{count} messages"

    async def _second_sweep(self, lane: Lane) -> tuple[str, str]:
        """11: a second reading, seconds later: whatever has changed is in the ledger too."""
        pause = lane.read_at + self.desk.settings.second_sweep_seconds - self.desk.clock.monotonic()
        await self.desk.clock.sleep(max(0.0, pause))
        failpoint("executor.recovery.second_sweep")
        await self.reconciler.sweep(lane)
        async with transaction(self.desk.engine) as session:
            frozen = await fills.frozen(session, lane.account_number)
        unexplained = sorted(symbol for symbol in lane.differences if root_of(symbol) not in frozen)
        if unexplained:
            raise ValueError(f"{', '.join(unexplained)} differ and are not explained yet")
        return "ok", f"{len(frozen)} underlyings frozen"

    async def _gate(self, lane: Lane) -> tuple[str, str]:
        """12: a stop that nobody else sees refuses a dry run; without it the gate answers as it stands."""
        failpoint("executor.recovery.gate_self_test")
        return "ok", await gate_self_test(self.desk.engine, lane.account_number)

    async def _ready(self, lane: Lane) -> tuple[str, str]:
        """13: orders may be opened, as far as the gate allows."""
        failpoint("executor.recovery.ready")
        lane.stage, lane.reason = Stage.READY, ""
        self.surroundings.judge(lane)
        lane.wake.set()
        seconds = time.monotonic() - lane.recovery_began
        metrics.recovery_seconds.labels(lane.account_number, "all").set(seconds)
        metrics.recoveries.labels("ready").inc()
        if seconds > BUDGET_SECONDS:
            log.warning("recovery.slow", account=lane.account_number, seconds=round(seconds, 1))
        return "ok", f"{seconds:.1f} s since the begin"


def stream_of(desk: Desk, lane: Lane, recovery: Recovery) -> AccountStream:
    """The account's own stream: what it hears waits in the lane; every gap leads through the recovery."""

    async def resync() -> None:
        await recovery.resync(lane)

    def status(live: bool, reason: str) -> None:
        metrics.stream_connected.labels(lane.account_number).set(live)
        lane.stream_reason = "" if live else reason
        log.info("stream.status", account=lane.account_number, live=live, reason=reason)
        if live:
            lane.unbroken_since = desk.clock.monotonic()
            recovery.finish(lane)
        elif lane.stage is not Stage.STOPPED:
            lane.unbroken_since = float("inf")
            if lane.finishing is not None:
                lane.finishing.cancel()
            if lane.stage.closes:
                # a gap: the first three steps are done and hold
                lane.recovery_began, lane.stage = time.monotonic(), Stage.RECOVERING
            lane.reason = f"account stream: {reason}"
        recovery.surroundings.judge(lane)

    return AccountStream(
        desk.settings.broker_streamer_url, [lane.account_number], desk.client.access_token,
        lane.notifications.put_nowait, status, resync=resync, on_refused=desk.client.forget_access_token,
    )  # fmt: skip
