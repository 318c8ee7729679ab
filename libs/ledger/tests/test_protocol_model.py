"""Every history of submit, stop, step and recovery within bounds keeps the invariants; every mutant is caught."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from testkit.protocol_model import explore
from testkit.protocol_world import MUTANTS, Bounds, Rules

SCALE = int(os.environ.get("TT_TEST_SCALE", "1"))
ONE_ORDER = Bounds(steps=False)
"""Three crashes, a lost leader, both stops, doubtful commits."""
WITH_STEP = Bounds(crashes=2, raw_stop=False, commit_doubt=False)
DEEP = (Bounds(crashes=3), Bounds(crashes=3, lost_leases=2), Bounds(executors=3, crashes=0, lost_leases=2))
DEADLOCKS = frozenset({"forget what was being sent"})
"""Mutants that only liveness shows: searched to the end, so with small bounds."""


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str]) -> Callable[[object], None]:
    """Print past the capture: the number of states is a result."""

    def show(line: object) -> None:
        with capsys.disabled():
            print(f"\n    {line}", end="")  # noqa: T201

    return show


@pytest.mark.parametrize("bounds", [ONE_ORDER, WITH_STEP, *(DEEP if SCALE > 1 else ())], ids=str)
def test_no_history_breaks_an_invariant(bounds: Bounds, shown: Callable[[object], None]) -> None:
    """I1 I2 I3 I4 I8 I9 I10 I14 I15 hold everywhere, and everything can still settle (I25)."""
    report = explore(Rules(), bounds)
    shown(report)
    assert not report.violation, str(report)
    assert report.states > 50_000


@pytest.mark.parametrize("name", MUTANTS)
def test_a_protocol_without_one_of_its_precautions_is_caught(name: str) -> None:
    """A precaution whose loss nobody notices would be no precaution."""
    bounds = Bounds(crashes=1, lost_leases=0, steps=False, raw_stop=False) if name in DEADLOCKS else Bounds()
    report = explore(MUTANTS[name], bounds)
    assert report.violation, f"the mutant '{name}' survived {report.states:,} states"
    assert report.trace


def test_a_failure_prints_its_shortest_road() -> None:
    """Breadth first: nothing shorter sends twice than claim, send, time-out, send."""
    report = explore(MUTANTS["send again after a time-out"], Bounds(crashes=0, lost_leases=0, steps=False))
    assert len(report.trace) == 7
    assert str(report).splitlines()[0].startswith("I1: 1 permits and 2 requests")
    assert report.trace[-1] == "the order is sent"
