"""Risk-based (portfolio) margin in the manner of OCC's theoretical intermarket margin system, as a stress figure.

Every class is revalued at ten equidistant prices over its range, five below and five above the market, implied
volatilities unchanged: ±15 % for equities and narrow indices, −8 % to +6 % for a high-capitalisation broad index,
±10 % for other broad indices. Within a product group gains of one class offset losses of another at the same point, up
to the group's share; the requirement of a group is its worst point, but at least $37.50 for each option contract of 100
(in proportion for other multipliers). Groups do not offset each other.

Caveat: the ranges, the points and the minimum are Rule 10.4 knowledge from secondary sources and are to be checked
against the rule book before anything relies on them; brokers add house scans (concentration, volatility, gaps) and the
real system's theoretical values differ in volatility and dividends. Use it to compare positions, never as permission.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from enum import StrEnum

import numpy as np

from optionmath.revaluation import Book, Floats, Scenarios, calm, revalue

MINIMUM_PER_CONTRACT = Decimal("37.50")
_CENT = Decimal("0.01")
_STEPS = 5


class ClassKind(StrEnum):
    """What sets the range of prices."""

    EQUITY = "equity"
    NARROW_INDEX = "narrow_index"
    HIGH_CAP_BROAD_INDEX = "high_cap_broad_index"
    OTHER_BROAD_INDEX = "other_broad_index"


RANGES: Mapping[ClassKind, tuple[float, float]] = {
    ClassKind.EQUITY: (-0.15, 0.15),
    ClassKind.NARROW_INDEX: (-0.15, 0.15),
    ClassKind.HIGH_CAP_BROAD_INDEX: (-0.08, 0.06),
    ClassKind.OTHER_BROAD_INDEX: (-0.10, 0.10),
}


@dataclass(frozen=True, slots=True)
class ProductClass:
    """How one underlying is treated. Classes of the same `group` offset; without a group the class stands alone.

    leverage: of a leveraged fund, widens the range. offset: share of its gains that may offset losses in the group.
    """

    kind: ClassKind = ClassKind.EQUITY
    group: str | None = None
    offset: float = 0.90
    leverage: float = 1.0


@dataclass(frozen=True, slots=True)
class GroupMargin:
    """One product group. `profit` is $ at each of the ten points, lowest price first, offsets applied."""

    group: str
    underlyings: tuple[str, ...]
    profit: Floats
    requirement: Decimal
    """The worst point's loss or the minimum, whichever is more; rounded up to the cent."""
    minimum: Decimal
    worst_point: int


@dataclass(frozen=True, slots=True)
class PortfolioMargin:
    """Requirement of a portfolio-margin account, $; None where a position cannot be valued."""

    groups: tuple[GroupMargin, ...]
    requirement: Decimal | None
    unpriced: tuple[str, ...]


def valuation_points(kind: ClassKind, leverage: float = 1.0) -> Floats:
    """The ten moves as fractions, lowest first: equal steps down to the lower end and up to the upper one, no zero."""
    low, high = RANGES[kind]
    steps = np.arange(1, _STEPS + 1) / _STEPS
    return np.maximum(np.concatenate((low * steps[::-1], high * steps)) * leverage, -0.99)


def portfolio_margin(
    book: Book,
    classes: Mapping[str, ProductClass],
    *,
    minimum_per_contract: Decimal = MINIMUM_PER_CONTRACT,
) -> PortfolioMargin:
    """Worst loss of each product group over its ten points, and their sum; the sum also covers the minimums.

    classes: by underlying; one that is not named is an equity on its own.
    """
    unpriced = book.unpriced
    if unpriced:
        return PortfolioMargin((), None, unpriced)
    chosen = {name: classes.get(name, ProductClass()) for name in book.underlyings}
    profit = _class_profit(book, chosen)
    members: dict[str, list[int]] = {}
    for row, name in enumerate(book.underlyings):
        members.setdefault(chosen[name].group or name, []).append(row)
    per_class = _minimums(book, minimum_per_contract)
    groups = tuple(
        _group(group, rows, book, chosen, profit, sum((per_class[row] for row in rows), Decimal(0)))
        for group, rows in members.items()
    )
    return PortfolioMargin(groups, sum((each.requirement for each in groups), Decimal(0)), ())


def _class_profit(book: Book, chosen: Mapping[str, ProductClass]) -> Floats:
    """$ of each underlying at its ten points: [underlying, point]."""
    moves = np.array([valuation_points(chosen[name].kind, chosen[name].leverage) for name in book.underlyings])
    # Positions may mix underlyings; classes may not: here every leg counts for its own underlying.
    by_class = Book(
        book.underlyings, book.underlyings, book.spots, book.underlying, book.underlying, book.is_option, book.is_call,
        book.american, book.strike, book.years, book.sigma, book.rate, book.dividend_yield, book.size,
    )  # fmt: skip
    shocks = Scenarios(book.underlyings, moves, np.ones_like(moves))
    return np.asarray(revalue(by_class, shocks) - revalue(by_class, calm(by_class)))


def _minimums(book: Book, per_contract: Decimal) -> list[Decimal]:
    """$ by underlying: the contracts' shares (contracts × multiplier) in hundreds, long and short alike."""
    units = np.bincount(
        book.underlying, weights=np.where(book.is_option, np.abs(book.size), 0.0), minlength=len(book.underlyings)
    )
    return [per_contract * Decimal(str(float(each))) / 100 for each in units]


def _group(
    group: str,
    rows: list[int],
    book: Book,
    chosen: Mapping[str, ProductClass],
    profit: Floats,
    minimum: Decimal,
) -> GroupMargin:
    names = tuple(book.underlyings[row] for row in rows)
    own = profit[rows]
    shares = np.array([chosen[name].offset for name in names])[:, None]
    offset = own if len(rows) == 1 else np.where(own > 0, own * shares, own)
    total = np.asarray(offset.sum(axis=0))
    worst = int(np.argmin(total))
    # Six places first: float noise behind an exact figure must not cost a cent.
    loss = Decimal(str(round(max(-float(total[worst]), 0.0), 6))).quantize(_CENT, ROUND_CEILING)
    return GroupMargin(group, names, total, max(loss, minimum.quantize(_CENT, ROUND_CEILING)), minimum, worst)
