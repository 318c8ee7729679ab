"""What the broker charges, pays and asks for: fees, interest, margin rates. A file may change any of it.

`{"fees": {"orf": "0.03"}, "interest": {"debit": "0.09"}, "house": {"broad_funds": ["SPY"]}}`: names are those of the
classes here and of `FeeSchedule`; numbers are strings, rates are fractions a year.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import orjson

from tastysim.fees import FeeSchedule


@dataclass(frozen=True, slots=True)
class InterestRates:
    """Rates a year; interest accrues every calendar day on the balance of its morning and is posted monthly."""

    credit: Decimal = Decimal("0.0010")
    """Paid on cash."""
    debit: Decimal = Decimal("0.1100")
    """Charged on borrowed cash."""
    borrow: Decimal = Decimal(0)
    """Charged on the value of shares sold short."""
    days: int = 360


@dataclass(frozen=True, slots=True)
class HouseRules:
    """Where the broker asks for another margin than the exchanges' minimum."""

    index_rate: Decimal = Decimal("0.25")
    """Naked options of the cash-settled broad indices."""
    broad_funds: tuple[str, ...] = ()
    """Funds on a broad index that are margined at `fund_rate`; others are equities."""
    fund_rate: Decimal = Decimal("0.15")
    leverage: dict[str, Decimal] = field(default_factory=dict)
    """Leveraged funds and their factors."""
    naked_minimum: Decimal = Decimal(0)
    """$ that a naked contract needs at least beyond its premium."""


@dataclass(frozen=True, slots=True)
class AssignmentRules:
    """How holders of long options behave towards those who are short."""

    seed: int = 1
    dividend_share: Decimal = Decimal("0.9")
    """Of the calls worth exercising for a dividend, how many are."""
    parity_share: Decimal = Decimal("0.05")
    """Of the options at parity, how many are exercised on an evening."""
    parity_value: Decimal = Decimal("0.05")
    """An option is at parity when its time value is at most this, $ per share."""
    parity_depth: Decimal = Decimal("0.05")
    """And it is in the money by this fraction of its strike."""


@dataclass(frozen=True, slots=True)
class Terms:
    """All of it."""

    fees: FeeSchedule = field(default_factory=FeeSchedule)
    interest: InterestRates = field(default_factory=InterestRates)
    house: HouseRules = field(default_factory=HouseRules)
    assignment: AssignmentRules = field(default_factory=AssignmentRules)


def read_terms(path: Path) -> Terms:
    """The terms of a file. Raises ValueError with the name that is wrong."""
    try:
        given = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise ValueError(f"{path}: {error}") from None
    parts: dict[str, Any] = {
        "fees": FeeSchedule, "interest": InterestRates, "house": HouseRules, "assignment": AssignmentRules
    }  # fmt: skip
    if not isinstance(given, dict) or not set(given) <= set(parts):
        raise ValueError(f"{path}: expected an object with {', '.join(parts)}")
    return Terms(**{name: _part(parts[name], name, rows) for name, rows in given.items()})


def _part(kind: Any, name: str, rows: Any) -> Any:
    defaults = kind()
    known = {each.name: getattr(defaults, each.name) for each in fields(kind)}
    for key, value in rows.items() if isinstance(rows, dict) else ():
        if key not in known:
            raise ValueError(f"{name}.{key} is not known")
        try:
            known[key] = _like(known[key], value)
        except (InvalidOperation, TypeError, ValueError, AttributeError):
            raise ValueError(f"{name}.{key} is {value!r}") from None
    return kind(**known)


def _like(default: Any, value: Any) -> Any:
    if isinstance(default, dict):
        return {key: Decimal(str(each)) for key, each in value.items()}
    if isinstance(default, tuple):
        return tuple(str(each) for each in value)
    return int(value) if isinstance(default, int) else Decimal(str(value))
