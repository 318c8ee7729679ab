"""What a holder or a clearing house does to positions, on request: exercise and assignment."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from tastysim import expirations, shapes
from tastysim.answers import body_of, many
from tastysim.brokerage import Brokerage
from tastysim.market import Market
from tastysim.orders import invalid


def routes(market: Market, brokerage: Brokerage) -> APIRouter:
    """The routes under /sim that need no login. Both take `symbol` and `quantity` and answer the positions left."""
    api = APIRouter()

    @api.post("/sim/accounts/{number}/exercises")
    async def exercise(request: Request, number: str) -> Response:
        """Exercise a long option at once."""
        broker, (symbol, quantity) = brokerage.broker(number), _what(await body_of(request))
        with brokerage.store.batch():
            expirations.exercise(broker, symbol, quantity, market.now)
        return many(request, [shapes.position(broker, each) for each in broker.positions])

    @api.post("/sim/accounts/{number}/assignments")
    async def assign(request: Request, number: str) -> Response:
        """Assign a short option at once."""
        broker, (symbol, quantity) = brokerage.broker(number), _what(await body_of(request))
        with brokerage.store.batch():
            expirations.assign(broker, symbol, quantity, market.now)
        return many(request, [shapes.position(broker, each) for each in broker.positions])

    return api


def _what(body: object) -> tuple[str, int]:
    if not isinstance(body, dict) or not isinstance(body.get("symbol"), str):
        raise invalid("symbol", "is missing")
    quantity = body.get("quantity", 1)
    if isinstance(quantity, bool) or not isinstance(quantity, int) or quantity < 1:
        raise invalid("quantity", "is not a whole number above zero")
    return body["symbol"], quantity
