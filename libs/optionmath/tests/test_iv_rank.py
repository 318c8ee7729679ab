"""IV rank and percentile: bounds, ties, short and broken histories, a recorded year."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optionmath.implied_volatility_rank import rolling_rank, volatility_rank

SCALE = int(os.environ.get("TT_TEST_SCALE", "1"))

SHARED = Path(os.environ.get("TT_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data"))
histories = st.lists(st.one_of(st.floats(0.01, 3.0), st.sampled_from([np.nan, 0.0, -1.0])), max_size=60)


@settings(max_examples=60 * SCALE, deadline=None)
@given(histories)
def test_rank_and_percentile_lie_between_zero_and_one(history: list[float]) -> None:
    """The low has rank 0 and percentile 0, the high rank 1; coverage counts the good days."""
    found = volatility_rank(history, window=30)
    good = [each for each in history[-30:] if each > 0]
    assert found.observations == len(good)
    assert found.coverage == pytest.approx(len(good) / 30)
    assert found.rank is None or 0 <= found.rank <= 1
    assert found.percentile is None or 0 <= found.percentile <= 1
    if found.rank is not None and found.current == found.low:
        assert (found.rank, found.percentile) == (0, 0)
    if found.current is not None and found.current == found.high and found.rank is not None:
        assert found.rank == 1


@settings(max_examples=60 * SCALE, deadline=None)
@given(histories, st.floats(0.1, 10))
def test_units_do_not_matter(history: list[float], scale: float) -> None:
    """Percent or fractions."""
    first, second = (volatility_rank(np.array(history) * each, window=30) for each in (1.0, 100.0))
    assert first.percentile == second.percentile
    assert (first.rank is None) == (second.rank is None)
    assert first.rank is None or first.rank == pytest.approx(second.rank)


@settings(max_examples=60 * SCALE, deadline=None)
@given(histories)
def test_the_rolling_form_agrees_with_the_single_one(history: list[float]) -> None:
    """On every day."""
    ranks, percentiles = rolling_rank(history, window=10, minimum=2)
    for day in range(len(history)):
        found = volatility_rank(history[: day + 1], window=10)
        enough = found.observations >= 2
        np.testing.assert_allclose(ranks[day], found.rank if enough and found.rank is not None else np.nan)
        expected = found.percentile if enough and found.percentile is not None else np.nan
        np.testing.assert_allclose(percentiles[day], expected)


def test_apple_on_28_december_2022() -> None:
    """252 recorded days: IV .3884, rank 88.16 %, above 97.21 % of the 251 earlier days."""
    path = SHARED / "iv_history" / "sp500_20names_atm_iv_2010_2022.parquet"
    if not path.exists():
        pytest.skip(f"volatility history is not at {path}: set TT_SHARED_DATA")
    found = volatility_rank(pl.read_parquet(path)["AAPL"].to_numpy())
    assert found.current == pytest.approx(0.3884, abs=5e-5)
    assert found.rank == pytest.approx(0.8816, abs=5e-5)
    assert found.percentile == pytest.approx(0.9721, abs=5e-5)
    assert found.coverage == 1


def test_flat_short_and_missing_histories_say_so() -> None:
    """No range no rank; one day no percentile; today missing nothing but the range; 63 days cover a quarter."""
    flat = volatility_rank([0.2] * 252)
    assert (flat.rank, flat.percentile) == (None, 0.0)
    assert volatility_rank([0.2]).percentile is None
    gone = volatility_rank([0.2, 0.3, np.nan])
    assert (gone.current, gone.rank, gone.low, gone.high, gone.observations) == (None, None, 0.2, 0.3, 2)
    assert volatility_rank([]).observations == 0
    assert volatility_rank(np.linspace(0.1, 0.2, 63)).coverage == 0.25
    assert np.isnan(rolling_rank(np.linspace(0.1, 0.2, 63))[0]).all()


def test_windows_without_sense_are_refused() -> None:
    """Nothing is ranked among itself."""
    with pytest.raises(ValueError, match="at least 2"):
        volatility_rank([0.1], window=1)
    with pytest.raises(ValueError, match="minimum"):
        rolling_rank([0.1], window=10, minimum=11)
