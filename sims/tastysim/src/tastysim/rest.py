"""The REST interface in the broker's shapes: the login, and every other route of the simulator."""

from __future__ import annotations

from decimal import Decimal

from fastapi import APIRouter, Request, Response

from tastysim import (
    rest_accounts,
    rest_futures,
    rest_lifecycle,
    rest_lists,
    rest_orders,
    rest_reference,
    rest_sessions,
    shapes,
)
from tastysim.access import LoginRefused, Tokens
from tastysim.answers import body_of, json_response, one
from tastysim.brokerage import Brokerage
from tastysim.followers import FollowedMarket
from tastysim.orders import Refusal, invalid


def routes(market: FollowedMarket, brokerage: Brokerage, tokens: Tokens) -> APIRouter:
    """Every REST route."""
    api = APIRouter()

    @api.post("/oauth/token")
    async def login(request: Request) -> Response:
        try:
            return json_response(tokens.login(await request.body(), request.headers.get("content-type", "")))
        except LoginRefused as refusal:
            return json_response(refusal.body, refusal.status)

    @api.post("/sessions/validate")
    async def validate(request: Request) -> Response:
        return one(request, {"email": shapes.customer()["email"], "is-confirmed": True}, 201)

    @api.get("/api-quote-tokens")
    async def quote_token(request: Request) -> Response:
        token, issued, ends = tokens.quote_token()
        return one(
            request,
            {
                "token": token, "dxlink-url": f"ws://{request.headers.get('host')}/dxlink", "level": "api",
                "issued-at": issued.isoformat(), "expires-at": ends.isoformat(),
            },
        )  # fmt: skip

    for part in (
        rest_orders.routes(brokerage), rest_accounts.routes(brokerage), rest_futures.routes(market),
        rest_lifecycle.routes(market, brokerage), rest_reference.routes(market), rest_sessions.routes(market),
        rest_lists.routes(brokerage, market), _own(market, brokerage, tokens),
    ):  # fmt: skip
        api.include_router(part)
    return api


def _own(market: FollowedMarket, brokerage: Brokerage, tokens: Tokens) -> APIRouter:
    """What the real broker does not have, and what it has for the certification environment only."""
    api = APIRouter()

    @api.post("/sandbox/customers/me/accounts")
    async def open_account(request: Request) -> Response:
        body = await body_of(request)
        found = brokerage.open(int(_amount(body, "funding-amount")), str(body.get("margin-or-cash", "Margin")))
        return one(request, shapes.account(found), 201)

    @api.post("/sandbox/accounts/{number}/deposits")
    async def deposit(request: Request, number: str) -> Response:
        broker = brokerage.broker(number)
        broker.deposit(_amount(await body_of(request), "amount"), market.now)
        return one(request, shapes.balance(broker), 201)

    @api.put("/sim/accounts/{number}/trading-status")
    async def restrict(request: Request, number: str) -> Response:
        broker = brokerage.broker(number)
        body = await body_of(request)
        if not isinstance(body, dict):
            raise Refusal(400, "invalid_request", "The request is not a JSON object")
        broker.set_flags(body)
        status = shapes.trading_status(broker)
        brokerage.notify("TradingStatus", status)
        return one(request, status)

    @api.put("/sim/latency")
    async def latency(request: Request) -> Response:
        """Steps of the market that orders and cancellations take."""
        steps = int(_amount(await body_of(request), "steps"))
        for broker in brokerage.brokers.values():
            broker.latency_steps = max(0, steps)
        return one(request, {"steps": max(0, steps)})

    @api.post("/sim/consents")
    async def consent(request: Request) -> Response:
        """Somebody allows a client: the code that the consent page would hand to its redirect."""
        body = await body_of(request)
        if not isinstance(body, dict) or not isinstance(body.get("redirect-uri"), str):
            raise invalid("redirect-uri", "is missing")
        try:
            code = tokens.consent(body["redirect-uri"], str(body.get("scope", "read trade")))
        except LoginRefused as refusal:
            return json_response(refusal.body, refusal.status)
        return one(request, {"code": code}, 201)

    @api.get("/sim/history")
    async def history() -> Response:
        return json_response(brokerage.store.history())

    @api.get("/sim/health")
    async def health() -> Response:
        return json_response(
            {
                "market_time": market.now.isoformat(),
                "underlyings": [each.symbol for each in market.listed],
                "contracts": len(market.strike),
                "orders": sum(len(each.orders) for each in brokerage.brokers.values()),
            }
        )

    return api


def _amount(body: object, name: str) -> Decimal:
    if not isinstance(body, dict):
        raise Refusal(400, "invalid_request", "The request is not a JSON object")
    try:
        found = Decimal(str(body[name]))
    except (KeyError, ArithmeticError):
        raise invalid(name, "is missing or is not a number") from None
    if not found.is_finite():
        raise invalid(name, "is not a number")
    return found
