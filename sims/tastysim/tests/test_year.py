"""A year of seeded trading in one process, and books that are kept once more from its history alone."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from optionmath.sessions import NEW_YORK, closes_at, market_date, next_session, opens_at, sessions_between
from tastysim.brokerage import Brokerage
from tastysim.corporate_events import CorporateEvents, Split
from tastysim.listed import INDEX, UNIVERSE, Universe
from tastysim.market import ModelMarket
from tastysim.model_hours import Hours
from tastysim.random_trader import Chain, RandomTrader
from tastysim.requirements import LEVELS
from tastysim.store import Store
from tastysim.terms import AssignmentRules, InterestRates, Terms
from testkit.independent_books import Books, Disagreement, Rates, is_option, moment_of
from testkit.independent_margin import Leg, Rules, tied_up

SCALE = int(os.environ.get("TT_TEST_SCALE", "1"))
NAMES = ("AAPL", "BAC", "XLE", "TLT")
START, END = date(2026, 1, 5), date(2026, 12, 31)
SPLITS = (Split("AAPL", date(2026, 5, 14), 4, 1), Split("BAC", date(2026, 8, 20), 1, 5))
TERMS = Terms(
    interest=InterestRates(credit=Decimal("0.03"), debit=Decimal("0.10")),
    assignment=AssignmentRules(parity_share=Decimal("0.1"), parity_value=Decimal("0.10")),
)
_STEPS_A_DAY = 2 * SCALE


def moments(first: date, last: date) -> Iterator[datetime]:
    """Some times of every session, its end and its evening."""
    for day in sessions_between(first, last):
        opening, closing = opens_at(day), closes_at(day)
        assert opening is not None
        assert closing is not None
        part = (closing - opening - timedelta(minutes=2)) / _STEPS_A_DAY
        yield from (opening + timedelta(minutes=1) + n * part for n in range(_STEPS_A_DAY))
        yield closing + timedelta(minutes=16)
        yield closing + timedelta(minutes=91)


@dataclass
class Year:
    """The simulator and those who trade in it."""

    folder: Path
    seed: int = 3
    until: date = END
    closes: dict[tuple[str, date], Decimal] = field(default_factory=dict)
    realized: dict[str, Decimal] = field(default_factory=dict)
    checkpoints: list[tuple[int, dict[str, dict[str, Any]]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        listed = tuple(each for each in UNIVERSE if each.symbol in NAMES)
        start = datetime.combine(START, time(9, 31), NEW_YORK).astimezone(UTC)
        self.market = ModelMarket(
            self.seed, start, universe=Universe((*listed, INDEX), strikes=17), hours=Hours.EXCHANGE,
            extra=CorporateEvents((), SPLITS), prints=False,
        )  # fmt: skip
        self.brokerage = Brokerage(self.market, Store(self.folder), "5WT00001", 250_000, terms=TERMS)
        cash = self.brokerage.open(150_000, "Cash")
        spreads = self.brokerage.open(40_000, "Margin")
        spreads.set_flags({"options-level": LEVELS[2]})
        for _ in range(SCALE):
            self.brokerage.open(60_000, "Margin")
        assert cash.margin_or_cash == "Cash"
        chain = Chain(self.market)
        self.traders = [
            RandomTrader(broker, chain, random.Random(f"{self.seed} {number}"), (*NAMES, "XSP"), 1 / SCALE)
            for number, broker in self.brokerage.brokers.items()
        ]

    def run(self) -> None:
        month = START.month
        for at in moments(START, self.until):
            if market_date(at).month != month:
                month = market_date(at).month
                self._month_begins()
            seconds = (at - self.market.now).total_seconds()
            if seconds > 0:
                self.market.step(seconds)
            self.brokerage.step(self.market.now)
            with self.brokerage.store.batch():
                if self.market.is_open:
                    for trader in self.traders:
                        trader.act()
            self._note()
        self._checkpoint()

    def _month_begins(self) -> None:
        self._checkpoint()
        for broker in self.brokerage.brokers.values():
            broker.deposit(Decimal("1234.56"), self.market.now)

    def _note(self) -> None:
        """Closes and what the day has realized, while they can be read."""
        day = market_date(self.market.now)
        for each in self.market.listed:
            if (each.symbol, day) not in self.closes:
                known = self.market.settlement(each.symbol, day)
                if known is not None:
                    self.closes[each.symbol, day] = known
        for broker in self.brokerage.brokers.values():
            gains = sum((Decimal(each) for name, each in broker.realized.items() if name != "day"), Decimal(0))
            self.realized[f"{broker.account} {broker.realized['day']}"] = gains

    def _checkpoint(self) -> None:
        """What the simulator says of its accounts, after so many events."""
        told: dict[str, dict[str, Any]] = {}
        for number, broker in self.brokerage.brokers.items():
            gains = sum((each for key, each in self.realized.items() if key.startswith(number)), Decimal(0))
            told[number] = {
                "cash": broker.cash, "positions": dict(broker.positions), "gains": gains,
                "transactions": sum(
                    (Decimal(row["net-value"]) * (-1 if row["net-value-effect"] == "Debit" else 1)
                     for row in broker.store.rows("transactions", number)), Decimal(0)),
                "names": {name: each.tied_up for name, each in broker.margins().items()},
                "marks": {symbol: broker.mark(symbol) for symbol in broker.positions},
                "spots": {name: each.price for name, each in broker.margins().items()},
            }  # fmt: skip
        self.checkpoints.append((len(self.brokerage.store.history()), told))


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> Year:
    """Run once for all tests here."""
    found = Year(tmp_path_factory.mktemp("year"))
    found.run()
    return found


def books_of(year: Year, number: str) -> Books:
    """Empty books of an account."""
    started = datetime.combine(START, time(9, 31), NEW_YORK)
    rates = Rates(TERMS.interest.credit, TERMS.interest.debit)
    return Books(number, rates, lambda name, day: year.closes.get((name, day)), started)


def audited(year: Year) -> Iterator[tuple[str, Books, dict[str, Any]]]:
    """Every account at every checkpoint: its books and what the simulator said."""
    books = {number: books_of(year, number) for number in year.brokerage.brokers}
    history, done = year.brokerage.store.history(), 0
    for count, told in year.checkpoints:
        for event in history[done:count]:
            for each in books.values():
                each.read(event)
        done = count
        for number, each in books.items():
            yield number, each, told[number]


@pytest.mark.slow
@pytest.mark.timeout(120 * SCALE)
def test_cash_positions_and_gains_are_those_of_independent_books(year: Year) -> None:
    """At every month end, to the cent: nothing the simulator did is wrong by its own history."""
    seen: dict[str, int] = {}
    for number, books, told in audited(year):
        assert told["cash"] == books.cash == told["transactions"], number
        assert {symbol: count for symbol, (count, _) in told["positions"].items()} == {
            symbol: count for symbol, (count, _) in books.positions.items()
        }  # fmt: skip
        for symbol, (_, average) in told["positions"].items():
            assert abs(average - books.positions[symbol][1]) < Decimal("1e-9"), symbol
        assert abs(told["gains"] - books.gains) < Decimal("0.005"), number
        for what, count in books.counts.items():
            seen[what] = max(count, seen.get(what, 0))
    for what in ("filled", "expiration", "exercise", "assignment", "cash settled assignment", "dividend", "split",
                 "interest", "deposit"):  # fmt: skip
        assert seen.get(what, 0) > 0, f"the year had no {what}"
    assert len(year.checkpoints) == 12


@pytest.mark.slow
def test_every_dividend_reached_who_held(year: Year) -> None:
    """Of each announced dividend: the shares at the close before its ex-date, long and short."""
    announced = year.market.events(next_session(START), END).dividends
    assert len(announced) > 8
    for number, broker in year.brokerage.brokers.items():
        books = books_of(year, number)
        due = sorted(((_evening_before(each.ex), each) for each in announced), key=lambda pair: pair[0])
        expected: dict[str, str] = {}
        for event in year.brokerage.store.history():
            while due and moment_of(event) > due[0][0]:
                _expect(expected, books, due.pop(0)[1])
            books.read(event)
        for _, each in due:
            _expect(expected, books, each)
        assert {key: row["shares"] for key, row in broker.holdings.dividends.items()} == expected


def _evening_before(ex: date) -> datetime:
    day = max(each for each in sessions_between(ex - timedelta(days=7), ex - timedelta(days=1)))
    closing = closes_at(day)
    assert closing is not None
    return closing + timedelta(minutes=90)


def _expect(expected: dict[str, str], books: Books, dividend: Any) -> None:
    shares = books.positions.get(dividend.symbol, (0, Decimal(0)))[0]
    if shares:
        expected[f"{dividend.symbol} {dividend.ex.isoformat()}"] = str(shares)


@pytest.mark.slow
def test_margin_is_the_least_over_every_pairing(year: Year) -> None:
    """Buying power tied up in each name at every month end, against every pairing tried out."""
    tried = passed = 0
    for number, books, told in audited(year):
        cash_account = year.brokerage.broker(number).margin_or_cash == "Cash"
        for name, amount in told["names"].items():
            legs, shares = [], 0
            for symbol, (count, _) in told["positions"].items():
                if books.name(symbol) != name:
                    continue
                if not is_option(symbol):
                    shares = count
                    continue
                option = books.option(symbol)
                legs.append(
                    Leg(option.is_call, float(option.strike), option.expiration, count, float(told["marks"][symbol]),
                        float(option.multiplier), float(option.shares))
                )  # fmt: skip
            rules = Rules(cash_account, 0.25 if name == "XSP" else 0.20)
            own = tied_up(legs, shares, float(told["spots"][name]), rules)
            if own is None:
                passed += 1
                continue
            tried += 1
            assert abs(float(amount) - own) < 0.01, (number, name)
    assert tried > 60
    assert passed < tried / 4


@pytest.mark.slow
def test_the_year_can_be_read_day_by_day(year: Year) -> None:
    """Net liquidating value by the minute, balances of every session, no contract held past its end, no broken link."""
    brokerage = year.brokerage
    for number, broker in brokerage.brokers.items():
        rows = brokerage.net_liq(number, 0, 10**10)
        assert len(rows) == 250 * (_STEPS_A_DAY + 2)
        assert len(brokerage.snapshots(number, "EOD")) >= 248
        held = [broker.contracts.of(symbol) for symbol in broker.positions if is_option(symbol)]
        assert all(each.ends_at > year.market.now for each in held)
    assert brokerage.store.first_broken_link() is None


@pytest.mark.slow
def test_the_same_seed_gives_the_same_year(year: Year, tmp_path: Path) -> None:
    """Its first weeks once more, from nothing: event by event the same."""
    again = Year(tmp_path, until=date(2026, 2, 13))
    again.run()
    events = again.brokerage.store.history()
    assert len(events) > 100
    assert events == year.brokerage.store.history()[: len(events)]


@pytest.mark.slow
@pytest.mark.parametrize("what", ["filled", "dividend", "interest", "assignment", "dividend entitled"])
def test_a_wrong_number_in_the_history_is_noticed(year: Year, what: str) -> None:
    """One cent, one share or one contract more in one event of a year: the books disagree."""
    history = year.brokerage.store.history()
    wrong = next(n for n, each in enumerate(history) if each["what"] == what)
    number = history[wrong]["account-number"]
    for name in ("amount", "shares", "quantity", "fills"):
        value = history[wrong].get(name)
        if isinstance(value, list):
            value[0]["fill-price"] = str(Decimal(value[0]["fill-price"]) + Decimal("0.01"))
        elif value is not None:
            history[wrong][name] = str(Decimal(value) + (1 if name != "amount" else Decimal("0.01")))
    books = books_of(year, number)
    try:
        for event in history:
            books.read(event)
    except Disagreement:
        return
    assert books.cash != year.brokerage.broker(number).cash
