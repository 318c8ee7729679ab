"""Structures in words, for the page and for theses."""

from __future__ import annotations

from dataclasses import dataclass

from strategies.structures.character import Character, Extent, character
from strategies.structures.recognise import Recognised
from strategies.structures.template import LegKind, LegTemplate, Structure

_NUMBERS = {1: "one", 2: "two", 3: "three", 4: "four"}


@dataclass(frozen=True, slots=True)
class Description:
    """What a person reads of a structure."""

    name: str
    also: tuple[str, ...]
    legs: str
    """`buy one lower put, sell one put, …` with strikes from low to high."""
    bias: str
    volatility: str
    gains: str
    risks: str
    max_profit: str
    max_loss: str
    defined_risk: bool
    sentence: str
    """One sentence of at most 30 words."""


def describe(structure: Structure) -> Description:
    """Describe a structure of the catalogue; everything but the two phrases follows from its legs."""
    own = character(structure)
    return Description(
        structure.name,
        structure.also,
        "; ".join(_leg(leg, structure) for leg in structure.legs),
        structure.bias.value,
        structure.volatility.value,
        structure.gains,
        structure.risks,
        _extent(own.max_profit, own),
        _extent(own.max_loss, own) + (", short legs outlive their cover" if own.naked_later else ""),
        own.defined_risk,
        f"{structure.name.capitalize()}: {structure.bias.value}; gains from {structure.gains}; "
        f"{'defined' if own.defined_risk else 'undefined'} risk.",
    )


def thesis(held: Recognised) -> str:
    """One sentence of at most 30 words about concrete legs: `SPY iron condor 480/485/520/525, 18 Sep: …`."""
    strikes = "/".join(f"{strike.normalize():f}" for _, strike in sorted(held.strikes.items()))
    dates = " and ".join(f"{day:%d %b}" for day in (held.expiration, held.far_expiration) if day is not None)
    units = f"{held.units} × " if held.units > 1 else ""
    what = " ".join(part for part in (f"{units}{held.underlying_symbol}", held.structure.name, strikes) if part)
    return f"{what}{', ' + dates if dates else ''}: {held.structure.bias.value}, gains from {held.structure.gains}."


def _leg(leg: LegTemplate, structure: Structure) -> str:
    verb = "buy" if leg.ratio > 0 else "sell"
    if leg.kind is LegKind.SHARES:
        return f"{verb} {abs(leg.ratio)} share{'s' if abs(leg.ratio) > 1 else ''}"
    count = _NUMBERS.get(abs(leg.ratio), str(abs(leg.ratio)))
    where = f" at strike {leg.letter}" if len(structure.letters) > 1 else ""
    when = (" of the far expiration" if leg.far else " of the near one") if structure.has_far_legs else ""
    return f"{verb} {count} {leg.kind}{'s' if abs(leg.ratio) > 1 else ''}{where}{when}"


def _extent(extent: Extent, own: Character) -> str:
    return f"{extent.value}, by model" if own.by_model and extent is Extent.LIMITED else extent.value
