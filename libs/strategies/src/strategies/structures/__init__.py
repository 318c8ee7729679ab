"""Named structures: one declarative entry each, from which building, recognising and describing follow."""

from __future__ import annotations

from strategies.structures.build import BuildRefusal, BuildTarget, Built, build
from strategies.structures.catalogue import CATALOGUE
from strategies.structures.character import Character, Extent, character
from strategies.structures.describe import Description, describe, thesis
from strategies.structures.recognise import Recognised, recognise, recognise_one
from strategies.structures.template import Bias, Context, Holding, LegKind, LegTemplate, Structure, VolatilityView

__all__ = [
    "CATALOGUE",
    "Bias",
    "BuildRefusal",
    "BuildTarget",
    "Built",
    "Character",
    "Context",
    "Description",
    "Extent",
    "Holding",
    "LegKind",
    "LegTemplate",
    "Recognised",
    "Structure",
    "VolatilityView",
    "build",
    "character",
    "describe",
    "recognise",
    "recognise_one",
    "thesis",
]
