"""The journal of orders: every change is one version, one legal move and one fact in the outbox."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from ledger import gate, lease, outbox
from ledger.core import advance, require_legal
from ledger.tables import Intent
from schemas import subjects
from schemas.orders import AT_BROKER, RESERVED_STATES, TERMINAL_STATES, IntentState, OrderEvent
from schemas.trade import Leg, Purpose, RuleResult, SpreadType


class ClaimRefusal(StrEnum):
    """Why a send permit was not given."""

    GATE = "gate"
    NOT_ARMED = "not_armed"
    LEASE = "lease"
    TAKEN = "taken"
    """Not approved any more: another claim was first, or it was withdrawn."""
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Permit:
    """The right to send one order once."""

    intent: Intent


def legs_of(intent: Intent) -> tuple[Leg, ...]:
    """The intent's legs as values."""
    return tuple(Leg.model_validate(leg) for leg in intent.legs)


def event_of(intent: Intent) -> OrderEvent:
    """The fact that a version of an intent is."""
    return OrderEvent(
        ts_event=intent.updated_at,
        account_number=intent.account_number,
        intent_id=intent.intent_id,
        parent_intent_id=intent.parent_intent_id,
        root_intent_id=intent.root_intent_id,
        aggregate_version=intent.version,
        state=IntentState(intent.state),
        previous_state=IntentState(intent.previous_state) if intent.previous_state else None,
        purpose=Purpose(intent.purpose),
        strategy_id=intent.strategy_id,
        source=intent.source,
        underlying_symbol=intent.underlying_symbol,
        spread_type=SpreadType(intent.spread_type),
        legs=legs_of(intent),
        quantity=intent.quantity,
        filled_quantity=intent.filled_quantity,
        limit_price=intent.limit_price,
        worst_price=intent.worst_price,
        average_fill_price=intent.average_fill_price,
        decision_mid=intent.decision_mid,
        broker_order_id=intent.broker_order_id,
        external_identifier=intent.external_identifier,
        reason_code=intent.reason_code,
        reason=intent.reason,
        rules=tuple(RuleResult.model_validate(rule) for rule in intent.rules),
        thesis=intent.thesis,
        candidate_id=intent.candidate_id,
        walk_step=intent.walk_step,
        created_at=intent.created_at,
    )


async def propose(session: AsyncSession, intent: Intent, producer: str) -> None:
    """Record a decided intent, denied or approved, with its fact."""
    session.add(intent)
    await session.flush()
    _publish(session, intent, producer)


async def get(session: AsyncSession, intent_id: str, *, lock: bool = False) -> Intent:
    """One intent. LookupError when there is none."""
    found = await session.get(Intent, intent_id, with_for_update=lock, populate_existing=lock)
    if found is None:
        raise LookupError(f"there is no intent {intent_id}")
    return found


async def record(
    session: AsyncSession,
    intent: Intent,
    state: IntentState,
    producer: str,
    *,
    reason_code: str = "",
    reason: str = "",
    strict: bool = True,
    **values: Any,
) -> bool:
    """Move a locked intent and set values; one version, one fact. False when nothing changed.

    With `strict`, a move the table does not list raises IllegalMoveError; without, it is left where it is, as an
    observation that came late must be.
    """
    current = IntentState(intent.state)
    if strict and state is not current:
        require_legal(current, state)
    target = advance(current, state)
    changes = {name: value for name, value in values.items() if getattr(intent, name) != value}
    if reason_code and target is state:
        changes |= {"reason_code": reason_code, "reason": reason}
    visible = changes.keys() - {"observed_at"}
    if target is current and not visible:
        return False
    if target is not current:
        intent.previous_state, intent.state = current.value, target.value
    for name, value in changes.items():
        setattr(intent, name, value)
    intent.version += 1
    intent.updated_at = datetime.now(UTC)
    await session.flush()
    _publish(session, intent, producer)
    return True


async def claim(
    session: AsyncSession,
    intent_id: str,
    *,
    holder: str,
    epoch: int,
    body_hash: str,
    producer: str,
    limit_price: Decimal | None = None,
) -> Permit | ClaimRefusal:
    """Give the only send permit of an intent, under the gate, the lease and a compare-and-set.

    limit_price: the price that will be sent when it is not the approved one; never below the intent's worst price.

    Nothing is permitted after a stop committed: the gate's rows are share-locked until this transaction ends.
    """
    intent = await get(session, intent_id, lock=True)
    if IntentState(intent.state) is not IntentState.APPROVED:
        return ClaimRefusal.TAKEN
    mode, armed = await gate.lock_shared(session, intent.account_number, intent.strategy_id, intent.underlying_symbol)
    if not mode.allows(Purpose(intent.purpose)):
        return ClaimRefusal.GATE
    if intent.source == "scanner" and intent.purpose == Purpose.OPEN.value and not armed:
        return ClaimRefusal.NOT_ARMED
    if not await lease.holds(session, intent.account_number, holder, epoch):
        return ClaimRefusal.LEASE
    now = (await session.execute(text("SELECT clock_timestamp()"))).scalar_one()
    if intent.valid_until <= now:
        return ClaimRefusal.EXPIRED
    price = intent.limit_price if limit_price is None else limit_price
    if price < intent.worst_price:
        raise ValueError(f"a limit of {price} is past the worst price {intent.worst_price} of intent {intent_id}")
    await record(
        session,
        intent,
        IntentState.SUBMITTING,
        producer,
        epoch=epoch,
        external_identifier=external_identifier(intent.intent_id),
        body_hash=body_hash,
        limit_price=price,
        submitting_at=now,
        root_submitted_at=intent.root_submitted_at or now,
    )
    return Permit(intent)


def external_identifier(intent_id: str) -> str:
    """What the broker echoes back: it names the intent."""
    return f"tt-{intent_id}"


def intent_id_of(external: str | None) -> str | None:
    """The intent an external identifier names; None for one that is not ours."""
    return external[3:] if external and external.startswith("tt-") else None


async def child(
    session: AsyncSession, parent: Intent, intent_id: str, limit_price: Decimal, valid_until: datetime, producer: str
) -> Intent:
    """The next price step: an intent of its own that will replace the parent's order. It takes over the reservation."""
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
        "walk_step": parent.walk_step + 1,
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


def _publish(session: AsyncSession, intent: Intent, producer: str) -> None:
    outbox.enqueue(
        session,
        producer,
        subjects.fact_order(intent.account_number, intent.intent_id),
        event_of(intent),
        message_id=f"{intent.intent_id}-{intent.version}",
    )
