"""Look up orders whose fate is unknown, on a schedule, until they are found or a later day proves them dead."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import transaction
from chassis.failpoints import failpoint
from chassis.telemetry import get_logger
from executor import metrics
from executor.cancels import Cancels
from executor.claims import LOST
from executor.desk import PRODUCER, Desk, wait
from executor.domain.unknowns import Absence, judge, lookup_due
from executor.lanes import Lane, Lookup
from executor.observe import fingerprint, sent_at
from ledger import intents
from ledger.observations import Source
from ledger.tables import Intent
from optionmath.sessions import market_date
from schemas.orders import CancelOrders, IntentState
from tastyclient import PlacedOrder

log = get_logger("executor.lookups")


@dataclass(slots=True)
class Lookups:
    """Follows the unknown orders of each account."""

    desk: Desk
    cancels: Cancels

    def next_due(self, lane: Lane) -> float:
        """Seconds until the next look-up of an account; infinite without an unknown."""
        now = self.desk.clock.monotonic()
        dues = [each.sent_at + lookup_due(each.asked, throttled=each.throttled) - now for each in lane.lookups.values()]
        return max(0.0, min(dues, default=float("inf")))

    async def load(self, lane: Lane) -> None:
        """Take up what the ledger has: an earlier process may have sent it."""
        now, wall = self.desk.clock.monotonic(), self.desk.clock.now()
        async with transaction(self.desk.engine) as session:
            lost = await intents.in_states(session, LOST, lane.account_number)
        for intent in lost:
            age = max(0.0, (wall - sent_at(intent)).total_seconds())
            throttled = intent.reason_code == "throttled"
            lane.lookups.setdefault(
                intent.intent_id, Lookup(intent.intent_id, intent.root_intent_id, now - age, throttled=throttled)
            )
        for gone in lane.lookups.keys() - {intent.intent_id for intent in lost}:
            del lane.lookups[gone]
        metrics.unknown.labels(lane.account_number).set(len(lost))

    async def round(self, lane: Lane) -> None:
        """Make the look-ups that are due with one reading of the broker's list."""
        now = self.desk.clock.monotonic()
        due = [
            each
            for each in lane.lookups.values()
            if now >= each.sent_at + lookup_due(each.asked, throttled=each.throttled)
        ]
        if not due:
            return
        failpoint("executor.lookup.due")
        began = self.desk.clock.monotonic()
        for each in due:
            # skip what is overdue: a process that was away asks once, not ten times
            while each.sent_at + lookup_due(each.asked, throttled=each.throttled) <= now:
                each.asked += 1
        listed = await self.read(lane, [each.intent_id for each in due])
        failpoint("executor.lookup.read")
        await self.absent(lane, listed, began)

    async def read(self, lane: Lane, identities: list[str]) -> list[PlacedOrder]:
        """Today's orders, and for older unknowns a search since the day before they were sent; all pages."""
        number, now = lane.account_number, self.desk.clock.now()
        async with transaction(self.desk.engine) as session:
            sent = [sent_at(await intents.get(session, identity)) for identity in identities]
        asked = self.desk.clock.now()
        listed = await self.desk.urgent.live_orders(number)
        oldest = min(sent, default=now)
        if market_date(oldest) < market_date(now):
            start = market_date(self.desk.settings.market_time(oldest) - timedelta(days=1))
            listed += await self.desk.urgent.orders(number, start_date=start)
        for order in listed:
            await self.take(lane, order, asked)
        return listed

    async def take(self, lane: Lane, order: PlacedOrder, asked: datetime) -> None:
        """Observe an order of a list unless it says what it said before. asked: when the list was asked for.

        An order under a request of ours is always observed: seen unchanged after the request, the request has failed.
        """
        mark = fingerprint(order)
        if lane.seen.get(order.id) == mark and str(order.id) not in lane.cancels:
            return
        await self.cancels.see(order, lane.account_number, Source.REST, asked)
        lane.seen[order.id] = mark

    async def absent(self, lane: Lane, listed: list[PlacedOrder], asked_at: float) -> None:
        """Judge the unknowns that a complete list does not contain. asked_at: monotonic, before it was asked for."""
        names = {order.external_identifier for order in listed}
        moved = False
        for each in list(lane.lookups.values()):
            if intents.external_identifier(each.intent_id) in names:
                metrics.lookups.labels("found").inc()
                continue
            metrics.lookups.labels("absent").inc()
            each.absences += 1
            moved |= await self._judge(lane, each, asked_at)
        if moved:
            self.desk.committed()
        await self.load(lane)

    async def _judge(self, lane: Lane, lookup: Lookup, asked_at: float) -> bool:
        absence = Absence(
            seconds_after_send=asked_at - lookup.sent_at,
            complete=True,
            stream_unbroken=lane.unbroken_since <= lookup.sent_at,
            account_unchanged=not lane.differences,
        )
        async with transaction(self.desk.engine) as session:
            intent = await intents.get(session, lookup.intent_id, lock=True)
            if IntentState(intent.state) not in LOST:
                return False
            found = judge(
                IntentState(intent.state), absence, throttled=lookup.throttled, throttled_lookups=lookup.absences,
                sent_on=market_date(sent_at(intent)), today=market_date(self.desk.clock.now()),
                evidence_seconds=self.desk.settings.quarantine_after_seconds,
            )  # fmt: skip
            if found is None:
                return False
            await intents.record(
                session, intent, found.state, PRODUCER, reason_code=found.code, reason=found.reason, strict=False
            )
            parent = await _release_parent(session, intent)
            failpoint("executor.lookup.before_commit")
        failpoint("executor.lookup.committed")
        log.warning("unknown.moved", intent=intent.intent_id, to=found.state.value, code=found.code)
        if found.state is IntentState.QUARANTINE:
            await self.desk.alarm(lane.account_number, "quarantine", intent.intent_id, found.reason)
        if parent is not None and parent.broker_order_id is not None:
            await self.cancels.refresh(lane.account_number, parent.broker_order_id)
        return True

    async def give_up(self, message: CancelOrders) -> None:
        """Declare dead what an operator has proof of; only what look-ups did not find and is in quarantine."""
        if message.intent_id is None:
            return
        async with transaction(self.desk.engine) as session:
            try:
                intent = await intents.get(session, message.intent_id, lock=True)
            except LookupError:
                return
            if intent.state != IntentState.QUARANTINE.value or intent.account_number != message.account_number:
                log.warning("give_up.refused", intent=message.intent_id, state=intent.state)
                return
            reason = f"{message.requested_by}: {message.reason}"[:500]
            await intents.record(session, intent, IntentState.DEAD, PRODUCER, reason_code="given_up", reason=reason)
            await _release_parent(session, intent)
        self.desk.committed()
        log.warning("unknown.given_up", intent=message.intent_id, by=message.requested_by)
        if (lane := self.desk.lane_of(message.account_number)) is not None:
            await self.load(lane)

    async def loop(self, lane: Lane) -> None:
        """Look up for ever; sleeps until the next one is due."""
        while True:
            await self.desk.tolerant("lookup", lane.account_number, lambda: self.round(lane))
            pause = min(max(self.next_due(lane), 0.1), 60.0)
            await wait(lane.lookup, pause)


async def _release_parent(session: AsyncSession, child: Intent) -> Intent | None:
    """A replacement that never arrived leaves its parent as the broker shows it."""
    if child.parent_intent_id is None:
        return None
    parent = await intents.get(session, child.parent_intent_id, lock=True)
    if parent.state != IntentState.REPLACE_PENDING.value:
        return None
    await intents.record(session, parent, IntentState.WORKING, PRODUCER, strict=False)
    return parent
