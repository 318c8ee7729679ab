"""Build risk."""

from __future__ import annotations

from chassis.bus import make_broker
from chassis.clock import Clock, SystemClock
from chassis.database import make_engine
from chassis.market_feed import MarketFeed
from chassis.service import Service
from chassis.settings import SettingsError
from risk.handlers import Risk
from risk.settings import RiskSettings
from schemas.columns import ColumnKind


def build(settings: RiskSettings, clock: Clock | None = None) -> Service:
    """The running parts of the service. Raises SettingsError without a database."""
    if settings.database_url is None:
        raise SettingsError("risk needs TT_DATABASE_URL: set it to postgresql://user:password@host:port/database")
    broker = make_broker(settings)
    engine = make_engine(settings.database_url.get_secret_value(), role="tt_risk")
    risk = Risk(settings, broker, engine, clock or SystemClock())
    feed = MarketFeed(broker, risk.view.live, settings.redis_url, (ColumnKind.QUOTE, ColumnKind.GREEKS))
    return Service(
        settings=settings,
        broker=broker,
        loops=(risk.relay.run, risk.monitor.loop),
        on_start=(risk.kill_switch.start, feed.start, risk.standing.start, risk.announce),
        on_stop=(feed.stop, risk.close),
        probes={"database": risk.probe},
        gate_revision=risk.kill_switch.revision,
        killed=risk.kill_switch.is_set,
    )
