"""American options made ready for the kernels: what is bad, European or certain is sorted out, the rest become lanes.

Internal to `american`, `dividends` and what they build on; everything for users is there.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import cache

import numpy as np
import numpy.typing as npt

from optionmath import blackscholes
from optionmath.blackscholes import Bools, Codes, Floats
from optionmath.kernels import american as kernel
from optionmath.slices import over_slices

_OPTIONS_PER_SLICE = 1_024
Terms = tuple[Floats, Floats, Floats, Floats, Floats, Floats, Bools]
Picked = Bools | npt.NDArray[np.intp] | slice
"""Which elements: a mask, their numbers, or a stretch."""
DETERMINISTIC = 1e-7
"""σ√T below which the option is worth what it would be without volatility, to 1e-7 of the spot."""


class Accuracy(IntEnum):
    """Work spent on a price. Errors: against QuantLib's QdFp high precision, relative to prices of 1 % of spot or more,

    on volatilities of 8–100 %, rates of 0.5–8 %, yields of 0–3 %, a week to two years, two deviations either way.
    """

    STANDARD = 0
    """rms 6e-5, largest 1e-3: under two microseconds an option."""
    FINE = 1
    """rms 6e-6, largest 1e-4; 4 times the work."""
    REFERENCE = 2
    """rms 3e-7, largest 5e-6; 40 times the work."""


class PricingStatus(IntEnum):
    """Why a price is what it is; anything but OK comes with NaN."""

    OK = 0
    NOT_A_NUMBER = 1
    """An input is NaN or infinite."""
    OUT_OF_RANGE = 2
    """Spot or strike not positive, time or volatility negative, or a dividend schedule that cannot be."""
    TWO_BOUNDARIES = 3
    """Rates so negative that exercise pays only between two prices: not covered."""


@dataclass(frozen=True, slots=True)
class Tables:
    nodes: Floats
    points: Floats
    weights: Floats
    interpolation: Floats
    rounds: int
    value_points: Floats
    value_weights: Floats
    value_interpolation: Floats

    def interpolated(self, part: Floats) -> Floats:
        """Weights of the squared depths at the nodes for roots of the part of the time that is left."""
        return _lagrange(np.concatenate(([0.0], self.nodes)), part)


_SIZES = {Accuracy.STANDARD: (5, 5, 16, 1), Accuracy.FINE: (8, 16, 40, 3), Accuracy.REFERENCE: (16, 48, 100, 8)}
"""Collocation nodes, points of the boundary's integral, points of the price's, rounds of the fixed point."""


@cache
def tables_of(accuracy: Accuracy) -> Tables:
    n, boundary_points, value_points, rounds = _SIZES[accuracy]
    nodes = (1 - np.cos(np.pi * np.arange(n + 1) / n)) / 2
    points, weights = _gauss(boundary_points)
    outer, outer_weights = _gauss(value_points)
    inside = np.stack([_lagrange(nodes, node * np.sqrt(1 - points**2)) for node in nodes[1:]])
    ahead = _lagrange(nodes, np.sqrt(1 - outer**2))
    return Tables(nodes[1:].copy(), points, weights, inside, rounds, outer, outer_weights, ahead)


def _gauss(count: int) -> tuple[Floats, Floats]:
    points, weights = np.polynomial.legendre.leggauss(count)
    return (1 + points) / 2, weights / 2


def _lagrange(nodes: Floats, at: Floats) -> Floats:
    """Weights of the values at all nodes but the first, whose value is 0."""
    found = np.ones((at.size, nodes.size - 1))
    for column in range(1, nodes.size):
        for other in range(nodes.size):
            if other != column:
                found[:, column - 1] *= (at - nodes[other]) / (nodes[column] - nodes[other])
    return found


class Options:
    """Inputs as flat columns, sorted into what the kernel prices, what is European or certain, and what is bad."""

    def __init__(
        self,
        spot: npt.ArrayLike,
        strike: npt.ArrayLike,
        years: npt.ArrayLike,
        volatility: npt.ArrayLike,
        rate: npt.ArrayLike,
        dividend_yield: npt.ArrayLike,
        is_call: npt.ArrayLike,
    ) -> None:
        floats = (spot, strike, years, volatility, rate, dividend_yield)
        *columns, call = np.broadcast_arrays(
            *(np.asarray(each, dtype=np.float64) for each in floats), np.asarray(is_call, dtype=np.bool_)
        )
        self.shape: tuple[int, ...] = call.shape
        self.call: Bools = call.reshape(-1)
        s, k, t, v, r, q = (each.reshape(-1) for each in columns)
        finite = np.isfinite(s) & np.isfinite(k) & np.isfinite(t) & np.isfinite(v) & np.isfinite(r) & np.isfinite(q)
        with np.errstate(invalid="ignore"):
            within = (s > 0) & (k > 0) & (t >= 0) & (v >= 0)
            cost, income = np.where(self.call, q, r), np.where(self.call, r, q)
            two = finite & within & (cost <= 0) & (income < cost)
        self.status: Codes = np.full(s.size, PricingStatus.OK, dtype=np.int8)
        self.status[two] = PricingStatus.TWO_BOUNDARIES
        self.status[~within] = PricingStatus.OUT_OF_RANGE
        self.status[~finite] = PricingStatus.NOT_A_NUMBER
        bad = self.status != PricingStatus.OK
        self.spot, self.strike, self.years, self.volatility, self.rate, self.dividend_yield = (
            np.where(bad, fill, each) if bad.any() else each
            for each, fill in ((s, 1.0), (k, 1.0), (t, 1.0), (v, 0.2), (r, 0.02), (q, 0.02))
        )
        self.bad = bad
        self.deviation = self.volatility * np.sqrt(self.years)
        self.certain: Bools = self.deviation < DETERMINISTIC
        self.european: Bools = ~self.certain & ~bad & (cost <= 0)
        self.early: Bools = ~self.certain & ~self.european

    def terms(self, which: Picked = slice(None)) -> Terms:
        """Spot, strike, years, volatility, rate, yield and right of some elements, in the order of every function."""
        s, k, t, v = self.spot[which], self.strike[which], self.years[which], self.volatility[which]
        return s, k, t, v, self.rate[which], self.dividend_yield[which], self.call[which]

    def floored(self, value: Floats) -> Floats:
        """Not below what exercise now is worth, to the last bit."""
        gain = self.spot - self.strike
        return np.asarray(np.maximum(value, np.where(self.call, gain, -gain)))

    def european_price(self, which: Picked = slice(None)) -> Floats:
        return blackscholes.price(*self.terms(which))

    def certain_price(self, which: Picked = slice(None)) -> Floats:
        """Best of all dates of exercise when the forward is certain: now, the end, or where the gain stops growing."""
        s, k, t, _, r, q, call = self.terms(which)
        with np.errstate(divide="ignore", invalid="ignore"):
            turn = np.log(r * k / (q * s)) / (r - q)
        turn = np.clip(np.where(np.isfinite(turn), turn, 0.0), 0.0, t)
        sign = np.where(call, 1.0, -1.0)
        gains = [sign * (s * np.exp(-q * at) - k * np.exp(-r * at)) for at in (np.zeros_like(t), turn, t)]
        return np.asarray(np.maximum(np.maximum.reduce(gains), 0.0))


@dataclass(frozen=True, slots=True)
class Lanes:
    """Options with early exercise as puts on strike 1; `scale` makes $ of them again."""

    x: Floats
    a: Floats
    b: Floats
    s: Floats
    top: Floats
    scale: Floats

    @classmethod
    def of(
        cls,
        options: Options,
        which: Picked,
        volatility_factor: float | Floats = 1.0,
        rate_shift: float = 0.0,
    ) -> Lanes:
        call, t, s, k = options.call[which], options.years[which], options.spot[which], options.strike[which]
        rate, income = options.rate[which] + rate_shift, options.dividend_yield[which]
        ratio = np.log(s / k)
        return cls._made(
            np.where(call, -ratio, ratio),
            np.where(call, income, rate) * t,
            np.where(call, rate, income) * t,
            options.deviation[which] * volatility_factor,
            np.where(call, s, k),
        )

    @classmethod
    def _made(cls, x: Floats, a: Floats, b: Floats, s: Floats, scale: Floats) -> Lanes:
        s = np.maximum(s, DETERMINISTIC)
        a = np.maximum(a, 1e-12)  # a bump of the rate may cross zero: the premium is then nothing
        with np.errstate(divide="ignore", over="ignore"):
            top = np.log(np.where(b > a, a / b, 1.0))
        return cls(x, a, b, s, top, scale)

    def depth(self, tables: Tables) -> Floats:
        found = np.empty((tables.nodes.size, self.a.size))

        def work(start: int, stop: int) -> None:
            kernel.boundaries(
                self.a, self.b, self.s, self.top, tables.nodes, tables.points, tables.weights, tables.interpolation,
                tables.rounds, found, start, stop,
            )  # fmt: skip

        over_slices(work, self.a.size, at_least=_OPTIONS_PER_SLICE)
        return found

    def values(self, tables: Tables, depth: Floats) -> tuple[Floats, Floats, Floats]:
        value, delta, gamma = np.empty(self.x.size), np.empty(self.x.size), np.empty(self.x.size)

        def work(start: int, stop: int) -> None:
            kernel.values(
                self.x, self.a, self.b, self.s, self.top, depth, tables.value_points, tables.value_weights,
                tables.value_interpolation, value, delta, gamma, start, stop,
            )  # fmt: skip

        over_slices(work, self.x.size, at_least=_OPTIONS_PER_SLICE)
        return value, delta, gamma

    def price(self, tables: Tables) -> Floats:
        return self.scale * self.values(tables, self.depth(tables))[0]
