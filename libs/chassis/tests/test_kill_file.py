"""The file that stops: anyone can make it, in any state of the servers, and every process sees it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import pytest

from chassis import kill_file
from chassis.bus import make_broker
from chassis.kill_switch import KillSwitch
from chassis.settings import ServiceSettings
from schemas.account import GateMode, GateRow, GateState, KillScope
from schemas.commands import KillCommand
from testkit import eventually


class Settings(ServiceSettings):
    service: ClassVar[str] = "risk"


def gate(mode: GateMode, revision: int, changed_at: datetime) -> GateState:
    row = GateRow(
        scope=KillScope.ALL, scope_value="", mode=mode, revision=revision, who="a", why="b", changed_at=changed_at
    )
    return GateState(ts_event=changed_at, revision=revision, rows=(row,))


@pytest.fixture
async def switch(provisioned_nats_url: str, tmp_path: Path) -> AsyncIterator[KillSwitch]:
    settings = Settings(nats_url=provisioned_nats_url, data_dir=tmp_path)
    broker = make_broker(settings)
    commands: list[KillCommand] = []

    async def remember(command: KillCommand) -> None:
        commands.append(command)

    made = KillSwitch(broker, settings, on_command=remember)
    made.commands = commands  # type: ignore[attr-defined]
    await broker.connect()
    yield made
    for task in made._tasks:
        task.cancel()
    broker._stopping_on_purpose = True  # type: ignore[attr-defined]
    await broker.stop()


@pytest.mark.parametrize("content", [b"", b"stop it", b"{", b'{"mode": "run"}', b"\xff\xfe"])
def test_whatever_is_in_it_stops_everything(tmp_path: Path, content: bytes) -> None:
    kill_file.path(tmp_path).write_bytes(content)
    command = kill_file.read(tmp_path)
    assert command is not None
    assert (command.scope, command.mode) == (KillScope.ALL, GateMode.CANCEL_WORKING)
    assert command.command_id == kill_file.read(tmp_path).command_id  # type: ignore[union-attr]


def test_a_narrower_stop_never_replaces_a_full_one(tmp_path: Path) -> None:
    """What was written is read back; a full stop that is there stays."""
    assert kill_file.read(tmp_path) is None
    assert not kill_file.remove(tmp_path)
    narrow = KillCommand(scope=KillScope.UNDERLYING, scope_value="SPY", command_id="n")
    kill_file.write(tmp_path, narrow)
    assert kill_file.read(tmp_path) == narrow
    full = KillCommand(command_id="f", why="all of it")
    kill_file.write(tmp_path, full)
    kill_file.write(tmp_path, narrow)
    assert kill_file.read(tmp_path) == full
    assert kill_file.remove(tmp_path)
    assert kill_file.read(tmp_path) is None


async def test_every_process_latches_for_a_file_once(switch: KillSwitch, tmp_path: Path) -> None:
    """It follows the command as if it had come from the bus, and a resume clears it though the file was read before."""
    before = datetime.now(UTC) - timedelta(hours=1)
    await switch.start()
    await switch.on_gate(gate(GateMode.RUN, 4, before))
    assert not switch.is_set()
    kill_file.path(tmp_path).touch()
    await eventually(switch.is_set, timeout=3)
    await eventually(lambda: switch.commands, timeout=3)  # type: ignore[attr-defined]
    await switch.on_gate(gate(GateMode.CANCEL_WORKING, 5, datetime.now(UTC)))
    await switch.on_gate(gate(GateMode.RUN, 6, datetime.now(UTC)))
    assert not switch.is_set()
    switch._look()
    assert not switch.is_set()
    assert len(switch.commands) == 1  # type: ignore[attr-defined]


async def test_a_process_that_starts_under_the_file_starts_stopped(switch: KillSwitch, tmp_path: Path) -> None:
    """A gate that ran before the file came is no resume; one that was opened after it is."""
    before = datetime.now(UTC) - timedelta(hours=1)
    kill_file.path(tmp_path).touch()
    await switch.start()
    await switch.on_gate(gate(GateMode.RUN, 4, before))
    assert switch.is_set()
    await switch.on_gate(gate(GateMode.RUN, 6, datetime.now(UTC)))
    assert not switch.is_set()
