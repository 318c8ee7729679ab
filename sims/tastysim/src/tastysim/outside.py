"""What the markets from outside share: columns that are NaN until somebody tells their value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from optionmath.blackscholes import Greeks
from schemas.symbols import OptionSymbol, OptionType
from tastysim.corporate_events import CorporateEvents
from tastysim.market import RATE, Floats, Listed

Rows = npt.NDArray[np.intp]
_PER_CONTRACT = (
    "bid", "ask", "bid_size", "ask_size", "open_interest", "volume", "theoretical", "iv", "last", "last_size",
    "previous_close_of",
)  # fmt: skip
_GREEKS = ("delta", "gamma", "theta", "vega", "rho")
_PER_UNDERLYING = ("spot", "previous_close", "volatility", "day_volume")
_BILLS = {
    1990: 7.75, 1991: 5.54, 1992: 3.51, 1993: 3.07, 1994: 4.37, 1995: 5.66, 1996: 5.15, 1997: 5.20, 1998: 4.91,
    1999: 4.78, 2000: 6.00, 2001: 3.48, 2002: 1.64, 2003: 1.03, 2004: 1.40, 2005: 3.22, 2006: 4.85, 2007: 4.48,
    2008: 1.40, 2009: 0.15, 2010: 0.14, 2011: 0.05, 2012: 0.09, 2013: 0.06, 2014: 0.03, 2015: 0.05, 2016: 0.32,
    2017: 0.95, 2018: 1.97, 2019: 2.11, 2020: 0.36, 2021: 0.04, 2022: 2.09, 2023: 5.28, 2024: 5.18, 2025: 4.21,
    2026: 3.75,
}  # fmt: skip
"""Mean of the year of the three-month Treasury par yield, percent. Source: US Treasury, daily par yield curve rates."""


def rate_of(day: date) -> float:
    """Risk-free rate of a day's year, continuous a year; the model's own rate for a year that is not known."""
    known = _BILLS.get(day.year)
    return RATE if known is None else float(2 * np.log1p(known / 200))


def unknown(symbol: str) -> Listed:
    """An underlying of which nothing but its symbol is known; beta, volatility and distance of strikes 0 say so."""
    return Listed(symbol, "", float("nan"), 0, 0, "Unknown", 0)


class OutsideMarket:
    """The columns of a market; time and closing prices are its own matter.

    `relist` says which contracts there are; everything else starts as NaN.
    """

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.steps = self.listing = 0
        self.is_open = True
        self.listed: tuple[Listed, ...] = ()
        self.rows: dict[str, slice] = {}
        self.options: list[OptionSymbol] = []
        self.row_of: dict[str, int] = {}
        self.row_of_streamer: dict[str, int] = {}
        self._index: dict[str, int] = {}
        self.spot, self.previous_close, self.volatility, self.day_volume = (np.zeros(0) for _ in range(4))
        self.bid, self.ask, self.bid_size, self.ask_size = (np.zeros(0) for _ in range(4))
        self.open_interest, self.volume, self.theoretical, self.iv = (np.zeros(0) for _ in range(4))
        self.last, self.last_size, self.previous_close_of = (np.zeros(0) for _ in range(3))
        self.greeks = Greeks(*(np.zeros(0) for _ in _GREEKS))
        self.strike, self.is_call = np.zeros(0), np.zeros(0, dtype=np.bool_)
        self.underlying = np.zeros(0, dtype=np.intp)
        """Index of the underlying of each row."""
        self.quoted_at, self.traded_at = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)

    def relist(self, chains: Mapping[str, Sequence[OptionSymbol]], listed: Mapping[str, Listed]) -> None:
        """Lay the rows out anew. What is known of contracts and underlyings that stay listed is kept."""
        older_rows, older_index, older_greeks = self.row_of, self._index, self.greeks
        self.options, self.rows, names = [], {}, sorted(chains)
        for name in names:
            start = len(self.options)
            self.options += chains[name]
            self.rows[name] = slice(start, len(self.options))
        self.row_of = {option.occ: row for row, option in enumerate(self.options)}
        self.row_of_streamer = {option.streamer: row for row, option in enumerate(self.options)}
        self._index = {name: index for index, name in enumerate(names)}
        self.listed = tuple(listed[name] for name in names)
        pairs = [(row, older_rows[occ]) for occ, row in self.row_of.items() if occ in older_rows]
        for column in _PER_CONTRACT:
            setattr(self, column, _moved(getattr(self, column), len(self.options), pairs))
        self.greeks = Greeks(*(_moved(getattr(older_greeks, each), len(self.options), pairs) for each in _GREEKS))
        pairs = [(index, older_index[name]) for name, index in self._index.items() if name in older_index]
        for column in _PER_UNDERLYING:
            setattr(self, column, _moved(getattr(self, column), len(names), pairs))
        self.strike = np.array([float(option.strike) for option in self.options])
        self.is_call = np.array([option.option_type is OptionType.CALL for option in self.options], dtype=np.bool_)
        counts = [self.rows[name].stop - self.rows[name].start for name in names]
        self.underlying = np.repeat(np.arange(len(names)), counts)
        self.quoted_at = np.full(len(self.options), self.steps, dtype=np.int64)
        self.traded_at = self.quoted_at.copy()
        self.listing += 1

    def index_of(self, symbol: str) -> int | None:
        """Index of an underlying by its symbol."""
        return self._index.get(symbol)

    def spot_quote(self, index: int) -> tuple[float, float]:
        """The known price a cent either side; NaN where no price is known."""
        middle = float(self.spot[index])
        return round(middle - 0.01, 2), round(middle + 0.01, 2)

    def events(self, first: date, last: date) -> CorporateEvents:
        """None are known."""
        return CorporateEvents()


def _moved(older: Floats, count: int, pairs: Sequence[tuple[int, int]]) -> Floats:
    """A column of NaN with the values of (new row, old row) taken over."""
    found = np.full(count, np.nan)
    if pairs:
        to, source = np.array(pairs, dtype=np.intp).T
        found[to] = older[source]
    return found


def both_sides(options: Sequence[OptionSymbol]) -> list[OptionSymbol]:
    """With the call or put of each strike whose other side alone is known: an exchange lists both."""
    held = set(options)
    other = {OptionType.CALL: OptionType.PUT, OptionType.PUT: OptionType.CALL}
    opposite = (
        OptionSymbol(each.root_symbol, each.expiration, other[each.option_type], each.strike) for each in options
    )
    return [*options, *(each for each in opposite if each not in held)]


def cents(price: float) -> Decimal | None:
    """A price on the cent; None for NaN."""
    return Decimal(str(round(price, 2))) if np.isfinite(price) else None
