"""Payoffs are exact; the calendar is the exchange's."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optionmath.payoff import PayoffLeg, analyse, value_at
from optionmath.sessions import (
    closes_at,
    days_to_expiration,
    expires_at,
    holidays,
    is_open,
    is_session,
    years_to_expiration,
)

legs = st.lists(
    st.builds(PayoffLeg, st.booleans(), st.integers(1, 200).map(Decimal), st.integers(-3, 3).filter(bool)),
    min_size=1,
    max_size=4,
)
credits = st.integers(-500, 500).map(lambda cents: Decimal(cents) / 100)


@given(legs, credits, st.lists(st.integers(0, 1000).map(Decimal), min_size=1, max_size=30))
def test_no_price_ever_loses_more_or_earns_less_than_stated(
    position: list[PayoffLeg], credit: Decimal, prices: list[Decimal]
) -> None:
    """max_loss and max_profit bound the P&L over all prices; None is unlimited."""
    found = analyse(position, credit)
    for each in prices:
        result = value_at(position, credit, each)
        assert found.max_loss is None or result >= -found.max_loss
        assert found.max_profit is None or result <= found.max_profit


@given(legs, credits)
def test_pnl_is_zero_at_every_breakeven(position: list[PayoffLeg], credit: Decimal) -> None:
    """Breakevens are where nothing is won or lost."""
    assert all(
        abs(value_at(position, credit, each)) < Decimal("1e-20") for each in analyse(position, credit).breakevens
    )


def test_put_credit_spread_by_hand() -> None:
    """Sell 95, buy 90, credit 1.30: loses 3.70, earns 1.30, breaks even at 93.70."""
    found = analyse([PayoffLeg(False, Decimal(95), -1), PayoffLeg(False, Decimal(90), 1)], Decimal("1.30"))
    assert (found.max_loss, found.max_profit, found.breakevens) == (
        Decimal("3.70"),
        Decimal("1.30"),
        (Decimal("93.70"),),
    )


def test_short_call_has_unlimited_risk() -> None:
    """Nothing bounds it above."""
    assert analyse([PayoffLeg(True, Decimal(100), -1)], Decimal(1)).max_loss is None


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


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (datetime(2026, 11, 24, 14, 30, tzinfo=UTC), True),
        (datetime(2026, 11, 24, 14, 29, 59, tzinfo=UTC), False),
        (datetime(2026, 11, 24, 21, 0, tzinfo=UTC), False),
        (datetime(2026, 11, 26, 15, 0, tzinfo=UTC), False),
        (datetime(2026, 7, 6, 13, 30, tzinfo=UTC), True),
    ],
)
def test_regular_hours_follow_new_york(now: datetime, expected: bool) -> None:
    """Winter and summer time, holidays, both ends."""
    assert is_open(now) is expected


def test_dte_and_years_count_to_the_last_trading_minute() -> None:
    """Expiration day is DTE 0 and still has its hours left; afterwards there is nothing."""
    noon = datetime(2026, 11, 20, 17, 0, tzinfo=UTC)
    assert days_to_expiration(noon, date(2026, 11, 20)) == 0
    assert years_to_expiration(noon, date(2026, 11, 20)) == pytest.approx(4 / (24 * 365))
    assert years_to_expiration(noon, date(2026, 11, 19)) == 0
    assert expires_at(date(2026, 4, 3)) == datetime(2026, 4, 2, 20, 0, tzinfo=UTC)
