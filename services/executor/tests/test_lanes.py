"""What a lane keeps back, and how the ledger's refusals end an intent."""

from __future__ import annotations

from decimal import Decimal

import pytest

from executor.claims import refusal_of
from executor.domain.conditions import Hold
from executor.lanes import CancelAsked, Lane, Lookup
from ledger.exposure import Refusal as Limit
from ledger.intents import ClaimRefusal
from schemas.orders import IntentState
from schemas.trade import Purpose


def test_a_lane_that_has_not_started_sends_nothing() -> None:
    lane = Lane("5WT00001")
    assert lane.holds_for(Purpose.OPEN) == lane.holds_for(Purpose.CLOSE) == (Hold.STARTING,)
    assert lane.lease_left(0.0, 10.0) == 0.0


def test_the_lease_ends_counted_from_before_it_was_asked_for() -> None:
    lane = Lane("5WT00001", epoch=3, renewed_at=100.0)
    assert lane.lease_left(104.0, 10.0) == 6.0
    assert lane.lease_left(111.0, 10.0) == -1.0


def test_a_second_sweep_keeps_opens_back_and_lets_closes_go() -> None:
    lane = Lane("5WT00001", holds=(Hold.SECOND_SWEEP,))
    assert lane.holds_for(Purpose.OPEN) == (Hold.SECOND_SWEEP,)
    assert lane.holds_for(Purpose.CLOSE) == ()


def test_a_walk_is_not_stepped_beside_an_unknown_step_or_a_cancellation() -> None:
    lane = Lane("5WT00001")
    assert lane.is_open("root", "9")
    lane.lookups["step"] = Lookup("step", "root", 0.0)
    assert not lane.is_open("root", "9")
    assert lane.is_open("another", "10")
    lane.cancels["10"] = CancelAsked("requested", 0.0, 0.0)
    assert not lane.is_open("another", "10")
    lane.cancel_roots.add("third")
    assert not lane.is_open("third", "11")


@pytest.mark.parametrize("answer", list(ClaimRefusal))
def test_every_refusal_of_the_ledger_ends_the_intent_or_is_asked_again(answer: ClaimRefusal) -> None:
    """A lost lease ends the process, a taken intent is somebody's already, a throttle passes; the others are final."""
    again = {ClaimRefusal.LEASE, ClaimRefusal.TAKEN, ClaimRefusal.THROTTLE}
    assert (refusal_of(answer).ends is None) == (answer in again)


def test_a_limit_says_its_value() -> None:
    found = refusal_of(ClaimRefusal.LIMIT, Limit("exposure_max_pct", Decimal(80), Decimal(75)))
    assert found.ends is IntentState.WITHDRAWN
    assert "exposure_max_pct 80 of 75" in found.reason
