"""Accounts and orders: validation, matching against the book, positions, cash, margin; on disk before an answer."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from optionmath.sessions import market_date
from tastysim import valuation
from tastysim.checks import read_order, underlying_of
from tastysim.complex_orders import ComplexBook
from tastysim.fills import FillDesk
from tastysim.market import Market
from tastysim.orders import SIGNS, WORKING, ComplexOrder, Order, Refusal, preflight, stamp
from tastysim.rules import may_route, must_cancel, read_rule
from tastysim.shapes import balance, position
from tastysim.store import Store
from tastysim.transactions import deposit, trade

CENT = Decimal("0.01")
_TODAY_WALL_SECONDS = 600
FLAGS = ("is-closed", "is-closing-only", "is-frozen", "is-risk-reducing-only")


class Broker:
    """One account at the simulated broker. `notify` is called with (type, data) for the account stream.

    `latency_steps`: steps of the market that an order takes to become live and a cancellation to arrive; 0 = at once.
    """

    def __init__(
        self, market: Market, store: Store, account: str, cash: int, margin_or_cash: str = "Margin", *,
        first: bool = False,
    ) -> None:  # fmt: skip
        self.market, self.store, self.account, self._first = market, store, account, first
        self.notify: Callable[[str, dict[str, Any]], None] = lambda _kind, _data: None
        self.desk = FillDesk(market.now)
        """Decides about fills; one for all accounts."""
        self.latency_steps = 0
        self.stuck: set[int] = set()
        """Orders whose cancellation does not arrive by itself."""
        self._due: dict[int, int] = {}
        known = self._kept("cash")
        self.cash = Decimal(known or str(cash))
        self.margin_or_cash = self._kept("margin-or-cash") or margin_or_cash
        self.flags: dict[str, bool] = dict.fromkeys(FLAGS, False) | json.loads(self._kept("flags") or "{}")
        self.positions: dict[str, tuple[int, Decimal]] = {
            symbol: (quantity, Decimal(average))
            for symbol, (quantity, average) in json.loads(self._kept("positions") or "{}").items()
        }
        self.times: dict[str, list[str]] = json.loads(self._kept("times") or "{}")
        """When a position was opened and last changed."""
        self.realized: dict[str, str] = json.loads(self._kept("realized") or "{}")
        """$ gained today, by symbol; `day` says which day."""
        self.orders: dict[int, Order] = {row["id"]: Order.from_row(row) for row in self._order_rows()}
        self.complex = ComplexBook(
            self, {row["id"]: ComplexOrder(**row) for row in store.rows("complex_orders", account)}
        )
        if known is None:
            self._deposit(Decimal(cash), market.now)

    def _kept(self, name: str) -> str | None:
        """A value of this account; an older file has those of its only account without its number."""
        found = self.store.kept(f"{self.account}/{name}")
        return self.store.kept(name) if found is None and self._first else found

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
        self.orders[order.id] = order
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
        order.become("Routed" if self.latency_steps else "Live", now)
        if self.latency_steps:
            self._due[order.id] = self.market.steps + self.latency_steps

    def dry_run(self, body: dict[str, Any], now: datetime) -> tuple[Order, dict[str, Any], dict[str, Any]]:
        """Check an order without effect: the order, its effect on buying power, its fees."""
        order = self.checked(body, now)
        order.updated_ms = 0
        return order, self.buying_power_effect(order), valuation.fee_calculation(order)

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
        self._rules(now)
        for order in [each for each in self.orders.values() if each.status in WORKING]:
            if order.is_terminal:
                continue  # the other one of its pair has just filled
            stuck = order.status == "Cancel Requested" and order.id in self.stuck
            if self._due.get(order.id, 0) > self.market.steps or stuck:
                if order.status == "Cancel Requested":
                    self._try(order, now)  # a fill may still win
                continue
            self._due.pop(order.id, None)
            if order.status == "Cancel Requested":
                self.end(order, "Cancelled", now)
                continue
            if order.status == "Routed":
                order.become("Live", now)
                self.keep("live", order)
                self.tell(order)
            if order.price is not None and order.price != order.price.quantize(CENT):
                self.end(order, "Rejected", now, "The price is not on the tick grid")
                continue
            self._try(order, now)
            if order.time_in_force == "IOC" and not order.is_terminal:
                self.end(order, "Cancelled", now)

    def _rules(self, now: datetime) -> None:
        """Route and cancel what is due by its rule."""
        for order in [each for each in self.orders.values() if each.rule and not each.is_terminal]:
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
        """End what is good for a day that is over."""
        today = market_date(now)
        if self.realized.get("day") != today.isoformat():
            self.realized = {"day": today.isoformat()}
        for order in [each for each in self.orders.values() if not each.is_terminal]:
            received = market_date(datetime.fromisoformat(order.received_at))
            over = order.time_in_force in ("Day", "Ext", "Ext Overnight", "IOC") and received < today
            if over or (order.gtc_date is not None and order.gtc_date < today.isoformat()):
                self.end(order, "Expired", now)

    def net_liq(self) -> Decimal:
        """Cash and the marks of everything held."""
        return self.cash + sum((self.value(symbol) for symbol in self.positions), Decimal(0))

    def value(self, symbol: str) -> Decimal:
        """$ at the mark, short negative."""
        return valuation.mark(self.market, symbol) * self.positions[symbol][0] * valuation.multiplier(symbol)

    def requirement(self) -> Decimal:
        """Margin of everything held."""
        return valuation.requirement(self.market, self.positions)

    def buying_power(self) -> Decimal:
        """Cash less the requirement: the premium received is part of the cash. Shares count as what they cost."""
        held = (symbol for symbol in self.positions if not valuation.is_option(symbol))
        return self.cash + sum((self.value(symbol) for symbol in held), Decimal(0)) - self.requirement()

    def buying_power_effect(self, order: Order) -> dict[str, Any]:
        """What an order changes, magnitudes with effects."""
        return valuation.buying_power_effect(self.market, self.positions, self.buying_power(), order)

    def checked(self, body: dict[str, Any], now: datetime, *, held: bool = False) -> Order:
        """An order that passes every check. `held`: one that waits for another; positions are not asked for yet."""
        order = read_order(self.market, self.account, body, now)
        order.rule = read_rule(self.market, body.get("rules"))
        order.behavior = self.desk.chosen(body, now)
        opening = any(leg["action"].endswith("Open") for leg in order.legs)
        for flag in ("is-closed", "is-frozen"):
            if self.flags[flag]:
                raise preflight(flag.removeprefix("is-"), f"Account {self.account} is {flag.removeprefix('is-')}.")
        if opening and (self.flags["is-closing-only"] or self.flags["is-risk-reducing-only"]):
            raise preflight("closing_only", f"Account {self.account} is restricted to closing orders.")
        if held:
            return order
        strict = bool((body.get("advanced-instructions") or {}).get("strict-position-effect-validation"))
        self._closes(order, strict=strict)
        effect = self.buying_power_effect(order)
        if effect["new-buying-power-effect"] == "Debit" and effect["effect"] == "Debit":
            raise preflight("margin_check_failed", "Your account has insufficient buying power.")
        return order

    def _closes(self, order: Order, *, strict: bool) -> None:
        """A close without its position is refused under the strict flag, otherwise turned into an opening one."""
        for leg in order.legs:
            if not leg["action"].endswith("Close"):
                continue
            if self.positions.get(leg["symbol"], (0, Decimal(0)))[0] * -SIGNS[leg["action"]] >= leg["quantity"]:
                continue
            message = f"There is no position in {leg['symbol']} to close."
            if strict:
                raise preflight("closing_with_no_position", message)
            leg["action"] = leg["action"].replace("Close", "Open")
            order.warnings.append({"code": "closing_with_no_position", "message": message})

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
        """Book a fill of at most so many units; the legs' prices are their mids, the first one takes the difference."""
        units = min(most, order.units - order.filled_units)
        scale, count = valuation.scale(order), len(order.fills) // len(order.legs)
        prices = [valuation.mark(self.market, leg["symbol"]).quantize(CENT, ROUND_HALF_EVEN) for leg in order.legs]
        weights = [Decimal(quantity * valuation.multiplier(symbol)) / scale for symbol, quantity in order.unit_legs]
        missing = -net - sum((weight * each for weight, each in zip(weights, prices, strict=True)), Decimal(0))
        prices[0] += missing / weights[0]
        transactions = []
        for number, ((symbol, quantity), leg, each) in enumerate(zip(order.unit_legs, order.legs, prices, strict=True)):
            fill = {
                "fill-id": f"{order.id}-{number}" + (f"-{count}" if count else ""), "quantity": abs(quantity) * units,
                "fill-price": str(each), "filled-at": stamp(now), "symbol": symbol, "destination-venue": "SIM",
                "ext-group-fill-id": f"{order.id}-{count}", "ext-exec-id": f"{order.id}-{number}-{count}",
            }  # fmt: skip
            order.fills.append(fill)
            self.move(symbol, quantity * units, each, now)
            transactions.append(trade(self.store.next_transaction_id(), order, leg, fill, now))
        cost = sum((amount for row in transactions for amount in row.pop("cost")), Decimal(0))
        self.cash += net * scale * units - cost
        done = order.filled_units == order.units
        order.become("Filled", now) if done else order.touch(now)
        self.keep("filled" if done else "partially filled", order, transactions)
        self.tell(order)
        self.tell_account(order)
        self.complex.after(order, now)

    def _deposit(self, amount: Decimal, now: datetime) -> None:
        self.write([deposit(self.store.next_transaction_id(), self.account, amount, now)])

    def deposit(self, amount: Decimal, now: datetime) -> None:
        """Pay money in."""
        self.cash += amount
        self.write([deposit(self.store.next_transaction_id(), self.account, amount, now)])
        self.tell_account(None)

    def move(self, symbol: str, quantity: int, price: Decimal, now: datetime) -> None:
        """Change a position by a signed quantity at a price; what that closes is realized."""
        held, average = self.positions.get(symbol, (0, Decimal(0)))
        after, at = held + quantity, stamp(now)
        closed = min(abs(held), abs(quantity)) if (held > 0) != (quantity > 0) else 0
        gain = (price - average) * closed * (1 if held > 0 else -1) * valuation.multiplier(symbol)
        if closed:
            self.realized[symbol] = str(Decimal(self.realized.get(symbol, "0")) + gain)
        self.times[symbol] = [self.times[symbol][0] if held and symbol in self.times else at, at]
        if after == 0:
            self.positions.pop(symbol, None)
            return
        if held == 0 or (held > 0) == (quantity > 0):
            average = (average * abs(held) + price * abs(quantity)) / abs(after)
        elif (held > 0) != (after > 0):
            average = price
        self.positions[symbol] = (after, average)

    def tell(self, order: Order) -> None:
        """Push an order to the account stream."""
        self.notify("Order", order.as_wire())

    def tell_account(self, order: Order | None) -> None:
        """Push the positions an order touched, and the balance."""
        for leg in order.legs if order else ():
            self.notify("CurrentPosition", position(self, leg["symbol"]))
        self.notify("AccountBalance", balance(self))

    def set_flags(self, flags: dict[str, bool]) -> None:
        """Restrict the account or lift a restriction."""
        self.flags |= {name: bool(value) for name, value in flags.items() if name in FLAGS}
        self.write([])

    def keep(self, what: str, order: Order, transactions: Iterable[dict[str, Any]] = ()) -> None:
        """Write the account, the order and the event in one transaction."""
        event = {
            "what": what, "order-id": order.id, "external-identifier": order.external_identifier,
            "status": order.status, "account-number": self.account, "at-ms": order.updated_ms,
            "price": str(order.price), "legs": order.legs, "fills": order.fills,
        }  # fmt: skip
        self.write(transactions, orders=[order.as_row()], events=[event])

    def write(self, transactions: Iterable[dict[str, Any]], **rows: Any) -> None:
        """Write the account and what belongs with it in one transaction."""
        state = {
            "cash": str(self.cash), "margin-or-cash": self.margin_or_cash, "flags": json.dumps(self.flags),
            "positions": json.dumps({key: [count, str(average)] for key, (count, average) in self.positions.items()}),
            "times": json.dumps(self.times), "realized": json.dumps(self.realized),
        }  # fmt: skip
        kept = {f"{self.account}/{name}": value for name, value in state.items()}
        self.store.keep(kept, account=self.account, transactions=transactions, **rows)

    def underlying_of(self, symbol: str) -> str:
        """Underlying of a contract or an equity."""
        return underlying_of(self.market, symbol)
