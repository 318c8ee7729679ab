"""Intents: the orders of the journal, from their approval to their end, and the questions asked of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal

from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, func, select

from ledger.claims import ClaimRefusal, Permit, claim
from ledger.journal import event_of, external_identifier, get, intent_id_of, legs_of, propose, record
from ledger.tables import Intent
from schemas.orders import AT_BROKER, RESERVED_STATES, TERMINAL_STATES, IntentState

__all__ = [
    "ClaimRefusal",
    "Permit",
    "at_broker",
    "by_broker_order_id",
    "child",
    "claim",
    "event_of",
    "external_identifier",
    "get",
    "in_states",
    "intent_id_of",
    "legs_of",
    "open_intents",
    "propose",
    "record",
    "reserved",
]


async def child(
    session: AsyncSession, parent: Intent, intent_id: str, limit_price: Decimal, valid_until: datetime, producer: str
) -> Intent:
    """The next price step: an intent of its own that will replace the parent's order. It takes over the reservation."""
    newest = select(func.max(Intent.walk_step)).where(Intent.root_intent_id == parent.root_intent_id)
    last_step = (await session.execute(newest)).scalar_one()  # a step that failed leaves its number used
    now = datetime.now(UTC)
    values = parent.model_dump(
        exclude={
            "intent_id", "state", "previous_state", "version", "limit_price", "external_identifier", "broker_order_id",
            "body_hash", "epoch", "reason_code", "reason", "filled_quantity", "average_fill_price", "submitting_at",
            "observed_at",
        }
    )  # fmt: skip
    values |= {
        "intent_id": intent_id,
        "parent_intent_id": parent.intent_id,
        "walk_step": last_step + 1,
        "limit_price": limit_price,
        "state": IntentState.APPROVED.value,
        "valid_until": valid_until,
        "created_at": now,
        "updated_at": now,
    }
    made = Intent(**values)
    await propose(session, made, producer)
    return made


async def in_states(
    session: AsyncSession, states: Iterable[IntentState], account_number: str | None = None
) -> Sequence[Intent]:
    """Intents that stand in any of the states, oldest first."""
    statement = select(Intent).where(col(Intent.state).in_([state.value for state in states]))
    if account_number is not None:
        statement = statement.where(Intent.account_number == account_number)
    return (await session.execute(statement.order_by(col(Intent.created_at)))).scalars().all()


async def open_intents(session: AsyncSession, account_number: str | None = None) -> Sequence[Intent]:
    """Everything that is not finished."""
    return await in_states(session, set(IntentState) - TERMINAL_STATES, account_number)


async def reserved(session: AsyncSession, account_number: str) -> Sequence[Intent]:
    """What counts against the limits at its worst, each walk once: a child stands for its parents."""
    found = await in_states(session, RESERVED_STATES, account_number)
    newest: dict[str, Intent] = {}
    for each in found:
        held = newest.get(each.root_intent_id)
        if held is None or each.walk_step > held.walk_step:
            newest[each.root_intent_id] = each
    return list(newest.values())


async def at_broker(session: AsyncSession, account_number: str) -> Sequence[Intent]:
    """Orders that may still fill."""
    return await in_states(session, AT_BROKER, account_number)


async def by_broker_order_id(session: AsyncSession, account_number: str, broker_order_id: str) -> Intent | None:
    """The intent behind a broker's order number."""
    statement = select(Intent).where(Intent.account_number == account_number, Intent.broker_order_id == broker_order_id)
    return (await session.execute(statement)).scalars().first()
