"""Prices of what is held and ordered. $ and Decimals; credit positive."""

from __future__ import annotations

from decimal import Decimal

import numpy as np

from optionmath.blackscholes import price as black_scholes
from schemas.symbols import SymbolError, parse_occ
from tastysim.checks import underlying_of
from tastysim.contracts import Contract
from tastysim.market import RATE, YEAR_SECONDS, Market
from tastysim.orders import Order, Refusal, magnitude

_UNLISTED_SHARE, _UNLISTED_LEAST = Decimal("0.02"), Decimal("0.02")
"""Half the spread of a contract that is no longer listed: of its value, and $ per share at least."""
CENT = Decimal("0.01")


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
            return _unlisted_quote(market, symbol)
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
    """Mid of what is listed; what a standard contract that is no longer listed is worth. Raises Refusal."""
    if found := quote(market, symbol):
        return (found[0] + found[1]) / 2
    if not is_option(symbol):
        raise Refusal(500, "internal_server_error", f"{symbol} is not in this market")
    return unlisted_mark(market, Contract(symbol, parse_occ(symbol), underlying_of(market, symbol)))


def spot(market: Market, name: str) -> Decimal:
    """Price of an underlying on the cent. Raises Refusal when the market does not know it."""
    index = market.index_of(name)
    price = float("nan") if index is None else float(market.spot[index])
    if not np.isfinite(price):
        raise Refusal(500, "internal_server_error", f"{name} has no price in this market")
    return Decimal(str(round(price, 2)))


def unlisted_mark(market: Market, contract: Contract) -> Decimal:
    """$ per point of the multiplier that a contract is worth: by Black and Scholes, at least its intrinsic value."""
    price = spot(market, contract.underlying)
    least = contract.intrinsic(price) / contract.multiplier
    left = (contract.ends_at - market.now).total_seconds()
    volatility = float(market.volatility[market.index_of(contract.underlying) or 0])
    if left <= 0 or not np.isfinite(volatility):
        return least
    effective = float(price * contract.shares / contract.multiplier)
    worth = black_scholes(
        effective, float(contract.option.strike), left / YEAR_SECONDS, volatility, RATE, 0.0, contract.is_call
    )
    return max(least, Decimal(str(round(float(worth), 2))))


def _unlisted_quote(market: Market, symbol: str) -> tuple[Decimal, Decimal] | None:
    """Around what a standard contract is worth while it lives, so that what is held can be closed."""
    try:
        contract = Contract(symbol, parse_occ(symbol), underlying_of(market, symbol))
    except SymbolError:
        return None
    if contract.stops_trading_at <= market.now or market.index_of(contract.underlying) is None:
        return None
    worth = unlisted_mark(market, contract)
    half = max(_UNLISTED_LEAST, (worth * _UNLISTED_SHARE).quantize(CENT))
    return max(worth - half, Decimal(0)), worth + half


def size(market: Market, order: Order) -> int:
    """Units that the shown sizes let an order trade at natural, at least one."""
    found = []
    for symbol, quantity in order.unit_legs:
        row = market.row_of.get(symbol)
        shown = 400.0 if row is None else float((market.ask_size if quantity > 0 else market.bid_size)[row])
        found.append(int(shown // float(magnitude(quantity))) if np.isfinite(shown) else 1)
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


def signed(name: str, amount: Decimal) -> dict[str, str]:
    """A magnitude beside its effect."""
    effect = "None" if amount == 0 else "Debit" if amount < 0 else "Credit"
    return {name: str(abs(amount)), f"{name}-effect": effect}
