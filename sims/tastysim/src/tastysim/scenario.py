"""A timeline of faults in a TOML file: what goes wrong when, in market seconds since it was started.

about = "what it is for"

[[fault]]
at = 30.0               # market seconds after the start; 0 when not given
kind = "drop_frames"    # and every field of that kind
name = "fills"

[[remove]]
at = 90.0
name = "fills"
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

from tastysim.faults import AnyFault, FaultError, read_fault
from tastysim.faults_installed import Faults

_FIELDS = {"about", "fault", "remove"}
_HEADER = re.compile(r"^\s*\[\[\s*(\w+)\s*\]\]")


class ScenarioError(ValueError):
    """A scenario that cannot be read: where, which field, what is allowed."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A fault that begins, or the name of one that is removed."""

    at: float
    fault: AnyFault | None
    removes: str = ""


@dataclass(frozen=True, slots=True)
class Scenario:
    """What goes wrong when, in the order of time."""

    name: str
    about: str
    entries: tuple[Entry, ...]

    def as_row(self) -> dict[str, Any]:
        """For a list of scenarios."""
        return {
            "name": self.name, "about": self.about, "faults": len([each for each in self.entries if each.fault]),
            "seconds": max((each.at for each in self.entries), default=0.0),
        }  # fmt: skip


def parse(text: str, name: str) -> Scenario:
    """A scenario from TOML. Raises ScenarioError, which names the line and the field."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"{name}: {error}") from None
    unknown = set(content) - _FIELDS
    if unknown:
        word = min(unknown)
        line = _line(text, "", 0, word)
        raise ScenarioError(f"{name}, line {line}: {word} is not known; allowed are {', '.join(sorted(_FIELDS))}")
    entries: list[Entry] = []
    for table in ("fault", "remove"):
        rows = content.get(table, [])
        if not isinstance(rows, list):
            raise ScenarioError(f"{name}, line {_line(text, '', 0, table)}: write [[{table}]], once for each")
        for number, row in enumerate(rows):
            try:
                entries.append(_entry(table, row))
            except FaultError as error:
                line = _line(text, table, number, error.field)
                raise ScenarioError(f"{name}, line {line}, [[{table}]] {number + 1}: {error}") from None
    if not entries:
        raise ScenarioError(f"{name}: there is no [[fault]] in it")
    known = {each.fault.name for each in entries if each.fault is not None}
    for entry in entries:
        if entry.removes and entry.removes not in known:
            raise ScenarioError(f"{name}: [[remove]] names {entry.removes!r}, which no [[fault]] has as its name")
    return Scenario(name, str(content.get("about", "")), tuple(sorted(entries, key=lambda each: each.at)))


def _entry(table: str, row: Any) -> Entry:
    if not isinstance(row, dict):
        raise FaultError(table, row, "a table is needed")
    at = row.get("at", 0)
    if isinstance(at, bool) or not isinstance(at, int | float) or not 0 <= at < 1e9:
        raise FaultError("at", at, "market seconds since the start are needed, 0 or more")
    rest = {name: value for name, value in row.items() if name != "at"}
    if table == "fault":
        return Entry(float(at), read_fault(rest))
    if set(rest) != {"name"} or not isinstance(rest["name"], str):
        wrong = min(set(rest) - {"name"}, default="name")
        raise FaultError(wrong, rest.get(wrong), "`at` and `name` are needed, and nothing else")
    return Entry(float(at), None, rest["name"])


def _line(text: str, table: str, number: int, name: str) -> int:
    """Line of a field in the so-manieth table of its kind; of the table itself when the field is not written."""
    seen, start = -1 if table else 0, 0
    for line, content in enumerate(text.splitlines(), 1):
        header = _HEADER.match(content)
        if header:
            if table and seen == number:
                break
            seen += header[1] == table
            start = line if table and seen == number and header[1] == table else start
        if seen == number and re.match(rf"\s*\[*\s*{re.escape(name)}\s*[]=.]", content):
            return line
    return start or 1


def packaged() -> dict[str, str]:
    """The scenarios that come with the simulator: their text by name."""
    folder = files("tastysim") / "scenarios"
    found = {each.name: each for each in folder.iterdir() if each.name.endswith(".toml")}
    return {name.removesuffix(".toml"): found[name].read_text() for name in sorted(found)}


def load(where: str) -> Scenario:
    """A scenario by its name among the packaged ones, or from a file. Raises ScenarioError."""
    known = packaged()
    if where in known:
        return parse(known[where], where)
    try:
        return parse(Path(where).read_text(), Path(where).name)
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(
            f"{where} is not a file that can be read ({error}), nor one of {', '.join(known)}"
        ) from None


@dataclass(slots=True)
class _Run:
    """A scenario that has been started."""

    name: str
    scenario: Scenario
    began: datetime
    left: list[Entry] = field(default_factory=list)


class Scenarios:
    """The scenarios that run. Their faults are installed when the market's time has come."""

    def __init__(self, faults: Faults, market_now: Callable[[], datetime]) -> None:
        self._faults, self._now = faults, market_now
        self._runs: dict[str, _Run] = {}

    @property
    def is_busy(self) -> bool:
        """Whether something is still to come."""
        return any(run.left for run in self._runs.values())

    def start(self, scenario: Scenario) -> str:
        """Begin now; the name of the run. Its faults are called by that name, a dot and their own."""
        number, name = 1, scenario.name.removesuffix(".toml")
        while name in self._runs:
            number += 1
            name = f"{scenario.name.removesuffix('.toml')}-{number}"
        self._runs[name] = _Run(name, scenario, self._now(), list(scenario.entries))
        self._faults.note("scenario started", {"scenario": name})
        self.step()
        self._faults.flush()
        return name

    def stop(self, name: str) -> bool:
        """End a run and remove its faults; False when there is none of this name."""
        run = self._runs.pop(name, None)
        for each in [each for each in self._faults.installed.values() if run is not None and each.scenario == name]:
            self._faults.remove(each.name)
        return run is not None

    def step(self) -> None:
        """Do what has come due."""
        for run in self._runs.values():
            while run.left and self._now() >= run.began + timedelta(seconds=run.left[0].at):
                self._do(run, run.left.pop(0))

    def _do(self, run: _Run, entry: Entry) -> None:
        if entry.fault is None:
            self._faults.remove(f"{run.name}.{entry.removes}")
            return
        number = len(run.scenario.entries) - len(run.left)
        own = entry.fault.name or f"{entry.fault.kind}-{number}"
        self._faults.install(entry.fault.model_copy(update={"name": f"{run.name}.{own}"}), run.name)

    def rows(self) -> list[dict[str, Any]]:
        """What runs, for people and programs."""
        return [
            {"run": run.name, "began": run.began.isoformat(), "left": len(run.left), **run.scenario.as_row()}
            for run in self._runs.values()
        ]
