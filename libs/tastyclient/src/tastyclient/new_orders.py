"""Orders as they are sent: legs, prices, rules, edits.

`price` and `value` are signed: a credit is positive, a debit negative. `price` is $ per share of one ratio-reduced unit
(quantities divided by their greatest common divisor).
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import uuid4

from pydantic import AfterValidator, Field, model_validator

from tastyclient.wire import Action, Quantity, Wire, kebab


class OrderType(StrEnum):
    LIMIT = "Limit"
    MARKET = "Market"
    MARKETABLE_LIMIT = "Marketable Limit"
    STOP = "Stop"
    STOP_LIMIT = "Stop Limit"
    NOTIONAL_MARKET = "Notional Market"


class TimeInForce(StrEnum):
    DAY = "Day"
    GTC = "GTC"
    GTD = "GTD"
    EXT = "Ext"
    GTC_EXT = "GTC Ext"
    EXT_OVERNIGHT = "Ext Overnight"
    GTC_EXT_OVERNIGHT = "GTC Ext Overnight"
    IOC = "IOC"


class PriceComponent(Wire):
    symbol: str
    instrument_type: str
    quantity: Quantity
    quantity_direction: Literal["Long", "Short"]


class OrderCondition(Wire):
    """Route or cancel an order when a price is reached. `nat` is the natural price: what the far side asks."""

    action: Literal["route", "cancel"]
    symbol: str
    instrument_type: str
    indicator: Literal["last", "nat"] = "last"
    comparator: Literal["gte", "lte"]
    threshold: Decimal
    price_components: tuple[PriceComponent, ...] = ()


class OrderRules(Wire):
    """When to route and when to cancel an order by itself."""

    route_after: datetime | None = None
    cancel_at: datetime | None = None
    conditions: tuple[OrderCondition, ...] = ()


class NewLeg(Wire):
    """quantity: contracts or shares, above zero; None for a Notional Market order only."""

    symbol: str
    action: Action
    quantity: Annotated[Quantity, Field(gt=0)] | None = None
    instrument_type: str = "Equity Option"


_PRICED, _TRIGGERED = (OrderType.LIMIT, OrderType.STOP_LIMIT), (OrderType.STOP, OrderType.STOP_LIMIT)


class NewOrder(Wire):
    """An order to send. price: net $ per share of one unit, credit positive; value: $, credit positive.

    Refused here rather than there: a price, a trigger, a value or a date that is missing or does not fit the type.
    """

    legs: tuple[NewLeg, ...] = Field(min_length=1, max_length=4)
    price: Decimal | None = None
    """Limit and Stop Limit only."""
    external_identifier: str = Field(default_factory=lambda: str(uuid4()))
    """Ours; the broker stores and echoes it, but does not deduplicate by it. Made up when not given."""
    time_in_force: Annotated[str, AfterValidator(TimeInForce)] = "Day"
    order_type: Annotated[str, AfterValidator(OrderType)] = "Limit"
    closing: bool = False
    """A close is sent with strict position effect: without its position it is refused instead of opening one."""
    stop_trigger: Decimal | None = Field(None, gt=0)
    """$ per share, Stop and Stop Limit only."""
    value: Decimal | None = None
    """Notional Market only: dollars to spend (negative) or to raise (positive)."""
    gtc_date: date | None = None
    """Good-till date, GTD only."""
    rules: OrderRules | None = None
    source: str | None = None
    partition_key: str | None = None
    preflight_id: str | None = None
    automated_source: bool = True

    @model_validator(mode="after")
    def _fits_its_type(self) -> NewOrder:
        for name, types in (("price", _PRICED), ("stop_trigger", _TRIGGERED), ("value", (OrderType.NOTIONAL_MARKET,))):
            if (getattr(self, name) is not None) != (self.order_type in types):
                raise ValueError(f"{name} is {'missing from' if self.order_type in types else 'not part of'}"
                                 f" a {self.order_type} order")  # fmt: skip
        if (self.gtc_date is not None) != (self.time_in_force == TimeInForce.GTD):
            raise ValueError("gtc_date belongs to GTD, and GTD needs it")
        without = self.order_type == OrderType.NOTIONAL_MARKET
        if any((leg.quantity is None) != without for leg in self.legs):
            raise ValueError("a Notional Market order has a value in place of quantities; every other has quantities")
        return self

    def body(self, *, legs: bool = True) -> dict[str, Any]:
        """JSON body: amounts as magnitude and effect, decimals as text. Without legs for a replacement: they stay."""
        found: dict[str, Any] = {"time-in-force": str(self.time_in_force), "order-type": str(self.order_type)}
        for name in ("price", "value"):
            amount = getattr(self, name)
            if amount is not None:
                found |= {name: format(abs(amount), "f"), f"{name}-effect": "Debit" if amount < 0 else "Credit"}
        if legs:
            found["legs"] = [_leg(each) for each in self.legs]
        found |= {"external-identifier": self.external_identifier, "automated-source": self.automated_source}
        if self.stop_trigger is not None:
            found["stop-trigger"] = format(self.stop_trigger, "f")
        if self.gtc_date is not None:
            found["gtc-date"] = self.gtc_date.isoformat()
        if self.rules is not None:
            found["rules"] = self.rules.model_dump(mode="json", by_alias=True, exclude_none=True)
        for name in ("source", "partition_key", "preflight_id"):
            if getattr(self, name) is not None:
                found[kebab(name)] = getattr(self, name)
        if self.closing:
            found["advanced-instructions"] = {"strict-position-effect-validation": True}
        return found


def _leg(leg: NewLeg) -> dict[str, Any]:
    found: dict[str, Any] = {
        "symbol": leg.symbol, "action": str(leg.action), "instrument-type": str(leg.instrument_type)
    }  # fmt: skip
    if leg.quantity is not None:
        found["quantity"] = leg.quantity if isinstance(leg.quantity, int) else format(leg.quantity, "f")
    return found


class OrderEdit(Wire):
    """What to change of a working order; None stays as it is. price: $ per share, credit positive."""

    price: Decimal | None = None
    stop_trigger: Decimal | None = Field(None, gt=0)
    order_type: Annotated[str, AfterValidator(OrderType)] | None = None
    time_in_force: Annotated[str, AfterValidator(TimeInForce)] | None = None
    gtc_date: date | None = None
    external_identifier: str | None = None

    @model_validator(mode="after")
    def _changes_something(self) -> OrderEdit:
        if self.body().keys() <= {"external-identifier"}:
            raise ValueError("an edit changes at least one of price, stop_trigger, order_type, time_in_force, gtc_date")
        return self

    def body(self) -> dict[str, Any]:
        """JSON body of what changes."""
        found = self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"price"})
        if self.price is not None:
            found |= {"price": format(abs(self.price), "f"), "price-effect": "Debit" if self.price < 0 else "Credit"}
        return found
