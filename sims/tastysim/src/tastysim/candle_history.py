"""Minutes of every underlying: the past days as the market knows them by the day, and today.

The minutes of a past day are drawn from its name and date so that they make up exactly the bar that the market knows of
it (open, high, low, close, volume). A market that knows no past days has none; one that knows no minutes of today has
what was seen of them here.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from optionmath.sessions import closes_at, opens_at
from tastysim.dxlink_columns import EPOCH_ORDINAL, FeedColumns

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
SESSIONS_MAX = 252
_RECORDED_CELLS = 2_000_000
"""Minutes × underlyings that are remembered of a market that does not know them itself."""
_HELD_MAX = 64
"""Underlyings whose past minutes are kept."""


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
        self._columns = columns
        self._days: Callable[[str], Any] | None = getattr(columns.market, "history", None)
        self._today: Callable[[str], Any] | None = getattr(columns.market, "minute_bars", None)
        self._past: dict[tuple[str, int], Minutes] = {}
        self._begin()

    def _begin(self) -> None:
        """Remember from now on, for the underlyings that are listed now."""
        self._symbols = [each.symbol for each in self._columns.market.listed]
        self._capacity = max(10, _RECORDED_CELLS // max(1, len(self._symbols)))
        self._recorded: list[tuple[int, int, Floats, Floats]] = []
        """Start, day, prices and volumes of each minute."""
        self._day_volume = self._columns.market.day_volume.copy()

    def record(self) -> None:
        """Take the prices of this step into the minute that runs."""
        market = self._columns.market
        if self._today is not None or not market.is_open:
            return
        if len(self._symbols) != len(market.listed):
            self._begin()
        price = self._columns.spots("last")
        minute = int(market.now.timestamp()) // 60 * 60
        if not self._recorded or self._recorded[-1][0] != minute:
            self._recorded.append((minute, self._columns.day(), np.tile(price, (4, 1)), np.zeros(len(price))))
            if len(self._recorded) > self._capacity:
                del self._recorded[: self._capacity // 2]
        _, _, running, volume = self._recorded[-1]
        np.fmax(running[1], price, out=running[1])
        np.fmin(running[2], price, out=running[2])
        running[3] = price
        traded = market.day_volume - self._day_volume
        volume += np.where(traded > 0, traded, 0.0)
        self._day_volume = market.day_volume.copy()

    def of(self, symbol: str) -> Minutes:
        """Everything that is known of an underlying."""
        today = self._columns.day()
        key = symbol, today
        if key not in self._past:
            known = None if self._days is None else self._days(symbol)
            while len(self._past) >= _HELD_MAX:
                self._past.pop(next(iter(self._past)))
            self._past[key] = NO_MINUTES if known is None else past(symbol, known, today)
        return self._past[key].and_then(self._of_today(symbol, today))

    def _of_today(self, symbol: str, today: int) -> Minutes:
        if self._today is not None:
            bars = self._today(symbol)
            if bars is None or not len(bars.start_ms):
                return NO_MINUTES
            prices = np.round([bars.open, bars.high, bars.low, bars.close], 2)
            return Minutes(bars.start_ms // 1000, np.full(len(bars.start_ms), today), prices, np.round(bars.volume))
        if symbol not in self._symbols or not self._recorded:
            return NO_MINUTES
        place = self._symbols.index(symbol)
        prices = np.array([each[2][:, place] for each in self._recorded]).T
        known = np.isfinite(prices[3])
        return Minutes(
            np.array([each[0] for each in self._recorded], np.int64)[known],
            np.array([each[1] for each in self._recorded], np.int64)[known],
            prices[:, known],
            np.array([each[3][place] for each in self._recorded])[known],
        )


def past(symbol: str, known: Any, today: int) -> Minutes:
    """Minutes of the days before today. known: daily bars with `day`, `open`, `high`, `low`, `close`, `volume`."""
    days = known.day.astype("datetime64[D]").astype(np.int64)
    kept = np.flatnonzero(days < today)[-SESSIONS_MAX:]
    found = []
    for row in kept.tolist():
        seconds = session_minutes(int(days[row]))
        if len(seconds):
            bar = tuple(round(float(column[row]), 2) for column in (known.open, known.high, known.low, known.close))
            prices, volume = within_bar(symbol, int(days[row]), bar, float(known.volume[row]), len(seconds))
            found.append((seconds, np.full(len(seconds), days[row]), prices, volume))
    if not found:
        return NO_MINUTES
    seconds, sessions, prices, volume = zip(*found, strict=True)
    return Minutes(
        np.concatenate(seconds), np.concatenate(sessions), np.concatenate(prices, axis=1), np.concatenate(volume)
    )  # fmt: skip


def within_bar(symbol: str, day: int, bar: tuple[float, ...], volume: float, count: int) -> tuple[Floats, Floats]:
    """Minutes that make up a day's bar exactly: a bridge from its open to its close that touches high and low."""
    first, high, low, last = bar
    draw = np.random.default_rng([zlib.crc32(symbol.encode()), day])
    walk = np.concatenate([[0.0], np.cumsum(draw.standard_normal(count))])
    bridge = walk - np.linspace(0.0, walk[-1], count + 1)
    span = max(high - low, 1e-9)
    free = np.linspace(first, last, count + 1) + bridge / max(float(np.abs(bridge).max()), 1e-9) * 0.8 * span
    path = np.round(low + span * (1 - np.abs((free - low) / span % 2 - 1)), 2)  # what leaves the bar is reflected
    path[0], path[-1] = first, last
    opens, closes = path[:-1], path[1:]
    wick = np.abs(draw.standard_normal((2, count))) * (high - low) / count
    highs = np.round(np.minimum(np.maximum(opens, closes) + wick[0], high), 2)
    lows = np.round(np.maximum(np.minimum(opens, closes) - wick[1], low), 2)
    highs[np.argmax(highs)], lows[np.argmin(lows)] = high, low
    busy = (0.6 + 4.8 * (np.linspace(0, 1, count) - 0.5) ** 2) * draw.lognormal(0, 0.5, count)
    share = np.concatenate([[0.0], np.cumsum(busy) / busy.sum()])
    return np.array([opens, highs, lows, closes]), np.diff(np.round(share * max(0.0, np.nan_to_num(volume))))


@lru_cache(maxsize=1_000)
def session_minutes(day: int) -> Ints:
    """Start of every minute of a session, epoch seconds; none on a day without one."""
    its = date.fromordinal(day + EPOCH_ORDINAL)
    first, last = opens_at(its), closes_at(its)
    if first is None or last is None:
        return np.empty(0, np.int64)
    return np.arange(int(first.timestamp()), int(last.timestamp()), 60, dtype=np.int64)
