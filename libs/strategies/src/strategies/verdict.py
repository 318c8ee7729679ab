"""Turn the few structures that matter, those that passed and those that nearly did, into candidates with reasons."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

import numpy as np

from optionmath.managed import RandomPaths
from optionmath.payoff import PayoffLeg, analyse
from optionmath.smile import Distribution
from schemas.money import price_from_float, to_tick
from schemas.symbols import OptionType, parse_occ
from schemas.trade import Candidate, Leg, OrderAction, RuleResult, SpreadType
from strategies.chain import ChainSnapshot, Floats
from strategies.enumeration import Group, Structures
from strategies.filters import Judged, Rule, judge, profit_probability
from strategies.managed_trade import LegFacts, managed_trade
from strategies.rules import RuleSet
from strategies.score import Scored, direction, liquidity, score

COLLAR_TICKS = 2
_NAMESPACE = uuid.UUID("6b0b4f0e-0f55-4d53-9a5b-6f6b8a0a4c11")


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes candidates of one scan."""

    rules: RuleSet
    now: datetime
    net_liq: float | None
    spy_price: float | None
    cycle_id: str
    today: date

    def write(self, group: Group, structure: Structures, paths: RandomPaths | None = None) -> Candidate:
        """One structure with every rule's value, limit and margin; simulated under its exits where paths are given."""
        judged = judge(group, structure, self.rules, net_liq=self.net_liq, today=self.today)
        made = self._candidate(group, judged, score(group, judged, self.rules))
        if paths is None or group.smile is None:
            return made
        rows = structure.rows[:, 0]
        volatility = group.smile.volatility(group.chain.strike[rows])
        facts = {
            leg.occ_symbol: LegFacts(float(sigma), float(group.chain.years[row]))
            for leg, sigma, row in zip(made.legs, volatility, rows, strict=True)
        }
        return made.model_copy(update={"managed": managed_trade(made, facts, self.rules, group.chain.rate, paths)})

    def _candidate(self, group: Group, judged: Judged, scored: Scored | None) -> Candidate:
        structures, chain = judged.structures, group.chain
        rows, signs = structures.rows[:, 0].tolist(), structures.signs
        symbols = [chain.occ_symbols[row] for row in rows]
        tick = Decimal("0.01") if chain.penny_ticks else Decimal("0.05")
        credit = to_tick(price_from_float(judged.credit[0]), tick, in_our_favour=False)
        payoff = analyse(_payoff_legs(symbols, signs), credit)
        quantity = self._quantity(payoff.max_loss, chain.multiplier)
        units = Decimal(quantity * chain.multiplier)
        greek = {
            name: _net(column, rows, signs, quantity * chain.multiplier)
            for name, column in (
                ("delta", chain.delta),
                ("gamma", chain.gamma),
                ("theta", chain.theta),
                ("vega", chain.vega),
            )
        }
        identity = f"{self.cycle_id}|{self.now.isoformat()}|{'|'.join(symbols)}"
        ages = chain.quote_age_seconds[rows]
        pop = float(judged.rules[0].value[0])
        sign = direction(structures.spread_type)
        return Candidate(
            ts_event=self.now,
            candidate_id=str(uuid.uuid5(_NAMESPACE, identity)),
            cycle_id=self.cycle_id,
            underlying_symbol=chain.underlying_symbol,
            spread_type=structures.spread_type,
            legs=tuple(
                Leg(
                    occ_symbol=symbol,
                    action=OrderAction.SELL_TO_OPEN if contracts < 0 else OrderAction.BUY_TO_OPEN,
                    quantity=abs(contracts),
                )
                for symbol, contracts in zip(symbols, signs, strict=True)
            ),
            quantity=quantity,
            expiration=group.day,
            dte=int(chain.dte[rows[0]]),
            sector=chain.facts.sector,
            mid_price=price_from_float(structures.mid[0]),
            natural_price=price_from_float(structures.natural[0]),
            expected_fill_price=credit,
            limit_price=max(self._limit(group, judged, tick), _collar(judged, tick)),
            tick_size=tick,
            width=price_from_float(structures.basis[0]),
            max_profit=(payoff.max_profit or Decimal(0)) * units,
            max_loss=(payoff.max_loss or Decimal(0)) * units,
            breakevens=payoff.breakevens,
            pop=None if np.isnan(pop) else pop,
            expected_value=_dollars(scored.expected_value if scored else None, units),
            expected_value_q=_dollars(scored.expected_value_q if scored else None, units),
            score=float(scored.score[0]) if scored else None,
            score_parts=_parts(scored, judged, units),
            score_coverage=scored.coverage if scored else None,
            momentum_z=None if chain.facts.momentum_z is None else sign * chain.facts.momentum_z,
            flow_z=None if chain.facts.flow_z is None else sign * chain.facts.flow_z,
            beta_weighted_delta=self._beta_weighted(greek["delta"], chain),
            **greek,
            underlying_price=price_from_float(chain.spot),
            oldest_quote_at=self.now - timedelta(seconds=float(ages.max())) if np.isfinite(ages).all() else None,
            thesis=_thesis(chain, structures.spread_type, pop, credit, rows),
            passed=bool(judged.passed[0]),
            rules=tuple(rule_result(rule, 0) for rule in judged.rules),
        )

    def _quantity(self, max_loss: Decimal | None, multiplier: int) -> int:
        if self.net_liq is None or not max_loss:
            return 1
        allowed = Decimal(str(self.net_liq)) * Decimal(str(self.rules.max_loss_pct_of_net_liq)) / 100
        return max(1, min(self.rules.quantity_max, int(allowed / (max_loss * multiplier))))

    def _beta_weighted(self, delta: float | None, chain: ChainSnapshot) -> float | None:
        if delta is None or chain.facts.beta is None or not self.spy_price:
            return None
        return delta * chain.facts.beta * chain.spot / self.spy_price

    def _limit(self, group: Group, judged: Judged, tick: Decimal) -> Decimal:
        """Lowest credit on the tick grid at which every price-dependent filter still passes; never below one tick."""
        credit = to_tick(price_from_float(judged.credit[0]), tick, in_our_favour=True)
        worlds = group.worlds(self.rules)
        market = worlds.market if worlds else None

        def holds(ticks: int) -> bool:
            return self._affordable(group.chain, judged, ticks * tick) and self._likely(
                group.chain, judged, market, ticks * tick
            )

        worst = 0  # in ticks: a credit never becomes a debit
        if credit <= 0:
            worst = int(to_tick(price_from_float(judged.structures.natural[0]), tick, in_our_favour=False) / tick) - 1
        start = int(credit / tick)
        if start - 1 <= worst or not holds(start - 1):
            return start * tick if credit <= 0 else max(credit, tick)
        low, high = worst, start - 1  # the filters fail at low, or it lies beyond natural; they hold at high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if holds(middle) else (middle, high)
        return high * tick

    def _affordable(self, chain: ChainSnapshot, judged: Judged, credit: Decimal) -> bool:
        loss = float(judged.structures.risk[0]) - float(credit)
        if loss <= 0:
            return True
        if self.net_liq is None or loss * chain.multiplier * 100 > self.rules.max_loss_pct_of_net_liq * self.net_liq:
            return False
        least = self.rules.credit_to_max_loss_min
        if credit <= 0 and least == 0:
            return True
        return float(credit / (price_from_float(judged.structures.risk[0]) - credit)) >= least

    def _likely(self, chain: ChainSnapshot, judged: Judged, market: Distribution | None, credit: Decimal) -> bool:
        pop = profit_probability(judged.structures, chain, np.array([float(credit)]), market)[0]
        return bool(pop >= self.rules.pop_min)


def _collar(judged: Judged, tick: Decimal) -> Decimal:
    """A little below natural: a worse price buys nothing, and a market that moved so far is another trade."""
    natural = to_tick(price_from_float(judged.structures.natural[0]), tick, in_our_favour=False)
    return natural - COLLAR_TICKS * tick


def rule_result(rule: Rule, i: int) -> RuleResult:
    """One rule's verdict on one candidate."""
    value = float(rule.value[i])
    missing = bool(np.isnan(value))
    return RuleResult(
        rule=rule.name,
        passed=bool(rule.passed[i]),
        value=None if missing else value,
        limit=rule.limit,
        comparison=rule.comparison,
        margin=rule.margin(i),
        unit=rule.unit,
        detail=("no scheduled event is known" if rule.absent_passes else "the fact is missing") if missing else "",
    )


def _payoff_legs(symbols: Sequence[str], signs: Sequence[int]) -> list[PayoffLeg]:
    parsed = [parse_occ(symbol) for symbol in symbols]
    return [
        PayoffLeg(each.option_type is OptionType.CALL, each.strike, sign)
        for each, sign in zip(parsed, signs, strict=True)
    ]


def _net(column: Floats, rows: Sequence[int], signs: Sequence[int], units: int) -> float | None:
    total = float(sum(sign * column[row] for row, sign in zip(rows, signs, strict=True))) * units
    return total if np.isfinite(total) else None


def _dollars(column: Floats | None, units: Decimal) -> float | None:
    if column is None or np.isnan(column[0]):
        return None
    return float(column[0]) * float(units)


def _parts(scored: Scored | None, judged: Judged, units: Decimal) -> dict[str, float]:
    if scored is None:
        return {}
    structures, by_name = judged.structures, {rule.name: rule for rule in judged.rules}
    interest, volume = by_name["open_interest_min"].value, by_name["volume_min"].value
    parts = {
        "expected_value_q": float(scored.expected_value_q[0]) * float(units),
        "standard_error": float(scored.standard_error[0]) * float(units),
        "volatility_ratio": scored.volatility_ratio,
        "liquidity": float(liquidity(structures.mid, structures.natural, interest, volume)[0]),
    }
    if not np.isnan(scored.expected_value[0]):
        parts["expected_value"] = float(scored.expected_value[0]) * float(units)
    return parts


def _thesis(chain: ChainSnapshot, spread_type: SpreadType, pop: float, credit: Decimal, rows: Sequence[int]) -> str:
    """One sentence of at most 30 words, from facts that are present."""
    name = f"{chain.underlying_symbol} {spread_type.value.replace('_', ' ')}"
    parts = [f"{name}: {abs(credit):.2f} {'credit' if credit > 0 else 'debit'}, {int(chain.dte[rows[0]])} days"]
    if not np.isnan(pop):
        parts.append(f"POP {pop:.0%}")
    if chain.facts.iv_rank is not None:
        parts.append(f"IV rank {chain.facts.iv_rank:.0%}")
    if chain.facts.earnings_date is not None:
        parts.append(f"earnings {chain.facts.earnings_date:%d %b}")
    return ", ".join(parts) + "."
