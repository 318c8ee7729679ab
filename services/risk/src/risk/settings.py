"""Settings of risk: TT_RISK_<FIELD>. Percentages are of net liq unless the name says otherwise."""

from __future__ import annotations

from decimal import Decimal
from typing import ClassVar

from pydantic import Field

from chassis.settings import ServiceSettings
from risk.domain import Limits


class RiskSettings(ServiceSettings):
    """The hard limits of every account. Sources: the product's trading rules, section 7, and its control checklist."""

    service: ClassVar[str] = "risk"

    approval_seconds: float = Field(30.0, gt=0, le=120)
    """An approval that is not sent within this time expires."""
    state_seconds: float = Field(2.0, gt=0)
    legs_max: int = Field(4, ge=1, le=4)
    quantity_max: int = Field(10, ge=1, le=1000)
    """Units of one order."""
    positions_max: int = Field(20, ge=1)
    """Structures held or being worked: one per underlying and expiration."""
    sector_positions_max: int = Field(5, ge=1)
    buying_power_used_max_pct: Decimal = Field(Decimal(50), gt=0, le=100)
    cash_reserve_min_pct: Decimal = Field(Decimal(25), ge=20, le=50)
    """Buying power that stays free."""
    trade_size_max_pct: Decimal = Field(Decimal(10), ge=1, le=20)
    """Buying power of one trade."""
    exposure_max_pct: Decimal = Field(Decimal(75), ge=10, le=85)
    """Maximum loss of everything held and worked."""
    underlying_max_pct: Decimal = Field(Decimal(20), gt=0, le=100)
    trade_risk_max_pct: Decimal = Field(Decimal(2), gt=0, le=10)
    """Maximum loss of one trade."""
    beta_delta_max_pct: Decimal = Field(Decimal(30), gt=0)
    """Beta-weighted delta in dollars, magnitude."""
    vega_max_pct: Decimal = Field(Decimal("0.25"), gt=0)
    """Dollars per volatility point, magnitude."""
    daily_loss_max_pct: Decimal = Field(Decimal(5), ge=1, le=15)
    daily_loss_max: Decimal = Field(Decimal(1000), gt=0)
    """Dollars for each 100,000 of net liq."""
    drawdown_max_pct: Decimal = Field(Decimal(10), gt=0, le=50)
    """Of the high-water mark."""
    daily_trades_automated_max: int = Field(20, ge=0)
    daily_trades_max: int = Field(50, ge=0)
    unknown_orders_max: int = Field(0, ge=0)
    """Orders whose fate is unknown, above which nothing opens."""
    quote_max_age_at_submit_seconds: float = Field(15.0, gt=0)
    feed_max_age_seconds: float = Field(15.0, gt=0)
    price_collar_pct: Decimal = Field(Decimal(5), gt=0)
    """How far a limit may stand outside mid and natural, percent of the width or debit."""

    def limits(self) -> Limits:
        """The limits as the domain knows them."""
        return Limits(**{name: getattr(self, name) for name in Limits.__dataclass_fields__})
