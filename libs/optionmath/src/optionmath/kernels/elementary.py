"""Elementary functions without branches, so that LLVM turns the loops that inline them into vector code.

The NumPy wheels' LLVM has no vector maths library: a call of `math.exp` inside a loop keeps the whole loop scalar.
Each function states its domain; outside it the result is meaningless and the caller selects another value.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Protocol, TypeVar, cast

import llvmlite.binding as llvm
import numba as nb
from numba import types
from numba.extending import intrinsic

_Function = TypeVar("_Function", bound=Callable[..., object])


class _Decorator(Protocol):
    """numba's decorators have no types: what they compile keeps the signature that it is written with."""

    def __call__(self, function: _Function, /) -> _Function: ...


inlined = cast(_Decorator, nb.njit(fastmath={"contract", "nsz"}, error_model="numpy", forceinline=True))
"""For the functions that the loops of a kernel call: they end up inside the loop."""
exactly_inlined = cast(_Decorator, nb.njit(fastmath={"contract"}, error_model="numpy", forceinline=True))
"""The same where the sign of a zero matters or bits are read."""

outlined = cast(_Decorator, nb.njit(error_model="numpy"))
"""For what a kernel calls seldom: compiled once, beside the loop."""


def _eight_lanes() -> bool:
    """Whether the processor that numba compiles for has vectors of eight doubles."""
    if os.environ.get("NUMBA_CPU_NAME"):
        return "+avx512f" in os.environ.get("NUMBA_CPU_FEATURES", "")
    return bool(llvm.get_host_cpu_features().get("avx512f"))


def _wide_vectors(on: bool) -> None:
    """Two vectors side by side, each as wide as the machine has them: the chains of dependent products are long.

    LLVM would take one narrow vector, and give up where a dozen arrays might overlap instead of checking that.
    """
    width = 8 if on and _eight_lanes() else 0  # 0: LLVM's own choice
    for option, value in (
        ("force-vector-width", width),
        ("force-vector-interleave", 2 if on else 0),
        ("runtime-memory-check-threshold", 300 if on else 8),
    ):
        llvm.set_option("optionmath", f"-{option}={value}")


compiled = cast(_Decorator, nb.njit(cache=True, nogil=True, fastmath={"contract", "nsz"}, error_model="numpy"))
"""For kernels: cached on disk, without the interpreter's lock.

numba's cache knows only the kernel's own file: after a change in this one, touch the kernels.
"""


def vectorised(function: _Function) -> _Function:
    """`compiled` in wide vector code, for kernels whose every inner loop can be: LLVM complains aloud of any other."""
    dispatcher = cast(Any, compiled(function))
    plainly = dispatcher.compile

    def compile_wide(signature: object) -> object:
        _wide_vectors(True)
        try:
            return plainly(signature)
        finally:
            _wide_vectors(False)

    dispatcher.compile = compile_wide
    return cast(_Function, dispatcher)


ROOT_TWO = 1.4142135623730951
ROOT_HALF = 0.7071067811865476
ROOT_TWO_PI = 2.5066282746310002
ROOT_HALF_PI = 1.2533141373155001
ONE_OVER_ROOT_TWO_PI = 0.3989422804014327
LN_ROOT_TWO_PI = 0.9189385332046727

_EXP_LIMIT = 708.0
_ROUNDING = 6755399441055744.0
"""1.5 · 2^52: adding it rounds to the nearest integer, which the low mantissa bits then hold."""
_LN2_HIGH, _LN2_LOW = 0.693147180369123816490, 1.90821492927058770002e-10
_LOG2_E = 1.4426950408889634


def _reinterpreted(to: types.Type, of: types.Type) -> Callable[..., object]:
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.bitcast(arguments[0], context.get_value_type(to))

    def typed(typing_context, x):  # type: ignore[no-untyped-def]
        return to(of), generate

    return typed


bits_of = cast(Callable[[float], int], intrinsic(_reinterpreted(types.int64, types.float64)))
"""The 64 bits of a double as an integer."""
double_of = cast(Callable[[int], float], intrinsic(_reinterpreted(types.float64, types.int64)))
"""The double that has these 64 bits."""


@exactly_inlined
def exp(x: float) -> float:
    """e^x for |x| <= 708, held at the ends outside it; relative error 2.2e-16. NaN gives a finite number.

    Cody–Waite reduction by ln 2 in two parts, then the Taylor series to degree 13 on |r| <= ln(2)/2.
    """
    x = max(-_EXP_LIMIT, min(_EXP_LIMIT, x))
    shifted = x * _LOG2_E + _ROUNDING
    n = shifted - _ROUNDING
    r = x - n * _LN2_HIGH
    r = r - n * _LN2_LOW
    u = r * r
    even = 2.08767569878681e-09
    odd = 1.6059043836821613e-10
    even = even * u + 2.755731922398589e-07
    odd = odd * u + 2.505210838544172e-08
    even = even * u + 2.48015873015873e-05
    odd = odd * u + 2.7557319223985893e-06
    even = even * u + 0.001388888888888889
    odd = odd * u + 0.0001984126984126984
    even = even * u + 0.041666666666666664
    odd = odd * u + 0.008333333333333333
    even = even * u + 0.5
    odd = odd * u + 0.16666666666666666
    p = 1.0 + (r + u * (even + r * odd))
    return double_of(bits_of(p) + (bits_of(shifted) << 52))


@exactly_inlined
def _split(x: float) -> tuple[float, float]:
    """e and f with x = 2^e (1 + f), 1 + f in [sqrt(1/2), sqrt(2))."""
    bits = bits_of(x)
    e = (bits - 0x3FE6A09E667F3BCD) >> 52
    return double_of(e + 0x4338000000000000) - _ROUNDING, double_of(bits - (e << 52)) - 1.0


@exactly_inlined
def log(x: float) -> float:
    """ln x for normal positive x; relative error 2e-16.

    ln(1 + f) = f - f²/2 + f³ p(f), p a Chebyshev approximation of degree 19 computed with 50 digits: no division.
    """
    exponent, f = _split(x)
    u = f * f
    even = 0.05748554048751585
    odd = -0.025756273663606243
    even = even * u + 0.053444176974625425
    odd = odd * u - 0.061342961672691015
    even = even * u + 0.058406342765761454
    odd = odd * u - 0.05360856701882465
    even = even * u + 0.06671753751728687
    odd = odd * u - 0.06266466226088553
    even = even * u + 0.07691994959425623
    odd = odd * u - 0.07142101941573994
    even = even * u + 0.0909091984317691
    odd = odd * u - 0.08333351558154618
    even = even * u + 0.11111110907085975
    odd = odd * u - 0.09999999813433899
    even = even * u + 0.1428571428764614
    odd = odd * u - 0.12499999999845825
    even = even * u + 0.1999999999999294
    odd = odd * u - 0.16666666666678762
    even = even * u + 0.33333333333333337
    odd = odd * u - 0.24999999999999967
    low = u * f * (even + f * odd) + exponent * _LN2_LOW
    return exponent * _LN2_HIGH + (f - (0.5 * u - low))


@exactly_inlined
def log_roughly(x: float) -> float:
    """ln x to 1e-7 absolute, for a step that another follows."""
    exponent, f = _split(x)
    u = f * f
    even = 0.16234189799212534
    odd = -0.1013405675118566
    even = even * u + 0.19898565048233238
    odd = odd * u - 0.17247013303835
    even = even * u + 0.333351141403469
    odd = odd * u - 0.24970071685057207
    even = even * u + 0.9999999425426718
    odd = odd * u - 0.5000036309272979
    return exponent * _LN2_HIGH + f * (even + f * odd)


@inlined
def _erfcx_series(t: float) -> float:
    """(1 + 2z) erfcx(z) at t = (z - 3.75)/(z + 3.75)."""
    u = t * t
    even = -2.623107347133476e-09
    odd = 3.1114333809799254e-10
    even = even * u + 3.197926671666804e-08
    odd = odd * u - 3.744210080962018e-09
    even = even * u - 2.4857126248016745e-07
    odd = odd * u + 2.3263508708859124e-08
    even = even * u + 1.7419821586224816e-06
    odd = odd * u - 5.7218230603224086e-08
    even = even * u - 1.1438048033346894e-05
    odd = odd * u - 9.73559896736775e-07
    even = even * u + 5.164652974177416e-05
    odd = odd * u + 2.238423915508223e-05
    even = even * u + 0.000293714378044958
    odd = odd * u - 0.0002901540805408417
    even = even * u - 0.009746579683265262
    odd = odd * u + 0.0017556258528952954
    even = even * u - 0.05869339857664934
    odd = odd * u + 0.028362277418956406
    even = even * u - 0.10880393014244462
    odd = odd * u + 0.09230432116037748
    even = even * u + 0.0035854154854790257
    odd = odd * u + 0.0822767384901452
    even = even * u + 1.2375126308378275
    odd = odd * u - 0.14024059858554697
    return even + t * odd


@inlined
def erfcx(z: float) -> float:
    """e^(z²) erfc(z) for 0 <= z <= 1e150; relative error 1e-15.

    (1 + 2z) erfcx(z) as a Chebyshev series in t = (z - 3.75)/(z + 3.75) (Shepherd and Laframboise, 1981), of degree 23,
    coefficients computed with 60 digits; even and odd powers apart, which halves the chain of dependent products.
    """
    shifted, scale = z + 3.75, 1.0 + 2.0 * z
    inverse = 1.0 / (shifted * scale)
    return _erfcx_series((z - 3.75) * scale * inverse) * shifted * inverse


@inlined
def erfcx_pair(a: float, b: float) -> tuple[float, float]:
    """erfcx(a), erfcx(b) for 0 <= a, b <= 1e70, with one division for the four that they need apart."""
    a_shifted, a_scale, b_shifted, b_scale = a + 3.75, 1.0 + 2.0 * a, b + 3.75, 1.0 + 2.0 * b
    a_both, b_both = a_shifted * a_scale, b_shifted * b_scale
    inverse = 1.0 / (a_both * b_both)
    a_inverse, b_inverse = b_both * inverse, a_both * inverse
    a_t, b_t = (a - 3.75) * a_scale * a_inverse, (b - 3.75) * b_scale * b_inverse
    return _erfcx_series(a_t) * a_shifted * a_inverse, _erfcx_series(b_t) * b_shifted * b_inverse


@inlined
def _erfcx_series_roughly(t: float) -> float:
    """(1 + 2z) erfcx(z) at t = (z - 2.5)/(z + 2.5), to 6e-9."""
    u = t * t
    even = -6.391786604416434e-05
    odd = -6.190753097048105e-05
    even = even * u + 0.00046333752059866723
    odd = odd * u + 0.0005757346293414969
    even = even * u + 0.000946759630325494
    odd = odd * u - 0.004350492340489629
    even = even * u - 0.10297053835625594
    odd = odd * u + 0.03275205256865231
    even = even * u - 0.0990242416580846
    odd = odd * u + 0.157630994361539
    even = even * u + 1.2648381802377981
    odd = odd * u - 0.12235680075158781
    return even + t * odd


@inlined
def erfcx_roughly(z: float) -> float:
    """erfcx(z) for 0 <= z <= 1e150 to 6e-9, for a step that another follows."""
    shifted, scale = z + 2.5, 1.0 + 2.0 * z
    inverse = 1.0 / (shifted * scale)
    return _erfcx_series_roughly((z - 2.5) * scale * inverse) * shifted * inverse


@inlined
def erfcx_pair_roughly(a: float, b: float) -> tuple[float, float]:
    """`erfcx_pair` to 6e-9, for a step that another follows."""
    a_shifted, a_scale, b_shifted, b_scale = a + 2.5, 1.0 + 2.0 * a, b + 2.5, 1.0 + 2.0 * b
    a_both, b_both = a_shifted * a_scale, b_shifted * b_scale
    inverse = 1.0 / (a_both * b_both)
    a_inverse, b_inverse = b_both * inverse, a_both * inverse
    a_t, b_t = (a - 2.5) * a_scale * a_inverse, (b - 2.5) * b_scale * b_inverse
    return _erfcx_series_roughly(a_t) * a_shifted * a_inverse, _erfcx_series_roughly(b_t) * b_shifted * b_inverse
