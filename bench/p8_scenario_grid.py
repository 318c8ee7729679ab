"""P8: the scenario grid of a book, 500 positions × 21 spots × 11 volatilities, every cell a full revaluation.

European: ours beside QuantLib's BlackCalculator, an option a call. American: ours beside QuantLib's QdFp, fast scheme,
with its quotes moved from cell to cell, over a part of the positions and scaled to all. QuantLib runs in this process,
since its wheel has no vector form. Rounds alternate; times are medians: CPU of the process, all threads of ours, and
wall, which a busy machine stretches.
"""

from __future__ import annotations

import math
import time
import tracemalloc
from collections.abc import Callable
from statistics import median

import numpy as np
import QuantLib as ql

from bench.p2_american import QuantLibOptions, options
from optionmath.american import american_grid
from optionmath.blackscholes import Floats
from optionmath.scenario import european_grid

POSITIONS, AMERICAN_PEER_POSITIONS, EUROPEAN_PEER_POSITIONS, ROUNDS = 500, 10, 50, 7
CALLS = {"ours european": 50, "ours american": 4}
"""Calls a timing, so that each lasts some tens of milliseconds, as the peers' do."""
SPOT_SHOCKS, VOLATILITY_SHOCKS = np.linspace(-0.2, 0.2, 21), np.linspace(-0.5, 0.5, 11)


def _spent(work: Callable[[], object], calls: int) -> tuple[float, float]:
    """CPU and wall milliseconds a call."""
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(calls):
        work()
    return 1e3 * (time.process_time() - cpu) / calls, 1e3 * (time.perf_counter() - wall) / calls


def _cells(book: dict[str, Floats], count: int) -> dict[str, Floats]:
    """Every cell of the first positions as an option of its own, in the order of the grid."""
    shape = (count, SPOT_SHOCKS.size, VOLATILITY_SHOCKS.size)
    moved = {name: each[:count, None, None] for name, each in book.items()}
    moved["S"] = moved["S"] * (1 + SPOT_SHOCKS[:, None])
    moved["V"] = moved["V"] * (1 + VOLATILITY_SHOCKS)
    return {name: np.broadcast_to(each, shape).reshape(-1) for name, each in moved.items()}


def _european_loop(cells: dict[str, Floats]) -> Floats:
    found = np.empty(cells["S"].size)
    for row, (s, k, t, v, r, q, c) in enumerate(zip(*(cells[name].tolist() for name in "SKTVRQC"), strict=True)):
        discount = math.exp(-r * t)
        forward = s * math.exp((r - q) * t)
        payoff = ql.PlainVanillaPayoff(ql.Option.Call if c else ql.Option.Put, k)
        found[row] = ql.BlackCalculator(payoff, forward, v * math.sqrt(t), discount).value()
    return found


def _peak_mib(work: Callable[[], object]) -> float:
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return round(peak / 2**20, 1)


def measure() -> dict[str, object]:
    """Interleaved rounds, medians."""
    book = options(POSITIONS)
    s, k, t, v, r, q, c = (book[name] for name in "SKTVRQC")
    quantity = np.ones(POSITIONS)

    def european() -> Floats:
        return european_grid(s, k, t, v, r, q, c, quantity, SPOT_SHOCKS, VOLATILITY_SHOCKS)

    def american() -> Floats:
        return american_grid(s, k, t, v, r, q, c, quantity, SPOT_SHOCKS, VOLATILITY_SHOCKS)

    quantlib = QuantLibOptions()
    fast, exact = quantlib.qdfp(fast=True), quantlib.qdfp(fast=False)
    few, some = _cells(book, AMERICAN_PEER_POSITIONS), _cells(book, EUROPEAN_PEER_POSITIONS)
    count = few["S"].size
    work: dict[str, tuple[float, Callable[[], object]]] = {
        "ours european": (1.0, european),
        "ours american": (1.0, american),
        "quantlib european": (POSITIONS / EUROPEAN_PEER_POSITIONS, lambda: _european_loop(some)),
        "quantlib american": (POSITIONS / AMERICAN_PEER_POSITIONS, lambda: quantlib.prices(fast, few, count)),
    }
    for _, each in work.values():
        each()
    rounds = [{name: _spent(run, CALLS.get(name, 1)) for name, (_, run) in work.items()} for _ in range(ROUNDS)]
    cpu, wall = (
        {name: scale * median(each[name][index] for each in rounds) for name, (scale, _) in work.items()}
        for index in (0, 1)
    )
    best = {name: min(each[name][1] for each in rounds) for name in ("ours european", "ours american")}
    truth = quantlib.prices(exact, few, count)
    error = (american()[:AMERICAN_PEER_POSITIONS].reshape(-1) - truth) / few["S"]
    peer_error = (quantlib.prices(fast, few, count) - truth) / few["S"]
    plain = european()[:EUROPEAN_PEER_POSITIONS].reshape(-1) - _european_loop(some)
    ratios = {kind: cpu[f"quantlib {kind}"] / cpu[f"ours {kind}"] for kind in ("european", "american")}
    return {
        "what": "scenario grid of 500 positions × 231 cells, CPU-milliseconds",
        "ours": round(cpu["ours american"], 1),
        "peer": round(cpu["quantlib american"]),
        "peer_name": "QuantLib 1.44 QdFp, fast scheme, American cells",
        "ratio": round(ratios["american"], 1),
        "target": {"american_ms": 200, "american_ratio": 20, "european_ms": 2, "european_ratio": 300},
        "european": {
            "ours": round(cpu["ours european"], 2),
            "quantlib": round(cpu["quantlib european"]),
            "ratio": round(ratios["european"]),
            "largest_difference": float(f"{np.abs(plain).max():.1e}"),
        },
        "wall_ms": {name: round(each, 2) for name, each in wall.items()},
        "best_wall_ms": {name: round(each, 2) for name, each in best.items()},
        "american_error_of_spot": {
            "ours_rms": float(f"{np.sqrt(np.mean(error**2)):.1e}"),
            "ours_largest": float(f"{np.abs(error).max():.1e}"),
            "peer_rms": float(f"{np.sqrt(np.mean(peer_error**2)):.1e}"),
            "peer_largest": float(f"{np.abs(peer_error).max():.1e}"),
        },
        "peak_mib": {"european": _peak_mib(european), "american": _peak_mib(american)},
        "met": cpu["ours american"] <= 200
        and ratios["american"] >= 20
        and best["ours european"] <= 2
        and ratios["european"] >= 300,
    }
