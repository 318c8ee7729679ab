"""Exact profit and loss of option and stock legs at one expiration, and the risk that outlives it.

P&L at expiration is linear between the prices where some leg changes from worthless to exercised, so its extremes,
breakevens and profit intervals follow from its values at those corners and its slope beyond the last one.
Everything is Decimal and exact; only the divisions that place breakevens and the corners of adjusted contracts round,
to 28 digits, and what a position with such contracts is worth is therefore taken to 18 decimals.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

ZERO, ONE = Decimal(0), Decimal(1)
_CORNER_DIGITS = Decimal("1e-18")


class Risk(StrEnum):
    """How a position can lose, mildest first."""

    NONE = "none"
    """It earns or breaks even at every price."""
    DEFINED = "defined"
    """The loss stops growing before the price reaches zero, and as it rises without end."""
    SUBSTANTIAL = "substantial"
    """The loss grows until the price is zero: a naked put, a covered call, long stock."""
    UNLIMITED = "unlimited"
    """The loss grows without end as the price rises: a naked call, short stock."""


@dataclass(frozen=True, slots=True)
class PayoffLeg:
    """An option. signed_quantity: contracts, short negative; strike: $ per share.

    `multiplier` scales the strike and sets the unit of the result: 1 (the default) gives $ per share of one unit,
    100 gives $ of standard contracts. An adjusted contract delivers something else against the same strike payment:
    `shares` is what one contract delivers (default: as many as the multiplier) and `cash` the $ delivered beside them.
    """

    is_call: bool
    strike: Decimal
    signed_quantity: int
    multiplier: Decimal = ONE
    shares: Decimal | None = None
    cash: Decimal = ZERO

    @property
    def delivered(self) -> Decimal:
        """Shares that one contract delivers."""
        return self.multiplier if self.shares is None else self.shares

    @property
    def standard(self) -> bool:
        """Whether it delivers as many shares as its multiplier and nothing else."""
        return self.delivered == self.multiplier and not self.cash

    @property
    def corner(self) -> Decimal:
        """Price of the underlying at which exercise is worth nothing; the strike for a standard contract."""
        if (self.shares is None or self.shares == self.multiplier) and not self.cash:
            return self.strike
        return (self.strike * self.multiplier - self.cash) / self.delivered

    def value(self, price: Decimal) -> Decimal:
        """Exercise value of all contracts at this price, negative when short."""
        worth = price * self.delivered + self.cash - self.strike * self.multiplier
        if (worth > 0) is not self.is_call:
            return ZERO
        return self.signed_quantity * (worth if self.is_call else -worth)

    def slope(self, price: Decimal) -> Decimal:
        """Change of `value` per $ of the underlying just above this price."""
        exercised = price >= self.corner if self.is_call else price < self.corner
        return self.signed_quantity * self.delivered * (1 if self.is_call else -1) if exercised else ZERO


@dataclass(frozen=True, slots=True)
class StockLeg:
    """Shares held, short negative, in the unit of the option legs' multiplier; what they cost belongs to the credit."""

    signed_shares: Decimal

    def value(self, price: Decimal) -> Decimal:
        """Market value at this price."""
        return self.signed_shares * price

    def slope(self, price: Decimal) -> Decimal:
        """Change of `value` per $ of the underlying: the same everywhere."""
        return self.signed_shares


AnyLeg = PayoffLeg | StockLeg


@dataclass(frozen=True, slots=True)
class Interval:
    """Prices strictly between `low` and `high`; None = no upper end. A low of 0 includes 0."""

    low: Decimal
    high: Decimal | None


@dataclass(frozen=True, slots=True)
class Payoff:
    """Net of the credit (debit negative), in the unit of the legs' multiplier. None = unlimited."""

    max_profit: Decimal | None
    max_loss: Decimal | None
    """Magnitude; 0 when it cannot lose."""
    breakevens: tuple[Decimal, ...]
    """Every price where P&L changes sign or touches zero, ascending; both ends of a stretch that stays at zero."""
    profit_intervals: tuple[Interval, ...] = ()
    """Where P&L is above zero, ascending."""
    risk: Risk = Risk.DEFINED


def value_at(legs: Sequence[AnyLeg], credit: Decimal, price: Decimal) -> Decimal:
    """P&L at expiration when the underlying settles at `price`."""
    return sum((leg.value(price) for leg in legs), credit)


def curve(legs: Sequence[AnyLeg], credit: Decimal, prices: Iterable[Decimal]) -> tuple[Decimal, ...]:
    """P&L at expiration at each price."""
    return tuple(value_at(legs, credit, price) for price in prices)


def corners(legs: Sequence[AnyLeg]) -> tuple[Decimal, ...]:
    """Prices where the P&L line bends, ascending, always with 0: these and one price beyond draw it exactly."""
    return tuple(sorted({ZERO, *(leg.corner for leg in legs if isinstance(leg, PayoffLeg) and leg.corner > 0)}))


def analyse(legs: Sequence[AnyLeg], credit: Decimal) -> Payoff:
    """Extremes, breakevens and profit intervals over all prices from 0 to infinity; exact.

    credit: net cash received for the whole position (premiums, stock and fees; paid is negative), in the legs' unit.
    Raises ValueError without legs, or when one delivers no shares.
    """
    if not legs:
        raise ValueError("a payoff needs at least one leg")
    if any(isinstance(leg, PayoffLeg) and (leg.delivered <= 0 or leg.multiplier <= 0) for leg in legs):
        raise ValueError("an option leg needs a positive multiplier and positive delivered shares")
    bends = corners(legs)
    values = curve(legs, credit, bends)
    if any(isinstance(leg, PayoffLeg) and not leg.standard for leg in legs):
        values = tuple(each.quantize(_CORNER_DIGITS) for each in values)
    first_slope = sum((leg.slope(ZERO) for leg in legs), ZERO)
    last_slope = sum((leg.slope(bends[-1]) for leg in legs), ZERO)
    breakevens, intervals = _walk(bends, values, last_slope)
    lowest = min(values)
    return Payoff(
        max_profit=None if last_slope > 0 else max(values),
        max_loss=None if last_slope < 0 else max(-lowest, ZERO),
        breakevens=breakevens,
        profit_intervals=intervals,
        risk=_risk(last_slope, first_slope, values),
    )


def _walk(
    bends: Sequence[Decimal], values: Sequence[Decimal], last_slope: Decimal
) -> tuple[tuple[Decimal, ...], tuple[Interval, ...]]:
    """Breakevens and profit intervals from the values at the bends and the slope of the ray beyond the last."""
    zeros: list[Decimal] = []
    intervals: list[Interval] = []
    # The ray is one more segment: a price beyond every crossing and the value there.
    reach = abs(values[-1] / last_slope) + 1 if last_slope else ONE
    prices = (*bends, bends[-1] + reach)
    heights = (*values, values[-1] + last_slope * reach)
    start = ZERO if heights[0] > 0 else None
    for low, high, at_low, at_high in zip(prices, prices[1:], heights, heights[1:], strict=False):
        if at_low == 0:
            crossing = low
        elif at_high != 0 and (at_low < 0) != (at_high < 0):
            crossing = low + (high - low) * at_low / (at_low - at_high)
        else:
            continue
        zeros.append(crossing)
        if start is not None and crossing > start:
            intervals.append(Interval(start, crossing))
        start = crossing if at_high > 0 else None
    if start is not None:
        intervals.append(Interval(start, None))
    return tuple(zeros), tuple(intervals)


def _risk(last_slope: Decimal, first_slope: Decimal, values: Sequence[Decimal]) -> Risk:
    if last_slope < 0:
        return Risk.UNLIMITED
    if min(values) >= 0:
        return Risk.NONE
    return Risk.SUBSTANTIAL if first_slope > 0 and values[0] < 0 else Risk.DEFINED


def remaining_risk(stages: Sequence[Sequence[AnyLeg]]) -> Risk:
    """The worst way to lose when legs expire at different times; UNLIMITED or SUBSTANTIAL, else DEFINED.

    stages: the legs that still live at each successive expiration, the first stage being the whole position: a stage
    is judged as if all its legs expired then, by its slopes alone, since what the others left behind is a constant.
    A short call that outlives the long call that covers it is therefore found. Expired stock legs do not exist: shares
    belong to every stage. Raises ValueError without stages.
    """
    if not stages:
        raise ValueError("a position has at least one stage")
    worst = Risk.DEFINED
    for legs in stages:
        if not legs:
            continue
        if sum((leg.slope(corners(legs)[-1]) for leg in legs), ZERO) < 0:
            return Risk.UNLIMITED
        if sum((leg.slope(ZERO) for leg in legs), ZERO) > 0:
            worst = Risk.SUBSTANTIAL
    return worst
