"""State of the market as JSON messages; ticks travel as column batches (columns.py)."""

from __future__ import annotations

from datetime import date
from enum import StrEnum

from pydantic import Field, model_validator

from schemas.base import Message, UtcDatetime, Value
from schemas.money import Money, Price


class TickSize(Value):
    """One step of a tick table: `value` holds below `threshold`; the last row has no threshold."""

    threshold: Price | None = None
    """Dollars per share, exclusive upper bound."""
    value: Price
    """Tick in dollars per share."""


class OptionChain(Message):
    """All live contracts of one underlying. Row 0 is the underlying itself; row i >= 1 is contract i-1.

    Column batches name contracts by row together with `revision`, so a reader drops batches of another revision.
    """

    underlying_symbol: str
    revision: int = Field(ge=0, lt=2**32)
    """Changes whenever the list of rows changes."""
    description: str = ""
    sector: str = "Unknown"
    """GICS sector name, or `ETF`."""
    multiplier: int = 100
    """Shares per contract."""
    tick_sizes: tuple[TickSize, ...] = ()
    """Tick table of the option prices."""
    occ_symbols: tuple[str, ...]
    """21-character OCC symbols, row 1 first."""
    settlement_types: tuple[str, ...] = ()
    """`PM` or `AM` per contract; empty when all are PM."""

    @model_validator(mode="after")
    def _same_length(self) -> OptionChain:
        if self.settlement_types and len(self.settlement_types) != len(self.occ_symbols):
            raise ValueError(
                f"settlement_types has {len(self.settlement_types)} rows, occ_symbols {len(self.occ_symbols)}: "
                "give one per contract"
            )
        return self


class MarketMetrics(Message):
    """Daily and intraday figures of one underlying from the broker. Missing stays None."""

    underlying_symbol: str
    iv_index: float | None = None
    """30-day implied volatility, fraction a year."""
    iv_rank: float | None = None
    """0-1 over 52 weeks."""
    iv_percentile: float | None = None
    """0-1 over 52 weeks."""
    historical_volatility_30d: float | None = None
    """Realised volatility, fraction a year."""
    beta: float | None = None
    """To SPY."""
    correlation_spy_3m: float | None = None
    liquidity_rating: int | None = None
    dividend_yield: float | None = None
    """Fraction a year."""
    dividend_ex_date: date | None = None
    earnings_date: date | None = None
    market_cap: Money | None = None
    sector: str | None = None
    close: Price | None = None
    """Previous close of the underlying, dollars per share."""


class FeedStatus(Message):
    """Health of the market-data feed."""

    connected: bool
    reason: str = ""
    symbols: int = 0
    """Subscribed feed symbols."""
    events_per_second: float = 0.0
    last_event_at: UtcDatetime | None = None
    reconnects: int = 0
    dropped: int = 0
    """Ticks replaced by a newer one before they were sent."""


class SessionPhase(StrEnum):
    OPEN = "open"
    CLOSED = "closed"
    PRE_MARKET = "pre_market"
    EXTENDED = "extended"


class MarketSession(Message):
    """The options market's session as the broker reports it."""

    phase: SessionPhase
    opens_at: UtcDatetime | None = None
    closes_at: UtcDatetime | None = None
    market_date: date
    """The exchange's date (New York)."""
