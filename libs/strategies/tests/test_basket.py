"""The basket is the best of all sets: exact against exhaustive search, lexicographic, inside every limit."""

from __future__ import annotations

import itertools
import os

import numpy as np
import pytest

from strategies.basket import Pool, Selection, select
from strategies.rules import RuleSet

SCALE = int(os.environ.get("TT_TEST_SCALE", "1"))
NET_LIQ = 100_000.0
DELTA_MAX, VEGA_MIN = 30.0, -50.0
"""What the default rules mean on $100,000: SPY shares, dollars per volatility point."""


def pool(generator: np.random.Generator, count: int, *, binding: bool) -> Pool:
    """Whole-number candidates with ties in every objective; binding ones lean to one side in delta and vega."""
    symbol = generator.integers(0, max(count // 2, 4), count)
    return Pool(
        score=generator.integers(-3, 6, count) / 10,
        momentum=generator.integers(-2, 3, count) / 2,
        flow=generator.integers(-1, 2, count) / 2,
        liquidity=generator.integers(0, 4, count) / 4,
        delta=generator.integers(-5 if binding else -15, 20, count).astype(float),
        vega=-generator.integers(0, 25 if binding else 10, count).astype(float),
        symbol=symbol,
        sector=symbol % 3,
    )


def sums(candidates: Pool, picked: tuple[int, ...]) -> tuple[float, ...]:
    columns = (candidates.score, candidates.momentum, candidates.flow, candidates.liquidity)
    return tuple(round(float(column[list(picked)].sum()), 6) for column in columns)


def allowed(candidates: Pool, picked: tuple[int, ...], rules: RuleSet) -> bool:
    rows = list(picked)
    sectors = candidates.sector[rows].tolist()
    return (
        len(set(candidates.symbol[rows].tolist())) == rules.basket_size
        and max(sectors.count(sector) for sector in sectors) <= rules.sector_max
        and abs(candidates.delta[rows].sum()) <= DELTA_MAX
        and candidates.vega[rows].sum() >= VEGA_MIN
    )


def best_of_all(candidates: Pool, rules: RuleSet) -> tuple[float, ...] | None:
    """Lexicographically greatest sums over every combination that is allowed."""
    every = itertools.combinations(range(len(candidates.score)), rules.basket_size)
    found = [sums(candidates, picked) for picked in every if allowed(candidates, picked, rules)]
    return max(found, default=None)


@pytest.mark.parametrize("binding", [False, True])
def test_equal_to_exhaustive_search(binding: bool) -> None:
    """A thousand small instances: the same four sums, in their order; no set where there is none."""
    generator = np.random.default_rng(11)
    rules = RuleSet(basket_size=3)
    seen = set()
    for _ in range(500 * SCALE):
        candidates = pool(generator, int(generator.integers(3, 11)), binding=binding)
        expected = best_of_all(candidates, rules)
        selection = select(candidates, rules, NET_LIQ)
        seen.add(expected is None)
        assert bool(selection.chosen) == (expected is not None)
        if expected is not None:
            assert allowed(candidates, selection.chosen, rules)
            assert sums(candidates, selection.chosen) == expected
        if selection.greedy:
            assert allowed(candidates, selection.greedy, rules)
            assert expected is not None
            assert sums(candidates, selection.greedy) <= expected
    assert seen == {True, False}


def test_a_large_pool_with_binding_limits_is_solved_exactly() -> None:
    """Twenty thousand candidates that all lean one way: feasible, not below the greedy set, and quickly."""
    generator = np.random.default_rng(5)
    count = 20_000
    symbol = generator.integers(0, 500, count)
    delta = np.where(
        generator.uniform(size=count) < 0.97, generator.uniform(8, 25, count), -generator.uniform(1, 5, count)
    )
    score = delta / 100 + generator.uniform(0, 0.05, count)
    zeros = np.zeros(count)
    candidates = Pool(score, zeros, zeros, zeros, delta, -generator.uniform(1, 12, count), symbol, symbol % 11)
    rules = RuleSet()
    selection = select(candidates, rules, NET_LIQ)
    assert allowed(candidates, selection.chosen, rules)
    assert allowed(candidates, selection.greedy, rules)
    assert sums(candidates, selection.chosen)[0] >= sums(candidates, selection.greedy)[0]


def test_unmeasured_candidates_and_unknown_net_liq_choose_nothing() -> None:
    """A limit that cannot be checked is not met."""
    candidates = pool(np.random.default_rng(2), 30, binding=False)
    blind = Pool(**{**{name: getattr(candidates, name) for name in Pool.__slots__}, "delta": np.full(30, np.nan)})
    assert select(blind, RuleSet(), NET_LIQ) == Selection()
    assert select(candidates, RuleSet(), None) == Selection()
    assert select(candidates, RuleSet(), 0.0) == Selection()
