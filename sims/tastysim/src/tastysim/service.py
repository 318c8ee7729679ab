"""Build the simulator: the market, the broker, the REST interface and the streams in one process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from fastapi import FastAPI, Request, Response, WebSocket

from tastysim.broker import Broker, Refusal
from tastysim.market import Market, ModelMarket
from tastysim.replay import Recording, ReplayMarket
from tastysim.rest import json_response, refused, routes
from tastysim.settings import SimSettings
from tastysim.streams import AccountStream, Feed

PUBLIC = ("/oauth/token", "/sim/")


def build(settings: SimSettings) -> FastAPI:
    """The application. The market moves and orders match while it is served. Raises ChainFileError for a bad file."""
    market: Market
    if settings.market == "model":
        market = ModelMarket(settings.seed, datetime.now(UTC))
    else:
        market = ReplayMarket(Recording.parse(settings.market))
    broker = Broker(market, settings.data_dir, settings.account, settings.cash)
    feed, stream = Feed(market), AccountStream()
    broker.notify = stream.push
    tokens: dict[str, datetime] = {}

    async def move() -> None:
        interval = settings.step_ms / 1000
        due = time.monotonic()
        while True:
            due = max(due + interval, time.monotonic())
            await asyncio.sleep(due - time.monotonic())
            market.step(interval * settings.speed)
            broker.match(market.now)
            feed.tick()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        moving = asyncio.create_task(move())
        yield
        moving.cancel()

    app = FastAPI(title="tastysim", lifespan=lifespan, openapi_url=None)
    app.state.market, app.state.broker = market, broker

    @app.middleware("http")
    async def authorize(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        if not request.url.path.startswith(PUBLIC):
            if "/" not in request.headers.get("user-agent", ""):
                return Response("<html><h1>401 Authorization Required</h1></html>", 401, media_type="text/html")
            token = request.headers.get("authorization", "").removeprefix("Bearer ")
            if tokens.get(token, datetime.min.replace(tzinfo=UTC)) < datetime.now(UTC):
                return json_response(
                    {"error": {"code": "token_invalid", "message": "This token is invalid or has expired"}}, 401
                )
        return await call_next(request)

    @app.exception_handler(Refusal)
    async def refuse(_: Request, refusal: Refusal) -> Response:
        return refused(refusal)

    @app.websocket("/dxlink")
    async def dxlink(socket: WebSocket) -> None:
        await feed.serve(socket)

    @app.websocket("/streamer")
    async def streamer(socket: WebSocket) -> None:
        await stream.serve(socket)

    app.include_router(routes(settings, market, broker, tokens))
    return app
