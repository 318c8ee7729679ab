"""US equity-option trading calendar: sessions, holidays, early closes, time to expiration.

Rules of the NYSE holiday calendar, computed for any year from 2022 on (Juneteenth since 2022). Regular hours
09:30-16:00 New York; early closes at 13:00 the day after Thanksgiving, on Christmas Eve and on 3 July
when they are sessions.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

NEW_YORK = ZoneInfo("America/New_York")
OPEN, CLOSE, EARLY_CLOSE = time(9, 30), time(16), time(13)
SECONDS_PER_YEAR = 365 * 86_400


def _weekday(year: int, month: int, weekday: int, number: int) -> date:
    first = date(year, month, 1)
    return first + timedelta(days=(weekday - first.weekday()) % 7 + 7 * (number - 1))


def _last_monday_of_may(year: int) -> date:
    last = date(year, 5, 31)
    return last - timedelta(days=last.weekday())


def easter(year: int) -> date:
    """Gregorian Easter Sunday (Meeus, Astronomical Algorithms, chapter 8)."""
    a, b, c = year % 19, year // 100, year % 100
    d, e = divmod(b, 4)
    g = (8 * b + 13) // 25
    h = (19 * a + b - d - g + 15) % 30
    i, k = divmod(c, 4)
    m = (32 + 2 * e + 2 * i - h - k) % 7
    n = (a + 11 * h + 22 * m) // 451
    month, day = divmod(h + m - 7 * n + 114, 31)
    return date(year, month, day + 1)


def _observed(day: date) -> date | None:
    """Saturday moves to Friday, except New Year's Day, which is then not observed; Sunday moves to Monday."""
    if day.weekday() == 5:
        return None if (day.month, day.day) == (1, 1) else day - timedelta(days=1)
    return day + timedelta(days=1) if day.weekday() == 6 else day


@lru_cache(maxsize=64)
def holidays(year: int) -> frozenset[date]:
    """Full-day closures of a year."""
    fixed = (date(year, 1, 1), date(year, 6, 19), date(year, 7, 4), date(year, 12, 25))
    moving = (
        _weekday(year, 1, 0, 3),
        _weekday(year, 2, 0, 3),
        easter(year) - timedelta(days=2),
        _last_monday_of_may(year),
        _weekday(year, 9, 0, 1),
        _weekday(year, 11, 3, 4),
    )
    return frozenset({*moving, *(day for each in fixed if (day := _observed(each)) is not None)})


def is_session(day: date) -> bool:
    """Whether the market opens on this day."""
    return day.weekday() < 5 and day not in holidays(day.year)


def closes_at(day: date) -> datetime | None:
    """When the session of a day ends, aware UTC; None when there is none."""
    if not is_session(day):
        return None
    thanksgiving = _weekday(day.year, 11, 3, 4)
    early = day in (thanksgiving + timedelta(days=1), date(day.year, 12, 24), date(day.year, 7, 3))
    return datetime.combine(day, EARLY_CLOSE if early else CLOSE, NEW_YORK).astimezone(UTC)


def is_open(now: datetime) -> bool:
    """Whether regular trading hours run at this instant."""
    local = now.astimezone(NEW_YORK)
    closing = closes_at(local.date())
    return closing is not None and datetime.combine(local.date(), OPEN, NEW_YORK) <= local < closing


def market_date(now: datetime) -> date:
    """The exchange's date."""
    return now.astimezone(NEW_YORK).date()


def expires_at(expiration: date) -> datetime:
    """Last trading instant of a PM-settled contract; a contract dated on a closed day ends on the session before."""
    day = expiration
    while (closing := closes_at(day)) is None:
        day -= timedelta(days=1)
    return closing


def days_to_expiration(now: datetime, expiration: date) -> int:
    """Calendar days on the exchange's calendar; 0 on expiration day, negative after."""
    return (expiration - market_date(now)).days


def years_to_expiration(now: datetime, expiration: date) -> float:
    """Years of 365 days, exact to the second, to the last trading instant; never negative."""
    return max(0.0, (expires_at(expiration) - now).total_seconds() / SECONDS_PER_YEAR)
