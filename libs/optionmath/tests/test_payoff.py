"""The payoff algebra is exact: against values by hand, against brute force on a price grid, and against itself.

Invariants: max_loss and max_profit are attained or approached and never passed; between breakevens the sign is that of
the profit intervals; doubling a position doubles it; legs that cancel vanish; order does not matter.
"""

from __future__ import annotations

import csv
import itertools
import os
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optionmath.payoff import (
    AnyLeg,
    Interval,
    PayoffLeg,
    Risk,
    StockLeg,
    analyse,
    corners,
    curve,
    remaining_risk,
    value_at,
)

SCALE = int(os.environ.get("TT_TEST_SCALE", "1"))
SHARED = Path(os.environ.get("TT_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data"))
D = Decimal
TINY = D("1e-16")
"""Far below any price: what the corners of adjusted contracts may round."""


def call(strike: str, quantity: int = 1) -> PayoffLeg:
    return PayoffLeg(True, D(strike), quantity)


def put(strike: str, quantity: int = 1) -> PayoffLeg:
    return PayoffLeg(False, D(strike), quantity)


def stock(shares: int = 1) -> StockLeg:
    return StockLeg(D(shares))


options = st.builds(
    PayoffLeg,
    st.booleans(),
    st.integers(2, 40).map(lambda each: D(each) * D("2.5")),
    st.integers(-3, 3).filter(bool),
    st.sampled_from([D(1), D(1), D(1), D(2)]),
    st.sampled_from([None, None, None, D("1.5")]),
    st.sampled_from([D(0), D(0), D(0), D("3.25")]),
)
positions = st.lists(
    st.one_of(options, options, st.builds(stock, st.integers(-2, 2).filter(bool))), min_size=1, max_size=5
)
credits = st.integers(-2000, 2000).map(lambda cents: D(cents) / 100)

CASES: list[tuple[str, list[AnyLeg], str, str | None, str | None, list[str], Risk]] = [
    ("long call", [call("100")], "-2.5", None, "2.5", ["102.5"], Risk.DEFINED),
    ("short call", [call("100", -1)], "2.5", "2.5", None, ["102.5"], Risk.UNLIMITED),
    ("long put", [put("100")], "-2.5", "97.5", "2.5", ["97.5"], Risk.DEFINED),
    ("short put", [put("100", -1)], "2.5", "2.5", "97.5", ["97.5"], Risk.SUBSTANTIAL),
    ("put credit vertical", [put("95", -1), put("90")], "1.3", "1.3", "3.7", ["93.7"], Risk.DEFINED),
    ("call credit vertical", [call("105", -1), call("110")], "1.3", "1.3", "3.7", ["106.3"], Risk.DEFINED),
    ("put debit vertical", [put("95"), put("90", -1)], "-1.3", "3.7", "1.3", ["93.7"], Risk.DEFINED),
    ("call debit vertical", [call("105"), call("110", -1)], "-1.3", "3.7", "1.3", ["106.3"], Risk.DEFINED),
    ("condor", [put("90"), put("95", -1), call("105", -1), call("112")], "2", "2", "5", ["93", "107"], Risk.DEFINED),
    ("iron fly", [put("90"), put("100", -1), call("100", -1), call("110")], "6", "6", "4", ["94", "106"], Risk.DEFINED),
    ("call ratio 1x2", [call("100"), call("105", -2)], "0.5", "5.5", None, ["110.5"], Risk.UNLIMITED),
    ("put ratio 1x2", [put("100"), put("95", -2)], "0.5", "5.5", "89.5", ["89.5"], Risk.SUBSTANTIAL),
    ("jade lizard", [put("95", -1), call("105", -1), call("107")], "2", "2", "93", ["93", "107"], Risk.SUBSTANTIAL),
    ("covered call", [stock(), call("105", -1)], "-98", "7", "98", ["98"], Risk.SUBSTANTIAL),
    ("collar", [stock(), put("95"), call("105", -1)], "-100", "5", "5", ["100"], Risk.DEFINED),
    ("synthetic stock", [call("100"), put("100", -1)], "0", None, "100", ["100"], Risk.SUBSTANTIAL),
    ("short stock", [stock(-1)], "100", "100", None, ["100"], Risk.UNLIMITED),
    ("butterfly", [call("95"), call("100", -2), call("105")], "-1", "4", "1", ["96", "104"], Risk.DEFINED),
    ("long box", [call("95"), call("105", -1), put("105"), put("95", -1)], "-9.8", "0.2", "0", [], Risk.NONE),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
def test_known_structures(case: tuple[str, list[AnyLeg], str, str | None, str | None, list[str], Risk]) -> None:
    """Every basic structure has the extremes, breakevens and kind of risk that the textbook gives it."""
    _, legs, credit, profit, loss, zeros, risk = case
    found = analyse(legs, D(credit))

    assert found.max_profit == (None if profit is None else D(profit))
    assert found.max_loss == (None if loss is None else D(loss))
    assert found.breakevens == tuple(D(each) for each in zeros)
    assert found.risk is risk


def test_a_jade_lizard_without_enough_credit_can_lose_above() -> None:
    """No risk above if and only if the credit is at least the width of the call spread."""
    legs = [put("95", -1), call("105", -1), call("107")]
    assert value_at(legs, D("1.99"), D(1000)) < 0
    assert value_at(legs, D(2), D(1000)) == 0


def test_profit_intervals_of_an_iron_condor_and_of_a_strangle() -> None:
    """A short condor earns between its breakevens, a long strangle outside them, without an upper end."""
    condor = analyse([put("90"), put("95", -1), call("105", -1), call("110")], D(2))
    strangle = analyse([put("95"), call("105")], D(-3))
    assert condor.profit_intervals == (Interval(D(93), D(107)),)
    assert strangle.profit_intervals == (Interval(D(0), D(92)), Interval(D(108), None))


def test_a_stretch_at_exactly_zero_is_no_profit() -> None:
    """A call that cost nothing neither wins nor loses below its strike."""
    found = analyse([call("100")], D(0))
    assert found.profit_intervals == (Interval(D(100), None),)
    assert found.risk is Risk.NONE


def test_contracts_that_deliver_150_shares() -> None:
    """Split-adjusted put, 150 shares against 60 × 100: worthless above 40; one contract at 30 is worth $1,500."""
    leg = PayoffLeg(False, D(60), -1, multiplier=D(100), shares=D(150))
    found = analyse([leg], D(250))
    assert leg.corner == D(40)
    assert value_at([leg], D(250), D(30)) == D(-1250)
    assert found.max_loss == D(5750)
    assert found.breakevens[0] == D(40) - D(250) / 150


def test_contracts_that_deliver_cash_beside_shares() -> None:
    """A merger-adjusted call, 100 shares and $500 for 50 × 100, is worth something from $45 on."""
    leg = PayoffLeg(True, D(50), 1, multiplier=D(100), cash=D(500))
    assert corners([leg]) == (D(0), D(45))
    assert value_at([leg], D(0), D(46)) == D(100)


def test_duplicate_legs_net_to_nothing() -> None:
    """Bought and sold: only the credit is left, everywhere."""
    legs = [call("100"), put("90", -2), call("100", -1), put("90", 2)]
    assert set(curve(legs, D("0.1"), [D(0), D(80), D(100), D(500)])) == {D("0.1")}
    assert analyse(legs, D("0.1")).risk is Risk.NONE


@settings(max_examples=100 * SCALE, deadline=None)
@given(st.integers(1, 50), st.integers(1, 50), st.integers(0, 100))
def test_a_box_is_worth_its_width_everywhere(low: int, width: int, price: int) -> None:
    """Long box: width at every price, exactly."""
    a, b = str(low), str(low + width)
    assert value_at([call(a), call(b, -1), put(b), put(a, -1)], D(0), D(price)) == width


@settings(max_examples=100 * SCALE, deadline=None)
@given(positions, credits)
def test_brute_force_on_a_price_grid_agrees(legs: list[AnyLeg], credit: Decimal) -> None:
    """On a fine grid: bounds hold and are attained, every sign change is a breakeven, profit is where it is said."""
    found = analyse(legs, credit)
    grid = sorted({D(step) / 4 for step in range(1000)} | set(corners(legs)))
    values = curve(legs, credit, grid)

    if found.max_loss is not None:
        assert abs(max(-min(values), D(0)) - found.max_loss) < TINY
    else:
        assert values[-1] > value_at(legs, credit, D(10_000)) > value_at(legs, credit, D(100_000))
    if found.max_profit is not None:
        assert abs(max(values) - found.max_profit) < TINY
    else:
        assert values[-1] < value_at(legs, credit, D(10_000)) < value_at(legs, credit, D(100_000))
    for price, value in zip(grid, values, strict=True):
        if not any(abs(price - each) < D("1e-9") for each in found.breakevens):
            assert (value > 0) == any(
                each.low <= price and (each.high is None or price < each.high) for each in found.profit_intervals
            )
    for (low, at_low), (high, at_high) in itertools.pairwise(zip(grid, values, strict=True)):
        if at_low * at_high < 0:
            assert any(low <= each <= high for each in found.breakevens)


@settings(max_examples=100 * SCALE, deadline=None)
@given(positions, credits)
def test_breakevens_are_where_nothing_is_won_or_lost(legs: list[AnyLeg], credit: Decimal) -> None:
    """P&L at every breakeven is zero to the precision of one division."""
    assert all(abs(value_at(legs, credit, each)) < TINY for each in analyse(legs, credit).breakevens)


@settings(max_examples=100 * SCALE, deadline=None)
@given(st.permutations([put("90"), put("95", -1), call("105", -2), call("110"), stock(1)]), credits)
def test_the_order_of_legs_does_not_matter(legs: list[AnyLeg], credit: Decimal) -> None:
    """Any order gives the same answer."""
    assert analyse(legs, credit) == analyse(sorted(legs, key=repr), credit)


@settings(max_examples=100 * SCALE, deadline=None)
@given(positions, credits, st.integers(2, 5))
def test_quantity_scales_the_result(legs: list[AnyLeg], credit: Decimal, times: int) -> None:
    """k times the position and its credit: k times the extremes, the same breakevens and risk."""

    def scaled(leg: AnyLeg) -> AnyLeg:
        if isinstance(leg, StockLeg):
            return StockLeg(leg.signed_shares * times)
        return replace(leg, signed_quantity=leg.signed_quantity * times)

    one, many = analyse(legs, credit), analyse([scaled(leg) for leg in legs], credit * times)
    for single, scaled_up in ((one.max_loss, many.max_loss), (one.max_profit, many.max_profit)):
        assert (single is None) == (scaled_up is None)
        assert single is None or scaled_up is None or abs(scaled_up - single * times) < TINY
    assert many.risk is one.risk
    assert len(many.breakevens) == len(one.breakevens)


@settings(max_examples=100 * SCALE, deadline=None)
@given(positions, credits, st.integers(2, 40).map(lambda each: D(each) * D("2.5")), st.booleans())
def test_a_long_wing_never_raises_the_loss(legs: list[AnyLeg], credit: Decimal, strike: Decimal, is_call: bool) -> None:
    """An option that is given away for nothing can only help."""
    before = analyse(legs, credit).max_loss
    after = analyse([*legs, PayoffLeg(is_call, strike, 1)], credit).max_loss
    assert before is None or (after is not None and after <= before + TINY)


def test_breakevens_of_the_reference_structures() -> None:
    """The multi-leg reference rows name legs, net credit and breakevens; a put spread has no upper one."""
    path = SHARED / "reference" / "reference_values.csv"
    if not path.exists():
        pytest.skip(f"reference values are not at {path}: set TT_SHARED_DATA")
    with path.open() as file:
        rows = [row["extra"] for row in csv.DictReader(file) if row["kind"] == "pop_multi"]
    assert rows
    for row in rows:
        fields = dict(part.split("=") for part in row.split(";"))
        legs = [
            PayoffLeg(each[-1] == "C", D(each[1:-1]), 1 if each[0] == "+" else -1) for each in fields["legs"].split("/")
        ]
        expected = tuple(D(each) for each in fields["be"].split("|") if each != "None")
        assert analyse(legs, D(fields["net"])).breakevens == expected


def test_nothing_to_analyse_is_refused() -> None:
    """No legs, and a contract that delivers nothing, are errors and not a zero."""
    with pytest.raises(ValueError, match="at least one leg"):
        analyse([], D(1))
    with pytest.raises(ValueError, match="positive"):
        analyse([PayoffLeg(True, D(100), 1, shares=D(0))], D(1))


def test_a_short_leg_that_outlives_its_cover_is_found() -> None:
    """Reverse calendar: covered until the near call dies, naked afterwards; a long calendar never is."""
    near, far = call("100"), call("100", -1)
    assert remaining_risk([[near, far], [far]]) is Risk.UNLIMITED
    assert remaining_risk([[replace(near, signed_quantity=-1), call("100")], [call("100")]]) is Risk.DEFINED
    assert remaining_risk([[put("100"), put("100", -1)], [put("100", -1)], []]) is Risk.SUBSTANTIAL
    with pytest.raises(ValueError, match="stage"):
        remaining_risk([])


def test_the_payoff_needs_no_compiler() -> None:
    """Services that decide import this module at start: it must not pull in numba or numpy."""
    code = "import sys, optionmath.payoff; sys.exit(any(name in sys.modules for name in ('numba', 'numpy', 'scipy')))"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
