"""Complex orders: OCO, OTO, OTOCO and PAIRS. Prices as in `orders`: credit positive."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal
from urllib.parse import quote

from pydantic import Field, model_validator

from tastyclient.errors import MalformedReplyError
from tastyclient.http import Transport
from tastyclient.new_orders import NewOrder, OrderType
from tastyclient.orders import BuyingPowerEffect, FeeCalculation, Message, OrderView, PlacedOrder
from tastyclient.wire import Record, Wire, items, read

Comparator = Literal["gte", "lte"]


class ComplexOrderType(StrEnum):
    """An unmapped type fails loudly."""

    OCO = "OCO"
    """One cancels the other: a limit and a stop, normally to close."""
    OTO = "OTO"
    """One triggers the others."""
    OTOCO = "OTOCO"
    """One triggers a pair of which one cancels the other."""
    PAIRS = "PAIRS"
    BLAST = "BLAST"
    """Deprecated: read, never sent."""


class NewComplexOrder(Wire):
    """Orders that hang together. Use `oco`, `oto` and `otoco`.

    ratio_price_threshold: price of the first over price of the second, PAIRS only.
    """

    type: ComplexOrderType
    orders: tuple[NewOrder, ...] = Field(min_length=1, max_length=3)
    trigger_order: NewOrder | None = None
    source: str | None = None
    ratio_price_threshold: Decimal | None = None
    ratio_price_comparator: Comparator | None = None
    ratio_price_is_threshold_based_on_notional: bool | None = None

    @model_validator(mode="after")
    def _fits_its_type(self) -> NewComplexOrder:
        triggered = self.type in (ComplexOrderType.OTO, ComplexOrderType.OTOCO)
        if (self.trigger_order is not None) != triggered:
            raise ValueError(f"{self.type} {'needs' if triggered else 'has no'} trigger order")
        if self.type != ComplexOrderType.OTO and len(self.orders) != 2:
            raise ValueError(f"{self.type} has two orders, not {len(self.orders)}")
        if self.type in (ComplexOrderType.OCO, ComplexOrderType.OTOCO):
            kinds = [each.order_type for each in self.orders]
            stops = sum(kind in (OrderType.STOP, OrderType.STOP_LIMIT) for kind in kinds)
            if stops != 1 or OrderType.LIMIT not in kinds:
                raise ValueError("one cancels the other: one Limit and one Stop or Stop Limit")
        if (self.ratio_price_threshold is not None) != (self.type == ComplexOrderType.PAIRS):
            raise ValueError("a ratio belongs to PAIRS, and PAIRS needs one")
        return self

    @classmethod
    def oco(cls, take_profit: NewOrder, stop_loss: NewOrder) -> NewComplexOrder:
        """Whichever fills first cancels the other."""
        return cls(type=ComplexOrderType.OCO, orders=(take_profit, stop_loss))

    @classmethod
    def oto(cls, trigger: NewOrder, *orders: NewOrder) -> NewComplexOrder:
        """The orders start when the trigger has filled."""
        return cls(type=ComplexOrderType.OTO, trigger_order=trigger, orders=orders)

    @classmethod
    def otoco(cls, trigger: NewOrder, take_profit: NewOrder, stop_loss: NewOrder) -> NewComplexOrder:
        """An entry with its two exits."""
        return cls(type=ComplexOrderType.OTOCO, trigger_order=trigger, orders=(take_profit, stop_loss))

    def body(self) -> dict[str, Any]:
        """JSON body."""
        found: dict[str, Any] = {"type": self.type.value, "orders": [each.body() for each in self.orders]}
        if self.trigger_order is not None:
            found["trigger-order"] = self.trigger_order.body()
        if self.source is not None:
            found["source"] = self.source
        if self.ratio_price_threshold is not None:
            found["ratio-price-threshold"] = format(self.ratio_price_threshold, "f")
            found["ratio-price-comparator"] = self.ratio_price_comparator or "gte"
            found["ratio-price-is-threshold-based-on-notional"] = bool(self.ratio_price_is_threshold_based_on_notional)
        return found


class ComplexOrderView(Record):
    account_number: str = ""
    type: ComplexOrderType
    ratio_price_threshold: Decimal | None = None
    ratio_price_comparator: str | None = None
    terminal_at: datetime | None = None


class PreviewedComplexOrder(ComplexOrderView):
    """Not placed: its orders have no ids but `preflight_id` 0, 1, ..."""

    orders: tuple[OrderView, ...]
    trigger_order: OrderView | None = None


class PlacedComplexOrder(ComplexOrderView):
    """A complex order the broker has. Cancel it by this id; its parts may be edited by theirs."""

    id: int
    orders: tuple[PlacedOrder, ...]
    trigger_order: PlacedOrder | None = None

    @property
    def parts(self) -> tuple[PlacedOrder, ...]:
        """The trigger, if there is one, and the others."""
        return (*((self.trigger_order,) if self.trigger_order else ()), *self.orders)


class ComplexOrderPreview(Record):
    """What the broker would say to a complex order."""

    complex_order: PreviewedComplexOrder
    buying_power_effect: BuyingPowerEffect | None = None
    fee_calculation: FeeCalculation | None = None
    warnings: tuple[Message, ...] = ()
    errors: tuple[Message, ...] = ()


class ComplexOrdersApi:
    """Endpoints of complex orders. What has an effect is sent once; see `OrdersApi`."""

    transport: Transport

    async def preview_complex(self, account_number: str, order: NewComplexOrder) -> ComplexOrderPreview:
        """What the broker would say. Raises RejectedError when it would refuse. Has no effect."""
        path = f"{_complex(account_number)}/dry-run"
        return read(ComplexOrderPreview, await self.transport.send("POST", path, order.body()))

    async def submit_complex(self, account_number: str, order: NewComplexOrder) -> PlacedComplexOrder:
        """Send a complex order, once."""
        data = await self.transport.send("POST", _complex(account_number), order.body())
        if not isinstance(data, dict):
            raise MalformedReplyError("PlacedComplexOrder: the answer has no `complex-order`")
        return read(PlacedComplexOrder, data.get("complex-order"))

    async def preview_ratio(
        self, account_number: str, complex_order_id: int, *, threshold: Decimal | None = None,
        comparator: Comparator | None = None,
    ) -> ComplexOrderPreview:  # fmt: skip
        """What the broker would say to another ratio of a PAIRS order. Has no effect."""
        path = f"{_complex(account_number)}/{complex_order_id}/dry-run"
        return read(ComplexOrderPreview, await self.transport.send("POST", path, _ratio(threshold, comparator)))

    async def edit_ratio(
        self, account_number: str, complex_order_id: int, *, threshold: Decimal | None = None,
        comparator: Comparator | None = None,
    ) -> PlacedComplexOrder:  # fmt: skip
        """Change the ratio that a PAIRS order waits for. Raises RejectedError once its orders have been sent."""
        path = f"{_complex(account_number)}/{complex_order_id}"
        data = await self.transport.send("PATCH", path, _ratio(threshold, comparator))
        if not isinstance(data, dict):
            raise MalformedReplyError("PlacedComplexOrder: the answer has no `complex-order`")
        return read(PlacedComplexOrder, data.get("complex-order", data))

    async def cancel_complex(self, account_number: str, complex_order_id: int) -> PlacedComplexOrder:
        """Ask for the cancellation of every part; a live one may still fill."""
        path = f"{_complex(account_number)}/{complex_order_id}"
        return read(PlacedComplexOrder, await self.transport.send("DELETE", path))

    async def complex_order(self, account_number: str, complex_order_id: int) -> PlacedComplexOrder:
        """One complex order. Raises NotFoundError."""
        return read(PlacedComplexOrder, await self.transport.get(f"{_complex(account_number)}/{complex_order_id}"))

    async def complex_orders(self, account_number: str, *, limit: int | None = None) -> list[PlacedComplexOrder]:
        """Complex orders, newest first, all pages, at most `limit`."""
        pages = self.transport.pages(_complex(account_number), {"per-page": 50}, limit=limit)
        return [read(PlacedComplexOrder, row) async for row in pages]

    async def live_complex_orders(self, account_number: str) -> list[PlacedComplexOrder]:
        """Today's complex orders, in any state."""
        return items(PlacedComplexOrder, await self.transport.get(f"{_complex(account_number)}/live"))


def _ratio(threshold: Decimal | None, comparator: Comparator | None) -> dict[str, Any]:
    if threshold is None and comparator is None:
        raise ValueError("give a threshold or a comparator")
    found = {
        "ratio-price-threshold": None if threshold is None else format(threshold, "f"),
        "ratio-price-comparator": comparator,
    }  # fmt: skip
    return {name: value for name, value in found.items() if value is not None}


def _complex(account_number: str) -> str:
    return f"/accounts/{quote(account_number, safe='')}/complex-orders"
