"""Find the legs of a named structure in a chain by delta, days, width and credit, or say which leg is missing."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

import numpy as np

from schemas.money import price_from_float
from schemas.trade import Leg, OrderAction
from strategies.chain import ChainSnapshot
from strategies.fill_model import expected_fill
from strategies.structures.catalogue import CATALOGUE
from strategies.structures.expiries import Expiry, near_and_far
from strategies.structures.template import (
    AtDelta,
    AtTheMoney,
    AtWidth,
    Context,
    Holding,
    LegKind,
    LegTemplate,
    Structure,
)

_WIDTH_OF_SPOT = 0.02
_CHOICES, _WIDTHS = 10, 16
_OFF_WIDTH = Decimal("0.25")
"""How far, as a share of the width, an unconstrained wing may miss the exact width."""
_AT_THE_MONEY = 0.05


@dataclass(frozen=True, slots=True)
class BuildTarget:
    """What to aim at; None = the structure's own default. Deltas are magnitudes per share."""

    dte: int | None = None
    far_dte: int | None = None
    dte_tolerance: int = 15
    """Calendar days the near expiration may miss its target by."""
    far_dte_tolerance: int = 60
    expiration: date | None = None
    far_expiration: date | None = None
    short_delta: float | None = None
    """For every strike that is found by delta and sold."""
    long_delta: float | None = None
    deltas: Mapping[str, float] = field(default_factory=dict)
    """Strike letter → delta; goes before short_delta and long_delta, and replaces `at the money`."""
    delta_tolerance: float = 0.10
    width: float | None = None
    """$ per share between anchored strike and wing; None = 2 % of the price."""
    width_tolerance_pct: float = 75.0
    credit_min: Decimal | None = None
    """Option legs at the expected fill, $ per share, credit positive: -1.20 = pay at most 1.20."""
    credit_to_width_min: float | None = None
    """At the expected fill, against the widest gap between neighbouring strikes."""


@dataclass(frozen=True, slots=True)
class Built:
    """A structure found in a chain. Prices are of the option legs, $ per share and unit, credit positive."""

    structure: Structure
    underlying_symbol: str
    legs: tuple[Holding, ...]
    """One unit, in the order of the template; shares under the underlying's symbol."""
    strikes: Mapping[str, Decimal]
    expiration: date | None
    far_expiration: date | None
    mid: Decimal
    natural: Decimal
    expected_fill: Decimal
    delta: float
    """Of one unit, in shares per share of the multiplier; shares included."""

    def order_legs(self) -> tuple[Leg, ...]:
        """The option legs as an opening order."""
        return tuple(
            Leg(
                occ_symbol=each.symbol,
                action=OrderAction.BUY_TO_OPEN if each.signed_quantity > 0 else OrderAction.SELL_TO_OPEN,
                quantity=abs(each.signed_quantity),
            )
            for each, leg in zip(self.legs, self.structure.legs, strict=True)
            if leg.kind is not LegKind.SHARES
        )


@dataclass(frozen=True, slots=True)
class BuildRefusal:
    """Why there is no such structure in this chain; `leg` is the template leg that could not be found, or empty."""

    structure: Structure
    leg: str
    reason: str


@dataclass(frozen=True, slots=True)
class _Search:
    """One structure, chain and target with the expirations chosen."""

    structure: Structure
    chain: ChainSnapshot
    target: BuildTarget
    near: Expiry
    far: Expiry | None
    context: Context

    def expiry(self, leg: LegTemplate) -> Expiry:
        return self.far if leg.far and self.far is not None else self.near

    def row(self, leg: LegTemplate, strike: Decimal) -> int | None:
        return self.expiry(leg).rows.get((leg.kind is LegKind.CALL, strike))

    def legs_at(self, letter: str) -> list[LegTemplate]:
        return [leg for leg in self.structure.legs if leg.letter == letter]

    def listed(self, letter: str) -> set[Decimal]:
        """Strikes at which every leg of the letter has a usable quote."""
        sets = [
            {strike for is_call, strike in self.expiry(leg).rows if is_call == (leg.kind is LegKind.CALL)}
            for leg in self.legs_at(letter)
        ]
        return set.intersection(*sets)


def build(
    structure: Structure | str, chain: ChainSnapshot, target: BuildTarget | None = None, *, cash: Decimal | None = None
) -> Built | BuildRefusal:
    """Find one unit of a structure; the closest to the target that satisfies every relation and the credit asked.

    The expiration nearest to the days aimed at is tried first, then its neighbours within the tolerance.

    `structure` may be a key of the catalogue (KeyError for an unknown one). `cash`: dollars set aside, for
    structures that need it. Only usable quotes are used.
    """
    own = CATALOGUE[structure] if isinstance(structure, str) else structure
    aim = target or BuildTarget()
    context = Context(chain.spot, cash, chain.multiplier)
    if not any(leg.letter for leg in own.legs):
        return _shares_only(own, chain)
    if not chain.spot > 0:
        return BuildRefusal(own, "", "the price of the underlying is not known")
    expiries = near_and_far(
        chain,
        (aim.dte or own.dte, aim.dte_tolerance, aim.expiration),
        (aim.far_dte or own.far_dte, aim.far_dte_tolerance, aim.far_expiration) if own.has_far_legs else None,
    )
    if isinstance(expiries, str):
        missing_far = "far" in expiries
        first = next(leg for leg in own.legs if leg.letter and leg.far == missing_far)
        return BuildRefusal(own, str(first), expiries)
    refusal: BuildRefusal | None = None
    for near, far in expiries:
        found = _closest(_Search(own, chain, aim, near, far, context))
        if isinstance(found, Built):
            return found
        refusal = refusal or found
    assert refusal is not None
    return refusal


def _shares_only(own: Structure, chain: ChainSnapshot) -> Built:
    legs = tuple(Holding(chain.underlying_symbol, leg.ratio) for leg in own.legs)
    zero = Decimal(0)
    delta = sum(leg.ratio for leg in own.legs) / chain.multiplier
    return Built(own, chain.underlying_symbol, legs, {}, None, None, zero, zero, zero, delta)


def _closest(search: _Search) -> Built | BuildRefusal:
    choices: dict[str, list[tuple[float, Decimal]]] = {}
    for anchor in search.structure.anchors:
        if isinstance(anchor, AtWidth) and anchor.letter not in search.target.deltas:
            continue
        found = _anchored(search, anchor.letter, anchor)
        if isinstance(found, BuildRefusal):
            return found
        choices[anchor.letter] = found
    attempts = sorted(_attempts(search, choices), key=lambda attempt: attempt[0])
    if not attempts:
        wing = next(each for each in search.structure.anchors if isinstance(each, AtWidth))
        leg = search.legs_at(wing.letter)[0]
        return BuildRefusal(search.structure, str(leg), f"no strike is listed near {_width(search):g} from {wing.of}")
    refusal, best_credit = None, None
    for _, strikes in attempts:
        if reason := search.structure.fits(strikes, search.context):
            closest = ", ".join(f"{letter} {strike.normalize():f}" for letter, strike in sorted(strikes.items()))
            refusal = refusal or BuildRefusal(search.structure, "", f"{reason}; closest to the target were {closest}")
            continue
        built = _priced(search, strikes)
        if not (short := _credit_short(search, built)):
            return built
        if best_credit is None or built.expected_fill > best_credit:
            best_credit = built.expected_fill
            refusal = BuildRefusal(search.structure, "", short)
    assert refusal is not None
    return refusal


def _anchored(
    search: _Search, letter: str, anchor: AtTheMoney | AtDelta | AtWidth
) -> list[tuple[float, Decimal]] | BuildRefusal:
    """(distance, strike) of the strikes nearest to an anchor, nearest first."""
    leg = search.legs_at(letter)[0]
    listed = search.listed(letter)
    day = search.expiry(leg).day
    if not listed:
        others = " and ".join(str(each) for each in search.legs_at(letter))
        return BuildRefusal(search.structure, str(leg), f"no strike has a usable quote for {others} in {day}")
    wanted = _wanted_delta(search, leg, anchor)
    if wanted is None:
        spot = search.chain.spot
        near = sorted((abs(float(strike) / spot - 1), strike) for strike in listed)[:_CHOICES]
        if near[0][0] > _AT_THE_MONEY:
            return BuildRefusal(search.structure, str(leg), f"the nearest strike to {spot:g} is {near[0][1]} in {day}")
        return [(20 * distance, strike) for distance, strike in near]
    known = {
        strike: abs(float(search.chain.delta[row])) for strike in listed if (row := search.row(leg, strike)) is not None
    }
    ranked = sorted((abs(delta - wanted), strike) for strike, delta in known.items() if np.isfinite(delta))
    if not ranked:
        return BuildRefusal(search.structure, str(leg), f"no {leg.kind} of {day} has a known delta")
    if ranked[0][0] > search.target.delta_tolerance:
        strike = ranked[0][1]
        reason = (
            f"the {leg.kind} nearest to delta {wanted:.2f} in {day} is {strike.normalize():f} "
            f"with {known[strike]:.2f}: {search.target.delta_tolerance:.2f} away is the most"
        )
        return BuildRefusal(search.structure, str(leg), reason)
    return [(miss, strike) for miss, strike in ranked[:_CHOICES] if miss <= search.target.delta_tolerance]


def _wanted_delta(search: _Search, leg: LegTemplate, anchor: AtTheMoney | AtDelta | AtWidth) -> float | None:
    if leg.letter in search.target.deltas:
        return search.target.deltas[leg.letter]
    if not isinstance(anchor, AtDelta):
        return None
    asked = search.target.short_delta if leg.ratio < 0 else search.target.long_delta
    return anchor.delta if asked is None else asked


def _width(search: _Search) -> float:
    return search.target.width or search.chain.spot * _WIDTH_OF_SPOT


def _attempts(
    search: _Search, choices: Mapping[str, list[tuple[float, Decimal]]]
) -> Iterator[tuple[float, Mapping[str, Decimal]]]:
    """(distance from the target, strikes) of every combination of anchored strikes and widths."""
    wings = [
        anchor for anchor in search.structure.anchors if isinstance(anchor, AtWidth) and anchor.letter not in choices
    ]
    listed = {anchor.letter: search.listed(anchor.letter) for anchor in wings}
    for combination in itertools.product(*choices.values()):
        strikes = dict(zip(choices, (strike for _, strike in combination), strict=True))
        distance = sum(miss for miss, _ in combination)
        if not wings:
            yield distance, strikes
            continue
        for width in _widths(search, strikes, wings, listed):
            placed = _place(search.structure, strikes, wings, listed, width)
            if placed is not None:
                off, complete = placed
                yield distance + abs(float(width) / _width(search) - 1) + off, complete


def _widths(
    search: _Search, strikes: Mapping[str, Decimal], wings: list[AtWidth], listed: Mapping[str, set[Decimal]]
) -> list[Decimal]:
    """Widths that some wing can have exactly, nearest to the one asked first."""
    aim, tolerance = _width(search), search.target.width_tolerance_pct / 100
    first = next(wing for wing in wings if wing.of in strikes)
    exact = {(strike - strikes[first.of]) / first.steps for strike in listed[first.letter]}
    near = [width for width in exact if width > 0 and abs(float(width) / aim - 1) <= tolerance]
    return sorted(near, key=lambda width: (abs(float(width) - aim), width))[:_WIDTHS]


def _place(
    structure: Structure,
    anchored: Mapping[str, Decimal],
    wings: list[AtWidth],
    listed: Mapping[str, set[Decimal]],
    width: Decimal,
) -> tuple[float, dict[str, Decimal]] | None:
    """(how far wings miss the width, all strikes), or None when a wing is not listed near enough."""
    strikes, off, waiting = dict(anchored), Decimal(0), list(wings)
    while waiting:
        wing = next(each for each in waiting if each.of in strikes)
        waiting.remove(wing)
        exact = strikes[wing.of] + wing.steps * width
        chosen = exact
        if exact not in listed[wing.letter]:
            if structure.spacing or not listed[wing.letter]:
                return None
            chosen = min(listed[wing.letter], key=lambda strike: (abs(strike - exact), strike))
            if abs(chosen - exact) > _OFF_WIDTH * width * abs(wing.steps):
                return None
        off += abs(chosen - exact) / width
        strikes[wing.letter] = chosen
    return float(off), strikes


def _credit_short(search: _Search, built: Built) -> str:
    """Why the credit is not enough, or an empty string."""
    target, got = search.target, built.expected_fill
    if target.credit_min is not None and got < target.credit_min:
        return f"the best credit at the expected fill is {got}, asked were {target.credit_min}"
    if target.credit_to_width_min is not None:
        ordered = sorted(built.strikes.values())
        widest = max((high - low for low, high in itertools.pairwise(ordered)), default=Decimal(0))
        if not widest or float(got / widest) < target.credit_to_width_min:
            share = f"{got / widest:.2f}" if widest else "without a width"
            return f"the best credit against the width is {share}, asked were {target.credit_to_width_min}"
    return ""


def _priced(search: _Search, strikes: Mapping[str, Decimal]) -> Built:
    chain, legs, rows, ratios = search.chain, [], [], []
    delta = 0.0
    for leg in search.structure.legs:
        row = search.row(leg, strikes[leg.letter]) if leg.letter else None
        if row is None:
            legs.append(Holding(chain.underlying_symbol, leg.ratio))
            delta += leg.ratio / chain.multiplier
            continue
        legs.append(Holding(chain.occ_symbols[row], leg.ratio))
        rows.append(row)
        ratios.append(leg.ratio)
        delta += leg.ratio * float(chain.delta[row])
    ratio, bid, ask = np.array(ratios), chain.bid[rows], chain.ask[rows]
    mid = -float(ratio @ (bid + ask)) / 2
    natural = -float(np.where(ratio > 0, ratio * ask, ratio * bid).sum())
    widest = np.array([float(np.max(200 * (ask - bid) / (ask + bid)))])
    fill = float(expected_fill(np.array([mid]), np.array([natural]), widest)[0])
    return Built(
        search.structure, chain.underlying_symbol, tuple(legs), strikes, search.near.day,
        search.far.day if search.far else None, price_from_float(mid), price_from_float(natural),
        price_from_float(fill), delta,
    )  # fmt: skip
