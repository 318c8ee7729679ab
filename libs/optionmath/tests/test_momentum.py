"""Scores across underlyings: by hand, invariant where they must be, signed by the trade."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optionmath.momentum import (
    Direction,
    cross_sectional_z,
    flow_without_trades,
    momentum,
    signed_for,
    time_series_z,
    trade_side,
    traded_delta_dollars,
)

SCALE = int(os.environ.get("TT_TEST_SCALE", "1"))

values = st.lists(st.one_of(st.floats(-1e3, 1e3), st.just(float("nan"))), max_size=40)


def closes(days: int, seed: int = 1) -> np.ndarray:
    return np.asarray(100 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0.0005, 0.01, days))))


def test_a_year_of_closes_gives_twelve_months_less_the_last() -> None:
    """ln(P[t-21] / P[t-252]) over the deviation of those 231 returns."""
    price = closes(400)
    inside = np.diff(np.log(price[-253:-21]))
    assert len(inside) == 231
    found = momentum(price)
    assert found.value == pytest.approx(inside.sum() / (inside.std(ddof=1) * np.sqrt(231)))
    assert (found.days, found.skip) == (252, 21)


def test_a_shorter_history_gives_sixty_days_less_the_last_week() -> None:
    """252 closes are one too few for the year; below 61 there is nothing."""
    price = closes(252)
    inside = np.diff(np.log(price[-61:-5]))
    found = momentum(price)
    assert found.value == pytest.approx(inside.sum() / (inside.std(ddof=1) * np.sqrt(55)))
    assert (found.days, found.skip) == (60, 5)
    assert momentum(closes(60)).value is None


def test_broken_or_motionless_histories_have_no_momentum() -> None:
    """An end missing, a flat price, mostly holes; a hole inside does not matter much."""
    price = closes(253)
    for index in (0, -22):
        broken = price.copy()
        broken[index] = np.nan
        assert momentum(broken).value is None
    assert momentum(np.full(300, 50.0)).value is None
    holed = price.copy()
    holed[1:-40:2] = np.nan
    assert momentum(holed).value is None
    one = price.copy()
    one[100] = np.nan
    expected = momentum(price).value
    assert momentum(one).value == pytest.approx(expected, rel=0.05)


@settings(max_examples=60 * SCALE, deadline=None)
@given(st.floats(0.01, 1000), st.integers(0, 1000))
def test_momentum_knows_no_price_level(scale: float, seed: int) -> None:
    """And mirrors: the reciprocal price has the opposite score."""
    price = closes(260, seed)
    value = momentum(price).value
    assert value is not None
    assert momentum(price * scale).value == pytest.approx(value)
    assert momentum(1 / price).value == pytest.approx(-value)


@settings(max_examples=60 * SCALE, deadline=None)
@given(values)
def test_z_scores_are_centred_bounded_and_keep_the_order(raw: list[float]) -> None:
    """Missing stay missing; fewer than three give nothing."""
    found = cross_sectional_z(raw)
    data = np.array(raw, dtype=np.float64)
    good = np.isfinite(data)
    if good.sum() < 3:
        assert np.isnan(found).all()
        return
    assert np.isnan(found[~good]).all()
    assert (np.abs(found[good]) <= 3).all()
    if (np.abs(found[good]) < 3).all():
        assert found[good].mean() == pytest.approx(0, abs=1e-6)
    order = np.argsort(data[good], kind="stable")
    assert (np.diff(found[good][order]) >= 0).all()


def test_within_sectors_only_the_difference_to_the_sector_counts() -> None:
    """A sector that is high as a whole is not high; a sector of two has no score."""
    found = cross_sectional_z([1.0, 2.0, 3.0, 101.0, 102.0, 103.0, 5.0, 6.0], groups=[*"aaabbbcc"])
    np.testing.assert_allclose(found, [-1, 0, 1, -1, 0, 1, np.nan, np.nan])
    assert cross_sectional_z([2.0, 2.0, 2.0]).tolist() == [0, 0, 0]
    outlier = cross_sectional_z([*[0.0] * 30, 1e9], winsor=2)
    assert outlier[-1] == 2
    with pytest.raises(ValueError, match="one group"):
        cross_sectional_z([1.0], groups=[])


def test_scores_are_signed_by_the_trade() -> None:
    """Bullish likes high, bearish low, neutral small."""
    found = signed_for([1.5, 1.5, 1.5, -1.5], [Direction.BULLISH, Direction.BEARISH, Direction.NEUTRAL, 0])
    assert found.tolist() == [1.5, -1.5, -1.5, -1.5]


def test_the_side_of_a_trade() -> None:
    """Above the mid a buyer; at the mid the tick decides; without a quote the tick too; nothing known, nothing said."""
    side = trade_side(
        price=[1.10, 1.00, 1.05, 1.05, 1.05, 1.05, np.nan],
        bid=[1.00, 1.00, 1.00, 1.00, 1.20, np.nan, 1.00],
        ask=[1.10, 1.10, 1.10, 1.10, 1.10, 1.10, 1.10],
        previous_price=[1.05, 1.05, 1.00, 1.05, 1.10, np.nan, 1.00],
    )
    assert side.tolist() == [1, -1, 1, 0, -1, 0, 0]


def test_flow_by_hand() -> None:
    """Bought 10 calls of .5 delta, sold 5 puts of -.4: 7 deltas, $70,000 at 100."""
    assert traded_delta_dollars([1, -1, 1], [10, 5, np.nan], [0.5, -0.4, 0.5], 100.0) == pytest.approx(70_000)
    np.testing.assert_allclose(flow_without_trades([500.0, 1.0], [-300.0, 1.0], [1000.0, 0.0]), [0.2, np.nan])


def test_today_against_the_last_twenty_days() -> None:
    """Deviation over the earlier values only; cut at three; not from half a history, a hole today or standstill."""
    earlier = [1.0, 3.0] * 10
    assert time_series_z([*earlier, 3.0]) == pytest.approx(1 / np.std(earlier, ddof=1))
    assert time_series_z([*earlier, 99.0]) == 3
    assert time_series_z([99.0, *earlier, 2.0]) == pytest.approx(0)
    assert time_series_z([*earlier[:9], 3.0]) is None
    assert time_series_z([*earlier, np.nan]) is None
    assert time_series_z([2.0] * 21) is None
