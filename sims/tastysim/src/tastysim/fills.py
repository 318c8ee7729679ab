"""When, how much and at which price an order fills: a pure function of its quotes, its time at rest and one draw.

Net prices are $ per share of one unit, credit positive. No fill is worse for the account than the limit; where the
quotes are better than the limit, the account gets the quotes. Quotes that are unknown, locked, crossed or older than
allowed fill nothing and trigger no stop.

Chance is a rate: an order fills when the rate, added up over the market seconds it has rested, reaches -ln(1 - u) of
the one number u that belongs to it. So how often one looks changes nothing while the quotes stand still, and the same
seed gives the same fills.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import ROUND_FLOOR, Decimal
from typing import Any, Protocol, runtime_checkable

from strategies.fill_model import fill_rate, price_share
from tastysim import valuation
from tastysim.behaviour import Behaviour, FillKind
from tastysim.market import Market
from tastysim.orders import Order, Quantity, invalid, magnitude

CENT = Decimal("0.01")
_BOOK_LEAST, _BOOK_ALONG, _BOOK_SECONDS = 0.01, 0.15, 0.25
"""Of `book`: chance at mid within so many seconds, and what is added on the way to natural."""
_SIZE_OF_SHARES = 400.0


@dataclass(frozen=True, slots=True)
class LegQuote:
    """One leg of one unit and the book it meets."""

    quantity: Quantity
    """Signed contracts or shares of one unit; > 0 buys."""
    weight: Decimal
    """$ of net price for $1 of its price."""
    bid: Decimal
    ask: Decimal
    bid_size: float
    """NaN when it is not known; then one unit trades."""
    ask_size: float
    age_seconds: float = 0.0
    """Since the quote was last known to hold; NaN when that never was."""

    @property
    def mid(self) -> Decimal:
        return (self.bid + self.ask) / 2

    @property
    def natural(self) -> Decimal:
        """What taking the other side pays or receives."""
        return self.ask if self.quantity > 0 else self.bid


@dataclass(frozen=True, slots=True)
class Resting:
    """What is left of an order and how it has rested."""

    price: Decimal | None
    """Limit; None for a market order."""
    remaining: int
    """Units."""
    filled: int = 0
    rested: float = 0.0
    """Market seconds since it became live."""
    spent: float = 0.0
    """Rate times seconds so far, since its last fill."""


@dataclass(frozen=True, slots=True)
class FillDecision:
    """Units that fill now at a net price, or why none does."""

    units: int = 0
    price: Decimal | None = None
    improvement: Decimal = Decimal(0)
    """Better than the limit by so much, $ per share; never negative."""
    spent: float = 0.0
    why: str = ""
    reject: str | None = None


def trouble(legs: Sequence[LegQuote], max_age_seconds: float) -> str:
    """Why these quotes fill nothing; empty when they may."""
    if any(not leg.age_seconds <= max_age_seconds for leg in legs):
        return f"a quote is older than {max_age_seconds:g} s"
    if any(leg.bid >= leg.ask for leg in legs):
        return "a quote is locked or crossed"
    if len(legs) == 1 and legs[0].natural <= 0:
        return "nobody bids"
    return ""


def net(legs: Sequence[LegQuote], *, natural: bool) -> Decimal:
    """Net price of one unit at natural or at mid."""
    return -sum((leg.quantity * leg.weight * (leg.natural if natural else leg.mid) for leg in legs), Decimal(0))


def shown(legs: Sequence[LegQuote]) -> int:
    """Units that the shown sizes let trade, at least one."""
    sizes = [leg.ask_size if leg.quantity > 0 else leg.bid_size for leg in legs]
    return max(
        1,
        min(
            int(s // float(magnitude(leg.quantity))) if math.isfinite(s) else 1
            for s, leg in zip(sizes, legs, strict=True)
        ),
    )


def stop_reached(trigger: Decimal, mid: Decimal) -> bool:
    """A stop that pays starts when the price has risen to its trigger, one that receives when it has fallen."""
    return -mid >= trigger if mid < 0 else mid <= trigger


def decide(
    order: Resting, legs: Sequence[LegQuote], behaviour: Behaviour, elapsed: float, uniform: float,
    max_age_seconds: float = math.inf,
) -> FillDecision:  # fmt: skip
    """What happens to an order after `elapsed` more market seconds. uniform: its draw in [0, 1), the same every time.

    The quotes hold for the whole of `elapsed`.
    """
    kind = behaviour.kind
    if kind is FillKind.REJECT:
        return FillDecision(spent=order.spent, reject=behaviour.reason, why="rejected")
    if kind is FillKind.NEVER:
        return FillDecision(spent=order.spent, why="never fills")
    if why := trouble(legs, max_age_seconds):
        return FillDecision(spent=order.spent, why=why)
    if kind in (FillKind.BOOK, FillKind.MODEL):
        return _by_chance(order, legs, kind, elapsed, uniform)
    due = {FillKind.DELAYED: behaviour.seconds, FillKind.PARTIAL: behaviour.seconds if order.filled else 0.0}
    if order.rested < due.get(kind, 0.0):
        return FillDecision(spent=order.spent, why=f"fills after {due[kind]:g} s")
    most = order.remaining
    if kind is FillKind.PARTIAL:
        most = shown(legs) if behaviour.by_size else most if order.filled else (most + 1) // 2
    return _at_once(order, legs, most)


def _at_once(order: Resting, legs: Sequence[LegQuote], most: int) -> FillDecision:
    mid = net(legs, natural=False)
    if order.price is None:
        return FillDecision(min(most, order.remaining), mid.quantize(CENT, ROUND_FLOOR))
    if order.price > mid:
        return FillDecision(spent=order.spent, why="better than mid")
    return _filled(order, max(order.price, net(legs, natural=True)), most)


def _by_chance(
    order: Resting, legs: Sequence[LegQuote], kind: FillKind, elapsed: float, uniform: float
) -> FillDecision:
    mid, natural = net(legs, natural=False), net(legs, natural=True)
    if order.price is None or order.price <= natural:
        return _filled(order, natural, shown(legs))
    if kind is FillKind.MODEL:
        rate = _model_rate(order.price, mid, natural, legs)
    else:
        along = float(mid - order.price) / (float(mid - natural) or 0.01)
        rate = 0.0 if order.price > mid else -math.log1p(-_BOOK_LEAST - _BOOK_ALONG * along) / _BOOK_SECONDS
    spent = order.spent + rate * max(elapsed, 0.0)
    if rate <= 0 or spent < -math.log1p(-uniform):
        return FillDecision(spent=spent, why="waits between mid and natural" if rate > 0 else "better than mid")
    return _filled(order, order.price, shown(legs))


def _model_rate(price: Decimal, mid: Decimal, natural: Decimal, legs: Sequence[LegQuote]) -> float:
    """Fills a second; a price better than mid fills at the rate that the model has there."""
    widest = max(float((leg.ask - leg.bid) / leg.mid) * 100 if leg.mid > 0 else math.inf for leg in legs)
    rate = float(fill_rate(price_share(float(price), float(mid), float(natural)), min(widest, 1e3)))
    return rate if math.isfinite(rate) else 0.0


def _filled(order: Resting, price: Decimal, most: int) -> FillDecision:
    improvement = Decimal(0) if order.price is None else price - order.price
    return FillDecision(min(most, order.remaining), price, improvement)


@runtime_checkable
class Aged(Protocol):
    """A market whose quotes can be old."""

    def quote_age(self, symbol: str) -> float:
        """Seconds since the quote was last known to hold; NaN when it never was."""


def leg_quotes(market: Market, order: Order) -> list[LegQuote] | None:
    """The book that an order meets; None when a leg has no quote."""
    scale, found = valuation.scale(order), []
    for symbol, quantity in order.unit_legs:
        quote = valuation.quote(market, symbol)
        if quote is None:
            return None
        row = market.row_of.get(symbol)
        sizes = [_SIZE_OF_SHARES if row is None else float(each[row]) for each in (market.bid_size, market.ask_size)]
        age = market.quote_age(symbol) if isinstance(market, Aged) else 0.0
        weight = Decimal(valuation.multiplier(symbol)) / scale
        found.append(LegQuote(quantity, weight, quote[0], quote[1], sizes[0], sizes[1], age))
    return found


@dataclass(slots=True)
class _Rest:
    """How an order has rested since it was looked at."""

    at: datetime
    spent: float = 0.0
    fills: int = 0
    decision: FillDecision = FillDecision()


class FillDesk:
    """How orders fill: by default, per account and, where it is allowed, per order."""

    def __init__(
        self, now: datetime, seed: int = 1, default: Behaviour | None = None, *,
        orders_choose: bool = False, quote_max_age_seconds: float = 15.0,
    ) -> None:  # fmt: skip
        self.default, self.of_account = default or Behaviour(), dict[str, Behaviour]()
        self.orders_choose, self.quote_max_age_seconds = orders_choose, quote_max_age_seconds
        self._started, self._seed = now, seed
        self._rests: dict[int, _Rest] = {}

    def behaviour(self, order: Order) -> Behaviour:
        """Of the order itself, its account, or the simulator."""
        if order.behavior is not None:
            return Behaviour.parse(order.behavior)
        return self.of_account.get(order.account, self.default)

    def chosen(self, body: Mapping[str, Any], now: datetime) -> str | None:
        """What an order's own `behavior`, `delay` and `schedule` ask for; None where they are ignored.

        The vocabulary is that of a third-party paper service whose keys every order of its SDK carries. Raises Refusal.
        """
        name = body.get("behavior")
        if not self.orders_choose or name is None:
            return None
        try:
            if name == "delayed":
                return str(Behaviour.parse(f"delayed:{float(body.get('delay') or 0)}"))
            if name == "scheduled":
                at = datetime.fromisoformat(str(body.get("schedule")))
                at = at if at.tzinfo else at.replace(tzinfo=now.tzinfo)
                return str(Behaviour.parse(f"delayed:{max(0.0, (at - now).total_seconds())}"))
            return str(Behaviour.parse(str(name)))
        except (ValueError, TypeError):
            raise invalid("behavior", "does not have a valid value") from None

    def consider(self, market: Market, order: Order, now: datetime) -> FillDecision:
        """What happens to a working order now; starts a stop whose trigger is reached."""
        live = self._started if order.live_at is None else datetime.fromisoformat(order.live_at)
        rest = self._rests.setdefault(order.id, _Rest(max(live, self._started)))
        if rest.fills != len(order.fills):
            rest.fills, rest.spent = len(order.fills), 0.0
        elapsed, rest.at = (now - rest.at).total_seconds(), max(now, rest.at)
        if not market.is_open:
            rest.decision = FillDecision(spent=rest.spent, why="the market is closed")
            return rest.decision
        rest.decision = self._decide(market, order, rest, elapsed, (now - live).total_seconds())
        rest.spent = rest.decision.spent
        if rest.decision.reject is not None or rest.decision.units == order.units - order.filled_units:
            self._rests.pop(order.id)
        return rest.decision

    def _decide(self, market: Market, order: Order, rest: _Rest, elapsed: float, rested: float) -> FillDecision:
        behaviour, legs = self.behaviour(order), leg_quotes(market, order)
        if legs is None:
            unquoted = FillDecision(spent=rest.spent, why="a leg has no quote")
            return replace(unquoted, reject=behaviour.reason) if behaviour.kind is FillKind.REJECT else unquoted
        if order.stop_trigger is not None and not order.triggered:
            why = trouble(legs, self.quote_max_age_seconds)
            order.triggered = not why and stop_reached(order.stop_trigger, net(legs, natural=False))
            if not order.triggered:
                return FillDecision(spent=rest.spent, why=why or "the trigger is not reached")
        remaining = order.units - order.filled_units
        resting = Resting(order.price, remaining, order.filled_units, rested, rest.spent)
        uniform = self.uniform(order.id, len(order.fills))
        return decide(resting, legs, behaviour, elapsed, uniform, self.quote_max_age_seconds)

    def forget(self, order_id: int) -> None:
        """An order has ended."""
        self._rests.pop(order_id, None)

    def last(self, order_id: int) -> FillDecision | None:
        """The last decision about a working order."""
        rest = self._rests.get(order_id)
        return None if rest is None else rest.decision

    def uniform(self, order_id: int, fills: int) -> float:
        """The draw in [0, 1) of an order for its next fill: of the seed, its number and its fills so far, only."""
        key = f"{self._seed}/{order_id}/{fills}".encode()
        return int.from_bytes(hashlib.blake2b(key, digest_size=7).digest(), "big") / 2**56
