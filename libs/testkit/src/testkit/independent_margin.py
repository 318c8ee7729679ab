"""Strategy-based margin once more, by trying every pairing: a slow second opinion that shares no code with the first.

Rules: Cboe, Margin Manual (April 2000), chapters on strategy-based margin: naked options 20 % (or another rate) of the
underlying less the amount out of the money, at least 10 %; spreads their greatest loss at expiration; a strangle the
greater side and the other's premium; options covered by shares what they are in the money; shares half their value.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import permutations, product

_SIDES_MAX = 5
"""Naked contracts of a side for which every way to form strangles is tried."""


PoolKey = tuple[date, float, float]
"""Expiration, multiplier and shares of contracts that are paired together."""


@dataclass(frozen=True, slots=True)
class Leg:
    """One option position. quantity: short negative; price: $ per point; shares: delivered by one contract."""

    is_call: bool
    strike: float
    expiration: date
    quantity: int
    price: float
    multiplier: float = 100.0
    shares: float = 100.0

    def value(self, price: float) -> float:
        """$ of exercising one contract at a price of the underlying."""
        worth = price * self.shares - self.strike * self.multiplier
        return max(worth if self.is_call else -worth, 0.0)


@dataclass(frozen=True, slots=True)
class Rules:
    """An account's rules. rate: of naked options."""

    cash_account: bool = False
    rate: float = 0.20
    share_rate: float = 0.50


def tied_up(legs: Sequence[Leg], shares: int, spot: float, rules: Rules, most: int = 20_000) -> float | None:
    """$ of net liquidating value that positions of one underlying need; None when there are too many pairings to try.

    Long options are paid in full; the proceeds of short options count for it.
    """
    shorts = [each for each in legs if each.quantity < 0]
    longs = [each for each in legs if each.quantity > 0]
    base = (1.0 if rules.cash_account else rules.share_rate) * abs(shares) * spot
    value = sum(each.price * each.multiplier * each.quantity for each in legs)
    best: float | None = None
    for tried, plan in enumerate(_plans(shorts, longs, shares)):
        if tried > most:
            return None
        cost = _cost(plan, spot, rules)
        if cost is not None and (best is None or cost < best):
            best = cost
    assert best is not None, "leaving everything naked is always a plan"
    return base + best + value


@dataclass(frozen=True, slots=True)
class _Plan:
    naked: list[tuple[Leg, int]]
    covered: list[tuple[Leg, int]]
    pools: dict[PoolKey, list[tuple[Leg, int]]]


def _plans(shorts: Sequence[Leg], longs: Sequence[Leg], shares: int) -> Iterator[_Plan]:
    choices = [list(_short_choices(each, shares)) for each in shorts]
    for chosen in product(*choices):
        taken = sum(each.shares * covered for each, (_, covered, _) in zip(shorts, chosen, strict=True))
        if taken > abs(shares):
            continue
        pools: dict[PoolKey, list[tuple[Leg, int]]] = {}
        for each, (_, _, paired) in zip(shorts, chosen, strict=True):
            if paired:
                pools.setdefault((each.expiration, each.multiplier, each.shares), []).append((each, -paired))
        naked = [(each, count) for each, (count, _, _) in zip(shorts, chosen, strict=True) if count]
        covered = [(each, count) for each, (_, count, _) in zip(shorts, chosen, strict=True) if count]
        for shared in product(*(list(_long_choices(each, list(pools))) for each in longs)):
            filled = {key: list(members) for key, members in pools.items()}
            for each, counts in zip(longs, shared, strict=True):
                for key, count in counts.items():
                    filled[key].append((each, count))
            yield _Plan(naked, covered, filled)


def _short_choices(leg: Leg, shares: int) -> Iterator[tuple[int, int, int]]:
    """Naked, covered by shares, paired with longs."""
    count = -leg.quantity
    coverable = int(abs(shares) // leg.shares) if shares and leg.is_call == (shares > 0) else 0
    for covered in range(min(count, coverable) + 1):
        for naked in range(count - covered + 1):
            yield naked, covered, count - covered - naked


def _long_choices(leg: Leg, pools: Sequence[PoolKey]) -> Iterator[dict[PoolKey, int]]:
    """Ways to spread a long over the pools it outlives; more longs never need more."""
    fit = [key for key in pools if key[0] <= leg.expiration and key[1:] == (leg.multiplier, leg.shares)]
    if not fit:
        yield {}
        return
    for split in _splits(leg.quantity, len(fit)):
        yield {key: count for key, count in zip(fit, split, strict=True) if count}


def _splits(count: int, parts: int) -> Iterator[tuple[int, ...]]:
    if parts == 1:
        yield (count,)
        return
    for first in range(count + 1):
        for rest in _splits(count - first, parts - 1):
            yield (first, *rest)


def _cost(plan: _Plan, spot: float, rules: Rules) -> float | None:
    total = sum(each.value(spot) * count for each, count in plan.covered)
    for members in plan.pools.values():
        for is_call in (True, False):
            if sum(count for each, count in members if each.is_call is is_call) < 0:
                return None
        corners = [0.0, *(each.strike * each.multiplier / each.shares for each, _ in members)]
        total += max(0.0, *(-sum(each.value(price) * count for each, count in members) for price in corners))
    return total + _naked(plan.naked, spot, rules)


def _naked(members: Sequence[tuple[Leg, int]], spot: float, rules: Rules) -> float:
    """Every naked contract by itself, less what the best strangles save."""
    calls = [_margin(each, spot, rules) for each, count in members if each.is_call for _ in range(count)]
    puts = [_margin(each, spot, rules) for each, count in members if not each.is_call for _ in range(count)]
    premiums = {
        is_call: [each.price * each.multiplier for each, count in members if each.is_call is is_call
                  for _ in range(count)]
        for is_call in (True, False)
    }  # fmt: skip
    alone = sum(calls) + sum(puts)
    if rules.cash_account or not calls or not puts:
        return alone
    few, many = (calls, puts) if len(calls) <= len(puts) else (puts, calls)
    few_paid, many_paid = (
        (premiums[True], premiums[False]) if len(calls) <= len(puts) else (premiums[False], premiums[True])
    )
    if len(set(few)) == 1 and len(set(many)) == 1:
        orders: Iterator[tuple[int, ...]] = iter([tuple(range(len(few)))])
    elif len(many) <= _SIDES_MAX:
        orders = permutations(range(len(many)), len(few))
    else:
        return min(alone, float("inf"))
    saving = max(
        sum(max(0.0, min(few[n] - few_paid[n], many[m] - many_paid[m])) for n, m in enumerate(order))
        for order in orders
    )  # fmt: skip
    return alone - saving


def _margin(leg: Leg, spot: float, rules: Rules) -> float:
    """$ that one naked contract needs, its premium included."""
    strike, value, premium = leg.strike * leg.multiplier, spot * leg.shares, leg.price * leg.multiplier
    if rules.cash_account:
        return max(value if leg.is_call else strike, premium)
    away = max(strike - value if leg.is_call else value - strike, 0.0)
    return premium + max(rules.rate * value - away, 0.10 * (value if leg.is_call else strike))
