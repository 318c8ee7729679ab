"""Take what the broker shows of an order: book its fills, move its intent. One reducer for every source."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import transaction
from chassis.failpoints import failpoint
from chassis.telemetry import get_logger
from executor import metrics
from executor.desk import PRODUCER, Desk
from executor.domain.partials import excess
from executor.domain.quality import fill_quality, max_profit
from executor.domain.reading import MAY_FILL, STATE_OF, ZOMBIES
from ledger import fills, intents, observing
from ledger.core import Execution, IllegalMoveError
from ledger.observations import Observation, Source
from ledger.tables import Intent
from schemas.orders import AT_BROKER, Fill, IntentState
from schemas.trade import OrderAction, Purpose
from tastyclient import PlacedOrder

log = get_logger("executor.observe")


@dataclass(frozen=True, slots=True)
class Observed:
    """What an observation did."""

    intent: Intent | None
    """The order's intent after it; None for an order of somebody else."""
    before: IntentState | None
    booked: int
    """Executions that were new."""
    uneven: dict[str, int] = field(default_factory=dict)
    """Contracts that filled beyond the complete units."""
    beyond: bool = False
    """More contracts filled than were ordered."""
    late: bool = False
    """Units filled after the order had ended."""
    second: bool = False
    """The order carries the name of another one."""
    unpermitted: bool = False
    """The order was never permitted."""

    @property
    def zombie(self) -> bool:
        """An order that was given up has appeared and may still fill."""
        return self.intent is not None and self.before in ZOMBIES and IntentState(self.intent.state) in AT_BROKER


@dataclass(slots=True)
class Observer:
    """Every message about an order ends here, whoever brought it and however often."""

    desk: Desk

    async def observe(
        self, order: PlacedOrder, account_number: str, source: Source, seen_at: datetime | None = None
    ) -> Observed:
        """Take a message of the stream, an answer, or an entry of a list. seen_at: when a list was asked for."""
        number = order.account_number or account_number
        look = Observation(STATE_OF[order.status.value], source, seen_at or self.desk.clock.now(), order.updated_at)
        try:
            seen = await self._take(order, number, look)
        except IllegalMoveError as error:
            # never permitted, and yet it is there: its fills count all the same
            async with transaction(self.desk.engine) as session:
                intent = await find(session, order, number)
                booked = await self._book(session, order, number, intent)
            await self.desk.alarm(number, "unpermitted_order", str(order.id), str(error))
            seen = Observed(intent, IntentState(intent.state) if intent else None, booked, unpermitted=True)
        failpoint("executor.observe.committed")
        self.desk.committed()
        await self._tell(seen, order, number)
        return seen

    async def _take(self, order: PlacedOrder, number: str, look: Observation) -> Observed:
        async with transaction(self.desk.engine) as session:
            intent = await find(session, order, number)
            failpoint("executor.observe.found")
            booked = await self._book(session, order, number, intent)
            failpoint("executor.observe.booked")
            if intent is None:
                return Observed(None, None, booked)
            before = IntentState(intent.state)
            if intent.broker_order_id not in (None, str(order.id)):
                # a second order with the name of this one: its fills count, and it says nothing about the first
                return Observed(intent, before, booked, second=True)
            code, reason = _reason(order)
            done = await observing.observe(
                session, intent, look, PRODUCER, broker_order_id=str(order.id), reason_code=code, reason=reason
            )
            failpoint("executor.observe.before_commit")
            uneven, beyond = _judged(intent, await fills.executions(session, intent.intent_id))
        return Observed(intent, before, booked, uneven, beyond, late=done.filled_late)

    async def _book(self, session: AsyncSession, order: PlacedOrder, number: str, intent: Intent | None) -> int:
        """Book every fill of an order that is not booked yet, ours or not: positions must add up."""
        booked, now = 0, self.desk.market_now()
        underlying = intent.underlying_symbol if intent else order.underlying_symbol
        for leg in order.legs:
            if len(leg.symbol) != 21:
                continue  # shares: the ledger holds contracts, and the comparison of positions freezes what else moves
            for each in leg.fills:
                fill = Fill(
                    ts_event=self.desk.clock.now(),
                    account_number=number,
                    intent_id=intent.intent_id if intent else None,
                    broker_order_id=str(order.id),
                    fill_id=each.fill_id,
                    occ_symbol=leg.symbol,
                    action=OrderAction(leg.action),
                    quantity=int(each.quantity),
                    fill_price=each.fill_price,
                    filled_at=each.filled_at,
                )
                if await fills.book(session, fill, underlying, PRODUCER):
                    booked += 1
                    metrics.fill_visible_seconds.observe(max(0.0, (now - each.filled_at).total_seconds()))
        if booked:
            metrics.fills.inc(booked)
            await fills.publish_position(session, number, underlying, PRODUCER)
        return booked

    async def _tell(self, seen: Observed, order: PlacedOrder, number: str) -> None:
        """Figures and alarms, after the commit."""
        intent = seen.intent
        if intent is None:
            return
        lane = self.desk.lane_of(number)
        if lane is not None and IntentState(intent.state) not in (IntentState.UNKNOWN, IntentState.QUARANTINE):
            lane.lookups.pop(intent.intent_id, None)
        if seen.second and order.status.value in MAY_FILL:
            await self.desk.alarm(
                number, "second_order", intent.intent_id,
                f"order {order.id} carries the name of order {intent.broker_order_id}",
            )  # fmt: skip
        if seen.second or seen.unpermitted:
            return
        if lane is not None:
            if seen.uneven:
                lane.uneven_since.setdefault(intent.intent_id, self.desk.clock.monotonic())
            else:
                lane.uneven_since.pop(intent.intent_id, None)
        if seen.beyond:
            await self.desk.alarm(number, "overfilled", intent.intent_id, f"order {order.id} filled more than was sent")
        if seen.booked:
            await self._judge(seen, intent, number)

    async def _judge(self, seen: Observed, intent: Intent, number: str) -> None:
        if seen.late and seen.before is not None:
            await self.desk.alarm(
                number, "late_fill", intent.intent_id, f"{seen.booked} executions after it was {seen.before.value}"
            )
        if intent.average_fill_price is None or IntentState(intent.state) is not IntentState.FILLED:
            return
        lane = self.desk.lane_of(number)
        at_send = lane.mid_at_send.pop(intent.intent_id, None) if lane else None
        best = max_profit(intents.legs_of(intent), intent.limit_price) if intent.purpose == Purpose.OPEN.value else None
        for against, mid in (("decision", intent.decision_mid), ("send", at_send)):
            if not isinstance(mid, Decimal):
                continue
            found = fill_quality(
                mid, intent.average_fill_price, intent.filled_quantity, best, self.desk.settings.slippage_max_pct
            )
            if against == "decision":
                metrics.slippage.observe(float(found.per_share))
            if found.pct_of_max_profit is not None:
                metrics.slippage_of_profit.labels(against).observe(found.pct_of_max_profit)
            log.info(
                "fill.quality", intent=intent.intent_id, against=against, mid=str(mid),
                fill=str(intent.average_fill_price), slippage_dollars=str(found.dollars),
                slippage_pct_of_max_profit=found.pct_of_max_profit, within_tolerance=found.within_tolerance,
            )  # fmt: skip
            if against == "decision" and found.within_tolerance is False:
                metrics.slippage_beyond.inc()


async def find(session: AsyncSession, order: PlacedOrder, account_number: str) -> Intent | None:
    """The intent of a broker's order, locked: by name, then by number, then by the order it replaced."""
    known = intents.intent_id_of(order.external_identifier)
    if known is not None:
        try:
            return await intents.get(session, known, lock=True)
        except LookupError:
            pass
    found = await intents.by_broker_order_id(session, account_number, str(order.id))
    return await intents.get(session, found.intent_id, lock=True) if found else None


def _judged(intent: Intent | None, executions: list[Execution]) -> tuple[dict[str, int], bool]:
    """(contracts beyond complete units, whether more filled than was ordered)."""
    if intent is None or not executions:
        return {}, False
    legs = intents.legs_of(intent)
    traded: dict[str, int] = {}
    for each in executions:
        traded[each.occ_symbol] = traded.get(each.occ_symbol, 0) + abs(each.signed_quantity)
    beyond = any(traded.get(leg.occ_symbol, 0) > leg.quantity * intent.quantity for leg in legs)
    return excess(legs, executions), beyond


def _reason(order: PlacedOrder) -> tuple[str, str]:
    """Why the broker ended an order; nothing where it was asked to."""
    if order.status.value == "Cancelled" and order.replacing_order_id is not None:
        return "replaced", f"replaced by order {order.replacing_order_id}"
    return ("broker", order.reject_reason) if order.reject_reason else ("", "")


def fingerprint(order: PlacedOrder) -> tuple[object, ...]:
    """What is new about an order shows in here."""
    fills_of = tuple((leg.symbol, leg.remaining_quantity, len(leg.fills)) for leg in order.legs)
    return (order.status, order.updated_at, order.replacing_order_id, fills_of)


def sent_at(intent: Intent) -> datetime:
    """When an intent was sent, or made where it was not."""
    return intent.submitting_at or intent.created_at
