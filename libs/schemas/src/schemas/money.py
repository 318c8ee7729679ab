"""Decimal prices and money. Credit is positive, debit negative; JSON carries strings, never floats."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import Annotated

from pydantic import BeforeValidator

CENT = Decimal("0.01")
PRICE_QUANTUM = Decimal("0.0001")


def _exact(value: object) -> object:
    if isinstance(value, bool | float):
        raise ValueError(f'{value!r} is not exact: send money as a decimal string such as "1.25"')
    if isinstance(value, Decimal) and not value.is_finite():
        raise ValueError(f"{value} is not a finite amount")
    return value


Price = Annotated[Decimal, BeforeValidator(_exact)]
"""Dollars per share. As a net order price: credit positive, debit negative."""

Money = Annotated[Decimal, BeforeValidator(_exact)]
"""Dollars in total. Received positive, paid negative, unless the field's docstring says it is a magnitude."""


def price_from_float(value: float) -> Decimal:
    """Convert a column price (float64, dollars per share) to the nearest 1/10,000 dollar. Refuses NaN and infinity."""
    price = Decimal(repr(float(value)))
    if not price.is_finite():
        raise ValueError(f"{value!r} is not a price")
    return price.quantize(PRICE_QUANTUM, ROUND_HALF_EVEN).normalize() + Decimal(0)


def to_tick(price: Decimal, tick: Decimal, *, in_our_favour: bool) -> Decimal:
    """Put a signed net price (credit positive) on the tick grid.

    In our favour rounds up (more credit, less debit); otherwise down, towards the other side of the market.
    Raises ValueError for a tick that is not positive.
    """
    if tick <= 0:
        raise ValueError(f"tick is {tick}: it must be positive")
    steps = (price / tick).to_integral_value(ROUND_CEILING if in_our_favour else ROUND_FLOOR)
    return steps * tick


def to_cent(amount: Decimal, *, against_us: bool = True) -> Decimal:
    """Round dollars to the cent; against us means towards minus infinity (received positive)."""
    return amount.quantize(CENT, ROUND_FLOOR if against_us else ROUND_HALF_EVEN)
