"""Orders that filled in part: what to do at the time-out, and legs that filled unevenly."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ledger.core import Execution
from schemas.trade import Leg, OrderAction


class PartialPolicy(StrEnum):
    """What becomes of a fill that is smaller than accepted."""

    WORK = "work"
    """The rest is worked for as long again, then cancelled; what has filled is kept."""
    UNWIND = "unwind"
    """The rest is cancelled and a close of what has filled is proposed."""


class AtTimeOut(StrEnum):
    """What happens to an order whose time is over."""

    CANCEL = "cancel"
    """Nothing filled, or enough: cancel the rest."""
    EXTEND = "extend"
    UNWIND = "unwind"


def at_time_out(filled: int, quantity: int, min_pct: float, policy: PartialPolicy, *, extended: bool) -> AtTimeOut:
    """Decide for an order of `quantity` units of which `filled` traded. extended: it has had its second time."""
    if filled == 0 or filled * 100 >= min_pct * quantity:
        return AtTimeOut.CANCEL
    if policy is PartialPolicy.UNWIND:
        return AtTimeOut.UNWIND
    return AtTimeOut.CANCEL if extended else AtTimeOut.EXTEND


class Shape(StrEnum):
    """How the legs of an order have filled."""

    EVEN = "even"
    LATE = "late"
    """Uneven, and young: the broker sends the legs' fills one after the other."""
    HUNG = "hung"
    """Uneven for too long: the structure is not the one that was approved."""
    OVERDUE = "overdue"
    """Hung for so long that a repair is proposed."""


def excess(legs: Sequence[Leg], executions: Iterable[Execution]) -> dict[str, int]:
    """Contracts that filled beyond the complete units, by OCC symbol, unsigned; empty when the legs are even."""
    filled = {leg.occ_symbol: 0 for leg in legs}
    for each in executions:
        filled[each.occ_symbol] = filled.get(each.occ_symbol, 0) + abs(each.signed_quantity)
    units = min(filled[leg.occ_symbol] // leg.quantity for leg in legs)
    found = {leg.occ_symbol: filled[leg.occ_symbol] - units * leg.quantity for leg in legs}
    return {symbol: count for symbol, count in found.items() if count}


def shape_of(uneven_seconds: float | None, hung_after: float, repair_after: float) -> Shape:
    """Judge how long the legs have been uneven; None = they are even."""
    if uneven_seconds is None:
        return Shape.EVEN
    if uneven_seconds < hung_after:
        return Shape.LATE
    return Shape.OVERDUE if uneven_seconds >= repair_after else Shape.HUNG


@dataclass(frozen=True, slots=True)
class Repair:
    """What makes a hung structure whole again: the excess legs are closed."""

    legs: tuple[Leg, ...]
    """Quantities for one unit."""


def repair(legs: Sequence[Leg], extra: dict[str, int]) -> Repair | None:
    """Close what filled beyond the complete units; None when nothing did.

    Completing the missing leg would be an opening order at a price nobody approved; closing only reduces risk. Legs
    that themselves closed something are opened again by nobody: they leave nothing to close.
    """
    undo = {
        OrderAction.BUY_TO_OPEN: OrderAction.SELL_TO_CLOSE,
        OrderAction.SELL_TO_OPEN: OrderAction.BUY_TO_CLOSE,
    }
    found = [
        Leg(occ_symbol=leg.occ_symbol, action=undo[leg.action], quantity=extra[leg.occ_symbol])
        for leg in legs
        if leg.occ_symbol in extra and leg.action in undo
    ]
    return Repair(tuple(found)) if found else None
