"""A market day: what is fixed while it lasts, and what every contract is worth and quoted at in any bucket of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property

import numpy as np
import numpy.typing as npt

from tastysim.corporate_events import CorporateEvents, Dividend, Split
from tastysim.counters import Floats
from tastysim.listed import RATE, Listed
from tastysim.model_hours import BUCKETS, BUCKETS_A_SECOND, Hours, day_at
from tastysim.model_listing import Listing
from tastysim.model_paths import AFTER_CLOSE, BEFORE_OPEN, Paths, reaction_day
from tastysim.model_quotes import Book, Makers, Turns
from tastysim.model_schedule import Schedule
from tastysim.model_surface import Cells, Values, cells, smile_of, values

Integers = npt.NDArray[np.int64]
_AHEAD = timedelta(days=420)
_NEVER = 2**60
_SHOCK = 0.002
"""Jump, as a logarithm, after which all quotes are made anew."""
_YEAR_SECONDS, _CHUNK = 31_536_000, 100_000


@dataclass(frozen=True, slots=True)
class Carry:
    """Events between a day and each expiration."""

    paid: Floats
    """Present value of the dividends, $ a share, by cell."""
    reports: Integers
    """Reports that the expiration spans at the start of the day, by cell."""
    month_reports: Integers
    """The same for 30 days, by underlying."""
    reported: Integers
    """Bucket of this day at which a report comes, by underlying; far away where none does."""


class Day:
    """Values and quotes of one listing on one day of the path. `paths` must be on that day."""

    def __init__(
        self, seed: int, listed: tuple[Listed, ...], listing: Listing, paths: Paths, schedule: Schedule, hours: Hours
    ) -> None:
        self.listed, self.listing, self.its = listed, listing, paths.block.its
        self._seed, self._paths = seed, paths
        self._skew = np.array([each.skew for each in listed])
        self._curvature = np.array([each.curvature for each in listed])
        self._makers = Makers.of(listed)
        self._underlying = listing.cell_underlying
        self.american = np.array([not each.is_index for each in listed])
        self.carry = _carry(listed, listing, paths, schedule, hours)
        self._spans = self.carry.reports > 0
        self._level, self._move = paths.level, paths.earnings_move**2

    @cached_property
    def turns(self) -> Turns:
        """When contracts are requoted, by their distance from the price at the start of the day."""
        listing, start = self.listing, self.its.start
        spot, volatility = self._paths.at(np.array([start * BUCKETS]))
        ahead = np.maximum(listing.cell_end - start * 60, 3600) / _YEAR_SECONDS
        width = volatility[0][self._underlying] * np.sqrt(ahead)
        distance = np.abs(np.log(listing.strike / spot[0][self._underlying][listing.cell])) / width[listing.cell]
        return Turns(listing.ids, distance)

    @cached_property
    def shocks(self) -> list[tuple[int, npt.NDArray[np.bool_]]]:
        """Buckets of this day in which prices jump, ascending, and which underlyings do."""
        block = self._paths.block
        found = [
            ((self.its.start + minute) * BUCKETS + offset, np.abs(size) > _SHOCK)
            for minute, (offset, size) in sorted(block.jumps.items())
        ]
        return [(bucket, moved) for bucket, moved in found if moved.any()]

    def requoted(self, rows: Integers, bucket: int | Integers) -> Integers:
        """The last bucket at or before `bucket` in which each row was requoted."""
        found = self.turns.last(rows, bucket)
        own = self._underlying[self.listing.cell[rows]] if self.shocks else rows
        for shock, moved in self.shocks:
            found = np.where(moved[own] & (shock <= bucket), np.maximum(found, shock), found)
        return found

    def due(self, bucket: int) -> Integers:
        """Rows that are requoted in a bucket."""
        rows = self.turns.due(bucket)
        for shock, moved in self.shocks:
            if shock == bucket:
                rows = np.union1d(rows, np.nonzero(moved[self._underlying[self.listing.cell]])[0])
        return rows

    def prices(self, bucket: int) -> Floats:
        """What every contract is worth in a bucket, $."""
        every = np.arange(len(self.listing))
        parts = [self.fair(every[first : first + _CHUNK], bucket)[0].price for first in range(0, len(every), _CHUNK)]
        return np.concatenate(parts)

    def _state(self, spot: Floats, volatility: Floats, bucket: Integers, cell: Integers, own: Integers) -> Cells:
        """Cells at instants: all arguments of one length."""
        level = self._level[own]
        years = (self.listing.cell_end[cell] - bucket / BUCKETS_A_SECOND) / _YEAR_SECONDS
        passed = self._spans[cell] & (bucket >= self.carry.reported[own])
        reports = (self.carry.reports[cell] - passed) * self._move[own]
        rho, eta = smile_of(volatility, level, self._skew[own], self._curvature[own])
        return cells(spot, volatility, level, rho, eta, years, reports, self.carry.paid[cell])

    def fair(self, rows: Integers, bucket: int | Integers) -> tuple[Values, Book]:
        """What contracts are worth and how they are quoted in a bucket, or each in its own; expired ones are not."""
        listing = self.listing
        cell = listing.cell[rows].astype(np.int64)
        own = self._underlying[cell]
        if isinstance(bucket, int):
            buckets = np.full(len(rows), bucket, dtype=np.int64)
            spot, volatility = (each[0] for each in self._paths.at(buckets[:1])) if len(rows) else (self._level,) * 2
            every = np.arange(len(self._underlying))
            state = self._state(
                spot[self._underlying], volatility[self._underlying], np.full(len(every), bucket), every,
                self._underlying,
            )  # fmt: skip
            pick, stress = cell, (volatility / self._level)[own]
        else:
            buckets = bucket
            times, which = np.unique(buckets, return_inverse=True)
            spots, volatilities = self._paths.at(times)
            spot, volatility = spots[which, own], volatilities[which, own]
            state = self._state(spot, volatility, buckets, cell, own)
            pick, stress = np.arange(len(rows)), volatility / self._level[own]
        found = values(state, pick, listing.strike_of(rows), listing.is_call[rows], self.american[own])
        book = self._makers.quote(listing.ids[rows], buckets, own, found.price, found.vega, stress)
        over = buckets >= listing.cell_end[cell] * BUCKETS_A_SECOND
        if over.any():
            for column in (book.bid, book.ask):
                column[over] = np.nan
            for column in (book.bid_size, book.ask_size):
                column[over] = 0.0
        return found, book

    def month_reports(self, bucket: int) -> Floats:
        """Variance of the reports of the next 30 days, by underlying."""
        left = self.carry.month_reports - (bucket >= self.carry.reported)
        return np.asarray(np.maximum(left, 0) * self._move)


def _carry(listed: tuple[Listed, ...], listing: Listing, paths: Paths, schedule: Schedule, hours: Hours) -> Carry:
    its, index = paths.block.its, {each.symbol: number for number, each in enumerate(listed)}
    events = schedule.between(its.day - timedelta(days=10), its.day + _AHEAD)
    days = np.array([cell.expiration.toordinal() for cell in listing.cells], dtype=np.int64)
    paid = _dividends_before(listed, listing, events, its.day, days)
    reports, month = np.zeros(len(days), dtype=np.int64), np.zeros(len(listed), dtype=np.int64)
    reported = np.full(len(listed), _NEVER, dtype=np.int64)
    limit = its.day.toordinal() + 30
    for report in events.earnings:
        name = index[report.symbol]
        known = report_instant(report.day, report.before_open, hours)
        if known <= its.start:
            continue
        reports[(listing.cell_underlying == name) & (listing.cell_end > known * 60)] += 1
        month[name] += report.day.toordinal() <= limit
        if known < its.end:
            minute = known - its.start
            offset = paths.block.jumps[minute][0] if minute in paths.block.jumps else 0
            reported[name] = known * BUCKETS + offset
    return Carry(paid, reports, month, reported)


def _dividends_before(
    listed: tuple[Listed, ...], listing: Listing, events: CorporateEvents, today: date, days: Integers
) -> Floats:
    """Present value by cell. An index pays what its fund pays, in the ratio of their prices."""
    price, paid = {each.symbol: each.price for each in listed}, np.zeros(len(days))
    ahead: dict[str, list[Dividend]] = {}
    for dividend in events.dividends:
        if dividend.ex > today:
            ahead.setdefault(dividend.symbol, []).append(dividend)
    for name, each in enumerate(listed):
        payer = each.follows or each.symbol
        own = listing.cell_underlying == name
        for dividend in ahead.get(payer, ()):
            share = price[each.symbol] / price[payer] * _undone(events.splits, payer, today, dividend.ex)
            present = float(dividend.amount) * np.exp(-RATE * (dividend.ex - today).days / 365)
            paid[own & (days >= dividend.ex.toordinal())] += share * present
    return paid


def _undone(splits: tuple[Split, ...], symbol: str, today: date, ex: date) -> float:
    """Factor that turns an amount per share after coming splits into one per share of today."""
    ratios = (each.new / each.old for each in splits if each.symbol == symbol and today < each.effective <= ex)
    return float(np.prod(list(ratios)))


def report_instant(day: date, before_open: bool, hours: Hours) -> int:
    """Minute since the epoch at which a report moves the price."""
    shown = day if hours is Hours.ALWAYS else reaction_day(day, before_open)
    its = day_at(shown, hours)
    assert its is not None
    return its.start + ((BEFORE_OPEN if before_open else AFTER_CLOSE) if hours is Hours.ALWAYS else 0)


def splits_of(schedule: Schedule, listed: tuple[Listed, ...], day: date) -> Mapping[int, tuple[int, int]]:
    """New and old shares by underlying of the splits of a day."""
    names = {each.symbol: number for number, each in enumerate(listed)}
    return {
        names[each.symbol]: (each.new, each.old) for each in schedule.between(day, day).splits if each.symbol in names
    }
