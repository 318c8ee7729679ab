"""Settings refuse what they do not know; servers say why they do not start; a frozen process ends itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import asyncpg
import httpx
import pytest
from sqlalchemy import text

from chassis.database import make_engine, transaction
from chassis.embedded import ServerStartError, free_port, start_nats, start_postgres
from chassis.service import Service, _reasons
from chassis.settings import Mode, ServiceSettings, SettingsError, load


class Settings(ServiceSettings):
    service = "risk"
    positions_max: int = 20
    api_token: str = ""


def test_shared_and_own_variables_are_read() -> None:
    """TT_MODE is everyone's, TT_RISK_POSITIONS_MAX is risk's, another service's variables are not ours to judge."""
    found = load(Settings, {"TT_MODE": "paper", "TT_RISK_POSITIONS_MAX": "7", "TT_SCANNER_ANYTHING": "1", "HOME": "x"})
    assert (found.mode, found.positions_max) == (Mode.PAPER, 7)


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        (
            {"TT_RISK_POSITION_MAX": "7"},
            "TT_RISK_POSITION_MAX is not a known setting: did you mean TT_RISK_POSITIONS_MAX",
        ),
        ({"TT_MODDE": "sim"}, "did you mean TT_MODE"),
        ({"TT_RISKK_POSITIONS_MAX": "7"}, "did you mean TT_RISK_POSITIONS_MAX"),
        ({"TT_RISK_POSITIONS_MAX": "many"}, "TT_RISK_POSITIONS_MAX is 'many'"),
        ({"TT_MODE": "lve"}, "TT_MODE is 'lve'.*'sim', 'paper', 'cert' or 'live'"),
        ({"TT_RISK_HEALTH_PORT": "70000"}, "TT_RISK_HEALTH_PORT is '70000'"),
    ],
)
def test_a_wrong_variable_is_refused_by_name_with_advice(environment: dict[str, str], says: str) -> None:
    """A typing error never becomes a default."""
    with pytest.raises(SettingsError, match=says):
        load(Settings, environment)


@pytest.mark.parametrize(
    ("mode", "address", "fits"),
    [
        ("sim", "https://api.tastyworks.com", False),
        ("paper", "https://api.tastyworks.com", False),
        ("cert", "https://API.tastyworks.com/", False),
        ("live", "https://api.cert.tastyworks.com", False),
        ("live", "https://api.tastyworks.com", True),
        ("cert", "https://api.cert.tastyworks.com", True),
        ("sim", "http://127.0.0.1:8420", True),
    ],
)
def test_real_money_is_never_labelled_as_anything_else(mode: str, address: str, fits: bool) -> None:
    """The broker's own addresses belong to their mode."""
    environment = {"TT_MODE": mode, "TT_BROKER_URL": address}
    if fits:
        assert load(Settings, environment).broker_url == address
        return
    with pytest.raises(SettingsError, match=f"TT_MODE is '{mode}': set TT_MODE="):
        load(Settings, environment)


def test_paper_takes_real_quotes_and_sends_no_order_there() -> None:
    """marketdata alone may know the real address in paper mode."""

    class Marketdata(ServiceSettings):
        service = "marketdata"

    assert load(Marketdata, {"TT_MODE": "paper", "TT_BROKER_URL": "https://api.tastyworks.com"}).mode is Mode.PAPER


def test_a_password_in_an_address_is_not_shown() -> None:
    """Neither a secret nor an address that carries one."""
    with pytest.raises(SettingsError) as refused:
        load(Settings, {"TT_RISK_POSITIONS_MAX": "nats://risk:hunter2@nats:4222"})
    assert "hunter2" not in str(refused.value)


def test_a_taken_port_and_a_corrupt_data_folder_are_explained(tmp_path: Path) -> None:
    """The error names the server, the reason and what to do."""
    first = start_nats(tmp_path / "one", log_path=tmp_path / "one.log")
    try:
        with pytest.raises(ServerStartError, match=r"NATS did not start: port \d+ is in use"):
            start_nats(tmp_path / "two", port=first.port, log_path=tmp_path / "two.log")
    finally:
        first.stop()
    (tmp_path / "pg" / "cluster").mkdir(parents=True)
    with pytest.raises(ServerStartError, match=r"no PG_VERSION.*backup"):
        start_postgres(tmp_path / "pg", log_path=tmp_path / "pg.log")


async def test_postgres_keeps_its_data_over_a_kill(server_dir: Path) -> None:
    """kill -9 of the database and a start on the same folder: what was committed is there."""
    folder, log = server_dir / "durable", server_dir / "durable.log"
    first = start_postgres(folder, log_path=log)
    connection = await asyncpg.connect(first.url)
    await connection.execute("CREATE TABLE kept(n int); INSERT INTO kept VALUES (42)")
    os.killpg(first.process.pid, signal.SIGKILL)
    first.process.wait()
    second = start_postgres(folder, log_path=log)
    try:
        again = await asyncpg.connect(second.url)
        assert await again.fetchval("SELECT n FROM kept") == 42
        await again.close()
    finally:
        second.stop()


async def test_a_block_that_raises_leaves_nothing_behind(database_url: str) -> None:
    """Commit at the end, roll back on an exception."""
    engine = make_engine(database_url)
    async with transaction(engine) as session:
        await session.execute(text("CREATE TABLE t(n int)"))

    async def fail() -> None:
        async with transaction(engine) as session:
            await session.execute(text("INSERT INTO t VALUES (1)"))
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    async with transaction(engine) as session:
        assert (await session.execute(text("SELECT count(*) FROM t"))).scalar_one() == 0
    await engine.dispose()


async def test_a_failing_probe_is_named() -> None:
    """Readiness says which part is not ready; a probe that raises or hangs counts as not ready."""

    async def late() -> str | None:
        return "no quotes for 20 s"

    async def broken() -> str | None:
        raise OSError

    service = Service(Settings(), probes={"feed": late, "database": broken})
    assert await _reasons(service) == ["feed: no quotes for 20 s", "database: no answer (OSError)"]


PROGRAM = """
import asyncio, time
from nats.js.errors import NotFoundError
from chassis.bus import make_broker, ordered, raw_client
from chassis.service import Service, run
from chassis.settings import ServiceSettings, load
from schemas import subjects
from schemas.account import AuditEntry
class Settings(ServiceSettings):
    service = "risk"
    freeze: bool = False
    break_loop: bool = False
    close_bus: bool = False
    lose_consumer: bool = False
settings = load(Settings)
broker = make_broker(settings)
if settings.lose_consumer:
    @broker.subscriber(**ordered(subjects.fact_audit("lost"), subjects.AUDIT, "t-lost"))
    async def on_entry(message: AuditEntry) -> None: ...
async def loop():
    while True:
        await asyncio.sleep(0.2)
        if settings.freeze:
            time.sleep(60)
        if settings.break_loop:
            raise RuntimeError("broken")
        if settings.close_bus:
            await raw_client(broker).close()
        if settings.lose_consumer:
            try:
                await raw_client(broker).jetstream().delete_consumer("AUDIT", "t-lost")
            except NotFoundError:
                pass
run(Service(settings, broker=broker, loops=[loop]))
"""


def start(nats_url: str, port: int, **more: str) -> subprocess.Popen[bytes]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("TT_")}
    environment = clean | {"TT_NATS_URL": nats_url, "TT_RISK_HEALTH_PORT": str(port)} | more
    return subprocess.Popen([sys.executable, "-c", PROGRAM], env=environment, stdout=subprocess.DEVNULL)


def test_a_service_answers_health_and_stops_cleanly(nats_url: str) -> None:
    """/healthz, /readyz and /metrics answer; SIGTERM ends it with code 0."""
    port = free_port()
    process = start(nats_url, port)
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                ready = httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False)
                if ready.is_success:
                    break
            except httpx.HTTPError:
                pass
            assert time.monotonic() < deadline
        assert "alive" in httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False).text
        assert "tt_loop_lag_seconds" in httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
    finally:
        process.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux answers on 127.0.0.2 without being told to")
def test_a_service_listens_where_it_is_told(nats_url: str) -> None:
    """TT_HEALTH_HOST moves health and metrics off 127.0.0.1; whether it is ready and stopped is measured."""
    port = free_port()
    process = start(nats_url, port, TT_HEALTH_HOST="127.0.0.2")
    try:
        deadline, text = time.monotonic() + 30, ""
        while 'tt_ready{service="risk"} 1.0' not in text:
            with contextlib.suppress(httpx.ConnectError):
                text = httpx.get(f"http://127.0.0.2:{port}/metrics", trust_env=False).text
            assert time.monotonic() < deadline
        assert 'tt_stopped{service="risk"} 0.0' in text
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False)
    finally:
        process.kill()
        process.wait()


def test_a_failed_loop_ends_the_process_with_code_1(nats_url: str) -> None:
    """Half a service is no service."""
    assert start(nats_url, free_port(), TT_RISK_BREAK_LOOP="true").wait(30) == 1


def test_a_frozen_loop_ends_the_process_with_code_70(nats_url: str) -> None:
    """The watchdog is a thread: a frozen loop cannot notice itself."""
    assert start(nats_url, free_port(), TT_RISK_FREEZE="true").wait(40) == 70


def test_a_bus_connection_closed_for_good_ends_the_process_with_code_70(nats_url: str) -> None:
    """The framework would spin on it for ever and freeze the loop."""
    assert start(nats_url, free_port(), TT_RISK_CLOSE_BUS="true").wait(30) == 70


def test_a_deleted_consumer_ends_the_process_so_that_a_start_makes_it_anew(provisioned_nats_url: str) -> None:
    assert start(provisioned_nats_url, free_port(), TT_RISK_LOSE_CONSUMER="true").wait(40) == 1


async def test_the_clock_of_the_tests_moves_only_when_told(clock: object) -> None:
    """Sleepers wake when their time has come, not before."""
    from testkit import FakeClock

    assert isinstance(clock, FakeClock)
    sleeper = asyncio.create_task(clock.sleep(5))
    await asyncio.sleep(0)
    clock.advance(4.9)
    await asyncio.sleep(0)
    assert not sleeper.done()
    clock.advance(0.2)
    await sleeper


async def test_postgres_starts_where_only_root_may_enter(tmp_path: Path) -> None:
    """A clone under a closed home, started by root, works without opening a folder; its data is found again."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    for statement in ("CREATE TABLE kept (x int)", "INSERT INTO kept VALUES (7)"):
        server = start_postgres(closed / "postgres", log_path=tmp_path / "postgres.log", durable=False)
        try:
            connection = await asyncpg.connect(server.url)
            await connection.execute(statement)
            await connection.close()
        finally:
            server.stop()
    assert closed.stat().st_mode & 0o077 == 0


def test_a_service_with_a_wrong_setting_says_so_in_one_line() -> None:
    """No traceback: which variable, what to do, and exit code 78."""
    done = subprocess.run(
        [sys.executable, "-m", "executor"],
        env={"PATH": os.environ["PATH"], "TT_EXECUTOR_LEASE_SECOND": "7"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 78
    says = "TT_EXECUTOR_LEASE_SECOND is not a known setting: did you mean TT_EXECUTOR_LEASE_SECONDS?"
    assert done.stderr == f"executor: {says}\n"
