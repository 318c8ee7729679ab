"""Hard filters over columns: every rule of every candidate, with value, limit and margin; none stops the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

import numpy as np

from optionmath.smile import Distribution
from strategies.chain import Bools, ChainSnapshot, Floats
from strategies.enumeration import SIDED, Group, Rows, Structures
from strategies.fill_model import expected_fill
from strategies.rules import RuleSet
from strategies.structures.columns import profit_probability as placed_probability

Comparison = Literal[">=", "<="]
RULES = (
    "pop_min",
    "fair_value_gap_pct_max",
    "credit_to_max_loss_min",
    "max_loss_pct_of_net_liq",
    "open_interest_min",
    "volume_min",
    "spread_pct_max",
    "quote_max_age_seconds",
)
"""Rules of a structure, in the order of the compiled scan's bits."""
GROUP_RULES = ("days_clear_of_event_min",)
"""Rules that hold or fail for a whole expiration."""
LEAST_PROFIT = 0.01
"""$ per share from which an outcome counts as profit."""


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
        if not np.isfinite(value):
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


def usable_net_liq(net_liq: float | None) -> float:
    """Dollars, or NaN when unknown or not positive: a share of nothing is no limit."""
    return float(net_liq) if net_liq is not None and net_liq > 0 else float("nan")


def days_clear(group: Group, today: date) -> float:
    """Days from the expiration to the next earnings report; NaN when none is scheduled after today."""
    earnings = group.chain.facts.earnings_date
    return float("nan") if earnings is None or earnings < today else float((earnings - group.day).days)


def judge(group: Group, structures: Structures, rules: RuleSet, *, net_liq: float | None, today: date) -> Judged:
    """Apply every hard filter to every structure. A missing distribution or net liq fails the rules that need it."""
    chain, legs = group.chain, structures.rows
    worlds = group.worlds(rules)
    market = worlds.market if worlds else None
    with np.errstate(invalid="ignore", divide="ignore"):
        widest = np.max(spread_pct(chain.bid[legs], chain.ask[legs]), axis=0)
        credit = expected_fill(structures.mid, structures.natural, widest)
        max_loss = structures.risk - credit
        unasked = rules.credit_to_max_loss_min == 0  # then a debit, which has no credit to measure, is not refused
        measurable = (max_loss > 0) & ~(unasked & (credit <= 0) & (structures.columns is not None))
        ratio = np.where(measurable, credit / max_loss, np.nan)
        loss_pct = 100 * max_loss * chain.multiplier / usable_net_liq(net_liq)
        gap_pct = 100 * np.abs(_fair_value_gap(structures, chain, market)) / structures.basis
    pop = profit_probability(structures, chain, credit, market)
    clear, interest = np.full(len(structures), days_clear(group, today)), np.min(chain.open_interest[legs], axis=0)
    return Judged(
        structures,
        credit,
        max_loss,
        (
            Rule("pop_min", pop, rules.pop_min, ">=", "probability"),
            Rule("fair_value_gap_pct_max", gap_pct, rules.fair_value_gap_pct_max, "<=", "% of width"),
            Rule(
                "credit_to_max_loss_min",
                ratio,
                rules.credit_to_max_loss_min,
                ">=",
                "ratio",
                absent_passes=unasked and structures.columns is not None,
            ),
            Rule("max_loss_pct_of_net_liq", loss_pct, rules.max_loss_pct_of_net_liq, "<=", "% of net liq"),
            Rule("open_interest_min", interest, rules.open_interest_min, ">=", "contracts"),
            Rule("volume_min", np.min(chain.volume[legs], axis=0), rules.volume_min, ">=", "contracts"),
            Rule("spread_pct_max", widest, rules.spread_pct_max, "<=", "% of mid"),
            Rule(
                "quote_max_age_seconds",
                np.max(chain.quote_age_seconds[legs], axis=0),
                rules.quote_max_age_seconds,
                "<=",
                "s",
            ),
            Rule(
                "days_clear_of_event_min",
                clear,
                float(rules.days_clear_of_event_min),
                ">=",
                "days",
                absent_passes=True,
            ),
        ),
    )  # fmt: skip


def spread_pct(bid: Floats, ask: Floats) -> Floats:
    """Bid–ask spread in percent of the mid, to nine decimals: 0.35 at 0.45 is 25, whatever doubles make of it."""
    return np.asarray(np.round(100 * (ask - bid) / ((bid + ask) / 2), 9))


def shortfall(rules: Sequence[Rule]) -> Floats:
    """How far each candidate is from passing: rules failed, plus their relative misses; missing facts are 100 away."""
    total = np.zeros(len(rules[0].value))
    for rule in rules:
        gap = np.abs(rule.value - rule.limit) / (abs(rule.limit) or 1.0)
        total += np.where(rule.passed, 0.0, 1.0 + np.minimum(np.nan_to_num(gap, nan=100.0, posinf=100.0), 100.0))
    return total


def most_loss_per_share(rules: RuleSet, multiplier: int, net_liq: float | None) -> float:
    """Largest double l with 100 · l · multiplier / net liq <= the limit, as those operations round; −inf if unknown."""
    total, limit = usable_net_liq(net_liq), rules.max_loss_pct_of_net_liq
    if np.isnan(total):
        return -np.inf
    loss = limit * total / (100 * multiplier)
    while 100 * loss * multiplier / total <= limit:
        loss = float(np.nextafter(loss, np.inf))
    while 100 * loss * multiplier / total > limit:
        loss = float(np.nextafter(loss, -np.inf))
    return loss


def _fair_value_gap(structures: Structures, chain: ChainSnapshot, market: Distribution | None) -> Floats:
    """Mid less the smile's own value, $ per share; side by side, so that it adds up as the sides do."""
    if market is None:
        return np.full(len(structures), np.nan)
    if structures.spread_type not in SIDED:
        return np.asarray(structures.mid - expected_cost(structures, chain, market))
    gap, mid = np.zeros(len(structures)), chain.mid
    for short, long in zip(structures.rows[::2], structures.rows[1::2], strict=True):
        gap = gap + ((mid[short] - mid[long]) - (_worth(chain, short, market) - _worth(chain, long, market)))
    return gap


def expected_cost(structures: Structures, chain: ChainSnapshot, spread: Distribution) -> Floats:
    """Expected loss of the legs at expiration, undiscounted, $ per share: what the credit must pay for."""
    if structures.spread_type in SIDED:
        cost = np.zeros(len(structures))
        for short, long in zip(structures.rows[::2], structures.rows[1::2], strict=True):
            cost = cost + (_worth(chain, short, spread) - _worth(chain, long, spread))
        return cost
    cost = np.zeros(len(structures))
    for rows, sign in zip(structures.rows, structures.signs, strict=True):
        cost = cost - sign * _worth(chain, rows, spread)
    return cost


def _worth(chain: ChainSnapshot, rows: Rows, spread: Distribution) -> Floats:
    """E[payoff] of each row's option, $ per share. Rows of one leg are all calls or all puts."""
    strikes = chain.strike[rows]
    if len(rows) and chain.is_call[rows[0]]:
        return spread.call_value(strikes)
    return spread.put_value(strikes)


def profit_probability(
    structures: Structures, chain: ChainSnapshot, credit: Floats, market: Distribution | None
) -> Floats:
    """P(at least a cent of profit at expiration); NaN without a distribution."""
    if market is None:
        return np.full(len(structures), np.nan)
    if structures.columns is not None:
        return placed_probability(structures.columns, chain, credit, market)
    return _between_breakevens(structures, chain, credit, market)


def _between_breakevens(structures: Structures, chain: ChainSnapshot, credit: Floats, market: Distribution) -> Floats:
    """Of credit verticals and their pairs: between the breakevens, moved a cent inwards."""
    below, above = np.zeros(len(structures)), np.ones(len(structures))
    for short in structures.rows[::2]:
        if len(short) and chain.is_call[short[0]]:
            above = market.below(chain.strike[short] + credit - LEAST_PROFIT)
        else:
            below = market.below(chain.strike[short] - credit + LEAST_PROFIT)
    return np.asarray(np.where(credit > LEAST_PROFIT, np.maximum(above - below, 0.0), 0.0))
