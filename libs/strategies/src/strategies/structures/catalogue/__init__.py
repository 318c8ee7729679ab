"""Every named structure. A new one is one entry in the file of its family."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from strategies.structures.catalogue import singles, spreads, time_spreads, volatility_spreads
from strategies.structures.template import Structure, TemplateError


def _index(*families: tuple[Structure, ...]) -> Mapping[str, Structure]:
    found: dict[str, Structure] = {}
    for structure in (each for family in families for each in family):
        if structure.key in found:
            raise TemplateError(structure.key, "is defined twice")
        found[structure.key] = structure
    return MappingProxyType(found)


CATALOGUE: Mapping[str, Structure] = _index(
    singles.STRUCTURES, spreads.STRUCTURES, volatility_spreads.STRUCTURES, time_spreads.STRUCTURES
)
"""Key → structure, in the order of the files."""
