"""Who must confirm a stop, when somebody is overdue, and what the supervisor does about it."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import pytest

from chassis import kill_file
from schemas.account import GateMode, KillScope
from tastytrades import drill, killing, runtime
from tastytrades.kill_watch import ACK_SECONDS, LISTENERS, Confirmations
from tastytrades.runtime import RuntimeFault
from tastytrades.supervisor import Child, Supervisor


def beating(now: float = 0.0) -> Confirmations:
    """Everybody was heard just now."""
    made = Confirmations()
    for service in (*LISTENERS, "analyzer"):
        made.on_heartbeat(service, now)
    return made


def test_a_process_that_does_not_confirm_within_a_second_is_overdue_once() -> None:
    """It must be heard again before it is expected again: while it starts it is left alone."""
    watch = beating()
    watch.on_kill("c-1", 0.1)
    for service in set(LISTENERS) - {"risk"}:
        watch.on_ack(service, "c-1")
    watch.tick(ACK_SECONDS)
    assert watch.take_overdue() == set()
    watch.tick(0.1)
    assert watch.take_overdue() == {"risk"}
    assert watch.take_overdue() == set()
    watch.on_kill("c-2", 2.0)
    for service in set(LISTENERS) - {"risk"}:
        watch.on_ack(service, "c-2")
    watch.tick(ACK_SECONDS + 0.1)
    assert watch.take_overdue() == set()


def test_copies_of_a_stop_are_one_stop_and_a_confirmation_of_another_does_not_count() -> None:
    """A stop is broadcast five times; one without an id is told apart by time."""
    watch = beating()
    for command_id in ("c-1", ""):
        for copy in range(5):
            watch.on_kill(command_id, 0.1 + copy * 0.2)
    assert len(watch.waiting) == 2
    for service in LISTENERS:
        watch.on_ack(service, "c-1")
    watch.tick(ACK_SECONDS + 0.1)
    assert watch.take_overdue() == set(LISTENERS)
    watch = beating(10.0)
    watch.on_kill("", 10.0)
    watch.on_kill("", 20.0)
    assert len(watch.waiting) == 2


def test_who_was_not_heard_lately_is_not_expected() -> None:
    """It is starting, or it is gone; either way it starts stopped."""
    watch = beating()
    watch.on_kill("c-1", 60.0)
    watch.tick(ACK_SECONDS + 0.1)
    assert watch.take_overdue() == set()


def test_a_late_confirmation_counts_as_long_as_nobody_acted() -> None:
    watch = beating()
    watch.on_kill("c-1", 0.0)
    watch.tick(ACK_SECONDS + 0.1)
    for service in LISTENERS:
        watch.on_ack(service, "c-1")
    assert watch.take_overdue() == set()


def test_the_supervisor_kills_what_does_not_confirm_and_starts_it_again(tmp_path: Path) -> None:
    """Even a process that ignores SIGTERM."""
    said: list[tuple[str, str]] = []
    supervisor = Supervisor(lambda name, text: said.append((name, text)))
    program = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    child = supervisor.add(Child("risk", [sys.executable, "-c", program], {}, tmp_path / "risk.log"))
    assert child.process is not None
    first = child.process.pid
    supervisor.end("risk", "did not confirm a stop within a second")
    assert child.process.returncode == -signal.SIGKILL
    supervisor.tick(time.monotonic())
    supervisor.tick(time.monotonic() + 60)
    assert child.running
    assert child.process.pid != first
    assert said[0] == ("risk", "did not confirm a stop within a second: killed")
    supervisor.end("risk", "the test is over")


def test_the_command_line_stops_by_the_file_when_nothing_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No gateway, no guardian, no bus: the file is written with what was asked for, and the text says so."""
    from rich.console import Console

    killing.kill(tmp_path, "underlying", "SPY", "reduce_only", "trial", Console(width=300))
    held = kill_file.read(tmp_path)
    assert held is not None
    assert (held.scope, held.scope_value, held.mode, held.why) == (
        KillScope.UNDERLYING, "SPY", GateMode.REDUCE_ONLY, "trial",
    )  # fmt: skip
    assert "stopped by the file" in capsys.readouterr().out


def test_a_drill_never_runs_where_money_is_real(tmp_path: Path) -> None:
    """Nor does it take down the servers of a system that somebody uses."""
    import os

    state = {"url": "http://127.0.0.1:1", "nats_url": "nats://127.0.0.1:1", "data_dir": str(tmp_path)}
    for mode, down, word in (("live", [], "mode live"), ("sim", ["nats"], "--own"), ("sim", ["moon"], "moon")):
        runtime.RunState(mode=mode, pid=os.getpid(), **state).save()
        with pytest.raises(RuntimeFault, match=word):
            drill.drill(tmp_path, down, False, lambda _: None)
    assert drill.history(tmp_path) == []


def test_a_trial_says_which_targets_it_missed() -> None:
    """What did not happen is missed too; with the database away no commit is expected."""
    good = dict.fromkeys(LISTENERS, 20.0)
    trial = drill.Trial("none", 3, 30.0, good, 100.0, 900.0, {"guardian": 6100.0})
    trial.judge()
    assert trial.missed == []
    trial = drill.Trial("postgres", 3, None, good, 100.0, 900.0, {"guardian": 6100.0})
    trial.judge()
    assert trial.missed == []
    trial = drill.Trial("none", 3, None, good | {"risk": 1500.0}, 700.0, None, {}, 1)
    trial.judge()
    assert trial.missed == [
        "first_cancel_ms", "all_cancelled_ms", "three_clean_sweeps_ms", "gate_commit_ms", "latch_ms of risk",
        "sent_after_stop",
    ]  # fmt: skip
