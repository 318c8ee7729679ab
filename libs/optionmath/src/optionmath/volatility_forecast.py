"""Forecasts of realised volatility, their errors, and the premium of implied volatility over them.

Exponential weighting (RiskMetrics, 1996) and the heterogeneous autoregression of Corsi (2009), "A Simple Approximate
Long-Memory Model of Realized Volatility", on log variances of 1, 5 and 22 days. A forecast at bar t uses nothing after
bar t: neither a later bar nor a training target that was not yet complete.
Volatilities are fractions a year; variances of single days are not annualised.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
PERIODS_PER_YEAR = 252.0
LAGS = (1, 5, 22)
"""Days over which the heterogeneous model averages."""
_RISK_METRICS_DECAY = 0.94
_VARIANCE_FLOOR = 1e-10
"""A day without any movement: 0.02 % of volatility a year keeps its logarithm finite."""


def ewma(
    returns: npt.ArrayLike,
    *,
    decay: float = _RISK_METRICS_DECAY,
    warm_up: int = 22,
    periods_per_year: float = PERIODS_PER_YEAR,
) -> Floats:
    """Volatility expected after each bar: v_t = decay · v_(t-1) + (1 − decay) · r_t², annualised.

    Starts at the mean square of the first `warm_up` good returns; NaN before. A missing return keeps the last value.
    Raises ValueError unless 0 < decay < 1 and warm_up >= 1.
    """
    if not 0 < decay < 1 or warm_up < 1:
        raise ValueError(f"decay {decay} must lie between 0 and 1, warm_up {warm_up} must be at least 1")
    squares = np.asarray(returns, dtype=np.float64) ** 2
    found = np.full(squares.shape, np.nan)
    good = np.flatnonzero(np.isfinite(squares))
    if len(good) < warm_up:
        return found
    start = int(good[warm_up - 1])
    variance = float(squares[good[:warm_up]].mean())
    for index in range(start, len(squares)):
        if index > start and np.isfinite(squares[index]):
            variance = decay * variance + (1 - decay) * float(squares[index])
        found[index] = variance
    return np.sqrt(found * periods_per_year)


@dataclass(frozen=True, slots=True)
class HarModel:
    """ln of the mean daily variance over the next `horizon` days = intercept + Σ b · ln of the means over LAGS."""

    intercept: float
    coefficients: tuple[float, float, float]
    residual_deviation: float
    """Standard deviation of the residuals in log variance, corrected for the four parameters."""
    horizon: int
    observations: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """Volatility expected over the horizon, and the standard deviation of its error. NaN where there is none yet."""

    volatility: Floats
    standard_error: Floats


def fit_har(daily_variances: npt.ArrayLike, *, horizon: int = 21) -> HarModel | None:
    """Fit by least squares on all targets that the given days complete. None with fewer than 50 usable days.

    daily_variances: one per day, oldest first, not annualised; missing days (NaN, negative) drop the rows they touch.
    """
    variances = _clean(daily_variances)
    return _fit(_features(variances), _targets(variances, horizon), horizon)


def forecast_har(
    model: HarModel, daily_variances: npt.ArrayLike, *, periods_per_year: float = PERIODS_PER_YEAR
) -> Forecast:
    """Forecast after each day with one fitted model (its errors are in-sample where it was fitted)."""
    return _apply(model, _features(_clean(daily_variances)), periods_per_year)


def walk_forward_har(
    daily_variances: npt.ArrayLike,
    *,
    horizon: int = 21,
    minimum: int = 252,
    refit_every: int = 21,
    periods_per_year: float = PERIODS_PER_YEAR,
) -> Forecast:
    """Forecast after each day with the model fitted on what was known then, refitted every `refit_every` days.

    The first forecast comes after `minimum` days. Raises ValueError for counts below 1.
    """
    if min(horizon, minimum, refit_every) < 1:
        raise ValueError(f"horizon {horizon}, minimum {minimum} and refit_every {refit_every} must be at least 1")
    variances = _clean(daily_variances)
    features, targets = _features(variances), _targets(variances, horizon)
    volatility, error = np.full(variances.shape, np.nan), np.full(variances.shape, np.nan)
    for start in range(minimum - 1, len(variances), refit_every):
        complete = max(0, start - horizon + 1)
        model = _fit(features[:complete], targets[:complete], horizon)
        if model is None:
            continue
        block = slice(start, start + refit_every)
        found = _apply(model, features[block], periods_per_year)
        volatility[block], error[block] = found.volatility, found.standard_error
    return Forecast(volatility, error)


def blend(forecast: npt.ArrayLike, implied: npt.ArrayLike, *, weight: float = 0.5) -> Floats:
    """weight · forecast + (1 − weight) · implied; where one is missing, NaN. Raises ValueError outside 0 to 1."""
    if not 0 <= weight <= 1:
        raise ValueError(f"weight {weight} must lie between 0 and 1")
    return np.asarray(weight * np.asarray(forecast, dtype=np.float64) + (1 - weight) * np.asarray(implied, np.float64))


@dataclass(frozen=True, slots=True)
class RiskPremium:
    """Implied against expected or realised volatility. Positive difference: options cost more than the movement."""

    difference: Floats
    """Implied less realised, fraction a year."""
    ratio: Floats
    """Implied over realised; NaN where realised is zero."""
    variance_difference: Floats
    """Implied variance less realised variance, a year."""
    z: Floats
    """Difference over the forecast's standard error; NaN without one."""


def risk_premium(
    implied: npt.ArrayLike, realised: npt.ArrayLike, standard_error: npt.ArrayLike | None = None
) -> RiskPremium:
    """Premium of implied volatility over a forecast (ex ante) or over what followed (ex post, see `following`)."""
    i, r = np.broadcast_arrays(np.asarray(implied, dtype=np.float64), np.asarray(realised, dtype=np.float64))
    error = np.full(i.shape, np.nan) if standard_error is None else np.asarray(standard_error, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(r > 0, i / r, np.nan)
        z = np.where(error > 0, (i - r) / error, np.nan)
    return RiskPremium(i - r, ratio, i * i - r * r, z)


def following(
    daily_variances: npt.ArrayLike, horizon: int = 21, *, periods_per_year: float = PERIODS_PER_YEAR
) -> Floats:
    """Realised volatility of the `horizon` days after each bar, annualised; NaN where they are not complete."""
    return np.sqrt(_means_ahead(_clean(daily_variances), horizon) * periods_per_year)


def _clean(daily_variances: npt.ArrayLike) -> Floats:
    variances = np.asarray(daily_variances, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        good = np.isfinite(variances) & (variances >= 0)
    return np.where(good, variances, np.nan)


def _mean_of_last(values: Floats, days: int) -> Floats:
    found = np.full(values.shape, np.nan)
    if len(values) >= days:
        found[days - 1 :] = np.lib.stride_tricks.sliding_window_view(values, days).mean(axis=1)
    return found


def _means_ahead(variances: Floats, horizon: int) -> Floats:
    found = np.full(variances.shape, np.nan)
    if horizon < len(variances):
        found[:-horizon] = _mean_of_last(variances, horizon)[horizon:]
    return found


def _log(values: Floats) -> Floats:
    return np.log(np.maximum(values, _VARIANCE_FLOOR))


def _features(variances: Floats) -> Floats:
    lagged = [_log(_mean_of_last(variances, days)) for days in LAGS]
    return np.column_stack([np.ones(len(variances)), *lagged])


def _targets(variances: Floats, horizon: int) -> Floats:
    return _log(_means_ahead(variances, horizon))


def _fit(features: Floats, targets: Floats, horizon: int) -> HarModel | None:
    good = np.isfinite(features).all(axis=1) & np.isfinite(targets)
    count = int(good.sum())
    if count < 50:
        return None
    solution = np.linalg.lstsq(features[good], targets[good], rcond=None)[0]
    residual = targets[good] - features[good] @ solution
    deviation = float(np.sqrt(residual @ residual / (count - features.shape[1])))
    intercept, day, week, month = (float(each) for each in solution)
    return HarModel(intercept, (day, week, month), deviation, horizon, count)


def _apply(model: HarModel, features: Floats, periods_per_year: float) -> Forecast:
    """Mean and deviation of a log-normal volatility: E exp(x/2) with x the log variance."""
    expected = features @ np.array([model.intercept, *model.coefficients])
    half = model.residual_deviation / 2
    volatility = np.exp(expected / 2 + half * half / 2) * np.sqrt(periods_per_year)
    return Forecast(volatility, volatility * np.sqrt(np.expm1(half * half)))
