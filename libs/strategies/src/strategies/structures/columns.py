"""Every placement of a structure in one expiration, as columns: what a scan of any structure of the catalogue judges.

Which strikes are tried follows from the entry and the rule set. Strikes at which legs are only sold have a delta within
`short_delta_min` and `short_delta_max` where they are found by delta or are the only ones sold; strikes found at the
money are the nearest five; wings are at most `width_max` away, times their widths; strikes bought by delta are within
0.10 of the entry's delta.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from schemas.money import price_from_float
from strategies.chain import Bools, ChainSnapshot, Floats
from strategies.rules import RuleSet
from strategies.structures.template import (
    Anchor,
    AtDelta,
    AtTheMoney,
    AtWidth,
    Context,
    LegKind,
    LegTemplate,
    Structure,
)

if TYPE_CHECKING:
    from optionmath.smile import Distribution

Rows = npt.NDArray[np.int64]
_NEAREST, _DELTA_REACH = 5, 0.10
PLACEMENTS_MAX = 2_000_000
"""More than this many are refused: the rule set is too wide for this structure."""


class TooManyPlacements(ValueError):
    """The rule set allows more placements than fit into memory; says how many."""

    def __init__(self, structure: Structure, count: int) -> None:
        self.count = count
        super().__init__(
            f"{structure.name} has {count} placements in one expiration: "
            "narrow short_delta_min, short_delta_max or width_max"
        )


@dataclass(frozen=True, slots=True)
class Columns:
    """Placements of one structure in one expiration. $ per share and unit, credit positive."""

    structure: Structure
    rows: Rows
    """(option legs, n) chain rows, in the order of the template."""
    ratios: tuple[int, ...]
    """Contracts a unit of each option leg, short negative."""
    lots: int
    """Shares a unit in multiples of the multiplier, short negative; they count as bought or sold at today's price."""
    strikes: Floats
    """(letters, n), ascending in every column."""
    mid: Floats
    """Of the option legs."""
    natural: Floats
    widest_spread_pct: Floats
    """Bid–ask spread in percent of mid, of the widest leg."""
    risk: Floats
    """Most that the legs can lose at expiration before the credit; inf when unlimited."""

    def __len__(self) -> int:
        return int(self.rows.shape[1])


def every(
    structure: Structure, chain: ChainSnapshot, day: date, rules: RuleSet, *, cash: Decimal | None = None
) -> Columns:
    """All placements among the usable quotes of one expiration (and root, where a chain holds several).

    `cash`: dollars set aside, for structures that need it. Raises ValueError for a structure of two expirations or
    without options, TooManyPlacements beyond the bound.
    """
    if structure.has_far_legs or not structure.letters:
        raise ValueError(f"{structure.name} is not a structure of one expiration")
    listed = np.nonzero((chain.expiration == np.datetime64(day)) & chain.usable)[0]
    roots = sorted({chain.occ_symbols[int(row)][:6] for row in listed})
    parts = []
    for root in roots:
        own = np.array([row for row in listed if chain.occ_symbols[int(row)][:6] == root], dtype=np.int64)
        strikes = _strikes(structure, chain, own, rules)
        parts.append(_priced(structure, chain, own, _fitting(structure, strikes, chain, cash)))
    return _joined(structure, parts)


def profit_probability(columns: Columns, chain: ChainSnapshot, credit: Floats, market: Distribution) -> Floats:
    """P(at least a cent per share of profit at expiration) of each placement, 0–1.

    Exact up to the distribution: P&L is linear between the strikes, so each piece profits on one interval.
    """
    corners = np.vstack((np.zeros(len(columns)), columns.strikes))
    value = _value(columns.structure, columns.strikes, corners, chain) + credit - 0.01
    slope = float(_slope(columns.structure, chain.multiplier))
    total = np.zeros(len(columns))
    for low, high, at_low, at_high in zip(corners, corners[1:], value, value[1:], strict=False):
        total += _mass(low, high, at_low, at_high, market)
    last, at_last = corners[-1], value[-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        edge = last - at_last / slope if slope else np.full(len(columns), np.inf)
    above_last = 1 - market.below(last)
    if slope > 0:
        return np.asarray(total + np.where(at_last >= 0, above_last, 1 - market.below(edge)))
    beyond = market.below(edge) - market.below(last) if slope < 0 else above_last
    return np.asarray(total + np.where(at_last >= 0, beyond, 0.0))


def _mass(low: Floats, high: Floats, at_low: Floats, at_high: Floats, market: Distribution) -> Floats:
    """Probability of the part of [low, high] where a straight line from at_low to at_high is not negative."""
    with np.errstate(divide="ignore", invalid="ignore"):
        edge = low + (high - low) * at_low / (at_low - at_high)
    start = np.where(at_low >= 0, low, np.where(at_high >= 0, edge, high))
    end = np.where(at_high >= 0, high, np.where(at_low >= 0, edge, high))
    return np.asarray(market.below(end) - market.below(start))


def _strikes(structure: Structure, chain: ChainSnapshot, rows: Rows, rules: RuleSet) -> Floats:
    """(letters, n) strikes of every combination that ascends and keeps wings within reach."""
    placed: dict[str, Floats] = {}
    waiting = sorted(structure.anchors, key=lambda each: isinstance(each, AtWidth))
    while waiting:
        anchor = next(each for each in waiting if not isinstance(each, AtWidth) or each.of in placed)
        waiting.remove(anchor)
        own = _allowed(structure, anchor.letter, chain, rows, rules)
        width = rules.width_max * abs(anchor.steps) if isinstance(anchor, AtWidth) else np.inf
        placed = _extended(structure, placed, anchor, own, width)
    return np.vstack([placed[letter] for letter in structure.letters])


def _extended(
    structure: Structure, placed: dict[str, Floats], anchor: Anchor, own: Floats, width: float
) -> dict[str, Floats]:
    """Every column with every strike of one more letter that keeps the order and is within its width."""
    if not placed:
        return {anchor.letter: own}
    count = len(next(iter(placed.values())))
    low, high = np.full(count, -np.inf), np.full(count, np.inf)
    for letter, strikes in placed.items():
        if letter < anchor.letter:
            low = np.maximum(low, strikes)
        else:
            high = np.minimum(high, strikes)
    if isinstance(anchor, AtWidth):
        low = np.maximum(low, placed[anchor.of] - width - 1e-9)
        high = np.minimum(high, placed[anchor.of] + width + 1e-9)
    first, last = np.searchsorted(own, low, side="right"), np.searchsorted(own, high, side="left")
    counts = np.maximum(last - first, 0)
    total = int(counts.sum())
    if total > PLACEMENTS_MAX:
        raise TooManyPlacements(structure, total)
    column = np.repeat(np.arange(count), counts)
    within = np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)
    return {
        **{letter: strikes[column] for letter, strikes in placed.items()},
        anchor.letter: own[first[column] + within],
    }


def _allowed(structure: Structure, letter: str, chain: ChainSnapshot, rows: Rows, rules: RuleSet) -> Floats:
    """Strikes at which every leg of a letter is quoted and the rules allow it."""
    legs = [leg for leg in structure.legs if leg.letter == letter]
    anchor = next(each for each in structure.anchors if each.letter == letter)
    sets = [set(chain.strike[_side(chain, rows, leg)].tolist()) for leg in legs]
    listed = np.array(sorted(set.intersection(*sets)))
    if not len(listed):
        return listed
    if isinstance(anchor, AtTheMoney):
        nearest = np.argsort(np.abs(listed - chain.spot), kind="stable")[:_NEAREST]
        return np.asarray(np.sort(listed[nearest]))
    first = _side(chain, rows, legs[0])
    delta = dict(zip(chain.strike[first].tolist(), np.abs(chain.delta[first]).tolist(), strict=True))
    magnitude = np.array([delta[strike] for strike in listed.tolist()])
    with np.errstate(invalid="ignore"):
        if all(leg.ratio < 0 for leg in legs) and (isinstance(anchor, AtDelta) or _sold(structure) == {letter}):
            return listed[(magnitude >= rules.short_delta_min) & (magnitude <= rules.short_delta_max)]
        if isinstance(anchor, AtDelta):
            return listed[np.abs(magnitude - anchor.delta) <= _DELTA_REACH]
    return listed


def _sold(structure: Structure) -> set[str]:
    """Letters at which something is sold."""
    return {leg.letter for leg in structure.legs if leg.letter and leg.ratio < 0}


def _side(chain: ChainSnapshot, rows: Rows, leg: LegTemplate) -> Rows:
    return np.asarray(rows[chain.is_call[rows] == (leg.kind is LegKind.CALL)])


def _fitting(structure: Structure, strikes: Floats, chain: ChainSnapshot, cash: Decimal | None) -> Floats:
    """Columns whose gaps and condition are those of the structure."""
    gaps = np.diff(strikes, axis=0)
    keep: Bools = np.ones(strikes.shape[1], dtype=bool)
    tied = [index for index, share in enumerate(structure.spacing) if share]
    for low, high in itertools.pairwise(tied):
        keep &= np.abs(gaps[low] * structure.spacing[high] - gaps[high] * structure.spacing[low]) < 1e-6
    if structure.unequal_wings:
        keep &= np.abs(gaps[0] - gaps[-1]) > 1e-6
    if structure.condition is not None:
        context = Context(chain.spot, cash, chain.multiplier)
        named = ({letter: price_from_float(each) for letter, each in zip(structure.letters, column, strict=True)}
                 for column in strikes.T.tolist())  # fmt: skip
        keep &= np.array([structure.condition.holds(each, context) for each in named], dtype=bool)
    return strikes[:, keep]


def _priced(structure: Structure, chain: ChainSnapshot, rows: Rows, strikes: Floats) -> Columns:
    options = [leg for leg in structure.legs if leg.letter]
    mid, natural = np.zeros(strikes.shape[1]), np.zeros(strikes.shape[1])
    widest, legs = np.zeros(strikes.shape[1]), []
    for leg in options:
        side = _side(chain, rows, leg)
        side = side[np.argsort(chain.strike[side], kind="stable")]
        row = side[np.searchsorted(chain.strike[side], strikes[structure.letters.index(leg.letter)])]
        bid, ask = chain.bid[row], chain.ask[row]
        mid -= leg.ratio * (bid + ask) / 2
        natural -= leg.ratio * (ask if leg.ratio > 0 else bid)
        widest = np.maximum(widest, 200 * (ask - bid) / (ask + bid))
        legs.append(row)
    corners = np.vstack((np.zeros(strikes.shape[1]), strikes))
    lowest = _value(structure, strikes, corners, chain).min(axis=0)
    risk = np.full(strikes.shape[1], np.inf) if _slope(structure, chain.multiplier) < 0 else 0.0 - lowest
    ratios = tuple(leg.ratio for leg in options)
    return Columns(
        structure, np.vstack(legs), ratios, _lots(structure, chain.multiplier), strikes, mid, natural, widest, risk
    )


def _value(structure: Structure, strikes: Floats, corners: Floats, chain: ChainSnapshot) -> Floats:
    """(corners, n) worth of the legs at expiration at each corner, shares against today's price."""
    lots = _lots(structure, chain.multiplier)
    total = lots * (corners - chain.spot) if lots else np.zeros(corners.shape)
    for leg in structure.legs:
        if leg.letter:
            away = corners - strikes[structure.letters.index(leg.letter)]
            total = total + leg.ratio * np.maximum(away if leg.kind is LegKind.CALL else -away, 0.0)
    return np.asarray(total)


def _lots(structure: Structure, multiplier: int) -> int:
    return sum(leg.ratio for leg in structure.legs if leg.kind is LegKind.SHARES) // multiplier


def _slope(structure: Structure, multiplier: int) -> int:
    """Gain of a dollar up above all strikes, per share."""
    return _lots(structure, multiplier) + sum(leg.ratio for leg in structure.legs if leg.kind is LegKind.CALL)


def _joined(structure: Structure, parts: list[Columns]) -> Columns:
    if len(parts) == 1:
        return parts[0]
    options = [leg for leg in structure.legs if leg.letter]
    none, ratios = np.empty(0), tuple(leg.ratio for leg in options)
    if not parts:
        rows = np.empty((len(options), 0), dtype=np.int64)
        return Columns(structure, rows, ratios, 0, np.empty((len(structure.letters), 0)), none, none, none, none)
    return Columns(
        structure, np.hstack([each.rows for each in parts]), ratios, parts[0].lots,
        np.hstack([each.strikes for each in parts]), np.concatenate([each.mid for each in parts]),
        np.concatenate([each.natural for each in parts]), np.concatenate([each.widest_spread_pct for each in parts]),
        np.concatenate([each.risk for each in parts]),
    )  # fmt: skip
