"""Failpoints: what arms them, what they do, and that every one of them is named once."""

from __future__ import annotations

import ast
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from chassis import failpoints
from chassis.failpoints import FailpointError, failpoint
from chassis.settings import Mode, SettingsError

ROOT = Path(__file__).parents[3]
LEAST = 60


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    failpoints.arm(Mode.SIM, {})


def names() -> list[str]:
    """Every failpoint of the sources, in the words of the call."""
    found = []
    for path in sorted([*ROOT.glob("libs/*/src/**/*.py"), *ROOT.glob("services/*/src/**/*.py")]):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "failpoint":
                assert len(node.args) == 1, f"{path}:{node.lineno}"
                assert isinstance(node.args[0], ast.Constant), f"{path}:{node.lineno}: the name is no literal"
                found.append(str(node.args[0].value))
    return found


def test_every_failpoint_has_a_name_of_its_own() -> None:
    """A schedule that names a point means one place."""
    counts = Counter(names())
    assert not [name for name, count in counts.items() if count > 1]
    assert all(failpoints.parse(f"{name}=kill") for name in counts)
    assert len(counts) >= LEAST


def test_the_order_path_is_covered_step_by_step() -> None:
    """Each line of the crash table has its points: claim, permit, write, answer, record, publish, mark, recover."""
    steps = {name.rsplit(".", 1)[0] for name in names()}
    assert steps >= {
        "executor.submit", "executor.claim", "executor.observe", "executor.cancel", "executor.lookup", "executor.step",
        "executor.recovery", "executor.sweep", "executor.stop", "ledger.outbox", "ledger.claim", "ledger.gate",
        "ledger.fill", "ledger.journal", "chassis.publish", "chassis.handle",
    }  # fmt: skip


def test_nothing_strikes_that_is_not_armed() -> None:
    """Another point, and another passage of the armed one, go on."""
    failpoints.arm(Mode.SIM, {"TT_FAILPOINTS": "trial.here=raise@2"})
    failpoint("trial.there")
    failpoint("trial.here")
    with pytest.raises(FailpointError, match=r"trial\.here"):
        failpoint("trial.here")
    failpoint("trial.here")


def test_an_unarmed_point_costs_next_to_nothing() -> None:
    """The order path pays a comparison for it: below two microseconds of processor time."""
    began = time.process_time()
    for _ in range(100_000):
        failpoint("trial.here")
    assert (time.process_time() - began) / 100_000 < 2e-6


def test_a_delay_holds_the_whole_process() -> None:
    """As a pause of the machine would."""
    failpoints.arm(Mode.SIM, {"TT_FAILPOINTS": "trial.here=delay:0.05"})
    began = time.monotonic()
    failpoint("trial.here")
    assert time.monotonic() - began >= 0.05


def test_kill_ends_the_process_at_the_point() -> None:
    """SIGKILL: nothing after it runs, not even a finally."""
    code = (
        "from chassis import failpoints\nfrom chassis.settings import Mode\nfailpoints.arm(Mode.SIM)\n"
        "try:\n    failpoints.failpoint('trial.here')\nfinally:\n    print('released')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={"TT_FAILPOINTS": "trial.here=kill"}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (-9, "")
    assert '"event":"failpoint.struck","point":"trial.here"' in done.stderr


@pytest.mark.parametrize("mode", [Mode.LIVE, Mode.CERT, Mode.PAPER])
def test_it_is_refused_outside_the_simulation(mode: Mode) -> None:
    """A variable that was left behind must not end a process that trades."""
    with pytest.raises(SettingsError, match="TT_FAILPOINTS is set and TT_MODE is"):
        failpoints.arm(mode, {"TT_FAILPOINTS": "trial.here=kill"})
    failpoints.arm(mode, {})


@pytest.mark.parametrize(
    "text", ["here=kill", "trial.here", "trial.here=explode", "trial.here=kill@0", "trial.here=delay:61", "a.b=delay"]
)
def test_a_typing_error_is_named(text: str) -> None:
    """An entry that arms nothing would make a trial that tries nothing."""
    with pytest.raises(SettingsError, match="TT_FAILPOINTS has"):
        failpoints.arm(Mode.SIM, {"TT_FAILPOINTS": text})
