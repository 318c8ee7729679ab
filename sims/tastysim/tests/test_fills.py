"""Fills: never worse than the limit, never more than ordered, the same from the same draw however often one looks."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from strategies.fill_model import price_share, seconds_to_fill
from tastysim.behaviour import Behaviour, FillKind
from tastysim.fills import FillDesk, LegQuote, Resting, decide, net, shown, stop_reached, trouble
from tastysim.orders import Refusal

NOW = datetime(2026, 11, 24, 16, 0, tzinfo=UTC)
SCALE = int(os.environ.get("TT_TEST_SCALE", "1"))
CENT = Decimal("0.01")
MORE = settings(max_examples=120 * SCALE, deadline=None)
CENTS = some.integers(1, 900).map(lambda value: value * CENT)
SPREADS = some.integers(1, 60).map(lambda value: value * CENT)
SIZES = some.one_of(some.integers(0, 40).map(float), some.just(math.nan))
QUANTITIES = some.sampled_from([-2, -1, 1, 2])
KINDS = ["book", "model", "immediate", "delayed:5", "partial", "partial:size", "never", "reject"]
BEHAVIOURS = some.sampled_from(KINDS).map(Behaviour.parse)
UNIFORMS = some.floats(0, 1, exclude_max=True)


@some.composite
def legs_of_one_order(draw: some.DrawFn) -> list[LegQuote]:
    """One to four legs with good quotes."""
    found = []
    for _ in range(draw(some.integers(1, 4))):
        bid = draw(CENTS)
        ask = bid + draw(SPREADS)
        found.append(LegQuote(draw(QUANTITIES), Decimal(1), bid, ask, draw(SIZES), draw(SIZES)))
    return found


def spread() -> list[LegQuote]:
    """A put spread sold: mid 1.00, natural 0.90."""
    return [
        LegQuote(-1, Decimal(1), Decimal("2.00"), Decimal("2.10"), 30, 30),
        LegQuote(1, Decimal(1), Decimal("1.00"), Decimal("1.10"), 20, 20),
    ]


def until_filled(
    price: Decimal, legs: Sequence[LegQuote], behaviour: Behaviour, uniform: float, step: float, longest: float = 1e6
) -> float:
    """Seconds until an order fills when it is looked at every so many seconds."""
    order, at = Resting(price, 1), 0.0
    while at < longest:
        at += step
        decision = decide(replace(order, rested=at), legs, behaviour, step, uniform)
        if decision.units:
            return at
        order = replace(order, spent=decision.spent)
    return math.inf


@MORE
@given(legs_of_one_order(), BEHAVIOURS, some.one_of(some.none(), some.integers(-4000, 4000)), UNIFORMS, some.data())
def test_no_fill_is_worse_than_the_limit_or_larger_than_the_order(
    legs: list[LegQuote], behaviour: Behaviour, price: int | None, uniform: float, data: some.DataObject
) -> None:
    """Whatever the behaviour: price at the limit or better, between natural and mid; improvement is what it says.

    The model alone lets a price better than mid fill, seldom.
    """
    limit = None if price is None else price * CENT
    left, filled = data.draw(some.integers(1, 50)), data.draw(some.integers(0, 50))
    order = Resting(limit, left, filled, data.draw(some.floats(0, 1e5)), data.draw(some.floats(0, 20)))
    decision = decide(order, legs, behaviour, data.draw(some.floats(0, 1e4)), uniform)
    assert 0 <= decision.units <= left
    assert (decision.units > 0) == (decision.price is not None)
    if decision.price is None:
        assert decision.why
        assert decision.spent >= order.spent
        return
    assert decision.price >= net(legs, natural=True) - CENT
    assert behaviour.kind is FillKind.MODEL or decision.price <= net(legs, natural=False)
    if limit is not None:
        assert decision.price >= limit
        assert decision.improvement == decision.price - limit >= 0


@MORE
@given(legs_of_one_order(), BEHAVIOURS, some.sampled_from(["old", "unknown", "locked", "crossed"]), some.data())
def test_bad_quotes_fill_nothing(legs: list[LegQuote], behaviour: Behaviour, wrong: str, data: some.DataObject) -> None:
    """One leg that is stale, of unknown age, locked or crossed is enough, for an order that would take anything."""
    place = data.draw(some.integers(0, len(legs) - 1))
    leg = legs[place]
    changed = {
        "old": replace(leg, age_seconds=15.01), "unknown": replace(leg, age_seconds=math.nan),
        "locked": replace(leg, ask=leg.bid), "crossed": replace(leg, ask=leg.bid - CENT),
    }  # fmt: skip
    legs[place] = changed[wrong]
    decision = decide(Resting(Decimal(-9999), 5, rested=1e6), legs, behaviour, 1e6, 0.0, 15.0)
    assert decision.units == 0
    assert trouble(legs, 15.0)


@settings(max_examples=40 * SCALE, deadline=None)
@given(
    some.sampled_from([FillKind.BOOK, FillKind.MODEL]), some.integers(90, 100), UNIFORMS,
    some.sampled_from([0.1, 0.25, 1.0, 7.0, 60.0]),
)  # fmt: skip
def test_how_often_one_looks_changes_nothing(kind: FillKind, cents: int, uniform: float, step: float) -> None:
    """While quotes stand still the time of a fill is that of its draw, up to the step in which it is seen."""
    price, legs, behaviour = cents * CENT, spread(), Behaviour(kind)
    fine, coarse = (until_filled(price, legs, behaviour, uniform, each, 4000) for each in (step / 2, step))
    assert fine <= coarse + 1e-6
    assert coarse == math.inf or coarse - fine <= step + 1e-6


@pytest.mark.parametrize("uniform", [0.0, 0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("price", ["1.00", "0.97", "0.93", "0.91"])
def test_the_model_is_that_of_backtest_and_live_trading(uniform: float, price: str) -> None:
    """An order that rests fills when `strategies.fill_model` says that it does."""
    widest = max(float((leg.ask - leg.bid) / leg.mid) * 100 for leg in spread())
    expected = float(seconds_to_fill(uniform, price_share(float(price), 1.0, 0.9), widest))
    found = until_filled(Decimal(price), spread(), Behaviour(FillKind.MODEL), uniform, 0.5, 20_000)
    assert found == pytest.approx(max(0.5, math.ceil(expected / 0.5 - 1e-9) * 0.5), abs=0.51)


def test_the_book_fills_at_the_pace_it_always_had() -> None:
    """One chance in a hundred per quarter of a second at mid, and sixteen just before natural."""
    draws = [FillDesk(NOW).uniform(order, 0) for order in range(1001, 3001)]
    for price, chance in ((Decimal("1.00"), 0.01), (Decimal("0.91"), 0.01 + 0.15 * 0.9)):
        within = [until_filled(price, spread(), Behaviour(), each, 0.25, 0.25) < math.inf for each in draws]
        assert np.mean(within) == pytest.approx(chance, abs=4 * math.sqrt(chance / len(draws)))
    assert until_filled(Decimal("1.01"), spread(), Behaviour(), 0.0, 60.0, 1e5) == math.inf  # better than mid


def test_natural_is_taken_at_once_and_what_is_better_is_the_accounts() -> None:
    """A limit at or through natural fills with no time gone by, at natural, as much as is shown."""
    for name in ("book", "model", "immediate"):
        decision = decide(Resting(Decimal("0.80"), 50), spread(), Behaviour.parse(name), 0.0, 0.99)
        assert (decision.price, decision.improvement) == (Decimal("0.90"), Decimal("0.10"))
        assert decision.units == (50 if name == "immediate" else 20)
    market = decide(Resting(None, 1), spread(), Behaviour(), 0.0, 0.99)
    assert (market.units, market.price) == (1, Decimal("0.90"))
    assert decide(Resting(None, 1), spread(), Behaviour.parse("immediate"), 0.0, 0.0).price == Decimal("1.00")


def test_chosen_behaviours_do_what_they_say() -> None:
    """After their seconds, half and half, as much as is shown, never, or rejected with the reason."""
    at_mid = Resting(Decimal("1.00"), 9)

    def units(text: str, order: Resting) -> int:
        return decide(order, spread(), Behaviour.parse(text), 1.0, 0.5).units

    assert [units("delayed:5", replace(at_mid, rested=at)) for at in (0, 4.9, 5)] == [0, 0, 9]
    assert units("partial:3", at_mid) == 5
    assert [units("partial:3", Resting(Decimal("1.00"), 4, 5, at)) for at in (2.9, 3)] == [0, 4]
    assert units("partial:size", Resting(Decimal("1.00"), 70)) == 20
    assert units("never", Resting(Decimal("-50"), 1)) == 0
    rejected = decide(at_mid, spread(), Behaviour.parse("reject:no such class"), 1.0, 0.5)
    assert (rejected.units, rejected.reject) == (0, "no such class")


@pytest.mark.parametrize("text", [*KINDS, "partial:2.5", "reject:why not"])
def test_a_behaviour_reads_as_it_is_written(text: str) -> None:
    """Its text is what it is kept as."""
    assert Behaviour.parse(str(Behaviour.parse(text))) == Behaviour.parse(text)


@pytest.mark.parametrize("text", ["", "sometimes", "delayed", "delayed:soon", "delayed:-1", "delayed:nan", "book:1"])
def test_a_behaviour_that_is_none_is_explained(text: str) -> None:
    """The message names what was given and how it is written."""
    with pytest.raises(ValueError, match=r"no fill behaviour: write book, model"):
        Behaviour.parse(text)


def test_stops_start_on_the_side_that_hurts() -> None:
    """A buyer's stop starts as the price rises, a seller's as it falls."""
    assert not stop_reached(Decimal("2"), Decimal("-1.99"))
    assert stop_reached(Decimal("2"), Decimal("-2"))
    assert not stop_reached(Decimal("2"), Decimal("2.01"))
    assert stop_reached(Decimal("2"), Decimal("2"))


def test_shown_sizes_count_whole_units_and_at_least_one() -> None:
    """Of the leg that shows least; what is not known counts as one."""
    legs = spread()
    assert shown(legs) == 20
    assert shown([replace(legs[0], quantity=-2), legs[1]]) == 15
    assert shown([replace(legs[0], bid_size=math.nan)]) == shown([replace(legs[0], bid_size=0.0)]) == 1


def test_a_draw_belongs_to_its_order_and_seed() -> None:
    """The same for every desk of the seed; evenly spread; another for each fill."""
    desk, again, other = FillDesk(NOW, 3), FillDesk(NOW + timedelta(days=9), 3), FillDesk(NOW, 4)
    draws = np.array([desk.uniform(order, 0) for order in range(4000)])
    assert list(draws[:99]) == [again.uniform(order, 0) for order in range(99)]
    assert draws[7] not in (other.uniform(7, 0), desk.uniform(7, 1))
    counts, _ = np.histogram(draws, 20, (0, 1))
    assert ((counts - 200) ** 2 / 200).sum() < 43.8  # chi-squared, 19 degrees of freedom, 0.1 %


def test_an_orders_own_keys_are_ignored_unless_they_are_allowed() -> None:
    """Every order of a third-party SDK carries them: obeying by default would fill what should rest."""
    body = {"behavior": "delayed", "delay": 4}
    assert FillDesk(NOW).chosen(body, NOW) is None
    desk = FillDesk(NOW, orders_choose=True)
    assert desk.chosen(body, NOW) == "delayed:4"
    later = (NOW + timedelta(seconds=90)).isoformat()
    assert desk.chosen({"behavior": "scheduled", "schedule": later}, NOW) == "delayed:90"
    assert desk.chosen({"behavior": "immediate"}, NOW) == "immediate"
    assert desk.chosen({}, NOW) is None
    for wrong in ({"behavior": "sometimes"}, {"behavior": "scheduled"}, {"behavior": "delayed", "delay": "soon"}):
        with pytest.raises(Refusal, match="validation_error"):
            desk.chosen(wrong, NOW)
