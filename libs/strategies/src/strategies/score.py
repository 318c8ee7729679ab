"""model_score: expected value per unit of risk under the forecast distribution, lower confidence bound."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optionmath.smile import Distribution
from schemas.trade import SpreadType
from strategies.chain import ChainSnapshot, Floats
from strategies.enumeration import Group
from strategies.filters import Judged, expected_cost
from strategies.rules import RuleSet

_RATIO_MIN, _RATIO_MAX = 0.80, 1.15
_SLIPPAGE_SCALE, _INTEREST_SCALE, _VOLUME_SCALE, _DEPTH_POWER = 0.15, 500.0, 50.0, 0.25


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
    return min(max(raw, _RATIO_MIN), _RATIO_MAX)


def score(group: Group, judged: Judged, rules: RuleSet) -> Scored | None:
    """Score every structure, held to expiration. None without a smile."""
    worlds = group.worlds(rules)
    if worlds is None:
        return None
    chain = group.chain
    contracts = sum(abs(sign) for sign in judged.structures.signs)
    fees = contracts * rules.fee_per_contract / chain.multiplier
    expected = _expected(chain, judged, worlds.forecast) - fees
    error = np.abs(expected - (_expected(chain, judged, worlds.pessimist) - fees))
    known = chain.facts.historical_volatility is not None
    present = [known, chain.facts.momentum_z is not None, chain.facts.flow_z is not None]
    return Scored(
        expected if known else np.full(len(expected), np.nan),
        _expected(chain, judged, worlds.market) - fees,
        error,
        np.asarray((expected - error) / np.maximum(judged.max_loss, 0.01)),
        sum(present) / len(present),
        group.volatility_ratio,
    )


def _expected(chain: ChainSnapshot, judged: Judged, spread: Distribution) -> Floats:
    """Expected P&L at expiration before fees, $ per share."""
    return np.asarray(judged.credit - expected_cost(judged.structures, chain, spread))


def liquidity(mid: Floats, natural: Floats, interest: Floats, volume: Floats) -> Floats:
    """0–1: how little the way to natural costs, how much is held and traded in the thinnest leg.

    exp(−s / 0.15) · min(1, OI / 500)^¼ · min(1, volume / 50)^¼ with s = (mid − natural) / |mid|; 0 where a fact is
    missing.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        slippage = np.abs(mid - natural) / np.abs(mid)
        depth = np.clip(interest / _INTEREST_SCALE, 0, 1) * np.clip(volume / _VOLUME_SCALE, 0, 1)
        return np.asarray(np.nan_to_num(np.exp(-slippage / _SLIPPAGE_SCALE) * depth**_DEPTH_POWER, nan=0.0))


_BULLISH = frozenset({
    SpreadType.PUT_CREDIT_SPREAD, SpreadType.CALL_DEBIT_SPREAD, SpreadType.CASH_SECURED_PUT, SpreadType.COVERED_CALL,
    SpreadType.JADE_LIZARD,
})  # fmt: skip
_BEARISH = frozenset({SpreadType.CALL_CREDIT_SPREAD, SpreadType.PUT_DEBIT_SPREAD})


def direction(kind: SpreadType) -> int:
    """+1 for structures that gain from a rise, −1 from a fall, 0 for those that want no movement."""
    return int(kind in _BULLISH) - int(kind in _BEARISH)
