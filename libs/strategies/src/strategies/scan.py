"""The scan: chains in, judged candidates, reasons counted per rule, and the basket out. Pure."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import lru_cache

import numpy as np

from optionmath.managed import RandomPaths
from optionmath.sessions import market_date
from schemas.trade import Candidate, RuleResult, SpreadType
from strategies.basket import Basket, Pool, basket_of, numbered, ranks, select
from strategies.batch import Facets, Found, Kept, Tally, find
from strategies.chain import ChainSnapshot, Floats
from strategies.enumeration import SIDED, Group, Structures, groups_of, sided, smile_of
from strategies.filters import judge
from strategies.others import Others, find_others, kinds_of
from strategies.rules import RuleSet
from strategies.score import direction, volatility_ratio
from strategies.verdict import Writer, rule_result

BATCH_LEGS = 20_000
"""Usable contracts judged at a time: enough to keep a core busy, few enough to bound memory."""
WORKERS = (os.cpu_count() or 1) + 1
"""One more than there are cores: one packs columns under the interpreter's lock while the others compute."""
NOT_ENUMERATED = "structures with shares or a second expiration are not enumerated"
MANAGED_PATHS = 10_000
"""Paths of a managed trade's simulation: one standard error of half a point of its probability."""
PASSED_WRITTEN = 60
"""Candidates written with every reason, best first; the basket's are written besides, all that passed are counted."""


@lru_cache(maxsize=1)
def paths() -> RandomPaths:
    """The random numbers that every simulation of managed trades shares, so that differences are no noise."""
    return RandomPaths(MANAGED_PATHS)


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
    by_kind: dict[SpreadType, int] = field(default_factory=dict)
    """Structures judged, per kind."""
    passed_count: int = 0
    rejected_by_rule: Counter[str] = field(default_factory=Counter)
    only_rejected_by_rule: Counter[str] = field(default_factory=Counter)
    data_quality: Counter[str] = field(default_factory=Counter)
    skipped: dict[str, str] = field(default_factory=dict)
    passed: list[Candidate] = field(default_factory=list)
    near_misses: list[Candidate] = field(default_factory=list)
    basket: Basket = field(default_factory=Basket)


@dataclass(frozen=True, slots=True)
class PreparedChain:
    """A chain with the smile and the distributions of each expiration that the rule set looks at."""

    chain: ChainSnapshot
    groups: tuple[Group, ...]


def prepare(chain: ChainSnapshot, rules: RuleSet) -> PreparedChain:
    """Fit a chain's smiles ahead of the scan that judges it. Nothing else of the scan depends on time."""
    groups = groups_of(chain, rules) if chain.spot > 0 else []
    for group in groups:
        if group.smile is not None:
            known = chain.facts.historical_volatility
            group.volatility_ratio = volatility_ratio(group.smile.at_the_money, known, rules)
            group.worth(rules)
    return PreparedChain(chain, tuple(groups))


@dataclass(slots=True)
class _Search:
    """Prepares expirations, has them judged in batches and joins what the batches found."""

    writer: Writer
    groups: list[Group] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    found: list[Found] = field(default_factory=list)
    others: Others = field(default_factory=Others)
    _judged: int = 0
    """Groups handed out so far."""
    _legs: int = 0
    """Usable contracts that wait."""
    _running: list[Future[Found]] = field(default_factory=list)

    def take(self, prepared: PreparedChain, workers: ThreadPoolExecutor) -> str:
        """Have one chain judged; returns why it cannot be scanned, or an empty string."""
        rules, groups = self.writer.rules, prepared.groups
        if not prepared.chain.spot > 0:
            return "no price of the underlying"
        if not groups:
            return f"no expiration within {rules.dte_min}–{rules.dte_max} days"
        self._legs += sum(len(group.puts) + len(group.calls) for group in groups)
        self.groups += groups
        if self._legs >= BATCH_LEGS:
            self._running.append(workers.submit(self._find, self._judged, len(self.groups), self._distance_max()))
            self._judged, self._legs = len(self.groups), 0
        return "" if any(group.smile for group in groups) else "no expiration has enough usable quotes for a smile"

    def finish(self, workers: ThreadPoolExecutor) -> None:
        """Judge what still waits and join the batches in their order."""
        if self._judged < len(self.groups):
            self._running.append(workers.submit(self._find, self._judged, len(self.groups), self._distance_max()))
        self.found = [each.result() for each in self._running]
        for each in self.found:
            self.tally.add(each.tally)
        writer = self.writer
        self.others = find_others(
            self.groups, writer.rules, net_liq=writer.net_liq, spy_price=writer.spy_price, today=writer.today
        )
        self.tally.add(self.others.tally)

    def _find(self, first: int, last: int, distance_max: float) -> Found:
        writer = self.writer
        return find(
            self.groups[first:last], first, writer.rules, net_liq=writer.net_liq, spy_price=writer.spy_price,
            today=writer.today, distance_max=distance_max,
        )  # fmt: skip

    def _distance_max(self) -> float:
        """Distance of the last near miss known so far: nothing farther can be among the nearest."""
        done = [each.result().nearest.key for each in self._running if each.done()]
        known = np.sort(np.concatenate(done)) if done else np.empty(0)
        count = self.writer.rules.near_misses
        return float(known[count - 1]) if 0 < count <= len(known) else np.inf

    def nearest(self) -> list[tuple[Group, Structures]]:
        """The nearest misses of all batches, nearest first."""
        kept = _joined([*(each.nearest for each in self.found), self.others.kept(self.others.nearest)])
        order = np.argsort(kept.key, kind="stable")[: self.writer.rules.near_misses]
        return [self.structure(kept, int(i)) for i in order]

    def structure(self, kept: Kept, index: int) -> tuple[Group, Structures]:
        """One structure that was kept, as columns of length one."""
        group = self.groups[kept.group[index]]
        if kept.kind[index] == len(SIDED):
            return group, self.others.made[kept.rows[index, 0]]
        legs = [kept.rows[index, k : k + 1] for k in range(4) if kept.rows[index, k] >= 0]
        return group, sided(group.chain, SIDED[kept.kind[index]], legs)

    def pool(self, kept: Kept) -> Pool:
        """What ranks and bounds a basket, of everything that passed."""
        facets = [*(each.facets for each in self.found), self.others.facet_columns()]
        made = [self.others.made[row].spread_type for row in kept.rows[kept.kind == len(SIDED), 0]]
        signs = np.array([*(direction(kind) for kind in SIDED), 0])[kept.kind]
        signs[kept.kind == len(SIDED)] = [direction(kind) for kind in made]
        facts = [group.chain.facts for group in self.groups]
        symbols = numbered([group.chain.underlying_symbol for group in self.groups])
        sectors = numbered([each.sector for each in facts])
        momentum = np.array([np.nan if each.momentum_z is None else each.momentum_z for each in facts])
        flow = np.array([np.nan if each.flow_z is None else each.flow_z for each in facts])
        return Pool(
            kept.key, signs * momentum[kept.group], signs * flow[kept.group], _column(facets, "liquidity"),
            _column(facets, "delta"), _column(facets, "vega"), symbols[kept.group], sectors[kept.group],
        )  # fmt: skip


def _joined(parts: Sequence[Kept]) -> Kept:
    if not parts:
        none = np.empty(0, dtype=np.int64)
        return Kept(none, none, np.empty((0, 4), dtype=np.int64), np.empty(0))
    return Kept(
        np.concatenate([each.group for each in parts]),
        np.concatenate([each.kind for each in parts]),
        np.concatenate([each.rows for each in parts]),
        np.concatenate([each.key for each in parts]),
    )


def _column(facets: Sequence[Facets], name: str) -> Floats:
    return np.concatenate([getattr(each, name) for each in facets]) if facets else np.empty(0)


def _write(search: _Search, result: ScanResult, busy: frozenset[str]) -> None:
    """Choose the basket among everything kept, then write the best, the basket and the near misses."""
    rules, writer = result.rules, search.writer
    kept = _joined([*(each.passed for each in search.found), search.others.kept(search.others.passed)])
    pool = search.pool(kept)
    order = ranks(pool)
    held = np.array([group.chain.underlying_symbol in busy for group in search.groups], dtype=np.bool_)
    free = order[~held[kept.group[order]]]
    selection = select(pool.of(free), rules, result.net_liq)
    chosen, greedy = ([int(free[i]) for i in picked] for picked in (selection.chosen, selection.greedy))
    shown = dict.fromkeys([*order[:PASSED_WRITTEN].tolist(), *chosen, *greedy])
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(1, len(order) + 1)
    best_first = sorted(shown, key=lambda index: int(rank[index]))
    shared = paths()

    def write(index: int) -> Candidate:
        made = writer.write(*search.structure(kept, index), shared)
        return made.model_copy(update={"rank": int(rank[index])})

    # the simulations release the interpreter lock
    with ThreadPoolExecutor(max_workers=WORKERS) as workers:
        written = dict(zip(best_first, workers.map(write, best_first), strict=True))
    result.passed = list(written.values())
    result.near_misses = [writer.write(group, structure) for group, structure in search.nearest()]
    result.basket = basket_of([written[index] for index in chosen], [written[index] for index in greedy], rules)


def explain(
    group: Group, structure: Structures, rules: RuleSet, *, net_liq: float | None, today: date
) -> tuple[RuleResult, ...]:
    """Every rule's value, limit and margin for one structure of a prepared expiration."""
    judged = judge(group, structure, rules, net_liq=net_liq, today=today)
    return tuple(rule_result(rule, 0) for rule in judged.rules)


def scan(
    chains: Iterable[ChainSnapshot | PreparedChain],
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
    `now`. Expirations are judged in batches on every core while the next ones are prepared; the answer does not depend
    on how they are divided.
    """
    result = ScanResult(rules, now, net_liq)
    writer = Writer(rules, now, net_liq, spy_price, cycle_id, today or market_date(now))
    search = _Search(writer)
    with ThreadPoolExecutor(max_workers=WORKERS) as workers:
        for each in chains:
            prepared = each if isinstance(each, PreparedChain) else prepare(each, rules)
            chain = prepared.chain
            result.underlyings += 1
            result.contracts += len(chain.strike)
            result.quotes_usable += int(chain.usable.sum())
            result.data_quality.update(chain.data_quality())
            if reason := search.take(prepared, workers):
                result.skipped[chain.underlying_symbol] = reason
        search.finish(workers)
    result.evaluated, result.passed_count = search.tally.evaluated, search.tally.passed
    result.by_kind = search.tally.by_kind
    result.rejected_by_rule.update(search.tally.refused)
    result.only_rejected_by_rule.update(search.tally.alone)
    result.skipped.update(search.others.refused)
    judged = {*SIDED, *kinds_of(rules)}
    result.skipped.update({kind.value: NOT_ENUMERATED for kind in rules.strategies if kind not in judged})
    _write(search, result, busy)
    return result


__all__: Sequence[str] = ("PreparedChain", "ScanResult", "explain", "prepare", "scan", "smile_of")
