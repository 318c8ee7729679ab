"""A slice of the crash schedules, and what a bus or a cache that loses everything may change: nothing but time."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from e2e.crash import run, summary
from e2e.crash_run import Result, Run
from e2e.crash_schedule import Action, Order, Schedule, generate, points
from e2e.crash_world import World
from tastysim.faults import ErrorAfter

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SLICE = 12 * int(os.environ.get("TT_TEST_SCALE", "1"))


def test_a_seed_is_one_schedule() -> None:
    """The number that a failure prints replays it."""
    executor, relay = points("executor"), points("relay")
    assert [generate(seed, executor, relay) for seed in range(200)] == [
        generate(seed, executor, relay) for seed in range(200)
    ]
    assert len({generate(seed, executor, relay).as_json().__str__() for seed in range(1000)}) == 1000


def test_schedules_reach_every_point_and_every_fault() -> None:
    """A thousand of them leave nothing out."""
    executor, relay = points("executor"), points("relay")
    all_of = [generate(seed, executor, relay) for seed in range(1, 1001)]
    armed = {entry.split("=")[0] for each in all_of for text in each.points for entry in text.split(";")}
    assert armed == set(executor)
    assert len({fault["kind"] for each in all_of for fault in each.faults}) >= 20
    acts = {f"{action.what} {action.target}".split(":")[0] for each in all_of for action in each.actions}
    assert {"kill executor", "kill relay", "freeze nats", "freeze postgres", "wipe_nats ", "cancel "} <= acts


def test_a_slice_of_the_schedules_breaks_no_promise(tmp_path: Path) -> None:
    """No doubled order, no lost fill, no permit after a stop, no limit passed; the ledger is the broker's at rest."""
    rows = run(range(1, SLICE + 1), worlds=3, seconds=450, folder=tmp_path)
    found = summary(rows, 1.0)
    assert found["count"] + found["broken"] > 0
    assert (found["failures"], found["broken"]) == (0, 0), rows
    assert found["orders"] > 0


def plan(*actions: Action, armed: tuple[str, ...] = ("",), fills: str = "immediate") -> Schedule:
    """Two orders that fill, and what is done meanwhile."""
    orders = (Order(0.1, "-0.20", 1, closes=False), Order(1.5, "-0.20", 1, closes=False))
    return Schedule(0, True, orders, fills, 1.0, armed, (), (), actions)


async def run_in(folder: Path, *schedules: Schedule) -> list[Result]:
    world = World(folder)
    await world.open()
    try:
        return [await Run(world, schedule).go() for schedule in schedules]
    finally:
        await world.close()


def filled(result: Result) -> int:
    """Intents that rest filled."""
    return sum(count for end, count in result.ends.items() if end.split()[0] == "filled")


async def test_a_bus_that_lost_everything_loses_no_order(tmp_path: Path) -> None:
    """Streams, consumers and messages are gone in the middle of it: nothing is doubled, nothing is lost (I23)."""
    (result,) = await run_in(tmp_path, plan(Action(0.6, "wipe_nats")))
    assert result.violations == []
    assert filled(result) == 2, result.ends


async def test_a_cache_that_lost_everything_or_stands_still_changes_nothing(tmp_path: Path) -> None:
    """It may cost time, never an order (I24)."""
    flushed = plan(Action(0.05, "flush_cache"), Action(0.6, "flush_cache"))
    frozen = plan(Action(0.0, "freeze", "valkey", seconds=3.0))
    for result in await run_in(tmp_path, flushed, frozen):
        assert result.violations == []
        assert filled(result) == 2, result.ends


@pytest.mark.parametrize(
    ("mutant", "fault", "kind"),
    [
        ("sends_again", ErrorAfter(times=1).body(), "duplicate"),
        ("loses_fills", None, "lost_fill"),
        ("knows_no_limit", None, "limit_breach"),
    ],
)
async def test_an_executor_with_one_thing_wrong_is_found(
    tmp_path: Path, mutant: str, fault: dict[str, Any] | None, kind: str
) -> None:
    """What passes here would pass anywhere: each is found by the violation that it is."""
    orders = tuple(Order(0.1 + 0.3 * number, "-0.20", 2, closes=False) for number in range(3))
    schedule = replace(plan(), orders=orders, faults=(fault,) if fault else ())
    world = World(tmp_path)
    await world.open()
    try:
        result = await Run(world, schedule, mutant=mutant, patience=6.0).go()
    finally:
        await world.close()
    assert kind in {each.kind for each in result.violations}, result.violations


async def test_a_crash_at_each_line_of_the_crash_table(tmp_path: Path) -> None:
    """Before the commit, after it, before the write, after the answer, after the record, around the publishing."""
    table = (
        "executor.claim.before_commit", "executor.submit.permitted", "executor.submit.before_write",
        "executor.submit.answered", "executor.submit.recorded", "ledger.outbox.published", "ledger.outbox.before_mark",
    )  # fmt: skip
    results = await run_in(tmp_path, *(plan(armed=(f"{point}=kill",)) for point in table))
    assert [result.violations for result in results] == [[] for _ in table]
    assert [result.struck for result in results] == [[point] for point in table]
    assert all(filled(result) <= 2 for result in results)
    lost = dict(zip(table, results, strict=True))
    assert filled(lost["executor.submit.answered"]) == 2, "an order whose answer was lost is adopted, not sent again"
