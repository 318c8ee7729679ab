"""Read a CSV file of reference values; every fault names the row, the column, the value, and what to write instead."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from optionmath.payoff import PayoffLeg
from tastytrades.runtime import RuntimeFault

REQUIRED = ("id", "kind", "style", "type", "S", "K", "T", "r", "q", "sigma", "extra", "value", "tol")
NUMBERS = ("S", "K", "T", "r", "q", "sigma")
_FAULTS_SHOWN = 20
_LEG = re.compile(r"^([+-])(?:(\d+)x)?(\d+(?:\.\d+)?)([CP])$")


@dataclass(frozen=True, slots=True)
class Shape:
    """What a row of a kind must carry."""

    needs: tuple[str, ...] = NUMBERS
    """Of S, K, T, r, q, sigma; the others may be empty."""
    styles: tuple[str, ...] = ("european",)
    types: tuple[str, ...] = ("call", "put")
    """Empty: any."""
    extra: tuple[str, ...] = ()
    """Numbers that `extra` must have, as name=number."""
    optional: tuple[str, ...] = ()
    """Numbers that `extra` may have."""
    legs: bool = False
    """`extra` must have legs, and may have break-evens."""
    words: tuple[str, str] | None = None
    """The value is one of two words, for 0 and 1, not a number."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the file, its numbers read. `number` counts the lines below the heading from 1."""

    number: int
    id: str
    kind: str
    is_call: bool
    numbers: Mapping[str, float]
    """S, K, T, r, q, sigma; NaN where the field is empty and the kind does not need it."""
    extra: Mapping[str, str]
    legs: tuple[PayoffLeg, ...]
    breakevens: tuple[float, ...]
    """As stated, ascending; empty when not stated."""
    expected: float
    expected_text: str
    """As written in the file."""
    tolerance: float
    source: str


class RowFault(ValueError):
    """A field of a row that cannot be used: column, value, what to do."""

    def __init__(self, column: str, value: str, advice: str) -> None:
        super().__init__(f"column {column!r}: {value!r} {advice}")


def read(path: Path, shapes: Mapping[str, Shape]) -> list[Row]:
    """Rows of a reference file. Raises RuntimeFault with every row that cannot be used (the first twenty by name)."""
    table = _table(path)
    heading = [name.strip() for name in table[0]]
    missing = [name for name in REQUIRED if name not in heading]
    if missing:
        raise RuntimeFault(
            f"{path} has no column {' or '.join(repr(name) for name in missing)}: "
            f"it has {', '.join(heading) or 'none'}; needed are {', '.join(REQUIRED)}"
        )
    rows, faults = [], []
    for number, cells in enumerate(table[1:], start=1):
        try:
            rows.append(_row(number, heading, cells, shapes))
        except RowFault as fault:
            name = cells[heading.index("id")] if len(cells) == len(heading) else "?"
            faults.append(f"row {number} ({name}), {fault}")
    if faults:
        more = len(faults) - _FAULTS_SHOWN
        shown = [*faults[:_FAULTS_SHOWN], *([f"and {more} more"] if more > 0 else [])]
        shown.append(f"kinds: {', '.join(shapes)}")
        raise RuntimeFault(f"{path} cannot be verified:\n  " + "\n  ".join(shown))
    if not rows:
        raise RuntimeFault(f"{path} has no rows below its heading")
    return rows


def _table(path: Path) -> list[list[str]]:
    """Fields of every line that has any; at least the heading."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        lines = [line for line in csv.reader(io.StringIO(text, newline="")) if line]
    except OSError as error:
        raise RuntimeFault(f"{path} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error):
        raise RuntimeFault(f"{path} is not a CSV text file: give one with {', '.join(REQUIRED)}") from None
    return lines or [[]]


def _row(number: int, heading: Sequence[str], fields: Sequence[str], shapes: Mapping[str, Shape]) -> Row:
    if len(fields) != len(heading):
        advice = f"fields where the heading has {len(heading)}: quote a field that contains a comma"
        raise RowFault("(all)", str(len(fields)), advice)
    cells = {name: cell.strip() for name, cell in zip(heading, fields, strict=True)}
    kind = cells["kind"]
    shape = shapes.get(kind)
    if shape is None:
        raise RowFault("kind", kind, "is none of the kinds below: correct it or remove the row")
    for column, allowed in (("style", shape.styles), ("type", shape.types)):
        if allowed and cells[column] not in allowed:
            raise RowFault(column, cells[column], f"does not fit {kind}: write {' or '.join(allowed)}")
    extra = _pairs(cells["extra"], shape)
    tolerance = _finite("tol", cells["tol"])
    if tolerance < 0:
        raise RowFault("tol", cells["tol"], "is negative: a tolerance is 0 or more")
    return Row(
        number=number,
        id=cells["id"],
        kind=kind,
        is_call=cells["type"] == "call",
        numbers={name: _number(name, cells[name], shape) for name in NUMBERS},
        extra=extra,
        legs=_legs(extra["legs"]) if shape.legs else (),
        breakevens=_breakevens(extra.get("be", "")) if shape.legs else (),
        expected=_expected(cells["value"], shape),
        expected_text=cells["value"],
        tolerance=tolerance,
        source=cells.get("source", ""),
    )


def _number(name: str, text: str, shape: Shape) -> float:
    if not text and name not in shape.needs:
        return math.nan
    value = _finite(name, text)
    if name in ("S", "K") and value <= 0:
        raise RowFault(name, text, "is not a price: it must be above 0")
    if name in ("T", "sigma") and value < 0:
        raise RowFault(name, text, "is negative: it must be 0 or more")
    return value


def _finite(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise RowFault(name, text, "is not a number: write it with a decimal point, as 0.25") from None
    if not math.isfinite(value):
        raise RowFault(name, text, "is not a finite number: write the number itself")
    return value


def _expected(text: str, shape: Shape) -> float:
    if shape.words is None:
        return _finite("value", text)
    if text not in shape.words:
        raise RowFault("value", text, f"is neither {shape.words[0]!r} nor {shape.words[1]!r}: write one of them")
    return float(shape.words.index(text))


def _pairs(text: str, shape: Shape) -> dict[str, str]:
    found = {}
    for part in filter(None, (each.strip() for each in text.split(";"))):
        name, equals, value = part.partition("=")
        if not equals:
            raise RowFault("extra", part, "is not name=value: separate several by semicolons")
        found[name.strip()] = value.strip()
    for name in shape.extra:
        if name not in found:
            raise RowFault("extra", text, f"has no {name}: add {name}=number")
    for name in (*shape.extra, *(each for each in shape.optional if each in found)):
        _finite(f"extra, {name}", found[name])
    if shape.legs and "legs" not in found:
        raise RowFault("extra", text, "has no legs: add them as legs=-90P/+85P")
    return found


def _legs(text: str) -> tuple[PayoffLeg, ...]:
    found = []
    for part in text.split("/"):
        match = _LEG.match(part.strip())
        if match is None:
            raise RowFault(
                "extra, legs", part, "is not a leg: write sign, strike and C or P, as -90P, or +2x85P for two"
            )
        sign, count, strike, letter = match.groups()
        quantity = int(count or 1) * (1 if sign == "+" else -1)
        found.append(PayoffLeg(letter == "C", Decimal(strike), quantity))
    return tuple(found)


def _breakevens(text: str) -> tuple[float, ...]:
    """Prices between bars; None stands for one that does not exist."""
    return tuple(sorted(_finite("extra, be", each) for each in text.split("|") if each not in ("", "None")))
