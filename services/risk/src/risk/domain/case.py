"""One proposal with everything that judges it; figures that several controls share are made once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from functools import cached_property

from ledger.exposure import Refusal
from ledger.limits import HardLimits
from risk.domain import buying_power, revaluation
from risk.domain.facts import AUTOMATED, Account, Around, Market, Order, Quotes, option_of
from risk.domain.worst_case import Bucket, WorstCase, order_loss, worst_case
from schemas.trade import ProposeTrade, Purpose

Number = Decimal | float | int


@dataclass(frozen=True)
class Case:
    """A proposal, the account, the market and the system around it. `refusal`: the ledger's, of the reservation."""

    trade: ProposeTrade
    account: Account
    market: Market
    quotes: Quotes
    around: Around
    limits: HardLimits
    now: datetime
    refusal: Refusal | None = None

    def limit(self, name: str) -> Decimal | None:
        """A hard limit; None when it is missing, which denies."""
        return self.limits.of(name)

    @property
    def automated(self) -> bool:
        """Whether automation proposes it."""
        return self.trade.source == AUTOMATED

    @property
    def opens(self) -> bool:
        """Whether it is meant to open a position."""
        return self.trade.purpose is Purpose.OPEN

    @cached_property
    def legs(self) -> tuple[tuple[str, int], ...]:
        """Symbol and signed contracts of one unit."""
        return tuple((leg.occ_symbol, leg.action.sign * leg.quantity) for leg in self.trade.legs)

    @cached_property
    def worst_price(self) -> Decimal:
        """The least favourable price that may be sent."""
        return min(self.trade.limit_price, self.trade.start_price)

    @cached_property
    def max_loss(self) -> Decimal | None:
        """Of all units at the worst price; None = unlimited."""
        return order_loss(self.legs, self.worst_price, self.trade.quantity)

    @cached_property
    def order(self) -> Order:
        """The proposal as an order."""
        bare = Order(
            self.trade.underlying_symbol, self.legs, self.trade.quantity, self.worst_price, self.trade.purpose,
            self.trade.strategy_id, self.quotes.sector, self.max_loss or Decimal(0),
        )  # fmt: skip
        delta, vega = revaluation.greeks(self.legs, self.market)
        units = self.trade.quantity
        return replace(
            bare, delta=None if delta is None else delta * units, vega=None if vega is None else vega * units
        )

    @cached_property
    def own_effect(self) -> Decimal | None:
        """Buying power it takes by our own rules."""
        return buying_power.own_effect(self.order, self.account, self.market)

    @cached_property
    def buying_power(self) -> Decimal | None:
        """Buying power that counts: the larger of ours and the broker's."""
        return buying_power.larger(self.own_effect, self.around.broker_effect)

    @cached_property
    def worst(self) -> WorstCase:
        """Everything held, reserved and proposed, in the worst combination of fills."""
        return worst_case(self.account.held, (*self.account.orders, self.order))

    @cached_property
    def value_at_risk(self) -> float | None:
        """1-day 95 % of everything held, proposed, and of the worst fills of what is reserved."""
        return revaluation.value_at_risk(self.account, self.market, self.order)

    @cached_property
    def held_greeks(self) -> tuple[float | None, float | None]:
        """Beta-weighted delta and vega of what is held."""
        return revaluation.greeks(((each.occ_symbol, each.signed_quantity) for each in self.account.held), self.market)

    @cached_property
    def structures(self) -> dict[Bucket, str]:
        """(underlying, first expiration) → sector of everything held or being opened."""
        return structures_of(self.account)

    @property
    def first_expiration(self) -> date:
        """Of the proposal's legs."""
        return self.order.expirations[0]

    def pct(self, amount: Number | None) -> Decimal | None:
        """Percent of net liq."""
        return share(amount, self.account.net_liq)


def structures_of(account: Account) -> dict[Bucket, str]:
    """(underlying, expiration) → sector of everything held or being opened."""
    found = {(each.underlying_symbol, option_of(each.occ_symbol).expiration): each.sector for each in account.held}
    for order in account.opens:
        found.setdefault((order.underlying_symbol, order.expirations[0]), order.sector)
    return found


def share(amount: Number | None, whole: Decimal | None) -> Decimal | None:
    """Percent of a whole; None when either is missing or the whole is not positive."""
    if amount is None or whole is None or whole <= 0:
        return None
    return 100 * (amount if isinstance(amount, Decimal) else Decimal(str(amount))) / whole


def plus(*amounts: Decimal | None) -> Decimal | None:
    """Sum; None when a part is missing."""
    total = Decimal(0)
    for amount in amounts:
        if amount is None:
            return None
        total += amount
    return total


def lost(start: Decimal | None, now: Decimal | None) -> Decimal | None:
    """Loss since a value, at least 0."""
    return None if start is None or now is None else max(Decimal(0), start - now)


def scaled(per_100k: Decimal | None, net_liq: Decimal | None) -> Decimal | None:
    """An amount for each 100,000 of net liq, in dollars."""
    return None if per_100k is None or net_liq is None else per_100k * net_liq / 100_000


def worst_sum(certain: float | None, uncertain: list[float | None]) -> float | None:
    """Greatest magnitude of a sum of which some parts may be left out; None when one is missing."""
    if certain is None:
        return None
    up = down = certain
    for each in uncertain:
        if each is None:
            return None
        up, down = up + max(each, 0.0), down + min(each, 0.0)
    return max(abs(up), abs(down))
