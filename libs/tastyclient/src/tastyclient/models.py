"""Wire models: kebab-case names, decimals as text, a magnitude beside its effect. Tolerant in what is read."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator


def _kebab(name: str) -> str:
    return name.replace("_", "-")


class Wire(BaseModel):
    """Unknown fields are ignored: the broker adds some without notice."""

    model_config = ConfigDict(alias_generator=_kebab, populate_by_name=True, extra="ignore", frozen=True)


class OrderStatus(StrEnum):
    """An unmapped status fails loudly: a state of an order is never guessed."""

    RECEIVED = "Received"
    ROUTED = "Routed"
    IN_FLIGHT = "In Flight"
    CONTINGENT = "Contingent"
    LIVE = "Live"
    CANCEL_REQUESTED = "Cancel Requested"
    REPLACE_REQUESTED = "Replace Requested"
    FILLED = "Filled"
    CANCELLED = "Cancelled"
    EXPIRED = "Expired"
    REJECTED = "Rejected"
    REMOVED = "Removed"
    PARTIALLY_REMOVED = "Partially Removed"


class Account(Wire):
    account_number: str
    nickname: str = ""
    margin_or_cash: str = ""
    is_closed: bool = False


class Balance(Wire):
    account_number: str
    cash_balance: Decimal
    net_liquidating_value: Decimal
    derivative_buying_power: Decimal
    maintenance_requirement: Decimal
    updated_at: datetime | None = None


class Position(Wire):
    symbol: str
    instrument_type: str
    underlying_symbol: str
    quantity: int
    quantity_direction: str
    average_open_price: Decimal
    multiplier: Decimal

    @property
    def signed_quantity(self) -> int:
        """Short negative; 0 when flat."""
        return {"Long": 1, "Short": -1}.get(self.quantity_direction, 0) * self.quantity


class Strike(Wire):
    strike_price: Decimal
    call: str
    put: str
    call_streamer_symbol: str
    put_streamer_symbol: str


class Expiration(Wire):
    expiration_date: date
    days_to_expiration: int
    expiration_type: str
    settlement_type: str
    strikes: tuple[Strike, ...]


class NestedChain(Wire):
    underlying_symbol: str
    root_symbol: str
    shares_per_contract: int
    tick_sizes: tuple[TickSize, ...] = ()
    expirations: tuple[Expiration, ...]


class EquitySession(Wire):
    """State is Open, Closed, Pre-market or Extended; times may be absent while closed."""

    state: str
    open_at: datetime | None = None
    close_at: datetime | None = None


class TickSize(Wire):
    value: Decimal
    threshold: Decimal | None = None


class QuoteToken(Wire):
    token: str
    dxlink_url: str


class Fill(Wire):
    fill_id: str
    quantity: int
    fill_price: Decimal
    filled_at: datetime


class PlacedLeg(Wire):
    symbol: str
    action: str
    quantity: int
    remaining_quantity: int = 0
    fills: tuple[Fill, ...] = ()


class PlacedOrder(Wire):
    """An order as the broker sees it. price: net $ per share, credit positive."""

    id: int
    account_number: str = ""
    status: OrderStatus
    underlying_symbol: str = ""
    price: Decimal | None = None
    external_identifier: str | None = None
    replaces_order_id: int | None = None
    replacing_order_id: int | None = None
    updated_at: datetime | None = None
    """When the broker last changed it."""
    reject_reason: str | None = None
    legs: tuple[PlacedLeg, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _sign(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("price") is not None and data.get("price-effect") == "Debit":
            return {**data, "price": -Decimal(str(data["price"]))}
        return data


class NewLeg(Wire):
    symbol: str
    action: str
    quantity: int = Field(gt=0)
    instrument_type: str = "Equity Option"


class NewOrder(Wire):
    """A limit order to send. price: net $ per share, credit positive."""

    legs: tuple[NewLeg, ...] = Field(min_length=1, max_length=4)
    price: Decimal
    external_identifier: str
    """Ours; the broker stores and echoes it, but does not deduplicate by it."""
    time_in_force: str = "Day"
    order_type: str = "Limit"
    closing: bool = False
    """A close is sent with strict position effect: without its position it is refused instead of opening one."""

    def body(self) -> dict[str, Any]:
        """JSON body: the price as magnitude and effect, decimals as text."""
        found: dict[str, Any] = {
            "time-in-force": self.time_in_force,
            "order-type": self.order_type,
            "price": str(abs(self.price)),
            "price-effect": "Debit" if self.price < 0 else "Credit",
            "legs": [leg.model_dump(by_alias=True) for leg in self.legs],
            "external-identifier": self.external_identifier,
            "automated-source": True,
        }
        if self.closing:
            found["advanced-instructions"] = {"strict-position-effect-validation": True}
        return found
