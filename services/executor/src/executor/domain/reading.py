"""How the broker's words about an order move an intent, and what a stop does to it."""

from __future__ import annotations

from collections.abc import Mapping

from schemas.account import GateMode
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

ZOMBIES = frozenset({IntentState.QUARANTINE, IntentState.DEAD, IntentState.REJECTED, IntentState.NOT_SENT})
"""Set aside or given up: an order of such an intent was not expected any more."""


def must_cancel(mode: GateMode, purpose: Purpose) -> bool:
    """Whether a working order must go under this mode."""
    if mode in (GateMode.CANCEL_WORKING, GateMode.FLATTEN):
        return True
    return mode.cancels_opens and purpose is Purpose.OPEN
