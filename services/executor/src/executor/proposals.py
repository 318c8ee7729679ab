"""Repairs go through the same door as every trade: they are proposed to risk, never sent."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import timedelta

from chassis.bus import publish_durable
from chassis.failpoints import failpoint
from chassis.telemetry import get_logger
from executor.desk import PRODUCER, Desk
from executor.domain.partials import repair
from executor.domain.pricing import grid_of
from executor.lanes import Lane
from ledger import intents
from ledger.tables import Intent
from optionmath.ticks import Direction
from schemas import subjects
from schemas.trade import Leg, ProposeTrade, Purpose, SpreadType

VALID_SECONDS = 30.0
PAST_NATURAL_TICKS = 2
log = get_logger("executor.proposals")


@dataclass(slots=True)
class Proposals:
    """Proposes closes of what an order left behind."""

    desk: Desk

    async def unwind(self, lane: Lane, intent: Intent) -> bool:
        """Propose to close the complete units that have filled. False without a book to price them by."""
        found = repair(intents.legs_of(intent), {leg.occ_symbol: leg.quantity for leg in intents.legs_of(intent)})
        if found is None or not intent.filled_quantity:
            return False
        kind = SpreadType(intent.spread_type)
        return await self._propose(
            lane, intent, found.legs, intent.filled_quantity, kind, "unwind a fill that is too small"
        )

    async def repair(self, lane: Lane, intent: Intent, extra: dict[str, int], attempt: int) -> bool:
        """Propose to close the legs that filled alone. False when there is nothing to close, or no book."""
        found = repair(intents.legs_of(intent), extra)
        if found is None:
            return False
        why = f"close the leg that filled alone, attempt {attempt}"
        return await self._propose(lane, intent, found.legs, 1, SpreadType.CUSTOM, why)

    async def _propose(
        self, lane: Lane, intent: Intent, legs: tuple[Leg, ...], units: int, kind: SpreadType, why: str
    ) -> bool:
        book = self.desk.market.net_book([(leg.occ_symbol, leg.action.sign * leg.quantity) for leg in legs])
        if book is None:
            log.warning("proposal.no_book", intent=intent.intent_id, why=why)
            return False
        grid = grid_of(legs[0].occ_symbol[:6].rstrip(), len(legs), (), intent.tick_size)
        identity, now = str(uuid.uuid4()), self.desk.clock.now()
        message = ProposeTrade(
            ts_event=now,
            proposal_id=identity,
            account_number=lane.account_number,
            source=PRODUCER,
            strategy_id=intent.strategy_id,
            signal_id=f"{why}: {intent.intent_id}",
            purpose=Purpose.CLOSE,
            underlying_symbol=intent.underlying_symbol,
            spread_type=kind,
            legs=legs,
            quantity=units,
            start_price=grid.round(book.mid, Direction.UP),
            limit_price=grid.step(grid.round(book.natural, Direction.DOWN), -PAST_NATURAL_TICKS),
            decision_mid=book.mid,
            thesis=why,
            valid_until=now + timedelta(seconds=VALID_SECONDS),
        )
        subject = subjects.propose(PRODUCER)
        failpoint("executor.propose.before_publish")
        await publish_durable(self.desk.broker, subject, message, message_id=identity, valid_until=message.valid_until)
        failpoint("executor.propose.published")
        log.warning("proposal.made", intent=intent.intent_id, proposal=identity, why=why)
        return True
