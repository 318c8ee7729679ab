"""Adjusted contracts are worth what the unadjusted ones were, and are recognised."""

from __future__ import annotations

import os
from datetime import date
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optionmath.adjustments import (
    Contract,
    Deliverable,
    Deviation,
    cash_dividend,
    deviations,
    merger,
    spin_off,
    split,
    standard,
    stock_dividend,
    whole_shares,
)

SCALE = int(os.environ.get("TT_TEST_SCALE", "1"))

SHARED = Path(os.environ.get("TT_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data"))
D = Decimal
strikes = st.integers(2, 2000).map(lambda halves: D(halves) / 2)
prices = st.integers(100, 200_000).map(lambda cents: D(cents) / 100)


def value(contract: Contract, price: Decimal, *, is_call: bool = True) -> Decimal:
    return contract.intrinsic({"XYZ": price}, is_call=is_call) * contract.signed_quantity


@settings(max_examples=60 * SCALE, deadline=None)
@given(strikes, prices, st.integers(1, 12), st.integers(1, 12), st.booleans())
def test_a_split_keeps_the_exercise_value(strike: Decimal, price: Decimal, new: int, old: int, is_call: bool) -> None:
    """Before and after, but for the strike's rounding to the cent."""
    before = standard("XYZ", strike, 3)
    after = split(before, "XYZ", new=new, old=old)
    rounding = D("0.005") * after.multiplier * after.signed_quantity + D("1e-15")
    difference = value(after, price * old / new, is_call=is_call) - value(before, price, is_call=is_call)
    assert abs(difference) <= rounding


@settings(max_examples=60 * SCALE, deadline=None)
@given(strikes, prices, st.integers(1, 100), st.booleans())
def test_an_adjusting_special_dividend_keeps_the_exercise_value(
    strike: Decimal, price: Decimal, cents: int, is_call: bool
) -> None:
    """A strike lowered by the dividend meets a share lowered by it; too small a one changes nothing."""
    dividend = D(cents) / 100
    before = standard("XYZ", strike)
    after = cash_dividend(before, "XYZ", dividend, ordinary=False)
    if dividend < D("0.125"):
        assert after == before
    elif dividend < min(price, strike):
        assert value(after, price - dividend, is_call=is_call) == value(before, price, is_call=is_call)


def test_whole_splits_multiply_contracts() -> None:
    """Short 2 of strike 645, 7 for 1: short 14 of 92.14 for 100 shares each, same root."""
    assert split(standard("AAPL", D(645), -2), "AAPL", new=7) == standard("AAPL", D("92.14"), -14)


def test_fractional_splits_change_the_deliverable() -> None:
    """3 for 2 of strike 40: 26.67 for 150 shares, premium times 150, adjusted root."""
    after = split(standard("XYZ", D(40)), "XYZ", new=3, old=2)
    assert after == Contract("XYZ1", D("26.67"), Deliverable({"XYZ": D(150)}), D(150))
    assert stock_dividend(standard("XYZ", D(21)), "XYZ", D(5)).strike == D(20)
    assert stock_dividend(standard("XYZ", D(21)), "XYZ", D(5)).multiplier == D(105)


def test_reverse_splits_leave_strike_and_multiplier() -> None:
    """1 for 8 of strike 10: 12.5 shares for $1,000; the half share is paid in cash."""
    after = split(standard("XYZ", D(10)), "XYZ", new=1, old=8)
    assert after == Contract("XYZ1", D(10), Deliverable({"XYZ": D("12.5")}))
    assert whole_shares(after, "XYZ") == (12, D("0.5"))
    assert split(after, "XYZ", new=1, old=5).root == "XYZ2"


def test_ordinary_dividends_change_nothing_and_strikes_stay_above_zero() -> None:
    """Whatever their size; a special dividend above the strike leaves zero."""
    assert cash_dividend(standard("XYZ", D(10)), "XYZ", D(5), ordinary=True) == standard("XYZ", D(10))
    assert cash_dividend(standard("XYZ", D(3)), "XYZ", D(5), ordinary=False).strike == 0


def test_spin_offs_and_mergers_change_what_is_delivered() -> None:
    """0.25 child shares per share; 0.4 acquirer shares and $10 per share; one for one renames only."""
    child = spin_off(standard("XYZ", D(50)), "XYZ", "KID", D("0.25"))
    assert child == Contract("XYZ1", D(50), Deliverable({"XYZ": D(100), "KID": D(25)}))
    taken = merger(standard("XYZ", D(50)), "XYZ", acquirer="BIG", shares_per_share=D("0.4"), cash=D(10))
    assert taken == Contract("BIG1", D(50), Deliverable({"BIG": D(40)}, D(1000)))
    assert taken.intrinsic({"BIG": D(110)}, is_call=True) == 400
    assert taken.intrinsic({"BIG": D(90)}, is_call=False) == 400
    bought = merger(standard("XYZ", D(50)), "XYZ", acquirer="BIG", shares_per_share=D(0), cash=D(70))
    assert bought.deliverable == Deliverable({}, D(7000))
    same = merger(standard("XYZ", D(50)), "XYZ", acquirer="BIG", shares_per_share=D(1), cash=D(0))
    assert same == standard("BIG", D(50))


@pytest.mark.parametrize(
    ("underlying", "root", "shares", "deliverable", "expected"),
    [
        ("AAPL", "AAPL", 100, None, ()),
        ("SPX", "SPXW", 100, None, ()),
        ("BRK/B", "BRKB", 100, Deliverable({"BRK/B": D(100)}), ()),
        ("BRK.B", "BRKB", 100, Deliverable({"BRKB": D(100)}), ()),
        ("AAPL", "AAPL7", 10, Deliverable({"AAPL": D(10)}), (Deviation.ROOT_DIGIT, Deviation.SHARES)),
        ("XYZ", "XYZ", 100, Deliverable({"XYZ": D(12)}, D(5)), (Deviation.SHARES, Deviation.CASH)),
        ("XYZ", "ABC", 100, Deliverable({"XYZ": D(100)}), (Deviation.ROOT,)),
        ("XYZ", "XYZ", 100, Deliverable({"XYZ": D(100), "KID": D(25)}), (Deviation.OTHER_SHARES,)),
    ],
)  # fmt: skip
def test_non_standard_contracts_are_recognised(
    underlying: str, root: str, shares: int, deliverable: Deliverable | None, expected: tuple[Deviation, ...]
) -> None:
    """By root, digit, shares per contract, cash and other companies' shares; index roots and classes are normal."""
    assert deviations(underlying, root, D(shares), deliverable) == expected


def test_every_adjusted_contract_is_recognised() -> None:
    """Nothing that these rules produce passes for standard, but whole splits."""
    plain = standard("XYZ", D(50))
    for each in (
        split(plain, "XYZ", new=3, old=2),
        split(plain, "XYZ", new=1, old=10),
        spin_off(plain, "XYZ", "KID", D("0.5")),
    ):
        assert deviations("XYZ", each.root, each.deliverable.shares["XYZ"], each.deliverable)
    after = split(plain, "XYZ", new=2)
    assert not deviations("XYZ", after.root, after.deliverable.shares["XYZ"], after.deliverable)


def test_nonsense_is_refused() -> None:
    """Splits into nothing, dividends of nothing."""
    with pytest.raises(ValueError, match="0 for 1"):
        split(standard("XYZ", D(1)), "XYZ", new=0)
    with pytest.raises(ValueError, match="must be positive"):
        cash_dividend(standard("XYZ", D(1)), "XYZ", D(0), ordinary=False)
    with pytest.raises(ValueError, match="must be positive"):
        stock_dividend(standard("XYZ", D(1)), "XYZ", D(-5))


def test_apples_split_of_9_june_2014_as_it_was_traded() -> None:
    """Strikes and open interest of the recorded chains before and after 7 for 1."""
    folder = SHARED / "lean_options"
    if not folder.exists():
        pytest.skip(f"recorded chains are not at {folder}: set TT_SHARED_DATA")
    own = (pl.col("symbol") == "AAPL") & (pl.col("expiry") == date(2014, 6, 21)) & (pl.col("right") == "C")
    quotes = pl.read_parquet(folder / "daily_quote.parquet").filter(own)
    interest = pl.read_parquet(folder / "daily_openinterest.parquet").filter(own)

    def at(frame: pl.DataFrame, day: int, column: str) -> dict[Decimal, float]:
        rows = frame.filter(pl.col("ts").dt.date() == date(2014, 6, day)).select("strike", column).rows()
        return {D(str(round(strike, 2))): amount for strike, amount in rows}

    before, after = at(quotes, 6, "ask_c"), at(quotes, 9, "ask_c")
    adjusted = {strike: split(standard("AAPL", strike), "AAPL", new=7) for strike in before}
    assert {each.strike for each in adjusted.values()} <= set(after)
    old, new = at(interest, 9, "open_interest"), at(interest, 10, "open_interest")
    ratios = [new[k] / old[s] for s, each in adjusted.items() if (k := each.strike) in new and old[s] > 2_000]
    assert len(ratios) >= 5
    assert sorted(ratios)[len(ratios) // 2] == pytest.approx(adjusted[D(645)].signed_quantity, rel=0.1)
