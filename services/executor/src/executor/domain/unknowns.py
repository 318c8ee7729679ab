"""Orders whose fate is unknown: when they are looked up, what absence proves, what they hold back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime

from schemas.orders import IntentState

LOOKUP_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
LOOKUP_EVERY_SECONDS = 60.0
THROTTLED_LOOKUP_SECONDS = (2.0, 10.0)
EVIDENCE_SECONDS = 60.0
"""A list must have been answered this much after the send for an absence to mean anything."""
UNKNOWN_MAX = 1
"""With more in an account nothing opens there."""


def lookup_due(asked: int, *, throttled: bool = False) -> float:
    """Seconds after the send at which the next look-up is due, after so many were made."""
    if throttled and asked < len(THROTTLED_LOOKUP_SECONDS):
        return THROTTLED_LOOKUP_SECONDS[asked]
    if asked < len(LOOKUP_SECONDS):
        return LOOKUP_SECONDS[asked]
    return LOOKUP_SECONDS[-1] + (asked - len(LOOKUP_SECONDS) + 1) * LOOKUP_EVERY_SECONDS


@dataclass(frozen=True, slots=True)
class Absence:
    """The broker's list did not contain an order. What else is known of the moment."""

    seconds_after_send: float
    """Between the send and the broker's answer."""
    complete: bool
    """Every page was read."""
    stream_unbroken: bool
    """The account stream was connected from the send to the answer."""
    account_unchanged: bool
    """Buying power and positions did not move in a way that no other order explains."""

    def is_evidence(self, after_seconds: float = EVIDENCE_SECONDS) -> bool:
        """Whether it says anything against the order's existence. It proves nothing."""
        late = self.seconds_after_send >= after_seconds
        return late and self.complete and self.stream_unbroken and self.account_unchanged


@dataclass(frozen=True, slots=True)
class Move:
    """Where an unknown goes."""

    state: IntentState
    code: str
    reason: str


def judge(
    state: IntentState, absence: Absence, *, throttled: bool, throttled_lookups: int, sent_on: date, today: date,
    evidence_seconds: float = EVIDENCE_SECONDS,
) -> Move | None:  # fmt: skip
    """What becomes of an unknown that a complete search does not contain; None = it stays and is looked up again.

    A refusal for too many requests is believed after two absences. Anything else is set aside, its risk reserved, and
    proved dead only by a clean search on a later market day. Without an unbroken stream it is set aside later.
    """
    if not absence.complete:
        return None
    if state is IntentState.UNKNOWN and throttled:
        if throttled_lookups < len(THROTTLED_LOOKUP_SECONDS):
            return None
        return Move(IntentState.REJECTED, "throttled", "the broker refused more requests and lists no such order")
    if state is IntentState.QUARANTINE and today > sent_on:
        return Move(IntentState.DEAD, "day_over", "a later day's search contains no such order")
    patience = absence.seconds_after_send >= 5 * evidence_seconds
    if state is IntentState.UNKNOWN and (absence.is_evidence(evidence_seconds) or patience):
        return Move(IntentState.QUARANTINE, "not_listed", "the broker lists no such order")
    return None


@dataclass(frozen=True, slots=True)
class Unknown:
    """An intent whose fate is unknown."""

    intent_id: str
    strategy_id: str
    underlying_symbol: str


def holds_back(strategy_id: str, underlying_symbol: str, unknowns: Iterable[Unknown]) -> str | None:
    """Why nothing of a strategy may open in an underlying; None when it may."""
    found = list(unknowns)
    same = [each for each in found if (each.strategy_id, each.underlying_symbol) == (strategy_id, underlying_symbol)]
    if same:
        return f"the fate of order {same[0].intent_id} of {strategy_id} in {underlying_symbol} is unknown"
    if len(found) > UNKNOWN_MAX:
        return f"the fate of {len(found)} orders of the account is unknown"
    return None


@dataclass(frozen=True, slots=True)
class WorkingClose:
    """A closing order: what it would trade, and since when its fate is unknown."""

    quantities: dict[str, int]
    """Contracts by OCC symbol, unsigned."""
    unknown_since: datetime | None


def close_allowance(
    wanted: dict[str, int], held: dict[str, int], others: Iterable[WorkingClose], now: datetime,
    wait_seconds: float = EVIDENCE_SECONDS,
) -> dict[str, int] | None:  # fmt: skip
    """Contracts that may be closed now, by symbol, beside other closes; None while an unknown one is too young.

    At most the broker's own position (held, unsigned) less what known closes work on. An unknown close counts only
    while it is young: afterwards the position itself shows whether it traded.
    """
    allowed = {symbol: min(quantity, held.get(symbol, 0)) for symbol, quantity in wanted.items()}
    for other in others:
        shared = wanted.keys() & other.quantities.keys()
        if not shared:
            continue
        if other.unknown_since is not None:
            if (now - other.unknown_since).total_seconds() < wait_seconds:
                return None
            continue
        for symbol in shared:
            left = held.get(symbol, 0) - other.quantities[symbol]
            allowed[symbol] = max(0, min(allowed[symbol], left))
    return allowed
