"""How many units of a trade: the least that max loss, buying power, room in the underlying and Kelly allow.

Kelly: of wealth W, n units of a trade with outcomes X ($ a unit) grow by E log(1 + n X / W); the n that maximises it is
the growth-optimal size, of which `kelly_fraction` is used at most. It solves E[X / (W + n X)] = 0 (Kelly 1956; Thorp,
The Kelly Criterion in Blackjack, Sports Betting and the Stock Market). Where only mean and variance are known it is
about W μ / σ². With an expected value of zero or less no size is right, and the trade is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING, Literal

import numpy as np

from schemas.trade import RuleResult
from strategies.chain import Floats
from strategies.rules import RuleSet

if TYPE_CHECKING:
    from optionmath.payoff import PayoffLeg
    from optionmath.smile import Distribution

_ROUNDS = 200
_UNITS_MAX = 1e15
"""A loss so small that wealth covers this many units of it is none."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What one unit can earn: dollars after fees, and the probability of each (sums to 1)."""

    pnl: Floats
    probability: Floats

    def __post_init__(self) -> None:
        if self.pnl.shape != self.probability.shape or self.pnl.ndim != 1 or not len(self.pnl):
            raise ValueError("outcomes need as many probabilities as amounts, one at least")
        if not np.isfinite(self.pnl).all() or not (self.probability >= 0).all():
            raise ValueError("outcomes must be finite with probabilities of at least 0")
        if abs(float(self.probability.sum()) - 1) > 1e-6:
            raise ValueError(f"probabilities sum to {float(self.probability.sum())}, not 1")

    @property
    def mean(self) -> float:
        """Dollars a unit."""
        return float(self.pnl @ self.probability)


@dataclass(frozen=True, slots=True)
class SizeRequest:
    """One trade and the account. Dollars; per unit where it says so. None = not known, unless said otherwise."""

    max_loss: Decimal | None
    """Magnitude a unit; None = not limited."""
    max_profit: Decimal | None
    """Magnitude a unit; None = not limited."""
    buying_power: Decimal | None
    """Requirement a unit."""
    fees: Decimal
    """To open and close one unit."""
    expected_value: float | None
    """A unit, under the forecast, after fees."""
    net_liq: Decimal
    buying_power_free: Decimal
    """That may still be used: reserve and working orders taken off."""
    underlying_exposure: Decimal = Decimal(0)
    """At risk in the same underlying already, working orders included."""
    outcomes: Outcomes | None = None
    """Under the forecast, after fees: makes Kelly exact."""
    variance: float | None = None
    """Dollars squared a unit: makes Kelly approximate where outcomes are not known."""


@dataclass(frozen=True, slots=True)
class SizeBound:
    """What one rule allows. units: None = this rule has nothing to say."""

    rule: str
    units: int | None
    per_unit: float | None
    limit: float | None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Sized:
    units: int
    bound_by: str
    """The rule that allows the fewest; the first of them in the order of `bounds`."""
    bounds: tuple[SizeBound, ...]


@dataclass(frozen=True, slots=True)
class SizeRefusal:
    """Why not even one unit may be opened: each refusing rule with value, limit and distance."""

    reasons: tuple[RuleResult, ...]
    bounds: tuple[SizeBound, ...]


def size(request: SizeRequest, rules: RuleSet) -> Sized | SizeRefusal:
    """The number of units, and the rule that bounds it; or every reason why it is none."""
    reasons = [each for each in (_value(request, rules), _fees(request, rules), _open_loss(request, rules)) if each]
    bounds = tuple(_bounds(request, rules))
    reasons += [
        _refusal(each.rule, each.per_unit, each.limit, "<=", "$", each.detail)
        for each in bounds
        if each.units is not None and each.units < 1
    ]
    if reasons:
        return SizeRefusal(tuple(reasons), bounds)
    units, _, name = min((each.units, order, each.rule) for order, each in enumerate(bounds) if each.units is not None)
    return Sized(units, name, bounds)


def growth_optimal_units(outcomes: Outcomes, wealth: float) -> float:
    """Units, not rounded, at which expected log wealth grows fastest; 0 without an edge, infinite when nothing is lost.

    wealth: dollars, above 0 (ValueError otherwise).
    """
    if not wealth > 0:
        raise ValueError(f"wealth is {wealth}: it must be above 0")
    if outcomes.mean <= 0:
        return 0.0
    possible = outcomes.probability > 0
    pnl, probability = outcomes.pnl[possible], outcomes.probability[possible]
    worst = float(pnl.min())
    low, high = 0.0, wealth / -worst if worst < 0 else float("inf")
    if not high < _UNITS_MAX:
        return float("inf")
    for _ in range(_ROUNDS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        slope = float((probability * pnl / (wealth + middle * pnl)).sum())
        low, high = (middle, high) if slope > 0 else (low, middle)
    return low


def outcomes_at_expiration(
    legs: Sequence[PayoffLeg],
    credit: Decimal,
    forecast: Distribution,
    *,
    multiplier: int = 100,
    fees: Decimal = Decimal(0),
) -> Outcomes:
    """What legs of one expiration earn under a distribution of the price, held to expiration.

    credit: $ per share, credit positive; fees: dollars a unit. Each cell of the distribution's grid counts at its
    middle, the tails at its ends.
    """
    grid, cdf = forecast.grid, forecast.cdf
    level = np.concatenate(([grid[0]], (grid[1:] + grid[:-1]) / 2, [grid[-1]]))
    probability = np.concatenate(([cdf[0]], np.diff(cdf), [1 - cdf[-1]]))
    value = np.full(len(level), float(credit))
    for leg in legs:
        away = level - float(leg.strike) if leg.is_call else float(leg.strike) - level
        value += leg.signed_quantity * np.maximum(away, 0.0)
    return Outcomes(value * multiplier - float(fees), np.maximum(probability, 0.0))


def _bounds(request: SizeRequest, rules: RuleSet) -> list[SizeBound]:
    net_liq = request.net_liq
    loss, power = request.max_loss, request.buying_power
    exposure = power if loss is None else loss
    room = _share(net_liq, rules.underlying_max_pct) - request.underlying_exposure
    return [
        _bound("max_loss_pct_of_net_liq", loss, _share(net_liq, rules.max_loss_pct_of_net_liq), "loss is not limited"),
        _bound("trade_size_max_pct", power, _share(net_liq, rules.trade_size_max_pct)),
        _bound("buying_power_free", power, request.buying_power_free),
        _bound("underlying_max_pct", exposure, room),
        _kelly(request, rules),
        SizeBound("quantity_max", rules.quantity_max, 1.0, float(rules.quantity_max)),
    ]


def _share(net_liq: Decimal, pct: float) -> Decimal:
    return net_liq * Decimal(str(pct)) / 100


def _bound(rule: str, per_unit: Decimal | None, limit: Decimal, without: str = "") -> SizeBound:
    if per_unit is None:
        if without:
            return SizeBound(rule, None, None, float(limit), without)
        return SizeBound(rule, 0, None, float(limit), "the requirement of one unit is not known")
    if per_unit <= 0:
        return SizeBound(rule, None, float(per_unit), float(limit), "one unit takes nothing")
    units = int((max(limit, Decimal(0)) / per_unit).to_integral_value(ROUND_FLOOR))
    return SizeBound(rule, units, float(per_unit), float(limit))


def _kelly(request: SizeRequest, rules: RuleSet) -> SizeBound:
    wealth = float(request.net_liq)
    if request.outcomes is not None and wealth > 0:
        units, how = growth_optimal_units(request.outcomes, wealth), "from the outcomes"
    elif request.variance is not None and request.variance > 0 and request.expected_value is not None:
        units, how = max(0.0, wealth * request.expected_value / request.variance), "from mean and variance"
    else:
        return SizeBound("kelly_fraction", None, None, None, "outcomes are not known")
    allowed = rules.kelly_fraction * units
    if not np.isfinite(allowed):
        return SizeBound("kelly_fraction", None, None, None, "no outcome loses")
    per_unit = None if request.max_loss is None else float(request.max_loss)
    limit = None if per_unit is None else allowed * per_unit
    return SizeBound("kelly_fraction", int(allowed), per_unit, limit, f"{allowed:.2f} units {how}")


def _value(request: SizeRequest, rules: RuleSet) -> RuleResult | None:
    value = request.outcomes.mean if request.expected_value is None and request.outcomes else request.expected_value
    if value is None:
        detail = "the fact is missing"
        return _refusal("expected_value", None, 0.0, ">=", "$", detail) if rules.expected_value_required else None
    return None if value > 0 else _refusal("expected_value", value, 0.0, ">=", "$", "no size is right without an edge")


def _fees(request: SizeRequest, rules: RuleSet) -> RuleResult | None:
    name, limit, unit = "fees_pct_of_max_profit_max", rules.fees_pct_of_max_profit_max, "% of max profit"
    if request.max_profit is None:
        return None
    if request.max_profit <= 0:
        return _refusal(name, None, limit, "<=", unit, "there is no profit to make")
    share = float(100 * request.fees / request.max_profit)
    return None if share <= limit else _refusal(name, share, limit, "<=", unit)


def _open_loss(request: SizeRequest, rules: RuleSet) -> RuleResult | None:
    """Unlimited loss is allowed only by a rule set that opens the limit fully."""
    if request.max_loss is not None or rules.max_loss_pct_of_net_liq >= 100:
        return None
    limit = rules.max_loss_pct_of_net_liq
    return _refusal("max_loss_pct_of_net_liq", None, limit, "<=", "% of net liq", "loss is not limited")


def _refusal(
    rule: str, value: float | None, limit: float | None, comparison: Literal[">=", "<="], unit: str, detail: str = ""
) -> RuleResult:
    margin = None if value is None or limit is None else value - limit if comparison == ">=" else limit - value
    return RuleResult(
        rule=rule,
        passed=False,
        value=value,
        limit=limit,
        comparison=comparison,
        margin=margin,
        unit=unit,
        detail=detail,
    )
