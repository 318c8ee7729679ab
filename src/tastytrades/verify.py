"""`tastytrades verify`: recompute the numbers of a reference file with the product's own functions.

Units of the file: K, T, r, q, sigma natural (dollars, years, fractions); theta per year; vega and rho per 1.00.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from optionmath import american, american_benchmarks, blackscholes
from optionmath.law import Definition, FlatCurve, market_law, touch_probability
from optionmath.payoff import analyse
from optionmath.probability import LinearPayoff, profit_probability
from optionmath.revaluation import Book, OptionHolding, calm, revalue
from optionmath.svi import RawSvi, check
from tastytrades.reference_file import NUMBERS, Row, Shape, read

_BREAKEVEN_TOLERANCE = 1e-9
_DATES = re.compile(r"(\d+) exercise dates/yr")
_AMERICAN = Shape(styles=("american",))
_AMERICAN_ON_DATES = replace(_AMERICAN, optional=("exercises_per_year",))

Floats = npt.NDArray[np.float64]
Terms = tuple[Floats, Floats, Floats, Floats, Floats, Floats, npt.NDArray[np.bool_]]
"""Spot, strike, years, sigma, rate, dividend yield, is_call: the order of the pricing functions."""


@dataclass(frozen=True, slots=True)
class Kind:
    """How all rows of a kind are recomputed at once, and what each must carry."""

    compute: Callable[[Sequence[Row]], Floats]
    shape: Shape = field(default_factory=Shape)


@dataclass(frozen=True, slots=True)
class Result:
    """One recomputed row."""

    row: Row
    computed: float

    @property
    def error(self) -> float:
        """Absolute difference; infinite where nothing could be computed."""
        return abs(self.computed - self.row.expected) if math.isfinite(self.computed) else math.inf

    @property
    def inside(self) -> bool:
        return self.error <= self.row.tolerance

    @property
    def computed_text(self) -> str:
        words = KINDS[self.row.kind].shape.words
        if not math.isfinite(self.computed):
            return "no result"
        return words[int(self.computed)] if words else f"{self.computed:.10g}"


@dataclass(frozen=True, slots=True)
class Verification:
    """All rows of a file, recomputed."""

    path: Path
    results: tuple[Result, ...]

    @property
    def outside(self) -> tuple[Result, ...]:
        """Rows whose error is above their tolerance."""
        return tuple(each for each in self.results if not each.inside)

    def by_kind(self) -> Iterator[tuple[str, list[Result], Result]]:
        """Each kind in the file's order with its results and the one with the largest error."""
        for kind in dict.fromkeys(each.row.kind for each in self.results):
            own = [each for each in self.results if each.row.kind == kind]
            yield kind, own, max(own, key=lambda each: each.error)


def verify_file(path: Path) -> Verification:
    """Recompute every row. Raises RuntimeFault for a file that cannot be used, naming row, column and value."""
    rows = read(path, {name: kind.shape for name, kind in KINDS.items()})
    computed: dict[int, float] = {}
    for kind in dict.fromkeys(row.kind for row in rows):
        own = [row for row in rows if row.kind == kind]
        values = KINDS[kind].compute(own)
        computed |= {row.number: float(value) for row, value in zip(own, values, strict=True)}
    return Verification(path, tuple(Result(row, computed[row.number]) for row in rows))


def _terms(rows: Sequence[Row]) -> Terms:
    s, k, t, r, q, v = (np.array([row.numbers[name] for row in rows]) for name in NUMBERS)
    return s, k, t, v, r, q, np.array([row.is_call for row in rows], dtype=np.bool_)


def _extra(rows: Sequence[Row], name: str) -> Floats:
    return np.array([float(row.extra[name]) for row in rows])


def _greek(name: str, scale: float) -> Kind:
    """A first-order greek in the file's units: `scale` times the product's."""

    def compute(rows: Sequence[Row]) -> Floats:
        found: Floats = getattr(blackscholes.greeks(*_terms(rows)), name)
        return found * scale

    return Kind(compute)


def _implied_volatility(rows: Sequence[Row]) -> Floats:
    s, k, t, _, r, q, call = _terms(rows)
    return blackscholes.implied_volatility(_extra(rows, "price"), s, k, t, r, q, call)[0]


def _touch(rows: Sequence[Row]) -> Floats:
    s, k, t, v, r, q, _ = _terms(rows)
    return touch_probability(s, k, t, v, r - q)


def _digital_cash(rows: Sequence[Row]) -> Floats:
    return blackscholes.digital(*_terms(rows)) * _extra(rows, "cash")


def _american(rows: Sequence[Row]) -> Floats:
    """Exercise at any time, or on as many dates a year as `extra` (exercises_per_year) or the source says."""
    terms = _terms(rows)
    always = american.price(*terms, accuracy=american.Accuracy.REFERENCE)
    dates = np.array([_exercises_per_year(row) for row in rows])
    return np.where(np.isnan(dates), always, american_benchmarks.on_dates(*terms, dates))


def _exercises_per_year(row: Row) -> float:
    stated = row.extra.get("exercises_per_year")
    said = _DATES.search(row.source)
    return float(stated) if stated else float(said.group(1)) if said else math.nan


def _quadratic_approximation(rows: Sequence[Row]) -> Floats:
    """Barone-Adesi and Whaley's value, as the risk model computes it: one unit of each option, nothing happens."""
    legs = []
    for row in rows:
        k, t, r, q, v = (row.numbers[name] for name in ("K", "T", "r", "q", "sigma"))
        name = str(row.number)
        legs.append(OptionHolding(name, name, row.is_call, k, t, v, 1.0, r, q, multiplier=1.0, american=True))
    book = Book.of(legs, {str(row.number): row.numbers["S"] for row in rows})
    return revalue(book, calm(book))[:, 0]


def _profit_probability(rows: Sequence[Row]) -> Floats:
    return np.array([_one_profit_probability(row) for row in rows])


def _one_profit_probability(row: Row) -> float:
    """Under one lognormal. NaN when break-evens are stated and are not those of the legs."""
    found = analyse(row.legs, Decimal(row.extra["net"])).breakevens
    if row.breakevens and not (
        len(row.breakevens) == len(found)
        and np.allclose(row.breakevens, [float(each) for each in found], rtol=0, atol=_BREAKEVEN_TOLERANCE)
    ):
        return math.nan
    payoff = LinearPayoff.of_legs(
        [leg.is_call for leg in row.legs],
        [float(leg.strike) for leg in row.legs],
        [float(leg.signed_quantity) for leg in row.legs],
        float(row.extra["net"]),
    )
    s, t, r, q, v = (row.numbers[name] for name in ("S", "T", "r", "q", "sigma"))
    if not t * v > 0:
        return math.nan
    law = market_law(FlatCurve(v * v * t), s * math.exp((r - q) * t), t, Definition.FLAT)
    return profit_probability(payoff, law)


def _butterfly(rows: Sequence[Row]) -> Floats:
    names = ("a", "b", "rho", "m", "sigma")
    return np.array([float(not check(RawSvi(*(float(row.extra[name]) for name in names))).free) for row in rows])


KINDS: Mapping[str, Kind] = {
    "bs_price": Kind(lambda rows: blackscholes.price(*_terms(rows))),
    "implied_volatility": Kind(_implied_volatility, Shape(("S", "K", "T", "r", "q"), extra=("price",))),
    "greek_delta": _greek("delta", 1.0),
    "greek_gamma": _greek("gamma", 1.0),
    "greek_theta": _greek("theta", 365.0),
    "greek_vega": _greek("vega", 100.0),
    "greek_rho": _greek("rho", 100.0),
    "greek_elasticity": Kind(lambda rows: blackscholes.elasticity(*_terms(rows))),
    "digital_cash": Kind(_digital_cash, Shape(extra=("cash",))),
    "probability_itm": Kind(lambda rows: blackscholes.in_the_money_probability(*_terms(rows))),
    "probability_touch": Kind(_touch, Shape(types=())),
    "american_true": Kind(_american, _AMERICAN_ON_DATES),
    "american_ju": Kind(_american, _AMERICAN_ON_DATES),
    "american_lsm": Kind(_american, _AMERICAN_ON_DATES),
    "american_baw": Kind(_quadratic_approximation, _AMERICAN),
    "american_bs93": Kind(lambda rows: american_benchmarks.bjerksund_stensland(*_terms(rows)), _AMERICAN),
    "pop_multi": Kind(_profit_probability, Shape(("S", "T", "r", "q", "sigma"), types=(), extra=("net",), legs=True)),
    "svi_butterfly_arb": Kind(
        _butterfly, Shape((), ("svi",), (), extra=("a", "b", "rho", "m", "sigma"), words=("free", "violates"))
    ),
}
"""Every kind of row that can be recomputed."""


def as_json(found: Verification) -> dict[str, Any]:
    """The machine form. A computed value or error of null means that nothing could be computed."""
    return {
        "file": found.path.name,
        "rows": len(found.results),
        "outside": len(found.outside),
        "kinds": [
            {
                "kind": kind,
                "rows": len(results),
                "outside": sum(not each.inside for each in results),
                "worst": _result_json(worst),
            }
            for kind, results, worst in found.by_kind()
        ],
        "rows_outside": [_result_json(each) for each in found.outside],
    }


def _result_json(result: Result) -> dict[str, Any]:
    known = math.isfinite(result.computed)
    return {
        "row": result.row.number,
        "id": result.row.id,
        "kind": result.row.kind,
        "expected": result.row.expected,
        "computed": result.computed if known else None,
        "error": result.error if known else None,
        "tolerance": result.row.tolerance,
        "source": result.row.source,
    }


def show(console: Console, found: Verification) -> None:
    """Print the largest error of each kind, then every row outside its tolerance."""
    title = f"{escape(found.path.name)}: {len(found.results):,} rows recomputed"
    table = Table(title=title, title_justify="left", box=SIMPLE, pad_edge=False, collapse_padding=True)
    table.add_column("Kind", no_wrap=True)
    for heading in ("Rows", "Outside", "Worst error", "Tolerance"):
        table.add_column(heading, justify="right")
    table.add_column("Row", overflow="fold")
    for kind, results, worst in found.by_kind():
        outside = sum(not each.inside for each in results)
        mark = f"[red]{outside:,}[/]" if outside else "0"
        table.add_row(
            kind, f"{len(results):,}", mark, f"{worst.error:.2g}", f"{worst.row.tolerance:.2g}", escape(worst.row.id)
        )
    console.print(table)
    for each in found.outside:
        source = escape(each.row.source)
        console.print(
            f"[red]outside[/] row {each.row.number} ({escape(each.row.id)}): expected {each.row.expected_text}, got "
            f"{each.computed_text}, error {each.error:.3g}, tolerance {each.row.tolerance:.3g}  {source}",
            highlight=False,
        )
    console.print(
        f"[bold]{len(found.outside):,} of {len(found.results):,} rows are outside their tolerance.[/]"
        if found.outside
        else "[bold]Every row is within its tolerance.[/]"
    )
