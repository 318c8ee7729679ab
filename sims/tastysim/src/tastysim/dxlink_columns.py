"""What the feed can say of every contract and every underlying, by row: contracts first, underlyings after them.

Nothing is kept by contract that is not asked for: a market may list a million. Prices in $ per share, volatilities as
fractions, NaN = not known. Rows that are given stand in ascending order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

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
        self._listing, self.contracts = -1, -1
        self.spot_quotes: Floats = np.empty((0, 2))
        self.refresh()

    def refresh(self) -> None:
        """The market has moved: read the symbols anew when they have changed, note which underlyings were quoted."""
        market = self.market
        if market.listing != self._listing or self.contracts != len(market.strike):
            self._listing, self.contracts = market.listing, len(market.strike)
            self._list()
        quotes = np.array([market.spot_quote(index) for index in range(len(market.listed))]).reshape(-1, 2)
        moved = (quotes != self.spot_quotes).any(axis=1)
        self.spot_changed[moved] = market.steps
        self.spot_quotes = quotes

    def _list(self) -> None:
        market = self.market
        self.size = self.contracts + len(market.listed)
        self._underlyings = {each.symbol: index for index, each in enumerate(market.listed)}
        self.labels = np.empty(self.size, dtype=object)
        self.labels[self.contracts :] = list(self._underlyings)
        self.spot_changed = np.full(len(market.listed), market.steps, np.int64)
        self.spot_quotes = np.full((len(market.listed), 2), np.nan)
        self._is_call: npt.NDArray[np.bool_] | None = None
        self._expires: Ints | None = None
        self._starts = np.array(sorted(each.start for each in market.rows.values()), np.int64)
        by_start = {each.start: self._underlyings.get(symbol, 0) for symbol, each in market.rows.items()}
        self._owners = np.array([by_start[start] for start in self._starts.tolist()], np.int64)
        self.generation += 1

    # symbols

    def row(self, symbol: str) -> int | None:
        """Row of a feed symbol; None when there is no such thing."""
        if symbol.startswith("."):
            row = self.market.row_of_streamer.get(symbol)
            if row is not None and self.labels[row] is None:
                self.labels[row] = symbol
            return row
        index = self._underlyings.get(symbol)
        return None if index is None else self.contracts + index

    def name(self, row: int) -> str:
        """Feed symbol of a row."""
        found = self.labels[row]
        if found is None:
            found = self.labels[row] = self.market.options[row].streamer
        return str(found)

    def all_rows(self) -> Ints:
        """Every row, all of them with their names."""
        for row in range(self.contracts):
            self.name(row)
        return np.arange(self.size, dtype=np.int64)

    def is_contract(self, row: int) -> bool:
        """Whether a row is a contract's; the others are underlyings'."""
        return row < self.contracts

    def underlying_of(self, rows: Ints) -> Ints:
        """Index of the underlying of each contract."""
        found: Ints = self._owners[np.searchsorted(self._starts, rows, side="right") - 1]
        return found

    @property
    def is_call(self) -> npt.NDArray[np.bool_]:
        """Whether each contract is a call."""
        if self._is_call is None:
            known: npt.NDArray[np.bool_] | None = getattr(self.market, "is_call", None)
            if known is None or len(known) != self.contracts:
                known = np.array([each.option_type is OptionType.CALL for each in self.market.options], np.bool_)
            self._is_call = known
        return self._is_call

    @property
    def expires(self) -> Ints:
        """Expiration of each contract, days since 1970."""
        if self._expires is None:
            days: Sequence[date] | None = getattr(self.market, "expiration", None)
            each_day = [option.expiration for option in self.market.options] if days is None else list(days[:])
            ordinal = {day: day.toordinal() - EPOCH_ORDINAL for day in set(each_day)}
            self._expires = np.array([ordinal[day] for day in each_day], np.int64)
        return self._expires

    # days

    def day(self) -> int:
        """Today of the market, in days since 1970."""
        return market_date(self.market.now).toordinal() - EPOCH_ORDINAL

    def day_before(self) -> int:
        """The session before today, in days since 1970."""
        return previous_session(market_date(self.market.now)).toordinal() - EPOCH_ORDINAL

    # values

    def changed(self, kind: str, rows: Ints) -> Ints | None:
        """Step in which each row last changed, for what an event type tells; None when it hardly ever does."""
        source = _CHANGES_WITH.get(kind)
        if source is None:
            return None
        contracts = self.market.quoted_at if source == "Quote" else self.market.traded_at
        found: Ints = self._gathered(contracts, self.spot_changed, rows)
        return found

    def take(self, name: str, rows: Ints) -> Floats:
        """Values of some rows. KeyError for a name that is in neither `COLUMNS` nor `DERIVED`."""
        derived = DERIVED.get(name)
        if derived is not None:
            return derived(self, rows)
        contracts, underlyings = COLUMNS[name]
        found: Floats = self._gathered(contracts(self), underlyings(self), rows)
        return found

    def at(self, name: str, row: int) -> float:
        """One value."""
        return float(self.take(name, np.array([row], np.int64))[0])

    def spots(self, name: str) -> Floats:
        """A column of all underlyings."""
        found = COLUMNS[name][1](self)
        return found if isinstance(found, np.ndarray) else np.full(len(self.market.listed), found)

    def own(self, name: str, otherwise: Any) -> Any:
        """A column that not every market has."""
        return getattr(self.market, name, otherwise)

    def own_of_underlyings(self, name: str, otherwise: Floats) -> Floats:
        """A column that not every market has, nor for every underlying: what follows others has no trades."""
        found = getattr(self.market, name, None)
        return otherwise if found is None else np.concatenate([found, otherwise[len(found) :]])

    def _gathered(self, contracts: Any, underlyings: Any, rows: Ints) -> Any:
        split = int(np.searchsorted(rows, self.contracts))
        first, second = rows[:split], rows[split:] - self.contracts
        if split == len(rows) and isinstance(contracts, np.ndarray):
            return contracts[first]
        return np.concatenate([
            contracts[first] if isinstance(contracts, np.ndarray) else np.full(len(first), contracts),
            underlyings[second] if isinstance(underlyings, np.ndarray) else np.full(len(second), underlyings),
        ])  # fmt: skip


Side = Callable[[FeedColumns], Any]
"""All values of one side, or one value for all of it."""
_CHANGES_WITH = {
    "Quote": "Quote", "Greeks": "Quote", "TheoPrice": "Quote", "Trade": "Trade", "TradeETH": "Trade",
    "TimeAndSale": "Trade",
}  # fmt: skip


def _middle(columns: FeedColumns) -> Floats:
    found: Floats = np.round(columns.spot_quotes.mean(axis=1), 6)
    return found


def _of(name: str) -> Side:
    return lambda columns: getattr(columns.market, name)


def _kept(name: str) -> tuple[Side, Side]:
    """What a market may keep: of contracts `name`, of underlyings `name` with `_spot`."""
    return (
        lambda columns: columns.own(name, np.nan),
        lambda columns: columns.own_of_underlyings(f"{name}_spot", np.full(len(columns.market.listed), np.nan)),
    )


def _greek(name: str) -> tuple[Side, Side]:
    return (lambda columns: getattr(columns.market.greeks, name), lambda _: np.nan)


COLUMNS: dict[str, tuple[Side, Side]] = {
    "bid": (_of("bid"), lambda columns: columns.spot_quotes[:, 0]),
    "ask": (_of("ask"), lambda columns: columns.spot_quotes[:, 1]),
    "bid_size": (_of("bid_size"), lambda _: SPOT_SIZE),
    "ask_size": (_of("ask_size"), lambda _: SPOT_SIZE),
    "last": (
        lambda columns: columns.own("last", columns.market.theoretical),
        lambda columns: columns.own_of_underlyings("last_spot", _middle(columns)),
    ),
    "last_size": (
        lambda columns: columns.own("last_size", 1.0),
        lambda columns: columns.own_of_underlyings("last_size_spot", np.full(len(columns.market.listed), 100.0)),
    ),
    "volume": (_of("volume"), _of("day_volume")),
    "open_interest": (_of("open_interest"), lambda _: 0.0),
    "previous": (lambda columns: columns.own("previous_close_of", columns.market.theoretical), _of("previous_close")),
    "day_open": _kept("day_open"), "day_high": _kept("day_high"), "day_low": _kept("day_low"),
    "day_close": _kept("day_close"), "previous_volume": _kept("previous_volume"),
    "theoretical": (_of("theoretical"), lambda _: np.nan),
    "iv": (_of("iv"), _of("volatility")),
    **{name: _greek(name) for name in ("delta", "gamma", "theta", "vega", "rho")},
}  # fmt: skip
"""Name → of contracts, of underlyings. A market that keeps last prices, sizes and the day's prices tells those."""


def _spot(columns: FeedColumns, rows: Ints) -> Floats:
    split = int(np.searchsorted(rows, columns.contracts))
    owners = np.concatenate([columns.underlying_of(rows[:split]), rows[split:] - columns.contracts])
    found: Floats = columns.market.spot[owners]
    return found


def _interest(columns: FeedColumns, rows: Ints) -> Floats:
    """Simple interest to the expiration, by days; of contracts alone."""
    found: Floats = RATE * np.maximum(columns.expires[rows] - columns.day(), 0) / 365
    return found


def _dividend(columns: FeedColumns, rows: Ints) -> Floats:
    yields = np.array([each.dividend_yield for each in columns.market.listed])
    found: Floats = _interest(columns, rows) / RATE * yields[columns.underlying_of(rows)]
    return found


DERIVED: dict[str, Callable[[FeedColumns, Ints], Floats]] = {
    "change": lambda columns, rows: columns.take("last", rows) - columns.take("previous", rows),
    "turnover": lambda columns, rows: columns.take("last", rows) * columns.take("volume", rows),
    "spot": _spot,
    "interest": _interest,
    "dividend": _dividend,
}
"""Name → how it is computed for some rows."""
