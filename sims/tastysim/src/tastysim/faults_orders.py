"""Faults inside the broker: what becomes of orders, what reads of them show, and what the account is told."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

from schemas.symbols import SymbolError
from tastysim.broker import Broker
from tastysim.brokerage import Brokerage
from tastysim.faults import (
    BustTrade,
    CancelRace,
    FaultBase,
    FillBeforeCancel,
    ForeignOrder,
    HideOrders,
    LagAccount,
    LateLegFills,
    Occasion,
    RejectOrder,
    WipeAccount,
)
from tastysim.faults_installed import Faults
from tastysim.faults_trades import bust, fill_now, foreign_order, wipe
from tastysim.orders import Order, Refusal
from tastysim.positions import Holdings

reading: ContextVar[bool] = ContextVar("reading", default=False)
"""Whether a client reads: what it is shown may be old or incomplete. Whatever changes something sees the truth."""
Push = Callable[[str, dict[str, Any]], None]


class ShownBrokerage(Brokerage):
    """A brokerage whose accounts a client reads as the faults show them."""

    shown: Callable[[Broker], Broker] | None = None

    def broker(self, number: str) -> Broker:
        """An account by its number. Raises Refusal."""
        found = super().broker(number)
        return self.shown(found) if self.shown is not None and reading.get() else found


@dataclass(frozen=True, slots=True)
class _Account:
    """What an account held from some time on."""

    at: dict[str, datetime]
    holdings: Holdings


@dataclass(frozen=True, slots=True)
class _Due:
    """Something that happens once its time has come."""

    clock: Literal["market", "wall"]
    at: datetime
    happen: Callable[[], None]
    until: str = ""
    """Name of the fault with which it comes to its end at the latest: what is shown is true once it is removed."""


class OrderFaults:
    """Faults of orders and accounts. `push` leads to the account stream; `cash` is what a wiped account has."""

    def __init__(self, faults: Faults, brokerage: ShownBrokerage, push: Push, cash: Decimal) -> None:
        self._faults, self._brokerage, self._push, self._cash = faults, brokerage, push, cash
        self._due: list[_Due] = []
        self._hidden: set[int] = set()
        self._late: set[int] = set()
        self._past: dict[str, deque[_Account]] = {}
        self._highest = 0
        faults.before_install.append(self._look)
        faults.after_remove.append(self._heal)
        brokerage.shown = self._shown

    @property
    def is_busy(self) -> bool:
        """Whether something of a fault is still to happen."""
        return bool(self._due)

    def notify(self, kind: str, data: dict[str, Any]) -> None:
        """Tell the account stream, as the faults let it be told."""
        if not self._faults.installed and not self._due:
            self._push(kind, data)
            return
        account = data.get("account-number")
        if kind == "Order":
            data = self._order(data)
        elif kind in ("CurrentPosition", "AccountBalance"):
            lag = self._faults.strike(LagAccount, Occasion(account=account, frame=kind))
            if lag is not None:
                self._after(lag, lag.seconds, lambda: self._push(kind, data), shows=True)
                return
        self._push(kind, data)

    def _order(self, data: dict[str, Any]) -> dict[str, Any]:
        """Notice a new order; what a message about an order shows."""
        number, account = data["id"], data["account-number"]
        occasion = Occasion(
            account=account, frame="Order", status=data["status"], order_id=number,
            external_identifier=data.get("external-identifier"),
        )  # fmt: skip
        if number > self._highest:
            self._highest = number
            self._taken(occasion)
        several = len(data["legs"]) > 1
        if data["status"] == "Filled" and several and number not in self._late:
            late = self._faults.strike(LateLegFills, occasion)
            if late is not None:
                self._late.add(number)
                self._after(late, late.seconds, lambda: self._complete(account, number), shows=True)
        return (
            _first_leg_only(self._brokerage.brokers[account].orders[number]).as_wire() if number in self._late else data
        )

    def _taken(self, occasion: Occasion) -> None:
        account, number = occasion.account or "", occasion.order_id or 0
        hide = self._faults.strike(HideOrders, occasion)
        if hide is not None:
            self._hidden.add(number)
            self._after(hide, hide.seconds, lambda: self._hidden.discard(number), shows=True)
        reject = self._faults.strike(RejectOrder, occasion)
        if reject is not None:
            self._after(reject, reject.seconds, lambda: self._reject(account, number, reject.reason))

    def _complete(self, account: str, number: int) -> None:
        self._late.discard(number)
        order = self._brokerage.brokers[account].orders.get(number)
        if order is not None:
            self._push("Order", order.as_wire())

    def _reject(self, account: str, number: int, reason: str) -> None:
        broker = self._brokerage.brokers[account]
        order = broker.orders.get(number)
        if order is not None and not order.is_terminal:
            broker.end(order, "Rejected", broker.market.now, reason)

    def before_change(self, occasion: Occasion) -> None:
        """A cancellation or replacement comes in: what happens to its order in this moment."""
        broker = self._brokerage.brokers.get(occasion.account or "")
        order = broker.orders.get(occasion.order_id or 0) if broker is not None else None
        if broker is None or order is None or order.is_terminal:
            return
        if self._faults.strike(FillBeforeCancel, occasion):
            self._become(broker, order, "Filled")
            return
        race = self._faults.strike(CancelRace, occasion)
        if race is not None:
            broker.stuck.add(order.id)
            if race.becomes != "stuck":
                self._after(race, race.seconds, lambda: self._decide(broker, order, race.becomes))

    def _decide(self, broker: Broker, order: Order, becomes: str) -> None:
        """The end of a race between a cancellation and the market."""
        broker.stuck.discard(order.id)
        if order.status != "Cancel Requested":
            return
        if becomes == "Filled":
            self._become(broker, order, becomes)
        elif becomes == "Cancelled":
            broker.end(order, "Cancelled", broker.market.now)
        else:
            order.become("Live", broker.market.now)
            broker.keep("cancel refused", order)
            broker.tell(order)

    def step(self) -> None:
        """Before the market moves: remember how accounts stand, let happen what is due."""
        if not self._faults.installed and not self._due:
            return
        self._remember()
        for each in [each for each in self._due if self._faults.now(each.clock) >= each.at]:
            self._due.remove(each)
            each.happen()
        for number, broker in list(self._brokerage.brokers.items()):
            self._act(broker, Occasion(account=number))
        self._faults.flush()

    def _act(self, broker: Broker, occasion: Occasion) -> None:
        """Perform the actions that are open for an account; what the broker refuses is noted."""
        now = broker.market.now
        try:
            if foreign := self._faults.strike(ForeignOrder, occasion):
                self._faults.flush()
                order = foreign_order(broker, foreign, now)
                if foreign.becomes != "Live":
                    self._after(foreign, foreign.seconds, lambda: self._become(broker, order, foreign.becomes))
            trade = self._faults.strike(
                BustTrade, occasion, when=lambda each: _busted(broker, each.fault) is not None
            )  # fmt: skip
            if trade is not None and (busted := _busted(broker, trade)) is not None:
                self._faults.flush()
                bust(broker, busted, trade.price, now)
            if self._faults.strike(WipeAccount, occasion):
                self._faults.flush()
                wipe(broker, self._cash, now)
        except (Refusal, SymbolError) as refusal:
            self._refused(broker, refusal)

    def _refused(self, broker: Broker, refusal: Exception) -> None:
        self._faults.note("fault refused", {"account-number": broker.account, "detail": str(refusal)})

    def _become(self, broker: Broker, order: Order, becomes: str) -> None:
        if order.is_terminal or order.id not in broker.orders:
            return
        try:
            if becomes == "Filled":
                fill_now(broker, order, broker.market.now)
            else:
                broker.cancel(order.id, broker.market.now)
        except Refusal as refusal:
            self._refused(broker, refusal)

    def _after(
        self, fault: FaultBase, seconds: float, happen: Callable[[], None], *, shows: bool = False
    ) -> None:  # fmt: skip
        """Let something happen later. shows: it ends what is only shown, and the fault's removal ends that too."""
        at = self._faults.now(fault.clock) + timedelta(seconds=seconds)
        self._due.append(_Due(fault.clock, at, happen, self._faults.name_of(fault) if shows else ""))

    def _heal(self, name: str) -> None:
        """A fault is removed: show the truth."""
        due = [each for each in self._due if each.until == name]
        self._due = [each for each in self._due if each.until != name]
        for each in due:
            each.happen()

    def _look(self) -> None:
        """Before the first fault: which orders are known already."""
        known = (max(each.orders, default=0) for each in self._brokerage.brokers.values())
        self._highest = max(self._highest, *known)

    def _remember(self) -> None:
        if not self._faults.has(LagAccount):
            self._past.clear()
            return
        at = self._faults.times()
        for number, broker in self._brokerage.brokers.items():
            lag = self._faults.standing(LagAccount, Occasion(account=number))
            if lag is None:
                self._past.pop(number, None)
                continue
            past = self._past.setdefault(number, deque())
            if not past or past[-1].holdings != broker.holdings:
                past.append(_Account(at, copy.deepcopy(broker.holdings)))
            oldest = at[lag.clock] - timedelta(seconds=lag.seconds)
            while len(past) > 1 and past[1].at[lag.clock] <= oldest:
                past.popleft()

    def _shown(self, broker: Broker) -> Broker:
        """An account as a client reads it."""
        hidden, late = self._hidden & broker.orders.keys(), self._late & broker.orders.keys()
        past = self._past.get(broker.account)
        old = past[0].holdings if past else None
        if old is not None and (old.positions, old.cash) == (broker.positions, broker.cash):
            old = None
        if old is not None and not self._faults.strike(LagAccount, Occasion(account=broker.account)):
            old = None
        if not hidden and not late and old is None:
            return broker
        shown = copy.copy(broker)
        shown.orders = {
            number: _first_leg_only(order) if number in late else order
            for number, order in broker.orders.items() if number not in hidden
        }  # fmt: skip
        if old is not None:
            shown.holdings = old
        return shown


def _first_leg_only(order: Order) -> Order:
    """The order with the fills of its first leg only."""
    shown = copy.copy(order)
    shown.fills = [each for each in order.fills if each["symbol"] == order.legs[0]["symbol"]]
    return shown


def _busted(broker: Broker, fault: FaultBase) -> Order | None:
    """The order whose trades are taken back; None while there is none."""
    if not isinstance(fault, BustTrade):
        return None
    if fault.order_id is not None:
        return broker.orders.get(fault.order_id)
    return next((each for each in reversed(broker.orders.values()) if each.fills), None)
