"""Price grids of options and of multi-leg orders, and rounding to them. Exact: Decimal in, Decimal out.

The broker publishes each instrument's `tick-sizes`; `TickGrid.from_sizes` takes them as they come. The defaults below
serve where they are missing. Sources: Cboe Rule 5.4 and the SPX and XSP product specifications; OIC, penny increments.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from enum import StrEnum
from itertools import pairwise

_ZERO = Decimal(0)
PENNY_ALWAYS_ROOTS = frozenset(("SPY", "QQQ", "IWM", "XSP"))
NICKEL_SPREAD_ROOTS = frozenset(("SPX", "SPXW"))


class Direction(StrEnum):
    """Where a price between two ticks goes. Prices are signed, credit positive: UP asks for more or pays less."""

    UP = "up"
    DOWN = "down"
    NEAREST = "nearest"


@dataclass(frozen=True, slots=True)
class TickBand:
    """A tick, valid for prices below `below`; None: for all prices above the other bands. Dollars per share."""

    value: Decimal
    below: Decimal | None = None


@dataclass(frozen=True, slots=True)
class TickGrid:
    """Valid prices: within each band the multiples of its tick. Bands ascend, the last has no limit.

    A negative price (a debit) is valid when its magnitude is.
    """

    bands: tuple[TickBand, ...]

    def __post_init__(self) -> None:
        limits = [band.below for band in self.bands]
        if not limits or limits[-1] is not None or None in limits[:-1]:
            raise ValueError("a tick grid needs exactly one band without a threshold, and it comes last")
        numbers = [limit for limit in limits if limit is not None]
        if any(band.value <= 0 for band in self.bands) or any(limit <= 0 for limit in numbers):
            raise ValueError("ticks and thresholds must be positive")
        if any(low >= high for low, high in pairwise(numbers)):
            raise ValueError("thresholds of a tick grid must ascend")

    @classmethod
    def from_sizes(cls, sizes: Iterable[tuple[Decimal | None, Decimal]]) -> TickGrid:
        """Grid from the broker's list of (threshold, value), in any order. Raises ValueError when it makes no sense."""
        ordered = sorted(sizes, key=lambda pair: (pair[0] is None, pair[0] or _ZERO))
        return cls(tuple(TickBand(value, threshold) for threshold, value in ordered))

    @classmethod
    def uniform(cls, tick: Decimal) -> TickGrid:
        """One tick for all prices."""
        return cls((TickBand(tick),))

    def tick_at(self, price: Decimal) -> Decimal:
        """Tick that rules at a price."""
        return self.bands[self._band(abs(price))].value

    def is_valid(self, price: Decimal) -> bool:
        """Whether the price lies on the grid; zero does."""
        return price.is_finite() and price % self.tick_at(price) == 0

    def round(self, price: Decimal, direction: Direction) -> Decimal:
        """The price itself when valid, else the next valid one in the direction; NEAREST breaks ties upwards.

        Raises ValueError for a price that is not finite.
        """
        if not price.is_finite():
            raise ValueError(f"{price} is not a price")
        if direction is Direction.NEAREST:
            low, high = self.round(price, Direction.DOWN), self.round(price, Direction.UP)
            return low if price - low < high - price else high
        outwards = (direction is Direction.UP) == (price >= 0)
        found = self._ceiling(abs(price)) if outwards else self._floor(abs(price))
        return -found if price < 0 and found else found

    def round_towards(self, price: Decimal, target: Decimal) -> Decimal:
        """The price itself when valid, else the next valid one on the target's side (never worse for reaching it)."""
        return self.round(price, Direction.UP if target > price else Direction.DOWN)

    def step(self, price: Decimal, steps: int) -> Decimal:
        """The price `steps` grid points higher (negative: lower); one between two points first joins the next."""
        direction = Direction.UP if steps > 0 else Direction.DOWN
        for _ in range(abs(steps)):
            moved = self.round(price, direction)
            price = self._neighbour(price, direction) if moved == price else moved
        return price

    def _neighbour(self, price: Decimal, direction: Direction) -> Decimal:
        sign = 1 if direction is Direction.UP else -1
        smallest = min(band.value for band in self.bands)
        return self.round(price + sign * smallest / 10, direction)

    def _band(self, magnitude: Decimal) -> int:
        return next(i for i, band in enumerate(self.bands) if band.below is None or magnitude < band.below)

    def _floor(self, magnitude: Decimal) -> Decimal:
        index = self._band(magnitude)
        tick = self.bands[index].value
        found = (magnitude / tick).to_integral_value(ROUND_FLOOR) * tick
        while index and found < (start := self.bands[index - 1].below or _ZERO):
            index -= 1
            tick = self.bands[index].value
            found = ((start / tick).to_integral_value(ROUND_CEILING) - 1) * tick
        return found

    def _ceiling(self, magnitude: Decimal) -> Decimal:
        index = self._band(magnitude)
        tick, limit = self.bands[index].value, self.bands[index].below
        found = (magnitude / tick).to_integral_value(ROUND_CEILING) * tick
        while limit is not None and found >= limit:
            index += 1
            tick, start, limit = self.bands[index].value, limit, self.bands[index].below
            found = (start / tick).to_integral_value(ROUND_CEILING) * tick
        return found


PENNY = TickGrid.uniform(Decimal("0.01"))
NICKEL = TickGrid.uniform(Decimal("0.05"))
PENNY_CLASS = TickGrid((TickBand(Decimal("0.01"), Decimal(3)), TickBand(Decimal("0.05"))))
OTHER_CLASS = TickGrid((TickBand(Decimal("0.05"), Decimal(3)), TickBand(Decimal("0.10"))))


def option_grid(root: str, *, penny_class: bool) -> TickGrid:
    """Grid of a single option where the broker gives none. penny_class: member of the Penny Interval Program.

    SPY, QQQ, IWM and XSP trade in pennies at every price; other penny classes in .01 below $3 and .05 from there;
    the rest, SPX among them, in .05 and .10.
    """
    if root in PENNY_ALWAYS_ROOTS:
        return PENNY
    return PENNY_CLASS if penny_class else OTHER_CLASS


def net_price_grid(root: str) -> TickGrid:
    """Grid of a multi-leg order's net price: pennies, in the SPX complex nickels."""
    return NICKEL if root in NICKEL_SPREAD_ROOTS else PENNY
