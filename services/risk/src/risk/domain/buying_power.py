"""Buying power of an order: by our own margin rules, and how far the broker's word is from it."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from optionmath.margin import MarginOption, Underlying, UnderlyingKind, buying_power_effect
from risk.domain.facts import Account, Market, Order, option_of
from schemas.money import price_from_float
from schemas.symbols import OptionType

MULTIPLIER = 100
BROAD_INDEX = frozenset({"SPY", "QQQ", "IWM", "DIA", "SPX", "NDX", "RUT", "XSP", "VOO", "IVV", "VTI"})
"""Indices and funds on them, for which naked options need less."""
HELD_LEGS_MAX = 24
"""With more legs held in the underlying the order is margined alone: pairing them all would take too long."""


def own_effect(order: Order, account: Account, market: Market) -> Decimal | None:
    """Buying power the order takes at its worst price, dollars, at least 0; None when a price is missing."""
    spot = market.spots.get(order.underlying_symbol)
    ordered = _options(((symbol, count * order.quantity) for symbol, count in order.legs), market)
    if spot is None or not spot > 0 or ordered is None:
        return None
    here = [each for each in account.held if each.underlying_symbol == order.underlying_symbol]
    held: list[MarginOption] | None = []
    if len(here) <= HELD_LEGS_MAX:
        held = _options(((each.occ_symbol, each.signed_quantity) for each in here), market)
    kind = UnderlyingKind.BROAD_INDEX if order.underlying_symbol in BROAD_INDEX else UnderlyingKind.EQUITY
    effect = buying_power_effect(
        held or [],
        ordered,
        Underlying(price_from_float(spot), kind),
        cash=order.worst_price * MULTIPLIER * order.quantity,
    )
    return max(effect.reduction, Decimal(0))


def disagreement_pct(own: Decimal | None, broker: Decimal | None) -> Decimal | None:
    """Distance of the two, percent of the larger; 0 when both are 0, None when one is missing."""
    if own is None or broker is None:
        return None
    larger = max(own, broker)
    return Decimal(0) if larger <= 0 else 100 * abs(own - broker) / larger


def larger(own: Decimal | None, broker: Decimal | None) -> Decimal | None:
    """What counts: the larger of the two, our own where the broker has not said."""
    if own is None:
        return None
    return own if broker is None else max(own, broker)


def _options(legs: Iterable[tuple[str, int]], market: Market) -> list[MarginOption] | None:
    found = []
    for symbol, count in legs:
        option, mark = option_of(symbol), market.marks.get(symbol)
        if mark is None:
            return None
        found.append(MarginOption(option.option_type is OptionType.CALL, option.strike, option.expiration, count, mark))
    return found
