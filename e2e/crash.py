"""Seeded crash schedules: `python -m e2e.crash --count 1000 --seed0 1`. The last line of its output is JSON.

Each schedule kills, stalls, cuts and lies by its seed, heals, waits until nothing moves, and compares the ledger with
the simulator's history. A failure prints its seed and the command that replays it; the exit code is then 1.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

from e2e.crash_run import Result, Run
from e2e.crash_schedule import generate, points
from e2e.crash_world import World

WORLDS = 6
"""Schedules that run side by side: they wait more than they reckon."""
SCHEDULE_SECONDS = 300.0
WORLD_SCHEDULES = 60
"""Then a world is made anew: its history is read from the start each time."""
KINDS = ("duplicate", "lost_fill", "permit_after_kill", "limit_breach", "mismatch", "unrest")


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


async def run_all(seeds: Sequence[int], folder: Path, done: Queue[Any], stop_at: float, *, keep: bool) -> None:
    """Run schedules one after the other; a world in which one failed or that is old is replaced."""
    executor_points, relay_points = points("executor"), points("relay")
    world, used = None, 0
    for number, seed in enumerate(seeds):
        if time.monotonic() > stop_at:
            break
        if world is None:
            world, used = World(folder / f"world-{os.getpid()}-{number}"), 0
            await world.open()
        try:
            async with asyncio.timeout(SCHEDULE_SECONDS):
                result: Result | str = await Run(world, generate(seed, executor_points, relay_points)).go()
        except Exception as error:  # the edge: a harness that fails must say so, and not end the others
            result = f"{type(error).__name__}: {error}"
        used += 1
        log = folder / f"seed-{seed}.log"
        if isinstance(result, Result):
            if result.violations or keep:
                log.write_text(result.log)
            row = asdict(result) | {"log": str(log)}
            row["violations"] = [asdict(each) for each in result.violations]
        else:
            row = {"seed": seed, "broken": result}
        done.put(row)
        if not isinstance(result, Result) or result.violations or used >= WORLD_SCHEDULES:
            await world.close()
            world = None
    if world is not None:
        await world.close()
    done.put(None)


def _work(seeds: Sequence[int], folder: str, done: Queue[Any], stop_at: float, keep: bool) -> None:
    import logging

    logging.getLogger("nats").setLevel(logging.CRITICAL)
    asyncio.run(run_all(seeds, Path(folder), done, stop_at, keep=keep))


def run(seeds: Sequence[int], *, worlds: int, seconds: float, folder: Path, keep: bool = False) -> list[dict[str, Any]]:
    """Run schedules in several worlds; returns a row for each that was run, in the order in which they ended."""
    context = multiprocessing.get_context("spawn")
    done: Queue[Any] = context.Queue()
    stop_at = time.monotonic() + seconds
    shares = [share for share in (seeds[each::worlds] for each in range(worlds)) if share]
    workers = [
        context.Process(target=_work, args=(share, str(folder), done, stop_at, keep), daemon=True) for share in shares
    ]
    for worker in workers:
        worker.start()
    rows, left = [], len(workers)
    while left:
        try:
            row = done.get(timeout=5)
        except Exception:  # multiprocessing raises queue.Empty: a worker may have died without a word
            if not any(worker.is_alive() for worker in workers):
                break
            continue
        if row is None:
            left -= 1
            continue
        rows.append(row)
        _tell(row)
    for worker in workers:
        worker.join(30)
    return rows


def _tell(row: dict[str, Any]) -> None:
    problems = [f"{each['kind']} ({each['invariant']}): {each['detail']}" for each in row.get("violations", ())]
    if "broken" in row:
        problems = [f"the trial itself failed: {row['broken']}"]
    if problems:
        say(f"seed {row['seed']} FAILED\n  " + "\n  ".join(problems))
        say(f"  replay: make crash COUNT=1 SEED0={row['seed']}   log: {row.get('log', '-')}")


def summary(rows: Iterable[dict[str, Any]], seconds: float) -> dict[str, Any]:
    """What is promised of these schedules, in figures. bound_95: failures a schedule that are not excluded, 95 %."""
    rows = list(rows)
    broken = [row for row in rows if "broken" in row]
    ran = [row for row in rows if "broken" not in row]
    kinds = Counter(kind for row in ran for kind in {each["kind"] for each in row["violations"]})
    failures = sum(bool(row["violations"]) for row in ran)
    recoveries = sorted(each for row in ran for each in row["recoveries"])
    struck = Counter(point for row in ran for point in row["struck"])
    found: dict[str, Any] = {
        "count": len(ran), "seeds": _range([row["seed"] for row in ran]), "failures": failures, "broken": len(broken),
        "duplicates": kinds["duplicate"], "lost_fills": kinds["lost_fill"],
        "permits_after_kill": kinds["permit_after_kill"], "limit_breaches": kinds["limit_breach"],
        "mismatches": kinds["mismatch"], "not_at_rest": kinds["unrest"],
        "failed_seeds": [row["seed"] for row in ran if row["violations"]],
        "orders": sum(row["submitted"] for row in ran), "permits": sum(row["permits"] for row in ran),
        "stops": sum(row["stopped"] for row in ran), "restarts": sum(row["restarts"] for row in ran),
        "failpoints_struck": len(struck), "strikes": sum(struck.values()), "seconds": round(seconds, 1),
        "seconds_per_schedule": round(seconds / max(1, len(ran)), 2),
        "bound_95": round(3 / len(ran), 5) if ran and not failures and not broken else None,
    }  # fmt: skip
    ends: Counter[str] = Counter()
    for row in ran:
        ends.update(row["ends"])
    found["ends"] = dict(ends.most_common())
    if recoveries:
        found["recovery_seconds"] = {
            "count": len(recoveries), "p50": round(statistics.median(recoveries), 2),
            "p99": round(recoveries[min(len(recoveries) - 1, int(0.99 * len(recoveries)))], 2),
            "max": round(recoveries[-1], 2),
        }  # fmt: skip
    return found


def _range(seeds: Sequence[int]) -> str:
    return f"{min(seeds)}..{max(seeds)}" if seeds else ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line. 0: no violation; 1: violations; 2: a trial could not be made."""
    parser = argparse.ArgumentParser(prog="python -m e2e.crash", description="Seeded crash schedules of the order path")
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--seed0", type=int, default=1)
    parser.add_argument("--worlds", type=int, default=WORLDS)
    parser.add_argument("--seconds", type=float, default=7200.0, help="begin no schedule after so long")
    parser.add_argument("--keep", action="store_true", help="keep the logs of schedules that passed too")
    parser.add_argument("--plan", action="store_true", help="print the schedules and run nothing")
    given = parser.parse_args(arguments)
    seeds = range(given.seed0, given.seed0 + given.count)
    if given.plan:
        for seed in seeds:
            say(json.dumps(generate(seed, points("executor"), points("relay")).as_json()))
        return 0
    folder = Path(tempfile.mkdtemp(prefix="tt-crash-"))
    folder.chmod(0o755)
    began = time.monotonic()
    worlds = max(1, min(given.worlds, given.count))
    rows = run(seeds, worlds=worlds, seconds=given.seconds, folder=folder, keep=given.keep)
    found = summary(rows, time.monotonic() - began)
    if found["failures"] or found["broken"] or given.keep:
        say(f"logs: {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    say(json.dumps(found))
    return 1 if found["failures"] else 2 if found["broken"] or not found["count"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
