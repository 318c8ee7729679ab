"""Expirations of listed options: their dates, how they settle, when they stop trading, and the time left.

What the broker's chain says (expiration date, `settlement-type`, `stops-trading-at`) wins over these rules; they serve
where a chain is recorded, old or silent. Sources: Cboe product specifications of SPX, XSP, NDX, RUT and VIX options;
OCC information memo on the move of expirations from Saturday to Friday, effective 1 February 2015.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum

from optionmath.sessions import (
    CLOSE,
    NEW_YORK,
    SECONDS_PER_YEAR,
    early_closes,
    is_session,
    next_session,
    opens_at,
    previous_session,
    session_on_or_before,
    sessions_between,
)

# fmt: off
LATE_CLOSE_ROOTS = frozenset((
    "DBA", "DBB", "DBC", "DBO", "DIA", "EEM", "EFA", "FXI", "IWM", "IWN", "IWO", "IWV", "IYR", "KBE", "KRE", "LQD",
    "MDY", "MOO", "OEF", "QQQ", "SLX", "SPY", "SVXY", "TLT", "UNG", "UUP", "UVXY", "VIXM", "VIXY", "VXX", "VXZ", "XHB",
    "XLB", "XLE", "XLF", "XLI", "XLK", "XLP", "XLU", "XLV", "XLY", "XME", "XRT",
))
"""Funds whose options trade a quarter of an hour longer than the shares, on expiration day too (broker's list)."""
CASH_INDEX_ROOTS = frozenset((
    "SPX", "SPXW", "XSP", "NDX", "NDXP", "XND", "RUT", "RUTW", "MRUT", "DJX", "OEX", "XEO", "VIX", "VIXW",
))
# fmt: on
"""Cash-settled index roots: 16:15, but PM-settled ones stop at 16:00 on their last day."""
AM_MONTHLY_ROOTS = frozenset(("SPX", "NDX", "RUT", "DJX"))
VIX_ROOTS = frozenset(("VIX", "VIXW"))
_LATE = timedelta(minutes=15)
_FRIDAY = 4
_SATURDAY_DATED_BEFORE = date(2015, 2, 1)
_VIX_DAYS = 30


class Settlement(StrEnum):
    """When the settlement value is fixed: at the open (AM) or at the close (PM) of the expiration day."""

    AM = "AM"
    PM = "PM"


class ExpirationKind(StrEnum):
    """As the broker's chains call them."""

    MONTHLY = "Regular"
    QUARTERLY = "Quarterly"
    END_OF_MONTH = "End-Of-Month"
    WEEKLY = "Weekly"


def third_friday(year: int, month: int) -> date:
    """Third Friday of a month, session or not."""
    first = date(year, month, 1)
    return first + timedelta(days=(_FRIDAY - first.weekday()) % 7 + 14)


def monthly_expiration(year: int, month: int) -> date:
    """Last session of the monthly contract: the third Friday, or the session before when it is closed."""
    return session_on_or_before(third_friday(year, month))


def monthly_listed_date(year: int, month: int) -> date:
    """Date in the monthly contract's symbol: until January 2015 the Saturday after the third Friday."""
    friday = third_friday(year, month)
    return friday + timedelta(days=1) if friday < _SATURDAY_DATED_BEFORE else session_on_or_before(friday)


def monthly_expirations(first: date, last: date) -> list[date]:
    """Monthly expirations (last sessions) from `first` to `last`, both included."""
    months = range(first.year * 12 + first.month - 1, last.year * 12 + last.month)
    found = (monthly_expiration(month // 12, month % 12 + 1) for month in months)
    return [day for day in found if first <= day <= last]


def weekly_expirations(first: date, last: date, *, weekdays: Collection[int] = (_FRIDAY,)) -> list[date]:
    """Expirations on the given weekdays (Monday 0 … Friday 4) from `first` to `last`, moved for holidays.

    A closed Monday moves to the next session, any other day to the session before. The week of the monthly contract is
    included. Which classes list which weekdays is the exchange's choice: take dates from the chain where there is one.
    """
    found = set()
    for offset in range(-7, (last - first).days + 8):
        day = first + timedelta(days=offset)
        if day.weekday() in weekdays and not is_session(day):
            day = next_session(day) if day.weekday() == 0 else previous_session(day)
        elif day.weekday() not in weekdays:
            continue
        found.add(day)
    return sorted(day for day in found if first <= day <= last)


def daily_expirations(first: date, last: date) -> list[date]:
    """Every session: the expirations of SPXW, XSP, SPY and QQQ since 2022."""
    return sessions_between(first, last)


def end_of_month_expiration(year: int, month: int) -> date:
    """Last session of a month; in March, June, September and December the quarterly expiration."""
    following = date(year + month // 12, month % 12 + 1, 1)
    return previous_session(following)


def vix_expiration(year: int, month: int) -> date:
    """VIX options' settlement day: Wednesday 30 days before the third Friday of the next month.

    When that Wednesday or that Friday is closed, the session before the Wednesday.
    """
    friday = third_friday(year + month // 12, month % 12 + 1)
    wednesday = friday - timedelta(days=_VIX_DAYS)
    return wednesday if is_session(wednesday) and is_session(friday) else previous_session(wednesday)


def last_session(expiration: date) -> date:
    """Session on which a contract of this date expires: Saturdays and holidays belong to the session before."""
    return session_on_or_before(expiration)


def expiration_kind(expiration: date) -> ExpirationKind:
    """Kind of an expiration from its date alone; a Thursday before a closed third Friday is monthly."""
    day = last_session(expiration)
    if day == monthly_expiration(day.year, day.month):
        return ExpirationKind.MONTHLY
    if day == end_of_month_expiration(day.year, day.month):
        return ExpirationKind.QUARTERLY if day.month % 3 == 0 else ExpirationKind.END_OF_MONTH
    return ExpirationKind.WEEKLY


def settlement_of(root: str, expiration: date) -> Settlement:
    """How a contract settles: AM for VIX and for the monthly SPX, NDX, RUT and DJX; PM for everything else."""
    monthly = expiration_kind(expiration) is ExpirationKind.MONTHLY
    am = root in VIX_ROOTS or (root in AM_MONTHLY_ROOTS and monthly)
    return Settlement.AM if am else Settlement.PM


def trading_ends_at(root: str, day: date) -> datetime | None:
    """End of a session's regular hours for options of a root, aware UTC; None when there is no session.

    16:15 (13:15 on early closes) for index and late-closing fund roots, else the close of the shares.
    """
    if not is_session(day):
        return None
    closing = early_closes(day.year).get(day, CLOSE)
    late = root in CASH_INDEX_ROOTS or root in LATE_CLOSE_ROOTS
    return _utc(day, closing) + (_LATE if late else timedelta(0))


def stops_trading_at(root: str, expiration: date, settlement: Settlement | None = None) -> datetime:
    """Last instant at which a contract trades, aware UTC.

    AM-settled contracts stop at the end of the session before; PM-settled index contracts at the close of the shares
    (16:00); options of late-closing funds a quarter of an hour after it. Without `settlement` the root's rule is used.
    """
    kind = settlement or settlement_of(root, expiration)
    day = last_session(expiration)
    if kind is Settlement.AM:
        day = previous_session(day)
    elif root in CASH_INDEX_ROOTS:
        return _utc(day, early_closes(day.year).get(day, CLOSE))
    ending = trading_ends_at(root, day)
    assert ending is not None
    return ending


def settles_at(expiration: date, settlement: Settlement = Settlement.PM) -> datetime:
    """Instant at which the payoff is fixed, aware UTC: the open (AM) or the close (PM) of the expiration session."""
    day = last_session(expiration)
    if settlement is Settlement.AM:
        opening = opens_at(day)
        assert opening is not None
        return opening
    return _utc(day, early_closes(day.year).get(day, CLOSE))


def minutes_to_settlement(now: datetime, expiration: date, settlement: Settlement = Settlement.PM) -> int:
    """Whole minutes until the payoff is fixed; 0 afterwards."""
    return max(0, int((settles_at(expiration, settlement) - now).total_seconds() // 60))


def years_to_settlement(now: datetime, expiration: date, settlement: Settlement = Settlement.PM) -> float:
    """Years of 365 days (525,600 minutes), exact to the second, until the payoff is fixed; never negative."""
    return max(0.0, (settles_at(expiration, settlement) - now).total_seconds() / SECONDS_PER_YEAR)


def _utc(day: date, at: time) -> datetime:
    return datetime.combine(day, at, NEW_YORK).astimezone(UTC)
