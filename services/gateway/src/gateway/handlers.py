"""From the bus and the ledger into the read model."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import nats
from faststream.nats import NatsBroker
from nats.aio.msg import Msg
from pydantic import ValidationError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlmodel import col, select

from chassis.bus import latest, publish, publish_durable, raw_client
from chassis.clock import Clock
from chassis.database import transaction
from chassis.kill_switch import KillSwitch
from chassis.telemetry import get_logger
from gateway import metrics
from gateway.domain import Channel, Item, KillRecord, ReadModel
from gateway.other_roads import OtherRoads
from gateway.settings import GatewaySettings
from ledger import audit, gate, intents
from ledger.outbox import Relay
from ledger.tables import FillRow, Intent
from schemas import subjects
from schemas.account import Balance, GateMode, GateState, Heartbeat, KillScope, Position
from schemas.analytics import PortfolioReading, VolatilityReading
from schemas.base import Message
from schemas.columns import ColumnBatch, ColumnKind
from schemas.commands import KillAck, KillCommand, parse_kill
from schemas.market import FeedStatus, MarketSession
from schemas.orders import CancelOrders, Fill, OrderEvent, RiskDecision, RiskState
from schemas.trade import Candidate, OrderAction, ProposeTrade, Purpose, ScanCycle
from strategies.live_chain import LiveMarket, instant

PRODUCER = "gateway"
BROADCASTS, BROADCAST_GAP_SECONDS, GATE_SECONDS, BUS_SECONDS = 5, 0.2, 0.3, 0.2
LATE_SECONDS, GONE_SECONDS = 3.0, 60.0
LISTENERS = ("scanner", "risk", "executor", "gateway", "guardian")
"""Services that must confirm a stop."""
M = TypeVar("M", bound=Message)
log = get_logger("gateway")


@dataclass(slots=True)
class Gateway:
    """State of the gateway: the read model and the roads for commands."""

    settings: GatewaySettings
    broker: NatsBroker
    engine: AsyncEngine
    clock: Clock
    model: ReadModel = field(default_factory=ReadModel)
    market: LiveMarket = field(default_factory=LiveMarket)
    candidates: dict[str, Candidate] = field(default_factory=dict)
    kills: dict[str, KillRecord] = field(default_factory=dict)
    heartbeats: dict[str, Heartbeat] = field(default_factory=dict)
    kill_switch: KillSwitch = field(init=False)
    relay: Relay = field(init=False)
    other_roads: OtherRoads = field(init=False)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _moved: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.kill_switch = KillSwitch(self.broker, self.settings)
        self.relay = Relay(self.engine, PRODUCER, self._publish, self._relay_failed)
        self.other_roads = OtherRoads(self.settings, self.expected)
        for subject, handler in (
            (subjects.GATE, self.on_gate),
            (subjects.fact_balance(), self.on_balance),
            (subjects.fact_position(), self.on_position),
            (subjects.risk_state(), self.on_risk_state),
            (subjects.ana("portfolio"), self.on_portfolio),
            (subjects.ana("volatility"), self.on_volatility),
            (subjects.MD_FEED, self.on_feed),
            (subjects.MD_SESSION, self.on_session),
        ):
            self.broker.subscriber(**latest(subject, subjects.STATE))(handler)
        self.broker.subscriber(**latest(subjects.SCAN_CYCLE, subjects.CANDIDATES))(self.on_cycle)

    async def start(self) -> None:
        """Load what only grows from the ledger, then follow it; facts in between are seen twice and kept once."""
        client = raw_client(self.broker)
        tails: tuple[tuple[str, Callable[[bytes], None]], ...] = (
            (subjects.fact_order(), self._tail(OrderEvent, self.on_order)),
            (subjects.fact_fill(), self._tail(Fill, self.on_fill)),
            (subjects.fact_risk(), self._tail(RiskDecision, self.on_decision)),
            (subjects.heartbeat(), self._tail(Heartbeat, self.on_heartbeat)),
            (subjects.KILL_ACK, self._tail(KillAck, self.on_kill_ack)),
            (subjects.KILL, self.on_kill_message),
        )
        for subject, take in tails:
            await client.subscribe(subject, cb=_callback(take))
        await self.load()

    async def load(self) -> None:
        """Read orders and fills of the ledger; called again after every reconnect."""
        async with transaction(self.engine) as session:
            rows = (await session.execute(select(Intent).order_by(col(Intent.created_at).desc()).limit(400))).scalars()
            for row in reversed(rows.all()):
                self.on_order(intents.event_of(row))
            fills = (
                await session.execute(select(FillRow).order_by(col(FillRow.booked_at).desc()).limit(800))
            ).scalars()
            for each in reversed(fills.all()):
                self.on_fill(
                    Fill(
                        ts_event=each.booked_at,
                        account_number=each.account_number,
                        intent_id=each.intent_id,
                        broker_order_id=each.broker_order_id,
                        fill_id=each.fill_id,
                        occ_symbol=each.occ_symbol,
                        action=OrderAction(each.action),
                        quantity=each.quantity,
                        fill_price=each.fill_price,
                        filled_at=each.filled_at,
                    )
                )
            await self.on_gate(await gate.read(session))

    def _tail(self, kind: type[M], handler: Callable[[M], None]) -> Callable[[bytes], None]:
        def take(data: bytes) -> None:
            try:
                handler(kind.model_validate_json(data))
            except ValidationError as error:
                log.warning("gateway.unreadable_fact", kind=kind.__name__, error=str(error)[:300])

        return take

    # state

    async def on_gate(self, message: GateState) -> None:
        held = self.model.get(Channel.GATE, "gate")
        if held is None or message.revision >= held["revision"]:
            self.model.put(Channel.GATE, "gate", _item(message))

    async def on_balance(self, message: Balance) -> None:
        self.model.put(Channel.BALANCES, message.account_number, _item(message))

    async def on_position(self, message: Position) -> None:
        key = f"{message.account_number}|{message.underlying_symbol}"
        if message.legs or message.frozen:
            self.model.put(Channel.POSITIONS, key, _item(message))
        else:
            self.model.delete(Channel.POSITIONS, key)

    async def on_risk_state(self, message: RiskState) -> None:
        self.model.put(Channel.RISK, message.account_number, _item(message))

    async def on_portfolio(self, message: PortfolioReading) -> None:
        self.model.put(Channel.PORTFOLIO, message.account_number, _item(message))

    async def on_volatility(self, message: VolatilityReading) -> None:
        self.model.put(Channel.VOLATILITY, message.underlying_symbol, _item(message))

    async def on_feed(self, message: FeedStatus) -> None:
        self.model.put(Channel.FEED, "feed", _item(message))

    async def on_session(self, message: MarketSession) -> None:
        self.model.put(Channel.FEED, "session", _item(message))

    async def on_cycle(self, message: ScanCycle) -> None:
        self.candidates = {candidate.candidate_id: candidate for candidate in message.candidates}
        self.model.replace(Channel.CANDIDATES, {key: _item(each) for key, each in self.candidates.items()})
        self.model.put(Channel.CYCLE, "latest", _item(message.model_copy(update={"candidates": ()})))

    # facts

    def on_order(self, message: OrderEvent) -> None:
        held = self.model.get(Channel.ORDERS, message.intent_id)
        if held is None or message.aggregate_version >= held["aggregate_version"]:
            self.model.put(Channel.ORDERS, message.intent_id, _item(message))

    def on_fill(self, message: Fill) -> None:
        key = f"{message.broker_order_id}|{message.occ_symbol}|{message.fill_id}"
        self.model.put(Channel.FILLS, key, _item(message))

    def on_decision(self, message: RiskDecision) -> None:
        self.model.put(Channel.DECISIONS, message.proposal_id, _item(message))

    def on_heartbeat(self, message: Heartbeat) -> None:
        self.heartbeats[f"{message.service}.{message.instance}"] = message

    def on_kill_message(self, data: bytes) -> None:
        """Any client of the bus may have sent it."""
        command = parse_kill(data)
        known = command.command_id or f"bus-{command.ts_event.timestamp()}"
        if known not in self.kills:
            self.kills[known] = KillRecord(
                command.model_copy(update={"command_id": known}), self.clock.now(), self.kill_switch.revision()
            )
            self._keep(asyncio.create_task(self._follow(self.kills[known], told=True)))
        self.show_kill(known)

    def on_kill_ack(self, message: KillAck) -> None:
        known = message.command_id if message.command_id in self.kills else next(reversed(self.kills), "")
        if known:
            self.kills[known].acknowledge(message)
            self.show_kill(known)

    def show_kill(self, command_id: str) -> None:
        """Bring a stop's record to the browsers."""
        self.model.put(Channel.KILL, command_id, self.kills[command_id].item(self.expected()))

    def expected(self) -> list[str]:
        """Services that must confirm a stop: all of them, and one that is not there has confirmed nothing."""
        return list(LISTENERS)

    def on_batch(self, underlying_symbol: str, batch: ColumnBatch) -> None:
        """Note that an underlying's own row moved."""
        if batch.kind is not ColumnKind.GREEKS and len(batch) and int(batch.columns["row"][0]) == 0:
            self._moved.add(underlying_symbol)

    # loops

    async def quotes_loop(self) -> None:
        """Show the underlyings' quotes, gathered."""
        while True:
            await self.clock.sleep(0.25)
            moved, self._moved = self._moved, set()
            for symbol in moved:
                if symbol in self.market.chains:
                    self.model.put(Channel.QUOTES, symbol, self.quote(symbol))

    def quote(self, symbol: str) -> Item:
        """An underlying's quote; what is not known is None."""
        chain = self.market.chains[symbol]

        def known(name: str) -> float | None:
            value = float(chain.column[name][0])
            return value if value == value else None

        at = int(chain.at[ColumnKind.QUOTE][0])
        return {
            "symbol": symbol,
            "bid": known("bid"),
            "ask": known("ask"),
            "last": known("last"),
            "previous_close": known("previous_close"),
            "at": instant(at).isoformat() if at else None,
        }

    async def health_loop(self) -> None:
        """Show the age of every heartbeat once a second; one that stays away is shown late, then dropped."""
        while True:
            now = self.clock.now()
            for key, beat in list(self.heartbeats.items()):
                age = (now - beat.ts_event).total_seconds()
                if age > GONE_SECONDS:
                    del self.heartbeats[key]
                    self.model.delete(Channel.HEALTH, key)
                    continue
                late = age > LATE_SECONDS
                reason = f"silent for {age:.0f} s" if late else beat.reason
                item = {**_item(beat), "age_seconds": round(age, 1), "ready": beat.ready and not late, "reason": reason}
                self.model.put(Channel.HEALTH, key, item)
            await self.clock.sleep(1.0)

    # commands

    async def kill(self, scope: KillScope, scope_value: str, mode: GateMode, who: str, why: str) -> KillRecord:
        """Close the gate, then tell every process; a database that does not answer must not delay the telling."""
        now = self.clock.now()
        command = KillCommand(
            ts_event=now, scope=scope, scope_value=scope_value, mode=mode, who=who, why=why,
            command_id=str(uuid.uuid4()),
        )  # fmt: skip
        record = KillRecord(command, now)
        self.kills[command.command_id] = record
        metrics.kills.inc()
        began = self.clock.monotonic()
        writing = asyncio.create_task(self._write_gate(record, began))
        self._keep(writing)
        await asyncio.wait({writing}, timeout=GATE_SECONDS)
        self.kill_switch.latch(command)
        self.on_kill_ack(self._own_ack(command))
        told = await self._broadcast_once(command)
        self._keep(asyncio.create_task(self._broadcast(command)))
        self._keep(asyncio.create_task(self._follow(record, told=told)))
        return record

    async def _follow(self, record: KillRecord, *, told: bool) -> None:
        """Take the other roads where they are needed, and show red who has not confirmed in time."""
        await self.other_roads.follow(record, told=told and await self._bus_answers())
        record.overdue = tuple(record.silent(self.expected()))
        self.show_kill(record.command.command_id)

    def _own_ack(self, command: KillCommand) -> KillAck:
        return KillAck(
            ts_event=self.clock.now(), service=PRODUCER, instance=self.settings.instance,
            command_id=command.command_id, gate_revision=self.kill_switch.revision(),
        )  # fmt: skip

    async def _write_gate(self, record: KillRecord, began: float) -> None:
        command = record.command
        while True:
            try:
                async with transaction(self.engine) as session:
                    change = await gate.tighten(
                        session, command.scope, command.scope_value, command.mode, command.who, command.why, PRODUCER
                    )
                record.revision, record.gate_seconds = change.revision, round(self.clock.monotonic() - began, 4)
                metrics.kill_seconds.observe(record.gate_seconds)
                self.relay.wake()
                return
            except (SQLAlchemyError, OSError) as error:
                log.warning("gate.not_written", error=type(error).__name__)
                await asyncio.sleep(0.2)

    async def _broadcast(self, command: KillCommand) -> None:
        for _ in range(BROADCASTS - 1):
            await asyncio.sleep(BROADCAST_GAP_SECONDS)
            await self._broadcast_once(command)

    async def _broadcast_once(self, command: KillCommand) -> bool:
        try:
            await publish(self.broker, subjects.KILL, command)
        except nats.errors.Error as error:
            log.error("kill.not_broadcast", error=type(error).__name__)
            return False
        return True

    async def _bus_answers(self) -> bool:
        """A round trip: a frozen server takes messages for seconds without passing them on."""
        try:
            async with asyncio.timeout(BUS_SECONDS):
                await raw_client(self.broker).flush()
        except (nats.errors.Error, OSError, TimeoutError):
            return False
        return True

    async def resume(self, scope: KillScope, scope_value: str, who: str, reason: str) -> GateState:
        """Let a scope run again. Raises LookupError or ValueError."""
        async with transaction(self.engine) as session:
            await gate.loosen(session, scope, scope_value, who, reason, PRODUCER)
            state = await gate.read(session)
        self.relay.wake()
        for record in self.kills.values():
            record.over = record.over or (record.command.scope, record.command.scope_value) == (scope, scope_value)
        await self.other_roads.release(scope, scope_value)
        await self.on_gate(state)
        return state

    async def arm(self, account_number: str, armed: bool, who: str, reason: str) -> GateState:
        """Let automation open positions in an account, or no longer."""
        async with transaction(self.engine) as session:
            await gate.set_armed(session, account_number, armed, who, reason, PRODUCER)
            state = await gate.read(session)
        self.relay.wake()
        await self.on_gate(state)
        return state

    async def propose(self, candidate: Candidate, account_number: str, quantity: int, who: str, client_id: str) -> str:
        """Ask risk for a candidate's trade on behalf of a person. The same client_id is one proposal."""
        now = self.clock.now()
        message = ProposeTrade(
            ts_event=now,
            proposal_id=str(uuid.uuid5(uuid.NAMESPACE_OID, f"{who}|{client_id}")),
            account_number=account_number,
            source=who,
            strategy_id="manual",
            signal_id=client_id,
            purpose=Purpose.OPEN,
            underlying_symbol=candidate.underlying_symbol,
            spread_type=candidate.spread_type,
            legs=candidate.legs,
            quantity=quantity,
            start_price=max(candidate.mid_price.quantize(candidate.tick_size), candidate.limit_price),
            limit_price=candidate.limit_price,
            decision_mid=candidate.mid_price,
            candidate=candidate,
            thesis=candidate.thesis,
            valid_until=now + timedelta(seconds=30),
        )
        await publish_durable(
            self.broker, subjects.propose(who), message, message_id=message.proposal_id,
            valid_until=message.valid_until,
        )  # fmt: skip
        await self.note(who, "propose", candidate.underlying_symbol, {"candidate_id": candidate.candidate_id})
        return message.proposal_id

    async def cancel(
        self, account_number: str, intent_id: str, who: str, reason: str, *, give_up: bool = False
    ) -> None:
        """Ask the executor to cancel an order, or to declare a lost one dead."""
        now = self.clock.now()
        message = CancelOrders(
            ts_event=now, account_number=account_number, intent_id=intent_id, requested_by=who, reason=reason,
            give_up=give_up, valid_until=now + timedelta(seconds=60),
        )  # fmt: skip
        await publish_durable(
            self.broker, subjects.cancel(account_number), message, message_id=str(uuid.uuid4()),
            valid_until=message.valid_until,
        )  # fmt: skip
        await self.note(who, "give up" if give_up else "cancel", intent_id, {"reason": reason})

    async def note(self, who: str, action: str, target: str, detail: dict[str, str]) -> None:
        """Keep an act in the audit."""
        async with transaction(self.engine) as session:
            audit.record(session, PRODUCER, who, action, target=target, detail=detail)
        self.relay.wake()

    # edges

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _publish(self, subject: str, data: bytes, **arguments: object) -> None:
        await publish_durable(self.broker, subject, data, **arguments)  # type: ignore[arg-type]

    def _relay_failed(self, error: Exception) -> None:
        metrics.outbox_failures.inc()
        log.warning("outbox.failed", error=f"{type(error).__name__}: {error}"[:200])

    async def probe(self) -> str | None:
        """Ready when the database answers."""
        try:
            async with transaction(self.engine) as session:
                await session.execute(text("SELECT 1"))
        except (SQLAlchemyError, OSError) as error:
            return f"the database does not answer ({type(error).__name__})"
        return None

    async def close(self) -> None:
        """Close the database connections."""
        await self.engine.dispose()


def _item(message: Message) -> dict[str, Any]:
    return message.model_dump(mode="json")


def _callback(take: Callable[[bytes], None]) -> Callable[[Msg], Awaitable[None]]:
    async def heard(message: Msg) -> None:
        take(message.data)

    return heard


def now_utc() -> datetime:
    """The time a server message carries."""
    return datetime.now(UTC)
