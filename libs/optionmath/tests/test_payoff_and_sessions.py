"""Payoffs are exact."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from optionmath.payoff import PayoffLeg, analyse, value_at

legs = st.lists(
    st.builds(PayoffLeg, st.booleans(), st.integers(1, 200).map(Decimal), st.integers(-3, 3).filter(bool)),
    min_size=1,
    max_size=4,
)
credits = st.integers(-500, 500).map(lambda cents: Decimal(cents) / 100)


@given(legs, credits, st.lists(st.integers(0, 1000).map(Decimal), min_size=1, max_size=30))
def test_no_price_ever_loses_more_or_earns_less_than_stated(
    position: list[PayoffLeg], credit: Decimal, prices: list[Decimal]
) -> None:
    """max_loss and max_profit bound the P&L over all prices; None is unlimited."""
    found = analyse(position, credit)
    for each in prices:
        result = value_at(position, credit, each)
        assert found.max_loss is None or result >= -found.max_loss
        assert found.max_profit is None or result <= found.max_profit


@given(legs, credits)
def test_pnl_is_zero_at_every_breakeven(position: list[PayoffLeg], credit: Decimal) -> None:
    """Breakevens are where nothing is won or lost."""
    assert all(
        abs(value_at(position, credit, each)) < Decimal("1e-20") for each in analyse(position, credit).breakevens
    )


def test_put_credit_spread_by_hand() -> None:
    """Sell 95, buy 90, credit 1.30: loses 3.70, earns 1.30, breaks even at 93.70."""
    found = analyse([PayoffLeg(False, Decimal(95), -1), PayoffLeg(False, Decimal(90), 1)], Decimal("1.30"))
    assert (found.max_loss, found.max_profit, found.breakevens) == (
        Decimal("3.70"),
        Decimal("1.30"),
        (Decimal("93.70"),),
    )


def test_short_call_has_unlimited_risk() -> None:
    """Nothing bounds it above."""
    assert analyse([PayoffLeg(True, Decimal(100), -1)], Decimal(1)).max_loss is None
