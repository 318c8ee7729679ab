"""Settings of marketdata: TT_MARKETDATA_<FIELD>."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from chassis.settings import ServiceSettings

DEFAULT_UNIVERSE = "SPY,QQQ,IWM,DIA,AAPL,MSFT,GOOGL,AMZN,TSLA,NVDA,META,JPM,BAC,XLF,XLE,GLD,SLV,TLT"


class MarketdataSettings(ServiceSettings):
    """What is streamed and how often."""

    service: ClassVar[str] = "marketdata"

    universe: str = DEFAULT_UNIVERSE
    """Underlyings, comma-separated."""
    dte_max: int = Field(190, ge=1, le=1000)
    """Expirations further away are not streamed, calendar days."""
    flush_ms: int = Field(100, ge=10, le=5000)
    """Time over which ticks of one contract are conflated."""
    full_batch_seconds: float = Field(5.0, gt=0)
    """Every value of an underlying is sent again this often."""
    cache_seconds: float = Field(1.0, gt=0)
    """The cache, from which a service that starts takes every last value, is this old at most."""
    metrics_seconds: float = Field(60.0, gt=0)
    chains_seconds: float = Field(3600.0, gt=0)
    """Chains are read again this often; an underlying that failed, every 30 s."""
    requests_per_second: float = Field(4.0, gt=0)
    """Long-run average of REST requests."""
