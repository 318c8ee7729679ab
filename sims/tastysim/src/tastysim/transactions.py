"""Transactions as they are kept and shown: trades and deposits."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from optionmath.sessions import market_date
from tastysim import valuation
from tastysim.orders import SIGNS, Order, stamp


def trade(identity: int, order: Order, leg: dict[str, Any], fill: dict[str, Any], now: datetime) -> dict[str, Any]:
    """The transaction of a fill; its fees are in `cost` too, as they came."""
    symbol, quantity, price = leg["symbol"], fill["quantity"], Decimal(fill["fill-price"])
    costs = valuation.leg_fees(leg, quantity)
    value = -SIGNS[leg["action"]] * price * quantity * valuation.multiplier(symbol)
    found: dict[str, Any] = {
        "id": identity, "account-number": order.account, "action": leg["action"],
        "created-at": stamp(now), "currency": "USD", "destination-venue": "SIM", "exec-id": fill["ext-exec-id"],
        "description": f"{'Bought' if value < 0 else 'Sold'} {quantity} {symbol} @ {price}",
        "executed-at": stamp(now),
        "ext-exec-id": fill["ext-exec-id"], "ext-group-fill-id": fill["ext-group-fill-id"],
        "instrument-type": leg["instrument-type"], "is-estimated-fee": True, "leg-count": len(order.legs),
        "order-id": order.id, "price": str(price), "quantity": f"{quantity}.0", "symbol": symbol,
        "transaction-date": market_date(now).isoformat(), "transaction-sub-type": leg["action"],
        "transaction-type": "Trade", "underlying-symbol": order.underlying,
    }  # fmt: skip
    for name, amount in {**costs, "proprietary-index-option-fees": Decimal("0.0")}.items():
        found |= valuation.signed(name, -amount)
    total = sum(costs.values(), Decimal(0))
    return found | valuation.signed("value", value) | valuation.signed("net-value", value - total) | {
        "cost": list(costs.values())
    }  # fmt: skip


def deposit(identity: int, account: str, amount: Decimal, now: datetime) -> dict[str, Any]:
    """The transaction of money paid in."""
    found: dict[str, Any] = {
        "id": identity, "account-number": account, "created-at": stamp(now),
        "currency": "USD", "description": "Deposit", "executed-at": stamp(now), "is-estimated-fee": False,
        "transaction-date": market_date(now).isoformat(), "transaction-sub-type": "Deposit",
        "transaction-type": "Money Movement",
    }  # fmt: skip
    return found | valuation.signed("value", amount) | valuation.signed("net-value", amount)
