"""The default rule set. Every number is a setting with a unit and a range; sources: the product's trading rules."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.trade import SpreadType

StopBasis = Literal["price_multiple", "loss_multiple"]


class RuleSet(BaseModel):
    """What a trade must satisfy, how trades are ranked, and how many are taken. Unknown names are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

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
    profit_target_pct: float = Field(50.0, gt=0, le=100)
    """Percent of max profit (of the debit, where profit is unlimited) at which a position is closed."""
    stop_basis: StopBasis = "price_multiple"
    """Whether stop_multiple counts the price of buying back (2 = loss of 1x the credit) or the loss."""
    stop_multiple: float = Field(2.0, gt=0, le=20)
    """Multiple of the credit received at which a position is closed."""
    stop_debit_pct: float = Field(50.0, gt=0, le=100)
    """Percent of the debit lost at which a position that was paid for is closed."""
    manage_dte: int = Field(21, ge=0, le=365)
    """Calendar days at which a position is closed or rolled whatever its P&L; opened with no more, it is exempt."""
    event_exit_sessions: int = Field(1, ge=0, le=20)
    """Sessions before an earnings report at which a position that would live through it is closed; 0 = never."""
    dividend_cover_min: float = Field(1.0, ge=0, le=5)
    """Time value of a short in-the-money call against the dividend, session before the ex-date; less is closed."""
    dividend_cover_watch: float = Field(1.5, ge=0, le=10)
    """The same ratio below which a warning is shown."""
    expiration_exit_minutes: int = Field(60, ge=0, le=390)
    """Minutes before the close of expiration day from which short legs in or near the money are closed; 0 = never."""
    pin_band_pct: float = Field(1.0, ge=0, le=10)
    """Distance of the price from a short strike, percent of the strike, that counts as near on expiration day."""
    exit_confirmations: int = Field(2, ge=1, le=20)
    """Good looks in a row, each with something new to say, that must agree before a position is closed."""
    exit_confirmation_gap_seconds: float = Field(300.0, gt=0)
    """Confirmations further apart than this start anew."""
    exit_settle_seconds: float = Field(5.0, ge=0)
    """An unchanged quote confirms again after standing this long: a bad print is gone by then."""
    exit_quote_max_age_seconds: float = Field(600.0, gt=0)
    """Older quotes of a leg never close anything; strikes far from the price tick seldom."""
    exit_spot_max_age_seconds: float = Field(15.0, gt=0)
    """Older prices of the underlying never close anything: the feed is not alive."""
    exit_spread_pct_max: float = Field(50.0, gt=0)
    """Mid to natural of the whole position, percent of its price; wider quotes never trigger price rules."""
    roll_credit_min: float = Field(0.01, ge=-10)
    """Least net credit of a roll at the expected fill, $ per share."""
    roll_days_min: int = Field(7, ge=1, le=365)
    """Calendar days a roll must add."""
    roll_days_max: int = Field(45, ge=1, le=730)
    """Calendar days a roll may add."""
    roll_strikes_max: int = Field(5, ge=0, le=50)
    """Listed strikes by which a roll may move up or down."""
    roll_max_loss_growth_pct: float = Field(100.0, ge=0)
    """How much a roll may add to the max loss, percent of the present one."""
    trade_size_max_pct: float = Field(10.0, ge=0, le=20)
    """Buying power of one trade, percent of net liq."""
    underlying_max_pct: float = Field(20.0, gt=0, le=100)
    """Exposure to one underlying, this trade included, percent of net liq."""
    kelly_fraction: float = Field(0.25, gt=0, le=1)
    """Share of the growth-optimal size that is used at most."""
    expected_value_required: bool = True
    """Whether a trade whose expected value is not known is refused; one that is not above zero always is."""
    fees_pct_of_max_profit_max: float = Field(10.0, gt=0, le=100)
    """Fees to open and close, percent of max profit; dearer trades are refused."""
