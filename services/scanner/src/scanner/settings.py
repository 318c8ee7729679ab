"""Settings of the scanner: TT_SCANNER_<FIELD>."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from chassis.settings import ServiceSettings


class ScannerSettings(ServiceSettings):
    """How often to scan and by which rules."""

    service: ClassVar[str] = "scanner"

    scan_interval_seconds: float = Field(30.0, ge=1)
    quoted_share_min: float = Field(0.8, ge=0, le=1)
    """Share of all contracts that must have been quoted before the first scan."""
    first_scan_max_seconds: float = Field(20.0, ge=0)
    """The first scan waits no longer than this for the share above."""
    proposal_seconds: float = Field(30.0, gt=0)
    """A proposal is void after this."""
    strategy_id: str = "default"
    rules: str = "default"
    """Name of a shipped rule set, or path of a TOML file with rules by the same names."""
