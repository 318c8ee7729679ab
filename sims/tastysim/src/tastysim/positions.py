"""What an account holds: cash, positions with their average prices, and what today has realized."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from tastysim.orders import Quantity, magnitude, stamp, whole_or_exact

ZERO = Decimal(0)


@dataclass(slots=True)
class Holdings:
    """Cash in $; positions by symbol: signed quantity and average price, $ per share."""

    cash: Decimal
    positions: dict[str, tuple[Quantity, Decimal]] = field(default_factory=dict)
    times: dict[str, list[str]] = field(default_factory=dict)
    """When a position was opened and last changed."""
    realized: dict[str, str] = field(default_factory=dict)
    """$ gained today, by symbol; `day` says which day."""
    closes: dict[str, str] = field(default_factory=dict)
    """Marks at the last close of what was held then."""
    unsettled: Decimal = ZERO
    """$ that today's sales have brought in and that settle with the next session."""
    interest: dict[str, str] = field(default_factory=dict)
    """Accrued this month and not posted: `credit`, `debit`, `borrow`, $; `day`: the last one that is in it."""
    dividends: dict[str, dict[str, str]] = field(default_factory=dict)
    """By symbol and ex-date: the `shares` that were held before it, `amount` for each, `payable` and when `paid`."""
    version: int = 0
    """Grows with every change of a position."""

    @classmethod
    def read(cls, kept: Callable[[str], str | None], cash: Decimal) -> Holdings:
        """From what is on disk, by name; new accounts begin with `cash`."""
        positions = json.loads(kept("positions") or "{}")
        return cls(
            Decimal(kept("cash") or cash),
            {
                symbol: (quantity if isinstance(quantity, int) else Decimal(quantity), Decimal(average))
                for symbol, (quantity, average) in positions.items()
            },
            json.loads(kept("times") or "{}"), json.loads(kept("realized") or "{}"),
            json.loads(kept("closes") or "{}"), Decimal(kept("unsettled") or 0), json.loads(kept("interest") or "{}"),
            json.loads(kept("dividends") or "{}"),
        )  # fmt: skip

    def as_kept(self) -> dict[str, str]:
        """For the disk, by name."""
        return {
            "cash": str(self.cash), "times": json.dumps(self.times), "realized": json.dumps(self.realized),
            "positions": json.dumps({
                key: [count if isinstance(count, int) else str(count), str(average)]
                for key, (count, average) in self.positions.items()
            }),
            "closes": json.dumps(self.closes), "unsettled": str(self.unsettled), "interest": json.dumps(self.interest),
            "dividends": json.dumps(self.dividends),
        }  # fmt: skip

    def move(self, symbol: str, quantity: Quantity, price: Decimal, multiplier: Decimal, now: datetime) -> None:
        """Change a position by a signed quantity at a price; what that closes is realized.

        What adds to a position moves its average price; what turns it begins a new one at the price.
        """
        held, average = self.positions.get(symbol, (0, ZERO))
        after, at = whole_or_exact(held + quantity), stamp(now)
        closed = min(magnitude(held), magnitude(quantity)) if (held > 0) != (quantity > 0) else 0
        gain = (price - average) * closed * (1 if held > 0 else -1) * multiplier
        if closed:
            self.realized[symbol] = str(Decimal(self.realized.get(symbol, "0")) + gain)
        self.times[symbol] = [self.times[symbol][0] if held and symbol in self.times else at, at]
        self.version += 1
        if after == 0:
            self.positions.pop(symbol, None)
            return
        if held == 0 or (held > 0) == (quantity > 0):
            average = (average * magnitude(held) + price * magnitude(quantity)) / magnitude(after)
        elif (held > 0) != (after > 0):
            average = price
        self.positions[symbol] = (after, average)

    def rename(self, symbol: str, to: str, quantity: int, average: Decimal, now: datetime) -> None:
        """Put another position in the place of one, as a split does; nothing is realized."""
        opened = self.times.get(symbol, [stamp(now)])[0]
        del self.positions[symbol]
        held, other = self.positions.get(to, (0, ZERO))
        if held + quantity:
            mean = (other * magnitude(held) + average * magnitude(quantity)) / (magnitude(held) + magnitude(quantity))
            self.positions[to] = (held + quantity, mean)
        else:
            self.positions.pop(to, None)
        self.times[to] = [opened, stamp(now)]
        self.closes.pop(symbol, None)
        self.version += 1

    def roll(self, day: str) -> bool:
        """Begin a day; whether it is a new one. What yesterday closed is forgotten."""
        if self.realized.get("day") == day:
            return False
        self.realized, self.unsettled = {"day": day}, ZERO
        self.times = {symbol: self.times[symbol] for symbol in self.positions if symbol in self.times}
        return True


def event(what: str, account: str, now: datetime, **facts: Any) -> dict[str, Any]:
    """A line of the history that is no order's; decimals become strings."""
    told = {name.replace("_", "-"): str(each) if isinstance(each, Decimal) else each for name, each in facts.items()}
    return {"what": what, "account-number": account, "at": stamp(now), **told}
