"""Where an order starts, where it walks to and when it gives up. Prices: net $ per share, credit positive."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from optionmath.ticks import Direction, TickGrid, net_price_grid
from schemas.account import GateMode
from schemas.trade import Purpose


class Pace(StrEnum):
    """How hurried a walk is. The numbers are settings."""

    SPEEDY = "speedy"
    """An exit that must happen: few steps, seconds apart, to natural."""
    NORMAL = "normal"
    PATIENT = "patient"
    """Many steps, long rests, and never all of the way to natural."""


@dataclass(frozen=True, slots=True)
class WalkRules:
    """How the limit moves from mid towards natural: the schedule of `strategies.fill_model.Walk`, in exact decimals."""

    steps: int
    step_seconds: float
    final_pct_of_spread: float

    def share(self, step: int) -> Decimal:
        """Share of the way from mid to natural at a step, 0 = mid; the last step's beyond it."""
        reached = Decimal(min(step, self.steps)) / self.steps
        return reached * Decimal(str(self.final_pct_of_spread)) / 100


@dataclass(frozen=True, slots=True)
class Book:
    """Net mid and natural of the structure, and the age of its oldest quote."""

    mid: Decimal
    natural: Decimal
    age_seconds: float

    def tradable(self, max_age_seconds: float) -> bool:
        """Young enough, finite, and natural not better than mid: neither locked nor crossed."""
        sound = self.mid.is_finite() and self.natural.is_finite() and self.natural < self.mid
        return sound and 0 <= self.age_seconds <= max_age_seconds


def grid_of(root: str, legs: int, sizes: Iterable[tuple[Decimal | None, Decimal]], tick: Decimal) -> TickGrid:
    """Valid prices of an order: the broker's tick table for one leg, the net grid of the root for several.

    sizes: the broker's (threshold, tick) of single contracts; tick: what the idea was priced with, where it says none.
    """
    if legs > 1:
        return net_price_grid(root)
    known = tuple(sizes)
    return TickGrid.from_sizes(known) if known else TickGrid.uniform(tick)


def start_price(book: Book, worst: Decimal, grid: TickGrid) -> Decimal:
    """Mid on the grid in our favour, never past the worst price."""
    return max(grid.round(book.mid, Direction.UP), grid.round(worst, Direction.UP))


def next_price(current: Decimal, worst: Decimal, grid: TickGrid, step: int, book: Book, rules: WalkRules) -> Decimal:
    """Limit of step `step` (1 = first after the start), against today's book; equal to `current` when it ends there."""
    floor = grid.round(worst, Direction.UP)
    if current <= floor:
        return current
    room = max(Decimal(0), book.mid - book.natural)
    target = grid.round(book.mid - rules.share(step) * room, Direction.UP)
    return max(floor, min(grid.step(current, -1), target))


def walk_due(
    now: datetime, placed_at: datetime, walk_step: int, filled: int, rules: WalkRules, mode: GateMode, purpose: Purpose
) -> bool:
    """Whether the next step is due: nothing filled yet, steps left, time passed, and the gate would allow a send."""
    if filled or walk_step >= rules.steps or not mode.allows(purpose):
        return False
    return now >= placed_at + timedelta(seconds=rules.step_seconds)


def timed_out(now: datetime, first_sent: datetime, seconds: float) -> bool:
    """Whether the whole walk has used its time."""
    return now >= first_sent + timedelta(seconds=seconds)


def retry_delay(attempt: int, base_seconds: float, longest_seconds: float, uniform: float) -> float:
    """Wait before another try of what was proved not to be accepted; attempt 1 = first retry, uniform in [0, 1).

    Doubles with each attempt and keeps at least half, so that several processes spread out and none hurries.
    """
    longest = min(longest_seconds, base_seconds * 2.0 ** (attempt - 1))
    return longest * (0.5 + 0.5 * uniform)
