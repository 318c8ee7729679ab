"""What dividends and splits do to one account."""

from __future__ import annotations

from datetime import date, datetime
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING

from tastysim import valuation
from tastysim.corporate_events import Dividend, Split
from tastysim.expirations import announce
from tastysim.orders import Quantity, magnitude
from tastysim.positions import event
from tastysim.transactions import Row, delivery, money

if TYPE_CHECKING:
    from tastysim.broker import Broker

CENT, ZERO = Decimal("0.01"), Decimal(0)


def entitle(broker: Broker, dividend: Dividend, now: datetime) -> None:
    """Note what an account holds at the close before the ex-date: that many shares receive, or owe, the dividend."""
    shares = broker.positions.get(dividend.symbol, (0, ZERO))[0]
    key = f"{dividend.symbol} {dividend.ex.isoformat()}"
    if not shares or key in broker.holdings.dividends:
        return
    broker.holdings.dividends[key] = {
        "shares": str(shares), "amount": str(dividend.amount), "payable": dividend.payable.isoformat()
    }  # fmt: skip
    facts = {"symbol": dividend.symbol, "ex": dividend.ex.isoformat(), "payable": dividend.payable.isoformat()}
    told = event("dividend entitled", broker.account, now, shares=shares, amount=dividend.amount, **facts)
    broker.write([], events=[told])


def pay_dividends(broker: Broker, day: date, now: datetime) -> None:
    """Pay and collect the dividends that are payable by a day."""
    for key, due in broker.holdings.dividends.items():
        if "paid" in due or due["payable"] > day.isoformat():
            continue
        symbol, ex = key.split(" ")
        amount = (Decimal(due["shares"]) * Decimal(due["amount"])).quantize(CENT, ROUND_HALF_UP)
        due["paid"] = day.isoformat()
        text = f"Dividend of {symbol}: {due['shares']} x {due['amount']}"
        row = money(broker.store.next_transaction_id(), broker.account, "Dividend", text, amount, now, symbol=symbol,
                    underlying_symbol=symbol, instrument_type="Equity")  # fmt: skip
        broker.take([row])
        broker.write([row], events=[event("dividend", broker.account, now, symbol=symbol, ex=ex, amount=amount)])
        broker.tell_account(None)


def split(broker: Broker, its: Split, now: datetime) -> None:
    """Change shares and contracts of a name that has split; orders in it end, as brokers cancel them."""
    for order in [each for each in broker.alive.values() if not each.is_terminal and each.underlying == its.symbol]:
        broker.end(order, "Cancelled", now, f"{its.symbol} has split {its.new} for {its.old}")
    rows: list[Row] = []
    events = []
    touched: set[str] = set()
    for symbol in [each for each in broker.positions if broker.underlying_of(each) == its.symbol]:
        before, (quantity, average) = rows[:], broker.positions[symbol]
        if valuation.is_option(symbol):
            new, after, price = _option(broker, symbol, its)
        else:
            exact = Decimal(quantity) * its.new / its.old
            new, after = symbol, int(exact.to_integral_value(ROUND_DOWN))
            price = average * its.old / its.new
            if exact != after:
                rows.append(_cash_in_lieu(broker, its, exact - after, now))
        broker.holdings.rename(symbol, new, after, price, now)
        rows += _rows(broker, its, (symbol, quantity), (new, after), now)
        touched |= {symbol, new}
        cash = [row["net-value"] for row in rows[len(before) :] if row["transaction-type"] == "Money Movement"]
        events.append(
            event("split", broker.account, now, underlying=its.symbol, new=its.new, old=its.old, symbol=symbol,
                  quantity=quantity, becomes=new, shares_or_contracts=after, cash_in_lieu=cash)
        )  # fmt: skip
    if rows:
        broker.take(rows)
        broker.write(rows, events=events)
        announce(broker, touched)


def _option(broker: Broker, symbol: str, its: Split) -> tuple[str, int, Decimal]:
    """Symbol, contracts and average price after a split: what they cost together stays the same."""
    quantity, average = broker.positions[symbol]
    old = broker.contracts.of(symbol)
    new, each = broker.contracts.split(symbol, its)
    return new.symbol, int(quantity) * each, average * old.multiplier / (new.multiplier * each)


def _cash_in_lieu(broker: Broker, its: Split, fraction: Decimal, now: datetime) -> Row:
    """A part of a share is paid at the price after the split."""
    amount = (fraction * valuation.spot(broker.market, its.symbol)).quantize(CENT, ROUND_HALF_UP)
    text = f"Cash in lieu of {fraction} {its.symbol}"
    return money(broker.store.next_transaction_id(), broker.account, "Balance Adjustment", text, amount, now,
                 symbol=its.symbol, underlying_symbol=its.symbol, instrument_type="Equity")  # fmt: skip


def _rows(broker: Broker, its: Split, old: tuple[str, Quantity], new: tuple[str, Quantity], now: datetime) -> list[Row]:
    sub_kind = "Forward Split" if its.new > its.old else "Reverse Split"
    found = []
    for (symbol, quantity), word in ((old, "Removal"), (new, "Receipt")):
        opens = word == "Receipt"
        buys = (quantity > 0) == opens
        found.append(
            delivery(broker.store.next_transaction_id(), broker.account, sub_kind,
                     f"{word} of {magnitude(quantity)} {symbol} due to {sub_kind.lower()}", symbol, its.symbol,
                     magnitude(quantity), now, action=f"{'Buy' if buys else 'Sell'} to {'Open' if opens else 'Close'}")
        )  # fmt: skip
    return found
