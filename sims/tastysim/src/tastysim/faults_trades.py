"""What happens at a broker without the account's owner: foreign orders, busted and corrected trades, a reset."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

import numpy as np

from optionmath.sessions import market_date
from tastysim import valuation
from tastysim.broker import Broker
from tastysim.faults import ForeignOrder
from tastysim.market import Market
from tastysim.orders import SIGNS, Order, Refusal, stamp
from tastysim.positions import Holdings
from tastysim.transactions import deposit, signed_amount

SOURCE = "another-terminal"
_RESTS_AT = Decimal("0.01")
Row = dict[str, Any]


def foreign_order(broker: Broker, fault: ForeignOrder, now: datetime) -> Order:
    """Place the order of somebody else. Raises Refusal as for anybody."""
    symbol = fault.symbol or _some_put(broker.market)
    buys = fault.action.startswith("Buy")
    kind = "Equity Option" if valuation.is_option(symbol) else "Equity"
    resting = _RESTS_AT if buys else (valuation.mark(broker.market, symbol) * 10 + 1).quantize(Decimal("0.01"))
    body = {
        "order-type": "Limit", "time-in-force": "Day", "price": str(fault.price or resting), "source": SOURCE,
        "price-effect": "Debit" if buys else "Credit",
        "legs": [{"symbol": symbol, "action": fault.action, "quantity": fault.quantity, "instrument-type": kind}],
    }  # fmt: skip
    return broker.submit(body, now)


def _some_put(market: Market) -> str:
    """A put of the first underlying, out of the money, about in the middle of what is listed."""
    rows = market.rows[market.listed[0].symbol]
    distance = np.abs(np.nan_to_num(market.greeks.delta[rows], nan=9.0) + 0.25)
    found: str = market.options[rows.start + int(np.argmin(distance))].occ
    return found


def fill_now(broker: Broker, order: Order, now: datetime) -> None:
    """Fill what is left of a working order: at its limit, or at natural when it has none. Raises Refusal."""
    price = order.price if order.price is not None else valuation.net(broker.market, order, natural=True)
    if order.is_terminal or price is None:
        raise Refusal(422, "cannot_update_order", f"Order {order.id} cannot fill: it is {order.status}")
    broker.stuck.discard(order.id)
    broker.fill(order, price, now, order.units)


def bust(broker: Broker, order: Order, price: Decimal | None, now: datetime) -> list[Row]:
    """Take back an order's trades; with a price book them anew, the first leg at that price. The new transactions.

    Positions and cash follow. The order keeps its status and its fills: a correction comes as transactions. Raises
    Refusal when nothing of the order is booked.
    """
    rows = broker.store.rows("transactions", broker.account)
    gone = {row["reverses-id"] for row in rows if "reverses-id" in row}
    trades = [
        row for row in rows
        if row.get("order-id") == order.id and row["transaction-type"] == "Trade" and row["id"] not in gone
        and "reverses-id" not in row
    ]  # fmt: skip
    if not trades:
        raise Refusal(404, "record_not_found", f"Order {order.id} has no trade that can be taken back")
    found = [_reversal(broker, row, now) for row in trades]
    for row in trades if price is not None else ():
        first = row["symbol"] == order.legs[0]["symbol"]
        found.append(_rebooked(broker, row, price if first and price is not None else Decimal(row["price"]), now))
    for row in found:
        sign = 1 if "reverses-id" not in row else -1
        broker.move(row["symbol"], sign * _quantity(row), Decimal(row["price"]), now)
        if sign > 0:
            broker.take([row])
        else:
            broker.cash += signed_amount(row)
            broker.holdings.unsettled = max(Decimal(0), broker.holdings.unsettled + min(signed_amount(row), Decimal(0)))
    what = {
        "what": "busted" if price is None else "corrected", "order-id": order.id, "account-number": broker.account,
        "external-identifier": order.external_identifier, "status": order.status,
        "at-ms": int(now.timestamp() * 1000), "price": str(price), "transactions": [row["id"] for row in found],
    }  # fmt: skip
    broker.write(found, events=[what])
    broker.tell_account(order)
    return found


def _quantity(row: Row) -> int:
    """Signed quantity of a trade."""
    return SIGNS[row["action"]] * int(Decimal(row["quantity"]))


def _signed(row: Row, name: str) -> Decimal:
    return Decimal(row[name]) * (-1 if row[f"{name}-effect"] == "Debit" else 1)


def _reversal(broker: Broker, row: Row, now: datetime) -> Row:
    """The same trade with every amount the other way."""
    other = {"Debit": "Credit", "Credit": "Debit", "None": "None"}
    turned = {name: other[value] for name, value in row.items() if name.endswith("-effect")}
    return row | turned | _dated(broker, now) | {
        "reverses-id": row["id"], "description": f"Busted: {row['description']}"
    }  # fmt: skip


def _rebooked(broker: Broker, row: Row, price: Decimal, now: datetime) -> Row:
    """The same trade at another price; its fees stay."""
    value = -price * _quantity(row) * broker.multiplier(row["symbol"])
    fees = _signed(row, "net-value") - _signed(row, "value")
    amounts = valuation.signed("value", value) | valuation.signed("net-value", value + fees)
    description = f"Corrected: {row['description'].rsplit('@', 1)[0]}@ {price}"
    return row | amounts | _dated(broker, now) | {"price": str(price), "description": description}


def _dated(broker: Broker, now: datetime) -> Row:
    return {
        "id": broker.store.next_transaction_id(), "executed-at": stamp(now), "created-at": stamp(now),
        "transaction-date": market_date(now).isoformat(),
    }  # fmt: skip


def wipe(broker: Broker, cash: Decimal, now: datetime) -> None:
    """Forget orders, transactions and positions; the money is that of the beginning. Nobody is told."""
    with broker.store.batch():
        broker.store.forget(broker.account)
        for each in (broker.orders, broker.alive, broker.complex.orders, broker.stuck):
            each.clear()
        today = {"day": market_date(now).isoformat()}
        broker.holdings = Holdings(cash, realized=today, version=broker.holdings.version + 1)
        event = {"what": "wiped", "account-number": broker.account, "at-ms": int(now.timestamp() * 1000)}
        paid = deposit(broker.store.next_transaction_id(), broker.account, cash, now)
        broker.write([paid], events=[event])
