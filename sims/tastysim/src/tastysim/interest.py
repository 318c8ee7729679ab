"""Interest on cash and for borrowed money and shares: accrued every calendar day, posted when a month is over."""

from __future__ import annotations

from datetime import date, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import TYPE_CHECKING

from tastysim import valuation
from tastysim.positions import event
from tastysim.transactions import Row, money

if TYPE_CHECKING:
    from tastysim.account import Account
    from tastysim.broker import Broker

CENT, ZERO = Decimal("0.01"), Decimal(0)
_FINE = Decimal("0.000001")
_KINDS = (
    ("credit", "Credit Interest", 1, "Interest on credit balance"),
    ("debit", "Debit Interest", -1, "Interest on debit balance"),
    ("borrow", "Fee", -1, "Stock borrow fee"),
)


def accrue(broker: Broker, day: date, now: datetime) -> None:
    """Add a day's interest on the balance of its morning; on the first of a month post what the last one brought.

    A day counts once, however often it is asked for. Less than half a cent stays until there is more of it.
    """
    kept, rates = broker.holdings.interest, broker.terms.interest
    if kept.get("day", "") >= day.isoformat():
        return
    if day.day == 1:
        _post(broker, now)
    shorts = sum((-broker.value(name) for name, (count, _) in broker.positions.items()
                  if count < 0 and not valuation.is_option(name)), ZERO)  # fmt: skip
    cash = broker.cash
    for name, base, rate in (
        ("credit", max(cash, ZERO), rates.credit), ("debit", max(-cash, ZERO), rates.debit),
        ("borrow", shorts, rates.borrow),
    ):  # fmt: skip
        amount = (base * rate / rates.days).quantize(_FINE, ROUND_HALF_EVEN)
        kept[name] = str(Decimal(kept.get(name, "0")) + amount)
    kept["day"] = day.isoformat()
    broker.write([])


def _post(broker: Broker, now: datetime) -> None:
    kept = broker.holdings.interest
    rows: list[Row] = []
    events = []
    for name, sub_kind, sign, text in _KINDS:
        amount = Decimal(kept.get(name, "0")).quantize(CENT, ROUND_HALF_EVEN)
        if amount:
            kept[name] = "0"
            identity = broker.store.next_transaction_id()
            rows.append(money(identity, broker.account, sub_kind, text, sign * amount, now))
            events.append(event("interest", broker.account, now, kind=name, amount=sign * amount))
    if rows:
        broker.take(rows)
        broker.write(rows, events=events)
        broker.tell_account(None)


def pending(broker: Account) -> Decimal:
    """Debit interest that is not posted yet, $."""
    return Decimal(broker.holdings.interest.get("debit", "0")).quantize(CENT, ROUND_HALF_EVEN)
