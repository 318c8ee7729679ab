"""The default rule set. Every number is a setting with a unit and a range; sources: the product's trading rules."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from schemas.trade import SpreadType


class RuleSet(BaseModel):
    """What a trade must satisfy, how trades are ranked, and how many are taken. Unknown names are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str = "default"
    version: int = Field(1, ge=1)
    strategies: tuple[SpreadType, ...] = (
        SpreadType.PUT_CREDIT_SPREAD,
        SpreadType.CALL_CREDIT_SPREAD,
        SpreadType.IRON_CONDOR,
    )
    """Structures that are enumerated."""
    dte_min: int = Field(9, ge=0, le=730)
    """Calendar days."""
    dte_max: int = Field(45, ge=0, le=730)
    """Calendar days."""
    short_delta_min: float = Field(0.05, ge=0, le=1)
    """Magnitude of the short legs' delta, per share; bounds what is enumerated."""
    short_delta_max: float = Field(0.50, ge=0, le=1)
    width_max: float = Field(10.0, gt=0)
    """Widest distance between the strikes of a side, $ per share; bounds what is enumerated."""
    quote_max_age_seconds: float = Field(600.0, gt=0)
    pop_min: float = Field(0.65, ge=0, le=1)
    """Probability of profit at expiration from the skew-consistent smile, at the expected fill."""
    credit_to_max_loss_min: float = Field(0.33, ge=0)
    """At the expected fill."""
    max_loss_pct_of_net_liq: float = Field(0.5, gt=0, le=100)
    """Percent of net liq, one unit at the expected fill."""
    open_interest_min: float = Field(100, ge=0)
    """Contracts, of the least held leg."""
    volume_min: float = Field(10, ge=0)
    """Contracts today, of the least traded leg."""
    spread_pct_max: float = Field(25.0, gt=0)
    """Bid–ask spread in percent of the leg's mid, of the widest leg."""
    fair_value_gap_pct_max: float = Field(10.0, gt=0)
    """Mid against the smile's own value, magnitude, percent of the width: more is a bad or stale quote, not an edge."""
    days_clear_of_event_min: int = Field(1, ge=0)
    """Days between the expiration and the next earnings report, when one is scheduled after today."""
    fee_per_contract: float = Field(1.12, ge=0)
    """Dollars to open one contract."""
    quantity_max: int = Field(10, ge=1, le=1000)
    """Units of one trade."""
    forecast_weight: float = Field(0.35, ge=0, le=1)
    """How far realised volatility moves the forecast away from the market's volatility."""
    forecast_error: float = Field(0.07, ge=0, le=1)
    """One standard error of the forecast-to-market volatility ratio."""
    basket_size: int = Field(5, ge=1, le=50)
    require_full_basket: bool = True
    sector_max: int = Field(2, ge=1)
    """Trades of one GICS sector in a basket; ETFs are a bucket of their own."""
    basket_delta_max: float = Field(0.30, ge=0)
    """SPY-beta-weighted contracts (1.0 = 100 SPY shares) per $100,000 of net liq, magnitude."""
    basket_vega_min: float = Field(-0.05, le=0)
    """Percent of net liq per volatility point."""
    near_misses: int = Field(50, ge=0, le=500)
    """How many of the closest refused candidates are kept with their reasons."""
    passed_per_expiration: int = Field(10, ge=1)
    """How many passing candidates of one structure and expiration compete, best score first."""
