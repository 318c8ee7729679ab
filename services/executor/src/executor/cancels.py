"""Cancellations: idempotent, never held back by gate, lease or limits, asked for again until they have come through."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.exc import SQLAlchemyError

from chassis.database import transaction
from chassis.failpoints import failpoint
from chassis.telemetry import get_logger
from executor import metrics
from executor.desk import PRODUCER, Desk
from executor.domain.reading import MAY_FILL
from executor.lanes import CancelAsked, Lane
from executor.observe import Observed, Observer
from ledger import intents
from ledger.observations import Source
from ledger.tables import Intent
from schemas.orders import AT_BROKER, CancelOrders, IntentState
from schemas.trade import Purpose
from tastyclient import BrokerError, PlacedOrder

CANCELLABLE = frozenset({IntentState.ACKED, IntentState.WORKING, IntentState.REPLACE_PENDING})
log = get_logger("executor.cancels")


@dataclass(slots=True)
class Cancels:
    """Asks the broker to cancel, and minds what it was asked."""

    desk: Desk
    observer: Observer

    async def note(self, message: CancelOrders) -> None:
        """Write down whose orders shall go, so that a crash loses no wish, and wake the lane that asks the broker."""
        lane = self.desk.lane_of(message.account_number)
        if lane is None:
            return
        failpoint("executor.cancel.noting")
        for intent in await self.working(message.account_number):
            wanted = message.intent_id in (None, intent.intent_id, intent.root_intent_id)
            if not wanted or message.broker_order_id not in (None, intent.broker_order_id):
                continue
            lane.cancel_roots.add(intent.root_intent_id)
            if intent.broker_order_id:
                asked = CancelAsked("requested", self.desk.clock.monotonic(), float("-inf"), 0)
                lane.cancels.setdefault(intent.broker_order_id, asked)
                await self._mark(intent.account_number, intent.broker_order_id, "requested")
        if message.intent_id is not None:
            lane.cancel_roots.add(await self._root(message.intent_id))
            await self._withdraw(message.intent_id)
        failpoint("executor.cancel.noted")
        lane.cancel.set()

    async def _root(self, intent_id: str) -> str:
        async with transaction(self.desk.engine) as session:
            try:
                return (await intents.get(session, intent_id)).root_intent_id
            except LookupError:
                return intent_id

    async def _withdraw(self, intent_id: str) -> None:
        """What was not sent yet is not sent any more."""
        async with transaction(self.desk.engine) as session:
            try:
                intent = await intents.get(session, intent_id, lock=True)
            except LookupError:
                return
            if intent.state == IntentState.APPROVED.value:
                await intents.record(
                    session, intent, IntentState.WITHDRAWN, PRODUCER, reason_code="requested",
                    reason="its cancellation was asked for before it was sent",
                )  # fmt: skip
        failpoint("executor.cancel.withdrawn")
        self.desk.committed()

    async def cancel(self, account_number: str, broker_order_id: str, reason: str) -> None:
        """Ask the broker to cancel an order, ours or not. A refusal is followed by a look at what it is now."""
        lane, now = self.desk.lane_of(account_number), self.desk.clock.monotonic()
        if lane is not None:
            known = lane.cancels.get(broker_order_id)
            if known is None:
                lane.cancels[broker_order_id] = CancelAsked(reason, now, now)
            else:
                known.last_at, known.asked = now, known.asked + 1
        try:
            await self._mark(account_number, broker_order_id, reason)
        except (SQLAlchemyError, OSError) as error:
            # the ledger may be away; the order must go all the same
            log.warning("cancel.not_written", order=broker_order_id, error=type(error).__name__)
        failpoint("executor.cancel.before_write")
        try:
            placed = await self.desk.urgent.cancel(account_number, int(broker_order_id))
        except BrokerError as error:
            failpoint("executor.cancel.failed")
            metrics.cancels.labels(reason, error.outcome.value).inc()
            log.warning("cancel.failed", order=broker_order_id, error=str(error)[:300])
            await self.refresh(account_number, broker_order_id)
            return
        failpoint("executor.cancel.answered")
        metrics.cancels.labels(reason, "accepted").inc()
        await self.see(placed, account_number, Source.REPLY)

    async def resume(self, lane: Lane) -> int:
        """Take up what an earlier process was asked to cancel and may not have asked the broker for."""
        now = self.desk.clock.monotonic()
        for intent in await self.working(lane.account_number):
            if intent.state == IntentState.CANCEL_PENDING.value and intent.broker_order_id:
                asked = CancelAsked(intent.reason_code or "requested", now, float("-inf"), 0)
                lane.cancels.setdefault(intent.broker_order_id, asked)
        return len(lane.cancels)

    async def again(self, lane: Lane) -> None:
        """Ask for what is noted, and again for what has not come through."""
        await self.resume(lane)
        if not lane.cancels:
            return
        settings, now = self.desk.settings, self.desk.clock.monotonic()
        working = {intent.broker_order_id for intent in await self.working(lane.account_number)}
        for number, asked in list(lane.cancels.items()):
            if number not in working:
                del lane.cancels[number]
                continue
            if now - asked.first_at > settings.cancel_alarm_seconds:
                await self.desk.alarm(
                    lane.account_number, "cancel_stuck", number,
                    f"asked for {asked.asked} times in {now - asked.first_at:.0f} s ({asked.reason})",
                )  # fmt: skip
            if now - asked.last_at > settings.cancel_again_seconds:
                await self.cancel(lane.account_number, number, asked.reason)

    async def refresh(self, account_number: str, broker_order_id: str) -> PlacedOrder | None:
        """Read one order; a failed read changes nothing, the next sweep reads again."""
        asked = self.desk.clock.now()
        try:
            placed = await self.desk.urgent.order(account_number, int(broker_order_id))
        except BrokerError as error:
            log.warning("order.not_read", order=broker_order_id, error=str(error)[:300])
            return None
        failpoint("executor.refresh.read")
        await self.see(placed, account_number, Source.REST, asked)
        return placed

    async def see(
        self, order: PlacedOrder, account_number: str, source: Source, seen_at: datetime | None = None
    ) -> Observed:
        """Observe an order, and cancel one that appeared although it was given up or its cancellation asked for."""
        seen = await self.observer.observe(order, account_number, source, seen_at)
        intent = seen.intent
        if intent is None or order.status.value not in MAY_FILL:
            return seen
        lane = self.desk.lane_of(intent.account_number)
        if seen.zombie:
            failpoint("executor.see.zombie")
            await self.desk.alarm(
                intent.account_number, "zombie", intent.intent_id,
                f"order {order.id} appeared after it was {seen.before.value if seen.before else 'lost'}",
            )  # fmt: skip
        opening_zombie = (seen.zombie or seen.unpermitted) and intent.purpose == Purpose.OPEN.value
        unwanted = (
            lane is not None and seen.before is IntentState.UNKNOWN and intent.root_intent_id in lane.cancel_roots
        )
        if (opening_zombie or unwanted) and order.status.value != "Cancel Requested":
            await self.cancel(intent.account_number, str(order.id), "zombie" if opening_zombie else "requested")
        return seen

    async def _mark(self, account_number: str, broker_order_id: str, reason: str) -> None:
        async with transaction(self.desk.engine) as session:
            intent = await intents.by_broker_order_id(session, account_number, broker_order_id)
            if intent is not None and IntentState(intent.state) in CANCELLABLE:
                locked = await intents.get(session, intent.intent_id, lock=True)
                await intents.record(
                    session, locked, IntentState.CANCEL_PENDING, PRODUCER, reason_code=reason, reason="", strict=False
                )
                failpoint("executor.cancel.marked")
        self.desk.committed()

    async def working(self, account_number: str) -> list[Intent]:
        """Intents the broker holds."""
        async with transaction(self.desk.engine) as session:
            return list(await intents.in_states(session, AT_BROKER, account_number))
