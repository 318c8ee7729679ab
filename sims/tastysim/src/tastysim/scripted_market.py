"""A market that does what a test says: prices are set, contracts are worth Black and Scholes, time is set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np

from optionmath.blackscholes import price
from optionmath.calendar import settles_at
from schemas.symbols import OptionSymbol, OptionType
from tastysim.corporate_events import CorporateEvents
from tastysim.market import Listed

YEAR = 365 * 86_400


class ScriptedMarket:
    """Names at fixed prices with every strike of `strikes` at each of `days`, calls and puts, two cents wide."""

    def __init__(
        self, now: datetime, prices: Mapping[str, float], days: Sequence[date], strikes: Sequence[float],
        events: CorporateEvents | None = None, volatility: float = 0.2,
    ) -> None:  # fmt: skip
        self.now, self.steps, self.listing, self.is_open = now, 0, 0, True
        self.listed = tuple(Listed(name, name, at, 1.0, volatility, "Industrials", 1.0) for name, at in prices.items())
        self.spot = np.array(list(prices.values()), dtype=np.float64)
        self.previous_close = self.spot.copy()
        self.volatility = np.full(len(self.spot), volatility)
        self.day_volume = np.zeros(len(self.spot))
        self.closes: dict[tuple[str, date], Decimal] = {}
        self._events = events or CorporateEvents()
        self.options: list[OptionSymbol] = []
        self.rows: dict[str, slice] = {}
        for name in prices:
            start = len(self.options)
            self.options += [
                OptionSymbol(name, day, kind, Decimal(str(strike)))
                for day in days for strike in strikes for kind in OptionType
            ]  # fmt: skip
            self.rows[name] = slice(start, len(self.options))
        self.row_of = {option.occ: row for row, option in enumerate(self.options)}
        self.row_of_streamer = {option.streamer: row for row, option in enumerate(self.options)}
        count = len(self.options)
        self.strike = np.array([float(option.strike) for option in self.options])
        self._call = np.array([option.option_type is OptionType.CALL for option in self.options])
        self._ends = np.array([settles_at(option.expiration).timestamp() for option in self.options])
        self._name = np.array([list(prices).index(option.root_symbol) for option in self.options])
        self.bid_size = self.ask_size = np.full(count, 1000.0)
        self.open_interest = self.volume = np.zeros(count)
        self.quoted_at = self.traded_at = np.zeros(count, dtype=np.int64)
        self.greeks: Any = None
        self.reprice()

    def reprice(self) -> None:
        """Quotes at the prices and the time as they are."""
        years = np.maximum((self._ends - self.now.timestamp()) / YEAR, 0.0)
        spot, strike = self.spot[self._name], self.strike
        self.iv = self.volatility[self._name]
        self.theoretical = np.asarray(price(spot, strike, years, self.iv, 0.04, 0.0, self._call))
        least = np.maximum(np.where(self._call, spot - strike, strike - spot), 0.0)
        middle = np.round(np.maximum(self.theoretical, least), 2)
        self.bid, self.ask = np.round(np.maximum(middle - 0.01, 0.0), 2), np.round(middle + 0.01, 2)

    def go(self, now: datetime, **prices: float) -> None:
        """Set the time and some prices."""
        self.now, self.steps = now, self.steps + 1
        for name, at in prices.items():
            self.spot[self.index_of(name) or 0] = at
        self.reprice()

    def step(self, seconds: float) -> None:
        """Let time pass."""
        self.go(self.now + timedelta(seconds=seconds))

    def index_of(self, symbol: str) -> int | None:
        """Index of a name."""
        return next((index for index, each in enumerate(self.listed) if each.symbol == symbol), None)

    def spot_quote(self, index: int) -> tuple[float, float]:
        """A cent to each side."""
        return round(float(self.spot[index]) - 0.01, 2), round(float(self.spot[index]) + 0.01, 2)

    def events(self, first: date, last: date) -> CorporateEvents:
        """What the test has announced."""
        return CorporateEvents(
            tuple(each for each in self._events.dividends if first <= each.ex <= last),
            tuple(each for each in self._events.splits if first <= each.effective <= last),
        )

    def settlement(self, symbol: str, day: date) -> Decimal | None:
        """What the test has set."""
        return self.closes.get((symbol, day))
