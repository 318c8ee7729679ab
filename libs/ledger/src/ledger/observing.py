"""Take what was seen of an order: keep it, and put the intent where all that was seen puts it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import select

from chassis.failpoints import failpoint
from ledger import fills
from ledger.core import IllegalMoveError
from ledger.journal import apply, keep, legs_of
from ledger.observations import SHOWN, History, Observation, Source
from ledger.tables import Intent, ObservationRow
from schemas.orders import TERMINAL_STATES, TRANSITIONS, IntentState


@dataclass(frozen=True, slots=True)
class Observed:
    """What an observation did."""

    state: IntentState
    """Where the intent stands now."""
    changed: bool
    """A new version was written, with its fact."""
    regressed: bool
    """It was overtaken: kept, not applied."""
    filled_late: bool
    """Units were filled after the order had ended: tell a person."""


async def history(session: AsyncSession, intent: Intent) -> History:
    """Everything the ledger knows of an intent."""
    rows = (await session.execute(select(ObservationRow).where(ObservationRow.intent_id == intent.intent_id))).scalars()
    observations = {
        Observation(IntentState(row.state), Source(row.source), row.seen_at, row.updated_at) for row in rows
    }
    own = IntentState(intent.state)
    if own in SHOWN and not any(each.source is not Source.JOURNAL for each in observations):
        # it came where it is before observations were kept
        observations.add(Observation(own, Source.REST, intent.updated_at, intent.observed_at))
    booked = frozenset(await fills.of_intent(session, intent.intent_id))
    return History(legs_of(intent), intent.quantity, own, frozenset(observations), booked)


async def observe(
    session: AsyncSession,
    intent: Intent,
    observation: Observation,
    producer: str,
    *,
    broker_order_id: str | None = None,
    reason_code: str = "",
    reason: str = "",
) -> Observed:
    """Keep an observation of a locked intent and apply it. Book the fills it carries first, in the same transaction.

    Raises IllegalMoveError for an order at the broker that was never permitted: no reading of it can be right.
    """
    before = IntentState(intent.state)
    known = await history(session, intent)
    known = known.seen(observation)
    target = known.state
    if target is not before and target not in TRANSITIONS[before]:
        raise IllegalMoveError(f"an intent that is {before.value} was seen {observation.state.value}")
    regressed = known.is_regression(observation)
    await keep(session, intent.intent_id, observation, applied=not regressed)
    failpoint("ledger.observation.kept")
    units = max(intent.filled_quantity, known.units)
    changes: dict[str, object] = {
        "filled_quantity": units,
        "average_fill_price": known.standing.average_price,
        "observed_at": known.observed_at,
    }
    if broker_order_id is not None:
        changes["broker_order_id"] = broker_order_id
    if reason_code and not regressed:
        changes |= {"reason_code": reason_code, "reason": reason}
    late = units > intent.filled_quantity and before in TERMINAL_STATES
    changes = {name: value for name, value in changes.items() if getattr(intent, name) != value}
    changed = await apply(session, intent, target, changes, producer)
    return Observed(target, changed, regressed, late)
