"""How much a structure can gain and lose, derived from its legs alone."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from strategies.structures.template import LegKind, LegTemplate, Structure


class Extent(StrEnum):
    """How far a profit or a loss can go."""

    LOCKED = "locked in when opened"
    LIMITED = "limited"
    SUBSTANTIAL = "limited only by a price of zero"
    UNLIMITED = "unlimited"


@dataclass(frozen=True, slots=True)
class Character:
    """Of one structure held to the near expiration; covers that expire with it count no longer."""

    max_profit: Extent
    max_loss: Extent
    naked_later: bool
    """Short options outlive the long ones that cover them."""
    by_model: bool
    """Two expirations: extremes depend on the far options' value, not on arithmetic."""

    @property
    def defined_risk(self) -> bool:
        """The most that can be lost is known when the trade is opened."""
        return self.max_loss in (Extent.LOCKED, Extent.LIMITED)


def character(structure: Structure) -> Character:
    """Read the extents off the slopes of the payoff beyond the outer strikes.

    Above the highest strike the payoff climbs by shares + calls for each dollar; below the lowest it falls by
    shares − puts for each dollar down (contracts per unit; short negative). Far options count by their
    intrinsic value, which an American option is never worth less than. Short far options that the near ones
    no longer cover make the loss open.
    """
    slopes = [_slopes(structure.legs)]
    if structure.has_far_legs:
        slopes.append(_slopes(tuple(leg for leg in structure.legs if leg.far or leg.kind is LegKind.SHARES)))
    naked = structure.has_far_legs and (slopes[-1][0] < 0 or slopes[-1][1] > 0)
    up_min, up_max = min(up for up, _ in slopes), max(up for up, _ in slopes)
    down_min, down_max = min(down for _, down in slopes), max(down for _, down in slopes)
    if not structure.has_far_legs and _constant(structure.legs):
        return Character(Extent.LOCKED, Extent.LOCKED, naked_later=False, by_model=False)
    loss = Extent.UNLIMITED if up_min < 0 else Extent.SUBSTANTIAL if down_max > 0 else Extent.LIMITED
    profit = Extent.UNLIMITED if up_max > 0 else Extent.SUBSTANTIAL if down_min < 0 else Extent.LIMITED
    return Character(profit, loss, naked_later=naked, by_model=structure.has_far_legs)


def _slopes(legs: tuple[LegTemplate, ...]) -> tuple[float, float]:
    """(change a dollar up above all strikes, change a dollar of price below all strikes), per share."""
    shares = sum(leg.ratio for leg in legs if leg.kind is LegKind.SHARES) / 100
    calls = sum(leg.ratio for leg in legs if leg.kind is LegKind.CALL)
    puts = sum(leg.ratio for leg in legs if leg.kind is LegKind.PUT)
    return shares + calls, shares - puts


def _constant(legs: tuple[LegTemplate, ...]) -> bool:
    """Whether the payoff has no slope anywhere."""
    bends: dict[str, int] = {}
    for leg in legs:
        if leg.letter:
            bends[leg.letter] = bends.get(leg.letter, 0) + leg.ratio
    return _slopes(legs)[1] == 0 and not any(bends.values())
