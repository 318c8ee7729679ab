"""Fixtures: servers by a ladder: URL in the environment → wheel → testcontainers → skip (in CI: fail)."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chassis import embedded
from chassis.embedded import Server, ServerStartError
from testkit.clock import FakeClock


def _serve(
    variable: str, start: Callable[[], Server], container: Callable[[], tuple[str, Callable[[], object]]]
) -> Iterator[str]:
    if given := os.environ.get(variable):
        yield given
        return
    try:
        server = start()
    except ServerStartError as error:
        try:
            url, stop = container()
        except Exception as also:  # the last rung: whatever a missing engine raises means that there is none
            message = f"no server for {variable}: {error}; nor a container engine ({type(also).__name__})"
            if os.environ.get("CI"):
                pytest.fail(message)
            pytest.skip(message)
        yield url
        stop()
        return
    yield server.url
    server.stop()


def _nats_container() -> tuple[str, Callable[[], object]]:
    from testcontainers.nats import NatsContainer

    container = NatsContainer("nats:2.12", jetstream=True).start()
    return container.nats_uri(), container.stop


def _postgres_container() -> tuple[str, Callable[[], object]]:
    from testcontainers.postgres import PostgresContainer

    container = PostgresContainer("postgres:18").start()
    return container.get_connection_url(driver=None), container.stop


def _redis_container() -> tuple[str, Callable[[], object]]:
    from testcontainers.redis import RedisContainer

    container = RedisContainer("valkey/valkey:9").start()
    return f"redis://{container.get_container_host_ip()}:{container.get_exposed_port(6379)}/0", container.stop


def open_to_servers(folder: Path) -> None:
    """Let the unprivileged PostgreSQL of a test run by root enter a folder, where no user namespace does it."""
    if os.geteuid() == 0 and not embedded.user_namespaces_work():
        for each in (folder, *folder.parents[:2]):
            each.chmod(each.stat().st_mode | 0o011)


@pytest.fixture(scope="session")
def server_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for servers."""
    folder = tmp_path_factory.mktemp("servers")
    open_to_servers(folder)
    return folder


@pytest.fixture(scope="session")
def nats_url(server_dir: Path) -> Iterator[str]:
    """A NATS with JetStream that syncs always."""
    yield from _serve(
        "TT_NATS_URL",
        lambda: embedded.start_nats(server_dir / "nats", log_path=server_dir / "nats.log"),
        _nats_container,
    )


@pytest.fixture(scope="session")
def postgres_url(server_dir: Path) -> Iterator[str]:
    """A PostgreSQL, not durable: tests need speed."""
    yield from _serve(
        "TT_DATABASE_URL",
        lambda: embedded.start_postgres(server_dir / "postgres", log_path=server_dir / "postgres.log", durable=False),
        _postgres_container,
    )


@pytest.fixture(scope="session")
def redis_url(server_dir: Path) -> Iterator[str]:
    """A Valkey."""
    yield from _serve(
        "TT_REDIS_URL",
        lambda: embedded.start_valkey(server_dir / "valkey", log_path=server_dir / "valkey.log"),
        _redis_container,
    )


@pytest.fixture
async def database_url(postgres_url: str) -> str:
    """A fresh, empty database."""
    import asyncpg

    name = f"test_{uuid.uuid4().hex[:12]}"
    connection = await asyncpg.connect(postgres_url)
    try:
        await connection.execute(f"CREATE DATABASE {name}")
    finally:
        await connection.close()
    return postgres_url.rsplit("/", 1)[0] + f"/{name}"


@pytest.fixture
async def provisioned_nats_url(nats_url: str) -> str:
    """A NATS with every stream of the contract, empty."""
    import nats

    from chassis.bus import provision
    from schemas.subjects import ALL_STREAMS

    client = await nats.connect(nats_url)
    try:
        jetstream = client.jetstream()
        names = {info.config.name for info in await jetstream.streams_info()}
        for spec in ALL_STREAMS:
            if spec.name in names:
                await jetstream.delete_stream(spec.name)
    finally:
        await client.close()
    await provision(nats_url)
    return nats_url


@pytest.fixture
def clock() -> FakeClock:
    """A clock that moves only when told."""
    return FakeClock()
