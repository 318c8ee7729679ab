"""Send once, record what came of it. Every road to the broker for an order goes through here."""

from __future__ import annotations

import asyncio
import hashlib
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal

import orjson
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from chassis.clock import Clock
from chassis.database import transaction
from chassis.kill_switch import KillSwitch
from chassis.telemetry import get_logger
from executor import metrics
from executor.domain import STATE_OF, Book, next_price, start_price
from executor.settings import ExecutorSettings
from ledger import fills, intents
from ledger.core import filled
from ledger.intents import ClaimRefusal, Permit
from ledger.tables import Intent
from schemas.orders import AT_BROKER, TERMINAL_STATES, Fill, IntentState
from schemas.trade import OrderAction, Purpose
from strategies.live_chain import LiveMarket
from tastyclient import BrokerError, NewLeg, NewOrder, Outcome, PlacedOrder, TastyClient

PRODUCER = "executor"
log = get_logger("executor.orders")


class LeaseLostError(RuntimeError):
    """Another process holds the account: this one must not send and starts anew."""


class _RolledBackError(Exception):
    """A price step got no permit: nothing of it is kept."""

    def __init__(self, refusal: ClaimRefusal) -> None:
        self.refusal = refusal


@dataclass(slots=True)
class Orders:
    """Sends, replaces and cancels orders of the accounts whose lease this process holds."""

    settings: ExecutorSettings
    engine: AsyncEngine
    client: TastyClient
    urgent: TastyClient
    """For cancellations and reads: its own throttle, so that sends never starve them."""
    market: LiveMarket
    clock: Clock
    kill_switch: KillSwitch
    committed: Callable[[], None]
    """Called after each commit that promised messages."""
    epochs: dict[str, int] = field(default_factory=dict)
    """Account → epoch of the lease held."""
    lanes: dict[str, asyncio.Lock] = field(default_factory=dict)
    walked_at: dict[str, float] = field(default_factory=dict)

    def book(self, intent: Intent) -> Book | None:
        """Today's book of an intent's structure; None unless every leg is quoted on both sides."""
        legs = [(leg.occ_symbol, leg.action.sign * leg.quantity) for leg in intents.legs_of(intent)]
        found = self.market.net_book(legs)
        if found is None:
            return None
        age = max(0.0, (self.clock.now() - found.oldest_quote_at).total_seconds())
        return Book(found.mid, found.natural, age)

    def fresh_book(self, intent: Intent) -> Book | None:
        """The book when it is young enough to trade on."""
        book = self.book(intent)
        return book if book and book.age_seconds <= self.settings.quote_max_age_at_submit_seconds else None

    def stopped(self, intent: Intent) -> bool:
        """What this process knows of stops, for this intent."""
        mode = self.kill_switch.mode_for(intent.account_number, intent.strategy_id, intent.underlying_symbol)
        return not mode.allows(Purpose(intent.purpose))

    async def execute(self, intent: Intent) -> None:
        """Send an approved intent once; without a fresh quote it waits until it expires."""
        async with self._lane(intent.account_number):
            if intent.account_number not in self.epochs:
                return
            if self.clock.now() >= intent.valid_until:
                await self._end(intent.intent_id, IntentState.EXPIRED, "expired", "approval expired before it was sent")
                return
            if self.stopped(intent):
                await self._end(intent.intent_id, IntentState.WITHDRAWN, "gate", "trading is stopped")
                return
            book = self.fresh_book(intent)
            if book is None:
                return
            price = start_price(book, intent.worst_price, intent.tick_size)
            await self._first(intent, price)

    async def _first(self, intent: Intent, price: Decimal) -> None:
        order = new_order(intent, price)
        async with transaction(self.engine) as session:
            answer = await intents.claim(
                session,
                intent.intent_id,
                holder=self.settings.instance,
                epoch=self.epochs[intent.account_number],
                body_hash=body_hash(order),
                producer=PRODUCER,
                limit_price=price,
            )
        metrics.claims.labels("permit" if isinstance(answer, Permit) else answer.value).inc()
        if isinstance(answer, Permit):
            self.committed()
            await self._send(answer.intent, order, None)
        else:
            await self._refused(intent, answer)

    async def _refused(self, intent: Intent, answer: ClaimRefusal) -> None:
        log.info("claim.refused", intent=intent.intent_id, answer=answer.value)
        if answer is ClaimRefusal.LEASE:
            raise LeaseLostError(intent.account_number)
        ends = {
            ClaimRefusal.GATE: (IntentState.WITHDRAWN, "gate", "trading is stopped"),
            ClaimRefusal.NOT_ARMED: (IntentState.WITHDRAWN, "not_armed", "automation is not armed"),
            ClaimRefusal.EXPIRED: (IntentState.EXPIRED, "expired", "approval expired before it was sent"),
        }
        if answer in ends:
            await self._end(intent.intent_id, *ends[answer])

    async def step(self, parent: Intent) -> None:
        """Move a working order's limit one step towards natural: a child intent replaces it at the broker."""
        async with self._lane(parent.account_number):
            book = self.fresh_book(parent)
            epoch = self.epochs.get(parent.account_number)
            if book is None or epoch is None or self.stopped(parent) or parent.broker_order_id is None:
                return
            price = next_price(
                parent.limit_price, parent.worst_price, parent.tick_size, parent.walk_step + 1, book,
                self.settings.walk(),
            )  # fmt: skip
            if price >= parent.limit_price:
                return
            try:
                child, order = await self._claim_step(parent.intent_id, price, epoch)
            except _RolledBackError as rolled_back:
                metrics.claims.labels(rolled_back.refusal.value).inc()
                if rolled_back.refusal is ClaimRefusal.LEASE:
                    raise LeaseLostError(parent.account_number) from None
                return
            metrics.claims.labels("permit").inc()
            self.committed()
            await self._send(child, order, parent)

    async def _claim_step(self, parent_id: str, price: Decimal, epoch: int) -> tuple[Intent, NewOrder]:
        async with transaction(self.engine) as session:
            parent = await intents.get(session, parent_id, lock=True)
            if parent.state != IntentState.WORKING.value or parent.filled_quantity:
                raise _RolledBackError(ClaimRefusal.TAKEN)
            child = await intents.child(
                session, parent, str(uuid.uuid4()), price, self.clock.now() + timedelta(seconds=10), PRODUCER
            )
            order = new_order(child, price)
            answer = await intents.claim(
                session,
                child.intent_id,
                holder=self.settings.instance,
                epoch=epoch,
                body_hash=body_hash(order),
                producer=PRODUCER,
            )
            if not isinstance(answer, Permit):
                raise _RolledBackError(answer)
            await intents.record(session, parent, IntentState.REPLACE_PENDING, PRODUCER)
            return answer.intent, order

    async def _send(self, intent: Intent, order: NewOrder, replaces: Intent | None) -> None:
        """Use the permit: one request, whatever happens. The permit is void after the deadline or a stop."""
        began = time.monotonic()
        kind = "replace" if replaces else "submit"
        if self.stopped(intent):
            await self._end(intent.intent_id, IntentState.NOT_SENT, "gate", "trading was stopped before the send")
            await self._give_back(replaces)
            return
        try:
            async with asyncio.timeout(self.settings.send_deadline_seconds):
                # the token may need a refresh; once the request is on its way nothing may cut it short
                await self.client.access_token()
        except (TimeoutError, BrokerError) as error:
            metrics.sends.labels(kind, "not_sent").inc()
            await self._end(
                intent.intent_id, IntentState.NOT_SENT, "no_token", f"{type(error).__name__}: {error}"[:300]
            )
            await self._give_back(replaces)
            return
        if self.stopped(intent) or time.monotonic() - began > self.settings.send_deadline_seconds:
            await self._end(intent.intent_id, IntentState.NOT_SENT, "gate", "the permit was void before the send")
            await self._give_back(replaces)
            return
        try:
            if replaces is not None and replaces.broker_order_id is not None:
                placed = await self.client.replace(intent.account_number, int(replaces.broker_order_id), order)
            else:
                placed = await self.client.submit(intent.account_number, order)
        except BrokerError as error:
            await self._failed(intent, error, kind, replaces)
            return
        finally:
            metrics.send_seconds.observe(time.monotonic() - began)
        metrics.sends.labels(kind, "accepted").inc()
        await self.observe(placed, intent.account_number)
        if replaces is not None and replaces.broker_order_id is not None:
            await self.refresh(replaces.account_number, replaces.broker_order_id)

    async def _failed(self, intent: Intent, error: BrokerError, kind: str, replaces: Intent | None) -> None:
        state = {
            Outcome.REJECTED: IntentState.REJECTED,
            Outcome.NOT_SENT: IntentState.NOT_SENT,
            Outcome.UNKNOWN: IntentState.UNKNOWN,
        }[error.outcome]
        metrics.sends.labels(kind, error.outcome.value).inc()
        log.warning("send.failed", intent=intent.intent_id, kind=kind, outcome=error.outcome.value, error=str(error))
        code = error.reasons[0].code if error.reasons else error.code or type(error).__name__
        await self._end(intent.intent_id, state, code[:100], str(error)[:500])
        if replaces is not None and state is not IntentState.UNKNOWN:
            await self._give_back(replaces)
            if replaces.broker_order_id is not None:
                await self.refresh(replaces.account_number, replaces.broker_order_id)

    async def _give_back(self, replaced: Intent | None) -> None:
        """A replacement that was proved not to happen leaves the old order working."""
        if replaced is not None:
            await self._end(replaced.intent_id, IntentState.WORKING, "", "")

    async def _end(self, intent_id: str, state: IntentState, code: str, reason: str) -> None:
        async with transaction(self.engine) as session:
            intent = await intents.get(session, intent_id, lock=True)
            # the account stream may already have shown the order: then the observation stands
            await intents.record(session, intent, state, PRODUCER, reason_code=code, reason=reason, strict=False)
        self.committed()

    async def cancel(self, account_number: str, broker_order_id: str, reason: str) -> None:
        """Ask the broker to cancel; idempotent, never blocked by gate, lease or limits."""
        async with transaction(self.engine) as session:
            intent = await intents.by_broker_order_id(session, account_number, broker_order_id)
            if intent is not None and IntentState(intent.state) in (IntentState.ACKED, IntentState.WORKING):
                locked = await intents.get(session, intent.intent_id, lock=True)
                await intents.record(
                    session, locked, IntentState.CANCEL_PENDING, PRODUCER, reason_code=reason, reason="", strict=False
                )
        self.committed()
        try:
            placed = await self.urgent.cancel(account_number, int(broker_order_id))
        except BrokerError as error:
            metrics.cancels.labels(reason, error.outcome.value).inc()
            log.warning("cancel.failed", order=broker_order_id, error=str(error)[:300])
            await self.refresh(account_number, broker_order_id)
            return
        metrics.cancels.labels(reason, "accepted").inc()
        await self.observe(placed, account_number)

    async def refresh(self, account_number: str, broker_order_id: str) -> None:
        """Read one order; a failed read changes nothing, the next sweep reads again."""
        try:
            placed = await self.urgent.order(account_number, int(broker_order_id))
        except BrokerError as error:
            log.warning("order.not_read", order=broker_order_id, error=str(error)[:300])
            return
        await self.observe(placed, account_number)

    async def observe(self, order: PlacedOrder, account_number: str) -> Intent | None:
        """Take what the broker shows of an order: book its fills, move its intent, which is returned if it is ours."""
        number = order.account_number or account_number
        async with transaction(self.engine) as session:
            known = intents.intent_id_of(order.external_identifier)
            intent: Intent | None = None
            if known is not None:
                try:
                    intent = await intents.get(session, known, lock=True)
                except LookupError:
                    intent = None
            if intent is None:
                found = await intents.by_broker_order_id(session, number, str(order.id))
                intent = await intents.get(session, found.intent_id, lock=True) if found else None
            booked = await self._book(session, order, number, intent)
            if intent is None:
                return None
            legs = intents.legs_of(intent)
            total = filled(legs, await fills.executions(session, intent.intent_id))
            state = STATE_OF[order.status.value]
            late = (
                order.updated_at is not None
                and intent.observed_at is not None
                and order.updated_at < intent.observed_at
            )
            if late and state not in TERMINAL_STATES:
                state = IntentState(intent.state)
            reason = order.reject_reason or ""
            if state is IntentState.CANCELLED and order.replacing_order_id is not None:
                reason = f"replaced by order {order.replacing_order_id}"
            await intents.record(
                session,
                intent,
                state,
                PRODUCER,
                reason_code=intent.reason_code or ("replaced" if order.replacing_order_id else ""),
                reason=reason or intent.reason,
                strict=False,
                broker_order_id=str(order.id),
                filled_quantity=min(intent.quantity, max(total.units, intent.filled_quantity)),
                average_fill_price=total.average_price,
                observed_at=order.updated_at if not late else intent.observed_at,
            )
            if booked and total.average_price is not None and intent.decision_mid is not None:
                metrics.slippage.observe(float(intent.decision_mid - total.average_price))
        self.committed()
        return intent

    async def _book(self, session: AsyncSession, order: PlacedOrder, number: str, intent: Intent | None) -> int:
        """Book every fill of an order that is not booked yet, ours or not: positions must add up."""
        booked = 0
        underlying = intent.underlying_symbol if intent else order.underlying_symbol
        for leg in order.legs:
            for each in leg.fills:
                fill = Fill(
                    ts_event=self.clock.now(),
                    account_number=number,
                    intent_id=intent.intent_id if intent else None,
                    broker_order_id=str(order.id),
                    fill_id=each.fill_id,
                    occ_symbol=leg.symbol,
                    action=OrderAction(leg.action),
                    quantity=each.quantity,
                    fill_price=each.fill_price,
                    filled_at=each.filled_at,
                )
                booked += await fills.book(session, fill, underlying, PRODUCER)
        if booked:
            metrics.fills.inc(booked)
            await fills.publish_position(session, number, underlying, PRODUCER)
        return booked

    async def working(self, account_number: str) -> list[Intent]:
        """Intents the broker holds."""
        async with transaction(self.engine) as session:
            return list(await intents.in_states(session, AT_BROKER, account_number))

    def _lane(self, account_number: str) -> asyncio.Lock:
        return self.lanes.setdefault(account_number, asyncio.Lock())


def new_order(intent: Intent, price: Decimal) -> NewOrder:
    """The request for an intent at a price."""
    return NewOrder(
        legs=tuple(
            NewLeg(symbol=leg.occ_symbol, action=leg.action.value, quantity=leg.quantity * intent.quantity)
            for leg in intents.legs_of(intent)
        ),
        price=price.quantize(Decimal("0.01")) if price == price.quantize(Decimal("0.01")) else price,
        external_identifier=intents.external_identifier(intent.intent_id),
        closing=intent.purpose == Purpose.CLOSE.value,
    )


def body_hash(order: NewOrder) -> str:
    """What was to be sent, provable later."""
    return hashlib.sha256(orjson.dumps(order.body(), option=orjson.OPT_SORT_KEYS)).hexdigest()
