"""Accounts and orders: validation, matching against the book, positions, cash, margin; on disk before an answer."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from optionmath.sessions import market_date
from tastysim import requirements, valuation
from tastysim.account import FLAGS, Account
from tastysim.admission import admitted, off_grid, valid_until
from tastysim.complex_orders import ComplexBook
from tastysim.contracts import Contracts
from tastysim.fees import fill_costs
from tastysim.fills import FillDesk
from tastysim.market import Market
from tastysim.orders import WORKING, ComplexOrder, Order, Refusal, invalid, magnitude, stamp
from tastysim.positions import event
from tastysim.rules import may_route, must_cancel
from tastysim.shapes import balance, position
from tastysim.store import Store
from tastysim.terms import Terms
from tastysim.transactions import deposit, trade

CENT = Decimal("0.01")
_TODAY_WALL_SECONDS = 600
_DAY = ("Day", "Ext", "Ext Overnight", "IOC")


class Broker(Account):
    """One account and its orders at the simulated broker. `notify` is called with (type, data) for the account stream.

    `latency_steps`: steps of the market that an order takes to become live and a cancellation to arrive; 0 = at once.
    """

    def __init__(
        self, market: Market, store: Store, account: str, cash: int, margin_or_cash: str = "Margin", *,
        first: bool = False, terms: Terms | None = None, contracts: Contracts | None = None,
    ) -> None:  # fmt: skip
        super().__init__(market, store, account, cash, margin_or_cash, first=first, terms=terms, contracts=contracts)
        self.notify: Callable[[str, dict[str, Any]], None] = lambda _kind, _data: None
        self.desk = FillDesk(market.now)
        """Decides about fills; one for all accounts."""
        self.latency_steps = 0
        self.stuck: set[int] = set()
        """Orders whose cancellation does not arrive by itself."""
        self._due: dict[int, int] = {}
        self.orders: dict[int, Order] = {row["id"]: Order.from_row(row) for row in self._order_rows()}
        self.alive: dict[int, Order] = {each.id: each for each in self.orders.values() if not each.is_terminal}
        """Orders that may still change; those that have ended leave with the next match."""
        self._rolled: tuple[str, bool] | None = None
        self.complex = ComplexBook(
            self, {row["id"]: ComplexOrder(**row) for row in store.rows("complex_orders", account)}
        )
        if self.is_new:
            self._deposit(Decimal(cash), market.now)

    def _order_rows(self) -> list[dict[str, Any]]:
        """Orders of this account; those of an older file move to where they are kept now."""
        rows = self.store.rows("orders", self.account)
        if not rows and self._first and (older := self.store.kept("orders")):
            rows = json.loads(older)
            self.store.keep({}, account=self.account, orders=rows)
        return rows

    def history(self) -> list[dict[str, Any]]:
        """Everything that happened, oldest first: the ground truth for an independent check."""
        return self.store.history()

    def submit(self, body: dict[str, Any], now: datetime, *, replaces: int | None = None) -> Order:
        """Accept an order, on disk before this returns. Raises Refusal, and then nothing has happened."""
        order = self.checked(body, now)
        order.replaces = replaces
        self.accept(order, now)
        return order

    def accept(self, order: Order, now: datetime, *, contingent: bool = False) -> None:
        """Take a checked order into the book, or hold it until another one fills."""
        order.id = self.store.next_order_id()
        order.touch(now)
        if contingent:
            order.status, order.contingent = "Contingent", "Pending Order"
        else:
            self._route(order, now)
        self.orders[order.id] = self.alive[order.id] = order
        self.keep("submitted", order)
        self.tell(order)

    def release(self, order: Order, now: datetime) -> None:
        """Send a held order to the book."""
        self._route(order, now)
        self.keep("released", order)
        self.tell(order)

    def _route(self, order: Order, now: datetime) -> None:
        if not may_route(order.rule, self.market, now):
            order.status, order.contingent = "Contingent", "Pending Rule"
            return
        if order.rule:
            order.rule["routed-at"] = stamp(now)
        if not self.market.is_open:
            order.status, order.contingent = "Received", None
            return
        order.become("Routed" if self.latency_steps else "Live", now)
        if self.latency_steps:
            self._due[order.id] = self.market.steps + self.latency_steps

    def dry_run(self, body: dict[str, Any], now: datetime) -> tuple[Order, dict[str, Any], dict[str, Any]]:
        """Check an order without effect: the order, its effect on buying power, its fees."""
        order = self.checked(body, now)
        order.updated_ms = 0
        return order, self.buying_power_effect(order), self.fee_calculation(order)

    def replacement(self, order_id: int, body: dict[str, Any]) -> dict[str, Any]:
        """The body of a replacement: what is not given stays, the legs always do. Raises Refusal."""
        old = self.working(order_id)
        if old.fills:
            raise Refusal(422, "cannot_update_order", f"Order {order_id} could not be replaced: it has fills")
        kept: dict[str, Any] = {
            "legs": old.legs, "order-type": old.order_type, "time-in-force": old.time_in_force, "source": old.source,
            "stop-trigger": old.stop_trigger, "gtc-date": old.gtc_date,
        }  # fmt: skip
        kind = body.get("order-type", old.order_type)
        if old.price is not None and kind in ("Limit", "Stop Limit"):
            kept |= {"price": abs(old.price), "price-effect": "Debit" if old.price < 0 else "Credit"}
        return kept | {name: value for name, value in body.items() if name != "legs" and value is not None}

    def replace(self, order_id: int, body: dict[str, Any], now: datetime) -> Order:
        """A new order in the place of a working one. Raises Refusal when the old one is not working."""
        old = self.working(order_id)
        order = self.checked(self.replacement(order_id, body), now, held=old.status == "Contingent")
        order.replaces, order.complex_id, order.complex_tag = order_id, old.complex_id, old.complex_tag
        order.rule = order.rule or old.rule
        self.accept(order, now, contingent=old.status == "Contingent")
        old.replacing, old.edited = order.id, True
        self.complex.exchange(old, order)
        old.become("Cancelled", now)
        self.desk.forget(old.id)
        self.keep("replaced", old)
        self.tell(old)
        return order

    def cancel(self, order_id: int, now: datetime) -> Order:
        """Cancel a working order. Raises Refusal otherwise."""
        order = self.working(order_id)
        if (self.latency_steps or order_id in self.stuck) and order.status != "Contingent":
            order.become("Cancel Requested", now)
            self._due[order_id] = self.market.steps + self.latency_steps
            self.keep("cancel requested", order)
            self.tell(order)
        else:
            self.end(order, "Cancelled", now)
        return order

    def end(self, order: Order, status: str, now: datetime, reason: str | None = None) -> None:
        """Bring an order to an end that is not a fill."""
        order.reject_reason = reason
        order.become(status, now)
        self._due.pop(order.id, None)
        self.desk.forget(order.id)
        self.keep(status.lower(), order)
        self.tell(order)
        self.complex.after(order, now)

    def match(self, now: datetime) -> None:
        """Let orders arrive, start, fill and end: fill what the book allows."""
        self._roll(now)
        self.complex.start(now)
        if not self.alive:
            return
        self._rules(now)
        for order in list(self.alive.values()):
            if order.is_terminal:
                self.alive.pop(order.id, None)  # it may be the other one of a pair that has just filled
            elif order.status in WORKING:
                self._work(order, now)

    def _work(self, order: Order, now: datetime) -> None:
        stuck = order.status == "Cancel Requested" and order.id in self.stuck
        if self._due.get(order.id, 0) > self.market.steps or stuck:
            if order.status == "Cancel Requested" and self.market.is_open:
                self._try(order, now)  # a fill may still win
            return
        self._due.pop(order.id, None)
        if order.status == "Cancel Requested":
            self.end(order, "Cancelled", now)
            return
        if not self.market.is_open:
            return
        if order.status in ("Routed", "Received"):
            order.become("Live", now)
            self.keep("live", order)
            self.tell(order)
        if off_grid(self.market, order):
            self.end(order, "Rejected", now, "The price is not on the tick grid")
            return
        self._try(order, now)
        if order.time_in_force == "IOC" and not order.is_terminal:
            self.end(order, "Cancelled", now)

    def _rules(self, now: datetime) -> None:
        """Route and cancel what is due by its rule."""
        for order in [each for each in self.alive.values() if each.rule and not each.is_terminal]:
            if must_cancel(order.rule, self.market, now):
                assert order.rule is not None
                order.rule["cancelled-at"] = stamp(now)
                self.end(order, "Cancelled", now)
            elif order.contingent == "Pending Rule" and may_route(order.rule, self.market, now):
                self.release(order, now)

    def _try(self, order: Order, now: datetime) -> None:
        """Fill, reject or leave resting, as the desk decides."""
        decision = self.desk.consider(self.market, order, now)
        if decision.reject is not None:
            self.end(order, "Rejected", now, decision.reject)
        elif decision.price is not None:
            self.fill(order, decision.price, now, decision.units)

    def _roll(self, now: datetime) -> None:
        """End what is good for a day or a session that is over."""
        today = market_date(now).isoformat()
        if self._rolled == (today, self.market.is_open):
            return
        self._rolled = today, self.market.is_open
        self.holdings.roll(today)
        for order in [each for each in self.alive.values() if not each.is_terminal]:
            over = order.time_in_force in _DAY and (
                valid_until(order) < today or (order.live_at is not None and not self.market.is_open)
            )
            if over or (order.gtc_date is not None and order.gtc_date < today):
                self.end(order, "Expired", now)

    def checked(self, body: dict[str, Any], now: datetime, *, held: bool = False) -> Order:
        """An order that passes every check. `held`: one that waits for another; positions are not asked for yet."""
        return admitted(self, body, now, held=held)

    def working(self, order_id: int) -> Order:
        """An order that may be cancelled or replaced. Raises Refusal."""
        order = self.order(order_id)
        if order.status not in WORKING | {"Contingent"} or order.status == "Cancel Requested":
            raise Refusal(422, "cannot_update_order", f"Order {order_id} could not be cancelled: it is {order.status}")
        return order

    def order(self, order_id: int) -> Order:
        """An order of this account. Raises Refusal."""
        if order_id not in self.orders:
            raise Refusal(404, "record_not_found", f"Couldn't find order {order_id}")
        return self.orders[order_id]

    def today(self, orders: Iterable[Order], now: datetime) -> list[Order]:
        """Orders created or updated today, newest first, and older ones that still work.

        Where time runs faster than the clock, what changed in the last ten minutes of the clock counts too.
        """
        day, wall = market_date(now), time.time() - _TODAY_WALL_SECONDS
        found = [
            each for each in orders
            if not each.is_terminal or each.wall > wall
            or market_date(datetime.fromtimestamp(each.updated_ms / 1000, now.tzinfo)) == day
        ]  # fmt: skip
        return found[::-1]

    def fill(self, order: Order, net: Decimal, now: datetime, most: int) -> None:
        """Book a fill of at most so many units; the legs' prices are their mids, the dearest takes the difference."""
        units = min(most, order.units - order.filled_units)
        if not self._covers(order, units):
            self.end(order, "Rejected", now, "There is no position to close")
            return
        count, transactions = len(order.fills) // len(order.legs), []
        prices = self._leg_prices(order, net)
        for number, ((symbol, quantity), leg, each) in enumerate(zip(order.unit_legs, order.legs, prices, strict=True)):
            fill = {
                "fill-id": f"{order.id}-{number}" + (f"-{count}" if count else ""),
                "quantity": magnitude(quantity) * units,
                "fill-price": str(each), "filled-at": stamp(now), "symbol": symbol, "destination-venue": "SIM",
                "ext-group-fill-id": f"{order.id}-{count}", "ext-exec-id": f"{order.id}-{number}-{count}",
            }  # fmt: skip
            before = order.filled_units * magnitude(quantity)
            costs = fill_costs(self.terms.fees, leg, magnitude(quantity) * units, each, before)
            self.move(symbol, quantity * units, each, now)
            transactions.append(trade(self.store.next_transaction_id(), order, leg, fill, costs, now))
            order.fills.append(fill)
        self.take(transactions)
        done = order.filled_units == order.units
        order.become("Filled", now) if done else order.touch(now)
        self.keep("filled" if done else "partially filled", order, transactions)
        self.tell(order)
        self.tell_account(order)
        self.complex.after(order, now)

    def _covers(self, order: Order, units: int) -> bool:
        """Whether what an order closes is still there."""
        legs = zip(order.unit_legs, order.legs, strict=True)
        return all(
            self.positions.get(symbol, (0, Decimal(0)))[0] * (-1 if quantity > 0 else 1) >= magnitude(quantity) * units
            for (symbol, quantity), leg in legs if leg["action"].endswith("Close")
        )  # fmt: skip

    def _leg_prices(self, order: Order, net: Decimal) -> list[Decimal]:
        scale = valuation.scale(order)
        prices = [self.mark(leg["symbol"]).quantize(CENT, ROUND_HALF_EVEN) for leg in order.legs]
        weights = [Decimal(quantity * valuation.multiplier(symbol)) / scale for symbol, quantity in order.unit_legs]
        missing = -net - sum((weight * each for weight, each in zip(weights, prices, strict=True)), Decimal(0))
        least = min(abs(each) for each in weights)
        number = max((n for n, each in enumerate(weights) if abs(each) == least), key=lambda n: prices[n])
        prices[number] += missing / weights[number]
        return prices

    def _deposit(self, amount: Decimal, now: datetime) -> None:
        row = deposit(self.store.next_transaction_id(), self.account, amount, now)
        self.write([row], events=[event("deposit", self.account, now, amount=amount)])

    def deposit(self, amount: Decimal, now: datetime) -> None:
        """Pay money in."""
        self.cash += amount
        self._deposit(amount, now)
        self.tell_account(None)

    def tell(self, order: Order) -> None:
        """Push an order to the account stream."""
        self.notify("Order", order.as_wire())

    def tell_account(self, order: Order | None) -> None:
        """Push the positions an order touched, and the balance."""
        for leg in order.legs if order else ():
            self.notify("CurrentPosition", position(self, leg["symbol"]))
        self.notify("AccountBalance", balance(self))

    def set_flags(self, flags: dict[str, Any]) -> None:
        """Restrict the account or lift a restriction; give it another options level. Raises Refusal."""
        level = flags.get("options-level", self.options_level)
        if level not in requirements.LEVELS:
            raise invalid("options-level", f"is not one of {', '.join(requirements.LEVELS)}")
        self.options_level = level
        self.flags |= {name: bool(value) for name, value in flags.items() if name in FLAGS}
        self.write([])

    def keep(self, what: str, order: Order, transactions: Iterable[dict[str, Any]] = ()) -> None:
        """Write the account, the order and the event in one transaction."""
        row = order.as_row()
        event = {
            "what": what, "order-id": order.id, "external-identifier": order.external_identifier,
            "status": order.status, "account-number": self.account, "at-ms": order.updated_ms,
            "price": str(order.price), "legs": row["legs"], "fills": row["fills"],
        }  # fmt: skip
        self.write(transactions, orders=[row], events=[event])
