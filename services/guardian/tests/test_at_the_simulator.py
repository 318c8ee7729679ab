"""Stops by file, by HTTP and from the bus; a dead executor; a broker that is away. Nothing but a broker is running."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import nats
import pytest
from pydantic import SecretStr

from chassis import kill_file
from chassis.embedded import free_port
from guardian.settings import GuardianSettings
from schemas import subjects
from schemas.account import GateMode, KillScope
from schemas.commands import KillAck, KillCommand, parse_kill
from testkit import eventually

if TYPE_CHECKING:
    from conftest import Rig


@asynccontextmanager
async def listening(answer: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """An HTTP server that gives one answer: its address, and what it was sent."""
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next((int(line[15:]) for line in head.lower().splitlines() if line.startswith(b"content-length:")), 0)
        seen.append(await reader.readexactly(length))
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", seen
    finally:
        server.close()


ALIVE = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"


async def test_the_file_alone_cancels_everything_and_holds_until_it_is_gone(rig: Rig) -> None:
    """An empty file KILL: what works goes, an order that comes later goes too, and none after the file has gone."""
    closing = await rig.close_one()
    opening = [await rig.open_one(number) for number in range(3)]
    guardian = await rig.start()
    kill_file.path(rig.folder).touch()
    await eventually(lambda: not rig.working(), timeout=5)
    assert set(rig.cancelled()) == {closing, *opening}
    late = await rig.open_one(5)
    await eventually(lambda: late not in rig.working(), timeout=15, every=0.1)
    assert not guardian.release(KillScope.ALL, "")
    assert kill_file.remove(rig.folder)
    await eventually(lambda: not guardian.stops, timeout=10)
    kept = await rig.open_one(6)
    await guardian.orders()
    await asyncio.wait_for(_rounds(guardian), 5)
    assert kept in rig.working()


async def _rounds(guardian: object) -> None:
    """Two looks at the broker have passed."""
    for _ in range(2):
        before = guardian._broker_at  # type: ignore[attr-defined]
        await eventually(lambda before=before: guardian._broker_at > before)  # type: ignore[attr-defined, misc]


async def test_opening_orders_are_cancelled_before_closing_ones(rig: Rig) -> None:
    """Whatever the list's order is."""
    closing = await rig.close_one()
    opening = [await rig.open_one(number) for number in range(3)]
    await rig.start()
    assert (await rig.http.post("/kill")).status_code == 202
    await eventually(lambda: not rig.working(), timeout=5)
    assert set(rig.cancelled()[:3]) == set(opening)
    assert rig.cancelled()[-1] == closing


async def test_http_needs_the_token_takes_the_same_command_once_and_says_when_it_is_done(rig: Rig) -> None:
    """Three clean sweeps end the stop; the newest stop's times can be read."""
    await rig.open_one()
    guardian = await rig.start()
    refused = await rig.http.post("/kill", headers={"Authorization": "Bearer wrong"})
    assert refused.status_code == 401
    assert rig.working()
    body = {"command_id": "c-1", "who": "ann", "why": "trial"}
    assert (await rig.http.post("/kill", json=body)).json() == {"command_id": "c-1", "new": True}
    assert (await rig.http.post("/kill", json=body)).json() == {"command_id": "c-1", "new": False}
    await eventually(lambda: not guardian.stops, timeout=10)
    newest = (await rig.http.get("/state")).json()["newest_stop"]
    heard, first, clean = (datetime.fromisoformat(newest[key]) for key in ("heard_at", "first_cancel_at", "clean_at"))
    assert heard <= first < clean
    assert not rig.working()


async def test_modes_and_scopes_take_only_what_they_concern(rig: Rig) -> None:
    """halt_opens leaves what works; reduce_only takes what opens; an underlying or account takes its own."""
    closing, spy, qqq = await rig.close_one(), await rig.open_one(), await rig.open_one(0, "QQQ")
    guardian = await rig.start()
    for body in ({"mode": "halt_opens"}, {"scope": "account", "scope_value": "5WT99999"}):
        await rig.http.post("/kill", json=body)
        await eventually(lambda: not guardian.stops, timeout=10)
        assert rig.working() == {closing, spy, qqq}
    await rig.http.post("/kill", json={"scope": "underlying", "scope_value": "QQQ"})
    await eventually(lambda: rig.working() == {closing, spy}, timeout=5)
    await rig.http.post("/kill", json={"mode": "reduce_only"})
    await eventually(lambda: rig.working() == {closing}, timeout=5)
    await eventually(lambda: not guardian.stops, timeout=10)
    assert rig.working() == {closing}


async def test_a_dead_executor_loses_its_opening_orders_and_a_person_is_called(rig: Rig) -> None:
    """While it answers nothing happens; when it is silent for too long opening orders go, closing ones stay."""
    closing, opening = await rig.close_one(), await rig.open_one()
    async with listening(ALIVE) as (executor, _), listening(ALIVE) as (webhook, paged):
        guardian = await rig.start(executor_url=executor, dead_man_seconds=1.0, alert_webhook_url=webhook)
        await eventually(lambda: guardian.executor_at is not None)
        await _rounds(guardian)
        assert rig.working() == {closing, opening}
        guardian.settings = guardian.settings.model_copy(update={"executor_url": f"http://127.0.0.1:{free_port()}"})
        await eventually(lambda: rig.working() == {closing}, timeout=10)
        await eventually(lambda: paged, timeout=5)
        assert json.loads(paged[0])["code"] == "executor_dead"
        assert guardian.executor_is_dead()
        guardian.executor_heard()
        assert not guardian.executor_is_dead()


async def test_a_broker_out_of_reach_during_a_stop_pages_and_is_tried_until_it_answers(rig: Rig) -> None:
    """The stop is not given up: once the broker is back, the order goes and the alarm is over."""
    opening = await rig.open_one()
    async with listening(ALIVE) as (webhook, paged):
        guardian = await rig.start(
            broker_url=f"http://127.0.0.1:{free_port()}", unreachable_seconds=3.0, alert_webhook_url=webhook
        )
        await rig.http.post("/kill")
        await eventually(lambda: paged, timeout=10)
        assert json.loads(paged[0])["code"] == "broker_unreachable"
        assert "a stop is to be carried out" in json.loads(paged[0])["text"]
        assert opening in rig.working()
        guardian.broker._http.base_url = rig.url  # type: ignore[assignment]
        await eventually(lambda: not rig.working(), timeout=10)
        await eventually(lambda: "broker_unreachable" not in guardian.pager.raised, timeout=5)


async def test_the_bridge_hears_the_bus_tells_the_bus_and_survives_without_it(
    rig: Rig, provisioned_nats_url: str
) -> None:
    """A raw message stops; a file stops everybody; both are acknowledged."""
    opening = await rig.open_one()
    guardian = await rig.start(nats_url=provisioned_nats_url)
    client = await nats.connect(provisioned_nats_url)
    acks, commands = [], []

    async def on_ack(message: object) -> None:
        acks.append(KillAck.model_validate_json(message.data))  # type: ignore[attr-defined]

    async def on_kill(message: object) -> None:
        commands.append(parse_kill(message.data))  # type: ignore[attr-defined]

    await client.subscribe(subjects.KILL_ACK, cb=on_ack)
    await client.subscribe(subjects.KILL, cb=on_kill)
    await client.flush()
    await eventually(lambda: rig.bridge._client is not None)
    await client.publish(subjects.KILL, b"")
    await eventually(lambda: opening not in rig.working(), timeout=5)
    await eventually(lambda: any(ack.working_orders == 0 for ack in acks), timeout=10)
    assert {ack.service for ack in acks} == {"guardian"}
    await eventually(lambda: not guardian.stops, timeout=10)
    commands.clear()
    kill_file.write(rig.folder, KillCommand(command_id="by-file", mode=GateMode.REDUCE_ONLY))
    await eventually(lambda: len(commands) >= 5, timeout=5)
    assert {(each.command_id, each.mode) for each in commands} == {("by-file", GateMode.REDUCE_ONLY)}
    kill_file.remove(rig.folder)
    await client.close()


def test_live_mode_demands_a_grant_of_its_own(tmp_path: Path) -> None:
    """The shared one is taken where no real money is; half a grant is a mistake everywhere."""
    shared = {"broker_client_secret": SecretStr("a"), "broker_refresh_token": SecretStr("b")}
    assert GuardianSettings(**shared).grant() == (SecretStr("a"), SecretStr("b"))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="TT_GUARDIAN_BROKER_GRANT_SECRET"):
        GuardianSettings(mode="live", **shared).grant()  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="TT_GUARDIAN_BROKER_GRANT_TOKEN"):
        GuardianSettings(broker_grant_secret=SecretStr("c"), **shared).grant()  # type: ignore[arg-type]
    own = GuardianSettings(
        mode="live",
        broker_grant_secret=SecretStr("c"),
        broker_grant_token=SecretStr("d"),
        **shared,  # type: ignore[arg-type]
    )
    assert own.grant() == (SecretStr("c"), SecretStr("d"))
