"""Rounding to the price grid: valid, in the stated direction, once and for all."""

from __future__ import annotations

import os
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optionmath.ticks import (
    NICKEL,
    OTHER_CLASS,
    PENNY,
    PENNY_CLASS,
    Direction,
    TickBand,
    TickGrid,
    net_price_grid,
    option_grid,
)

SCALE = int(os.environ.get("TT_TEST_SCALE", "1"))

SHARED = Path(os.environ.get("TT_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data"))
D = Decimal
CRUEL = TickGrid((TickBand(D("0.03"), D("1.00")), TickBand(D("0.7"), D("2.5")), TickBand(D("0.25"))))
"""Thresholds that are multiples of no tick."""
grids = st.sampled_from((PENNY, NICKEL, PENNY_CLASS, OTHER_CLASS, CRUEL))
prices = st.decimals(min_value=-50, max_value=50, places=4)
directions = st.sampled_from(Direction)


@settings(max_examples=60 * SCALE, deadline=None)
@given(grids, prices, directions)
def test_rounding_gives_a_valid_price_and_rounding_again_changes_nothing(
    grid: TickGrid, price: Decimal, direction: Direction
) -> None:
    """Idempotent."""
    found = grid.round(price, direction)
    assert grid.is_valid(found)
    assert grid.round(found, direction) == found


@settings(max_examples=60 * SCALE, deadline=None)
@given(grids, prices)
def test_rounding_moves_in_its_direction_to_the_nearest_valid_price(grid: TickGrid, price: Decimal) -> None:
    """No valid price lies between a price and where it was put (scanned in steps of 1/10,000 near it)."""
    low, high = grid.round(price, Direction.DOWN), grid.round(price, Direction.UP)
    assert low <= price <= high
    assert (low == price) == grid.is_valid(price) == (high == price)
    between = (price + D(offset) / 10_000 for offset in range(-400, 401))
    assert not any(grid.is_valid(each) for each in between if low < each < high)
    assert grid.round(price, Direction.NEAREST) == (low if price - low < high - price else high)


@settings(max_examples=60 * SCALE, deadline=None)
@given(grids, prices)
def test_a_debit_is_rounded_like_the_credit_of_its_magnitude(grid: TickGrid, price: Decimal) -> None:
    """Up for a debit means paying less."""
    assert grid.round(-price, Direction.UP) == -grid.round(price, Direction.DOWN)


@settings(max_examples=60 * SCALE, deadline=None)
@given(grids, prices, prices)
def test_rounding_towards_a_target_never_leaves_it_behind(grid: TickGrid, price: Decimal, target: Decimal) -> None:
    """The rounded price is on the target's side of the price."""
    found = grid.round_towards(price, target)
    assert found >= price if target > price else found <= price


@settings(max_examples=60 * SCALE, deadline=None)
@given(grids, prices, st.integers(1, 30))
def test_steps_up_and_down_again_return(grid: TickGrid, price: Decimal, steps: int) -> None:
    """Each step reaches the neighbouring valid price."""
    start = grid.round(price, Direction.DOWN)
    assert grid.step(grid.step(start, steps), -steps) == start
    assert grid.step(start, 0) == start
    assert grid.step(start, 1) == grid.round(start + D("0.00001"), Direction.UP)


@pytest.mark.parametrize(
    ("grid", "price", "down", "up"),
    [
        (option_grid("AAPL", penny_class=True), "2.987", "2.98", "2.99"),
        (option_grid("AAPL", penny_class=True), "3.02", "3.00", "3.05"),
        (option_grid("XYZ", penny_class=False), "2.98", "2.95", "3.00"),
        (option_grid("XYZ", penny_class=False), "3.05", "3.00", "3.10"),
        (option_grid("SPY", penny_class=True), "7.123", "7.12", "7.13"),
        (option_grid("SPX", penny_class=False), "12.34", "12.30", "12.40"),
        (option_grid("XSP", penny_class=False), "12.345", "12.34", "12.35"),
        (net_price_grid("AAPL"), "-1.234", "-1.24", "-1.23"),
        (net_price_grid("SPXW"), "1.234", "1.20", "1.25"),
    ],
)
def test_grids_of_the_exchanges(grid: TickGrid, price: str, down: str, up: str) -> None:
    """Penny classes .01/.05 around $3, others .05/.10, SPY and XSP pennies, spreads pennies, SPX spreads nickels."""
    assert grid.round(D(price), Direction.DOWN) == D(down)
    assert grid.round(D(price), Direction.UP) == D(up)


def test_the_brokers_tick_sizes_are_taken_as_they_come() -> None:
    """`[{"threshold": "3.0", "value": "0.05"}, {"value": "0.1"}]`, in any order."""
    sizes = [(None, D("0.1")), (D("3.0"), D("0.05"))]
    grid = TickGrid.from_sizes(sizes)
    assert grid.tick_at(D("2.99")) == D("0.05")
    assert grid.tick_at(D("-3")) == D("0.1")
    assert TickGrid.from_sizes([(None, D("0.01"))]) == PENNY


@pytest.mark.parametrize(
    "sizes",
    [
        [],
        [(D(3), D("0.05"))],
        [(None, D("0.05")), (None, D("0.1"))],
        [(None, D(0))],
        [(D(-1), D("0.05")), (None, D("0.1"))],
        [(D(3), D("0.05")), (D(3), D("0.01")), (None, D("0.1"))],
    ],
)
def test_tick_sizes_without_sense_are_refused(sizes: list[tuple[Decimal | None, Decimal]]) -> None:
    """No band for high prices, two of them, no tick, a negative or repeated threshold."""
    with pytest.raises(ValueError):
        TickGrid.from_sizes(sizes)


@pytest.mark.parametrize("price", ["NaN", "Infinity"])
def test_what_is_no_price_is_refused(price: str) -> None:
    """Never an order at NaN."""
    assert not PENNY_CLASS.is_valid(D(price))
    with pytest.raises(ValueError, match="not a price"):
        PENNY_CLASS.round(D(price), Direction.NEAREST)


@pytest.mark.parametrize(("name", "penny_class"), [("SPX", False), ("SPY", True), ("MOD", True)])
def test_every_recorded_quote_lies_on_its_grid(name: str, penny_class: bool) -> None:
    """Bids and asks of 21 sessions in 2026: an index, a fund, a share."""
    path = SHARED / "chains_cboe_2026" / f"{name}.parquet"
    if not path.exists():
        pytest.skip(f"recorded chains are not at {path}: set TT_SHARED_DATA")
    frame = pl.read_parquet(path, columns=["bid", "ask"])
    quotes = pl.concat([frame["bid"], frame["ask"]]).unique().to_list()
    grid = option_grid(name, penny_class=penny_class)
    assert len(quotes) > 1_000
    assert [each for each in quotes if not grid.is_valid(D(str(round(each, 2))))] == []
