"""Judge many expirations at once: pack their legs into columns, run the compiled scan, keep what came out of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date

import numpy as np
import numpy.typing as npt

from schemas.trade import SpreadType
from strategies.chain import ChainSnapshot, Floats
from strategies.enumeration import SIDED, Group, Rows
from strategies.fill_model import expected_fill
from strategies.filters import GROUP_RULES, RULES, days_clear, most_loss_per_share, spread_pct, usable_net_liq
from strategies.rules import RuleSet
from strategies.score import liquidity

_FAR = 100.0
"""Largest relative miss that counts."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Structures kept by the scan, as columns; one row a structure."""

    group: Rows
    """Index of its group among all groups of the scan."""
    kind: Rows
    """Index in `SIDED`."""
    rows: Rows
    """(n, 4) chain rows: sold and bought put, sold and bought call; -1 = no such leg."""
    key: Floats
    """Score of those that passed, distance from passing of those that did not."""


@dataclass(frozen=True, slots=True)
class Facets:
    """What ranks and bounds a basket, of each structure kept; NaN = unknown."""

    delta: Floats
    """SPY shares of all units."""
    vega: Floats
    """Dollars per volatility point of all units."""
    liquidity: Floats


@dataclass(slots=True)
class Tally:
    """Structures counted by what refused them."""

    evaluated: int = 0
    passed: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    alone: dict[str, int] = field(default_factory=dict)
    """By this rule alone."""
    by_kind: dict[SpreadType, int] = field(default_factory=dict)
    """Judged, per kind."""

    def add(self, other: Tally) -> None:
        """Count the other's too."""
        self.evaluated += other.evaluated
        self.passed += other.passed
        for mine, theirs in ((self.refused, other.refused), (self.alone, other.alone)):
            for name, count in theirs.items():
                mine[name] = mine.get(name, 0) + count
        for kind, count in other.by_kind.items():
            self.by_kind[kind] = self.by_kind.get(kind, 0) + count

    def count(self, kind: SpreadType, failures: dict[str, int], alone: dict[str, int], total: int, passed: int) -> None:
        """Add structures of one kind; zero counts leave no entry."""
        self.evaluated += total
        self.passed += passed
        self.by_kind[kind] = self.by_kind.get(kind, 0) + total
        for mine, counts in ((self.refused, failures), (self.alone, alone)):
            for name, number in counts.items():
                if number:
                    mine[name] = mine.get(name, 0) + number


@dataclass(frozen=True, slots=True)
class Found:
    """What one batch gave: counts, the best that passed of each expiration and kind, the nearest misses."""

    tally: Tally
    passed: Kept
    facets: Facets
    """Of `passed`."""
    nearest: Kept


def find(
    groups: Sequence[Group],
    first: int,
    rules: RuleSet,
    *,
    net_liq: float | None,
    spy_price: float | None,
    today: date,
    distance_max: float,
) -> Found:
    """Judge every structure of the groups made of credit verticals.

    Structures farther from passing than `distance_max` are not kept as near misses. Order: by score or distance, equal
    ones by group, kind and legs. `first` is the index of the first group among all of the scan.
    """
    from strategies.kernels.groups import KINDS, scan_groups  # numba: loaded where it is needed
    from strategies.kernels.pairs import COUNTS

    packed = _pack(groups, rules, net_liq, today)
    top = np.full((len(groups), KINDS, rules.passed_per_expiration), -np.inf)
    top_legs = np.full((*top.shape, 4), -1, dtype=np.int64)
    top_count = np.zeros((len(groups), KINDS), dtype=np.int64)
    near, places = np.full(rules.near_misses, np.inf), np.full((rules.near_misses, 6), -1, dtype=np.int64)
    state = np.array([0.0, distance_max])
    seen = np.zeros((2 ** len(GROUP_RULES), KINDS, COUNTS), dtype=np.int64)
    scan_groups(
        0, len(groups), packed.offsets, packed.legs, packed.facts, packed.worth, packed.grids, packed.cdfs,
        packed.sizes, _limits(rules), np.array([kind in rules.strategies for kind in SIDED], dtype=np.uint8), seen, top,
        top_legs, top_count, near, places, state,
    )  # fmt: skip
    group, kind, rank = np.nonzero(np.arange(top.shape[2]) < top_count[..., None])
    legs = _columns(packed, group, top_legs[group, kind, rank])
    passed = Kept(group + first, kind, _chain_rows(packed, legs), top[group, kind, rank])
    size = int(state[0])
    near_legs = _columns(packed, places[:size, 0], places[:size, 2:])
    nearest = Kept(places[:size, 0] + first, places[:size, 1], _chain_rows(packed, near_legs), near[:size])
    facets = _facets(groups, packed, group, legs, rules, net_liq, spy_price)
    return Found(_tally(seen), passed, facets, nearest)


def warm() -> None:
    """Compile the scan, or load it from its cache: after an installation, and before anything waits for a scan."""
    from strategies.kernels.groups import KINDS, scan_groups
    from strategies.kernels.pairs import COUNTS

    whole = np.int64
    scan_groups(
        0, 0, np.empty((0, 3), whole), np.empty((12, 0)), np.empty((0, 7)), np.empty((3, 0)), np.empty((0, 2)),
        np.empty((0, 2)), np.empty(0, whole), _limits(RuleSet()), np.zeros(len(SIDED), np.uint8),
        np.zeros((1, KINDS, COUNTS), whole), np.empty((0, KINDS, 1)), np.empty((0, KINDS, 1, 4), whole),
        np.empty((0, KINDS), whole), np.empty(1), np.empty((1, 6), whole), np.zeros(2),
    )  # fmt: skip


def _columns(packed: _Packed, group: Rows, legs: Rows) -> Rows:
    """Columns of the leg table of each structure's legs; -1 stays."""
    starts = packed.offsets[group][:, [0, 0, 1, 1]]
    return np.asarray(np.where(legs >= 0, starts + legs, -1))


def _chain_rows(packed: _Packed, columns: Rows) -> Rows:
    return np.asarray(np.where(columns >= 0, packed.rows[columns], -1)) if packed.rows.size else columns


def _facets(
    groups: Sequence[Group],
    packed: _Packed,
    group: Rows,
    columns: Rows,
    rules: RuleSet,
    net_liq: float | None,
    spy_price: float | None,
) -> Facets:
    """Delta, vega and liquidity of as many units as the rules allow."""
    if not len(group):
        nothing = np.empty(0)
        return Facets(nothing, nothing, nothing)
    there, legs = columns >= 0, packed.legs[:, columns]
    signs = np.where(there, np.array([-1.0, 1.0, -1.0, 1.0]), 0.0)
    strike, bid, ask, quote, _, share, interest, volume = legs[:8]
    mid, natural = -(signs * quote).sum(axis=1), -(signs * np.where(signs > 0, ask, bid)).sum(axis=1)
    credit = mid - np.where(there, share, 0.0).max(axis=1) * (mid - natural)
    gaps = np.abs(np.where(there, strike, 0.0) @ np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]))
    chains = [each.chain for each in groups]
    multiplier = np.array([chain.multiplier for chain in chains])[group]
    units = multiplier * units_of(credit, gaps.max(axis=1), multiplier, penny_ticks(chains)[group], rules, net_liq)
    beta = np.array([np.nan if chain.facts.beta is None else chain.facts.beta for chain in chains])
    weight = (beta * np.array([chain.spot for chain in chains]) / (spy_price or np.nan))[group]
    return Facets(
        (signs * np.where(there, legs[10], 0.0)).sum(axis=1) * units * weight,
        (signs * np.where(there, legs[11], 0.0)).sum(axis=1) * units,
        liquidity(
            mid,
            natural,
            np.where(there, interest, np.inf).min(axis=1),
            np.where(there, volume, np.inf).min(axis=1),
        ),
    )


def penny_ticks(chains: Sequence[ChainSnapshot]) -> npt.NDArray[np.bool_]:
    """Whether each chain's prices step by a cent."""
    return np.array([chain.penny_ticks for chain in chains])


def units_of(
    credit: Floats, width: Floats, multiplier: Rows, penny: npt.NDArray[np.bool_], rules: RuleSet, net_liq: float | None
) -> Floats:
    """Units whose max loss, at the credit rounded down to a tick, fits the limit: from one to quantity_max."""
    if net_liq is None:
        return np.ones(len(credit))
    tick = np.where(penny, 0.01, 0.05)
    floor = np.floor(np.round(credit, 4) / tick + 1e-9) * tick
    allowed = net_liq * rules.max_loss_pct_of_net_liq / 100
    return np.asarray(
        np.clip(np.floor(allowed / np.maximum((width - floor) * multiplier, 1e-9) + 1e-9), 1, rules.quantity_max)
    )


def _tally(seen: npt.NDArray[np.int64]) -> Tally:
    """Counts per rule from the counts of the kernel (`kernels.pairs.COUNTED`)."""
    tally = Tally()
    masks = np.arange(2 ** len(RULES))
    for number, kind in enumerate(SIDED):
        exact, by_row = seen[:, number, : len(masks)], seen[:, number, len(masks) :]
        totals = exact.sum(axis=1) + by_row[:, 0]
        if not totals.any():
            continue
        refused, alone = {}, {}
        for bit, name in enumerate(RULES):
            refused[name] = int(exact[:, (masks >> bit) & 1 == 1].sum() + by_row[:, 1 + bit].sum())
            alone[name] = int(exact[0, 1 << bit] + by_row[0, 1 + len(RULES) + bit])
        for bit, name in enumerate(GROUP_RULES):
            refused[name] = int(totals[[index for index in range(len(totals)) if (index >> bit) & 1]].sum())
            alone[name] = int(exact[1 << bit, 0])
        tally.count(kind, refused, alone, int(totals.sum()), int(exact[0, 0]))
    return tally


def _limits(rules: RuleSet) -> Floats:
    return np.array([
        rules.pop_min, rules.fair_value_gap_pct_max, rules.credit_to_max_loss_min, rules.max_loss_pct_of_net_liq,
        rules.open_interest_min, rules.volume_min, rules.spread_pct_max, rules.quote_max_age_seconds,
        rules.short_delta_min, rules.short_delta_max, rules.width_max,
    ], dtype=np.float64)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Packed:
    offsets: Rows
    rows: Rows
    """Chain row of each leg."""
    legs: Floats
    facts: Floats
    worth: Floats
    grids: Floats
    cdfs: Floats
    sizes: Rows
    """Points of each distribution function."""


def _pack(groups: Sequence[Group], rules: RuleSet, net_liq: float | None, today: date) -> _Packed:
    """Columns of the kernel."""
    offsets = np.empty((len(groups), 3), dtype=np.int64)
    at = 0
    for index, group in enumerate(groups):
        offsets[index] = at, at + len(group.puts), at + len(group.puts) + len(group.calls)
        at = int(offsets[index, 2])
    worlds = [group.worlds(rules) for group in groups]
    sizes = np.array([len(known.market.grid) if known else 0 for known in worlds], dtype=np.int64)
    points = max(int(sizes.max(initial=0)), 2)
    grids, cdfs = np.empty((len(groups), points)), np.empty((len(groups), points))
    facts = np.empty((len(groups), 7))
    most: dict[int, float] = {}
    for index, group in enumerate(groups):
        chain = group.chain
        if chain.multiplier not in most:
            most[chain.multiplier] = most_loss_per_share(rules, chain.multiplier, net_liq)
        clear = days_clear(group, today)
        near_event = clear < rules.days_clear_of_event_min
        gap = abs(clear - rules.days_clear_of_event_min) / (rules.days_clear_of_event_min or 1.0)
        facts[index] = (
            chain.multiplier, usable_net_liq(net_liq), most[chain.multiplier],
            rules.fee_per_contract / chain.multiplier, 1.0 + min(gap, _FAR) if near_event else 0.0, near_event,
            group.smile is not None,
        )  # fmt: skip
        if (known := worlds[index]) is not None:
            grids[index, : sizes[index]], cdfs[index, : sizes[index]] = known.market.grid, known.market.cdf
    rows = np.concatenate([side for group in groups for side in (group.puts, group.calls)])
    worth = np.ascontiguousarray(np.concatenate([group.worth(rules) for group in groups], axis=1))
    return _Packed(offsets, rows, _legs(groups, at), facts, worth, grids, cdfs, sizes)


def _legs(groups: Sequence[Group], count: int) -> Floats:
    """Leg table of the kernel, in the order of `kernels.verticals`; then signed delta and vega."""
    legs = np.empty((12, count))
    at = 0
    begin = 0
    while begin < len(groups):
        chain, end = groups[begin].chain, begin
        while end < len(groups) and groups[end].chain is chain:
            end += 1
        rows = np.concatenate([side for group in groups[begin:end] for side in (group.puts, group.calls)])
        _fill(legs[:, at : at + len(rows)], chain, rows)
        at += len(rows)
        begin = end
    return legs


def _fill(out: Floats, chain: ChainSnapshot, rows: Rows) -> None:
    bid, ask = chain.bid[rows], chain.ask[rows]
    mid = (bid + ask) / 2
    spread = spread_pct(bid, ask)
    # expected_fill is mid − share · (mid − natural), its share the widest leg's: found leg by leg at mid 0, natural −1
    share = -expected_fill(np.zeros(len(rows)), np.full(len(rows), -1.0), spread)
    for row, column in enumerate(
        (
            chain.strike[rows], bid, ask, mid, spread, share, chain.open_interest[rows], chain.volume[rows],
            chain.quote_age_seconds[rows], np.abs(chain.delta[rows]), chain.delta[rows], chain.vega[rows],
        )
    ):  # fmt: skip
        out[row] = column
