"""From the feed to the fill, stops, and the death of any process, on a whole running system."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import nats
import pytest

from e2e.conftest import ACCOUNT, ROOM, System, await_running, faults_in_the_books, propose_some, start, stop
from schemas import subjects
from schemas.commands import KillAck, KillCommand
from tastytrades.kill_watch import LISTENERS
from testkit import eventually
from testkit.plugin import open_to_servers

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]

STOPS = 20 * int(os.environ.get("TT_TEST_SCALE", "1"))
CRASHES = (
    "executor",
    "guardian",
    "risk",
    "tastysim",
    "gateway",
    "marketdata",
    "scanner",
    "analyzer",
    "nats",
    "postgres",
    "valkey",
)


async def books_agree(system: System) -> None:
    """The broker's history and the ledger agree once what is under way has arrived."""

    async def quiet() -> bool:
        return not await faults_in_the_books(system)

    try:
        await eventually(quiet, timeout=60, every=0.5)
    except AssertionError:
        raise AssertionError("\n".join(await faults_in_the_books(system))) from None


async def resume(system: System) -> None:
    gate = system.get("/control/gate")
    for row in gate["rows"]:
        if row["mode"] != "run":
            body = {"scope": row["scope"], "scope_value": row["scope_value"], "reason": "the trial is over"}
            system.post("/control/resume", body)


async def test_a_raw_message_stops_everything(system: System) -> None:
    """An empty message of any NATS client: nothing is sent after the gate's commit, working orders are cancelled."""
    await resume(system)

    def something_works() -> bool:
        propose_some(system, 6)
        return bool(system.get("/orders", state="working"))

    await eventually(something_works, timeout=60, every=0.5)
    client = await nats.connect(system.state.nats_url)
    await client.publish(subjects.KILL, b"")
    await client.flush()
    sent_at = time.time()
    await client.close()

    async def stopped() -> object:
        rows = await system.rows("SELECT changed_at FROM ledger.gate WHERE scope = 'all' AND mode = 'cancel_working'")
        return rows and rows[0]["changed_at"]

    committed = await eventually(stopped, timeout=10)
    assert committed.timestamp() - sent_at < 2  # type: ignore[attr-defined]

    async def nothing_works() -> bool:
        working = {event["order-id"]: event["status"] for event in system.history() if "fills" in event}
        return "Live" not in working.values()

    await eventually(nothing_works, timeout=15)
    before = len([event for event in system.history() if event["what"] == "submitted"])
    propose_some(system, 4)
    deadline = time.monotonic() + 4

    def unchanged() -> bool:
        assert len([event for event in system.history() if event["what"] == "submitted"]) == before
        return time.monotonic() > deadline

    await eventually(unchanged, timeout=10, every=0.2)
    late = await system.rows(
        "SELECT intent_id FROM ledger.intent, ledger.gate WHERE scope = 'all' AND submitting_at > changed_at"
    )
    assert not late
    await books_agree(system)
    await resume(system)


async def test_no_permit_is_given_after_a_raw_stop_has_committed(system: System) -> None:
    """Stops that race with proposals in flight: whatever was sent had its permit before the gate's commit."""
    latches: list[float] = []
    for _ in range(STOPS):
        await resume(system)
        before = await sent(system)

        async def one_is_sent(count: int = before) -> bool:
            propose_some(system, 3)
            return await sent(system) > count

        await eventually(one_is_sent, timeout=60, every=0.05)
        latches += await latched(system, b"stop")
        propose_some(system, 3)
        await eventually(lambda: gate_is_shut(system), timeout=10, every=0.02)
        await eventually(lambda: nothing_is_left(system), timeout=20, every=0.1)
        late = await system.rows(
            "SELECT intent_id FROM ledger.intent, ledger.gate WHERE scope = 'all' AND submitting_at > changed_at"
        )
        assert not late
    await books_agree(system)
    await resume(system)
    latches.sort()
    p50, p99 = (latches[min(len(latches) - 1, int(len(latches) * share))] for share in (0.5, 0.99))
    report(
        f"broadcast to latch over {STOPS} stops, {len(latches)} processes: p50 {p50:.1f} p99 {p99:.1f} "
        f"max {latches[-1]:.1f} ms"
    )
    assert p50 < 1000


def report(line: str) -> None:
    """Show a measurement even where the output of a passing test is not."""
    sys.stderr.write(f"\n{line}\n")
    if where := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(where).open("a") as file:
            file.write(f"{line}\n")


async def latched(system: System, message: bytes) -> list[float]:
    """Send a raw stop; milliseconds until each of the processes that must confirm had its flag set."""
    client = await nats.connect(system.state.nats_url)
    found: dict[str, float] = {}
    command_id = str(uuid.uuid4())
    command = KillCommand(command_id=command_id, who="trial", why=message.decode())

    async def on_ack(answer: object) -> None:
        ack = KillAck.model_validate_json(answer.data)  # type: ignore[attr-defined]
        if ack.command_id == command_id:
            found.setdefault(ack.service, (ack.ts_event.timestamp() - began) * 1000)

    await client.subscribe(subjects.KILL_ACK, cb=on_ack)
    await client.flush()
    began = time.time()
    await client.publish(subjects.KILL, command.model_dump_json().encode())
    with contextlib.suppress(AssertionError):  # one that is too late is ended, and confirms nothing any more
        await eventually(lambda: set(LISTENERS) <= set(found), timeout=3)
    await client.close()
    assert "executor" in found or await gate_is_shut(system)
    return list(found.values())


async def sent(system: System) -> int:
    rows = await system.rows("SELECT count(*) AS n FROM ledger.intent WHERE submitting_at IS NOT NULL")
    return int(rows[0]["n"])


async def gate_is_shut(system: System) -> bool:
    rows = await system.rows("SELECT mode FROM ledger.gate WHERE scope = 'all'")
    return bool(rows[0]["mode"] == "cancel_working")


async def nothing_is_left(system: System) -> bool:
    """Every intent is at its end: what was approved is withdrawn, what worked is cancelled."""
    rows = await system.rows(
        "SELECT count(*) AS n FROM ledger.intent WHERE state IN "
        "('approved', 'submitting', 'acked', 'working', 'cancel_pending', 'replace_pending')"
    )
    return bool(rows[0]["n"] == 0)


async def test_a_stop_through_the_api_is_confirmed_and_resumed_with_a_reason(system: System) -> None:
    """Every process confirms, the executor finds nothing working; resuming without a reason is refused."""
    await resume(system)
    accepted = system.post("/control/kill", {"why": "trial of the switch"})
    state = await eventually(
        lambda: (answer := system.get(f"/control/kill/{accepted['command_id']}"))["confirmed"] and answer, timeout=20
    )
    assert {ack["service"] for ack in state["acks"]} >= {"scanner", "risk", "executor", "gateway"}
    refused = system.client.post("/control/resume", json={"reason": "short"})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "reason"
    await resume(system)
    assert all(row["mode"] == "run" for row in system.get("/control/gate")["rows"])
    # the stop is over in every process
    await eventually(lambda: not any(each["killed"] for each in system.get("/system")["services"]), timeout=15)


async def test_the_command_line_stops_and_resumes(system: System) -> None:
    """`tastytrades kill` reports who confirmed; `resume` wants a reason."""
    await resume(system)

    def tastytrades(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tastytrades", *arguments, "--data", str(system.folder)]
        clean = {key: value for key, value in os.environ.items() if not key.startswith("TT_")} | {"COLUMNS": "200"}
        return subprocess.run(command, env=clean, capture_output=True, text=True, timeout=60, check=False)

    stopped = tastytrades("kill", "--why", "trial of the command line")
    assert stopped.returncode == 0, stopped.stderr
    assert "confirmed by executor, gateway, guardian, risk, scanner; working orders: 0" in stopped.stdout
    assert tastytrades("resume", "--reason", "short").returncode == 1
    assert tastytrades("resume", "--reason", "the trial is over").returncode == 0
    assert all(row["mode"] == "run" for row in system.get("/control/gate")["rows"])


async def give_up_the_lost(system: System) -> None:
    """As an operator with the broker's own history: what it never had holds its strategy back until it is given up."""

    async def none_is_lost() -> bool:
        lost = await system.rows("SELECT intent_id, state FROM ledger.intent WHERE state IN ('unknown', 'quarantine')")
        for row in lost:
            if row["state"] == "quarantine":
                system.client.post(f"/orders/{row['intent_id']}/give-up", json={"reason": "not in the history"})
        return not lost

    await eventually(none_is_lost, timeout=100, every=0.5)


@pytest.mark.parametrize("name", CRASHES)
async def test_kill_9_of_any_process_doubles_and_loses_nothing(system: System, name: str) -> None:
    """It comes back while orders flow; afterwards broker and ledger agree to the contract."""
    await resume(system)

    def flowing() -> bool:
        propose_some(system, 5)
        return bool(system.get("/orders", state="working"))

    await eventually(flowing, timeout=60, every=0.3)
    old = system.refresh().processes[name]
    os.kill(old, signal.SIGKILL)

    def back() -> bool:
        propose_some(system, 2)
        return system.refresh().processes[name] != old and system.ready()

    await eventually(back, timeout=90, every=0.3)
    orders = len([event for event in system.history() if event["what"] == "submitted"])

    def trades_again() -> bool:
        propose_some(system, 4)
        return len([event for event in system.history() if event["what"] == "submitted"]) > orders

    await give_up_the_lost(system)
    await eventually(trades_again, timeout=60, every=0.5)
    await books_agree(system)


async def test_a_whole_basket_is_filled_and_a_second_start_finds_it_again(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Started with --auto it proposes, approves, submits, walks and fills five trades of one cycle within 3 minutes.

    Ctrl-C then stops everything cleanly; the same folder goes on with the same positions, gate and login.
    """
    folder = tmp_path_factory.mktemp("again")
    open_to_servers(folder)
    process = start(folder, "--auto", "--no-web", environment=ROOM)
    try:
        first = await_running(folder, process)
        await one_basket_filled(first)
        first.post("/control/kill", {"why": "kept over a restart"})
        await eventually(lambda: nothing_is_left(first), timeout=20, every=0.1)
        await books_agree(first)
        held = await held_by_the_ledger(first)
        password = (folder / "secrets" / "demo-password").read_text()
        pids = dict(first.refresh().processes)
    finally:
        code = stop(process)
    assert code == 0
    assert not [name for name, pid in pids.items() if _alive(pid)]
    process = start(folder, "--no-web", environment=ROOM)
    try:
        again = await_running(folder, process)
        assert [row["mode"] for row in again.get("/control/gate")["rows"]] == ["cancel_working"]
        assert again.post("/auth/login", {"username": "demo", "password": password})["role"] == "admin"
        assert [each["account_number"] for each in again.get("/accounts")] == [ACCOUNT]
        await books_agree(again)
        assert await held_by_the_ledger(again) == held
    finally:
        assert stop(process) == 0


async def one_basket_filled(system: System) -> None:
    baskets: dict[str, set[str]] = {}

    async def filled() -> bool:
        latest = system.client.get("/scans/latest")
        if latest.is_success and latest.json()["executed"]:
            baskets[latest.json()["cycle_id"]] = set(latest.json()["basket"])
        rows = await system.rows(
            "SELECT root.signal_id FROM ledger.intent root "
            "JOIN ledger.intent last ON last.root_intent_id = root.intent_id "
            "WHERE root.source = 'scanner' AND root.walk_step = 0 AND last.state = 'filled'"
        )
        done = {row["signal_id"] for row in rows}
        return any(len(basket) == 5 and basket <= done for basket in baskets.values())

    await eventually(filled, timeout=170, every=0.5)
    walked = await system.rows("SELECT count(*) AS n FROM ledger.intent WHERE walk_step > 0")
    assert walked[0]["n"] > 0
    cycle = system.get("/scans/latest")
    assert cycle["contracts"] >= 10_000
    assert cycle["underlyings"] == 18
    assert all(candidate["rules"] for candidate in cycle["candidates"])


async def held_by_the_ledger(system: System) -> dict[str, int]:
    rows = await system.rows("SELECT occ_symbol, signed_quantity FROM ledger.position WHERE signed_quantity <> 0")
    return {row["occ_symbol"]: row["signed_quantity"] for row in rows}


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
