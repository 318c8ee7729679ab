"""P2: American prices, greeks and implied volatilities, beside QuantLib's engines and pybaw.

All on the same random options (volatility 8–100 %, rate 0.5–8 %, yield 0–3 %, a week to two years, strikes within two
deviations, worth a per cent of the spot and more). Errors are relative to QuantLib's QdFp high precision, which shares
no code with ours. QuantLib runs in this process, an option a call, as its wheel demands; pybaw in an environment of its
own. Rounds alternate; rates are medians, options a CPU-second of the process (all threads of ours count).
"""

from __future__ import annotations

import json
import subprocess
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import QuantLib as ql

from bench.peers import PeerMissingError, peer_python
from optionmath import american
from optionmath.american import Accuracy
from optionmath.blackscholes import Floats
from optionmath.dividends import Dividends, price_with_dividends

ROWS, TREE_ROWS, TREE_STEPS, DIVIDEND_ROWS, ROUNDS = 3_000, 40, 801, 100, 5
DIVIDENDS = tuple(30 + 91 * each for each in range(8))
"""Days to each ex-date; a dollar each on a spot of 100."""
_PYBAW = """
import json, sys, time
import numpy as np
from pybaw import vectorized_baw_implied_vol as solve
data = np.load(sys.argv[1])
P, S, K, T, R, Q, C = (np.ascontiguousarray(data[name]) for name in "PSKTRQC")
D, F, flags, root = np.exp(-R * T), S * np.exp((R - Q) * T), np.where(C, "c", "p").tolist(), np.sqrt(T)
found = np.asarray(solve(P, S, K, D, F, flags)) / root
print(json.dumps(found.tolist()), flush=True)
for _ in sys.stdin:
    before = time.process_time()
    solve(P, S, K, D, F, flags)
    print(time.process_time() - before, flush=True)
"""


class QuantLibOptions:
    """One process of QuantLib whose quotes are moved from option to option."""

    def __init__(self) -> None:
        self._today = ql.Date(2, 1, 2026)
        ql.Settings.instance().evaluationDate = self._today
        count = ql.Actual365Fixed()
        self._quotes = [ql.SimpleQuote(each) for each in (100.0, 0.01, 0.03, 0.2)]
        spot, income, rate, sigma = (ql.QuoteHandle(each) for each in self._quotes)
        self.process = ql.BlackScholesMertonProcess(
            spot,
            ql.YieldTermStructureHandle(ql.FlatForward(self._today, income, count)),
            ql.YieldTermStructureHandle(ql.FlatForward(self._today, rate, count)),
            ql.BlackVolTermStructureHandle(ql.BlackConstantVol(self._today, ql.NullCalendar(), sigma, count)),
        )

    def dividends(self) -> ql.DividendVector:
        return ql.DividendVector([self._today + each for each in DIVIDENDS], [1.0] * len(DIVIDENDS))

    def qdfp(self, *, fast: bool) -> ql.QdFpAmericanEngine:
        scheme = ql.QdFpAmericanEngine.fastScheme() if fast else ql.QdFpAmericanEngine.highPrecisionScheme()
        return ql.QdFpAmericanEngine(self.process, scheme)

    def tree(self) -> ql.BinomialLRVanillaEngine:
        return ql.BinomialLRVanillaEngine(self.process, TREE_STEPS)

    def prices(self, engine: ql.PricingEngine, rows: dict[str, Floats], count: int) -> Floats:
        found = np.empty(count)
        for row in range(count):
            self._move(*(float(rows[name][row]) for name in "SQRV"))
            option = self._option(rows, row, float(rows["T"][row]))
            option.setPricingEngine(engine)
            found[row] = option.NPV()
        return found

    def prices_and_greeks(self, engine: ql.PricingEngine, rows: dict[str, Floats], count: int) -> None:
        """Price and five greeks: the engine gives the price alone, the rest are differences of it."""
        for row in range(count):
            s, q, r, v = (float(rows[name][row]) for name in "SQRV")
            t = float(rows["T"][row])
            option = self._option(rows, row, t)
            option.setPricingEngine(engine)
            for moved in (
                (s, q, r, v),
                (1.001 * s, q, r, v),
                (0.999 * s, q, r, v),
                (s, q, r, v + 1e-3),
                (s, q, r + 1e-4, v),
            ):
                self._move(*moved)
                option.NPV()
            self._move(s, q, r, v)
            shorter = self._option(rows, row, t - 1 / 365)
            shorter.setPricingEngine(engine)
            shorter.NPV()

    def _move(self, *values: float) -> None:
        for quote, value in zip(self._quotes, values, strict=True):
            quote.setValue(value)

    def _option(self, rows: dict[str, Floats], row: int, years: float) -> ql.VanillaOption:
        side = ql.Option.Call if rows["C"][row] else ql.Option.Put
        last = self._today + round(years * 365)
        payoff = ql.PlainVanillaPayoff(side, float(rows["K"][row]))
        return ql.VanillaOption(payoff, ql.AmericanExercise(self._today, last))


def options(count: int, seed: int = 1) -> dict[str, Floats]:
    """S, K, T, V, R, Q, C (1: a call) of random options, whole days to expiration."""
    g = np.random.default_rng(seed)
    days = g.integers(7, 731, count)
    sigma = g.uniform(0.08, 1.0, count)
    years = days / 365
    return {
        "S": np.full(count, 100.0),
        "K": 100 * np.exp(g.uniform(-2, 2, count) * sigma * np.sqrt(years)),
        "T": years,
        "V": sigma,
        "R": g.uniform(0.005, 0.08, count),
        "Q": g.uniform(0.0, 0.03, count),
        "C": (g.random(count) < 0.5).astype(np.float64),
    }


def _seconds(work: Callable[[], object]) -> float:
    before = time.process_time()
    work()
    return time.process_time() - before


class _Pybaw:
    """pybaw in its own environment: one timing for each line it is sent."""

    def __init__(self, file: Path) -> None:
        python = peer_python("pybaw", ("pybaw==1.0.0", "numpy==2.4.6"))
        self._process = subprocess.Popen(
            [str(python), "-c", _PYBAW, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.found = np.array(json.loads(self._line()), dtype=float)

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise PeerMissingError("pybaw does not run")
        return line

    def seconds(self) -> float:
        assert self._process.stdin is not None
        self._process.stdin.write("run\n")
        self._process.stdin.flush()
        return float(self._line())

    def stop(self) -> None:
        self._process.communicate()


def _error(found: Floats, exact: Floats) -> dict[str, float]:
    relative = found / exact[: found.size] - 1
    return {
        "rms": float(f"{np.sqrt(np.mean(relative**2)):.2e}"),
        "largest": float(f"{np.abs(relative).max():.2e}"),
    }


def _peak_mib(rows: dict[str, Floats]) -> float:
    """Memory that pricing 100,000 options takes beside its inputs and outputs."""
    many = [np.resize(rows[name], 100_000) for name in "SKTVRQC"]
    american.price(*many)
    tracemalloc.start()
    american.price(*many)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return round(peak / 2**20, 1)


def _implied(rows: dict[str, Floats], exact: Floats) -> dict[str, object]:
    """Volatilities of exact prices that are worth a cent more than without volatility, ours and pybaw's."""
    terms = [rows[name] for name in "SKTVRQC"]
    s, k, t, v, r, q, call = terms
    good = exact > american.price(s, k, t, 0.0, r, q, call) + 0.01
    columns = {name: each[good] for name, each in rows.items()} | {"P": exact[good]}
    inputs = [columns[name] for name in "PSKTRQC"]
    found, status = american.implied_volatility(*inputs)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "options.npz"
        np.savez(file, **columns)  # type: ignore[arg-type]
        peer = _Pybaw(file)
        spent = [(_seconds(lambda: american.implied_volatility(*inputs)), peer.seconds()) for _ in range(ROUNDS)]
        peer.stop()
    ours, theirs = (int(good.sum()) / median(each[index] for each in spent) for index in (0, 1))
    errors = [np.abs(each - v[good]) for each in (found, peer.found)]
    medians = [float(np.nanmedian(each)) for each in errors]
    return {
        "ours_per_cpu_second": round(ours),
        "pybaw_per_cpu_second": round(theirs),
        "ratio": round(ours / theirs, 2),
        "target": 2.5,
        "median_error": float(f"{medians[0]:.2e}"),
        "pybaw_median_error": float(f"{medians[1]:.2e}"),
        "p99_error": float(f"{np.nanquantile(errors[0], 0.99):.2e}"),
        "pybaw_p99_error": float(f"{np.nanquantile(errors[1], 0.99):.2e}"),
        "rows": int(good.sum()),
        "missing": int((status != 0).sum()),
        "pybaw_missing": int((~np.isfinite(peer.found) | (peer.found <= 0)).sum()),
        "met": ours >= 2.5 * theirs and medians[0] <= medians[1] / 4,
    }


def _dividends(quantlib: QuantLibOptions, rows: dict[str, Floats]) -> dict[str, object]:
    """Eight cash dividends: finite differences both, errors as a part of the spot against a grid of 800 × 1,600."""
    part = {name: each[:DIVIDEND_ROWS] for name, each in rows.items()} | {"Q": np.zeros(DIVIDEND_ROWS)}
    part["V"] = np.minimum(part["V"], 0.6)  # above it the stock may fall below its dividends
    days = np.round(part["T"] * 365)
    part["T"] = (days + np.isin(days, DIVIDENDS)) / 365  # QuantLib counts a dividend at expiration, ours does not
    schedule = quantlib.dividends()
    ours = Dividends(tuple(each / 365 for each in DIVIDENDS), (1.0,) * len(DIVIDENDS))
    engines = [ql.FdBlackScholesVanillaEngine(quantlib.process, schedule, *size) for size in ((800, 1600), (200, 400))]
    exact = quantlib.prices(engines[0], part, DIVIDEND_ROWS)
    coarse = quantlib.prices(engines[1], part, DIVIDEND_ROWS)
    terms = [part[name] for name in "SKTVR"]
    ss, ks, ts, vs, rs = (np.resize(each, 20 * DIVIDEND_ROWS) for each in terms)
    calls = np.resize(part["C"], 20 * DIVIDEND_ROWS)
    s, k, t, v, r = terms
    found = price_with_dividends(s, k, t, v, r, ours, part["C"])
    spent = [
        (
            _seconds(lambda: price_with_dividends(ss, ks, ts, vs, rs, ours, calls)),
            _seconds(lambda: quantlib.prices(engines[1], part, DIVIDEND_ROWS)),
        )
        for _ in range(ROUNDS)
    ]
    rate, peer = (count / median(each[i] for each in spent) for i, count in ((0, calls.size), (1, DIVIDEND_ROWS)))
    rms = [float(np.sqrt(np.mean(((each - exact) / 100) ** 2))) for each in (found, coarse)]
    return {
        "ours_per_cpu_second": round(rate),
        "quantlib_fd_200x400_per_cpu_second": round(peer),
        "ratio": round(rate / peer, 1),
        "rms_of_spot": float(f"{rms[0]:.2e}"),
        "quantlib_rms_of_spot": float(f"{rms[1]:.2e}"),
    }


def measure() -> dict[str, object]:
    """Interleaved rounds, medians."""
    rows = options(2 * ROWS)
    quantlib = QuantLibOptions()
    terms = [rows[name] for name in "SKTVRQC"]
    worth = american.price(*terms) >= 1.0
    rows = {name: each[worth][:ROWS] for name, each in rows.items()}
    terms = [rows[name] for name in "SKTVRQC"]
    exact = quantlib.prices(quantlib.qdfp(fast=False), rows, ROWS)
    fast, tree = quantlib.qdfp(fast=True), quantlib.tree()
    work: dict[str, tuple[int, Callable[[], object]]] = {
        "ours standard": (ROWS, lambda: american.price(*terms)),
        "ours fine": (ROWS, lambda: american.price(*terms, accuracy=Accuracy.FINE)),
        "ours reference": (ROWS, lambda: american.price(*terms, accuracy=Accuracy.REFERENCE)),
        "ours standard, price and greeks": (ROWS, lambda: american.price_and_greeks(*terms)),
        "QuantLib QdFp fast": (ROWS, lambda: quantlib.prices(fast, rows, ROWS)),
        "QuantLib QdFp fast, price and greeks": (ROWS // 4, lambda: quantlib.prices_and_greeks(fast, rows, ROWS // 4)),
        f"QuantLib Leisen–Reimer {TREE_STEPS}": (TREE_ROWS, lambda: quantlib.prices(tree, rows, TREE_ROWS)),
    }
    for _, each in work.values():
        each()
    spent = [{name: _seconds(run) for name, (_, run) in work.items()} for _ in range(ROUNDS)]
    rate = {name: count / median(each[name] for each in spent) for name, (count, _) in work.items()}
    error = {
        "ours standard": _error(american.price(*terms), exact),
        "ours fine": _error(american.price(*terms, accuracy=Accuracy.FINE), exact),
        "ours reference": _error(american.price(*terms, accuracy=Accuracy.REFERENCE), exact),
        "QuantLib QdFp fast": _error(quantlib.prices(fast, rows, ROWS), exact),
        f"QuantLib Leisen–Reimer {TREE_STEPS}": _error(quantlib.prices(tree, rows, TREE_ROWS), exact),
    }
    to_fast = rate["ours standard"] / rate["QuantLib QdFp fast"]
    to_tree = rate["ours standard"] / rate[f"QuantLib Leisen–Reimer {TREE_STEPS}"]
    with_greeks = rate["ours standard, price and greeks"] / rate["QuantLib QdFp fast, price and greeks"]
    implied = _implied(rows, exact)
    return {
        "what": "American prices, options per CPU-second",
        "ours": round(rate["ours standard"]),
        "peer": round(rate["QuantLib QdFp fast"]),
        "peer_name": "QuantLib 1.44 QdFp, fast scheme",
        "ratio": round(to_fast, 1),
        "target": 10,
        "ratio_fine": round(rate["ours fine"] / rate["QuantLib QdFp fast"], 1),
        "ratio_price_and_greeks": round(with_greeks, 1),
        "greeks_against_price_alone": round(rate["ours standard, price and greeks"] / rate["QuantLib QdFp fast"], 1),
        "ratio_to_tree": round(to_tree),
        "tree_target": 100,
        "per_cpu_second": {name: round(each) for name, each in rate.items()},
        "relative_error": error,
        "implied_volatility": implied,
        "discrete_dividends": _dividends(quantlib, rows),
        "peak_mib_for_100k": _peak_mib(rows),
        "met": to_fast >= 10
        and to_tree >= 100
        and with_greeks >= 10
        and error["ours standard"]["rms"] <= 1e-4
        and bool(implied["met"]),
    }
