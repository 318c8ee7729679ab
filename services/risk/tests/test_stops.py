"""What stops an account, or everything, by itself; what is not known stops nothing. Gauges and their levels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from risk_cases import ACCOUNT, HELD_SPREAD, LONG, SHORT, D, market, order

from ledger.limits import DEFAULTS
from risk.domain.facts import Account, Held, Market
from risk.domain.gauges import gauges, level_of, passings
from risk.domain.positions import losses
from risk.domain.stops import BrokerFacts, Contact, in_words, of_account, of_everything, strictest
from schemas.account import GateMode
from schemas.orders import LimitGauge

QUIET = BrokerFacts(errors_in_a_row=0, rate_limited=False, restrictions=())


def rules(account: dict[str, Any] | None = None, broker: dict[str, Any] | None = None, marks: Any = None) -> list[str]:
    seen = market() if marks is None else replace(market(), marks=marks)
    found = of_account(replace(ACCOUNT, **(account or {})), seen, replace(QUIET, **(broker or {})), DEFAULTS)
    return [each.rule for each in found]


@pytest.mark.parametrize(
    ("rule", "within", "beyond"),
    [
        ("daily_loss", {"start_of_day_net_liq": D("100999.99")}, {"start_of_day_net_liq": D("101000.00")}),
        ("weekly_loss_max_pct", {"start_of_week_net_liq": D(105_999)}, {"start_of_week_net_liq": D(106_000)}),
        ("drawdown_max_pct", {"high_water_mark": D(111_111)}, {"high_water_mark": D(111_112)}),
    ],
)
def test_a_loss_stops_the_account_at_its_limit(rule: str, within: dict[str, Any], beyond: dict[str, Any]) -> None:
    assert rules(within) == []
    assert rules(beyond) == [rule]


def test_the_nearer_of_the_two_daily_limits_counts() -> None:
    """1,000 dollars for each 100,000 is nearer than 5 %; on its own the percentage stops too."""
    only_pct = replace(DEFAULTS, values={k: v for k, v in DEFAULTS.values.items() if k != "daily_loss_max"})
    account = replace(ACCOUNT, start_of_day_net_liq=D(104_999))
    assert not of_account(account, market(), QUIET, only_pct)
    found = of_account(replace(ACCOUNT, start_of_day_net_liq=D(105_000)), market(), QUIET, only_pct)
    assert "daily loss $5,000.00 reached its limit $5,000.00" in in_words(found)


def test_a_position_that_lost_more_than_its_limit_stops_the_account() -> None:
    """Sold at 2.00 and 1.00, now 8.00 and 6.30: 70 dollars a spread; 29 of them lost 2,030."""
    held = tuple(replace(each, signed_quantity=each.signed_quantity * 28) for each in HELD_SPREAD)
    assert rules({"held": held}) == []
    held = tuple(replace(each, signed_quantity=each.signed_quantity * 29) for each in HELD_SPREAD)
    assert rules({"held": held}) == ["position_loss_max_pct"]
    assert rules({"held": held}, marks={SHORT: D(8)}) == []


@pytest.mark.parametrize(
    ("rule", "within", "beyond"),
    [
        ("broker_errors_max", {"errors_in_a_row": 4}, {"errors_in_a_row": 5}),
        ("broker_rate_limit", {"rate_limited": False}, {"rate_limited": True}),
        ("account_restricted", {"restrictions": ()}, {"restrictions": ("margin call",)}),
        ("reconciliation_mismatch", {"mismatch": ""}, {"mismatch": "broker and ledger differ in SPY"}),
    ],
)
def test_the_brokers_word_stops_the_account(rule: str, within: dict[str, Any], beyond: dict[str, Any]) -> None:
    assert rules(broker=within) == []
    assert rules(broker=beyond) == [rule]


def test_every_stop_cancels_working_openings() -> None:
    found = of_account(
        replace(ACCOUNT, high_water_mark=D(120_000)), market(), replace(QUIET, rate_limited=True), DEFAULTS
    )
    assert len(found) == 2
    assert strictest(found) is GateMode.REDUCE_ONLY
    assert strictest(found).cancels_opens  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("contact", "stops"),
    [
        (Contact(bus=60.0, database=60.0, feed=60.0, market_open=True), 0),
        (Contact(bus=60.1), 1),
        (Contact(database=60.1), 1),
        (Contact(feed=60.1, market_open=True), 1),
        (Contact(feed=60.1, market_open=False), 0),
        (Contact(feed=60.1), 0),
    ],
)
def test_stale_data_and_lost_contact_stop_everything(contact: Contact, stops: int) -> None:
    """Market data only while the market is open."""
    assert len(of_everything(contact, DEFAULTS)) == stops


def test_what_is_not_known_stops_nothing() -> None:
    assert of_account(Account(held=HELD_SPREAD), Market(), BrokerFacts(), DEFAULTS) == ()
    assert of_everything(Contact(), DEFAULTS) == ()


def test_losses_are_of_a_position_and_never_below_zero() -> None:
    won = (Held(SHORT, "SPY", -1, D(10)), Held(LONG, "SPY", 1, D(6)))
    assert losses(won, market()) == {"SPY 2027-01-15": D(0)}
    assert losses(HELD_SPREAD, market()) == {"SPY 2027-01-15": D("70.00")}


# gauges


def shown(account: Account = ACCOUNT, seen: Market | None = None) -> dict[str, LimitGauge]:
    return {each.name: each for each in gauges(account, seen or market(), DEFAULTS)}


def test_gauges_show_unknown_instead_of_zero() -> None:
    found = shown(Account(), Market())
    assert found["exposure"].value is None
    assert found["exposure"].level == "unknown"
    assert found["positions"].level == "ok"


def test_gauges_count_orders_at_their_worst_and_come_worst_first() -> None:
    account = replace(ACCOUNT, orders=(order(unknown=True), order(delta=-3.0)), held=HELD_SPREAD)
    found = shown(account, market(*(symbol for each in account.orders for symbol, _ in each.legs)))
    assert found["open_order_value"].value == pytest.approx(0.68)
    assert found["exposure"].value == pytest.approx(1.08)
    assert found["unknown_orders"].level == "violation"
    assert found["working_orders"].value == 2
    assert found["value_at_risk"].value is not None
    assert found["stress"].value is not None
    used = [each.used_pct for each in gauges(account, market(), DEFAULTS) if each.used_pct is not None]
    assert used == sorted(used, reverse=True)


def test_a_reserve_is_used_up_when_only_it_is_left() -> None:
    found = shown(replace(ACCOUNT, buying_power=D(25_000)))["cash_reserve"]
    assert (found.used_pct, found.level) == (100.0, "violation")


def test_levels_follow_the_share_used() -> None:
    assert [level_of(share) for share in (0, 79.9, 80, 95, 100, 250)] == [
        "ok", "ok", "warning", "critical", "violation", "violation",
    ]  # fmt: skip


def test_a_level_is_told_once_when_it_is_passed_and_once_when_it_is_left() -> None:
    warning = LimitGauge(name="exposure", value=81.0, limit=100.0, unit="%", used_pct=81.0, level="warning")
    fine = warning.model_copy(update={"level": "ok"})
    unknown = warning.model_copy(update={"level": "unknown"})
    assert [each.before for each in passings({}, [warning])] == ["ok"]
    assert passings({"exposure": "warning"}, [warning]) == ()
    assert [each.gauge.level for each in passings({"exposure": "warning"}, [fine])] == ["ok"]
    assert passings({"exposure": "warning"}, [unknown]) == ()


def test_daily_loss_scales_with_the_account() -> None:
    account = replace(ACCOUNT, net_liq=D(50_000), start_of_day_net_liq=D(50_500))
    assert shown(account)["daily_loss"].limit == 500.0
