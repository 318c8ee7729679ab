"""Each control denies alone, with value and limit; a missing fact or limit denies; nothing is skipped."""

from __future__ import annotations

from dataclasses import fields, replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from risk_cases import ACCOUNT, D, case, order
from risk_matrix import AUTO, CLOSE, CLOSE_QUOTES, HELD, MATRIX, MISSING, SEEN, Change

from ledger.limits import DEFAULTS, SPECS
from risk.domain.control import Breach, Scope
from risk.domain.decision import BREACH_OF, CONTROLS, Decision, decide
from risk.domain.facts import Account, Around, Quotes
from schemas.account import GateMode
from schemas.trade import RuleResult


def verdict(decision: Decision, rule: str) -> RuleResult:
    return next(each for each in decision.controls if each.rule == rule)


def test_a_sound_trade_is_approved_and_reserves_its_worst_loss() -> None:
    """A 5-wide spread at its worst credit of 1.60 can lose 3.40 a share; the broker's larger figure is reserved."""
    decision = decide(case())
    assert decision.approved, decision.denials
    assert decision.max_loss == D("340.00")
    assert decision.buying_power == D("341.12")


def test_a_sound_trade_of_automation_and_a_sound_close_are_approved() -> None:
    assert decide(case(trade=AUTO)).approved
    decision = decide(case(trade=CLOSE, account=HELD, quotes=CLOSE_QUOTES))
    assert decision.approved, decision.denials


def test_every_control_has_a_row_and_a_name_of_its_own() -> None:
    """A new control without a row on both sides of its limit fails here."""
    rules = [control.rule for control in CONTROLS]
    assert len(rules) == len(set(rules))
    assert set(rules) == MATRIX.keys()


@pytest.mark.parametrize("rule", MATRIX)
def test_a_control_passes_at_its_limit_and_denies_beyond_it(rule: str) -> None:
    """The denial names the rule, its value and how far beyond the limit it is."""
    within, beyond = MATRIX[rule]
    passed, denied = decide(case(**within)), decide(case(**beyond))
    assert verdict(passed, rule).passed, verdict(passed, rule)
    assert rule in denied.denials
    result = verdict(denied, rule)
    if rule not in ("size_max",):
        assert result.value is not None
    assert result.margin is not None
    assert result.margin < 0
    assert not denied.approved


@pytest.mark.parametrize("fact", MISSING)
def test_a_missing_fact_denies(fact: str) -> None:
    """Some control denies because of it, and says that the fact is missing instead of showing a number."""
    decision = decide(case(**MISSING[fact]))
    assert any(not each.passed and each.margin is None for each in decision.controls), decision.denials


def test_every_fact_that_may_be_missing_is_tried() -> None:
    """A new optional fact without a row fails here."""
    optional = {each.name for kind in (Account, Quotes, Around) for each in fields(kind) if "None" in str(each.type)}
    assert optional == MISSING.keys() - set(SEEN)


@pytest.mark.parametrize("control", [each for each in CONTROLS if isinstance(each.limit, str)], ids=lambda e: e.rule)
def test_a_missing_limit_denies(control: object) -> None:
    """A limit that no row of the ledger gives is never taken for no limit."""
    name = control.limit  # type: ignore[attr-defined]
    assert name in SPECS
    without = replace(DEFAULTS, values={key: value for key, value in DEFAULTS.values.items() if key != name})
    within = MATRIX[control.rule][0]  # type: ignore[attr-defined]
    result = verdict(decide(replace(case(**within), limits=without)), control.rule)  # type: ignore[attr-defined]
    assert not result.passed
    assert result.detail == "the limit is missing"


def test_every_control_of_its_scope_is_evaluated_even_when_the_first_denies() -> None:
    stopped = case(around={"gate": GateMode.CANCEL_WORKING}, quotes={"market_open": None}, account={"net_liq": None})
    scoped = {each.rule for each in CONTROLS if each.scope in (Scope.EVERY, Scope.OPENING)}
    assert {each.rule for each in decide(stopped).controls} == scoped


def test_the_order_of_the_controls_does_not_change_the_verdict() -> None:
    """Each judges the case alone."""
    tried = case(trade={"quantity": 11}, quotes={"market_open": False})
    found = {control.rule: control.judge(tried).passed for control in reversed(CONTROLS) if control.scope.takes(tried)}
    assert found == {each.rule: each.passed for each in decide(tried).controls}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_none_denies(value: float) -> None:
    result = verdict(decide(case(quotes={"underlying_move_pct": value})), "underlying_move_max_pct")
    assert not result.passed
    assert result.value is None


def test_a_refusal_of_the_brokers_dry_run_denies_in_its_words() -> None:
    decision = decide(case(around={"broker_effect": None, "broker_refusal": "margin_check_failed"}))
    assert "margin_check_failed" in verdict(decision, "buying_power_agreement_max_pct").detail


def test_without_dry_run_nothing_opens_but_where_it_is_optional() -> None:
    """Only mode sim lets it be optional; our own figure counts then."""
    assert not decide(case(around={"broker_effect": None})).approved
    decision = decide(case(around={"broker_effect": None, "dry_run_required": False}))
    assert decision.approved
    assert decision.buying_power == D("340.00")


def test_a_close_passes_where_openings_do_not() -> None:
    """Reduce-only, a frozen underlying and a silent executor stop openings alone."""
    tried = case(
        trade=CLOSE, account=HELD | {"frozen": {"SPY": "differs"}}, quotes=CLOSE_QUOTES,
        around={"gate": GateMode.REDUCE_ONLY, "executor_age_seconds": None},
    )  # fmt: skip
    assert decide(tried).approved


@pytest.mark.parametrize("rule", [rule for rule, breach in BREACH_OF.items() if breach is Breach.STOP_STRATEGY])
def test_a_throttle_that_is_passed_stops_the_strategy(rule: str) -> None:
    why = decide(case(**MATRIX[rule][1])).stops_strategy
    assert why is not None
    assert why.startswith(rule)


def test_a_missing_fact_stops_no_strategy_and_counts_against_none() -> None:
    decision = decide(case(trade=AUTO, account={"net_liq": None}, quotes={"natural": None}))
    assert decision.stops_strategy is None
    assert not decision.was_wrong


def test_a_limit_that_is_reached_counts_against_no_strategy_and_a_wrong_price_does() -> None:
    assert not decide(case(account={"orders": tuple(order() for _ in range(7))})).was_wrong
    assert decide(case(quotes={"natural": D(3)})).was_wrong


@given(st.integers(1, 10), st.decimals("0.05", "4.95", places=2), st.integers(0, 30), st.integers(50_000, 500_000))
def test_what_is_approved_stays_within_every_limit(quantity: int, credit: Decimal, others: int, size: int) -> None:
    """Whatever is approved, the worst combination with everything reserved is within the limits it was judged by."""
    account: Change = {
        "net_liq": D(size), "buying_power": D(size), "high_water_mark": D(size), "start_of_day_net_liq": D(size),
        "start_of_week_net_liq": D(size), "maintenance_requirement": D(0),
        "orders": tuple(order(sector=f"S{n}") for n in range(others)),
    }  # fmt: skip
    tried = case(
        trade={"quantity": quantity, "start_price": credit, "limit_price": credit},
        account=account,
        quotes={"natural": credit, "mid": credit, "theoretical": credit},
        around={"broker_effect": None, "dry_run_required": False},
        limits={"working_orders_max": "100"},
    )
    decision = decide(tried)
    if decision.approved:
        assert decision.max_loss is not None
        assert decision.max_loss <= D(2) / 100 * size
        total = decision.max_loss + sum(each.max_loss for each in account["orders"])
        assert total <= D(10) / 100 * size
    bigger = decide(replace(tried, trade=tried.trade.model_copy(update={"quantity": quantity + 1})))
    if bigger.approved:
        assert decision.approved, decision.denials


def test_the_account_of_the_tests_is_whole() -> None:
    assert all(getattr(ACCOUNT, each.name) is not None for each in fields(Account))
