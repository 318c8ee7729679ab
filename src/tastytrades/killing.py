"""Stop trading by every road: the gateway first, and the raw control message when it does not answer."""

from __future__ import annotations

import asyncio
import getpass
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError
from rich.console import Console

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
        console.print(f"[yellow]the gateway did not stop it ({fault}); sending the control message on the bus[/]")
        acks = asyncio.run(broadcast(runtime.load(folder).nats_url, command))
        if not acks:
            raise RuntimeFault(
                "no process confirmed the stop: press Ctrl-C where `tastytrades up` runs then cancel at the broker"
            ) from None
        console.print(f"stopped; confirmed by {', '.join(sorted(acks))}")


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
    """Send the control message repeatedly; returns the services that confirmed within a second after the last one."""
    import nats

    acks: set[str] = set()

    async def on_ack(message: object) -> None:
        from schemas.commands import KillAck

        acks.add(KillAck.model_validate_json(message.data).service)  # type: ignore[attr-defined]

    connection = await nats.connect(nats_url, connect_timeout=2, max_reconnect_attempts=1)
    try:
        await connection.subscribe(subjects.KILL_ACK, cb=on_ack)
        for _ in range(BROADCASTS):
            await connection.publish(subjects.KILL, command.model_dump_json().encode())
            await connection.flush(2)
            await asyncio.sleep(BROADCAST_GAP_SECONDS)
    finally:
        await connection.close()
    return acks
