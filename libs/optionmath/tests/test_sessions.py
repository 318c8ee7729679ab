"""The calendar is the exchange's: every session and every early close from 1990 to 2035."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime, time, timedelta

import exchange_calendars
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optionmath.sessions import (
    FIRST_YEAR,
    NEW_YORK,
    SPECIAL_CLOSURES,
    closes_at,
    days_to_expiration,
    early_closes,
    expires_at,
    holidays,
    is_open,
    is_session,
    market_date,
    next_session,
    opens_at,
    previous_session,
    session_on_or_before,
    sessions_between,
    years_to_expiration,
)

SCALE = int(os.environ.get("TT_TEST_SCALE", "1"))

FIRST, LAST = date(1990, 1, 1), date(2035, 12, 31)
days = st.dates(date(1990, 1, 15), date(2035, 12, 15))


@pytest.fixture(scope="module")
def nyse() -> dict[date, time]:
    """Sessions with New York's closing time, from an independent calendar."""
    schedule = exchange_calendars.get_calendar("XNYS", start=str(FIRST), end=str(LAST)).schedule
    closes = schedule["close"].dt.tz_convert("America/New_York")
    return {day.date(): close.time() for day, close in closes.items()}


def test_every_session_since_1990_is_the_exchanges(nyse: dict[date, time]) -> None:
    """16,800 days: none too many, none missing."""
    assert sessions_between(FIRST, LAST) == list(nyse)


def test_every_closing_time_since_1990_is_the_exchanges(nyse: dict[date, time]) -> None:
    """16:00, or one of the 98 early closes at 13:00 or 14:00."""
    for day, expected in nyse.items():
        closing = closes_at(day)
        assert closing is not None
        assert closing.astimezone(NEW_YORK).time() == expected, day
    assert sum(len(early_closes(year)) for year in range(1990, 2036)) == 98


def test_closures_that_no_rule_gives_are_on_working_days() -> None:
    """Each special closure shut a day that would have been a session."""
    for day in SPECIAL_CLOSURES:
        assert day.weekday() < 5
        assert not is_session(day)


def test_holidays_of_2026() -> None:
    """As published by the exchange for 2026."""
    assert sorted(holidays(2026)) == [
        date(2026, 1, 1), date(2026, 1, 19), date(2026, 2, 16), date(2026, 4, 3), date(2026, 5, 25), date(2026, 6, 19),
        date(2026, 7, 3), date(2026, 9, 7), date(2026, 11, 26), date(2026, 12, 25),
    ]  # fmt: skip


def test_saturday_new_year_is_not_moved_into_the_old_year() -> None:
    """1 January 2028 is a Saturday: 31 December 2027 is a session."""
    assert is_session(date(2027, 12, 31))


def test_half_days_close_at_one() -> None:
    """The day after Thanksgiving and Christmas Eve."""
    assert closes_at(date(2026, 11, 27)) == datetime(2026, 11, 27, 18, 0, tzinfo=UTC)
    assert closes_at(date(2026, 12, 24)) == datetime(2026, 12, 24, 18, 0, tzinfo=UTC)
    assert closes_at(date(2026, 7, 3)) is None
    assert opens_at(date(2026, 7, 3)) is None


def test_days_before_the_first_year_are_refused() -> None:
    """Another century's rules are not guessed."""
    with pytest.raises(ValueError, match=f"starts in {FIRST_YEAR}"):
        is_session(date(1989, 12, 29))


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (datetime(2026, 11, 24, 14, 30, tzinfo=UTC), True),
        (datetime(2026, 11, 24, 14, 29, 59, tzinfo=UTC), False),
        (datetime(2026, 11, 24, 21, 0, tzinfo=UTC), False),
        (datetime(2026, 11, 26, 15, 0, tzinfo=UTC), False),
        (datetime(2026, 7, 6, 13, 30, tzinfo=UTC), True),
        (datetime(2026, 11, 27, 18, 0, tzinfo=UTC), False),
        (datetime(2026, 11, 27, 17, 59, tzinfo=UTC), True),
    ],
)
def test_regular_hours_follow_new_york(now: datetime, expected: bool) -> None:
    """Winter and summer time, holidays, half days, both ends."""
    assert is_open(now) is expected


def test_the_exchanges_date_is_new_yorks() -> None:
    """Three in the morning UTC is still the day before."""
    assert market_date(datetime(2026, 11, 25, 3, 0, tzinfo=UTC)) == date(2026, 11, 24)


def test_dte_and_years_count_to_the_last_trading_minute() -> None:
    """Expiration day is DTE 0 and still has its hours left; afterwards there is nothing."""
    noon = datetime(2026, 11, 20, 17, 0, tzinfo=UTC)
    assert days_to_expiration(noon, date(2026, 11, 20)) == 0
    assert years_to_expiration(noon, date(2026, 11, 20)) == pytest.approx(4 / (24 * 365))
    assert years_to_expiration(noon, date(2026, 11, 19)) == 0
    assert expires_at(date(2026, 4, 3)) == datetime(2026, 4, 2, 20, 0, tzinfo=UTC)


@settings(max_examples=60 * SCALE, deadline=None)
@given(days)
def test_neighbouring_sessions_are_sessions_with_nothing_between(day: date) -> None:
    """next_session and previous_session step over closed days only, and are each other's inverse on sessions."""
    following, earlier = next_session(day), previous_session(day)
    assert is_session(following)
    assert is_session(earlier)
    assert sessions_between(earlier + timedelta(days=1), following - timedelta(days=1)) == [day] * is_session(day)
    assert previous_session(following) == session_on_or_before(day)


@settings(max_examples=60 * SCALE, deadline=None)
@given(days)
def test_a_session_lasts_from_three_and_a_half_to_six_and_a_half_hours(day: date) -> None:
    """Open and close exist together."""
    opening, closing = opens_at(day), closes_at(day)
    assert (opening is None) == (closing is None) == (not is_session(day))
    if opening is not None and closing is not None:
        assert timedelta(hours=3.5) <= closing - opening <= timedelta(hours=6.5)
