"""The command line says clearly what is wrong, and its scan speaks to people and to programs."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

SHARED = Path(os.environ.get("TT_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
SMALL = """session,underlying,expiration,option_type,strike,bid,ask,volume,open_interest
2026-08-21,XYZ,2026-09-18,C,100,2.00,2.10,50,500
2026-08-21,XYZ,2026-09-18,P,100,1.90,2.00,50,500
"""


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("TT_")} | {"COLUMNS": "220"}
    clean |= variables
    command = [sys.executable, "-m", "tastytrades", *arguments]
    return subprocess.run(command, env=clean, capture_output=True, text=True, timeout=100, check=False)


def test_a_missing_column_is_one_clear_line(tmp_path: Path) -> None:
    """Exit code 1, the column by name, no traceback."""
    path = tmp_path / "chains.csv"
    path.write_text(SMALL.replace("option_type", "colour"))
    answer = run("scan", "--chains", str(path))
    assert answer.returncode == 1
    assert "no column 'option_type'" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_bad_session_date_is_explained(tmp_path: Path) -> None:
    """Both a text that is no date and a day the file does not have."""
    path = tmp_path / "chains.csv"
    path.write_text(SMALL)
    assert "write it as YYYY-MM-DD" in run("scan", "--chains", str(path), "--session", "friday").stderr
    assert "no rows for session 2026-08-20" in run("scan", "--chains", str(path), "--session", "2026-08-20").stderr


def test_a_chain_too_thin_to_judge_says_so_and_gives_the_message(tmp_path: Path) -> None:
    """Nothing is invented: the underlying is named as not scanned and nothing is executed."""
    path = tmp_path / "chains.csv"
    path.write_text(SMALL)
    answer = run("scan", "--chains", str(path))
    assert answer.returncode == 0
    assert "XYZ was not scanned" in answer.stdout
    assert "Fewer than 5 trades meet criteria, do not execute." in answer.stdout


@pytest.mark.parametrize(
    "name", ["chains_yahoo_2025/us_10names_20251125_20251205.parquet", "chains_cboe_2026/MOD.parquet"]
)
def test_a_real_session_prints_the_table_and_the_same_as_json(name: str) -> None:
    """Ranked candidates, reasons counted per rule, and the machine form agree."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"recorded chains are not at {path}: set TT_SHARED_DATA")
    shown = run("scan", "--chains", str(path))
    machine = json.loads(run("scan", "--chains", str(path), "--json").stdout)
    assert "Refused, per rule" in shown.stdout
    assert machine["evaluated"] > 0
    assert set(machine["rejected_by_rule"]) <= set(machine["rule_set"])
    assert machine["message"] == "Fewer than 5 trades meet criteria, do not execute."
    assert f"{machine['passed']:,} passed" in shown.stdout
    for candidate in [*machine["candidates"], *machine["near_misses"]]:
        assert candidate["passed"] == all(rule["passed"] for rule in candidate["rules"])


def test_an_unknown_fact_is_refused_by_name(tmp_path: Path) -> None:
    """A misspelt column of the facts file is not silently missing."""
    chains, facts = tmp_path / "chains.csv", tmp_path / "facts.csv"
    chains.write_text(SMALL)
    facts.write_text("underlying,betta\nXYZ,1\n")
    assert "betta" in run("scan", "--chains", str(chains), "--facts", str(facts)).stderr


def test_sim_starts_on_a_free_port_and_prints_working_credentials(tmp_path: Path) -> None:
    """What it prints is enough to log in; a taken port is replaced."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        taken = holder.getsockname()[1]
        command = [sys.executable, "-m", "tastytrades", "sim", "--data", str(tmp_path), "--port", str(taken)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"COLUMNS": "200"})
        try:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(9)]
            found = dict(re.findall(r"(REST|client secret|refresh token) +(\S+)", "".join(lines)))
            assert found["REST"] != f"http://127.0.0.1:{taken}"
            body = {"client_secret": found["client secret"], "refresh_token": found["refresh token"]}
            deadline = time.monotonic() + 30
            while True:
                try:
                    answer = httpx.post(f"{found['REST']}/oauth/token", json=body, trust_env=False)
                    break
                except httpx.HTTPError:
                    assert time.monotonic() < deadline
            assert answer.json()["expires_in"] == 900
        finally:
            process.terminate()
            process.wait(10)


def test_sim_reads_a_scenario_before_it_starts(tmp_path: Path) -> None:
    """One line names the file, the line and the field, or the scenarios there are; nothing is started."""
    file = tmp_path / "mine.toml"
    file.write_text('[[fault]]\nkind = "drop_frames"\ncolour = 1\n')
    bad = run("sim", "--data", str(tmp_path), "--scenario", str(file))
    assert bad.returncode == 1
    assert "mine.toml, line 3" in bad.stderr
    assert "colour is 1" in bad.stderr
    missing = run("sim", "--data", str(tmp_path), "--scenario", "good-day")
    assert missing.returncode == 1
    assert "bad-day" in missing.stderr


def test_doctor_starts_every_server_and_advises(tmp_path: Path) -> None:
    """Each finding that is not fine says what to do; the throw-away folder is gone afterwards."""
    answer = run("doctor", "--data", str(tmp_path), "--json")
    findings = {row["check"]: row for row in json.loads(answer.stdout)}
    assert {"python", "packages", "disk", "disk sync", "memory", "nats", "postgres", "valkey"} <= set(findings)
    assert all(row["advice"] for row in findings.values() if row["level"] != "ok")
    assert answer.returncode == int(any(row["level"] == "error" for row in findings.values()))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("TT_RISK_STATE_SECOND", "1", "did you mean TT_RISK_STATE_SECONDS?"),
        ("TT_APPROVAL_SECONDS", "7", "TT_RISK_APPROVAL_SECONDS"),
        ("TT_SCANNER_SCAN_INTERVAL_SECONDS", "soon", "TT_SCANNER_SCAN_INTERVAL_SECONDS is 'soon'"),
        ("TT_MODE", "lve", "'sim', 'paper', 'cert' or 'live'"),
        ("TT_TASTYSIM_SPEED", "0", "TT_TASTYSIM_SPEED is '0'"),
    ],
)
def test_up_refuses_a_wrong_variable_before_anything_starts(tmp_path: Path, name: str, value: str, says: str) -> None:
    """One line that names it; no server has started and nothing was written."""
    answer = run("up", "--data", str(tmp_path), **{name: value})
    assert answer.returncode == 1
    assert says in answer.stderr
    assert "Traceback" not in answer.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_up_refuses_a_recording_that_is_not_there(tmp_path: Path) -> None:
    """Before anything starts, with the full path."""
    answer = run("up", "--data", str(tmp_path / "data"), "--market", f"replay:{tmp_path}/gone.parquet")
    assert answer.returncode == 1
    assert f"there is no file {tmp_path}/gone.parquet" in answer.stderr


def test_rule_sets_are_listed_printed_and_checked(tmp_path: Path) -> None:
    """What is printed can be checked, changed and used; a wrong line is named."""
    assert {"default", "covered_call", "wheel", "strangle", "debit"} <= set(run("rules").stdout.split())
    mine = tmp_path / "mine.toml"
    mine.write_text(run("rules", "default").stdout)
    assert "can be used" in run("rules", "--check", str(mine)).stdout
    mine.write_text("pop_min = 7\n")
    refused = run("rules", "--check", str(mine))
    assert refused.returncode == 1
    assert "line 1: pop_min = 7 is refused: allowed is 0 to 1" in refused.stderr
    chains = tmp_path / "chains.csv"
    chains.write_text(SMALL)
    assert "line 1: pop_min = 7" in run("scan", "--chains", str(chains), "--rules", str(mine)).stderr
