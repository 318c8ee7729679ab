"""Read the market and the accounts, scan on time, publish the cycle, propose the basket of armed accounts."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass, field
from datetime import datetime

from faststream.nats import NatsBroker

from chassis.bus import PublishError, latest, publish_durable
from chassis.clock import Clock
from chassis.kill_switch import KillSwitch
from chassis.telemetry import get_logger
from optionmath.sessions import market_date
from scanner import metrics
from scanner.domain import facts_of, proposal, scan_cycle
from scanner.settings import ScannerSettings
from schemas import subjects
from schemas.account import Balance
from schemas.market import MarketMetrics, MarketSession, SessionPhase
from schemas.orders import RiskState
from schemas.trade import Candidate, Purpose
from strategies.live_chain import LiveMarket
from strategies.rules import RuleSet
from strategies.scan import ScanResult, scan

log = get_logger("scanner")


@dataclass(slots=True)
class Scanner:
    """What the scanner knows of the market and the accounts."""

    settings: ScannerSettings
    broker: NatsBroker
    rules: RuleSet
    clock: Clock
    kill_switch: KillSwitch
    market: LiveMarket = field(default_factory=LiveMarket)
    metrics_of: dict[str, MarketMetrics] = field(default_factory=dict)
    balances: dict[str, Balance] = field(default_factory=dict)
    risk_states: dict[str, RiskState] = field(default_factory=dict)
    session: MarketSession | None = None

    def subscribe(self) -> None:
        """Register what is read beside the market's columns."""
        for subject, handler in (
            (subjects.md_metrics(), self.on_metrics),
            (subjects.MD_SESSION, self.on_session),
            (subjects.fact_balance(), self.on_balance),
            (subjects.risk_state(), self.on_risk_state),
        ):
            self.broker.subscriber(**latest(subject, subjects.STATE))(handler)

    async def on_metrics(self, message: MarketMetrics) -> None:
        self.metrics_of[message.underlying_symbol] = message

    async def on_session(self, message: MarketSession) -> None:
        self.session = message

    async def on_balance(self, message: Balance) -> None:
        self.balances[message.account_number] = message

    async def on_risk_state(self, message: RiskState) -> None:
        self.risk_states[message.account_number] = message

    async def scan_loop(self) -> None:
        """Scan every interval while the market is open."""
        await self._await_quotes()
        due = self.clock.monotonic()
        while True:
            if self.session is None or self.session.phase is SessionPhase.OPEN:
                await self._cycle()
            due = max(due + self.settings.scan_interval_seconds, self.clock.monotonic())
            await self.clock.sleep(due - self.clock.monotonic())

    async def _await_quotes(self) -> None:
        """The first scan waits until most contracts were quoted and an account is known, but not for ever."""
        since: float | None = None
        while True:
            chains = list(self.market.chains.values())
            share = sum(chain.quoted_share for chain in chains) / len(chains) if chains else 0.0
            if share > 0 and since is None:
                since = self.clock.monotonic()
            ready = share >= self.settings.quoted_share_min and self.balances
            if ready or (since is not None and self.clock.monotonic() - since > self.settings.first_scan_max_seconds):
                return
            await self.clock.sleep(0.2)

    async def _cycle(self) -> None:
        started, cycle_id = self.clock.monotonic(), str(uuid.uuid4())
        account = self._leading_account()
        # in a thread, so that quotes, stops and heartbeats are still taken
        result = await asyncio.to_thread(self._scan, cycle_id, account, self.clock.now())
        elapsed = self.clock.monotonic() - started
        armed = [number for number in sorted(self.balances) if self.kill_switch.is_armed(number)]
        chosen = result.basket.chosen
        executed = bool(chosen) and bool(armed)
        cycle = scan_cycle(result, cycle_id, elapsed * 1000, executed=executed)
        try:
            await publish_durable(self.broker, subjects.SCAN_CYCLE, cycle, message_id=cycle_id)
        except PublishError as error:
            metrics.cycles.labels("not_published").inc()
            log.warning("scanner.not_published", error=str(error))
            return
        metrics.cycles.labels("basket" if chosen else "no_basket").inc()
        metrics.duration.observe(elapsed)
        metrics.passed.set(result.passed_count)
        metrics.evaluated.set(result.evaluated)
        log.info(
            "scanner.scanned",
            cycle=cycle_id,
            seconds=round(elapsed, 2),
            evaluated=result.evaluated,
            passed=result.passed_count,
            basket=len(chosen),
            message=result.basket.message,
        )
        for number in armed:
            for candidate in chosen:
                await self._propose(candidate, number)

    def _leading_account(self) -> str | None:
        """The account whose size the scan assumes: the smallest armed one, else the smallest."""
        known = {number: each.net_liq for number, each in self.balances.items() if each.net_liq is not None}
        armed = {number: value for number, value in known.items() if self.kill_switch.is_armed(number)}
        chosen = armed or known
        return min(chosen, key=lambda number: chosen[number]) if chosen else None

    def _scan(self, cycle_id: str, account: str | None, now: datetime) -> ScanResult:
        balance = self.balances.get(account) if account else None
        state = self.risk_states.get(account) if account else None
        spy = self.market.chains.get("SPY")
        at = self.settings.market_time(now)
        chains = (
            chain.snapshot(now, facts_of(self.metrics_of.get(symbol), chain.chain.sector), at)
            for symbol, chain in list(self.market.chains.items())
        )
        return scan(
            chains,
            self.rules,
            net_liq=float(balance.net_liq) if balance is not None and balance.net_liq is not None else None,
            now=now,
            spy_price=spy.spot if spy is not None and spy.spot > 0 else None,
            cycle_id=cycle_id,
            busy=frozenset(state.busy_underlyings) if state else frozenset(),
            today=market_date(at),
        )

    async def _propose(self, candidate: Candidate, account_number: str) -> None:
        mode = self.kill_switch.mode_for(account_number, self.settings.strategy_id, candidate.underlying_symbol)
        if not mode.allows(Purpose.OPEN):
            return
        message = proposal(
            candidate, account_number, self.settings.strategy_id, "scanner", self.clock.now(),
            self.settings.proposal_seconds,
        )  # fmt: skip
        try:
            await publish_durable(
                self.broker,
                subjects.propose("scanner"),
                message,
                message_id=message.proposal_id,
                valid_until=message.valid_until,
            )
            metrics.proposals.inc()
        except PublishError as error:
            log.warning("proposal.not_published", candidate=candidate.candidate_id, error=str(error))

    async def probe(self) -> str | None:
        """Ready once chains are known."""
        return None if self.market.chains else "no chain received yet"
