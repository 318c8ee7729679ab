"""A stop while the bus or the database is away: the gate, the file and the guardian, whichever is left."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import nats
import pytest
import uvicorn
from pydantic import SecretStr

from chassis import embedded, kill_file
from chassis.bus import provision
from chassis.embedded import Server, free_port
from chassis.service import Service
from gateway import migrations
from gateway.service import build
from gateway.settings import GatewaySettings
from ledger import migrations as ledger_migrations
from schemas import subjects
from schemas.commands import KillAck
from testkit import eventually

GUARDIAN_TOKEN = "known-to-both"


@dataclass
class Guardian:
    """What stands for the guardian: it keeps what it was told, and by whom it may be told."""

    url: str = ""
    told: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(int(line[15:]) for line in head.lower().splitlines() if line.startswith("content-length:"))
        body = json.loads(await reader.readexactly(length))
        allowed = f"Bearer {GUARDIAN_TOKEN}" in head
        if allowed:
            self.told.append((head.split(" ")[1], body))
        status = b"202 Accepted" if allowed else b"401 Unauthorized"
        writer.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()


@dataclass
class Rig:
    """A gateway whose servers are its own, so that they can be taken away."""

    client: httpx.AsyncClient
    """Signed in by cookie."""
    folder: Path
    nats: Server
    postgres: Server
    cluster: Path
    """Folder of the database."""
    guardian: Guardian
    service: Service

    async def mode(self) -> str:
        connection = await asyncpg.connect(self.postgres.url)
        try:
            return str(await connection.fetchval("SELECT mode FROM ledger.gate WHERE scope = 'all'"))
        finally:
            await connection.close()


@pytest.fixture
async def rig(server_dir: Path, tmp_path: Path) -> AsyncIterator[Rig]:
    folder = server_dir / f"own-{tmp_path.name}"
    bus = embedded.start_nats(folder / "nats", log_path=server_dir / "own-nats.log")
    database = embedded.start_postgres(folder / "postgres", log_path=server_dir / "own-postgres.log", durable=False)
    await provision(bus.url)
    await asyncio.to_thread(ledger_migrations.upgrade, database.url)
    await asyncio.to_thread(migrations.upgrade, database.url)
    guardian = Guardian()
    listening = await asyncio.start_server(guardian.serve, "127.0.0.1", 0)
    guardian.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    port = free_port()
    settings = GatewaySettings(
        nats_url=bus.url, database_url=SecretStr(database.url), health_port=port, data_dir=tmp_path, demo_user="demo",
        demo_password=SecretStr("correct horse"), local_token=SecretStr("local-secret"), guardian_url=guardian.url,
        guardian_token=SecretStr(GUARDIAN_TOKEN),
    )  # fmt: skip
    service = build(settings)
    assert service.broker is not None
    assert service.app is not None
    await service.broker.connect()
    for hook in service.on_start:
        await hook()
    await service.broker.start()
    server = uvicorn.Server(uvicorn.Config(service.app, port=port, log_level="error", lifespan="off"))
    serving = asyncio.create_task(server.serve())
    await eventually(lambda: server.started)
    client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}/api/v1", trust_env=False, timeout=15)
    signed_in = await client.post("/auth/login", json={"username": "demo", "password": "correct horse"})
    client.headers["X-CSRF-Token"] = signed_in.json()["csrf_token"]
    assert (await client.get("/auth/me")).is_success
    yield Rig(client, tmp_path, bus, database, folder / "postgres", guardian, service)
    await client.aclose()
    server.should_exit = True
    await serving
    service.broker._stopping_on_purpose = True  # type: ignore[attr-defined]
    with contextlib.suppress(nats.errors.Error):  # it may be away for good
        await service.broker.stop()
    for hook in service.on_stop:
        await hook()
    listening.close()
    bus.stop()
    database.stop()


async def test_with_the_bus_away_the_gate_is_shut_and_file_and_guardian_are_told(rig: Rig) -> None:
    """The gate's commit does not wait for the bus; a resume takes the file away and releases the guardian."""
    rig.nats.stop()
    answer = await rig.client.post("/control/kill", json={"why": "trial"})
    assert answer.status_code == 202
    assert answer.json()["revision"] is not None
    assert await rig.mode() == "cancel_working"
    await eventually(lambda: rig.guardian.told, timeout=5)
    path, command = rig.guardian.told[0]
    assert (path, command["mode"], command["scope"]) == ("/kill", "cancel_working", "all")
    assert command["command_id"] == answer.json()["command_id"]
    held = kill_file.read(rig.folder)
    assert held is not None
    assert held.command_id == command["command_id"]
    record = await eventually(lambda: _record(rig, command["command_id"]), timeout=10)
    assert set(record["overdue"]) == {"executor", "guardian", "risk", "scanner"}
    resumed = await rig.client.post("/control/resume", json={"reason": "the trial is over"})
    assert resumed.status_code == 200, resumed.text
    assert kill_file.read(rig.folder) is None
    assert rig.guardian.told[-1][0] == "/release"
    assert await rig.mode() == "run"


async def _record(rig: Rig, command_id: str) -> dict[str, Any] | None:
    record: dict[str, Any] = (await rig.client.get(f"/control/kill/{command_id}")).json()
    return record if record["overdue"] else None


async def test_with_the_database_away_a_stop_by_cookie_is_broadcast_and_written_when_it_is_back(rig: Rig) -> None:
    """Who was signed in can stop; nothing else is allowed on the memory of a session; nothing resumes by itself."""
    listener = await nats.connect(rig.nats.url)
    heard: list[bytes] = []

    async def on_kill(message: Any) -> None:
        heard.append(message.data)

    await listener.subscribe(subjects.KILL, cb=on_kill)
    await listener.flush()
    port = int(rig.postgres.url.rsplit(":", 1)[1].split("/")[0])
    rig.postgres.stop()
    answer = await rig.client.post("/control/kill", json={"why": "trial"})
    assert answer.status_code == 202, answer.text
    assert answer.json()["revision"] is None
    await eventually(lambda: heard and rig.guardian.told, timeout=5)
    assert kill_file.read(rig.folder) is not None
    assert (await rig.client.post("/control/resume", json={"reason": "the trial is over"})).status_code >= 500
    again = embedded.start_postgres(rig.cluster, port=port, log_path=rig.folder / "again.log", durable=False)

    async def shut() -> bool:
        return await rig.mode() == "cancel_working"

    try:
        await eventually(shut, timeout=15, every=0.2)
    finally:
        again.stop()
    await listener.close()


async def test_who_confirms_late_leaves_the_red_list(rig: Rig) -> None:
    """A process that is silent for a second is red; its confirmation clears it, and all of them confirm the stop."""
    bus = await nats.connect(rig.nats.url)
    command_id = (await rig.client.post("/control/kill", json={})).json()["command_id"]

    async def acknowledge(service: str) -> None:
        ack = KillAck.model_validate(
            {"ts_event": "2026-11-24T17:00:00Z", "service": service, "instance": "0", "command_id": command_id,
             "working_orders": 0}
        )  # fmt: skip
        await bus.publish(subjects.KILL_ACK, ack.model_dump_json().encode())
        await bus.flush()

    for service in ("risk", "executor", "guardian"):
        await acknowledge(service)
    record = await eventually(lambda: _record(rig, command_id), timeout=10)
    assert record["overdue"] == ["scanner"]
    assert not record["confirmed"]
    await eventually(lambda: rig.guardian.told, timeout=5)
    await acknowledge("scanner")

    async def confirmed() -> bool:
        found = (await rig.client.get(f"/control/kill/{command_id}")).json()
        return bool(found["confirmed"] and not found["overdue"])

    await eventually(confirmed, timeout=5)
    await bus.close()
