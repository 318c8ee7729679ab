"""When the model trades: at any hour, or in the sessions of the exchange. Time is counted in buckets of 250 ms."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum

import numpy as np

from optionmath.sessions import NEW_YORK, closes_at, is_session, market_date, next_session, opens_at
from tastysim.counters import Floats

BUCKETS_A_SECOND, BUCKETS = 4, 240
"""Buckets of a second and of a minute."""
_GAP_SHARE = 0.25
"""Of a trading day's variance that falls into the night before it, when the market has hours."""
_SMILE_OF_THE_DAY = 1.5
"""How much more the open and the close move than noon: the U of intraday volatility (Wood, McInish and Ord 1985)."""


class Hours(StrEnum):
    """When the market is open."""

    ALWAYS = "always"
    EXCHANGE = "exchange"


@dataclass(frozen=True, slots=True)
class TradingDay:
    """A market day as the model sees it. start: minutes since the epoch."""

    day: date
    start: int
    minutes: int
    gap: float
    """Years of variance between the day before and the first minute."""
    close: int | None
    """Minute of the day at whose start the official close is struck; None when the exchange has no session."""

    @property
    def end(self) -> int:
        return self.start + self.minutes

    def years(self, hours: Hours) -> Floats:
        """Years of variance of each minute: calendar time without hours, a share of a session with them."""
        if hours is Hours.ALWAYS:
            return np.full(self.minutes, 1 / 525_600)
        across = (np.arange(self.minutes) + 0.5) / self.minutes * 2 - 1
        weight = 1 + _SMILE_OF_THE_DAY * across**4
        return np.asarray(weight / weight.sum() * (1 - _GAP_SHARE) / 252)


def bucket_of(now: datetime) -> int:
    """Bucket that an instant lies in."""
    return int(now.timestamp() * BUCKETS_A_SECOND // 1)


def instant_of(bucket: int) -> datetime:
    """Start of a bucket."""
    return datetime.fromtimestamp(bucket / BUCKETS_A_SECOND, UTC)


def _minute(at: datetime) -> int:
    return int(at.timestamp() // 60)


def day_at(day: date, hours: Hours) -> TradingDay | None:
    """A day of the model; None when the market is closed on it."""
    closing = closes_at(day)
    if hours is Hours.ALWAYS:
        first, last = (_minute(datetime.combine(each, time(), NEW_YORK)) for each in (day, day + timedelta(days=1)))
        close = None if closing is None else _minute(closing) - first
        return TradingDay(day, first, last - first, 0.0, close)
    opening = opens_at(day)
    if opening is None or closing is None:
        return None
    first, last = _minute(opening), _minute(closing)
    return TradingDay(day, first, last - first, _GAP_SHARE / 252, last - first)


def day_before_or_at(now: datetime, hours: Hours) -> TradingDay:
    """The last day of the model that has begun."""
    day = market_date(now)
    while (found := day_at(day, hours)) is None or found.start * 60 > now.timestamp():
        day -= timedelta(days=1)
    return found


def day_after(day: date, hours: Hours) -> TradingDay:
    """The next day of the model."""
    following = day + timedelta(days=1) if hours is Hours.ALWAYS else next_session(day)
    found = day_at(following, hours)
    assert found is not None
    return found


def is_open(now: datetime, hours: Hours) -> bool:
    """Whether the market trades at an instant."""
    if hours is Hours.ALWAYS:
        return True
    found = day_at(market_date(now), hours)
    return found is not None and found.start * 60 <= now.timestamp() < found.end * 60


def next_open(now: datetime, hours: Hours) -> datetime:
    """The instant itself when the market is open, else when it opens next."""
    if is_open(now, hours):
        return now
    day = market_date(now)
    opening = opens_at(day) if is_session(day) else None
    if opening is None or opening <= now:
        opening = opens_at(next_session(day))
    assert opening is not None
    return opening
