"""What the answer to a request with an effect proves (the outcome table)."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.orders import IntentState

THROTTLED, UNAUTHORIZED = 429, 401
THROTTLE_CIRCUIT_SECONDS = 60.0
"""Nothing is sent for so long after the broker refused to take more."""
RETRY_ATTEMPTS_MAX = 3


@dataclass(frozen=True, slots=True)
class Verdict:
    """Where a failed send leaves its intent."""

    state: IntentState
    retry: bool
    """Proved not accepted for a reason that passes by itself: a new intent may try again."""
    throttled: bool = False
    """Looked up twice before it counts as refused; then nothing is sent for a while."""


def verdict(outcome: str, status: int | None) -> Verdict:
    """Judge the client's outcome (`rejected`, `unknown`, `not_sent`) with the HTTP status, None without an answer.

    Only a connection that failed before the first byte and a refusal in the broker's own words prove anything. A token
    that ended on the way is such a refusal and says nothing against the order. 429 comes from whatever stands before
    the broker: it may not have stopped the order.
    """
    if status == THROTTLED:
        return Verdict(IntentState.UNKNOWN, retry=False, throttled=True)
    if outcome == "not_sent":
        return Verdict(IntentState.NOT_SENT, retry=True)
    if outcome == "rejected":
        return Verdict(IntentState.REJECTED, retry=status == UNAUTHORIZED)
    return Verdict(IntentState.UNKNOWN, retry=False)
