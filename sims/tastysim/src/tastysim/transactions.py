"""Transactions as they are kept and shown: trades, money in and out, what expires, is exercised, assigned or split."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from optionmath.sessions import market_date
from tastysim import valuation
from tastysim.fees import Costs, plain
from tastysim.orders import SIGNS, Order, Quantity, quantity_text, stamp

Row = dict[str, Any]
_FREE = Costs()


def signed_amount(row: Row) -> Decimal:
    """What a transaction adds to the cash, $."""
    return Decimal(row["net-value"]) * (-1 if row["net-value-effect"] == "Debit" else 1)


def _signed(name: str, amount: Decimal) -> Row:
    return {name: plain(amount), f"{name}-effect": "None" if not amount else "Debit" if amount < 0 else "Credit"}


def _base(identity: int, account: str, kind: str, sub_kind: str, description: str, now: datetime) -> Row:
    return {
        "id": identity, "account-number": account, "created-at": stamp(now), "currency": "USD",
        "description": description, "executed-at": stamp(now), "is-estimated-fee": kind == "Trade",
        "transaction-date": market_date(now).isoformat(), "transaction-sub-type": sub_kind, "transaction-type": kind,
    }  # fmt: skip


def _values(value: Decimal, costs: Costs) -> Row:
    found: Row = {}
    for name, amount in costs.by_name().items():
        found |= _signed(name, -amount)
    return found | _signed("value", value) | _signed("net-value", value - costs.total)


def trade(identity: int, order: Order, leg: Row, fill: Row, costs: Costs, now: datetime) -> Row:
    """The transaction of a fill."""
    symbol, quantity, price = leg["symbol"], fill["quantity"], Decimal(fill["fill-price"])
    value = -SIGNS[leg["action"]] * price * quantity * valuation.multiplier(symbol)
    value = value if isinstance(quantity, int) else value.quantize(valuation.CENT)
    bought = SIGNS[leg["action"]] > 0
    text = f"{'Bought' if bought else 'Sold'} {quantity} {symbol} @ {price}"
    return _base(identity, order.account, "Trade", leg["action"], text, now) | {
        "action": leg["action"], "destination-venue": "SIM", "exec-id": fill["ext-exec-id"],
        "ext-exec-id": fill["ext-exec-id"], "ext-group-fill-id": fill["ext-group-fill-id"],
        "instrument-type": leg["instrument-type"], "leg-count": len(order.legs), "order-id": order.id,
        "price": str(price), "quantity": quantity_text(quantity), "symbol": symbol,
        "underlying-symbol": order.underlying,
        **_values(value, costs),
    }  # fmt: skip


def deposit(identity: int, account: str, amount: Decimal, now: datetime) -> Row:
    """Money paid in, or taken out when it is negative."""
    sub_kind = "Deposit" if amount >= 0 else "Withdrawal"
    return _base(identity, account, "Money Movement", sub_kind, sub_kind, now) | _money(amount)


def money(identity: int, account: str, sub_kind: str, text: str, amount: Decimal, now: datetime, **more: str) -> Row:
    """A dividend or interest, paid when it is negative."""
    named = {name.replace("_", "-"): value for name, value in more.items()}
    return _base(identity, account, "Money Movement", sub_kind, text, now) | named | _money(amount)


def _money(amount: Decimal) -> Row:
    return _signed("value", amount) | _signed("net-value", amount)


def delivery(
    identity: int, account: str, sub_kind: str, text: str, symbol: str, underlying: str, quantity: Quantity,
    now: datetime, *, action: str | None = None, price: Decimal | None = None, value: Decimal = Decimal(0),
    costs: Costs = _FREE,
) -> Row:  # fmt: skip
    """What is received or delivered without a trade. quantity: a magnitude; value: $ received."""
    row = _base(identity, account, "Receive Deliver", sub_kind, text, now) | {
        "instrument-type": "Equity Option" if valuation.is_option(symbol) else "Equity", "symbol": symbol,
        "underlying-symbol": underlying, "quantity": quantity_text(quantity), **_values(value, costs),
    }  # fmt: skip
    optional = {"action": action, "price": None if price is None else str(price)}
    return row | {name: each for name, each in optional.items() if each is not None}
