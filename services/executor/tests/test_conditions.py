"""When nothing may be opened, when nothing may be closed, and whose word about the time counts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.domain.conditions import (
    Build,
    Facts,
    Hold,
    Limits,
    Stage,
    clock_skew,
    closing_holds,
    holds,
    strangers,
)

WELL = Facts(
    stage=Stage.READY, lease_seconds_left=9, database_seconds=0.002, bus_age=0.5, stream_age=9, broker_age=4,
    reconciliation_age=5, clock_skew=0.2,
)  # fmt: skip


def held(**changes: object) -> tuple[Hold, ...]:
    return holds(replace(WELL, **changes), Limits())  # type: ignore[arg-type]


def test_nothing_is_held_back_when_all_is_well() -> None:
    assert held() == ()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"lease_seconds_left": 3.0}, Hold.LEASE),
        ({"database_seconds": 1.1}, Hold.DATABASE),
        ({"database_seconds": float("inf")}, Hold.DATABASE),
        ({"bus_age": 5.1}, Hold.BUS),
        ({"stream_age": 20.1}, Hold.STREAM),
        ({"broker_age": 60.1}, Hold.BROKER),
        ({"reconciliation_age": 60.1}, Hold.RECONCILIATION),
        ({"clock_skew": 2.1}, Hold.CLOCK),
        ({"clock_skew": -2.1}, Hold.CLOCK),
        ({"strangers": ("risk-0 (build_id)",)}, Hold.VERSIONS),
        ({"throttled": True}, Hold.THROTTLED),
        ({"stage": Stage.STARTING}, Hold.STARTING),
        ({"stage": Stage.RECOVERING}, Hold.STREAM_RECONCILING),
        ({"stage": Stage.ADOPTED}, Hold.SECOND_SWEEP),
        ({"stage": Stage.STOPPED}, Hold.STOPPED_HERE),
    ],
)
def test_each_condition_holds_opens_back_by_itself(changes: dict[str, object], code: Hold) -> None:
    """One condition, one code, and nothing else with it."""
    assert held(**changes) == (code,)


@pytest.mark.parametrize("name", ["database_seconds", "bus_age", "stream_age", "broker_age", "reconciliation_age"])
def test_what_was_never_seen_is_a_reason(name: str) -> None:
    assert len(held(**{name: None})) == 1


def test_an_unknown_skew_is_no_reason() -> None:
    """A broker that sends no date cannot be compared with; nothing else depends on it."""
    assert held(clock_skew=None) == ()


def test_a_close_needs_lease_ledger_and_adoption_and_nothing_else() -> None:
    assert closing_holds((Hold.SECOND_SWEEP, Hold.STREAM, Hold.BUS, Hold.CLOCK, Hold.VERSIONS, Hold.BROKER)) == ()
    assert closing_holds((Hold.LEASE,)) == (Hold.LEASE,)
    assert closing_holds((Hold.STREAM_RECONCILING,)) == (Hold.STREAM_RECONCILING,)


@given(st.sets(st.sampled_from(list(Hold))))
def test_whatever_stops_a_close_stops_an_open(found: set[Hold]) -> None:
    assert set(closing_holds(tuple(found))) <= found


def test_of_several_readings_the_clock_is_as_wrong_as_the_best_says() -> None:
    """Dates have whole seconds and are cached and delayed: a single late answer is no skew."""
    assert clock_skew([0.4, 2.9, -0.6]) == 0.4
    assert clock_skew([5.0, 5.6, 6.2]) == 5.0
    assert clock_skew([]) is None


def test_processes_of_another_build_schema_or_mode_are_named() -> None:
    own = Build("executor-0", "1", "aa", "sim")
    others = [
        Build("risk-0", "1", "aa", "sim"),
        Build("risk-1", "2", "aa", "live"),
        Build("scanner-0", "1", "ab", "sim"),
    ]
    assert strangers(own, others) == ("risk-1 (build_id, mode)", "scanner-0 (schema_hash)")
