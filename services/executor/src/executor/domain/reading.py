"""How the broker's words about an order move an intent, and what a stop does to it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from schemas.account import GateMode
from schemas.orders import TERMINAL_STATES, IntentState
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

ZOMBIES = frozenset({IntentState.QUARANTINE, IntentState.DEAD, IntentState.REJECTED, IntentState.NOT_SENT})
"""Set aside or given up: an order of such an intent was not expected any more."""


def state_after(
    current: IntentState, status: str, updated_at: datetime | None, observed_at: datetime | None
) -> tuple[IntentState, bool]:
    """(where the intent stands after the broker shows a status, whether the message is older than one already read).

    An old message moves nothing unless it tells of an end. A cancellation that was asked for stays asked for until the
    order ends, and a replacement until the broker shows something newer: an order that is `Live` meanwhile is neither.
    """
    late = updated_at is not None and observed_at is not None and updated_at < observed_at
    state = STATE_OF[status]
    if state in TERMINAL_STATES:
        return state, late
    if late or current is IntentState.CANCEL_PENDING:
        return current, late
    unchanged = updated_at is not None and updated_at == observed_at
    if current is IntentState.REPLACE_PENDING and unchanged:
        return current, late
    return state, late


def must_cancel(mode: GateMode, purpose: Purpose) -> bool:
    """Whether a working order must go under this mode."""
    if mode in (GateMode.CANCEL_WORKING, GateMode.FLATTEN):
        return True
    return mode.cancels_opens and purpose is Purpose.OPEN
