"""Decide each proposal in one transaction; publish where accounts stand; stop by limit; write the gate when told."""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal

from faststream.nats import NatsBroker
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlmodel import col, func, select

from chassis.bus import PublishError, latest, ordered, publish_durable
from chassis.clock import Clock
from chassis.database import transaction
from chassis.kill_switch import KillSwitch
from chassis.telemetry import get_logger
from ledger import balances, fills, gate, inbox, intents, outbox
from ledger.outbox import Relay
from ledger.tables import BalanceRow, Intent
from optionmath.sessions import NEW_YORK, market_date
from risk import metrics
from risk.domain import Account, Conditions, Decision, Held, Limits, Reserved, automatic_stop, decide, gauges
from risk.settings import RiskSettings
from schemas import subjects
from schemas.account import GateMode, KillScope
from schemas.commands import KillCommand
from schemas.market import FeedStatus, MarketMetrics, MarketSession, SessionPhase
from schemas.orders import ExecuteIntent, IntentState, RiskDecision, RiskState
from schemas.symbols import parse_occ
from schemas.trade import Leg, ProposeTrade, Purpose
from strategies.live_chain import LiveMarket

PRODUCER = "risk"
log = get_logger("risk")


@dataclass(slots=True)
class Risk:
    """What risk knows beside the ledger: the market, and who may trade."""

    settings: RiskSettings
    broker: NatsBroker
    engine: AsyncEngine
    clock: Clock
    limits: Limits
    market: LiveMarket = field(default_factory=LiveMarket)
    metrics_of: dict[str, MarketMetrics] = field(default_factory=dict)
    session: MarketSession | None = None
    feed: FeedStatus | None = None
    kill_switch: KillSwitch = field(init=False)
    relay: Relay = field(init=False)

    def __post_init__(self) -> None:
        self.kill_switch = KillSwitch(self.broker, self.settings, on_command=self.on_kill)
        self.relay = Relay(self.engine, PRODUCER, self._publish, self._relay_failed)
        for subject, handler in (
            (subjects.md_metrics(), self.on_metrics),
            (subjects.MD_SESSION, self.on_session),
            (subjects.MD_FEED, self.on_feed),
        ):
            self.broker.subscriber(**latest(subject, subjects.STATE))(handler)
        self.broker.subscriber(**ordered(subjects.propose(), subjects.PROPOSE, "risk"))(self.on_proposal)

    async def on_metrics(self, message: MarketMetrics) -> None:
        self.metrics_of[message.underlying_symbol] = message

    async def on_session(self, message: MarketSession) -> None:
        self.session = message

    async def on_feed(self, message: FeedStatus) -> None:
        self.feed = message

    async def on_proposal(self, message: ProposeTrade) -> None:
        """Deny with every reason, or approve with reservation and order, in one transaction."""
        began = time.perf_counter()
        try:
            decision = await self._decide(message)
        except IntegrityError:
            # the signal was decided before under another proposal: one trade per signal, for ever
            log.info("proposal.signal_known", proposal=message.proposal_id, signal=message.signal_id)
            return
        if decision is None:
            return
        self.relay.wake()
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

    async def _decide(self, trade: ProposeTrade) -> Decision | None:
        async with transaction(self.engine) as session:
            if not await inbox.first_time(session, PRODUCER, trade.proposal_id):
                return None
            await _serialize(session, trade.account_number)
            now = self.clock.now()
            account = await self._account(session, trade.account_number, now)
            mode, armed = await gate.lock_shared(
                session, trade.account_number, trade.strategy_id, trade.underlying_symbol
            )
            local = self.kill_switch.mode_for(trade.account_number, trade.strategy_id, trade.underlying_symbol)
            strictest = max(mode, local, key=lambda each: each.severity)
            conditions = self._conditions(trade, strictest, armed, now)
            decision = decide(trade, account, conditions, self.limits, now)
            intent = self._intent(trade, decision, conditions, now)
            await intents.propose(session, intent, PRODUCER)
            self._promise(session, trade, intent, decision)
            return decision

    async def _account(self, session: AsyncSession, account_number: str, now: datetime) -> Account:
        row = await balances.latest(session, account_number)
        held = tuple(
            Held(
                each.occ_symbol,
                each.underlying_symbol,
                each.signed_quantity,
                each.average_open_price,
                self._sector(each.underlying_symbol),
            )
            for each in await fills.positions(session, account_number)
        )
        orders = tuple(_reserved(each) for each in await intents.reserved(session, account_number))
        trades, automated = await _trades_today(session, account_number, now)
        delta, vega = self._greeks([(each.occ_symbol, each.signed_quantity) for each in held])
        return _with_balance(
            Account(
                held=held,
                reserved=orders,
                frozen=await fills.frozen(session, account_number),
                trades_today=trades,
                automated_trades_today=automated,
                delta=delta,
                vega=vega,
            ),
            row,
        )

    def _conditions(self, trade: ProposeTrade, mode: GateMode, armed: bool, now: datetime) -> Conditions:
        signed = [(leg.occ_symbol, leg.action.sign * leg.quantity) for leg in trade.legs]
        book = self.market.net_book(signed)
        delta, vega = self._greeks(signed)
        return Conditions(
            gate=mode,
            armed=armed,
            market_open=None if self.session is None else self.session.phase is SessionPhase.OPEN,
            feed_age_seconds=self._feed_age(now),
            quote_age_seconds=max(0.0, (now - book.oldest_quote_at).total_seconds()) if book else None,
            mid=book.mid if book else None,
            natural=book.natural if book else None,
            spy_price=self._spy(),
            delta=delta,
            vega=vega,
            sector=self._sector(trade.underlying_symbol),
        )

    def _feed_age(self, now: datetime) -> float | None:
        if self.feed is None or not self.feed.connected or self.feed.last_event_at is None:
            return None
        # the status itself may have stopped coming
        oldest = min(self.feed.last_event_at, self.feed.ts_event)
        return max(0.0, (now - oldest).total_seconds())

    def _spy(self) -> float | None:
        chain = self.market.chains.get("SPY")
        return chain.spot if chain is not None and chain.spot > 0 else None

    def _sector(self, underlying_symbol: str) -> str:
        known = self.metrics_of.get(underlying_symbol)
        return (known.sector if known else None) or "Unknown"

    def _greeks(self, signed: list[tuple[str, int]]) -> tuple[float | None, float | None]:
        """Beta-weighted delta in SPY shares and vega in dollars a point; None when a greek or beta is missing."""
        delta: float | None = 0.0
        vega: float | None = 0.0
        spy = self._spy()
        for symbol, quantity in signed:
            chain = self.market.chain_of(symbol)
            known = self.metrics_of.get(chain.chain.underlying_symbol) if chain else None
            beta = known.beta if known else None
            own_delta = chain.greek("delta", symbol) if chain else None
            own_vega = chain.greek("vega", symbol) if chain else None
            if delta is not None:
                usable = own_delta is not None and beta is not None and spy and chain is not None and chain.spot > 0
                delta = (
                    delta + quantity * 100 * (own_delta or 0.0) * (beta or 0.0) * chain.spot / spy
                    if usable and chain is not None and spy
                    else None
                )
            if vega is not None:
                vega = None if own_vega is None else vega + quantity * 100 * own_vega
        return delta, vega

    def _intent(self, trade: ProposeTrade, decision: Decision, conditions: Conditions, now: datetime) -> Intent:
        identity = str(uuid.uuid5(uuid.NAMESPACE_OID, trade.proposal_id))
        state = IntentState.APPROVED if decision.approved else IntentState.DENIED
        failed = next((each for each in decision.controls if not each.passed), None)
        tick = trade.candidate.tick_size if trade.candidate else Decimal("0.01")
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
            tick_size=tick,
            state=state.value,
            root_intent_id=identity,
            reason_code=",".join(decision.denials),
            reason=f"{failed.rule}: {failed.value} {failed.comparison} {failed.limit} {failed.unit} does not hold"
            if failed
            else "",
            rules=[each.model_dump(mode="json") for each in decision.controls],
            thesis=trade.thesis,
            candidate_id=trade.candidate.candidate_id if trade.candidate else None,
            sector=conditions.sector,
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

    async def state_loop(self) -> None:
        """Say where every account stands, and stop one that reached a loss limit."""
        while True:
            try:
                await self._states()
            except (SQLAlchemyError, DBAPIError, OSError, PublishError) as error:
                log.warning("state.not_published", error=f"{type(error).__name__}: {error}"[:200])
            await self.clock.sleep(self.settings.state_seconds)

    async def _states(self) -> None:
        now = self.clock.now()
        async with transaction(self.engine) as session:
            numbers = (await session.execute(select(BalanceRow.account_number))).scalars().all()
            found = {number: await self._account(session, number, now) for number in numbers}
        for number, account in found.items():
            shown = gauges(account, self._spy(), self.limits)
            for gauge in shown:
                if gauge.used_pct is not None:
                    metrics.limit_used.labels(number, gauge.name).set(gauge.used_pct)
            busy = {each.underlying_symbol for each in account.held} | account.frozen.keys()
            busy |= {each.underlying_symbol for each in account.reserved}
            state = RiskState(
                ts_event=now,
                account_number=number,
                gauges=shown,
                armed=self.kill_switch.is_armed(number),
                busy_underlyings=tuple(sorted(busy)),
            )
            subject = subjects.risk_state(number)
            await publish_durable(self.broker, subject, state, message_id=f"{subject}@{now.isoformat()}")
            if reason := automatic_stop(account, self.limits):
                await self._stop_account(number, reason)

    async def _stop_account(self, account_number: str, reason: str) -> None:
        async with transaction(self.engine) as session:
            change = await gate.tighten(
                session, KillScope.ACCOUNT, account_number, GateMode.REDUCE_ONLY, "risk", reason, PRODUCER
            )
        if change.changed:
            metrics.automatic_stops.labels(reason.split(" ")[0]).inc()
            log.error("account.stopped", account=account_number, reason=reason)
            self.relay.wake()

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


async def _serialize(session: AsyncSession, account_number: str) -> None:
    """One decision at a time for an account: each sees the reservations of the one before."""
    await session.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended(:account, 0))"), {"account": f"risk:{account_number}"}
    )


async def _trades_today(session: AsyncSession, account_number: str, now: datetime) -> tuple[int, int]:
    """Opening orders sent or about to be sent since midnight New York: all, and those of automation."""
    start = datetime.combine(market_date(now), datetime.min.time(), NEW_YORK)
    never_sent = [IntentState.DENIED.value, IntentState.EXPIRED.value, IntentState.WITHDRAWN.value]
    statement = (
        select(Intent.source, func.count())
        .where(
            Intent.account_number == account_number,
            Intent.walk_step == 0,
            Intent.purpose == Purpose.OPEN.value,
            col(Intent.state).not_in(never_sent),
            Intent.created_at >= start,
        )
        .group_by(col(Intent.source))
    )
    counts = {source: int(count) for source, count in (await session.execute(statement)).all()}
    return sum(counts.values()), counts.get("scanner", 0)


def _with_balance(account: Account, row: BalanceRow | None) -> Account:
    if row is None:
        return account
    return replace(
        account,
        net_liq=row.net_liq,
        buying_power=row.buying_power,
        maintenance_requirement=row.maintenance_requirement,
        start_of_day_net_liq=row.start_of_day_net_liq,
        high_water_mark=row.high_water_mark,
    )


def _reserved(intent: Intent) -> Reserved:
    """An order at its worst: all of it, also where part has filled."""
    legs = [Leg.model_validate(leg) for leg in intent.legs]
    return Reserved(
        underlying_symbol=intent.underlying_symbol,
        expiration=min(parse_occ(leg.occ_symbol).expiration for leg in legs),
        purpose=Purpose(intent.purpose),
        sector=intent.sector,
        max_loss=intent.reserved_max_loss or Decimal(0),
        buying_power=intent.reserved_buying_power or Decimal(0),
        delta=intent.reserved_delta,
        vega=intent.reserved_vega,
        unknown=intent.state in (IntentState.UNKNOWN.value, IntentState.QUARANTINE.value),
        closes={leg.occ_symbol: leg.quantity * intent.quantity for leg in legs if not leg.action.opens},
    )
