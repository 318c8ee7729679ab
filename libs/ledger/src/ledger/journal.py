"""Rows of the journal of orders: every change is one version, one legal move and one fact in the outbox."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.failpoints import failpoint
from ledger import outbox
from ledger.core import advance, require_legal
from ledger.observations import REQUESTED, Observation, Source
from ledger.tables import Intent
from schemas import subjects
from schemas.orders import AT_BROKER, IntentState, OrderEvent
from schemas.trade import Leg, Purpose, RuleResult, SpreadType

_KEEP = text(
    "INSERT INTO ledger.observation (intent_id, source, state, updated_at, seen_at, applied) "
    "VALUES (:intent, :source, :state, :updated, :seen, :applied) "
    "ON CONFLICT (intent_id, source, state, (COALESCE(updated_at, 'epoch'::timestamptz))) "
    "DO UPDATE SET seen_at = greatest(observation.seen_at, excluded.seen_at), "
    "applied = observation.applied OR excluded.applied"
)


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
    observation that came late must be. A request that we make of the broker, or give up, is kept as an observation.
    """
    current = IntentState(intent.state)
    if strict and state is not current:
        require_legal(current, state)
    target = advance(current, state)
    own_act = "observed_at" not in values and current in AT_BROKER and target is not current
    if own_act and (target in REQUESTED or current in REQUESTED):
        await keep(session, intent.intent_id, Observation(target, Source.JOURNAL, datetime.now(UTC)))
    changes = {name: value for name, value in values.items() if getattr(intent, name) != value}
    if reason_code and target is state:
        changes |= {"reason_code": reason_code, "reason": reason}
    return await apply(session, intent, target, changes, producer)


async def apply(
    session: AsyncSession, intent: Intent, target: IntentState, changes: Mapping[str, Any], producer: str
) -> bool:
    """Write a version of a locked intent with its fact; False when nothing but `observed_at` would change."""
    current = IntentState(intent.state)
    if target is current and not changes.keys() - {"observed_at"}:
        return False
    if target is not current:
        intent.previous_state, intent.state = current.value, target.value
    for name, value in changes.items():
        setattr(intent, name, value)
    intent.version += 1
    intent.updated_at = datetime.now(UTC)
    await session.flush()
    failpoint("ledger.journal.flushed")
    _publish(session, intent, producer)
    return True


async def keep(session: AsyncSession, intent_id: str, observation: Observation, *, applied: bool = True) -> None:
    """Store an observation; the same one seen again only moves `seen_at`."""
    await session.execute(
        _KEEP,
        {
            "intent": intent_id,
            "source": observation.source.value,
            "state": observation.state.value,
            "updated": observation.updated_at,
            "seen": observation.seen_at,
            "applied": applied,
        },
    )


def external_identifier(intent_id: str) -> str:
    """What the broker echoes back: it names the intent."""
    return f"tt-{intent_id}"


def intent_id_of(external: str | None) -> str | None:
    """The intent an external identifier names; None for one that is not ours."""
    return external[3:] if external and external.startswith("tt-") else None


def _publish(session: AsyncSession, intent: Intent, producer: str) -> None:
    outbox.enqueue(
        session,
        producer,
        subjects.fact_order(intent.account_number, intent.intent_id),
        event_of(intent),
        message_id=f"{intent.intent_id}-{intent.version}",
    )
