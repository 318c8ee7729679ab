"""The expirations of a chain that structures are built in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import numpy as np

from schemas.money import price_from_float
from strategies.chain import ChainSnapshot

Aim = tuple[int, int, date | None]
"""(calendar days aimed at, tolerance in days, or exactly this date)."""

_TRIED = 3
"""Expirations tried on either side of a structure."""


@dataclass(frozen=True, slots=True)
class Expiry:
    """One expiration and option root with the rows whose quotes are usable."""

    day: date
    dte: int
    root: str
    rows: Mapping[tuple[bool, Decimal], int]
    """(is a call, strike) → row of the chain."""


def listed(chain: ChainSnapshot) -> list[tuple[date, int, str]]:
    """(day, days to it, root) of every expiration, soonest first."""
    days, first = np.unique(chain.expiration, return_index=True)
    dte = {day: int(chain.dte[row]) for day, row in zip(days.tolist(), first, strict=True)}
    heads = {symbol[:12] for symbol in chain.occ_symbols}
    pairs = ((date(2000 + int(head[6:8]), int(head[8:10]), int(head[10:12])), head[:6]) for head in heads)
    seen = ((day, dte[day], root) for day, root in pairs)
    return sorted(seen)


def expiry(chain: ChainSnapshot, day: date, root: str) -> Expiry:
    """The usable rows of one expiration of one root."""
    chosen = np.nonzero((chain.expiration == np.datetime64(day)) & chain.usable)[0]
    rows = {
        (bool(chain.is_call[row]), price_from_float(float(chain.strike[row]))): int(row)
        for row in chosen
        if chain.occ_symbols[int(row)][:6] == root
    }
    dte = int(chain.dte[np.nonzero(chain.expiration == np.datetime64(day))[0][0]])
    return Expiry(day, dte, root, rows)


def near_and_far(chain: ChainSnapshot, near: Aim, far: Aim | None) -> list[tuple[Expiry, Expiry | None]] | str:
    """Expirations within the tolerances, nearest to what is aimed at first, or why there are none.

    Others than the nearest are there for the case that it has no usable quotes. The far one is later than the near one.
    """
    days = listed(chain)
    first = _nearest(days, near)
    if isinstance(first, str):
        return first
    if far is None:
        return [(expiry(chain, day, root), None) for day, _, root in first]
    known: dict[tuple[date, str], Expiry] = {}
    found: list[tuple[Expiry, Expiry | None]] = []
    none = ""
    for day, _, root in first:
        second = _nearest([each for each in days if each[0] > day], far, "far ")
        if isinstance(second, str):
            none = none or second
            continue
        for each in ((day, root), *((later, other) for later, _, other in second)):
            if each not in known:
                known[each] = expiry(chain, *each)
        found += [(known[day, root], known[later, other]) for later, _, other in second]
    return found or none


def _nearest(days: list[tuple[date, int, str]], aim: Aim, which: str = "") -> list[tuple[date, int, str]] | str:
    target, tolerance, exact = aim
    if exact is not None:
        return [each for each in days if each[0] == exact] or f"the {which}expiration {exact} is not listed"
    if not days:
        return f"no {which}expiration is listed"
    ranked = sorted(days, key=lambda each: (abs(each[1] - target), each))
    best = ranked[0]
    if abs(best[1] - target) > tolerance:
        return f"the {which}expiration nearest to {target} days is {best[0]} in {best[1]}; {tolerance} days off at most"
    return [each for each in ranked[:_TRIED] if abs(each[1] - target) <= tolerance]
