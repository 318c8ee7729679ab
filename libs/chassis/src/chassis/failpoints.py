"""Named points at which a trial ends, stalls or fails a process: `TT_FAILPOINTS=executor.submit.permitted=kill@2`.

A point that is not armed costs one comparison. Arming is refused outside the simulation.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from chassis.settings import Mode, SettingsError

VARIABLE = "TT_FAILPOINTS"
STALL_SECONDS_MAX = 60.0
_ENTRY = re.compile(
    r"(?P<name>[a-z_]+(?:\.[a-z_]+)+)=(?P<act>kill|raise|delay:(?P<seconds>\d+(?:\.\d+)?))(?:@(?P<hit>\d+))?"
)


class FailpointError(ConnectionError):
    """What an armed point raises: as a connection that broke at this place would."""


class Act(StrEnum):
    """What happens at an armed point."""

    KILL = "kill"
    """SIGKILL to the own process: nothing is released, nothing is written."""
    RAISE = "raise"
    """FailpointError."""
    DELAY = "delay"
    """The whole process stands still."""


@dataclass(frozen=True, slots=True)
class Armed:
    """What strikes at one point. hit: the how-manieth passage, from 1; seconds: of a delay."""

    act: Act
    hit: int = 1
    seconds: float = 0.0


_armed: dict[str, list[Armed]] = {}
_passed: dict[str, int] = {}


def failpoint(name: str) -> None:
    """A place where a crash must do no harm. The name is a literal, once in all sources: `<service>.<step>…`."""
    if _armed:
        _pass(name)


def parse(text: str) -> dict[str, list[Armed]]:
    """Read `name=act[@hit]`, separated by semicolons. SettingsError names the entry that is none."""
    found: dict[str, list[Armed]] = {}
    for entry in filter(None, (each.strip() for each in text.split(";"))):
        match = _ENTRY.fullmatch(entry)
        hit = int(match["hit"] or 1) if match else 0
        seconds = float(match["seconds"] or 0) if match else 0.0
        if match is None or hit < 1 or seconds > STALL_SECONDS_MAX:
            raise SettingsError(
                f"{VARIABLE} has {entry!r}: write name=kill, name=raise or name=delay:SECONDS "
                f"(at most {STALL_SECONDS_MAX:g}), with @HIT from 1"
            )
        found.setdefault(match["name"], []).append(Armed(Act(match["act"].split(":")[0]), hit, seconds))
    return found


def arm(mode: Mode, environ: Mapping[str, str] = os.environ) -> None:
    """Arm what the environment names and forget all passages. SettingsError outside mode sim, or for a bad entry."""
    text = environ.get(VARIABLE, "")
    if text and mode is not Mode.SIM:
        raise SettingsError(f"{VARIABLE} is set and TT_MODE is {mode.value!r}: unset it, it is for the simulation only")
    _armed.clear()
    _passed.clear()
    _armed.update(parse(text))


def _pass(name: str) -> None:
    _passed[name] = _passed.get(name, 0) + 1
    for armed in _armed.get(name, ()):
        if armed.hit == _passed[name]:
            _strike(name, armed)


def _strike(name: str, armed: Armed) -> None:
    os.write(2, f'{{"event":"failpoint.struck","point":"{name}","act":"{armed.act}","hit":{armed.hit}}}\n'.encode())
    if armed.act is Act.KILL:
        os.kill(os.getpid(), signal.SIGKILL)
    if armed.act is Act.RAISE:
        raise FailpointError(f"failpoint {name}")
    time.sleep(armed.seconds)
