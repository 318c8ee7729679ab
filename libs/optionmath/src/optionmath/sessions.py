"""US equity and option sessions since 1990: holidays, early closes, regular hours, days and years to expiration.

The rules of the New York Stock Exchange, computed for any year from 1990 on; closures and early closes that follow no
rule are data. Intraday halts and late openings are not part of the calendar. Times are New York's; instants are UTC.
Source: NYSE Rule 7.2 and its predecessor Rule 51, and the exchange's list of special closings.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from types import MappingProxyType
from zoneinfo import ZoneInfo

NEW_YORK = ZoneInfo("America/New_York")
OPEN, CLOSE, EARLY_CLOSE = time(9, 30), time(16), time(13)
FIRST_YEAR = 1990
SECONDS_PER_YEAR = 365 * 86_400
SPECIAL_CLOSURES: Mapping[date, str] = MappingProxyType(
    {
        date(1994, 4, 27): "funeral of President Nixon",
        date(2001, 9, 11): "attacks of 11 September",
        date(2001, 9, 12): "attacks of 11 September",
        date(2001, 9, 13): "attacks of 11 September",
        date(2001, 9, 14): "attacks of 11 September",
        date(2004, 6, 11): "funeral of President Reagan",
        date(2007, 1, 2): "mourning of President Ford",
        date(2012, 10, 29): "Hurricane Sandy",
        date(2012, 10, 30): "Hurricane Sandy",
        date(2018, 12, 5): "mourning of President G. H. W. Bush",
        date(2025, 1, 9): "mourning of President Carter",
    }
)
"""Full-day closures that no rule gives."""
_SPECIAL_EARLY_CLOSES = (date(1997, 12, 26), date(1999, 12, 31), date(2003, 12, 26))
_OLD_EARLY_CLOSE = time(14)
_KING_SINCE, _JUNETEENTH_SINCE, _NEW_EARLY_CLOSE_SINCE = 1998, 2022, 1993
_THANKSGIVING_HALF_SINCE, _JULY_HALF_SINCE, _JULY_HALF_BEFORE_WEDNESDAY_SINCE = 1992, 1995, 2013


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


@lru_cache(maxsize=256)
def holidays(year: int) -> frozenset[date]:
    """Full-day closures of a year, special ones included. Raises ValueError before 1990."""
    if year < FIRST_YEAR:
        raise ValueError(f"the calendar starts in {FIRST_YEAR}: {year} is not covered")
    fixed = [date(year, 1, 1), date(year, 7, 4), date(year, 12, 25)]
    if year >= _JUNETEENTH_SINCE:
        fixed.append(date(year, 6, 19))
    moving = [
        _weekday(year, 2, 0, 3),
        easter(year) - timedelta(days=2),
        _last_monday_of_may(year),
        _weekday(year, 9, 0, 1),
        _weekday(year, 11, 3, 4),
    ]
    if year >= _KING_SINCE:
        moving.append(_weekday(year, 1, 0, 3))
    special = (day for day in SPECIAL_CLOSURES if day.year == year)
    return frozenset({*moving, *special, *(day for each in fixed if (day := _observed(each)) is not None)})


def _july_half_day(year: int) -> date | None:
    """3 July when it is a session; until 2012 a Thursday holiday shortened Friday the 5th instead."""
    if year < _JULY_HALF_SINCE:
        return None
    if date(year, 7, 4).weekday() == 3 and year < _JULY_HALF_BEFORE_WEDNESDAY_SINCE:
        return date(year, 7, 5)
    return date(year, 7, 3)


@lru_cache(maxsize=256)
def early_closes(year: int) -> Mapping[date, time]:
    """Sessions of a year that end early, with New York's time of the end (13:00; 14:00 until 1992)."""
    days = [date(year, 12, 24), *(day for day in _SPECIAL_EARLY_CLOSES if day.year == year)]
    if (july := _july_half_day(year)) is not None:
        days.append(july)
    if year >= _THANKSGIVING_HALF_SINCE:
        days.append(_weekday(year, 11, 3, 4) + timedelta(days=1))
    at = EARLY_CLOSE if year >= _NEW_EARLY_CLOSE_SINCE else _OLD_EARLY_CLOSE
    return MappingProxyType({day: at for day in sorted(days) if is_session(day)})


def is_session(day: date) -> bool:
    """Whether the market opens on this day. Raises ValueError before 1990."""
    return day not in holidays(day.year) and day.weekday() < 5


def next_session(day: date) -> date:
    """First session after a day."""
    following = day + timedelta(days=1)
    while not is_session(following):
        following += timedelta(days=1)
    return following


def previous_session(day: date) -> date:
    """Last session before a day."""
    earlier = day - timedelta(days=1)
    while not is_session(earlier):
        earlier -= timedelta(days=1)
    return earlier


def session_on_or_before(day: date) -> date:
    """The day itself when it is a session, else the last one before it."""
    return day if is_session(day) else previous_session(day)


def sessions_between(first: date, last: date) -> list[date]:
    """Sessions from `first` to `last`, both included, in order; empty when last is before first."""
    days = (first + timedelta(days=offset) for offset in range((last - first).days + 1))
    return [day for day in days if is_session(day)]


def opens_at(day: date) -> datetime | None:
    """When the session of a day starts, aware UTC; None when there is none."""
    return datetime.combine(day, OPEN, NEW_YORK).astimezone(UTC) if is_session(day) else None


def closes_at(day: date) -> datetime | None:
    """When the session of a day ends, aware UTC; None when there is none."""
    if not is_session(day):
        return None
    return datetime.combine(day, early_closes(day.year).get(day, CLOSE), NEW_YORK).astimezone(UTC)


def is_open(now: datetime) -> bool:
    """Whether regular trading hours run at this instant."""
    local = now.astimezone(NEW_YORK)
    closing = closes_at(local.date())
    return closing is not None and datetime.combine(local.date(), OPEN, NEW_YORK) <= local < closing


def market_date(now: datetime) -> date:
    """The exchange's date."""
    return now.astimezone(NEW_YORK).date()


def expires_at(expiration: date) -> datetime:
    """When a PM-settled contract's payoff is fixed; one dated on a closed day ends on the session before.

    `calendar.settles_at` knows AM settlement, `calendar.stops_trading_at` each root's hours.
    """
    closing = closes_at(session_on_or_before(expiration))
    assert closing is not None
    return closing


def days_to_expiration(now: datetime, expiration: date) -> int:
    """Calendar days on the exchange's calendar; 0 on expiration day, negative after."""
    return (expiration - market_date(now)).days


def years_to_expiration(now: datetime, expiration: date) -> float:
    """Years of 365 days, exact to the second, to the close of a PM-settled contract; never negative."""
    return max(0.0, (expires_at(expiration) - now).total_seconds() / SECONDS_PER_YEAR)
