"""Risk with its ledger and its bus: a proposal becomes one decision; limits and stops write what they must."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from nats.aio.msg import Msg
from risk_cases import LONG, SHORT, proposal
from sqlmodel import select

from chassis.bus import make_broker, publish, raw_client
from chassis.clock import SystemClock
from chassis.database import transaction
from ledger import balances, gate
from ledger.tables import AuditRow, Intent, OutboxRow
from risk.handlers import Risk
from risk.settings import RiskSettings
from schemas import subjects
from schemas.account import AccountStanding, AskEffect, BrokerEffect, GateMode, KillScope
from schemas.columns import COLUMNS, ColumnBatch, ColumnKind
from schemas.market import FeedStatus, MarketMetrics, MarketSession, OptionChain, SessionPhase
from schemas.orders import IntentState
from schemas.trade import ProposeTrade
from testkit import eventually
from testkit.journal import ACCOUNT, Journal, journal

D = Decimal
QUOTES = {"SPY": (619.9, 620.1), SHORT: (7.95, 8.05), LONG: (6.27, 6.33)}


@dataclass
class Rig:
    """A risk service at a bus, with an executor that is played by the test."""

    ledger: Journal
    risk: Risk
    effect: BrokerEffect | None = None
    asked: list[AskEffect] = field(default_factory=list)
    word: dict[str, Any] = field(default_factory=dict)
    """What the executor says, where it is not that all is well."""

    async def decide(self, **changes: Any) -> Intent:
        """Propose, and read what was decided."""
        self.quote()
        await self.stand(**self.word)
        trade = self.proposal(**changes)
        await self.risk.on_proposal(trade)
        intents = await self.rows(Intent)
        return next(each for each in intents if each.proposal_id == trade.proposal_id)

    def proposal(self, **changes: Any) -> ProposeTrade:
        now, identity = datetime.now(UTC), str(uuid.uuid4())
        values = {
            "ts_event": now, "proposal_id": identity, "signal_id": identity, "account_number": ACCOUNT,
            "valid_until": now + timedelta(seconds=60), "start_price": D("1.70"), "limit_price": D("1.60"),
        }  # fmt: skip
        return proposal(**values | changes)

    async def rows(self, table: type[Any]) -> list[Any]:
        async with transaction(self.ledger.engines["tt_gateway"]) as session:
            return list((await session.execute(select(table))).scalars().all())

    async def modes(self) -> dict[tuple[str, str], str]:
        async with transaction(self.ledger.engines["tt_risk"]) as session:
            state = await gate.read(session)
        return {(row.scope.value, row.scope_value): row.mode.value for row in state.rows}

    async def balance(self, net_liq: str = "100000") -> None:
        now = datetime.now(UTC)
        async with transaction(self.ledger.engines["tt_executor"]) as session:
            await balances.record(
                session, ACCOUNT, net_liq=D(net_liq), cash=D(net_liq), buying_power=D(net_liq),
                maintenance_requirement=D(0), market_date=date(2026, 11, 24), at=now, producer="executor",
            )  # fmt: skip

    async def stand(self, **changes: Any) -> None:
        """Say, as the executor, how the account stands."""
        self.word = changes
        values: dict[str, Any] = {
            "ts_event": datetime.now(UTC), "account_number": ACCOUNT, "instance": "0", "holds": (),
            "clock_skew_seconds": 0.1, "restrictions": (),
        }  # fmt: skip
        word = AccountStanding(**values | changes)
        await publish(self.risk.broker, subjects.account_standing(ACCOUNT), word)
        await eventually(lambda: self.risk.standing.of(ACCOUNT)[1] == word)

    def quote(self) -> None:
        """Give risk a fresh market."""
        now = datetime.now(UTC)
        view, stamp = self.risk.view, int(now.timestamp() * 1e9)
        chain = OptionChain(ts_event=now, underlying_symbol="SPY", revision=1, sector="ETF", occ_symbols=(SHORT, LONG))
        view.live.set_chain(chain)
        rows = np.arange(3, dtype=np.uint32)
        book = np.array([QUOTES["SPY"], QUOTES[SHORT], QUOTES[LONG]])
        greeks = {"iv": 0.2, "delta": -0.3, "gamma": 0.01, "theta": -0.1, "vega": 0.7, "rho": 0.0}
        stamps = np.full(3, stamp, dtype=np.int64)
        columns = {name: np.ones(3) for name, _ in COLUMNS[ColumnKind.QUOTE]}
        columns |= {"row": rows, "bid": book[:, 0], "ask": book[:, 1], "ts_event": stamps}
        view.live.apply("SPY", ColumnBatch(ColumnKind.QUOTE, 1, stamp, columns, True))
        columns = {name: np.full(3, value) for name, value in greeks.items()} | {"row": rows, "ts_event": stamps}
        view.live.apply("SPY", ColumnBatch(ColumnKind.GREEKS, 1, stamp, columns, True))
        view.metrics_of["SPY"] = MarketMetrics(
            ts_event=now, underlying_symbol="SPY", beta=1.0, iv_index=0.18, sector="ETF"
        )
        view.feed = FeedStatus(ts_event=now, connected=True, last_event_at=now)
        view.session = MarketSession(
            ts_event=now, phase=SessionPhase.OPEN, opens_at=now - timedelta(hours=2),
            closes_at=now + timedelta(hours=4), market_date=date(2026, 11, 24),
        )  # fmt: skip
        view.note_spots(self.risk.clock.monotonic())

    async def answer(self, message: Msg) -> None:
        """As the executor answers a dry run; silent without an effect."""
        self.asked.append(AskEffect.model_validate_json(message.data))
        if self.effect is not None:
            await raw_client(self.risk.broker).publish(message.reply, self.effect.model_dump_json().encode())

    def takes(self, dollars: str | None, refusal: str = "") -> None:
        """What the broker's dry run will say."""
        self.effect = BrokerEffect(
            ts_event=datetime.now(UTC), account_number=ACCOUNT, refusal=refusal,
            buying_power=None if dollars is None else D(dollars),
        )  # fmt: skip


@pytest.fixture
async def rig(database_url: str, provisioned_nats_url: str) -> AsyncIterator[Rig]:
    settings = RiskSettings(nats_url=provisioned_nats_url, dry_run="required", dry_run_seconds=0.5)
    broker = make_broker(settings)
    async with journal(database_url) as ledger:
        risk = Risk(settings, broker, ledger.engines["tt_risk"], SystemClock())
        made = Rig(ledger, risk)
        await broker.connect()
        await risk.standing.start()
        await raw_client(broker).subscribe(subjects.ask_effect(), cb=made.answer)
        async with transaction(ledger.engines["tt_risk"]) as session:
            await risk.kill_switch.on_gate(await gate.read(session))
        await risk.monitor.warm()
        await made.balance()
        await made.stand()
        made.quote()
        made.takes("342.00")
        yield made
        broker._stopping_on_purpose = True  # type: ignore[attr-defined]
        await broker.stop()


async def test_an_approval_is_one_transaction_with_its_reservation_and_its_messages(rig: Rig) -> None:
    """The larger buying power is reserved; the executor is woken by the outbox."""
    intent = await rig.decide()
    assert intent.state == IntentState.APPROVED.value, intent.reason
    assert intent.reserved_max_loss == D("340.00")
    assert intent.reserved_buying_power == D("342.00")
    assert len(intent.rules) > 55
    sent = {each.subject.split(".")[0] + "." + each.subject.split(".")[1] for each in await rig.rows(OutboxRow)}
    assert {"fact.order", "fact.risk", "cmd.exec"} <= sent
    (question,) = rig.asked
    assert (question.price, question.quantity) == (D("1.60"), 1)


async def test_the_same_proposal_and_the_same_signal_are_decided_once(rig: Rig) -> None:
    trade = rig.proposal()
    await rig.risk.on_proposal(trade)
    await rig.risk.on_proposal(trade)
    await rig.risk.on_proposal(trade.model_copy(update={"proposal_id": "another"}))
    assert len(await rig.rows(Intent)) == 1


async def test_a_second_order_in_the_underlying_is_denied_with_the_rule_by_name(rig: Rig) -> None:
    await rig.decide()
    second = await rig.decide(start_price=D("1.90"), limit_price=D("1.80"))
    assert second.state == IntentState.DENIED.value
    assert "duplicate" in second.reason_code.split(",")
    assert second.reserved_max_loss is not None


@pytest.mark.parametrize(
    ("dollars", "refusal", "rule"),
    [
        ("402.00", "", "buying_power_agreement_max_pct"),
        (None, "margin_check_failed", "buying_power_agreement_max_pct"),
        (None, "", "buying_power_agreement_max_pct"),
    ],
)
async def test_a_dry_run_that_differs_refuses_or_fails_denies(
    rig: Rig, dollars: str | None, refusal: str, rule: str
) -> None:
    rig.takes(dollars, refusal)
    assert rule in (await rig.decide()).reason_code.split(",")


async def test_a_dry_run_that_does_not_come_in_time_denies(rig: Rig) -> None:
    rig.effect = None
    assert (await rig.decide()).reason_code == "buying_power_agreement_max_pct"


async def test_a_limit_of_the_ledger_decides_from_its_next_version_on(rig: Rig) -> None:
    await rig.ledger.set_limits(trade_risk_max_pct="0.3")
    denied = await rig.decide()
    assert {"trade_risk_max_pct", "size_max", "reservation"} <= set(denied.reason_code.split(","))
    await rig.ledger.set_limits(trade_risk_max_pct="0.4")
    assert (await rig.decide()).state == IntentState.APPROVED.value


async def test_an_executor_that_holds_or_is_unknown_lets_nothing_open(rig: Rig) -> None:
    await rig.stand(holds=("reconciliation",))
    denied = await rig.decide()
    assert denied.reason_code == "executor_holds"
    assert "reconciliation" in denied.reason


async def test_a_strategy_that_is_wrong_three_times_stops_until_a_person_resumes(rig: Rig) -> None:
    """A price far beyond natural; the fourth proposal is sound and finds the strategy stopped."""
    await rig.ledger.arm()
    async with transaction(rig.ledger.engines["tt_risk"]) as session:
        await rig.risk.kill_switch.on_gate(await gate.read(session))
    for _ in range(3):
        wrong = await rig.decide(source="scanner", start_price=D("1.70"), limit_price=D("0.50"))
        assert "price_collar" in wrong.reason_code
    assert ("strategy", "default") not in await rig.modes()
    denied = await rig.decide(source="scanner")
    assert "rejects_per_minute_max" in denied.reason_code
    assert (await rig.modes())["strategy", "default"] == GateMode.HALT_OPENS.value
    audit = [row for row in await rig.rows(AuditRow) if row.action == "stop"]
    assert [(row.who, row.target) for row in audit] == [("risk", "strategy default")]
    assert "rejects_per_minute_max" in audit[0].detail["why"]


# the monitor


async def test_a_daily_loss_closes_the_accounts_gate_with_reason_and_audit(rig: Rig) -> None:
    await rig.risk.monitor.round()
    assert await rig.modes() == {("all", ""): "run"}
    await rig.balance("98990")
    await rig.risk.monitor.round()
    assert (await rig.modes())["account", ACCOUNT] == GateMode.REDUCE_ONLY.value
    (stop,) = [row for row in await rig.rows(AuditRow) if row.action == "stop"]
    assert "daily loss $1,010.00 reached its limit $989.90" in stop.detail["why"]
    assert "gate" in (await rig.decide()).reason_code


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"errors_in_a_row": 5}, "broker_errors_max"),
        ({"rate_limited": True}, "broker_rate_limit"),
        ({"restrictions": ("margin call",)}, "account_restricted"),
        ({"mismatch": "broker and ledger differ in SPY"}, "reconciliation_mismatch"),
    ],
)
async def test_what_the_executor_says_of_the_broker_stops_the_account(
    rig: Rig, changes: dict[str, Any], rule: str
) -> None:
    await rig.stand(**changes)
    await rig.risk.monitor.round()
    (stop,) = [row for row in await rig.rows(AuditRow) if row.action == "stop"]
    assert stop.target == f"account {ACCOUNT}"
    assert stop.detail["why"].startswith(rule)


async def test_stale_market_data_stops_everything(rig: Rig) -> None:
    old = datetime.now(UTC) - timedelta(seconds=61)
    rig.risk.view.feed = FeedStatus(ts_event=old, connected=True, last_event_at=old)
    await rig.risk.monitor.round()
    assert (await rig.modes())["all", ""] == GateMode.REDUCE_ONLY.value


async def test_a_lost_database_stops_everything_as_soon_as_it_can_be_written(rig: Rig) -> None:
    """Nobody can write the stop while it lasts; the first round after it does."""
    monitor = rig.risk.monitor
    await monitor.round()
    assert monitor.database_at is not None
    monitor.database_at -= 61
    await monitor.round()
    assert (await rig.modes())["all", ""] == GateMode.REDUCE_ONLY.value
    (stop,) = [row for row in await rig.rows(AuditRow) if row.action == "stop"]
    assert "lost contact with the database" in stop.detail["why"]


async def test_a_person_resumes_and_a_silence_that_was_told_stops_nothing_again(rig: Rig) -> None:
    monitor = rig.risk.monitor
    await monitor.round()
    assert monitor.bus_at is not None
    monitor.bus_at -= 61
    await monitor.round()
    async with transaction(rig.ledger.engines["tt_gateway"]) as session:
        await gate.loosen(session, KillScope.ALL, "", "ann", "the bus is back again", "gateway")
    await monitor.round()
    assert (await rig.modes())["all", ""] == "run"


async def test_a_passing_of_a_limit_is_an_audit_fact_once(rig: Rig) -> None:
    """80 % of the daily loss: told once, and the state that the page shows says warning."""
    await rig.risk.monitor.round()
    await rig.balance("99150")
    for _ in range(3):
        await rig.risk.monitor.round()
    found = [row for row in await rig.rows(AuditRow) if row.action.startswith("limit")]
    assert [(row.action, row.target) for row in found] == [("limit warning", f"{ACCOUNT} daily_loss")]
    answer = await raw_client(rig.risk.broker).jetstream().get_last_msg("STATE", subjects.risk_state(ACCOUNT))
    assert answer.data is not None
    assert b'"level":"warning"' in answer.data


async def test_gauges_are_published_at_once_on_a_change_and_once_a_second(rig: Rig) -> None:
    heard: list[float] = []
    loop = asyncio.get_running_loop()

    async def on_state(_: Msg) -> None:
        heard.append(loop.time())

    await raw_client(rig.risk.broker).subscribe(subjects.risk_state(ACCOUNT), cb=on_state)
    task = asyncio.create_task(rig.risk.monitor.loop())
    await eventually(lambda: len(heard) >= 2, timeout=20)
    before = len(heard)
    rig.risk.monitor.wake()
    await eventually(lambda: len(heard) > before, timeout=20)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
