"""Stop trading by every road: the gateway first; when it does not, file, guardian and control message together."""

from __future__ import annotations

import asyncio
import getpass
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

import httpx
from pydantic import ValidationError
from rich.console import Console

from chassis import kill_file
from schemas import subjects
from schemas.commands import KillCommand
from tastytrades import runtime
from tastytrades.api import Gateway
from tastytrades.runtime import RuntimeFault

BROADCASTS, BROADCAST_GAP_SECONDS = 5, 0.2
CONFIRM_SECONDS = 15.0


def kill(folder: Path, scope: str, value: str, mode: str, why: str, console: Console) -> None:
    """Stop and wait for the confirmations. Raises RuntimeFault when a field is wrong or no road worked."""
    if mode == "run":
        raise RuntimeFault("--mode run does not stop anything: use `tastytrades resume --reason …` to trade again")
    try:
        command = KillCommand.model_validate(
            {
                "ts_event": datetime.now(UTC),
                "scope": scope,
                "scope_value": value,
                "mode": mode,
                "who": getpass.getuser(),
                "why": why,
                "command_id": str(uuid.uuid4()),
            }
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise RuntimeFault(f"--{str(first['loc'][0]).replace('scope_value', 'value')}: {first['msg']}") from None
    try:
        with Gateway(folder) as gateway:
            answer = gateway.post("/control/kill", {"scope": scope, "scope_value": value, "mode": mode, "why": why})
            _await_confirmation(gateway, str(answer["command_id"]), console)
    except RuntimeFault as fault:
        console.print(f"[yellow]the gateway did not stop it ({fault}); taking every other road[/]")
        _every_other_road(folder, command, console)


def _every_other_road(folder: Path, command: KillCommand, console: Console) -> None:
    """File, guardian and bus, each whatever becomes of the others. Raises RuntimeFault when none of them worked."""
    taken: list[str] = []
    try:
        kill_file.write(folder, command)
        taken.append(f"the file {kill_file.path(folder)} (every process on this machine obeys it)")
    except OSError as error:
        console.print(f"[yellow]the file could not be written: {error}[/]")
    try:
        state = runtime.load(folder)
    except RuntimeFault as fault:
        console.print(f"[yellow]{fault}[/]")
    else:
        if tell_guardian(folder, state, command):
            taken.append("the guardian")
        acks = asyncio.run(broadcast(state.nats_url, command))
        if acks:
            taken.append(f"the bus, confirmed by {', '.join(sorted(acks))}")
    if not taken:
        raise RuntimeFault(
            "no road worked: press Ctrl-C where `tastytrades up` runs, then cancel at the broker's own site"
        )
    console.print("stopped by " + "; ".join(taken), highlight=False)


def tell_guardian(folder: Path, state: runtime.RunState, command: KillCommand) -> bool:
    """Stop by the guardian's own HTTP; whether it took it."""
    port = state.health_ports.get("guardian")
    if port is None:
        return False
    headers = {"Authorization": f"Bearer {runtime.secret(folder, 'guardian-token')}"}
    try:
        answer = httpx.post(
            f"http://127.0.0.1:{port}/kill", content=command.model_dump_json(), headers=headers, timeout=5.0,
            trust_env=False,
        )  # fmt: skip
    except httpx.HTTPError:
        return False
    return answer.is_success


def _await_confirmation(gateway: Gateway, command_id: str, console: Console) -> None:
    deadline = time.monotonic() + CONFIRM_SECONDS
    while True:
        state = gateway.get(f"/control/kill/{command_id}")
        names = ", ".join(sorted(f"{ack['service']}" for ack in state["acks"])) or "none yet"
        if state["confirmed"]:
            console.print(f"[bold]stopped[/]; confirmed by {names}; working orders: {state['working_orders']}")
            return
        if time.monotonic() > deadline:
            console.print(
                f"[bold red]stopped, not yet confirmed[/] by everyone; acknowledged: {names}; working orders: "
                f"{state['working_orders']}. The gate is closed, nothing is sent: `tastytrades orders --state working`"
            )
            return
        time.sleep(0.1)


async def broadcast(nats_url: str, command: KillCommand) -> set[str]:
    """Send the control message repeatedly; returns the services that confirmed. Empty when there is no bus."""
    import nats

    acks: set[str] = set()

    async def on_ack(message: object) -> None:
        from schemas.commands import KillAck

        acks.add(KillAck.model_validate_json(message.data).service)  # type: ignore[attr-defined]

    try:
        connection = await asyncio.wait_for(
            nats.connect(nats_url, connect_timeout=2, allow_reconnect=False, error_cb=_quiet), 4
        )
    except (nats.errors.Error, OSError, TimeoutError):
        return acks
    try:
        await connection.subscribe(subjects.KILL_ACK, cb=on_ack)
        for _ in range(BROADCASTS):
            await connection.publish(subjects.KILL, command.model_dump_json().encode())
            await connection.flush(2)
            await asyncio.sleep(BROADCAST_GAP_SECONDS)
    except (nats.errors.Error, OSError, TimeoutError):
        return acks
    finally:
        await connection.close()
    return acks


async def _quiet(_: Exception) -> None:
    """What goes wrong is returned as silence."""
