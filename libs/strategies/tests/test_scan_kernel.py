"""The compiled scan gives the answer of brute force: counts per rule, what passed, the best of it, the near misses."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optionmath.blackscholes import greeks, price
from optionmath.sessions import closes_at, years_to_expiration
from schemas.symbols import OptionSymbol, OptionType
from schemas.trade import SpreadType
from strategies.batch import find, warm
from strategies.chain import ChainSnapshot, Facts
from strategies.chainfile import read, sessions, snapshots
from strategies.enumeration import SIDED, Group, Rows, groups_of, sided
from strategies.filters import judge, shortfall
from strategies.rules import RuleSet
from strategies.scan import explain
from strategies.score import score, volatility_ratio

SCALE = int(os.environ.get("TT_TEST_SCALE", "1"))
SHARED = Path(os.environ.get("TT_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data"))
NOW = datetime(2026, 11, 24, 16, 0, tzinfo=UTC)
TODAY = NOW.date()
Entry = tuple[int, int, tuple[int, ...]]
"""Group, kind, chain rows: what a structure is known by."""


@dataclass
class Answer:
    """What a scan found, in one form for both ways."""

    evaluated: int = 0
    passed: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    alone: Counter[str] = field(default_factory=Counter)
    best: list[tuple[Entry, float]] = field(default_factory=list)
    nearest: list[tuple[Entry, float]] = field(default_factory=list)


def pairs_of(chain: ChainSnapshot, rows: Rows, sellable: np.ndarray, width_max: float) -> tuple[Rows, Rows]:
    """(sold, bought) rows of every credit vertical of one side, by broadcasting."""
    strike = chain.strike[rows]
    distance = strike[None, :] - strike[:, None]
    distance = np.where(chain.is_call[rows][:, None], distance, -distance)
    short, long = np.nonzero(sellable[:, None] & (distance > 0) & (distance <= width_max))
    return rows[short], rows[long]


def columns_of(group: Group, rules: RuleSet, kind: SpreadType) -> list[Rows]:
    """Leg columns of every structure of a kind, by broadcasting."""
    chain = group.chain
    sides = []
    for rows, others in ((group.puts, group.calls), (group.calls, group.puts)):
        delta = np.abs(chain.delta[rows])
        if kind is SpreadType.IRON_BUTTERFLY:
            same = chain.strike[rows][:, None] == chain.strike[others][None, :]
            other = np.array([np.abs(chain.delta[others])[row][0] if row.any() else np.nan for row in same])
            delta = np.minimum(delta, other)
        sellable = (delta >= rules.short_delta_min) & (delta <= rules.short_delta_max)
        sides.append(pairs_of(chain, rows, sellable, rules.width_max))
    puts, calls = sides
    if kind is SpreadType.PUT_CREDIT_SPREAD:
        return list(puts)
    if kind is SpreadType.CALL_CREDIT_SPREAD:
        return list(calls)
    low, high = chain.strike[puts[0]][:, None], chain.strike[calls[0]][None, :]
    p, c = np.nonzero(low == high if kind is SpreadType.IRON_BUTTERFLY else low < high)
    return [puts[0][p], puts[1][p], calls[0][c], calls[1][c]]


def brute_force(groups: list[Group], rules: RuleSet, net_liq: float | None, today: date) -> Answer:
    """Every structure as a row of NumPy columns, every rule as a column, nothing pruned."""
    answer, near = Answer(), []
    for number, group in enumerate(groups):
        for code, kind in enumerate(SIDED):
            legs = columns_of(group, rules, kind) if kind in rules.strategies else []
            if not legs or not len(legs[0]):
                continue
            structures = sided(group.chain, kind, legs)
            judged = judge(group, structures, rules, net_liq=net_liq, today=today)
            failed = np.vstack([~rule.passed for rule in judged.rules])
            answer.evaluated += failed.shape[1]
            answer.passed += int((~failed.any(axis=0)).sum())
            for rule, misses in zip(judged.rules, failed, strict=True):
                answer.refused[rule.name] += int(misses.sum())
                answer.alone[rule.name] += int((misses & (failed.sum(axis=0) == 1)).sum())
            scored = score(group, judged, rules)
            passed = np.nonzero(judged.passed)[0]
            if scored is not None:
                passed = passed[np.argsort(-scored.score[passed], kind="stable")[: rules.passed_per_expiration]]
                answer.best += [
                    ((number, code, tuple(int(leg[i]) for leg in legs)), float(scored.score[i])) for i in passed
                ]
            distance = shortfall(judged.rules)
            distance[judged.passed] = np.inf
            near += [
                ((number, code, tuple(int(leg[i]) for leg in legs)), float(distance[i]))
                for i in np.argsort(distance, kind="stable")[: rules.near_misses]
                if np.isfinite(distance[i])
            ]
    answer.nearest = sorted(near, key=lambda entry: entry[1])[: rules.near_misses]
    answer.refused, answer.alone = +answer.refused, +answer.alone
    return answer


def compiled(groups: list[Group], rules: RuleSet, net_liq: float | None, today: date, parts: int = 1) -> Answer:
    """The product's way, in as many batches as asked for, each told what the ones before it found."""
    answer, distance_max = Answer(), np.inf
    edges = np.linspace(0, len(groups), parts + 1).astype(int)
    for first, last in itertools.pairwise(edges):
        if first == last:
            continue
        found = find(
            groups[first:last], int(first), rules, net_liq=net_liq, spy_price=100.0, today=today,
            distance_max=distance_max,
        )  # fmt: skip
        answer.evaluated += found.tally.evaluated
        answer.passed += found.tally.passed
        answer.refused.update(found.tally.refused)
        answer.alone.update(found.tally.alone)
        for kept, into in ((found.passed, answer.best), (found.nearest, answer.nearest)):
            into += [
                ((int(kept.group[i]), int(kept.kind[i]), tuple(int(r) for r in kept.rows[i] if r >= 0)), float(key))
                for i, key in enumerate(kept.key)
            ]
        answer.nearest = sorted(answer.nearest, key=lambda entry: entry[1])[: rules.near_misses]
        if len(answer.nearest) == rules.near_misses > 0:
            distance_max = answer.nearest[-1][1]
    return answer


def prepared(chains: list[ChainSnapshot], rules: RuleSet) -> list[Group]:
    groups = [group for chain in chains for group in groups_of(chain, rules)]
    for group in groups:
        if group.smile is not None:
            known = group.chain.facts.historical_volatility
            group.volatility_ratio = volatility_ratio(group.smile.at_the_money, known, rules)
    return groups


def agree(groups: list[Group], rules: RuleSet, net_liq: float | None, today: date = TODAY) -> Answer:
    """Both ways in one and in three batches; returns the common answer."""
    expected = brute_force(groups, rules, net_liq, today)
    for parts in (1, 3):
        found = compiled(groups, rules, net_liq, today, parts)
        assert (found.evaluated, found.passed) == (expected.evaluated, expected.passed)
        assert found.refused == expected.refused
        assert found.alone == expected.alone
        assert found.best == expected.best
        assert [key for _, key in found.nearest] == [key for _, key in expected.nearest]
        assert [entry for entry, _ in found.nearest] == [entry for entry, _ in expected.nearest]
    return expected


def random_chain(seed: int, *, symbol: str = "XYZ", strikes: int = 14, clean: bool = False) -> ChainSnapshot:
    """Two expirations of uneven strikes around 100; thin, stale, missing and unusable quotes are among theirs."""
    generator = np.random.default_rng(seed)
    parts = []
    for days in (16, 30):
        day = TODAY + timedelta(days=days)
        levels = 100 + np.cumsum(generator.choice([0.5, 1.0, 2.5], strikes))
        levels = np.repeat(levels - levels[strikes // 2] + 100, 2)
        is_call = np.tile([True, False], strikes)
        years = np.full(2 * strikes, years_to_expiration(NOW, day))
        sigma = generator.uniform(0.15, 0.6) * (1 - 0.5 * np.log(levels / 100))
        value = price(100.0, levels, years, sigma, 0.04, 0.0, is_call)
        found = greeks(100.0, levels, years, sigma, 0.04, 0.0, is_call)
        noise = 0.0 if clean else generator.choice([0.0, 0.02, 0.2])
        mid = np.maximum(value + noise * generator.normal(size=len(value)), 0.03)
        half = mid * generator.uniform(0.005, 0.2, len(mid)) * (0.1 if clean else 1.0)
        count = len(mid)
        spoil = np.zeros(count) if clean else generator.uniform(size=count)
        occ = [
            OptionSymbol(symbol, day, OptionType.CALL if call else OptionType.PUT, Decimal(str(float(k)))).occ
            for k, call in zip(levels, is_call, strict=True)
        ]
        parts.append((
            occ, np.full(count, day, dtype="datetime64[D]"), np.full(count, days), years, levels, is_call,
            np.where(spoil > 0.97, np.nan, np.round(mid - half, 2)), np.round(mid + half, 2),
            np.where((spoil > 0.9) & (spoil < 0.93), np.nan, found.delta), found.gamma, found.theta, found.vega,
            np.where((spoil > 0.8) & (spoil < 0.83), np.nan, generator.integers(50, 5000, count)).astype(float),
            generator.integers(0 if not clean else 20, 300, count).astype(float),
            generator.choice([0.0, 30.0, 599.0, 600.0, 601.0, 4000.0], count, p=[0.5, 0.2, 0.1, 0.1, 0.05, 0.05]),
        ))  # fmt: skip
    joined = [np.concatenate([part[k] for part in parts]) for k in range(1, 15)]
    facts = Facts(
        sector="Tech", beta=1.0, historical_volatility=float(generator.uniform(0.1, 0.5)),
        earnings_date=TODAY + timedelta(days=20) if seed % 4 == 3 else None,
    )  # fmt: skip
    return ChainSnapshot(symbol, 100.0, 0.04, [each for part in parts for each in part[0]], *joined, facts)


rule_sets = st.builds(
    RuleSet,
    strategies=st.sets(st.sampled_from(SIDED), min_size=1).map(lambda kinds: tuple(k for k in SIDED if k in kinds)),
    short_delta_min=st.sampled_from([0.0, 0.05, 0.2]),
    short_delta_max=st.sampled_from([0.5, 1.0]),
    width_max=st.sampled_from([2.5, 10.0, 1000.0]),
    pop_min=st.sampled_from([0.0, 0.3, 0.65, 0.9, 1.0]),
    credit_to_max_loss_min=st.sampled_from([0.0, 0.1, 0.33]),
    max_loss_pct_of_net_liq=st.sampled_from([0.2, 0.5, 5.0]),
    open_interest_min=st.sampled_from([0.0, 100.0]),
    volume_min=st.sampled_from([0.0, 10.0]),
    spread_pct_max=st.sampled_from([8.0, 25.0]),
    fair_value_gap_pct_max=st.sampled_from([2.0, 10.0, 1000.0]),
    near_misses=st.sampled_from([0, 5, 50]),
    passed_per_expiration=st.sampled_from([1, 10]),
)


@settings(max_examples=20 * SCALE, deadline=None)
@given(st.integers(0, 10**6), rule_sets, st.sampled_from([100_000.0, 25_000.0, None, -5.0]))
def test_answer_of_random_chains_is_that_of_brute_force(seed: int, rules: RuleSet, net_liq: float | None) -> None:
    """Any quotes, any rules, with missing facts, unusable quotes, ties and a near event."""
    chains = [random_chain(seed), random_chain(seed + 1, symbol="ABC", clean=True)]
    agree(prepared(chains, rules), rules, net_liq)


def test_more_verticals_than_fit_a_tile_change_nothing() -> None:
    """Wide open bounds: thousands of verticals a side, counted across tile borders."""
    rules = RuleSet(strategies=SIDED, short_delta_min=0.0, short_delta_max=1.0, width_max=1000.0)
    groups = prepared([random_chain(5, strikes=40, clean=True)], rules)
    assert min(len(group.calls) for group in groups) > 25  # 25 · 24 / 2 > 256, the width of a tile
    assert agree(groups, rules, 100_000.0).evaluated > 10_000


def test_without_a_smile_every_structure_is_refused_by_the_rules_that_need_one() -> None:
    """Too few quotes for a smile: nothing passes, everything is counted."""
    rules = RuleSet(strategies=SIDED, short_delta_max=1.0)
    groups = [replace(group, smile=None) for group in prepared([random_chain(8, clean=True)], rules)]
    answer = agree(groups, rules, 100_000.0)
    assert answer.refused["pop_min"] == answer.refused["fair_value_gap_pct_max"] == answer.evaluated > 0


@pytest.mark.parametrize(
    "name", ["chains_cboe_2026/SPY.parquet", "chains_yahoo_2025/us_10names_20251125_20251205.parquet"]
)
def test_answer_of_a_real_session_is_that_of_brute_force(name: str) -> None:
    """A recorded session, two expirations of it in the small run."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{path} is not here")
    frame = read(path)
    day = sessions(frame)[-1]
    rules = RuleSet(strategies=SIDED)
    chains = list(snapshots(frame, day, ["SPY", "JPM"]))
    now = closes_at(day)
    assert now is not None
    groups = prepared(chains, rules)[: 2 * SCALE]
    answer = agree(groups, rules, 100_000.0, now.date())
    assert answer.evaluated > 500


def test_warming_compiles_what_a_scan_calls() -> None:
    """After warm() a scan compiles nothing: one signature serves both."""
    from strategies.kernels.groups import scan_groups

    warm()
    rules = RuleSet()
    compiled(prepared([random_chain(3, clean=True)], rules), rules, 100_000.0, TODAY)
    assert len(scan_groups.signatures) == 1  # type: ignore[attr-defined]


def test_every_reason_of_one_candidate_is_there_on_demand() -> None:
    """Each rule once, with value, limit and margin, in agreement with the verdict."""
    rules = RuleSet()
    group = prepared([random_chain(2, clean=True)], rules)[0]
    legs = [group.puts[-3:-2], group.puts[-5:-4], group.calls[-4:-3], group.calls[-2:-1]]
    structure = sided(group.chain, SpreadType.IRON_CONDOR, legs)
    reasons = explain(group, structure, rules, net_liq=100_000.0, today=TODAY)
    assert len({reason.rule for reason in reasons}) == len(reasons) == 9
    for reason in reasons:
        if reason.value is not None and reason.limit is not None and reason.margin is not None:
            assert reason.passed == (reason.margin >= 0)
