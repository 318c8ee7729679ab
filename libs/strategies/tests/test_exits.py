"""Exits: every rule's value, limit and distance by hand, and a decision that no single bad print can bring about.

Invariants: bad quotes never trigger or confirm; CLOSE needs as many agreeing good looks in a row as the rules say; the
most urgent confirmed rule is named.
"""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optionmath.sessions import closes_at
from schemas.money import price_from_float
from schemas.symbols import OptionSymbol, OptionType
from strategies.chainfile import read, snapshots
from strategies.exits import (
    Book,
    ExitAction,
    ExitCheck,
    ExitRule,
    ExitState,
    Look,
    OpenPosition,
    assess,
    decide,
    unusable,
)
from strategies.rules import RuleSet
from strategies.structures import Holding

SHARED = Path(os.environ.get("TT_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data"))
SCALE = int(os.environ.get("TT_TEST_SCALE", "1"))
D = Decimal
NOW = datetime(2026, 11, 24, 16, 0, tzinfo=UTC)
EXPIRATION = date(2027, 1, 8)
RULES = RuleSet(exit_confirmations=2, exit_settle_seconds=5)


def occ(kind: str, strike: int, day: date = EXPIRATION) -> str:
    return OptionSymbol("XYZ", day, OptionType(kind), D(strike)).occ


SHORT_PUT, LONG_PUT = occ("P", 95), occ("P", 90)
SPREAD = OpenPosition("XYZ", (Holding(LONG_PUT, 1), Holding(SHORT_PUT, -1)), D("1.30"), 45, D("1.30"))


def book(mid: str, at: datetime = NOW, half: str = "0.02") -> Book:
    return Book(D(mid) - D(half), D(mid) + D(half), at)


def look(short: str = "2.00", long: str = "0.80", at: datetime = NOW, **change: object) -> Look:
    """The spread at these mids; by default it costs 1.20 to buy back."""
    plain = Look(at, {SHORT_PUT: book(short, at), LONG_PUT: book(long, at)}, D(100), at)
    return replace(plain, **change)  # type: ignore[arg-type] # tests name fields of Look


def check(rule: ExitRule, position: OpenPosition, seen: Look, rules: RuleSet = RULES) -> ExitCheck:
    return next(each for each in assess(position, seen, rules) if each.rule is rule)


def test_profit_and_stop_by_hand() -> None:
    """Opened for 1.30, costs 1.20: 7.7 % of max profit, 0.92 times the credit."""
    profit, stop = check(ExitRule.PROFIT, SPREAD, look()), check(ExitRule.STOP, SPREAD, look())
    assert profit.value == pytest.approx(100 * 0.10 / 1.30)
    assert profit.distance == pytest.approx(50 - 100 * 0.10 / 1.30)
    assert stop.value == pytest.approx(1.20 / 1.30)
    assert (stop.limit, stop.triggered) == (2.0, False)


@pytest.mark.parametrize(
    ("short", "long", "basis", "multiple", "triggered"),
    [
        ("3.39", "0.80", "price_multiple", 2.0, False),
        ("3.40", "0.80", "price_multiple", 2.0, True),
        ("3.40", "0.80", "loss_multiple", 2.0, False),
        ("4.69", "0.80", "loss_multiple", 2.0, False),
        ("4.70", "0.80", "loss_multiple", 2.0, True),
    ],
)
def test_the_stop_counts_the_price_or_the_loss(
    short: str, long: str, basis: str, multiple: float, triggered: bool
) -> None:
    """2x the price is a loss of 1x the credit; 2x the loss is a price of 3x."""
    rules = RULES.model_copy(update={"stop_basis": basis, "stop_multiple": multiple})
    assert check(ExitRule.STOP, SPREAD, look(short, long), rules).triggered == triggered


def test_the_profit_target_is_met_exactly_at_half() -> None:
    """Costs 0.65: half of 1.30 is earned."""
    assert check(ExitRule.PROFIT, SPREAD, look("1.25", "0.60")).triggered
    assert not check(ExitRule.PROFIT, SPREAD, look("1.26", "0.60")).triggered


def test_debits_stop_on_the_share_lost_and_unlimited_profit_is_measured_by_the_debit() -> None:
    """A long call bought for 4.00 and worth 2.00 has lost half; worth 6.00 it has made half of the debit."""
    symbol = occ("C", 100)
    call = OpenPosition("XYZ", (Holding(symbol, 1),), D(-4), 45, None)
    down, up = (replace(look(), books={symbol: book(mid)}) for mid in ("2.00", "6.00"))
    assert check(ExitRule.STOP, call, down).value == 50
    assert check(ExitRule.STOP, call, down).triggered
    assert check(ExitRule.PROFIT, call, up).triggered
    assert check(ExitRule.PROFIT, call, up).unit == "% of the opening price"


def test_ratio_legs_count_by_their_quantity() -> None:
    """A 1x2 call ratio opened for 0.20: 1 x 3.00 − 2 x 1.60 costs 0.20."""
    near, far = occ("C", 100), occ("C", 110)
    ratio = OpenPosition("XYZ", (Holding(near, 1), Holding(far, -2)), D("0.20"), 45, D("10.20"))
    seen = replace(look(), books={near: book("3.00"), far: book("1.60")})
    assert check(ExitRule.STOP, ratio, seen).value == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("day", "triggered"), [(date(2026, 12, 17), False), (date(2026, 12, 18), True), (date(2027, 1, 4), True)]
)
def test_positions_are_managed_at_21_days(day: date, triggered: bool) -> None:
    """Whatever the P&L; 8 January less 21 days is 18 December."""
    at = datetime(day.year, day.month, day.day, 15, tzinfo=UTC)
    assert check(ExitRule.MANAGE, SPREAD, look(at=at)).triggered == triggered


def test_what_was_opened_with_few_days_is_not_closed_at_once() -> None:
    """A trade of 14 days would otherwise be closed when it opens."""
    found = check(ExitRule.MANAGE, replace(SPREAD, entry_dte=14), look(at=NOW + timedelta(days=40)))
    assert not found.triggered
    assert "opened with 14 days" in found.detail


@pytest.mark.parametrize(
    ("report", "triggered", "says"),
    [
        (date(2026, 11, 25), True, "report 2026-11-25"),
        (date(2026, 11, 27), False, "report 2026-11-27"),
        (date(2027, 1, 20), False, "expires before"),
        (date(2026, 11, 20), False, "no report is scheduled"),
        (None, False, "no report is scheduled"),
    ],
)
def test_positions_are_closed_the_session_before_earnings(report: date | None, triggered: bool, says: str) -> None:
    """Thanksgiving, 26 November, is no session: the report of the 27th is two sessions away on the 24th."""
    found = check(ExitRule.EARNINGS, SPREAD, look(earnings_date=report))
    assert found.triggered == triggered
    assert says in found.detail


def test_rules_that_are_switched_off_or_have_nothing_to_judge_say_so() -> None:
    """Held through earnings by rule; shares alone have no days; a profit of nothing is never half reached."""
    held_through = RULES.model_copy(update={"event_exit_sessions": 0})
    found = check(ExitRule.EARNINGS, SPREAD, look(earnings_date=date(2026, 11, 25)), held_through)
    assert (found.triggered, found.detail) == (False, "held through by rule")
    shares = OpenPosition("XYZ", (Holding("XYZ", 100),), D(0), 45, None)
    assert not any(each.triggered for each in assess(shares, look(), RULES))
    assert check(ExitRule.MANAGE, shares, look()).detail == "no option leg"
    assert check(ExitRule.PROFIT, replace(SPREAD, max_profit=D(0)), look()).detail == "there is no profit to take"


CALL = occ("C", 95)
COVERED = OpenPosition("XYZ", (Holding("XYZ", 100), Holding(CALL, -1)), D("2.00"), 45, None)


@pytest.mark.parametrize(
    ("mid", "ex_date", "dividend", "triggered", "warned"),
    [
        ("5.49", date(2026, 11, 25), "0.50", True, True),
        ("5.50", date(2026, 11, 25), "0.50", True, True),
        ("5.60", date(2026, 11, 25), "0.50", False, True),
        ("5.80", date(2026, 11, 25), "0.50", False, False),
        ("5.20", date(2026, 11, 30), "0.50", False, True),
        ("5.20", date(2026, 11, 24), "0.50", False, False),
        ("5.20", date(2027, 2, 1), "0.50", False, False),
        ("5.20", date(2026, 11, 25), None, False, False),
    ],
)
def test_short_calls_with_less_time_value_than_the_dividend_are_closed_before_the_ex_date(
    mid: str, ex_date: date, dividend: str | None, triggered: bool, warned: bool
) -> None:
    """The 95 call at a price of 100: 5.49 holds 0.49 of time value."""
    seen = look(books={CALL: book(mid)}, ex_dividend_date=ex_date, dividend=D(dividend) if dividend else None)
    found = check(ExitRule.DIVIDEND, COVERED, seen)
    assert (found.triggered, found.warned) == (triggered, warned)
    assert not check(ExitRule.DIVIDEND, replace(COVERED, european=True), seen).triggered


@pytest.mark.parametrize(
    ("spot", "at", "triggered"),
    [
        ("96.00", (20, 30), False),
        ("95.90", (20, 30), True),
        ("94.00", (20, 30), True),
        ("94.00", (19, 59), False),
        ("94.00", (20, 0), True),
    ],
)
def test_short_legs_in_or_near_the_money_are_closed_in_the_last_hour(
    spot: str, at: tuple[int, int], triggered: bool
) -> None:
    """The short 95 put: within 1 % of the strike is a price below 95.95; the last hour starts at 15:00 New York."""
    now = datetime(2027, 1, 8, *at, tzinfo=UTC)
    seen = look("0.30", "0.05", now, spot=D(spot))
    assert check(ExitRule.EXPIRATION, SPREAD, seen).triggered == triggered
    assert not check(ExitRule.EXPIRATION, replace(SPREAD, european=True), seen).triggered


def test_long_legs_in_the_money_are_closed_before_they_are_exercised() -> None:
    """Out of the money they are left to expire."""
    now = datetime(2027, 1, 8, 20, 30, tzinfo=UTC)
    symbol = occ("C", 100)
    call = OpenPosition("XYZ", (Holding(symbol, 1),), D(-1), 45, None)
    for spot, triggered in (("101", True), ("99.9", False)):
        seen = replace(look(at=now), books={symbol: book("1.00", now)}, spot=D(spot))
        assert check(ExitRule.EXPIRATION, call, seen).triggered == triggered


def test_distance_and_verdict_agree_in_the_stored_result() -> None:
    """A positive margin has room left; the result is what the page shows."""
    for each in assess(SPREAD, look("3.60", "0.60", earnings_date=date(2026, 11, 25)), RULES):
        found = each.result()
        assert found.passed == (not each.triggered)
        assert found.margin == each.distance
        if found.margin is not None and found.value is not None and found.limit is not None:
            room = found.value - found.limit if found.comparison == ">=" else found.limit - found.value
            assert found.margin == pytest.approx(room)


def missing(seen: Look) -> Look:
    return replace(seen, books={LONG_PUT: seen.books[LONG_PUT]})


def stale(seen: Look) -> Look:
    return replace(
        seen, books={**seen.books, SHORT_PUT: replace(seen.books[SHORT_PUT], at=seen.now - timedelta(seconds=601))}
    )


def crossed(seen: Look) -> Look:
    return replace(seen, books={**seen.books, SHORT_PUT: Book(D(3), D(2), seen.now)})


def locked(seen: Look) -> Look:
    return replace(seen, books={**seen.books, SHORT_PUT: Book(D(3), D(3), seen.now)})


def no_spot(seen: Look) -> Look:
    return replace(seen, spot=None)


def dead_feed(seen: Look) -> Look:
    return replace(seen, spot_at=seen.now - timedelta(seconds=16))


def closed(seen: Look) -> Look:
    return replace(seen, market_open=False)


BAD = [missing, stale, crossed, locked, no_spot, dead_feed, closed]


@pytest.mark.parametrize("spoil", BAD)
def test_bad_looks_never_close_and_say_why(spoil: object) -> None:
    """However long they last, and with every rule due, calendar rules included."""
    assert callable(spoil)
    state = ExitState()
    for second in range(0, 100, 10):
        at = datetime(2027, 1, 8, 20, 30, second % 60, tzinfo=UTC) + timedelta(minutes=second // 60)
        decision, state = decide(SPREAD, spoil(look("4.00", "0.10", at, spot=D(80))), state, RULES)
        assert decision.action is ExitAction.BLIND
        assert decision.reasons
    assert state == ExitState()


def test_a_worthless_leg_bid_at_nothing_is_a_good_quote() -> None:
    """Otherwise a winning spread could never be closed."""
    seen = look("0.10", "0.02")
    seen = replace(seen, books={**seen.books, LONG_PUT: Book(D(0), D("0.04"), NOW)})
    assert unusable(SPREAD, seen, RULES) == ()
    assert check(ExitRule.PROFIT, SPREAD, seen).triggered


def test_quotes_too_wide_to_judge_trigger_no_price_rule() -> None:
    """Mid says stop, but nobody would pay that; calendar rules are judged still."""
    seen = look("3.60", "0.60", earnings_date=date(2026, 11, 25))
    seen = replace(seen, books={**seen.books, SHORT_PUT: book("3.60", half="1.60")})
    assert not check(ExitRule.STOP, SPREAD, seen).triggered
    assert "mid to natural is" in check(ExitRule.STOP, SPREAD, seen).detail
    assert check(ExitRule.EARNINGS, SPREAD, seen).triggered


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def run(looks: list[Look], rules: RuleSet = RULES) -> list[tuple[ExitAction, int]]:
    state, seen = ExitState(), []
    for each in looks:
        decision, state = decide(SPREAD, each, state, rules)
        seen.append((decision.action, decision.confirmations))
    return seen


def test_two_good_looks_in_a_row_close() -> None:
    """The first asks for confirmation, the second gives it."""
    assert run([look("3.60", at=after(0)), look("3.60", at=after(1))]) == [
        (ExitAction.CONFIRM, 1), (ExitAction.CLOSE, 2),
    ]  # fmt: skip


def test_a_single_bad_print_closes_nothing() -> None:
    """The next quote disagrees, and counting starts anew."""
    looks = [look("3.60", at=after(0)), look("2.00", at=after(1)), look("3.60", at=after(2)), look("2.00", at=after(3))]
    assert [action for action, _ in run(looks)] == [
        ExitAction.CONFIRM, ExitAction.HOLD, ExitAction.CONFIRM, ExitAction.HOLD,
    ]  # fmt: skip


def test_the_same_print_seen_twice_is_one_confirmation() -> None:
    """Another leg's tick does not confirm it; standing for five seconds does."""
    bad = book("3.60", after(0))

    def again(seconds: float) -> Look:
        return replace(look(at=after(seconds)), books={SHORT_PUT: bad, LONG_PUT: book("0.80", after(seconds))})

    seen = run([again(0), again(1), again(4.9), again(5), again(6)])
    assert seen[:3] == [(ExitAction.CONFIRM, 1)] * 3
    assert seen[3] == (ExitAction.CLOSE, 2)


def test_bad_looks_between_good_ones_neither_count_nor_reset() -> None:
    """Consecutive means consecutive good looks."""
    looks = [look("3.60", at=after(0)), missing(look("3.60", at=after(1))), look("3.60", at=after(2))]
    assert [action for action, _ in run(looks)] == [ExitAction.CONFIRM, ExitAction.BLIND, ExitAction.CLOSE]


def test_confirmations_too_far_apart_start_anew() -> None:
    """A look from before lunch confirms nothing."""
    assert run([look("3.60", at=after(0)), look("3.60", at=after(301))])[1] == (ExitAction.CONFIRM, 1)


def test_the_most_urgent_confirmed_rule_is_named() -> None:
    """Expiration before stop before events before time before profit."""
    at = [datetime(2027, 1, 8, 20, 30, second, tzinfo=UTC) for second in (0, 1)]
    state = ExitState()
    for each in at:
        decision, state = decide(SPREAD, look("4.00", "0.10", each, spot=D(91)), state, RULES)
    assert decision.rule is ExitRule.EXPIRATION
    assert {check.rule for check in decision.checks if check.triggered} == {
        ExitRule.EXPIRATION, ExitRule.STOP, ExitRule.MANAGE,
    }  # fmt: skip


@settings(max_examples=80 * SCALE, deadline=None)
@given(
    path=st.lists(
        st.tuples(st.sampled_from(["good", "due", "bad"]), st.floats(0.5, 400), st.sampled_from(BAD)),
        min_size=1,
        max_size=12,
    ),
    needed=st.integers(1, 4),
)
def test_close_needs_the_last_good_looks_to_agree(path: list[tuple[str, float, object]], needed: int) -> None:
    """Against a plain count of fresh good looks in a row."""
    rules = RULES.model_copy(update={"exit_confirmations": needed})
    state, now, run_length, last_good = ExitState(), NOW, 0, NOW
    for kind, seconds, spoil in path:
        now += timedelta(seconds=seconds)
        assert callable(spoil)
        plain = look("3.60" if kind == "due" else "2.00", at=now)
        decision, state = decide(SPREAD, spoil(plain) if kind == "bad" else plain, state, rules)
        if kind != "bad":
            lapsed = now - last_good > timedelta(seconds=rules.exit_confirmation_gap_seconds)
            run_length = 0 if kind == "good" else 1 if lapsed else run_length + 1
            last_good = now
        due = kind == "due"
        assert (decision.action is ExitAction.CLOSE) == (due and run_length >= needed)
        assert (decision.action is ExitAction.BLIND) == (kind == "bad")
        assert (decision.action is ExitAction.HOLD) == (kind == "good")


def test_a_recorded_decline_stops_a_put_spread_out() -> None:
    """SPY, July 2026: the 727/732 spread sold for 0.91 costs 2.1 times that at the close of the 29th."""
    path = SHARED / "chains_cboe_2026" / "SPY.parquet"
    if not path.exists():
        pytest.skip(f"recorded chains are not at {path}: set TT_SHARED_DATA")
    frame = read(path)
    rules = RULES.model_copy(update={"exit_confirmations": 1})
    legs = tuple(Holding(f"SPY   260828P00{strike}000", signed) for strike, signed in ((727, 1), (732, -1)))
    position = OpenPosition("SPY", legs, D("0.909"), 37, D("0.909"))
    state, closed_by = ExitState(), {}
    for day in (date(2026, 7, 27), date(2026, 7, 28), date(2026, 7, 29)):
        (chain,) = snapshots(frame, day)
        closing = closes_at(day)
        assert closing is not None
        now = closing - timedelta(minutes=1)
        row = {symbol: index for index, symbol in enumerate(chain.occ_symbols)}
        books = {
            leg.symbol: Book(
                price_from_float(float(chain.bid[row[leg.symbol]])),
                price_from_float(float(chain.ask[row[leg.symbol]])),
                now,
            )
            for leg in legs
        }
        decision, state = decide(position, Look(now, books, price_from_float(chain.spot), now), state, rules)
        closed_by[day.day] = decision.rule
    assert closed_by == {27: None, 28: None, 29: ExitRule.STOP}
