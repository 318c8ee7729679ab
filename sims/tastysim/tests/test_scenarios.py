"""Faults as values, which of them strikes when, and timelines of them: files, the packaged ones, and their errors."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.embedded import free_port
from tastyclient import TastyClient, ThrottledError
from tastysim.faults import KINDS, AnyFault, DropFrames, HoldRequest, Occasion, Throttle, read_fault
from tastysim.faults_installed import Faults
from tastysim.scenario import ScenarioError, Scenarios, load, packaged, parse
from testkit import eventually

NOON = datetime(2026, 11, 24, 17, 0, tzinfo=UTC)


class FaultsOf(Protocol):
    """The fixture `faults` of conftest."""

    http: httpx.Client

    def told(self, account: str, *what: str) -> list[str]: ...


@dataclass
class Rig:
    """Faults on clocks that a test moves."""

    market: datetime = NOON
    wall: datetime = NOON
    events: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.faults = Faults(lambda: self.market, self.events.extend, lambda: self.wall)

    def strikes(self, kind: type[AnyFault], count: int, **about: str) -> list[bool]:
        """Whether each of so many occasions is struck."""
        return [self.faults.strike(kind, Occasion(**about)) is not None for _ in range(count)]


def test_a_fault_lets_pass_strikes_and_is_spent() -> None:
    """`skip` first, then `times`, then never again; seen and struck are counted, and every strike is an event."""
    rig = Rig()
    found = rig.faults.install(DropFrames(skip=2, times=3))
    assert rig.strikes(DropFrames, 7) == [False, False, True, True, True, False, False]
    assert (found.seen, found.struck) == (5, 3)
    rig.faults.flush()
    assert [each.get("strike") for each in rig.events if each["what"] == "fault"] == [1, 2, 3]


def test_a_fault_strikes_between_its_times_of_its_clock() -> None:
    """Seconds count from the installation, date-times are themselves; the end is not part of it."""
    rig = Rig()
    rig.faults.install(DropFrames(begins=10, ends=NOON + timedelta(seconds=20), clock="market"))
    rig.faults.install(HoldRequest(seconds=0, begins=5, clock="wall", method="*", path="*"))
    found = []
    for second in (0, 9, 10, 19, 20):
        rig.market = NOON + timedelta(seconds=second)
        found += rig.strikes(DropFrames, 1)
    assert found == [False, False, True, True, False]
    assert rig.strikes(HoldRequest, 1) == [False]
    rig.wall += timedelta(seconds=5)
    assert rig.strikes(HoldRequest, 1) == [True]


@given(st.integers(0, 2**31), st.floats(0.05, 0.95))
def test_chance_comes_from_the_seed(seed: int, probability: float) -> None:
    """The same seed strikes the same occasions, whatever other faults there are."""
    first, second = Rig(), Rig()
    fault = DropFrames(probability=probability, seed=seed)
    first.faults.install(fault)
    second.faults.install(Throttle(probability=0.5))
    second.faults.install(fault)
    found = []
    for _ in range(50):
        second.strikes(Throttle, 1)
        found += second.strikes(DropFrames, 1)
    assert first.strikes(DropFrames, 50) == found


@pytest.mark.parametrize(
    ("fault", "about", "struck"),
    [
        (Throttle(), {"method": "GET", "path": "/x"}, True),
        (HoldRequest(seconds=1), {"method": "POST", "path": "/accounts/5W/orders"}, True),
        (HoldRequest(seconds=1), {"method": "POST", "path": "/accounts/5W/orders/dry-run"}, False),
        (HoldRequest(seconds=1), {"method": "POST", "path": "/accounts/5W/complex-orders"}, False),
        (
            HoldRequest(seconds=1, account="5W"),
            {"method": "POST", "path": "/accounts/6W/orders", "account": "6W"},
            False,
        ),
        (
            HoldRequest(seconds=1, method="*", path="*/live"),
            {"method": "GET", "path": "/accounts/5W/orders/live"},
            True,
        ),
        (DropFrames(stream="dxlink"), {"stream": "account"}, False),
        (DropFrames(frames=("Order",)), {"stream": "account", "frame": "Order"}, True),
        (DropFrames(frames=("Order",)), {"stream": "account", "frame": "heartbeat"}, False),
        (DropFrames(statuses=("Filled",)), {"stream": "account", "frame": "Order", "status": "Live"}, False),
        (DropFrames(account="5W"), {"stream": "account", "frame": "heartbeat"}, False),
    ],
)
def test_a_fault_strikes_what_it_is_about(fault: AnyFault, about: dict[str, str], struck: bool) -> None:
    """Method and path, account, stream, type and status; patterns match the whole path."""
    rig = Rig()
    rig.faults.install(fault)
    assert rig.strikes(type(fault), 1, **about) == [struck]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_survives_its_own_json(kind: str) -> None:
    """What a builder posts is what the simulator reads; every kind says what it is."""
    needed = (
        {"seconds": 1.5}
        if KINDS[kind].model_fields.get("seconds", DropFrames.model_fields["account"]).is_required()
        else {}
    )
    more = {"bytes_per_second": 100.0} if kind == "slow_stream" else {}
    fault = read_fault({"kind": kind, "name": "n", "times": 2, **needed, **more})
    assert read_fault(fault.body()) == fault
    assert KINDS[kind].__doc__


def test_the_documentation_names_every_kind_and_field() -> None:
    """And its example is a scenario."""
    text = (Path(__file__).parents[3] / "docs" / "simulator-faults.md").read_text()
    named = set(re.findall(r"`([a-z_]+)`", text))
    assert set(KINDS) <= named
    assert {name for kind in KINDS.values() for name in kind.model_fields} - {"kind"} <= named
    assert len(parse(text.split("```toml")[1].split("```")[0], "example").entries) == 3


def test_times_without_zone_are_utc() -> None:
    """In JSON and in TOML."""
    text = '[[fault]]\nkind = "drop_frames"\nbegins = 2026-11-24T17:00:00\nends = "2026-11-24T17:00:10"'
    fault = parse(text, "x").entries[0].fault
    assert fault is not None
    assert (fault.begins, fault.ends) == (NOON, NOON + timedelta(seconds=10))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[fault]\n", ("bad.toml", "line 1")),
        ("[[fault]]\n\nkind = 'fire'\n", ("line 3", "[[fault]] 1", "kind is 'fire'", "drop_frames")),
        ("[[fault]]\nkind = 'drop_frames'\n[[fault]]\nkind = 'hold_request'\n\nseconds = 'x'\n",
         ("line 6", "[[fault]] 2", "seconds is 'x'")),
        ("[[fault]]\nkind = 'drop_frames'\n  colour = 1\n", ("line 3", "colour is 1", "allowed are account")),
        ("[[fault]]\nkind = 'drop_frames'\nat = -1\n", ("line 3", "at is -1", "market seconds")),
        ("[[fault]]\nat = true\nkind = 'drop_frames'\n", ("line 2", "at is True")),
        ("[[fault]]\n# nothing\n", ("line 1", "kind is None")),
        ("about = 'x'\nfaults = []\n", ("line 2", "faults is not known", "about, fault, remove")),
        ("[fault]\nkind = 'x'\n", ("line 1", "write [[fault]]")),
        ("[[fault]]\nkind = 'drop_frames'\n[[remove]]\nname = 'a'\n", ("'a'", "no [[fault]] has")),
        ("[[fault]]\nkind = 'drop_frames'\n[[remove]]\nat = 1\nnmae = 'a'\n", ("line 5", "nmae is 'a'")),
        ("about = 'nothing happens'\n", ("no [[fault]]",)),
    ],
)  # fmt: skip
def test_a_scenario_that_cannot_be_read_says_where(text: str, words: tuple[str, ...]) -> None:
    """File, line, table, field, value and what is allowed."""
    with pytest.raises(ScenarioError) as raised:
        parse(text, "bad.toml")
    assert all(word in str(raised.value) for word in words), str(raised.value)


def test_a_scenario_that_is_not_there_names_those_that_are() -> None:
    """The packaged ones can be read, say what they are for, and are found by name."""
    assert set(packaged()) >= {"bad-day", "feed", "order-path"}
    for name, text in packaged().items():
        assert parse(text, name).about
        assert load(name) == parse(text, name)
    with pytest.raises(ScenarioError, match=r"nowhere\.toml is not a file .* bad-day, feed, order-path"):
        load("nowhere.toml")


def test_a_scenario_follows_the_markets_time() -> None:
    """Faults begin and are removed when their time has come; a run that is stopped takes its faults along."""
    rig = Rig()
    scenarios = Scenarios(rig.faults, lambda: rig.market)
    text = """
        [[fault]]
        at = 10
        kind = "drop_frames"
        name = "lost"
        [[fault]]
        kind = "throttle"
        [[remove]]
        at = 20.5
        name = "lost"
    """
    run = scenarios.start(parse(text, "day.toml"))
    other = scenarios.start(parse(text, "day.toml"))
    assert (run, other) == ("day", "day-2")
    assert scenarios.stop(other)
    found = {}
    for second in (0, 9.9, 10, 20.4, 20.5):
        rig.market = NOON + timedelta(seconds=second)
        scenarios.step()
        found[second] = sorted(rig.faults.installed)
    first = ["day.throttle-1"]
    assert found == {0: first, 9.9: first, 10: ["day.lost", *first], 20.4: ["day.lost", *first], 20.5: first}
    assert not scenarios.is_busy
    assert scenarios.stop("day")
    assert (rig.faults.installed, scenarios.stop("day")) == ({}, False)


async def test_a_scenario_is_started_listed_and_stopped(faults: FaultsOf, client: TastyClient, account: str) -> None:
    """A posted file strikes at once and later; what it does is in the history; errors are the broker's envelope."""
    text = f"""
        about = "refuse once, then a foreign order"
        [[fault]]
        kind = "throttle"
        account = "{account}"
        times = 1
        [[fault]]
        at = 0.2
        kind = "foreign_order"
        account = "{account}"
    """
    answer = faults.http.post("/sim/scenarios", content=text, headers={"content-type": "application/toml"})
    assert (answer.status_code, answer.json()["run"], answer.json()["faults"]) == (201, "posted", 2)
    with pytest.raises(ThrottledError):
        await client.balance(account)
    await eventually(lambda: faults.told(account, "submitted"))
    listed = faults.http.get("/sim/scenarios").json()
    assert {each["name"] for each in listed["packaged"]} >= {"bad-day", "feed", "order-path"}
    assert [(each["run"], each["left"]) for each in listed["running"]] == [("posted", 0)]
    assert faults.told(account, "fault", "submitted") == ["fault", "fault", "submitted"]
    assert faults.http.delete("/sim/scenarios/posted").status_code == 200
    assert faults.http.get("/sim/faults").json() == []
    assert faults.http.delete("/sim/scenarios/posted").status_code == 404
    bad = faults.http.post("/sim/scenarios", content="[[fault]]\nkind = 1", headers={"content-type": "text/plain"})
    assert (bad.status_code, "line 2" in bad.json()["error"]["message"]) == (400, True)
    unknown = faults.http.post("/sim/scenarios", json={"name": "good-day"})
    assert "bad-day" in unknown.json()["error"]["message"]


def _start(tmp_path: Path, **settings: str) -> tuple[subprocess.Popen[bytes], str]:
    port = free_port()
    clean = {key: value for key, value in os.environ.items() if not key.startswith("TT_")}
    own = {"TT_TASTYSIM_PORT": str(port), "TT_TASTYSIM_DATA_DIR": str(tmp_path / "sim"), **settings}
    process = subprocess.Popen([sys.executable, "-m", "tastysim"], env=clean | own, stderr=subprocess.PIPE)
    return process, f"http://127.0.0.1:{port}"


def test_a_simulator_starts_with_a_scenario_and_a_rate(tmp_path: Path) -> None:
    """`TT_TASTYSIM_SCENARIO` begins with the market; `TT_TASTYSIM_REQUESTS_PER_SECOND` holds every token to a rate."""
    file = tmp_path / "mine.toml"
    file.write_text('[[fault]]\nkind = "wipe_account"\n[[fault]]\nat = 1000\nkind = "drop_frames"\n')
    process, url = _start(tmp_path, TT_TASTYSIM_SCENARIO=str(file), TT_TASTYSIM_REQUESTS_PER_SECOND="4")
    try:
        with httpx.Client(base_url=url, trust_env=False, verify=False, headers={"User-Agent": "test/1"}) as http:
            deadline, wiped = time.monotonic() + 60, False
            while not wiped and time.monotonic() < deadline:
                with suppress(httpx.HTTPError):
                    wiped = "wiped" in [row["what"] for row in http.get("/sim/history").json()]
            assert wiped
            assert [each["run"] for each in http.get("/sim/scenarios").json()["running"]] == ["mine"]
            assert [each["name"] for each in http.get("/sim/faults").json()] == ["rate-limit", "mine.wipe_account-1"]
            statuses = [http.get("/customers/me").status_code for _ in range(12)]
            assert statuses[:8] == [401] * 8  # no token, but within the rate
            assert 429 in statuses[8:]
            assert http.get("/sim/health").is_success
    finally:
        process.terminate()
        process.communicate(timeout=10)


def test_a_simulator_does_not_start_with_a_scenario_it_cannot_read(tmp_path: Path) -> None:
    """One line names the variable, the file, the line and the field."""
    file = tmp_path / "bad.toml"
    file.write_text('[[fault]]\nkind = "drop_frames"\nstream = "news"\n')
    process, _ = _start(tmp_path, TT_TASTYSIM_SCENARIO=str(file))
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    expected = (
        "TT_TASTYSIM_SCENARIO: bad.toml, line 3, [[fault]] 1: stream is 'news': Input should be 'account' or 'dxlink'"
    )
    assert errors.decode().strip() == expected
