"""Turn the few columns that matter, those that passed and those that nearly did, into candidates with reasons."""

from __future__ import annotations

import heapq
import uuid
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal

import numpy as np

from optionmath.payoff import PayoffLeg, analyse
from optionmath.smile import Distribution
from schemas.money import price_from_float, to_tick
from schemas.symbols import OptionType, parse_occ
from schemas.trade import Candidate, Leg, OrderAction, RuleResult, SpreadType
from strategies.chain import ChainSnapshot, Floats
from strategies.enumeration import Structures
from strategies.filters import Judged, Rule, profit_probability
from strategies.rules import RuleSet
from strategies.score import Scored

_NAMESPACE = uuid.UUID("6b0b4f0e-0f55-4d53-9a5b-6f6b8a0a4c11")
_LABELS = {
    SpreadType.PUT_CREDIT_SPREAD: "put credit spread",
    SpreadType.CALL_CREDIT_SPREAD: "call credit spread",
    SpreadType.IRON_CONDOR: "iron condor",
}


@dataclass(slots=True)
class Finder:
    """Collects candidates of one scan, bounded: the best that passed and the nearest misses."""

    rules: RuleSet
    now: datetime
    net_liq: float | None
    spy_price: float | None
    cycle_id: str
    _passed: list[Candidate] = field(default_factory=list)
    _misses: list[tuple[float, str, Candidate]] = field(default_factory=list)

    def offer(
        self, chain: ChainSnapshot, judged: Judged, scored: Scored | None, market: Distribution | None, expiration: date
    ) -> None:
        """Take what passed (best score first, up to the bound) and what comes nearest to passing."""
        passed = np.nonzero(judged.passed)[0]
        if scored is not None:
            passed = passed[np.argsort(-scored.score[passed], kind="stable")[: self.rules.passed_per_expiration]]
        self._passed += [self._candidate(chain, judged, scored, market, expiration, int(i), True) for i in passed]
        distance = shortfall(judged.rules)
        distance[judged.passed] = np.inf
        count = min(self.rules.near_misses, len(distance))
        for i in np.argpartition(distance, count - 1)[:count] if count else ():
            key = -float(distance[i])
            if not np.isfinite(key) or (len(self._misses) >= count and key <= self._misses[0][0]):
                continue
            candidate = self._candidate(chain, judged, scored, market, expiration, int(i), False)
            heapq.heappush(self._misses, (key, candidate.candidate_id, candidate))
            if len(self._misses) > self.rules.near_misses:
                heapq.heappop(self._misses)

    def ranked(self) -> list[Candidate]:
        """What passed, by score, then momentum, then flow; unknown last."""
        best = sorted(self._passed, key=_rank_key)
        return [each.model_copy(update={"rank": rank}) for rank, each in enumerate(best, 1)]

    def nearest(self) -> list[Candidate]:
        """Near misses, nearest first."""
        return [candidate for _, _, candidate in sorted(self._misses, key=lambda entry: (-entry[0], entry[1]))]

    def _candidate(
        self,
        chain: ChainSnapshot,
        judged: Judged,
        scored: Scored | None,
        market: Distribution | None,
        expiration: date,
        i: int,
        passed: bool,
    ) -> Candidate:
        structures = judged.structures
        rows = [int(leg[i]) for leg in structures.legs()]
        signs = [-1, 1] * (len(rows) // 2)
        symbols = [chain.occ_symbols[row] for row in rows]
        tick = Decimal("0.01") if chain.penny_ticks else Decimal("0.05")
        credit = to_tick(price_from_float(judged.credit[i]), tick, in_our_favour=False)
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
        pop = float(judged.rules[0].value[i])
        return Candidate(
            ts_event=self.now,
            candidate_id=str(uuid.uuid5(_NAMESPACE, identity)),
            cycle_id=self.cycle_id,
            underlying_symbol=chain.underlying_symbol,
            spread_type=structures.spread_type,
            legs=tuple(
                Leg(
                    occ_symbol=symbol,
                    action=OrderAction.SELL_TO_OPEN if sign < 0 else OrderAction.BUY_TO_OPEN,
                    quantity=1,
                )
                for symbol, sign in zip(symbols, signs, strict=True)
            ),
            quantity=quantity,
            expiration=expiration,
            dte=int(chain.dte[rows[0]]),
            sector=chain.facts.sector,
            mid_price=price_from_float(structures.mid[i]),
            natural_price=price_from_float(structures.natural[i]),
            expected_fill_price=credit,
            limit_price=self._limit(judged, market, chain, i, tick),
            tick_size=tick,
            width=price_from_float(structures.width[i]),
            max_profit=(payoff.max_profit or Decimal(0)) * units,
            max_loss=(payoff.max_loss or Decimal(0)) * units,
            breakevens=payoff.breakevens,
            pop=None if np.isnan(pop) else pop,
            expected_value=_dollars(scored.expected_value if scored else None, i, units),
            expected_value_q=_dollars(scored.expected_value_q if scored else None, i, units),
            score=float(scored.score[i]) if scored else None,
            score_parts=_parts(scored, i, units),
            score_coverage=scored.coverage if scored else None,
            momentum_z=chain.facts.momentum_z,
            flow_z=chain.facts.flow_z,
            beta_weighted_delta=self._beta_weighted(greek["delta"], chain),
            **greek,
            underlying_price=price_from_float(chain.spot),
            oldest_quote_at=self.now - timedelta(seconds=float(ages.max())) if np.isfinite(ages).all() else None,
            thesis=_thesis(chain, structures.spread_type, pop, credit, rows),
            passed=passed,
            rules=tuple(rule_result(rule, i) for rule in judged.rules),
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

    def _limit(
        self, judged: Judged, market: Distribution | None, chain: ChainSnapshot, i: int, tick: Decimal
    ) -> Decimal:
        """Lowest credit on the tick grid at which every price-dependent filter still passes; never below one tick."""
        credit = to_tick(price_from_float(judged.credit[i]), tick, in_our_favour=True)
        width = price_from_float(judged.structures.width[i])
        while credit > tick and self._holds(judged, market, chain, i, credit - tick, width):
            credit -= tick
        return max(credit, tick)

    def _holds(
        self, judged: Judged, market: Distribution | None, chain: ChainSnapshot, i: int, credit: Decimal, width: Decimal
    ) -> bool:
        loss = width - credit
        if loss <= 0:
            return True
        one = _one(judged, i)
        pop = float(profit_probability(one, chain, np.array([float(credit)]), market)[0])
        within = self.net_liq is not None and float(loss) * chain.multiplier * 100 <= (
            self.rules.max_loss_pct_of_net_liq * self.net_liq
        )
        return within and float(credit / loss) >= self.rules.credit_to_max_loss_min and pop >= self.rules.pop_min


def _one(judged: Judged, i: int) -> Structures:
    s = judged.structures
    cut = slice(i, i + 1)
    return Structures(
        s.spread_type, s.short_put[cut], s.long_put[cut], s.short_call[cut], s.long_call[cut], s.mid[cut],
        s.natural[cut], s.put_width[cut], s.call_width[cut],
    )  # fmt: skip


def shortfall(rules: tuple[Rule, ...]) -> Floats:
    """How far each candidate is from passing: rules failed, plus their relative misses; missing facts are far."""
    total = np.zeros(len(rules[0].value))
    for rule in rules:
        gap = np.abs(rule.value - rule.limit) / (abs(rule.limit) or 1.0)
        total += np.where(rule.passed, 0.0, 1.0 + np.minimum(np.nan_to_num(gap, nan=100.0), 100.0))
    return total


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


def _rank_key(candidate: Candidate) -> tuple[float, float, float, str]:
    def descending(value: float | None) -> float:
        return float("inf") if value is None else -value

    return (
        descending(candidate.score),
        descending(candidate.momentum_z),
        descending(candidate.flow_z),
        candidate.candidate_id,
    )


def _payoff_legs(symbols: list[str], signs: list[int]) -> list[PayoffLeg]:
    parsed = [parse_occ(symbol) for symbol in symbols]
    return [
        PayoffLeg(each.option_type is OptionType.CALL, each.strike, sign)
        for each, sign in zip(parsed, signs, strict=True)
    ]


def _net(column: Floats, rows: list[int], signs: list[int], units: int) -> float | None:
    total = float(sum(sign * column[row] for row, sign in zip(rows, signs, strict=True))) * units
    return total if np.isfinite(total) else None


def _dollars(column: Floats | None, i: int, units: Decimal) -> float | None:
    if column is None or np.isnan(column[i]):
        return None
    return float(column[i]) * float(units)


def _parts(scored: Scored | None, i: int, units: Decimal) -> dict[str, float]:
    if scored is None:
        return {}
    parts = {
        "expected_value_q": float(scored.expected_value_q[i]) * float(units),
        "standard_error": float(scored.standard_error[i]) * float(units),
        "volatility_ratio": scored.volatility_ratio,
    }
    if not np.isnan(scored.expected_value[i]):
        parts["expected_value"] = float(scored.expected_value[i]) * float(units)
    return parts


def _thesis(chain: ChainSnapshot, spread_type: SpreadType, pop: float, credit: Decimal, rows: list[int]) -> str:
    """One sentence of at most 30 words, from facts that are present."""
    name = f"{chain.underlying_symbol} {_LABELS.get(spread_type, spread_type.value)}"
    parts = [f"{name}: {credit:.2f} credit, {int(chain.dte[rows[0]])} days"]
    if not np.isnan(pop):
        parts.append(f"POP {pop:.0%}")
    if chain.facts.iv_rank is not None:
        parts.append(f"IV rank {chain.facts.iv_rank:.0%}")
    if chain.facts.earnings_date is not None:
        parts.append(f"earnings {chain.facts.earnings_date:%d %b}")
    return ", ".join(parts) + "."
