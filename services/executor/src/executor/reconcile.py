"""Compare broker and ledger all the time: orders, fills, positions, balances, transactions. Differences freeze."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import and_, col, or_, select

from chassis.database import transaction
from chassis.failpoints import failpoint
from chassis.telemetry import get_logger
from executor import metrics
from executor.cancels import Cancels
from executor.desk import PRODUCER, Desk
from executor.domain.comparing import (
    Delivery,
    Entry,
    Reversal,
    deliveries,
    disagreements,
    lasting,
    reversals,
    root_of,
    told,
    unbooked,
)
from executor.domain.matching import BrokerOrder, Matched, match
from executor.domain.reading import MAY_FILL
from executor.lanes import ABSENT, Lane
from executor.lookups import Lookups
from ledger import balances, fills, gate, intents
from ledger.tables import FillRow, Intent
from optionmath.sessions import market_date
from schemas.account import GateMode, KillScope
from schemas.orders import Fill
from schemas.trade import OrderAction
from tastyclient import Balance, PlacedOrder, Transaction

log = get_logger("executor.reconcile")


@dataclass(slots=True)
class Reconciler:
    """Sweeps an account: what the broker lists against what the ledger holds."""

    desk: Desk
    cancels: Cancels
    lookups: Lookups

    async def sweep(self, lane: Lane) -> Matched:
        """One comparison of everything that is cheap to read; one at a time for an account."""
        async with lane.sweeping:
            return await self._sweep(lane)

    async def _sweep(self, lane: Lane) -> Matched:
        number = lane.account_number
        asked = self.desk.clock.now()
        listed = await self.desk.urgent.live_orders(number)
        for order in listed:
            await self.lookups.take(lane, order, asked)
        failpoint("executor.sweep.orders_taken")
        matched = await self.matched(lane, listed)
        await self.act(lane, matched)
        await self._missing(lane, listed)
        held = {each.symbol: int(each.signed_quantity) for each in await self.desk.urgent.positions(number)}
        failpoint("executor.sweep.before_compare")
        await self.compare(lane, held)
        await self.balance(await self.desk.urgent.balance(number))
        failpoint("executor.sweep.done")
        await self.lookups.load(lane)
        lane.reconciled_at = self.desk.clock.monotonic()
        if lane.reconciled_at - lane.transactions_at >= self.desk.settings.transactions_seconds:
            await self.transactions(lane)
        return matched

    async def matched(self, lane: Lane, listed: Iterable[PlacedOrder]) -> Matched:
        """Which intents the listed orders belong to."""
        orders = [
            BrokerOrder(
                order_id=str(order.id),
                intent_id=intents.intent_id_of(order.external_identifier),
                underlying_symbol=order.underlying_symbol,
                may_fill=order.status.value in MAY_FILL,
                replaces=str(order.replaces_order_id) if order.replaces_order_id is not None else None,
                replaced_by=str(order.replacing_order_id) if order.replacing_order_id is not None else None,
            )
            for order in listed
        ]
        named = [each.intent_id for each in orders if each.intent_id is not None]
        numbers = [each.order_id for each in orders]
        async with transaction(self.desk.engine) as session:
            by_name = col(Intent.intent_id).in_(named)
            by_order = and_(col(Intent.account_number) == lane.account_number, col(Intent.broker_order_id).in_(numbers))
            known = await session.execute(
                select(Intent.intent_id, Intent.broker_order_id).where(or_(by_name, by_order))
            )
            rows = known.all()
        by_number = {str(number): identity for identity, number in rows if number is not None}
        return match(orders, (identity for identity, _ in rows), by_number)

    async def act(self, lane: Lane, matched: Matched) -> None:
        """Foreign orders freeze their underlying and call a person; two orders with one name stop everything."""
        working = {each.order_id: each.underlying_symbol for each in matched.foreign if each.may_fill}
        for number, underlying in working.items():
            await self.desk.alarm(
                lane.account_number, "foreign_order", number, f"somebody else works order {number} in {underlying}"
            )
        lane.foreign = working
        metrics.foreign.labels(lane.account_number).set(len(working))
        for identity, surplus in matched.surplus.items():
            await self._duplicate(lane, identity, surplus)

    async def _duplicate(self, lane: Lane, identity: str, surplus: tuple[str, ...]) -> None:
        """What must never be: stop everything, cancel what is too much, call a person."""
        why = f"intent {identity} has {len(surplus)} orders too many at the broker: {', '.join(surplus)}"
        async with transaction(self.desk.engine) as session:
            change = await gate.tighten(
                session, KillScope.ALL, "", GateMode.CANCEL_WORKING, PRODUCER, why[:300], PRODUCER
            )
        self.desk.committed()
        failpoint("executor.duplicate.stopped")
        if change.changed:
            log.error("order.duplicated", intent=identity, surplus=surplus)
        await self.desk.alarm(lane.account_number, "duplicate_order", identity, why)
        for number in surplus:
            await self.cancels.cancel(lane.account_number, number, "duplicate")

    async def _missing(self, lane: Lane, listed: Iterable[PlacedOrder]) -> None:
        """Orders the broker had and does not list any more: each is read by its number before anything is said."""
        seen = {str(order.id) for order in listed}
        lane.missing = {}
        for intent in await self.cancels.working(lane.account_number):
            number = intent.broker_order_id
            if number is None or number in seen:
                continue
            if await self.cancels.refresh(lane.account_number, number) is None:
                lane.missing[number] = intent.underlying_symbol
                await self.desk.alarm(
                    lane.account_number, "order_missing", intent.intent_id, f"the broker does not show order {number}"
                )

    async def compare(self, lane: Lane, broker: dict[str, int], *, at_once: bool = False) -> None:
        """Freeze where two comparisons in a row differ (at a start: one), thaw what agrees, halt what stays."""
        number, now = lane.account_number, self.desk.clock.monotonic()
        async with transaction(self.desk.engine) as session:
            held = {row.occ_symbol: row.signed_quantity for row in await fills.positions(session, number)}
            found = disagreements(held, broker)
            reasons = told(found if at_once else lasting(lane.differences, found))
            disputed = {root_of(symbol) for symbol in found}
            wanted = self._others(lane) | reasons
            await self._freeze(session, lane, wanted, disputed)
            frozen = await fills.frozen(session, number)
            failpoint("executor.compare.before_commit")
        lane.frozen = frozen
        if found and found != lane.differences:
            lane.transactions_at = ABSENT  # what no order explains, the history may
        lane.differences = found
        lane.different_since = {name: lane.different_since.get(name, now) for name in reasons}
        failpoint("executor.compare.committed")
        metrics.mismatches.labels(number).set(len(reasons))
        self.desk.committed()
        await self._halt(lane, now)

    def _others(self, lane: Lane) -> dict[str, str]:
        """Reasons to freeze beside positions."""
        found = {underlying: f"order {number} is not ours" for number, underlying in lane.foreign.items()}
        found |= {underlying: f"the broker does not show order {number}" for number, underlying in lane.missing.items()}
        return found | lane.hung

    async def _freeze(self, session: AsyncSession, lane: Lane, wanted: dict[str, str], disputed: set[str]) -> None:
        number = lane.account_number
        frozen = await fills.frozen(session, number)
        for underlying, reason in wanted.items():
            if await fills.freeze(session, number, underlying, reason):
                log.error("position.frozen", account=number, underlying=underlying, reason=reason)
                await fills.publish_position(session, number, underlying, PRODUCER)
        for underlying in frozen.keys() - disputed - wanted.keys():
            await fills.thaw(session, number, underlying)
            await fills.publish_position(session, number, underlying, PRODUCER)

    async def _halt(self, lane: Lane, now: float) -> None:
        """A difference that stays stops every opening order until a person resumes."""
        limit = self.desk.settings.mismatch_halt_seconds
        lasting_ones = sorted(name for name, since in lane.different_since.items() if now - since > limit)
        if not lasting_ones:
            return
        why = f"broker and ledger of {lane.account_number} differ in {', '.join(lasting_ones)} for {limit:g} s"
        async with transaction(self.desk.engine) as session:
            change = await gate.tighten(session, KillScope.ALL, "", GateMode.HALT_OPENS, PRODUCER, why, PRODUCER)
            failpoint("executor.halt.before_commit")
        self.desk.committed()
        if change.changed:
            await self.desk.alarm(lane.account_number, "mismatch_halt", ",".join(lasting_ones), why)

    async def balance(self, balance: Balance) -> None:
        """Keep the newest balances."""
        now = self.desk.clock.now()
        async with transaction(self.desk.engine) as session:
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
            failpoint("executor.balance.before_commit")
        self.desk.committed()

    async def transactions(self, lane: Lane) -> None:
        """Read the account's history: book what no order explains, and look up orders whose fills are missing."""
        start = market_date(self.desk.market_now()) - timedelta(days=1)
        rows = await self.desk.urgent.transactions(lane.account_number, start_date=start)
        failpoint("executor.transactions.read")
        entries = [each for each in map(_entry, rows) if each is not None]
        for busted in reversals(entries):
            await self._take_back(lane, busted)
        async with transaction(self.desk.engine) as session:
            own = {row.occ_symbol: row.signed_quantity for row in await fills.positions(session, lane.account_number)}
        for ended in deliveries(entries, own):
            await self._deliver(lane, ended, _underlying(rows, ended.symbol))
        booked = await self._standing(lane, {each.order_id for each in entries if each.order_id})
        for number in unbooked(entries, booked):
            log.warning("fill.missing", account=lane.account_number, order=number)
            await self.cancels.refresh(lane.account_number, number)
        lane.transactions_at = self.desk.clock.monotonic()

    async def _standing(self, lane: Lane, orders: set[str]) -> dict[tuple[str, str], int]:
        """(order, symbol) → contracts that filled and were not taken back."""
        async with transaction(self.desk.engine) as session:
            statement = select(FillRow).where(
                FillRow.account_number == lane.account_number, col(FillRow.broker_order_id).in_(orders)
            )
            rows = (await session.execute(statement)).scalars().all()
        gone = {(row.broker_order_id, row.occ_symbol, row.corrects) for row in rows if row.corrects is not None}
        found: dict[tuple[str, str], int] = {}
        for row in rows:
            if row.corrects is None and (row.broker_order_id, row.occ_symbol, row.fill_id) not in gone:
                key = (row.broker_order_id, row.occ_symbol)
                found[key] = found.get(key, 0) + row.quantity
        return found

    async def _take_back(self, lane: Lane, busted: Reversal) -> None:
        """A trade that was broken or corrected: compensating rows, a person, and the position follows."""
        number = lane.account_number
        async with transaction(self.desk.engine) as session:
            statement = select(FillRow).where(
                FillRow.account_number == number, FillRow.broker_order_id == busted.order_id,
                FillRow.occ_symbol == busted.symbol, FillRow.quantity == busted.quantity,
                FillRow.fill_price == busted.price, col(FillRow.corrects).is_(None),
            )  # fmt: skip
            row = (await session.execute(statement)).scalars().first()
            new = row is not None and await fills.take_back(
                session, number, busted.order_id, busted.symbol, row.fill_id,
                corrected_price=busted.corrected_price, at=busted.at, producer=PRODUCER,
            )  # fmt: skip
            if new and row is not None:
                await fills.publish_position(session, number, row.underlying_symbol, PRODUCER)
            failpoint("executor.take_back.before_commit")
        self.desk.committed()
        if row is None:
            log.warning("bust.unknown_fill", account=number, order=busted.order_id, symbol=busted.symbol)
        if new:
            price = busted.corrected_price
            what = "was taken back" if price is None else f"was corrected to {price}"
            await self.desk.alarm(
                number, "trade_busted", busted.order_id,
                f"the trade of {busted.quantity} {busted.symbol} at {busted.price} in order {busted.order_id} {what}",
            )  # fmt: skip

    async def _deliver(self, lane: Lane, ended: Delivery, underlying: str) -> None:
        fill = Fill(
            ts_event=self.desk.clock.now(),
            account_number=lane.account_number,
            intent_id=None,
            broker_order_id=ended.reference,
            fill_id=ended.reference,
            occ_symbol=ended.symbol,
            action=ended.action,
            quantity=ended.quantity,
            fill_price=ended.price,
            filled_at=ended.at,
        )
        async with transaction(self.desk.engine) as session:
            new = await fills.book(session, fill, underlying, PRODUCER)
            if new:
                await fills.publish_position(session, lane.account_number, underlying, PRODUCER)
            failpoint("executor.deliver.before_commit")
        self.desk.committed()
        if new:
            log.info(
                "position.ended", account=lane.account_number, symbol=ended.symbol, quantity=ended.quantity,
                reason=ended.reason,
            )  # fmt: skip


def _entry(row: Transaction) -> Entry | None:
    if row.symbol is None or row.quantity is None:
        return None
    action = str(row.action) if row.action in set(OrderAction) else None
    return Entry(
        transaction_id=row.id, kind=row.transaction_type, sub_kind=row.transaction_sub_type, symbol=row.symbol,
        action=action, quantity=int(row.quantity), price=abs(row.price or Decimal(0)), at=row.executed_at,
        order_id=str(row.order_id) if row.order_id is not None else None, exec_id=row.exec_id, reverses=row.reverses_id,
        description=row.description,
    )  # fmt: skip


def _underlying(rows: Iterable[Transaction], symbol: str) -> str:
    named = (row.underlying_symbol for row in rows if row.symbol == symbol and row.underlying_symbol)
    return next(named, root_of(symbol))
