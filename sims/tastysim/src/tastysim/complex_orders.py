"""Complex orders worked against the book: OCO, OTO, OTOCO, PAIRS."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tastysim.orders import ComplexOrder, Order, Refusal, invalid, preflight, stamp

if TYPE_CHECKING:
    from tastysim.broker import Broker

TYPES = ("OCO", "OTO", "OTOCO", "PAIRS")
_STOPS = ("Stop", "Stop Limit")


class ComplexBook:
    """The complex orders of an account, and what becomes of their parts."""

    def __init__(self, broker: Broker, orders: dict[int, ComplexOrder]) -> None:
        self._broker, self.orders = broker, orders
        self._waiting = {each.id: each for each in orders.values() if not each.started and each.terminal_at is None}

    def checked(self, body: Any, now: datetime) -> tuple[str, Order | None, list[Order], dict[str, Any]]:
        """Type, trigger, other parts and ratio. Raises Refusal when the broker would refuse one of them."""
        kind = body.get("type") if isinstance(body, dict) else None
        if kind not in TYPES:
            raise invalid("type", "does not have a valid value")
        bodies, triggered = body.get("orders"), kind in ("OTO", "OTOCO")
        if not isinstance(bodies, list) or not 1 <= len(bodies) <= 3:
            raise invalid("orders", "1 to 3 orders")
        if triggered != isinstance(body.get("trigger-order"), dict):
            raise invalid("trigger-order", "is missing" if triggered else "is not allowed")
        if kind != "OTO" and len(bodies) != 2:
            raise invalid("orders", "2 orders")
        kinds = [each.get("order-type") for each in bodies if isinstance(each, dict)]
        if kind in ("OCO", "OTOCO") and not ("Limit" in kinds and any(each in _STOPS for each in kinds)):
            raise preflight("invalid_oco_order_type_combo", "An OCO has one Limit and one Stop or Stop Limit order.")
        trigger = self._broker.checked(body["trigger-order"], now) if triggered else None
        parts = [self._broker.checked(each, now, held=triggered) for each in bodies]
        for number, order in enumerate([*([trigger] if trigger else []), *parts]):
            order.preflight_id = order.preflight_id or str(number)
        return kind, trigger, parts, _ratio(body) if kind == "PAIRS" else {}

    def submit(self, body: Any, now: datetime) -> tuple[ComplexOrder, dict[str, Any]]:
        """Accept a complex order: every part is contingent until the market moves next. Its shape as accepted."""
        kind, trigger, parts, ratio = self.checked(body, now)
        found = ComplexOrder(self._broker.store.next_order_id(), self._broker.account, kind, None, [], ratio=ratio)
        if trigger is not None:
            trigger.complex_id, trigger.complex_tag = found.id, f"{kind}::trigger-order"
            self._broker.accept(trigger, now, contingent=True)
            found.trigger = trigger.id
        for order in parts:
            order.complex_id = found.id
            order.complex_tag = f"{kind}::oco-1-order" if kind == "OTOCO" else f"{kind}::order"
            self._broker.accept(order, now, contingent=True)
            found.orders.append(order.id)
        self.orders[found.id] = self._waiting[found.id] = found
        self._keep(found, now)
        return found, self.as_wire(found)

    def start(self, now: datetime) -> None:
        """Release what waits for nothing but the market: the trigger, or both orders of an OCO."""
        for found in list(self._waiting.values()):
            if found.started or found.terminal_at is not None:
                del self._waiting[found.id]
                continue
            if found.ratio and not self._ratio_reached(found):
                continue
            found.started = True
            self._keep(found, now)
            for order_id in [found.trigger] if found.trigger is not None else found.orders:
                self._release(order_id, now)

    def after(self, order: Order, now: datetime) -> None:
        """A part has filled or ended: start or cancel what depends on it."""
        found = self.orders.get(order.complex_id or 0)
        if found is None or order.id not in found.parts:
            return
        others = [self._broker.orders[each] for each in found.orders if each != order.id]
        if order.id == found.trigger:
            if order.status == "Filled":
                for order_id in found.orders:
                    self._release(order_id, now)
            elif order.is_terminal:
                self._end(others, now)
        elif found.type in ("OCO", "OTOCO") and order.fills:
            if order.status == "Filled":
                self._end(others, now)
            else:
                self._shrink(order, others, now)
        if found.terminal_at is None and all(self._broker.orders[each].is_terminal for each in found.parts):
            found.terminal_at = stamp(now)
        self._keep(found, now)

    def cancel(self, complex_id: int, now: datetime) -> ComplexOrder:
        """Cancel every part that works. Raises Refusal when none does."""
        found = self.get(complex_id)
        if found.terminal_at is not None:
            raise Refusal(
                422, "cannot_update_order", f"Complex order {complex_id} could not be cancelled: it has ended"
            )
        found.started = True
        for order_id in reversed(found.parts):
            order = self._broker.orders[order_id]
            if not order.is_terminal and order.status != "Cancel Requested":
                self._broker.cancel(order_id, now)
        self._keep(found, now)
        return found

    def edited(self, complex_id: int, body: dict[str, Any]) -> dict[str, Any]:
        """The ratio of a PAIRS order as a request changes it. Raises Refusal where there is nothing to change."""
        found = self.get(complex_id)
        if not found.ratio or found.started or found.terminal_at is not None:
            raise Refusal(422, "cannot_update_order", f"Complex order {complex_id} has no ratio that can be changed")
        return _ratio(found.ratio | {name: value for name, value in body.items() if value is not None})

    def edit(self, complex_id: int, body: dict[str, Any], now: datetime) -> ComplexOrder:
        """Change the ratio that a PAIRS order waits for. Raises Refusal."""
        found = self.get(complex_id)
        found.ratio = self.edited(complex_id, body)
        self._keep(found, now)
        return found

    def exchange(self, old: Order, new: Order) -> None:
        """A replacement takes the place of its part."""
        found = self.orders.get(old.complex_id or 0)
        if found is not None:
            found.trigger = new.id if found.trigger == old.id else found.trigger
            found.orders = [new.id if each == old.id else each for each in found.orders]
            self._keep(found, self._broker.market.now)

    def get(self, complex_id: int) -> ComplexOrder:
        """A complex order of this account. Raises Refusal."""
        if complex_id not in self.orders:
            raise Refusal(404, "record_not_found", f"Couldn't find complex order {complex_id}")
        return self.orders[complex_id]

    def as_wire(self, found: ComplexOrder) -> dict[str, Any]:
        """JSON of a complex order as the API shows it."""
        body = shape(
            found.type, self._broker.orders[found.trigger] if found.trigger is not None else None,
            [self._broker.orders[each] for each in found.orders], found.ratio,
        )  # fmt: skip
        body |= {"id": found.id, "account-number": found.account}
        return body | ({"terminal-at": found.terminal_at} if found.terminal_at else {})

    def _release(self, order_id: int, now: datetime) -> None:
        order = self._broker.orders[order_id]
        if order.contingent == "Pending Order":
            self._broker.release(order, now)

    def _end(self, orders: list[Order], now: datetime) -> None:
        for order in orders:
            if not order.is_terminal:
                self._broker.end(order, "Cancelled", now)

    def _shrink(self, filled: Order, others: list[Order], now: datetime) -> None:
        """What one order of a pair has filled is no longer there for the other one to close."""
        for other in others:
            left = filled.units - filled.filled_units
            if other.is_terminal or other.fills or other.units <= left:
                continue
            units = other.units
            for leg in other.legs:
                leg["quantity"] = leg["quantity"] // units * left
            other.touch(now)
            self._broker.keep("reduced", other)
            self._broker.tell(other)

    def _ratio_reached(self, found: ComplexOrder) -> bool:
        first, second = (self._broker.orders[each].underlying for each in found.orders)
        ratio = self._broker.mark(first) / self._broker.mark(second)
        threshold = Decimal(found.ratio["ratio-price-threshold"])
        return ratio >= threshold if found.ratio["ratio-price-comparator"] == "gte" else ratio <= threshold

    def _keep(self, found: ComplexOrder, now: datetime) -> None:
        found.updated_ms = int(now.timestamp() * 1000)
        self._broker.store.keep({}, account=found.account, complex_orders=[found.as_row()])
        self._broker.notify("ComplexOrder", self.as_wire(found))


def shape(kind: str, trigger: Order | None, parts: list[Order], ratio: dict[str, Any]) -> dict[str, Any]:
    """What placed and unplaced complex orders have in common."""
    found: dict[str, Any] = {"type": kind, "orders": [each.as_wire() for each in parts]} | ratio
    return found | ({"trigger-order": trigger.as_wire()} if trigger is not None else {})


def _ratio(body: dict[str, Any]) -> dict[str, Any]:
    try:
        threshold = Decimal(str(body["ratio-price-threshold"]))
    except (KeyError, ArithmeticError):
        raise invalid("ratio-price-threshold", "is missing or is not a number") from None
    if not threshold.is_finite() or threshold <= 0:
        raise invalid("ratio-price-threshold", "is not a positive number")
    if body.get("ratio-price-comparator") not in ("gte", "lte"):
        raise invalid("ratio-price-comparator", "does not have a valid value")
    return {
        "ratio-price-threshold": str(threshold), "ratio-price-comparator": body["ratio-price-comparator"],
        "ratio-price-is-threshold-based-on-notional": bool(body.get("ratio-price-is-threshold-based-on-notional")),
    }  # fmt: skip
