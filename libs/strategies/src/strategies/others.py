"""Structures that are not made of credit verticals: each placement a row, judged by columns, one kind at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

import numpy as np

from schemas.trade import SpreadType
from strategies.batch import Facets, Kept, Tally, penny_ticks, units_of
from strategies.chain import Floats
from strategies.enumeration import SIDED, Group, Rows, Structures
from strategies.filters import judge, shortfall
from strategies.rules import RuleSet
from strategies.score import liquidity, score
from strategies.structures.catalogue import CATALOGUE
from strategies.structures.columns import TooManyPlacements, every
from strategies.structures.template import LegKind


@dataclass(slots=True)
class Others:
    """What these structures gave, in the form of a batch; `made` holds what was kept."""

    tally: Tally = field(default_factory=Tally)
    made: list[Structures] = field(default_factory=list)
    passed: list[tuple[int, int, float]] = field(default_factory=list)
    """(group, position in `made`, score)."""
    nearest: list[tuple[int, int, float]] = field(default_factory=list)
    """(group, position in `made`, distance)."""
    facets: list[tuple[float, float, float]] = field(default_factory=list)
    """Delta, vega, liquidity of `passed`."""
    refused: dict[str, str] = field(default_factory=dict)
    """Underlying and kind that the rule set places too often, with the count."""

    def kept(self, entries: Sequence[tuple[int, int, float]]) -> Kept:
        """Columns whose kind is `len(SIDED)` and whose first row is the position in `made`."""
        rows = np.full((len(entries), 4), -1, dtype=np.int64)
        rows[:, 0] = [entry[1] for entry in entries]
        groups = np.array([entry[0] for entry in entries], dtype=np.int64)
        keys = np.array([entry[2] for entry in entries], dtype=np.float64)
        return Kept(groups, np.full(len(entries), len(SIDED), dtype=np.int64), rows, keys)

    def facet_columns(self) -> Facets:
        """Delta, vega and liquidity as columns."""
        table = np.array(self.facets, dtype=np.float64).reshape(-1, 3)
        return Facets(table[:, 0], table[:, 1], table[:, 2])


def kinds_of(rules: RuleSet) -> list[SpreadType]:
    """Kinds of the rule set judged here: options of one expiration, no shares."""
    found = []
    for kind in rules.strategies:
        entry = CATALOGUE.get(kind)
        if kind in SIDED or entry is None or entry.has_far_legs or not entry.letters:
            continue
        if not any(leg.kind is LegKind.SHARES for leg in entry.legs):
            found.append(kind)
    return found


def find_others(
    groups: Sequence[Group], rules: RuleSet, *, net_liq: float | None, spy_price: float | None, today: date
) -> Others:
    """Judge every placement. Structures of unlimited risk are counted, but never kept: no limit on loss admits them."""
    out = Others()
    for number, group in enumerate(groups):
        for kind in kinds_of(rules):
            try:
                structures = _placements(group, kind, rules, net_liq)
            except TooManyPlacements as error:
                out.refused[f"{group.chain.underlying_symbol} {kind.value}"] = str(error)
                continue
            if len(structures):
                _judge(out, number, group, structures, rules, net_liq, spy_price, today)
    return out


def _placements(group: Group, kind: SpreadType, rules: RuleSet, net_liq: float | None) -> Structures:
    cash = None if net_liq is None else Decimal(str(net_liq))
    found = every(CATALOGUE[kind], group.chain, group.day, rules, cash=cash)
    span = found.strikes[-1] - found.strikes[0] if len(found) else np.empty(0)
    basis = np.where(span > 0, span, np.maximum(np.abs(found.mid), 0.01))
    return Structures(kind, found.rows, found.ratios, found.mid, found.natural, found.risk, basis, columns=found)


def _judge(
    out: Others, number: int, group: Group, structures: Structures, rules: RuleSet, net_liq: float | None,
    spy_price: float | None, today: date,
) -> None:  # fmt: skip
    judged = judge(group, structures, rules, net_liq=net_liq, today=today)
    failed = np.vstack([~rule.passed for rule in judged.rules])
    sole = failed.sum(axis=0) == 1
    names = [rule.name for rule in judged.rules]
    out.tally.count(
        structures.spread_type,
        dict(zip(names, failed.sum(axis=1).tolist(), strict=True)),
        dict(zip(names, (failed & sole).sum(axis=1).tolist(), strict=True)),
        len(structures),
        int((~failed.any(axis=0)).sum()),
    )
    scored, limited = score(group, judged, rules), np.isfinite(structures.risk)
    passed = np.nonzero(judged.passed & limited)[0]
    if scored is not None and len(passed):
        best = passed[np.argsort(-scored.score[passed], kind="stable")[: rules.passed_per_expiration]]
        for i in best.tolist():
            out.passed.append((number, len(out.made), float(scored.score[i])))
            out.made.append(structures.one(i))
            out.facets.append(_facets(group, structures.one(i), judged.credit[i : i + 1], rules, net_liq, spy_price))
    distance = np.where(judged.passed | ~limited, np.inf, shortfall(judged.rules))
    for i in np.argsort(distance, kind="stable")[: rules.near_misses].tolist():
        if np.isfinite(distance[i]):
            out.nearest.append((number, len(out.made), float(distance[i])))
            out.made.append(structures.one(i))


def _facets(
    group: Group, one: Structures, credit: Floats, rules: RuleSet, net_liq: float | None, spy_price: float | None
) -> tuple[float, float, float]:
    chain, rows = group.chain, one.rows[:, 0]
    multiplier: Rows = np.array([chain.multiplier], dtype=np.int64)
    units = float(units_of(credit, one.risk, multiplier, penny_ticks([chain]), rules, net_liq)[0]) * chain.multiplier
    beta = float("nan") if chain.facts.beta is None else chain.facts.beta
    signs = np.array(one.signs, dtype=np.float64)
    return (
        float(signs @ chain.delta[rows]) * units * beta * chain.spot / (spy_price or float("nan")),
        float(signs @ chain.vega[rows]) * units,
        float(
            liquidity(
                one.mid,
                one.natural,
                chain.open_interest[rows].min(keepdims=True),
                chain.volume[rows].min(keepdims=True),
            )[0]
        ),
    )
