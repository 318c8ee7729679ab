"""Accounts and orders: validation, matching against the book, positions, cash, margin; on disk before an answer."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any

import numpy as np

from optionmath.payoff import PayoffLeg, analyse
from schemas.symbols import OptionType, parse_occ
from tastysim.market import Market

COMMISSION, OTHER_FEES = Decimal("1.00"), Decimal("0.13")
CENT = Decimal("0.01")
WORKING = frozenset({"Received", "Routed", "Live"})
SIGNS = {"Buy to Open": 1, "Buy to Close": 1, "Sell to Open": -1, "Sell to Close": -1}


class Refusal(Exception):
    """A refused request: HTTP status, outer code, message and the nested reasons."""

    def __init__(self, status: int, code: str, message: str, reasons: list[dict[str, str]] | None = None) -> None:
        self.status, self.code, self.message, self.reasons = status, code, message, reasons or []
        super().__init__(f"{code}: {message}")


def preflight(code: str, message: str) -> Refusal:
    """A refusal as the broker's order checks word it."""
    reasons = [{"code": code, "message": message}]
    return Refusal(422, "preflight_check_failure", "One or more preflight checks failed", reasons)


@dataclass(slots=True)
class Order:
    """One order. price: net $ per share, credit positive. Quantities are contracts of a leg."""

    id: int
    account: str
    legs: list[dict[str, Any]]
    price: Decimal
    status: str
    received_at: str
    updated_ms: int
    external_identifier: str | None = None
    replaces: int | None = None
    replacing: int | None = None
    fills: list[dict[str, Any]] = field(default_factory=list)

    def as_wire(self, underlying: str) -> dict[str, Any]:
        """JSON of the order as the API shows it."""
        legs = [
            {
                "instrument-type": "Equity Option",
                "symbol": leg["symbol"],
                "action": leg["action"],
                "quantity": leg["quantity"],
                "remaining-quantity": 0 if self.status == "Filled" else leg["quantity"],
                "fills": [fill for fill in self.fills if fill["symbol"] == leg["symbol"]],
            }
            for leg in self.legs
        ]
        found = {
            "id": self.id,
            "account-number": self.account,
            "time-in-force": "Day",
            "order-type": "Limit",
            "size": legs[0]["quantity"],
            "underlying-symbol": underlying,
            "underlying-instrument-type": "Equity",
            "price": str(abs(self.price)),
            "price-effect": "Debit" if self.price < 0 else "Credit",
            "status": self.status,
            "cancellable": self.status in WORKING,
            "editable": self.status in WORKING,
            "edited": False,
            "received-at": self.received_at,
            "updated-at": self.updated_ms,
            "global-request-id": str(self.id),
            "legs": legs,
        }
        optional = {
            "external-identifier": self.external_identifier,
            "replaces-order-id": self.replaces,
            "replacing-order-id": self.replacing,
        }
        return found | {key: value for key, value in optional.items() if value is not None}


class Broker:
    """One account at the simulated broker. `notify` is called with (type, data) for the account stream."""

    def __init__(self, market: Market, folder: Path, account: str, cash: int) -> None:
        self.market = market
        self.account = account
        self.notify: Callable[[str, dict[str, Any]], None] = lambda _kind, _data: None
        self.generator = np.random.default_rng(1)
        folder.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(folder / "broker.sqlite")
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute("CREATE TABLE IF NOT EXISTS kept(key TEXT PRIMARY KEY, value TEXT NOT NULL)")
        self._db.execute("CREATE TABLE IF NOT EXISTS history(n INTEGER PRIMARY KEY, event TEXT NOT NULL)")
        kept = dict(self._db.execute("SELECT key, value FROM kept"))
        self.cash = Decimal(kept.get("cash", str(cash)))
        self.positions: dict[str, tuple[int, Decimal]] = {
            symbol: (quantity, Decimal(average))
            for symbol, (quantity, average) in json.loads(kept.get("positions", "{}")).items()
        }
        self.orders: dict[int, Order] = {}
        for row in json.loads(kept.get("orders", "[]")):
            self.orders[row["id"]] = Order(**{**row, "price": Decimal(row["price"])})

    def history(self) -> list[dict[str, Any]]:
        """Everything that happened, oldest first: the ground truth for an independent check."""
        return [json.loads(event) for (event,) in self._db.execute("SELECT event FROM history ORDER BY n")]

    def submit(self, body: dict[str, Any], now: datetime, *, replaces: int | None = None) -> Order:
        """Accept an order, on disk before this returns. Raises Refusal, and then nothing has happened."""
        order = self._checked(body, now)
        order.replaces = replaces
        order.id = max(self.orders, default=1000) + 1
        order.status = "Live"
        self.orders[order.id] = order
        self._keep("submitted", order)
        self._tell(order)
        return order

    def dry_run(self, body: dict[str, Any], now: datetime) -> tuple[Order, dict[str, Any], dict[str, Any]]:
        """Check an order without effect: the order, its effect on buying power, its fees."""
        order = self._checked(body, now)
        return order, self.buying_power_effect(order), self.fees(order)

    def replace(self, order_id: int, body: dict[str, Any], now: datetime) -> Order:
        """A new order in the place of a working one. Raises Refusal when the old one is not working."""
        old = self._working(order_id)
        new = self.submit({**body, "legs": old.legs}, now, replaces=order_id)
        old.status, old.replacing = "Cancelled", new.id
        self._touch(old, now)
        self._keep("replaced", old)
        self._tell(old)
        return new

    def cancel(self, order_id: int, now: datetime) -> Order:
        """Cancel a working order. Raises Refusal otherwise."""
        order = self._working(order_id)
        order.status = "Cancelled"
        self._touch(order, now)
        self._keep("cancelled", order)
        self._tell(order)
        return order

    def match(self, now: datetime) -> None:
        """Fill what the book allows: at once when natural reaches the limit, by chance between mid and natural."""
        for order in [each for each in self.orders.values() if each.status in WORKING]:
            natural, mid = self._net(order, natural=True), self._net(order, natural=False)
            if natural is None or mid is None:
                continue
            chance = 1.0
            if natural < order.price:
                room = float(mid - natural) or 0.01
                chance = 0.0 if order.price > mid else 0.01 + 0.15 * float(mid - order.price) / room
            if self.generator.random() < chance:
                self._fill(order, max(order.price, natural), now)

    def net_liq(self) -> Decimal:
        """Cash and the marks of everything held."""
        return self.cash + sum(
            (self._mark(symbol) * quantity * 100 for symbol, (quantity, _) in self.positions.items()), Decimal(0)
        )

    def requirement(self, extra: dict[str, int] | None = None) -> Decimal:
        """Margin: per underlying and expiration, the most that can be lost at expiration."""
        held = {symbol: quantity for symbol, (quantity, _) in self.positions.items()}
        for symbol, quantity in (extra or {}).items():
            held[symbol] = held.get(symbol, 0) + quantity
        groups: dict[tuple[str, Any], list[PayoffLeg]] = {}
        for symbol, quantity in held.items():
            if quantity:
                option = parse_occ(symbol)
                leg = PayoffLeg(option.option_type.value == "C", option.strike, quantity)
                groups.setdefault((option.root_symbol, option.expiration), []).append(leg)
        total = Decimal(0)
        for (root, _), legs in groups.items():
            worst = analyse(legs, Decimal(0)).max_loss
            if worst is None:
                index = self.market.index_of(root)
                naked = sum(-leg.signed_quantity for leg in legs if leg.is_call)
                spot = Decimal(str(round(float(self.market.spot[index or 0]), 2)))
                worst = Decimal("0.2") * spot * naked
            total += worst * 100
        return total

    def buying_power(self) -> Decimal:
        """Cash less the requirement: the premium received is part of the cash."""
        return self.cash - self.requirement()

    def buying_power_effect(self, order: Order) -> dict[str, Any]:
        """What an order changes, magnitudes with effects."""
        extra = {leg["symbol"]: SIGNS[leg["action"]] * leg["quantity"] for leg in order.legs}
        before, after = self.requirement(), self.requirement(extra)
        units = order.legs[0]["quantity"]
        change = order.price * 100 * units - (after - before)
        now = self.buying_power()

        def signed(name: str, amount: Decimal) -> dict[str, str]:
            return {name: str(abs(amount)), f"{name}-effect": "Debit" if amount < 0 else "Credit"}

        return {
            **signed("change-in-margin-requirement", before - after),
            **signed("change-in-buying-power", change),
            **signed("current-buying-power", now),
            **signed("new-buying-power", now + change),
            **signed("isolated-order-margin-requirement", before - after),
            "is-spread": len(order.legs) > 1,
            "impact": str(abs(change)),
            "effect": "Debit" if change < 0 else "Credit",
        }

    def fees(self, order: Order) -> dict[str, Any]:
        """Commission to open, and clearing and regulatory fees; magnitudes with effects."""
        contracts = sum(leg["quantity"] for leg in order.legs)
        opening = sum(leg["quantity"] for leg in order.legs if leg["action"].endswith("Open"))
        parts = {"commission": COMMISSION * opening, "clearing-fees": OTHER_FEES * contracts}
        parts |= {"regulatory-fees": Decimal(0), "proprietary-index-option-fees": Decimal(0)}
        parts["total-fees"] = sum(parts.values(), Decimal(0))
        found: dict[str, Any] = {}
        for name, amount in parts.items():
            found |= {name: str(amount), f"{name}-effect": "Debit" if amount else "None"}
        return found

    def _checked(self, body: dict[str, Any], now: datetime) -> Order:
        legs = body.get("legs")
        if not isinstance(legs, list) or not 1 <= len(legs) <= 4:
            raise Refusal(
                400, "validation_error", "Request validation failed", [{"domain": "legs", "reason": "1 to 4 legs"}]
            )
        if body.get("order-type") != "Limit":
            raise preflight("order_type_not_supported", f"Order type {body.get('order-type')} is not simulated.")
        checked = [self._leg(leg) for leg in legs]
        try:
            price = abs(Decimal(str(body["price"])))
        except (KeyError, ArithmeticError):
            raise Refusal(
                400, "validation_error", "Request validation failed", [{"domain": "price", "reason": "is missing"}]
            ) from None
        debit = body.get("price-effect") == "Debit"
        if all(SIGNS[leg["action"]] > 0 for leg in checked) and not debit:
            raise preflight("cant_buy_for_credit", "You cannot buy for a credit.")
        order = Order(
            0, self.account, checked, -price if debit else price, "Received", now.isoformat(timespec="milliseconds"),
            int(now.timestamp() * 1000), body.get("external-identifier"),
        )  # fmt: skip
        self._closes(order, bool((body.get("advanced-instructions") or {}).get("strict-position-effect-validation")))
        effect = self.buying_power_effect(order)
        if effect["new-buying-power-effect"] == "Debit" and effect["effect"] == "Debit":
            raise preflight("margin_check_failed", "Your account has insufficient buying power.")
        return order

    def _leg(self, leg: Any) -> dict[str, Any]:
        symbol = str(leg.get("symbol", "")) if isinstance(leg, dict) else ""
        if symbol not in self.market.row_of:
            raise preflight("instrument_validation_failed", f"Instrument {symbol!r} is not active.")
        quantity = int(Decimal(str(leg.get("quantity", 0))))
        if leg.get("action") not in SIGNS or quantity <= 0:
            raise Refusal(
                400,
                "validation_error",
                "Request validation failed",
                [{"domain": "legs", "reason": "action or quantity"}],
            )
        return {"symbol": symbol, "action": leg["action"], "quantity": quantity}

    def _closes(self, order: Order, strict: bool) -> None:
        for leg in order.legs:
            held = self.positions.get(leg["symbol"], (0, Decimal(0)))[0]
            closes = leg["action"].endswith("Close")
            if closes and strict and held * -SIGNS[leg["action"]] < leg["quantity"]:
                raise preflight("closing_with_no_position", f"There is no position in {leg['symbol']} to close.")

    def _working(self, order_id: int) -> Order:
        order = self.orders.get(order_id)
        if order is None:
            raise Refusal(404, "record_not_found", f"Couldn't find order {order_id}")
        if order.status not in WORKING:
            raise Refusal(422, "cannot_update_order", f"Order {order_id} could not be cancelled: it is {order.status}")
        return order

    def _quote(self, symbol: str) -> tuple[Decimal, Decimal] | None:
        row = self.market.row_of.get(symbol)
        if row is None or not (np.isfinite(self.market.bid[row]) and np.isfinite(self.market.ask[row])):
            return None
        return Decimal(str(float(self.market.bid[row]))), Decimal(str(float(self.market.ask[row])))

    def _mark(self, symbol: str) -> Decimal:
        """Mid of a listed contract; the intrinsic value of one that is no longer listed."""
        if quote := self._quote(symbol):
            return (quote[0] + quote[1]) / 2
        option = parse_occ(symbol)
        index = self.market.index_of(option.root_symbol)
        if index is None:
            raise Refusal(500, "internal_server_error", f"{symbol} has no underlying in this market")
        spot = Decimal(str(round(float(self.market.spot[index]), 2)))
        gain = spot - option.strike if option.option_type is OptionType.CALL else option.strike - spot
        return max(gain, Decimal(0))

    def _net(self, order: Order, *, natural: bool) -> Decimal | None:
        """Net price per unit, credit positive: at natural or at mid."""
        units = order.legs[0]["quantity"]
        total = Decimal(0)
        for leg in order.legs:
            quote = self._quote(leg["symbol"])
            if quote is None:
                return None
            bid, ask = quote
            buys = SIGNS[leg["action"]] > 0
            each = (ask if buys else bid) if natural else (bid + ask) / 2
            total -= SIGNS[leg["action"]] * each * leg["quantity"] / units
        return total

    def _fill(self, order: Order, net: Decimal, now: datetime) -> None:
        """Book a complete fill at a net price; the legs' prices are their mids, the first one takes the difference."""
        units = order.legs[0]["quantity"]
        prices = [self._mark(leg["symbol"]).quantize(CENT, ROUND_HALF_EVEN) for leg in order.legs]
        signed = [SIGNS[leg["action"]] * leg["quantity"] // units for leg in order.legs]
        missing = -net - sum((sign * each for sign, each in zip(signed, prices, strict=True)), Decimal(0))
        prices[0] += missing / signed[0]
        for number, (leg, each) in enumerate(zip(order.legs, prices, strict=True)):
            fill = {
                "fill-id": f"{order.id}-{number}", "quantity": leg["quantity"], "fill-price": str(each),
                "filled-at": now.isoformat(timespec="milliseconds"), "symbol": leg["symbol"],
                "destination-venue": "SIM",
            }  # fmt: skip
            order.fills.append(fill)
            self._move(leg["symbol"], SIGNS[leg["action"]] * leg["quantity"], each)
        self.cash += net * 100 * units - Decimal(self.fees(order)["total-fees"])
        order.status = "Filled"
        self._touch(order, now)
        self._keep("filled", order)
        self._tell(order)

    def _move(self, symbol: str, quantity: int, price: Decimal) -> None:
        held, average = self.positions.get(symbol, (0, Decimal(0)))
        after = held + quantity
        if after == 0:
            self.positions.pop(symbol, None)
            return
        if held == 0 or (held > 0) == (quantity > 0):
            average = (average * abs(held) + price * abs(quantity)) / abs(after)
        elif (held > 0) != (after > 0):
            average = price
        self.positions[symbol] = (after, average)

    def _touch(self, order: Order, now: datetime) -> None:
        order.updated_ms = max(order.updated_ms + 1, int(now.timestamp() * 1000))

    def _tell(self, order: Order) -> None:
        self.notify("Order", order.as_wire(parse_occ(order.legs[0]["symbol"]).root_symbol))

    def _keep(self, what: str, order: Order) -> None:
        """Write the account, the orders and the event in one transaction."""
        orders = [
            {name: getattr(each, name) for name in Order.__slots__} | {"price": str(each.price)}
            for each in self.orders.values()
        ]
        state = {
            "cash": str(self.cash),
            "positions": json.dumps(
                {key: [quantity, str(average)] for key, (quantity, average) in self.positions.items()}
            ),
            "orders": json.dumps(orders),
        }
        event = {
            "what": what, "order-id": order.id, "external-identifier": order.external_identifier,
            "status": order.status,
            "at-ms": order.updated_ms, "price": str(order.price), "legs": order.legs, "fills": order.fills,
        }  # fmt: skip
        with self._db:
            self._db.executemany("INSERT OR REPLACE INTO kept VALUES (?, ?)", list(state.items()))
            self._db.execute("INSERT INTO history(event) VALUES (?)", (json.dumps(event),))
