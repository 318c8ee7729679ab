"""Order rules: when to route an order by itself, and when to cancel it."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from tastysim.market import Market
from tastysim.orders import invalid, preflight, stamp
from tastysim.valuation import quote

Rule = dict[str, Any]


def read_rule(market: Market, body: Any) -> Rule | None:
    """The rule of a request in the shape of an answer; None without one. Raises Refusal."""
    if body is None:
        return None
    if not isinstance(body, dict):
        raise invalid("rules", "is not an object")
    found: Rule = {name: stamp(_moment(body[name], name)) for name in ("route-after", "cancel-at") if body.get(name)}
    conditions = body.get("conditions") or []
    if not isinstance(conditions, list):
        raise invalid("rules.conditions", "is not a list")
    if conditions:
        found["order-conditions"] = [_condition(market, each, number) for number, each in enumerate(conditions)]
    return found or None


def _moment(text: Any, name: str) -> datetime:
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        raise invalid(f"rules.{name}", "is not a date-time") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _condition(market: Market, body: Any, number: int) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise invalid("rules.conditions", "is not an object")
    for name, known in (
        ("action", ("route", "cancel")),
        ("indicator", ("last", "nat")),
        ("comparator", ("gte", "lte")),
    ):
        if body.get(name) not in known:
            raise invalid(f"rules.conditions.{name}", "does not have a valid value")
    symbol = str(body.get("symbol", ""))
    components = body.get("price-components") or []
    if not isinstance(components, list):
        raise invalid("rules.conditions.price-components", "is not a list")
    priced = [_component(market, each) for each in components]
    if not priced and quote(market, symbol) is None:
        raise preflight("instrument_validation_failed", f"Instrument {symbol!r} has no price.")
    try:
        threshold = Decimal(str(body.get("threshold")))
    except InvalidOperation:
        raise invalid("rules.conditions.threshold", "is not a number") from None
    if not threshold.is_finite():
        raise invalid("rules.conditions.threshold", "is not a number")
    return {
        "id": str(number), "action": body["action"], "symbol": symbol,
        "instrument-type": body.get("instrument-type", "Equity"), "indicator": body["indicator"],
        "comparator": body["comparator"], "threshold": str(threshold), "is-threshold-based-on-notional": False,
        "price-components": priced,
    }  # fmt: skip


def _component(market: Market, body: Any) -> dict[str, Any]:
    """One part of a price that a condition is on: how much of what, long or short."""
    if not isinstance(body, dict):
        raise invalid("rules.conditions.price-components", "is not an object")
    symbol, direction = str(body.get("symbol", "")), body.get("quantity-direction")
    if direction not in ("Long", "Short"):
        raise invalid("rules.conditions.price-components.quantity-direction", "does not have a valid value")
    try:
        quantity = Decimal(str(body.get("quantity")))
    except InvalidOperation:
        raise invalid("rules.conditions.price-components.quantity", "is not a number") from None
    if not quantity.is_finite() or quantity <= 0:
        raise invalid("rules.conditions.price-components.quantity", "is not a positive number")
    if quote(market, symbol) is None:
        raise preflight("instrument_validation_failed", f"Instrument {symbol!r} has no price.")
    return {
        "symbol": symbol, "instrument-type": body.get("instrument-type", "Equity"), "quantity": str(quantity),
        "quantity-direction": direction,
    }  # fmt: skip


def may_route(rule: Rule | None, market: Market, now: datetime) -> bool:
    """Whether the time has come and every condition to route has been met; notes what is met for the first time."""
    if rule is None:
        return True
    waits = "route-after" in rule and now < datetime.fromisoformat(rule["route-after"])
    met = [_met(each, market, now) for each in rule.get("order-conditions", ()) if each["action"] == "route"]
    return not waits and all(met)


def must_cancel(rule: Rule | None, market: Market, now: datetime) -> bool:
    """Whether the time to cancel has come or a condition to cancel is met."""
    if rule is None:
        return False
    over = "cancel-at" in rule and now >= datetime.fromisoformat(rule["cancel-at"])
    met = [_met(each, market, now) for each in rule.get("order-conditions", ()) if each["action"] == "cancel"]
    return over or any(met)


def _met(condition: dict[str, Any], market: Market, now: datetime) -> bool:
    """`last` is the mid; `nat` what a buyer pays where it must rise, and what a seller gets where it must fall.

    Of components: the sum of their prices by quantity, short ones negative; a buyer of the whole sells those.
    """
    if "triggered-at" in condition:
        return True
    rising = condition["comparator"] == "gte"
    whole = [{"symbol": condition["symbol"], "quantity": "1", "quantity-direction": "Long"}]
    value = Decimal(0)
    for part in condition["price-components"] or whole:
        found = quote(market, part["symbol"])
        if found is None:
            return False
        bid, ask = found
        long = part["quantity-direction"] == "Long"
        price = (bid + ask) / 2 if condition["indicator"] == "last" else ask if rising is long else bid
        value += Decimal(part["quantity"]) * (price if long else -price)
    threshold = Decimal(condition["threshold"])
    if (value >= threshold) is not rising and value != threshold:
        return False
    condition |= {"triggered-at": stamp(now), "triggered-value": str(value)}
    return True
