"""Raw legs are named by the fewest structures that account for every contract and share.

Invariants: the legs of the structures add up to the book; never more structures than the book was made of, unless
legs cancelled each other; order and
splitting of legs change nothing.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.symbols import OptionSymbol, OptionType, SymbolError
from strategies.structures import CATALOGUE, Context, Holding, LegKind, Structure, recognise, recognise_one

SCALE = int(os.environ.get("TT_TEST_SCALE", "1"))
NEAR, FAR = date(2026, 12, 18), date(2027, 1, 15)
PLAIN = [each for each in CATALOGUE.values() if each.condition is None]


def option(kind: str, strike: float, quantity: int, day: date = NEAR, root: str = "XYZ") -> Holding:
    return Holding(OptionSymbol(root, day, OptionType(kind), Decimal(str(strike))).occ, quantity)


def call(strike: float, quantity: int, day: date = NEAR, root: str = "XYZ") -> Holding:
    return option("C", strike, quantity, day, root)


def put(strike: float, quantity: int, day: date = NEAR, root: str = "XYZ") -> Holding:
    return option("P", strike, quantity, day, root)


def legs_of(structure: Structure, base: int, units: int) -> list[Holding]:
    """A structure at strikes base, base + 10, …; widths that satisfy its spacing."""
    gaps = [10 * (each or 1) for each in structure.spacing] or [10, 10, 20]
    strikes = dict(zip("abcd", [base, base + gaps[0], base + sum(gaps[:2]), base + sum(gaps[:3])], strict=True))
    if structure.unequal_wings:
        strikes |= {"c": base + 30, "d": base + 60}
    found = []
    for leg in structure.legs:
        if leg.kind is LegKind.SHARES:
            found.append(Holding("XYZ", leg.ratio * units))
        else:
            kind = "C" if leg.kind is LegKind.CALL else "P"
            found.append(option(kind, strikes[leg.letter], leg.ratio * units, FAR if leg.far else NEAR))
    return found


def named(*legs: Holding, **context: Context) -> list[tuple[str, int]]:
    return [(each.structure.key, each.units) for each in recognise(legs, context)]


@pytest.mark.parametrize(
    ("legs", "expected"),
    [
        ([put(95, -2), put(90, 2)], [("put_credit_spread", 2)]),
        ([put(90, 1), put(95, -1), call(105, -1), call(110, 1)], [("iron_condor", 1)]),
        ([put(90, 1), put(100, -1), call(100, -1), call(110, 1)], [("iron_butterfly", 1)]),
        ([Holding("XYZ", 300), call(105, -3)], [("covered_call", 3)]),
        ([Holding("XYZ", 100), put(95, 1), call(105, -1)], [("collar", 1)]),
        ([call(100, 1), call(105, -2), call(110, 1)], [("long_call_butterfly", 1)]),
        ([call(100, 1), call(105, -2), call(115, 1)], [("broken_wing_call_butterfly", 1)]),
        ([call(100, -1), call(100, 1, FAR)], [("call_calendar", 1)]),
        ([call(95, 1, FAR), call(105, -1)], [("call_diagonal", 1)]),
        ([call(105, 1, FAR), call(95, -1)], [("call_diagonal", 1)]),
        ([call(90, 2), call(100, -1)], [("call_zebra", 1)]),
        ([put(90, -1), call(110, -1), call(115, 1)], [("jade_lizard", 1)]),
        ([put(100, -1), call(100, -1), call(110, 1)], [("big_lizard", 1)]),
        ([call(100, 1), put(100, -1), call(110, -1), put(110, 1)], [("long_box", 1)]),
        ([call(100, -1), put(100, 1), Holding("XYZ", 100)], [("conversion", 1)]),
        ([put(100, 1), call(100, 2)], [("strap", 1)]),
        ([call(100, 1), call(110, -3), call(115, 2)], [("call_christmas_tree", 1)]),
    ],
)
def test_well_known_shapes(legs: list[Holding], expected: list[tuple[str, int]]) -> None:
    """By hand, in every order."""
    for seed in range(4):
        random.Random(seed).shuffle(legs)
        assert named(*legs) == expected


def test_a_book_is_split_into_the_fewest_structures() -> None:
    """An iron condor beside a covered call, and not five single legs."""
    book = [put(90, 1), put(95, -1), call(105, -1), call(110, 1), Holding("XYZ", 100), call(120, -1, FAR)]
    assert sorted(named(*book)) == [("covered_call", 1), ("iron_condor", 1)]


def test_leftovers_are_named_as_singles() -> None:
    """What fits nowhere is a long put, a short call, loose shares."""
    assert sorted(named(put(90, 3), put(95, -1), Holding("XYZ", 37))) == [
        ("long_put", 2), ("long_stock", 37), ("put_credit_spread", 1),
    ]  # fmt: skip
    assert sorted(named(Holding("XYZ", 250), call(105, -2))) == [("covered_call", 2), ("long_stock", 50)]


def test_defined_risk_is_preferred_among_equally_few() -> None:
    """Two verticals rather than a long strangle and a short strangle."""
    book = [put(90, 1), put(95, -1), call(100, 1), call(120, -1)]
    assert sorted(named(*book)) == [("call_debit_spread", 1), ("put_credit_spread", 1)]


def test_the_same_contract_is_netted_first_and_zero_is_nothing() -> None:
    """As an account does."""
    assert named(put(95, -3), put(95, 1), put(90, 2)) == [("put_credit_spread", 2)]
    assert named(put(95, -1), put(95, 1)) == []
    assert recognise([]) == ()


def test_underlyings_and_adjusted_contracts_stay_apart() -> None:
    """SPXW and SPX share an index; AAPL1 is not AAPL."""
    weekly, monthly = call(6000, -1, NEAR, "SPXW"), call(6000, 1, FAR, "SPX")
    assert named(weekly, monthly) == [("call_calendar", 1)]
    assert sorted(named(call(100, -1, root="AAPL1"), call(105, 1, root="AAPL"))) == [
        ("long_call", 1), ("short_call", 1),
    ]  # fmt: skip


def test_cash_secures_puts_once() -> None:
    """The same dollars do not secure two puts."""
    book = (put(95, -1), put(90, -1, FAR))
    assert sorted(named(*book, XYZ=Context(cash=Decimal(18_500)))) == [("cash_secured_put", 1), ("cash_secured_put", 1)]
    assert sorted(named(*book, XYZ=Context(cash=Decimal(18_499)))) == [("cash_secured_put", 1), ("short_put", 1)]
    assert sorted(named(*book)) == [("short_put", 1), ("short_put", 1)]
    assert named(put(95, -2), XYZ=Context(cash=Decimal(18_999))) == [("short_put", 2)]


def test_a_deep_long_call_stands_in_for_shares_only_when_the_price_is_known() -> None:
    """PMCC is a diagonal under a condition."""
    legs = (call(80, 1, FAR), call(105, -1))
    assert named(*legs, XYZ=Context(spot=100.0)) == [("poor_mans_covered_call", 1)]
    assert named(*legs, XYZ=Context(spot=82.0)) == [("call_diagonal", 1)]
    assert named(*legs) == [("call_diagonal", 1)]


@pytest.mark.parametrize("symbol", ["", "XYZ   261318C00100000", "xyz", "TOO LONG A NAME"])
def test_symbols_that_cannot_be_read_are_refused(symbol: str) -> None:
    """Nothing is silently left out of a book."""
    with pytest.raises(SymbolError):
        recognise([Holding(symbol, 1)])


def test_one_structure_or_none() -> None:
    """The name of an order's legs."""
    found = recognise_one([put(90, 1), put(95, -1)])
    assert found is not None
    assert found.structure.key == "put_credit_spread"
    assert recognise_one([put(90, 1), put(95, -1), put(50, 7)]) is None
    assert recognise_one([put(90, 1), put(95, -1, root="ABC")]) is None
    assert recognise_one([]) is None


@pytest.mark.parametrize("structure", PLAIN, ids=lambda each: each.key)
def test_every_shape_is_its_own_whatever_the_units(structure: Structure) -> None:
    """No two entries of the catalogue claim the same legs."""
    for units in (1, 2, 7):
        assert named(*legs_of(structure, 60, units)) == [(structure.key, units)]


@settings(max_examples=60 * SCALE, deadline=None)
@given(
    parts=st.lists(
        st.tuples(st.sampled_from(PLAIN), st.sampled_from([60, 70, 80, 100]), st.integers(1, 3)), min_size=1, max_size=3
    ),
    seed=st.integers(0, 999),
)
def test_never_more_structures_than_the_book_was_made_of(parts: list[tuple[Structure, int, int]], seed: int) -> None:
    """And every contract is in exactly one of them."""
    book = [leg for structure, base, units in parts for leg in legs_of(structure, base, units)]
    random.Random(seed).shuffle(book)
    found = recognise(book)
    held: Counter[str] = Counter()
    for leg in book:
        held[leg.symbol] += leg.signed_quantity
    seen: Counter[str] = Counter()
    for leg in (leg for each in found for leg in each.legs):
        seen[leg.symbol] += leg.signed_quantity
    assert {key: q for key, q in seen.items() if q} == {key: q for key, q in held.items() if q}
    if sum(map(abs, held.values())) == sum(abs(leg.signed_quantity) for leg in book):  # nothing cancelled out
        assert len(found) <= len(parts)
    for each in found:
        assert [leg.signed_quantity for leg in each.legs] in [
            [leg.ratio * each.units for leg in shape] for shape in each.structure.shapes
        ]


def test_a_book_of_five_structures_is_found_again() -> None:
    """Fifteen different legs of two expirations, as an income account holds them."""
    book = [
        put(80, 2), put(85, -2), call(115, -2), call(120, 2),
        put(90, 1, FAR), put(95, -1, FAR), call(105, -1, FAR), call(112, 1, FAR),
        put(70, -3, FAR), call(130, -3, FAR),
        put(101, 1), put(103, -2), put(105, 1),
        Holding("XYZ", 400), call(125, -4, FAR),
    ]  # fmt: skip
    assert sorted(named(*book)) == [
        ("covered_call", 4), ("iron_condor", 1), ("iron_condor", 2), ("long_put_butterfly", 1), ("short_strangle", 3),
    ]  # fmt: skip


def test_many_legs_of_one_expiration_are_all_accounted_for() -> None:
    """Twelve put spreads at 24 strikes: as many structures at most."""
    book = [leg for base in range(50, 170, 10) for leg in (put(base, 1), put(base + 5, -1))]
    found = recognise(book)
    assert len(found) <= 12
    seen = {leg.symbol: leg.signed_quantity for each in found for leg in each.legs}
    assert seen == {leg.symbol: leg.signed_quantity for leg in book}


def test_a_big_book_is_named_completely_and_soon() -> None:
    """Forty different legs: every one accounted for."""
    rng = random.Random(7)
    days = [date(2026, 12, day) for day in (4, 11, 18, 24)]
    book = [
        leg
        for day in days
        for _ in range(5)
        for kind, strike in [(rng.choice("CP"), rng.randrange(50, 150))]
        for leg in (option(kind, strike, 2, day), option(kind, strike + 5, -2, day))
    ]
    started = time.process_time()
    found = recognise([*book, Holding("XYZ", 200)])
    assert time.process_time() - started < 10
    net: Counter[str] = Counter({"XYZ": -200})
    for leg in book:
        net[leg.symbol] -= leg.signed_quantity
    for leg in (leg for each in found for leg in each.legs):
        net[leg.symbol] += leg.signed_quantity
    assert not any(net.values())
    assert len(found) <= 21
