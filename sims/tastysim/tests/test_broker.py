"""The simulated broker by itself: what it keeps over restarts and days, and that no cent appears or vanishes."""

from __future__ import annotations

import json
import os
import random
import sqlite3
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tastysim.brokerage import Brokerage
from tastysim.market import ModelMarket
from tastysim.orders import Refusal
from tastysim.store import Store

NOW = datetime(2026, 11, 24, 16, 0, tzinfo=UTC)
ACCOUNT = "5WT00001"
SCALE = int(os.environ.get("TT_TEST_SCALE", "1"))


@pytest.fixture(scope="module")
def market() -> ModelMarket:
    """Built once; tests move its time and put it back."""
    return ModelMarket(7, NOW)


def opened(market: ModelMarket, folder: Path) -> Brokerage:
    """All accounts as the file has them."""
    return Brokerage(market, Store(folder), ACCOUNT, 100_000)


def put(market: ModelMarket, offset: int = 0) -> str:
    """A put of SPY near the money."""
    rows = [row for row in range(market.rows["SPY"].start, market.rows["SPY"].stop) if not market.is_call[row]]
    near = [row for row in rows if market.expiration[row] == market.expirations[3]]
    return market.options[near[len(near) // 2 + offset]].occ


def order(symbol: str, action: str, price: str | None, quantity: int = 1, **more: Any) -> dict[str, Any]:
    """A body; without a price it is a market order."""
    kind = "Equity Option" if len(symbol) == 21 else "Equity"
    legs = [{"symbol": symbol, "action": action, "quantity": quantity, "instrument-type": kind}]
    found: dict[str, Any] = {"order-type": "Market", "time-in-force": "Day", "legs": legs}
    if price is not None:
        effect = "Debit" if action.startswith("Buy") else "Credit"
        found |= {"order-type": "Limit", "price": price, "price-effect": effect}
    return found | {name.replace("_", "-"): value for name, value in more.items()}


def test_everything_is_there_after_a_restart(market: ModelMarket, tmp_path: Path) -> None:
    """Accounts, orders, complex orders, positions, restrictions, transactions, lists; ids go on."""
    first = opened(market, tmp_path)
    second = first.open(50_000, "Cash")
    first.broker(ACCOUNT).submit(order(put(market), "Buy to Open", None), NOW)
    first.step(NOW)
    symbol = put(market)
    stop = {"order_type": "Stop", "stop_trigger": "0.01", "time_in_force": "GTC"}
    exits = [order(symbol, "Sell to Close", "400", time_in_force="GTC"), order(symbol, "Sell to Close", None, **stop)]
    pair = {"type": "OCO", "orders": exits}
    placed, _ = first.broker(ACCOUNT).complex.submit(pair, NOW)
    first.step(NOW)
    second.set_flags({"is-frozen": True})
    alert = first.add_alert({"symbol": "SPY", "field": "Last", "operator": "<", "threshold": "1"}, NOW)
    first.store.put("watchlists", "Mine", {"name": "Mine"})
    before = first.broker(ACCOUNT)
    again = opened(market, tmp_path)
    after = again.broker(ACCOUNT)
    assert list(again.brokers) == list(first.brokers)
    assert (after.cash, after.positions, after.times) == (before.cash, before.positions, before.times)
    assert [each.as_wire() for each in after.orders.values()] == [each.as_wire() for each in before.orders.values()]
    assert after.complex.as_wire(after.complex.get(placed.id)) == before.complex.as_wire(placed)
    assert again.broker(second.account).flags["is-frozen"]
    assert again.broker(second.account).margin_or_cash == "Cash"
    assert list(again.alerts) == [alert["alert-external-id"]]
    assert list(again.store.named("watchlists")) == ["Mine"]
    assert after.submit(order(symbol, "Buy to Open", "0.05"), NOW).id > max(before.orders)
    after.complex.cancel(placed.id, NOW)
    assert {after.orders[each].status for each in placed.parts} == {"Cancelled"}


def test_a_file_of_the_first_version_is_read(market: ModelMarket, tmp_path: Path) -> None:
    """One account without its number, orders in one value: they move, once, and a second account is not theirs."""
    symbol = put(market)
    rows = [
        {"id": 1001, "account": ACCOUNT, "legs": [{"symbol": symbol, "action": "Buy to Open", "quantity": 2}],
         "price": "-0.05", "status": "Live", "received_at": NOW.isoformat(), "updated_ms": 1, "fills": [],
         "external_identifier": "old", "replaces": None, "replacing": None}
    ]  # fmt: skip
    kept = {"cash": "99.50", "positions": json.dumps({symbol: [3, "1.25"]}), "orders": json.dumps(rows)}
    with sqlite3.connect(tmp_path / "broker.sqlite") as older:
        older.execute("CREATE TABLE kept(key TEXT PRIMARY KEY, value TEXT NOT NULL)")
        older.executemany("INSERT INTO kept VALUES (?, ?)", list(kept.items()))
    found = opened(market, tmp_path)
    broker = found.broker(ACCOUNT)
    assert (broker.cash, broker.positions[symbol]) == (Decimal("99.50"), (3, Decimal("1.25")))
    assert broker.orders[1001].as_wire()["underlying-symbol"] == "SPY"
    assert found.open(1_000, "Margin").cash == 1_000
    broker.cancel(1001, NOW)
    again = opened(market, tmp_path).broker(ACCOUNT)
    assert {each.id: each.status for each in again.orders.values()} == {1001: "Cancelled"}


def test_days_end_orders_and_leave_balances(market: ModelMarket, tmp_path: Path) -> None:
    """A day order expires with its day, GTD after its date; the day's balances are kept."""
    found = opened(market, tmp_path)
    broker, symbol = found.broker(ACCOUNT), put(market)
    bodies = [
        order(symbol, "Buy to Open", "0.05"),
        order(symbol, "Buy to Open", "0.05", time_in_force="GTC"),
        order(symbol, "Buy to Open", "0.05", time_in_force="GTD", gtc_date="2026-11-25"),
    ]
    placed = [broker.submit(each, NOW) for each in bodies]
    for days in (0, 1, 2):
        found.step(NOW + timedelta(days=days))
        expected = ["Live" if days == 0 else "Expired", "Live", "Live" if days < 2 else "Expired"]
        assert [each.status for each in placed] == expected
    assert [row["snapshot-date"] for row in found.snapshots(ACCOUNT, "EOD")] == ["2026-11-25", "2026-11-24"]
    assert len(found.snapshots(ACCOUNT, "BOD")) == 3
    assert found.net_liq(ACCOUNT, 0, 10**9)[-1][4] == str(broker.net_liq())


def test_what_one_exit_fills_the_other_no_longer_closes(
    market: ModelMarket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part of the limit fills: the stop shrinks by as much."""
    found = opened(market, tmp_path)
    broker, symbol = found.broker(ACCOUNT), put(market)
    broker.submit(order(symbol, "Buy to Open", None, 5), NOW)
    row = market.row_of[symbol]
    monkeypatch.setattr(market, "ask_size", np.full_like(market.ask_size, 50.0))
    found.step(NOW)
    assert broker.positions[symbol][0] == 5
    monkeypatch.setattr(market, "bid_size", np.full_like(market.bid_size, 2.0))
    exits = [
        order(symbol, "Sell to Close", str(float(market.bid[row])), 5, time_in_force="GTC"),
        order(symbol, "Sell to Close", None, 5, order_type="Stop", stop_trigger="0.01", time_in_force="GTC"),
    ]
    placed, _ = broker.complex.submit({"type": "OCO", "orders": exits}, NOW)
    limit, stop = (broker.orders[each] for each in placed.orders)
    found.step(NOW)
    assert (limit.status, limit.filled_units, limit.as_wire()["legs"][0]["remaining-quantity"]) == ("Live", 2, 3)
    assert (stop.status, stop.units) == ("Live", 3)
    with pytest.raises(Refusal, match="cannot_update_order"):
        broker.replace(limit.id, {"price": "500"}, NOW)
    found.step(NOW)
    found.step(NOW)
    assert (limit.status, stop.status, broker.positions) == ("Filled", "Cancelled", {})
    assert placed.terminal_at is not None


def test_rules_route_and_cancel_by_time_and_by_price(market: ModelMarket, tmp_path: Path) -> None:
    """Held until its time or its price, cancelled at its time or its price, with the moment noted."""
    found = opened(market, tmp_path)
    broker, symbol = found.broker(ACCOUNT), put(market)
    later, spot = NOW + timedelta(minutes=5), float(market.spot[0])
    shared = {"symbol": "SPY", "instrument-type": "Equity", "indicator": "last"}
    rules = [
        {"route-after": later.isoformat()},
        {"cancel-at": later.isoformat()},
        {"conditions": [{**shared, "action": "route", "comparator": "gte", "threshold": str(spot / 2)}]},
        {"conditions": [{**shared, "action": "route", "comparator": "lte", "threshold": str(spot / 2)}]},
        {"conditions": [{**shared, "action": "cancel", "comparator": "lte", "threshold": str(spot * 2)}]},
    ]
    placed = [broker.submit(order(symbol, "Buy to Open", "0.05", rules=each), NOW) for each in rules]
    assert [each.status for each in placed] == ["Contingent", "Live", "Live", "Contingent", "Live"]
    found.step(NOW)
    assert [each.status for each in placed] == ["Contingent", "Live", "Live", "Contingent", "Cancelled"]
    found.step(later)
    assert [each.status for each in placed] == ["Live", "Cancelled", "Live", "Contingent", "Cancelled"]
    shown = placed[2].as_wire()["order-rule"]
    assert Decimal(shown["order-conditions"][0]["triggered-value"]) > Decimal(str(spot / 2))
    assert placed[1].as_wire()["order-rule"]["cancelled-at"] == placed[1].cancelled_at
    for wrong in ([], {"route-after": "soon"}, {"conditions": [{**shared, "action": "wait"}]}):
        with pytest.raises(Refusal):
            broker.submit(order(symbol, "Buy to Open", "0.05", rules=wrong), NOW)


def test_a_pair_waits_for_its_ratio(market: ModelMarket, tmp_path: Path) -> None:
    """Both orders start together when the ratio of the two prices passes its threshold."""
    found = opened(market, tmp_path)
    broker = found.broker(ACCOUNT)
    bodies = [order("XLF", "Buy to Open", None, 10), order("BAC", "Sell to Open", None, 10)]
    ratio = {"ratio-price-comparator": "gte", "ratio-price-is-threshold-based-on-notional": False}
    waiting, _ = broker.complex.submit({"type": "PAIRS", "orders": bodies, "ratio-price-threshold": "9", **ratio}, NOW)
    going, _ = broker.complex.submit({"type": "PAIRS", "orders": bodies, "ratio-price-threshold": "0.1", **ratio}, NOW)
    found.step(NOW)
    assert {broker.orders[each].status for each in waiting.parts} == {"Contingent"}
    assert {broker.orders[each].status for each in going.parts} == {"Filled"}
    assert (broker.positions["XLF"][0], broker.positions["BAC"][0]) == (10, -10)


@pytest.mark.parametrize("seed", range(2 * SCALE))
def test_no_cent_appears_or_vanishes(seed: int, tmp_path: Path) -> None:
    """After any series of orders: cash is the sum of all transactions; positions are the sum of all fills."""
    market, choice = ModelMarket(seed, NOW), random.Random(seed)
    found = opened(market, tmp_path)
    broker = found.broker(ACCOUNT)
    names = [put(market, offset) for offset in range(-3, 4)] + ["BAC", "XLF"]
    for _ in range(40):
        symbol, quantity = choice.choice(names), choice.randint(1, 40)
        held = broker.positions.get(symbol, (0, Decimal(0)))[0]
        buys = choice.random() < 0.5
        action = f"{'Buy' if buys else 'Sell'} to {'Close' if held and (held < 0) == buys else 'Open'}"
        body = order(symbol, action, None if choice.random() < 0.6 else str(choice.randint(1, 5000) / 100), quantity)
        try:
            placed = broker.submit(body, market.now)
            if choice.random() < 0.2:
                broker.cancel(placed.id, market.now)
        except Refusal:
            pass
        market.step(30)
        found.step(market.now)
    rows = broker.store.rows("transactions", ACCOUNT)
    net = [(1 if row["net-value-effect"] != "Debit" else -1) * Decimal(row["net-value"]) for row in rows]
    assert len(rows) > 10
    assert broker.cash == sum(net)
    filled: dict[str, int] = {}
    for each in broker.orders.values():
        for leg in each.legs:
            sign = 1 if leg["action"].startswith("Buy") else -1
            done = sum(fill["quantity"] for fill in each.fills if fill["symbol"] == leg["symbol"])
            assert done <= leg["quantity"]
            filled[leg["symbol"]] = filled.get(leg["symbol"], 0) + sign * done
    assert {name: count for name, count in filled.items() if count} == {
        name: count for name, (count, _) in broker.positions.items()
    }
