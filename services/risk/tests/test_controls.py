"""Each control denies alone, with value and limit; a missing fact denies; nothing is skipped."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk.domain import (
    Account,
    Conditions,
    Decision,
    Held,
    Limits,
    Reserved,
    automatic_stop,
    decide,
    exposure,
    gauges,
    level,
)
from risk.settings import RiskSettings
from schemas.account import GateMode
from schemas.trade import Leg, OrderAction, ProposeTrade, Purpose, SpreadType

NOW = datetime(2026, 11, 24, 17, 0, tzinfo=UTC)
SHORT, LONG = "SPY   270115P00600000", "SPY   270115P00595000"
LIMITS = RiskSettings().limits()
ACCOUNT = Account(
    net_liq=Decimal(100_000), buying_power=Decimal(95_000), maintenance_requirement=Decimal(5_000),
    start_of_day_net_liq=Decimal(100_000), high_water_mark=Decimal(100_000), delta=0.0, vega=0.0,
)  # fmt: skip
FINE = Conditions(
    gate=GateMode.RUN, armed=True, market_open=True, feed_age_seconds=0.5, quote_age_seconds=1.0, mid=Decimal("1.70"),
    natural=Decimal("1.60"), spy_price=600.0, delta=4.0, vega=-8.0, sector="ETF",
)  # fmt: skip


def proposal(**changes: Any) -> ProposeTrade:
    values: dict[str, Any] = {
        "ts_event": NOW, "proposal_id": "p1", "account_number": "5WT00001", "source": "demo", "strategy_id": "default",
        "signal_id": "s1", "purpose": Purpose.OPEN, "underlying_symbol": "SPY",
        "spread_type": SpreadType.PUT_CREDIT_SPREAD,
        "legs": (
            Leg(occ_symbol=SHORT, action=OrderAction.SELL_TO_OPEN, quantity=1),
            Leg(occ_symbol=LONG, action=OrderAction.BUY_TO_OPEN, quantity=1),
        ),
        "quantity": 1, "start_price": Decimal("1.70"), "limit_price": Decimal("1.60"), "decision_mid": Decimal("1.70"),
        "valid_until": NOW + timedelta(seconds=30),
    }  # fmt: skip
    return ProposeTrade(**values | changes)


def judge(
    trade: ProposeTrade | None = None,
    account: Account = ACCOUNT,
    conditions: Conditions = FINE,
    limits: Limits = LIMITS,
) -> Decision:
    return decide(trade or proposal(), account, conditions, limits, NOW)


def reserved(**changes: Any) -> Reserved:
    values: dict[str, Any] = {
        "underlying_symbol": "QQQ", "expiration": date(2027, 1, 15), "purpose": Purpose.OPEN, "sector": "ETF",
        "max_loss": Decimal(340), "buying_power": Decimal(340), "delta": 1.0, "vega": -1.0,
    }  # fmt: skip
    return Reserved(**values | changes)


def test_a_sound_trade_is_approved_and_reserves_its_worst_loss() -> None:
    """A 5-wide spread at its worst credit of 1.60 can lose 3.40 a share."""
    decision = judge()
    assert decision.approved, decision.denials
    assert decision.max_loss == Decimal("340.00")


@pytest.mark.parametrize(
    ("control", "trade", "account", "conditions"),
    [
        ("gate", {}, {}, {"gate": GateMode.HALT_OPENS}),
        ("valid_until", {"valid_until": NOW - timedelta(seconds=1)}, {}, {}),
        ("market_open", {}, {}, {"market_open": False}),
        ("feed_max_age_seconds", {}, {}, {"feed_age_seconds": 16.0}),
        ("quote_max_age_at_submit_seconds", {}, {}, {"quote_age_seconds": 15.5}),
        ("quantity_max", {"quantity": 11}, {}, {}),
        ("price_collar_pct", {}, {}, {"natural": Decimal("2.00")}),
        ("frozen", {}, {"frozen": {"SPY": "broker reports 1, ledger holds 0"}}, {}),
        ("trade_risk_max_pct", {"quantity": 6}, {}, {}),
        ("trade_size_max_pct", {"quantity": 30}, {}, {}),
        ("buying_power_used_max_pct", {}, {"maintenance_requirement": Decimal(49_900)}, {}),
        ("cash_reserve_min_pct", {}, {"buying_power": Decimal(25_100)}, {}),
        ("exposure_max_pct", {}, {"reserved": (reserved(max_loss=Decimal(74_900)),)}, {}),
        ("underlying_max_pct", {}, {"held": (Held(SHORT, "SPY", 40, Decimal("5.00")),)}, {}),
        (
            "positions_max",
            {},
            {"reserved": tuple(reserved(underlying_symbol=f"U{n}", sector=f"S{n}") for n in range(20))},
            {},
        ),
        ("sector_positions_max", {}, {"reserved": tuple(reserved(underlying_symbol=f"U{n}") for n in range(5))}, {}),
        ("beta_delta_max_pct", {}, {"delta": 49.0}, {}),
        ("vega_max_pct", {}, {"vega": -245.0}, {}),
        ("duplicate", {}, {"reserved": (reserved(underlying_symbol="SPY"),)}, {}),
        ("unknown_orders_max", {}, {"reserved": (reserved(unknown=True),)}, {}),
        ("daily_trades_max", {}, {"trades_today": 50}, {}),
        ("daily_loss_max_pct", {}, {"start_of_day_net_liq": Decimal(105_100)}, {}),
        ("daily_loss_max", {}, {"start_of_day_net_liq": Decimal(101_001)}, {}),
        ("drawdown_max_pct", {}, {"high_water_mark": Decimal(112_000)}, {}),
        ("armed", {"source": "scanner"}, {}, {"armed": False}),
        ("daily_trades_automated_max", {"source": "scanner"}, {"automated_trades_today": 20}, {}),
        ("candidate_passed", {"source": "scanner"}, {}, {}),
    ],
)
def test_a_control_denies(
    control: str, trade: dict[str, Any], account: dict[str, Any], conditions: dict[str, Any]
) -> None:
    decision = judge(proposal(**trade), replace(ACCOUNT, **account), replace(FINE, **conditions))
    assert control in decision.denials
    result = next(each for each in decision.controls if each.rule == control)
    assert result.margin is not None
    assert result.margin < 0


@pytest.mark.parametrize(
    ("fact", "control"),
    [
        ("net_liq", "trade_risk_max_pct"),
        ("buying_power", "cash_reserve_min_pct"),
        ("maintenance_requirement", "buying_power_used_max_pct"),
        ("start_of_day_net_liq", "daily_loss_max"),
        ("high_water_mark", "drawdown_max_pct"),
        ("delta", "beta_delta_max_pct"),
        ("vega", "vega_max_pct"),
    ],
)
def test_an_unknown_account_fact_denies(fact: str, control: str) -> None:
    decision = judge(account=replace(ACCOUNT, **{fact: None}))
    assert control in decision.denials
    assert next(each for each in decision.controls if each.rule == control).value is None


@pytest.mark.parametrize(
    ("fact", "control"),
    [
        ("market_open", "market_open"),
        ("feed_age_seconds", "feed_max_age_seconds"),
        ("quote_age_seconds", "quote_max_age_at_submit_seconds"),
        ("natural", "price_collar_pct"),
        ("spy_price", "beta_delta_max_pct"),
        ("delta", "beta_delta_max_pct"),
        ("vega", "vega_max_pct"),
    ],
)
def test_an_unknown_market_fact_denies(fact: str, control: str) -> None:
    assert control in judge(conditions=replace(FINE, **{fact: None})).denials


def test_every_control_is_evaluated_even_when_the_first_denies() -> None:
    stopped = judge(conditions=replace(FINE, gate=GateMode.CANCEL_WORKING, market_open=None))
    assert len(stopped.controls) == len(judge().controls)


def test_an_undefined_risk_is_denied() -> None:
    naked = (Leg(occ_symbol="SPY   270115C00700000", action=OrderAction.SELL_TO_OPEN, quantity=1),)
    decision = judge(proposal(legs=naked))
    assert "defined_risk" in decision.denials
    assert decision.max_loss is None


def test_legs_of_several_expirations_are_not_taken_for_defined_risk() -> None:
    legs = (
        Leg(occ_symbol=SHORT, action=OrderAction.SELL_TO_OPEN, quantity=1),
        Leg(occ_symbol="SPY   270219P00595000", action=OrderAction.BUY_TO_OPEN, quantity=1),
    )
    assert "defined_risk" in judge(proposal(legs=legs)).denials


def test_a_close_needs_the_position_it_closes() -> None:
    legs = (
        Leg(occ_symbol=SHORT, action=OrderAction.BUY_TO_CLOSE, quantity=1),
        Leg(occ_symbol=LONG, action=OrderAction.SELL_TO_CLOSE, quantity=1),
    )
    close = proposal(legs=legs, purpose=Purpose.CLOSE, start_price=Decimal("-1.70"), limit_price=Decimal("-1.80"))
    conditions = replace(FINE, natural=Decimal("-1.80"), mid=Decimal("-1.70"), gate=GateMode.REDUCE_ONLY)
    held = (Held(SHORT, "SPY", -1, Decimal("2")), Held(LONG, "SPY", 1, Decimal("1")))
    assert judge(close, replace(ACCOUNT, held=held), conditions).approved
    assert "position_to_close" in judge(close, ACCOUNT, conditions).denials
    working = (reserved(underlying_symbol="SPY", purpose=Purpose.CLOSE, closes={SHORT: 1, LONG: 1}),)
    assert "position_to_close" in judge(close, replace(ACCOUNT, held=held, reserved=working), conditions).denials


def test_a_person_may_add_to_a_holding_and_automation_may_not() -> None:
    held = (Held(SHORT, "SPY", -1, Decimal("2")), Held(LONG, "SPY", 1, Decimal("1")))
    account = replace(ACCOUNT, held=held)
    assert "duplicate" not in judge(account=account).denials
    assert "duplicate" in judge(proposal(source="scanner"), account).denials


def test_exposure_adds_up_per_expiration() -> None:
    spread = (Held(SHORT, "SPY", -2, Decimal("2.00")), Held(LONG, "SPY", 2, Decimal("1.00")))
    assert exposure(spread) == Decimal("800.00")
    assert exposure((Held("SPY   270115C00700000", "SPY", -1, Decimal("2")),)) is None


@given(st.integers(1, 10), st.decimals("0.05", "4.95", places=2), st.integers(0, 30), st.integers(50_000, 500_000))
def test_what_is_approved_stays_within_every_limit(quantity: int, credit: Decimal, others: int, size: int) -> None:
    """Whatever is approved, exposure with everything reserved is within the limits it was judged by."""
    orders = tuple(reserved(underlying_symbol=f"U{n}", sector=f"S{n}") for n in range(others))
    account = replace(
        ACCOUNT, net_liq=Decimal(size), buying_power=Decimal(size), reserved=orders, high_water_mark=Decimal(size),
        start_of_day_net_liq=Decimal(size), maintenance_requirement=Decimal(0),
    )  # fmt: skip
    trade = proposal(quantity=quantity, start_price=credit, limit_price=credit)
    decision = judge(trade, account, replace(FINE, natural=credit, mid=credit))
    if decision.approved:
        assert decision.max_loss is not None
        assert decision.max_loss <= LIMITS.trade_risk_max_pct / 100 * size
        total = decision.max_loss + sum(each.max_loss for each in orders)
        assert total <= LIMITS.exposure_max_pct / 100 * size
        assert others + 1 <= LIMITS.positions_max


def test_gauges_show_unknown_instead_of_zero() -> None:
    shown = {gauge.name: gauge for gauge in gauges(Account(), None, LIMITS)}
    assert shown["exposure"].value is None
    assert shown["exposure"].level == "unknown"
    assert shown["positions"].level == "ok"


def test_levels_follow_the_share_used() -> None:
    assert [level(share) for share in (0, 79.9, 80, 95, 100, 250)] == [
        "ok", "ok", "warning", "critical", "violation", "violation",
    ]  # fmt: skip


def test_a_loss_limit_stops_the_account_by_itself() -> None:
    assert automatic_stop(ACCOUNT, LIMITS) is None
    reason = automatic_stop(replace(ACCOUNT, start_of_day_net_liq=Decimal(101_500)), LIMITS)
    assert reason is not None
    assert "daily loss $1,500.00" in reason
    reason = automatic_stop(replace(ACCOUNT, high_water_mark=Decimal(115_000)), LIMITS)
    assert reason is not None
    assert "drawdown" in reason
