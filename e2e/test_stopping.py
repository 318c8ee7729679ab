"""The drill, the file and the guardian on a whole running system."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from chassis import kill_file
from e2e.conftest import System, propose_some
from e2e.test_trading import books_agree, gate_is_shut, nothing_is_left, resume
from tastytrades.kill_watch import LISTENERS
from testkit import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def tastytrades(system: System, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tastytrades", *arguments, "--data", str(system.folder)]
    clean = {key: value for key, value in os.environ.items() if not key.startswith("TT_")} | {"COLUMNS": "200"}
    return subprocess.run(command, env=clean, capture_output=True, text=True, timeout=150, check=False)


async def working(system: System) -> None:
    """Orders are at work."""
    await resume(system)

    def something_works() -> bool:
        propose_some(system, 6)
        return bool(system.get("/orders", state="working"))

    await eventually(something_works, timeout=60, every=0.5)


async def test_a_drill_on_a_running_system_measures_is_kept_and_leaves_it_stopped(system: System) -> None:
    """The last line is JSON; nothing was sent after the stop; the history is on disk and in the API."""
    await resume(system)
    await eventually(system.ready, timeout=90, every=0.3)
    done = tastytrades(system, "drill")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    (trial,) = result["trials"]
    assert not result["own_system"]
    assert trial["working_orders"] > 0
    assert trial["sent_after_stop"] == 0
    assert trial["gate_commit_ms"] > 0
    assert set(trial["latch_ms"]) >= set(LISTENERS)
    assert trial["first_cancel_ms"] <= trial["all_cancelled_ms"] < min(trial["three_clean_sweeps_ms"].values())
    assert await gate_is_shut(system)
    assert json.loads(tastytrades(system, "drill", "--history").stdout)[-1] == result
    kept = system.get("/control/drills")[0]
    assert kept["trials"] == result["trials"]
    await books_agree(system)
    await resume(system)


async def test_the_file_stops_the_whole_system_and_a_resume_takes_it_away(system: System) -> None:
    """Touched by hand: the executor writes the gate, everything that works is cancelled."""
    await working(system)
    kill_file.path(system.folder).touch()
    await eventually(lambda: gate_is_shut(system), timeout=10, every=0.1)
    await eventually(lambda: nothing_is_left(system), timeout=20, every=0.1)
    await resume(system)
    assert not kill_file.path(system.folder).exists()
    await eventually(lambda: not any(each["killed"] for each in system.get("/system")["services"]), timeout=15)
    await books_agree(system)


async def test_a_process_that_does_not_confirm_is_killed_and_comes_back_stopped(system: System) -> None:
    """A frozen scanner: red in the record, ended by the supervisor, stopped again after its start."""
    await resume(system)
    await eventually(system.ready, timeout=90, every=0.3)
    frozen = system.refresh().processes["scanner"]
    os.kill(frozen, signal.SIGSTOP)
    try:
        command_id = system.post("/control/kill", {"why": "trial of the confirmation"})["command_id"]
        await eventually(lambda: "scanner" in system.get(f"/control/kill/{command_id}")["overdue"], timeout=10)
        await eventually(lambda: system.refresh().processes["scanner"] != frozen, timeout=30, every=0.2)
    finally:
        if system.refresh().processes["scanner"] == frozen:
            os.kill(frozen, signal.SIGCONT)

    def stopped_again() -> bool:
        found = [each for each in system.get("/system")["services"] if each["service"] == "scanner"]
        return bool(found and found[0]["ready"] and found[0]["killed"])

    await eventually(stopped_again, timeout=60, every=0.3)
    await resume(system)
    await books_agree(system)
