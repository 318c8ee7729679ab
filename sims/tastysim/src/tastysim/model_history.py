"""Days gone by: a year of daily bars and implied volatilities from the seed before the start, then the model's own.

The bars before the start are a random walk of the same factors that ends at the price at which the model begins; their
implied volatility is stretched so that the value at the start has the rank that the underlying is listed with.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt

from optionmath.sessions import previous_session
from tastysim.counters import Floats, stream
from tastysim.listed import Listed
from tastysim.model_paths import MARKET_VOLATILITY, REALISED, REVERSION, Paths

SESSIONS = 252
_NU, _RANGE = 1.2, 0.7
"""Volatility of volatility; distance of a year's highest and lowest implied volatility, as a share of the level."""
_MONTH = 30


@dataclass(frozen=True, slots=True)
class DailyHistory:
    """Daily bars of one underlying, oldest first, completed days only. $ of today's shares: splits are undone."""

    day: npt.NDArray[np.datetime64]
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    volatility: Floats
    """Implied by 30 days, at the close."""
    years: Floats
    """Of variance that each day stands for."""

    def rank(self, now: float) -> float:
        """Where `now` lies between the year's lowest and highest implied volatility, 0 to 1."""
        year = self.volatility[-SESSIONS:]
        low, high = min(year.min(), now), max(year.max(), now)
        return float((now - low) / (high - low)) if high > low else 0.5

    def percentile(self, now: float) -> float:
        """Share of the year's days whose implied volatility was below `now`."""
        return float((self.volatility[-SESSIONS:] < now).mean())

    def realised(self, days: int = _MONTH) -> float:
        """Volatility of the last closes, a year, without taking off their mean."""
        moves = np.diff(np.log(self.close[-days - 1 :]))
        return float(np.sqrt((moves**2).sum() / self.years[-len(moves) :].sum()))


class History:
    """The bars of all underlyings."""

    def __init__(self, seed: int, listed: Sequence[Listed], paths: Paths, first: date) -> None:
        days = [previous_session(first)]
        while len(days) < SESSIONS:
            days.append(previous_session(days[-1]))
        self._days = days[::-1]
        self._years = [1 / 252] * SESSIONS
        self._rows = list(_before(seed, listed, paths))
        self._closes = {day: row[3] for day, row in zip(self._days, self._rows, strict=True)}
        self._names = {each.symbol: index for index, each in enumerate(listed)}

    def append(self, day: date, bar: Floats, years: float, close: Floats | None) -> None:
        """A day that ended. bar (6, n): open, high, low, close, volume, volatility; close: the official one."""
        self._days.append(day)
        self._years.append(years)
        self._rows.append(bar)
        if close is not None:
            self._closes[day] = close

    def divide(self, name: int, ratio: float) -> None:
        """A split: earlier prices are of today's shares."""
        for row in self._rows:
            row[:4, name] /= ratio
            row[4, name] *= ratio

    def of(self, name: int) -> DailyHistory:
        """The bars of one underlying."""
        columns = np.stack([row[:, name] for row in self._rows], axis=1)
        days, years = np.array(self._days, dtype="datetime64[D]"), np.array(self._years)
        return DailyHistory(days, columns[0], columns[1], columns[2], columns[3], columns[4], columns[5], years)

    def bar(self, name: int, day: date) -> Floats | None:
        """Open, high, low, close, volume and volatility of a day that ended; None when there is none."""
        place = bisect_left(self._days, day)
        found = place < len(self._days) and self._days[place] == day
        return np.asarray(self._rows[place][:, name]) if found else None

    def close(self, name: int, day: date) -> float | None:
        """Official close of a day that ended, $ of that day's shares; None when there is none."""
        found = self._closes.get(day)
        return None if found is None else float(found[name])

    def last_close(self) -> Floats:
        """Closes of the last day, $ of today's shares."""
        return np.asarray(self._rows[-1][3].copy())

    def first_day(self) -> date:
        """Day of the oldest bar."""
        return self._days[0]


def _before(seed: int, listed: Sequence[Listed], paths: Paths) -> Floats:
    """Bars (sessions, 6, n) whose last close is where the path comes from."""
    count, draw = len(listed), stream(seed, "history")
    level, beta = paths.level, np.array([each.beta for each in listed])
    volatility = _ranked(draw, level, np.array([each.iv_rank for each in listed]))
    z, e = draw.standard_normal((SESSIONS, 1)), draw.standard_normal((SESSIONS, count))
    market = beta * MARKET_VOLATILITY * volatility / level
    own = np.sqrt(np.maximum(volatility**2 - market**2, (0.1 * volatility) ** 2))
    moves = REALISED * (market * z + own * e) / np.sqrt(252)
    end = paths.block.log_spot[0] - paths.block.gap
    logs = end - moves.sum(axis=0) + np.cumsum(moves, axis=0)
    opened = np.concatenate([logs[:1] - moves[:1], logs[:-1]]) + 0.4 * moves * draw.random((SESSIONS, count))
    middle, apart = (opened + logs) / 2, (logs - opened) ** 2
    variance = 0.75 * (REALISED * volatility) ** 2 / 252
    up, down = (np.sqrt(apart + 2 * variance * draw.standard_exponential((SESSIONS, count))) / 2 for _ in range(2))
    volume = np.round(paths.usual_volume * np.exp(draw.normal(-0.05, 0.3, (SESSIONS, count))))
    prices = [np.exp(each) for each in (opened, middle + up, middle - down, logs)]
    return np.stack([*prices, volume, volatility], axis=1)


def _ranked(draw: np.random.Generator, level: Floats, rank: Floats) -> Floats:
    """Implied volatilities of a year that end at the level with this rank."""
    x = np.zeros((SESSIONS, len(level)))
    shock = draw.standard_normal((SESSIONS, len(level))) + draw.standard_normal((SESSIONS, 1))
    for at in range(1, SESSIONS):
        x[at] = x[at - 1] * (1 - REVERSION / 252) + _NU * shock[at] / np.sqrt(2 * 252)
    away = x - x[-1]
    above, below = (np.maximum(np.abs(each).max(axis=0), 1e-9) for each in (np.maximum(away, 0), np.minimum(away, 0)))
    width = _RANGE * level
    stretched = np.where(away >= 0, away / above * (1 - rank) * width, away / below * rank * width)
    return np.asarray(np.maximum(level + stretched, 0.3 * level))
