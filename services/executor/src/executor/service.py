"""Build the executor."""

from __future__ import annotations

from pydantic import SecretStr

from chassis.bus import make_broker
from chassis.clock import Clock, SystemClock
from chassis.database import make_engine
from chassis.market_feed import MarketFeed
from chassis.service import Service
from chassis.settings import SettingsError
from executor.handlers import Executor
from executor.health import application
from executor.settings import ExecutorSettings
from schemas.columns import ColumnKind
from tastyclient import ClientSettings, TastyClient


def build(settings: ExecutorSettings, clock: Clock | None = None) -> Service:
    """The running parts of the service. Raises SettingsError without broker or database."""
    if settings.database_url is None:
        raise SettingsError("executor needs TT_DATABASE_URL: set it to postgresql://user:password@host:port/database")
    secret, token = settings.broker_client_secret, settings.broker_refresh_token
    if not settings.broker_url or not settings.broker_streamer_url or secret is None or token is None:
        raise SettingsError(
            "executor needs TT_BROKER_URL, TT_BROKER_STREAMER_URL, TT_BROKER_CLIENT_SECRET and TT_BROKER_REFRESH_TOKEN"
        )
    broker = make_broker(settings)
    engine = make_engine(settings.database_url.get_secret_value(), role="tt_executor", pool_size=10)
    executor = Executor(
        settings, broker, engine, _client(settings, secret, token), _client(settings, secret, token),
        clock or SystemClock(),
    )  # fmt: skip
    feed = MarketFeed(broker, executor.market, settings.redis_url, (ColumnKind.QUOTE,))
    return Service(
        settings=settings,
        broker=broker,
        loops=(executor.relay.run, executor.run_loop),
        on_start=(executor.kill_switch.start, feed.start, executor.announce),
        on_stop=(feed.stop, executor.close),
        probes={"orders": executor.probe},
        app=application(executor.desk),
        gate_revision=executor.kill_switch.revision,
        killed=executor.kill_switch.is_set,
    )


def _client(settings: ExecutorSettings, secret: SecretStr, token: SecretStr) -> TastyClient:
    return TastyClient(
        ClientSettings(
            base_url=settings.broker_url,
            client_secret=secret,
            refresh_token=token,
            read_timeout_seconds=settings.read_timeout_seconds,
            requests_per_second=settings.requests_per_second,
            burst=30,
        )
    )
