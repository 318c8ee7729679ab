"""The pure core: legal moves, fills in any order, holdings."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.core import Execution, Holding, IllegalMoveError, advance, book, filled, require_legal
from schemas.orders import TERMINAL_STATES, TRANSITIONS, IntentState
from schemas.trade import Leg, OrderAction

SHORT, LONG = "SPY   270115P00600000", "SPY   270115P00595000"
LEGS = (
    Leg(occ_symbol=SHORT, action=OrderAction.SELL_TO_OPEN, quantity=1),
    Leg(occ_symbol=LONG, action=OrderAction.BUY_TO_OPEN, quantity=1),
)


def test_a_late_observation_moves_nothing() -> None:
    assert advance(IntentState.FILLED, IntentState.WORKING) is IntentState.FILLED
    assert advance(IntentState.WORKING, IntentState.FILLED) is IntentState.FILLED


def test_a_fill_that_comes_after_the_cancellation_still_counts() -> None:
    assert advance(IntentState.CANCELLED, IntentState.FILLED) is IntentState.FILLED


def test_an_illegal_command_is_refused() -> None:
    with pytest.raises(IllegalMoveError, match="denied to submitting"):
        require_legal(IntentState.DENIED, IntentState.SUBMITTING)


@given(st.permutations([IntentState.ACKED, IntentState.WORKING, IntentState.FILLED, IntentState.CANCELLED]))
def test_the_end_does_not_depend_on_the_order_of_observations(seen: list[IntentState]) -> None:
    state = IntentState.SUBMITTING
    for each in seen:
        state = advance(state, each)
    assert state is IntentState.FILLED


@given(st.lists(st.sampled_from(list(IntentState)), max_size=12))
def test_every_step_is_in_the_table(seen: list[IntentState]) -> None:
    states = [IntentState.APPROVED]
    for each in seen:
        states.append(advance(states[-1], each))
    assert all(before is after or after in TRANSITIONS[before] for before, after in pairwise(states))


def test_only_found_orders_leave_a_terminal_state() -> None:
    """Nothing but what the broker shows moves a finished intent."""
    for state in TERMINAL_STATES:
        assert not TRANSITIONS[state] & {IntentState.APPROVED, IntentState.SUBMITTING, IntentState.UNKNOWN}


@given(st.permutations([(SHORT, -1, "2.10"), (SHORT, -1, "2.00"), (LONG, 1, "1.00"), (LONG, 1, "1.10")]))
def test_fills_add_up_in_any_order(executions: list[tuple[str, int, str]]) -> None:
    found = filled(LEGS, [Execution(symbol, quantity, Decimal(price)) for symbol, quantity, price in executions])
    assert found.units == 2
    assert found.average_price == Decimal("1.0000")


def test_a_unit_counts_when_all_its_legs_have_traded() -> None:
    found = filled(LEGS, [Execution(SHORT, -1, Decimal("2.10"))])
    assert found.units == 0
    assert found.average_price is None


def test_a_holding_keeps_its_average_while_it_shrinks() -> None:
    grown = book(book(Holding(0, Decimal(0)), -2, Decimal("2.00")), -2, Decimal("3.00"))
    assert grown == Holding(-4, Decimal("2.5000"))
    assert book(grown, 1, Decimal("9.99")) == Holding(-3, Decimal("2.5000"))


def test_a_holding_that_turns_starts_at_the_new_price() -> None:
    assert book(Holding(-1, Decimal("2.00")), 3, Decimal("1.00")) == Holding(2, Decimal("1.00"))
    assert book(Holding(-1, Decimal("2.00")), 1, Decimal("1.00")) == Holding(0, Decimal(0))


@given(st.lists(st.integers(-5, 5).filter(bool), max_size=20))
def test_a_holding_is_the_sum_of_its_executions(quantities: list[int]) -> None:
    holding = Holding(0, Decimal(0))
    for quantity in quantities:
        holding = book(holding, quantity, Decimal("1.25"))
    assert holding.signed_quantity == sum(quantities)
