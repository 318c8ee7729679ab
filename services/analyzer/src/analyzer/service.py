"""Build the analyzer."""

from __future__ import annotations

from analyzer.handlers import Analyzer
from analyzer.settings import AnalyzerSettings
from chassis.bus import make_broker
from chassis.clock import Clock, SystemClock
from chassis.market_feed import MarketFeed
from chassis.service import Service
from schemas.columns import ColumnKind


def build(settings: AnalyzerSettings, clock: Clock | None = None) -> Service:
    """The running parts of the service."""
    broker = make_broker(settings)
    analyzer = Analyzer(settings, broker, clock or SystemClock())
    feed = MarketFeed(
        broker, analyzer.market, settings.redis_url, (ColumnKind.QUOTE, ColumnKind.GREEKS, ColumnKind.TRADE)
    )
    return Service(
        settings=settings,
        broker=broker,
        loops=(analyzer.portfolio_loop, analyzer.volatility_loop),
        on_start=(feed.start,),
        on_stop=(feed.stop,),
        probes={"chains": analyzer.probe},
    )
