"""How an order is priced, walked and read. Pure; prices in $ per share, credit positive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from schemas.account import GateMode
from schemas.money import to_tick
from schemas.orders import IntentState
from schemas.trade import Purpose

STATE_OF: Mapping[str, IntentState] = {
    "Received": IntentState.ACKED,
    "Routed": IntentState.ACKED,
    "In Flight": IntentState.ACKED,
    "Contingent": IntentState.ACKED,
    "Live": IntentState.WORKING,
    "Cancel Requested": IntentState.CANCEL_PENDING,
    "Replace Requested": IntentState.REPLACE_PENDING,
    "Filled": IntentState.FILLED,
    "Cancelled": IntentState.CANCELLED,
    "Expired": IntentState.BROKER_EXPIRED,
    "Rejected": IntentState.VENUE_REJECTED,
    "Removed": IntentState.REMOVED,
    "Partially Removed": IntentState.REMOVED,
}
"""The broker's status → where the intent stands."""

MAY_FILL = frozenset({"Received", "Routed", "In Flight", "Contingent", "Live", "Cancel Requested", "Replace Requested"})
"""Statuses in which an order may still fill."""


@dataclass(frozen=True, slots=True)
class WalkRules:
    """How the limit moves from mid towards natural."""

    steps: int
    step_seconds: float
    final_pct_of_spread: float


@dataclass(frozen=True, slots=True)
class Book:
    """Net mid and natural of the structure, and the age of its oldest quote."""

    mid: Decimal
    natural: Decimal
    age_seconds: float


def start_price(book: Book, worst: Decimal, tick: Decimal) -> Decimal:
    """Mid on the tick grid in our favour, never past the worst price."""
    return max(to_tick(book.mid, tick, in_our_favour=True), worst)


def next_price(current: Decimal, worst: Decimal, tick: Decimal, step: int, book: Book, rules: WalkRules) -> Decimal:
    """Limit of step `step` (1 = first after the start), against today's book; equal to `current` when it ends there."""
    share = Decimal(str(min(1.0, step / rules.steps) * rules.final_pct_of_spread / 100))
    target = to_tick(book.mid - share * max(Decimal(0), book.mid - book.natural), tick, in_our_favour=True)
    return max(worst, min(current - tick, target)) if current > worst else current


def walk_due(
    now: datetime, placed_at: datetime, walk_step: int, filled: int, rules: WalkRules, mode: GateMode, purpose: Purpose
) -> bool:
    """Whether the next step is due: nothing filled yet, steps left, time passed, and the gate would allow a send."""
    if filled or walk_step >= rules.steps or not mode.allows(purpose):
        return False
    return now >= placed_at + timedelta(seconds=rules.step_seconds)


def timed_out(now: datetime, first_sent: datetime, seconds: float) -> bool:
    """Whether the whole walk has used its time."""
    return now >= first_sent + timedelta(seconds=seconds)


def must_cancel(mode: GateMode, purpose: Purpose) -> bool:
    """Whether a working order must go under this mode."""
    if mode in (GateMode.CANCEL_WORKING, GateMode.FLATTEN):
        return True
    return mode.cancels_opens and purpose is Purpose.OPEN


def disagreements(ledger: Mapping[str, int], broker: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """Contract → (ledger, broker) signed quantities where they differ."""
    symbols = ledger.keys() | broker.keys()
    pairs = {symbol: (ledger.get(symbol, 0), broker.get(symbol, 0)) for symbol in symbols}
    return {symbol: pair for symbol, pair in pairs.items() if pair[0] != pair[1]}
