"""American options on a continuous dividend yield: price, greeks, early exercise, implied volatility, scenario grid.

Method: spectral collocation of the exercise boundary (Andersen, Lake and Offengenden, J. Comp. Finance 2016); calls by
the symmetry of McDonald and Schroder (1998). Largest and mean errors are stated at `Accuracy`. Discrete cash dividends
are in `dividends`. Inputs broadcast; $ per share; years; volatility, rate and yield as fractions a year (continuous).
A bad element is NaN with a `PricingStatus` and leaves the others alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from optionmath import blackscholes
from optionmath.american_lanes import Accuracy, Lanes, Options, Picked, PricingStatus, tables_of
from optionmath.american_search import volatility_search
from optionmath.blackscholes import Bools, Codes, Floats, Greeks, VolatilityStatus
from optionmath.implied_volatility import implied_volatility as european_implied_volatility
from optionmath.kernels import american as kernel
from optionmath.slices import over_slices

__all__ = [
    "Accuracy",
    "AmericanValues",
    "EarlyExercise",
    "PricingStatus",
    "american_grid",
    "early_exercise",
    "exercise_boundary",
    "implied_volatility",
    "price",
    "price_and_greeks",
]

_DAYS = 365.0
_BUMP_VOLATILITY, _BUMP_RATE = 3e-3, 1e-4
_ROWS_PER_SLICE = 256
_FLAT = 1e-13
"""A price this near to its floor, relative, is at it."""


@dataclass(frozen=True, slots=True)
class AmericanValues:
    """Prices in $ per share with their greeks and a `PricingStatus` per element.

    Where the option is exercised now: delta ±1, the other greeks 0. At no time or no volatility: greeks NaN.
    """

    price: Floats
    greeks: Greeks
    status: Codes


@dataclass(frozen=True, slots=True)
class EarlyExercise:
    """What the right to exercise early is worth, and whether to use it now."""

    price: Floats
    european: Floats
    premium: Floats
    """price - european, $ per share, never negative."""
    critical_price: Floats
    """Spot at which exercise becomes optimal: at or below it for a put, at or above it for a call. NaN where it never
    does before expiration."""
    exercise_now: Bools
    status: Codes


def price(
    spot: npt.ArrayLike,
    strike: npt.ArrayLike,
    years: npt.ArrayLike,
    volatility: npt.ArrayLike,
    rate: npt.ArrayLike,
    dividend_yield: npt.ArrayLike,
    is_call: npt.ArrayLike,
    *,
    accuracy: Accuracy = Accuracy.STANDARD,
) -> Floats:
    """American option value, $ per share, never below intrinsic; NaN for a bad element (`price_and_greeks` says why).

    Without time or volatility: the best certain gain of all dates of exercise.
    """
    options = Options(spot, strike, years, volatility, rate, dividend_yield, is_call)
    return _prices(options, accuracy).reshape(options.shape)


def _prices(options: Options, accuracy: Accuracy) -> Floats:
    if options.early.all() and not options.bad.any():
        return options.floored(Lanes.of(options, options.early).price(tables_of(accuracy)))
    found = np.full(options.call.size, np.nan)
    found[options.early] = Lanes.of(options, options.early).price(tables_of(accuracy))
    return _settled(options, found)


def _settled(options: Options, found: Floats) -> Floats:
    """Fills in what needs no boundary and takes out what is bad."""
    found[options.certain] = options.certain_price(options.certain)
    found[options.european] = options.european_price(options.european)
    found[options.bad] = np.nan
    return options.floored(found)


def price_and_greeks(
    spot: npt.ArrayLike,
    strike: npt.ArrayLike,
    years: npt.ArrayLike,
    volatility: npt.ArrayLike,
    rate: npt.ArrayLike,
    dividend_yield: npt.ArrayLike,
    is_call: npt.ArrayLike,
    *,
    accuracy: Accuracy = Accuracy.STANDARD,
) -> AmericanValues:
    """Price with delta, gamma, theta a day, vega a point and rho a point.

    Delta and gamma are derivatives of the price's integral, theta follows from the Black–Scholes equation, vega and
    rho are central differences of full revaluations (0.3 % of the volatility, one basis point).
    """
    options = Options(spot, strike, years, volatility, rate, dividend_yield, is_call)
    tables, which = tables_of(accuracy), options.early
    found, *sensitivities = (np.full(options.call.size, np.nan) for _ in range(6))
    delta, gamma, theta, vega, rho = sensitivities
    if which.any():
        lanes = Lanes.of(options, which)
        value, first, second = lanes.values(tables, lanes.depth(tables))
        s, k, _, v, r, q, call = options.terms(which)
        ratio = np.exp(lanes.x)
        found[which] = lanes.scale * value
        delta[which] = np.where(call, value - ratio * first, first)
        gamma[which] = np.where(call, ratio * ratio * second / s, second / k)
        flow = r * found[which] - (r - q) * s * delta[which] - 0.5 * v * v * s * s * gamma[which]
        exercised = second == 0.0
        theta[which] = np.where(exercised, 0.0, flow / _DAYS)
        up, down = (Lanes.of(options, which, 1 + each).price(tables) for each in (_BUMP_VOLATILITY, -_BUMP_VOLATILITY))
        vega[which] = np.where(exercised, 0.0, (up - down) / (2 * _BUMP_VOLATILITY * v) / 100)
        up, down = (Lanes.of(options, which, rate_shift=each).price(tables) for each in (_BUMP_RATE, -_BUMP_RATE))
        rho[which] = np.where(exercised, 0.0, (up - down) / (2 * _BUMP_RATE) / 100)
    european = options.european
    if european.any():
        plain = blackscholes.greeks(*options.terms(european))
        closed = (plain.delta, plain.gamma, plain.theta, plain.vega, plain.rho)
        for ours, theirs in zip(sensitivities, closed, strict=True):
            ours[european] = theirs
    for each in sensitivities:
        each[options.bad] = np.nan
    value = _settled(options, found)
    shaped = (each.reshape(options.shape) for each in sensitivities)
    return AmericanValues(value.reshape(options.shape), Greeks(*shaped), options.status.reshape(options.shape))


def early_exercise(
    spot: npt.ArrayLike,
    strike: npt.ArrayLike,
    years: npt.ArrayLike,
    volatility: npt.ArrayLike,
    rate: npt.ArrayLike,
    dividend_yield: npt.ArrayLike,
    is_call: npt.ArrayLike,
    *,
    accuracy: Accuracy = Accuracy.FINE,
) -> EarlyExercise:
    """Price, European price, their difference, the critical price now and whether the holder should exercise now.

    Without time or volatility: exercise now where the intrinsic value is positive and waiting earns no more; there is
    no critical price.
    """
    options = Options(spot, strike, years, volatility, rate, dividend_yield, is_call)
    tables, which = tables_of(accuracy), options.early
    found, critical = np.full(options.call.size, np.nan), np.full(options.call.size, np.nan)
    now = np.zeros(options.call.size, dtype=np.bool_)
    if which.any():
        lanes = Lanes.of(options, which)
        depth = lanes.depth(tables)
        found[which] = lanes.scale * lanes.values(tables, depth)[0]
        boundary = lanes.top - depth[-1]
        critical[which] = options.strike[which] * np.exp(np.where(options.call[which], -boundary, boundary))
        now[which] = lanes.x <= boundary
    value = _settled(options, found)
    intrinsic = np.maximum(np.where(options.call, 1.0, -1.0) * (options.spot - options.strike), 0.0)
    now |= options.certain & ~options.bad & (intrinsic > 0) & (value <= intrinsic)
    european = np.where(options.bad, np.nan, options.european_price())
    shape = options.shape
    return EarlyExercise(
        value.reshape(shape),
        european.reshape(shape),
        np.maximum(value - european, 0.0).reshape(shape),
        critical.reshape(shape),
        now.reshape(shape),
        options.status.reshape(shape),
    )


def exercise_boundary(
    strike: float,
    years: float,
    volatility: float,
    rate: float,
    dividend_yield: float,
    is_call: bool,
    years_left: npt.ArrayLike,
    *,
    accuracy: Accuracy = Accuracy.FINE,
) -> Floats:
    """Critical price of one option at each time to expiration in `years_left` (within 0 … years), $ per share.

    At no time left it is the limit from before: the strike, or strike · rate/yield where that is beyond it (the
    reverse ratio for a call). NaN outside the option's life, for bad input, and everywhere if exercise never pays.
    """
    left = np.asarray(years_left, dtype=np.float64)
    options = Options(1.0, strike, years, volatility, rate, dividend_yield, is_call)
    if not options.early[0] or options.bad[0]:
        return np.full(left.shape, np.nan)
    tables, lanes = tables_of(accuracy), Lanes.of(options, options.early)
    squares = lanes.depth(tables)[:, 0] ** 2
    with np.errstate(invalid="ignore"):
        part = np.sqrt(np.where((left >= 0) & (left <= years), left / years, np.nan)).reshape(-1)
    boundary = lanes.top[0] - np.sqrt(np.maximum(tables.interpolated(part) @ squares, 0.0))
    return np.asarray(strike * np.exp(-boundary if is_call else boundary)).reshape(left.shape)


def implied_volatility(
    value: npt.ArrayLike,
    spot: npt.ArrayLike,
    strike: npt.ArrayLike,
    years: npt.ArrayLike,
    rate: npt.ArrayLike,
    dividend_yield: npt.ArrayLike,
    is_call: npt.ArrayLike,
    *,
    accuracy: Accuracy = Accuracy.STANDARD,
) -> tuple[Floats, Codes]:
    """Volatility at which the American price is `value`, and a `VolatilityStatus` per element. Never raises for one.

    The price must exceed what exercise now (and the European option without volatility) is worth: at that value any
    volatility up to some limit fits, none is implied, and the status is BELOW_INTRINSIC. Volatility above 1,000 % is
    ABOVE_BOUND; rates so negative that exercise pays between two prices only are BAD_INPUT.
    Secant steps on the European volatility of the American price, which is nearly the volatility itself, within a
    bracket that every step narrows; steps that leave it are bisected.
    """
    u, *rest = np.broadcast_arrays(
        np.asarray(value, dtype=np.float64),
        *(np.asarray(each, dtype=np.float64) for each in (spot, strike, years, rate, dividend_yield)),
        np.asarray(is_call, dtype=np.bool_),
    )
    s, k, t, r, q, call = rest
    shape, target = u.shape, u.reshape(-1)
    options = Options(s, k, t, 0.3, r, q, call)
    found = np.full(target.size, np.nan)
    european, status = european_implied_volatility(
        target, options.spot, options.strike, options.years, options.rate, options.dividend_yield, options.call
    )
    status = status.copy()
    plain = options.european
    found[plain] = european[plain]
    search = options.early & ~options.bad
    sign = np.where(options.call, 1.0, -1.0)
    with np.errstate(invalid="ignore"):
        floor = np.maximum(options.certain_price(), sign * (options.spot - options.strike))
        bound = np.where(options.call, options.spot, options.strike)
        early = {
            VolatilityStatus.OK: search,
            VolatilityStatus.BELOW_INTRINSIC: search & (target <= floor * (1 + _FLAT)),
            VolatilityStatus.ABOVE_BOUND: search & (target >= bound),
        }
    for code, which in early.items():
        status[which] = code
    status[options.status == PricingStatus.OUT_OF_RANGE] = VolatilityStatus.BAD_INPUT
    status[options.status == PricingStatus.TWO_BOUNDARIES] = VolatilityStatus.BAD_INPUT
    status[~np.isfinite(target) | (options.status == PricingStatus.NOT_A_NUMBER)] = VolatilityStatus.NOT_A_NUMBER
    good = np.flatnonzero(search & (status == VolatilityStatus.OK))
    if good.size:
        tables, terms = tables_of(accuracy), options.terms(good)

        def reprice(at: Picked, sigma: Floats) -> Floats:
            return Lanes.of(options, good[at], volatility_factor=sigma / options.volatility[good[at]]).price(tables)

        def image(at: Picked, price: Floats) -> Floats:
            s, k, t, _, r, q, call = (each[at] for each in terms)
            return european_implied_volatility(price, s, k, t, r, q, call)[0]

        scale = np.minimum(options.spot[good], options.strike[good])
        found[good] = volatility_search(target[good], european[good], scale, reprice, image, bounded=True)
        status[good[np.isnan(found[good])]] = VolatilityStatus.ABOVE_BOUND
    status[options.bad & (status == VolatilityStatus.OK)] = VolatilityStatus.BAD_INPUT
    found[status != VolatilityStatus.OK] = np.nan
    return found.reshape(shape), status.reshape(shape)


def american_grid(
    spot: npt.ArrayLike,
    strike: npt.ArrayLike,
    years: npt.ArrayLike,
    volatility: npt.ArrayLike,
    rate: npt.ArrayLike,
    dividend_yield: npt.ArrayLike,
    is_call: npt.ArrayLike,
    quantity: npt.ArrayLike,
    spot_shocks: npt.ArrayLike,
    volatility_shocks: npt.ArrayLike,
    *,
    days_forward: float = 0.0,
    accuracy: Accuracy = Accuracy.STANDARD,
) -> Floats:
    """quantity × American value of each position in each cell; arguments, shape and edges as `scenario.european_grid`.

    The exercise boundary is found once per position and volatility and serves all spots. Every cell is a full
    revaluation. At no time or volatility: the best certain gain. A position that cannot be valued is NaN throughout.
    """
    moves, factors = _shocks(spot_shocks, "spot"), _shocks(volatility_shocks, "volatility")
    *columns, lots, call = np.broadcast_arrays(
        *(
            np.atleast_1d(np.asarray(each, dtype=np.float64))
            for each in (spot, strike, years, volatility, rate, dividend_yield, quantity)
        ),
        np.atleast_1d(np.asarray(is_call, dtype=np.bool_)),
    )
    if lots.ndim != 1:
        raise ValueError(f"positions must broadcast to one dimension, was {lots.ndim}")
    s, k, t, v, r, q = columns
    left = np.maximum(t - days_forward / _DAYS, 0.0)
    book = Options(s, k, left, v, r, q, call)
    s, k, left, v, r, q, call = (each[:, None] for each in (s, k, left, v, r, q, call))
    rows = Options(s, k, left, v * factors, r, q, call)
    lanes = Lanes.of(rows, np.ones(rows.call.size, dtype=np.bool_))
    tables = tables_of(accuracy)
    depth = lanes.depth(tables)
    with np.errstate(divide="ignore"):
        logs = np.maximum(np.log(moves), -600.0)
    x = lanes.x[:, None] + np.where(rows.call, -1.0, 1.0)[:, None] * logs
    units = np.repeat(lots, factors.size)[:, None]
    scale = units * np.where(rows.call[:, None], rows.spot[:, None] * moves, rows.strike[:, None])
    out = np.empty((rows.call.size, moves.size))

    def work(start: int, stop: int) -> None:
        kernel.grid(
            x, lanes.a, lanes.b, lanes.s, lanes.top, rows.early, depth, tables.value_points, tables.value_weights,
            tables.value_interpolation, scale, out, start, stop,
        )  # fmt: skip

    over_slices(work, out.shape[0], at_least=_ROWS_PER_SLICE)
    if rows.certain.any():
        out[rows.certain] = units[rows.certain] * _certain_cells(rows, moves)
    cells = out.reshape(lots.size, factors.size, moves.size).transpose(0, 2, 1).copy()
    cells[book.bad | ~np.isfinite(lots)] = np.nan
    return cells


def _certain_cells(rows: Options, moves: Floats) -> Floats:
    """Values per share of the rows without time or volatility, at each moved spot; a worthless stock included."""
    s, k, t, v, r, q, call = (each[:, None] for each in rows.terms(rows.certain))
    moved = Options(np.maximum(s * moves, 1e-300), k, t, v, r, q, call)
    return moved.certain_price().reshape(-1, moves.size)


def _shocks(shocks: npt.ArrayLike, name: str) -> Floats:
    factors = 1.0 + np.atleast_1d(np.asarray(shocks, dtype=np.float64))
    if factors.ndim != 1 or not (np.isfinite(factors) & (factors >= 0.0)).all():
        raise ValueError(f"{name} shocks must be a list of finite numbers of -1 or more")
    return factors
