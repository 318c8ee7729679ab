"""Which orders a stop concerns, and in which order they go. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from schemas.account import GateMode, KillScope

DONE = frozenset({"Filled", "Cancelled", "Expired", "Rejected", "Removed", "Partially Removed"})
"""Statuses after which nothing fills; every other one, unheard-of ones included, may fill."""
CLEAN_SWEEPS = 3


class UnreadableOrderError(ValueError):
    """The broker listed something whose number cannot be read: it cannot be cancelled, and a person must know."""


@dataclass(frozen=True, slots=True)
class WorkingOrder:
    """An order that can still fill."""

    account_number: str
    order_id: str
    underlying_symbol: str
    opens: bool
    """Not every leg closes: what cannot be read counts as opening."""
    received_at: datetime | None = None


@dataclass(slots=True)
class Stop:
    """One stop that is being carried out."""

    scope: KillScope
    scope_value: str
    mode: GateMode
    since: datetime
    road: str
    command_id: str = ""
    held: bool = False
    """The file is there: the stop lasts as long as it is."""
    clean: int = 0
    """Sweeps in a row that found nothing to cancel."""

    @property
    def done(self) -> bool:
        """Carried out: three clean sweeps, and nothing holds it."""
        return self.clean >= CLEAN_SWEEPS and not self.held

    def concerns(self, order: WorkingOrder) -> bool:
        """Whether the order must go.

        The broker knows no strategy: a stop of one is the executor's, as long as it lives. Under `flatten`, closing
        orders that came after the stop are those that flatten.
        """
        if self.scope is KillScope.STRATEGY or not self.mode.cancels_opens:
            return False
        if self.scope is KillScope.ACCOUNT and order.account_number != self.scope_value:
            return False
        if self.scope is KillScope.UNDERLYING and order.underlying_symbol != self.scope_value:
            return False
        if order.opens or self.mode is GateMode.CANCEL_WORKING:
            return True
        later = order.received_at is not None and order.received_at > self.since
        return self.mode is GateMode.FLATTEN and not later


def read_order(row: Mapping[str, Any], account_number: str) -> WorkingOrder | None:
    """An order of the broker's list; None when it is at its end. Raises UnreadableOrderError without a number."""
    if row.get("status") in DONE:
        return None
    number = str(row.get("id") or "")
    if not number.isdigit():
        raise UnreadableOrderError(f"an order of {account_number} has no readable number: {number[:40]!r}")
    legs = row.get("legs")
    closes = isinstance(legs, list) and bool(legs) and all(_closes(leg) for leg in legs)
    return WorkingOrder(
        account_number, number, str(row.get("underlying-symbol") or ""), not closes, _instant(row.get("received-at"))
    )


def unwanted(orders: Iterable[WorkingOrder], stops: Iterable[Stop]) -> list[WorkingOrder]:
    """The orders that some stop concerns: opening ones first."""
    rules = list(stops)
    found = [order for order in orders if any(stop.concerns(order) for stop in rules)]
    return sorted(found, key=lambda order: not order.opens)


def _closes(leg: object) -> bool:
    return isinstance(leg, Mapping) and str(leg.get("action", "")).endswith("to Close")


def _instant(value: object) -> datetime | None:
    try:
        return datetime.fromisoformat(str(value))
    except ValueError:
        return None
