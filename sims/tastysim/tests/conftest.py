"""A simulator as a process of its own, started once for all tests here, and a client of it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator

import httpx
import pytest

from chassis.embedded import free_port
from tastyclient import ClientSettings, TastyClient


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the simulator listens."""
    port = free_port()
    clean = {key: value for key, value in os.environ.items() if not key.startswith("TT_")}
    own = {"TT_TASTYSIM_PORT": str(port), "TT_TASTYSIM_DATA_DIR": str(tmp_path_factory.mktemp("sim")),
           "TT_TASTYSIM_STEP_MS": "20"}  # fmt: skip
    process = subprocess.Popen([sys.executable, "-m", "tastysim"], env=clean | own)
    url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/sim/health", trust_env=False).is_success:
                break
        except httpx.HTTPError:
            time.sleep(0.05)
    else:
        raise AssertionError("the simulator did not start")
    yield url
    process.terminate()
    process.wait(10)


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
