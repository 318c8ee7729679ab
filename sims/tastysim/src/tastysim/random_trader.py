"""Somebody who trades an account at random, the same way from the same seed: for long runs and tests under load."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from functools import partial
from typing import Any

from optionmath.calendar import CASH_INDEX_ROOTS
from optionmath.sessions import market_date
from tastysim import expirations
from tastysim.broker import Broker
from tastysim.market import Market
from tastysim.orders import Refusal
from tastysim.valuation import is_option

Strikes = dict[tuple[bool, float], int]
"""Rows of the market by side (whether a call) and strike."""
Wish = tuple[date, bool, float, int]
"""Expiration, whether a call, strike and signed contracts of a leg."""
_OPENS, _CLOSES, _EXERCISES = 0.22, 0.22, 0.02
_CANCELS, _REPLACES = 0.10, 0.30


@dataclass
class Chain:
    """Contracts of every name by expiration, strike and side, as the market lists them now."""

    market: Market
    listing: int = -1
    rows: dict[str, dict[date, Strikes]] = field(default_factory=dict)

    def of(self, name: str) -> dict[date, Strikes]:
        """Contracts of one name."""
        if self.listing != self.market.listing:
            self.listing, self.rows = self.market.listing, {}
        if name not in self.rows:
            found: dict[date, Strikes] = {}
            its = self.market.rows[name]
            for row in range(its.start, its.stop):
                option = self.market.options[row]
                key = (option.option_type.value == "C", float(option.strike))
                found.setdefault(option.expiration, {})[key] = row
            self.rows[name] = found
        return self.rows[name]


@dataclass
class RandomTrader:
    """Opens structures, closes some, cancels and replaces, exercises now and then.

    often: 1 = about one new structure in five calls of `act`.
    """

    broker: Broker
    chain: Chain
    choice: random.Random
    names: Sequence[str]
    often: float = 1.0
    refused: Counter[str] = field(default_factory=Counter)
    taken: int = 0

    def act(self) -> None:
        """Do something, or nothing."""
        self._tend()
        if self.choice.random() < _OPENS * self.often:
            self._send(self._structure())
        if self.choice.random() < _CLOSES * self.often and self.broker.positions:
            self._send(self._close(self.choice.choice(sorted(self.broker.positions))))
        if self.choice.random() < _EXERCISES * self.often:
            longs = [each for each, (count, _) in self.broker.positions.items() if count > 0 and is_option(each)]
            if longs:
                self._try(partial(expirations.exercise, self.broker, longs[0], 1, self.chain.market.now))

    def _try(self, what: Callable[[], object]) -> None:
        try:
            what()
            self.taken += 1
        except Refusal as refusal:
            reason = refusal.reasons[0] if refusal.reasons else {}
            self.refused[reason.get("code") or reason.get("domain") or str(refusal.code)] += 1

    def _send(self, body: dict[str, Any] | None) -> None:
        if body is not None:
            self._try(partial(self.broker.submit, body, self.chain.market.now))

    def _tend(self) -> None:
        """Orders that rest are left, made five cents worse for the account, or cancelled."""
        for order in [each for each in self.broker.alive.values() if not each.is_terminal]:
            draw = self.choice.random()
            if draw < _CANCELS:
                self._try(partial(self.broker.cancel, order.id, self.chain.market.now))
            elif draw < _REPLACES and order.price is not None and not order.fills:
                price = order.price - Decimal("0.05")
                body = {"price": str(abs(price)), "price-effect": "Debit" if price < 0 else "Credit"}
                self._try(partial(self.broker.replace, order.id, body, self.chain.market.now))

    def _structure(self) -> dict[str, Any] | None:
        name, market = self.choice.choice(self.names), self.chain.market
        spot = float(market.spot[market.index_of(name) or 0])
        days = sorted(day for day in self.chain.of(name) if 3 <= (day - market_date(market.now)).days <= 60)
        if not days:
            return None
        first, later = days[self.choice.randrange(min(3, len(days)))], days[-1]
        strikes = sorted({strike for _, strike in self.chain.of(name)[first]}, key=lambda each: abs(each - spot))[:9]
        near, strikes = strikes[0], sorted(strikes)
        count = self.choice.randint(1, 2)
        kinds = _structures(first, later, near, strikes, count, is_call=self.choice.random() < 0.5)
        if name in CASH_INDEX_ROOTS:
            return self._body(name, self.choice.choice([kinds[0], kinds[3], kinds[7]]), 0)
        draw = self.choice.random()
        if draw < 0.10:
            return self._body(name, [], 100 * self.choice.choice((1, 1, 2, -1)))
        if draw < 0.25:
            return self._body(name, [(first, True, strikes[-2], -1)], 100)
        return self._body(name, self.choice.choice(kinds), 0)

    def _body(self, name: str, legs: Sequence[Wish], shares: int) -> dict[str, Any] | None:
        chain, found = self.chain.of(name), []
        for day, is_call, strike, count in legs:
            row = chain[day].get((is_call, strike))
            if row is None:
                return None
            action = "Buy to Open" if count > 0 else "Sell to Open"
            found.append((self.chain.market.options[row].occ, action, abs(count), "Equity Option"))
        if shares:
            found.append((name, "Buy to Open" if shares > 0 else "Sell to Open", abs(shares), "Equity"))
        return self._priced(found)

    def _close(self, symbol: str) -> dict[str, Any]:
        count = self.broker.positions[symbol][0]
        part = self.choice.randint(1, abs(int(count)))
        action = "Sell to Close" if count > 0 else "Buy to Close"
        return self._priced([(symbol, action, part, "Equity Option" if is_option(symbol) else "Equity")])

    def _priced(self, legs: list[tuple[str, str, int, str]]) -> dict[str, Any]:
        body: dict[str, Any] = {
            "time-in-force": self.choice.choice(("Day", "GTC")), "order-type": "Limit",
            "legs": [
                {"symbol": symbol, "action": action, "quantity": count, "instrument-type": kind}
                for symbol, action, count, kind in legs
            ],
        }  # fmt: skip
        if len(legs) == 1 and self.choice.random() < 0.6:
            return body | {"order-type": "Market", "time-in-force": "Day"}
        shares = any(kind == "Equity" for *_, kind in legs)
        unit = min(count for _, _, count, kind in legs if not shares or kind == "Equity")
        net = Decimal(0)
        for symbol, action, count, kind in legs:
            weight = Decimal(count) / unit * (100 if shares and kind != "Equity" else 1)
            net += weight * self.broker.mark(symbol) * (1 if action.startswith("Sell") else -1)
        net = (net - Decimal("0.03") * self.choice.randint(0, 3)).quantize(Decimal("0.01"))
        if len(legs) == 1:
            net = net.copy_sign(1 if legs[0][1].startswith("Sell") else -1)
        return body | {"price": str(abs(net)), "price-effect": "Debit" if net < 0 else "Credit"}


def _structures(
    first: date, later: date, near: float, strikes: Sequence[float], count: int, *, is_call: bool
) -> list[list[Wish]]:
    """Put and call spreads, a condor, a naked put, a strangle, a calendar, a long option; strikes ascending."""
    low, high = strikes[:2], strikes[-2:]
    put = [(first, False, low[1], -count), (first, False, low[0], count)]
    call = [(first, True, high[0], -count), (first, True, high[1], count)]
    return [
        put, call, [(first, True, near, count), (first, True, high[0], -count)], [*put, *call], put[:1],
        [put[0], call[0]], [(first, True, near, -count), (later, True, near, count)], [(first, is_call, near, count)],
    ]  # fmt: skip
