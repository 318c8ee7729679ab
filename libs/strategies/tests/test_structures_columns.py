"""Every placement of a structure in an expiration: those that nested loops find, with exact prices and extremes.

Invariants: each column is the structure by its own definition; risk is the payoff's max loss at no credit; probability
of profit is that of the exact payoff.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from optionmath.blackscholes import greeks, price
from optionmath.payoff import PayoffLeg, analyse
from optionmath.sessions import years_to_expiration
from optionmath.smile import Distribution, Smile, distribution
from schemas.money import price_from_float
from schemas.symbols import OptionSymbol, OptionType
from strategies.chain import ChainSnapshot
from strategies.chainfile import read, snapshots
from strategies.rolls import profit_probability as exact_probability
from strategies.rules import RuleSet
from strategies.structures import CATALOGUE, Context, Holding, LegKind, recognise_one
from strategies.structures.columns import Columns, TooManyPlacements, every, profit_probability

SHARED = Path(os.environ.get("TT_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data"))
SCALE = int(os.environ.get("TT_TEST_SCALE", "1"))
NOW = datetime(2026, 11, 24, 16, 0, tzinfo=UTC)
DAY = date(2027, 1, 8)
RULES = RuleSet(short_delta_min=0.15, short_delta_max=0.40, width_max=4)
KEYS = [key for key, each in CATALOGUE.items() if each.letters and not each.has_far_legs]
CASH = Decimal(10**6)


def model_chain() -> ChainSnapshot:
    """XYZ at 100, strikes from 84 to 116 in steps of 2, one expiration; the call at 106 is not quoted."""
    levels = np.arange(84.0, 117.0, 2.0)
    strike, is_call = np.repeat(levels, 2), np.tile([True, False], len(levels))
    years = np.full(len(strike), years_to_expiration(NOW, DAY))
    volatility = 0.25 * (1 - 0.3 * np.log(strike / 100))
    value = price(100.0, strike, years, volatility, 0.04, 0.0, is_call)
    found = greeks(100.0, strike, years, volatility, 0.04, 0.0, is_call)
    occ = [
        OptionSymbol("XYZ", DAY, OptionType.CALL if call else OptionType.PUT, Decimal(str(level))).occ
        for call, level in zip(is_call, strike, strict=True)
    ]
    count = len(strike)
    bid = np.where(is_call & (strike == 106), 0.0, np.round(value - 0.02, 4))
    return ChainSnapshot(
        "XYZ", 100.0, 0.04, occ, np.full(count, DAY, dtype="datetime64[D]"), np.full(count, 45), years, strike, is_call,
        bid, np.round(value + 0.02, 4), found.delta, found.gamma, found.theta, found.vega, np.full(count, 5000.0),
        np.full(count, 500.0), np.zeros(count),
    )  # fmt: skip


CHAIN = model_chain()


def market() -> Distribution:
    return distribution(Smile(100.0, 0.123, (0.0077, -0.004, 0.0), -0.4, 0.4, 0.001, 0.0))


def quoted(call: bool) -> list[int]:
    return [row for row in range(len(CHAIN.strike)) if CHAIN.usable[row] and CHAIN.is_call[row] == call]


def sellable(row: int) -> bool:
    return 0.15 <= abs(float(CHAIN.delta[row])) <= 0.40


def put_spreads() -> Iterator[tuple[int, int]]:
    for long, short in itertools.permutations(quoted(False), 2):
        if 0 < CHAIN.strike[short] - CHAIN.strike[long] <= 4 and sellable(short):
            yield long, short


def call_spreads() -> Iterator[tuple[int, int]]:
    for short, long in itertools.permutations(quoted(True), 2):
        if 0 < CHAIN.strike[long] - CHAIN.strike[short] <= 4 and sellable(short):
            yield short, long


def placements(found: Columns) -> set[tuple[int, ...]]:
    seen = [tuple(column) for column in found.rows.T.tolist()]
    assert len(seen) == len(set(seen))
    return set(seen)


def test_verticals_condors_and_strangles_are_those_of_nested_loops() -> None:
    """Every one, and none twice."""
    puts, calls = list(put_spreads()), list(call_spreads())
    assert placements(every(CATALOGUE["put_credit_spread"], CHAIN, DAY, RULES)) == set(puts)
    assert placements(every(CATALOGUE["call_credit_spread"], CHAIN, DAY, RULES)) == set(calls)
    condors = {
        (*put, *call) for put, call in itertools.product(puts, calls) if CHAIN.strike[put[1]] < CHAIN.strike[call[0]]
    }
    assert placements(every(CATALOGUE["iron_condor"], CHAIN, DAY, RULES)) == condors
    strangles = {
        (put, call)
        for put, call in itertools.product(quoted(False), quoted(True))
        if sellable(put) and sellable(call) and CHAIN.strike[put] < CHAIN.strike[call]
    }
    assert placements(every(CATALOGUE["short_strangle"], CHAIN, DAY, RULES)) == strangles


def test_butterflies_keep_their_spacing() -> None:
    """Around the five strikes nearest to the money, equal wings of 2 or 4; 106 is not quoted as a call."""
    found = every(CATALOGUE["long_call_butterfly"], CHAIN, DAY, RULES.model_copy(update={"short_delta_max": 1.0}))
    levels = {float(CHAIN.strike[row]) for row in quoted(True)}
    expected = {
        (body - wing, body, body + wing)
        for body in (96.0, 98.0, 100.0, 102.0, 104.0)
        for wing in (2.0, 4.0)
        if {body - wing, body + wing} <= levels
    }
    assert {tuple(column) for column in found.strikes.T.tolist()} == expected


@pytest.mark.parametrize("key", KEYS)
def test_each_column_is_the_structure_at_its_exact_price_and_risk(key: str) -> None:
    """Checked one by one against the definition, the quotes, the payoff and the exact probability of profit."""
    structure = CATALOGUE[key]
    rules = RULES.model_copy(update={"short_delta_max": 0.75})
    found = every(structure, CHAIN, DAY, rules, cash=CASH)
    assert len(found), "nothing to check"
    credit = found.natural
    probability = profit_probability(found, CHAIN, credit, market())
    options = [leg for leg in structure.legs if leg.letter]
    for index in np.unique(np.linspace(0, len(found) - 1, 5 * SCALE).astype(int)):
        rows = found.rows[:, index]
        legs = [Holding(CHAIN.occ_symbols[row], leg.ratio) for row, leg in zip(rows, options, strict=True)]
        shares = [Holding("XYZ", leg.ratio) for leg in structure.legs if leg.kind is LegKind.SHARES]
        spends = structure.condition is not None and structure.condition.spends_cash
        seen = recognise_one([*legs, *shares], Context(100.0, CASH if spends else None))
        assert seen is not None
        assert seen.structure is structure
        mid = -sum(leg.ratio * CHAIN.mid[row] for row, leg in zip(rows, options, strict=True))
        natural = -sum(
            leg.ratio * (CHAIN.ask[row] if leg.ratio > 0 else CHAIN.bid[row])
            for row, leg in zip(rows, options, strict=True)
        )
        assert found.mid[index] == pytest.approx(mid)
        assert found.natural[index] == pytest.approx(natural)
        parts = [
            PayoffLeg(leg.kind is LegKind.CALL, price_from_float(float(CHAIN.strike[row])), leg.ratio)
            for row, leg in zip(rows, options, strict=True)
        ]
        parts += [PayoffLeg(True, Decimal(0), found.lots)] if found.lots else []
        paid = price_from_float(float(credit[index])) - found.lots * 100
        loss = analyse(parts, paid).max_loss
        expected = np.inf if loss is None else float(loss)
        assert max(found.risk[index] - float(credit[index]), 0.0) == pytest.approx(expected, abs=1e-4)
        assert probability[index] == pytest.approx(exact_probability(parts, paid, market()), abs=2e-3)


def test_nothing_quoted_is_no_placement_and_roots_are_never_mixed() -> None:
    """An empty answer, not an error; SPX and SPXW expire on the same day and are not one structure."""
    none = every(CATALOGUE["iron_condor"], replace(CHAIN, bid=np.zeros(len(CHAIN.bid))), DAY, RULES)
    assert len(none) == 0
    assert len(profit_probability(none, CHAIN, none.mid, market())) == 0
    other = [
        symbol.replace("XYZ ", "XYZW") if index % 4 < 2 else symbol for index, symbol in enumerate(CHAIN.occ_symbols)
    ]
    mixed = replace(CHAIN, occ_symbols=other)
    found = every(CATALOGUE["put_credit_spread"], mixed, DAY, RULES)
    assert 0 < len(found) < len(list(put_spreads()))
    assert all(other[low][:6] == other[high][:6] for low, high in found.rows.T.tolist())


def test_what_is_no_structure_of_one_expiration_is_refused() -> None:
    """Calendars are built, not listed; shares have no strikes."""
    for key in ("call_calendar", "long_stock"):
        with pytest.raises(ValueError, match="not a structure of one expiration"):
            every(CATALOGUE[key], CHAIN, DAY, RULES)


def test_recorded_chains_hold_placements_of_every_structure() -> None:
    """SPY, four weeks out: none is empty, none has a probability outside 0–1; too wide a rule set is refused."""
    path = SHARED / "chains_cboe_2026" / "SPY.parquet"
    if not path.exists():
        pytest.skip(f"recorded chains are not at {path}: set TT_SHARED_DATA")
    (chain,) = snapshots(read(path), date(2026, 8, 20))
    day, rules = date(2026, 9, 18), RuleSet(short_delta_min=0.1, short_delta_max=0.7, width_max=5)
    for key in ("covered_call", "cash_secured_put", "short_strangle", "jade_lizard", "call_debit_spread", "long_box"):
        found = every(CATALOGUE[key], chain, day, rules, cash=CASH)
        assert len(found) > 0, key
        pop = profit_probability(found, chain, found.mid, market_of(chain.spot))
        assert ((pop >= -1e-12) & (pop <= 1 + 1e-12)).all(), key
    with pytest.raises(TooManyPlacements, match="narrow short_delta_min"):
        every(CATALOGUE["iron_condor"], chain, day, RuleSet(short_delta_min=0, short_delta_max=1, width_max=50))


def market_of(spot: float) -> Distribution:
    return distribution(Smile(spot, 0.08, (0.0018, -0.004, 0.0), -0.3, 0.3, 0.0004, 0.0))
