"""Prices and volatilities of all underlyings: nodes each market minute, bridges inside it, a pure function of time.

Return of an underlying over a minute of dt years, with z market, y its sector, e its own (all standard normal):

    r = (μ − ½s²) dt + β s_M √dt z + s_S √dt y + s_I √dt e + jumps,   s² = (f V)²,   f = 0.85

V is its implied volatility, so realised variance is on average f² of the implied: a premium that sellers earn.
Volatilities are exponentials of Ornstein–Uhlenbeck processes (Scott 1987), one of the market and one of its own:
ln V = ln L + b x + o, with dx = −κ x dt + ν dW and corr(dW, z) = −0.7 (the leverage effect, Black 1976). Jumps are
compound Poisson (Merton 1976), compensated in μ; they raise volatility. Reports move a price by a normal amount in one
jump. Dividends and splits change the price between two days. Inside a minute prices are Brownian bridges
between the nodes, kept inside the minute's extremes, which are drawn from the law of a bridge's maximum (Karatzas and
Shreve, section 4.3), so that the high of a day is known without walking through it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt

from optionmath.sessions import is_session, next_session
from tastysim.counters import Floats, stream
from tastysim.listed import RATE, Listed
from tastysim.model_hours import BUCKETS, Hours, TradingDay
from tastysim.model_schedule import Schedule

REALISED = 0.85
"""Realised over implied volatility, on average."""
MARKET_VOLATILITY, REVERSION = 0.15, 6.0
EARNINGS_MOVE = 0.16
"""Standard deviation of the move that is implied at a report, as a share of the volatility a year."""
_EQUITY_PREMIUM = 0.03
_MARKET_NU, _OWN_NU, _LEVERAGE, _OWN_LEVERAGE = 1.1, 0.6, -0.7, -0.3
_SECTOR_SHARE, _OWN_FLOOR = 0.35, 0.10
_LOW, _HIGH = -1.0, 1.4
"""Bounds of ln(V / L)."""
_MARKET_JUMPS, _MARKET_JUMP, _OWN_JUMPS, _OWN_JUMP = 2.5, (-0.018, 0.015), 3.0, (-0.004, 0.045)
"""A year; mean and standard deviation of the logarithm."""
_JUMP_RAISES = 4.0
"""Rise of ln V for a jump of 1."""
_MINUTES_HELD = 30
BEFORE_OPEN, AFTER_CLOSE = 8 * 60, 16 * 60 + 30
"""Minutes of the day at which reports come when the market has no hours."""


@dataclass(frozen=True, slots=True)
class Block:
    """A day of nodes. M minutes, n underlyings."""

    its: TradingDay
    log_spot: Floats
    """(M + 1, n)."""
    log_volatility: Floats
    """(M + 1, n) of the implied volatility without events."""
    deviation: Floats
    """(M, 3, n): standard deviation of the minute's return by the market, the sector and its own."""
    jumps: dict[int, tuple[int, Floats]]
    """Minute → bucket inside it at which prices jump, and by how much each (n)."""
    high: Floats
    """(M, n) logarithms."""
    low: Floats
    volume: Floats
    """(M + 1, n) shares traded since the day began."""
    market_state: float
    own_state: Floats
    gap: Floats
    """(n) logarithm of the move between the day before and the first node."""


class Paths:
    """The path from the first day on; only forwards, a day at a time, but any instant inside the day."""

    def __init__(
        self, seed: int, listed: Sequence[Listed], schedule: Schedule, hours: Hours, first: TradingDay, start: int
    ) -> None:
        """start: the minute at which every price is the listed one."""
        self._seed, self._listed, self._schedule, self._hours = seed, listed, schedule, hours
        self._index = {each.symbol: index for index, each in enumerate(listed)}
        self.level = np.array([each.volatility for each in listed])
        self._beta = np.array([each.beta for each in listed])
        sectors = sorted({each.sector for each in listed})
        self._sector = np.array([sectors.index(each.sector) for each in listed])
        self._sectors = len(sectors)
        diversified = np.array([not each.is_company for each in listed])
        self._sector_share = np.where(diversified, 0.15, _SECTOR_SHARE)
        self._own_jumps = np.where(diversified, 0.0, _OWN_JUMPS)
        self._response = np.clip(0.4 + 0.6 * np.abs(self._beta), 0.3, 1.1)
        self.earnings_move = np.where(diversified, 0.0, EARNINGS_MOVE * self.level)
        self.leader = np.array([self._index.get(each.follows, index) for index, each in enumerate(listed)])
        """Whose path each takes: its own, or its fund's."""
        dollars = np.array([_DOLLARS_A_DAY[min(each.tier, 3)] for each in listed])
        price = np.array([each.price for each in listed])
        self.usual_volume = dollars / price
        self.block = self._grown(first, np.log(price), 0.0, np.zeros(len(listed)))
        at = min(max(start - first.start, 0), first.minutes)
        self._raised = np.log(price) - self.block.log_spot[at]
        _shift(self.block, self._raised)
        self._minutes: dict[int, Floats] = {}
        self._begun = {first.day: (first, np.log(price), 0.0, np.zeros(len(listed)))}
        self._again: Block | None = None

    def day(self, day: date) -> Block | None:
        """This day or an earlier one since the start, grown again from where it began; None for any other."""
        if day == self.block.its.day:
            return self.block
        if day not in self._begun:
            return None
        if self._again is None or self._again.its.day != day:
            self._again = self._grown(*self._begun[day])
            if day == next(iter(self._begun)):
                _shift(self._again, self._raised)
        return self._again

    def advance(self, following: TradingDay) -> None:
        """Go on to the next day."""
        last = self.block
        began = following, last.log_spot[-1].copy(), last.market_state, last.own_state
        self._begun[following.day] = began
        self.block = self._grown(*began)
        self._minutes = {}

    def _grown(self, its: TradingDay, before: Floats, market: float, own: Floats) -> Block:
        count, minutes = len(self.level), its.minutes
        draw = stream(self._seed, "path", its.day.toordinal())
        dt = np.concatenate([[its.gap], its.years(self._hours)])
        z, y, e = (draw.standard_normal((minutes + 1, width)) for width in (1, self._sectors, count))
        market_jumps, own_jumps = self._jumps(draw, dt)
        shaken = market_jumps[:, None] * self._beta + own_jumps
        x = _reverting(
            market, dt, _mixed(_LEVERAGE, z[:, 0], draw.standard_normal(minutes + 1)) * _MARKET_NU,
            _JUMP_RAISES * np.abs(market_jumps),
        )  # fmt: skip
        o = _reverting(
            own, dt, _mixed(_OWN_LEVERAGE, e, draw.standard_normal((minutes + 1, count))) * _OWN_NU,
            _JUMP_RAISES / 2 * np.abs(own_jumps),
        )  # fmt: skip
        relative = np.clip(self._response * x[:, None] + o, _LOW, _HIGH)
        log_volatility = np.log(self.level) + relative
        deviation, drift = self._scales(x[:-1], np.exp(log_volatility[:-1]), dt)
        moves = drift + deviation[:, 0] * z + deviation[:, 1] * y[:, self._sector] + deviation[:, 2] * e
        reported = self._reports(its, draw)
        gap = moves[0] + shaken[0] + reported.pop(-1, np.zeros(count)) + self._corporate(its.day, before)
        for minute, move in reported.items():
            shaken[minute + 1] += move
        moves, shaken, deviation, gap = (each[..., self.leader] for each in (moves, shaken, deviation, gap))
        log_volatility = log_volatility[:, self.leader]
        log_spot = np.empty((minutes + 1, count))
        log_spot[0] = before + gap
        log_spot[1:] = log_spot[0] + np.cumsum(moves[1:] + shaken[1:], axis=0)
        shaken = shaken[1:]
        jumps = {
            int(minute): (int(draw.integers(1, BUCKETS)), shaken[minute].copy())
            for minute in np.nonzero(shaken.any(axis=1))[0]
        }
        variance = (deviation[1:] ** 2).sum(axis=1)
        high, low = _extremes(log_spot, shaken, variance, draw)
        apart = log_spot[0] - log_spot[0, self.leader]
        high, low = high[:, self.leader] + apart, low[:, self.leader] + apart
        volume = self._volumes(its, dt[1:], draw)
        return Block(
            its, log_spot, log_volatility[:-1], deviation[1:], jumps, high, low, volume, float(x[-1]), o[-1], gap
        )

    def _scales(self, x: Floats, volatility: Floats, dt: Floats) -> tuple[Floats, Floats]:
        """Deviations by factor (m, 3, n) and the drift (m, n) of each interval."""
        total = (REALISED * volatility) ** 2
        market = self._beta * (REALISED * MARKET_VOLATILITY * np.exp(x))[:, None]
        jumps = self._own_jumps * (_OWN_JUMP[0] ** 2 + _OWN_JUMP[1] ** 2)
        rest = np.maximum(total - market**2 - jumps, _OWN_FLOOR**2 * total)
        parts = np.stack([market, np.sqrt(self._sector_share * rest), np.sqrt((1 - self._sector_share) * rest)], axis=1)
        compensation = _MARKET_JUMPS * (
            np.exp(self._beta * _MARKET_JUMP[0] + (self._beta * _MARKET_JUMP[1]) ** 2 / 2) - 1
        ) + self._own_jumps * (np.exp(_OWN_JUMP[0] + _OWN_JUMP[1] ** 2 / 2) - 1)
        yearly = RATE + _EQUITY_PREMIUM * self._beta - compensation - 0.5 * (parts**2).sum(axis=1)
        return parts * np.sqrt(dt)[:, None, None], yearly * dt[:, None]

    def _jumps(self, draw: np.random.Generator, dt: Floats) -> tuple[Floats, Floats]:
        """Jumps of the market (m) and of each name (m, n) in each interval, logarithms."""
        market, own = np.zeros(len(dt)), np.zeros((len(dt), len(self.level)))
        total, weights = dt.sum(), dt / dt.sum()
        for _ in range(int(draw.poisson(_MARKET_JUMPS * total))):
            market[draw.choice(len(dt), p=weights)] += draw.normal(*_MARKET_JUMP)
        for name in np.nonzero(draw.poisson(self._own_jumps * total))[0]:
            own[draw.choice(len(dt), p=weights), name] += draw.normal(*_OWN_JUMP)
        return market, own

    def _reports(self, its: TradingDay, draw: np.random.Generator) -> dict[int, Floats]:
        """Moves at reports by the minute of the day; −1 is the gap before it."""
        found: dict[int, Floats] = {}
        noise = draw.standard_normal(len(self.level)) * self.earnings_move * REALISED
        for symbol, minute in report_minutes(self._schedule, its, self._hours):
            name = self._index[symbol]
            moves = found.setdefault(minute, np.zeros(len(self.level)))
            moves[name] = noise[name] - (self.earnings_move[name] * REALISED) ** 2 / 2
        return found

    def _corporate(self, day: date, before: Floats) -> Floats:
        """Logarithm of what dividends and splits leave of each price."""
        found = np.zeros(len(self.level))
        events = self._schedule.between(day, day)
        for dividend in events.dividends:
            name = self._index[dividend.symbol]
            ratio = next((s.new / s.old for s in events.splits if s.symbol == dividend.symbol), 1.0)
            found[name] += np.log1p(-min(0.5, float(dividend.amount) * ratio / np.exp(before[name])))
        for split in events.splits:
            if split.symbol in self._index:
                found[self._index[split.symbol]] -= np.log(split.new / split.old)
        return found

    def _volumes(self, its: TradingDay, dt: Floats, draw: np.random.Generator) -> Floats:
        share = (dt / dt.sum())[:, None]
        busy = np.exp(draw.normal(0, 0.25, len(self.level)) - 0.03)
        ratio = np.array([float(self._schedule.ratio(each.symbol, its.day)) for each in self._listed])
        noise = draw.standard_exponential((len(dt), len(self.level)), dtype=np.float32) * 0.5 + 0.5
        found = np.zeros((len(dt) + 1, len(self.level)))
        found[1:] = np.cumsum(np.round(self.usual_volume * ratio * busy * share * noise), axis=0)
        return found

    def at(self, buckets: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
        """Spot ($) and implied volatility without events, (k, n), at buckets of this day or after it.

        After the day's end both stay at its last value.
        """
        its, block = self.block.its, self.block
        inside = np.clip(buckets - its.start * BUCKETS, 0, its.minutes * BUCKETS)
        spot = np.empty((len(buckets), len(self.level)))
        volatility = np.empty_like(spot)
        minutes = inside // BUCKETS
        for minute in np.unique(minutes):
            here = minutes == minute
            offset = inside[here] - minute * BUCKETS
            if minute == its.minutes:
                spot[here], volatility[here] = np.exp(block.log_spot[-1]), np.exp(block.log_volatility[-1])
                continue
            spot[here] = self._minute(int(minute))[offset]
            part = (offset / BUCKETS)[:, None]
            logs = block.log_volatility
            volatility[here] = np.exp(logs[minute] + part * (logs[minute + 1] - logs[minute]))
        return spot, volatility

    def _minute(self, minute: int) -> Floats:
        """Spots at the buckets of a minute of this day, (240, n)."""
        if (found := self._minutes.get(minute)) is not None:
            return found
        block, count = self.block, len(self.level)
        draw = stream(self._seed, "minute", block.its.start + minute)
        z, y, e = (draw.standard_normal((BUCKETS, width)) for width in (1, self._sectors, count))
        part = (np.arange(BUCKETS) / BUCKETS)[:, None]
        bridges = [_bridge(each, part) for each in (z, y[:, self._sector], e)]
        wave = sum(block.deviation[minute, factor] * each for factor, each in enumerate(bridges))
        first, last = block.log_spot[minute], block.log_spot[minute + 1]
        jumped = np.zeros((BUCKETS, count))
        if minute in block.jumps:
            offset, size = block.jumps[minute]
            jumped[offset:] = size
            last = last - size
        path = part * (last - first) + wave + jumped
        path = first + path[:, self.leader]
        found = np.exp(np.clip(path, block.low[minute], block.high[minute]))
        while len(self._minutes) >= _MINUTES_HELD:
            self._minutes.pop(next(iter(self._minutes)))
        self._minutes[minute] = found
        return self._minutes[minute]

    def day_range(self, bucket: int) -> tuple[Floats, Floats, Floats]:
        """Open, high and low of this day up to a bucket, $."""
        block = self.block
        inside = min(max(bucket - block.its.start * BUCKETS, 0), block.its.minutes * BUCKETS)
        whole = inside // BUCKETS
        opened = np.exp(block.log_spot[0])
        high, low = opened.copy(), opened.copy()
        if whole:
            high, low = np.exp(block.high[:whole].max(axis=0)), np.exp(block.low[:whole].min(axis=0))
        if whole < block.its.minutes:
            seen = self._minute(whole)[: inside - whole * BUCKETS + 1]
            high, low = np.maximum(high, seen.max(axis=0)), np.minimum(low, seen.min(axis=0))
        return opened, high, low

    def official_close(self) -> Floats | None:
        """Prices at the official close of this day; None when it has none."""
        its = self.block.its
        return None if its.close is None else np.asarray(np.exp(self.block.log_spot[its.close]))


_DOLLARS_A_DAY = (2.5e10, 6e9, 4e8, 6e7)
"""Value of the shares traded in a day, by tier."""


def report_minutes(schedule: Schedule, its: TradingDay, hours: Hours) -> list[tuple[str, int]]:
    """Symbols that report in a day of the model, and in which of its minutes; −1: in the night before it."""
    if hours is Hours.ALWAYS:
        events = schedule.between(its.day, its.day).earnings
        return [(each.symbol, BEFORE_OPEN if each.before_open else AFTER_CLOSE) for each in events]
    events = schedule.between(its.day - timedelta(days=10), its.day).earnings
    return [(each.symbol, -1) for each in events if reaction_day(each.day, each.before_open) == its.day]


def reaction_day(day: date, before_open: bool) -> date:
    """Session whose open shows a report, when the market has hours."""
    return day if before_open and is_session(day) else next_session(day)


def _shift(block: Block, by: Floats) -> None:
    for column in (block.log_spot, block.high, block.low):
        column += by


def _mixed(correlation: float, known: Floats, fresh: Floats) -> Floats:
    return np.asarray(correlation * known + np.sqrt(1 - correlation**2) * fresh)


def _reverting(start: float | Floats, dt: Floats, noise: Floats, raised: Floats) -> Floats:
    """x after each interval, the start first: exact for the drift, (m + 1, …)."""
    shape = (-1,) + (1,) * (noise.ndim - 1)
    age = np.cumsum(REVERSION * dt).reshape(shape)
    pushes = np.exp(age) * (noise * np.sqrt(dt).reshape(shape) + raised)
    found = np.empty((len(dt) + 1, *noise.shape[1:]))
    found[0] = start
    found[1:] = np.exp(-age) * (start + np.cumsum(pushes, axis=0))
    return found


def _extremes(log_spot: Floats, shaken: Floats, variance: Floats, draw: np.random.Generator) -> tuple[Floats, Floats]:
    """Logarithms of each minute's high and low: ½(a + b ± √((b − a)² − 2 s² ln U))."""
    first, last = log_spot[:-1], log_spot[1:] - shaken
    middle, apart = (first + last) / 2, (last - first) ** 2
    up, down = (
        np.sqrt(apart + 2 * variance * draw.standard_exponential(variance.shape, dtype=np.float32)) / 2
        for _ in range(2)
    )
    high = middle + up + np.maximum(shaken, 0.0)
    low = middle - down + np.minimum(shaken, 0.0)
    return np.maximum(high, log_spot[1:]), np.minimum(low, log_spot[1:])


def _bridge(steps: Floats, part: Floats) -> Floats:
    """A bridge of deviation 1 from 0 to 0 over the minute: value at the start of each bucket."""
    walked = np.cumsum(steps, axis=0) / np.sqrt(BUCKETS)
    end = walked[-1]
    return np.asarray(np.concatenate([np.zeros((1, walked.shape[1])), walked[:-1]]) - part * end)
