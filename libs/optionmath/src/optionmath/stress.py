"""Stress tests of a book: the whole market moved with volatility, one name gapping, every position at its worst.

Full revaluation in every cell. Losses are negative $ in grids; summaries name the cell they come from. A book that
cannot be valued gives NaN and a worst cell of None.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from optionmath.revaluation import Book, Floats, Scenarios, calm, revalue

MARKET_MOVES = (-0.20, -0.10, -0.05, -0.03, 0.0, 0.03, 0.05, 0.10)
VOLATILITY_MOVES = (-0.25, 0.0, 0.50, 1.00)
GAP_MULTIPLE = 3.0


@dataclass(frozen=True, slots=True)
class StressCell:
    """One cell of a stress grid: moves as fractions, profit in $ (a loss is negative)."""

    market_move: float
    volatility_move: float
    profit: float


@dataclass(frozen=True, slots=True)
class StressGrid:
    """P&L in $ when the market moves and all implied volatilities scale."""

    market_moves: tuple[float, ...]
    volatility_moves: tuple[float, ...]
    profit: Floats
    """[market move, volatility move]"""
    by_position: Floats
    """[position, market move, volatility move], in the order of the book's positions."""
    worst: StressCell | None


def stress_grid(
    book: Book,
    betas: Mapping[str, float],
    *,
    market_moves: Sequence[float] = MARKET_MOVES,
    volatility_moves: Sequence[float] = VOLATILITY_MOVES,
    elapsed_years: float = 0.0,
) -> StressGrid:
    """Every underlying moves by its beta times the market move (held above −99 %), volatilities by 1 + their move.

    The default grid is −20 … +10 % by −25 … +100 % of volatility, at once. A KeyError names an underlying without beta.
    """
    moves, volatility = (np.asarray(each, dtype=np.float64) for each in (market_moves, volatility_moves))
    beta = np.array([betas[name] for name in book.underlyings])[:, None]
    returns = np.maximum(beta * np.repeat(moves, volatility.size)[None, :], -0.99)
    factors = np.tile(1.0 + volatility, (len(book.underlyings), moves.size))
    values = revalue(book, Scenarios(book.underlyings, returns, factors, elapsed_years)) - revalue(book, calm(book))
    by_position = values.reshape(len(book.positions), moves.size, volatility.size)
    profit = by_position.sum(axis=0)
    worst = None
    if np.isfinite(profit).all():
        row, column = np.unravel_index(int(np.argmin(profit)), profit.shape)
        worst = StressCell(float(moves[row]), float(volatility[column]), float(profit[row, column]))
    return StressGrid(tuple(market_moves), tuple(volatility_moves), profit, by_position, worst)


@dataclass(frozen=True, slots=True)
class Gap:
    """What a gap of one underlying, all others unchanged, does to the book; $."""

    underlying: str
    down: float
    up: float
    move: float
    """Size of the gap, as a fraction of the price."""

    @property
    def worst(self) -> float:
        """The worse of the two."""
        return min(self.down, self.up)


def gaps(book: Book, expected_moves: Mapping[str, float], *, multiple: float = GAP_MULTIPLE) -> tuple[Gap, ...]:
    """P&L when each underlying in turn gaps by a multiple of its expected move, worst first.

    expected_moves: in $ per share (`expected_move` gives them); a gap down is held above −99 %.
    """
    names = book.underlyings
    moves = np.array([multiple * expected_moves[name] / spot for name, spot in zip(names, book.spots, strict=True)])
    returns = np.zeros((len(names), 2 * len(names)))
    for row, move in enumerate(moves):
        returns[row, 2 * row], returns[row, 2 * row + 1] = max(-move, -0.99), move
    values = revalue(book, Scenarios(names, returns, np.ones_like(returns))) - revalue(book, calm(book))
    total = values.sum(axis=0)
    found = [
        Gap(name, float(total[2 * row]), float(total[2 * row + 1]), float(moves[row])) for row, name in enumerate(names)
    ]
    return tuple(sorted(found, key=lambda each: each.worst))


def everything_at_its_worst(max_losses: Mapping[str, Decimal | None]) -> tuple[Decimal | None, tuple[str, ...]]:
    """Sum of the positions' maximum losses ($, magnitudes), and the positions whose loss is unlimited.

    None instead of a sum when there is one: no number bounds the book.
    """
    unlimited = tuple(name for name, loss in max_losses.items() if loss is None)
    total = sum((loss for loss in max_losses.values() if loss is not None), Decimal(0))
    return (None if unlimited else total), unlimited
