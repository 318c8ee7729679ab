"""Rolls: the same structure later, for a credit, with what the whole campaign can lose and how likely it is to profit.

Invariants: closing legs undo what is held; opening legs are the same structure; the campaign's credit is the sum; every
roll that is not offered has a reason.
"""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optionmath.blackscholes import greeks, price
from optionmath.payoff import PayoffLeg, value_at
from optionmath.sessions import years_to_expiration
from optionmath.smile import Smile, distribution
from schemas.symbols import OptionSymbol, OptionType
from schemas.trade import OrderAction
from strategies.chain import ChainSnapshot
from strategies.chainfile import read, snapshots
from strategies.exits import OpenPosition
from strategies.rolls import RollCandidate, profit_probability, rolls
from strategies.rules import RuleSet
from strategies.structures import BuildTarget, Built, Context, Holding, build, recognise_one

SHARED = Path(os.environ.get("TT_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data"))
SCALE = int(os.environ.get("TT_TEST_SCALE", "1"))
NOW = datetime(2026, 11, 24, 16, 0, tzinfo=UTC)
TODAY = NOW.date()
DAYS = (17, 31, 45, 73)
RULES = RuleSet(roll_strikes_max=3)
D = Decimal


def model_chain(spot: float = 100.0, half_spread: float = 0.01) -> ChainSnapshot:
    """XYZ with skew: four expirations, strikes from 70 to 130."""
    levels = np.arange(70.0, 131.0)
    strike = np.tile(np.repeat(levels, 2), len(DAYS))
    is_call = np.tile([True, False], len(levels) * len(DAYS))
    day = np.repeat([TODAY + timedelta(days=each) for each in DAYS], 2 * len(levels))
    years = np.array([years_to_expiration(NOW, each) for each in day])
    volatility = 0.25 * (1 - 0.3 * np.log(strike / spot))
    value = price(spot, strike, years, volatility, 0.04, 0.0, is_call)
    found = greeks(spot, strike, years, volatility, 0.04, 0.0, is_call)
    occ = [
        OptionSymbol("XYZ", each, OptionType.CALL if call else OptionType.PUT, D(str(level))).occ
        for each, call, level in zip(day, is_call, strike, strict=True)
    ]
    count = len(strike)
    return ChainSnapshot(
        "XYZ", spot, 0.04, occ, day.astype("datetime64[D]"), np.array([(each - TODAY).days for each in day]), years,
        strike, is_call, np.maximum(np.round(value - half_spread, 4), 0.0), np.round(value + half_spread, 4),
        found.delta, found.gamma, found.theta, found.vega, np.full(count, 5000.0), np.full(count, 500.0),
        np.zeros(count),
    )  # fmt: skip


CHAIN = model_chain()


def held(key: str, credit: str, target: BuildTarget, chain: ChainSnapshot = CHAIN) -> OpenPosition:
    found = build(key, chain, target)
    assert isinstance(found, Built), found
    return OpenPosition(chain.underlying_symbol, found.legs, D(credit), 45, None)


NEAR = BuildTarget(dte=17, width=5)
SPREAD = held("put_credit_spread", "1.20", NEAR)


def opened(roll: RollCandidate) -> list[Holding]:
    return [Holding(leg.occ_symbol, leg.action.sign * leg.quantity) for leg in roll.legs if leg.action.opens]


def test_a_tested_put_spread_rolls_out_and_down_for_a_credit() -> None:
    """Later, the same width, and the campaign's loss shrinks by what the roll brings."""
    found = rolls(SPREAD, CHAIN, RULES)
    assert found.candidates
    assert any(each.shift < 0 for each in found.candidates)
    for each in found.candidates:
        assert each.expiration > TODAY + timedelta(days=17)
        assert 7 <= each.days_added <= 45
        assert each.natural <= each.expected_fill <= each.mid
        assert each.expected_fill >= D("0.01")
        assert each.after.credit == D("1.20") + each.expected_fill
        assert each.before.max_loss == D("3.80")
        assert each.after.max_loss == 5 - each.after.credit
        assert each.orders == 1
        assert each.before.pop is not None
        assert each.after.pop is not None
        assert 0 < each.after.pop < 1


@pytest.mark.parametrize(
    "key", ["put_credit_spread", "iron_condor", "covered_call", "short_strangle", "jade_lizard", "call_ratio_spread"]
)
def test_closing_undoes_what_is_held_and_opening_is_the_same_structure(key: str) -> None:
    """Quantities included; shares stay."""
    position = held(key, "1.00", NEAR)
    options = {each.symbol: each.signed_quantity for each in position.legs if each.symbol != "XYZ"}
    shares = [each for each in position.legs if each.symbol == "XYZ"]
    found = rolls(position, CHAIN, RULES).candidates
    assert found
    for each in found:
        closing = {leg.occ_symbol: leg.action.sign * leg.quantity for leg in each.legs if not leg.action.opens}
        assert closing == {symbol: -quantity for symbol, quantity in options.items()}
        seen = recognise_one([*shares, *opened(each)], Context(100.0))
        assert seen is not None
        assert seen.structure.key == key
        assert seen.units == 1
        assert seen.expiration == each.expiration


def test_rolls_are_ranked_by_probability_then_credit() -> None:
    """Best first."""
    found = rolls(SPREAD, CHAIN, RULES).candidates
    keys = [(-(each.after.pop or 0), -each.expected_fill) for each in found]
    assert keys == sorted(keys)


def test_an_iron_condor_may_move_one_side_and_takes_two_orders() -> None:
    """The untested side is brought closer, the other only moves out in time."""
    position = held("iron_condor", "1.50", NEAR)
    found = rolls(position, CHAIN, RULES).candidates
    one_sided = [each for each in found if each.side == "puts"]
    assert one_sided
    for each in one_sided:
        plain = recognise_one(position.legs)
        assert plain is not None
        assert (each.strikes["c"], each.strikes["d"]) == (plain.strikes["c"], plain.strikes["d"])
        assert each.strikes["b"] - plain.strikes["b"] == each.shift != 0
        assert each.orders == 2


def test_a_calendar_rolls_its_near_leg_towards_the_far_one() -> None:
    """Never onto it or past it, never to another strike; loss and probability need a model and are not invented."""
    position = held("call_calendar", "-1.50", BuildTarget(dte=17, far_dte=73))
    found = rolls(position, CHAIN, RULES).candidates
    assert {each.expiration for each in found} == {TODAY + timedelta(days=31), TODAY + timedelta(days=45)}
    for each in found:
        assert each.shift == 0
        assert [leg.action for leg in each.legs] == [OrderAction.BUY_TO_CLOSE, OrderAction.SELL_TO_OPEN]
        assert each.after.max_loss is None
        assert each.after.pop is None


def test_a_worthless_leg_does_not_stop_a_roll() -> None:
    """It is bid at nothing and still closed."""
    chain = replace(CHAIN, bid=CHAIN.bid.copy(), ask=CHAIN.ask.copy())
    row = list(chain.occ_symbols).index(SPREAD.legs[0].symbol)
    chain.bid[row], chain.ask[row] = 0.0, 0.05
    assert rolls(SPREAD, chain, RULES).candidates


def no_quote(chain: ChainSnapshot) -> ChainSnapshot:
    row = list(chain.occ_symbols).index(SPREAD.legs[1].symbol)
    bid = chain.bid.copy()
    bid[row] = np.nan
    return replace(chain, bid=bid)


def test_there_is_a_reason_when_nothing_can_be_rolled() -> None:
    """Several structures, a leg without a quote, a contract that is not listed, no later expiration."""
    two = replace(SPREAD, legs=(*SPREAD.legs, Holding(CHAIN.occ_symbols[0], 5)))
    gone = replace(SPREAD, legs=tuple(Holding(each.symbol.replace("261211", "261218"), each.signed_quantity)
                                      for each in SPREAD.legs))  # fmt: skip
    for position, chain, rules, says in (
        (two, CHAIN, RULES, "not one unit of one named structure"),
        (SPREAD, no_quote(CHAIN), RULES, "has no usable quote"),
        (gone, CHAIN, RULES, "is not in the chain"),
        (SPREAD, CHAIN, RuleSet(roll_days_min=100, roll_days_max=120), "no expiration is listed 100 to 120 days after"),
    ):
        found = rolls(position, chain, rules)
        assert not found.candidates
        (refusal,) = found.refusals
        assert says in refusal.reason


def test_every_roll_that_is_not_offered_says_value_and_limit() -> None:
    """Rolls towards the price cost too little or are another structure; with a high bar none is left."""
    found = rolls(SPREAD, CHAIN, RuleSet(roll_credit_min=5.0, roll_strikes_max=3))
    assert not found.candidates
    assert set(found.refused_by_reason()) == {"the credit at the expected fill is too small"}
    for each in found.refusals:
        assert each.value is not None
        assert each.value < 5.0 == each.limit


def test_rolls_for_a_debit_may_not_add_too_much_loss() -> None:
    """Where the rules allow a debit at all, what it adds to the loss is bounded."""
    rules = RuleSet(roll_credit_min=-5, roll_max_loss_growth_pct=10, roll_strikes_max=5)
    found = rolls(SPREAD, CHAIN, rules)
    grown = [each for each in found.refusals if each.reason == "the max loss grows too much"]
    assert grown
    for each in grown:
        assert each.limit == pytest.approx(3.80 * 1.10)
        assert each.value is not None
        assert each.value > each.limit
    assert all(each.after.max_loss is not None and each.after.max_loss <= D("4.18") for each in found.candidates)


def test_strikes_that_are_not_quoted_or_would_cross_are_refused() -> None:
    """A narrow iron condor whose puts would pass its calls; a wing without a bid."""
    narrow = held("iron_condor", "1.50", BuildTarget(dte=17, width=5, short_delta=0.45))
    assert "the strikes would be another structure" in rolls(narrow, CHAIN, RULES).refused_by_reason()
    gaps = replace(CHAIN, bid=np.where((CHAIN.strike % 2 == 0) & (CHAIN.dte > 17), 0.0, CHAIN.bid))
    assert "a strike has no usable quote" in rolls(SPREAD, gaps, RULES).refused_by_reason()


def test_covered_calls_roll_up_and_out() -> None:
    """The shares count at today's price before and after, so the credit is what changes the loss."""
    found = rolls(held("covered_call", "1.00", NEAR), CHAIN, RULES).candidates
    assert any(each.shift > 0 for each in found)
    for each in found:
        assert each.before.max_loss == 99
        assert each.after.max_loss == 99 - each.expected_fill


@settings(max_examples=40 * SCALE, deadline=None)
@given(
    legs=st.lists(
        st.builds(
            PayoffLeg,
            st.booleans(),
            st.integers(80, 120).map(Decimal),
            st.integers(-3, 3).filter(lambda each: each != 0),
        ),
        min_size=1,
        max_size=4,
    ),
    credit=st.decimals(-10, 10, places=2),
)
def test_the_probability_of_profit_is_the_mass_where_there_is_one(legs: list[PayoffLeg], credit: Decimal) -> None:
    """Against a sum over 4,000 cells of the distribution."""
    market = distribution(Smile(100.0, 0.12, (0.0075, -0.01, 0.0), -0.4, 0.4, 0.001, 0.0))
    edges = np.linspace(40, 200, 4001)
    mass = np.diff(market.below(edges))
    middle = (edges[1:] + edges[:-1]) / 2
    wins = np.array([value_at(legs, credit, Decimal(str(each))) >= Decimal("0.01") for each in middle])
    assert profit_probability(legs, credit, market) == pytest.approx(float(mass[wins].sum()), abs=0.01)


def test_rolls_in_a_recorded_chain() -> None:
    """SPY on 20 August 2026: a two-week put spread has rolls for a credit, and every one adds up."""
    path = SHARED / "chains_cboe_2026" / "SPY.parquet"
    if not path.exists():
        pytest.skip(f"recorded chains are not at {path}: set TT_SHARED_DATA")
    (chain,) = snapshots(read(path), date(2026, 8, 20))
    position = held("put_credit_spread", "1.50", BuildTarget(dte=14, width=5, short_delta=0.30), chain)
    found = rolls(position, chain, RuleSet())
    assert len(found.candidates) > 10
    assert found.refusals
    for each in found.candidates:
        assert each.after.max_loss == 5 - each.after.credit
