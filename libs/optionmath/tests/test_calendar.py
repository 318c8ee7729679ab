"""Expirations: dates, settlement, the last minute of trading, the time left."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optionmath.calendar import (
    ExpirationKind,
    Settlement,
    daily_expirations,
    end_of_month_expiration,
    expiration_kind,
    last_session,
    minutes_to_settlement,
    monthly_expiration,
    monthly_expirations,
    monthly_listed_date,
    settlement_of,
    settles_at,
    stops_trading_at,
    third_friday,
    trading_ends_at,
    vix_expiration,
    weekly_expirations,
    years_to_settlement,
)
from optionmath.sessions import NEW_YORK, is_session

SCALE = int(os.environ.get("TT_TEST_SCALE", "1"))
SHARED = Path(os.environ.get("TT_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data"))

months = st.tuples(st.integers(1990, 2035), st.integers(1, 11)).filter(lambda pair: pair > (1990, 1))
roots = st.sampled_from(("SPY", "AAPL", "SPX", "SPXW", "VIX", "NDX", "XSP"))


def new_york(year: int, month: int, day: int, hour: int, minute: int) -> datetime:
    return datetime(year, month, day, hour, minute, tzinfo=NEW_YORK).astimezone(UTC)


@pytest.mark.parametrize(
    ("year", "month", "expected"),
    [
        (2026, 6, date(2026, 6, 18)),
        (2025, 4, date(2025, 4, 17)),
        (2027, 6, date(2027, 6, 17)),
        (2026, 8, date(2026, 8, 21)),
        (2014, 6, date(2014, 6, 20)),
        (2008, 3, date(2008, 3, 20)),
    ],
)
def test_monthly_contracts_expire_on_the_third_friday_or_the_session_before(
    year: int, month: int, expected: date
) -> None:
    """Juneteenth and Good Friday fall on third Fridays."""
    assert monthly_expiration(year, month) == expected


def test_monthly_contracts_were_dated_saturday_until_january_2015() -> None:
    """As in symbols of 2014: AAPL 140621; from February 2015 the Friday itself."""
    assert monthly_listed_date(2014, 6) == date(2014, 6, 21)
    assert monthly_listed_date(2015, 1) == date(2015, 1, 17)
    assert monthly_listed_date(2015, 2) == date(2015, 2, 20)
    assert last_session(date(2014, 6, 21)) == date(2014, 6, 20)
    assert expiration_kind(date(2014, 6, 21)) is ExpirationKind.MONTHLY


def test_kinds_of_expirations() -> None:
    """Monthly, quarterly, end of month, and the weeklies between."""
    kinds = [expiration_kind(date(2026, *day)) for day in ((6, 18), (6, 30), (7, 31), (7, 10), (8, 21))]
    assert kinds == [
        ExpirationKind.MONTHLY,
        ExpirationKind.QUARTERLY,
        ExpirationKind.END_OF_MONTH,
        ExpirationKind.WEEKLY,
        ExpirationKind.MONTHLY,
    ]
    assert end_of_month_expiration(2026, 5) == date(2026, 5, 29)
    assert end_of_month_expiration(2026, 12) == date(2026, 12, 31)


def test_weeklies_move_for_holidays() -> None:
    """Good Friday's week ends on Thursday; a closed Monday moves to Tuesday, a closed Friday to Thursday."""
    assert weekly_expirations(date(2026, 3, 30), date(2026, 4, 10)) == [date(2026, 4, 2), date(2026, 4, 10)]
    assert weekly_expirations(date(2026, 9, 7), date(2026, 9, 11), weekdays=(0, 2, 4)) == [
        date(2026, 9, 8),
        date(2026, 9, 9),
        date(2026, 9, 11),
    ]
    assert weekly_expirations(date(2026, 4, 2), date(2026, 4, 2)) == [date(2026, 4, 2)]
    assert len(daily_expirations(date(2026, 9, 7), date(2026, 9, 11))) == 4


@pytest.mark.parametrize(
    ("year", "month", "expected"),
    [
        (2026, 8, date(2026, 8, 19)),
        (2026, 7, date(2026, 7, 22)),
        (2019, 3, date(2019, 3, 19)),
        (2025, 3, date(2025, 3, 18)),
        (2024, 6, date(2024, 6, 18)),
        (2026, 5, date(2026, 5, 19)),
        (2026, 12, date(2026, 12, 16)),
    ],
)
def test_vix_settles_on_the_wednesday_thirty_days_before_the_next_monthly(
    year: int, month: int, expected: date
) -> None:
    """On Tuesday when that Wednesday or the Friday 30 days later is closed (published VIX settlement dates)."""
    assert vix_expiration(year, month) == expected


def test_spx_settles_in_the_morning_and_spxw_at_the_close() -> None:
    """The same third Friday: SPX stops on Thursday 16:15, SPXW on Friday 16:00."""
    day = date(2026, 8, 21)
    assert (settlement_of("SPX", day), settlement_of("SPXW", day)) == (Settlement.AM, Settlement.PM)
    assert settlement_of("VIX", date(2026, 8, 19)) is Settlement.AM
    assert settlement_of("XSP", day) is settlement_of("AAPL", day) is Settlement.PM
    assert stops_trading_at("SPX", day) == new_york(2026, 8, 20, 16, 15)
    assert stops_trading_at("SPXW", day) == new_york(2026, 8, 21, 16, 0)
    assert settles_at(day, Settlement.AM) == new_york(2026, 8, 21, 9, 30)
    assert settles_at(day) == new_york(2026, 8, 21, 16, 0)


def test_a_holiday_moves_the_am_settled_contract_too() -> None:
    """Juneteenth 2026: SPX is settled on Thursday morning and last trades on Wednesday."""
    assert stops_trading_at("SPX", date(2026, 6, 18)) == new_york(2026, 6, 17, 16, 15)
    assert settles_at(date(2026, 6, 18), Settlement.AM) == new_york(2026, 6, 18, 9, 30)


def test_last_minutes_differ_by_root() -> None:
    """Shares 16:00, late-closing funds 16:15 on expiration day too, quarter of an hour later on half days as well."""
    friday, half = date(2026, 8, 21), date(2026, 11, 27)
    assert stops_trading_at("AAPL", friday) == new_york(2026, 8, 21, 16, 0)
    assert stops_trading_at("SPY", friday) == new_york(2026, 8, 21, 16, 15)
    assert stops_trading_at("SPY", half) == new_york(2026, 11, 27, 13, 15)
    assert stops_trading_at("SPXW", half) == new_york(2026, 11, 27, 13, 0)
    assert trading_ends_at("SPXW", date(2026, 8, 20)) == new_york(2026, 8, 20, 16, 15)
    assert trading_ends_at("SPY", date(2026, 8, 22)) is None
    assert stops_trading_at("AAPL", date(2014, 6, 21)) == new_york(2014, 6, 20, 16, 0)


def test_time_left_is_counted_to_the_minute() -> None:
    """AM and PM contracts of one date differ by six and a half hours; nothing is left afterwards."""
    now = datetime(2026, 8, 14, 19, 59, 30, tzinfo=UTC)
    day = date(2026, 8, 21)
    assert minutes_to_settlement(now, day) == 7 * 1440
    assert minutes_to_settlement(now, day) - minutes_to_settlement(now, day, Settlement.AM) == 390
    assert years_to_settlement(now, day) == pytest.approx((7 * 1440 + 0.5) / 525_600, rel=1e-15)
    assert minutes_to_settlement(now + timedelta(days=8), day) == 0
    assert years_to_settlement(now + timedelta(days=8), day) == 0


@settings(max_examples=60 * SCALE, deadline=None)
@given(months)
def test_expirations_are_sessions_close_to_their_rule(month: tuple[int, int]) -> None:
    """Monthly at most four days before the third Friday; VIX 30 to 31 days before it; listed dates lead back to it."""
    monthly, friday = monthly_expiration(*month), third_friday(*month)
    assert is_session(monthly)
    assert 15 <= friday.day <= 21
    assert timedelta(0) <= friday - monthly <= timedelta(days=4)
    assert last_session(monthly_listed_date(*month)) == monthly
    assert monthly_expirations(date(*month, 1), date(*month, 28)) == [monthly]
    settlement = vix_expiration(*month)
    assert is_session(settlement)
    assert timedelta(days=30) <= third_friday(month[0], month[1] + 1) - settlement <= timedelta(days=32)


@settings(max_examples=60 * SCALE, deadline=None)
@given(roots, months, st.sampled_from(Settlement))
def test_a_contract_settles_on_its_day_and_trades_no_later_than_a_quarter_hour_after_the_close(
    root: str, month: tuple[int, int], settlement: Settlement
) -> None:
    """AM contracts stop before they settle."""
    day = monthly_expiration(*month)
    stop, settled = stops_trading_at(root, day, settlement), settles_at(day, settlement)
    assert settled.astimezone(NEW_YORK).date() == day
    assert stop <= settled + timedelta(minutes=15)
    assert settlement is Settlement.PM or stop < settled


def test_recorded_expirations_follow_the_rules() -> None:
    """SPX of 2026: every SPX date is monthly, every SPXW date a session; before 2015 every Saturday is monthly."""
    index, old = SHARED / "chains_cboe_2026" / "SPX.parquet", SHARED / "lean_options" / "eod_universes.parquet"
    if not (index.exists() and old.exists()):
        pytest.skip(f"recorded chains are not at {index}: set TT_SHARED_DATA")
    pairs = pl.read_parquet(index, columns=["root", "expiry"]).unique().rows()
    assert len(pairs) > 60
    for root, day in pairs:
        assert last_session(day) == day
        assert settlement_of(root, day) is (Settlement.AM if root == "SPX" else Settlement.PM)
        assert root == "SPXW" or expiration_kind(day) is ExpirationKind.MONTHLY
    saturdays = [day for day in pl.read_parquet(old)["expiry"].unique() if day.weekday() == 5]
    assert len(saturdays) >= 9
    assert all(day == monthly_listed_date(day.year, day.month) for day in saturdays)
