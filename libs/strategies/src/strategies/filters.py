"""Hard filters over columns: every rule of every candidate, with value, limit and margin; none stops the others."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Literal

import numpy as np

from optionmath.smile import Distribution
from strategies.chain import Bools, ChainSnapshot, Floats
from strategies.enumeration import Structures
from strategies.fill_model import expected_fill
from strategies.rules import RuleSet

Comparison = Literal[">=", "<="]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule's column: a value per candidate (NaN = the fact is missing, and then it fails) against one limit."""

    name: str
    value: Floats
    limit: float
    comparison: Comparison
    unit: str
    absent_passes: bool = False
    """True where a missing value means the rule has nothing to object to (no scheduled event)."""

    @property
    def passed(self) -> Bools:
        with np.errstate(invalid="ignore"):
            within = self.value >= self.limit if self.comparison == ">=" else self.value <= self.limit
        return np.asarray(within | np.isnan(self.value)) if self.absent_passes else np.asarray(within)

    def margin(self, index: int) -> float | None:
        """Room left (positive) or missing (negative), in the rule's unit."""
        value = float(self.value[index])
        if np.isnan(value):
            return None
        return value - self.limit if self.comparison == ">=" else self.limit - value


@dataclass(frozen=True, slots=True)
class Judged:
    """Structures of one type and expiration with everything the rules measured."""

    structures: Structures
    credit: Floats
    """Expected fill, $ per share."""
    max_loss: Floats
    """$ per share at the expected fill."""
    rules: tuple[Rule, ...]

    @property
    def passed(self) -> Bools:
        return np.asarray(np.logical_and.reduce([rule.passed for rule in self.rules]))


def judge(
    chain: ChainSnapshot,
    structures: Structures,
    market: Distribution | None,
    rules: RuleSet,
    *,
    net_liq: float | None,
    expiration: date,
    today: date,
) -> Judged:
    """Apply every hard filter to every structure. A missing distribution or net liq fails the rules that need it."""
    legs = structures.legs()
    with np.errstate(invalid="ignore", divide="ignore"):
        spread_pct = 100 * (chain.ask - chain.bid) / chain.mid
        widest = np.maximum.reduce([spread_pct[rows] for rows in legs])
        credit = expected_fill(structures.mid, structures.natural, widest)
        max_loss = structures.width - credit
        ratio = np.where(max_loss > 0, credit / max_loss, np.nan)
    loss_pct = np.full(len(structures), np.nan) if net_liq is None else 100 * max_loss * chain.multiplier / net_liq
    earnings = chain.facts.earnings_date
    clear = np.nan if earnings is None or earnings < today else float((earnings - expiration).days)
    return Judged(
        structures,
        credit,
        max_loss,
        (
            Rule("pop_min", profit_probability(structures, chain, credit, market), rules.pop_min, ">=", "probability"),
            Rule(
                "fair_value_gap_pct_max",
                _fair_value_gap(structures, chain, market),
                rules.fair_value_gap_pct_max,
                "<=",
                "% of width",
            ),
            Rule("credit_to_max_loss_min", ratio, rules.credit_to_max_loss_min, ">=", "ratio"),
            Rule("max_loss_pct_of_net_liq", loss_pct, rules.max_loss_pct_of_net_liq, "<=", "% of net liq"),
            Rule("open_interest_min", _least(chain.open_interest, legs), rules.open_interest_min, ">=", "contracts"),
            Rule("volume_min", _least(chain.volume, legs), rules.volume_min, ">=", "contracts"),
            Rule("spread_pct_max", widest, rules.spread_pct_max, "<=", "% of mid"),
            Rule(
                "quote_max_age_seconds",
                np.maximum.reduce([chain.quote_age_seconds[rows] for rows in legs]),
                rules.quote_max_age_seconds,
                "<=",
                "s",
            ),
            Rule(
                "days_clear_of_event_min",
                np.full(len(structures), clear),
                float(rules.days_clear_of_event_min),
                ">=",
                "days",
                absent_passes=True,
            ),
        ),
    )


def _least(column: Floats, legs: tuple[np.ndarray[tuple[int], np.dtype[np.int64]], ...]) -> Floats:
    return np.asarray(np.minimum.reduce([column[rows] for rows in legs]))


def _fair_value_gap(structures: Structures, chain: ChainSnapshot, market: Distribution | None) -> Floats:
    if market is None:
        return np.full(len(structures), np.nan)
    gap = np.abs(structures.mid - expected_cost(structures, chain, market))
    return np.asarray(100 * gap / structures.width)


def expected_cost(structures: Structures, chain: ChainSnapshot, spread: Distribution) -> Floats:
    """Expected loss of the sold sides at expiration, undiscounted, $ per share: what the credit must pay for."""
    cost = np.zeros(len(structures))
    if structures.short_put[0] >= 0:
        cost += spread.put_value(chain.strike[structures.short_put]) - spread.put_value(
            chain.strike[structures.long_put]
        )
    if structures.short_call[0] >= 0:
        cost += spread.call_value(chain.strike[structures.short_call]) - spread.call_value(
            chain.strike[structures.long_call]
        )
    return cost


def profit_probability(
    structures: Structures, chain: ChainSnapshot, credit: Floats, market: Distribution | None
) -> Floats:
    """P(at least a cent of profit at expiration): between the breakevens, moved a cent inwards."""
    if market is None:
        return np.full(len(structures), np.nan)
    below, above = np.zeros(len(structures)), np.ones(len(structures))
    if structures.short_put[0] >= 0:
        below = market.below(chain.strike[structures.short_put] - credit + 0.01)
    if structures.short_call[0] >= 0:
        above = market.below(chain.strike[structures.short_call] + credit - 0.01)
    return np.asarray(np.where(credit > 0.01, np.maximum(above - below, 0.0), 0.0))
