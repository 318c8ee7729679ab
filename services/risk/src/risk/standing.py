"""What the executor says of accounts, who else trades, and what the broker's dry run says of an order."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version

import nats
from faststream.nats import NatsBroker
from nats.aio.msg import Msg
from pydantic import ValidationError

from chassis.bus import raw_client
from chassis.clock import Clock
from chassis.service import schema_hash
from chassis.telemetry import get_logger
from risk import metrics
from risk.domain.stops import BrokerFacts
from risk.settings import RiskSettings
from schemas import subjects
from schemas.account import AccountStanding, AskEffect, BrokerEffect, Heartbeat
from schemas.trade import ProposeTrade, Purpose

HEARD_SECONDS = 10.0
"""A process not heard for so long does not count any more."""
TRADING = frozenset({"risk", "executor", "scanner", "guardian"})
log = get_logger("risk.standing")


@dataclass(slots=True)
class Standing:
    """The newest word of the executor on each account, and the builds of the processes that trade."""

    settings: RiskSettings
    broker: NatsBroker
    clock: Clock
    changed: Callable[[], None] = lambda: None
    """Called when the executor's word on an account changes."""
    _accounts: dict[str, tuple[float, AccountStanding]] = field(default_factory=dict)
    _builds: dict[str, tuple[float, tuple[str, str, str]]] = field(default_factory=dict)

    async def start(self) -> None:
        """Listen."""
        client = raw_client(self.broker)
        await client.subscribe(subjects.account_standing(), cb=self._on_standing)
        await client.subscribe(subjects.heartbeat(), cb=self._on_heartbeat)

    async def _on_standing(self, message: Msg) -> None:
        try:
            found = AccountStanding.model_validate_json(message.data)
        except ValidationError:
            return
        before = self._accounts.get(found.account_number)
        self._accounts[found.account_number] = (self.clock.monotonic(), found)
        if before is None or broker_facts(before[1]) != broker_facts(found):
            self.changed()

    async def _on_heartbeat(self, message: Msg) -> None:
        try:
            beat = Heartbeat.model_validate_json(message.data)
        except ValidationError:
            return
        if beat.service in TRADING:
            build = (beat.build_id, beat.schema_hash, beat.mode)
            self._builds[f"{beat.service}-{beat.instance}"] = (self.clock.monotonic(), build)

    def of(self, account_number: str) -> tuple[float | None, AccountStanding | None]:
        """Seconds since the executor spoke of an account, and what it said."""
        found = self._accounts.get(account_number)
        return (None, None) if found is None else (self.clock.monotonic() - found[0], found[1])

    def broker_facts(self, account_number: str) -> BrokerFacts:
        """What the stops need of it; nothing is known from a word that is old."""
        age, found = self.of(account_number)
        return BrokerFacts() if found is None or age is None or age > HEARD_SECONDS else broker_facts(found)

    def strangers(self) -> tuple[str, ...]:
        """Trading processes of another build, schema or mode that were heard lately."""
        own = (version("tastytrades-chassis"), schema_hash(), self.settings.mode.value)
        now = self.clock.monotonic()
        lately = {name: build for name, (at, build) in self._builds.items() if now - at < HEARD_SECONDS}
        return tuple(sorted(name for name, build in lately.items() if build != own))

    async def dry_run(self, trade: ProposeTrade) -> BrokerEffect | None:
        """The broker's word on an opening order at its worst price; None when it does not come in time."""
        if self.settings.dry_run == "off" or trade.purpose is not Purpose.OPEN:
            return None
        question = AskEffect(
            ts_event=self.clock.now(),
            account_number=trade.account_number,
            purpose=trade.purpose,
            legs=trade.legs,
            quantity=trade.quantity,
            price=min(trade.limit_price, trade.start_price),
        )
        began = time.perf_counter()
        try:
            answer = await raw_client(self.broker).request(
                subjects.ask_effect(trade.account_number),
                question.model_dump_json().encode(),
                timeout=self.settings.dry_run_seconds,
            )
            found = BrokerEffect.model_validate_json(answer.data)
        except (nats.errors.Error, TimeoutError, OSError, ValidationError) as error:
            metrics.dry_runs.labels("missing").inc()
            log.info("dry_run.missing", error=type(error).__name__)
            return None
        metrics.dry_run_seconds.observe(time.perf_counter() - began)
        metrics.dry_runs.labels("refused" if found.refusal else "failed" if found.failure else "answered").inc()
        return found


def broker_facts(found: AccountStanding) -> BrokerFacts:
    """The part of a standing that may stop an account."""
    return BrokerFacts(found.errors_in_a_row, found.rate_limited, found.restrictions, found.mismatch)
