"""The local flag: set by any message, cleared by the gate alone, never undone or repeated by a late copy."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import ClassVar

import nats
import pytest

from chassis.bus import make_broker
from chassis.kill_switch import KillSwitch
from chassis.settings import ServiceSettings
from schemas import subjects
from schemas.account import GateMode, GateRow, GateState, KillScope
from schemas.commands import KillAck, KillCommand
from schemas.trade import Purpose
from testkit import eventually

NOW = datetime(2026, 11, 24, 17, 0, tzinfo=UTC)


class Settings(ServiceSettings):
    service: ClassVar[str] = "risk"


def gate(mode: GateMode, revision: int, scope: KillScope = KillScope.ALL, value: str = "") -> GateState:
    rows = [GateRow(scope=scope, scope_value=value, mode=mode, revision=revision, who="a", why="b", changed_at=NOW)]
    if scope is not KillScope.ALL:
        rows.append(
            GateRow(
                scope=KillScope.ALL, scope_value="", mode=GateMode.RUN, revision=1, who="a", why="b", changed_at=NOW
            )
        )
    return GateState(ts_event=NOW, revision=revision, rows=tuple(rows))


@pytest.fixture
async def switch(provisioned_nats_url: str) -> AsyncIterator[KillSwitch]:
    settings = Settings(nats_url=provisioned_nats_url)
    broker = make_broker(settings)
    commands: list[KillCommand] = []

    async def remember(command: KillCommand) -> None:
        commands.append(command)

    made = KillSwitch(broker, settings, on_command=remember)
    made.commands = commands  # type: ignore[attr-defined]
    await broker.connect()
    await made.start()
    await broker.start()
    yield made
    broker._stopping_on_purpose = True  # type: ignore[attr-defined]
    await broker.stop()


def allows(switch: KillSwitch, underlying: str = "SPY", purpose: Purpose = Purpose.OPEN) -> bool:
    return switch.mode_for("5WT00001", "default", underlying).allows(purpose)


async def test_a_gate_never_seen_is_a_stop(switch: KillSwitch) -> None:
    assert switch.is_set()
    assert not allows(switch)
    await switch.on_gate(gate(GateMode.RUN, 1))
    assert not switch.is_set()
    assert allows(switch)


@pytest.mark.parametrize("payload", [b"", b"stop!", b'{"mode": "run"}', b'{"scope": "account"}'])
async def test_any_message_stops_everything_and_is_acknowledged(
    switch: KillSwitch, provisioned_nats_url: str, payload: bytes
) -> None:
    await switch.on_gate(gate(GateMode.RUN, 1))
    client = await nats.connect(provisioned_nats_url)
    acknowledged: list[KillAck] = []

    async def on_ack(message: object) -> None:
        acknowledged.append(KillAck.model_validate_json(message.data))  # type: ignore[attr-defined]

    await client.subscribe(subjects.KILL_ACK, cb=on_ack)
    await client.publish(subjects.KILL, payload)
    await client.flush()
    await eventually(lambda: not allows(switch) and acknowledged)
    assert not allows(switch, purpose=Purpose.CLOSE)
    assert acknowledged[0].service == "risk"
    await client.close()


async def test_only_a_gate_that_ran_after_the_stop_clears_the_flag(switch: KillSwitch) -> None:
    await switch.on_gate(gate(GateMode.RUN, 1))
    switch.latch(KillCommand(command_id="k1"))
    await switch.on_gate(gate(GateMode.RUN, 1))
    assert not allows(switch)
    await switch.on_gate(gate(GateMode.CANCEL_WORKING, 2))
    assert not allows(switch)
    await switch.on_gate(gate(GateMode.RUN, 3))
    assert allows(switch)


async def test_a_late_copy_of_a_stop_does_not_undo_the_resume(switch: KillSwitch, provisioned_nats_url: str) -> None:
    await switch.on_gate(gate(GateMode.RUN, 1))
    client = await nats.connect(provisioned_nats_url)
    payload = KillCommand(command_id="k1").model_dump_json().encode()
    await client.publish(subjects.KILL, payload)
    await eventually(lambda: bool(switch.latched))
    await switch.on_gate(gate(GateMode.CANCEL_WORKING, 2))
    await switch.on_gate(gate(GateMode.RUN, 3))
    await client.publish(subjects.KILL, payload)
    await client.publish(
        subjects.KILL,
        KillCommand(command_id="k2", scope=KillScope.UNDERLYING, scope_value="QQQ").model_dump_json().encode(),
    )
    await client.flush()
    await eventually(lambda: not allows(switch, "QQQ"))
    assert allows(switch, "SPY")
    assert [command.command_id for command in switch.commands] == ["k1", "k2"]  # type: ignore[attr-defined]
    await client.close()


async def test_a_scope_stops_only_itself(switch: KillSwitch) -> None:
    await switch.on_gate(gate(GateMode.REDUCE_ONLY, 2, KillScope.UNDERLYING, "SPY"))
    assert not allows(switch, "SPY")
    assert allows(switch, "SPY", Purpose.CLOSE)
    assert allows(switch, "QQQ")


async def test_an_older_gate_changes_nothing(switch: KillSwitch) -> None:
    await switch.on_gate(gate(GateMode.CANCEL_WORKING, 5))
    await switch.on_gate(gate(GateMode.RUN, 4))
    assert not allows(switch)
