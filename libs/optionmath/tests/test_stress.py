"""Stress: grids are full revaluations, losses stay inside what spreads can lose, gaps hit one name alone."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest

from optionmath.blackscholes import price
from optionmath.revaluation import Book, Holding, OptionHolding, ShareHolding
from optionmath.stress import MARKET_MOVES, VOLATILITY_MOVES, everything_at_its_worst, gaps, stress_grid

SPOTS = {"SPY": 600.0, "XYZ": 50.0}
BETAS = {"SPY": 1.0, "XYZ": 1.5}


def spread(name: str, lots: float = 1.0) -> list[Holding]:
    spot = SPOTS[name]
    return [
        OptionHolding(name, name, False, strike, 45 / 365, 0.25, quantity, 0.04)
        for strike, quantity in ((0.95 * spot, -lots), (0.93 * spot, lots))
    ]


def test_the_grid_of_the_house() -> None:
    """−20 … +10 % by −25 … +100 %: the cell at rest is zero, and the named worst cell is the smallest."""
    found = stress_grid(Book.of(spread("SPY") + spread("XYZ"), SPOTS), BETAS)
    assert found.profit.shape == (len(MARKET_MOVES), len(VOLATILITY_MOVES))
    assert found.profit[MARKET_MOVES.index(0.0), VOLATILITY_MOVES.index(0.0)] == 0
    assert found.worst is not None
    assert found.worst.profit == found.profit.min()
    assert found.worst.market_move == -0.20
    assert found.by_position.sum(axis=0) == pytest.approx(found.profit)


def test_a_cell_is_the_position_repriced() -> None:
    """−10 % market with volatility up by half: XYZ falls by 15 %, its spread is worth what the formula says."""
    found = stress_grid(Book.of(spread("XYZ"), SPOTS), BETAS, market_moves=[-0.10], volatility_moves=[0.5])

    def worth(spot: float, sigma: float) -> float:
        return 100 * sum(
            quantity * float(price(spot, strike, 45 / 365, sigma, 0.04, 0.0, False))
            for strike, quantity in ((47.5, -1), (46.5, 1))
        )

    assert found.profit[0, 0] == pytest.approx(worth(42.5, 0.375) - worth(50, 0.25))


def test_no_cell_loses_more_than_the_spread_can() -> None:
    """Whatever the grid does, a spread loses at most its width."""
    found = stress_grid(
        Book.of(spread("SPY", 3), SPOTS), BETAS, market_moves=[-0.9, -0.5, 0.5], volatility_moves=[0, 4]
    )
    assert found.profit.min() >= -3 * 12 * 100


def test_a_gap_of_one_name_leaves_the_others_alone() -> None:
    """Three expected moves down and up, worst first; a share loses exactly the gap."""
    holdings = [ShareHolding("shares", "XYZ", 100), *spread("SPY")]
    found = gaps(Book.of(holdings, SPOTS), {"SPY": 6.0, "XYZ": 2.0})
    shares = next(each for each in found if each.underlying == "XYZ")
    assert (shares.move, shares.down, shares.up) == pytest.approx((0.12, -600.0, 600.0))
    assert [each.worst for each in found] == sorted(each.worst for each in found)
    alone = gaps(Book.of(spread("SPY"), SPOTS), {"SPY": 6.0})[0]
    assert next(each for each in found if each.underlying == "SPY").down == pytest.approx(alone.down)


def test_everything_at_its_worst_is_a_sum_or_nothing() -> None:
    """Maximum losses add up; one unlimited position leaves no number."""
    assert everything_at_its_worst({"a": Decimal(370), "b": Decimal(500)}) == (Decimal(870), ())
    assert everything_at_its_worst({"a": Decimal(370), "b": None}) == (None, ("b",))
    assert everything_at_its_worst({}) == (Decimal(0), ())


def test_a_book_that_cannot_be_valued_has_no_worst_cell() -> None:
    """NaN instead of a number; a missing beta is named."""
    bad = OptionHolding("bad", "SPY", True, 600, 0.1, float("nan"), 1)
    found = stress_grid(Book.of([bad], SPOTS), BETAS)
    assert found.worst is None
    assert np.isnan(found.profit).all()
    with pytest.raises(KeyError, match="XYZ"):
        stress_grid(Book.of(spread("XYZ"), SPOTS), {"SPY": 1.0})
