"""Margin of positions and the effect of orders on buying power: the rules of `optionmath.margin` on what is held.

$ and Decimals. What the interface calls a margin requirement counts shorts with their premium, spreads before their
credit and long options at their value: a three-point spread needs $300 whatever it was sold for. Buying power is net
liquidating value less what is tied up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from optionmath.calendar import CASH_INDEX_ROOTS, Settlement
from optionmath.margin import (
    AccountKind,
    GroupKind,
    MarginGroup,
    MarginOption,
    MarginRequirement,
    MarginRules,
    Phase,
    Underlying,
    UnderlyingKind,
    requirement,
)
from tastysim import valuation
from tastysim.orders import SIGNS, Order, Quantity, whole_or_exact

if TYPE_CHECKING:
    from tastysim.account import Account

ZERO = Decimal(0)
EQUITY_RATE, NAKED_RATE, NAKED_LEAST = Decimal("0.5"), Decimal("0.2"), Decimal("0.1")
"""Of the value of shares, to open; of the underlying's price for a naked option, and at least."""
LEVELS = ("Long Only", "Covered And Cash Secured", "Defined Risk Spreads", "No Restrictions")
Held = Mapping[str, Quantity]


@dataclass(frozen=True, slots=True)
class NameMargin:
    """What the positions of one underlying need. shares: held, short negative; price: $ per share."""

    found: MarginRequirement
    shares: Quantity
    price: Decimal

    @property
    def part(self) -> Decimal:
        """$ that the fraction of a share beside the whole ones needs: it is in no strategy."""
        return EQUITY_RATE * abs(Decimal(self.shares) - int(self.shares)) * self.price

    @property
    def deposit(self) -> Decimal:
        """$ to put down for everything."""
        return self.found.deposit + self.part

    @property
    def required(self) -> Decimal:
        """As the interface reports it."""
        return sum((gross(group, self.price) for group in self.found.groups), self.part)

    @property
    def tied_up(self) -> Decimal:
        """Part of net liquidating value that buys nothing else."""
        return self.found.buying_power_used + self.part


def gross(group: MarginGroup, price: Decimal) -> Decimal:
    """$ a group needs with the options it has to pay for and the proceeds of shares sold short."""
    options = sum((each.premium * each.signed_quantity for each in group.options), ZERO)
    if group.kind in (GroupKind.NAKED, GroupKind.STRANGLE, GroupKind.COVERED):
        options = ZERO
    return group.deposit + max(options, ZERO) + max(-group.shares, 0) * price


def rules_of(broker: Account, phase: Phase) -> MarginRules:
    """The account's rules."""
    house = broker.terms.house
    rates = {
        UnderlyingKind.EQUITY: NAKED_RATE, UnderlyingKind.NARROW_INDEX: house.index_rate,
        UnderlyingKind.BROAD_INDEX: house.fund_rate,
    }  # fmt: skip
    account = AccountKind.CASH if broker.margin_or_cash == "Cash" else AccountKind.MARGIN
    return MarginRules(account, phase, rates, naked_minimum=house.naked_minimum)


@dataclass(slots=True)
class MarginCache:
    """What positions needed at one moment of the market; the same positions at that moment need the same."""

    moment: object = None
    found: dict[object, NameMargin] = field(default_factory=dict)


def of_name(broker: Account, name: str, held: Held, phase: Phase = Phase.INITIAL) -> NameMargin:
    """What positions of one underlying need; `held` may contain others, which are passed over."""
    its = tuple(sorted((each, count) for each, count in held.items() if count and broker.underlying_of(each) == name))
    if all(valuation.is_option(symbol) for symbol, _ in its):
        phase = Phase.INITIAL  # only shares tell the phases apart
    cache, market = broker.margin_cache, broker.market
    moment = market.steps, market.now, broker.margin_or_cash
    if cache.moment != moment:
        cache.moment = moment
        cache.found.clear()
    key = name, its, phase
    if key not in cache.found:
        cache.found[key] = _of_name(broker, name, its, phase)
    return cache.found[key]


def _of_name(broker: Account, name: str, its: tuple[tuple[str, Quantity], ...], phase: Phase) -> NameMargin:
    options = [_option(broker, symbol, int(count)) for symbol, count in its if valuation.is_option(symbol)]
    shares = whole_or_exact(sum((count for symbol, count in its if not valuation.is_option(symbol)), Decimal(0)))
    price = valuation.mark(broker.market, name)
    house = broker.terms.house
    kind = UnderlyingKind.NARROW_INDEX if name in CASH_INDEX_ROOTS else UnderlyingKind.EQUITY
    kind = UnderlyingKind.BROAD_INDEX if name in house.broad_funds else kind
    underlying = Underlying(price, kind, house.leverage.get(name, Decimal(1)))
    found = requirement(options, underlying, shares=int(shares), rules=rules_of(broker, phase))
    return NameMargin(found, shares, price)


def _option(broker: Account, symbol: str, quantity: int) -> MarginOption:
    contract = broker.contracts.of(symbol)
    return MarginOption(
        contract.is_call, contract.option.strike, contract.option.expiration, quantity, broker.mark(symbol),
        int(contract.multiplier), int(contract.shares), contract.settlement is Settlement.AM,
    )  # fmt: skip


def by_underlying(broker: Account, held: Held, phase: Phase = Phase.INITIAL) -> dict[str, NameMargin]:
    """What is needed, name by name, in their order."""
    names = {broker.underlying_of(symbol) for symbol, quantity in held.items() if quantity}
    return {name: of_name(broker, name, held, phase) for name in sorted(names)}


def with_order(held: Held, order: Order) -> dict[str, Quantity]:
    """What would be held after an order."""
    found = dict(held)
    for leg in order.legs:
        found[leg["symbol"]] = found.get(leg["symbol"], 0) + SIGNS[leg["action"]] * leg["quantity"]
    return found


def buying_power_effect(broker: Account, order: Order) -> dict[str, Any]:
    """What an order changes, magnitudes with effects."""
    held, name, signed = broker.quantities(), order.underlying, valuation.signed
    before, after = of_name(broker, name, held), of_name(broker, name, with_order(held, order))
    alone = of_name(broker, name, with_order({}, order))
    received = _expected(broker, order) * valuation.scale(order) * order.units
    shares = (after.shares - before.shares) * after.price
    change = received + shares - broker.order_costs(order).total - (after.deposit - before.deposit)
    power = broker.buying_power()
    return {
        **signed("change-in-margin-requirement", before.required - after.required),
        **signed("change-in-buying-power", change),
        **signed("current-buying-power", power),
        **signed("new-buying-power", power + change),
        **signed("isolated-order-margin-requirement", -alone.required),
        "is-spread": len(order.legs) > 1,
        "impact": str(abs(change)),
        "effect": "Debit" if change < 0 else "Credit",
    }  # fmt: skip


def _expected(broker: Account, order: Order) -> Decimal:
    """Net price at which an order is counted: its limit; with shares, which count at the market, no better than mid."""
    price = order.price
    if price is None:
        return valuation.net(broker.market, order, natural=True) or ZERO
    if any(leg["instrument-type"] == "Equity" for leg in order.legs):
        mid = valuation.net(broker.market, order, natural=False)
        return price if mid is None else min(price, mid)
    return price


def needed_level(groups: Iterable[MarginGroup], shares: Quantity, cash: Decimal) -> str:
    """The least options level at which positions may be held; $ of cash secure short puts."""
    need, secured = 0, ZERO
    for group in groups:
        shorts = [each for each in group.options if each.signed_quantity < 0]
        if not shorts:
            continue
        if group.kind in (GroupKind.COVERED, GroupKind.COLLAR):
            need = max(need, 1)
        elif group.kind is GroupKind.SPREAD:
            need = max(need, 2)
        elif any(each.is_call for each in shorts):
            need = 3
        else:
            secured += sum((each.strike * each.multiplier * -each.signed_quantity for each in shorts), ZERO)
            need = max(need, 1 if secured <= cash else 3)
    return LEVELS[3 if shares < 0 else need]
