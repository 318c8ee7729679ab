"""What the calendar does to accounts: expiration, exercise, assignment, dividends, splits, interest; to the cent."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tastyclient import NewLeg, NewOrder, OrderStatus, RejectedError, TastyClient
from tastysim import expirations
from tastysim.broker import Broker
from tastysim.brokerage import Brokerage
from tastysim.corporate_events import CorporateEvents, Dividend, Split
from tastysim.orders import Refusal
from tastysim.scripted_market import ScriptedMarket
from tastysim.store import Store
from tastysim.terms import AssignmentRules, InterestRates, Terms
from testkit import eventually

FRIDAY, NEXT = date(2026, 3, 20), date(2026, 4, 17)
START = datetime(2026, 3, 16, 14, 0, tzinfo=UTC)
BEFORE, AFTER = datetime(2026, 3, 20, 19, 59, tzinfo=UTC), datetime(2026, 3, 20, 20, 16, tzinfo=UTC)
STRIKES = (90, 95, 100, 105, 110)
ACCOUNT = "5WT00001"
Open = Callable[..., tuple[ScriptedMarket, Brokerage, Broker]]


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    """A broker at a market of ACME and the XSP index at $100, and a second account."""

    def make(events: CorporateEvents | None = None, terms: Terms | None = None, cash: int = 100_000) -> Any:
        market = ScriptedMarket(START, {"ACME": 100.0, "XSP": 100.0}, (FRIDAY, NEXT), STRIKES, events, 0.4)
        found = Brokerage(market, Store(tmp_path), ACCOUNT, cash, terms=terms)
        return market, found, found.broker(ACCOUNT)

    return make


def occ(kind: str, strike: int, day: date = FRIDAY, name: str = "ACME") -> str:
    return f"{name:<6}{day:%y%m%d}{kind}{strike * 1000:08d}"


def do(broker: Broker, action: str, symbol: str, quantity: int = 1, **more: Any) -> Any:
    """A market order."""
    kind = "Equity Option" if len(symbol) == 21 else "Equity"
    leg = {"symbol": symbol, "action": action, "quantity": quantity, "instrument-type": kind}
    body = {"order-type": "Market", "time-in-force": "Day", "legs": [leg]} | more
    return broker.submit(body, broker.market.now)


def held(broker: Broker) -> dict[str, int]:
    return {symbol: quantity for symbol, (quantity, _) in broker.positions.items()}


def rows(broker: Broker, kind: str) -> list[dict[str, Any]]:
    return [row for row in broker.store.rows("transactions", broker.account) if row["transaction-type"] == kind]


def to(market: ScriptedMarket, brokerage: Brokerage, now: datetime, **prices: float) -> None:
    market.go(now, **prices)
    brokerage.step(now)


def test_a_contract_a_cent_in_the_money_is_delivered_and_the_rest_is_removed(opened: Open) -> None:
    """Long call exercised, short put out of the money removed; shares at the strike; the orders in them expire."""
    market, brokerage, broker = opened()
    do(broker, "Buy to Open", occ("C", 95), 2)
    do(broker, "Sell to Open", occ("P", 95), 3)
    brokerage.step(market.now)
    resting = do(broker, "Sell to Close", occ("C", 95), 2, **{"order-type": "Limit", "price": "60",
                 "price-effect": "Credit", "time-in-force": "GTC"})  # fmt: skip
    cash = broker.cash
    to(market, brokerage, BEFORE, ACME=95.0)
    assert resting.status == "Live"
    market.closes["ACME", FRIDAY] = Decimal("95.01")
    to(market, brokerage, AFTER, ACME=94.0)
    assert resting.status == "Expired"
    assert broker.positions == {"ACME": (200, Decimal(95))}
    assert broker.cash == cash - 200 * 95
    told = [(row["transaction-sub-type"], row["symbol"], row["quantity"], row["value"], row.get("action"))
            for row in rows(broker, "Receive Deliver")]  # fmt: skip
    assert told == [
        ("Exercise", occ("C", 95), "2.0", "0.0", None), ("Buy to Open", "ACME", "200.0", "19000.0", "Buy to Open"),
        ("Expiration", occ("P", 95), "3.0", "0.0", None),
    ]  # fmt: skip


def test_a_spread_that_ends_in_the_money_leaves_no_shares(opened: Open) -> None:
    """Both puts of a short vertical: assigned at one strike, exercised at the other; the width is lost, no more."""
    market, brokerage, broker = opened()
    legs = [
        {"symbol": occ("P", 100), "action": "Sell to Open", "quantity": 2, "instrument-type": "Equity Option"},
        {"symbol": occ("P", 95), "action": "Buy to Open", "quantity": 2, "instrument-type": "Equity Option"},
    ]
    body = {"order-type": "Limit", "time-in-force": "Day", "price": "0.10", "price-effect": "Credit", "legs": legs}
    broker.submit(body, market.now)
    brokerage.step(market.now)
    cash = broker.cash
    to(market, brokerage, AFTER, ACME=80.0)
    assert held(broker) == {}
    assert broker.cash == cash - 2 * 500
    assert Decimal(broker.realized["ACME"]) == -2 * 500


def test_an_index_pays_cash(opened: Open) -> None:
    """European and cash-settled: the intrinsic value changes hands, no shares do."""
    market, brokerage, broker = opened()
    do(broker, "Buy to Open", occ("C", 95, name="XSP"), 1)
    do(broker, "Sell to Open", occ("P", 110, name="XSP"), 1)
    brokerage.step(market.now)
    with pytest.raises(Refusal, match="European"):
        expirations.exercise(broker, occ("C", 95, name="XSP"), 1, market.now)
    cash = broker.cash
    market.closes["XSP", FRIDAY] = Decimal("101.37")
    to(market, brokerage, AFTER)
    assert held(broker) == {}
    assert broker.cash == cash + Decimal("637.00") - Decimal("863.00")
    kinds = [row["transaction-sub-type"] for row in rows(broker, "Receive Deliver")]
    assert kinds == ["Cash Settled Exercise", "Cash Settled Assignment"]


def test_what_was_missed_happens_in_its_order(opened: Open, tmp_path: Path) -> None:
    """A simulator that was down over an expiration settles it at the official close when it starts again."""
    market, brokerage, broker = opened()
    do(broker, "Buy to Open", occ("P", 105), 1)
    brokerage.step(market.now)
    later = ScriptedMarket(START + timedelta(days=12), {"ACME": 140.0, "XSP": 100.0}, (NEXT,), STRIKES)
    later.closes["ACME", FRIDAY] = Decimal("101.50")
    again = Brokerage(later, Store(tmp_path), ACCOUNT, 100_000)
    again.step(later.now)
    assert again.broker(ACCOUNT).positions == {"ACME": (-100, Decimal(105))}
    (removed, sold) = rows(again.broker(ACCOUNT), "Receive Deliver")
    assert removed["executed-at"] == sold["executed-at"] == "2026-03-20T20:00:00.000+00:00"


def test_a_contract_waits_for_a_settlement_price(opened: Open) -> None:
    """Where nobody knows what its underlying closed at, it is settled as soon as somebody does."""
    market, brokerage, broker = opened()
    do(broker, "Buy to Open", occ("C", 95), 1)
    brokerage.step(market.now)
    market.spot[0] = float("nan")
    brokerage.lifecycle.run(AFTER)
    assert held(broker) == {occ("C", 95): 1}
    market.spot[0] = 99.0
    brokerage.lifecycle.run(AFTER + timedelta(days=3))
    assert held(broker) == {"ACME": 100}


DIVIDEND = Dividend(
    "ACME", Decimal("1.255"), date(2026, 2, 20), date(2026, 3, 19), date(2026, 3, 19), date(2026, 3, 31)
)


def test_a_dividend_goes_to_who_held_at_the_close_before(opened: Open) -> None:
    """Bought before, received; bought on the ex-date, not; a short pays. On the payable date, to the cent."""
    market, brokerage, broker = opened(CorporateEvents((DIVIDEND,)))
    short = brokerage.open(100_000, "Margin")
    do(broker, "Buy to Open", "ACME", 33)
    do(short, "Sell to Open", "ACME", 10)
    brokerage.step(market.now)
    to(market, brokerage, datetime(2026, 3, 18, 22, 0, tzinfo=UTC))
    to(market, brokerage, datetime(2026, 3, 19, 14, 0, tzinfo=UTC))
    do(broker, "Buy to Open", "ACME", 100)
    brokerage.step(market.now)
    before = broker.cash, short.cash
    to(market, brokerage, datetime(2026, 3, 31, 13, 0, tzinfo=UTC))
    assert (broker.cash, short.cash) == before
    to(market, brokerage, datetime(2026, 3, 31, 13, 31, tzinfo=UTC))
    assert broker.cash - before[0] == Decimal("41.42")
    assert short.cash - before[1] == Decimal("-12.55")
    (row,) = [each for each in rows(broker, "Money Movement") if each["transaction-sub-type"] == "Dividend"]
    assert (row["symbol"], row["value"], row["value-effect"]) == ("ACME", "41.42", "Credit")
    to(market, brokerage, START)
    to(market, brokerage, datetime(2026, 4, 2, 14, 0, tzinfo=UTC))
    paid = [each for each in rows(broker, "Money Movement") if each["transaction-sub-type"] == "Dividend"]
    assert paid == [row], "a clock that repeats a day pays it once"


def test_calls_without_time_value_are_assigned_for_the_dividend(opened: Open) -> None:
    """The deep call is, the one with time value is not; the new short shares owe the dividend."""
    everyone = Terms(assignment=AssignmentRules(dividend_share=Decimal(1), parity_share=Decimal(0)))
    market, brokerage, broker = opened(CorporateEvents((DIVIDEND,)), everyone)
    do(broker, "Sell to Open", occ("C", 90), 3)
    do(broker, "Sell to Open", occ("C", 105, NEXT), 1)
    brokerage.step(market.now)
    to(market, brokerage, datetime(2026, 3, 18, 21, 29, tzinfo=UTC))
    assert held(broker) == {occ("C", 90): -3, occ("C", 105, NEXT): -1}
    to(market, brokerage, datetime(2026, 3, 18, 21, 31, tzinfo=UTC))
    assert held(broker) == {occ("C", 105, NEXT): -1, "ACME": -300}
    assert broker.holdings.dividends["ACME 2026-03-19"]["shares"] == "-300"


def test_assignment_at_parity_is_drawn_by_account_contract_and_day(opened: Open) -> None:
    """Some of many, the same ones however many steps the evening takes, and orders to close them end."""
    half = Terms(assignment=AssignmentRules(parity_share=Decimal("0.5"), parity_value=Decimal("0.50")))
    market, brokerage, broker = opened(None, half, cash=2_000_000)
    do(broker, "Sell to Open", occ("P", 110), 40)
    brokerage.step(market.now)
    closing = do(broker, "Buy to Close", occ("P", 110), 40, **{"order-type": "Limit", "price": "0.01",
                 "price-effect": "Debit", "time-in-force": "GTC"})  # fmt: skip
    market.spot[0] = 95.0
    to(market, brokerage, datetime(2026, 3, 16, 21, 45, tzinfo=UTC))
    left = held(broker)[occ("P", 110)]
    assert -35 < left < -5
    assert held(broker)["ACME"] == 100 * (40 + left)
    assert closing.status == "Cancelled"


def test_a_holder_exercises_when_he_wants(opened: Open) -> None:
    """A part of a long put against shares: sold at the strike; what is not there or worth nothing is refused."""
    market, brokerage, broker = opened()
    do(broker, "Buy to Open", occ("P", 110, NEXT), 3)
    do(broker, "Buy to Open", "ACME", 150)
    brokerage.step(market.now)
    cash = broker.cash
    expirations.exercise(broker, occ("P", 110, NEXT), 2, market.now)
    assert held(broker) == {occ("P", 110, NEXT): 1, "ACME": -50}
    assert broker.cash == cash + 2 * 11_000
    sides = [row["transaction-sub-type"] for row in rows(broker, "Receive Deliver")]
    assert sides == ["Exercise", "Sell to Close", "Sell to Open"]
    for symbol, quantity in ((occ("P", 110, NEXT), 2), (occ("C", 110, NEXT), 1), ("ACME", 1)):
        with pytest.raises(Refusal):
            expirations.exercise(broker, symbol, quantity, market.now)


def test_a_split_changes_shares_contracts_and_prices(opened: Open) -> None:
    """Four for one: four times as many at a quarter; value and cost stay; orders in the name are cancelled."""
    market, brokerage, broker = opened(CorporateEvents((), (Split("ACME", date(2026, 3, 18), 4, 1),)))
    do(broker, "Buy to Open", "ACME", 50)
    do(broker, "Buy to Open", occ("C", 95, NEXT), 2)
    brokerage.step(market.now)
    resting = do(broker, "Sell to Close", "ACME", 50, **{"order-type": "Limit", "price": "150",
                 "price-effect": "Credit", "time-in-force": "GTC"})  # fmt: skip
    average = broker.positions[occ("C", 95, NEXT)][1]
    cash = broker.cash
    to(market, brokerage, datetime(2026, 3, 18, 13, 31, tzinfo=UTC), ACME=25.0)
    after = "ACME  260417C00023750"
    assert held(broker) == {"ACME": 200, after: 8}
    assert broker.positions[after][1] == average / 4
    assert broker.positions["ACME"][1] * 200 == Decimal("100.01") * 50
    assert (broker.cash, resting.status) == (cash, "Cancelled")
    close = do(broker, "Sell to Close", after, 8)
    brokerage.step(market.now)
    assert close.status == "Filled", "what is no longer listed can still be closed"


def test_a_reverse_split_pays_the_fraction_and_adjusts_the_contract(opened: Open, tmp_path: Path) -> None:
    """One for ten: 55 shares become 5 and half a share in cash; a contract delivers ten shares for the old strike."""
    market, brokerage, broker = opened(CorporateEvents((), (Split("ACME", date(2026, 3, 18), 1, 10),)))
    do(broker, "Buy to Open", "ACME", 55)
    do(broker, "Sell to Open", occ("P", 110), 1)
    brokerage.step(market.now)
    cash, average = broker.cash, broker.positions[occ("P", 110)][1]
    to(market, brokerage, datetime(2026, 3, 18, 13, 31, tzinfo=UTC), ACME=1000.0)
    adjusted = "ACME1 260320P00110000"
    assert held(broker) == {"ACME": 5, adjusted: -1}
    assert broker.cash == cash + 500
    assert broker.positions[adjusted][1] == average
    assert broker.requirement() > 0
    again = Brokerage(market, Store(tmp_path), ACCOUNT, 1).broker(ACCOUNT)
    assert (again.underlying_of(adjusted), again.contracts.of(adjusted).shares) == ("ACME", 10)
    cash = broker.cash
    to(market, brokerage, AFTER, ACME=900.0)
    assert held(broker) == {"ACME": 15}
    assert broker.cash == cash - 110 * 100


def test_interest_accrues_by_the_day_and_is_posted_by_the_month(opened: Open) -> None:
    """On cash, on debt and on shares sold short, each as a transaction on the first of the next month."""
    rates = InterestRates(credit=Decimal("0.036"), debit=Decimal("0.09"), borrow=Decimal("0.018"))
    market, brokerage, broker = opened(None, Terms(interest=rates))
    debtor = brokerage.open(20_000, "Margin")
    do(debtor, "Buy to Open", "ACME", 300)
    do(broker, "Sell to Open", "ACME", 100)
    brokerage.step(market.now)
    lent, owed, shorts = broker.cash, debtor.cash, -broker.value("ACME")
    assert owed < 0
    to(market, brokerage, datetime(2026, 4, 1, 13, 31, tzinfo=UTC))
    days = 15  # the mornings of 17 March to 31 March
    credit, borrow = (lent * Decimal("0.036") / 360 * days), shorts * Decimal("0.018") / 360 * days
    debit = -owed * Decimal("0.09") / 360 * days
    cents = Decimal("0.01")
    assert broker.cash - lent == credit.quantize(cents) - borrow.quantize(cents)
    assert debtor.cash - owed == -debit.quantize(cents)
    kinds = [row["transaction-sub-type"] for row in rows(broker, "Money Movement")]
    assert kinds == ["Deposit", "Credit Interest", "Fee"]


def test_the_history_refuses_to_be_changed(opened: Open, tmp_path: Path) -> None:
    """Numbered and chained; the file itself does not let an event be changed or deleted."""
    import sqlite3

    market, brokerage, broker = opened()
    do(broker, "Buy to Open", "ACME", 1)
    brokerage.step(market.now)
    history = brokerage.store.history()
    assert [each["n"] for each in history] == list(range(1, len(history) + 1))
    assert brokerage.store.first_broken_link() is None
    with sqlite3.connect(tmp_path / "broker.sqlite") as other:
        for wish in ("DELETE FROM history WHERE n = 1", "UPDATE history SET event = '{}' WHERE n = 1"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                other.execute(wish)
        other.execute("DROP TRIGGER history_keeps_update")
        other.execute("UPDATE history SET event = '{}' WHERE n = 2")
    assert brokerage.store.first_broken_link() == 2


async def test_exercise_and_assignment_on_request(client: TastyClient, account: str) -> None:
    """Over the interface: positions and transactions tell it as the broker does; nonsense is refused."""
    strikes = (await client.nested_chain("XLF"))[0].expirations[3].strikes
    bought, sold = strikes[-1].put, strikes[0].call
    for symbol, action in ((bought, "Buy to Open"), (sold, "Sell to Open")):
        leg = NewLeg(symbol=symbol, action=action, quantity=2)
        placed = await client.submit(account, NewOrder(legs=(leg,), order_type="Market"))

        async def filled(order_id: int = placed.id) -> bool:
            return (await client.order(account, order_id)).status is OrderStatus.FILLED

        await eventually(filled)
    path = f"/sim/accounts/{account}"
    await client.transport.send("POST", f"{path}/exercises", {"symbol": bought, "quantity": 2})
    await client.transport.send("POST", f"{path}/assignments", {"symbol": sold, "quantity": 1})
    held = {each.symbol: each.signed_quantity for each in await client.positions(account)}
    assert held == {sold: -1, "XLF": -300}
    moved = await client.transactions(account, types=["Receive Deliver"])
    assert [(each.transaction_sub_type, each.symbol) for each in moved] == [
        ("Sell to Open", "XLF"), ("Assignment", sold), ("Sell to Open", "XLF"), ("Exercise", bought)
    ]  # fmt: skip
    for body in ({"symbol": bought}, {"symbol": sold, "quantity": 1}, {"quantity": 1}, {"symbol": sold, "quantity": 0}):
        with pytest.raises(RejectedError):
            await client.transport.send("POST", f"{path}/exercises", body)
    with pytest.raises(RejectedError, match="options-level"):
        await client.transport.send("PUT", f"{path}/trading-status", {"options-level": "All"})
    await client.transport.send("PUT", f"{path}/trading-status", {"options-level": "Long Only"})
    assert (await client.trading_status(account)).options_level == "Long Only"
    order = NewOrder(legs=(NewLeg(symbol=sold, action="Sell to Open", quantity=1),), order_type="Market")
    with pytest.raises(RejectedError, match="invalid_option_level"):
        await client.submit(account, order)
