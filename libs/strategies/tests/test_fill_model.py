"""The fill model: between mid and natural, sooner nearer to natural, and of one piece.

Invariants: probabilities grow with time and with the share, and shrink with the width; a walk is the sum of its steps;
drawing from the model gives back its probabilities.
"""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies.fill_model import (
    Walk,
    expected_fill,
    fill_probability,
    fill_share,
    price_share,
    seconds_to_fill,
    walk_fill,
    walk_outcome,
)

SCALE = int(os.environ.get("TT_TEST_SCALE", "1"))
shares = st.floats(-0.5, 1.2)
spreads = st.floats(0.5, 60)


def test_the_expected_fill_is_a_quarter_to_a_half_of_the_way() -> None:
    """By the widest leg's spread: 0, 12.5, 25 and 80 percent of its mid."""
    spread = np.array([0.0, 12.5, 25.0, 80.0])
    fills = expected_fill(np.full(4, 1.20), np.full(4, 1.00), spread)
    assert fills == pytest.approx([1.15, 1.125, 1.10, 1.10])
    assert fill_share(spread) == pytest.approx([0.25, 0.375, 0.5, 0.5])


def test_debits_are_paid_towards_natural() -> None:
    """Credit positive: a debit's natural is the larger payment."""
    assert expected_fill(np.array([-2.00]), np.array([-2.40]), np.array([0.0])) == pytest.approx([-2.10])
    assert price_share([-2.10, -1.90], -2.00, -2.40) == pytest.approx([0.25, -0.25])


def test_a_missing_quote_gives_no_price_and_no_probability() -> None:
    """NaN in, NaN out, and its neighbours stay right."""
    fills = expected_fill(np.array([np.nan, 1.2]), np.array([1.0, 1.0]), np.array([5.0, 0.0]))
    assert np.isnan(fills[0])
    assert fills[1] == pytest.approx(1.15)
    found = fill_probability([np.nan, 1.0], 60, [5.0, 5.0])
    assert np.isnan(found[0])
    assert found[1] == 1


def test_shares_where_there_is_no_room_between_mid_and_natural() -> None:
    """At the only price it trades; better never; a natural better than mid is no market."""
    assert price_share([1.0, 1.01], 1.0, 1.0).tolist() == [1.0, -np.inf]
    assert fill_probability(-np.inf, 1e6, 5.0) == 0
    assert np.isnan(price_share(1.0, 1.0, 1.1))


@pytest.mark.parametrize("spread", [0.0, 10.0, 25.0])
def test_half_of_steady_walks_have_traded_at_the_expected_fill(spread: float) -> None:
    """That is what the expected fill means; within 1 % for a walk of 3,000 steps over five minutes."""
    theta = float(fill_share(spread))
    to_theta = Walk(3000, 300 * theta / 3001, final_share=theta)
    assert walk_fill(to_theta, spread).probability == pytest.approx(0.5, abs=0.01)


def test_reference_probabilities_of_a_tight_market() -> None:
    """By hand: λ₀ = 8 ln 2 / (300 (1 − e⁻²)) = 0.021377 a second at θ = 0.25; e⁻² of that at mid."""
    assert fill_probability(0.25, 60, 0.0) == pytest.approx(1 - np.exp(-60 * 0.0213774), abs=1e-5)
    assert fill_probability(0.0, 300, 0.0) == pytest.approx(1 - np.exp(-300 * 0.0213774 * np.exp(-2)), abs=1e-5)
    assert fill_probability(0.0, 300, 25.0) < 0.15 < 0.55 < fill_probability(0.0, 300, 0.0)


@settings(max_examples=100 * SCALE, deadline=None)
@given(share=shares, more=st.floats(0, 0.5), seconds=st.floats(0, 600), longer=st.floats(0, 600), spread=spreads)
def test_probability_grows_with_time_and_towards_natural(
    share: float, more: float, seconds: float, longer: float, spread: float
) -> None:
    """And never leaves 0–1."""
    here = float(fill_probability(share, seconds, spread))
    assert 0 <= here <= 1
    assert here <= fill_probability(share, seconds + longer, spread) + 1e-15
    assert here <= fill_probability(share + more, seconds, spread) + 1e-15


@settings(max_examples=60 * SCALE, deadline=None)
@given(seconds=st.floats(1, 600), narrow=spreads, wider=st.floats(0, 40))
def test_a_wider_market_trades_later_at_mid(seconds: float, narrow: float, wider: float) -> None:
    """Liquidity is what the model depends on."""
    assert fill_probability(0.0, seconds, narrow + wider) <= fill_probability(0.0, seconds, narrow) + 1e-15


@settings(max_examples=60 * SCALE, deadline=None)
@given(uniform=st.floats(0, 0.999999), share=st.floats(-0.5, 0.99), spread=spreads)
def test_a_draw_trades_exactly_when_the_probability_says(uniform: float, share: float, spread: float) -> None:
    """The inverse of the probability in time."""
    seconds = float(seconds_to_fill(uniform, share, spread))
    assert fill_probability(share, seconds, spread) == pytest.approx(uniform, abs=1e-9)
    assert seconds_to_fill(uniform, 1.0, spread) == 0


@settings(max_examples=30 * SCALE, deadline=None)
@given(
    steps=st.integers(0, 12), step_seconds=st.floats(1, 60), final=st.floats(0, 1.0), start=st.floats(-0.3, 0.0),
    spread=spreads,
)  # fmt: skip
def test_draws_of_a_walk_reproduce_its_expectation(
    steps: int, step_seconds: float, final: float, start: float, spread: float
) -> None:
    """Paper and backtest, which draw, agree with what the ticket shows: 2,000 evenly spread draws."""
    walk = Walk(steps, step_seconds, final, start)
    draws = [walk_outcome((index + 0.5) / 2000, walk, spread) for index in range(2000)]
    traded = [each for each in draws if each is not None]
    expected = walk_fill(walk, spread)
    assert len(traded) / 2000 == pytest.approx(expected.probability, abs=1e-3)
    if len(traded) > 100:
        assert np.mean([share for _, share in traded]) == pytest.approx(expected.share, abs=5e-3)
        assert np.mean([seconds for seconds, _ in traded]) == pytest.approx(expected.seconds, rel=0.02, abs=0.5)


def test_a_walk_to_natural_always_trades_and_one_that_cannot_is_refused() -> None:
    """The last step takes the quotes."""
    assert walk_fill(Walk(4, 15), 40.0).probability == 1
    assert walk_outcome(0.9999999, Walk(4, 15), 40.0) == (60.0, 1.0)
    for bad in ((-1, 5.0, 1.0), (3, 0.0, 1.0), (3, 5.0, -1.0)):
        with pytest.raises(ValueError, match="is no walk"):
            Walk(*bad)
