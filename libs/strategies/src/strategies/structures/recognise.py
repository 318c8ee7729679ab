"""Name the structures in raw legs: the fewest that account for every contract and share."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal

from schemas.symbols import OptionType, SymbolError, parse_occ
from strategies.structures.catalogue import CATALOGUE
from strategies.structures.partition import Item, Placement, fewest
from strategies.structures.template import Context, Holding, LegKind, LegTemplate, Structure

UNDERLYING_OF_ROOT: Mapping[str, str] = {"SPXW": "SPX", "NDXP": "NDX", "RUTW": "RUT", "VIXW": "VIX"}
"""Index roots that share an underlying. Other roots stand for themselves, so that adjusted contracts stay apart."""

_CONDITIONED: Mapping[tuple[LegTemplate, ...], list[Structure]] = defaultdict(
    list,
    {
        shape: list(group)
        for shape, group in itertools.groupby(
            (each for each in CATALOGUE.values() if each.condition is not None), key=lambda each: each.legs
        )
    },
)
"""Shape → structures that are the same shape under a condition."""


@dataclass(frozen=True, slots=True)
class Recognised:
    """A named structure and how often it is held."""

    structure: Structure
    underlying_symbol: str
    units: int
    legs: tuple[Holding, ...]
    """All units, in the order of the template."""
    strikes: Mapping[str, Decimal]
    expiration: date | None
    far_expiration: date | None


def recognise(holdings: Iterable[Holding], contexts: Mapping[str, Context] | None = None) -> tuple[Recognised, ...]:
    """Split a book into the fewest named structures; what fits nowhere is named as single legs.

    Same contracts are netted first. Every contract and share of the book is in exactly one structure. With the same
    number of structures, those with defined risk and of one expiration are preferred, then the largest. Up to 16
    different legs an underlying are split exactly, but for badly entangled ones; more are split by expiration first.
    `contexts`: underlying → price and cash, for names that depend on them.

    Raises SymbolError for a symbol that is neither OCC nor a stock's.
    """
    found: list[Recognised] = []
    for underlying, items in sorted(_books(holdings).items()):
        context = (contexts or {}).get(underlying, Context())
        found += [_named(underlying, items, each) for each in _refined(fewest(items), context)]
    return tuple(found)


def recognise_one(holdings: Iterable[Holding], context: Context | None = None) -> Recognised | None:
    """The one structure that these legs are, or None when they are several or none."""
    legs = list(holdings)
    symbols = {_underlying(each.symbol) for each in legs if each.signed_quantity}
    if len(symbols) != 1:
        return None
    found = recognise(legs, {symbols.pop(): context or Context()})
    return found[0] if len(found) == 1 else None


def _books(holdings: Iterable[Holding]) -> dict[str, list[Item]]:
    net: dict[str, int] = defaultdict(int)
    for each in holdings:
        net[each.symbol] += each.signed_quantity
    books: dict[str, list[Item]] = defaultdict(list)
    for symbol, quantity in net.items():
        if quantity:
            books[_underlying(symbol)].append(_item(symbol, quantity))
    return {name: sorted(items, key=lambda item: (item.expiration or date.min, item.strike, item.symbol))
            for name, items in books.items()}  # fmt: skip


def _underlying(symbol: str) -> str:
    if len(symbol) == 21:
        root = parse_occ(symbol).root_symbol
        return UNDERLYING_OF_ROOT.get(root, root)
    return symbol


def _item(symbol: str, quantity: int) -> Item:
    if len(symbol) == 21:
        option = parse_occ(symbol)
        kind = LegKind.CALL if option.option_type is OptionType.CALL else LegKind.PUT
        return Item(symbol, quantity, kind, option.strike, option.expiration)
    if not symbol or len(symbol) > 8 or not symbol[0].isalpha() or symbol != symbol.upper() or " " in symbol:
        raise SymbolError(symbol, "a 21-character OCC symbol or a stock symbol in capitals")
    return Item(symbol, quantity, LegKind.SHARES, Decimal(0), None)


def _named(underlying: str, items: list[Item], placed: Placement) -> Recognised:
    legs = tuple(
        Holding(items[index].symbol, leg.ratio * placed.units)
        for index, leg in zip(placed.items, placed.shape, strict=True)
    )
    return Recognised(placed.structure, underlying, placed.units, legs, placed.strikes, placed.near, placed.far)


def _refined(placements: list[Placement], context: Context) -> list[Placement]:
    """Give the narrower name to a shape whose condition holds; cash is used once."""
    cash, refined = context.cash, []
    for placed in placements:
        own = replace(context, cash=None if cash is None else cash / placed.units)
        name = next((each for each in _CONDITIONED[placed.shape] if not each.fits(placed.strikes, own)), None)
        if name is not None and name.condition is not None:
            placed = replace(placed, structure=name)
            if name.condition.spends_cash and cash is not None:
                cash -= placed.strikes["a"] * context.multiplier * placed.units
        refined.append(placed)
    return refined
