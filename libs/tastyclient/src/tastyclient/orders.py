"""Orders: previewed, sent once, replaced, edited, cancelled, looked up.

`price` and `value` are signed: a credit is positive, a debit negative. `price` is $ per share of one ratio-reduced
unit: ten verticals at 0.85 have the price 0.85, and move 0.85 × 10 × 100 dollars.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal
from urllib.parse import quote

from pydantic import model_validator

from tastyclient.errors import MalformedReplyError
from tastyclient.http import Json, Parameters, Transport
from tastyclient.new_orders import NewOrder, OrderEdit, OrderType, PriceComponent, TimeInForce
from tastyclient.wire import Action, Quantity, Record, Reference, read


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

    @property
    def is_terminal(self) -> bool:
        """Nothing follows. A filled order of several legs may still get the fills of its other legs."""
        return self in _TERMINAL


_TERMINAL = frozenset(
    {
        OrderStatus.FILLED, OrderStatus.CANCELLED, OrderStatus.EXPIRED, OrderStatus.REJECTED, OrderStatus.REMOVED,
        OrderStatus.PARTIALLY_REMOVED,
    }
)  # fmt: skip


class Fill(Record):
    """One execution of a leg. fill_price: $ per unit, a magnitude; quantity: contracts or shares."""

    fill_id: str
    quantity: Quantity
    fill_price: Decimal
    filled_at: datetime
    destination_venue: str | None = None
    ext_group_fill_id: str | None = None
    ext_exec_id: str | None = None


class PlacedLeg(Record):
    symbol: str
    action: Action
    quantity: Quantity = 0
    remaining_quantity: Quantity = 0
    """What is not filled yet: the broker has no status for a partial fill."""
    instrument_type: Reference = ""
    fills: tuple[Fill, ...] = ()
    """All fills so far; the broker sends every one of them again with every message."""


class PlacedCondition(Record):
    """A condition and whether it was met. threshold, triggered_value: $ per unit."""

    id: str
    action: str
    symbol: str
    instrument_type: Reference = ""
    indicator: str
    comparator: str
    threshold: Decimal
    is_threshold_based_on_notional: bool | None = None
    triggered_at: datetime | None = None
    triggered_value: Decimal | None = None
    price_components: tuple[PriceComponent, ...] = ()
    """Parts of the price, where it is not the price of `symbol`."""


class OrderRule(Record):
    """When the broker routes and cancels an order by itself, and when it did."""

    route_after: datetime | None = None
    routed_at: datetime | None = None
    cancel_at: datetime | None = None
    cancelled_at: datetime | None = None
    order_conditions: tuple[PlacedCondition, ...] = ()


class OrderView(Record):
    """An order as the broker sees it, placed or only previewed. price, value: $, credit positive."""

    account_number: str = ""
    status: OrderStatus
    underlying_symbol: str = ""
    underlying_instrument_type: Reference = ""
    order_type: OrderType | None = None
    time_in_force: TimeInForce | None = None
    gtc_date: date | None = None
    price: Decimal | None = None
    value: Decimal | None = None
    stop_trigger: Decimal | None = None
    size: Quantity | None = None
    """Units: the greatest common divisor of the legs' quantities."""
    cancellable: bool | None = None
    editable: bool | None = None
    edited: bool | None = None
    contingent_status: str | None = None
    confirmation_status: str | None = None
    complex_order_id: int | None = None
    complex_order_tag: str | None = None
    """Its part in a complex order, as `OTOCO::trigger-order`."""
    external_identifier: str | None = None
    preflight_id: str | int | None = None
    source: str | None = None
    replaces_order_id: int | None = None
    replacing_order_id: int | None = None
    received_at: datetime | None = None
    in_flight_at: datetime | None = None
    live_at: datetime | None = None
    cancelled_at: datetime | None = None
    terminal_at: datetime | None = None
    updated_at: datetime | None = None
    """When the broker last changed it; the epoch in a preview."""
    reject_reason: str | None = None
    order_rule: OrderRule | None = None
    legs: tuple[PlacedLeg, ...] = ()


class PlacedOrder(OrderView):
    """An order the broker has. price: net $ per share, credit positive."""

    id: int


class Message(Record):
    """A warning, error or note of the broker's checks."""

    code: str = ""
    message: str = ""
    preflight_id: str | int | None = None


class BuyingPowerEffect(Record):
    """What an order changes, $: negative takes buying power away."""

    change_in_margin_requirement: Decimal
    change_in_buying_power: Decimal
    current_buying_power: Decimal
    new_buying_power: Decimal
    isolated_order_margin_requirement: Decimal | None = None
    is_spread: bool | None = None
    impact: Decimal | None = None
    """Buying power used (negative) or freed (positive)."""

    @model_validator(mode="before")
    @classmethod
    def _impact(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("effect") and "impact" in data:
            return {**data, "impact-effect": data["effect"]}
        return data


class FeeItem(Record):
    name: str
    value: Decimal
    """$, a magnitude: see the fee it belongs to for the sign."""


class FeeCalculation(Record):
    """Fees of an order, $; what is paid is negative, a rebate positive."""

    regulatory_fees: Decimal
    clearing_fees: Decimal
    commission: Decimal
    proprietary_index_option_fees: Decimal
    total_fees: Decimal
    rebates: Decimal | None = None
    regulatory_fees_breakdown: tuple[FeeItem, ...] = ()
    clearing_fees_breakdown: tuple[FeeItem, ...] = ()
    commission_breakdown: tuple[FeeItem, ...] = ()
    proprietary_fees_breakdown: tuple[FeeItem, ...] = ()


class OrderPreview(Record):
    """What the broker would say to an order."""

    order: OrderView
    buying_power_effect: BuyingPowerEffect | None = None
    fee_calculation: FeeCalculation | None = None
    closing_fee_calculation: FeeCalculation | None = None
    warnings: tuple[Message, ...] = ()
    errors: tuple[Message, ...] = ()
    notes: tuple[Message, ...] = ()


class OrdersApi:
    """Endpoints of single orders.

    What has an effect is sent once; the error's `outcome` says whether the effect is ruled out. After `unknown`, look
    the order up by its external identifier in `live_orders` before anything else is sent.
    """

    transport: Transport

    async def dry_run(self, account_number: str, order: NewOrder) -> Json:
        """What the broker would say: warnings, fees, effect on buying power, as sent. Has no effect."""
        return await self.transport.send("POST", f"{_orders(account_number)}/dry-run", order.body())

    async def preview(self, account_number: str, order: NewOrder) -> OrderPreview:
        """What the broker would say, typed. Raises RejectedError when it would refuse. Has no effect."""
        return read(OrderPreview, await self.dry_run(account_number, order))

    async def preview_replacement(self, account_number: str, order_id: int, order: NewOrder) -> OrderPreview:
        """What a replacement would change. Has no effect."""
        path = f"{_orders(account_number)}/{order_id}/dry-run"
        return read(OrderPreview, await self.transport.send("POST", path, order.body(legs=False)))

    async def submit(self, account_number: str, order: NewOrder) -> PlacedOrder:
        """Send an order, once."""
        data = await self.transport.send("POST", _orders(account_number), order.body())
        if not isinstance(data, dict):
            raise MalformedReplyError("PlacedOrder: the answer has no `order`")
        return read(PlacedOrder, data.get("order"))

    async def replace(self, account_number: str, order_id: int, order: NewOrder) -> PlacedOrder:
        """Replace a working order; the answer is the new order. Any fill of the old one aborts it. The legs stay."""
        path = f"{_orders(account_number)}/{order_id}"
        return read(PlacedOrder, await self.transport.send("PUT", path, order.body(legs=False)))

    async def edit(self, account_number: str, order_id: int, edit: OrderEdit) -> PlacedOrder:
        """Change parts of a working order; the answer is a new order, as with `replace`."""
        return read(
            PlacedOrder, await self.transport.send("PATCH", f"{_orders(account_number)}/{order_id}", edit.body())
        )

    async def cancel(self, account_number: str, order_id: int) -> PlacedOrder:
        """Ask for a cancellation; the order may still fill."""
        return read(PlacedOrder, await self.transport.send("DELETE", f"{_orders(account_number)}/{order_id}"))

    async def reconfirm(self, account_number: str, order_id: int) -> PlacedOrder:
        """Release an order that is held for confirmation (equity offerings)."""
        path = f"{_orders(account_number)}/{order_id}/reconfirm"
        return read(PlacedOrder, await self.transport.send("POST", path))

    async def order(self, account_number: str, order_id: int) -> PlacedOrder:
        """One order. Raises NotFoundError."""
        return read(PlacedOrder, await self.transport.get(f"{_orders(account_number)}/{order_id}"))

    async def live_orders(self, account_number: str) -> list[PlacedOrder]:
        """Every order created or updated today, in any state, and older working ones; all pages."""
        pages = self.transport.pages(f"{_orders(account_number)}/live", {"per-page": 100})
        return [read(PlacedOrder, row) async for row in pages]

    async def orders(
        self, account_number: str, *, start_date: date | None = None, end_date: date | None = None,
        start_at: datetime | None = None, end_at: datetime | None = None, statuses: Sequence[OrderStatus] = (),
        underlying_symbol: str | None = None, underlying_instrument_type: str | None = None,
        futures_symbol: str | None = None, sort: Literal["Asc", "Desc"] = "Desc", per_page: int = 100,
        limit: int | None = None,
    ) -> list[PlacedOrder]:  # fmt: skip
        """Orders that match, newest first, all pages, at most `limit`. From version 20261012 a start is required."""
        asked = {
            "start-date": start_date, "end-date": end_date, "start-at": start_at, "end-at": end_at,
            "status": [each.value for each in statuses], "underlying-symbol": underlying_symbol,
            "underlying-instrument-type": underlying_instrument_type, "futures-symbol": futures_symbol, "sort": sort,
            "per-page": per_page,
        }  # fmt: skip
        return [
            read(PlacedOrder, row) async for row in self.transport.pages(_orders(account_number), asked, limit=limit)
        ]

    async def customer_orders(
        self, account_numbers: Sequence[str], *, start_date: date | None = None, limit: int | None = None
    ) -> list[PlacedOrder]:
        """Orders of several accounts of the login, all pages, at most `limit`."""
        asked: Parameters = {"account-numbers": list(account_numbers), "start-date": start_date, "per-page": 100}
        return [
            read(PlacedOrder, row) async for row in self.transport.pages("/customers/me/orders", asked, limit=limit)
        ]

    async def customer_live_orders(self, account_numbers: Sequence[str]) -> list[PlacedOrder]:
        """Today's orders of several accounts of the login, in any state; all pages."""
        asked: Parameters = {"account-numbers": list(account_numbers), "per-page": 100}
        return [read(PlacedOrder, row) async for row in self.transport.pages("/customers/me/orders/live", asked)]


def _orders(account_number: str) -> str:
    return f"/accounts/{quote(account_number, safe='')}/orders"
