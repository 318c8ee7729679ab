"""Settings of risk: TT_RISK_<FIELD>. Its limits are versioned rows of the ledger: `tastytrades limits`."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from chassis.settings import Mode, ServiceSettings


class RiskSettings(ServiceSettings):
    """How decisions are made; what they are held to is in the ledger."""

    service: ClassVar[str] = "risk"

    approval_seconds: float = Field(30.0, gt=0, le=120)
    """An approval that is not sent within this time expires."""
    state_seconds: float = Field(1.0, gt=0, le=1)
    """Accounts are read again this often; gauges are published then, and at once when something changes."""
    underlyings: str = ""
    """Underlyings that may be traded, comma-separated; empty = those that marketdata follows."""
    dry_run: Literal["auto", "required", "optional", "off"] = "auto"
    """Broker's dry run of each opening order: auto = required except in mode sim, where one that is missing passes."""
    dry_run_seconds: float = Field(1.0, gt=0, le=1)
    """A dry run that takes longer counts as missing."""

    @property
    def dry_run_required(self) -> bool:
        """Whether a missing dry run denies."""
        return self.dry_run == "required" or (self.dry_run == "auto" and self.mode is not Mode.SIM)

    @property
    def allowed_underlyings(self) -> frozenset[str]:
        """The list, empty when there is none."""
        return frozenset(each.strip().upper() for each in self.underlyings.split(",") if each.strip())
