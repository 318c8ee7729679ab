"""Ask the ledger for the permit of a send, under everything that may refuse it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import transaction
from chassis.failpoints import failpoint
from executor.desk import PRODUCER, Desk
from executor.domain.unknowns import Unknown, WorkingClose, close_allowance, holds_back
from executor.lanes import Lane
from ledger import intents
from ledger.claims import detail, stop_repeating
from ledger.exposure import Refusal as Limit
from ledger.intents import ClaimRefusal, Permit
from ledger.tables import Intent
from schemas.orders import AT_BROKER, IntentState
from schemas.trade import Purpose
from tastyclient import NewOrder

LOST = (IntentState.UNKNOWN, IntentState.QUARANTINE)
OrderBuilder = Callable[[Intent, Decimal], tuple[NewOrder, str]]
"""Intent and price → the request and its hash."""
CHILD_SECONDS = 10.0
"""How long a price step may wait for its permit."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """No permit: why, and where the intent goes; None = it stays approved and is asked for again."""

    code: str
    reason: str
    ends: IntentState | None = None


class RolledBackError(Exception):
    """A price step got no permit: nothing of it is kept."""

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal


_ENDS = {
    ClaimRefusal.GATE: (IntentState.WITHDRAWN, "trading is stopped"),
    ClaimRefusal.NOT_ARMED: (IntentState.WITHDRAWN, "automation is not armed"),
    ClaimRefusal.EXPIRED: (IntentState.EXPIRED, "approval expired before it was sent"),
    ClaimRefusal.UNKNOWN_ORDERS: (IntentState.WITHDRAWN, "the fate of other orders is unknown"),
    ClaimRefusal.LIMIT: (IntentState.WITHDRAWN, "a limit would be exceeded"),
    ClaimRefusal.REPEATED: (IntentState.WITHDRAWN, "automation has opened the same as often as it may by itself"),
}


async def claim_first(
    desk: Desk, lane: Lane, intent: Intent, price: Decimal, body_hash: str
) -> Permit | Refusal:  # fmt: skip
    """The permit of an approved intent at its first price, in one transaction with what holds it back."""
    held = await closing_positions(desk, lane, intent)
    async with transaction(desk.engine) as session:
        if refusal := await _held_back(desk, lane, session, intent, held):
            return refusal
        failpoint("executor.claim.checked")
        answer = await intents.claim(
            session,
            intent.intent_id,
            holder=desk.settings.instance,
            epoch=lane.epoch or 0,
            body_hash=body_hash,
            producer=PRODUCER,
            limit_price=price,
        )
        limit = detail(session)
        failpoint("executor.claim.before_commit")
    if answer is ClaimRefusal.REPEATED:
        await _stop_repeating(desk, intent)
    return answer if isinstance(answer, Permit) else refusal_of(answer, limit)


def refusal_of(answer: ClaimRefusal, limit: Limit | None = None) -> Refusal:
    """The ledger's refusal in words. A throttle ends nothing: it is asked again until the approval expires."""
    ends, reason = _ENDS.get(answer, (None, answer.value))
    if limit is not None:
        reason = f"{reason}: {limit.limit} {limit.value} of {limit.allowed} {limit.detail}".strip()
    return Refusal(answer.value, reason[:500], ends)


async def _stop_repeating(desk: Desk, intent: Intent) -> None:
    """A strategy that repeats itself stops until a person lets it run."""
    async with transaction(desk.engine) as session:
        stopped = await stop_repeating(session, intent, PRODUCER)
    failpoint("executor.claim.repeating_stopped")
    desk.committed()
    if stopped:
        await desk.alarm(
            intent.account_number, "strategy_repeats", intent.strategy_id,
            f"{intent.strategy_id} opened {intent.spread_type} in {intent.underlying_symbol} as often as it may",
        )  # fmt: skip


async def _held_back(
    desk: Desk, lane: Lane, session: AsyncSession, intent: Intent, held: dict[str, int] | None
) -> Refusal | None:
    """What unknown orders and frozen underlyings forbid.

    This process alone makes them so, and its lane knows them: the ledger is asked where there is something to ask for.
    """
    if intent.purpose == Purpose.CLOSE.value:
        return None if held is None else await _close_allowed(session, desk.clock.now(), intent, held)
    if reason := lane.frozen.get(intent.underlying_symbol):
        return Refusal("frozen", reason[:300], IntentState.WITHDRAWN)
    if not lane.lookups:
        return None
    lost = await intents.in_states(session, LOST, intent.account_number)
    unknown = [Unknown(each.intent_id, each.strategy_id, each.underlying_symbol) for each in lost]
    if reason := holds_back(intent.strategy_id, intent.underlying_symbol, unknown):
        return Refusal("unknown_order", reason, IntentState.WITHDRAWN)
    return None


async def closing_positions(desk: Desk, lane: Lane, intent: Intent) -> dict[str, int] | None:
    """The broker's own positions, unsigned, where a close must be measured against them; None where it need not be.

    Only beside a close whose fate is unknown: its position may be gone already. Otherwise the broker's strict
    position effect refuses what has no position.
    """
    if intent.purpose != Purpose.CLOSE.value or not lane.lookups:
        return None
    found = await desk.urgent.positions(intent.account_number)
    return {each.symbol: abs(each.signed_quantity) for each in found}


async def _close_allowed(
    session: AsyncSession, now: datetime, intent: Intent, held: dict[str, int]
) -> Refusal | None:  # fmt: skip
    others = []
    for each in await intents.in_states(session, AT_BROKER | set(LOST), intent.account_number):
        if each.purpose == Purpose.CLOSE.value and each.intent_id != intent.intent_id:
            sent = (each.submitting_at or each.created_at) if IntentState(each.state) in LOST else None
            others.append(WorkingClose(_contracts(each), sent))
    wanted = _contracts(intent)
    allowed = close_allowance(wanted, held, others, now)
    if allowed is None:
        return Refusal("unknown_close", "a close of these contracts is being looked up")
    short = {symbol: count for symbol, count in allowed.items() if count < wanted[symbol]}
    if not short:
        return None
    symbol, count = next(iter(sorted(short.items())))
    return Refusal(
        "close_beyond_position",
        f"{count} of {wanted[symbol]} contracts {symbol} are left to close beside other closing orders",
        IntentState.WITHDRAWN,
    )


def _contracts(intent: Intent) -> dict[str, int]:
    found: dict[str, int] = {}
    for leg in intents.legs_of(intent):
        if not leg.action.opens:
            found[leg.occ_symbol] = found.get(leg.occ_symbol, 0) + leg.quantity * intent.quantity
    return found


async def claim_step(
    desk: Desk, lane: Lane, parent_id: str, price: Decimal, build: OrderBuilder
) -> tuple[Intent, NewOrder]:  # fmt: skip
    """A child intent at the next price with its permit. Raises RolledBackError, and then nothing is kept."""
    async with transaction(desk.engine) as session:
        parent = await intents.get(session, parent_id, lock=True)
        if parent.state != IntentState.WORKING.value or parent.filled_quantity:
            raise RolledBackError(Refusal(ClaimRefusal.TAKEN.value, "it is not working any more"))
        valid_until = desk.clock.now() + timedelta(seconds=CHILD_SECONDS)
        child = await intents.child(session, parent, str(uuid.uuid4()), price, valid_until, PRODUCER)
        order, digest = build(child, price)
        failpoint("executor.step.child_made")
        answer = await intents.claim(
            session,
            child.intent_id,
            holder=desk.settings.instance,
            epoch=lane.epoch or 0,
            body_hash=digest,
            producer=PRODUCER,
        )
        if not isinstance(answer, Permit):
            raise RolledBackError(refusal_of(answer))
        await intents.record(session, parent, IntentState.REPLACE_PENDING, PRODUCER)
        failpoint("executor.step.before_commit")
        return answer.intent, order
