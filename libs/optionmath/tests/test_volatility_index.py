"""The VIX-style index: Cboe's worked numbers, the published close, and the model-free variance it must equal."""

from __future__ import annotations

import csv
import math
import os
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optionmath.blackscholes import Floats, price
from optionmath.volatility_index import (
    IndexStatus,
    StripVariance,
    interpolate,
    strip_variance,
    volatility_index,
)

SHARED = Path(os.environ.get("TT_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data"))
MINUTES = 30 * 1440.0


def strip(minutes: float, variance: float, status: IndexStatus = IndexStatus.OK) -> StripVariance:
    return StripVariance(status, minutes, variance, 100.0, 100.0, 50, -0.5, 0.3)


def quoted(
    sigma: float, *, strikes: Floats | None = None, minutes: float = MINUTES, half: float = 0.0
) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Strikes and call bid, call ask, put bid, put ask of one flat volatility."""
    k = np.arange(40.0, 200.0, 0.5) if strikes is None else strikes
    years = minutes / 525_600
    call, put = (price(100.0, k, years, sigma, 0.03, 0.0, side) for side in (True, False))
    return k, call - half, call + half, put - half, put + half


def test_cboe_worked_example_of_the_interpolation() -> None:
    """White paper: σ₁² = .01846292 at 35,924 minutes and σ₂² = .01882101 at 46,394 combine to 13.69."""
    near, following = strip(35_924, 0.01846292), strip(46_394, 0.01882101)
    assert 100 * math.sqrt(interpolate(near, following, 43_200)) == pytest.approx(13.69, abs=0.005)
    found = volatility_index([following, near])
    assert found.status is IndexStatus.OK
    assert found.points == pytest.approx(13.69, abs=0.005)
    assert (found.near_minutes, found.next_minutes) == (35_924, 46_394)


@settings(deadline=None)
@given(st.floats(0.1, 0.8), st.floats(10, 90))
def test_a_flat_smile_has_its_own_volatility_as_index(sigma: float, days: float) -> None:
    """The strip integrates to σ² when strikes are fine and reach far."""
    found = strip_variance(*quoted(sigma, strikes=np.arange(5.0, 600.0, 0.25), minutes=days * 1440), days * 1440, 0.03)
    assert found.status is IndexStatus.OK
    assert found.volatility == pytest.approx(sigma, rel=5e-3)
    assert found.forward == pytest.approx(100 * math.exp(0.03 * days / 365), rel=1e-6)
    assert found.reference_strike <= found.forward < found.reference_strike + 0.25


def test_the_strip_stops_after_two_strikes_without_a_bid() -> None:
    """One gap is skipped, two end the side, whatever is quoted beyond."""
    k, call_bid, call_ask, put_bid, put_ask = quoted(0.4, strikes=np.arange(60.0, 160.0, 1.0))
    put_bid[k == 80], put_bid[k == 70], put_bid[k == 69] = 0.0, 0.0, np.nan
    found = strip_variance(k, call_bid, call_ask, put_bid, put_ask, MINUTES, 0.03)
    assert found.k_min == pytest.approx(math.log(71 / found.forward))
    whole = strip_variance(*quoted(0.4, strikes=np.arange(60.0, 160.0, 1.0)), MINUTES, 0.03)
    assert whole.strikes - found.strikes == 11 + 1
    assert found.variance < whole.variance


def test_a_strip_that_ends_early_says_so() -> None:
    """Within one deviation of the forward the sum misses too much: the value is there, and named thin."""
    found = strip_variance(*quoted(0.4, strikes=np.arange(94.0, 108.0, 1.0)), MINUTES, 0.03)
    assert found.status is IndexStatus.THIN
    assert 0 < found.volatility < 0.4
    assert volatility_index([found]).status is IndexStatus.THIN
    assert volatility_index([strip(30_000, 0.1), found]).status is IndexStatus.THIN


def test_order_of_strikes_does_not_matter() -> None:
    """Shuffled columns give the same sum."""
    columns = quoted(0.3)
    order = np.random.default_rng(3).permutation(len(columns[0]))
    assert strip_variance(*(each[order] for each in columns), MINUTES, 0.03) == strip_variance(*columns, MINUTES, 0.03)


def test_missing_quotes_and_senseless_time_have_a_status_and_no_value() -> None:
    """Never an exception, never a number."""
    nothing = np.full(len(quoted(0.3)[0]), np.nan)
    k, call_bid, call_ask, *_ = quoted(0.3)
    found = strip_variance(k, call_bid, call_ask, nothing, nothing, MINUTES, 0.03)
    assert found.status is IndexStatus.TOO_FEW_QUOTES
    assert math.isnan(found.volatility)
    assert strip_variance(*quoted(0.3), 0.0, 0.03).status is IndexStatus.BAD_INPUT
    assert volatility_index([found]).status is IndexStatus.TOO_FEW_QUOTES


def test_expirations_choose_themselves_around_the_target() -> None:
    """The two around the target; the expiration at the target alone; the nearest one where a side is missing."""
    near, far, later = strip(20_000, 0.04), strip(50_000, 0.05), strip(90_000, 0.06)
    found = volatility_index([later, near, far])
    assert (found.near_minutes, found.next_minutes) == (20_000, 50_000)
    assert 0.04 < found.volatility**2 < 0.05
    exact = volatility_index([near, strip(43_200, 0.09), far])
    assert exact.volatility == pytest.approx(0.3)
    lone = volatility_index([far, later])
    assert (lone.status, lone.volatility) == (IndexStatus.NOT_BRACKETED, pytest.approx(math.sqrt(0.05)))
    assert volatility_index([near, far], days_min=23).status is IndexStatus.NOT_BRACKETED


def test_the_index_of_a_recorded_session_is_the_published_one() -> None:
    """SPX quotes at the close of 2026-07-22 give the VIX close of that day within 0.15 points.

    Cboe takes Friday expirations more than 23 days away, the monthly one being the AM-settled SPX (09:30) and the
    others PM-settled SPXW (16:00).
    """
    chain, closes = SHARED / "chains_cboe_2026" / "SPX.parquet", SHARED / "vix" / "vix_daily_1990_2026.csv"
    if not (chain.exists() and closes.exists()):
        pytest.skip(f"recorded chains are not at {SHARED}: set TT_SHARED_DATA")
    polars = pytest.importorskip("polars")
    session = date(2026, 7, 22)
    frame = polars.read_parquet(chain).filter(polars.col("date") == session)
    strips = []
    for (expiry, root), rows in frame.group_by("expiry", "root"):
        monthly = 15 <= expiry.day <= 21
        if expiry.weekday() != 4 or monthly != (root == "SPX") or not 20 < (expiry - session).days < 45:
            continue
        calls, puts = (rows.filter(polars.col("right") == right) for right in "CP")
        both = calls.join(puts, on="strike", how="full", coalesce=True, suffix="_put").sort("strike")
        columns = [
            both[name].cast(polars.Float64).to_numpy() for name in ("strike", "bid", "ask", "bid_put", "ask_put")
        ]
        settles = 9.5 if root == "SPX" else 16.0
        minutes = (expiry - session).days * 1440 + (settles - 16.0) * 60
        strips.append(strip_variance(*columns, minutes, 2 * math.log(1 + 0.0389 / 2)))
    found = volatility_index(strips, days_min=23)
    published = {row["DATE"]: float(row["CLOSE"]) for row in csv.DictReader(closes.open())}[session.isoformat()]
    assert found.status is IndexStatus.OK
    assert found.points == pytest.approx(published, abs=0.15)
