"""A simulator as a process of its own, started once for all tests here, and a client of it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from chassis.embedded import free_port
from tastyclient import ClientSettings, TastyClient
from tastysim.faults import FaultBase


@dataclass
class Simulator:
    """A simulator process of a test's own, which can be stopped and started again at the same address."""

    folder: Path
    settings: dict[str, str]
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Returns when it answers."""
        clean = {key: value for key, value in os.environ.items() if not key.startswith("TT_")}
        own = {"TT_TASTYSIM_PORT": str(self.port), "TT_TASTYSIM_DATA_DIR": str(self.folder)}
        own |= {f"TT_TASTYSIM_{name.upper()}": value for name, value in self.settings.items()}
        self.process = subprocess.Popen([sys.executable, "-m", "tastysim"], env=clean | own)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                if httpx.get(f"{self.url}/sim/health", trust_env=False).is_success:
                    return
            except httpx.HTTPError:
                time.sleep(0.05)
        raise AssertionError("the simulator did not start")

    def kill(self) -> None:
        """End it at once."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the simulator listens."""
    simulator = Simulator(tmp_path_factory.mktemp("sim"), {"step_ms": "20"})
    simulator.start()
    yield simulator.url
    simulator.kill()


@pytest.fixture(scope="session")
def fast_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where one listens whose market lives a minute in two seconds, so that nobody waits for trades."""
    simulator = Simulator(tmp_path_factory.mktemp("fast"), {"step_ms": "20", "speed": "30"})
    simulator.start()
    yield simulator.url
    simulator.kill()


@pytest.fixture
def simulator_with(tmp_path: Path) -> Iterator[Callable[..., Simulator]]:
    """Starts a simulator with settings of its own."""
    started: list[Simulator] = []

    def start(**settings: str) -> Simulator:
        found = Simulator(tmp_path / f"sim-{len(started)}", settings)
        started.append(found)
        found.start()
        return found

    yield start
    for each in started:
        each.kill()


@pytest.fixture
def client_with(address: str) -> Callable[..., TastyClient]:
    """Makes a client that asks as fast as it likes."""

    def make(**more: object) -> TastyClient:
        given = {"base_url": address, "client_secret": "demo-client-secret", "refresh_token": "demo-refresh-token"}
        return TastyClient(ClientSettings.model_validate({**given, "requests_per_second": 500, "burst": 100, **more}))

    return make


@pytest.fixture
async def client(client_with: Callable[..., TastyClient]) -> AsyncIterator[TastyClient]:
    """A client that is logged in when it first asks."""
    async with client_with() as found:
        yield found


@pytest.fixture
async def account(client: TastyClient) -> str:
    """A new account with $100,000, so that tests do not meet in one."""
    body = {"account-type": "Individual", "margin-or-cash": "Margin", "funding-amount": 100_000}
    opened = await client.transport.send("POST", "/sandbox/customers/me/accounts", body)
    return str(opened["account-number"])


class FaultsOf:
    """The faults of a simulator, and what it says of itself."""

    def __init__(self, address: str) -> None:
        self.http = httpx.Client(base_url=address, trust_env=False, verify=False)  # plain HTTP: no certificates to load

    def install(self, *faults: FaultBase) -> list[str]:
        """Names of the faults, all installed."""
        answer = self.http.post("/sim/faults", json=[each.body() for each in faults])
        assert answer.status_code == 201, answer.text
        return [row["name"] for row in answer.json()]

    def remove(self, name: str) -> dict[str, Any]:
        """Take a fault out; what it did."""
        found: dict[str, Any] = self.http.delete(f"/sim/faults/{name}").raise_for_status().json()
        return found

    def row(self, name: str) -> dict[str, Any]:
        """A fault that is installed: how often it was seen and struck."""
        rows: list[dict[str, Any]] = self.http.get("/sim/faults").json()
        return next(row for row in rows if row["name"] == name)

    def history(self, account: str) -> list[dict[str, Any]]:
        """What happened in an account, in the simulator's own words."""
        rows: list[dict[str, Any]] = self.http.get("/sim/history").json()
        return [row for row in rows if row.get("account-number") == account]

    def told(self, account: str, *what: str) -> list[str]:
        """Which of these things happened in an account, in their order."""
        return [row["what"] for row in self.history(account) if row["what"] in what]

    def strikes(self, account: str) -> list[dict[str, Any]]:
        """What struck an account, as the history has it."""
        return [row for row in self.history(account) if row["what"] == "fault"]


@pytest.fixture
def faults(address: str) -> Iterator[FaultsOf]:
    """Faults of the simulator, all removed after the test."""
    found = FaultsOf(address)
    yield found
    found.http.delete("/sim/faults").raise_for_status()
    found.http.close()


@pytest.fixture
async def sdk_session(address: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """The PyPI package `tastytrade`, unmodified, logged in here: it has its addresses as constants."""
    session_module, streamer_module = (
        pytest.importorskip(f"tastytrade.{name}") for name in ("session", "streamer")
    )  # fmt: skip
    monkeypatch.setattr(session_module, "API_URL", address)
    monkeypatch.setattr(streamer_module, "STREAMER_URL", address.replace("http", "ws"))
    async with session_module.Session("demo-client-secret", "demo-refresh-token") as found:
        yield found
