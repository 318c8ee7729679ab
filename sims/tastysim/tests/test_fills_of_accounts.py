"""Fills as an account sees them: parts that add up, prices of legs that add up, cancellations that race with fills."""

from __future__ import annotations

import os
import random
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tastysim.behaviour import Behaviour
from tastysim.brokerage import Brokerage
from tastysim.fills import FillDesk, leg_quotes, net
from tastysim.market import ModelMarket
from tastysim.orders import SIGNS, Order
from tastysim.shapes import balance
from tastysim.store import Store

NOW = datetime(2026, 11, 24, 16, 0, tzinfo=UTC)
ACCOUNT = "5WT00001"
SCALE = int(os.environ.get("TT_TEST_SCALE", "1"))
WAYS = ["book", "model", "immediate", "delayed:20", "partial:15", "partial:size", "never", "reject"]


def opened(folder: Path, fills: str = "book", **more: Any) -> tuple[ModelMarket, Brokerage]:
    market = ModelMarket(7, NOW)
    return market, Brokerage(
        market, Store(folder), ACCOUNT, 1_000_000, FillDesk(NOW, 7, Behaviour.parse(fills), **more)
    )


def puts(market: ModelMarket, name: str) -> list[int]:
    """Rows of one expiration's puts, lowest strike first."""
    rows = [row for row in range(market.rows[name].start, market.rows[name].stop) if not market.is_call[row]]
    return [row for row in rows if market.expiration[row] == market.expirations[2]]


def spread(market: ModelMarket, name: str, place: int, share: float, quantity: int) -> dict[str, Any]:
    """A put spread sold at a share of the way from mid to natural."""
    rows = puts(market, name)
    short, long = rows[len(rows) // 2 - place], rows[len(rows) // 2 - place - 2]
    mid = (market.bid[short] + market.ask[short] - market.bid[long] - market.ask[long]) / 2
    natural = market.bid[short] - market.ask[long]
    legs = [
        {"symbol": market.options[row].occ, "action": action, "quantity": quantity, "instrument-type": "Equity Option"}
        for row, action in ((short, "Sell to Open"), (long, "Buy to Open"))
    ]
    price = f"{max(0.01, mid - share * (mid - natural)):.2f}"
    return {"order-type": "Limit", "time-in-force": "Day", "price": price, "price-effect": "Credit", "legs": legs}


def filled_net(order: Order) -> list[Decimal]:
    """Net price of each fill of an order, from the prices of its legs."""
    sides = {leg["symbol"]: SIGNS[leg["action"]] for leg in order.legs}
    groups: dict[str, Decimal] = {}
    for fill in order.fills:
        signed = -sides[fill["symbol"]] * Decimal(fill["fill-price"])
        groups[fill["ext-group-fill-id"]] = groups.get(fill["ext-group-fill-id"], Decimal(0)) + signed
    return list(groups.values())


@pytest.mark.parametrize("fills", WAYS)
def test_whatever_the_behaviour_fills_add_up(tmp_path: Path, fills: str) -> None:
    """Never worse than the limit, never more than ordered, each fill with a name of its own, the legs in step."""
    market, brokerage = opened(tmp_path, fills)
    broker, choice = brokerage.broker(ACCOUNT), random.Random(fills)
    for number in range(6 * SCALE):
        name = choice.choice(["SPY", "QQQ", "IWM", "AAPL"])
        body = spread(market, name, 3 * (number % 4), choice.uniform(-0.3, 1.3), choice.choice([1, 2, 7, 90]))
        if not {leg["symbol"] for leg in body["legs"]} & set(broker.positions):
            broker.submit(body, market.now)
        for _ in range(6):
            market.step(choice.choice([0.25, 3.0, 20.0]))
            brokerage.step(market.now)
            for order in broker.orders.values():
                done = [sum(f["quantity"] for f in order.fills if f["symbol"] == leg["symbol"]) for leg in order.legs]
                assert set(done) == {order.filled_units}
                assert order.filled_units <= order.units
                assert (order.status == "Filled") == (order.filled_units == order.units)
    for order in broker.orders.values():
        assert all(price >= order.price for price in filled_net(order) if order.price is not None)
        assert len({fill["fill-id"] for fill in order.fills}) == len(order.fills)
    states = {order.status for order in broker.orders.values()}
    assert states == {"never": {"Live"}, "reject": {"Rejected"}}.get(fills, states)
    assert (fills in ("never", "reject")) != any(order.fills for order in broker.orders.values())
    shown = balance(broker)
    marks = sum((broker.value(symbol) for symbol in broker.positions), Decimal(0))
    assert Decimal(shown["net-liquidating-value"]) == broker.cash + marks


def test_price_improvement_is_the_accounts(tmp_path: Path) -> None:
    """An order that gives more away than the book asks is filled at the book's price."""
    market, brokerage = opened(tmp_path)
    broker = brokerage.broker(ACCOUNT)
    order = broker.submit(spread(market, "SPY", 0, 3.0, 1), market.now)
    legs = leg_quotes(market, order)
    assert legs is not None
    brokerage.step(market.now)
    assert filled_net(order) == [net(legs, natural=True)]
    assert order.price is not None
    assert filled_net(order)[0] > order.price


def test_a_cancellation_loses_to_a_fill_and_keeps_what_has_filled(tmp_path: Path) -> None:
    """On its way, a cancellation can be overtaken; one that arrives ends the rest of a partial fill."""
    market, brokerage = opened(tmp_path, "partial:30")
    broker = brokerage.broker(ACCOUNT)
    broker.latency_steps = 2
    orders = [broker.submit(spread(market, "SPY", 4 * place, 0.9, 10), market.now) for place in (0, 1)]
    while not all(order.fills for order in orders):
        market.step(1.0)
        brokerage.step(market.now)
    assert [order.filled_units for order in orders] == [5, 5]
    first, second = orders
    broker.cancel(first.id, market.now)
    for _ in range(3):
        market.step(1.0)
        brokerage.step(market.now)
    assert (first.status, first.filled_units, first.as_wire()["legs"][0]["remaining-quantity"]) == ("Cancelled", 5, 5)
    assert broker.positions[first.legs[0]["symbol"]][0] == -5
    market.step(30.0)
    broker.cancel(second.id, market.now)
    brokerage.step(market.now)
    assert (second.status, second.filled_units) == ("Filled", 10)


def test_a_locked_quote_fills_nothing_and_starts_no_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While bid and ask are equal the order rests, whatever it would pay; a stop's trigger is not reached."""
    market, brokerage = opened(tmp_path)
    broker, row = brokerage.broker(ACCOUNT), puts(market, "SPY")[10]
    leg = {
        "symbol": market.options[row].occ, "action": "Buy to Open", "quantity": 1, "instrument-type": "Equity Option",
    }  # fmt: skip
    limit = {"order-type": "Limit", "time-in-force": "Day", "price": "90", "price-effect": "Debit", "legs": [leg]}
    stop = {"order-type": "Stop", "time-in-force": "Day", "stop-trigger": "0.01", "legs": [leg]}
    placed = [broker.submit(body, market.now) for body in (limit, stop)]
    locked = market.bid.copy()
    locked[row] = market.ask[row]
    with monkeypatch.context() as patch:
        patch.setattr(market, "bid", locked)
        brokerage.step(market.now)
        assert [order.status for order in placed] == ["Live", "Live"]
        assert not placed[1].triggered
        decision = brokerage.desk.last(placed[0].id)
        assert decision is not None
        assert decision.why == "a quote is locked or crossed"
    brokerage.step(market.now)
    assert [order.status for order in placed] == ["Filled", "Filled"]


def test_an_order_says_itself_how_it_fills_where_that_is_allowed(tmp_path: Path) -> None:
    """Kept over a restart; ignored by default."""
    market, brokerage = opened(tmp_path / "obeying", orders_choose=True)
    body = spread(market, "SPY", 0, 3.0, 1) | {"behavior": "delayed", "delay": 60}
    order = brokerage.broker(ACCOUNT).submit(body, market.now)
    again = Brokerage(market, brokerage.store, ACCOUNT, 0, FillDesk(NOW, 7))
    assert again.broker(ACCOUNT).orders[order.id].behavior == "delayed:60"
    for seconds, status in ((59, "Live"), (1, "Filled")):
        market.step(seconds)
        brokerage.step(market.now)
        assert order.status == status
    market, brokerage = opened(tmp_path / "ignoring")
    ignored = brokerage.broker(ACCOUNT).submit(spread(market, "SPY", 0, 3.0, 1) | {"behavior": "never"}, market.now)
    market.step(0.25)
    brokerage.step(market.now)
    assert (ignored.behavior, ignored.status) == (None, "Filled")
