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
    if body.get("price-components") or quote(market, symbol) is None:
        raise preflight("instrument_validation_failed", f"A condition on {symbol!r} or on components is not simulated.")
    try:
        threshold = str(Decimal(str(body.get("threshold"))))
    except InvalidOperation:
        raise invalid("rules.conditions.threshold", "is not a number") from None
    return {
        "id": str(number), "action": body["action"], "symbol": symbol,
        "instrument-type": body.get("instrument-type", "Equity"), "indicator": body["indicator"],
        "comparator": body["comparator"], "threshold": threshold, "is-threshold-based-on-notional": False,
        "price-components": [],
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
    """`last` is the mid; `nat` what a buyer pays where it must rise, and what a seller gets where it must fall."""
    if "triggered-at" in condition:
        return True
    found = quote(market, condition["symbol"])
    if found is None:
        return False
    bid, ask = found
    rising = condition["comparator"] == "gte"
    value = (bid + ask) / 2 if condition["indicator"] == "last" else ask if rising else bid
    threshold = Decimal(condition["threshold"])
    if (value >= threshold) is not rising and value != threshold:
        return False
    condition |= {"triggered-at": stamp(now), "triggered-value": str(value)}
    return True
