"""Cover a book of legs with the fewest structures: exact for small books, by expiration for big ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal

from strategies.structures.catalogue import CATALOGUE
from strategies.structures.character import character
from strategies.structures.template import Context, LegKind, LegTemplate, Structure

EXACT_LEGS = 16
"""Different legs up to which the split is exact."""
_STATES_MAX = 6_000
_UNITS_TRIED = 3

Quantities = tuple[int, ...]
Cost = tuple[int, ...]
"""(structures, of undefined risk, of two expirations, minus the squares of their legs, place in the catalogue)."""


@dataclass(frozen=True, slots=True)
class Item:
    """A netted leg of the book. quantity: contracts or shares, short negative."""

    symbol: str
    quantity: int
    kind: LegKind
    strike: Decimal
    expiration: date | None


@dataclass(frozen=True, slots=True)
class Placement:
    """A structure laid on legs of the book; `items` are indices in the order of `shape`."""

    structure: Structure
    shape: tuple[LegTemplate, ...]
    items: tuple[int, ...]
    units: int
    strikes: Mapping[str, Decimal]
    near: date | None
    far: date | None


_PLAIN = tuple(
    (structure, shape, (not character(structure).defined_risk, structure.has_far_legs, -(len(shape) ** 2), order))
    for order, structure in enumerate(CATALOGUE.values())
    if structure.condition is None
    for shape in structure.shapes
)
_RANK = {structure.key: tuple(int(each) for each in rank) for structure, _, rank in _PLAIN}


def fewest(items: list[Item]) -> list[Placement]:
    """The fewest structures that use up every leg; ties as `recognise` says. Deterministic."""
    placements = list(_placements(items))
    quantities = tuple(item.quantity for item in items)
    if len(items) <= EXACT_LEGS and (solved := _Solver(placements).best(quantities)) is not None:
        return solved
    return _by_expiration(items, placements, quantities)


def _placements(items: list[Item]) -> Iterator[Placement]:
    for structure, shape, _ in _PLAIN:
        yield from _lay(structure, shape, items, (), {}, None, None)


def _lay(
    structure: Structure,
    shape: tuple[LegTemplate, ...],
    items: list[Item],
    chosen: tuple[int, ...],
    strikes: Mapping[str, Decimal],
    near: date | None,
    far: date | None,
) -> Iterator[Placement]:
    """Every way to continue a placement leg by leg."""
    if len(chosen) == len(shape):
        if not structure.fits(strikes, _NOTHING_KNOWN):
            units = min(abs(items[index].quantity) // abs(leg.ratio) for index, leg in zip(chosen, shape, strict=True))
            yield Placement(structure, shape, chosen, units, strikes, near, far)
        return
    leg = shape[len(chosen)]
    for index, item in enumerate(items):
        if item.kind is not leg.kind or item.quantity * leg.ratio <= 0 or abs(item.quantity) < abs(leg.ratio):
            continue
        if leg.kind is LegKind.SHARES:
            yield from _lay(structure, shape, items, (*chosen, index), strikes, near, far)
            continue
        if strikes.get(leg.letter, item.strike) != item.strike:
            continue
        early, late = (near, item.expiration) if leg.far else (item.expiration, far)
        if (far if leg.far else near) not in (None, item.expiration) or (early and late and early >= late):
            continue
        bound = {**strikes, leg.letter: item.strike}
        if all(bound[low] < bound[high] for low in bound for high in bound if low < high):
            yield from _lay(structure, shape, items, (*chosen, index), bound, early, late)


_NOTHING_KNOWN = Context()
_LEGS_MAX = max(len(shape) for _, shape, _ in _PLAIN)
Cover = tuple[Cost, tuple[Placement, ...]]


def _less(quantities: Quantities, placed: Placement) -> Quantities | None:
    """What is left without these units, or None when there are not that many."""
    left = list(quantities)
    for index, leg in zip(placed.items, placed.shape, strict=True):
        taken = leg.ratio * placed.units
        if left[index] * taken <= 0 or abs(left[index]) < abs(taken):
            return None
        left[index] -= taken
    return tuple(left)


class _Solver:
    """Search over what is left of a book, deepening by the number of structures allowed."""

    def __init__(self, placements: list[Placement]) -> None:
        self._with: dict[int, list[Placement]] = {}
        for placed in placements:
            for index in placed.items:
                self._with.setdefault(index, []).append(placed)
        self._known: dict[tuple[Quantities, int, int], Cover | None] = {}
        self._visited = 0

    def best(self, quantities: Quantities) -> list[Placement] | None:
        """The cheapest cover, or None when the book is too entangled to search."""
        legs = sum(1 for quantity in quantities if quantity)
        # Taking as many units as fit is nearly always best, and bounds the search that also takes fewer.
        cover = self._deepen(quantities, legs, 0)
        better = self._deepen(quantities, legs if cover is None else len(cover[1]), _UNITS_TRIED)
        chosen = better or cover
        return None if chosen is None else list(chosen[1])

    def _deepen(self, quantities: Quantities, most: int, tried: int) -> Cover | None:
        """The cheapest of the covers by the fewest structures, up to `most` of them; None when that takes too long."""
        self._visited = 0
        legs = sum(1 for quantity in quantities if quantity)
        try:
            covers = (self._cover(quantities, allowed, tried) for allowed in range(_least(legs), most + 1))
            return next((cover for cover in covers if cover is not None), None)
        except _TooManyStates:
            return None

    def _cover(self, quantities: Quantities, allowed: int, tried: int) -> Cover | None:
        """The cheapest cover by at most `allowed` structures; `tried`: units below the most that are tried as well."""
        legs = sum(1 for quantity in quantities if quantity)
        if not legs:
            return (0, 0, 0, 0, 0), ()
        if _least(legs) > allowed:
            return None
        key = (quantities, allowed, tried)
        if key in self._known:
            return self._known[key]
        self._visited += 1
        if self._visited > _STATES_MAX:
            raise _TooManyStates
        first = next(index for index, quantity in enumerate(quantities) if quantity)
        best: Cover | None = None
        for placed in self._fitting(quantities, first, tried):
            left = _less(quantities, placed)
            rest = None if left is None else self._cover(left, allowed - 1, tried)
            if rest is None:
                continue
            cost = tuple(a + b for a, b in zip(rest[0], (1, *_RANK[placed.structure.key]), strict=True))
            if best is None or cost < best[0]:
                best = cost, (placed, *rest[1])
        self._known[key] = best
        return best

    def _fitting(self, quantities: Quantities, index: int, tried: int) -> Iterator[Placement]:
        for placed in self._with[index]:
            most = _most(quantities, placed)
            for units in sorted({most, *range(1, min(most, tried if len(placed.shape) > 1 else 0) + 1)} - {0}):
                yield replace(placed, units=units)


def _least(legs: int) -> int:
    """No fewer structures can use up so many different legs."""
    return -(-legs // _LEGS_MAX)


def _most(quantities: Quantities, placed: Placement) -> int:
    """Units that still fit."""
    return min(
        abs(quantities[item]) // abs(leg.ratio) if quantities[item] * leg.ratio > 0 else 0
        for item, leg in zip(placed.items, placed.shape, strict=True)
    )


class _TooManyStates(Exception):
    """The exact search was given up."""


def _by_expiration(items: list[Item], placements: list[Placement], quantities: Quantities) -> list[Placement]:
    """Split each expiration by itself, then whatever stayed a single leg together with the shares."""
    found: list[Placement] = []
    for day in sorted({item.expiration for item in items if item.expiration}):
        own = [placed for placed in placements if placed.near == day and placed.far is None]
        own = [each for each in own if all(items[index].expiration == day for index in each.items)]
        alone = tuple(q if item.expiration == day else 0 for q, item in zip(quantities, items, strict=True))
        few = sum(1 for quantity in alone if quantity) <= EXACT_LEGS
        cover = (_Solver(own).best(alone) if few else None) or _greedy(own, alone)
        found += [placed for placed in cover if len(placed.shape) > 1]
    left = quantities
    for placed in found:
        left = _less(left, placed) or left
    few = sum(1 for quantity in left if quantity) <= EXACT_LEGS
    return found + ((_Solver(placements).best(left) if few else None) or _greedy(placements, left))


def _greedy(placements: list[Placement], quantities: Quantities) -> list[Placement]:
    """Again and again the structure that closes most legs."""
    found: list[Placement] = []
    while any(quantities):
        best: tuple[Cost, Placement, Quantities] | None = None
        for placed in placements:
            most = _most(quantities, placed)
            left = _less(quantities, replace(placed, units=most)) if most else None
            if left is None:
                continue
            closed = sum(1 for before, after in zip(quantities, left, strict=True) if before and not after)
            cost = (-len(placed.shape), -closed, *_RANK[placed.structure.key])
            if best is None or cost < best[0]:
                best = cost, replace(placed, units=most), left
        assert best is not None  # a single leg always fits
        found.append(best[1])
        quantities = best[2]
    return found
