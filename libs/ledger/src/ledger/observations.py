"""What was seen of an order, and where it stands because of all of it. Pure.

The state is a function of the *set* of observations: messages may come twice, late, or in any order. Ends beat what may
still fill, a fill beats every end, and among the rest the broker's own `updated-at` decides. What is older than the
newest is kept and moves nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum

from ledger.core import CORRECTED, BookedFill, Filled, filled, standing
from schemas.orders import AT_BROKER, TERMINAL_STATES, IntentState
from schemas.trade import Leg

S = IntentState
ENDED: frozenset[IntentState] = frozenset({S.CANCELLED, S.BROKER_EXPIRED, S.VENUE_REJECTED, S.REMOVED})
"""Ends at the broker that a late fill may still overtake."""
SHOWN: frozenset[IntentState] = AT_BROKER | ENDED | {S.FILLED}
"""States that the broker can show."""
REQUESTED: frozenset[IntentState] = frozenset({S.CANCEL_PENDING, S.REPLACE_PENDING})
_RANK = {state: rank for rank, state in enumerate(IntentState)}
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


class Source(StrEnum):
    """Where an observation comes from."""

    JOURNAL = "journal"
    """Our own act: a cancel or replace asked for, or given up."""
    REPLY = "reply"
    STREAM = "stream"
    REST = "rest"
    TRANSACTIONS = "transactions"


@dataclass(frozen=True, slots=True)
class Observation:
    """One look at an order.

    seen_at: when our request for it left (REST) or it came in; our clock. updated_at: the broker's, None if not given.
    """

    state: IntentState
    source: Source
    seen_at: datetime
    updated_at: datetime | None = None

    @property
    def at(self) -> datetime:
        """The broker's time where it gave one."""
        return self.updated_at or self.seen_at

    @property
    def true_at(self) -> datetime:
        """The latest instant at which it is known to have been true: a list is true when it is asked for."""
        return self.seen_at if self.source is Source.REST else self.at


def resolve(own: IntentState, observations: Iterable[Observation], *, complete: bool = False) -> IntentState:
    """Where an intent stands.

    own: what our journal alone says, used while the broker has shown nothing. complete: every unit has filled.
    A cancel or replace that we asked for stands until the order is seen unchanged after we asked.
    """
    if complete:
        return S.FILLED
    shown: list[Observation] = []
    asked: list[Observation] = []
    for each in observations:
        if each.state in SHOWN:
            (asked if each.source is Source.JOURNAL else shown).append(each)
    ends = [each for each in shown if each.state not in AT_BROKER]
    if any(each.state is S.FILLED for each in ends):
        return S.FILLED
    if ends:
        return max(ends, key=_newest).state
    if not shown:
        return max(asked, key=_newest).state if asked else own
    newest = max(shown, key=lambda each: (each.state is not S.ACKED, *_newest(each)))
    if not asked:
        return newest.state
    act = max(asked, key=_newest)
    if act.state in REQUESTED and all(each.true_at <= act.at for each in shown if each.state not in REQUESTED):
        return act.state
    return S.WORKING if newest.state is S.ACKED else newest.state


def _newest(observation: Observation) -> tuple[datetime, int]:
    return observation.at, _RANK[observation.state]


@dataclass(frozen=True, slots=True)
class History:
    """Everything known of one order. Adding is idempotent, and the order of adding does not matter."""

    legs: tuple[Leg, ...]
    quantity: int
    own: IntentState
    observations: frozenset[Observation] = field(default_factory=frozenset)
    fills: frozenset[BookedFill] = field(default_factory=frozenset)

    def seen(self, observation: Observation) -> History:
        """With one more look at the order."""
        return replace(self, observations=self.observations | {observation})

    def booked(self, fill: BookedFill) -> History:
        """With one more execution; one that is booked already changes nothing."""
        if any(each.key == fill.key for each in self.fills):
            return self
        return replace(self, fills=self.fills | {fill})

    @property
    def traded(self) -> Filled:
        """Units that ever traded: a bust takes back the position, not the fact."""
        first = [each for each in self.fills if each.corrects is None and not each.fill_id.endswith(CORRECTED)]
        return filled(self.legs, [each.execution for each in first])

    @property
    def standing(self) -> Filled:
        """Units and average price of what was not taken back."""
        return filled(self.legs, [each.execution for each in standing(self.fills)])

    @property
    def units(self) -> int:
        """Complete units that traded, at most the order's."""
        return min(self.quantity, self.traded.units)

    @property
    def state(self) -> IntentState:
        """Where the order stands."""
        return resolve(self.own, self.observations, complete=self.units >= self.quantity)

    @property
    def observed_at(self) -> datetime | None:
        """The broker's newest time of all observations."""
        newest = max((each.updated_at or _LONG_AGO for each in self.observations), default=_LONG_AGO)
        return None if newest == _LONG_AGO else newest

    def is_regression(self, observation: Observation) -> bool:
        """Whether something newer, or an end, has overtaken an observation."""
        return observation.state is not self.state

    @property
    def has_ended(self) -> bool:
        """Nothing but late fills and corrections follow."""
        return self.state in TERMINAL_STATES
