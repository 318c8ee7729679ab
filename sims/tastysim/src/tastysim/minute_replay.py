"""A market from recorded minutes: the best bid and ask of each contract, minute by minute, as they were recorded.

A bar shows when it is complete, never before. A contract without a bar of a minute is unchanged. What the file does not
have is NaN. The price of an underlying is the file's where it has one; otherwise it follows from the quotes by put-call
parity in the nearest expiration, as if nothing were paid before it: what an implied price is worth, its spread is wide.
Volatilities and greeks are computed from the quotes (European, no dividends, the bill rate of the year).
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np

from optionmath.blackscholes import greeks, implied_volatility
from optionmath.sessions import closes_at, expires_at, previous_session
from schemas.symbols import OptionSymbol
from tastysim.market import YEAR_SECONDS, Floats
from tastysim.minute_file import MINUTE, Bars, Day, MinuteFile
from tastysim.model_trades import Trades
from tastysim.outside import OutsideMarket, Rows, both_sides, cents, rate_of, unknown
from tastysim.recording import Recording

_PAIRS = 3
"""Strikes nearest the money whose parity is looked at; the middle one counts."""


class MinuteReplay(OutsideMarket):
    """The columns of the recorded days, one after the other; a day is read when it begins."""

    def __init__(self, recording: Recording) -> None:
        self._file = MinuteFile(recording.path, recording.underlyings)
        self._later = recording.chosen(self._file.sessions)
        self._closes: dict[tuple[str, date], float] = {}
        super().__init__(datetime.now(UTC))
        self._open()

    def _open(self) -> None:
        """Read the next day and show its first minute."""
        self._day = day = self._file.day(self._later.pop(0))
        own: dict[str, list[OptionSymbol]] = {}
        for name, option in day.options:
            own.setdefault(name, []).append(option)
        self.relist({name: both_sides(each) for name, each in own.items()}, {name: unknown(name) for name in own})
        self._row = np.array([self.row_of[option.occ] for _, option in day.options])
        self._rate = rate_of(day.session)
        self._ends = np.array([expires_at(option.expiration).timestamp() for option in self.options])
        self._pairs = [self._pairs_of(rows) for rows in self.rows.values()]
        self._known_at = np.full(len(self.listed), np.nan)
        self._quotes_done = self._trades_done = 0
        self._forget(day)
        last = datetime.fromtimestamp(int(day.quotes.end[-1]), UTC)
        self._closing = closes_at(day.session) or last
        self._over = max(last, self._closing)
        self._trades_until = max(self._closing, last - timedelta(seconds=MINUTE))
        self.now = datetime.fromtimestamp(int(day.quotes.end[0]), UTC)
        self._show(self.now)

    def _forget(self, day: Day) -> None:
        """A new day begins with nothing but what was known the evening before."""
        self.previous_close_of = np.where(np.isfinite(self.last), self.last, self.previous_close_of)
        for name in ("bid", "ask", "bid_size", "ask_size", "volume", "theoretical", "iv", "last", "last_size"):
            getattr(self, name)[:] = np.nan
        self.day_open, self.day_high, self.day_low = (np.full(len(self.options), np.nan) for _ in range(3))
        self.open_interest[:] = np.nan
        self.open_interest[self._row] = day.open_interest
        if day.trades is not None:
            self.volume[self._row] = 0.0
        self.spot[:] = np.nan
        before = previous_session(day.session)
        self.previous_close = np.array([self._closes.get((name, before), np.nan) for name in self.rows])

    def _pairs_of(self, span: slice) -> tuple[Rows, Rows]:
        """Rows of calls and of the puts of the same strike and expiration, the nearest expiration first."""
        sides: dict[Any, dict[bool, int]] = {}
        for row in range(span.start, span.stop):
            each = self.options[row]
            sides.setdefault((each.expiration, each.strike), {})[bool(self.is_call[row])] = row
        both = [found for _, found in sorted(sides.items())]
        return np.array([each[True] for each in both], np.intp), np.array([each[False] for each in both], np.intp)

    def step(self, seconds: float) -> None:
        """Let market time pass; after the last minute of a day the next step begins the next one."""
        self.steps += 1
        if self._later and self.now >= self._over:
            self._open()
            return
        before, self.now = self.now, self.now + timedelta(seconds=seconds)
        if before < self._closing <= self.now:
            self._show(self._closing)
            for name, spot in zip(self.rows, self.spot, strict=True):
                self._closes[name, self._day.session] = float(spot)
        self._show(self.now)

    def _show(self, now: datetime) -> None:
        """Take every bar that is complete by now, then compute what follows from the quotes."""
        self.is_open = now < self._trades_until
        ends, done = self._day.quotes.end, self._quotes_done
        until = int(np.searchsorted(ends, now.timestamp(), "right"))
        if until > done:
            for end in np.unique(ends[done:until]).tolist():  # minute by minute: a step of any length leads to the same
                last = int(np.searchsorted(ends, end, "right"))
                self._take_quotes(self._day.quotes, slice(self._quotes_done, last))
                self._quotes_done = last
                self._price_underlyings(self._years(end), self._mids())
            self._derive(self._years(float(ends[until - 1])), self._mids())
        self.trades = Trades.none()
        if self._day.trades is not None:
            until = int(np.searchsorted(self._day.trades.end, now.timestamp(), "right"))
            self._take_trades(self._day.trades, slice(self._trades_done, until))
            self._trades_done = until

    def _take_quotes(self, bars: Bars, span: slice) -> None:
        rows = self._row[bars.contract[span]]  # of several bars of one contract the last one stays
        self.bid[rows], self.ask[rows] = bars.columns["bid_c"][span], bars.columns["ask_c"][span]
        for name in ("bid_size", "ask_size"):
            if name in bars.columns:
                getattr(self, name)[rows] = bars.columns[name][span]
        self.quoted_at[rows] = self.steps
        self._known_at[self.underlying[rows]] = bars.end[span]
        if "underlying_price" in bars.columns:
            self.spot[self.underlying[rows]] = bars.columns["underlying_price"][span]

    def _take_trades(self, bars: Bars, span: slice) -> None:
        """A bar is told as one trade: all that was traded in the minute, at its last price."""
        rows, traded = self._row[bars.contract[span]], {name: each[span] for name, each in bars.columns.items()}
        np.add.at(self.volume, rows, traded["volume"])
        np.fmax.at(self.day_high, rows, traded["high"])
        np.fmin.at(self.day_low, rows, traded["low"])
        first = rows[::-1]  # of several bars of one contract the oldest is written last
        self.day_open[first] = np.where(np.isnan(self.day_open[first]), traded["open"][::-1], self.day_open[first])
        self.last[rows], self.last_size[rows] = traded["close"], traded["volume"]
        self.traded_at[rows] = self.steps
        small = np.zeros(len(rows), dtype=np.int8)
        self.trades = Trades(
            rows.astype(np.int64), self.underlying[rows].astype(np.int64), traded["close"], traded["volume"], small,
            small, small, bars.end[span] * 1000,
        )  # fmt: skip

    def _years(self, at: float) -> Floats:
        return np.maximum((self._ends - at) / YEAR_SECONDS, 0.0)

    def _mids(self) -> Floats:
        good = (self.bid > 0) & (self.ask > self.bid)
        return np.where(good, (self.bid + self.ask) / 2, np.nan)

    def _price_underlyings(self, years: Floats, mid: Floats) -> None:
        """A minute without a usable pair leaves the price that the last one told."""
        if "underlying_price" in self._day.quotes.columns:
            return
        for index, pairs in enumerate(self._pairs):
            implied = self._implied(*pairs, mid, years)
            if np.isfinite(implied):
                self.spot[index] = implied

    def _derive(self, years: Floats, mid: Floats) -> None:
        """Theoretical values, volatilities and greeks, as of the last bar."""
        spot = self.spot[self.underlying]
        self.theoretical = mid
        self.iv, _ = implied_volatility(mid, spot, self.strike, years, self._rate, 0.0, self.is_call)
        self.greeks = greeks(spot, self.strike, years, self.iv, self._rate, 0.0, self.is_call)

    def _implied(self, calls: Rows, puts: Rows, mid: Floats, years: Floats) -> float:
        """Spot = call - put + the strike's present value, near the money of the nearest expiration that has both."""
        gap = mid[calls] - mid[puts]
        known = np.nonzero(np.isfinite(gap) & (years[calls] > 0))[0]
        if not len(known):
            return float("nan")
        nearest = known[years[calls[known]] == years[calls[known]].min()]
        chosen = nearest[np.argsort(np.abs(gap[nearest]), kind="stable")[:_PAIRS]]
        worth = self.strike[calls[chosen]] * np.exp(-self._rate * years[calls[chosen]])
        return float(np.median(gap[chosen] + worth))

    def quote_age(self, symbol: str) -> float:
        """Seconds beyond the minute that a bar stands for since the underlying's last one; NaN before its first."""
        row = self.row_of.get(symbol)
        index = self.index_of(symbol) if row is None else int(self.underlying[row])
        if index is None:
            return float("nan")
        return max(0.0, self.now.timestamp() - MINUTE - float(self._known_at[index]))

    def settlement(self, symbol: str, day: date) -> Decimal | None:
        """The price at the close of a recorded day as its quotes tell it: implied, not the exchange's official one."""
        return cents(self._closes.get((symbol, day), float("nan")))
