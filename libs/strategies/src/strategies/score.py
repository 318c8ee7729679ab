"""model_score: expected value per unit of risk under the forecast distribution, lower confidence bound."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optionmath.smile import Distribution, Smile, distribution
from strategies.chain import ChainSnapshot, Floats
from strategies.filters import Judged, expected_cost
from strategies.rules import RuleSet

_RATIO_MIN, _RATIO_MAX = 0.80, 1.15


@dataclass(frozen=True, slots=True)
class Scored:
    """Dollars per share after opening fees; score is dimensionless (per dollar of max loss)."""

    expected_value: Floats
    """Under the forecast; NaN without a forecast."""
    expected_value_q: Floats
    standard_error: Floats
    score: Floats
    coverage: float
    """Share of the score's inputs present."""
    volatility_ratio: float


def volatility_ratio(at_the_money: float, forecast: float | None, rules: RuleSet) -> float:
    """Forecast over market volatility, shrunk to 1 and bounded; 1 without a forecast (no edge is assumed)."""
    if forecast is None or not at_the_money > 0:
        return 1.0
    raw = rules.forecast_weight * forecast / at_the_money + 1 - rules.forecast_weight
    return float(np.clip(raw, _RATIO_MIN, _RATIO_MAX))


def score(chain: ChainSnapshot, judged: Judged, smile: Smile, rules: RuleSet) -> Scored:
    """Score every structure. Held to expiration; the forecast is the market's smile scaled by the volatility ratio."""
    legs = len(judged.structures.legs())
    fees = legs * rules.fee_per_contract / chain.multiplier
    ratio = volatility_ratio(smile.at_the_money, chain.facts.historical_volatility, rules)
    forecast = _expected(chain, judged, distribution(smile, volatility_scale=ratio)) - fees
    pessimist = distribution(smile, volatility_scale=ratio * (1 + rules.forecast_error))
    error = np.abs(forecast - (_expected(chain, judged, pessimist) - fees))
    known = chain.facts.historical_volatility is not None
    present = [known, chain.facts.momentum_z is not None, chain.facts.flow_z is not None]
    return Scored(
        forecast if known else np.full(len(forecast), np.nan),
        _expected(chain, judged, distribution(smile)) - fees,
        error,
        np.asarray((forecast - error) / np.maximum(judged.max_loss, 0.01)),
        sum(present) / len(present),
        ratio,
    )


def _expected(chain: ChainSnapshot, judged: Judged, spread: Distribution) -> Floats:
    """Expected P&L at expiration before fees, $ per share."""
    return np.asarray(judged.credit - expected_cost(judged.structures, chain, spread))
