"""Bars of whole minutes: of the day that runs, of the days since the start, and of the sessions before it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import numpy.typing as npt

from tastysim.counters import Floats, stream
from tastysim.model_hours import BUCKETS, Hours, day_at
from tastysim.model_paths import Block

_NIGHT = 0.25
_NOISE = 0.3
"""Reach of a bar beyond its open and close, in deviations of its minute."""


@dataclass(frozen=True, slots=True)
class MinuteBars:
    """Bars of one underlying. start_ms: since the epoch; prices in $; volume in shares."""

    start_ms: npt.NDArray[np.int64]
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats

    def divided(self, ratio: float) -> MinuteBars:
        """In shares after a split."""
        prices = {name: getattr(self, name) / ratio for name in ("open", "high", "low", "close")}
        return replace(self, **prices, volume=self.volume * ratio)


def of_block(block: Block, name: int, bucket: int) -> MinuteBars:
    """The minutes of a day of the model that have ended by a bucket."""
    whole = min(max(bucket // BUCKETS - block.its.start, 0), block.its.minutes)
    price = np.exp(block.log_spot[: whole + 1, name])
    return MinuteBars(
        (block.its.start + np.arange(whole, dtype=np.int64)) * 60_000, price[:-1], np.exp(block.high[:whole, name]),
        np.exp(block.low[:whole, name]), price[1:], np.diff(block.volume[: whole + 1, name]),
    )  # fmt: skip


def of_day(seed: int, symbol: str, day: date, bar: Floats) -> MinuteBars:
    """The minutes of a session before the start, which add up to its daily bar exactly.

    bar: open, high, low, close, volume, volatility. A bridge from the open to the close, kept inside high and low.
    """
    its = day_at(day, Hours.EXCHANGE)
    if its is None:
        raise ValueError(f"{day} is no session")
    draw, minutes = stream(seed, "bars", symbol, day.toordinal()), its.minutes
    deviation = bar[5] * np.sqrt((1 - _NIGHT) / 252 / minutes)
    walk = np.concatenate([[0.0], np.cumsum(draw.standard_normal(minutes))]) * deviation
    part = np.arange(minutes + 1) / minutes
    first, high, low, last = np.log(bar[:4])
    path = np.clip(first + part * (last - first) + walk - part * walk[-1], low, high)
    reach = np.abs(draw.standard_normal((2, minutes))) * deviation * _NOISE
    top = np.minimum(np.maximum(path[:-1], path[1:]) + reach[0], high)
    bottom = np.maximum(np.minimum(path[:-1], path[1:]) - reach[1], low)
    top[np.argmax(top)], bottom[np.argmin(bottom)] = high, low
    weight = its.years(Hours.EXCHANGE) * (0.5 + 0.5 * draw.standard_exponential(minutes))
    traded = np.diff(np.round(np.concatenate([[0.0], np.cumsum(weight / weight.sum())]) * bar[4]))
    price = np.exp(path)
    return MinuteBars(
        (its.start + np.arange(minutes, dtype=np.int64)) * 60_000, price[:-1], np.exp(top), np.exp(bottom), price[1:],
        traded,
    )  # fmt: skip
