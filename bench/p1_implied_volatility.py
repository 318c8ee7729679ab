"""P1: implied volatility and greeks of a million European options, beside every library that does the same in bulk.

Each solver runs in a process (and, for peers, an environment) of its own on the same file of prices; the rounds go from
one to the next, so that a busy machine is as busy for all. Rates are options a CPU-second of the process; the wall rate
is stated too. Work: the volatility and delta, gamma, theta, vega, rho; `greeks` tells which of these a peer computes.
Ours is measured twice: a plain call, and one that writes over its last answer, for the plain one waits as long for the
memory of its answer as it computes. Error: the greatest distance of a volatility from its 50-digit inversion of the
same double price, over 300 rows.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import IO

import mpmath
import numpy as np

from bench.peers import PeerMissingError, peer_python
from optionmath.blackscholes import Floats, price

ROWS, CHECKED, ROUNDS = 1_000_000, 300, 7
PRECISE = 1e-11
"""An error below it counts as the same precision as ours."""

_HARNESS = """
import json, sys, time
import numpy as np
{imports}
data = np.load(sys.argv[1])
P, S, K, T, R, Q, C = (np.ascontiguousarray(data[name][: int(sys.argv[2])]) for name in "PSKTRQC")
{prepare}
def run():
{run}
def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
found = np.asarray(run(), dtype=float)
run()
print(json.dumps({{"found": found[:300].tolist(), "missing": int(np.isnan(found).sum())}}), flush=True)
for _ in sys.stdin:
    cpu, wall = time.process_time(), time.perf_counter()
    run()
    spent = {{"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall, "mib": peak()}}
    print(json.dumps(spent), flush=True)
"""


@dataclass(frozen=True, slots=True)
class _Solver:
    name: str
    requirements: tuple[str, ...]
    """Empty: this very environment."""
    imports: str
    prepare: str
    run: str
    """Returns the volatilities; greeks are computed on the way."""
    greeks: int
    rows: int = ROWS


_OURS = _Solver(
    "optionmath",
    (),
    "from optionmath.implied_volatility import implied_volatility_and_greeks",
    "",
    "return implied_volatility_and_greeks(P, S, K, T, R, Q, C).volatility",
    5,
)
_OURS_AGAIN = _Solver(
    "optionmath, arrays used again",
    (),
    _OURS.imports,
    "o = implied_volatility_and_greeks(P, S, K, T, R, Q, C)",
    "return implied_volatility_and_greeks(P, S, K, T, R, Q, C, out=o).volatility",
    5,
)
_LETTERS = 'F = np.where(C, "c", "p")'
_PEERS = (
    _Solver(
        "pyvolr 0.1.7",
        ("pyvolr==0.1.7", "numpy==2.4.6"),
        "from pyvolr import bs",
        "F = np.where(C, 1, -1).astype(np.int8)",
        'v = bs.implied_vol(P, F, S, K, T, R, Q, on_error="ignore"); bs.greeks(F, S, K, T, R, v, Q); return v',
        5,
    ),
    _Solver(
        "lbriv 1.0.0",
        ("lbriv==1.0.0", "numpy==2.4.6"),
        "from lbriv import compute_trades_greeks",
        "F = C.astype(np.int8); O = [np.empty(len(P)) for _ in range(4)]",
        "D = np.exp(-R * T); compute_trades_greeks(P / D, S * np.exp(-Q * T) / D, K, F, D, *O)\n"
        "return O[0] / np.sqrt(T)",
        3,
    ),
    _Solver(
        "iv-engine 0.1.1",
        ("iv-engine==0.1.1", "numpy==2.4.6"),
        "import iv_engine as e",
        "A, B = np.flatnonzero(C), np.flatnonzero(~C)",
        """D = np.exp(-R * T); X = S * np.exp(-Q * T) / D; U = P / D; v = np.empty(len(P))
for rows, call in ((A, True), (B, False)):
    x, k, t = X[rows], K[rows], T[rows]
    v[rows] = s = e.implied_volatilities(U[rows], x, k, t, call)
    e.deltas(x, k, t, s, call); e.gammas(x, k, t, s); e.vegas(x, k, t, s)
return v""",
        3,
    ),
    _Solver(
        "polars-vol 0.1.1",
        ("polars-vol==0.1.1", "polars==1.35.1", "numpy==2.4.6"),
        "import polars as pl, polars_vol as pv",
        'D = pl.DataFrame(dict(P=P, S=S, K=K, T=T, R=R, C=C)); G = pv.iv_and_greeks("P", "K", "S", "T", "R", "C", '
        'method="halley")',
        'return D.select(G.alias("g"))["g"].struct.field("implied_vol").to_numpy()',
        5,
    ),
    _Solver(
        "quantkit-rs 0.2.0",
        ("quantkit-rs==0.2.0", "numpy==2.4.6"),
        "import quantkit as e",
        "A, B = np.flatnonzero(C), np.flatnonzero(~C)",
        """v = np.empty(len(P))
for rows, call in ((A, True), (B, False)):
    s, k, r, t, q = S[rows], K[rows], R[rows], T[rows], Q[rows]
    v[rows] = w = e.implied_vol_batch(P[rows], s, k, r, t, call, q, errors="nan")
    e.bs_greeks_batch(s, k, r, w, t, call, q, errors="nan")
return v""",
        5,
    ),
    _Solver(
        "py_vollib_vectorized 0.1.1",
        ("py_vollib_vectorized==0.1.1", "py_vollib==1.0.1", "py_lets_be_rational==1.0.1"),
        "import warnings; warnings.simplefilter('ignore')\n"
        "from py_vollib_vectorized import get_all_greeks, vectorized_implied_volatility as solve",
        _LETTERS,
        """m = "black_scholes_merton"
v = np.asarray(solve(P, S, K, T, R, F, Q, model=m, return_as="numpy", on_error="ignore"))
get_all_greeks(F, S, K, T, R, v, Q, model="black_scholes_merton", return_as="dict")
return v.reshape(-1)""",
        5,
        100_000,
    ),
    _Solver(
        "fast-vollib 0.2.4",
        ("fast-vollib==0.2.4", "numpy==2.4.6"),
        "from fast_vollib import fast_implied_volatility as solve, get_all_greeks",
        _LETTERS,
        """v = solve(P, S, K, T, R, F, Q, model="black_scholes_merton", return_as="numpy", on_error="ignore")
get_all_greeks(F, S, K, T, R, v, Q, model="black_scholes_merton", return_as="dict")
return v""",
        5,
        100_000,
    ),
    _Solver(
        "opengreeks 0.2.0", ("opengreeks==0.2.0", "numpy==2.4.6"), "import opengreeks", "", "return opengreeks.iv(P)", 5
    ),
    _Solver(
        "QuantLib 1.44 loop",
        ("QuantLib==1.44", "numpy==2.4.6"),
        "import math, QuantLib as q",
        "L = list(zip(*(x.tolist() for x in (P, S, K, T, R, Q, C))))",
        """o = []
for p, s, k, t, r, y, c in L:
    side = q.Option.Call if c else q.Option.Put
    d = math.exp(-r * t); f = s * math.exp(-y * t) / d
    w = q.blackFormulaImpliedStdDev(side, k, f, p, d, 0.0, 0.2 * math.sqrt(t), 1e-12, 200)
    b = q.BlackCalculator(q.PlainVanillaPayoff(side, k), f, w, d)
    b.delta(s); b.gamma(s); b.theta(s, t); b.vega(t); b.rho(t)
    o.append(w / math.sqrt(t))
return o""",
        5,
        10_000,
    ),
    _Solver(
        "vollib 1.0.11 loop",
        ("vollib==1.0.11", "numpy==2.4.6"),
        "from vollib.black_scholes_merton.implied_volatility import implied_volatility as solve\n"
        "from vollib.black_scholes_merton.greeks.analytical import delta, gamma, rho, theta, vega",
        "L = list(zip(*(x.tolist() for x in (P, S, K, T, R, Q, np.where(C, 'c', 'p')))))",
        """o = []
for p, s, k, t, r, y, f in L:
    v = solve(p, s, k, t, r, y, f)
    for greek in (delta, gamma, theta, vega, rho): greek(f, s, k, t, r, v, y)
    o.append(v)
return o""",
        5,
        2_000,
    ),
)


def options(count: int, seed: int = 20) -> dict[str, Floats]:
    """Eight spots, fourteen expirations of 1 to 730 days, volatility 8 to 200 %, strikes within 2.8 deviations.

    Prices of a cent and more with half a cent of time value and more; half of them calls; rate 4 %, no dividends.
    """
    generator = np.random.default_rng(seed)
    draws = 2 * count
    spot = generator.choice([12.5, 38.0, 64.0, 110.0, 185.0, 420.0, 765.0, 6400.0], draws)
    years = generator.choice([1, 2, 4, 7, 14, 21, 30, 45, 60, 90, 180, 270, 365, 730], draws) / 365
    sigma = np.exp(generator.uniform(np.log(0.08), np.log(2.0), draws))
    strike = spot * np.exp(generator.uniform(-2.8, 2.8, draws) * sigma * np.sqrt(years))
    is_call = generator.random(draws) < 0.5
    rate, none = np.full(draws, 0.04), np.zeros(draws)
    value = price(spot, strike, years, sigma, rate, none, is_call)
    good = (value >= 0.01) & (value - price(spot, strike, years, 0.0, rate, none, is_call) >= 0.005)
    columns = {"P": value, "S": spot, "K": strike, "T": years, "R": rate, "Q": none, "C": is_call}
    return {name: column[good][:count] for name, column in columns.items()}


def exact_volatility(option: dict[str, float]) -> float:
    """50-digit inversion of the double price P, no dividends; names as in `options`."""
    with mpmath.workdps(50):
        p, s, t = mpmath.mpf(option["P"]), mpmath.mpf(option["S"]), mpmath.mpf(option["T"])
        k = mpmath.mpf(option["K"]) * mpmath.exp(-mpmath.mpf(option["R"]) * t)
        sign = 1 if option["C"] else -1

        def excess(deviation: mpmath.mpf) -> mpmath.mpf:
            d1 = mpmath.log(s / k) / deviation + deviation / 2
            return sign * (s * mpmath.ncdf(sign * d1) - k * mpmath.ncdf(sign * (d1 - deviation))) - p

        low, high = mpmath.mpf("1e-4"), mpmath.mpf(8)
        deviation = mpmath.findroot(excess, (low, high), solver="anderson", tol=mpmath.mpf("1e-70"), maxsteps=400)
        return float(deviation / mpmath.sqrt(t))


class _Process:
    """A solver, loaded and warm, that runs once for each line it is sent."""

    def __init__(self, solver: _Solver, data: Path) -> None:
        python = peer_python(solver.name.split()[0], solver.requirements) if solver.requirements else sys.executable
        indented = "".join(f"    {line}\n" for line in solver.run.splitlines())
        script = _HARNESS.format(imports=solver.imports, prepare=solver.prepare, run=indented)
        self.solver = solver
        self._process = subprocess.Popen(
            [str(python), "-c", script, str(data), str(solver.rows)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        first = self._answer()
        self.found = np.array(first["found"], dtype=float)
        self.missing = first["missing"]
        self.times: list[dict[str, float]] = []

    def _pipes(self) -> tuple[IO[str], IO[str]]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        return self._process.stdin, self._process.stdout

    def _answer(self) -> dict[str, list[float]]:
        line = self._pipes()[1].readline()
        if not line:
            _, errors = self._process.communicate()
            raise PeerMissingError(f"{self.solver.name} does not run: {errors.strip()[-300:]}")
        answer: dict[str, list[float]] = json.loads(line)
        return answer

    def round(self) -> None:
        self._pipes()[0].write("run\n")
        self._pipes()[0].flush()
        self.times.append(self._answer())  # type: ignore[arg-type]

    def stop(self) -> None:
        self._process.communicate()

    def report(self, exact: Floats) -> dict[str, object]:
        rows = self.solver.rows
        return {
            "millions_per_cpu_second": round(rows / median(each["cpu"] for each in self.times) / 1e6, 4),
            "millions_per_second": round(rows / median(each["wall"] for each in self.times) / 1e6, 4),
            "greatest_error": float(f"{np.max(np.abs(self.found[: len(exact)] - exact)):.2e}"),
            "missing": self.missing,
            "greeks": self.solver.greeks,
            "rows": rows,
            "peak_memory_mib": round(max(each["mib"] for each in self.times)),
        }


def measure() -> dict[str, object]:
    """Every solver that can be installed, interleaved; medians of the rounds."""
    data = options(ROWS)
    exact = np.array([exact_volatility({name: float(data[name][row]) for name in "PSKTRC"}) for row in range(CHECKED)])
    missing: dict[str, str] = {}
    running: list[_Process] = []
    with TemporaryDirectory() as folder:
        file = Path(folder) / "options.npz"
        np.savez(file, **data)  # type: ignore[arg-type]
        for solver in (_OURS, _OURS_AGAIN, *_PEERS):
            try:
                running.append(_Process(solver, file))
            except PeerMissingError as error:
                missing[solver.name] = str(error)
        for _ in range(ROUNDS):
            for process in running:
                process.round()
        for process in running:
            process.stop()
    reports = {process.solver.name: process.report(exact) for process in running}
    return {
        "what": "implied volatility and five greeks, millions of options per CPU-second",
        **_verdict(reports, missing),
    }


TARGETS = {"pyvolr": 20.0, "py_vollib_vectorized": 40.0, "QuantLib": 200.0}
"""Least ratio to each of these peers; to the best of equal precision it is ten."""


def _ratios(ours: dict[str, object], peers: dict[str, dict[str, object]], rate: str) -> dict[str, float]:
    return {name: round(float(str(ours[rate])) / float(str(each[rate])), 1) for name, each in peers.items()}


def _met(ours: dict[str, object], ratios: dict[str, float], best: str | None) -> bool:
    """Every target, with none of its peers missing."""
    reached = {
        peer: any(name.split()[0] == peer and ratio >= floor for name, ratio in ratios.items())
        for peer, floor in TARGETS.items()
    }
    return (
        best is not None
        and ratios[best] >= 10
        and all(reached.values())
        and float(str(ours["greatest_error"])) <= 1e-12
    )


def _verdict(reports: dict[str, dict[str, object]], missing: dict[str, str]) -> dict[str, object]:
    ours, again = reports.pop(_OURS.name), reports.pop(_OURS_AGAIN.name)
    ratios, ratios_again = (_ratios(each, reports, "millions_per_cpu_second") for each in (ours, again))
    precise = [name for name, each in reports.items() if float(str(each["greatest_error"])) <= PRECISE]
    best = min(precise, key=lambda name: ratios[name], default=None)
    return {
        "ours": ours["millions_per_cpu_second"],
        "peer": None if best is None else reports[best]["millions_per_cpu_second"],
        "peer_name": best,
        "ratio": None if best is None else ratios[best],
        "target": 10,
        "met": _met(ours, ratios, best),
        "met_with_arrays_used_again": _met(again, ratios_again, best),
        "targets": {"best peer of equal precision": 10, **TARGETS, "greatest_error": 1e-12},
        "details": ours,
        "arrays_used_again": again,
        "peers": reports,
        "ratios_per_cpu_second": ratios,
        "ratios_per_cpu_second_with_arrays_used_again": ratios_again,
        "ratios_wall": _ratios(ours, reports, "millions_per_second"),
        "ratios_wall_with_arrays_used_again": _ratios(again, reports, "millions_per_second"),
        "could_not_be_measured": missing,
    }
