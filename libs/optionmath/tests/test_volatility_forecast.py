"""Forecasts know nothing of the future, recover a known process, and state an honest error."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optionmath.realised_volatility import Bars, daily_variance, log_returns, yang_zhang
from optionmath.volatility_forecast import (
    LAGS,
    blend,
    ewma,
    fit_har,
    following,
    forecast_har,
    risk_premium,
    walk_forward_har,
)

SCALE = int(os.environ.get("TT_TEST_SCALE", "1"))

SHARED = Path(os.environ.get("TT_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data"))
DAYS = 3_000 * SCALE
Floats = npt.NDArray[np.float64]


def har_process(days: int, seed: int, noise: float = 0.4) -> Floats:
    """Daily variances that follow ln v = -1 + .35 day + .35 week + .2 month + noise (one day ahead)."""
    random = np.random.default_rng(seed)
    values = np.full(days + 22, np.exp(-10.0))
    for t in range(22, days + 22):
        lagged = [np.log(values[t - each : t].mean()) for each in LAGS]
        values[t] = np.exp(-1.0 + np.dot((0.35, 0.35, 0.2), lagged) + random.normal(0, noise))
    return values[22:]


def test_har_recovers_the_process_that_made_the_data() -> None:
    """Coefficients and residual within four standard errors or so."""
    model = fit_har(har_process(DAYS, 1), horizon=1)
    assert model is not None
    np.testing.assert_allclose(model.coefficients, (0.35, 0.35, 0.2), atol=0.2)
    assert sum(model.coefficients) == pytest.approx(0.9, abs=0.06)
    assert model.residual_deviation == pytest.approx(0.4, rel=4 / np.sqrt(2 * DAYS))
    assert model.observations == DAYS - 22


def test_forecasts_are_unbiased_and_their_error_is_the_one_stated() -> None:
    """On the model's own data: mean error near zero, two thirds of outcomes within one standard error."""
    variances = har_process(DAYS, 2)
    found, outcome = walk_forward_har(variances, horizon=1), following(variances, 1)
    known = np.isfinite(found.volatility) & np.isfinite(outcome)
    z = (outcome[known] - found.volatility[known]) / found.standard_error[known]
    assert abs(z.mean()) < 0.12
    assert np.mean(np.abs(z) < 1) == pytest.approx(0.70, abs=0.04)


@settings(max_examples=20 * SCALE, deadline=None)
@given(st.integers(300, 499), st.integers(1, 30), st.integers(0, 1000))
def test_no_forecast_looks_ahead(cut: int, horizon: int, seed: int) -> None:
    """Whatever happens after a day, the forecasts until that day stay bit for bit the same."""
    variances = har_process(500, 3)
    other = variances.copy()
    other[cut + 1 :] *= np.random.default_rng(seed).uniform(0.01, 100, 500 - cut - 1)
    first = walk_forward_har(variances, horizon=horizon, minimum=100)
    second = walk_forward_har(other, horizon=horizon, minimum=100)
    np.testing.assert_array_equal(first.volatility[: cut + 1], second.volatility[: cut + 1])
    np.testing.assert_array_equal(first.standard_error[: cut + 1], second.standard_error[: cut + 1])
    returns, others = np.sqrt(variances), np.sqrt(other)
    np.testing.assert_array_equal(ewma(returns)[: cut + 1], ewma(others)[: cut + 1])


def test_walk_forward_is_the_model_fitted_on_what_was_known() -> None:
    """The forecast of a refit day equals fitting by hand on the days until then."""
    variances = har_process(400, 5)
    found = walk_forward_har(variances, horizon=5, minimum=100, refit_every=10)
    model = fit_har(variances[:300], horizon=5)
    assert model is not None
    assert found.volatility[299] == pytest.approx(forecast_har(model, variances[:300]).volatility[-1], rel=1e-12)
    assert np.isnan(found.volatility[:99]).all()
    assert np.isfinite(found.volatility[99:]).all()


def test_ewma_by_hand() -> None:
    """Start at the mean of the first two squares, then .9 of the last and .1 of the new; a gap keeps the last."""
    found = ewma([0.01, 0.03, np.nan, 0.02], decay=0.9, warm_up=2, periods_per_year=1)
    np.testing.assert_allclose(found**2, [np.nan, 5e-4, 5e-4, 0.9 * 5e-4 + 0.1 * 4e-4])
    assert np.isnan(ewma([0.01] * 5)).all()


def test_missing_days_drop_only_the_rows_they_touch() -> None:
    """A hole of one day costs 22 features and the targets over it, not the fit."""
    variances = har_process(400, 6)
    variances[200] = np.nan
    model = fit_har(variances, horizon=5)
    assert model is not None
    assert model.observations == 400 - 21 - 5 - 22 - 5
    assert fit_har(variances[:60], horizon=21) is None
    assert np.isfinite(walk_forward_har(variances, horizon=5).volatility[-1])


def test_following_is_what_came_after() -> None:
    """Mean of the next two days' variances, annualised; incomplete at the end."""
    np.testing.assert_allclose(following([1.0, 2.0, 4.0, 8.0], 2, periods_per_year=1) ** 2, [3.0, 6.0, np.nan, np.nan])
    assert np.isnan(following([1.0, 2.0], 2)).all()


def test_premium_and_blend_by_hand() -> None:
    """20 % implied, 16 % expected with an error of 2 %."""
    found = risk_premium([0.20, 0.20], [0.16, 0.0], [0.02, 0.0])
    np.testing.assert_allclose(found.difference, [0.04, 0.20])
    np.testing.assert_allclose(found.ratio, [1.25, np.nan])
    np.testing.assert_allclose(found.variance_difference, [0.0144, 0.04])
    np.testing.assert_allclose(found.z, [2.0, np.nan])
    assert np.isnan(risk_premium(0.2, 0.1).z)
    np.testing.assert_allclose(blend([0.10, np.nan], 0.20, weight=0.25), [0.175, np.nan])


def test_settings_without_sense_are_refused() -> None:
    """Decay, warm-up, weight, counts."""
    with pytest.raises(ValueError, match="decay"):
        ewma([0.1], decay=1.0)
    with pytest.raises(ValueError, match="weight"):
        blend(0.1, 0.2, weight=1.5)
    with pytest.raises(ValueError, match="horizon"):
        walk_forward_har([0.1], horizon=0)


def test_har_beats_the_recent_past_on_spy() -> None:
    """2017–2026, 21 days ahead: smaller root mean square error than EWMA and than the last 21 days (Yang–Zhang)."""
    path = SHARED / "ohlc" / "SPY_daily_2016_2026.csv"
    if not path.exists():
        pytest.skip(f"daily bars are not at {path}: set TT_SHARED_DATA")
    frame = pl.read_csv(path)
    bars = Bars.of(*(frame[name].to_numpy() for name in ("Open", "High", "Low", "Close")))
    variances = daily_variance(bars, overnight=True)
    found, outcome = walk_forward_har(variances), following(variances)
    known = np.isfinite(found.volatility) & np.isfinite(outcome)

    def error(forecast: Floats) -> float:
        return float(np.sqrt(np.mean((forecast[known] - outcome[known]) ** 2)))

    assert known.sum() > 2_000
    assert error(found.volatility) < 0.95 * error(ewma(log_returns(bars.close)))
    assert error(found.volatility) < 0.95 * error(yang_zhang(bars))
