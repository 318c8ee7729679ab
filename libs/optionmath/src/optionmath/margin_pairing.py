"""The pairing of legs that needs the least margin, exact.

Choices are whole contracts: which longs cover the shorts of which expiration, which shorts are covered by shares, which
stay naked, which naked calls and puts form strangles. The cost is linear in them but for the greatest loss of each
expiration's spreads, which is the least number not below the loss at any corner price: a mixed-integer programme.

Most books need no programme: naked options alone are simple, and when each expiration's own longs cover its shorts,
later longs would not lower the loss, and a naked contract costs more than it saves at the price of greatest loss,
covering everything is best (`_covered`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from itertools import chain
from typing import NamedTuple

import numpy as np

from optionmath.margin import (
    ZERO,
    AccountKind,
    GroupKind,
    MarginGroup,
    MarginOption,
    MarginRules,
    Phase,
    Underlying,
)


class Pool(NamedTuple):
    """Covered options that are judged together: they end at the same moment and are the same kind of contract."""

    ends: tuple[date, bool]
    multiplier: int
    delivered: int


def pair(
    legs: Sequence[MarginOption],
    shares: int,
    underlying: Underlying,
    rules: MarginRules,
    long_dated: frozenset[MarginOption],
) -> tuple[tuple[MarginGroup, ...], tuple[MarginOption, ...]]:
    """Groups of the least-requirement pairing of netted legs, and the short calls that the account may not hold."""
    case = _Case(tuple(legs), shares, underlying, rules, long_dated)
    groups = _naked_only(case) or _covered(case) or _programme(case)
    prohibited = (
        tuple(option for group in groups if group.kind is GroupKind.NAKED for option in group.options if option.is_call)
        if rules.account is AccountKind.CASH
        else ()
    )
    return groups, prohibited


@dataclass(frozen=True, slots=True)
class _Case:
    legs: tuple[MarginOption, ...]
    shares: int
    underlying: Underlying
    rules: MarginRules
    long_dated: frozenset[MarginOption]

    @property
    def longs(self) -> list[MarginOption]:
        return [each for each in self.legs if each.signed_quantity > 0]

    @property
    def shorts(self) -> list[MarginOption]:
        return [each for each in self.legs if each.signed_quantity < 0]

    def pools(self) -> dict[Pool, list[MarginOption]]:
        """Shorts by the pool in which they would be covered."""
        found: dict[Pool, list[MarginOption]] = defaultdict(list)
        for each in self.shorts:
            found[Pool(each.ends, each.multiplier, each.delivered)].append(each)
        return dict(found)

    def eligible(self, pool: Pool) -> list[MarginOption]:
        """Longs that may cover shorts of a pool: same contract, alive at least as long."""
        kind = (pool.multiplier, pool.delivered)
        return [each for each in self.longs if each.ends >= pool.ends and (each.multiplier, each.delivered) == kind]

    def margin(self, option: MarginOption) -> Decimal:
        """$ beyond the premium that one naked contract needs."""
        rules, strike = self.rules, option.strike * option.multiplier
        value = self.underlying.price * option.delivered
        if rules.account is AccountKind.CASH:
            return max((value if option.is_call else strike) - option.premium, ZERO)
        rate, least = rules.naked_rate[self.underlying.kind], rules.naked_minimum_rate
        out_of_the_money = max(strike - value if option.is_call else value - strike, ZERO)
        leverage = self.underlying.leverage
        floor = least * leverage * (value if option.is_call else strike)
        return max(rate * leverage * value - out_of_the_money, floor, rules.naked_minimum)

    def naked(self, option: MarginOption) -> Decimal:
        """$ that one naked contract needs, premium included."""
        return option.premium + self.margin(option)

    def strangle(self, call: MarginOption, put: MarginOption) -> Decimal:
        """$ that a naked call and a naked put need together: the greater side and the other's premium."""
        greater, other = (call, put) if self.naked(call) >= self.naked(put) else (put, call)
        return self.naked(greater) + other.premium

    def in_the_money(self, option: MarginOption) -> Decimal:
        """$ by which shares delivered at the strike are worth less than the market says."""
        return option.exercise_value(self.underlying.price)

    @property
    def share_rate(self) -> Decimal:
        """Of the market value of the shares held."""
        if self.rules.account is AccountKind.CASH:
            return Decimal(1)
        if self.rules.phase is Phase.INITIAL:
            return self.rules.shares_initial
        return self.rules.long_shares_maintenance if self.shares > 0 else self.rules.short_shares_maintenance

    def protected(self, option: MarginOption) -> Decimal:
        """Maintenance $ of the shares that one long option protects."""
        value, strike = self.underlying.price * option.delivered, option.strike * option.multiplier
        out_of_the_money = max(value - strike if self.shares > 0 else strike - value, ZERO)
        return min(self.rules.hedged_strike_rate * strike + out_of_the_money, self.share_rate * value)

    def collared(self, put: MarginOption, call: MarginOption) -> Decimal:
        """Maintenance $ of shares between a long put and a short call; they count at most at the call's strike."""
        rules, strike, ceiling = self.rules, put.strike * put.multiplier, call.strike * call.multiplier
        counted = min(self.underlying.price * put.delivered, ceiling)
        hedged = rules.hedged_strike_rate * strike + max(counted - strike, ZERO)
        return min(hedged, rules.long_shares_maintenance * ceiling) + self.in_the_money(call)

    def loan(self, option: MarginOption) -> Decimal:
        """$ that may be borrowed on one unused long contract."""
        return self.rules.long_dated_loan * option.premium if option in self.long_dated else ZERO


def _corners(options: Sequence[MarginOption]) -> list[Decimal]:
    return sorted({ZERO, *(each.strike * each.multiplier / each.delivered for each in options)})


def _loss(members: Sequence[tuple[MarginOption, int]], price: Decimal) -> Decimal:
    """$ lost at expiration by these signed quantities, premiums apart."""
    return -sum((quantity * option.exercise_value(price) for option, quantity in members), ZERO)


def _greatest_loss(members: Sequence[tuple[MarginOption, int]]) -> Decimal:
    """The greatest loss at expiration, never below zero; the longs must cover the shorts on both sides."""
    return max(ZERO, *(_loss(members, price) for price in _corners([option for option, _ in members])))


def _savings(members: Sequence[tuple[MarginOption, int]], worst: Decimal) -> tuple[Decimal, Decimal]:
    """What the dearest short call and put lose where the greatest loss occurs; the mildest such price counts."""

    def dearest(price: Decimal, is_call: bool) -> Decimal:
        shorts = (each for each, quantity in members if quantity < 0 and each.is_call is is_call)
        return max((each.exercise_value(price) for each in shorts), default=ZERO)

    prices = [price for price in _corners([option for option, _ in members]) if _loss(members, price) == worst]
    return min(((dearest(price, True), dearest(price, False)) for price in prices), key=sum)


def _naked_only(case: _Case) -> tuple[MarginGroup, ...] | None:
    """Nothing but one short call, one short put, or one of each: the strangle is worth making as often as it can be."""
    calls = [each for each in case.legs if each.is_call]
    puts = [each for each in case.legs if not each.is_call]
    if case.shares or case.longs or not case.legs or len(calls) > 1 or len(puts) > 1:
        return None
    found: list[MarginGroup] = []
    pairs = 0
    if calls and puts and calls[0].delivered == puts[0].delivered and case.rules.account is AccountKind.MARGIN:
        pairs = min(-calls[0].signed_quantity, -puts[0].signed_quantity)
        found.append(
            _sized(GroupKind.STRANGLE, (calls[0], puts[0]), pairs, 0, pairs * case.strangle(calls[0], puts[0]))
        )
    for each in (*calls, *puts):
        count = -each.signed_quantity - pairs
        if count:
            found.append(_sized(GroupKind.NAKED, (each,), count, 0, count * case.naked(each)))
    return tuple(found)


def _covered(case: _Case) -> tuple[MarginGroup, ...] | None:
    """Everything covered by longs of its own expiration, where that is provably the least; None where it may not be.

    Proof: leaving n calls and m puts naked costs at least max(n, m) times the cheapest naked contract, since strangles
    share only one side, and lowers the losses by at most their exercise value at the prices of greatest loss.
    """
    if case.shares or case.long_dated:
        return None
    groups: list[MarginGroup] = []
    saving = (ZERO, ZERO)
    used: set[MarginOption] = set()
    for pool, shorts in case.pools().items():
        reach = case.eligible(pool)
        own = [each for each in reach if each.ends == pool[0]]
        for is_call in (True, False):
            wanted = sum(-each.signed_quantity for each in shorts if each.is_call is is_call)
            if sum(each.signed_quantity for each in own if each.is_call is is_call) < wanted:
                return None
        members = [(each, each.signed_quantity) for each in [*shorts, *own]]
        worst = _greatest_loss(members)
        if worst != _greatest_loss([(each, each.signed_quantity) for each in [*shorts, *reach]]):
            return None
        if worst:
            call, put = _savings(members, worst)
            saving = max(saving[0], call), max(saving[1], put)
        used.update(own)
        groups.append(MarginGroup(GroupKind.SPREAD, (*shorts, *own), 0, worst))
    if case.shorts and sum(saving) > min(case.naked(each) for each in case.shorts):
        return None
    groups.extend(MarginGroup(GroupKind.LONG, (each,), 0, ZERO) for each in case.longs if each not in used)
    return tuple(groups)


@dataclass(slots=True)
class _Choice:
    """One kind of grouping, chosen a whole number of times: what it costs and which contracts and shares it takes."""

    kind: GroupKind
    options: tuple[MarginOption, ...]
    cost: Decimal
    limit: int
    shares: int = 0
    pool: Pool | None = None
    """Set when the option joins the spreads of a pool instead of being priced alone."""
    saving_only: bool = False
    """A strangle: it takes contracts that are already naked and lowers their cost."""


def _choices(case: _Case) -> list[_Choice]:
    found: list[_Choice] = []
    for pool, shorts in case.pools().items():
        for option in chain(shorts, case.eligible(pool)):
            cost = case.loan(option) if option.signed_quantity > 0 else ZERO
            found.append(_Choice(GroupKind.SPREAD, (option,), cost, abs(option.signed_quantity), pool=pool))
    found.extend(_Choice(GroupKind.NAKED, (each,), case.naked(each), -each.signed_quantity) for each in case.shorts)
    found.extend(_strangles(case))
    found.extend(_share_choices(case))
    return found


def _strangles(case: _Case) -> list[_Choice]:
    if case.rules.account is AccountKind.CASH:
        return []
    return [
        _Choice(
            GroupKind.STRANGLE,
            (call, put),
            case.strangle(call, put) - case.naked(call) - case.naked(put),
            min(-call.signed_quantity, -put.signed_quantity),
            saving_only=True,
        )
        for call in case.shorts
        for put in case.shorts
        if call.is_call and not put.is_call and call.delivered == put.delivered
    ]


def _share_choices(case: _Case) -> list[_Choice]:
    """Options beside shares; costs are differences from the bare shares' requirement."""
    if not case.shares:
        return []
    long_shares = case.shares > 0
    held = abs(case.shares)
    found = [
        _Choice(GroupKind.COVERED, (each,), case.in_the_money(each), -each.signed_quantity, each.delivered)
        for each in case.shorts
        if each.is_call is long_shares and each.delivered <= held
    ]
    if case.rules.phase is Phase.INITIAL or case.rules.account is AccountKind.CASH:
        return found
    protectors = [each for each in case.longs if each.is_call is not long_shares and each.delivered <= held]
    for option in protectors:
        bare = case.share_rate * case.underlying.price * option.delivered
        change = case.protected(option) - bare + case.loan(option)
        limit = option.signed_quantity
        found.append(_Choice(GroupKind.PROTECTED_SHARES, (option,), change, limit, option.delivered))
        for call in case.shorts if long_shares else ():
            if call.is_call and call.delivered == option.delivered and option.ends >= call.ends:
                change = case.collared(option, call) - bare + case.loan(option)
                both = min(limit, -call.signed_quantity)
                found.append(_Choice(GroupKind.COLLAR, (option, call), change, both, option.delivered))
    return found


def _programme(case: _Case) -> tuple[MarginGroup, ...]:
    choices = _choices(case)
    pools = list(case.pools())
    counts = _solve(case, choices, pools) if choices else []
    return _groups(case, choices, pools, counts)


def _solve(case: _Case, choices: Sequence[_Choice], pools: Sequence[Pool]) -> list[int]:
    """How often each choice is taken in an optimum. Columns: the choices, then each pool's greatest loss."""
    from scipy.optimize import Bounds, LinearConstraint, milp

    width = len(choices) + len(pools)
    rows: list[np.ndarray] = []
    low: list[float] = []
    high: list[float] = []

    def constrain(entries: dict[int, float], least: float, most: float) -> None:
        row = np.zeros(width)
        for column, value in entries.items():
            row[column] += value
        rows.append(row)
        low.append(least)
        high.append(most)

    holding: dict[MarginOption, list[int]] = {option: [] for option in case.legs}
    for number, choice in enumerate(choices):
        for option in choice.options:
            holding[option].append(number)
    for option, numbers in holding.items():
        taken = {n: 1.0 for n in numbers if not choices[n].saving_only}
        quantity = float(abs(option.signed_quantity))
        constrain(taken, quantity if option.signed_quantity < 0 else 0.0, quantity)
        naked = {n: -1.0 for n in taken if choices[n].kind is GroupKind.NAKED}
        pairs = {n: 1.0 for n in numbers if choices[n].saving_only}
        if pairs:
            constrain({**naked, **pairs}, -np.inf, 0.0)
    constrain({n: float(each.shares) for n, each in enumerate(choices) if each.shares}, 0.0, float(abs(case.shares)))
    for number, pool in enumerate(pools):
        members = [(n, each.options[0]) for n, each in enumerate(choices) if each.pool == pool]
        for is_call in (True, False):
            sides = {n: float(np.sign(leg.signed_quantity)) for n, leg in members if leg.is_call is is_call}
            constrain(sides, 0.0, np.inf)
        for price in _corners([leg for _, leg in members]):
            value = {n: float(leg.exercise_value(price)) * np.sign(leg.signed_quantity) for n, leg in members}
            constrain({**value, len(choices) + number: 1.0}, 0.0, np.inf)
    answer = milp(
        np.array([float(each.cost) for each in choices] + [1.0] * len(pools)),
        constraints=LinearConstraint(np.array(rows), low, high),
        integrality=np.array([1] * len(choices) + [0] * len(pools)),
        bounds=Bounds(0, np.array([float(each.limit) for each in choices] + [np.inf] * len(pools))),
        options={"mip_rel_gap": 0.0},
    )
    if answer.x is None:
        raise ArithmeticError(f"the margin programme was not solved: {answer.message}")
    return [round(float(each)) for each in answer.x[: len(choices)]]


def _groups(
    case: _Case, choices: Sequence[_Choice], pools: Sequence[Pool], counts: Sequence[int]
) -> tuple[MarginGroup, ...]:
    """The chosen groups with exact requirements."""
    found: list[MarginGroup] = []
    left = {each: each.signed_quantity for each in case.legs}
    naked = dict.fromkeys(case.shorts, 0)
    spreads: dict[Pool, list[tuple[MarginOption, int]]] = {pool: [] for pool in pools}
    bare = abs(case.shares)
    for choice, count in zip(choices, counts, strict=True):
        if not count:
            continue
        if choice.pool is not None:
            option = choice.options[0]
            spreads[choice.pool].append((option, count if option.signed_quantity > 0 else -count))
        elif choice.kind is GroupKind.NAKED:
            naked[choice.options[0]] += count
        elif choice.saving_only:
            call, put = choice.options
            found.append(_sized(GroupKind.STRANGLE, choice.options, -count, 0, count * case.strangle(call, put)))
            naked[call] -= count
            naked[put] -= count
        else:
            shares = count * choice.shares
            bare -= shares
            whole = choice.cost - sum((case.loan(each) for each in choice.options), ZERO)
            deposit = count * whole + case.share_rate * case.underlying.price * shares
            signed = shares if case.shares > 0 else -shares
            found.append(_sized(choice.kind, choice.options, count, signed, deposit))
        for option in choice.options if not choice.saving_only else ():
            left[option] -= count if option.signed_quantity > 0 else -count
    for members in spreads.values():
        if members:
            legs = tuple(replace(option, signed_quantity=quantity) for option, quantity in members)
            found.append(MarginGroup(GroupKind.SPREAD, legs, 0, _greatest_loss(members)))
    for option, count in naked.items():
        if count:
            found.append(_sized(GroupKind.NAKED, (option,), count, 0, count * case.naked(option)))
    if bare:
        signed = bare if case.shares > 0 else -bare
        found.append(MarginGroup(GroupKind.SHARES, (), signed, case.share_rate * case.underlying.price * bare))
    for option, quantity in left.items():
        if quantity > 0:
            found.append(_sized(GroupKind.LONG, (option,), quantity, 0, ZERO - quantity * case.loan(option)))
    return tuple(found)


def _sized(kind: GroupKind, options: Sequence[MarginOption], count: int, shares: int, deposit: Decimal) -> MarginGroup:
    """A group with its options at `count` contracts, each on the side it is held."""
    size = abs(count)
    legs = tuple(replace(each, signed_quantity=size if each.signed_quantity > 0 else -size) for each in options)
    return MarginGroup(kind, legs, shares, deposit)
