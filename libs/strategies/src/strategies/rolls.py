"""Rolls of an open position: the same structure later, and higher or lower, for a credit.

The campaign counts as one trade: what the roll brings is added to what the position was opened for, and max loss and
probability of profit are those of the new legs with the sum of both. Structures of two expirations roll their near
legs towards the far ones.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import numpy as np

from optionmath.payoff import PayoffLeg, analyse, value_at
from optionmath.smile import Distribution, distribution
from schemas.money import price_from_float
from schemas.trade import Leg, OrderAction
from strategies.chain import ChainSnapshot
from strategies.exit_rules import OpenPosition
from strategies.fill_model import expected_fill
from strategies.rules import RuleSet
from strategies.scan import smile_of
from strategies.structures.expiries import Expiry, expiry, listed
from strategies.structures.recognise import Recognised, recognise_one
from strategies.structures.template import Context, LegKind, LegTemplate, Structure

LEGS_OF_AN_ORDER_MAX = 4
_CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Standing:
    """What a campaign can lose, and how likely it is to profit. $ per share and unit."""

    credit: Decimal
    """Received since the first opening, credit positive."""
    max_loss: Decimal | None
    """Magnitude; None when it is not limited, or depends on a model (two expirations)."""
    pop: float | None
    """Probability of at least a cent at expiration, 0–1, from the smile."""
    dte: int


@dataclass(frozen=True, slots=True)
class RollCandidate:
    """One roll. Prices are of the whole roll, $ per share and unit, credit positive."""

    structure: Structure
    expiration: date
    """New near expiration."""
    shift: Decimal
    """Dollars by which the moved strikes go up (down negative)."""
    side: str
    """`all`, or the side that moves up or down: `puts`, `calls`; the rest only moves out in time."""
    strikes: Mapping[str, Decimal]
    legs: tuple[Leg, ...]
    """Closing legs, then opening legs."""
    mid: Decimal
    natural: Decimal
    expected_fill: Decimal
    before: Standing
    after: Standing

    @property
    def days_added(self) -> int:
        return self.after.dte - self.before.dte

    @property
    def orders(self) -> int:
        """Orders it takes: a broker's complex order has four legs at most."""
        return -(-len(self.legs) // LEGS_OF_AN_ORDER_MAX)


@dataclass(frozen=True, slots=True)
class RollRefusal:
    """Why one roll is not offered; expiration None = why there is none at all."""

    expiration: date | None
    shift: Decimal
    side: str
    reason: str
    value: float | None = None
    limit: float | None = None


@dataclass(frozen=True, slots=True)
class Rolls:
    candidates: tuple[RollCandidate, ...]
    """Best first: probability of profit after the roll, then credit, then the fewer days."""
    refusals: tuple[RollRefusal, ...]

    def refused_by_reason(self) -> dict[str, int]:
        """How many rolls each reason refused."""
        return dict(Counter(each.reason for each in self.refusals))


@dataclass(frozen=True, slots=True)
class _Campaign:
    position: OpenPosition
    held: Recognised
    chain: ChainSnapshot
    rules: RuleSet
    old_rows: Mapping[str, int]
    """OCC symbol → row of every option leg."""
    before: Standing


def rolls(position: OpenPosition, chain: ChainSnapshot, rules: RuleSet) -> Rolls:
    """Every roll within the rules, ranked, and why each other one is refused. Pure; only usable quotes are used."""
    held = recognise_one(position.legs, Context(chain.spot if chain.spot > 0 else None))
    if held is None or held.units != 1 or held.expiration is None:
        return _none("the legs are not one unit of one named structure")
    row_of = {symbol: row for row, symbol in enumerate(chain.occ_symbols)}
    symbols = [each.symbol for each in position.legs if each.symbol != position.underlying_symbol]
    if absent := [symbol for symbol in symbols if symbol not in row_of]:
        return _none(f"{absent[0]} is not in the chain")
    rows = {symbol: row_of[symbol] for symbol in symbols}
    if unquoted := [symbol for symbol, row in rows.items() if not _closable(chain, row)]:
        return _none(f"{unquoted[0]} has no usable quote")
    dte = int(min(chain.dte[row] for row in rows.values()))
    market = None if held.far_expiration else _market(chain, held.expiration)
    before = _standing(held.structure, held.strikes, chain, position.entry_price, market, dte)
    campaign = _Campaign(position, held, chain, rules, rows, before)
    found: list[RollCandidate] = []
    refused: list[RollRefusal] = []
    for later in _later(campaign):
        forward = None if held.far_expiration else _market(chain, later.day)
        for shift, side, strikes in _targets(campaign, later):
            one = _judge(campaign, later, shift, side, strikes, forward)
            if isinstance(one, RollCandidate):
                found.append(one)
            else:
                refused.append(one)
    if not found and not refused:
        span = f"{rules.roll_days_min} to {rules.roll_days_max} days"
        return _none(f"no expiration is listed {span} after {held.expiration}")
    found.sort(
        key=lambda each: (-(each.after.pop or 0.0), -each.expected_fill, each.days_added, abs(each.shift), each.side)
    )
    return Rolls(tuple(found), tuple(refused))


def _none(reason: str) -> Rolls:
    return Rolls((), (RollRefusal(None, Decimal(0), "all", reason),))


def _closable(chain: ChainSnapshot, row: int) -> bool:
    """A worthless leg is bid at nothing and can be closed still."""
    bid, ask = float(chain.bid[row]), float(chain.ask[row])
    return bool(np.isfinite(bid) and np.isfinite(ask) and 0 <= bid < ask)


def _later(campaign: _Campaign) -> Iterator[Expiry]:
    rules, held = campaign.rules, campaign.held
    roots = {symbol[:6] for symbol in campaign.old_rows}
    for day, dte, root in listed(campaign.chain):
        added = dte - campaign.before.dte
        if root not in roots or not rules.roll_days_min <= added <= rules.roll_days_max:
            continue
        if held.far_expiration is None or day < held.far_expiration:
            yield expiry(campaign.chain, day, root)


def _moving(held: Recognised) -> tuple[LegTemplate, ...]:
    """Option legs that go to the new expiration."""
    return tuple(leg for leg in held.structure.legs if leg.letter and not leg.far)


def _sides(held: Recognised) -> dict[str, set[str]]:
    """Side → letters that may move up or down without touching another leg."""
    kinds = {letter: {leg.kind for leg in held.structure.legs if leg.letter == letter} for letter in held.strikes}
    fixed = {leg.letter for leg in held.structure.legs if leg.far}
    free = {letter for letter in kinds if letter not in fixed}
    puts = {letter for letter in free if kinds[letter] == {LegKind.PUT}}
    calls = {letter for letter in free if kinds[letter] == {LegKind.CALL}}
    return {"all": free, **({"puts": puts, "calls": calls} if puts and calls else {})}


def _targets(campaign: _Campaign, later: Expiry) -> Iterator[tuple[Decimal, str, Mapping[str, Decimal]]]:
    """(shift, side, strikes) of every roll into one expiration; out in time alone first."""
    held, most = campaign.held, campaign.rules.roll_strikes_max
    yield Decimal(0), "all", held.strikes
    for side, letters in _sides(held).items():
        if not letters:
            continue
        anchor = next((leg for leg in _moving(held) if leg.letter in letters and leg.ratio < 0), None)
        anchor = anchor or next(leg for leg in _moving(held) if leg.letter in letters)
        start, is_call = held.strikes[anchor.letter], anchor.kind is LegKind.CALL
        usable = sorted(strike for call, strike in later.rows if call == is_call)
        below = [strike for strike in usable if strike < start][-most:] if most else []
        above = [strike for strike in usable if strike > start][:most]
        for strike in (*below, *above):
            shift = strike - start
            yield shift, side, {key: own + shift if key in letters else own for key, own in held.strikes.items()}


def _judge(
    campaign: _Campaign,
    later: Expiry,
    shift: Decimal,
    side: str,
    strikes: Mapping[str, Decimal],
    market: Distribution | None,
) -> RollCandidate | RollRefusal:
    held, chain, rules = campaign.held, campaign.chain, campaign.rules

    def refuse(reason: str, value: float | None = None, limit: float | None = None) -> RollRefusal:
        return RollRefusal(later.day, shift, side, reason, value, limit)

    if held.structure.fits(strikes, Context(chain.spot, None, chain.multiplier)):
        return refuse("the strikes would be another structure")
    new_rows: list[int] = []
    for leg in _moving(held):
        row = later.rows.get((leg.kind is LegKind.CALL, strikes[leg.letter]))
        if row is None:
            return refuse("a strike has no usable quote")
        new_rows.append(row)
    mid, natural, fill, legs = _priced(campaign, new_rows)
    if float(fill) < rules.roll_credit_min:
        return refuse("the credit at the expected fill is too small", float(fill), rules.roll_credit_min)
    before = campaign.before
    after = _standing(held.structure, strikes, chain, before.credit + fill, market, later.dte)
    if before.max_loss is not None and after.max_loss is not None:
        limit = float(before.max_loss) * (1 + rules.roll_max_loss_growth_pct / 100)
        if float(after.max_loss) > limit:
            return refuse("the max loss grows too much", float(after.max_loss), limit)
    return RollCandidate(held.structure, later.day, shift, side, strikes, legs, mid, natural, fill, before, after)


def _priced(campaign: _Campaign, new_rows: list[int]) -> tuple[Decimal, Decimal, Decimal, tuple[Leg, ...]]:
    """(mid, natural, expected fill, legs) of closing the moving legs and opening them again at the new rows."""
    chain, held = campaign.chain, campaign.held
    moving = _moving(held)
    of_leg = dict(zip(held.structure.legs, held.legs, strict=True))
    old_rows = [campaign.old_rows[of_leg[leg].symbol] for leg in moving]
    ratio = np.array([leg.ratio for leg in moving])
    rows, quantity = [*old_rows, *new_rows], np.concatenate((-ratio, ratio))
    bid, ask = chain.bid[rows], chain.ask[rows]
    mid = -float(quantity @ (bid + ask)) / 2
    natural = -float(np.where(quantity > 0, quantity * ask, quantity * bid).sum())
    widest = np.array([float(np.max(200 * (ask - bid) / (ask + bid)))])
    fill = float(expected_fill(np.array([mid]), np.array([natural]), widest)[0])
    actions = {
        (True, True): OrderAction.BUY_TO_OPEN, (True, False): OrderAction.BUY_TO_CLOSE,
        (False, True): OrderAction.SELL_TO_OPEN, (False, False): OrderAction.SELL_TO_CLOSE,
    }  # fmt: skip
    legs = tuple(
        Leg(
            occ_symbol=chain.occ_symbols[row],
            action=actions[bool(each > 0), index >= len(moving)],
            quantity=abs(int(each)),
        )
        for index, (row, each) in enumerate(zip(rows, quantity, strict=True))
    )
    return price_from_float(mid), price_from_float(natural), price_from_float(fill), legs


def _market(chain: ChainSnapshot, day: date) -> Distribution | None:
    smile = smile_of(chain, np.nonzero(chain.expiration == np.datetime64(day))[0])
    return distribution(smile) if smile else None


def _standing(
    structure: Structure,
    strikes: Mapping[str, Decimal],
    chain: ChainSnapshot,
    credit: Decimal,
    market: Distribution | None,
    dte: int,
) -> Standing:
    """Shares count as bought or sold at today's price: as a call of strike 0."""
    if structure.has_far_legs:
        return Standing(credit, None, None, dte)
    legs, paid = [], Decimal(0)
    for leg in structure.legs:
        if leg.kind is LegKind.SHARES:
            lots = leg.ratio // chain.multiplier
            legs.append(PayoffLeg(True, Decimal(0), lots))
            paid += lots * price_from_float(chain.spot)
        else:
            legs.append(PayoffLeg(leg.kind is LegKind.CALL, strikes[leg.letter], leg.ratio))
    found = analyse(legs, credit - paid)
    pop = None if market is None else profit_probability(legs, credit - paid, market)
    return Standing(credit, found.max_loss, pop, dte)


def profit_probability(legs: list[PayoffLeg], credit: Decimal, market: Distribution) -> float:
    """P(at least a cent per share at expiration): the mass between the breakevens where there is a profit (0–1)."""
    least = credit - _CENT
    edges = sorted(analyse(legs, least).breakevens)
    if not edges:
        return 1.0 if value_at(legs, least, Decimal(1)) >= 0 else 0.0
    cdf = [0.0, *(float(each) for each in market.below(np.array([float(edge) for edge in edges]))), 1.0]
    inside = [edges[0] / 2, *((low + high) / 2 for low, high in itertools.pairwise(edges)), edges[-1] + 1]
    return sum(
        high - low for low, high, at in zip(cdf, cdf[1:], inside, strict=False) if value_at(legs, least, at) >= 0
    )
