"""Dealer exposure and open interest: sums by hand, the flip is a zero, bad rows count for nothing."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optionmath.blackscholes import greeks
from optionmath.calendar import settlement_of, settles_at, years_to_settlement
from optionmath.exposure import (
    OpenContracts,
    by_strike,
    dollar_delta_change,
    dollar_gamma,
    gamma_exposure,
    gamma_profile,
    max_pain,
    walls,
)

SCALE = int(os.environ.get("TT_TEST_SCALE", "1"))

SHARED = Path(os.environ.get("TT_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data"))
STRIKES = np.arange(70.0, 131.0, 5.0)
interests = st.lists(st.integers(0, 5_000), min_size=2 * len(STRIKES), max_size=2 * len(STRIKES)).map(np.array)


def contracts(interest: npt.NDArray[np.int64], years: float = 0.1, sigma: float = 0.25) -> OpenContracts:
    """Calls and puts at every strike."""
    size = 2 * len(STRIKES)
    call = np.arange(size) < len(STRIKES)
    return OpenContracts.of(np.tile(STRIKES, 2), np.full(size, years), np.full(size, sigma), call, interest)


def test_dollars_per_percent_by_hand() -> None:
    """Gamma .02, 1,000 contracts, spot 100: .02 · 1,000 · 100 · 100² / 100 = $200,000 a percent; puts negative."""
    np.testing.assert_allclose(
        dollar_gamma([0.02, 0.02, np.nan, 0.02], [1000, 1000, 1, -5], 100.0, [True, False, True, True]),
        [200_000.0, -200_000.0, np.nan, np.nan],
    )
    np.testing.assert_allclose(
        dollar_delta_change([-0.001, 0.001, 0.1], [1000, 1000, np.nan], 100.0, [True, False, True]),
        [-10_000.0, -10_000.0, np.nan],
    )


@settings(max_examples=40 * SCALE, deadline=None)
@given(interests)
def test_totals_are_the_sum_over_strikes_and_the_profile_at_the_spot(interest: npt.NDArray[np.int64]) -> None:
    """Calls never negative, puts never positive."""
    open_contracts = contracts(interest)
    found = gamma_exposure(open_contracts, 100.0, rate=0.04)
    scale = max(found.calls - found.puts, 1.0)
    assert found.calls >= 0 >= found.puts
    assert found.strikes.net.sum() == pytest.approx(found.net, abs=1e-9 * scale)
    assert gamma_profile(open_contracts, 100.0, rate=0.04)[0] == pytest.approx(found.net, abs=1e-9 * scale)
    assert found.rows == int((interest > 0).sum())


@settings(max_examples=40 * SCALE, deadline=None)
@given(interests)
def test_the_net_exposure_is_zero_at_the_flip_and_changes_sign_there(interest: npt.NDArray[np.int64]) -> None:
    """Within the searched range."""
    open_contracts = contracts(interest)
    flip = gamma_exposure(open_contracts, 100.0).flip
    if flip is not None:
        below, at, above = gamma_profile(open_contracts, [flip * 0.9999, flip, flip * 1.0001])
        assert 80 <= flip <= 120
        assert below * above <= 0
        assert abs(at) <= max(abs(below), abs(above))


def test_mirrored_open_interest_flips_between_the_strikes() -> None:
    """Puts at 90 against calls at 110: below some price near 100 dealers are short gamma."""
    open_contracts = OpenContracts.of([90.0, 110.0], [0.1, 0.1], [0.25, 0.25], [False, True], [1000, 1000])
    flip = gamma_exposure(open_contracts, 100.0).flip
    assert flip is not None
    assert 97 < flip < 101
    assert gamma_exposure(open_contracts, 85.0, search=0.05).flip is None


def test_rows_that_cannot_be_valued_are_left_out() -> None:
    """Expired, without volatility, without open interest: only the good row counts; minutes are an hour."""
    good = OpenContracts.of([100.0], [0.1], [0.25], [True], [10])
    mixed = OpenContracts.of(
        [100.0, 100.0, 100.0, 100.0, np.nan],
        [0.1, 0.0, 0.1, 0.1, 0.1],
        [0.25, 0.25, np.nan, 0.25, 0.25],
        [True] * 5,
        [10, 10, 10, 0, 10],
    )
    assert gamma_exposure(mixed, 100.0).net == gamma_exposure(good, 100.0).net
    assert gamma_exposure(mixed, 100.0).rows == 1
    late = OpenContracts.of([100.0], [1e-9], [0.25], [True], [10])
    hour = dollar_gamma(greeks(100.0, 100.0, 1 / 8760, 0.25, 0.0, 0.0, True).gamma, 10, 100.0, True)
    assert gamma_exposure(late, 100.0).net == pytest.approx(float(hour))
    empty = gamma_exposure(OpenContracts.of([], [], [], [], []), 100.0)
    assert (empty.net, empty.flip, empty.rows) == (0.0, None, 0)


def test_walls_are_the_heaviest_strikes_on_their_side() -> None:
    """Calls at or above the spot, puts at or below; expirations of one strike add up; ties go to the nearer strike."""
    strike = [90.0, 95.0, 100.0, 105.0, 110.0, 110.0, 80.0]
    call = [False, False, True, True, True, True, True]
    interest = [50, 50, 10, 30, 20, 20, 999]
    above, below = walls(strike, call, interest, 100.0, count=2)
    assert above.tolist() == [110.0, 105.0]
    assert below.tolist() == [95.0, 90.0]
    assert walls([100.0], [True], [0], 100.0)[0].size == 0


@settings(max_examples=40 * SCALE, deadline=None)
@given(interests)
def test_no_strike_pays_the_holders_less_than_max_pain(interest: npt.NDArray[np.int64]) -> None:
    """Checked by adding up every option at every strike."""
    strike, call = np.tile(STRIKES, 2), np.arange(2 * len(STRIKES)) < len(STRIKES)
    found = max_pain(strike, call, interest)
    if not interest.sum():
        assert found is None
        return

    def paid(price: float) -> float:
        return float((np.maximum(np.where(call, price - strike, strike - price), 0) * interest).sum())

    assert found in STRIKES
    assert found is not None
    assert paid(found) == min(paid(float(each)) for each in STRIKES)


def test_sums_per_strike_skip_missing_rows() -> None:
    """A NaN adds nothing to its strike."""
    found = by_strike([100.0, 100.0, 90.0], [True, False, True], [5.0, np.nan, 1.0])
    assert (found.strike.tolist(), found.calls.tolist(), found.puts.tolist()) == ([90.0, 100.0], [1.0, 5.0], [0.0, 0.0])


def test_arguments_without_sense_are_refused() -> None:
    """No spot, no search, unequal columns."""
    with pytest.raises(ValueError, match="spot"):
        gamma_exposure(contracts(np.ones(2 * len(STRIKES), dtype=np.int64)), 0.0)
    with pytest.raises(ValueError, match="one length"):
        OpenContracts.of([1.0], [1.0, 2.0], [1.0], [True], [1])


def test_spx_on_14_august_2026() -> None:
    """Recorded chain up to 190 days: long gamma of $70 to $95 billion a percent at 7,786, flip near 7,650."""
    path = SHARED / "chains_cboe_2026" / "SPX.parquet"
    if not path.exists():
        pytest.skip(f"recorded chains are not at {path}: set TT_SHARED_DATA")
    rows = pl.read_parquet(path).filter(pl.col("date") == date(2026, 8, 14))
    now, spot = settles_at(date(2026, 8, 14)), 7785.76
    pairs = rows.select("root", "expiry").rows()
    times = {pair: years_to_settlement(now, pair[1], settlement_of(*pair)) for pair in set(pairs)}
    call = (rows["right"] == "C").to_numpy()
    columns = [rows[name].to_numpy() for name in ("strike", "iv", "open_interest", "gamma")]
    strike, sigma, interest, vendor = columns
    open_contracts = OpenContracts.of(strike, [times[pair] for pair in pairs], sigma, call, interest)
    found = gamma_exposure(open_contracts, spot, rate=0.0375, dividend_yield=0.012)
    assert 70e9 < found.net < 95e9
    assert found.flip == pytest.approx(7651, rel=0.003)
    theirs = dollar_gamma(vendor, interest, spot, call)
    assert found.calls == pytest.approx(np.nansum(theirs[call]), rel=0.02)
