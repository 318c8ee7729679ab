"""Minutes of every underlying: a year before the simulator started, as its model would have moved, and since then.

The past is drawn from the symbol's name, ends at the previous close, and has the volatility the market starts with:
invented like the market itself, the same after every start of a day. A market that knows no volatility (a recording)
has no past but what was seen. Splits of the past are not modelled.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from optionmath.sessions import closes_at, opens_at, previous_session
from tastysim.dxlink_columns import EPOCH_ORDINAL, FeedColumns

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
PAST_SESSIONS = 252
_RECORDED_CELLS = 2_000_000
"""Minutes × underlyings that are remembered of the running market."""
_OVERNIGHT = 0.25
"""Share of a day's variance that falls between the close and the open."""


@dataclass(frozen=True, slots=True)
class Minutes:
    """Prices of one symbol by the minute, oldest first."""

    seconds: Ints
    """Start, epoch seconds."""
    days: Ints
    """Session, days since 1970."""
    prices: Floats
    """(4, minutes): open, high, low, close."""
    volume: Floats

    def __len__(self) -> int:
        return len(self.seconds)

    def and_then(self, later: Minutes) -> Minutes:
        """Both, one after the other."""
        return Minutes(
            np.concatenate([self.seconds, later.seconds]), np.concatenate([self.days, later.days]),
            np.concatenate([self.prices, later.prices], axis=1), np.concatenate([self.volume, later.volume]),
        )  # fmt: skip

    def newest(self, count: int) -> Minutes:
        """The last minutes."""
        return Minutes(self.seconds[-count:], self.days[-count:], self.prices[:, -count:], self.volume[-count:])


NO_MINUTES = Minutes(np.empty(0, np.int64), np.empty(0, np.int64), np.empty((4, 0)), np.empty(0))


class MinuteHistory:
    """The minutes of all underlyings. Call `record` after every step of the market."""

    def __init__(self, columns: FeedColumns) -> None:
        self._columns, market = columns, columns.market
        self._first_day = columns.day()
        self._anchor = {
            each.symbol: (float(close), float(volatility))
            for each, close, volatility in zip(market.listed, market.previous_close, market.volatility, strict=True)
        }
        self._past: dict[str, Minutes] = {}
        self._begin()

    def _begin(self) -> None:
        """Remember from now on, for the underlyings that are listed now."""
        count = max(1, len(self._columns.market.listed))
        self._symbols = [each.symbol for each in self._columns.market.listed]
        self._capacity = max(10, _RECORDED_CELLS // count)
        size = min(self._capacity, 600)
        self._prices, self._volumes = np.empty((size, 4, count)), np.empty((size, count))
        self._seconds, self._days = np.empty(size, np.int64), np.empty(size, np.int64)
        self._used = 0
        self._day_volume = self._columns.market.day_volume.copy()

    def record(self) -> None:
        """Take the prices of this step into the minute that runs."""
        market = self._columns.market
        if len(self._symbols) != len(market.listed) or self._symbols != [each.symbol for each in market.listed]:
            self._begin()
        if not market.is_open:
            return
        price = self._columns.column("last")[self._columns.contracts :]
        minute = int(market.now.timestamp()) // 60 * 60
        if not self._used or self._seconds[self._used - 1] != minute:
            self._open(minute)
            self._prices[self._used - 1] = price
        else:
            running = self._prices[self._used - 1]
            np.fmax(running[1], price, out=running[1])
            np.fmin(running[2], price, out=running[2])
            running[3] = price
        traded = market.day_volume - self._day_volume
        self._volumes[self._used - 1] += np.where(traded > 0, traded, 0.0)
        self._day_volume = market.day_volume.copy()

    def _open(self, minute: int) -> None:
        """A minute begins; the oldest are forgotten when there is no more room."""
        if self._used == len(self._seconds):
            if self._used < self._capacity:
                more = min(self._capacity, 2 * self._used) - self._used
                self._prices = np.concatenate([self._prices, np.empty((more, *self._prices.shape[1:]))])
                self._volumes = np.concatenate([self._volumes, np.empty((more, self._volumes.shape[1]))])
                self._seconds = np.concatenate([self._seconds, np.empty(more, np.int64)])
                self._days = np.concatenate([self._days, np.empty(more, np.int64)])
            else:
                kept = self._capacity // 2
                for each in (self._prices, self._volumes, self._seconds, self._days):
                    each[:kept] = each[self._used - kept : self._used]
                self._used = kept
        self._seconds[self._used], self._days[self._used] = minute, self._columns.day()
        self._volumes[self._used] = 0.0
        self._used += 1

    def of(self, symbol: str) -> Minutes:
        """Everything that is known of an underlying."""
        if symbol not in self._symbols:
            return NO_MINUTES
        if symbol not in self._past:
            close, volatility = self._anchor.get(symbol, (np.nan, np.nan))
            self._past[symbol] = past(symbol, self._first_day, close, volatility)
        place, used = self._symbols.index(symbol), self._used
        prices = self._prices[:used, :, place].T
        known = np.isfinite(prices[3])
        since = Minutes(
            self._seconds[:used][known], self._days[:used][known], prices[:, known], self._volumes[:used, place][known]
        )
        return self._past[symbol].and_then(since)


def past(symbol: str, today: int, close: float, volatility: float) -> Minutes:
    """The minutes of the sessions before a day, which end at its previous close. today: days since 1970."""
    if not (np.isfinite(close) and np.isfinite(volatility) and close > 0 and volatility > 0):
        return NO_MINUTES
    seconds, days, opening = _session_minutes(today)
    draw = np.random.default_rng([zlib.crc32(symbol.encode()), today])
    length = 390 * 252
    minute = volatility * np.sqrt((1 - _OVERNIGHT) / length)
    moves = draw.standard_normal(len(seconds)) * minute
    gaps = np.where(opening, draw.standard_normal(len(seconds)) * volatility * np.sqrt(_OVERNIGHT / 252), 0.0)
    total = np.cumsum(moves + gaps)
    closes = close * np.exp(total - total[-1])
    opens = closes * np.exp(-moves)
    reach = np.abs(draw.standard_normal((2, len(seconds)))) * minute * 0.5
    highs, lows = np.maximum(opens, closes) * np.exp(reach[0]), np.minimum(opens, closes) * np.exp(-reach[1])
    within = (seconds - seconds[np.maximum.accumulate(np.where(opening, np.arange(len(seconds)), 0))]) / 23_400
    busy = 0.6 + 4.8 * (within - 0.5) ** 2
    volume = np.round(25_000 * busy * draw.lognormal(0, 0.5, len(seconds)))
    return Minutes(seconds, days, np.round([opens, highs, lows, closes], 2), volume)


@lru_cache(maxsize=4)
def _session_minutes(today: int) -> tuple[Ints, Ints, npt.NDArray[np.bool_]]:
    """Start and day of every minute of the past sessions, and whether it is a session's first."""
    day = previous_session(date.fromordinal(today + EPOCH_ORDINAL))
    starts, days = [], []
    for _ in range(PAST_SESSIONS):
        first, last = opens_at(day), closes_at(day)
        if first is not None and last is not None:
            minutes = np.arange(int(first.timestamp()), int(last.timestamp()), 60, dtype=np.int64)
            starts.append(minutes)
            days.append(np.full(len(minutes), day.toordinal() - EPOCH_ORDINAL, np.int64))
        day = previous_session(day)
    seconds, sessions = np.concatenate(starts[::-1]), np.concatenate(days[::-1])
    return seconds, sessions, np.diff(sessions, prepend=-1) != 0
