"""Watch every account after the trade: publish its gauges, tell what passes a level, stop what is beyond its limit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

import nats
from faststream.nats import NatsBroker
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlmodel import select

from chassis.bus import PublishError, publish_durable, raw_client
from chassis.clock import Clock
from chassis.database import transaction
from chassis.kill_switch import KillSwitch
from chassis.telemetry import get_logger
from ledger import audit, gate, reservations
from ledger import limits as hard
from ledger.limits import DEFAULTS, HardLimits
from ledger.tables import BalanceRow
from risk import accounts, metrics
from risk.domain import revaluation
from risk.domain.facts import Account, Market
from risk.domain.gauges import gauges, passings
from risk.domain.stops import Contact, in_words, of_account, of_everything, strictest
from risk.market_view import MarketView
from risk.settings import RiskSettings
from risk.standing import Standing
from schemas import subjects
from schemas.account import GateMode, KillScope
from schemas.market import SessionPhase
from schemas.orders import LimitGauge, RiskState

PRODUCER = "risk"
CHANGE_PAUSE_SECONDS = 0.1
"""Least time between two rounds, however much changes."""
BUS_SECONDS = 1.0
log = get_logger("risk.monitor")


@dataclass(slots=True)
class Monitor:
    """One loop: a round at least once a second, and at once after a change."""

    settings: RiskSettings
    broker: NatsBroker
    engine: AsyncEngine
    clock: Clock
    view: MarketView
    standing: Standing
    kill_switch: KillSwitch
    committed: Callable[[], None]
    """Called after each commit that promised messages."""
    database_at: float | None = None
    """Monotonic seconds of the last answer; likewise the bus."""
    bus_at: float | None = None
    limits: HardLimits = DEFAULTS
    """Of everybody, as last read."""
    _warm: bool = False
    _warming: asyncio.Lock = field(default_factory=asyncio.Lock)
    _woken: asyncio.Event = field(default_factory=asyncio.Event)
    _levels: dict[str, dict[str, str]] = field(default_factory=dict)
    _longest: dict[str, float] = field(default_factory=dict)
    """Longest silence of bus and database since the last time both could be told of it."""

    async def warm(self) -> None:
        """Have the compiled code ready, in a thread: the loop must not stand still for it."""
        async with self._warming:
            if not self._warm:
                await asyncio.to_thread(revaluation.warm)
                self._warm = True

    def wake(self) -> None:
        """Something changed: the next round comes at once."""
        self._woken.set()

    async def loop(self) -> None:
        """Watch for ever; database and bus may be away, the next round goes on."""
        await self.warm()
        task = asyncio.current_task()
        # Python 3.11's `wait_for` swallows a cancellation that comes with the answer: ask the task too
        while task is None or not task.cancelling():
            self._woken.clear()
            try:
                await self.round()
            except (SQLAlchemyError, OSError, PublishError, TimeoutError) as error:
                log.warning("state.not_published", error=f"{type(error).__name__}: {error}"[:200])
            await self.clock.sleep(min(CHANGE_PAUSE_SECONDS, self.settings.state_seconds))
            try:
                await asyncio.wait_for(self._woken.wait(), self.settings.state_seconds - CHANGE_PAUSE_SECONDS)
            except TimeoutError:
                continue

    async def round(self) -> None:
        """Read, judge, stop, publish: stops come first."""
        now = self.clock.now()
        self.view.note_spots(self.clock.monotonic())
        self._note_silences()
        await self._touch_bus()
        found = await self._read(now)
        self._seen("database")
        await self._stop_everything(now)
        for number, (account, market, limits) in found.items():
            stops = of_account(account, market, self.standing.broker_facts(number), limits)
            mode = strictest(stops)
            if mode is not None:
                await self.stop(KillScope.ACCOUNT, number, mode, in_words(stops))
            await self._tell(number, account, gauges(account, market, limits), now)

    async def _read(self, now: datetime) -> dict[str, tuple[Account, Market, HardLimits]]:
        found = {}
        async with transaction(self.engine) as session:
            for number in (await session.execute(select(BalanceRow.account_number))).scalars().all():
                found[number] = await self._account(session, number, now)
            self.limits = await hard.current(session, hard.EVERY_ACCOUNT)
        return found

    async def _account(
        self, session: AsyncSession, number: str, now: datetime
    ) -> tuple[Account, Market, HardLimits]:  # fmt: skip
        # locked first: what is written below must not be older than what a decision has written
        await reservations.lock(session, number)
        account = await accounts.read(session, number, self.view.sector, now)
        account = replace(account, activity=await accounts.activity(session, number))
        at = (await session.execute(text("SELECT clock_timestamp()"))).scalar_one()
        await reservations.set_holdings(session, number, accounts.holdings(account), at)
        symbols = {each.occ_symbol for each in account.held}
        symbols |= {symbol for order in account.orders for symbol, _ in order.legs}
        underlyings = {each.underlying_symbol for each in account.held}
        return account, self.view.market(symbols, underlyings, now), await hard.current(session, number)

    async def _touch_bus(self) -> None:
        try:
            async with asyncio.timeout(BUS_SECONDS):
                await raw_client(self.broker).flush(1)
        except (nats.errors.Error, OSError, TimeoutError):
            return
        self._seen("bus")

    def _seen(self, name: str) -> None:
        setattr(self, f"{name}_at", self.clock.monotonic())

    def _note_silences(self) -> None:
        """A silence is told when it is over too: nobody could write the stop while it lasted."""
        now = self.clock.monotonic()
        for name, at in (("bus", self.bus_at), ("database", self.database_at)):
            if at is not None:
                self._longest[name] = max(self._longest.get(name, 0.0), now - at)

    async def _stop_everything(self, now: datetime) -> None:
        session = self.view.session
        contact = Contact(
            bus=self._longest.get("bus"),
            database=self._longest.get("database"),
            feed=self.view.silence(now),
            market_open=None if session is None else session.phase is SessionPhase.OPEN,
        )
        stops = of_everything(contact, self.limits)
        mode = strictest(stops)
        if mode is not None:
            await self.stop(KillScope.ALL, "", mode, in_words(stops))
        self._longest.clear()

    async def stop(self, scope: KillScope, value: str, mode: GateMode, why: str) -> None:
        """Tighten the gate, with its audit row, in a transaction of its own."""
        async with transaction(self.engine) as session:
            change = await gate.tighten(session, scope, value, mode, PRODUCER, why, PRODUCER)
        if change.changed:
            metrics.automatic_stops.labels(why.split(":")[0]).inc()
            log.error("stopped", scope=scope.value, value=value, mode=mode.value, reason=why)
            self.committed()

    async def _tell(self, number: str, account: Account, shown: tuple[LimitGauge, ...], now: datetime) -> None:
        for each in shown:
            if each.used_pct is not None:
                metrics.limit_used.labels(number, each.name).set(each.used_pct)
        busy = {each.underlying_symbol for each in account.held} | set(account.frozen)
        busy |= {each.underlying_symbol for each in account.orders}
        state = RiskState(
            ts_event=now,
            account_number=number,
            gauges=shown,
            armed=self.kill_switch.is_armed(number),
            busy_underlyings=tuple(sorted(busy)),
        )
        subject = subjects.risk_state(number)
        await publish_durable(self.broker, subject, state, message_id=f"{subject}@{now.isoformat()}")
        await self._tell_passings(number, shown)

    async def _tell_passings(self, number: str, shown: tuple[LimitGauge, ...]) -> None:
        """An audit fact for each limit that reached 80, 95 or 100 %, or went back below."""
        before = self._levels.setdefault(number, {})
        found = passings(before, shown)
        if found:
            async with transaction(self.engine) as session:
                for each in found:
                    audit.record(
                        session, PRODUCER, PRODUCER, f"limit {each.gauge.level}", target=f"{number} {each.gauge.name}",
                        detail={
                            "value": str(each.gauge.value), "limit": str(each.gauge.limit), "unit": each.gauge.unit,
                            "used_pct": str(each.gauge.used_pct), "before": each.before,
                        },
                    )  # fmt: skip
            self.committed()
        for each in found:
            metrics.limit_passings.labels(each.gauge.name, each.gauge.level).inc()
        before.update({each.name: each.level for each in shown if each.level != "unknown"})
