"""One underlying's chain at one instant, as columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of an underlying beside its chain. None = not known."""

    sector: str = "Unknown"
    beta: float | None = None
    """To SPY."""
    iv_rank: float | None = None
    """0–1."""
    historical_volatility: float | None = None
    """30-day realised, fraction a year."""
    earnings_date: date | None = None
    momentum_z: float | None = None
    flow_z: float | None = None


@dataclass(frozen=True, slots=True)
class ChainSnapshot:
    """Columns of equal length, one row a contract. NaN = missing. Prices in $ per share, greeks per share."""

    underlying_symbol: str
    spot: float
    rate: float
    occ_symbols: Sequence[str]
    expiration: npt.NDArray[np.datetime64]
    dte: npt.NDArray[np.int64]
    years: Floats
    strike: Floats
    is_call: Bools
    bid: Floats
    ask: Floats
    delta: Floats
    gamma: Floats
    theta: Floats
    """$ per day."""
    vega: Floats
    """$ per volatility point."""
    open_interest: Floats
    volume: Floats
    quote_age_seconds: Floats
    facts: Facts = field(default_factory=Facts)
    multiplier: int = 100
    penny_ticks: bool = True
    """Whether prices step by a cent everywhere; otherwise by 5 cents below $3 and 10 above."""
    iv: Floats | None = None
    """The feed's implied volatility, fraction a year; None when it was not recorded."""

    @property
    def mid(self) -> Floats:
        """(bid + ask) / 2; NaN where the quote is not usable."""
        return np.asarray(np.where(self.usable, (self.bid + self.ask) / 2, np.nan))

    @property
    def usable(self) -> Bools:
        """Two-sided, positive, finite and not crossed or locked."""
        with np.errstate(invalid="ignore"):
            return np.asarray((self.bid > 0) & (self.ask > self.bid) & np.isfinite(self.ask))

    def data_quality(self) -> dict[str, int]:
        """How many quotes are left out, by reason."""
        with np.errstate(invalid="ignore"):
            nan = ~(np.isfinite(self.bid) & np.isfinite(self.ask))
            counts = {
                "not_a_number": nan,
                "zero": ~nan & (self.bid <= 0) & (self.ask <= 0),
                "one_sided": ~nan & ((self.bid <= 0) != (self.ask <= 0)),
                "crossed": ~nan & (self.bid > 0) & (self.ask > 0) & (self.bid > self.ask),
                "locked": ~nan & (self.bid > 0) & (self.bid == self.ask),
            }
        return {reason: int(mask.sum()) for reason, mask in counts.items() if mask.any()}
