"""The gateway on real servers: sign in, CSRF, roles, problems, stop and resume, WebSocket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import nats
import orjson
import pytest
import uvicorn
import websockets
from argon2 import PasswordHasher
from pydantic import SecretStr

from chassis.database import make_engine, transaction
from chassis.embedded import free_port
from chassis.service import Service
from gateway import migrations
from gateway.service import build
from gateway.settings import GatewaySettings
from gateway.tables import User
from ledger import migrations as ledger_migrations
from schemas import subjects
from schemas.account import Balance
from schemas.commands import KillCommand
from testkit import eventually

ACCOUNT = "5WT00001"


@dataclass
class Rig:
    """A served gateway."""

    url: str
    nats_url: str
    database_url: str
    service: Service

    async def signed_in(self, username: str = "demo", password: str = "correct horse") -> httpx.AsyncClient:
        client = httpx.AsyncClient(base_url=f"{self.url}/api/v1", trust_env=False)
        answer = await client.post("/auth/login", json={"username": username, "password": password})
        assert answer.status_code == 200, answer.text
        client.headers["X-CSRF-Token"] = answer.json()["csrf_token"]
        return client


@pytest.fixture
async def rig(database_url: str, provisioned_nats_url: str, tmp_path: Path) -> AsyncIterator[Rig]:
    await asyncio.to_thread(ledger_migrations.upgrade, database_url)
    await asyncio.to_thread(migrations.upgrade, database_url)
    static = tmp_path / "dist"
    (static / "assets").mkdir(parents=True)
    (static / "index.html").write_text("<!doctype html><title>page</title>")
    (static / "assets" / "app.js").write_text("1")
    port = free_port()
    settings = GatewaySettings(
        nats_url=provisioned_nats_url, database_url=SecretStr(database_url), health_port=port, static_dir=static,
        demo_user="demo", demo_password=SecretStr("correct horse"), local_token=SecretStr("local-secret"),
        login_failures_max=3, flush_ms=20, data_dir=tmp_path,
    )  # fmt: skip
    service = build(settings)
    assert service.broker is not None
    assert service.app is not None
    await service.broker.connect()
    for hook in service.on_start:
        await hook()
    await service.broker.start()
    loops = [asyncio.create_task(_run(loop)) for loop in service.loops]
    server = uvicorn.Server(uvicorn.Config(service.app, port=port, log_level="error", lifespan="off"))
    serving = asyncio.create_task(server.serve())
    await eventually(lambda: server.started)
    yield Rig(f"http://127.0.0.1:{port}", provisioned_nats_url, database_url, service)
    server.should_exit = True
    await serving
    for task in loops:
        task.cancel()
    await asyncio.gather(*loops, return_exceptions=True)
    service.broker._stopping_on_purpose = True  # type: ignore[attr-defined]
    await service.broker.stop()
    for hook in service.on_stop:
        await hook()


async def _run(loop: Any) -> None:
    await loop()


async def publish_balance(rig: Rig) -> None:
    client = await nats.connect(rig.nats_url)
    balance = Balance(ts_event=datetime.now(UTC), account_number=ACCOUNT, net_liq="100000", cash="1", buying_power="1")  # type: ignore[arg-type]
    await client.jetstream().publish(subjects.fact_balance(ACCOUNT), balance.model_dump_json().encode())
    await client.close()


async def test_nothing_is_shown_to_a_stranger(rig: Rig) -> None:
    async with httpx.AsyncClient(base_url=rig.url, trust_env=False) as client:
        for path in ("/api/v1/orders", "/api/v1/system", "/api/v1/control/gate", "/api/v1/audit"):
            answer = await client.get(path)
            assert answer.status_code == 401
            assert answer.headers["content-type"] == "application/problem+json"
        assert (await client.post("/api/v1/control/kill", json={})).status_code == 401


async def test_the_page_has_a_strict_policy_and_falls_back_to_its_index(rig: Rig) -> None:
    async with httpx.AsyncClient(base_url=rig.url, trust_env=False) as client:
        answer = await client.get("/positions")
        assert "<title>page" in answer.text
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert (await client.get("/assets/app.js")).headers["cache-control"].endswith("immutable")
        assert (await client.get("/../../etc/passwd")).text.startswith("<!doctype html>")
        assert (await client.get("/healthz")).status_code == 200


async def test_wrong_passwords_are_refused_then_throttled(rig: Rig) -> None:
    async with httpx.AsyncClient(base_url=rig.url, trust_env=False) as client:
        wrong = {"username": "demo", "password": "wrong"}
        seen = [(await client.post("/api/v1/auth/login", json=wrong)).status_code for _ in range(4)]
    assert seen == [401, 401, 401, 429]


async def test_an_unsafe_request_needs_the_csrf_token(rig: Rig) -> None:
    client = await rig.signed_in()
    del client.headers["X-CSRF-Token"]
    answer = await client.post("/control/kill", json={})
    assert answer.status_code == 403
    assert "x-csrf-token" in answer.json()["detail"]
    assert (await client.get("/orders")).status_code == 200
    await client.aclose()


async def test_the_session_cookie_is_hidden_from_scripts_and_ends_with_logout(rig: Rig) -> None:
    client = await rig.signed_in()
    answer = await client.post("/auth/login", json={"username": "demo", "password": "correct horse"})
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    client.headers["X-CSRF-Token"] = answer.json()["csrf_token"]
    assert (await client.post("/auth/logout")).status_code == 204
    assert (await client.get("/auth/me")).status_code == 401
    await client.aclose()


async def test_a_viewer_may_look_and_not_touch(rig: Rig) -> None:
    engine = make_engine(rig.database_url, role="tt_gateway")
    async with transaction(engine) as session:
        session.add(
            User(
                username="guest", password_hash=PasswordHasher().hash("let me look"), role="viewer",
                created_at=datetime.now(UTC),
            )
        )  # fmt: skip
    await engine.dispose()
    client = await rig.signed_in("guest", "let me look")
    assert (await client.get("/risk")).status_code == 200
    for path, body in (
        ("/control/kill", {}),
        ("/control/resume", {"reason": "because I can"}),
        ("/limits/positions_max", {}),
    ):
        answer = await client.post(path, json=body)
        assert answer.status_code == 403
        assert "viewer" in answer.json()["detail"]
    await client.aclose()


async def test_a_stop_commits_the_gate_is_broadcast_and_only_a_reason_resumes(rig: Rig) -> None:
    listener = await nats.connect(rig.nats_url)
    heard: list[KillCommand] = []

    async def on_kill(message: Any) -> None:
        heard.append(KillCommand.model_validate_json(message.data))

    await listener.subscribe(subjects.KILL, cb=on_kill)
    await listener.flush()
    client = await rig.signed_in()
    answer = await client.post("/control/kill", json={"why": "trial"})
    assert answer.status_code == 202
    assert answer.json()["revision"] == 2
    gate = (await client.get("/control/gate")).json()
    assert [(row["mode"], row["who"], row["why"]) for row in gate["rows"]] == [("cancel_working", "demo", "trial")]
    await eventually(lambda: len(heard) == 5)
    assert {command.command_id for command in heard} == {answer.json()["command_id"]}
    short = await client.post("/control/resume", json={"reason": "short"})
    assert short.status_code == 422
    assert short.json()["errors"][0]["field"] == "reason"
    resumed = await client.post("/control/resume", json={"reason": "the trial is over"})
    assert resumed.json()["rows"][0]["mode"] == "run"
    entries = (await client.get("/audit")).json()
    assert [entry["action"] for entry in entries] == ["resume", "stop"]
    await listener.close()
    await client.aclose()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"mode": "run"}, "mode"),
        ({"mode": "explode"}, "mode"),
        ({"scope": "account"}, "scope_value"),
        ({"scop": "all"}, "scop"),
    ],
)
async def test_a_wrong_stop_names_the_field(rig: Rig, body: dict[str, str], field: str) -> None:
    client = await rig.signed_in()
    answer = await client.post("/control/kill", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field
    await client.aclose()


async def test_arming_needs_a_known_account(rig: Rig) -> None:
    client = await rig.signed_in()
    answer = await client.post("/control/arm", json={"account_number": "NOPE", "reason": "long enough"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "account_number"
    await publish_balance(rig)

    async def armed() -> bool:
        body = {"account_number": ACCOUNT, "reason": "long enough"}
        return (await client.post("/control/arm", json=body)).status_code == 200

    await eventually(armed)
    assert (await client.get("/control/gate")).json()["armed_accounts"] == [ACCOUNT]
    await client.aclose()


async def test_a_proposal_of_an_unknown_candidate_is_refused(rig: Rig) -> None:
    client = await rig.signed_in()
    await publish_balance(rig)

    async def accounts() -> object:
        return (await client.get("/accounts")).json()

    await eventually(accounts)
    answer = await client.post("/proposals", json={"account_number": ACCOUNT, "candidate_id": "nope"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "candidate_id"
    await client.aclose()


async def test_the_socket_sends_a_snapshot_then_deltas_in_order(rig: Rig) -> None:
    headers = {"Authorization": "Bearer local-secret"}
    address = rig.url.replace("http", "ws") + "/api/v1/ws"
    async with websockets.connect(address, additional_headers=headers) as socket:
        hello = orjson.loads(await socket.recv())
        assert (hello["type"], hello["mode"], hello["role"]) == ("hello", "sim", "admin")
        await socket.send(orjson.dumps({"type": "subscribe", "channels": ["balances", "nonsense"]}).decode())
        messages = []

        async def until(kind: str) -> dict[str, Any]:
            while True:
                message: dict[str, Any] = orjson.loads(await asyncio.wait_for(socket.recv(), 10))
                messages.append(message)
                if message["type"] == kind:
                    return message

        snapshot = await until("snapshot")
        assert snapshot["items"] == {}
        assert "nonsense" in (await until("error"))["detail"]
        await publish_balance(rig)
        delta = await until("delta")
        assert delta["seq"] == snapshot["seq"] + 1
        assert delta["put"][ACCOUNT]["net_liq"] == "100000"
        await socket.send(orjson.dumps({"type": "resync", "ch": "balances"}).decode())
        again = await until("snapshot")
        assert (again["seq"], list(again["items"])) == (delta["seq"], [ACCOUNT])
        assert (await until("ping"))["ts"]


async def test_the_socket_closes_on_strangers_and_foreign_pages(rig: Rig) -> None:
    address = rig.url.replace("http", "ws") + "/api/v1/ws"
    foreign = {"Authorization": "Bearer local-secret", "Origin": "https://elsewhere.example"}
    for headers in ({}, foreign):
        async with websockets.connect(address, additional_headers=headers) as socket:
            with pytest.raises(websockets.ConnectionClosed):
                await socket.recv()
            assert socket.close_code == 4401


async def test_an_expired_session_is_over(rig: Rig) -> None:
    client = await rig.signed_in()
    engine = make_engine(rig.database_url)
    async with transaction(engine) as session:
        from sqlalchemy import text

        await session.execute(
            text("UPDATE gateway.session SET expires_at = :past"), {"past": datetime.now(UTC) - timedelta(hours=1)}
        )
    await engine.dispose()
    assert (await client.get("/orders")).status_code == 401
    await client.aclose()


async def test_a_limit_is_changed_by_an_admin_within_its_range_and_loosened_far_in_two_steps(rig: Rig) -> None:
    """25 % at once; more waits for another admin. Every change is a version with who and why."""
    client = await rig.signed_in()
    shown = {each["name"]: each for each in (await client.get("/limits")).json()}
    assert shown["positions_max"]["value"] == "20"
    reason = {"reason": "for the test of limits"}
    answer = await client.post("/limits/positions_max", json={"value": "25"} | reason)
    assert answer.json() == {"version": 2, "request_id": None, "advice": ""}
    waiting = (await client.post("/limits/positions_max", json={"value": "26"} | reason)).json()
    assert waiting["version"] is None
    assert "another admin confirms" in waiting["advice"]
    path = f"/limits/requests/{waiting['request_id']}/confirm"
    assert (await client.post(path)).status_code == 409
    other = {"Authorization": "Bearer local-secret"}
    async with httpx.AsyncClient(base_url=f"{rig.url}/api/v1", headers=other, trust_env=False) as second:
        assert (await second.post(path)).json()["version"] == 3
    history = (await client.get("/limits/positions_max/history")).json()
    assert [(each["value"], each["confirmed_by"]) for each in history] == [("26", "local"), ("25", None), ("20", None)]


async def test_a_wrong_limit_names_the_field_and_a_viewer_changes_none(rig: Rig) -> None:
    client = await rig.signed_in()
    reason = {"reason": "for the test of limits"}
    answer = await client.post("/limits/positions_max", json={"value": "101"} | reason)
    assert answer.status_code == 422
    assert "may be 1 to 100" in answer.json()["detail"]
    assert (await client.post("/limits/nothing", json={"value": "1"} | reason)).json()["errors"][0]["field"] == "name"
    assert (await client.post("/limits/positions_max", json={"value": 21.5} | reason)).status_code == 422
    assert (await client.get("/limits/nothing/history")).status_code == 422
    assert (await client.post("/limits/requests/77/confirm")).status_code == 404
