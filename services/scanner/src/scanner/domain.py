"""From a scan to messages: the cycle with its reasons, and the proposals of its basket. Pure."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta

from schemas.market import MarketMetrics
from schemas.money import to_tick
from schemas.trade import Candidate, ProposeTrade, Purpose, ScanCycle
from strategies.chain import Facts
from strategies.scan import ScanResult

PASSED_SHOWN = 50
_NAMESPACE = uuid.UUID("2d6a1c3e-64f0-4d0c-9f3c-7f4a5f0e8b21")


def facts_of(metrics: MarketMetrics | None, sector: str) -> Facts:
    """What the score and the rules may know of an underlying; unknown stays None."""
    if metrics is None:
        return Facts(sector=sector)
    return Facts(
        sector=metrics.sector or sector,
        beta=metrics.beta,
        iv_rank=metrics.iv_rank,
        historical_volatility=metrics.historical_volatility_30d,
        earnings_date=metrics.earnings_date,
    )


def scan_cycle(result: ScanResult, cycle_id: str, duration_ms: float, *, executed: bool) -> ScanCycle:
    """The cycle as published: the basket, the best that passed and the nearest misses, each with every rule."""
    basket = result.basket
    chosen = {candidate.candidate_id for candidate in basket.chosen}
    best = result.passed[:PASSED_SHOWN]
    shown = best + [each for each in basket.chosen if each not in best]
    marked = [each.model_copy(update={"in_basket": each.candidate_id in chosen}) for each in shown]
    return ScanCycle(
        ts_event=result.at,
        cycle_id=cycle_id,
        started_at=result.at,
        duration_ms=duration_ms,
        rule_set=result.rules.name,
        rule_set_version=result.rules.version,
        underlyings=result.underlyings,
        contracts=result.contracts,
        quotes_usable=result.quotes_usable,
        evaluated=result.evaluated,
        passed=result.passed_count,
        rejected_by_rule=dict(result.rejected_by_rule),
        only_rejected_by_rule=dict(result.only_rejected_by_rule),
        data_quality=dict(result.data_quality),
        skipped=dict(result.skipped),
        candidates=tuple(marked + result.near_misses),
        basket=tuple(candidate.candidate_id for candidate in basket.chosen),
        basket_score=basket.score,
        greedy_basket=tuple(candidate.candidate_id for candidate in basket.greedy),
        greedy_score=basket.greedy_score,
        basket_delta=basket.delta,
        basket_vega=basket.vega,
        message=basket.message,
        executed=executed,
    )


def proposal(
    candidate: Candidate, account_number: str, strategy_id: str, source: str, now: datetime, seconds: float
) -> ProposeTrade:
    """Ask for a candidate's trade. The same candidate gives the same proposal, however often it is made."""
    identity = f"{candidate.candidate_id}|{account_number}|{strategy_id}"
    return ProposeTrade(
        ts_event=now,
        proposal_id=str(uuid.uuid5(_NAMESPACE, identity)),
        account_number=account_number,
        source=source,
        strategy_id=strategy_id,
        signal_id=candidate.candidate_id,
        purpose=Purpose.OPEN,
        underlying_symbol=candidate.underlying_symbol,
        spread_type=candidate.spread_type,
        legs=candidate.legs,
        quantity=candidate.quantity,
        start_price=max(to_tick(candidate.mid_price, candidate.tick_size, in_our_favour=True), candidate.limit_price),
        limit_price=candidate.limit_price,
        decision_mid=candidate.mid_price,
        candidate=candidate,
        thesis=candidate.thesis,
        valid_until=now + timedelta(seconds=seconds),
    )
