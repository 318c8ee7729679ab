"""Build the simulator: the market, the broker, the REST interface and the streams in one process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from tastysim import rest_control
from tastysim.access import Tokens
from tastysim.account_stream import AccountStream
from tastysim.answers import refused
from tastysim.behaviour import Behaviour
from tastysim.brokerage import Brokerage
from tastysim.clock import Clock
from tastysim.dxlink_server import Feed
from tastysim.dxlink_session import BROKER_LIMITS
from tastysim.fills import FillDesk
from tastysim.market import Market, ModelMarket
from tastysim.orders import Refusal
from tastysim.replay import Recording, ReplayMarket
from tastysim.rest import routes
from tastysim.settings import SimSettings
from tastysim.store import Store

PUBLIC = ("/oauth/token", "/sim/", "/margin-requirements-public-configuration", "/symbols/search/")
OLDEST_VERSION = "20240501"
"""A request for an older one is refused."""
_CODES = {401: "unauthorized", 403: "not_permitted", 404: "not_found", 405: "not_found", 422: "validation_error"}


def build(settings: SimSettings) -> FastAPI:
    """The application. The market moves and orders match while it is served. Raises ChainFileError for a bad file."""
    market: Market
    if settings.market == "model":
        market = ModelMarket(settings.seed, datetime.now(UTC))
    else:
        market = ReplayMarket(Recording.parse(settings.market))
    desk = FillDesk(
        market.now, settings.seed, Behaviour.parse(settings.fills), orders_choose=settings.orders_choose_fills,
        quote_max_age_seconds=settings.quote_max_age_seconds,
    )  # fmt: skip
    brokerage = Brokerage(market, Store(settings.data_dir), settings.account, settings.cash, desk)
    tokens = Tokens(settings)
    feed = Feed(market, tokens.may_stream_until, BROKER_LIMITS if settings.stream_limits else None)
    stream = AccountStream(lambda token: tokens.scopes(token) is not None, brokerage.brokers.__contains__)
    brokerage.connect(stream.push)

    clock = Clock(
        market, brokerage.step, brokerage.works, interval=settings.step_ms / 1000, speed=settings.speed,
        grid=settings.grid_seconds, paused=settings.paused, skip_closed=settings.skip_closed, after=feed.tick,
    )  # fmt: skip

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        moving = asyncio.create_task(clock.run())
        yield
        moving.cancel()

    app = FastAPI(title="tastysim", lifespan=lifespan, openapi_url=None)
    app.state.feed, app.state.stream = feed, stream
    app.state.market, app.state.brokerage, app.state.clock = market, brokerage, clock
    app.state.broker = brokerage.broker(settings.account)

    @app.middleware("http")
    async def authorize(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        if not request.url.path.startswith("/sim/") and "/" not in request.headers.get("user-agent", ""):
            return Response("<html><h1>401 Authorization Required</h1></html>", 401, media_type="text/html")
        if "0" < request.headers.get("accept-version", OLDEST_VERSION) < OLDEST_VERSION:
            return refused(Refusal(406, 406, "The requested version is not supported."))
        if not request.url.path.startswith(PUBLIC):
            scopes = tokens.scopes(request.headers.get("authorization", "").removeprefix("Bearer "))
            if scopes is None:
                return refused(Refusal(401, "token_invalid", "This token is invalid or has expired"))
            if ("trade" if _trades(request) else "read") not in scopes:
                return refused(Refusal(403, "not_permitted", "User not permitted access"))
        return await call_next(request)

    @app.exception_handler(Refusal)
    async def refuse(_: Request, refusal: Refusal) -> Response:
        return refused(refusal)

    @app.exception_handler(HTTPException)
    async def unrouted(_: Request, error: HTTPException) -> Response:
        status = 404 if error.status_code == 405 else error.status_code
        return refused(Refusal(status, _CODES.get(status, "error"), str(error.detail)))

    @app.exception_handler(RequestValidationError)
    async def unreadable(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        reason = {"domain": str(first["loc"][-1]), "reason": str(first["msg"])}
        return refused(Refusal(400, "validation_error", "Request validation failed", [reason]))

    @app.websocket("/dxlink")
    async def dxlink(socket: WebSocket) -> None:
        await feed.serve(socket)

    @app.websocket("/streamer")
    async def streamer(socket: WebSocket) -> None:
        await stream.serve(socket)

    app.include_router(routes(market, brokerage, tokens))
    app.include_router(rest_control.routes(brokerage, clock))
    return app


def _trades(request: Request) -> bool:
    """Whether a request sends, changes or cancels an order."""
    return request.method != "GET" and "/accounts/" in request.url.path and "orders" in request.url.path
