"""Exact profit and loss of option legs at one expiration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class PayoffLeg:
    """signed_quantity: contracts per unit, short negative; strike: $ per share."""

    is_call: bool
    strike: Decimal
    signed_quantity: int


@dataclass(frozen=True, slots=True)
class Payoff:
    """Dollars per share of one unit, net of the credit (debit negative). None = unlimited."""

    max_profit: Decimal | None
    max_loss: Decimal | None
    """Magnitude; 0 when it cannot lose."""
    breakevens: tuple[Decimal, ...]


def value_at(legs: Sequence[PayoffLeg], credit: Decimal, price: Decimal) -> Decimal:
    """P&L per share at expiration when the underlying settles at `price`."""
    total = credit
    for leg in legs:
        intrinsic = price - leg.strike if leg.is_call else leg.strike - price
        total += leg.signed_quantity * max(intrinsic, Decimal(0))
    return total


def analyse(legs: Sequence[PayoffLeg], credit: Decimal) -> Payoff:
    """Extremes and breakevens over all prices from 0 to infinity; exact because P&L is linear between strikes.

    Raises ValueError without legs.
    """
    if not legs:
        raise ValueError("a payoff needs at least one leg")
    corners = sorted({Decimal(0), *(leg.strike for leg in legs)})
    values = [value_at(legs, credit, corner) for corner in corners]
    slope = Decimal(sum(leg.signed_quantity for leg in legs if leg.is_call))
    breakevens: list[Decimal] = []
    for low, high, at_low, at_high in zip(corners, corners[1:], values, values[1:], strict=False):
        if at_low == 0:
            breakevens.append(low)
        elif (at_low < 0) != (at_high < 0) and at_high != 0:
            breakevens.append(low + (high - low) * at_low / (at_low - at_high))
    if values[-1] == 0:
        breakevens.append(corners[-1])
    elif slope and (values[-1] < 0) == (slope > 0):
        breakevens.append(corners[-1] - values[-1] / slope)
    lowest = min(values)
    return Payoff(
        max_profit=None if slope > 0 else max(values),
        max_loss=None if slope < 0 else max(-lowest, Decimal(0)),
        breakevens=tuple(breakevens),
    )
