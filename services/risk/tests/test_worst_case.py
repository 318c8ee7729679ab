"""The worst combination of fills is found without trying them all, and never below the truth.

Invariants: equal to brute force over every choice of fills within one expiration; never below it over several; no order
of positions or orders matters; more orders never lose less.
"""

from __future__ import annotations

import itertools
import os
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from risk_cases import DAY, HELD_SPREAD, LATER, LONG, SHORT, D, occ, order

from optionmath.payoff import PayoffLeg, analyse, value_at
from optionmath.payoff_model import LossBasis, model_payoff
from optionmath.revaluation import OptionHolding
from risk.domain.facts import Held, Order, option_of
from risk.domain.worst_case import order_loss, worst_case
from schemas.symbols import OptionType
from schemas.trade import Purpose

SCALE = int(os.environ.get("TT_TEST_SCALE", "1"))
STRIKES = (90, 95, 100, 105, 110)

kinds = st.sampled_from((OptionType.CALL, OptionType.PUT))
prices = st.decimals("-9", "9", places=2)


@st.composite
def legs(draw: st.DrawFn, expirations: tuple[date, ...] = (DAY,)) -> tuple[tuple[str, int], ...]:
    found = draw(
        st.lists(
            st.tuples(st.sampled_from(STRIKES), kinds, st.sampled_from(expirations), st.sampled_from((-2, -1, 1, 2))),
            min_size=1, max_size=4, unique_by=lambda each: each[:3],
        )
    )  # fmt: skip
    return tuple((occ("SPY", strike, kind, day), count) for strike, kind, day, count in found)


@st.composite
def an_order(draw: st.DrawFn, expirations: tuple[date, ...] = (DAY,)) -> Order:
    day = draw(st.sampled_from(expirations))
    return order(
        underlying_symbol="SPY", legs=draw(legs((day,))), quantity=draw(st.integers(1, 3)),
        worst_price=draw(prices), purpose=draw(st.sampled_from(Purpose)),
    )  # fmt: skip


@st.composite
def holdings(draw: st.DrawFn, expirations: tuple[date, ...] = (DAY,)) -> tuple[Held, ...]:
    found = draw(st.lists(st.sampled_from(expirations).flatmap(lambda day: legs((day,))), max_size=2))
    merged = {symbol: count for group in found for symbol, count in group}
    return tuple(Held(symbol, "SPY", count, draw(st.decimals("0", "9", places=2))) for symbol, count in merged.items())


def exact_loss(rows: list[tuple[str, int]], cash: Decimal) -> Decimal | None:
    """Of legs of one expiration, in dollars, by the independent payoff of optionmath; not floored at zero."""
    if not rows:
        return -cash
    parts = [
        PayoffLeg(option_of(symbol).option_type is OptionType.CALL, option_of(symbol).strike, count, D(100))
        for symbol, count in rows
    ]
    if analyse(parts, cash).max_loss is None:
        return None
    corners = {D(0), *(part.strike for part in parts)}
    return -min(value_at(parts, cash, price) for price in corners)


def brute_force(held: tuple[Held, ...], orders: tuple[Order, ...]) -> Decimal | None:
    """The greatest loss over every number of units of every order that may have filled."""
    worst: Decimal | None = D(0)
    for fills in itertools.product(*(range(each.quantity + 1) for each in orders)):
        groups: dict[date, tuple[list[tuple[str, int]], Decimal]] = {}
        pieces = [(each.occ_symbol, each.signed_quantity, each.average_open_price) for each in held]
        for symbol, count, price in pieces:
            rows, cash = groups.get(option_of(symbol).expiration, ([], D(0)))
            groups[option_of(symbol).expiration] = ([*rows, (symbol, count)], cash - 100 * count * price)
        for each, units in zip(orders, fills, strict=True):
            rows, cash = groups.get(each.expirations[0], ([], D(0)))
            rows = [*rows, *((symbol, count * units) for symbol, count in each.legs if units)]
            groups[each.expirations[0]] = (rows, cash + 100 * units * each.worst_price)
        total = D(0)
        for rows, cash in groups.values():
            loss = exact_loss(rows, cash)
            if loss is None:
                return None
            total += loss
        worst = max(worst or D(0), total)
    return worst


@settings(max_examples=60 * SCALE, deadline=None)
@given(holdings(), st.lists(an_order(), max_size=3))
def test_within_one_expiration_it_is_the_worst_of_every_choice_of_fills(
    held: tuple[Held, ...], orders: list[Order]
) -> None:
    assert worst_case(held, orders).total == brute_force(held, tuple(orders))


@settings(max_examples=40 * SCALE, deadline=None)
@given(holdings((DAY, LATER)), st.lists(an_order((DAY, LATER)), max_size=3))
def test_over_several_expirations_it_is_never_below_the_worst_choice(
    held: tuple[Held, ...], orders: list[Order]
) -> None:
    """A held calendar is the one case where each expiration alone says more than both together."""
    found, truth = worst_case(held, orders).total, brute_force(held, tuple(orders))
    if found is not None and truth is not None:
        assert found >= truth
    if found is not None and truth is None:
        # only legs that outlive what they cover may be bounded where each expiration alone is not
        assert len({option_of(each.occ_symbol).expiration for each in held}) > 1


@given(holdings(), st.lists(an_order(), min_size=1, max_size=3), st.randoms(use_true_random=False))
@settings(max_examples=30 * SCALE, deadline=None)
def test_no_order_matters_and_more_orders_never_lose_less(
    held: tuple[Held, ...], orders: list[Order], random: object
) -> None:
    mixed_held, mixed = list(held), list(orders)
    random.shuffle(mixed_held)  # type: ignore[attr-defined]
    random.shuffle(mixed)  # type: ignore[attr-defined]
    found = worst_case(held, orders).total
    assert worst_case(mixed_held, mixed).total == found
    fewer = worst_case(held, orders[1:]).total
    assert found is None or (fewer is not None and fewer <= found)


@given(legs(), prices, st.integers(1, 5))
@settings(max_examples=60 * SCALE, deadline=None)
def test_an_order_of_one_expiration_loses_what_the_exact_payoff_says(
    rows: tuple[tuple[str, int], ...], credit: Decimal, units: int
) -> None:
    exact = exact_loss(list(rows), 100 * credit)
    found = order_loss(rows, credit, units)
    assert found == (None if exact is None else max(D(0), exact) * units)


def test_a_close_that_may_not_fill_frees_nothing() -> None:
    """The spread of 1.00 credit can still lose 4.00 a share while its close works."""
    close = order(underlying_symbol="SPY", purpose=Purpose.CLOSE, legs=((SHORT, 1), (LONG, -1)), worst_price=D("-1.80"))
    assert worst_case(HELD_SPREAD, ()).total == D("400.00")
    assert worst_case(HELD_SPREAD, (close,)).total == D("400.00")


def test_closing_only_the_long_leg_counts_as_the_naked_put_it_may_leave() -> None:
    lone = order(underlying_symbol="SPY", purpose=Purpose.CLOSE, legs=((LONG, -1),), worst_price=D("0.50"))
    assert worst_case(HELD_SPREAD, (lone,)).total == D("59850.00")


def test_two_sides_of_a_condor_are_not_added_up_within_an_expiration() -> None:
    """Price cannot be below the puts and above the calls: the worst is one side, less the other's credit."""
    puts = order(legs=((occ("QQQ", 500), -1), (occ("QQQ", 495), 1)), worst_price=D(1))
    calls = order(
        legs=((occ("QQQ", 540, OptionType.CALL), -1), (occ("QQQ", 545, OptionType.CALL), 1)), worst_price=D(1)
    )
    assert worst_case((), (puts, calls)).total == D("400.00")


def test_a_held_calendar_is_bounded_by_what_it_cost() -> None:
    """Its short leg alone would be without bound; the later long one covers it."""
    near, far = occ("SPY", 600, OptionType.CALL), occ("SPY", 600, OptionType.CALL, LATER)
    held = (Held(near, "SPY", -1, D("5")), Held(far, "SPY", 1, D("8")))
    assert worst_case(held, ()).total == D("300.00")
    reverse = (Held(near, "SPY", 1, D("5")), Held(far, "SPY", -1, D("8")))
    assert worst_case(reverse, ()).total is None


@pytest.mark.parametrize(("strike", "far_strike"), [(600, 600), (600, 610), (610, 600)])
def test_a_diagonal_loses_at_most_what_the_model_can_prove(strike: int, far_strike: int) -> None:
    """`model_payoff` bounds it where only long American legs live on; both bounds are the same number."""
    rows = ((occ("SPY", strike, OptionType.CALL), -1), (occ("SPY", far_strike, OptionType.CALL, LATER), 1))
    holdings = [
        OptionHolding("p", "SPY", True, float(strike), 0.1, 0.2, -1.0, american=True),
        OptionHolding("p", "SPY", True, float(far_strike), 0.2, 0.2, 1.0, american=True),
    ]
    model = model_payoff(holdings, 605.0, -300.0)
    assert model.basis is LossBasis.BOUND
    assert order_loss(rows, D("-3.00"), 1) == D(str(model.max_loss)).quantize(D("0.01"))


def test_a_european_index_option_that_lives_on_bounds_nothing() -> None:
    rows = (("SPX   270115P06000000", -1), ("SPX   270219P06000000", 1))
    assert order_loss(rows, D("-30"), 1) is None
