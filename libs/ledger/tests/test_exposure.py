"""No interleaving of proposals takes more than a limit allows, and a reservation ends only with a proof."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field, replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.exposure import Holdings, Outstanding, Refusal, Reservation, ReservationBook, judge
from ledger.limits import DEFAULTS, SPECS, HardLimits
from schemas.orders import TERMINAL_STATES, IntentState

SCALE = int(os.environ.get("TT_TEST_SCALE", "1"))
PROPOSALS, WORKERS = 1_000_000 * SCALE, 4
D = Decimal
FLAT = Holdings(D(100_000), D(0), D(0), D(100_000))
LIMITS = HardLimits({**DEFAULTS.values, "daily_trades_max": D(10**9), "daily_trades_automated_max": D(10**9)})
WISHES = [
    Reservation(D(loss), D(loss + 37), symbol, f"{symbol} {month}", automated)
    for loss in (150, 480, 500, 900, 1_990, 2_000, 2_001)
    for symbol in ("SPY", "QQQ", "IWM", "GLD", "TLT", "XLF", "XLE", "SLV", "DIA", "JPM", "BAC", "AAPL")
    for month in (1, 2)
    for automated in (True, False)
]
ENDS = [IntentState.REJECTED, IntentState.CANCELLED, IntentState.DEAD, IntentState.NOT_SENT, IntentState.BROKER_EXPIRED]


def wish(**changes: object) -> Reservation:
    return replace(Reservation(D(400), D(400), "SPY", "SPY 1"), **changes)  # type: ignore[arg-type]


def breached(book: ReservationBook) -> str:
    """The first limit that the book stands beyond, reckoned anew from its rows; "" for none."""
    open_, held = book.open.values(), book.held
    net_liq, limits = held.net_liq, book.limits.values
    assert net_liq is not None
    assert held.max_loss is not None
    assert held.buying_power_used is not None
    assert held.buying_power_free is not None
    loss, power = sum(each.max_loss for each in open_), sum(each.buying_power for each in open_)
    shares = {
        "exposure_max_pct": held.max_loss + loss,
        "open_order_value_max_pct": loss,
        "buying_power_used_max_pct": held.buying_power_used + power,
        "underlying_max_pct": max(
            (
                held.max_loss_of.get(symbol, D(0))
                + sum(each.max_loss for each in open_ if each.underlying_symbol == symbol)
                for symbol in {each.underlying_symbol for each in open_}
            ),
            default=D(0),
        ),
    }
    for name, amount in shares.items():
        if 100 * amount > limits[name] * net_liq:
            return f"{name}: {amount}"
    if open_ and 100 * (held.buying_power_free - power) < limits["cash_reserve_min_pct"] * net_liq:
        return "cash_reserve_min_pct"
    structures = held.structures | {each.structure for each in open_}
    return f"positions_max: {len(structures)}" if len(structures) > limits["positions_max"] else ""


@dataclass
class Desk:
    """Workers that propose at once: each judges in one step and takes in another, with others in between."""

    book: ReservationBook
    random: random.Random
    locks: bool = True
    judged: dict[int, tuple[Reservation, Refusal | None]] = field(default_factory=dict)
    owner: int | None = None
    proposals: int = 0
    taken: int = 0
    resets: int = 0

    def step(self, worker: int) -> None:
        """Whatever the worker does next; it waits while another holds the lock."""
        book = self.book
        if worker not in self.judged:
            if self.locks and self.owner is not None:
                return
            self.owner = worker
            wanted = WISHES[int(self.random.random() * len(WISHES))]
            self.judged[worker] = wanted, judge(wanted, book.held, book.outstanding, book.limits)
            self.proposals += 1
            return
        wanted, refusal = self.judged.pop(worker)
        self.owner = None
        if refusal is None:
            self.taken += 1
            if self.locks:
                assert book.reserve(str(self.proposals), wanted) is None
            else:
                book.open[f"{self.proposals}-{worker}"] = wanted
                book._add(wanted, 1)
        if book.open and self.random.random() < 0.3:
            self.ends()

    def ends(self) -> None:
        """The oldest order ends, one in eight by a fill; a book full of holdings starts anew."""
        book, which = self.book, next(iter(self.book.open))
        filled = self.random.random() < 0.125
        book.release(which, IntentState.FILLED if filled else self.random.choice(ENDS))
        if len(book.held.structures) >= 15:
            self.resets += 1
            book.held = FLAT


def test_a_million_proposals_at_once_breach_no_limit() -> None:
    """I8 at every permit: 4 workers in random interleavings, orders that end, fill, or are refused in between."""
    desk = Desk(ReservationBook(FLAT, LIMITS), random.Random(7))
    draw = desk.random.random
    checked = 0
    while desk.proposals < PROPOSALS:
        before = desk.taken
        desk.step(int(draw() * WORKERS))
        if desk.taken != before and (checked := checked + 1) % 16 == 0:
            assert not breached(desk.book), f"after {desk.proposals} proposals: {breached(desk.book)}"
    assert desk.taken > PROPOSALS // 10
    assert desk.resets > 100


def test_without_the_lock_the_same_workers_breach_a_limit() -> None:
    """The test above can fail: judge first, take later, and others in between."""
    desk = Desk(ReservationBook(FLAT, LIMITS), random.Random(7), locks=False)
    for _ in range(20_000):
        desk.step(desk.random.randrange(WORKERS))
        if breached(desk.book):
            return
    pytest.fail("no breach found without the lock")


@pytest.mark.parametrize(
    ("limit", "wanted", "held", "others"),
    [
        ("trade_risk_max_pct", wish(max_loss=D("2000.01")), FLAT, Outstanding()),
        ("trade_size_max_pct", wish(buying_power=D("10000.01")), FLAT, Outstanding()),
        ("exposure_max_pct", wish(), replace(FLAT, max_loss=D("74600.01")), Outstanding()),
        ("underlying_max_pct", wish(), replace(FLAT, max_loss_of={"SPY": D("19600.01")}), Outstanding()),
        ("open_order_value_max_pct", wish(), FLAT, Outstanding(max_loss=D("9600.01"))),
        ("buying_power_used_max_pct", wish(), replace(FLAT, buying_power_used=D("49600.01")), Outstanding()),
        ("cash_reserve_min_pct", wish(), replace(FLAT, buying_power_free=D("25399.99")), Outstanding()),
        ("positions_max", wish(), replace(FLAT, structures=frozenset(map(str, range(20)))), Outstanding()),
        ("daily_trades_max", wish(automated=False), FLAT, Outstanding(trades_today=50)),
        ("daily_trades_automated_max", wish(), FLAT, Outstanding(automated_today=20)),
        ("exposure_max_pct", wish(), replace(FLAT, max_loss=None), Outstanding()),
        ("trade_risk_max_pct", wish(), replace(FLAT, net_liq=None), Outstanding()),
        ("cash_reserve_min_pct", wish(), replace(FLAT, buying_power_free=None), Outstanding()),
    ],
)
def test_each_limit_refuses_by_name(limit: str, wanted: Reservation, held: Holdings, others: Outstanding) -> None:
    """A cent beyond each limit, and each missing fact."""
    refusal = judge(wanted, held, others, DEFAULTS)
    assert refusal is not None
    assert refusal.limit == limit


def test_what_stands_exactly_at_every_limit_may_be_taken() -> None:
    held = Holdings(D(100_000), D("73000"), D("48000"), D("27000"), {"SPY": D("18000")}, frozenset(map(str, range(19))))
    wanted = Reservation(D(2_000), D(2_000), "SPY", "SPY 1")
    assert judge(wanted, held, Outstanding(trades_today=49, automated_today=19), DEFAULTS) is None


@pytest.mark.parametrize("name", SPECS)
def test_a_missing_limit_denies(name: str) -> None:
    """Of those that are judged here; the others are judged where they are used."""
    limits = HardLimits({key: value for key, value in DEFAULTS.values.items() if key != name})
    refusal = judge(wish(), FLAT, Outstanding(), limits)
    judged_here = judge(wish(), FLAT, Outstanding(), HardLimits({})) is not None and name in {
        "trade_risk_max_pct", "trade_size_max_pct", "exposure_max_pct", "underlying_max_pct",
        "open_order_value_max_pct", "buying_power_used_max_pct", "cash_reserve_min_pct", "positions_max",
        "daily_trades_max", "daily_trades_automated_max",
    }  # fmt: skip
    assert (refusal is not None and refusal.limit == name) is judged_here


@pytest.mark.parametrize("state", sorted(set(IntentState) - TERMINAL_STATES))
def test_a_reservation_ends_only_with_a_proof(state: IntentState) -> None:
    """I9: unknown and quarantined orders keep theirs."""
    book = ReservationBook(FLAT, DEFAULTS)
    assert book.reserve("one", wish()) is None
    with pytest.raises(ValueError, match="keeps its reservation"):
        book.release("one", state)


@settings(max_examples=200 * SCALE, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(WISHES), st.booleans()), max_size=30))
def test_the_sums_are_those_of_the_rows(events: list[tuple[Reservation, bool]]) -> None:
    """Taking and giving back in any order leaves what the open rows add up to."""
    book = ReservationBook(FLAT, LIMITS)
    for number, (wanted, give_back) in enumerate(events):
        book.reserve(str(number), wanted)
        if give_back and book.open:
            book.release(next(iter(book.open)), IntentState.CANCELLED)
    found = book.outstanding
    assert found.max_loss == sum(each.max_loss for each in book.open.values())
    assert found.buying_power == sum(each.buying_power for each in book.open.values())
    assert set(found.structures) == {each.structure for each in book.open.values()}
    for symbol, amount in found.max_loss_of.items():
        assert amount == sum(each.max_loss for each in book.open.values() if each.underlying_symbol == symbol)
