"""The state of an order is a function of the set of what was seen of it; fills add up in any order."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ledger.core import BACK, CORRECTED, BookedFill, Holding, filled, holding_of, standing
from ledger.observations import ENDED, SHOWN, History, Observation, Source, resolve
from schemas.orders import AT_BROKER, TERMINAL_STATES, TRANSITIONS, IntentState
from schemas.trade import Leg, OrderAction

SCALE = int(os.environ.get("TT_TEST_SCALE", "1"))
SHORT, LONG = "SPY   270115P00600000", "SPY   270115P00595000"
LEGS = (
    Leg(occ_symbol=SHORT, action=OrderAction.SELL_TO_OPEN, quantity=1),
    Leg(occ_symbol=LONG, action=OrderAction.BUY_TO_OPEN, quantity=1),
)
NOON = datetime(2026, 11, 24, 17, 0, tzinfo=UTC)
S = IntentState


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def seen(
    state: IntentState, seconds: float, source: Source = Source.STREAM, *, updated: float | None = None
) -> Observation:
    return Observation(state, source, after(seconds), after(seconds if updated is None else updated))


def asked(state: IntentState, seconds: float) -> Observation:
    return Observation(state, Source.JOURNAL, after(seconds))


def fill(
    number: int, symbol: str, signed: int, price: str, seconds: float = 0, corrects: str | None = None
) -> BookedFill:
    return BookedFill("17", symbol, f"f{number}", signed, Decimal(price), after(seconds), corrects)


shown = st.builds(
    Observation,
    st.sampled_from(sorted(SHOWN)),
    st.sampled_from([source for source in Source if source is not Source.JOURNAL]),
    st.integers(0, 9).map(after),
    st.none() | st.integers(0, 9).map(after),
)
own_acts = st.builds(
    Observation,
    st.sampled_from([S.CANCEL_PENDING, S.REPLACE_PENDING, S.WORKING]),
    st.just(Source.JOURNAL),
    st.integers(0, 9).map(after),
)


@settings(max_examples=300 * SCALE, deadline=None)
@given(st.lists(shown | own_acts, max_size=8), st.randoms())
def test_the_state_does_not_depend_on_the_order_of_observations(found: list[Observation], random: object) -> None:
    """I11: any order, and any repetition."""
    order = found + found[:3]
    random.shuffle(order)  # type: ignore[attr-defined]

    one = History(LEGS, 1, S.SUBMITTING)
    for each in found:
        one = one.seen(each)
    other = History(LEGS, 1, S.SUBMITTING)
    for each in order:
        other = other.seen(each)

    assert one == other
    assert one.state is other.state


@settings(max_examples=300 * SCALE, deadline=None)
@given(
    st.sampled_from([S.SUBMITTING, S.UNKNOWN, S.QUARANTINE, S.REJECTED, S.NOT_SENT, S.DEAD]),
    st.lists(shown, max_size=8),
)
def test_every_move_on_the_way_is_legal(own: IntentState, found: list[Observation]) -> None:
    """The trigger in the database refuses nothing that the pure function wants."""
    known, state = History(LEGS, 1, own), own
    for each in found:
        known = known.seen(each)
        assert known.state is state or known.state in TRANSITIONS[state], (state, known.state)
        state = known.state


def test_the_newest_word_of_the_broker_decides_and_the_older_is_kept() -> None:
    """A regression is stored, not applied."""
    known = History(LEGS, 1, S.SUBMITTING).seen(seen(S.WORKING, 5)).seen(seen(S.CANCEL_PENDING, 6, updated=2))
    assert known.state is S.WORKING
    assert len(known.observations) == 2
    assert known.observed_at == after(5)


def test_an_end_beats_what_still_works_and_a_fill_beats_the_end() -> None:
    assert resolve(S.SUBMITTING, [seen(S.CANCELLED, 3), seen(S.WORKING, 8)]) is S.CANCELLED
    assert resolve(S.SUBMITTING, [seen(S.FILLED, 2), seen(S.CANCELLED, 3), seen(S.WORKING, 8)]) is S.FILLED
    assert resolve(S.SUBMITTING, [seen(S.CANCELLED, 3), seen(S.BROKER_EXPIRED, 4)]) is S.BROKER_EXPIRED


def test_a_request_stands_until_the_order_is_seen_unchanged_after_it() -> None:
    """What was true before we asked says nothing about what came of it."""
    base = [seen(S.WORKING, 1), asked(S.CANCEL_PENDING, 5)]
    assert resolve(S.SUBMITTING, base) is S.CANCEL_PENDING
    # a list asked for before the request, and an old message that comes late
    assert resolve(S.SUBMITTING, [*base, seen(S.WORKING, 4, Source.REST, updated=1)]) is S.CANCEL_PENDING
    assert resolve(S.SUBMITTING, [*base, seen(S.WORKING, 9, updated=1)]) is S.CANCEL_PENDING
    # a list asked for afterwards: the broker refused
    assert resolve(S.SUBMITTING, [*base, seen(S.WORKING, 6, Source.REST, updated=1)]) is S.WORKING


def test_a_request_that_was_given_up_stands_no_more() -> None:
    known = [seen(S.WORKING, 1), asked(S.REPLACE_PENDING, 5), asked(S.WORKING, 6)]
    assert resolve(S.SUBMITTING, known) is S.WORKING


def test_all_units_filled_is_filled_whatever_the_status_says() -> None:
    """State comes from fills, not from the name of a status."""
    known = History(LEGS, 1, S.SUBMITTING).seen(seen(S.CANCELLED, 3))
    known = known.booked(fill(1, SHORT, -1, "2.00")).booked(fill(2, LONG, 1, "1.00"))
    assert known.state is S.FILLED
    assert known.standing.average_price == Decimal("1.0000")


def test_a_bust_takes_back_the_position_and_not_the_state() -> None:
    """I10: corrections are rows that compensate; nothing is rewritten."""
    rows = [fill(1, SHORT, -2, "2.00", 1), fill(2, SHORT, -1, "3.00", 2)]
    back = BookedFill("17", SHORT, "f1" + BACK, 2, Decimal("2.00"), after(9), "f1")
    new = BookedFill("17", SHORT, "f1" + CORRECTED, -2, Decimal("2.50"), after(1))
    assert holding_of(rows) == Holding(-3, Decimal("2.3333"))
    assert holding_of([*rows, back]) == Holding(-1, Decimal("3.00"))
    assert holding_of([new, back, *rows]) == Holding(-3, Decimal("2.6667"))
    known = History(LEGS[:1], 3, S.SUBMITTING, fills=frozenset([*rows, back, new]))
    assert (known.state, known.units) == (S.FILLED, 3)


@given(st.permutations([(1, -2, "2.00"), (2, -1, "2.60"), (3, 2, "1.10"), (4, 3, "0.90")]))
def test_a_holding_does_not_depend_on_the_order_in_which_fills_become_known(rows: list[tuple[int, int, str]]) -> None:
    """A close that becomes known before its opening leaves the same holding and the same average."""
    fills = [fill(number, SHORT, signed, price, number) for number, signed, price in rows]
    assert holding_of(fills) == Holding(2, Decimal("0.90"))


class OrderMachine(RuleBasedStateMachine):
    """A broker with one order of some units, a wire that repeats, delays and reorders, and our history of it."""

    @initialize(quantity=st.integers(1, 4), own=st.sampled_from([S.SUBMITTING, S.UNKNOWN, S.QUARANTINE]))
    def begin(self, quantity: int, own: IntentState) -> None:
        self.quantity, self.now = quantity, 0
        self.history = History(LEGS, quantity, own)
        self.status = S.ACKED
        self.left = {SHORT: quantity, LONG: quantity}
        self.truth: list[BookedFill] = []
        self.taken_back: set[str] = set()
        self.wire: list[Observation | BookedFill] = []
        self.states = [own]
        self.say()

    def say(self) -> None:
        """The broker sends its state and all fills again, as it does."""
        self.now += 1
        self.wire.append(seen(self.status, self.now))
        self.wire.extend(self.truth)

    @property
    def trades(self) -> bool:
        return self.status in AT_BROKER

    @rule()
    def says_it_again(self) -> None:
        self.say()

    @precondition(lambda self: self.trades)
    @rule(state=st.sampled_from([S.WORKING, S.CANCEL_PENDING, S.REPLACE_PENDING]))
    def works(self, state: IntentState) -> None:
        self.status = state
        self.say()

    @precondition(lambda self: self.trades)
    @rule(state=st.sampled_from(sorted(ENDED)))
    def ends(self, state: IntentState) -> None:
        self.status = state
        self.say()

    @precondition(lambda self: any(self.left.values()) and self.status not in (S.VENUE_REJECTED,))
    @rule(leg=st.sampled_from([SHORT, LONG]), contracts=st.integers(1, 3), price=st.integers(50, 300))
    def fills(self, leg: str, contracts: int, price: int) -> None:
        """Of one leg; the other may follow much later, and also after the order has ended."""
        contracts = min(contracts, self.left[leg])
        if not contracts:
            return
        self.left[leg] -= contracts
        signed = contracts if leg == LONG else -contracts
        self.now += 1
        self.truth.append(fill(len(self.truth), leg, signed, f"{price / 100:.2f}", self.now))
        if not any(self.left.values()):
            self.status = S.FILLED
        self.say()

    @precondition(lambda self: len(self.truth) > len(self.taken_back))
    @rule(data=st.data())
    def is_busted(self, data: st.DataObject) -> None:
        open_ = [each for each in self.truth if each.fill_id not in self.taken_back and each.corrects is None]
        if not open_:
            return
        gone = data.draw(st.sampled_from(open_))
        self.taken_back.add(gone.fill_id)
        back = BookedFill(
            "17", gone.occ_symbol, gone.fill_id + BACK, -gone.signed_quantity, gone.price, after(self.now), gone.fill_id
        )
        self.taken_back.add(back.fill_id)
        self.truth.append(back)
        self.wire.append(back)

    @precondition(lambda self: self.wire)
    @rule(data=st.data(), repeat=st.booleans())
    def arrives(self, data: st.DataObject, repeat: bool) -> None:
        """Any message of the wire, in any order, once or more often."""
        index = data.draw(st.integers(0, len(self.wire) - 1))
        message = self.wire[index] if repeat else self.wire.pop(index)
        if isinstance(message, Observation):
            self.history = self.history.seen(message)
        else:
            self.history = self.history.booked(message)
        self.states.append(self.history.state)

    @invariant()
    def moves_are_legal(self) -> None:
        if len(self.states) > 1:
            before, now = self.states[-2:]
            assert before is now or now in TRANSITIONS[before]

    @invariant()
    def no_more_is_filled_than_was_ordered(self) -> None:
        """I6."""
        for leg in (SHORT, LONG):
            traded = sum(
                abs(each.signed_quantity)
                for each in self.history.fills
                if each.occ_symbol == leg and each.corrects is None
            )
            assert traded <= self.quantity

    def teardown(self) -> None:
        """When everything has arrived, we know what the broker knows (I5), whatever the order was."""
        if not hasattr(self, "wire"):
            return
        for message in self.wire:
            self.history = (
                self.history.seen(message) if isinstance(message, Observation) else self.history.booked(message)
            )
        assert {each.key for each in self.history.fills} == {each.key for each in self.truth}
        if not any(self.left.values()):
            assert self.history.state is S.FILLED
        elif self.status in TERMINAL_STATES:
            assert self.history.state is self.status
        for leg in (SHORT, LONG):
            net = sum(each.signed_quantity for each in self.truth if each.occ_symbol == leg)
            assert holding_of([each for each in self.history.fills if each.occ_symbol == leg]).signed_quantity == net
        assert self.history.standing == filled(LEGS, [each.execution for each in standing(self.truth)])


OrderMachine.TestCase.settings = settings(max_examples=min(60 * SCALE, 20_000), stateful_step_count=50, deadline=None)
TestOrder = OrderMachine.TestCase
