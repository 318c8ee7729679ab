"""Decide each proposal in one transaction with its reservation and its messages; write the gate when told to stop."""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal

from faststream.nats import NatsBroker
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from chassis.bus import latest, ordered, publish_durable
from chassis.clock import Clock
from chassis.database import transaction
from chassis.kill_switch import KillSwitch
from chassis.telemetry import get_logger
from ledger import gate, inbox, intents, outbox, reservations
from ledger import limits as hard
from ledger.exposure import Refusal
from ledger.exposure import Reservation as Wanted
from ledger.outbox import Relay
from ledger.tables import Intent
from risk import accounts, metrics
from risk.domain.case import Case
from risk.domain.decision import Decision, decide
from risk.domain.facts import Account, Around, Market
from risk.market_view import MarketView
from risk.monitor import Monitor
from risk.settings import RiskSettings
from risk.standing import Standing
from schemas import subjects
from schemas.account import BrokerEffect, GateMode, KillScope
from schemas.commands import KillCommand
from schemas.market import FeedStatus, MarketMetrics, MarketSession
from schemas.orders import ExecuteIntent, IntentState, RiskDecision
from schemas.trade import ProposeTrade

PRODUCER = "risk"
log = get_logger("risk")


@dataclass(slots=True)
class Risk:
    """What risk is made of, and what it hears."""

    settings: RiskSettings
    broker: NatsBroker
    engine: AsyncEngine
    clock: Clock
    view: MarketView = field(init=False)
    standing: Standing = field(init=False)
    monitor: Monitor = field(init=False)
    kill_switch: KillSwitch = field(init=False)
    relay: Relay = field(init=False)

    def __post_init__(self) -> None:
        self.view = MarketView(self.settings)
        self.kill_switch = KillSwitch(self.broker, self.settings, on_command=self.on_kill)
        self.relay = Relay(self.engine, PRODUCER, self._publish, self._relay_failed)
        self.standing = Standing(self.settings, self.broker, self.clock)
        self.monitor = Monitor(
            self.settings, self.broker, self.engine, self.clock, self.view, self.standing, self.kill_switch,
            self.relay.wake,
        )  # fmt: skip
        self.standing.changed = self.monitor.wake
        for subject, handler in (
            (subjects.md_metrics(), self.on_metrics),
            (subjects.MD_SESSION, self.on_session),
            (subjects.MD_FEED, self.on_feed),
        ):
            self.broker.subscriber(**latest(subject, subjects.STATE))(handler)
        self.broker.subscriber(**ordered(subjects.propose(), subjects.PROPOSE, "risk"))(self.on_proposal)

    async def on_metrics(self, message: MarketMetrics) -> None:
        self.view.metrics_of[message.underlying_symbol] = message

    async def on_session(self, message: MarketSession) -> None:
        self.view.session = message

    async def on_feed(self, message: FeedStatus) -> None:
        self.view.feed = message

    async def on_proposal(self, message: ProposeTrade) -> None:
        """Deny with every reason, or approve with reservation and order, in one transaction."""
        await self.monitor.warm()
        effect = await self.standing.dry_run(message)
        began = time.perf_counter()
        try:
            decision = await self._decide(message, effect)
        except IntegrityError:
            # the signal was decided before under another proposal: one trade per signal, for ever
            log.info("proposal.signal_known", proposal=message.proposal_id, signal=message.signal_id)
            return
        if decision is None:
            return
        self.relay.wake()
        self.monitor.wake()
        if (why := decision.stops_strategy) is not None:
            await self.monitor.stop(KillScope.STRATEGY, message.strategy_id, GateMode.HALT_OPENS, why)
        metrics.decision_seconds.observe(time.perf_counter() - began)
        metrics.decisions.labels("approved" if decision.approved else "denied").inc()
        for control in decision.denials:
            metrics.denials.labels(control).inc()
        log.info(
            "proposal.decided",
            proposal=message.proposal_id,
            underlying=message.underlying_symbol,
            approved=decision.approved,
            denials=",".join(decision.denials),
        )

    async def _decide(self, trade: ProposeTrade, effect: BrokerEffect | None) -> Decision | None:
        async with transaction(self.engine) as session:
            if not await inbox.first_time(session, PRODUCER, trade.proposal_id):
                return None
            mode, armed = await gate.lock_shared(
                session, trade.account_number, trade.strategy_id, trade.underlying_symbol
            )
            # one decision at a time for an account: each sees the reservations of the one before
            await reservations.lock(session, trade.account_number)
            now = self.clock.now()
            case = await self._case(session, trade, effect, mode, armed, now)
            case = replace(case, refusal=await self._reserve(session, case))
            decision = decide(case)
            intent = self._intent(trade, decision, case, now)
            await intents.propose(session, intent, PRODUCER)
            self._promise(session, trade, intent, decision)
            return decision

    async def _case(
        self,
        session: AsyncSession,
        trade: ProposeTrade,
        effect: BrokerEffect | None,
        mode: GateMode,
        armed: bool,
        now: datetime,
    ) -> Case:
        account = await accounts.read(session, trade.account_number, self.view.sector, now)
        recent = await accounts.activity(
            session, trade.account_number, strategy_id=trade.strategy_id, underlying=trade.underlying_symbol,
            spread_type=trade.spread_type.value,
        )  # fmt: skip
        account = replace(account, activity=recent)
        limits = await hard.current(session, trade.account_number)
        market = self._market(account, trade, now)
        local = self.kill_switch.mode_for(trade.account_number, trade.strategy_id, trade.underlying_symbol)
        strictest = max(mode, local, key=lambda each: each.severity)
        around = self._around(trade.account_number, strictest, armed, effect)
        return Case(trade, account, market, self.view.quotes(trade, market, now), around, limits, now)

    def _market(self, account: Account, trade: ProposeTrade, now: datetime) -> Market:
        symbols = {leg.occ_symbol for leg in trade.legs} | {each.occ_symbol for each in account.held}
        symbols |= {symbol for order in account.orders for symbol, _ in order.legs}
        return self.view.market(symbols, {trade.underlying_symbol}, now)

    def _around(self, account_number: str, mode: GateMode, armed: bool, effect: BrokerEffect | None) -> Around:
        age, standing = self.standing.of(account_number)
        skew = standing.clock_skew_seconds if standing else None
        return Around(
            gate=mode,
            armed=armed,
            executor_age_seconds=age,
            executor_holds=standing.holds if standing else None,
            clock_skew_seconds=None if skew is None else abs(skew),
            strangers=self.standing.strangers(),
            restrictions=standing.restrictions if standing else None,
            broker_effect=effect.buying_power if effect else None,
            broker_refusal=effect.refusal if effect else "",
            dry_run_required=self.settings.dry_run_required,
        )

    async def _reserve(self, session: AsyncSession, case: Case) -> Refusal | None:
        """Ask the ledger, which adds everything up once more under the account's lock."""
        if not case.opens:
            return None
        if case.max_loss is None or case.buying_power is None:
            return Refusal("max_loss", None, None, "what it can lose or takes of buying power is not known")
        wanted = Wanted(
            case.max_loss, case.buying_power, case.trade.underlying_symbol,
            f"{case.trade.underlying_symbol} {case.first_expiration}", case.automated,
        )  # fmt: skip
        held = accounts.holdings(case.account)
        return await reservations.reserve(session, case.trade.account_number, wanted, case.limits, held=held)

    def _intent(self, trade: ProposeTrade, decision: Decision, case: Case, now: datetime) -> Intent:
        identity = str(uuid.uuid5(uuid.NAMESPACE_OID, trade.proposal_id))
        state = IntentState.APPROVED if decision.approved else IntentState.DENIED
        return Intent(
            intent_id=identity,
            account_number=trade.account_number,
            proposal_id=trade.proposal_id,
            strategy_id=trade.strategy_id,
            signal_id=trade.signal_id,
            purpose=trade.purpose.value,
            source=trade.source,
            underlying_symbol=trade.underlying_symbol,
            spread_type=trade.spread_type.value,
            legs=[leg.model_dump(mode="json") for leg in trade.legs],
            quantity=trade.quantity,
            limit_price=trade.start_price,
            worst_price=trade.limit_price,
            decision_mid=trade.decision_mid,
            tick_size=trade.candidate.tick_size if trade.candidate else Decimal("0.01"),
            state=state.value,
            root_intent_id=identity,
            reason_code=",".join(decision.denials),
            reason=_reason(decision),
            rules=[each.model_dump(mode="json") for each in decision.controls],
            thesis=trade.thesis,
            candidate_id=trade.candidate.candidate_id if trade.candidate else None,
            sector=case.quotes.sector,
            reserved_max_loss=decision.max_loss,
            reserved_buying_power=decision.buying_power,
            reserved_delta=decision.delta,
            reserved_vega=decision.vega,
            valid_until=min(trade.valid_until, now + timedelta(seconds=self.settings.approval_seconds)),
            created_at=now,
            updated_at=now,
        )

    def _promise(self, session: AsyncSession, trade: ProposeTrade, intent: Intent, decision: Decision) -> None:
        fact = RiskDecision(
            ts_event=intent.created_at,
            account_number=trade.account_number,
            proposal_id=trade.proposal_id,
            intent_id=intent.intent_id,
            approved=decision.approved,
            underlying_symbol=trade.underlying_symbol,
            spread_type=trade.spread_type,
            reason_codes=decision.denials,
            controls=decision.controls,
            candidate_id=intent.candidate_id,
            quantity=trade.quantity,
            reserved_max_loss=decision.max_loss if decision.approved else None,
            reserved_buying_power=decision.buying_power if decision.approved else None,
        )
        subject = subjects.fact_risk(trade.account_number)
        outbox.enqueue(session, PRODUCER, subject, fact, message_id=f"risk-{trade.proposal_id}")
        if decision.approved:
            command = ExecuteIntent(
                ts_event=intent.created_at,
                intent_id=intent.intent_id,
                account_number=trade.account_number,
                valid_until=intent.valid_until,
            )
            outbox.enqueue(
                session,
                PRODUCER,
                subjects.execute(trade.account_number),
                command,
                message_id=f"exec-{intent.intent_id}",
                valid_until=intent.valid_until,
            )

    async def on_kill(self, command: KillCommand) -> None:
        """Write the gate, so that the stop outlives this process; tried until the database takes it."""
        while True:
            try:
                async with transaction(self.engine) as session:
                    await gate.tighten(
                        session, command.scope, command.scope_value, command.mode, command.who, command.why, PRODUCER
                    )
                self.relay.wake()
                return
            except (SQLAlchemyError, OSError) as error:
                log.warning("gate.not_written", error=type(error).__name__)
                await asyncio.sleep(0.2)

    async def announce(self) -> None:
        """Publish the gate at start: the bus may have lost it."""
        async with transaction(self.engine) as session:
            await gate.announce(session)

    async def _publish(self, subject: str, data: bytes, **arguments: object) -> None:
        await publish_durable(self.broker, subject, data, **arguments)  # type: ignore[arg-type]

    def _relay_failed(self, error: Exception) -> None:
        metrics.outbox_failures.inc()
        log.warning("outbox.failed", error=f"{type(error).__name__}: {error}"[:200])

    async def probe(self) -> str | None:
        """Ready when the database answers."""
        try:
            async with transaction(self.engine) as session:
                await session.execute(text("SELECT 1"))
        except (SQLAlchemyError, OSError) as error:
            return f"the database does not answer ({type(error).__name__})"
        return None

    async def close(self) -> None:
        """Close the database connections."""
        await self.engine.dispose()


def _reason(decision: Decision) -> str:
    """The first control that failed, in words."""
    failed = next((each for each in decision.controls if not each.passed), None)
    if failed is None:
        return ""
    words = f"{failed.rule}: {failed.value} {failed.comparison} {failed.limit} {failed.unit} does not hold"
    found = f"{words} ({failed.detail})" if failed.detail else words
    return (accounts.WRONG + found if decision.was_wrong else found)[:500]
