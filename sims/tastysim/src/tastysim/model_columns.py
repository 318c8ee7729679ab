"""The columns of the model market: what each contract shows now."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from optionmath.blackscholes import Greeks
from tastysim.counters import Floats
from tastysim.model_quotes import Book
from tastysim.model_surface import Values

Integers = npt.NDArray[np.int64]
_GREEKS = ("delta", "gamma", "theta", "vega", "rho")


class Columns:
    """One number a contract in each; NaN where there is none. Trades of the day: price of the first, highest, …"""

    def __init__(self, size: int) -> None:
        def unknown() -> Floats:
            return np.full(size, np.nan)

        self.bid, self.ask, self.bid_size, self.ask_size = unknown(), unknown(), np.zeros(size), np.zeros(size)
        self.theoretical, self.iv = unknown(), unknown()
        self.greeks = Greeks(unknown(), unknown(), unknown(), unknown(), unknown())
        self.open_interest, self.volume = np.zeros(size), np.zeros(size)
        self.last, self.last_size = unknown(), unknown()
        self.day_open, self.day_high, self.day_low = unknown(), unknown(), unknown()
        self.previous = unknown()
        self.quoted_at = np.zeros(size, dtype=np.int64)
        self.traded_at = np.zeros(size, dtype=np.int64)

    def requote(self, rows: Integers, found: Values, book: Book, step: int) -> None:
        """Put new quotes, values and greeks in some rows; `quoted_at` where the quote is another."""
        other = np.zeros(len(rows), dtype=np.bool_)
        for name in ("bid", "ask", "bid_size", "ask_size"):
            column, new = getattr(self, name), getattr(book, name)
            old = column[rows]
            other |= (old != new) & ~(np.isnan(old) & np.isnan(new))
            column[rows] = new
        self.theoretical[rows], self.iv[rows] = found.price, found.volatility
        for name in _GREEKS:
            getattr(self.greeks, name)[rows] = getattr(found, name)
        self.quoted_at[rows[other]] = step

    def expire(self, rows: Integers, intrinsic: Floats, step: int) -> None:
        """Contracts whose time is over: worth what they pay, and quoted by nobody."""
        for column in (self.bid, self.ask, self.iv, *(getattr(self.greeks, name) for name in _GREEKS)):
            column[rows] = np.nan
        self.bid_size[rows] = self.ask_size[rows] = 0.0
        self.theoretical[rows], self.quoted_at[rows] = intrinsic, step

    def trade(self, rows: Integers, price: Floats, size: Floats, step: int) -> None:
        """Trades in the order of time; rows may come more than once."""
        if not len(rows):
            return
        np.add.at(self.volume, rows, size)
        first_rows, first = np.unique(rows, return_index=True)
        fresh = np.isnan(self.day_open[first_rows])
        new = first_rows[fresh]
        self.day_open[new] = self.day_high[new] = self.day_low[new] = price[first[fresh]]
        np.maximum.at(self.day_high, rows, price)
        np.minimum.at(self.day_low, rows, price)
        self.last[rows], self.last_size[rows] = price, size
        self.traded_at[rows] = step
