"""Pure order core: which moves are legal, what fills add up to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from schemas.orders import TRANSITIONS, IntentState
from schemas.trade import Leg


class IllegalMoveError(ValueError):
    """A move that the transition table does not know."""


def advance(current: IntentState, observed: IntentState) -> IntentState:
    """Where an intent stands after an observation: the observed state when that move is legal, else where it was.

    A regression (a late `Live` after `Filled`) is not an error: the broker's messages overtake each other.
    """
    return observed if observed in TRANSITIONS[current] else current


def require_legal(current: IntentState, target: IntentState) -> None:
    """Raise IllegalMoveError unless the table lists the move."""
    if target not in TRANSITIONS[current]:
        raise IllegalMoveError(f"an intent cannot move from {current.value} to {target.value}")


@dataclass(frozen=True, slots=True)
class Execution:
    """One fill of one leg. price: $ per share, unsigned; signed_quantity: contracts, sold negative."""

    occ_symbol: str
    signed_quantity: int
    price: Decimal


BACK, CORRECTED = "~back", "~new"
"""Endings of the fill ids of what takes an execution back, and of what stands in its place."""


@dataclass(frozen=True, slots=True)
class BookedFill:
    """One row of the fill ledger. signed_quantity: contracts, sold negative; corrects: the fill_id it takes back."""

    broker_order_id: str
    occ_symbol: str
    fill_id: str
    signed_quantity: int
    price: Decimal
    filled_at: datetime
    corrects: str | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """Its identity at the broker, within an account."""
        return self.broker_order_id, self.occ_symbol, self.fill_id

    @property
    def execution(self) -> Execution:
        """As a trade of a leg."""
        return Execution(self.occ_symbol, self.signed_quantity, self.price)


def standing(fills: Iterable[BookedFill]) -> list[BookedFill]:
    """What was neither taken back nor takes back, oldest first."""
    rows = list(fills)
    gone = {(row.broker_order_id, row.occ_symbol, row.corrects) for row in rows if row.corrects is not None}
    kept = [row for row in rows if row.corrects is None and row.key not in gone]
    return sorted(kept, key=lambda row: (row.filled_at, row.key))


def holding_of(fills: Iterable[BookedFill]) -> Holding:
    """The holding of one contract because of all its fills, in whatever order they became known."""
    held = Holding(0, Decimal(0))
    for each in standing(fills):
        held = book(held, each.signed_quantity, each.price)
    return held


@dataclass(frozen=True, slots=True)
class Filled:
    """Complete units filled and their average net price, $ per share, credit positive; None without a unit."""

    units: int
    average_price: Decimal | None


def filled(legs: Sequence[Leg], executions: Iterable[Execution]) -> Filled:
    """What executions of an order's legs add up to. Independent of their order."""
    contracts: dict[str, int] = {}
    cash: dict[str, Decimal] = {}
    for each in executions:
        contracts[each.occ_symbol] = contracts.get(each.occ_symbol, 0) + abs(each.signed_quantity)
        cash[each.occ_symbol] = cash.get(each.occ_symbol, Decimal(0)) - each.signed_quantity * each.price
    units = min(contracts.get(leg.occ_symbol, 0) // leg.quantity for leg in legs)
    if units == 0:
        return Filled(0, None)
    net = sum((cash[leg.occ_symbol] / contracts[leg.occ_symbol] * leg.quantity for leg in legs), Decimal(0))
    return Filled(units, net.quantize(Decimal("0.0001")))


@dataclass(frozen=True, slots=True)
class Holding:
    """signed_quantity: contracts, short negative; average_open_price: $ per share, unsigned."""

    signed_quantity: int
    average_open_price: Decimal


def book(holding: Holding, signed_quantity: int, price: Decimal) -> Holding:
    """The holding after one execution: the average moves when it grows and stays when it shrinks."""
    before, after = holding.signed_quantity, holding.signed_quantity + signed_quantity
    if after == 0:
        return Holding(0, Decimal(0))
    if before == 0 or (before > 0) != (after > 0):
        return Holding(after, price)
    if abs(after) < abs(before):
        return Holding(after, holding.average_open_price)
    total = holding.average_open_price * abs(before) + price * abs(signed_quantity)
    return Holding(after, (total / abs(after)).quantize(Decimal("0.0001")))
