"""What the simulator needs of a market: the book of every contract, the clock, events and closes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Protocol

import numpy as np
import numpy.typing as npt

from optionmath.blackscholes import Greeks
from schemas.symbols import OptionSymbol
from tastysim.corporate_events import CorporateEvents
from tastysim.counters import Floats as Floats
from tastysim.listed import RATE as RATE
from tastysim.listed import UNIVERSE as UNIVERSE
from tastysim.listed import Listed as Listed
from tastysim.model_listing import expirations as expirations
from tastysim.model_market import ModelMarket as ModelMarket

YEAR_SECONDS = 365 * 86_400


class Market(Protocol):
    """Columns over all contracts of all underlyings. Rows of one underlying are contiguous: `rows[symbol]`.

    Prices in $ per share; NaN = not known. `quoted_at` and `traded_at` say in which step a contract last changed.
    """

    now: datetime
    listed: tuple[Listed, ...]
    steps: int
    listing: int
    """Grows whenever rows change their meaning (contracts listed or gone): who keeps row numbers reads them anew."""
    is_open: bool
    """Whether orders trade now. A market without hours is always open."""
    rows: dict[str, slice]
    spot: Floats
    previous_close: Floats
    volatility: Floats
    day_volume: Floats
    strike: Floats
    bid: Floats
    ask: Floats
    bid_size: Floats
    ask_size: Floats
    open_interest: Floats
    volume: Floats
    theoretical: Floats
    iv: Floats
    greeks: Greeks
    quoted_at: npt.NDArray[np.int64]
    traded_at: npt.NDArray[np.int64]

    @property
    def options(self) -> Sequence[OptionSymbol]:
        """The symbol of every row."""

    @property
    def row_of(self) -> Mapping[str, int]:
        """Row of every OCC symbol."""

    @property
    def row_of_streamer(self) -> Mapping[str, int]:
        """Row of every feed symbol."""

    def step(self, seconds: float) -> None:
        """Let market time pass."""

    def index_of(self, symbol: str) -> int | None:
        """Index of an underlying by its symbol."""

    def spot_quote(self, index: int) -> tuple[float, float]:
        """Bid and ask of an underlying."""

    def events(self, first: date, last: date) -> CorporateEvents:
        """Dividends by ex-date, splits by effective day and earnings by day, `first` and `last` included."""

    def settlement(self, symbol: str, day: date) -> Decimal | None:
        """Official closing price of an underlying on a day that has ended, on the cent; None when it is not known."""
