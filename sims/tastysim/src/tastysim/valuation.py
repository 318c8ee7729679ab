"""Prices of what is held and ordered, margin and fees. $ and Decimals; credit positive."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import numpy as np

from optionmath.payoff import PayoffLeg, analyse
from schemas.symbols import OptionType, parse_occ
from tastysim.checks import underlying_of
from tastysim.market import Market
from tastysim.orders import SIGNS, Order, Refusal

COMMISSION, CLEARING, REGULATORY = Decimal("1.00"), Decimal("0.10"), Decimal("0.03")
"""$ per option contract: to open; always; always."""
EQUITY_CLEARING = Decimal("0.0008")
"""$ per share."""
EQUITY_RATE, NAKED_RATE = Decimal("0.5"), Decimal("0.2")
"""Of the value of shares held or sold short; of the underlying's price for a naked call."""
Positions = Mapping[str, tuple[int, Decimal]]


def is_option(symbol: str) -> bool:
    """An option symbol has 21 characters."""
    return len(symbol) == 21


def multiplier(symbol: str) -> int:
    """$ of one unit for $1 of price."""
    return 100 if is_option(symbol) else 1


def quote(market: Market, symbol: str) -> tuple[Decimal, Decimal] | None:
    """Bid and ask; None when one of them is not known."""
    if is_option(symbol):
        row = market.row_of.get(symbol)
        if row is None:
            return None
        bid, ask = float(market.bid[row]), float(market.ask[row])
    else:
        index = market.index_of(symbol)
        if index is None:
            return None
        bid, ask = market.spot_quote(index)
    if not (np.isfinite(bid) and np.isfinite(ask)):
        return None
    return Decimal(str(bid)), Decimal(str(ask))


def mark(market: Market, symbol: str) -> Decimal:
    """Mid of what is listed; the intrinsic value of a contract that is no longer listed."""
    if found := quote(market, symbol):
        return (found[0] + found[1]) / 2
    option = parse_occ(symbol)
    index = market.index_of(underlying_of(market, symbol))
    if index is None:
        raise Refusal(500, "internal_server_error", f"{symbol} has no underlying in this market")
    spot = Decimal(str(round(float(market.spot[index]), 2)))
    gain = spot - option.strike if option.option_type is OptionType.CALL else option.strike - spot
    return max(gain, Decimal(0))


def size(market: Market, order: Order) -> int:
    """Units that the shown sizes let an order trade at natural, at least one."""
    found = []
    for symbol, quantity in order.unit_legs:
        row = market.row_of.get(symbol)
        shown = 400.0 if row is None else float((market.ask_size if quantity > 0 else market.bid_size)[row])
        found.append(int(shown // abs(quantity)) if np.isfinite(shown) else 1)
    return max(1, min(found))


def net(market: Market, order: Order, *, natural: bool) -> Decimal | None:
    """Net price of one unit, credit positive: at natural or at mid; None when a leg has no quote."""
    total = Decimal(0)
    for symbol, quantity in order.unit_legs:
        found = quote(market, symbol)
        if found is None:
            return None
        bid, ask = found
        each = (ask if quantity > 0 else bid) if natural else (bid + ask) / 2
        total -= quantity * each * multiplier(symbol)
    return total / scale(order)


def scale(order: Order) -> int:
    """$ that one unit moves for $1 of net price: 100 as soon as an option is in it."""
    return max(multiplier(leg["symbol"]) for leg in order.legs)


def by_underlying(market: Market, held: Mapping[str, int]) -> dict[str, Decimal]:
    """Margin per underlying: per expiration the most that can be lost; a share of the value of stock.

    Naked calls that shares cover need nothing of their own; the others a share of the underlying's price.
    """
    groups: dict[tuple[str, Any], list[PayoffLeg]] = {}
    found: dict[str, Decimal] = {}
    shares: dict[str, int] = {}
    for symbol, quantity in held.items():
        if not quantity:
            continue
        name = underlying_of(market, symbol)
        found.setdefault(name, Decimal(0))
        if is_option(symbol):
            option = parse_occ(symbol)
            leg = PayoffLeg(option.option_type is OptionType.CALL, option.strike, quantity)
            groups.setdefault((name, option.expiration), []).append(leg)
        else:
            shares[name] = quantity
            found[name] += EQUITY_RATE * abs(quantity) * mark(market, symbol) + (
                -quantity * mark(market, symbol) if quantity < 0 else 0
            )
    for (name, _), legs in sorted(groups.items()):
        worst = analyse(legs, Decimal(0)).max_loss
        if worst is None:
            naked = sum(-leg.signed_quantity for leg in legs if leg.is_call)
            covered = min(naked, max(0, shares.get(name, 0)) // 100)
            shares[name] = shares.get(name, 0) - covered * 100
            index = market.index_of(name)
            spot = Decimal(str(round(float(market.spot[index or 0]), 2)))
            worst = NAKED_RATE * spot * (naked - covered)
        found[name] += worst * 100
    return found


def requirement(market: Market, positions: Positions, extra: Mapping[str, int] | None = None) -> Decimal:
    """Margin of everything held and, if given, more."""
    held = {symbol: quantity for symbol, (quantity, _) in positions.items()}
    for symbol, quantity in (extra or {}).items():
        held[symbol] = held.get(symbol, 0) + quantity
    return sum(by_underlying(market, held).values(), Decimal(0))


def leg_fees(leg: Mapping[str, Any], quantity: int) -> dict[str, Decimal]:
    """Fees of a quantity of one leg, magnitudes in $."""
    if leg["instrument-type"] == "Equity":
        clearing = (EQUITY_CLEARING * quantity).quantize(Decimal("0.001"))
        return {"commission": Decimal(0), "clearing-fees": clearing, "regulatory-fees": Decimal(0)}
    opening = quantity if leg["action"].endswith("Open") else 0
    clearing, regulatory = CLEARING * quantity, REGULATORY * quantity
    return {"commission": COMMISSION * opening, "clearing-fees": clearing, "regulatory-fees": regulatory}


def fees(order: Order) -> dict[str, Decimal]:
    """Fees of a whole order by kind, magnitudes in $."""
    parts = {"commission": Decimal(0), "clearing-fees": Decimal(0), "regulatory-fees": Decimal(0)}
    for leg in order.legs:
        for name, amount in leg_fees(leg, leg["quantity"]).items():
            parts[name] += amount
    return parts


def signed(name: str, amount: Decimal) -> dict[str, str]:
    """A magnitude beside its effect."""
    effect = "None" if amount == 0 else "Debit" if amount < 0 else "Credit"
    return {name: str(abs(amount)), f"{name}-effect": effect}


def fee_calculation(order: Order) -> dict[str, Any]:
    """Fees as the interface shows them."""
    parts = fees(order)

    def item(name: str, amount: Decimal) -> dict[str, str]:
        return {"name": name, "value": str(amount), "effect": "Debit" if amount else "None"}

    regulatory, zero = parts["regulatory-fees"], Decimal("0.0")
    found: dict[str, Any] = {
        "regulatory-fees-breakdown": [
            item(name, regulatory if name == "orf" else zero) for name in ("exchange", "nfa", "orf", "sec", "taf")
        ],
        "clearing-fees-breakdown": [item("clearing", parts["clearing-fees"])],
        "commission-breakdown": [item("brokerage", parts["commission"])],
        "proprietary-fees-breakdown": [item("proprietary", zero)],
        "rebates": "0.0", "rebates-effect": "None", "rebates-breakdown": [item("rebate", zero)], "per-quantity": False,
    }  # fmt: skip
    total = sum(parts.values(), Decimal(0))
    for name, amount in {**parts, "proprietary-index-option-fees": zero, "total-fees": total}.items():
        found |= signed(name, -amount)
    return found


def buying_power_effect(market: Market, positions: Positions, power: Decimal, order: Order) -> dict[str, Any]:
    """What an order changes, magnitudes with effects. power: buying power before it."""
    extra = {leg["symbol"]: SIGNS[leg["action"]] * leg["quantity"] for leg in order.legs}
    before, after = requirement(market, positions), requirement(market, positions, extra)
    price = order.price if order.price is not None else net(market, order, natural=True) or Decimal(0)
    cost = sum(fees(order).values(), Decimal(0))
    change = price * scale(order) * order.units - cost - (after - before)
    return {
        **signed("change-in-margin-requirement", before - after),
        **signed("change-in-buying-power", change),
        **signed("current-buying-power", power),
        **signed("new-buying-power", power + change),
        **signed("isolated-order-margin-requirement", -requirement(market, {}, extra)),
        "is-spread": len(order.legs) > 1,
        "impact": str(abs(change)),
        "effect": "Debit" if change < 0 else "Credit",
    }  # fmt: skip
