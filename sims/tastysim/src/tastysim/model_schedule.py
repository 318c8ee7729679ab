"""What companies will do, from the seed alone: earnings each quarter, dividends each quarter, now and then a split.

Dates do not depend on prices, so that the future is known to whoever asks, as it is announced in life.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from decimal import Decimal
from functools import lru_cache

from optionmath.sessions import session_on_or_before
from tastysim.corporate_events import CorporateEvents, Dividend, Earnings, Split
from tastysim.counters import word
from tastysim.listed import Listed

SPLIT_CHANCE = 0.02
"""Of a company whose share cost at least $150 at the start, in a year."""
_SPLIT_FROM = 150.0
_RATIOS = (2, 2, 4, 5)
_DECLARED, _PAYABLE = timedelta(days=24), timedelta(days=12)


class Schedule:
    """Events of every listed underlying. `extra` adds to what the seed gives; nothing happens before `first`."""

    def __init__(self, seed: int, listed: Sequence[Listed], first: date, extra: CorporateEvents | None = None) -> None:
        self._seed, self._first = seed, first
        self._listed = {each.symbol: each for each in listed}
        self._extra = extra or CorporateEvents()
        self._of_year = lru_cache(maxsize=16)(self._year)

    def between(self, first: date, last: date) -> CorporateEvents:
        """Dividends by ex-date, splits by effective day, earnings by day; both days included."""
        years = [self._of_year(year) for year in range(first.year, last.year + 1)] + [self._extra]
        dividends = [each for year in years for each in year.dividends if first <= each.ex <= last]
        splits = [each for year in years for each in year.splits if max(first, self._first) <= each.effective <= last]
        earnings = [each for year in years for each in year.earnings if first <= each.day <= last]
        return CorporateEvents(
            tuple(sorted(dividends, key=lambda each: (each.ex, each.symbol))),
            tuple(sorted(splits, key=lambda each: (each.effective, each.symbol))),
            tuple(sorted(earnings, key=lambda each: (each.day, each.symbol))),
        )

    def _year(self, year: int) -> CorporateEvents:
        dividends: list[Dividend] = []
        splits: list[Split] = []
        earnings: list[Earnings] = []
        for each in self._listed.values():
            if each.is_company:
                earnings += self._earnings(each, year)
                splits += self._splits(each, year)
            if each.dividend_yield > 0:
                dividends += self._dividends(each, year)
        return CorporateEvents(tuple(dividends), tuple(splits), tuple(earnings))

    def _earnings(self, each: Listed, year: int) -> Iterator[Earnings]:
        """Four a year, 91 days apart, in the weeks of a company's own cycle; always at the same time of day."""
        phase = word(self._seed, "earnings", each.symbol)
        cycle = phase % 8  # most report in the weeks after a calendar quarter
        offset = 20 + phase // 8 % 25 if cycle < 6 else 50 + phase // 8 % 25
        for quarter in range(4):
            day = session_on_or_before(date(year, 1, 1) + timedelta(days=91 * quarter + offset))
            yield Earnings(each.symbol, day, phase // 1024 % 5 < 2)

    def _dividends(self, each: Listed, year: int) -> Iterator[Dividend]:
        phase = word(self._seed, "dividend", each.symbol)
        offset = 75 + phase % 12 if each.is_etf else 30 + phase % 50
        for quarter in range(4):
            ex = session_on_or_before(date(year, 1, 1) + timedelta(days=91 * quarter + offset))
            amount = Decimal(str(round(each.dividend_yield * each.price / 4, 2))) / self.ratio(each.symbol, ex)
            yield Dividend(
                each.symbol, amount.quantize(Decimal("0.0001")).normalize() + 0,
                session_on_or_before(ex - _DECLARED), ex, ex, session_on_or_before(ex + _PAYABLE),
            )  # fmt: skip

    def _splits(self, each: Listed, year: int) -> Iterator[Split]:
        draw = word(self._seed, "split", each.symbol, year)
        if each.price >= _SPLIT_FROM and draw % 10_000 < SPLIT_CHANCE * 10_000:
            day = session_on_or_before(date(year, 1, 10) + timedelta(days=draw // 10_000 % 350))
            yield Split(each.symbol, day, _RATIOS[draw // 2**40 % len(_RATIOS)], 1)

    def ratio(self, symbol: str, day: date) -> Decimal:
        """Shares that one share of the start has become by the open of a day."""
        found = Decimal(1)
        each = self._listed[symbol]
        own = [split for year in range(self._first.year, day.year + 1) for split in self._splits(each, year)]
        for split in (*own, *(split for split in self._extra.splits if split.symbol == symbol)):
            if self._first <= split.effective <= day and each.is_company:
                found = found * split.new / split.old
        return found
