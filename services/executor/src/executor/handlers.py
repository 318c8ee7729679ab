"""Take approved intents, walk and time out orders, follow the broker, cancel when stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

import nats
from faststream.nats import NatsBroker
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from chassis.bus import ordered, publish, publish_durable
from chassis.clock import Clock
from chassis.database import transaction
from chassis.kill_switch import KillSwitch
from chassis.telemetry import get_logger
from executor import metrics
from executor.domain import MAY_FILL, disagreements, must_cancel, timed_out, walk_due
from executor.orders import PRODUCER, LeaseLostError, Orders
from executor.settings import ExecutorSettings
from ledger import balances, fills, gate, intents, lease
from ledger.outbox import Relay
from ledger.tables import Intent
from optionmath.sessions import market_date
from schemas import subjects
from schemas.commands import KillAck, KillCommand
from schemas.orders import AT_BROKER, CancelOrders, ExecuteIntent, IntentState
from schemas.trade import OrderAction, Purpose
from strategies.live_chain import LiveMarket
from tastyclient import AccountStream, Balance, BrokerError, Notification, PlacedOrder, TastyClient

IN_HAND = AT_BROKER | {IntentState.SUBMITTING}
POLL_SECONDS, STOPPED_SWEEP_SECONDS, CLEAN_SWEEPS = 0.25, 2.0, 3
log = get_logger("executor")


@dataclass(slots=True)
class Executor:
    """The only process that sends orders. Loops: lease, commands, walk, stream, sweep, stop."""

    settings: ExecutorSettings
    broker: NatsBroker
    engine: AsyncEngine
    client: TastyClient
    urgent: TastyClient
    clock: Clock
    market: LiveMarket = field(default_factory=LiveMarket)
    kill_switch: KillSwitch = field(init=False)
    relay: Relay = field(init=False)
    orders: Orders = field(init=False)
    accounts: list[str] = field(default_factory=list)
    stream_reason: str = "not connected yet"
    reconciled: bool = False
    _stream: AccountStream | None = None
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _sweep: asyncio.Event = field(default_factory=asyncio.Event)
    _notifications: asyncio.Queue[Notification] = field(default_factory=asyncio.Queue)
    _working: int | None = None
    _swept_at: float = 0.0
    """Monotonic seconds at which the sweep that counted `_working` began."""
    _differences: dict[str, dict[str, tuple[int, int]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.kill_switch = KillSwitch(
            self.broker, self.settings, on_command=self.on_kill, working_orders=self._working_since_the_stop
        )
        self.relay = Relay(self.engine, PRODUCER, self._publish, self._relay_failed)
        self.orders = Orders(
            self.settings, self.engine, self.client, self.urgent, self.market, self.clock, self.kill_switch,
            self.relay.wake,
        )  # fmt: skip
        self.broker.subscriber(**ordered(subjects.execute(), subjects.EXEC, "executor"))(self.on_execute)
        self.broker.subscriber(**ordered(subjects.cancel(), subjects.EXEC, "executor-cancel"))(self.on_cancel)

    # commands

    async def on_execute(self, message: ExecuteIntent) -> None:
        """An approval waits in the ledger."""
        self._wake.set()

    async def on_cancel(self, message: CancelOrders) -> None:
        """Cancel one order, or every one of an account."""
        for intent in await self.orders.working(message.account_number):
            wanted = message.intent_id in (None, intent.intent_id, intent.root_intent_id)
            if wanted and message.broker_order_id in (None, intent.broker_order_id) and intent.broker_order_id:
                await self.orders.cancel(intent.account_number, intent.broker_order_id, "requested")

    async def on_kill(self, command: KillCommand) -> None:
        """Cancel at once, and write the gate: the message may have come from any client of the bus."""
        self._stop.set()
        while True:
            try:
                async with transaction(self.engine) as session:
                    await gate.tighten(
                        session, command.scope, command.scope_value, command.mode, command.who, command.why, PRODUCER
                    )
                self.relay.wake()
                return
            except (SQLAlchemyError, OSError) as error:
                log.warning("gate.not_written", error=type(error).__name__)
                await asyncio.sleep(0.2)

    # loops

    async def run_loop(self) -> None:
        """Find the accounts, take their leases, recover, then run everything that needs them."""
        await self._find_accounts()
        await self._take_leases()
        await self._orphans()
        self._stream = AccountStream(
            self.settings.broker_streamer_url, self.accounts, self.client.access_token, self._notifications.put_nowait,
            self._on_stream,
        )  # fmt: skip
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._stream.run())
            for loop in (
                self._lease_loop,
                self._notification_loop,
                self._sweep_loop,
                self._approved_loop,
                self._walk_loop,
                self._stop_loop,
            ):
                tasks.create_task(loop())

    async def _find_accounts(self) -> None:
        wanted = {number.strip() for number in self.settings.accounts.split(",") if number.strip()}
        while not self.accounts:
            try:
                found = [account.account_number for account in await self.urgent.accounts()]
            except BrokerError as error:
                log.warning("accounts.not_read", error=str(error)[:300])
                await self.clock.sleep(1.0)
                continue
            missing = wanted - set(found)
            if missing:
                log.error("accounts.unknown", accounts=sorted(missing), advice="correct TT_ACCOUNTS")
            self.accounts = sorted(wanted & set(found) if wanted else found)
            if not self.accounts:
                await self.clock.sleep(5.0)

    async def _take_leases(self) -> None:
        for number in self.accounts:
            while True:
                async with transaction(self.engine) as session:
                    epoch = await lease.acquire(session, number, self.settings.instance, self.settings.lease_seconds)
                if epoch is not None:
                    self.orders.epochs[number] = epoch
                    log.info("lease.taken", account=number, epoch=epoch)
                    break
                await self.clock.sleep(0.5)

    async def _orphans(self) -> None:
        """What an earlier process was sending is unknown: it is looked up, never sent again."""
        async with transaction(self.engine) as session:
            for number in self.accounts:
                for intent in await intents.in_states(session, [IntentState.SUBMITTING], number):
                    locked = await intents.get(session, intent.intent_id, lock=True)
                    await intents.record(
                        session, locked, IntentState.UNKNOWN, PRODUCER, reason_code="restart",
                        reason="the sending process ended before the broker answered",
                    )  # fmt: skip
                    log.warning("intent.unknown_after_restart", intent=intent.intent_id)
        self.relay.wake()

    async def _lease_loop(self) -> None:
        while True:
            await self.clock.sleep(self.settings.lease_seconds / 3)
            for number, epoch in list(self.orders.epochs.items()):
                try:
                    async with transaction(self.engine) as session:
                        kept = await lease.renew(
                            session, number, self.settings.instance, epoch, self.settings.lease_seconds
                        )
                except (SQLAlchemyError, OSError) as error:
                    log.warning("lease.not_renewed", account=number, error=type(error).__name__)
                    continue
                if not kept:
                    raise LeaseLostError(number)

    def _on_stream(self, connected: bool, reason: str) -> None:
        metrics.stream_connected.set(connected)
        self.stream_reason = "" if connected else reason
        # what happened while nobody listened is read over REST before anything opens
        self.reconciled = False
        log.info("stream.status", connected=connected, reason=reason)
        self._sweep.set()

    async def _notification_loop(self) -> None:
        while True:
            message = await self._notifications.get()
            if isinstance(message, PlacedOrder):
                await self._tolerant("notification", partial(self.orders.observe, message, ""))
            elif isinstance(message, Balance):
                await self._tolerant("balance", partial(self._balance, message))
            else:
                self._sweep.set()

    async def _approved_loop(self) -> None:
        """The command wakes; the poll finds what a lost command left."""
        while True:
            await self._wait(self._wake, POLL_SECONDS)
            if not self.reconciled or self.stream_reason:
                continue
            await self._tolerant("execute", self._approved)

    async def _approved(self) -> None:
        async with transaction(self.engine) as session:
            waiting = list(await intents.in_states(session, [IntentState.APPROVED]))
        for intent in waiting:
            await self.orders.execute(intent)

    async def _walk_loop(self) -> None:
        while True:
            await self.clock.sleep(0.5)
            await self._tolerant("walk", self._walk)

    async def _walk(self) -> None:
        now, rules = self.clock.now(), self.settings.walk()
        for number in self.accounts:
            for intent in await self.orders.working(number):
                if intent.state != IntentState.WORKING.value or intent.broker_order_id is None:
                    continue
                placed_at = intent.submitting_at or intent.created_at
                if timed_out(now, intent.root_submitted_at or placed_at, self.settings.order_timeout_seconds):
                    await self.orders.cancel(number, intent.broker_order_id, "timeout")
                    continue
                mode = self.kill_switch.mode_for(number, intent.strategy_id, intent.underlying_symbol)
                purpose = Purpose(intent.purpose)
                if walk_due(now, placed_at, intent.walk_step, intent.filled_quantity, rules, mode, purpose):
                    await self.orders.step(intent)

    async def _sweep_loop(self) -> None:
        """Compare broker and ledger: often while something is open, on every reconnect, and now and then."""
        while True:
            self._sweep.clear()
            done = await self._tolerant("sweep", self._sweep_all)
            metrics.sweeps.labels("ok" if done else "failed").inc()
            if done and not self.stream_reason:
                self.reconciled = True
            async with transaction(self.engine) as session:
                busy = bool(await intents.open_intents(session))
            pause = self.settings.sweep_busy_seconds if busy or not done else self.settings.sweep_idle_seconds
            await self._wait(self._sweep, pause)

    async def _sweep_all(self) -> None:
        for number in self.accounts:
            listed = await self.urgent.live_orders(number)
            for order in listed:
                await self.orders.observe(order, number)
            await self._unknown(number)
            held = {each.symbol: each.signed_quantity for each in await self.urgent.positions(number)}
            await self._compare(number, held)
            await self._balance(await self.urgent.balance(number))

    async def _unknown(self, account_number: str) -> None:
        """What the broker did not list is set aside with its reservation; after its day it is proved dead."""
        now = self.clock.now()
        async with transaction(self.engine) as session:
            lost = await intents.in_states(session, [IntentState.UNKNOWN, IntentState.QUARANTINE], account_number)
            metrics.unknown.labels(account_number).set(len(lost))
            for each in lost:
                sent = each.submitting_at or each.created_at
                if each.state == IntentState.UNKNOWN.value:
                    if (now - sent).total_seconds() < self.settings.quarantine_after_seconds:
                        continue
                    target, code = IntentState.QUARANTINE, "not_listed"
                elif market_date(now) > market_date(sent):
                    target, code = IntentState.DEAD, "day_over"
                else:
                    continue
                locked = await intents.get(session, each.intent_id, lock=True)
                await intents.record(
                    session, locked, target, PRODUCER, reason_code=code, reason="the broker lists no such order",
                    strict=False,
                )  # fmt: skip
                await self._release_parent(session, locked)
        self.relay.wake()

    async def _release_parent(self, session: AsyncSession, child: Intent) -> None:
        """A replacement that never arrived leaves its parent as the broker shows it: the next sweep moves it."""
        if child.parent_intent_id is None:
            return
        parent = await intents.get(session, child.parent_intent_id, lock=True)
        if parent.state == IntentState.REPLACE_PENDING.value:
            await intents.record(session, parent, IntentState.WORKING, PRODUCER, strict=False)

    async def _compare(self, account_number: str, broker: dict[str, int]) -> None:
        """Freeze an underlying in which two comparisons in a row find the same difference; thaw what agrees."""
        async with transaction(self.engine) as session:
            held = {row.occ_symbol: row.signed_quantity for row in await fills.positions(session, account_number)}
            found = disagreements(held, broker)
            before = self._differences.get(account_number, {})
            self._differences[account_number] = found
            by_underlying: dict[str, str] = {}
            for symbol, (ours, theirs) in sorted(found.items()):
                if before.get(symbol) == (ours, theirs):
                    root = symbol[:6].rstrip()
                    by_underlying.setdefault(root, f"{symbol}: broker reports {theirs}, ledger holds {ours}")
            frozen = await fills.frozen(session, account_number)
            for underlying, reason in by_underlying.items():
                if await fills.freeze(session, account_number, underlying, reason):
                    log.error("position.mismatch", account=account_number, underlying=underlying, reason=reason)
                    await fills.publish_position(session, account_number, underlying, PRODUCER)
            disputed = {symbol[:6].rstrip() for symbol in found}
            for underlying in frozen.keys() - disputed:
                await fills.thaw(session, account_number, underlying)
                await fills.publish_position(session, account_number, underlying, PRODUCER)
            metrics.mismatches.labels(account_number).set(len(by_underlying))
        self.relay.wake()

    async def _balance(self, balance: Balance) -> None:
        now = self.clock.now()
        async with transaction(self.engine) as session:
            await balances.record(
                session,
                balance.account_number,
                net_liq=balance.net_liquidating_value,
                cash=balance.cash_balance,
                buying_power=balance.derivative_buying_power,
                maintenance_requirement=balance.maintenance_requirement,
                market_date=market_date(now),
                at=now,
                producer=PRODUCER,
            )
        self.relay.wake()

    async def announce(self) -> None:
        """Publish what is held at start: the bus may have lost it."""
        async with transaction(self.engine) as session:
            rows = await session.execute(text("SELECT DISTINCT account_number, underlying_symbol FROM ledger.position"))
            for account_number, underlying in rows.all():
                await fills.publish_position(session, account_number, underlying, PRODUCER)

    async def _stop_loop(self) -> None:
        """While anything is stopped, cancel what must not work, from the broker's own list, until it stays clean."""
        clean = 0
        while True:
            await self._wait(self._stop, STOPPED_SWEEP_SECONDS if clean < CLEAN_SWEEPS else 5.0)
            self._stop.clear()
            if not self.kill_switch.is_set():
                clean = 0
                continue
            left, began, command = 0, self.clock.monotonic(), self.kill_switch.last_command
            try:
                for number in self.accounts:
                    left += await self._cancel_stopped(number)
            except (BrokerError, SQLAlchemyError, OSError) as error:
                log.error("stop.sweep_failed", error=f"{type(error).__name__}: {error}"[:300])
                clean = 0
                continue
            clean = 0 if left else clean + 1
            self._working, self._swept_at = left, began
            await self._report(left, command)

    def _working_since_the_stop(self) -> int | None:
        """What a sweep that began after the newest stop has found; None until there is one."""
        latched_at = self.kill_switch.latched_at
        return self._working if latched_at is None or self._swept_at >= latched_at else None

    async def _cancel_stopped(self, account_number: str) -> int:
        """Cancel the orders that the stop concerns; returns how many can still fill, sends in hand included."""
        concerned = []
        for order in await self.urgent.live_orders(account_number):
            if order.status.value not in MAY_FILL:
                continue
            intent = await self.orders.observe(order, account_number)
            strategy = intent.strategy_id if intent else ""
            opens = any(OrderAction(leg.action).opens for leg in order.legs)
            purpose = Purpose.OPEN if opens else Purpose.CLOSE
            if self._stop_concerns(account_number, strategy, order.underlying_symbol, purpose):
                concerned.append(str(order.id))
        for number in concerned:
            await self.orders.cancel(account_number, number, "stopped")
        # an order on its way when the list was read is not in it yet, but in the journal
        async with transaction(self.engine) as session:
            journal = [
                intent
                for intent in await intents.in_states(session, IN_HAND, account_number)
                if self._stop_concerns(
                    account_number, intent.strategy_id, intent.underlying_symbol, Purpose(intent.purpose)
                )
            ]
        return max(len(concerned), len(journal))

    def _stop_concerns(self, account_number: str, strategy_id: str, underlying_symbol: str, purpose: Purpose) -> bool:
        return must_cancel(self.kill_switch.mode_for(account_number, strategy_id, underlying_symbol), purpose)

    async def _report(self, working: int, command: KillCommand | None) -> None:
        acknowledgement = KillAck(
            ts_event=datetime.now(UTC),
            service=self.settings.service,
            instance=self.settings.instance,
            command_id=command.command_id if command else "",
            gate_revision=self.kill_switch.revision(),
            working_orders=working,
        )
        try:
            await publish(self.broker, subjects.KILL_ACK, acknowledgement)
        except nats.errors.Error:
            log.warning("stop.report_not_sent")

    # edges

    async def _tolerant(self, what: str, act: Callable[[], Awaitable[object]]) -> bool:
        """Broker and database may be away; the ledger keeps what is open and the next round goes on."""
        try:
            await act()
        except (BrokerError, SQLAlchemyError, OSError, KeyError, ValueError) as error:
            log.warning("executor.round_failed", what=what, error=f"{type(error).__name__}: {error}"[:300])
            return False
        return True

    async def _wait(self, event: asyncio.Event, seconds: float) -> None:
        try:
            await asyncio.wait_for(event.wait(), seconds)
        except TimeoutError:
            return
        event.clear()

    async def _publish(self, subject: str, data: bytes, **arguments: object) -> None:
        await publish_durable(self.broker, subject, data, **arguments)  # type: ignore[arg-type]

    def _relay_failed(self, error: Exception) -> None:
        metrics.outbox_failures.inc()
        log.warning("outbox.failed", error=f"{type(error).__name__}: {error}"[:200])

    async def probe(self) -> str | None:
        """Ready when it holds its accounts and broker and ledger were compared since the stream connected."""
        if not self.orders.epochs:
            return "no account lease yet"
        if self.stream_reason:
            return f"account stream: {self.stream_reason}"
        return None if self.reconciled else "broker and ledger are being compared"

    async def close(self) -> None:
        """Give the leases back and close the connections."""
        try:
            async with transaction(self.engine) as session:
                for number, epoch in self.orders.epochs.items():
                    await lease.release(session, number, self.settings.instance, epoch)
        except (SQLAlchemyError, OSError):
            log.warning("lease.not_released")
        await self.client.__aexit__()
        await self.urgent.__aexit__()
        await self.engine.dispose()
