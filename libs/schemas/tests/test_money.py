"""Money is exact, signed credit-positive, and rounded only in a stated direction."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from schemas.money import Money, price_from_float, to_cent, to_tick

prices = st.decimals(-1000, 1000, places=4, allow_nan=False)
ticks = st.sampled_from([Decimal("0.01"), Decimal("0.05"), Decimal("0.1")])


@given(prices, ticks)
def test_rounding_in_our_favour_never_gives_less_credit(price: Decimal, tick: Decimal) -> None:
    """In our favour asks for at least as much; the other way concedes less than one tick."""
    better = to_tick(price, tick, in_our_favour=True)
    worse = to_tick(price, tick, in_our_favour=False)
    assert worse <= price <= better
    assert better - worse in (0, tick)
    assert to_tick(better, tick, in_our_favour=False) == better


def test_a_debit_is_rounded_towards_paying_less_when_in_our_favour() -> None:
    """-1.234 is a debit of 1.234: in our favour we pay 1.23."""
    assert to_tick(Decimal("-1.234"), Decimal("0.01"), in_our_favour=True) == Decimal("-1.23")


@pytest.mark.parametrize("bad", [1.1, float("nan"), True, "NaN", "Infinity", "abc"])
def test_inexact_or_non_finite_money_is_refused(bad: object) -> None:
    """A JSON float never becomes money."""
    with pytest.raises(ValidationError):
        TypeAdapter(Money).validate_python(bad)


def test_money_is_a_string_in_json_and_keeps_its_zeros() -> None:
    """Readers see what was written."""
    assert TypeAdapter(Money).dump_json(Decimal("1.10")) == b'"1.10"'


def test_column_price_converts_to_the_decimal_a_person_would_write() -> None:
    """0.1 + 0.2 as float64 is 0.30000000000000004; as a price it is 0.3."""
    assert price_from_float(0.1 + 0.2) == Decimal("0.3")
    with pytest.raises(ValueError, match="not a price"):
        price_from_float(float("nan"))


def test_cent_rounding_goes_against_us() -> None:
    """A receipt is rounded down, a payment up."""
    assert to_cent(Decimal("1.239")) == Decimal("1.23")
    assert to_cent(Decimal("-1.231")) == Decimal("-1.24")
