"""Every structure of the catalogue is built, recognised and described from its one entry."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Callable
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
from schemas.symbols import OptionSymbol, OptionType
from schemas.trade import OrderAction, SpreadType
from strategies.chain import ChainSnapshot
from strategies.chainfile import read, snapshots
from strategies.structures import (
    CATALOGUE,
    Bias,
    BuildRefusal,
    BuildTarget,
    Built,
    Context,
    Extent,
    Holding,
    LegKind,
    Structure,
    VolatilityView,
    build,
    character,
    describe,
    recognise,
    thesis,
)
from strategies.structures.template import TemplateError, define

SHARED = Path(os.environ.get("TT_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data"))
SCALE = int(os.environ.get("TT_TEST_SCALE", "1"))
NOW = datetime(2026, 11, 24, 16, 0, tzinfo=UTC)
TODAY = NOW.date()
DAYS = (17, 45, 73, 150)
CASH = Decimal(1_000_000)
KEYS = list(CATALOGUE)


def model_chain(sigma: float = 0.25, half_spread: float = 0.02, step: float = 1.0) -> ChainSnapshot:
    """XYZ at 100 with skew: four expirations, strikes from 50 to 150."""
    levels = 100 + step * np.arange(-int(50 / step), int(50 / step) + 1)
    strike = np.tile(np.repeat(levels, 2), len(DAYS))
    is_call = np.tile([True, False], len(levels) * len(DAYS))
    day = np.repeat([TODAY + timedelta(days=each) for each in DAYS], 2 * len(levels))
    years = np.array([years_to_expiration(NOW, each) for each in day])
    volatility = sigma * (1 - 0.3 * np.log(strike / 100))
    value = price(100.0, strike, years, volatility, 0.04, 0.0, is_call)
    found = greeks(100.0, strike, years, volatility, 0.04, 0.0, is_call)
    occ = [
        OptionSymbol("XYZ", each, OptionType.CALL if call else OptionType.PUT, Decimal(str(level))).occ
        for each, call, level in zip(day, is_call, strike, strict=True)
    ]
    count = len(strike)
    return ChainSnapshot(
        "XYZ", 100.0, 0.04, occ, day.astype("datetime64[D]"), np.array([(each - TODAY).days for each in day]), years,
        strike, is_call, np.round(value - half_spread, 4), np.round(value + half_spread, 4), found.delta, found.gamma,
        found.theta, found.vega, np.full(count, 5000.0), np.full(count, 500.0), np.zeros(count),
    )  # fmt: skip


CHAIN = model_chain()


def built(key: str, target: BuildTarget | None = None, chain: ChainSnapshot = CHAIN) -> Built:
    found = build(key, chain, target, cash=CASH)
    assert isinstance(found, Built), found
    return found


def context_of(structure: Structure, chain: ChainSnapshot = CHAIN) -> dict[str, Context]:
    """Cash is set aside only where the structure is about cash."""
    spends = structure.condition is not None and structure.condition.spends_cash
    return {chain.underlying_symbol: Context(chain.spot, CASH if spends else None)}


def net(found: Built, column: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    """A greek of one unit per share."""
    row_of = {symbol: row for row, symbol in enumerate(CHAIN.occ_symbols)}
    return float(
        sum(each.signed_quantity * column[row_of[each.symbol]] for each in found.legs if each.symbol in row_of)
    )


def test_the_catalogue_is_broad_and_holds_every_name_of_the_contract() -> None:
    """What the contract names can be built; no two structures share a name."""
    assert len(CATALOGUE) >= 80
    assert {each.value for each in SpreadType} - {"custom"} <= set(CATALOGUE)
    assert all(each.spread_type.value in (key, "custom") for key, each in CATALOGUE.items())
    names = [name for each in CATALOGUE.values() for name in (each.name, *each.also)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("key", KEYS)
def test_what_is_built_is_recognised_by_the_same_name(key: str) -> None:
    """In any order and any number of units."""
    found = built(key)
    for units in (1, 3):
        legs = [replace(each, signed_quantity=each.signed_quantity * units) for each in found.legs]
        random.Random(key).shuffle(legs)
        (seen,) = recognise(legs, context_of(found.structure))
        assert seen.structure is found.structure
        assert seen.units == units
        assert dict(seen.strikes) == dict(found.strikes)
        assert (seen.expiration, seen.far_expiration) == (found.expiration, found.far_expiration)
        assert [each.symbol for each in seen.legs] == [each.symbol for each in found.legs]


@pytest.mark.parametrize("key", KEYS)
def test_the_declared_views_are_those_of_the_greeks(key: str) -> None:
    """A bullish structure has positive delta when opened, one that gains from volatility positive vega."""
    found = built(key)
    bias, view = found.structure.bias, found.structure.volatility
    if bias in (Bias.BULLISH, Bias.BEARISH):
        assert found.delta * (1 if bias is Bias.BULLISH else -1) > 0.005
    else:
        assert abs(found.delta) < 0.2
    vega = net(found, CHAIN.vega)
    if view is not VolatilityView.FLAT:
        assert vega * (1 if view is VolatilityView.LONG else -1) > 0.002


@pytest.mark.parametrize("key", [key for key in KEYS if not CATALOGUE[key].has_far_legs])
def test_the_derived_extents_are_those_of_the_payoff(key: str) -> None:
    """Against the exact P&L at prices of zero, at every strike and far above."""
    found = built(key)
    options = [
        PayoffLeg(leg.kind is LegKind.CALL, found.strikes[leg.letter], leg.ratio)
        for leg in found.structure.legs
        if leg.letter
    ]
    shares = Decimal(sum(leg.ratio for leg in found.structure.legs if leg.kind is LegKind.SHARES)) / 100

    def pnl(level: Decimal) -> Decimal:
        return value_at(options, Decimal(0), level) + shares * (level - 100)

    corners = sorted({Decimal(100), *found.strikes.values()})
    low, high, inside = pnl(Decimal(0)), pnl(Decimal(10**6)), [pnl(each) for each in corners]
    own = character(found.structure)
    assert (own.max_loss is Extent.UNLIMITED) == (high < min(inside) - 1000)
    assert (own.max_profit is Extent.UNLIMITED) == (high > max(inside) + 1000)
    assert (own.max_loss is Extent.SUBSTANTIAL) == (low < inside[0] and own.max_loss is not Extent.UNLIMITED)
    assert (own.max_profit is Extent.SUBSTANTIAL) == (low > inside[0] and own.max_profit is not Extent.UNLIMITED)
    assert (own.max_loss is Extent.LOCKED) == (len({low, high, *inside}) == 1)
    assert not own.by_model
    assert not own.naked_later


@pytest.mark.parametrize(
    ("key", "naked", "defined"),
    [("call_calendar", False, True), ("double_diagonal", False, True), ("poor_mans_covered_call", False, True),
     ("short_call_calendar", True, False), ("short_put_diagonal", True, False)],
)  # fmt: skip
def test_short_options_that_outlive_their_cover_are_undefined_risk(key: str, naked: bool, defined: bool) -> None:
    """After the near expiration only the far legs remain."""
    own = character(CATALOGUE[key])
    assert (own.naked_later, own.defined_risk, own.by_model) == (naked, defined, True)


@pytest.mark.parametrize("key", KEYS)
def test_descriptions_are_complete_and_short(key: str) -> None:
    """A thesis has at most 30 words."""
    found = built(key)
    told = describe(found.structure)
    assert len(told.sentence.split()) <= 30
    assert told.legs.count(";") == len(found.structure.legs) - 1
    assert told.defined_risk == character(found.structure).defined_risk
    (seen,) = recognise(found.legs, context_of(found.structure))
    said = thesis(seen)
    assert len(said.split()) <= 30
    assert said.startswith("XYZ " + found.structure.name)


def test_an_iron_condor_in_words() -> None:
    """As the page shows it."""
    told = describe(CATALOGUE["iron_condor"])
    assert told.legs == (
        "buy one put at strike a; sell one put at strike b; sell one call at strike c; buy one call at strike d"
    )
    assert told.sentence == (
        "Iron condor: neutral; gains from time passing while the price stays between the short strikes; defined risk."
    )
    assert describe(CATALOGUE["short_put"]).max_loss == "limited only by a price of zero"


def test_targets_are_met() -> None:
    """Delta, days, width and the legs of the order."""
    found = built("iron_condor", BuildTarget(dte=44, short_delta=0.16, width=5))
    row_of = {symbol: row for row, symbol in enumerate(CHAIN.occ_symbols)}
    deltas = [abs(float(CHAIN.delta[row_of[each.symbol]])) for each in found.legs]
    assert deltas[1] == pytest.approx(0.16, abs=0.02)
    assert deltas[2] == pytest.approx(0.16, abs=0.02)
    assert found.strikes["b"] - found.strikes["a"] == found.strikes["d"] - found.strikes["c"] == 5
    assert found.expiration == TODAY + timedelta(days=45)
    assert found.natural < found.expected_fill < found.mid
    actions = [leg.action for leg in found.order_legs()]
    assert actions[0] is actions[3] is OrderAction.BUY_TO_OPEN
    assert actions[1] is actions[2] is OrderAction.SELL_TO_OPEN
    assert [leg.occ_symbol for leg in found.order_legs()] == [each.symbol for each in found.legs]


def test_shares_are_legs_but_not_part_of_the_option_order() -> None:
    """A covered call holds 100 shares; its price is that of the call alone."""
    found = built("covered_call")
    assert found.legs[0] == Holding("XYZ", 100)
    assert len(found.order_legs()) == 1
    assert 0 < found.mid < 5
    assert found.delta == pytest.approx(0.7, abs=0.03)


def test_a_credit_that_is_asked_for_moves_the_strikes_no_more_than_needed() -> None:
    """The closest structure with enough credit; a debit is a negative credit."""
    plain = built("put_credit_spread", BuildTarget(short_delta=0.25, width=5))
    asked = built("put_credit_spread", BuildTarget(short_delta=0.25, width=5, credit_to_width_min=0.25))
    assert plain.expected_fill / 5 < Decimal("0.25") <= asked.expected_fill / (asked.strikes["b"] - asked.strikes["a"])
    cheap = built("call_debit_spread", BuildTarget(width=5, credit_min=Decimal("-1.50")))
    assert Decimal("-1.50") <= cheap.expected_fill < 0


def no_puts(chain: ChainSnapshot) -> ChainSnapshot:
    return replace(chain, bid=np.where(chain.is_call, chain.bid, 0.0))


def no_deltas(chain: ChainSnapshot) -> ChainSnapshot:
    return replace(chain, delta=np.full(len(chain.strike), np.nan))


def no_spot(chain: ChainSnapshot) -> ChainSnapshot:
    return replace(chain, spot=float("nan"))


def only_wings(chain: ChainSnapshot) -> ChainSnapshot:
    return replace(chain, bid=np.where(np.abs(chain.strike - 100) > 20, chain.bid, 0.0))


def same(chain: ChainSnapshot) -> ChainSnapshot:
    return chain


@pytest.mark.parametrize(
    ("key", "change", "target", "leg", "says"),
    [
        ("iron_condor", no_puts, BuildTarget(), "-1 put b", "no strike has a usable quote"),
        ("short_strangle", no_deltas, BuildTarget(), "-1 put a", "no put of 2027-01-08 has a known delta"),
        ("short_put", no_spot, BuildTarget(), "", "price of the underlying is not known"),
        ("short_straddle", only_wings, BuildTarget(), "-1 put a", "the nearest strike to 100 is"),
        ("short_put", only_wings, BuildTarget(short_delta=0.4), "-1 put a", "the put nearest to delta 0.40"),
        ("short_put", same, BuildTarget(dte=300), "-1 put a", "nearest to 300 days is 2027-04-23 in 150"),
        ("short_put", same, BuildTarget(expiration=date(2027, 1, 1)), "-1 put a", "2027-01-01 is not listed"),
        ("call_calendar", same, BuildTarget(dte=150), "+1 call a far", "no far expiration is listed"),
        ("put_credit_spread", same, BuildTarget(width=300), "+1 put a", "no strike is listed near 300 from b"),
        ("put_credit_spread", same, BuildTarget(credit_min=Decimal(50)), "", "the best credit at the expected fill is"),
        ("put_credit_spread", same, BuildTarget(credit_to_width_min=0.9), "", "best credit against the width is 0."),
        ("poor_mans_covered_call", same, BuildTarget(deltas={"a": 0.45}), "", "5 % in the money"),
    ],
)  # fmt: skip
def test_a_refusal_names_the_leg_and_the_reason(
    key: str, change: Callable[[ChainSnapshot], ChainSnapshot], target: BuildTarget, leg: str, says: str
) -> None:
    """Never an empty answer, never a structure that does not fit."""
    found = build(key, change(CHAIN), target)
    assert isinstance(found, BuildRefusal)
    assert found.leg == leg
    assert says in found.reason


def test_cash_must_be_set_aside_for_a_cash_secured_put() -> None:
    """Without it the put is naked, and is not called secured."""
    assert isinstance(build("cash_secured_put", CHAIN), BuildRefusal)
    assert isinstance(build("cash_secured_put", CHAIN, cash=Decimal(5_000)), BuildRefusal)
    assert isinstance(build("cash_secured_put", CHAIN, cash=Decimal(10_000)), Built)


@pytest.mark.parametrize(
    ("legs", "find", "says"),
    [
        ("+1 put b", "b: atm", "letters must be a, b, c, d in order"),
        ("+1 put a | sell a call", "a: atm", "is not written like"),
        ("+1 put a | -1 put a", "a: atm", "same contract"),
        ("+1 put a | -1 put b", "a: atm", "exactly one anchor"),
        ("+1 put a", "a: near 20", "is not written like"),
        ("+1 put a far", "a: atm", "must be near"),
    ],
)
def test_a_definition_that_contradicts_itself_is_refused(legs: str, find: str, says: str) -> None:
    """When it is read, not when it is traded."""
    with pytest.raises(TemplateError, match=says):
        define("new", "new", legs, find, bias=Bias.NONE, volatility=VolatilityView.FLAT, gains="", risks="")


def test_the_entry_of_the_guide_works_and_travels_as_custom() -> None:
    """As printed in docs/adding-a-strategy.md: one entry is enough; the contract may learn the name later."""
    guide = Path(__file__).parents[3] / "docs" / "adding-a-strategy.md"
    if not guide.exists():
        pytest.skip("the guide is not beside an installed library")
    (entry,) = re.findall(r"```python\n(define\(.*?\)),\n```", guide.read_text(), re.DOTALL)
    names = {"define": define, "NEUTRAL": Bias.NEUTRAL, "SHORT": VolatilityView.SHORT}
    extra = eval(entry, names)
    assert isinstance(extra, Structure)
    assert extra.spread_type is SpreadType.CUSTOM
    found = build(extra, CHAIN)
    assert isinstance(found, Built)
    assert [each.signed_quantity for each in found.legs] == [1, -3]
    assert abs(found.delta) < 0.2
    assert character(extra).max_loss is Extent.UNLIMITED


@settings(max_examples=40 * SCALE, deadline=None)
@given(
    key=st.sampled_from([key for key in KEYS if CATALOGUE[key].letters]),
    sigma=st.floats(0.12, 0.8),
    step=st.sampled_from([1.0, 2.5, 5.0]),
    delta=st.none() | st.floats(0.05, 0.6),
    width=st.none() | st.floats(1, 20),
)
def test_whatever_is_built_fits_its_definition(
    key: str, sigma: float, step: float, delta: float | None, width: float | None
) -> None:
    """Strikes, spacing, signs and expirations hold on any chain; otherwise there is a reason."""
    chain = model_chain(sigma, step=step)
    found = build(key, chain, BuildTarget(short_delta=delta, width=width), cash=CASH)
    if isinstance(found, BuildRefusal):
        assert found.reason
        return
    assert not found.structure.fits(found.strikes, Context(chain.spot, CASH))
    assert len({each.symbol for each in found.legs}) == len(found.legs)
    assert [each.signed_quantity for each in found.legs] == [leg.ratio for leg in found.structure.legs]
    assert found.natural <= found.expected_fill <= found.mid


@pytest.mark.parametrize(
    ("name", "session"),
    [
        ("chains_cboe_2026/SPY.parquet", date(2026, 8, 20)),
        ("chains_yahoo_2025/us_10names_20251125_20251205.parquet", date(2025, 12, 3)),
    ],
)
def test_every_structure_is_found_in_recorded_chains(name: str, session: date) -> None:
    """And is recognised again from its legs."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"recorded chains are not at {path}: set TT_SHARED_DATA")
    for chain in list(snapshots(read(path), session))[: 3 * SCALE]:
        for key in KEYS:
            found = built(key, None, chain)
            (seen,) = recognise(found.legs, context_of(found.structure, chain))
            assert seen.structure.key == key
