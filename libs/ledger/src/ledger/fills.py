"""Executions: booked once each, and what is held because of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, func, select

from chassis.failpoints import failpoint
from ledger import outbox
from ledger.core import BACK, CORRECTED, BookedFill, Execution, holding_of, standing
from ledger.tables import FillRow, Frozen, PositionRow
from schemas import subjects
from schemas.account import Position, PositionLeg
from schemas.orders import Fill
from schemas.symbols import parse_occ
from schemas.trade import OrderAction


async def book(session: AsyncSession, fill: Fill, underlying_symbol: str, producer: str) -> bool:
    """Book one execution and move the position; False when it was booked before."""
    signed = fill.action.sign * fill.quantity
    statement = (
        insert(FillRow)
        .values(
            account_number=fill.account_number,
            broker_order_id=fill.broker_order_id,
            occ_symbol=fill.occ_symbol,
            fill_id=fill.fill_id,
            intent_id=fill.intent_id,
            underlying_symbol=underlying_symbol,
            action=fill.action.value,
            quantity=fill.quantity,
            signed_quantity=signed,
            fill_price=fill.fill_price,
            filled_at=fill.filled_at,
            booked_at=func.clock_timestamp(),
            corrects=fill.corrects,
        )
        .on_conflict_do_nothing()
        .returning(col(FillRow.fill_id))
    )
    if (await session.execute(statement)).scalar() is None:
        return False
    failpoint("ledger.fill.inserted")
    await _move(session, fill.account_number, fill.occ_symbol, underlying_symbol)
    failpoint("ledger.fill.moved")
    subject = subjects.fact_fill(fill.account_number, fill.intent_id or "foreign")
    identity = f"{fill.account_number}-{fill.broker_order_id}-{fill.occ_symbol}-{fill.fill_id}"
    outbox.enqueue(session, producer, subject, fill, message_id=identity)
    return True


async def take_back(
    session: AsyncSession,
    account_number: str,
    broker_order_id: str,
    occ_symbol: str,
    fill_id: str,
    *,
    corrected_price: Decimal | None,
    at: datetime,
    producer: str,
) -> bool:
    """Book a bust (corrected_price None) or a price correction as compensating rows; the fill itself stays.

    False when it was taken back before. LookupError for a fill that is not booked.
    """
    key = (account_number, broker_order_id, occ_symbol, fill_id)
    original = await session.get(FillRow, key)
    if original is None or original.corrects is not None:
        raise LookupError(f"no fill {fill_id} of {occ_symbol} in order {broker_order_id} is booked")
    row = Fill(
        ts_event=at,
        account_number=account_number,
        intent_id=original.intent_id,
        broker_order_id=broker_order_id,
        fill_id=f"{fill_id}{BACK}",
        occ_symbol=occ_symbol,
        action=OPPOSITE[OrderAction(original.action)],
        quantity=original.quantity,
        fill_price=original.fill_price,
        filled_at=at,
        corrects=fill_id,
    )
    if not await book(session, row, original.underlying_symbol, producer):
        return False
    if corrected_price is not None:
        changes = {
            "fill_id": f"{fill_id}{CORRECTED}",
            "action": OrderAction(original.action),
            "fill_price": corrected_price,
        }
        again = row.model_copy(update=changes | {"filled_at": original.filled_at, "corrects": None})
        await book(session, again, original.underlying_symbol, producer)
    return True


OPPOSITE = {
    OrderAction.BUY_TO_OPEN: OrderAction.SELL_TO_CLOSE,
    OrderAction.SELL_TO_OPEN: OrderAction.BUY_TO_CLOSE,
    OrderAction.BUY_TO_CLOSE: OrderAction.SELL_TO_OPEN,
    OrderAction.SELL_TO_CLOSE: OrderAction.BUY_TO_OPEN,
}
"""The action that undoes an action."""


async def _move(session: AsyncSession, account_number: str, occ_symbol: str, underlying_symbol: str) -> None:
    """Set the position to what all its fills add up to: the order in which they became known leaves no trace."""
    await session.execute(
        insert(PositionRow)
        .values(
            account_number=account_number,
            occ_symbol=occ_symbol,
            underlying_symbol=underlying_symbol,
            signed_quantity=0,
            average_open_price=Decimal(0),
        )
        .on_conflict_do_nothing()
    )
    held = await session.get_one(
        PositionRow, (account_number, occ_symbol), with_for_update=True, populate_existing=True
    )
    rows = await session.execute(
        select(FillRow).where(FillRow.account_number == account_number, FillRow.occ_symbol == occ_symbol)
    )
    after = holding_of(_booked(row) for row in rows.scalars())
    held.signed_quantity, held.average_open_price = after.signed_quantity, after.average_open_price
    await session.flush()


async def of_intent(session: AsyncSession, intent_id: str) -> list[BookedFill]:
    """Every row of one intent's order, with what takes back another."""
    rows = (await session.execute(select(FillRow).where(FillRow.intent_id == intent_id))).scalars()
    return [_booked(row) for row in rows]


async def executions(session: AsyncSession, intent_id: str) -> list[Execution]:
    """Every execution of one intent's order that stands."""
    return [each.execution for each in standing(await of_intent(session, intent_id))]


def _booked(row: FillRow) -> BookedFill:
    return BookedFill(
        row.broker_order_id,
        row.occ_symbol,
        row.fill_id,
        row.signed_quantity,
        row.fill_price,
        row.filled_at,
        row.corrects,
    )


async def positions(session: AsyncSession, account_number: str) -> Sequence[PositionRow]:
    """What is held, flat contracts left out."""
    statement = select(PositionRow).where(
        PositionRow.account_number == account_number, PositionRow.signed_quantity != 0
    )
    return (await session.execute(statement)).scalars().all()


async def publish_position(session: AsyncSession, account_number: str, underlying_symbol: str, producer: str) -> None:
    """Promise the state of one underlying's holdings."""
    held = [row for row in await positions(session, account_number) if row.underlying_symbol == underlying_symbol]
    frozen = await session.get(Frozen, (account_number, underlying_symbol))
    now = datetime.now(UTC)
    state = Position(
        ts_event=now,
        account_number=account_number,
        underlying_symbol=underlying_symbol,
        legs=tuple(
            PositionLeg(
                occ_symbol=row.occ_symbol,
                signed_quantity=row.signed_quantity,
                average_open_price=row.average_open_price,
                expiration=parse_occ(row.occ_symbol).expiration,
            )
            for row in sorted(held, key=lambda row: row.occ_symbol)
        ),
        frozen=frozen is not None,
        reason=frozen.reason if frozen else "",
    )
    subject = subjects.fact_position(account_number, underlying_symbol)
    outbox.enqueue(session, producer, subject, state, message_id=f"{subject}-{now.timestamp()}")


async def freeze(session: AsyncSession, account_number: str, underlying_symbol: str, reason: str) -> bool:
    """Mark an underlying in which ledger and broker disagree; False when it is marked with this reason already."""
    held = await session.get(Frozen, (account_number, underlying_symbol), with_for_update=True)
    if held is not None:
        changed, held.reason = held.reason != reason, reason
        await session.flush()
        return changed
    session.add(
        Frozen(
            account_number=account_number, underlying_symbol=underlying_symbol, reason=reason, since=datetime.now(UTC)
        )
    )
    await session.flush()
    return True


async def thaw(session: AsyncSession, account_number: str, underlying_symbol: str) -> bool:
    """The disagreement is gone; False when there was none."""
    held = await session.get(Frozen, (account_number, underlying_symbol), with_for_update=True)
    if held is None:
        return False
    await session.delete(held)
    await session.flush()
    return True


async def frozen(session: AsyncSession, account_number: str) -> dict[str, str]:
    """Frozen underlyings with their reason."""
    rows = (await session.execute(select(Frozen).where(col(Frozen.account_number) == account_number))).scalars()
    return {row.underlying_symbol: row.reason for row in rows}
