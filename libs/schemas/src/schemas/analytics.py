"""What the analyzer publishes."""

from __future__ import annotations

from datetime import date

from schemas.base import Message, Value
from schemas.money import Money, Price


class ExpirationVolatility(Value):
    """Volatility facts of one expiration."""

    expiration: date
    dte: int
    atm_iv: float | None
    """Fraction a year."""
    skew_25d: float | None = None
    """25-delta put IV minus 25-delta call IV, fraction a year."""
    expected_move: Price | None = None
    """One standard deviation to expiration, $ per share."""
    forward: Price | None = None


class VolatilityReading(Message):
    """State: volatility of one underlying on `ana.volatility.{und}`."""

    underlying_symbol: str
    underlying_price: Price | None
    iv_index: float | None
    iv_rank: float | None = None
    historical_volatility_30d: float | None = None
    volatility_risk_premium: float | None = None
    """IV index minus 30-day realised volatility, fraction a year."""
    expirations: tuple[ExpirationVolatility, ...] = ()


class PositionPnl(Value):
    underlying_symbol: str
    open_pnl: Money | None
    """Dollars at the mid; None when a leg has no usable quote."""
    delta: float | None = None
    """Shares of the underlying."""
    beta_weighted_delta: float | None = None
    gamma: float | None = None
    theta: float | None = None
    """Dollars per day."""
    vega: float | None = None
    """Dollars per volatility point."""
    marks: dict[str, Price] = {}
    """Mid per OCC symbol."""


class PortfolioReading(Message):
    """State: greeks and P&L of one account's book on `ana.portfolio.{acct}`."""

    account_number: str
    positions: tuple[PositionPnl, ...]
    open_pnl: Money | None
    delta: float | None
    """Beta-weighted, SPY shares."""
    theta: float | None
    vega: float | None
    gamma: float | None = None
    missing_quotes: int = 0
