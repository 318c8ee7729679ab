"""Whether the broker takes an order from an account: its state, positions, level and buying power, and the hour."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from optionmath.margin import AccountKind, Phase
from optionmath.sessions import closes_at, is_session, market_date, next_session
from optionmath.ticks import TickBand, TickGrid, net_price_grid
from tastysim import requirements, valuation
from tastysim.checks import read_order
from tastysim.market import Market
from tastysim.orders import SIGNS, Order, Quantity, preflight
from tastysim.rules import read_rule

if TYPE_CHECKING:
    from tastysim.broker import Broker

LAST_OPENING = timedelta(minutes=30)
"""Nobody sells to open in an expiring contract in the last half hour."""
SHARES = TickGrid((TickBand(Decimal("0.0001"), Decimal(1)), TickBand(Decimal("0.01"))))
_NEXT_SESSION = {
    "code": "tif.next_valid_session",
    "message": "Your order will begin working during next valid session.",
}


def admitted(broker: Broker, body: dict[str, Any], now: datetime, *, held: bool = False) -> Order:
    """An order that passes every check. `held`: one that waits for another; positions are not asked for yet.

    Raises Refusal.
    """
    order = read_order(broker.market, broker.account, body, now, broker.positions)
    order.rule = read_rule(broker.market, body.get("rules"))
    order.behavior = broker.desk.chosen(body, now)
    opening = any(leg["action"].endswith("Open") for leg in order.legs)
    for flag in ("is-closed", "is-frozen"):
        if broker.flags[flag]:
            raise preflight(flag.removeprefix("is-"), f"Account {broker.account} is {flag.removeprefix('is-')}.")
    if opening and (broker.flags["is-closing-only"] or broker.flags["is-risk-reducing-only"]):
        raise preflight("closing_only", f"Account {broker.account} is restricted to closing orders.")
    _in_time(broker, order, now, opening=opening)
    if held:
        return order
    strict = bool((body.get("advanced-instructions") or {}).get("strict-position-effect-validation"))
    _closes(broker, order, strict=strict)
    if any(leg["action"].endswith("Open") for leg in order.legs):
        _same_side(broker, order)
        _affordable(broker, order)
    return order


def _in_time(broker: Broker, order: Order, now: datetime, *, opening: bool) -> None:
    """Contracts that have ended, the last half hour, and hours at which nothing trades."""
    for leg in order.legs:
        if leg["instrument-type"] != "Equity Option":
            continue
        ends = broker.contracts.of(leg["symbol"]).stops_trading_at
        if ends <= now:
            raise preflight("instrument_validation_failed", f"Instrument {leg['symbol']!r} is not active.")
        if leg["action"] == "Sell to Open" and ends - LAST_OPENING <= now:
            raise preflight(
                "sell_to_open_cutoff",
                f"{leg['symbol']} expires today: it may not be sold to open in its last half hour.",
            )
    if broker.market.is_open:
        return
    if order.order_type == "Market" and opening:
        raise preflight("market_closed", "Opening market orders are not accepted while the market is closed.")
    order.warnings.append(dict(_NEXT_SESSION))


def _closes(broker: Broker, order: Order, *, strict: bool) -> None:
    """A close without a position is refused under the strict flag, otherwise turned into an opening one."""
    for leg in order.legs:
        if not leg["action"].endswith("Close"):
            continue
        closable = _held(broker, leg["symbol"]) * -SIGNS[leg["action"]]
        if closable >= leg["quantity"]:
            continue
        if closable > 0:
            raise preflight(
                "closing_more_than_held", f"There are {closable} of {leg['symbol']} to close, not {leg['quantity']}."
            )
        message = f"There is no position in {leg['symbol']} to close."
        if strict:
            raise preflight("closing_with_no_position", message)
        leg["action"] = leg["action"].replace("Close", "Open")
        order.warnings.append({"code": "closing_with_no_position", "message": message})


def _same_side(broker: Broker, order: Order) -> None:
    """Nobody opens against a position of the other side."""
    for leg in order.legs:
        against = _held(broker, leg["symbol"]) * SIGNS[leg["action"]] < 0
        if leg["action"].endswith("Open") and against:
            side = "long" if leg["action"].startswith("Sell") else "short"
            raise preflight("opening_against_position", f"{leg['symbol']} is held {side}: close that first.")


def _affordable(broker: Broker, order: Order) -> None:
    after = requirements.of_name(broker, order.underlying, requirements.with_order(broker.quantities(), order))
    cash_account = requirements.rules_of(broker, Phase.INITIAL).account is AccountKind.CASH
    opens_short = any(leg["action"] == "Sell to Open" for leg in order.legs)
    if cash_account and opens_short and (after.shares < 0 or after.found.prohibited):
        raise preflight("invalid_option_level", "A cash account may not be short of shares or of uncovered calls.")
    needed = requirements.needed_level(after.found.groups, after.shares, broker.cash)
    if opens_short and requirements.LEVELS.index(needed) > requirements.LEVELS.index(broker.options_level):
        raise preflight("invalid_option_level", f"This order needs the options level {needed!r}.")
    effect = broker.buying_power_effect(order)
    if effect["new-buying-power-effect"] == "Debit" and effect["effect"] == "Debit":
        raise preflight("margin_check_failed", "Your account has insufficient buying power.")


def _held(broker: Broker, symbol: str) -> Quantity:
    return broker.positions.get(symbol, (0, Decimal(0)))[0]


def off_grid(market: Market, order: Order) -> bool:
    """Whether the venue rejects the price: single legs trade on their class's grid, several together in cents."""
    if order.price is None:
        return False
    leg = order.legs[0]
    index = market.index_of(order.underlying)
    if len(order.legs) > 1 or index is None:
        return not net_price_grid(order.underlying).is_valid(order.price)
    grid = market.listed[index].option_grid if valuation.is_option(leg["symbol"]) else SHARES
    return not grid.is_valid(order.price)


def valid_until(order: Order) -> str:
    """Last day of an order that is good for one: the session in which it became live or will."""
    if order.live_at is not None:
        return market_date(datetime.fromisoformat(order.live_at)).isoformat()
    if order.status == "Received":
        return "9999-12-31"
    received = datetime.fromisoformat(order.received_at)
    day = market_date(received)
    closing = closes_at(day)
    waits = not is_session(day) or (closing is not None and received >= closing)
    return (next_session(day) if waits else day).isoformat()
