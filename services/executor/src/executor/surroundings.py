"""Watch what must hold for anything to open: lease, ledger, bus, stream, broker, clock, builds of the others."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from importlib.metadata import version

import httpx
import nats
from nats.aio.msg import Msg
from pydantic import ValidationError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from chassis.bus import raw_client
from chassis.database import transaction
from chassis.service import schema_hash
from chassis.telemetry import get_logger
from executor import metrics
from executor.desk import Desk
from executor.domain.conditions import Build, Facts, Hold, clock_skew, holds, strangers
from executor.lanes import ABSENT, Lane
from schemas import subjects
from schemas.account import Heartbeat

ROUND_SECONDS = 1.0
HEARD_SECONDS = 10.0
"""A process not heard for so long does not count any more."""
TRADING = frozenset({"risk", "executor", "scanner", "guardian"})
SKEW_SAMPLES = 10
log = get_logger("executor.surroundings")


@dataclass(slots=True)
class Surroundings:
    """Measures once a second, and tells every lane what holds it back."""

    desk: Desk
    database_seconds: float | None = None
    bus_at: float = ABSENT
    broker_at: float = ABSENT
    """When the broker last answered anything that was not a fault of its own."""
    _skews: deque[float] = field(default_factory=lambda: deque(maxlen=SKEW_SAMPLES))
    _heard: dict[str, tuple[float, Build]] = field(default_factory=dict)

    async def start(self) -> None:
        """Listen to the other processes' heartbeats."""
        await raw_client(self.desk.broker).subscribe(subjects.heartbeat(), cb=self._on_heartbeat)

    async def _on_heartbeat(self, message: Msg) -> None:
        try:
            beat = Heartbeat.model_validate_json(message.data)
        except ValidationError:
            return
        if beat.service in TRADING:
            name = f"{beat.service}-{beat.instance}"
            build = Build(name, beat.build_id, beat.schema_hash, beat.mode)
            self._heard[name] = (self.desk.clock.monotonic(), build)

    def on_response(self, response: httpx.Response) -> None:
        """Every answer of the broker: that it lives, and what its clock says."""
        if response.status_code < 500:
            self.broker_at = self.desk.clock.monotonic()
        date = response.headers.get("date")
        if date is None:
            return
        try:
            broker = parsedate_to_datetime(date).timestamp()
        except ValueError:
            return
        # whole seconds, cut off: half a second is the least wrong reading
        self._skews.append(self.desk.clock.now().timestamp() - (broker + 0.5))

    async def loop(self) -> None:
        """Measure for ever."""
        while True:
            await asyncio.gather(self._database(), self._bus())
            for lane in self.desk.lanes.values():
                self.judge(lane)
            await self.desk.clock.sleep(ROUND_SECONDS)

    async def _database(self) -> None:
        began = time.monotonic()
        try:
            async with asyncio.timeout(2.0), transaction(self.desk.engine) as session:
                await session.execute(text("SELECT 1"))
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            self.database_seconds = float("inf")
            log.warning("database.silent", error=type(error).__name__)
            return
        self.database_seconds = time.monotonic() - began

    async def _bus(self) -> None:
        client = raw_client(self.desk.broker)
        try:
            if client.is_connected:
                await client.flush(1)
                self.bus_at = self.desk.clock.monotonic()
        except (nats.errors.Error, OSError, TimeoutError):
            return

    def facts(self, lane: Lane) -> Facts:
        """What is known now about the surroundings of an account."""
        now = self.desk.clock.monotonic()
        last = lane.stream.last_message if lane.stream is not None else None
        return Facts(
            stage=lane.stage,
            lease_seconds_left=lane.lease_left(now, self.desk.settings.lease_seconds),
            database_seconds=self.database_seconds,
            bus_age=now - self.bus_at,
            stream_age=None if last is None else time.monotonic() - last,
            broker_age=now - self.broker_at,
            reconciliation_age=now - lane.reconciled_at,
            clock_skew=clock_skew(self._skews),
            strangers=self.strangers(),
            throttled=now < lane.throttled_until,
        )

    def strangers(self) -> tuple[str, ...]:
        """Trading processes of another build, schema or mode that were heard lately."""
        now, own = self.desk.clock.monotonic(), self.build()
        return strangers(own, (build for at, build in self._heard.values() if now - at < HEARD_SECONDS))

    def build(self) -> Build:
        """What this process is."""
        settings = self.desk.settings
        name = f"{settings.service}-{settings.instance}"
        return Build(name, version("tastytrades-chassis"), schema_hash(), settings.mode.value)

    def judge(self, lane: Lane) -> None:
        """Set what holds an account back; wake it when nothing does any more."""
        facts = self.facts(lane)
        found, before = holds(facts, self.desk.settings.limits()), lane.holds
        lane.holds = found
        number = lane.account_number
        if found != before:
            log.info("opens.held" if found else "opens.free", account=number, reasons=",".join(found))
            for reason in Hold:
                metrics.opens_held.labels(number, reason.value).set(reason in found)
        if len(found) < len(before):
            lane.wake.set()
        metrics.lease_held.labels(number).set(facts.lease_seconds_left > 0)
        if lane.reconciled_at > ABSENT:
            metrics.reconcile_age_seconds.labels(number).set(facts.reconciliation_age or 0.0)
        if facts.clock_skew is not None:
            metrics.clock_skew_seconds.set(facts.clock_skew)
