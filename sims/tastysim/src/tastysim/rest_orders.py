"""Orders over REST: single and complex, of one account and of all."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request, Response

from optionmath.sessions import market_date
from tastysim import complex_orders
from tastysim.answers import SORTS, body_of, choice, many, object_of, one, paged, several, span
from tastysim.broker import Broker
from tastysim.brokerage import Brokerage
from tastysim.checks import KINDS
from tastysim.orders import TERMINAL, WORKING, ComplexOrder, Order, Refusal, invalid

STATUSES = WORKING | TERMINAL | {"Contingent"}
_START_REQUIRED = "20261012"
"""From this version on an order search needs a start."""


def routes(brokerage: Brokerage) -> APIRouter:
    """Every route of orders; `dry-run` and `live` before the ids."""
    api, broker, market = APIRouter(), brokerage.broker, brokerage.market

    @api.post("/accounts/{number}/orders/dry-run")
    async def dry_run(request: Request, number: str) -> Response:
        order, effect, fees = broker(number).dry_run(await body_of(request), market.now)
        return one(request, _wrapper({"order": order.as_wire()}, effect, fees, order.warnings), 201)

    @api.post("/accounts/{number}/orders")
    async def submit(request: Request, number: str) -> Response:
        order = broker(number).submit(await body_of(request), market.now)
        effect, fees = broker(number).buying_power_effect(order), broker(number).fee_calculation(order)
        return one(request, _wrapper({"order": order.as_wire()}, effect, fees, order.warnings), 201)

    @api.get("/accounts/{number}/orders/live")
    async def live(request: Request, number: str) -> Response:
        found = broker(number)
        return paged(request, found.today(found.orders.values(), market.now), 100, 200, Order.as_wire)

    @api.get("/accounts/{number}/orders")
    async def search(request: Request, number: str) -> Response:
        return paged(request, _search(request, [broker(number)]), 100, 200, Order.as_wire)

    @api.get("/accounts/{number}/orders/{order_id}")
    async def order(request: Request, number: str, order_id: int) -> Response:
        return one(request, broker(number).order(order_id).as_wire())

    @api.post("/accounts/{number}/orders/{order_id}/dry-run")
    async def replacement(request: Request, number: str, order_id: int) -> Response:
        found = broker(number)
        order, effect, fees = found.dry_run(found.replacement(order_id, await object_of(request)), market.now)
        return one(request, _wrapper({"order": order.as_wire()}, effect, fees, order.warnings), 201)

    @api.post("/accounts/{number}/orders/{order_id}/reconfirm")
    async def reconfirm(request: Request, number: str, order_id: int) -> Response:
        raise Refusal(422, "cannot_update_order", f"Order {broker(number).order(order_id).id} is not held")

    @api.put("/accounts/{number}/orders/{order_id}")
    @api.patch("/accounts/{number}/orders/{order_id}")
    async def replace(request: Request, number: str, order_id: int) -> Response:
        return one(request, broker(number).replace(order_id, await object_of(request), market.now).as_wire())

    @api.delete("/accounts/{number}/orders/{order_id}")
    async def cancel(request: Request, number: str, order_id: int) -> Response:
        return one(request, broker(number).cancel(order_id, market.now).as_wire())

    @api.get("/customers/{customer}/orders/live")
    async def customer_live(request: Request, customer: str) -> Response:
        found = [order for each in _asked(request, brokerage) for order in each.today(each.orders.values(), market.now)]
        return paged(request, sorted(found, key=lambda each: -each.id), 100, 200, Order.as_wire)

    @api.get("/customers/{customer}/orders")
    async def customer_search(request: Request, customer: str) -> Response:
        return paged(request, _search(request, _asked(request, brokerage)), 100, 200, Order.as_wire)

    @api.post("/accounts/{number}/complex-orders/dry-run")
    async def complex_dry_run(request: Request, number: str) -> Response:
        found = broker(number)
        kind, trigger, parts, ratio = found.complex.checked(await body_of(request), market.now)
        for each in [*([trigger] if trigger else []), *parts]:
            each.updated_ms = 0
        shape = complex_orders.shape(kind, trigger, parts, ratio) | {"account-number": number}
        first = trigger or parts[0]
        effect, fees = found.buying_power_effect(first), found.fee_calculation(first)
        return one(request, _wrapper({"complex-order": shape}, effect, fees, first.warnings), 201)

    @api.post("/accounts/{number}/complex-orders")
    async def complex_submit(request: Request, number: str) -> Response:
        found = broker(number)
        placed, _ = found.complex.submit(await body_of(request), market.now)
        return one(request, _complex_wrapper(found, placed), 201)

    @api.get("/accounts/{number}/complex-orders/live")
    async def complex_live(request: Request, number: str) -> Response:
        found = broker(number)
        rows = [
            each for each in found.complex.orders.values()
            if each.terminal_at is None or market_date(_at(each.updated_ms, market.now)) == market_date(market.now)
        ]  # fmt: skip
        return many(request, [found.complex.as_wire(each) for each in rows[::-1]])

    @api.get("/accounts/{number}/complex-orders")
    async def complex_search(request: Request, number: str) -> Response:
        book = broker(number).complex
        return paged(request, [*book.orders.values()][::-1], 10, 200, book.as_wire)

    @api.get("/accounts/{number}/complex-orders/{complex_id}")
    async def complex_order(request: Request, number: str, complex_id: int) -> Response:
        book = broker(number).complex
        return one(request, book.as_wire(book.get(complex_id)))

    @api.patch("/accounts/{number}/complex-orders/{complex_id}")
    async def complex_edit(request: Request, number: str, complex_id: int) -> Response:
        found = broker(number)
        edited = found.complex.edit(complex_id, await object_of(request), market.now)
        return one(request, _complex_wrapper(found, edited))

    @api.post("/accounts/{number}/complex-orders/{complex_id}/dry-run")
    async def complex_edit_dry_run(request: Request, number: str, complex_id: int) -> Response:
        found = broker(number)
        ratio = found.complex.edited(complex_id, await object_of(request))
        return one(request, _complex_wrapper(found, found.complex.get(complex_id), ratio), 201)

    @api.delete("/accounts/{number}/complex-orders/{complex_id}")
    async def complex_cancel(request: Request, number: str, complex_id: int) -> Response:
        book = broker(number).complex
        return one(request, book.as_wire(book.cancel(complex_id, market.now)))

    return api


def _wrapper(
    found: dict[str, Any], effect: dict[str, Any], fees: dict[str, Any], warnings: list[dict[str, str]]
) -> dict[str, Any]:
    return found | {"buying-power-effect": effect, "fee-calculation": fees, "warnings": warnings, "errors": []}


def _complex_wrapper(broker: Broker, order: ComplexOrder, ratio: dict[str, Any] | None = None) -> dict[str, Any]:
    first = broker.orders[order.parts[0]]
    shape = broker.complex.as_wire(order) | (ratio or {})
    return _wrapper(
        {"complex-order": shape}, broker.buying_power_effect(first), broker.fee_calculation(first), first.warnings
    )


def _at(milliseconds: int, now: datetime) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, now.tzinfo)


def _asked(request: Request, brokerage: Brokerage) -> list[Broker]:
    numbers = several(request, "account-numbers")
    if not numbers:
        raise invalid("account-numbers", "is missing")
    return [brokerage.broker(number) for number in numbers]


def _search(request: Request, brokers: list[Broker]) -> list[Order]:
    """Orders that match, newest first unless asked otherwise."""
    asked, statuses = request.query_params, several(request, "status")
    if not set(statuses) <= STATUSES:
        raise invalid("status", "does not have a valid value")
    kind, sort = choice(request, "underlying-instrument-type", KINDS), choice(request, "sort", SORTS, "Desc")
    version = request.headers.get("accept-version", "")
    if version >= _START_REQUIRED and not (asked.get("start-date") or asked.get("start-at")):
        raise invalid("start-date", "start-date or start-at is required")
    found, within = [], span(request)
    for order in (order for broker in brokers for order in broker.orders.values()):
        received = datetime.fromisoformat(order.received_at)
        if (
            within(received, market_date(received))
            and (not statuses or order.status in statuses)
            and asked.get("underlying-symbol") in (None, order.underlying)
            and kind in (None, "Equity")
            and asked.get("futures-symbol") is None
        ):
            found.append(order)
    return sorted(found, key=lambda each: each.id, reverse=sort == "Desc")
