"""Candle symbols and the bars that a period cuts time into."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from optionmath.sessions import NEW_YORK

Ints = npt.NDArray[np.int64]
_SYMBOL = re.compile(r"([^{}]{1,60})\{([^{}]{1,80})\}")
_PERIOD = re.compile(r"=(\d{0,6})(s|m|h|d|w|mo|o|y|t|v|p|pm|pr)")
_SECONDS = {"s": 1, "m": 60, "h": 3600}
_DAILY = frozenset({"d", "w", "mo", "o", "y"})
_ATTRIBUTES = frozenset({"tho", "price", "a", "pl"})
_PRICES = frozenset({"last", "bid", "ask", "mark", "s"})
_MONDAY_BEFORE_EPOCH = 4
"""1970-01-01 was a Thursday: four days later came the first Monday."""


@dataclass(frozen=True, slots=True)
class CandleSymbol:
    """`AAPL{=5m,tho=true}`: what it names."""

    canonical: str
    """As the server spells it: a period of one loses its 1, attributes stand in order."""
    base: str
    number: int
    unit: str
    price: str
    """last, bid, ask, mark or s."""

    @property
    def by_time(self) -> bool:
        """Whether its bars are spans of time: those of ticks, volume and price moves are not kept."""
        return self.unit in _SECONDS or self.unit in _DAILY

    def starts(self, seconds: Ints, days: Ints) -> Ints:
        """Start of the bar of each time, in epoch milliseconds.

        seconds: epoch seconds; days: the session of each, days since 1970. Bars of hours and less are counted from
        midnight in New York and never cross a session; those of days and more are stamped 00:00 UTC of their first day.
        """
        if self.unit in _SECONDS:
            step = self.number * _SECONDS[self.unit]
            midnight = _midnights(days)
            return (midnight + (seconds - midnight) // step * step) * 1000
        if self.unit == "d":
            return days // self.number * self.number * 86_400_000
        if self.unit == "w":
            length = 7 * self.number
            return ((days - _MONDAY_BEFORE_EPOCH) // length * length + _MONDAY_BEFORE_EPOCH) * 86_400_000
        return _by_day(days, lambda day: _first_day(day, self.unit, self.number)) * 86_400_000


def parse_candle(symbol: str) -> CandleSymbol | None:
    """What a candle symbol names; None when it is none."""
    found = _SYMBOL.fullmatch(symbol)
    if found is None:
        return None
    parts = [part.strip() for part in found[2].split(",")]
    period = _PERIOD.fullmatch(parts[0])
    if period is None or (period[1] and int(period[1]) == 0):
        return None
    attributes = dict(part.partition("=")[::2] for part in parts[1:])
    if not set(attributes) <= _ATTRIBUTES or attributes.get("price", "last") not in _PRICES:
        return None
    number = int(period[1] or 1)
    spelled = [
        f"={'' if number == 1 else number}{period[2]}",
        *(f"{key}={attributes[key]}" for key in sorted(attributes)),
    ]
    canonical = f"{found[1]}{{{','.join(spelled)}}}"
    return CandleSymbol(canonical, found[1], number, period[2], attributes.get("price", "last"))


def midnight(day: int) -> int:
    """Epoch seconds of midnight in New York; day: days since 1970."""
    return _midnight(day)


@lru_cache(maxsize=10_000)
def _midnight(day: int) -> int:
    return int(datetime.combine(_date(day), time(), NEW_YORK).timestamp())


def _midnights(days: Ints) -> Ints:
    return _by_day(days, _midnight)


def _by_day(days: Ints, of: Callable[[int], int]) -> Ints:
    """A function of the day, computed once for each day."""
    different, places = np.unique(days, return_inverse=True)
    return np.array([of(day) for day in different.tolist()], np.int64)[places]


def _date(day: int) -> date:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day)).date()


def _first_day(day: int, unit: str, number: int) -> int:
    """First day of the month, the year or the month between expirations that a day is in."""
    at = _date(day)
    if unit == "y":
        first = date(max(1, at.year // number * number), 1, 1)
    else:
        months = at.year * 12 + at.month - 1
        if unit == "o" and at > _third_friday(at.year, at.month):
            months += 1
        months = months // number * number
        if unit == "mo":
            first = date(max(1, months // 12), months % 12 + 1, 1)
        else:
            before = max(12, months - 1)
            first = _third_friday(before // 12, before % 12 + 1) + timedelta(days=1)
    return (first - date(1970, 1, 1)).days


def _third_friday(year: int, month: int) -> date:
    first = date(year, month, 1)
    return first + timedelta(days=(4 - first.weekday()) % 7 + 14)
