"""The scan: chains in, judged candidates, reasons counted per rule, and the basket out. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

import numpy as np

from optionmath.forward import parity_forward
from optionmath.sessions import market_date
from optionmath.smile import Smile, distribution, fit_smile
from schemas.trade import Candidate
from strategies.basket import Basket, choose
from strategies.chain import ChainSnapshot
from strategies.enumeration import Rows, enumerate_expiration
from strategies.filters import Judged, judge
from strategies.rules import RuleSet
from strategies.score import Scored, score
from strategies.verdict import Finder


@dataclass(slots=True)
class ScanResult:
    """Everything one scan found. Candidates carry every rule's verdict."""

    rules: RuleSet
    at: datetime
    net_liq: float | None
    underlyings: int = 0
    contracts: int = 0
    quotes_usable: int = 0
    evaluated: int = 0
    passed_count: int = 0
    rejected_by_rule: Counter[str] = field(default_factory=Counter)
    only_rejected_by_rule: Counter[str] = field(default_factory=Counter)
    data_quality: Counter[str] = field(default_factory=Counter)
    skipped: dict[str, str] = field(default_factory=dict)
    passed: list[Candidate] = field(default_factory=list)
    near_misses: list[Candidate] = field(default_factory=list)
    basket: Basket = field(default_factory=Basket)


def scan(
    chains: Iterable[ChainSnapshot],
    rules: RuleSet,
    *,
    net_liq: float | None,
    now: datetime,
    spy_price: float | None = None,
    cycle_id: str = "",
    busy: frozenset[str] = frozenset(),
    today: date | None = None,
) -> ScanResult:
    """Judge every structure of every chain, rank what passed, choose the basket.

    spy_price is needed for beta-weighted deltas; without it they stay unknown. Underlyings in `busy` are judged but
    stay out of the basket: something is held or being worked there. `today` is the exchange's date, by default that of
    `now`. One chain is held in memory at a time.
    """
    result = ScanResult(rules, now, net_liq)
    finder = Finder(rules, now, net_liq, spy_price, cycle_id)
    for chain in chains:
        result.underlyings += 1
        result.contracts += len(chain.strike)
        result.quotes_usable += int(chain.usable.sum())
        result.data_quality.update(chain.data_quality())
        if reason := _scan_chain(chain, rules, net_liq, today or market_date(now), result, finder):
            result.skipped[chain.underlying_symbol] = reason
    result.passed = finder.ranked()
    result.near_misses = finder.nearest()
    free = [candidate for candidate in result.passed if candidate.underlying_symbol not in busy]
    result.basket = choose(free, rules, net_liq)
    return result


def _scan_chain(
    chain: ChainSnapshot, rules: RuleSet, net_liq: float | None, today: date, result: ScanResult, finder: Finder
) -> str:
    """Scan one chain; returns why it could not be scanned, or an empty string."""
    if not chain.spot > 0:
        return "no price of the underlying"
    window = np.unique(chain.expiration[(chain.dte >= rules.dte_min) & (chain.dte <= rules.dte_max)])
    if not len(window):
        return f"no expiration within {rules.dte_min}–{rules.dte_max} days"
    without_smile = 0
    for expiration in window:
        rows = np.nonzero(chain.expiration == expiration)[0]
        smile = smile_of(chain, rows)
        without_smile += smile is None
        market = distribution(smile) if smile else None
        day = expiration.astype("datetime64[D]").item()
        for structures in enumerate_expiration(chain, rows, rules):
            judged = judge(chain, structures, market, rules, net_liq=net_liq, expiration=day, today=today)
            scored = score(chain, judged, smile, rules) if smile else None
            _count(result, judged)
            finder.offer(chain, judged, scored, market, day)
    return "no expiration has enough usable quotes for a smile" if without_smile == len(window) else ""


def _count(result: ScanResult, judged: Judged) -> None:
    failures = np.vstack([~rule.passed for rule in judged.rules])
    sole = failures.sum(axis=0) == 1
    result.evaluated += len(judged.structures)
    result.passed_count += int((~failures.any(axis=0)).sum())
    for rule, failed in zip(judged.rules, failures, strict=True):
        if count := int(failed.sum()):
            result.rejected_by_rule[rule.name] += count
        if count := int((failed & sole).sum()):
            result.only_rejected_by_rule[rule.name] += count


def smile_of(chain: ChainSnapshot, rows: Rows) -> Smile | None:
    """Smile of one expiration around its parity forward; None when the quotes do not allow one."""
    years, rate = float(chain.years[rows[0]]), chain.rate
    strikes = np.unique(chain.strike[rows])
    mids = {True: np.full(len(strikes), np.nan), False: np.full(len(strikes), np.nan)}
    mid = chain.mid
    for side, column in mids.items():
        own = rows[chain.is_call[rows] == side]
        column[np.searchsorted(strikes, chain.strike[own])] = mid[own]
    forward = parity_forward(strikes, mids[True], mids[False], years, rate, near=chain.spot)
    if forward is None:
        return None
    return fit_smile(
        forward.price, years, rate, chain.strike[rows], mid[rows], (chain.ask - chain.bid)[rows], chain.is_call[rows]
    )


__all__: Sequence[str] = ("ScanResult", "Scored", "scan", "smile_of")
