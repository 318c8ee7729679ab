"""Build marketdata."""

from __future__ import annotations

import redis.asyncio as redis

from chassis.bus import make_broker
from chassis.clock import Clock, SystemClock
from chassis.service import Service
from chassis.settings import SettingsError
from marketdata.handlers import Marketdata
from marketdata.settings import MarketdataSettings
from tastyclient import ClientSettings, TastyClient


def build(settings: MarketdataSettings, clock: Clock | None = None) -> Service:
    """The running parts of the service. Raises SettingsError without a broker."""
    if not settings.broker_url or settings.broker_client_secret is None or settings.broker_refresh_token is None:
        raise SettingsError(
            "marketdata needs TT_BROKER_URL, TT_BROKER_CLIENT_SECRET and TT_BROKER_REFRESH_TOKEN: set all three"
        )
    broker = make_broker(settings)
    client = TastyClient(
        ClientSettings(
            base_url=settings.broker_url,
            client_secret=settings.broker_client_secret,
            refresh_token=settings.broker_refresh_token,
            requests_per_second=settings.requests_per_second,
            burst=40,
        )
    )
    cache = redis.from_url(settings.redis_url, socket_timeout=2) if settings.redis_url else None
    marketdata = Marketdata(settings, broker, client, cache, clock or SystemClock())
    return Service(
        settings=settings,
        broker=broker,
        loops=(
            marketdata.stream.run,
            marketdata.reference_loop,
            marketdata.flush_loop,
            marketdata.cache_loop,
            marketdata.status_loop,
        ),
        on_stop=(marketdata.close,),
        probes={"feed": marketdata.probe},
    )
