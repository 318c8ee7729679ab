"""Who has not confirmed a stop: listens beside the supervisor, which ends such a process."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass, field

import nats

from schemas import subjects
from schemas.account import Heartbeat
from schemas.commands import KillAck, parse_kill

LISTENERS = ("scanner", "risk", "executor", "gateway", "guardian")
"""Services that must confirm a stop."""
ACK_SECONDS = 1.0
COPY_SECONDS = 3.0
"""A stop without an id within this time after another is a copy of it."""
TICK_SECONDS = 0.1


@dataclass(slots=True)
class Waiting:
    """A stop that not everybody has confirmed."""

    command_id: str
    missing: set[str]
    waited: float = 0.0
    """Seconds this process itself was awake since: a machine that stood still proves nothing about the others."""


@dataclass(slots=True)
class Confirmations:
    """Pure: what was heard, and who is overdue. Times are monotonic seconds."""

    heard: dict[str, float] = field(default_factory=dict)
    """Service → its newest heartbeat."""
    waiting: list[Waiting] = field(default_factory=list)
    overdue: set[str] = field(default_factory=set)
    _known: dict[str, float] = field(default_factory=dict)

    def on_heartbeat(self, service: str, now: float) -> None:
        """A process that beats listens, and must confirm."""
        self.heard[service] = now

    def on_kill(self, command_id: str, now: float) -> None:
        """Expect everybody who was heard lately; a copy of a stop is no new one."""
        last = self._known.get(command_id)
        self._known[command_id] = now
        if last is not None and (command_id or now - last < COPY_SECONDS):
            return
        lately = {service for service, at in self.heard.items() if service in LISTENERS and now - at < 10.0}
        self.waiting.append(Waiting(command_id, lately))

    def on_ack(self, service: str, command_id: str) -> None:
        """A confirmation; one without an id answers a stop without one."""
        for each in self.waiting:
            if each.command_id == command_id:
                each.missing.discard(service)
        self.overdue.discard(service)

    def tick(self, seconds: float) -> None:
        """Time has passed, as far as this process was awake."""
        for each in self.waiting:
            each.waited += seconds
        for each in [each for each in self.waiting if not each.missing or each.waited > ACK_SECONDS]:
            self.waiting.remove(each)
            self.overdue |= each.missing

    def take_overdue(self) -> set[str]:
        """Who has not confirmed in time, each once; it must be heard again before it is expected again."""
        found, self.overdue = self.overdue, set()
        for service in found:
            self.heard.pop(service, None)
        return found


class KillWatch:
    """A thread that listens to the bus. Without a bus it knows nothing, and accuses nobody."""

    def __init__(self, nats_url: str) -> None:
        self._url = nats_url
        self._lock = threading.Lock()
        self._confirmations = Confirmations()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._listen()), daemon=True, name="kill-watch")
        self._stop = threading.Event()

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(3)

    def take_overdue(self) -> set[str]:
        """Services that have not confirmed a stop in time, each once."""
        with self._lock:
            return self._confirmations.take_overdue()

    async def _listen(self) -> None:
        client = None
        while client is None and not self._stop.is_set():
            try:
                client = await nats.connect(
                    self._url, name="supervisor", connect_timeout=2, max_reconnect_attempts=-1, reconnect_time_wait=1,
                    ping_interval=2, max_outstanding_pings=2, error_cb=_quiet,
                )  # fmt: skip
            except (nats.errors.Error, OSError, TimeoutError):
                await asyncio.sleep(1.0)
        if client is None:
            return
        await client.subscribe(subjects.heartbeat(), cb=self._on_heartbeat)
        await client.subscribe(subjects.KILL, cb=self._on_kill)
        await client.subscribe(subjects.KILL_ACK, cb=self._on_ack)
        while not self._stop.is_set():
            await asyncio.sleep(TICK_SECONDS)
            with self._lock:
                # whatever is late here is late for everybody: only the time meant to pass counts
                self._confirmations.tick(TICK_SECONDS if client.is_connected else 0.0)
        await client.close()

    async def _on_heartbeat(self, message: object) -> None:
        beat = Heartbeat.model_validate_json(message.data)  # type: ignore[attr-defined]
        with self._lock:
            self._confirmations.on_heartbeat(beat.service, time.monotonic())

    async def _on_kill(self, message: object) -> None:
        command = parse_kill(message.data)  # type: ignore[attr-defined]
        with self._lock:
            self._confirmations.on_kill(command.command_id, time.monotonic())

    async def _on_ack(self, message: object) -> None:
        ack = KillAck.model_validate_json(message.data)  # type: ignore[attr-defined]
        with self._lock:
            self._confirmations.on_ack(ack.service, ack.command_id)


async def _quiet(_: Exception) -> None:
    """What goes wrong on the bus is not the supervisor's to tell."""
