"""What the broker checks before it takes an order. Where no code of the real one is known, the name says what it is."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, datetime
from decimal import ROUND_DOWN, Decimal, InvalidOperation
from typing import Any

from tastysim.market import Market
from tastysim.orders import SIGNS, TIMES_IN_FORCE, TYPES, Order, Refusal, invalid, preflight, stamp, whole_or_exact

KINDS = (
    "Equity", "Equity Option", "Cryptocurrency", "Event Contract", "Fixed Income Security", "Future", "Future Option",
    "Liquidity Pool", "Warrant", "Index", "Bond", "Currency Pair", "Equity Offering",
)  # fmt: skip
"""Kinds of instruments that the interface knows; only the first two are traded here."""
NOT_SHARES = ("Index", "Future", "Cryptocurrency")
"""What a market lists beside shares: it has a price, and nobody can buy it as a share."""
SHARE_DECIMALS, NOTIONAL_LEAST = 5, 5
"""Decimals of a fraction of a share; $ of the smallest notional order."""
_PRICED, _TRIGGERED = ("Limit", "Stop Limit"), ("Stop", "Stop Limit")
QUANTITY_MAX = 1_000_000_000
"""More of anything is a mistake."""


def read_order(market: Market, account: str, body: Any, now: datetime, held: Collection[str] = ()) -> Order:
    """An order from a request's body, unnumbered. Raises Refusal when the broker would refuse it whatever is held.

    held: what may be closed even if it is no longer listed.
    """
    if not isinstance(body, dict):
        raise Refusal(400, "invalid_request", "The request is not a JSON object")
    legs = body.get("legs")
    if not isinstance(legs, list) or not 1 <= len(legs) <= 4:
        raise invalid("legs", "1 to 4 legs")
    kind, force = body.get("order-type"), body.get("time-in-force", "Day")
    if kind not in TYPES:
        raise invalid("order-type", "does not have a valid value")
    if force not in TIMES_IN_FORCE:
        raise invalid("time-in-force", "does not have a valid value")
    checked = [_leg(market, leg, held, kind) for leg in legs]
    underlyings = {underlying_of(market, leg["symbol"]) for leg in checked}
    if len({leg["symbol"] for leg in checked}) < len(checked) or len(underlyings) > 1:
        raise preflight("invalid_legs", "Legs have distinct symbols of one underlying.")
    order = Order(
        0, account, checked, None, "Received", stamp(now), int(now.timestamp() * 1000), body.get("external-identifier"),
        underlying=underlyings.pop(), order_type=kind, time_in_force=force, source=body.get("source"),
        preflight_id=None if body.get("preflight-id") is None else str(body["preflight-id"]),
    )  # fmt: skip
    _priced(order, body)
    _valued(market, order, body)
    _timed(order, body, now.date())
    return order


def _leg(market: Market, leg: Any, held: Collection[str], order_type: str) -> dict[str, Any]:
    if not isinstance(leg, dict):
        raise invalid("legs", "is not an object")
    symbol, kind = str(leg.get("symbol", "")), leg.get("instrument-type", "Equity Option")
    if kind not in KINDS:
        raise invalid("legs.instrument-type", "does not have a valid value")
    if kind == "Equity Option":
        kept = symbol in held and market.index_of(underlying_of(market, symbol)) is not None
        listed = symbol in market.row_of or kept
    else:
        index = market.index_of(symbol)
        listed = index is not None and market.listed[index].sector not in NOT_SHARES
    if kind not in ("Equity Option", "Equity") or not listed:
        raise preflight("instrument_validation_failed", f"Instrument {symbol!r} is not active.")
    quantity = _decimal(leg.get("quantity"), "legs.quantity")
    if order_type == "Notional Market":
        quantity = _of_notional(quantity, kind)
    if str(leg.get("action")) not in SIGNS or quantity is None or not 0 < quantity <= QUANTITY_MAX:
        raise invalid("legs", "action or quantity")
    if quantity != int(quantity) and (kind != "Equity" or order_type not in ("Market", "Notional Market")):
        raise invalid("legs.quantity", "is not whole: fractions are of shares, and of market orders")
    if round(quantity, SHARE_DECIMALS) != quantity:
        raise invalid("legs.quantity", f"has more than {SHARE_DECIMALS} decimals")
    return {
        "symbol": symbol, "action": leg["action"], "quantity": whole_or_exact(quantity), "instrument-type": kind,
    }  # fmt: skip


def _of_notional(quantity: Decimal | None, kind: str) -> Decimal:
    """A placeholder: how many shares the value makes is known once the market is asked."""
    if quantity is not None:
        raise invalid("legs.quantity", "is not part of a notional order")
    if kind != "Equity":
        raise preflight("instrument_validation_failed", "Only shares are eligible for notional orders.")
    return Decimal(1)


def _valued(market: Market, order: Order, body: dict[str, Any]) -> None:
    """Let the value of a notional order decide how many shares it is for, at what the market asks or bids now."""
    value = _decimal(body.get("value"), "value")
    if order.order_type != "Notional Market":
        return
    if len(order.legs) > 1:
        raise preflight("market_orders_single_leg", "Market orders have one leg.")
    if value is None:
        raise invalid("value", "is missing")
    leg, debit = order.legs[0], body.get("value-effect") == "Debit"
    buys = SIGNS[leg["action"]] > 0
    if buys is not debit:
        code = ("cant_sell_for_debit", "cant_buy_for_credit")[buys]
        raise preflight(code, f"You cannot {'buy for a credit' if buys else 'sell for a debit'}.")
    if abs(value) < NOTIONAL_LEAST:
        raise preflight("notional_value_too_small", f"A notional order is for at least ${NOTIONAL_LEAST}.")
    bid, ask = market.spot_quote(market.index_of(leg["symbol"]) or 0)
    price = Decimal(str(ask if buys else bid))
    if not price.is_finite() or price <= 0:
        raise preflight("instrument_validation_failed", f"Instrument {leg['symbol']!r} has no price.")
    step = Decimal(1).scaleb(-SHARE_DECIMALS)
    leg["quantity"] = whole_or_exact((abs(value) / price).quantize(step, ROUND_DOWN))
    order.value = -abs(value) if debit else abs(value)


def _priced(order: Order, body: dict[str, Any]) -> None:
    price, kind = _decimal(body.get("price"), "price"), order.order_type
    if kind in _PRICED:
        if price is None:
            raise invalid("price", "is missing")
        debit, signs = body.get("price-effect") == "Debit", {SIGNS[leg["action"]] for leg in order.legs}
        if signs == {1} and not debit:
            raise preflight("cant_buy_for_credit", "You cannot buy for a credit.")
        if signs == {-1} and debit:
            raise preflight("cant_sell_for_debit", "You cannot sell for a debit.")
        order.price = -abs(price) if debit else abs(price)
    elif price is not None:
        raise preflight("order_must_omit_price", f"{kind} orders must omit the price.")
    trigger = _decimal(body.get("stop-trigger"), "stop-trigger")
    if kind in _TRIGGERED and (trigger is None or trigger <= 0):
        raise invalid("stop-trigger", "is missing")
    order.stop_trigger = trigger if kind in _TRIGGERED else None
    if kind == "Market" and len(order.legs) > 1:
        raise preflight("market_orders_single_leg", "Market orders have one leg.")


def _timed(order: Order, body: dict[str, Any], today: date) -> None:
    if order.order_type == "Market" and order.time_in_force in ("GTC", "GTD"):
        raise preflight("gtc_market_orders_not_supported", "GTC/GTD Market orders are not supported.")
    if order.time_in_force != "GTD":
        return
    try:
        until = date.fromisoformat(str(body.get("gtc-date")))
    except ValueError:
        raise invalid("gtc-date", "is missing or is not a date") from None
    if until < today:
        raise invalid("gtc-date", "is past")
    order.gtc_date = until.isoformat()


def _decimal(value: Any, name: str) -> Decimal | None:
    if value is None:
        return None
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        raise invalid(name, "is not a number") from None
    if not found.is_finite():
        raise invalid(name, "is not a number")
    return found


def underlying_of(market: Market, symbol: str) -> str:
    """Underlying of a contract or an equity; the root for one that is no longer listed."""
    row = market.row_of.get(symbol)
    if row is not None:
        for name, rows in market.rows.items():
            if rows.start <= row < rows.stop:
                return name
    return symbol if market.index_of(symbol) is not None else symbol[:6].rstrip()
