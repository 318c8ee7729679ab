"""Attribution: parts sum to the profit whatever happens, and greeks explain small moves to third order."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optionmath.attribution import Attribution, attribute, summed
from optionmath.revaluation import Book, Holding, OptionHolding, ShareHolding, calm, revalue

SCALE = int(os.environ.get("TT_TEST_SCALE", "1"))
DAY = 1 / 365


def legs(*, years: float = 40 * DAY, sigma: float = 0.25, rate: float = 0.04) -> list[Holding]:
    return [
        OptionHolding("condor", "XYZ", False, 90, years, sigma + 0.03, 1, rate, 0.01),
        OptionHolding("condor", "XYZ", False, 95, years, sigma + 0.02, -1, rate, 0.01),
        OptionHolding("condor", "XYZ", True, 105, years, sigma, -1, rate, 0.01),
        OptionHolding("condor", "XYZ", True, 110, years, sigma, 1, rate, 0.01),
        ShareHolding("hedge", "XYZ", -20),
    ]


def state(spot: float = 100.0, *, days: float = 0.0, sigma: float = 0.25, rate: float = 0.04) -> Book:
    return Book.of(legs(years=max(40 - days, 0) * DAY, sigma=sigma, rate=rate), {"XYZ": spot})


@settings(max_examples=60 * SCALE, deadline=None)
@given(st.floats(50, 200), st.floats(0, 40), st.floats(0.05, 1.5), st.floats(0, 0.1))
def test_parts_sum_to_the_profit(spot: float, days: float, sigma: float, rate: float) -> None:
    """Crash, expiry, volatility spike: the residual takes what the greeks do not explain."""
    before, after = state(), state(spot, days=days, sigma=sigma, rate=rate)
    change = (revalue(after, calm(after)) - revalue(before, calm(before)))[:, 0]
    found = attribute(before, after)
    assert [each.total for each in found.values()] == pytest.approx(list(change))
    assert summed(found).total == pytest.approx(change.sum())


def test_small_moves_are_explained_and_the_residual_is_of_third_order() -> None:
    """Half the move: about an eighth of the residual; at 0.2 % and 0.1 point it is cents on a $500 condor."""

    def residual(scale: float) -> float:
        return abs(attribute(state(), state(100 + 0.4 * scale, sigma=0.25 + 0.004 * scale))["condor"].residual)

    assert residual(0.5) < residual(1.0) / 5
    assert residual(0.5) < 0.05


@pytest.mark.parametrize(
    ("after", "part"),
    [
        (state(100.5), "gamma"),
        (state(days=1), "theta"),
        (state(sigma=0.26), "vega"),
        (state(rate=0.05), "rho"),
    ],
)
def test_each_cause_shows_in_its_own_part(after: Book, part: str) -> None:
    """Only time passed: only theta; only volatility: vega and vomma; only the rate: rho; only spot: delta and gamma."""
    found = attribute(state(), after)["condor"]
    others = {"gamma": {"delta"}, "vega": {"vomma"}}.get(part, set()) | {part, "residual"}
    assert getattr(found, part) != 0
    assert all(getattr(found, name) == 0 for name in Attribution.__slots__ if name not in others)


def test_shares_are_all_delta() -> None:
    """Twenty shares short, two dollars up: −$40 and nothing else."""
    assert attribute(state(), state(102, sigma=0.3))["hedge"] == Attribution(-40, 0, 0, 0, 0, 0, 0, 0)


def test_market_values_put_their_difference_into_the_residual() -> None:
    """What marks say beyond the model is residual; greeks' parts do not change."""
    model = attribute(state(), state(101))["condor"]
    marked = attribute(state(), state(101), gained={"condor": model.total + 12.5})["condor"]
    assert marked.residual == pytest.approx(model.residual + 12.5)
    assert (marked.delta, marked.gamma) == (model.delta, model.gamma)


def test_an_expired_leg_counts_at_its_exercise_value() -> None:
    """From one day before to after the end with spot at 92: the put spread is worth −$300, no vega from a dead leg."""
    found = attribute(state(92, days=39), state(92, days=40, sigma=0.9))["condor"]
    before = state(92, days=39)
    assert found.total == pytest.approx(-300 - revalue(before, calm(before))[0, 0])
    assert found.vega == 0


def test_different_legs_are_refused_and_missing_numbers_stay_missing() -> None:
    """Another strike or quantity is an error; a NaN volatility makes that position NaN and no other."""
    with pytest.raises(ValueError, match="same legs"):
        attribute(state(), Book.of(legs()[:4], {"XYZ": 100.0}))
    option = legs()[0]
    assert isinstance(option, OptionHolding)
    with pytest.raises(ValueError, match="same legs"):
        attribute(state(), Book.of([replace(option, strike=91), *legs()[1:]], {"XYZ": 100.0}))
    broken = Book.of([replace(option, sigma=float("nan")), *legs()[1:]], {"XYZ": 100.0})
    found = attribute(broken, state(101))
    assert np.isnan(found["condor"].total)
    assert found["hedge"].total == -20
