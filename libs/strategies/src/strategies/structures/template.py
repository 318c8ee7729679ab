"""What a structure is: legs as a small template, from which building, recognising and describing follow.

Legs are written `+1 put a | -1 put b far | +100 shares`: a signed ratio, the kind, a strike letter, and `far` where the
leg expires later than the others. Letters ascend with the strikes: a < b < c < d, one letter is one strike.

How a strike is found is written per letter: `b: delta 0.20` (magnitude, of the first leg with that letter), `b: atm`
(the strike nearest to the price), `a: b - 2 width` (so many widths from another letter).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from schemas.trade import SpreadType

Strikes = Mapping[str, Decimal]
"""Strike letter → $ per share."""

_LEG = re.compile(r"^([+-]\d+) (?:(shares)|(call|put) ([a-d])(?: (far))?)$")
_ANCHOR = re.compile(r"^([a-d]): (?:(atm)|delta (0\.\d+)|([a-d]) ([+-]) (\d+) width)$")


class TemplateError(ValueError):
    """A definition that contradicts itself; found when the catalogue is imported."""

    def __init__(self, key: str, problem: str) -> None:
        self.key = key
        super().__init__(f"structure {key!r}: {problem}")


class LegKind(StrEnum):
    CALL = "call"
    PUT = "put"
    SHARES = "shares"


class Bias(StrEnum):
    """What the price should do."""

    BULLISH = "bullish"
    BEARISH = "bearish"
    NEUTRAL = "neutral"
    EITHER_WAY = "a large move either way"
    NONE = "no view"


class VolatilityView(StrEnum):
    """What a rise of implied volatility does on the day of opening."""

    LONG = "gains from rising volatility"
    SHORT = "gains from falling volatility"
    FLAT = "little exposed to volatility"


@dataclass(frozen=True, slots=True)
class Holding:
    """A raw leg: an OCC symbol in contracts or a stock symbol in shares, short negative."""

    symbol: str
    signed_quantity: int


@dataclass(frozen=True, slots=True)
class LegTemplate:
    """One leg. ratio: contracts (shares for the stock) per unit, short negative."""

    kind: LegKind
    ratio: int
    letter: str = ""
    far: bool = False

    def __str__(self) -> str:
        if self.kind is LegKind.SHARES:
            return f"{self.ratio:+d} shares"
        return f"{self.ratio:+d} {self.kind} {self.letter}{' far' if self.far else ''}"


@dataclass(frozen=True, slots=True)
class AtTheMoney:
    letter: str


@dataclass(frozen=True, slots=True)
class AtDelta:
    """delta: magnitude, per share."""

    letter: str
    delta: float


@dataclass(frozen=True, slots=True)
class AtWidth:
    """steps: signed widths away from the strike of letter `of`."""

    letter: str
    of: str
    steps: int


Anchor = AtTheMoney | AtDelta | AtWidth


@dataclass(frozen=True, slots=True)
class Context:
    """What is known beside the legs when one shape has two names. None = not known, then the plain name is used."""

    spot: float | None = None
    """Price of the underlying, $ per share."""
    cash: Decimal | None = None
    """Dollars set aside to buy shares that are put to the account."""
    multiplier: int = 100


@dataclass(frozen=True, slots=True)
class Condition:
    """What must hold beside the shape."""

    text: str
    holds: Callable[[Strikes, Context], bool]
    spends_cash: bool = False
    """Whether each unit takes strike × multiplier out of the cash of the context."""


@dataclass(frozen=True, slots=True)
class Structure:
    """One named structure. Made by `define`, which checks it."""

    key: str
    """As in `SpreadType`; a key that the contract does not know travels as `custom`."""
    name: str
    shapes: tuple[tuple[LegTemplate, ...], ...]
    """The first is built; all are recognised."""
    anchors: tuple[Anchor, ...]
    bias: Bias
    volatility: VolatilityView
    gains: str
    risks: str
    spacing: tuple[int, ...] = ()
    """Ratio of the gaps between neighbouring strikes; 0 leaves a gap free; empty leaves all free."""
    unequal_wings: bool = False
    """The first and the last gap must differ."""
    condition: Condition | None = None
    dte: int = 45
    """Calendar days aimed at when built, of the near legs."""
    far_dte: int = 75
    also: tuple[str, ...] = ()
    """Other names it goes by."""

    @property
    def legs(self) -> tuple[LegTemplate, ...]:
        return self.shapes[0]

    @property
    def spread_type(self) -> SpreadType:
        try:
            return SpreadType(self.key)
        except ValueError:
            return SpreadType.CUSTOM

    @property
    def letters(self) -> tuple[str, ...]:
        """Ascending."""
        return letters_of(self.legs)

    @property
    def has_far_legs(self) -> bool:
        return any(leg.far for leg in self.legs)

    def fits(self, strikes: Strikes, context: Context) -> str:
        """Why these strikes are not this structure, or an empty string."""
        ordered = [strikes[letter] for letter in self.letters]
        gaps = [high - low for low, high in itertools.pairwise(ordered)]
        if any(gap <= 0 for gap in gaps):
            return f"strikes must ascend {' < '.join(self.letters)}"
        units = {gap / share for gap, share in zip(gaps, self.spacing, strict=True) if share} if self.spacing else set()
        if len(units) > 1:
            return f"the gaps between the strikes must stand as {':'.join(str(each or '*') for each in self.spacing)}"
        if self.unequal_wings and gaps[0] == gaps[-1]:
            return "the wings must differ"
        if self.condition is not None and not self.condition.holds(strikes, context):
            return self.condition.text
        return ""


def letters_of(legs: tuple[LegTemplate, ...]) -> tuple[str, ...]:
    """Strike letters of a shape, ascending."""
    return tuple(sorted({leg.letter for leg in legs if leg.letter}))


def define(
    key: str,
    name: str,
    legs: str,
    find: str = "",
    *,
    bias: Bias,
    volatility: VolatilityView,
    gains: str,
    risks: str,
    or_legs: str = "",
    spacing: tuple[int, ...] = (),
    unequal_wings: bool = False,
    condition: Condition | None = None,
    dte: int = 45,
    far_dte: int = 75,
    also: tuple[str, ...] = (),
) -> Structure:
    """Read and check one entry of the catalogue; `or_legs` is a second shape that goes by the same name.

    Raises TemplateError.
    """
    shapes = tuple(_legs(key, text) for text in (legs, or_legs) if text)
    anchors = tuple(_anchor(key, part) for part in find.split(" | ") if part)
    for shape in shapes:
        if letters_of(shape) != tuple("abcd"[: len(letters_of(shape))]):
            raise TemplateError(key, f"strike letters must be a, b, c, d in order, found {letters_of(shape)}")
        if letters_of(shape) != letters_of(shapes[0]):
            raise TemplateError(key, "both shapes must use the same letters")
    if tuple(sorted(anchor.letter for anchor in anchors)) != letters_of(shapes[0]):
        raise TemplateError(key, "every strike letter must be found by exactly one anchor")
    if spacing and len(spacing) != len(letters_of(shapes[0])) - 1:
        raise TemplateError(key, "spacing needs one number a gap")
    return Structure(
        key,
        name,
        shapes,
        anchors,
        bias,
        volatility,
        gains,
        risks,
        spacing,
        unequal_wings,
        condition,
        dte,
        far_dte,
        also,
    )


def _legs(key: str, text: str) -> tuple[LegTemplate, ...]:
    legs = []
    for part in text.split(" | "):
        match = _LEG.match(part)
        if match is None or int(match[1]) == 0:
            raise TemplateError(key, f"leg {part!r} is not written like '-1 put a', '+1 call b far' or '+100 shares'")
        kind = LegKind(match[2] or match[3])
        legs.append(LegTemplate(kind, int(match[1]), match[4] or "", match[5] is not None))
    slots = [(leg.kind, leg.letter, leg.far) for leg in legs]
    if len(set(slots)) < len(slots):
        raise TemplateError(key, "two legs name the same contract")
    if all(leg.far for leg in legs if leg.letter) and any(leg.letter for leg in legs):
        raise TemplateError(key, "at least one option leg must be near")
    return tuple(legs)


def _anchor(key: str, text: str) -> Anchor:
    match = _ANCHOR.match(text)
    if match is None:
        raise TemplateError(key, f"{text!r} is not written like 'b: delta 0.20', 'b: atm' or 'a: b - 1 width'")
    if match[2]:
        return AtTheMoney(match[1])
    if match[3]:
        return AtDelta(match[1], float(match[3]))
    return AtWidth(match[1], match[4], int(match[5] + match[6]))
