"""The kill-switch drill: stop a system that has working orders, and measure how long everything takes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import nats
import psutil
from pydantic import SecretStr

from schemas import subjects
from schemas.commands import KillAck
from tastyclient import BrokerError, ClientSettings, NewLeg, NewOrder, PlacedOrder, TastyClient
from tastytrades import runtime
from tastytrades.api import Gateway
from tastytrades.kill_watch import LISTENERS
from tastytrades.runtime import RuntimeFault

ORDERS, PROPOSE_SECONDS, START_SECONDS, TRIAL_SECONDS = 5, 15.0, 120.0, 60.0
POLL_SECONDS = 0.05
"""The broker's list is read this often: the resolution of the times of cancellations."""
SEND_WINDOW_SECONDS = 2.0
"""A permit given before the stop may still be used for so long."""
SWEEPS_SECONDS = 5.0
"""The executor's third clean sweep may come so much later than the guardian's."""
TARGETS_MS = {"gate_commit_ms": 1000, "latch_ms": 1000, "first_cancel_ms": 500, "all_cancelled_ms": 5000,
              "three_clean_sweeps_ms": 15000}  # fmt: skip
OUTAGES = ("none", "nats", "postgres")
FILE = "drills.jsonl"


@dataclass(slots=True)
class Trial:
    """One stop, in milliseconds since it was asked for; None = did not happen, or cannot be seen from outside."""

    down: str
    working_orders: int
    gate_commit_ms: float | None = None
    latch_ms: dict[str, float] = field(default_factory=dict)
    """Service → its flag was set. With the bus down seen by its metrics, which move once a second."""
    first_cancel_ms: float | None = None
    all_cancelled_ms: float | None = None
    three_clean_sweeps_ms: dict[str, float] = field(default_factory=dict)
    """Who swept → the third sweep in a row that found nothing."""
    sent_after_stop: int = 0
    """Orders the broker got although the stop had committed."""
    missed: list[str] = field(default_factory=list)
    """Targets that were not kept."""

    def judge(self) -> None:
        """Compare with the targets; what must exist and does not is missed too."""
        values: dict[str, float | None] = {
            "first_cancel_ms": self.first_cancel_ms,
            "all_cancelled_ms": self.all_cancelled_ms,
            "three_clean_sweeps_ms": min(self.three_clean_sweeps_ms.values(), default=None),
        }
        if self.down != "postgres":
            values["gate_commit_ms"] = self.gate_commit_ms
        found = [name for name, value in values.items() if value is None or value > TARGETS_MS[name]]
        # metrics that move once a second tell no more than that a flag was set
        bound = TARGETS_MS["latch_ms"] + (1500 if self.down == "nats" else 0)
        found += [f"latch_ms of {name}" for name in LISTENERS if self.latch_ms.get(name, 1e9) > bound]
        self.missed = found + (["sent_after_stop"] if self.sent_after_stop else [])


def drill(folder: Path, downs: list[str], own: bool, tell: Any) -> dict[str, Any]:
    """Run the trials on the system of the folder, or on one that is started for it. Raises RuntimeFault."""
    wrong = [each for each in downs if each not in OUTAGES]
    if wrong:
        raise RuntimeFault(f"--down {wrong[0]!r} is not known: use {', '.join(OUTAGES)}")
    running = None
    with contextlib.suppress(RuntimeFault):
        running = runtime.load(folder)
    if running is not None and not own:
        if running.mode != "sim":
            raise RuntimeFault(f"the running system is in mode {running.mode}: drills run in the simulator; use --own")
        if downs not in ([], ["none"]):
            raise RuntimeFault("servers are taken down on a system that is started for the drill only: add --own")
        trials = asyncio.run(_trials(folder, ["none"], tell, resume=False))
    else:
        own = True
        with _own_system(folder / "drill", tell):
            trials = asyncio.run(_trials(folder / "drill", downs or list(OUTAGES), tell, resume=True))
    result = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"), "mode": "sim", "own_system": own,
        "trials": [asdict(each) for each in trials],
    }  # fmt: skip
    _keep(folder, result, running is not None)
    return result


def history(folder: Path) -> list[dict[str, Any]]:
    """Every drill kept with the data folder, oldest first."""
    try:
        lines = (folder / FILE).read_text().splitlines()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines if line.strip()]


def _keep(folder: Path, result: dict[str, Any], running: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / FILE).open("a") as file:
        file.write(json.dumps(result) + "\n")
    if running:
        with contextlib.suppress(RuntimeFault), Gateway(folder) as gateway:
            gateway.post("/control/drills", {"result": json.dumps(result)})


@contextmanager
def _own_system(folder: Path, tell: Any) -> Iterator[None]:
    """A simulated system for the drill alone, stopped afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    clean = {key: value for key, value in os.environ.items() if not key.startswith("TT_")}
    port = runtime.choose_port(0, set())
    command = [sys.executable, "-m", "tastytrades", "up", "--no-web", "--data", str(folder), "--port", str(port)]
    tell("starting a system for the drill")
    with (folder / "up.log").open("wb") as log:
        process = subprocess.Popen(command, env=clean | {"COLUMNS": "200"}, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + START_SECONDS
        while "Ctrl-C stops everything" not in (folder / "up.log").read_text(errors="replace"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeFault(f"the system for the drill did not start: see {folder / 'up.log'}")
            time.sleep(0.1)
        yield
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()


async def _trials(folder: Path, downs: list[str], tell: Any, *, resume: bool) -> list[Trial]:
    found = []
    for down in downs:
        stand = Stand(folder)
        async with stand.connected():
            tell(f"bringing orders to work (down: {down})")
            await stand.fills("never")
            try:
                orders = await stand.bring_orders(own=resume)
                tell(f"stopping with {len(orders)} working orders")
                found.append(await stand.trial(down, orders))
            finally:
                await stand.fills("book")
            if resume:
                await stand.resume()
    return found


class Stand:
    """The running system, seen from outside: its API, its bus, its processes, its broker."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.state = folder, runtime.load(folder)
        self.gateway = Gateway(folder)
        self.client = TastyClient(
            ClientSettings(
                base_url=self.state.broker_url,
                client_secret=SecretStr(runtime.secret(folder, "sim-client-secret")),
                refresh_token=SecretStr(runtime.secret(folder, "sim-refresh-token")),
                requests_per_second=50, burst=200,
            )
        )  # fmt: skip
        self.account = self._command_id = ""

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """Close what was opened."""
        async with self.client:
            self.account = (await self.client.accounts())[0].account_number
            with self.gateway:
                yield

    async def fills(self, behaviour: str) -> None:
        """How the simulator fills from now on."""
        async with httpx.AsyncClient(base_url=self.state.broker_url, trust_env=False) as http:
            (await http.put("/sim/fills", json={"behavior": behaviour})).raise_for_status()

    async def working(self) -> dict[int, PlacedOrder]:
        """Orders of the account that can still fill."""
        orders = await self.client.live_orders(self.account)
        return {order.id: order for order in orders if not order.status.is_terminal}

    async def bring_orders(self, *, own: bool) -> set[int]:
        """Proposals of the newest scan, as a person would make them.

        On a system of its own orders are placed at the broker itself where too few are approved; on one that somebody
        uses they would be strangers in its books, so that more time is given and one order is enough.
        """
        deadline = time.monotonic() + (PROPOSE_SECONDS if own else 4 * PROPOSE_SECONDS)
        while time.monotonic() < deadline and len(found := await self.working()) < ORDERS:
            if found and not own and time.monotonic() > deadline - 3 * PROPOSE_SECONDS:
                break
            await asyncio.to_thread(self._propose, ORDERS)
            await asyncio.sleep(0.5)
        symbols = await asyncio.to_thread(self._contracts) if own else []
        for symbol in symbols[: max(0, ORDERS - len(await self.working()))]:
            leg = NewLeg(symbol=symbol, action="Buy to Open", quantity=1)
            with contextlib.suppress(BrokerError):
                await self.client.submit(self.account, NewOrder.model_validate({"legs": (leg,), "price": "-0.01"}))
        if not (found := await self.working()):
            raise RuntimeFault(
                "no order could be brought to work: is the market open, is trading resumed, does a candidate pass? "
                "`tastytrades orders` says why proposals were denied; --own drills on a system of its own"
            )
        return set(found)

    def _propose(self, count: int) -> None:
        with contextlib.suppress(RuntimeFault, KeyError):
            candidates = [each for each in self.gateway.get("/scans/latest")["candidates"] if each["passed"]]
            for each in candidates[:: max(1, len(candidates) // count)][:count]:
                body = {"account_number": self.account, "candidate_id": each["candidate_id"], "quantity": 1}
                with contextlib.suppress(RuntimeFault):
                    self.gateway.post("/proposals", body)

    def _contracts(self) -> list[str]:
        with contextlib.suppress(RuntimeFault, KeyError):
            return [str(each["occ_symbol"]) for each in self.gateway.get("/options/chains/SPY")["contracts"]]
        return []

    async def trial(self, down: str, orders: set[int]) -> Trial:
        """Stop and watch. The server that is to be away stands still before the stop, and goes on after the trial."""
        trial = Trial(down, len(orders))
        frozen = self._processes(down)
        for process in frozen:
            process.suspend()
        try:
            began = time.time()
            async with self._acks(down, trial, began), asyncio.TaskGroup() as tasks:
                tasks.create_task(self._stop(trial))
                tasks.create_task(self._cancellations(trial, orders, began))
                tasks.create_task(self._guardian(trial, began))
                if down == "nats":
                    tasks.create_task(self._flags(trial, began))
            await self._gate(trial)
        finally:
            for process in frozen:
                process.resume()
        trial.judge()
        return trial

    def _processes(self, down: str) -> list[psutil.Process]:
        if down == "none":
            return []
        server = psutil.Process(self.state.processes[down])
        return [server, *server.children(recursive=True)]

    async def _stop(self, trial: Trial) -> None:
        body: dict[str, object] = {"scope": "all", "mode": "cancel_working", "why": f"drill, down: {trial.down}"}
        answer = await asyncio.to_thread(self.gateway.post, "/control/kill", body)
        self._command_id = str(answer["command_id"])

    async def _gate(self, trial: Trial) -> None:
        """How long the commit took, as the gateway saw it; None while it has not come."""
        record = await asyncio.to_thread(self.gateway.get, f"/control/kill/{self._command_id}")
        seconds = record.get("gate_seconds")
        trial.gate_commit_ms = None if seconds is None else round(seconds * 1000, 1)

    @asynccontextmanager
    async def _acks(self, down: str, trial: Trial, began: float) -> AsyncIterator[None]:
        """Who confirmed when, by the processes' own clock, which is this machine's."""
        if down == "nats":
            yield
            return
        zeros: list[float] = []
        clean = asyncio.Event()

        async def on_ack(message: Any) -> None:
            ack = KillAck.model_validate_json(message.data)
            at = round((ack.ts_event.timestamp() - began) * 1000, 1)
            if at >= 0:
                trial.latch_ms.setdefault(ack.service, at)
            if ack.service == "executor":
                zeros.append(at)
                if ack.working_orders != 0:
                    zeros.clear()
                elif len(zeros) == 3:
                    trial.three_clean_sweeps_ms.setdefault("executor", at)
                    clean.set()

        client = await nats.connect(self.state.nats_url, connect_timeout=3)
        try:
            await client.subscribe(subjects.KILL_ACK, cb=on_ack)
            await client.flush(3)
            yield
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(clean.wait(), SWEEPS_SECONDS if down == "none" else 0.0)
        finally:
            await client.close()

    async def _cancellations(self, trial: Trial, orders: set[int], began: float) -> None:
        """What the broker sees: the first cancellation, the last, and orders that should not have come."""
        late: set[int] = set()
        while time.time() - began < TRIAL_SECONDS:
            working, at = await self.working(), round((time.time() - began) * 1000, 1)
            asked = {number for number, order in working.items() if order.status.value == "Cancel Requested"}
            gone = orders - (working.keys() - asked)
            if gone and trial.first_cancel_ms is None:
                trial.first_cancel_ms = at
            if not working and trial.all_cancelled_ms is None:
                trial.all_cancelled_ms = at
            if at > SEND_WINDOW_SECONDS * 1000:
                late |= working.keys() - orders
                if trial.all_cancelled_ms is not None and at > 2 * SEND_WINDOW_SECONDS * 1000:
                    break
            else:
                orders = orders | working.keys()
            await asyncio.sleep(POLL_SECONDS)
        trial.sent_after_stop = len(late)

    async def _guardian(self, trial: Trial, began: float) -> None:
        """Until the guardian says that it is done."""
        async with httpx.AsyncClient(timeout=2.0, trust_env=False) as http:
            while time.time() - began < TRIAL_SECONDS:
                state = await self._json(http, "guardian", "/state")
                newest = state.get("newest_stop", {})
                heard = _after(newest.get("heard_at"), began)
                if heard is not None and heard >= 0:
                    trial.latch_ms.setdefault("guardian", heard)
                    clean = _after(newest.get("clean_at"), began) or self._held_clean(state, began)
                    if clean is not None:
                        trial.three_clean_sweeps_ms.setdefault("guardian", clean)
                        return
                await asyncio.sleep(0.1)

    def _held_clean(self, state: dict[str, Any], began: float) -> float | None:
        """A stop that the file holds goes on after it is carried out."""
        held = [stop for stop in state.get("stops", ()) if stop["clean_sweeps"] >= 3]
        return round((time.time() - began) * 1000, 1) if held else None

    async def _flags(self, trial: Trial, began: float) -> None:
        """Without a bus: when each process says in its metrics that it is stopped."""
        async with httpx.AsyncClient(timeout=2.0, trust_env=False) as http:
            while time.time() - began < TRIAL_SECONDS / 4 and set(LISTENERS) - trial.latch_ms.keys():
                for service in set(LISTENERS) - trial.latch_ms.keys() - {"guardian"}:
                    with contextlib.suppress(httpx.HTTPError):
                        text = (await http.get(f"http://127.0.0.1:{self.state.health_ports[service]}/metrics")).text
                        if f'tt_stopped{{service="{service}"}} 1.0' in text:
                            trial.latch_ms[service] = round((time.time() - began) * 1000, 1)
                await asyncio.sleep(0.1)

    async def _json(self, http: httpx.AsyncClient, service: str, path: str) -> dict[str, Any]:
        try:
            found = (await http.get(f"http://127.0.0.1:{self.state.health_ports[service]}{path}")).json()
        except (httpx.HTTPError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    async def resume(self) -> None:
        """Trade again, once the gate is written and every process is ready."""
        deadline = time.monotonic() + TRIAL_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(RuntimeFault, httpx.HTTPError):
                gate = await asyncio.to_thread(self.gateway.get, "/control/gate")
                if gate["rows"] and all(row["mode"] != "run" for row in gate["rows"] if row["scope"] == "all"):
                    body: dict[str, object] = {"scope": "all", "reason": "the drill is over"}
                    await asyncio.to_thread(self.gateway.post, "/control/resume", body)
                    break
            await asyncio.sleep(0.2)
        else:
            raise RuntimeFault("the stop of the drill was never written: see the gateway's log")
        while time.monotonic() < deadline:
            system = await asyncio.to_thread(self.gateway.get, "/system")
            if not any(each["killed"] or not each["ready"] for each in system["services"]):
                return
            await asyncio.sleep(0.2)


def _after(text: str | None, began: float) -> float | None:
    return None if text is None else round((datetime.fromisoformat(text).timestamp() - began) * 1000, 1)
