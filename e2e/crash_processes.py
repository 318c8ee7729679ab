"""Services as real processes that start in milliseconds: forked from one that has imported everything, killed for real.

`python -m e2e.crash_processes` reads lines of JSON (`service`, `environment`, `log`), answers each with the number of
the process, and says when one has ended. A service ends with the process that forked it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from chassis import service
from chassis.bus import make_broker, publish_durable
from chassis.clock import SystemClock
from chassis.database import make_engine, transaction
from chassis.failpoints import FailpointError
from chassis.kill_switch import KillSwitch
from chassis.service import Service
from chassis.settings import ServiceSettings, SettingsError
from e2e.crash_mutants import MUTANTS
from ledger import gate
from ledger.outbox import Relay
from schemas.commands import KillCommand

PRODUCER = "risk"
STARVED_SECONDS = 30.0
"""Patience of the watchdog: a machine that many trials share is not a loop that is stuck."""


class RelaySettings(ServiceSettings):
    """Settings of the stand-in for risk."""

    service: ClassVar[str] = "risk"


def build_relay(settings: RelaySettings) -> Service:
    """Risk without its judgement: relays what was promised in its name, announces the gate, writes it when told."""
    if settings.database_url is None:
        raise SettingsError("the relay needs TT_DATABASE_URL")
    broker = make_broker(settings)
    engine = make_engine(settings.database_url.get_secret_value(), role="tt_risk")

    async def publish(subject: str, data: bytes, *, message_id: str, headers: Mapping[str, str]) -> None:
        await publish_durable(broker, subject, data, message_id=message_id, headers=headers)

    relay = Relay(engine, PRODUCER, publish, lambda error: service.log.warning("outbox.failed", error=str(error)[:200]))

    async def write_gate(command: KillCommand) -> None:
        while True:
            try:
                async with transaction(engine) as session:
                    await gate.tighten(
                        session, command.scope, command.scope_value, command.mode, command.who, command.why, PRODUCER
                    )
                return
            except (OSError, service.nats.errors.Error, FailpointError) as error:
                service.log.warning("gate.not_written", error=str(error)[:200])
                await asyncio.sleep(0.2)

    async def announce() -> None:
        async with transaction(engine) as session:
            await gate.announce(session)

    switch = KillSwitch(broker, settings, on_command=write_gate)
    return Service(
        settings, broker, loops=(relay.run,), on_start=(switch.start, announce), on_stop=(engine.dispose,),
        gate_revision=switch.revision, killed=switch.is_set,
    )  # fmt: skip


def _executor() -> None:
    from executor.service import build
    from executor.settings import ExecutorSettings

    service.main(ExecutorSettings, lambda settings: build(settings, SystemClock()))


def _relay() -> None:
    service.main(RelaySettings, build_relay)


SERVICES: Mapping[str, Callable[[], None]] = {"executor": _executor, "relay": _relay}


def _fork(request: Mapping[str, object]) -> int:
    sys.stdout.flush()
    number = os.fork()
    if number:
        return number
    code = 1
    try:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, signal.SIG_DFL)
        log = os.open(str(request["log"]), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ.clear()
        os.environ.update(dict(request["environment"]))  # type: ignore[call-overload]
        name, _, mutant = str(request["service"]).partition(":")
        if mutant:
            MUTANTS[mutant]()
        SERVICES[name]()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(code)


def serve() -> None:
    """Fork on request until standard input ends."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    import uvloop  # noqa: F401 — imported once, before the forks

    import executor.service  # noqa: F401

    service.schema_hash()
    service.WATCHDOG_SECONDS = STARVED_SECONDS
    gc.collect()
    gc.freeze()
    _say({"ready": True})
    waiting = b""
    while True:
        readable, _, _ = select.select([0], [], [], 0.02)
        _reap()
        if not readable:
            continue
        data = os.read(0, 1 << 20)
        if not data:
            return
        waiting += data
        *lines, waiting = waiting.split(b"\n")
        for line in lines:
            _say({"started": _fork(json.loads(line))})


def _reap() -> None:
    while True:
        try:
            number, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not number:
            return
        _say({"ended": number, "code": os.waitstatus_to_exitcode(status)})


def _say(what: Mapping[str, object]) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


@dataclass
class Forks:
    """The other end: starts services and knows which have ended."""

    process: asyncio.subprocess.Process | None = None
    ended: dict[int, int] = field(default_factory=dict)
    """Process → exit code."""
    _started: asyncio.Queue[int] = field(default_factory=asyncio.Queue)
    _ready: asyncio.Event = field(default_factory=asyncio.Event)
    _reading: asyncio.Task[None] | None = None

    async def begin(self, log: Path) -> None:
        """Start the process that forks; it takes a second or two to import everything."""
        with log.open("ab") as stream:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "e2e.crash_processes", stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=stream, cwd=Path(__file__).parents[1],
                env={**{k: v for k, v in os.environ.items() if not k.startswith("TT_")}, "OPENBLAS_NUM_THREADS": "1"},
            )  # fmt: skip
        self._reading = asyncio.create_task(self._read())
        async with asyncio.timeout(60):
            await self._ready.wait()

    async def start(self, name: str, environment: Mapping[str, str], log: Path) -> int:
        """Start a service; its process number."""
        assert self.process is not None
        assert self.process.stdin is not None
        request = {"service": name, "environment": dict(environment), "log": str(log)}
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        async with asyncio.timeout(20):
            return await self._started.get()

    async def end(self) -> None:
        """End every service."""
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        if self._reading is not None:
            self._reading.cancel()

    async def _read(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            said = json.loads(line)
            if "started" in said:
                self._started.put_nowait(said["started"])
            elif "ended" in said:
                self.ended[said["ended"]] = said["code"]
            else:
                self._ready.set()


if __name__ == "__main__":
    serve()
