"""The command line says clearly what is wrong and leaves nothing half-done."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tastytrades import doctor, runtime
from tastytrades.runtime import RuntimeFault
from tastytrades.supervisor import Child, Supervisor


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("TT_")} | {"COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-m", "tastytrades", *arguments],
        env=clean | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_command_without_a_running_system_says_how_to_start_one(tmp_path: Path) -> None:
    """One line, exit code 1, no traceback."""
    answer = run("orders", "--data", str(tmp_path))
    assert answer.returncode == 1
    assert "tastytrades up" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_second_system_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    """Two systems never share a ledger."""
    with runtime.exclusive(tmp_path):
        answer = run("up", "--data", str(tmp_path))
    assert answer.returncode == 1
    assert "already runs" in answer.stderr


def test_an_unknown_market_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    """The error names the value and the choices."""
    assert "model" in run("sim", "--data", str(tmp_path), "--market", "mars").stderr
    assert "no file" in run("sim", "--data", str(tmp_path), "--market", "replay:nowhere.parquet").stderr


def test_live_modes_need_a_broker(tmp_path: Path) -> None:
    """Nothing pretends to be live."""
    answer = run("up", "--data", str(tmp_path), "--auto", "--no-web", TT_MODE="live")
    assert answer.returncode == 1
    assert "sim mode only" in answer.stderr


def test_a_taken_port_is_replaced_by_a_free_one() -> None:
    """The preferred port when free, another when not, never the same twice."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        taken: set[int] = set()
        held = holder.getsockname()[1]
        first, second = runtime.choose_port(held, taken), runtime.choose_port(held, taken)
    assert len({held, first, second}) == 3


def test_a_broken_run_file_is_explained(tmp_path: Path) -> None:
    """A half-written or foreign file is not trusted."""
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(RuntimeFault, match=r"run\.json cannot be read"):
        runtime.load(tmp_path)


def test_secrets_stay_the_same_and_are_private(tmp_path: Path) -> None:
    """A second start finds the same login."""
    first = runtime.secret(tmp_path, "demo-password")
    assert first == runtime.secret(tmp_path, "demo-password") != runtime.secret(tmp_path, "local-token")
    assert (tmp_path / "secrets" / "demo-password").stat().st_mode & 0o077 == 0


def test_a_stopped_child_is_started_again_and_backs_off(tmp_path: Path) -> None:
    """kill -9 of a process brings it back; one that keeps failing is started ever more slowly."""
    told: list[str] = []
    supervisor = Supervisor(lambda name, text: told.append(f"{name} {text}"))
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    child = supervisor.add(Child("sleeper", command, dict(os.environ), tmp_path / "sleeper.log"))
    assert child.process is not None
    first = child.process.pid
    os.kill(first, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while not child.restarts and time.monotonic() < deadline:
        supervisor.tick(time.monotonic())
    assert child.running
    assert child.process.pid != first
    assert "SIGKILL" in told[0]
    supervisor.stop()
    assert not child.running


def test_doctor_reports_and_advises_without_a_system(tmp_path: Path) -> None:
    """Every finding that is not fine says what to do."""
    findings = doctor.examine(tmp_path)
    assert {"python", "packages", "disk", "disk sync", "memory"} <= {finding.check for finding in findings}
    assert all(finding.advice or "tastytrades up" in finding.text for finding in findings if finding.level != "ok")
    as_json = run("doctor", "--data", str(tmp_path), "--json")
    assert {row["check"] for row in json.loads(as_json.stdout)} >= {"python", "disk"}
