"""Work an order: step its price towards natural by child intents, give up in time, judge what filled in part."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from chassis.failpoints import failpoint
from chassis.telemetry import get_logger
from executor import metrics
from executor.cancels import Cancels
from executor.claims import RolledBackError, claim_step
from executor.desk import Desk, LeaseLostError
from executor.domain.partials import AtTimeOut, at_time_out
from executor.domain.pricing import WalkRules, next_price, timed_out, walk_due
from executor.lanes import Lane
from executor.observe import sent_at
from executor.quotes import book_of, grid_for
from executor.submit import Sender, body_hash, new_order
from ledger.intents import ClaimRefusal
from ledger.tables import Intent
from schemas.orders import IntentState
from schemas.trade import Purpose
from tastyclient import NewOrder

log = get_logger("executor.walk")


@dataclass(slots=True)
class Walker:
    """Moves working orders along their walk."""

    desk: Desk
    sender: Sender
    cancels: Cancels

    def rules(self, intent: Intent) -> WalkRules:
        """The walk of an intent: by its purpose."""
        settings = self.desk.settings
        closing = intent.purpose == Purpose.CLOSE.value
        return settings.walk(settings.walk_pace_closing if closing else settings.walk_pace)

    async def round(self, lane: Lane) -> None:
        """Look at every working order of an account once."""
        now = self.desk.clock.now()
        for intent in await self.cancels.working(lane.account_number):
            if intent.state != IntentState.WORKING.value or intent.broker_order_id is None:
                continue
            first = intent.root_submitted_at or sent_at(intent)
            seconds = self.desk.settings.order_timeout_seconds
            if intent.broker_order_id in lane.cancels:
                continue
            extended = intent.root_intent_id in lane.extended
            if timed_out(now, first, seconds * (2 if extended else 1)):
                await self._give_up(lane, intent, extended=extended)
                continue
            mode, purpose = self.desk.mode_for(intent), Purpose(intent.purpose)
            rules = self.rules(intent)
            if not lane.is_open(intent.root_intent_id, intent.broker_order_id) or lane.holds_for(purpose):
                continue
            if not walk_due(now, sent_at(intent), intent.walk_step, intent.filled_quantity, rules, mode, purpose):
                continue
            await self.step(lane, intent, rules)

    async def _give_up(self, lane: Lane, intent: Intent, *, extended: bool) -> None:
        settings = self.desk.settings
        found = at_time_out(
            intent.filled_quantity, intent.quantity, settings.partial_fill_min_pct, settings.partial_fill_policy,
            extended=extended,
        )  # fmt: skip
        if found is AtTimeOut.EXTEND:
            lane.extended.add(intent.root_intent_id)
            log.info("walk.extended", intent=intent.intent_id, filled=intent.filled_quantity, of=intent.quantity)
            return
        lane.cancel_roots.add(intent.root_intent_id)
        failpoint("executor.walk.giving_up")
        await self.cancels.cancel(lane.account_number, str(intent.broker_order_id), "timeout")
        if found is AtTimeOut.UNWIND:
            # how much there is to unwind is known when the cancellation has come through
            lane.unwinding.add(intent.intent_id)

    async def step(self, lane: Lane, parent: Intent, rules: WalkRules) -> None:
        """Move a working order's limit one step towards natural: a child intent replaces it at the broker."""
        async with lane.sending:
            settings = self.desk.settings
            book = book_of(self.desk.market, parent, self.desk.clock.now(), settings.quote_max_age_at_submit_seconds)
            if book is None or lane.epoch is None or self.sender.stopped(parent) or parent.broker_order_id is None:
                return
            price = next_price(
                parent.limit_price, parent.worst_price, grid_for(self.desk.market, parent), parent.walk_step + 1, book,
                rules,
            )  # fmt: skip
            if price >= parent.limit_price:
                return
            try:
                child, order = await claim_step(self.desk, lane, parent.intent_id, price, _request)
            except RolledBackError as rolled_back:
                metrics.claims.labels(rolled_back.refusal.code).inc()
                if rolled_back.refusal.code == ClaimRefusal.LEASE.value:
                    raise LeaseLostError(parent.account_number) from None
                return
            failpoint("executor.step.permitted")
            metrics.claims.labels("permit").inc()
            self.desk.committed()
            lane.mid_at_send[child.intent_id] = book.mid
            await self.sender.send(lane, child, order, parent)
            failpoint("executor.step.done")


def _request(child: Intent, price: Decimal) -> tuple[NewOrder, str]:
    order = new_order(child, price)
    return order, body_hash(order)
