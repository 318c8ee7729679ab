"""Build the simulator: the market, the broker, the REST interface and the streams in one process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal

from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from tastysim import rest_control, rest_faults
from tastysim.access import Tokens
from tastysim.account_stream import AccountStream
from tastysim.answers import refused
from tastysim.behaviour import Behaviour
from tastysim.clock import Clock
from tastysim.dxlink_server import Feed
from tastysim.dxlink_session import BROKER_LIMITS
from tastysim.faults_desk import FaultsDesk
from tastysim.faults_orders import ShownBrokerage
from tastysim.faults_requests import FaultyApi
from tastysim.fills import FillDesk
from tastysim.followers import FollowedMarket
from tastysim.live import Live, unpriced, when_priced
from tastysim.market import Market, ModelMarket
from tastysim.model_kept import keeper, resumed
from tastysim.orders import Refusal
from tastysim.recording import Recording
from tastysim.rest import routes
from tastysim.scenario import load
from tastysim.settings import SimSettings
from tastysim.store import Store
from tastysim.terms import read_terms

PUBLIC = ("/oauth/token", "/sim/", "/margin-requirements-public-configuration", "/symbols/search/")
OLDEST_VERSION = "20240501"
"""A request for an older one is refused."""
_CODES = {401: "unauthorized", 403: "not_permitted", 404: "not_found", 405: "not_found", 422: "validation_error"}


def build(settings: SimSettings) -> FastAPI:
    """The application. The market moves and orders match while it is served. Raises ChainFileError for a bad file."""
    scenario = load(settings.scenario) if settings.scenario else None
    store = Store(settings.data_dir)
    own = _market(settings, store)
    live, market = own if isinstance(own, Live) else None, FollowedMarket(own)
    desk = FillDesk(
        market.now, settings.seed, Behaviour.parse(settings.fills), orders_choose=settings.orders_choose_fills,
        quote_max_age_seconds=settings.quote_max_age_seconds,
    )  # fmt: skip
    terms = None if settings.terms is None else read_terms(settings.terms)
    brokerage = ShownBrokerage(market, store, settings.account, settings.cash, desk, terms)
    tokens = Tokens(settings)
    feed = Feed(market, tokens.may_stream_until, BROKER_LIMITS if settings.stream_limits else None)
    stream = AccountStream(lambda token: tokens.scopes(token) is not None, brokerage.brokers.__contains__)
    faults = FaultsDesk(brokerage, tokens, stream.push, Decimal(settings.cash))
    brokerage.connect(faults.orders.notify)

    decide = faults.step(brokerage.step)
    keep = keeper(settings, store, own) if isinstance(own, ModelMarket) else None

    def after() -> None:
        feed.tick()
        if keep is not None:
            keep()

    clock = Clock(
        market, decide if live is None else when_priced(live, brokerage, decide), brokerage.works,
        interval=settings.step_ms / 1000, speed=settings.speed, grid=settings.grid_seconds, paused=settings.paused,
        skip_closed=settings.skip_closed, real_time=live is not None, after=after,
    )  # fmt: skip

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        moving = asyncio.create_task(clock.run())
        reading = None if live is None else asyncio.create_task(live.run())
        faults.limit(settings.requests_per_second)
        if scenario is not None:
            faults.start(scenario)
        yield
        moving.cancel()
        if reading is not None:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    app = FaultyApi(title="tastysim", lifespan=lifespan, openapi_url=None)
    app.state.feed, app.state.stream = feed, stream
    app.state.market, app.state.brokerage, app.state.clock = market, brokerage, clock
    app.state.broker = brokerage.broker(settings.account)

    @app.middleware("http")
    async def authorize(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        if not request.url.path.startswith("/sim/") and "/" not in request.headers.get("user-agent", ""):
            return Response("<html><h1>401 Authorization Required</h1></html>", 401, media_type="text/html")
        if "0" < request.headers.get("accept-version", OLDEST_VERSION) < OLDEST_VERSION:
            return refused(Refusal(406, 406, "The requested version is not supported."))
        if live is not None and not request.url.path.startswith(PUBLIC) and (missing := unpriced(live, brokerage)):
            return refused(Refusal(503, "market_data_unavailable", f"There is no price of {missing} yet"))
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
        reason = {"domain": str(first["loc"][-1]).replace("_", "-"), "reason": str(first["msg"])}
        return refused(Refusal(400, "validation_error", "Request validation failed", [reason]))

    @app.websocket("/dxlink")
    async def dxlink(socket: WebSocket) -> None:
        await feed.serve(socket)

    @app.websocket("/")
    @app.websocket("/streamer")
    async def streamer(socket: WebSocket) -> None:
        await stream.serve(socket)

    app.include_router(routes(market, brokerage, tokens))
    app.faults, app.state.faults = faults.requests, faults
    app.include_router(rest_faults.routes(faults))
    app.include_router(rest_control.routes(brokerage, clock))
    return app


def _market(settings: SimSettings, store: Store) -> Market:
    """The model, or a market from outside, whose module is read only when it is wanted."""
    kind = settings.market.partition(":")[0]
    if kind == "replay-minutes":
        from tastysim.minute_replay import MinuteReplay

        return MinuteReplay(Recording.parse(settings.market))
    if kind == "bus":
        from tastysim.bus_market import BusMarket

        return BusMarket(settings.market)
    if kind == "replay":
        from tastysim.replay import ReplayMarket

        return ReplayMarket(Recording.parse(settings.market))
    return resumed(settings, store)


def _trades(request: Request) -> bool:
    """Whether a request sends, changes or cancels an order."""
    return request.method != "GET" and "/accounts/" in request.url.path and "orders" in request.url.path
