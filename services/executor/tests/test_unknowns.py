"""When an unknown order is looked up, what its absence proves, and what it holds back."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.domain.unknowns import (
    Absence,
    Unknown,
    WorkingClose,
    close_allowance,
    holds_back,
    judge,
    lookup_due,
)
from schemas.orders import IntentState

TODAY, TOMORROW = date(2026, 11, 24), date(2026, 11, 25)
NOW = datetime(2026, 11, 24, 17, 0, tzinfo=UTC)
U, Q = IntentState.UNKNOWN, IntentState.QUARANTINE


def absence(seconds: float = 61.0, **changes: bool) -> Absence:
    facts = {"complete": True, "stream_unbroken": True, "account_unchanged": True}
    return Absence(seconds, **(facts | changes))


def judged(state: IntentState, seen: Absence, *, throttled: bool = False, asked: int = 0, today: date = TODAY) -> str:
    found = judge(state, seen, throttled=throttled, throttled_lookups=asked, sent_on=TODAY, today=today)
    return "stays" if found is None else found.state.value


def test_look_ups_follow_the_schedule_and_then_every_minute() -> None:
    """0.5, 1, 2, 4, 8, 15, 30, 60 s after the send, then each minute to the end of the session."""
    assert [lookup_due(asked) for asked in range(11)] == [0.5, 1, 2, 4, 8, 15, 30, 60, 120, 180, 240]


def test_a_refusal_for_too_many_requests_is_looked_up_after_2_and_10_seconds() -> None:
    assert [lookup_due(asked, throttled=True) for asked in range(2)] == [2, 10]


@given(st.integers(0, 500), st.booleans())
def test_look_ups_never_stop_and_never_hurry(asked: int, throttled: bool) -> None:
    """The schedule only goes on, and from the first minute on by a minute at a time."""
    dues = [lookup_due(each, throttled=throttled) for each in range(asked, asked + 3)]
    assert all(later >= earlier or throttled for earlier, later in pairwise(dues))
    assert dues[-1] - dues[-2] <= 60


@pytest.mark.parametrize("missing", ["complete", "stream_unbroken", "account_unchanged"])
def test_absence_is_evidence_only_with_everything_else_known(missing: str) -> None:
    """Every page read, a minute after the send, the stream connected throughout, nothing else moved."""
    assert absence().is_evidence()
    assert not absence(**{missing: False}).is_evidence()
    assert not absence(59.9).is_evidence()


def test_an_unknown_is_set_aside_on_evidence_and_never_called_rejected() -> None:
    assert judged(U, absence(30)) == "stays"
    assert judged(U, absence(61)) == "quarantine"
    assert judged(U, absence(10_000), today=TOMORROW) == "quarantine"


def test_a_broken_stream_delays_setting_aside() -> None:
    assert judged(U, absence(61, stream_unbroken=False)) == "stays"
    assert judged(U, absence(301, stream_unbroken=False)) == "quarantine"


def test_an_incomplete_list_proves_nothing() -> None:
    assert judged(U, absence(10_000, complete=False)) == "stays"
    assert judged(Q, absence(10_000, complete=False), today=TOMORROW) == "stays"


def test_only_a_later_day_s_clean_search_proves_one_dead() -> None:
    assert judged(Q, absence(40_000)) == "stays"
    assert judged(Q, absence(40_000), today=TOMORROW) == "dead"


def test_a_throttled_send_is_refused_after_two_absences() -> None:
    assert judged(U, absence(2), throttled=True, asked=1) == "stays"
    assert judged(U, absence(10), throttled=True, asked=2) == "rejected"


def test_an_unknown_holds_back_its_strategy_in_its_underlying() -> None:
    lost = [Unknown("i1", "wheel", "SPY")]
    assert holds_back("wheel", "SPY", lost) == "the fate of order i1 of wheel in SPY is unknown"
    assert holds_back("wheel", "QQQ", lost) is None
    assert holds_back("other", "SPY", lost) is None


def test_two_unknowns_hold_back_the_account() -> None:
    lost = [Unknown("i1", "wheel", "SPY"), Unknown("i2", "other", "QQQ")]
    assert holds_back("third", "IWM", lost) == "the fate of 2 orders of the account is unknown"


def close(quantity: int, unknown_seconds: float | None = None) -> WorkingClose:
    since = None if unknown_seconds is None else NOW - timedelta(seconds=unknown_seconds)
    return WorkingClose({"A": quantity}, since)


def test_a_second_close_waits_a_minute_for_the_first() -> None:
    assert close_allowance({"A": 2}, {"A": 2}, [close(2, unknown_seconds=59)], NOW) is None
    assert close_allowance({"A": 2}, {"A": 2}, [close(2, unknown_seconds=60)], NOW) == {"A": 2}


def test_a_second_close_takes_what_the_position_and_known_closes_leave() -> None:
    assert close_allowance({"A": 3}, {"A": 2}, [close(2, unknown_seconds=90)], NOW) == {"A": 2}
    assert close_allowance({"A": 3}, {"A": 4}, [close(2)], NOW) == {"A": 2}
    assert close_allowance({"A": 3}, {}, [close(2, unknown_seconds=90)], NOW) == {"A": 0}


@given(st.integers(1, 10), st.integers(0, 10), st.lists(st.integers(1, 10), max_size=3))
def test_closes_together_never_exceed_the_position(wanted: int, held: int, working: list[int]) -> None:
    """Whatever works already, what is allowed beside any one of it fits into the position."""
    allowed = close_allowance({"A": wanted}, {"A": held}, [close(each) for each in working], NOW)
    assert allowed is not None
    assert 0 <= allowed["A"] <= min(wanted, held)
    assert all(allowed["A"] + each <= max(held, each) for each in working)
