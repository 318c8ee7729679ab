"""The send permit: one per intent, for ever, and none once a stop, a lost lease or a limit forbids it."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.failpoints import failpoint
from ledger import gate, lease, reservations
from ledger.exposure import Refusal
from ledger.journal import external_identifier, get, record
from ledger.tables import Intent
from schemas.account import GateMode, KillScope
from schemas.orders import IntentState
from schemas.trade import Purpose


class ClaimRefusal(StrEnum):
    """Why a send permit was not given."""

    GATE = "gate"
    NOT_ARMED = "not_armed"
    LEASE = "lease"
    TAKEN = "taken"
    """Not approved any more: another claim was first, or it was withdrawn."""
    EXPIRED = "expired"
    UNKNOWN_ORDERS = "unknown_orders"
    """Orders of the strategy or the account whose fate is unknown."""
    LIMIT = "limit"
    """A hard limit would be exceeded, with everything held and reserved."""
    THROTTLE = "throttle"
    """Too many messages: ask again."""
    REPEATED = "repeated"
    """Automation has opened the same too often: the strategy stops until a person lets it run (`stop_repeating`)."""


_IMPATIENT = text("SELECT set_config('lock_timeout', '500ms', true)")


@dataclass(frozen=True, slots=True)
class Permit:
    """The right to send one order once."""

    intent: Intent


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
    """Give the only send permit of an intent, under the gate, the lease, the hard limits and a compare-and-set.

    limit_price: the price that will be sent when it is not the approved one; never below the intent's worst price.

    Nothing is permitted after a stop committed: the gate's rows are share-locked until this transaction ends. A lock
    that another holds for more than half a second ends the transaction with sqlalchemy.exc.DBAPIError.
    """
    await session.execute(_IMPATIENT)
    intent = await get(session, intent_id, lock=True)
    if IntentState(intent.state) is not IntentState.APPROVED:
        return ClaimRefusal.TAKEN
    mode, armed = await gate.lock_shared(session, intent.account_number, intent.strategy_id, intent.underlying_symbol)
    failpoint("ledger.claim.gate_held")
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
    refusal = await reservations.recheck(session, intent)
    failpoint("ledger.claim.judged")
    session.info[_DETAIL] = refusal
    if refusal is not None:
        return _kind(refusal)
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
    failpoint("ledger.claim.written")
    return Permit(intent)


_DETAIL = "ledger.refusal"


def detail(session: AsyncSession) -> Refusal | None:
    """Which limit or throttle refused the last claim of this session, with value and limit."""
    found: Refusal | None = session.info.get(_DETAIL)
    return found


def _kind(refusal: Refusal) -> ClaimRefusal:
    if refusal.limit.startswith("messages_"):
        return ClaimRefusal.THROTTLE
    if refusal.limit.endswith("_opens_per_day") or refusal.limit.startswith("repeated_"):
        return ClaimRefusal.REPEATED
    return ClaimRefusal.UNKNOWN_ORDERS if refusal.limit == "unknown_orders_max" else ClaimRefusal.LIMIT


async def stop_repeating(session: AsyncSession, intent: Intent, producer: str) -> bool:
    """Stop a strategy whose claim was refused as REPEATED, until a person resumes it; False when it is stopped already.

    In a transaction of its own, after the claim's: the claim holds the gate's rows shared.
    """
    why = f"opened {intent.underlying_symbol} {intent.spread_type} as often as it may by itself"
    change = await gate.tighten(
        session, KillScope.STRATEGY, intent.strategy_id, GateMode.HALT_OPENS, "ledger", why, producer
    )
    return change.changed
