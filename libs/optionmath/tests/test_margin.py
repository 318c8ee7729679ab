"""Margin against the exchange's worked examples, against an exhaustive search, and against what must always hold.

Invariants: the pairing is the least one; it covers the worst loss of everything that is not naked; a long option never
raises the deposit; order, splitting and netting of legs do not matter; a position twice as large needs at most twice.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optionmath.margin import (
    AccountKind,
    GroupKind,
    MarginOption,
    MarginRequirement,
    MarginRules,
    Phase,
    Underlying,
    UnderlyingKind,
    buying_power_effect,
    netted,
    requirement,
)

SCALE = int(os.environ.get("TT_TEST_SCALE", "1"))
D = Decimal
NEAR, FAR = date(2026, 12, 18), date(2027, 1, 15)
MAINTENANCE = MarginRules(phase=Phase.MAINTENANCE)
CASH = MarginRules(account=AccountKind.CASH)
BROAD = UnderlyingKind.BROAD_INDEX


def leg(kind: str, strike: float, quantity: int, price: float = 1.0, expiration: date = NEAR) -> MarginOption:
    return MarginOption(kind == "C", D(str(strike)), expiration, quantity, D(str(price)))


def need(
    legs: Sequence[MarginOption], spot: float = 100.0, *, shares: int = 0, rules: MarginRules | None = None
) -> MarginRequirement:
    return requirement(legs, Underlying(D(str(spot))), shares=shares, rules=rules)


# Kind, strike, premium, underlying, broad index, leverage, requirement: Cboe's margin handbook, pages 28 to 35.
NAKED = [
    ("P", 80, 2, 95, False, 1, 1000), ("P", 20, 1.5, 19.5, False, 1, 540), ("P", 725, 3, 970, False, 2, 14800),
    ("P", 400, 15.5, 390.7, False, 3, 24992), ("P", 410, 0.1, 445.35, True, 1, 4110),
    ("P", 430, 7.8, 433.35, True, 1, 6945.25), ("P", 45, 2.85, 43.34, True, 1, 935.1),
    ("P", 390, 4, 460, True, 1.5, 6250), ("C", 120, 8.4, 128.5, False, 1, 3410),
    ("C", 30, 0.05, 26.38, False, 1, 268.8), ("C", 810, 10.1, 815.5, False, 2, 33630),
    ("C", 1250, 2, 1050.3, False, 1.5, 15954.5), ("C", 430, 8.7, 433.35, True, 1, 7370.25),
    ("C", 45, 1.35, 43.34, True, 1, 619.1), ("C", 370, 12.85, 378.5, True, 1, 6962.5),
    ("C", 450, 3, 410, True, 1.5, 6450),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "strike", "premium", "spot", "broad", "leverage", "expected"), NAKED)
def test_naked_options_of_the_handbook(
    kind: str, strike: float, premium: float, spot: float, broad: bool, leverage: float, expected: float
) -> None:
    """Premium + max(rate · underlying − out-of-the-money amount, minimum): equity, broad index, leveraged funds."""
    underlying = Underlying(D(str(spot)), BROAD if broad else UnderlyingKind.EQUITY, D(str(leverage)))
    found = requirement([leg(kind, strike, -1, premium)], underlying)
    assert found.requirement == D(str(expected))


# Legs as (kind, strike, quantity, premium, expiration), underlying, broad index, requirement: the handbook, 36 to 57.
COMBINED: list[tuple[str, list[MarginOption], float, bool, float]] = [
    ("put debit", [leg("P", 250, 1, 3), leg("P", 240, -1, 0.95)], 255, False, 300),
    ("put credit", [leg("P", 425, 1, 6.4), leg("P", 430, -1, 7.8)], 433.35, True, 1140),
    ("call credit", [leg("C", 125, 1, 3.8), leg("C", 120, -1, 8.4)], 128.5, False, 880),
    ("short outlives", [leg("C", 70, 1, 5), leg("C", 70, -1, 8, FAR)], 75, False, 2800),
    ("short outlives, index", [leg("C", 425, 1, 13.1), leg("C", 430, -1, 12.2, FAR)], 433.35, True, 9030.25),
    ("straddle", [leg("C", 90, -1, 7), leg("P", 90, -1, 3.7)], 92.63, False, 2922.6),
    ("index straddle", [leg("P", 435, -1, 7.2), leg("C", 435, -1, 5.5)], 433.35, True, 7770.25),
    ("reduced-value straddle", [leg("P", 45, -1, 2.85), leg("C", 45, -1, 1.35)], 43.34, True, 1070.1),
    ("long box", [leg("C", 40, 1, 15.4), leg("C", 50, -1, 7.2), leg("P", 50, 1, 1.75), leg("P", 40, -1, 0.4)], 50,
     False, 1715),
    ("short box", [leg("C", 50, -1, 17.3), leg("C", 60, 1, 8.4), leg("P", 60, -1, 1.25), leg("P", 50, 1, 0.3)], 66,
     False, 1870),
    ("put fly", [leg("P", 540, 1, 5.6), leg("P", 550, -2, 7.2), leg("P", 555, 1, 9.8)], 550, False, 2040),
    ("call fly", [leg("C", 545, 1, 12.4), leg("C", 550, -2, 8.8), leg("C", 565, 1, 2)], 550, False, 2440),
    ("put condor", [leg("P", 1050, 1, 47.1), leg("P", 1075, -1, 55.7), leg("P", 1100, -1, 66.3), leg("P", 1125, 1, 85.4)
     ], 1160, False, 13250),
    ("call condor", [leg("C", 22.5, 1, 0.45), leg("C", 25, -1, 0.75), leg("C", 30, -1, 2.75), leg("C", 32.5, 1, 4.3)],
     26.75, False, 475),
    ("iron fly", [leg("P", 16, 1, 0.1), leg("P", 20, -1, 0.2), leg("C", 20, -1, 7), leg("C", 24, 1, 4)], 26.75, False,
     810),
    ("iron condor", [leg("P", 1000, 1, 32), leg("P", 1025, -1, 35.1), leg("C", 1150, -1, 9.4), leg("C", 1175, 1, 6.3)],
     1060, False, 6330),
]  # fmt: skip


@pytest.mark.parametrize("case", COMBINED, ids=[case[0] for case in COMBINED])
def test_spreads_and_straddles_of_the_handbook(case: tuple[str, list[MarginOption], float, bool, float]) -> None:
    """Greatest loss of what is covered, longs in full, the greater side of a straddle plus the other's premium."""
    _, legs, spot, broad, expected = case
    underlying = Underlying(D(str(spot)), BROAD if broad else UnderlyingKind.EQUITY)
    assert requirement(legs, underlying).requirement == D(str(expected))


def test_covered_call_of_the_handbook() -> None:
    """Stock at 92.38, call 90 in the money: half of it, $4,619, and $238 of the proceeds may not be used (p. 47)."""
    found = need([leg("C", 90, -1, 7)], 92.38, shares=100)
    assert found.deposit == D(4619) + D(238)
    assert [group.kind for group in found.groups] == [GroupKind.COVERED]


def test_covered_put_of_the_handbook() -> None:
    """Short stock at 255 under a short put 250: 150 % of the stock, of which its proceeds are 100 % (p. 47)."""
    assert need([leg("P", 250, -1, 3)], 255, shares=-100).deposit + 25500 == D(38250)


def test_hedged_shares_of_the_handbook() -> None:
    """Protective put $1,800 (p. 58), conversion 10 % of the strike (p. 59), collar $475 (p. 61): maintenance."""
    put = need([leg("P", 95, 1)], 103.5, shares=100, rules=MAINTENANCE)
    conversion = need([leg("C", 110, -1, 6.5), leg("P", 110, 1, 1.35)], 115, shares=100, rules=MAINTENANCE)
    collar = need([leg("P", 30, 1), leg("C", 35, -1)], 31.75, shares=100, rules=MAINTENANCE)
    assert put.deposit == 1800
    assert conversion.deposit == 1100 + 500
    assert collar.deposit == 475
    assert [group.kind for group in collar.groups] == [GroupKind.COLLAR]


def test_long_dated_options_may_be_borrowed_on() -> None:
    """More than nine months to live: 75 % of the premium where the broker lends (p. 24, $900), else all of it."""
    lending = MarginRules(long_dated_loan=D("0.25"))
    option = leg("C", 80, 1, 12, date(2028, 1, 21))
    lent = requirement([option], Underlying(D(78)), rules=lending, as_of=NEAR)
    near = requirement([replace(option, expiration=FAR)], Underlying(D(78)), rules=lending, as_of=NEAR)
    assert (lent.requirement, near.requirement, need([option], 78).requirement) == (900, 1200, 1200)


def test_buying_power_used_of_an_iron_condor_is_the_wider_side_less_the_credit() -> None:
    """5 and 7 wide, worth 2.00 to close: $700 − $200."""
    legs = [leg("P", 90, 1, 1), leg("P", 95, -1, 2), leg("C", 105, -1, 2), leg("C", 112, 1, 1)]
    found = need(legs)
    assert (found.deposit, found.buying_power_used) == (700, 500)


def test_a_ratio_is_a_spread_and_a_naked_option() -> None:
    """Long 1 × 100, short 2 × 105: the spread is free, the second short is naked."""
    found = need([leg("C", 100, 1, 4), leg("C", 105, -2, 2)])
    assert found.deposit == need([leg("C", 105, -1, 2)]).deposit
    assert {group.kind for group in found.groups} == {GroupKind.SPREAD, GroupKind.NAKED}


def test_calendars_and_diagonals() -> None:
    """The long outlives the short: only the strike difference, if the short strike is worse; the reverse is naked."""
    assert need([leg("P", 100, -1, 2), leg("P", 100, 1, 3, FAR)]).deposit == 0
    assert need([leg("P", 100, -1, 2), leg("P", 97, 1, 2, FAR)]).deposit == 300
    assert need([leg("P", 100, -1, 2), leg("P", 103, 1, 5, FAR)]).deposit == 0
    assert need([leg("P", 100, -1, 3, FAR), leg("P", 100, 1, 2)]).deposit == need([leg("P", 100, -1, 3, FAR)]).deposit


def test_an_option_settled_in_the_morning_does_not_cover_one_of_the_afternoon() -> None:
    """Same date, SPX root against SPXW: the morning one is gone by then; the other way round it covers."""
    morning = replace(leg("P", 95, 1), am_settled=True)
    assert GroupKind.NAKED in {group.kind for group in need([leg("P", 100, -1), morning]).groups}
    short = replace(leg("P", 100, -1), am_settled=True)
    assert need([short, leg("P", 95, 1)]).deposit == 500


def test_condors_of_different_expirations_are_not_one_side_only() -> None:
    """A put spread now and a call spread later can both lose."""
    puts = [leg("P", 95, -1, 2), leg("P", 90, 1, 1)]
    assert need([*puts, leg("C", 105, -1, 2), leg("C", 110, 1, 1)]).deposit == 500
    assert need([*puts, leg("C", 105, -1, 2, FAR), leg("C", 110, 1, 1, FAR)]).deposit == 1000


def test_too_wide_a_spread_is_cheaper_naked() -> None:
    """A 100/10 put spread would need $9,000; the naked put needs its 20 %."""
    assert need([leg("P", 100, -1, 2), leg("P", 10, 1, 0.01)]).deposit == D(2200)


def test_cash_account() -> None:
    """Short puts in full, shares in full, spreads at their width; an uncovered short call is not permitted."""
    assert need([leg("P", 95, -1, 2)], rules=CASH).buying_power_used == 9300
    assert need([leg("P", 95, -1, 2), leg("P", 90, 1, 1)], rules=CASH).buying_power_used == 400
    assert need([leg("C", 105, -1, 2)], shares=100, rules=CASH).deposit == 10_000
    naked = need([leg("C", 105, -1, 2)], rules=CASH)
    assert [each.strike for each in naked.prohibited] == [D(105)]
    assert need([leg("C", 105, -1, 2)]).prohibited == ()


def test_adjusted_contracts_cover_only_their_own_kind() -> None:
    """A contract that delivers 150 shares needs 150 of them, and a standard long does not cover it."""
    adjusted = replace(leg("C", 180, -1, 2), shares=150)
    assert GroupKind.NAKED in {group.kind for group in need([adjusted, leg("C", 110, 1)]).groups}
    assert GroupKind.NAKED in {group.kind for group in need([adjusted], shares=100).groups}
    assert [group.kind for group in need([adjusted], shares=150).groups] == [GroupKind.COVERED]
    assert need([adjusted, replace(leg("C", 186, 1), shares=150)]).deposit == 600


def test_opening_a_credit_spread_takes_width_less_credit_plus_fees() -> None:
    """5 wide for 1.40 with $2.26 of fees: $362.26; closing it for 0.70 gives back what it tied up."""
    order = [leg("P", 95, -1, 2.4), leg("P", 90, 1, 1)]
    opening = buying_power_effect([], order, Underlying(D(100)), cash=D(140), fees=D("2.26"))
    closing = buying_power_effect(
        order, [replace(each, signed_quantity=-each.signed_quantity) for each in order], Underlying(D(100)), cash=D(-70)
    )
    assert opening.reduction == D("362.26")
    assert closing.after.groups == ()
    assert closing.reduction == D(-430)


def test_the_second_side_of_a_condor_frees_buying_power() -> None:
    """Call spread beside a put spread of the same width: the requirement does not grow, the credit comes in."""
    puts = [leg("P", 95, -1, 2), leg("P", 90, 1, 1)]
    calls = [leg("C", 105, -1, 2), leg("C", 110, 1, 1)]
    assert buying_power_effect(puts, calls, Underlying(D(100)), cash=D(100), fees=D(2)).reduction == -98


def test_shares_and_covered_writes_in_one_order() -> None:
    """Buy-write: half the stock less the premium; called away below the market it counts at the strike."""
    effect = buying_power_effect(
        [], [leg("C", 105, -1, 2)], Underlying(D(100)), cash=D(-10_000) + 200, order_shares=100
    )
    assert effect.reduction == D(5000) - 200


def test_duplicate_legs_net_to_nothing() -> None:
    """Bought and sold the same contract: no position, no requirement."""
    assert netted([leg("P", 95, -2), leg("P", 95, 2, 3)]) == ()
    assert need([leg("P", 95, -2), leg("P", 95, 2, 3)]).requirement == 0


@pytest.mark.parametrize("spot", [0.0, float("nan")])
def test_senseless_input_is_refused(spot: float) -> None:
    """No price, no requirement; neither for an option without a value."""
    with pytest.raises(ValueError, match="positive price"):
        need([leg("P", 95, -1)], spot)
    with pytest.raises(ValueError, match="value of 0 or more"):
        need([leg("P", 95, -1, -0.5)])


regimes = st.sampled_from([None, MAINTENANCE, CASH])


def books(size: int) -> st.SearchStrategy[list[MarginOption]]:
    return st.lists(
        st.builds(
            leg,
            st.sampled_from("CP"),
            st.sampled_from([70, 90, 95, 100, 105, 110, 140]),
            st.sampled_from([-2, -1, -1, 1, 1, 2]),
            st.sampled_from([0.5, 3.0, 12.0]),
            st.sampled_from([NEAR, FAR]),
        ),
        max_size=size,
    )


def exhaustive(legs: Sequence[MarginOption], shares: int, spot: Decimal) -> Decimal:
    """Least deposit over every way to give each single contract a role; written without regard to speed."""
    longs = [replace(each, signed_quantity=1) for each in netted(legs) for _ in range(each.signed_quantity)]
    shorts = [replace(each, signed_quantity=-1) for each in netted(legs) for _ in range(-each.signed_quantity)]
    dates = sorted({each.expiration for each in shorts})
    roles_short = [
        ["pool", "naked", *(["shares"] if shares and each.is_call is (shares > 0) else [])] for each in shorts
    ]
    roles_long = [[None, *(day for day in dates if each.expiration >= day)] for each in longs]
    best: Decimal | None = None
    for choice in itertools.product(*roles_short):
        if sum(role == "shares" for role in choice) * 100 > abs(shares):
            continue
        fixed = abs(shares) * spot / 2 + naked_cost(
            [each for each, role in zip(shorts, choice, strict=True) if role == "naked"], spot
        )
        fixed += sum(each.exercise_value(spot) for each, role in zip(shorts, choice, strict=True) if role == "shares")
        for cover in itertools.product(*roles_long):
            total: Decimal | None = fixed
            for day in dates:
                members = [s for s, role in zip(shorts, choice, strict=True) if role == "pool" and s.expiration == day]
                members += [each for each, role in zip(longs, cover, strict=True) if role == day]
                loss = greatest_loss(members)
                total = None if loss is None or total is None else total + loss
            if total is not None and (best is None or total < best):
                best = total
    assert best is not None
    return best


def greatest_loss(members: Sequence[MarginOption]) -> Decimal | None:
    """At expiration; None when the longs do not cover the shorts of a side."""
    for is_call in (True, False):
        if sum(each.signed_quantity for each in members if each.is_call is is_call) < 0:
            return None
    prices = [each.strike for each in members]
    return max(
        D(0),
        *(
            -sum((each.signed_quantity * each.exercise_value(price) for each in members), D(0))
            for price in [D(0), *prices]
        ),
    )


def naked_cost(options: Sequence[MarginOption], spot: Decimal) -> Decimal:
    """Least cost of naked single contracts over every matching of calls with puts."""

    def alone(option: MarginOption) -> Decimal:
        strike, value = option.strike * 100, spot * 100
        away = max(strike - value if option.is_call else value - strike, D(0))
        return option.price * 100 + max(value / 5 - away, (value if option.is_call else strike) / 10)

    calls = [each for each in options if each.is_call]
    puts = [each for each in options if not each.is_call]
    fewer, more = (calls, puts) if len(calls) <= len(puts) else (puts, calls)
    best = sum((alone(each) for each in options), D(0))
    for chosen in itertools.permutations(more, len(fewer)):
        cost = sum((alone(each) for each in more if not any(each is one for one in chosen)), D(0))
        for one, other in zip(fewer, chosen, strict=True):
            cost += max(alone(one), alone(other)) + (one.price if alone(one) < alone(other) else other.price) * 100
        best = min(best, cost)
    return best


@settings(max_examples=40 * SCALE, deadline=None)
@given(books(6), st.sampled_from([100, 300, -200]))
def test_maintenance_of_shares_never_exceeds_the_initial_requirement(legs: list[MarginOption], shares: int) -> None:
    """Lower rates and two more ways to hedge shares: less or the same."""
    assert need(legs, shares=shares, rules=MAINTENANCE).deposit <= need(legs, shares=shares).deposit


@settings(max_examples=60 * SCALE, deadline=None)
@given(books(5), st.sampled_from([0, 0, 100, 200, -100]))
def test_the_pairing_equals_an_exhaustive_search(legs: list[MarginOption], shares: int) -> None:
    """No assignment of single contracts needs less, and the one found needs no more."""
    if sum(abs(each.signed_quantity) for each in netted(legs)) > 6:
        legs = legs[:3]
    assert need(legs, shares=shares).deposit == exhaustive(legs, shares, D(100))


@settings(max_examples=60 * SCALE, deadline=None)
@given(books(8), st.sampled_from([0, 100, -200]), regimes)
def test_groups_account_for_every_contract_and_share(
    legs: list[MarginOption], shares: int, rules: MarginRules | None
) -> None:
    """What the groups hold is the position, no more and no less, whatever the account and the phase."""
    found = need(legs, shares=shares, rules=rules)
    position = {(each.is_call, each.strike, each.ends): each.signed_quantity for each in netted(legs)}
    for group in found.groups:
        for each in group.options:
            position[each.is_call, each.strike, each.ends] -= each.signed_quantity
    assert not any(position.values())
    assert sum(group.shares for group in found.groups) == shares


@settings(max_examples=60 * SCALE, deadline=None)
@given(books(8), st.sampled_from([0, 100]))
def test_spreads_hold_at_least_their_worst_loss(legs: list[MarginOption], shares: int) -> None:
    """Brute force over prices, each expiration alone: the deposit of a spread covers what it can lose there."""
    for group in need(legs, shares=shares).groups:
        if group.kind is GroupKind.SPREAD:
            for price in range(0, 400, 5):
                lost = -sum(each.signed_quantity * each.exercise_value(D(price)) for each in group.options)
                assert group.deposit >= lost


@settings(max_examples=60 * SCALE, deadline=None)
@given(books(6), st.sampled_from([0, 100]), st.sampled_from("CP"), st.sampled_from([80, 95, 102, 150]), regimes)
def test_a_long_option_never_raises_the_deposit(
    legs: list[MarginOption], shares: int, kind: str, strike: int, rules: MarginRules | None
) -> None:
    """A wing costs its premium and nothing else, whatever the account and the phase."""
    wing = leg(kind, strike, 1, 1, FAR)
    before, after = (need(each, shares=shares, rules=rules).deposit for each in (legs, [*legs, wing]))
    assert after <= before


@settings(max_examples=40 * SCALE, deadline=None)
@given(books(6), st.sampled_from([0, 100]))
def test_order_and_splitting_of_legs_do_not_matter(legs: list[MarginOption], shares: int) -> None:
    """Reversed, and given as single contracts: the same requirement to the cent."""
    single = [
        replace(each, signed_quantity=each.signed_quantity // abs(each.signed_quantity))
        for each in netted(legs)
        for _ in range(abs(each.signed_quantity))
    ]
    assert need(single[::-1], shares=shares).deposit == need(netted(legs), shares=shares).deposit


@settings(max_examples=40 * SCALE, deadline=None)
@given(books(5), st.integers(2, 10))
def test_a_larger_position_needs_proportionally_no_more(legs: list[MarginOption], times: int) -> None:
    """k times the legs: at most k times the deposit (pairings can be repeated), never less than once."""
    once = need(legs).deposit
    many = need([replace(each, signed_quantity=each.signed_quantity * times) for each in legs]).deposit
    assert once <= many <= once * times
