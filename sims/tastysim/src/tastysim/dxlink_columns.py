"""What the feed can say of every contract and every underlying, as columns over both: contracts first.

A column is made when it is first asked for in a step of the market, and is shared by all connections. Prices in $ per
share, volatilities as fractions, NaN = not known.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import numpy as np
import numpy.typing as npt

from optionmath.sessions import market_date, previous_session
from schemas.symbols import OptionType
from tastysim.market import RATE, Floats, Market

Ints = npt.NDArray[np.int64]
EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
SPOT_SIZE = 400.0
"""Shares shown on either side of an underlying."""


class FeedColumns:
    """Symbols ↔ rows, and the newest values by row. Call `refresh` after every step of the market."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self.generation = 0
        """Grows whenever rows change their meaning."""
        self._listing = -1
        self._held: dict[str, Floats] = {}
        self._spots: tuple[Floats, Floats] | None = None
        self.refresh()

    def refresh(self) -> None:
        """The market has moved: forget what was derived from it, read the symbols anew when they have changed."""
        self._held.clear()
        market = self.market
        if market.listing != self._listing or self.contracts != len(market.options):
            self._listing = market.listing
            self._list()
        self._requote()

    def _list(self) -> None:
        market = self.market
        self.contracts = len(market.options)
        self.names: list[str] = [""] * self.contracts
        for symbol, row in market.row_of_streamer.items():
            self.names[row] = symbol
        self.names += [each.symbol for each in market.listed]
        self.labels = np.array(self.names, dtype=object)
        self.row_of = {symbol: row for row, symbol in enumerate(self.names) if symbol}
        self.underlying = np.zeros(self.contracts, np.int64)
        for index, each in enumerate(market.listed):
            self.underlying[market.rows.get(each.symbol, slice(0, 0))] = index
        self.is_call = np.array([each.option_type is OptionType.CALL for each in market.options], np.bool_)
        days = [each.expiration.toordinal() - EPOCH_ORDINAL for each in market.options]
        self.expires = np.array(days, np.int64)
        self.spot_changed = np.zeros(len(market.listed), np.int64)
        self._spots = None
        self.generation += 1

    def _requote(self) -> None:
        """Quotes of the underlyings, and in which step each last changed."""
        market = self.market
        quotes = np.array([market.spot_quote(index) for index in range(len(market.listed))]).reshape(-1, 2)
        bid, ask = quotes[:, 0], quotes[:, 1]
        if self._spots is None:
            self.spot_changed[:] = market.steps
        else:
            moved = (bid != self._spots[0]) | (ask != self._spots[1])
            self.spot_changed[moved] = market.steps
        self._spots = bid, ask

    def is_contract(self, row: int) -> bool:
        """Whether a row is a contract's; the others are underlyings'."""
        return row < self.contracts

    def changed(self, kind: str) -> Ints | None:
        """Step in which each row last changed, for what an event type tells; None when it hardly ever does."""
        contracts = {"Quote": self.market.quoted_at, "Trade": self.market.traded_at}.get(_CHANGES_WITH.get(kind, ""))
        return None if contracts is None else np.concatenate([contracts, self.spot_changed])

    def day(self) -> int:
        """Today of the market, in days since 1970."""
        return market_date(self.market.now).toordinal() - EPOCH_ORDINAL

    def day_before(self) -> int:
        """The session before today, in days since 1970."""
        return previous_session(market_date(self.market.now)).toordinal() - EPOCH_ORDINAL

    def column(self, name: str) -> Floats:
        """A column over all rows. KeyError for a name that is not in `COLUMNS`."""
        found = self._held.get(name)
        if found is None:
            found = self._held[name] = COLUMNS[name](self)
        return found

    def both(self, contracts: Floats, underlyings: Floats) -> Floats:
        """One column out of two."""
        return np.concatenate([contracts, underlyings])

    def spots(self) -> tuple[Floats, Floats]:
        """Bid and ask of the underlyings."""
        if self._spots is None:
            raise RuntimeError("the columns were never refreshed")
        return self._spots

    def own(self, name: str, otherwise: Floats) -> Floats:
        """A column that not every market has."""
        found = getattr(self.market, name, None)
        return otherwise if found is None or len(found) != len(otherwise) else np.asarray(found, np.float64)

    def nothing(self, *, underlyings: bool) -> Floats:
        """Values that are not known."""
        return np.full(len(self.market.listed) if underlyings else self.contracts, np.nan)


_CHANGES_WITH = {
    "Quote": "Quote", "Greeks": "Quote", "TheoPrice": "Quote", "Trade": "Trade", "TradeETH": "Trade",
    "TimeAndSale": "Trade",
}  # fmt: skip


def _middle(columns: FeedColumns) -> Floats:
    bid, ask = columns.spots()
    return np.round((bid + ask) / 2, 2)


def _last(columns: FeedColumns) -> Floats:
    """Price of the last trade; a market without trades has its value there."""
    return columns.both(
        columns.own("last", columns.market.theoretical), columns.own("last_spot", _middle(columns))
    )  # fmt: skip


def _day(name: str) -> Callable[[FeedColumns], Floats]:
    """Prices of the day: of contracts `name`, of underlyings `name` with `_spot`, where the market keeps them."""

    def column(columns: FeedColumns) -> Floats:
        contracts = columns.own(name, columns.nothing(underlyings=False))
        return columns.both(contracts, columns.own(f"{name}_spot", columns.nothing(underlyings=True)))

    return column


def _previous(columns: FeedColumns) -> Floats:
    contracts = columns.own("previous_close_of", columns.market.theoretical)
    return columns.both(contracts, columns.market.previous_close)


def _years(columns: FeedColumns) -> Floats:
    """Years of 365 days to the expiration of each contract, by days."""
    years: Floats = np.maximum(columns.expires - columns.day(), 0) / 365
    return years


def _yields(columns: FeedColumns) -> Floats:
    return np.array([each.dividend_yield for each in columns.market.listed])[columns.underlying]


def _greek(name: str) -> Callable[[FeedColumns], Floats]:
    return lambda columns: columns.both(getattr(columns.market.greeks, name), columns.nothing(underlyings=True))


COLUMNS: dict[str, Callable[[FeedColumns], Floats]] = {
    "bid": lambda columns: columns.both(columns.market.bid, columns.spots()[0]),
    "ask": lambda columns: columns.both(columns.market.ask, columns.spots()[1]),
    "bid_size": lambda columns: columns.both(columns.market.bid_size, np.full(len(columns.market.listed), SPOT_SIZE)),
    "ask_size": lambda columns: columns.both(columns.market.ask_size, np.full(len(columns.market.listed), SPOT_SIZE)),
    "last": _last,
    "last_size": lambda columns: columns.both(
        columns.own("last_size", np.ones(columns.contracts)),
        columns.own("last_size_spot", np.full(len(columns.market.listed), 100.0)),
    ),
    "volume": lambda columns: columns.both(columns.market.volume, columns.market.day_volume),
    "open_interest": lambda columns: columns.both(
        columns.market.open_interest, np.zeros(len(columns.market.listed))
    ),
    "previous": _previous,
    "change": lambda columns: columns.column("last") - columns.column("previous"),
    "turnover": lambda columns: columns.column("last") * columns.column("volume"),
    "day_open": _day("day_open"), "day_high": _day("day_high"), "day_low": _day("day_low"),
    "day_close": _day("day_close"), "previous_volume": _day("previous_volume"),
    "theoretical": lambda columns: columns.both(columns.market.theoretical, columns.nothing(underlyings=True)),
    "iv": lambda columns: columns.both(columns.market.iv, columns.nothing(underlyings=True)),
    "spot": lambda columns: columns.both(columns.market.spot[columns.underlying], columns.market.spot),
    "interest": lambda columns: columns.both(RATE * _years(columns), columns.nothing(underlyings=True)),
    "dividend": lambda columns: columns.both(_yields(columns) * _years(columns), columns.nothing(underlyings=True)),
    **{name: _greek(name) for name in ("delta", "gamma", "theta", "vega", "rho")},
}  # fmt: skip
"""Name → how it is made. A market that keeps last prices, sizes and the day's prices tells those."""
