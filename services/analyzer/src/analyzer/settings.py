"""Settings of the analyzer: TT_ANALYZER_<FIELD>."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from chassis.settings import ServiceSettings


class AnalyzerSettings(ServiceSettings):
    """How often each reading is made."""

    service: ClassVar[str] = "analyzer"

    portfolio_seconds: float = Field(1.0, gt=0)
    volatility_seconds: float = Field(15.0, gt=0)
