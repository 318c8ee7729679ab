"""The compiled European kernels against independent libraries, and what they cost a process that starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import mpmath
import numba
import numpy as np
import QuantLib
import vollib.black_scholes_merton.greeks.analytical as vollib_greeks
from scipy.special import erfcx
from vollib.black_scholes_merton import black_scholes_merton
from vollib.black_scholes_merton.implied_volatility import implied_volatility as vollib_implied_volatility

from optionmath.blackscholes import Bools, Floats, VolatilityStatus, greeks, price
from optionmath.implied_volatility import implied_volatility_and_greeks
from optionmath.kernels import elementary

SCALE = int(os.environ.get("TT_TEST_SCALE", "1"))
QUANTLIB_CASES, VOLLIB_CASES = 10_000 * SCALE, 1_000 * SCALE


def market(count: int, seed: int) -> tuple[Floats, Floats, Floats, Floats, Floats, Floats, Bools]:
    """Spot, strike, years, volatility, rate, dividend yield and right of options as they are traded.

    1 day to 3 years, 5 to 250 % volatility, within 3 deviations of the forward, time value of 1e-4 of the spot or more.
    """
    generator = np.random.default_rng(seed)
    draws = 3 * count
    spot = np.exp(generator.uniform(1, 9, draws))
    years, sigma = np.exp(generator.uniform(-5.9, 1.1, draws)), np.exp(generator.uniform(-3, 0.9, draws))
    strike = spot * np.exp(generator.uniform(-3, 3, draws) * sigma * np.sqrt(years))
    rate, dividend_yield = generator.uniform(-0.01, 0.1, draws), generator.uniform(0, 0.08, draws)
    is_call = generator.random(draws) < 0.5
    terms = (spot, strike, years)
    worth = price(*terms, sigma, rate, dividend_yield, is_call) - price(*terms, 0, rate, dividend_yield, is_call)
    keep = np.flatnonzero(worth > 1e-4 * spot)[:count]
    assert keep.size == count
    return (*(each[keep] for each in (*terms, sigma, rate, dividend_yield)), is_call[keep])  # type: ignore[return-value]


def scales(options: tuple[Floats, ...], gamma: Floats) -> Floats:
    """What an error of price, delta, gamma, theta, vega, rho and volatility is measured by."""
    spot, strike, years, sigma, *_ = options
    greater = np.maximum(spot, strike)
    return np.stack([greater, greater / spot, gamma, greater / years / 365, greater, greater, sigma])


def test_agrees_with_quantlib() -> None:
    """Prices and greeks within 1e-14 to 1e-12 of their scale, volatilities within 2e-11 of its solver's."""
    spot, strike, years, _, rate, dividend_yield, is_call = options = market(QUANTLIB_CASES, 1)
    value, own = price(*options), greeks(*options)
    both = implied_volatility_and_greeks(value, spot, strike, years, rate, dividend_yield, is_call)
    assert (both.status == VolatilityStatus.OK).all()
    found = np.empty((7, value.size))
    for i, (s, k, t, v, r, q, call) in enumerate(zip(*(each.tolist() for each in options), strict=True)):
        side = QuantLib.Option.Call if call else QuantLib.Option.Put
        discount = float(np.exp(-r * t))
        forward = s * float(np.exp(-q * t)) / discount
        black = QuantLib.BlackCalculator(QuantLib.PlainVanillaPayoff(side, k), forward, v * t**0.5, discount)
        solved = QuantLib.blackFormulaImpliedStdDev(
            side, k, forward, float(value[i]), discount, 0.0, v * t**0.5, 1e-14, 1000
        )
        found[:, i] = (
            black.value(),
            black.delta(s),
            black.gamma(s) * s,
            black.theta(s, t) / 365,
            black.vega(t) / 100,
            black.rho(t) / 100,
            solved / t**0.5,
        )
    ours = np.stack([value, own.delta, own.gamma * spot, own.theta, own.vega, own.rho, both.volatility])
    worst = (np.abs(ours - found) / scales(options, found[2])).max(axis=1)
    assert (worst <= [1e-14, 1e-13, 1e-12, 1e-13, 1e-14, 1e-14, 2e-11]).all(), worst


def test_agrees_with_vollib() -> None:
    """The same bounds; its solver is Let's Be Rational."""
    spot, strike, years, _, rate, dividend_yield, is_call = options = market(VOLLIB_CASES, 2)
    value, own = price(*options), greeks(*options)
    both = implied_volatility_and_greeks(value, spot, strike, years, rate, dividend_yield, is_call)
    found = np.empty((7, value.size))
    for i, (s, k, t, v, r, q, call) in enumerate(zip(*(each.tolist() for each in options), strict=True)):
        flag = "c" if call else "p"
        found[:, i] = (
            black_scholes_merton(flag, s, k, t, r, v, q),
            vollib_greeks.delta(flag, s, k, t, r, v, q),
            vollib_greeks.gamma(flag, s, k, t, r, v, q) * s,
            vollib_greeks.theta(flag, s, k, t, r, v, q),
            vollib_greeks.vega(flag, s, k, t, r, v, q),
            vollib_greeks.rho(flag, s, k, t, r, v, q),
            vollib_implied_volatility(float(value[i]), s, k, t, r, q, flag),
        )
    ours = np.stack([value, own.delta, own.gamma * spot, own.theta, own.vega, own.rho, both.volatility])
    worst = (np.abs(ours - found) / scales(options, found[2])).max(axis=1)
    assert (worst <= [1e-14, 1e-13, 1e-12, 1e-13, 1e-14, 1e-14, 2e-11]).all(), worst


@numba.njit(error_model="numpy")
def _elementary(numbers: Floats, positive: Floats, distances: Floats, out: Floats) -> None:
    for i in range(numbers.size):
        out[0, i] = elementary.exp(numbers[i])
        out[1, i] = elementary.log(positive[i])
        out[2, i] = elementary.erfcx(distances[i])
        out[3, i], out[4, i] = elementary.erfcx_pair(distances[i], distances[-1 - i])
        out[5, i] = elementary.log_roughly(positive[i])
        out[6, i], out[7, i] = elementary.erfcx_pair_roughly(distances[i], distances[-1 - i])
        out[8, i] = elementary.erfcx_roughly(distances[i])


def test_elementary_functions_are_as_exact_as_they_say() -> None:
    """exp and log to 4e-16, erfcx to 2e-15 relative; the rough ones to 1e-7."""
    count = 20_000
    numbers = np.concatenate([np.linspace(-700, 700, count // 2), np.linspace(-1, 1, count // 2)])
    positive = np.concatenate([np.logspace(-300, 300, count // 2), np.linspace(0.5, 2, count // 2)])
    distances = np.concatenate([np.linspace(0, 8, count // 2), np.logspace(-8, 60, count // 2)])
    out = np.empty((9, count))
    _elementary(numbers, positive, distances, out)
    long_log = np.log(positive.astype(np.longdouble))
    assert np.abs(out[0] / np.exp(numbers.astype(np.longdouble)) - 1).max() < 4e-16
    assert (np.abs(out[1] - long_log) <= 4e-16 * np.abs(long_log)).all()
    for row, expected, error in (
        (2, erfcx(distances), 2e-15),
        (3, erfcx(distances), 2e-15),
        (4, erfcx(distances[::-1]), 2e-15),
        (6, erfcx(distances), 1e-8),
        (7, erfcx(distances[::-1]), 1e-8),
        (8, erfcx(distances), 1e-8),
    ):
        assert np.abs(out[row] / expected - 1).max() < error, row
    assert np.abs(out[5] - long_log).max() < 1e-6
    assert float(mpmath.exp(1)) == np.float64(np.e)


def _python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_prices_and_greeks_do_not_load_the_compiler() -> None:
    """A service that only prices a few options never imports numba, which costs half a second and 80 MB."""
    code = (
        "import sys\nfrom optionmath.blackscholes import greeks, price\nfrom optionmath import black76\n"
        "price(100, 100, 1, .2, .04, 0, True); greeks(100, 100, 1, .2, .04, 0, True)\n"
        "print('numba' in sys.modules)"
    )
    assert _python(code) == "False"


def test_a_second_start_compiles_nothing() -> None:
    """Every kernel comes from numba's cache on disk, whatever arrays come in: read-only, strided, scalar."""
    code = (
        "import numpy as np\nfrom optionmath.implied_volatility import *\nfrom optionmath.scenario import *\n"
        "from optionmath.kernels import european, scenario\n"
        "for value in ([4.0, -1.0], 4.0, np.ones(6)[::2], np.frombuffer(np.ones(3).tobytes())):\n"
        "    implied_volatility(value, 100, 100, .25, .04, 0, True)\n"
        "    implied_volatility_and_greeks(value, 100, 100, .25, .04, 0, True)\n"
        "european_grid(100, 100, .25, .2, .04, 0, True, 1, [0, .1], [0])\n"
        "european_portfolio_grid(100, 100, .25, .2, .04, 0, True, 1, [0, .1], [0])\n"
        "kernels = (european.implied, european.mend, european.implied_with_greeks, european.mend_with_greeks,\n"
        "           scenario.grid, scenario.grid_total)\n"
        "print(sum(len(each.stats.cache_misses) for each in kernels), min(len(each.signatures) for each in kernels),\n"
        "      max(len(each.signatures) for each in kernels))"
    )
    _python(code)
    assert _python(code) == "0 1 1"


def test_the_kernels_file_is_where_the_compiled_code_is() -> None:
    """No public module compiles anything: they check, document and call."""
    folder = Path(elementary.__file__).parents[1]
    for name in ("blackscholes", "black76", "implied_volatility", "scenario", "slices"):
        assert "njit" not in (folder / f"{name}.py").read_text()
