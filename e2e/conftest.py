"""A whole system, started the way a user starts it, and an independent checker of its books."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from tastytrades import runtime
from testkit.journal import lift_throttles, set_limits
from testkit.plugin import open_to_servers

START_SECONDS = 120.0
ACCOUNT = "5WT00001"
ROOM: dict[str, str] = {
    "TT_SCANNER_SCAN_INTERVAL_SECONDS": "5",
    "TT_EXECUTOR_WALK_STEP_SECONDS": "3",
}
"""Faster scans and steps, so that a test sees many orders in little time."""
WIDE = {
    "daily_trades_automated_max": 2000, "daily_trades_max": 2000, "positions_max": 1000, "sector_positions_max": 1000,
    "beta_delta_max_pct": 1000, "vega_max_pct": 10, "underlying_max_pct": 80, "expiration_max_pct": 85,
    "exposure_max_pct": 85, "open_order_value_max_pct": 80, "var_max_pct": 50, "unknown_orders_max": 5,
    "working_orders_max": 100, "strategy_opens_per_day": 2000, "position_loss_max_pct": 50, "daily_loss_max": 15000,
    "weekly_loss_max_pct": 30, "slippage_ten_minutes_max": 100_000, "slippage_day_max": 100_000,
    "rejects_per_minute_max": 1000, "rejects_per_day_max": 1000,
}  # fmt: skip
"""Limits with room, some of them outside the safe ranges."""


@dataclass
class System:
    """A running system on a data folder of its own."""

    folder: Path
    process: subprocess.Popen[bytes]
    state: runtime.RunState
    client: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        token = runtime.secret(self.folder, "local-token")
        self.client = httpx.Client(
            base_url=f"{self.state.url}/api/v1",
            headers={"Authorization": f"Bearer {token}"},
            timeout=15,
            trust_env=False,
        )

    def refresh(self) -> runtime.RunState:
        """Process numbers after a restart."""
        self.state = runtime.load(self.folder)
        return self.state

    def get(self, path: str, **parameters: str) -> Any:
        return self.client.get(path, params=parameters).raise_for_status().json()

    def post(self, path: str, body: dict[str, object]) -> Any:
        answer = self.client.post(path, json=body)
        assert answer.is_success, answer.text
        return answer.json()

    def history(self) -> list[dict[str, Any]]:
        """Everything that happened at the simulated broker, in its own words."""
        found: list[dict[str, Any]] = httpx.get(
            f"{self.state.broker_url}/sim/history", timeout=15, trust_env=False
        ).json()
        return found

    def log(self, name: str) -> str:
        return (self.folder / "logs" / f"{name}.log").read_text(errors="replace")

    async def rows(self, statement: str) -> list[dict[str, Any]]:
        """Rows of the ledger."""
        connection = await asyncpg.connect(self.database_url())
        try:
            return [dict(row) for row in await connection.fetch(statement)]
        finally:
            await connection.close()

    def database_url(self) -> str:
        lines = (self.folder / "postgres" / "cluster" / "postmaster.pid").read_text().splitlines()
        return f"postgresql://postgres@127.0.0.1:{lines[3].strip()}/tastytrades"

    def ready(self) -> bool:
        """Whether every service says so itself."""
        for port in self.refresh().health_ports.values():
            try:
                if not httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=2, trust_env=False).is_success:
                    return False
            except httpx.HTTPError:
                return False
        return True


def start(folder: Path, *options: str, environment: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    """`tastytrades up`, as a user would."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("TT_")}
    port = runtime.choose_port(0, set())
    command = [sys.executable, "-m", "tastytrades", "up", "--data", str(folder), "--port", str(port), *options]
    with (folder / "up.log").open("wb") as log:
        return subprocess.Popen(
            command,
            env=clean | {"COLUMNS": "200"} | (environment or {}),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def await_running(folder: Path, process: subprocess.Popen[bytes]) -> System:
    """Wait until the start has finished."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        output = (folder / "up.log").read_text(errors="replace")
        assert process.poll() is None, output
        if "Ctrl-C stops everything" in output:
            running = System(folder, process, runtime.load(folder))
            with ThreadPoolExecutor(1) as thread:  # the caller may run in a loop of its own
                thread.submit(asyncio.run, make_room(running.database_url())).result()
            return running
        time.sleep(0.1)
    raise AssertionError(f"not started within {START_SECONDS:g} s: {(folder / 'up.log').read_text()}")


async def make_room(database_url: str) -> None:
    """Widen limits as the database's owner, who alone may move the safe ranges."""
    connection = await asyncpg.connect(database_url)
    try:
        for name, value in WIDE.items():
            await connection.execute(
                "UPDATE ledger.limit_range SET highest = greatest(highest, $2) WHERE name = $1", name, Decimal(value)
            )
    finally:
        await connection.close()
    await set_limits(database_url, {name: str(value) for name, value in WIDE.items()})
    await lift_throttles(database_url)


def stop(process: subprocess.Popen[bytes]) -> int:
    """Ctrl-C."""
    process.send_signal(signal.SIGINT)
    return process.wait(60)


@pytest.fixture(scope="package")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """An armed system with room in its limits, shared by the tests of this folder."""
    folder = tmp_path_factory.mktemp("system")
    open_to_servers(folder)
    process = start(folder, "--auto", environment=ROOM)
    running = await_running(folder, process)
    yield running
    running.client.close()
    stop(process)


def signed(fill: dict[str, Any], legs: list[dict[str, Any]]) -> int:
    """Contracts of a fill at the simulator, sold negative."""
    action = next(leg["action"] for leg in legs if leg["symbol"] == fill["symbol"])
    return int(fill["quantity"]) * (1 if action.startswith("Buy") else -1)


def broker_fills(history: list[dict[str, Any]]) -> dict[tuple[str, str, str], int]:
    """(order, symbol, fill id) → signed contracts, of everything that ever filled."""
    return {
        (str(event["order-id"]), fill["symbol"], fill["fill-id"]): signed(fill, event["legs"])
        for event in history
        for fill in event.get("fills", ())
    }


async def faults_in_the_books(system: System) -> list[str]:
    """What is wrong: a doubled order, a lost or invented fill, a position that differs. Empty when all agree."""
    found = []
    history = system.history()
    submitted = Counter(event["external-identifier"] for event in history if event["what"] == "submitted")
    found += [f"{identity} was accepted {count} times" for identity, count in submitted.items() if count > 1]
    theirs = broker_fills(history)
    rows = await system.rows("SELECT broker_order_id, occ_symbol, fill_id, signed_quantity FROM ledger.fill")
    ours = {(row["broker_order_id"], row["occ_symbol"], row["fill_id"]): row["signed_quantity"] for row in rows}
    found += [f"fill {key} is lost" for key in theirs.keys() - ours.keys()]
    found += [f"fill {key} is invented" for key in ours.keys() - theirs.keys()]
    found += [f"fill {key} differs" for key in theirs.keys() & ours.keys() if theirs[key] != ours[key]]
    held: Counter[str] = Counter()
    for (_, symbol, _), quantity in theirs.items():
        held[symbol] += quantity
    rows = await system.rows("SELECT occ_symbol, signed_quantity FROM ledger.position")
    book = {row["occ_symbol"]: row["signed_quantity"] for row in rows}
    found += [
        f"{symbol}: broker {held[symbol]}, ledger {book.get(symbol, 0)}"
        for symbol in held.keys() | book.keys()
        if held[symbol] != book.get(symbol, 0)
    ]
    known = await system.rows("SELECT external_identifier FROM ledger.intent WHERE external_identifier IS NOT NULL")
    strangers = submitted.keys() - {row["external_identifier"] for row in known}
    return found + [f"order {identity} is not in the journal" for identity in strangers]


def propose_some(system: System, count: int) -> int:
    """Ask for trades by hand, so that orders keep flowing; returns how many were taken."""
    try:
        candidates = [each for each in system.get("/scans/latest")["candidates"] if each["passed"]]
    except httpx.HTTPError:
        return 0
    taken = 0
    for candidate in candidates[:: max(1, len(candidates) // max(1, count))][:count]:
        body = {"account_number": ACCOUNT, "candidate_id": candidate["candidate_id"], "quantity": 1}
        try:
            taken += system.client.post("/proposals", json=body).is_success
        except httpx.HTTPError:
            continue
    return taken


def as_json(value: object) -> str:
    return json.dumps(value, default=str)


async def run_in_thread(act: Any, *arguments: Any) -> Any:
    return await asyncio.to_thread(act, *arguments)
