"""Expiration, exercise and assignment of one account's option positions.

Options a cent or more in the money are exercised and assigned when they expire; the rest is removed. Shares move at the
strike; cash-settled contracts pay what they are worth. The premium of the option is realized with the option, shares
begin at the strike. Fractions of a share that an adjusted contract delivers are paid at the closing price.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from datetime import datetime
from decimal import ROUND_DOWN, Decimal
from typing import TYPE_CHECKING, Any

from tastysim import valuation
from tastysim.contracts import Contract
from tastysim.fees import Costs
from tastysim.orders import Order, Refusal, magnitude, preflight
from tastysim.positions import event
from tastysim.shapes import balance, position
from tastysim.transactions import Row, delivery

if TYPE_CHECKING:
    from tastysim.broker import Broker

CENT, ZERO = Decimal("0.01"), Decimal(0)
_LEAST = Decimal("0.01")
"""In the money by so much a share: exercised by exception."""
Price = Callable[[Contract], Decimal | None]
"""What a contract is settled at; None while nobody knows: it stays until somebody does."""


def expire(broker: Broker, at: datetime, price: Price) -> None:
    """End everything of an account that is over at `at`: orders in it, then positions. price: the settlement price."""
    for order in [each for each in broker.alive.values() if not each.is_terminal and _over(broker, each, at)]:
        broker.end(order, "Expired", at)
    over = [each for each in broker.positions if valuation.is_option(each) and broker.contracts.of(each).ends_at <= at]
    by_name: dict[str, list[Contract]] = defaultdict(list)
    for symbol in over:
        contract = broker.contracts.of(symbol)
        by_name[contract.underlying].append(contract)
    for _, contracts in sorted(by_name.items()):
        for contract in sorted(contracts, key=lambda each: (each.ends_at, each.symbol)):
            count, known = int(broker.positions[contract.symbol][0]), price(contract)
            if known is not None:
                settle(broker, contract, count, contract.ends_at, known, "expired")


def _over(broker: Broker, order: Order, at: datetime) -> bool:
    return any(
        leg["instrument-type"] == "Equity Option" and broker.contracts.of(leg["symbol"]).stops_trading_at <= at
        for leg in order.legs
    )


def settle(
    broker: Broker, contract: Contract, quantity: int, at: datetime, price: Decimal, why: str, *, early: bool = False
) -> None:
    """End `quantity` (signed as held) of a position at a price of the underlying, $ per share.

    Worth a cent a share, or early: exercised if long, assigned if short, in shares or in cash; else it is worthless.
    """
    worth = contract.intrinsic(price)
    taken = early or worth >= _LEAST * contract.shares
    role = ("Exercise" if quantity > 0 else "Assignment") if taken else "Expiration"
    cash = taken and (contract.is_cash_settled or contract.shares < 1)
    sub_kind = f"Cash Settled {role}" if cash else role
    fees = broker.terms.fees
    costs = Costs(clearing=(fees.exercise if quantity > 0 else fees.assignment) if taken else ZERO)
    value = (worth * quantity).quantize(CENT) if cash else ZERO
    text = f"Removal of {abs(quantity)} {contract.symbol} due to {sub_kind.lower()}"
    broker.move(contract.symbol, -quantity, (worth / contract.multiplier) if cash else ZERO, at)
    rows = [
        delivery(broker.store.next_transaction_id(), broker.account, sub_kind, text, contract.symbol,
                 contract.underlying, abs(quantity), at, value=value, costs=costs)
    ]  # fmt: skip
    touched = {contract.symbol}
    if taken and not cash:
        rows += _shares(broker, contract, quantity, at, price)
        touched.add(contract.underlying)
    broker.take(rows)
    told = event(
        sub_kind.lower(), broker.account, at, symbol=contract.symbol, quantity=quantity, why=why, settlement=price,
        underlying=contract.underlying, shares=contract.shares, multiplier=contract.multiplier,
    )  # fmt: skip
    broker.write(rows, events=[told])
    announce(broker, touched)


def _shares(broker: Broker, contract: Contract, quantity: int, at: datetime, price: Decimal) -> list[Row]:
    """Deliver shares at the strike: an exercised call and an assigned put buy, the others sell.

    An adjusted contract costs strike times multiplier, whatever it delivers: the price of a share is what that makes.
    """
    whole = int(contract.shares.to_integral_value(ROUND_DOWN))
    signed = whole * quantity * (1 if contract.is_call else -1)
    fraction = contract.shares - whole
    due = contract.option.strike * contract.multiplier - fraction * price
    each = due / whole if whole else ZERO
    rows: list[Row] = []
    held = int(broker.positions.get(contract.underlying, (0, ZERO))[0])
    closing = min(abs(held), abs(signed)) * (1 if signed > 0 else -1) if held * signed < 0 else 0
    total, left = (-due * quantity * (1 if contract.is_call else -1)).quantize(CENT), abs(signed)
    for part, form in ((closing, "Close"), (signed - closing, "Open")):
        if not part:
            continue
        action = f"{'Buy' if part > 0 else 'Sell'} to {form}"
        left -= abs(part)
        value = total if not left else (-part * each).quantize(CENT)
        total -= value
        broker.move(contract.underlying, part, each, at)
        rows.append(
            delivery(broker.store.next_transaction_id(), broker.account, action,
                     f"{action} {abs(part)} {contract.underlying} @ {each}", contract.underlying, contract.underlying,
                     abs(part), at, action=action, price=each, value=value)
        )  # fmt: skip
    return rows


def exercise(broker: Broker, symbol: str, quantity: int, now: datetime) -> None:
    """Exercise so many of a long option at once, as its holder asks. Raises Refusal."""
    contract = _held(broker, symbol, quantity, long=True)
    price = valuation.spot(broker.market, contract.underlying)
    if contract.intrinsic(price) < _LEAST * contract.shares:
        raise preflight("exercise_out_of_the_money", f"{symbol} is not in the money: exercising it would lose.")
    settle(broker, contract, quantity, now, price, "exercised early", early=True)
    drop_orphans(broker, contract, now)


def assign(broker: Broker, symbol: str, quantity: int, now: datetime, why: str = "assigned early") -> None:
    """Assign so many of a short option at once. Raises Refusal."""
    contract = _held(broker, symbol, quantity, long=False)
    price = valuation.spot(broker.market, contract.underlying)
    settle(broker, contract, -quantity, now, price, why, early=True)
    drop_orphans(broker, contract, now)


def _held(broker: Broker, symbol: str, quantity: int, *, long: bool) -> Contract:
    held = broker.positions.get(symbol, (0, ZERO))[0] * (1 if long else -1)
    if not valuation.is_option(symbol) or not 0 < quantity <= held:
        side = "long" if long else "short"
        raise Refusal(422, "validation_error", f"There are not {quantity} {side} {symbol!r} in the account.")
    contract = broker.contracts.of(symbol)
    if not contract.is_american:
        raise Refusal(422, "validation_error", f"{symbol!r} is European: it is exercised when it expires.")
    return contract


def drop_orphans(broker: Broker, contract: Contract, now: datetime) -> None:
    """Cancel orders that would close more of a contract or of its shares than is left."""
    for order in [each for each in broker.alive.values() if not each.is_terminal and not each.contingent]:
        if order.underlying != contract.underlying:
            continue
        for (symbol, quantity), leg in zip(order.unit_legs, order.legs, strict=True):
            left = broker.positions.get(symbol, (0, ZERO))[0] * (-1 if quantity > 0 else 1)
            wanted = magnitude(quantity) * (order.units - order.filled_units)
            if leg["action"].endswith("Close") and left < wanted:
                broker.end(order, "Cancelled", now, "The position has been exercised or assigned")
                break


def announce(broker: Broker, symbols: set[str]) -> None:
    """Push positions and the balance to the account stream."""
    for symbol in sorted(symbols):
        shown: dict[str, Any] = position(broker, symbol)
        broker.notify("CurrentPosition", shown)
    broker.notify("AccountBalance", balance(broker))
