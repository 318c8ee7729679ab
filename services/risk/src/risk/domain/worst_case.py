"""What positions and open orders can lose together, whichever of the orders fill. Exact within one expiration.

At one price of the underlying the worst choice of fills is known: every order that loses there fills, no other does.
Held loss plus the positive parts of the orders' losses is convex between strikes, so its greatest value lies on a
strike, at zero, or grows without end. Partial fills lie between none and all. Expirations and underlyings are added up:
the sum of their worst is never below the worst of the sum.

Whole numbers of 1/10,000 dollar per share make the arithmetic exact. Source: the positive-part argument is elementary
(a maximum over independent choices of a sum is the sum of the maxima).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from risk.domain.facts import Held, Order, option_of
from schemas.symbols import OptionType

MULTIPLIER = 100
_UNITS = 10_000
"""Parts of a dollar."""
EUROPEAN_ROOTS = frozenset({"SPX", "SPXW", "NDX", "NDXP", "RUT", "RUTW", "VIX", "VIXW", "XSP", "XEO", "DJX", "MRUT"})
"""Index options that cannot be exercised early: a long one may be worth less than its exercise value."""

Integers = npt.NDArray[np.int64]
Legs = Sequence[tuple[str, int]]
Bucket = tuple[str, date]


@dataclass(frozen=True, slots=True)
class WorstCase:
    """Greatest losses, magnitudes in dollars; None = unlimited, or nothing bounds it."""

    total: Decimal | None
    of_underlying: Mapping[str, Decimal | None]
    of_bucket: Mapping[Bucket, Decimal | None]
    """Underlying and expiration; what spans several counts under its first."""


@dataclass(slots=True)
class _Group:
    held: list[tuple[str, int]] = field(default_factory=list)
    cash: int = 0
    """Received for what is held, in parts of a dollar per share."""
    orders: list[Order] = field(default_factory=list)


def worst_case(held: Iterable[Held], orders: Iterable[Order]) -> WorstCase:
    """Greatest loss of holdings, from their opening prices, and of any choice of orders at their worst prices."""
    groups: dict[Bucket, _Group] = defaultdict(_Group)
    for each in held:
        group = groups[each.underlying_symbol, option_of(each.occ_symbol).expiration]
        group.held.append((each.occ_symbol, each.signed_quantity))
        group.cash -= each.signed_quantity * _parts(each.average_open_price)
    fixed: dict[Bucket, Decimal | None] = defaultdict(Decimal)
    for order in orders:
        dates = order.expirations
        if len(dates) == 1:
            groups[order.underlying_symbol, dates[0]].orders.append(order)
        else:
            key = (order.underlying_symbol, dates[0])
            fixed[key] = _plus(fixed[key], order_loss(order.legs, order.worst_price, order.quantity))
    found: dict[Bucket, Decimal | None] = {key: _of_group(group) for key, group in groups.items()}
    _join_calendars(groups, found)
    for key, amount in fixed.items():
        found[key] = _plus(found.get(key, Decimal(0)), amount)
    of_underlying: dict[str, Decimal | None] = {}
    for (underlying, _), amount in found.items():
        of_underlying[underlying] = _plus(of_underlying.get(underlying, Decimal(0)), amount)
    total: Decimal | None = Decimal(0)
    for amount in of_underlying.values():
        total = _plus(total, amount)
    return WorstCase(total, of_underlying, found)


def order_loss(legs: Legs, credit: Decimal, quantity: int) -> Decimal | None:
    """What one order can lose at this net price, dollars; None = unlimited, or nothing bounds it.

    With several expirations it is bounded at the first when only long American legs live on: each is worth at least
    its exercise value there, and nothing is owed afterwards.
    """
    options = [option_of(symbol) for symbol, _ in legs]
    first = min(option.expiration for option in options)
    for option, (_, count) in zip(options, legs, strict=True):
        if option.expiration > first and (count < 0 or option.root_symbol in EUROPEAN_ROOTS):
            return None
    strikes, calls, counts = _columns(legs)
    if int(counts[calls].sum()) < 0:
        return None
    points = np.unique(np.append(strikes, 0))
    lowest = int((_parts(credit) + _payoff(points, strikes, calls, counts)).min())
    return _dollars(max(0, -lowest) * quantity)


def _join_calendars(groups: Mapping[Bucket, _Group], found: dict[Bucket, Decimal | None]) -> None:
    """A short leg covered by a later long one is unlimited alone: judge what is held in such an underlying as one."""
    for underlying in {name for (name, _), amount in found.items() if amount is None}:
        keys = sorted(key for key in found if key[0] == underlying)
        held = [leg for key in keys for leg in groups[key].held]
        if not held:
            continue
        cash = sum(groups[key].cash for key in keys)
        together = order_loss(held, Decimal(cash) / _UNITS, 1)
        if together is None:
            continue
        for key in keys:
            found[key] = _of_group(_Group(orders=groups[key].orders))
        found[keys[0]] = _plus(found[keys[0]], together)


def _of_group(group: _Group) -> Decimal | None:
    legs = [*group.held, *(leg for order in group.orders for leg in order.legs)]
    if not legs:
        return Decimal(0)
    points = np.unique(np.append(_columns(legs)[0], 0))
    loss = np.full(points.size, -group.cash, dtype=np.int64)
    slope = 0
    if group.held:
        strikes, calls, counts = _columns(group.held)
        loss -= _payoff(points, strikes, calls, counts)
        slope -= int(counts[calls].sum())
    for order in group.orders:
        strikes, calls, counts = _columns(order.legs)
        gain = order.quantity * (_parts(order.worst_price) + _payoff(points, strikes, calls, counts))
        loss += np.maximum(-gain, 0)
        slope += max(0, -order.quantity * int(counts[calls].sum()))
    return None if slope > 0 else _dollars(max(0, int(loss.max())))


def _columns(legs: Legs) -> tuple[Integers, npt.NDArray[np.bool_], Integers]:
    found = [_terms(symbol) for symbol, _ in legs]
    return (
        np.array([strike for strike, _ in found], dtype=np.int64),
        np.array([is_call for _, is_call in found], dtype=bool),
        np.array([count for _, count in legs], dtype=np.int64),
    )


@lru_cache(maxsize=65_536)
def _terms(occ_symbol: str) -> tuple[int, bool]:
    option = option_of(occ_symbol)
    return _parts(option.strike), option.option_type is OptionType.CALL


def _payoff(points: Integers, strikes: Integers, calls: npt.NDArray[np.bool_], counts: Integers) -> Integers:
    away = points[:, None] - strikes
    return np.asarray(np.maximum(np.where(calls, away, -away), 0) @ counts)


@lru_cache(maxsize=16_384)
def _parts(price: Decimal) -> int:
    return int((price * _UNITS).to_integral_value(ROUND_FLOOR))  # against us: less credit, more debit


def _dollars(parts: int) -> Decimal:
    return (Decimal(parts) * MULTIPLIER / _UNITS).quantize(Decimal("0.01"), ROUND_CEILING)


def _plus(first: Decimal | None, second: Decimal | None) -> Decimal | None:
    return None if first is None or second is None else first + second
