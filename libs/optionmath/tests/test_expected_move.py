"""Expected move: three definitions, each by its own name."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optionmath.blackscholes import price
from optionmath.expected_move import expected_move, one_deviation, straddle_share, weighted_strangles

SCALE = int(os.environ.get("TT_TEST_SCALE", "1"))

STRIKES = np.arange(80.0, 121.0, 1.0)


def mids(spot: float, volatility: float, years: float) -> tuple[np.ndarray, np.ndarray]:
    """Calls and puts at every strike, no rates."""
    calls, puts = (price(spot, STRIKES, years, volatility, 0.0, 0.0, is_call) for is_call in (True, False))
    return calls, puts


def test_the_three_definitions_by_hand() -> None:
    """$100, 20 %, 73 days: $8.94 is one deviation; straddle 7, strangles 6 and 5: 6.50 weighted, 5.95 as a share."""
    assert one_deviation(100, 0.2, 73 / 365) == pytest.approx(8.944, abs=5e-4)
    assert weighted_strangles(7, 6, 5) == pytest.approx(6.5)
    assert straddle_share(7) == pytest.approx(5.95)


@settings(max_examples=60 * SCALE, deadline=None)
@given(st.floats(0.1, 0.8), st.floats(7 / 365, 0.5))
def test_a_straddle_is_four_fifths_of_a_deviation(volatility: float, years: float) -> None:
    """sqrt(2/pi) at the money for small variances; the definitions keep their order."""
    calls, puts = mids(100.0, volatility, years)
    found = expected_move(100.0, STRIKES, calls, puts, years=years, volatility=volatility)
    assert found is not None
    assert found.strike == 100
    assert found.one_deviation is not None
    assert found.weighted_strangles is not None
    assert found.straddle / found.one_deviation == pytest.approx(np.sqrt(2 / np.pi), rel=0.02)
    assert found.straddle_share == pytest.approx(0.85 * found.straddle)
    assert found.weighted_strangles < found.straddle < found.one_deviation
    expected = 0.6 * found.straddle + 0.3 * (calls[21] + puts[19]) + 0.1 * (calls[22] + puts[18])
    assert found.weighted_strangles == pytest.approx(expected)


def test_the_straddle_is_at_the_nearest_strike_with_both_quotes_in_any_row_order() -> None:
    """Without the 100 put the 99 straddle is taken; rows may be shuffled."""
    calls, puts = mids(100.0, 0.3, 0.1)
    puts[20] = np.nan
    order = np.random.default_rng(1).permutation(len(STRIKES))
    found = expected_move(100.0, STRIKES[order], calls[order], puts[order])
    assert found is not None
    assert found.strike == 99
    assert found.straddle == pytest.approx(calls[19] + puts[19])
    assert found.one_deviation is None


def test_what_the_quotes_do_not_allow_is_none() -> None:
    """No strike with both sides, no strikes on one side, a leg without a quote."""
    assert expected_move(100.0, [100.0], [np.nan], [1.0]) is None
    assert expected_move(100.0, [], [], []) is None
    lonely = expected_move(100.0, [100.0, 101.0], [2.0, 1.5], [2.0, 2.5])
    assert lonely is not None
    assert lonely.weighted_strangles is None
    calls, puts = mids(100.0, 0.3, 0.1)
    calls[22] = np.nan
    holed = expected_move(100.0, STRIKES, calls, puts, years=-0.1, volatility=0.3)
    assert holed is not None
    assert (holed.weighted_strangles, holed.one_deviation) == (None, None)


def test_a_bad_element_is_nan_and_leaves_the_others_alone() -> None:
    """Negative time, negative price."""
    np.testing.assert_allclose(one_deviation(100.0, 0.2, [0.25, -1.0, np.nan, 0.0]), [10.0, np.nan, np.nan, 0.0])
    np.testing.assert_allclose(straddle_share([10.0, -1.0]), [8.5, np.nan])
    np.testing.assert_allclose(weighted_strangles([1.0, 1.0], [1.0, -1.0], [1.0, 1.0]), [1.0, np.nan])


def test_arguments_without_sense_are_refused() -> None:
    """Unequal lengths, no spot."""
    with pytest.raises(ValueError, match="one length"):
        expected_move(100.0, [100.0], [1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="positive"):
        expected_move(float("nan"), [100.0], [1.0], [1.0])
