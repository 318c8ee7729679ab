"""Guard of structures whose legs fill unevenly: alarm, freeze, and at last a proposal that closes the excess."""

from __future__ import annotations

from dataclasses import dataclass

from chassis.database import transaction
from executor import metrics
from executor.cancels import Cancels
from executor.desk import Desk
from executor.domain.partials import Shape, excess, shape_of
from executor.lanes import Lane
from executor.proposals import Proposals
from ledger import fills, intents
from schemas.orders import TERMINAL_STATES, IntentState


@dataclass(slots=True)
class Structures:
    """Minds what `Lane.uneven_since` says."""

    desk: Desk
    cancels: Cancels
    proposals: Proposals

    async def round(self, lane: Lane) -> None:
        """Judge every uneven order of an account: the second half may be late, or never come."""
        settings, now = self.desk.settings, self.desk.clock.monotonic()
        hung: dict[str, str] = {}
        for identity, since in list(lane.uneven_since.items()):
            shape = shape_of(now - since, settings.hung_leg_seconds, settings.hung_repair_seconds)
            if shape is Shape.LATE:
                continue
            async with transaction(self.desk.engine) as session:
                intent = await intents.get(session, identity)
            if intent.broker_order_id is not None:
                # the message of the other leg may have been lost
                await self.cancels.refresh(lane.account_number, intent.broker_order_id)
            async with transaction(self.desk.engine) as session:
                extra = excess(intents.legs_of(intent), await fills.executions(session, identity))
            if not extra:
                lane.uneven_since.pop(identity, None)
                continue
            what = ", ".join(f"{count} {symbol}" for symbol, count in sorted(extra.items()))
            hung[intent.underlying_symbol] = f"order {intent.broker_order_id} filled unevenly: {what} alone"
            await self.desk.alarm(lane.account_number, "hung_structure", identity, hung[intent.underlying_symbol])
            if shape is Shape.OVERDUE:
                attempt = int((now - since) // settings.hung_repair_seconds)
                key = f"{identity}-{attempt}"
                if key not in lane.proposed and await self.proposals.repair(lane, intent, extra, attempt):
                    lane.proposed.add(key)
        await self._unwind(lane)
        lane.hung = hung
        metrics.hung.labels(lane.account_number).set(len(hung))

    async def _unwind(self, lane: Lane) -> None:
        """Propose to close the small fills of orders that have ended."""
        for identity in list(lane.unwinding):
            async with transaction(self.desk.engine) as session:
                intent = await intents.get(session, identity)
            if IntentState(intent.state) not in TERMINAL_STATES:
                continue
            if intent.filled_quantity == intent.quantity or await self.proposals.unwind(lane, intent):
                lane.unwinding.discard(identity)
