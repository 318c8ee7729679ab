"""What orders need and cost: margin by strategy to the dollar, fees to the tenth of a cent, levels, hours, the grid."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tastysim.broker import Broker
from tastysim.brokerage import Brokerage
from tastysim.fees import FeeSchedule
from tastysim.listed import Listed
from tastysim.orders import Refusal
from tastysim.scripted_market import ScriptedMarket
from tastysim.store import Store
from tastysim.terms import HouseRules, Terms, read_terms

DAY = date(2026, 4, 17)
NOW = datetime(2026, 3, 16, 14, 0, tzinfo=UTC)
STRIKES = (80, 90, 95, 105, 110)
ACCOUNT = "5WT00001"
Legs = tuple[tuple[str, float, int, str], ...]
Open = Callable[..., tuple[ScriptedMarket, Brokerage, Broker]]


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    """A broker at a market where the underlying costs $100."""

    def make(terms: Terms | None = None, kind: str = "Margin", cash: int = 100_000) -> Any:
        market = ScriptedMarket(NOW, {"ACME": 100.0, "XSP": 100.0}, (DAY,), STRIKES)
        found = Brokerage(market, Store(tmp_path), ACCOUNT, 100_000, terms=terms)
        return market, found, found.open(cash, kind)

    return make


def occ(kind: str, strike: float, name: str = "ACME") -> str:
    return f"{name:<6}{DAY:%y%m%d}{kind}{int(strike * 1000):08d}"


def quoted(market: ScriptedMarket, legs: Legs) -> None:
    """Let the contracts of the legs be worth exactly what the legs say."""
    for kind, strike, _, price in legs:
        if kind != "S":
            row = market.row_of[occ(kind, strike)]
            market.bid[row], market.ask[row] = round(float(price) - 0.01, 2), round(float(price) + 0.01, 2)


def body(legs: Legs, net: str, **more: Any) -> dict[str, Any]:
    """An order to open these legs at a net price, credit positive."""
    found = []
    for kind, strike, quantity, _ in legs:
        symbol, its = ("ACME", "Equity") if kind == "S" else (occ(kind, strike), "Equity Option")
        action = "Buy to Open" if quantity > 0 else "Sell to Open"
        found.append({"symbol": symbol, "action": action, "quantity": abs(quantity), "instrument-type": its})
    effect = "Debit" if net.startswith("-") else "Credit"
    return {
        "order-type": "Limit", "time-in-force": "Day", "price": net.lstrip("-"), "price-effect": effect, "legs": found,
    } | more  # fmt: skip


def single(symbol: str, action: str, quantity: float, price: str | None = None, **more: Any) -> dict[str, Any]:
    kind = "Equity Option" if len(symbol) == 21 else "Equity"
    leg = {"symbol": symbol, "action": action, "quantity": quantity, "instrument-type": kind}
    effect = "Debit" if action.startswith("Buy") else "Credit"
    how = {"order-type": "Market"} if price is None else {
        "order-type": "Limit", "price": price, "price-effect": effect
    }  # fmt: skip
    return {"time-in-force": "Day", "legs": [leg]} | how | more


TABLE: tuple[tuple[str, Legs, str, str, str], ...] = (
    ("long call", (("C", 105, 1, "2.00"),), "-2.00", "200", "200"),
    ("naked put", (("P", 95, -1, "1.50"),), "1.50", "1650", "1500"),
    ("naked put at the floor", (("P", 80, -1, "0.10"),), "0.10", "810", "800"),
    ("naked call", (("C", 105, -1, "1.20"),), "1.20", "1620", "1500"),
    ("strangle", (("P", 95, -1, "1.50"), ("C", 105, -1, "1.20")), "2.70", "1770", "1500"),
    ("put credit spread", (("P", 95, -1, "1.50"), ("P", 90, 1, "0.60")), "0.90", "500", "410"),
    ("put debit spread", (("P", 95, 1, "1.50"), ("P", 90, -1, "0.60")), "-0.90", "90", "90"),
    ("condor", (("P", 90, 1, "0.60"), ("P", 95, -1, "1.50"), ("C", 105, -1, "1.20"), ("C", 110, 1, "0.40")),
     "1.70", "500", "330"),
    ("two put credit spreads", (("P", 95, -2, "1.50"), ("P", 90, 2, "0.60")), "0.90", "1000", "820"),
    ("shares", (("S", 0, 100, "100"),), "-100", "5000", "5000"),
    ("covered call", (("S", 0, 100, "100"), ("C", 105, -1, "1.20")), "-98.80", "5000", "4880"),
    ("short shares", (("S", 0, -100, "100"),), "100", "15000", "5000"),
)  # fmt: skip


@pytest.mark.parametrize(("name", "legs", "net", "gross", "used"), TABLE, ids=[row[0] for row in TABLE])
def test_requirements_are_those_of_the_table(
    opened: Open, name: str, legs: Legs, net: str, gross: str, used: str
) -> None:
    """Gross requirement and buying power used, U = 100: Cboe's margin manual by hand, to the dollar."""
    market, _, broker = opened()
    quoted(market, legs)
    order, effect, fees = broker.dry_run(body(legs, net), NOW)
    assert order.underlying == "ACME"
    assert (Decimal(effect["change-in-margin-requirement"]), effect["change-in-margin-requirement-effect"]) == (
        Decimal(gross), "Debit"
    )  # fmt: skip
    assert Decimal(effect["change-in-buying-power"]) - Decimal(fees["total-fees"]) == Decimal(used)
    assert Decimal(effect["isolated-order-margin-requirement"]) == Decimal(gross)
    assert effect["effect"] == "Debit"
    before = broker.buying_power()
    for kind, strike, quantity, price in legs:
        symbol = "ACME" if kind == "S" else occ(kind, strike)
        broker.move(symbol, quantity, Decimal(price), NOW)
        broker.cash -= quantity * Decimal(price) * (1 if kind == "S" else 100)
    assert broker.requirement() == Decimal(gross)
    assert before - broker.buying_power() == Decimal(used)


def test_a_broad_fund_and_a_leveraged_one_have_their_rates(opened: Open) -> None:
    """15 % of a broad index fund; twice the rate for a fund that moves twice."""
    legs: Legs = (("P", 95, -1, "1.50"),)
    for house, gross in (
        (HouseRules(broad_funds=("ACME",)), 1150), (HouseRules(leverage={"ACME": Decimal(2)}), 3650),
        (HouseRules(naked_minimum=Decimal(2000)), 2150),
    ):  # fmt: skip
        market, _, broker = opened(Terms(house=house))
        quoted(market, legs)
        _, effect, _ = broker.dry_run(body(legs, "1.50"), NOW)
        assert Decimal(effect["change-in-margin-requirement"]) == gross


def test_a_cash_account_pays_in_full(opened: Open) -> None:
    """Puts are secured by cash, spreads by their greatest loss; calls and shares are not sold short."""
    market, _, broker = opened(kind="Cash")
    put: Legs = (("P", 95, -1, "1.50"),)
    spread: Legs = (("P", 95, -1, "1.50"), ("P", 90, 1, "0.60"))
    shares: Legs = (("S", 0, 100, "100"),)
    quoted(market, spread)
    for legs, net, used in ((put, "1.50", 9350), (spread, "0.90", 410), (shares, "-100", 10_000)):
        _, effect, fees = broker.dry_run(body(legs, net), NOW)
        assert Decimal(effect["change-in-buying-power"]) - Decimal(fees["total-fees"]) == used
    for wrong in (single(occ("C", 105), "Sell to Open", 1, "1.20"), single("ACME", "Sell to Open", 1, "100")):
        with pytest.raises(Refusal) as refusal:
            broker.submit(wrong, NOW)
        assert refusal.value.reasons[0]["code"] == "invalid_option_level"


@pytest.mark.parametrize(
    ("level", "allowed"),
    [("Long Only", 1), ("Covered And Cash Secured", 2), ("Defined Risk Spreads", 3), ("No Restrictions", 4)],
)
def test_levels_allow_what_they_name(opened: Open, level: str, allowed: int) -> None:
    """Each level adds one: long options, secured puts, spreads, naked calls."""
    market, _, broker = opened()
    broker.options_level = level
    spread: Legs = (("P", 95, -1, "1.50"), ("P", 90, 1, "0.60"))
    quoted(market, spread)
    wishes = [
        single(occ("C", 105), "Buy to Open", 1, "1.20"), single(occ("P", 95), "Sell to Open", 1, "1.50"),
        body(spread, "0.90"), single(occ("C", 105), "Sell to Open", 1, "1.20"),
    ]  # fmt: skip
    for number, wish in enumerate(wishes, 1):
        if number <= allowed:
            broker.dry_run(wish, NOW)
            continue
        with pytest.raises(Refusal) as refusal:
            broker.dry_run(wish, NOW)
        assert refusal.value.reasons[0]["code"] == "invalid_option_level"


def test_commission_of_a_leg_has_a_cap_that_partial_fills_share(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty contracts in three fills cost ten dollars to open and nothing to close; an index has no cap."""
    market, brokerage, broker = opened()
    quoted(market, (("C", 105, 1, "2.00"),))
    for name in ("bid_size", "ask_size"):
        monkeypatch.setattr(market, name, market.bid_size * 0 + 12)
    order = broker.submit(single(occ("C", 105), "Buy to Open", 30), NOW)
    for _ in range(3):
        brokerage.step(market.now)
    assert order.status == "Filled"
    trades = [row for row in broker.store.rows("transactions", broker.account) if row["transaction-type"] == "Trade"]
    assert [row["commission"] for row in trades] == ["10.0", "0.0", "0.0"]
    assert [row["clearing-fees"] for row in trades] == ["1.2", "1.2", "0.6"]
    assert broker.cash == 100_000 - 30 * 201 - 10 - 3 - Decimal("0.60")
    _, _, fees = broker.dry_run(single(occ("C", 105), "Sell to Close", 30), NOW)
    assert fees["commission"] == "0.0"
    parts = {each["name"]: each["value"] for each in fees["regulatory-fees-breakdown"]}
    assert parts == {"exchange": "0.0", "nfa": "0.0", "orf": "0.6", "sec": "0.124", "taf": "0.084"}
    _, _, fees = broker.dry_run(single(occ("C", 105, "XSP"), "Buy to Open", 30), NOW)
    assert (fees["commission"], fees["proprietary-index-option-fees"]) == ("30.0", "2.1")
    assert fees["proprietary-fees-breakdown"] == [{"name": "proprietary", "value": "2.1", "effect": "Debit"}]


def test_the_captured_example_is_met(opened: Open) -> None:
    """A spread of one bought and one sold contract: 2.00 commission, 0.20 clearing; one share costs 0.001 to clear."""
    market, _, broker = opened(Terms(fees=FeeSchedule(orf=Decimal("0.05"), option_taf=Decimal("0.002"),
                                                      sec_rate=Decimal(0))))  # fmt: skip
    legs: Legs = (("P", 95, -1, "2.60"), ("P", 90, 1, "0.60"))
    quoted(market, legs)
    _, effect, fees = broker.dry_run(body(legs, "2.00"), NOW)
    assert [fees[name] for name in ("commission", "clearing-fees", "regulatory-fees", "total-fees")] == [
        "2.0", "0.2", "0.102", "2.302"
    ]  # fmt: skip
    assert Decimal(effect["impact"]) == 500 - 200 + Decimal("2.302")
    _, _, fees = broker.dry_run(single("ACME", "Buy to Open", 1, "100"), NOW)
    assert fees["clearing-fees"] == "0.001"


def test_a_file_changes_any_rate(tmp_path: Path) -> None:
    """Names and numbers of the file are checked; what it does not name stays."""
    path = tmp_path / "terms.json"
    path.write_text('{"fees": {"orf": "0.03", "proprietary": {"SPX": "0.7"}}, "interest": {"days": 365}}')
    found = read_terms(path)
    assert (found.fees.orf, found.fees.proprietary, found.interest.days) == (
        Decimal("0.03"), {"SPX": Decimal("0.7")}, 365
    )  # fmt: skip
    assert found.fees.option_clearing == Decimal("0.10")
    for wrong in ("[]", '{"fee": {}}', '{"fees": {"orv": 1}}', '{"fees": {"orf": "much"}}', "{"):
        path.write_text(wrong)
        with pytest.raises(ValueError, match=r"fee|orv|orf|object|terms"):
            read_terms(path)


def test_nobody_opens_against_a_position(opened: Open) -> None:
    """Close it first; and no more is closed than there is."""
    market, brokerage, broker = opened()
    broker.submit(single("ACME", "Buy to Open", 10), NOW)
    brokerage.step(market.now)
    for wish, code in (
        (single("ACME", "Sell to Open", 5, "100"), "opening_against_position"),
        (single("ACME", "Sell to Close", 11, "100"), "closing_more_than_held"),
    ):
        with pytest.raises(Refusal) as refusal:
            broker.submit(wish, NOW)
        assert refusal.value.reasons[0]["code"] == code
    first, second = (broker.submit(single("ACME", "Sell to Close", 10), NOW) for _ in range(2))
    brokerage.step(market.now)
    assert (first.status, second.status, broker.positions) == ("Filled", "Rejected", {})


def test_the_last_half_hour_of_a_contract(opened: Open) -> None:
    """Nothing is sold to open in it; afterwards nothing trades at all."""
    market, _, broker = opened()
    market.go(datetime(2026, 4, 17, 19, 35, tzinfo=UTC))
    broker.dry_run(single(occ("C", 90), "Buy to Open", 1, "10"), market.now)
    for minute, code in ((35, "sell_to_open_cutoff"), (60, "instrument_validation_failed")):
        at = datetime(2026, 4, 17, 19 + minute // 60, minute % 60, tzinfo=UTC)
        with pytest.raises(Refusal) as refusal:
            broker.submit(single(occ("P", 110), "Sell to Open", 1, "10"), at)
        assert refusal.value.reasons[0]["code"] == code


def test_orders_wait_for_the_next_session(opened: Open) -> None:
    """Received with a warning while nothing trades; live at the open; a day's order ends with its session."""
    market, brokerage, broker = opened()
    market.is_open = False
    evening = datetime(2026, 3, 16, 23, 0, tzinfo=UTC)
    market.go(evening)
    brokerage.step(evening)
    waiting = broker.submit(single("ACME", "Buy to Open", 1, "50"), evening)
    assert (waiting.status, [each["code"] for each in waiting.warnings]) == ("Received", ["tif.next_valid_session"])
    with pytest.raises(Refusal) as refusal:
        broker.submit(single("ACME", "Buy to Open", 1), evening)
    assert refusal.value.reasons[0]["code"] == "market_closed"
    for at, open_now, status in (
        (datetime(2026, 3, 17, 5, 0, tzinfo=UTC), False, "Received"),
        (datetime(2026, 3, 17, 13, 31, tzinfo=UTC), True, "Live"),
        (datetime(2026, 3, 17, 20, 1, tzinfo=UTC), False, "Expired"),
    ):
        market.is_open = open_now
        market.go(at)
        brokerage.step(at)
        assert waiting.status == status


@pytest.mark.parametrize(
    ("price", "legs", "status"),
    [
        ("2.07", 1, "Rejected"),
        ("2.05", 1, "Live"),
        ("3.05", 1, "Rejected"),
        ("0.07", 2, "Live"),
        ("0.075", 2, "Rejected"),
    ],
)
def test_prices_off_the_grid_are_rejected_by_the_venue(opened: Open, price: str, legs: int, status: str) -> None:
    """A class in nickels and dimes; several legs together trade in cents. The order is accepted first."""
    market, brokerage, broker = opened()
    market.listed = (
        Listed("ACME", "Acme", 100.0, 1.0, 0.2, "Industrials", 1.0, tick_class="other"),
        *market.listed[1:],
    )
    quoted(market, (("C", 105, 1, "9.00"), ("C", 110, -1, "4.00")))
    wish: Legs = (("C", 105, 1, ""), ("C", 110, -1, ""))[:legs]
    order = broker.submit(body(wish, f"-{price}"), NOW)
    brokerage.step(market.now)
    assert order.status == status


def test_ten_thousand_ended_orders_do_not_slow_a_step(opened: Open) -> None:
    """A step looks at what works, not at what has worked."""
    market, brokerage, broker = opened()
    with brokerage.store.batch():
        for _ in range(10_000):
            order = broker.checked(single("ACME", "Buy to Open", 1, "50"), NOW)
            order.id = broker.store.next_order_id()
            order.become("Cancelled", NOW)
            broker.orders[order.id] = order
    brokerage.step(market.now)
    before = time.process_time()
    for _ in range(200):
        brokerage.step(market.now)
    assert (time.process_time() - before) / 200 < 0.002
