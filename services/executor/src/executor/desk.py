"""What every part of the executor works with."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime

import nats
from faststream.nats import NatsBroker
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis.bus import PublishError
from chassis.clock import Clock
from chassis.database import transaction
from chassis.kill_switch import KillSwitch
from chassis.telemetry import get_logger
from executor import metrics
from executor.lanes import Lane
from executor.settings import ExecutorSettings
from ledger import audit
from ledger.tables import Intent
from schemas.account import GateMode
from strategies.live_chain import LiveMarket
from tastyclient import BrokerError, TastyClient

PRODUCER = "executor"
ALARM_AGAIN_SECONDS = 300.0
TRANSIENT = (BrokerError, SQLAlchemyError, OSError, TimeoutError, PublishError, nats.errors.Error)
"""Broker, database and bus may be away; the ledger keeps what is open and the next round goes on."""
log = get_logger("executor")


class LeaseLostError(RuntimeError):
    """Another process holds the account: this one must not send and starts anew."""


@dataclass(slots=True)
class Desk:
    """The executor's tools and its lanes."""

    settings: ExecutorSettings
    broker: NatsBroker
    engine: AsyncEngine
    client: TastyClient
    """For orders."""
    urgent: TastyClient
    """For cancellations and reads: its own throttle, so that sends never starve them."""
    clock: Clock
    market: LiveMarket
    kill_switch: KillSwitch
    committed: Callable[[], None]
    """Called after each commit that promised messages."""
    lanes: dict[str, Lane] = field(default_factory=dict)
    _alarmed: dict[tuple[str, str, str], float] = field(default_factory=dict)

    def mode_for(self, intent: Intent) -> GateMode:
        """Strictest stop that this process knows of, for an intent."""
        return self.kill_switch.mode_for(intent.account_number, intent.strategy_id, intent.underlying_symbol)

    def lane_of(self, account_number: str) -> Lane | None:
        """The account's lane; None for an account that is not ours."""
        return self.lanes.get(account_number)

    def market_now(self) -> datetime:
        """The market's own time."""
        return self.settings.market_time(self.clock.now())

    async def alarm(self, account_number: str, code: str, subject: str, message: str) -> None:
        """Call a person: log, metric and an audit fact; the same about the same subject again after a while only."""
        key, now = (account_number, code, subject), self.clock.monotonic()
        if now - self._alarmed.get(key, float("-inf")) < ALARM_AGAIN_SECONDS:
            return
        self._alarmed[key] = now
        log.error("alarm", code=code, account=account_number, subject=subject, message=message)
        metrics.alarms.labels(code).inc()
        try:
            async with transaction(self.engine) as session:
                audit.record(
                    session, PRODUCER, PRODUCER, f"alarm:{code}", target=f"{account_number} {subject}".strip(),
                    detail={"message": message[:500]}, outcome="alarm",
                )  # fmt: skip
        except (SQLAlchemyError, OSError) as error:
            log.warning("alarm.not_written", code=code, error=type(error).__name__)
            return
        self.committed()

    async def tolerant(self, what: str, account_number: str, act: Callable[[], Awaitable[object]]) -> bool:
        """Run one round; a part of the world that is away is logged, and the next round goes on."""
        try:
            await act()
        except (*TRANSIENT, LookupError, ValueError) as error:
            log.warning(
                "executor.round_failed",
                what=what,
                account=account_number,
                error=f"{type(error).__name__}: {error}"[:300],
            )
            return False
        return True


async def wait(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, at most so long, and clear it. No cancellation is lost to the event, as in `wait_for`."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    event.clear()
