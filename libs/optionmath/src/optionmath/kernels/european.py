"""Implied volatility of European options, alone or with greeks in one pass.

The hot loops have no branch and call nothing that LLVM cannot inline: they become vector code (see `elementary`). They
run over slices of what the caller passes, so that every index is provably non-negative. An element that the vector loop
declines is left NaN, and a second kernel that looks at those alone finds out why, or solves it carefully.

All prices are discounted: f = S e^(-qT), k = K e^(-rT). With x = -|ln(f/k)| and s = σ√T, the out-of-the-money option of
the pair is worth `part` of the lesser of f and k; `rest` = 1 - part, computed from the distance to the upper bound.

Sources: Jäckel, Let's Be Rational (2015), for the objectives 1/ln b below the inflection point s = √(2|x|) and
ln(1 - b) above it, and for the fourth-order Householder step; Stefanica and Radoičić, An explicit implied volatility
formula (2017), for the first guess; Hull, Options, Futures, and Other Derivatives, chapters 15, 17, 19, for the greeks.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from optionmath.kernels.elementary import (
    ROOT_HALF,
    ROOT_HALF_PI,
    ROOT_TWO,
    ROOT_TWO_PI,
    compiled,
    erfcx,
    erfcx_pair,
    erfcx_pair_roughly,
    erfcx_roughly,
    exp,
    inlined,
    log,
    log_roughly,
    outlined,
    vectorised,
)

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.int8]

OK, BELOW_INTRINSIC, ABOVE_BOUND, NO_TIME, NOT_A_NUMBER, BAD_INPUT = 0, 1, 2, 3, 4, 5
"""The codes of `optionmath.blackscholes.VolatilityStatus`."""
_BLOCK = 2048
_NOISE = 8.9e-16
"""Four roundings, relative to the greater of forward and strike: time value below it is only an error of rounding."""
_YEARS_MIN = 1e-12
"""30 microseconds: less is no time at all, and theta would have no number."""
_PRICE_MIN, _PRICE_MAX = 1e-100, 1e100
"""Of spot and strike: beyond them gamma and theta would have no number."""
_PART_MIN, _GROWTH_MAX = 1e-290, 100.0
_DEVIATION_SMALL = 1e-6
_CONVERGED = 3e-5
"""Greatest second step, relative: what is left after it is about its third power."""
_GUESS_MIN = 3e-4
"""Below it the rough functions of the first step lose too many digits; the guess itself is always good to 12 %."""
_PAST = 1.0001
"""How far past the inflection point a solution may lie: the series for erfcx still holds there."""


@inlined
def _guess(x: float, part: float, rest: float, ey: float, centre: float, root: float, low: bool) -> float:
    """Total volatility within 12 %: the closed form, held on the right side of the tangent at the inflection point."""
    g1 = exp(0.36338022763241865 * x)  # 1 - 2/π
    inverse = 1.0 / (ey * g1)
    g2, iey, al = ey * inverse, g1 * inverse, part * ey
    a = (g1 - g2) * (g1 - g2)
    r = 2.0 * al - ey + 1.0
    b = 4.0 * (ey * g2 + g1 * iey) - 2.0 * iey * (g1 + g2) * (ey * ey + 1.0 - r * r)
    c = 16.0 * iey * al * (al - ey + 1.0) * rest * (1.0 + al)
    be = 2.0 * c / (b + math.sqrt(max(b * b + 4.0 * a * c, 0.0)))
    ga = -1.5707963267948966 * log_roughly(max(min(be, 0.9999999999), 1e-300))
    minus, plus = math.sqrt(max(ga + x, 0.0)), math.sqrt(max(ga - x, 0.0))
    s = plus - minus if low else plus + minus
    tangent = ROOT_TWO * root + (part - centre) * ROOT_TWO_PI
    return max(min(s, tangent) if low else max(s, tangent), 1e-9)


@inlined
def _step(
    s: float, h: float, hs: float, gap: float, logarithm: float, target: float, inverse_target: float, low: bool
) -> tuple[float, float, float]:
    """Householder's step of order four towards ln(price or distance) = target: numerator, denominator, and Newton's.

    With g = ln b (low) or ln(1 - b), both objectives are one formula in `weight`: g itself, or -1. hs = h/s; gap as
    `_gap` gives it; logarithm = g. The sign of Newton's step is certain.
    """
    e = (target - logarithm) * inverse_target
    weight = logarithm if low else -1.0
    newton = e * weight * ROOT_HALF_PI * gap
    q = e * (weight + 2.0)
    d2 = h * hs - 0.25 * s
    d3 = d2 * d2 - 3.0 * hs * hs - 0.25
    nd = newton * d2
    a = nd - q
    b = newton * newton * d3 - 3.0 * nd * q + 2.0 * e * e * (weight * (weight + 3.0) + 3.0)
    return newton * (1.0 + 0.5 * a), max(1.0 + a + 0.16666666666666666 * b, 1e-3), newton


@inlined
def _moved(s: float, above: float, below: float, limit: float, low: bool) -> tuple[float, float, float]:
    """s + above/below with one division, at most doubled, at least halved, and on its own side of the inflection point.

    Returns the new s, its inverse, and the relative step.
    """
    span = s * below
    top = span + max(min(above, span), -0.5 * span)
    edge = limit * below
    top = min(top, edge) if low else max(top, edge)
    inverse = 1.0 / (below * top)
    return top * top * inverse, below * below * inverse, abs(top - span) * below * inverse


@inlined
def _solve(x: float, part: float, rest: float, ey: float) -> tuple[float, float, bool]:
    """Total volatility after two steps, its inverse, and whether it is to be believed."""
    root = math.sqrt(-x)
    centre = 0.5 - 0.5 * erfcx_roughly(root)
    low = part <= centre
    target = log(part if low else rest) + 0.5 * x
    inverse_target = 1.0 / (target if low else 1.0)
    limit = ROOT_TWO * root * (_PAST if low else 2.0 - _PAST)  # the side is known roughly
    guess = _guess(x, part, rest, ey, centre, root, low)
    inverse = 1.0 / guess
    h, t = x * inverse, 0.5 * guess
    ea, eb = erfcx_pair_roughly(abs(h + t) * ROOT_HALF, (t - h) * ROOT_HALF)
    gap = ea - eb if low else ea + eb
    logarithm = log_roughly(0.5 * gap) - 0.5 * (h * h + t * t)
    above, below, _ = _step(guess, h, h * inverse, gap, logarithm, target, inverse_target, low)
    s, inverse, _ = _moved(guess, above, below, limit, low)
    h, t = x * inverse, 0.5 * s
    side = h + t
    ea, eb = erfcx_pair((-side if low else side) * ROOT_HALF, (t - h) * ROOT_HALF)
    gap = ea - eb if low else ea + eb
    logarithm = log(0.5 * gap) - 0.5 * (h * h + t * t)
    e = (target - logarithm) * inverse_target  # what is left is so small that Halley's step, the third order, will do
    weight = logarithm if low else -1.0
    newton = e * weight * ROOT_HALF_PI * gap
    d2 = h * h * inverse - 0.25 * s
    s, inverse, moved = _moved(s, newton, 1.0 + 0.5 * (newton * d2 - e * (weight + 2.0)), limit, low)
    return s, inverse, (moved < _CONVERGED) & (guess > _GUESS_MIN)


@outlined
def _solve_carefully(x: float, part: float, rest: float, log_part: float, log_rest: float) -> float:
    """Total volatility by the same steps, kept in a bracket that each narrows; bisection where one would leave it."""
    root = math.sqrt(-x)
    centre = 0.5 - 0.5 * erfcx(root)
    small = part < 4e-7
    low = small or part <= centre
    target = (log_part if low else log_rest) + 0.5 * x
    inverse_target = 1.0 / (target if low else 1.0)
    limit = ROOT_TWO * root
    below = 0.0 if low else limit
    above = max(1e-5, limit) if small else limit if low else 1.01 * math.sqrt(-8.0 * target) + 1e-5
    s = _guess(x, part, rest, math.exp(x), centre, root, low) if x > -300.0 else 0.5 * (below + above)
    if small and s < 1e-5:
        s = max(part * ROOT_TWO_PI, -x / math.sqrt(max(-2.0 * target, 1.0)))
    for _ in range(200):
        if not below < s < above:
            s = 0.5 * (below + above)
        h, t = x / s, 0.5 * s
        if s < _DEVIATION_SMALL:  # from the slope of erfcx: the difference itself would drown in rounding
            z = -h * ROOT_HALF
            gap = ROOT_TWO * t * (1.1283791670955126 - 2.0 * z * erfcx(z))
        else:
            ea, eb = erfcx_pair(abs(h + t) * ROOT_HALF, (t - h) * ROOT_HALF)
            gap = ea - eb if low else ea + eb
        logarithm = math.log(0.5 * gap) - 0.5 * (h * h + t * t)
        upper, lower, newton = _step(s, h, h / s, gap, logarithm, target, inverse_target, low)
        if newton > 0.0:
            below = s
        else:
            above = s
        step = upper / lower
        if abs(step) <= 4e-16 * s or above - below <= 4e-16 * s:
            return s
        s += step
    return s


@inlined
def _normalise(
    value: float, spot: float, strike: float, t: float, rate: float, dividend_yield: float, is_call: bool
) -> tuple[bool, float, float, float, float, float, float]:
    """Whether the vector loop can take it; f, k, ln(f/k), part, rest, e^x: harmless numbers where it cannot."""
    f = spot * exp(-dividend_yield * t)
    k = strike * exp(-rate * t)
    product = f * k
    inverse = 1.0 / product
    in_the_money = (f > k) == is_call
    inverse_least = max(f, k) * inverse
    bound = f if is_call else k
    part = (value - abs(f - k) if in_the_money else value) * inverse_least
    rest = (bound - value) * inverse_least
    noise = _NOISE * bound * inverse_least
    ok = (t >= _YEARS_MIN) & (min(spot, strike) > _PRICE_MIN) & (max(spot, strike) < _PRICE_MAX)
    ok = ok & (part > (noise if in_the_money else _PART_MIN)) & (rest > noise)  # false for any NaN but a rate's
    ok = ok & (abs(dividend_yield * t) < _GROWTH_MAX) & (abs(rate * t) < _GROWTH_MAX)
    ratio = f * f * inverse if ok else 1.0
    return (
        ok,
        f,
        k,
        log(ratio),
        part if ok else 0.5,
        rest if ok else 0.5,
        min(f, k) * min(f, k) * inverse if ok else 1.0,
    )


@outlined
def _mend(
    value: float, spot: float, strike: float, t: float, rate: float, dividend_yield: float, is_call: bool
) -> tuple[int, float]:
    """Status and total volatility (NaN unless OK) of one element that the vector loop declined."""
    total = value + spot + strike + t + rate + dividend_yield
    if not math.isfinite(total):
        return NOT_A_NUMBER, math.nan
    if not (_PRICE_MIN < spot < _PRICE_MAX and _PRICE_MIN < strike < _PRICE_MAX):
        return BAD_INPUT, math.nan
    if t < _YEARS_MIN:
        return NO_TIME, math.nan
    f, k = spot * math.exp(-dividend_yield * t), strike * math.exp(-rate * t)
    if not (0.0 < f < math.inf and 0.0 < k < math.inf):
        return BAD_INPUT, math.nan
    least, bound = min(f, k), f if is_call else k
    in_the_money = (f > k) == is_call
    beyond = value - abs(f - k) if in_the_money else value
    if beyond <= (_NOISE * bound if in_the_money else 0.0):
        return BELOW_INTRINSIC, math.nan
    if bound - value <= _NOISE * bound:
        return ABOVE_BOUND, math.nan
    log_part, log_rest = math.log(beyond) - math.log(least), math.log(bound - value) - math.log(least)
    x = -abs(math.log(f) - math.log(k))
    return OK, _solve_carefully(x, beyond / least, (bound - value) / least, log_part, log_rest)


@inlined
def _greeks(
    value: float,
    s: float,
    inverse_s: float,
    f: float,
    k: float,
    x: float,
    t: float,
    root: float,
    inverse_root: float,
    rate: float,
    dividend_yield: float,
    is_call: bool,
) -> tuple[float, float, float, float, float, float]:
    """From the price and the s it gives: volatility, S delta, S² gamma, theta a day, vega a point, rho a point.

    x = ln(f/k), root = √t.
    """
    d1 = x * inverse_s + 0.5 * s
    d2 = d1 - s
    half = 0.5 * exp(-0.5 * d1 * d1) * f
    d, whole = (d2, k) if is_call else (-d1, f)  # k N(d2) of a call, f N(-d1) of a put
    tail = half * erfcx(abs(d) * ROOT_HALF)
    lesser = tail if d < 0.0 else whole - tail
    greater = lesser + value
    n1, n2 = (greater, lesser) if is_call else (lesser, greater)
    sign = 1.0 if is_call else -1.0
    density = half * 0.7978845608028654  # f φ(d1): √(2/π) times the half
    decay = sign * (dividend_yield * n1 - rate * n2) - 0.5 * density * s * inverse_root * inverse_root
    return (
        s * inverse_root,
        sign * n1,
        density * inverse_s,
        decay * 0.0027397260273972603,
        density * root * 0.01,
        sign * t * n2 * 0.01,
    )


@vectorised
def implied(
    all_values: Floats,
    all_spots: Floats,
    all_strikes: Floats,
    all_years: Floats,
    all_rates: Floats,
    all_yields: Floats,
    all_calls: Bools,
    all_volatilities: Floats,
) -> int:
    """Implied volatility, NaN where there is none or where it needs more care: how many, for `mend` to see to."""
    declined = 0
    for start in range(0, all_values.size, _BLOCK):
        stop = min(all_values.size, start + _BLOCK)
        value, spot, strike = all_values[start:stop], all_spots[start:stop], all_strikes[start:stop]
        years, rate, dividend_yield = all_years[start:stop], all_rates[start:stop], all_yields[start:stop]
        is_call, volatility = all_calls[start:stop], all_volatilities[start:stop]
        for i in range(stop - start):
            ok, _, _, x, part, rest, ey = _normalise(
                value[i], spot[i], strike[i], years[i], rate[i], dividend_yield[i], is_call[i]
            )
            s, _, believed = _solve(-abs(x), part, rest, ey)
            ok = ok & believed
            declined += 0 if ok else 1
            volatility[i] = s / math.sqrt(years[i]) if ok else math.nan
    return declined


@vectorised
def implied_with_greeks(
    all_values: Floats,
    all_spots: Floats,
    all_strikes: Floats,
    all_years: Floats,
    all_rates: Floats,
    all_yields: Floats,
    all_calls: Bools,
    all_volatilities: Floats,
    all_deltas: Floats,
    all_gammas: Floats,
    all_thetas: Floats,
    all_vegas: Floats,
    all_rhos: Floats,
) -> int:
    """`implied` and the greeks at that volatility: delta, gamma, theta a day, vega and rho a point; NaN with it."""
    declined = 0
    for start in range(0, all_values.size, _BLOCK):
        stop = min(all_values.size, start + _BLOCK)
        value, spot, strike = all_values[start:stop], all_spots[start:stop], all_strikes[start:stop]
        years, rate, dividend_yield = all_years[start:stop], all_rates[start:stop], all_yields[start:stop]
        is_call, volatility = all_calls[start:stop], all_volatilities[start:stop]
        delta, gamma, theta = all_deltas[start:stop], all_gammas[start:stop], all_thetas[start:stop]
        vega, rho = all_vegas[start:stop], all_rhos[start:stop]
        for i in range(stop - start):
            t = years[i]
            ok, f, k, x, part, rest, ey = _normalise(
                value[i], spot[i], strike[i], t, rate[i], dividend_yield[i], is_call[i]
            )
            s, inverse, believed = _solve(-abs(x), part, rest, ey)
            ok = ok & believed
            declined += 0 if ok else 1
            root = math.sqrt(t)
            both = 1.0 / (root * spot[i])
            found = _greeks(
                value[i], s, inverse, f, k, x, t, root, both * spot[i], rate[i], dividend_yield[i], is_call[i]
            )
            per_share = both * root
            volatility[i] = found[0] if ok else math.nan
            delta[i] = found[1] * per_share if ok else math.nan
            gamma[i] = found[2] * per_share * per_share if ok else math.nan
            theta[i] = found[3] if ok else math.nan
            vega[i] = found[4] if ok else math.nan
            rho[i] = found[5] if ok else math.nan
    return declined


@compiled
def mend(
    value: Floats,
    spot: Floats,
    strike: Floats,
    years: Floats,
    rate: Floats,
    dividend_yield: Floats,
    is_call: Bools,
    volatility: Floats,
    status: Codes,
) -> None:
    """Completes `implied`: solves or explains each element that it left NaN; status comes in as zeros."""
    for i in range(value.size):
        if volatility[i] != volatility[i]:
            code, s = _mend(value[i], spot[i], strike[i], years[i], rate[i], dividend_yield[i], is_call[i])
            status[i] = code
            volatility[i] = s / math.sqrt(years[i]) if code == OK else math.nan


@compiled
def mend_with_greeks(
    value: Floats,
    spot: Floats,
    strike: Floats,
    years: Floats,
    rate: Floats,
    dividend_yield: Floats,
    is_call: Bools,
    volatility: Floats,
    delta: Floats,
    gamma: Floats,
    theta: Floats,
    vega: Floats,
    rho: Floats,
    status: Codes,
) -> None:
    """Completes `implied_with_greeks` as `mend` completes `implied`."""
    for i in range(value.size):
        if volatility[i] != volatility[i]:
            t = years[i]
            code, s = _mend(value[i], spot[i], strike[i], t, rate[i], dividend_yield[i], is_call[i])
            status[i] = code
            if code == OK:
                f, k = spot[i] * math.exp(-dividend_yield[i] * t), strike[i] * math.exp(-rate[i] * t)
                x, root = math.log(f) - math.log(k), math.sqrt(t)
                found = _greeks(
                    value[i], s, 1.0 / s, f, k, x, t, root, 1.0 / root, rate[i], dividend_yield[i], is_call[i]
                )
                volatility[i], theta[i], vega[i], rho[i] = found[0], found[3], found[4], found[5]
                delta[i], gamma[i] = found[1] / spot[i], found[2] / spot[i] / spot[i]
