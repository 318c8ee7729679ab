"""An order at the simulated broker and the shapes in which the interface shows it."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

WORKING = frozenset({"Received", "Routed", "In Flight", "Live", "Cancel Requested", "Replace Requested"})
TERMINAL = frozenset({"Filled", "Cancelled", "Expired", "Rejected", "Removed", "Partially Removed"})
SIGNS = {"Buy to Open": 1, "Buy to Close": 1, "Sell to Open": -1, "Sell to Close": -1}
TYPES = ("Limit", "Market", "Marketable Limit", "Stop", "Stop Limit", "Notional Market")
TIMES_IN_FORCE = ("Day", "GTC", "GTD", "Ext", "GTC Ext", "Ext Overnight", "GTC Ext Overnight", "IOC")
_DECIMALS = ("price", "stop_trigger", "value")
Quantity = int | Decimal
"""Contracts or shares: an int when whole, a Decimal for a fraction of a share."""


class Refusal(Exception):
    """A refused request: HTTP status, outer code, message and the nested reasons."""

    def __init__(self, status: int, code: str | int, message: str, reasons: list[dict[str, str]] | None = None) -> None:
        self.status, self.code, self.message, self.reasons = status, code, message, reasons or []
        super().__init__(f"{code}: {message}")


def preflight(code: str, message: str) -> Refusal:
    """A refusal as the broker's order checks word it."""
    reasons = [{"code": code, "message": message}]
    return Refusal(422, "preflight_check_failure", "One or more preflight checks failed", reasons)


def invalid(domain: str, reason: str) -> Refusal:
    """A refusal of a request that misses something or is of the wrong type."""
    return Refusal(400, "validation_error", "Request validation failed", [{"domain": domain, "reason": reason}])


def stamp(now: datetime) -> str:
    """Date-time as the interface writes it."""
    return now.astimezone(UTC).isoformat(timespec="milliseconds")


def magnitude(quantity: Quantity) -> Quantity:
    """Without its sign."""
    return -quantity if quantity < 0 else quantity


def whole_or_exact(quantity: Quantity) -> Quantity:
    """An int for a whole number of shares, whatever it was made of."""
    return int(quantity) if quantity == int(quantity) else quantity


def quantity_text(quantity: Quantity) -> str:
    """With at least one decimal place, as transactions and reports show it."""
    return f"{quantity}.0" if isinstance(quantity, int) else str(quantity)


def _exact(rows: list[dict[str, Any]], *, disk: bool) -> list[dict[str, Any]]:
    """Legs or fills with fractions as text for the disk and the wire, or as Decimals again."""
    kinds = Decimal if disk else str
    return [
        row | {"quantity": str(row["quantity"]) if disk else Decimal(row["quantity"])}
        if isinstance(row["quantity"], kinds) else row
        for row in rows
    ]  # fmt: skip


@dataclass(slots=True)
class Order:
    """One order. price: net $ per share of one unit, credit positive. Quantities are contracts or shares of a leg.

    An order of a fraction of a share is one unit. value: $ of a notional order, paid negative.
    """

    id: int
    account: str
    legs: list[dict[str, Any]]
    price: Decimal | None
    status: str
    received_at: str
    updated_ms: int
    external_identifier: str | None = None
    replaces: int | None = None
    replacing: int | None = None
    fills: list[dict[str, Any]] = field(default_factory=list)
    underlying: str = ""
    order_type: str = "Limit"
    time_in_force: str = "Day"
    stop_trigger: Decimal | None = None
    gtc_date: str | None = None
    source: str | None = None
    preflight_id: str | None = None
    complex_id: int | None = None
    complex_tag: str | None = None
    contingent: str | None = None
    triggered: bool = False
    edited: bool = False
    live_at: str | None = None
    cancelled_at: str | None = None
    terminal_at: str | None = None
    reject_reason: str | None = None
    rule: dict[str, Any] | None = None
    """When to route and cancel it by itself, in the shape of the interface."""
    warnings: list[dict[str, str]] = field(default_factory=list)
    value: Decimal | None = None
    behavior: str | None = None
    """How it fills, where orders may say so; not part of the interface."""
    wall: float = 0.0
    """Wall-clock seconds of the last change."""

    @property
    def units(self) -> int:
        """Size: the greatest common divisor of the legs' quantities."""
        quantities = [leg["quantity"] for leg in self.legs]
        return math.gcd(*quantities) if all(isinstance(each, int) for each in quantities) else 1

    @property
    def unit_legs(self) -> list[tuple[str, Quantity]]:
        """Symbols and signed quantities of one unit."""
        units = self.units
        return [
            (leg["symbol"], SIGNS[leg["action"]] * (leg["quantity"] // units if units > 1 else leg["quantity"]))
            for leg in self.legs
        ]

    @property
    def is_whole(self) -> bool:
        """Whether no leg is for a fraction of a share."""
        return all(isinstance(leg["quantity"], int) for leg in self.legs)

    @property
    def filled_units(self) -> int:
        """Units filled so far."""
        first = self.legs[0]
        filled = sum(fill["quantity"] for fill in self.fills if fill["symbol"] == first["symbol"])
        return int(filled * self.units // first["quantity"])

    @property
    def is_terminal(self) -> bool:
        """Nothing follows."""
        return self.status in TERMINAL

    def become(self, status: str, now: datetime) -> None:
        """Change the status with its times."""
        self.status = status
        at = stamp(now)
        if status == "Live" and self.live_at is None:
            self.live_at = at
        if status == "Cancelled":
            self.cancelled_at = at
        if status in TERMINAL:
            self.terminal_at = at
        if status != "Contingent":
            self.contingent = None
        self.touch(now)

    def touch(self, now: datetime) -> None:
        """Note a change."""
        self.updated_ms = max(self.updated_ms + 1, int(now.timestamp() * 1000))
        self.wall = time.time()

    def as_row(self) -> dict[str, Any]:
        """For the disk."""
        found = {each.name: getattr(self, each.name) for each in fields(self)}
        found |= {name: _exact(found[name], disk=True) for name in ("legs", "fills")}
        return found | {name: None if found[name] is None else str(found[name]) for name in _DECIMALS}

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Order:
        """From the disk; rows of older versions lack what was added since."""
        known = {each.name for each in fields(cls)}
        kept = {name: value for name, value in row.items() if name in known}
        for name in _DECIMALS:
            if kept.get(name) is not None:
                kept[name] = Decimal(kept[name])
        kept |= {name: _exact(kept[name], disk=False) for name in ("legs", "fills") if name in kept}
        found = cls(**kept)
        found.underlying = found.underlying or found.legs[0]["symbol"][:6].rstrip()
        for leg in found.legs:
            leg.setdefault("instrument-type", "Equity Option")
        return found

    def as_wire(self) -> dict[str, Any]:
        """JSON of the order as the API shows it."""
        open_ended = self.status == "Live" or self.status in ("Received", "Contingent")
        found: dict[str, Any] = {
            "account-number": self.account, "time-in-force": self.time_in_force, "order-type": self.order_type,
            "size": self.units if self.is_whole else str(self.legs[0]["quantity"]),
            "underlying-symbol": self.underlying, "underlying-instrument-type": "Equity",
            "status": self.status, "cancellable": open_ended, "editable": open_ended, "edited": self.edited,
            "received-at": self.received_at, "updated-at": self.updated_ms, "leg-count": len(self.legs),
            "legs": [self._leg(leg) for leg in self.legs],
        }  # fmt: skip
        if self.id:
            found |= {"id": self.id, "global-request-id": f"{self.id:032x}", "ext-client-order-id": f"sim-{self.id}"}
        if self.price is not None:
            found |= {"price": str(abs(self.price)), "price-effect": "Debit" if self.price < 0 else "Credit"}
        if self.value is not None:
            found |= {"value": str(abs(self.value)), "value-effect": "Debit" if self.value < 0 else "Credit"}
        optional = {
            "external-identifier": self.external_identifier, "replaces-order-id": self.replaces,
            "replacing-order-id": self.replacing, "source": self.source, "preflight-id": self.preflight_id,
            "stop-trigger": None if self.stop_trigger is None else str(self.stop_trigger), "gtc-date": self.gtc_date,
            "complex-order-id": self.complex_id, "complex-order-tag": self.complex_tag,
            "contingent-status": self.contingent, "live-at": self.live_at, "cancelled-at": self.cancelled_at,
            "terminal-at": self.terminal_at, "reject-reason": self.reject_reason, "order-rule": self.rule,
        }  # fmt: skip
        return found | {key: value for key, value in optional.items() if value is not None}

    def _leg(self, leg: dict[str, Any]) -> dict[str, Any]:
        fills = [fill for fill in self.fills if fill["symbol"] == leg["symbol"]]
        remaining = leg["quantity"] - sum(each["quantity"] for each in fills)
        whole = self.is_whole
        return {
            "instrument-type": leg["instrument-type"], "symbol": leg["symbol"], "action": leg["action"],
            "quantity": leg["quantity"] if whole else str(leg["quantity"]),
            "remaining-quantity": remaining if whole else str(remaining),
            "fills": [
                {name: value for name, value in fill.items() if name != "symbol"} for fill in _exact(fills, disk=True)
            ],
        }  # fmt: skip


@dataclass(slots=True)
class ComplexOrder:
    """Orders that hang together: OCO, OTO, OTOCO, PAIRS."""

    id: int
    account: str
    type: str
    trigger: int | None
    orders: list[int]
    terminal_at: str | None = None
    updated_ms: int = 0
    ratio: dict[str, Any] = field(default_factory=dict)
    started: bool = False

    @property
    def parts(self) -> list[int]:
        """Ids of the trigger, if there is one, and the others."""
        return [*([self.trigger] if self.trigger is not None else []), *self.orders]

    def as_row(self) -> dict[str, Any]:
        """For the disk."""
        return {each.name: getattr(self, each.name) for each in fields(self)}
