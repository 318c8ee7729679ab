"""Send an approved intent once, and record what came of it. Every order that leaves goes through `Sender.send`."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
import uuid
from dataclasses import dataclass
from decimal import Decimal

import orjson
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import transaction
from chassis.failpoints import failpoint
from chassis.telemetry import get_logger
from executor import metrics
from executor.cancels import Cancels
from executor.claims import Refusal, claim_first
from executor.desk import PRODUCER, Desk, LeaseLostError
from executor.domain.outcomes import THROTTLE_CIRCUIT_SECONDS, verdict
from executor.domain.pricing import retry_delay, start_price
from executor.lanes import Lane, Lookup
from executor.quotes import book_of, grid_for
from ledger import intents
from ledger.intents import ClaimRefusal, Permit
from ledger.observations import Source
from ledger.tables import Intent
from schemas.orders import IntentState
from schemas.trade import Purpose
from tastyclient import BrokerError, NewLeg, NewOrder, PlacedOrder

LONGEST_RETRY_SECONDS = 8.0
log = get_logger("executor.submit")


@dataclass(slots=True)
class Sender:
    """Sends and replaces orders of the accounts whose lease this process holds."""

    desk: Desk
    cancels: Cancels

    async def execute(self, lane: Lane, intent: Intent) -> None:
        """Send an approved intent once; without a fresh quote, or while it is held back, it waits until it expires."""
        async with lane.sending:
            now, identity = self.desk.clock.now(), intent.intent_id
            held = lane.holds_for(Purpose(intent.purpose))
            if lane.epoch is None:
                return
            if now >= intent.valid_until:
                code = f"held_{held[0].value}" if held else "expired"
                await self.end(identity, IntentState.EXPIRED, code, "approval expired before it was sent")
                return
            if self.stopped(intent):
                await self.end(identity, IntentState.WITHDRAWN, "gate", "trading is stopped")
                return
            if held or self.desk.clock.monotonic() < lane.not_before.get(identity, 0.0):
                return
            book = book_of(self.desk.market, intent, now, self.desk.settings.quote_max_age_at_submit_seconds)
            if book is None:
                return
            price = start_price(book, intent.worst_price, grid_for(self.desk.market, intent))
            await self._first(lane, intent, price, book.mid)

    async def _first(self, lane: Lane, intent: Intent, price: Decimal, mid: Decimal) -> None:
        order = new_order(intent, price)
        lane.unsent.add(intent.intent_id)
        failpoint("executor.submit.before_claim")
        answer = await claim_first(self.desk, lane, intent, price, body_hash(order))
        failpoint("executor.submit.claim_answered")
        metrics.claims.labels("permit" if isinstance(answer, Permit) else answer.code).inc()
        if isinstance(answer, Permit):
            self.desk.committed()
            failpoint("executor.submit.permitted")
            lane.mid_at_send[intent.intent_id] = mid
            await self.send(lane, answer.intent, order, None)
        else:
            lane.unsent.discard(intent.intent_id)
            await self._refused(intent, answer)

    async def _refused(self, intent: Intent, answer: Refusal) -> None:
        failpoint("executor.submit.refused")
        log.info("claim.refused", intent=intent.intent_id, answer=answer.code, reason=answer.reason)
        if answer.code == ClaimRefusal.LEASE.value:
            raise LeaseLostError(intent.account_number)
        if answer.ends is not None:
            await self.end(intent.intent_id, answer.ends, answer.code, answer.reason)

    async def send(self, lane: Lane, intent: Intent, order: NewOrder, replaces: Intent | None) -> None:
        """Use the permit: one request, whatever happens. The permit is void after the deadline or a stop."""
        began = time.monotonic()
        kind = "replace" if replaces else "submit"
        if void := await self._void(lane, intent, began):
            failpoint("executor.submit.void")
            metrics.sends.labels(kind, "not_sent").inc()
            lane.unsent.discard(intent.intent_id)
            await self._not_sent(lane, intent, replaces, *void)
            return
        lane.unsent.discard(intent.intent_id)
        if replaces is None:
            approved = (self.desk.clock.now() - intent.created_at).total_seconds()
            metrics.approval_to_wire_seconds.observe(max(0.0, approved))
        failpoint("executor.submit.before_write")
        try:
            placed = await self._request(intent, order, replaces)
        except BrokerError as error:
            failpoint("executor.submit.answer_failed")
            await self._failed(lane, intent, error, kind, replaces)
            return
        finally:
            metrics.send_seconds.observe(time.monotonic() - began)
        failpoint("executor.submit.answered")
        metrics.sends.labels(kind, "accepted").inc()
        await self.cancels.see(placed, intent.account_number, Source.REPLY)
        failpoint("executor.submit.recorded")
        if replaces is not None and replaces.broker_order_id is not None:
            await self.cancels.refresh(replaces.account_number, replaces.broker_order_id)

    async def _request(self, intent: Intent, order: NewOrder, replaces: Intent | None) -> PlacedOrder:
        """The one place from which bytes of an order leave."""
        if replaces is not None and replaces.broker_order_id is not None:
            return await self.desk.client.replace(intent.account_number, int(replaces.broker_order_id), order)
        return await self.desk.client.submit(intent.account_number, order)

    async def _void(self, lane: Lane, intent: Intent, began: float) -> tuple[str, str, bool] | None:
        """Why a permit must not be used: (code, reason, whether another try makes sense)."""
        settings = self.desk.settings
        if self.stopped(intent):
            return "gate", "trading was stopped before the send", False
        try:
            # the token may need a refresh; once the request is on its way nothing may cut it short
            async with asyncio.timeout(settings.send_deadline_seconds):
                await self.desk.client.access_token()
        except (TimeoutError, BrokerError) as error:
            return "no_token", f"{type(error).__name__}: {error}"[:300], True
        if self.stopped(intent) or time.monotonic() - began > settings.send_deadline_seconds:
            return "gate", "the permit was void before the send", False
        if lane.lease_left(self.desk.clock.monotonic(), settings.lease_seconds) <= 0:
            return "lease", "the lease ended before the send", False
        now = self.desk.clock.now()
        if book_of(self.desk.market, intent, now, settings.quote_max_age_at_submit_seconds) is None:
            return "stale_quote", "the quotes were too old or broken at the send", False
        return None

    async def _not_sent(
        self, lane: Lane, intent: Intent, replaces: Intent | None, code: str, reason: str, retry: bool
    ) -> None:
        if retry and replaces is None:
            await self._retry(lane, intent, IntentState.NOT_SENT, code, reason)
        else:
            await self.end(intent.intent_id, IntentState.NOT_SENT, code, reason)
        await self.give_back(replaces)

    async def _failed(self, lane: Lane, intent: Intent, error: BrokerError, kind: str, replaces: Intent | None) -> None:
        found = verdict(error.outcome.value, error.status)
        metrics.sends.labels(kind, "throttled" if found.throttled else error.outcome.value).inc()
        log.warning("send.failed", intent=intent.intent_id, kind=kind, outcome=error.outcome.value, error=str(error))
        code = error.reasons[0].code if error.reasons else error.code or type(error).__name__
        code, reason = ("throttled" if found.throttled else code[:100]), str(error)[:500]
        now = self.desk.clock.monotonic()
        if found.throttled:
            lane.throttled_until = now + THROTTLE_CIRCUIT_SECONDS
        if found.retry and replaces is None:
            await self._retry(lane, intent, found.state, code, reason)
        else:
            await self.end(intent.intent_id, found.state, code, reason)
        failpoint("executor.submit.failure_recorded")
        if found.state is IntentState.UNKNOWN:
            lane.lookups[intent.intent_id] = Lookup(
                intent.intent_id, intent.root_intent_id, now, throttled=found.throttled
            )
            lane.lookup.set()
            await self._both_links(replaces)
            return
        await self.give_back(replaces)
        if replaces is not None and replaces.broker_order_id is not None:
            await self.cancels.refresh(replaces.account_number, replaces.broker_order_id)

    async def _both_links(self, replaced: Intent | None) -> None:
        """A replacement without an answer is ambiguous twice: look at the old order, and at what replaced it."""
        failpoint("executor.submit.both_links")
        if replaced is None or replaced.broker_order_id is None:
            return
        old = await self.cancels.refresh(replaced.account_number, replaced.broker_order_id)
        if old is not None and old.replacing_order_id is not None:
            await self.cancels.refresh(replaced.account_number, str(old.replacing_order_id))

    async def _retry(self, lane: Lane, intent: Intent, state: IntentState, code: str, reason: str) -> None:
        """End the intent and make a new one in its place, in one transaction: the reservation is handed on."""
        async with transaction(self.desk.engine) as session:
            current = await intents.get(session, intent.intent_id, lock=True)
            await intents.record(session, current, state, PRODUCER, reason_code=code, reason=reason, strict=False)
            failpoint("executor.retry.ended")
            tries = await _tries(session, current)
            root = await intents.get(session, current.root_intent_id)
            again = current.state == state.value and tries <= self.desk.settings.retry_max_attempts
            if again and self.desk.clock.now() < root.valid_until:
                child = await intents.child(
                    session, current, str(uuid.uuid4()), current.limit_price, root.valid_until, PRODUCER
                )
                delay = retry_delay(
                    tries, self.desk.settings.retry_base_seconds, LONGEST_RETRY_SECONDS, random.random()
                )
                lane.not_before[child.intent_id] = self.desk.clock.monotonic() + delay
                failpoint("executor.retry.child_made")
                metrics.retries.inc()
                log.info("send.retry", intent=child.intent_id, after=intent.intent_id, attempt=tries, seconds=delay)
        failpoint("executor.retry.committed")
        self.desk.committed()

    async def settle_unsent(self, lane: Lane) -> None:
        """A permit whose commit was cut off may stand in the ledger: nothing was written for it, which is proof."""
        if lane.sending.locked():
            return
        for identity in list(lane.unsent):
            async with transaction(self.desk.engine) as session:
                intent = await intents.get(session, identity, lock=True)
                if intent.state == IntentState.SUBMITTING.value and intent.epoch == lane.epoch:
                    await intents.record(
                        session, intent, IntentState.NOT_SENT, PRODUCER, reason_code="permit_lost",
                        reason="the ledger's answer was lost, and nothing was written",
                    )  # fmt: skip
            failpoint("executor.unsent.settled")
            lane.unsent.discard(identity)
            self.desk.committed()

    async def give_back(self, replaced: Intent | None) -> None:
        """A replacement that was proved not to happen leaves the old order working."""
        if replaced is None:
            return
        async with transaction(self.desk.engine) as session:
            intent = await intents.get(session, replaced.intent_id, lock=True)
            if intent.state == IntentState.REPLACE_PENDING.value:
                await intents.record(session, intent, IntentState.WORKING, PRODUCER, strict=False)
        failpoint("executor.replace.given_back")
        self.desk.committed()

    async def end(self, intent_id: str, state: IntentState, code: str, reason: str) -> None:
        """Record where an intent stands; an observation that came first stands."""
        async with transaction(self.desk.engine) as session:
            intent = await intents.get(session, intent_id, lock=True)
            await intents.record(session, intent, state, PRODUCER, reason_code=code, reason=reason, strict=False)
            failpoint("executor.end.written")
        failpoint("executor.end.committed")
        self.desk.committed()

    def stopped(self, intent: Intent) -> bool:
        """What this process knows of stops, for this intent."""
        return not self.desk.mode_for(intent).allows(Purpose(intent.purpose))


async def _tries(session: AsyncSession, intent: Intent) -> int:
    """How many sends in a row, this one included, were proved not to be accepted."""
    count, current = 1, intent
    while current.parent_intent_id is not None:
        current = await intents.get(session, current.parent_intent_id)
        if current.state not in (IntentState.NOT_SENT.value, IntentState.REJECTED.value):
            break
        count += 1
    return count


def new_order(intent: Intent, price: Decimal) -> NewOrder:
    """The request for an intent at a price. A close goes out with strict position effect."""
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
