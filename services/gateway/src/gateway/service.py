"""Build the gateway."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI

from chassis.bus import make_broker
from chassis.clock import Clock, SystemClock
from chassis.database import make_engine
from chassis.market_feed import MarketFeed
from chassis.service import Service
from chassis.settings import SettingsError
from gateway.api import access, control, limits, live, page, problems, reading
from gateway.auth import Auth
from gateway.handlers import Gateway
from gateway.settings import GatewaySettings


def build(settings: GatewaySettings, clock: Clock | None = None) -> Service:
    """The running parts of the service. Raises SettingsError without a database."""
    if settings.database_url is None:
        raise SettingsError("gateway needs TT_DATABASE_URL: set it to postgresql://user:password@host:port/database")
    gateway: Gateway

    async def reload() -> None:
        await gateway.load()

    broker = make_broker(settings, on_reconnect=reload)
    engine = make_engine(settings.database_url.get_secret_value(), role="tt_gateway")
    gateway = Gateway(settings, broker, engine, clock or SystemClock())
    auth = Auth(settings, engine)
    hub = live.Hub(gateway.model, settings.flush_ms / 1000)
    feed = MarketFeed(broker, gateway.market, settings.redis_url, on_batch=gateway.on_batch)
    return Service(
        settings=settings,
        broker=broker,
        app=application(gateway, auth, hub),
        loops=(gateway.relay.run, gateway.quotes_loop, gateway.health_loop, hub.run),
        on_start=(auth.prepare, gateway.kill_switch.start, feed.start, gateway.start),
        on_stop=(feed.stop, gateway.close),
        probes={"database": gateway.probe},
        gate_revision=gateway.kill_switch.revision,
        killed=gateway.kill_switch.is_set,
    )


def application(gateway: Gateway, auth: Auth, hub: live.Hub) -> FastAPI:
    """The web application."""
    app = FastAPI(
        title="TastyTrades Option Trader",
        version="1",
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    problems.install(app)
    api = APIRouter(prefix="/api/v1")
    for part in (
        access.routes(auth),
        reading.routes(gateway, auth),
        control.routes(gateway, auth),
        limits.routes(gateway, auth),
        live.routes(gateway, auth, hub),
    ):
        api.include_router(part)
    app.include_router(api)
    page.install(app, gateway.settings.static_dir)
    return app
