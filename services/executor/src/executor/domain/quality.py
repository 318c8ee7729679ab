"""How good a fill was against the mids it was decided and sent at. $ per share unless named otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from optionmath.payoff import PayoffLeg, analyse
from schemas.symbols import OptionType, parse_occ
from schemas.trade import Leg

SHARES_PER_CONTRACT = 100


@dataclass(frozen=True, slots=True)
class FillQuality:
    """Slippage of a fill against one mid. Positive = worse than the mid."""

    per_share: Decimal
    dollars: Decimal
    """For all units."""
    pct_of_max_profit: float | None
    """None where the maximum profit is unlimited, unknown or nothing."""
    within_tolerance: bool | None
    """None where the percentage is."""


def fill_quality(
    mid: Decimal, fill_price: Decimal, units: int, max_profit: Decimal | None, tolerance_pct: float
) -> FillQuality:
    """Judge a net fill price (credit positive) of so many units. max_profit: $ per share of a unit, a magnitude."""
    slip = mid - fill_price
    share = float(slip / max_profit * 100) if max_profit is not None and max_profit > 0 else None
    return FillQuality(
        slip, slip * units * SHARES_PER_CONTRACT, share, None if share is None else share <= tolerance_pct
    )


def max_profit(legs: Sequence[Leg], net_price: Decimal) -> Decimal | None:
    """Most a unit can earn at expiration, $ per share; None when unlimited or when its legs expire on several days.

    net_price: credit positive. For an order that closes, this is the profit of holding what it trades: not asked for.
    """
    options = [parse_occ(leg.occ_symbol) for leg in legs]
    if len({option.expiration for option in options}) != 1:
        return None
    held = [
        PayoffLeg(option.option_type is OptionType.CALL, option.strike, leg.action.sign * leg.quantity)
        for leg, option in zip(legs, options, strict=True)
    ]
    return analyse(held, net_price).max_profit
