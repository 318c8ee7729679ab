"""The bridge to the bus: stops heard there, stops told there, a heartbeat. Without a bus nothing is missing here."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from importlib.metadata import version

import nats
import psutil
from nats.aio.client import Client
from nats.aio.msg import Msg
from pydantic import ValidationError

from chassis.service import config_hash, schema_hash
from chassis.telemetry import get_logger
from guardian import metrics
from guardian.handlers import Guardian
from schemas import subjects
from schemas.account import GateState, Heartbeat
from schemas.base import Message
from schemas.commands import KillAck, parse_kill

AGAIN_SECONDS, BEAT_SECONDS = 2.0, 1.0
BROADCASTS, BROADCAST_GAP_SECONDS, NEWS_SECONDS = 5, 0.2, 0.05
log = get_logger("guardian.bridge")


class Bridge:
    """Connects when it can, and stays out of the way when it cannot."""

    def __init__(self, guardian: Guardian) -> None:
        self._guardian, self._settings = guardian, guardian.settings
        self._client: Client | None = None
        self._command_id = ""
        self._started = datetime.now(UTC)

    async def run(self) -> None:
        """Find the bus, then beat; a bus that is away is looked for again, for ever."""
        while self._client is None:
            try:
                self._client = await self._connect()
            except (nats.errors.Error, OSError, TimeoutError) as error:
                log.info("bus.away", error=type(error).__name__)
                await self._guardian.clock.sleep(AGAIN_SECONDS)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._beats())
            tasks.create_task(self._reports())
            tasks.create_task(self._news())

    async def close(self) -> None:
        """Leave the bus."""
        if self._client is not None and not self._client.is_closed:
            await self._client.close()

    async def _connect(self) -> Client:
        settings = self._settings
        client: Client = await nats.connect(
            settings.nats_url, name=f"{settings.service}-{settings.instance}", connect_timeout=2,
            allow_reconnect=True, max_reconnect_attempts=-1, reconnect_time_wait=1, ping_interval=2,
            max_outstanding_pings=2, pending_size=0, error_cb=_quiet,
        )  # fmt: skip
        await client.subscribe(subjects.KILL, cb=self._on_kill)
        await client.subscribe(subjects.GATE, cb=self._on_gate)
        await client.subscribe(subjects.heartbeat("executor"), cb=self._on_heartbeat)
        log.info("bus.bridged")
        return client

    async def _on_kill(self, message: Msg) -> None:
        command = parse_kill(message.data)
        self._command_id = command.command_id
        self._guardian.stop(command, "bus")
        await self._acknowledge(command.command_id)

    async def _on_gate(self, message: Msg) -> None:
        try:
            self._guardian.on_gate(GateState.model_validate_json(message.data))
        except ValidationError as error:
            log.warning("gate.unreadable", error=str(error)[:200])

    async def _on_heartbeat(self, message: Msg) -> None:
        self._guardian.executor_heard()

    async def _acknowledge(self, command_id: str) -> None:
        await self._tell(
            subjects.KILL_ACK,
            KillAck(
                ts_event=datetime.now(UTC), service="guardian", instance=self._settings.instance,
                command_id=command_id, working_orders=self._guardian.left,
            ),
        )  # fmt: skip

    async def _reports(self) -> None:
        """Tell what every sweep left."""
        while True:
            await self._guardian.swept.wait()
            self._guardian.swept.clear()
            await self._acknowledge(str(self._guardian.last.get("command_id", "")))

    async def _beats(self) -> None:
        process, build_id = psutil.Process(), version("tastytrades-chassis")
        while True:
            guardian, settings = self._guardian, self._settings
            reasons = await guardian.faults()
            beat = Heartbeat(
                ts_event=datetime.now(UTC), service=settings.service, instance=settings.instance,
                mode=settings.mode.value, build_id=build_id, config_hash=config_hash(settings),
                schema_hash=schema_hash(), killed=bool(guardian.stops), started_at=self._started, ready=not reasons,
                reason="; ".join(reasons), memory_mb=round(process.memory_info().rss / 2**20, 1),
            )  # fmt: skip
            connected = await self._tell(subjects.heartbeat(settings.service, settings.instance), beat)
            metrics.bus.set(connected)
            await guardian.clock.sleep(BEAT_SECONDS)

    async def _news(self) -> None:
        """Tell everybody of stops that came by file or HTTP, several times, unless they are released before."""
        told: dict[str, int] = {}
        while True:
            news = self._guardian.news
            for command_id, command in list(news.items()):
                told[command_id] = told.get(command_id, 0) + await self._tell(subjects.KILL, command)
                if told[command_id] >= BROADCASTS:
                    news.pop(command_id, None)
                    del told[command_id]
            await asyncio.sleep(BROADCAST_GAP_SECONDS if news else NEWS_SECONDS)

    async def _tell(self, subject: str, message: Message) -> bool:
        if self._client is None or not self._client.is_connected:
            return False
        try:
            await self._client.publish(subject, message.model_dump_json().encode())
        except (nats.errors.Error, OSError):
            return False
        return True


async def _quiet(error: Exception) -> None:
    log.info("bus.error", error=type(error).__name__)
