"""The seeded market: what it shows at a time is a function of the seed, the start and that time alone.

Steps only move the clock. Whatever steps lead to a time, the columns there are the same bit for bit (all but `steps`,
`quoted_at`, `traded_at` and `trades`, which speak of the last step); the quantum is a bucket of 250 ms of market time.
A market can so be made at any time after its start, at the cost of a few milliseconds for each day between.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from optionmath.sessions import closes_at
from tastysim import model_hours, model_interest
from tastysim.corporate_events import CorporateEvents
from tastysim.counters import Floats
from tastysim.listed import Listed, Universe, split
from tastysim.model_bars import MinuteBars, of_block, of_day
from tastysim.model_columns import Columns
from tastysim.model_day import Day, splits_of
from tastysim.model_history import DailyHistory, History
from tastysim.model_hours import BUCKETS, Hours, TradingDay, bucket_of
from tastysim.model_listing import Expirations, Listing, Options, Rows, expirations, first_listing, kept_rows, rolled
from tastysim.model_paths import Paths
from tastysim.model_schedule import Schedule
from tastysim.model_surface import month_volatility
from tastysim.model_trades import Flow, Trades, joined, of_contracts, of_shares

Integers = npt.NDArray[np.int64]
_CHUNK = 100_000
_MINUTES_TOGETHER = 12


class ModelMarket:
    """The seeded market. Every column and figure that `tastysim.market.Market` names, and more."""

    def __init__(
        self, seed: int, start: datetime, *, now: datetime | None = None, universe: Universe | None = None,
        hours: Hours = Hours.ALWAYS, extra: CorporateEvents | None = None, prints: bool = True,
    ) -> None:  # fmt: skip
        """Prices are the listed ones at `start`; the market stands at `now`, or at the start.

        extra: events beside those of the seed. prints: whether anybody trades; without it `trades` is empty, volumes
        of contracts do not grow, quotes are the same, and long steps take a tenth of the time. Raises ValueError when
        now is before start.
        """
        if now is not None and now < start:
            raise ValueError(f"a market that starts at {start} has nothing to show at {now}")
        self.seed, self.start, self.hours, self._prints = seed, start, hours, prints
        self._universe = universe or Universe()
        self.listed: tuple[Listed, ...] = self._universe.listed
        self._names = {each.symbol: index for index, each in enumerate(self.listed)}
        self.now, self.steps, self.listing = start, 0, 0
        self._shares_of: dict[int, Trades] = {}
        self.trades = Trades.none()
        self._parts: list[Trades] = []
        first = model_hours.day_before_or_at(start, hours)
        self._birth = min(max(bucket_of(start), first.start * BUCKETS), first.end * BUCKETS)
        self.schedule = Schedule(seed, self.listed, first.day, extra)
        self._paths = Paths(seed, self.listed, self.schedule, hours, first, self._birth // BUCKETS)
        self._history = History(seed, self.listed, self._paths, first.day)
        spot, _ = self._paths.at(np.array([self._birth]))
        self._open_day(first_listing(self._universe, first.day, spot[0]), interest=None)
        self._show_day(None)
        self.is_open = model_hours.is_open(start, hours)
        if now is not None:
            self._go(now)

    def _open_day(self, listing: Listing, interest: Floats | None, previous: Floats | None = None) -> None:
        """Take a listing for the day that the path is on; interest: contracts open in it, None at the start."""
        its = self._paths.block.its
        self.contracts = listing
        self.day = Day(self.seed, self.listed, listing, self._paths, self.schedule, self.hours)
        spot, _ = self._paths.at(np.array([max(self._birth, its.start * BUCKETS)]))
        crowds = model_interest.crowd(listing, self.listed, spot[0])
        self._traded = model_interest.day_volume(crowds, listing.ids, its.day.toordinal())
        self._interest = model_interest.first_interest(crowds, listing.ids) if interest is None else interest
        self._previous = previous

    def _show_day(self, target: int | None) -> None:
        """Make the columns of the day and everything in them as of its first bucket."""
        listing, its, size = self.contracts, self._paths.block.its, len(self.contracts)
        self._columns = columns = Columns(size)
        self._bucket = max(self._birth, its.start * BUCKETS)
        columns.open_interest[:] = self._interest
        columns.last_size[:] = 1.0
        if self.hours is Hours.ALWAYS:  # a day without a night between has traded already when it begins
            columns.volume[:] = self._traded
        previous = np.round(self.day.prices(self._bucket), 2) if self._previous is None else self._previous
        columns.previous[:] = columns.last[:] = previous
        self._flow = Flow(self.seed, self._traded, its.minutes)
        self.rows, self.options = listing.rows, Options(listing)
        self.row_of, self.row_of_streamer = Rows(listing, streamer=False), Rows(listing, streamer=True)
        self.strike, self.is_call = listing.strike, listing.is_call
        self.expiration, self.expirations = Expirations(listing), expirations(its.day)
        self._expose(columns)
        self.previous_close = self._history.last_close()
        every = np.arange(size)
        moment = self._bucket if target is None else target
        last = np.maximum(self.day.requoted(every, moment), self._bucket)
        self._requote(every, last)
        self._trade(self._bucket, moment)
        self._bucket = moment
        self._expire(0, moment)
        self._show_underlyings()

    def _expose(self, columns: Columns) -> None:
        self.bid, self.ask, self.bid_size, self.ask_size = columns.bid, columns.ask, columns.bid_size, columns.ask_size
        self.theoretical, self.iv, self.greeks = columns.theoretical, columns.iv, columns.greeks
        self.open_interest, self.volume = columns.open_interest, columns.volume
        self.last, self.last_size, self.previous_close_of = columns.last, columns.last_size, columns.previous
        self.day_open, self.day_high, self.day_low = columns.day_open, columns.day_high, columns.day_low
        self.quoted_at, self.traded_at = columns.quoted_at, columns.traded_at

    def step(self, seconds: float) -> None:
        """Let market time pass. `quoted_at` and `traded_at` say in which step a contract last changed."""
        self.steps += 1
        self._go(self.now + timedelta(seconds=seconds))

    def _go(self, now: datetime) -> None:
        self.now, target = now, bucket_of(now)
        self._parts = []
        following = model_hours.day_after(self._paths.block.its.day, self.hours)
        rolled_over = False
        while following.start * BUCKETS <= target:
            later = model_hours.day_after(following.day, self.hours)
            self._roll(following, last=later.start * BUCKETS > target)
            following, rolled_over = later, True
        inside = min(target, self._paths.block.its.end * BUCKETS)
        if rolled_over:
            self.listing += 1
            self._show_day(inside)
        elif inside > self._bucket:
            self._move(inside)
        self.trades = joined(self._parts)
        self.is_open = model_hours.is_open(now, self.hours)

    def _move(self, target: int) -> None:
        """Go on within the day."""
        before, self._bucket = self._bucket, target
        if target == before + 1:
            rows = self.day.due(target)
            self._put(rows, target)
        else:
            every = np.arange(len(self.contracts))
            last = self.day.requoted(every, target)
            rows = np.nonzero(last > before)[0]
            self._requote(rows, last[rows])
        self._trade(before, target)
        self._expire(before, target)
        self._show_underlyings()

    def _put(self, rows: Integers, bucket: int | Integers) -> None:
        found, book = self.day.fair(rows, bucket)
        self._columns.requote(rows, found, book, self.steps)

    def _requote(self, rows: Integers, buckets: Integers) -> None:
        for first in range(0, len(rows), _CHUNK):
            self._put(rows[first : first + _CHUNK], buckets[first : first + _CHUNK])

    def _expire(self, before: int, target: int) -> None:
        """Contracts whose time ended between two buckets, the second included."""
        listing, its = self.contracts, self._paths.block.its
        ends = listing.cell_end * model_hours.BUCKETS_A_SECOND
        over = np.nonzero((ends > before) & (ends <= target))[0]
        if not len(over) or its.close is None:
            return
        rows = np.concatenate([np.arange(listing.first[each], listing.first[each + 1]) for each in over])
        closing, _ = self._paths.at(np.array([its.start + its.close]) * BUCKETS)
        gain = closing[0][listing.cell_underlying[listing.cell[rows]]] - listing.strike_of(rows)
        self._columns.expire(rows, np.maximum(np.where(listing.is_call[rows], gain, -gain), 0.0), self.steps)

    def _roll(self, following: TradingDay, *, last: bool) -> None:
        """End the day and begin the next one. last: it is the one that will be shown."""
        its = self._paths.block.its
        self._history.append(its.day, self._bar(), self._years(its), self._paths.official_close())
        splits = splits_of(self.schedule, self.listed, following.day)
        before, interest = self.contracts, self._interest
        interest = model_interest.after_night(interest, self._traded, before.ids, its.day.toordinal())
        closing = self.day.prices(its.end * BUCKETS) if last else np.full(len(before), np.nan)
        self._paths.advance(following)
        self.listed = tuple(
            split(each, splits[index][0] / splits[index][1]) if index in splits else each
            for index, each in enumerate(self.listed)
        )
        for name, (new, old) in splits.items():
            self._history.divide(name, new / old)
        spot, _ = self._paths.at(np.array([following.start * BUCKETS]))
        after = rolled(before, self._universe, self.listed, following.day, spot[0], splits)
        here, there = kept_rows(before, after, splits)
        ratio = np.array([splits.get(index, (1, 1)) for index in range(len(self.listed))], dtype=np.float64)
        ratio = (ratio[:, 0] / ratio[:, 1])[after.cell_underlying[after.cell[there]]]
        opened, shown = np.zeros(len(after)), np.full(len(after), np.nan)
        opened[there] = np.round(interest[here] * ratio)
        shown[there] = np.round(closing[here] / ratio, 2)
        self._open_day(after, opened, shown)

    def _years(self, its: TradingDay) -> float:
        return 1 / 252 if self.hours is Hours.EXCHANGE else its.minutes / 525_600

    def _bar(self) -> Floats:
        """Open, high, low, close, volume and volatility of the day that ends."""
        block = self._paths.block
        opened, high, low = self._paths.day_range(block.its.end * BUCKETS)
        volatility = self._month_volatility(block.its.end * BUCKETS)
        official = self._paths.official_close()
        close = np.exp(block.log_spot[-1]) if official is None else official
        return np.stack([opened, high, low, close, block.volume[-1], volatility])

    def _month_volatility(self, bucket: int) -> Floats:
        _, volatility = self._paths.at(np.array([bucket]))
        return month_volatility(volatility[0], self._paths.level, self.day.month_reports(bucket))

    def _show_underlyings(self) -> None:
        bucket, its = self._bucket, self._paths.block.its
        spot, _ = self._paths.at(np.array([bucket]))
        self.spot, self.volatility = spot[0], self._month_volatility(bucket)
        self.day_open_spot, self.day_high_spot, self.day_low_spot = self._paths.day_range(bucket)
        whole = bucket // BUCKETS - its.start
        self.day_volume = self._paths.block.volume[min(whole, its.minutes)].copy()
        if whole < its.minutes:
            found = self._shares(whole).within(0, bucket)
            self.day_volume += np.bincount(found.underlying, found.size, len(self.listed))
        self.last_spot, self.last_size_spot = self._last_shares(whole)

    def _last_shares(self, minute: int) -> tuple[Floats, Floats]:
        """Price and size of the last trade of each underlying, of this minute or the one before it."""
        price, size = np.round(self.spot, 2), np.full(len(self.listed), 100.0)
        for each in range(max(0, minute - 1), min(minute, self._paths.block.its.minutes - 1) + 1):
            seen = self._shares(each).within(0, self._bucket)
            price[seen.underlying], size[seen.underlying] = seen.price, seen.size
        return price, size

    def _shares(self, minute: int) -> Trades:
        """Trades of shares in a minute of this day."""
        block = self._paths.block
        at = block.its.start + minute
        if at not in self._shares_of:
            while len(self._shares_of) > 2:
                self._shares_of.pop(next(iter(self._shares_of)))
            shares = self._flow.shares(at, block.volume[minute + 1] - block.volume[minute])
            spot, _ = self._paths.at(np.arange(at * BUCKETS, (at + 1) * BUCKETS))
            self._shares_of[at] = of_shares(shares, at, spot)
        return self._shares_of[at]

    def _trade(self, before: int, target: int) -> None:
        """Trades after one bucket up to another. `trades` keeps the last minutes of a long step."""
        if not self._prints:
            return
        its = self._paths.block.its
        first, last = (before + 1) // BUCKETS, min(target // BUCKETS, its.end - 1)
        for start in range(first, last + 1, _MINUTES_TOGETHER):
            minutes = range(start, min(start + _MINUTES_TOGETHER, last + 1))
            found = self._contract_trades(minutes, before, target)
            if minutes.stop == last + 1:
                shares = [self._shares(each - its.start).within(before, target) for each in minutes]
                self._parts = [found, *shares]

    def _contract_trades(self, minutes: range, before: int, target: int) -> Trades:
        prints = [self._flow.contracts(minute) for minute in minutes]
        found = of_contracts(prints, minutes.start, self.contracts.cell_underlying[self.contracts.cell]).within(
            before, target
        )
        bucket = found.time_ms // 250
        ends = self.contracts.cell_end[self.contracts.cell[found.row]] * model_hours.BUCKETS_A_SECOND
        found = found.where(bucket < ends)
        if target == before + 1:
            bid, ask = self._columns.bid[found.row], self._columns.ask[found.row]
        else:
            birth = max(self._birth, self._paths.block.its.start * BUCKETS)
            quoted = np.maximum(self.day.requoted(found.row, found.time_ms // 250), birth)
            _, book = self.day.fair(found.row, quoted)
            bid, ask = book.bid, book.ask
        found = found.priced(bid, ask)
        self._columns.trade(found.row, found.price, found.size, self.steps)
        return found

    # what is asked of it

    def index_of(self, symbol: str) -> int | None:
        """Index of an underlying by its symbol."""
        return self._names.get(symbol)

    def spot_quote(self, index: int) -> tuple[float, float]:
        """Bid and ask of an underlying, a cent or two around its price; the less it trades the wider."""
        middle = float(self.spot[index])
        half = (0.01 if middle < 300 else 0.02) * max(1, self.listed[index].tier)
        return round(middle - half, 2), round(middle + half, 2)

    def events(self, first: date, last: date) -> CorporateEvents:
        """Dividends by ex-date, splits by effective day and earnings by day, `first` and `last` included."""
        return self.schedule.between(first, last)

    def settlement(self, symbol: str, day: date) -> Decimal | None:
        """Official closing price of an underlying on a day that has ended, on the cent; None when it is not known."""
        index, closing = self.index_of(symbol), closes_at(day)
        if index is None or closing is None or self.now < closing:
            return None
        if day == self._paths.block.its.day:
            found = self._paths.official_close()
            value = None if found is None else float(found[index])
        else:
            value = self._history.close(index, day)
        return None if value is None else Decimal(str(round(value, 2)))

    def next_open(self) -> datetime:
        """Now when the market is open, else when it opens next."""
        return model_hours.next_open(self.now, self.hours)

    def market_day(self) -> date:
        """The day whose listing and volumes are shown."""
        return self._paths.block.its.day

    def history(self, symbol: str) -> DailyHistory | None:
        """Daily bars and implied volatilities up to yesterday; a year of them before the start. None: not listed."""
        index = self.index_of(symbol)
        return None if index is None else self._history.of(index)

    def minute_bars(self, symbol: str, day: date | None = None) -> MinuteBars | None:
        """Whole minutes of a day, the running one without `day`, $ of today's shares; a year before the start as well.

        None for what is not listed, and for a day that has none.
        """
        index, its = self.index_of(symbol), self._paths.block.its
        if index is None:
            return None
        wanted = day or its.day
        if wanted > its.day:
            return None
        if (block := self._paths.day(wanted)) is not None:
            bars = of_block(block, index, self._bucket if wanted == its.day else block.its.end * BUCKETS)
            ratio = self.schedule.ratio(symbol, its.day) / self.schedule.ratio(symbol, wanted)
            return bars.divided(float(ratio))
        bar = self._history.bar(index, wanted)
        return None if bar is None else of_day(self.seed, symbol, wanted, bar)
