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
    roots = np.array([symbol[:6] for symbol in chain.occ_symbols])
    seen = {
        (day, int(dte), str(root)) for day, dte, root in zip(chain.expiration.tolist(), chain.dte, roots, strict=True)
    }
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


def near_and_far(chain: ChainSnapshot, near: Aim, far: Aim | None) -> tuple[Expiry, Expiry | None] | str:
    """The expirations nearest to what is aimed at, or why there are none. The far one is later than the near one."""
    days = listed(chain)
    first = _nearest(days, near)
    if isinstance(first, str):
        return first
    soon = expiry(chain, first[0], first[2])
    if far is None:
        return soon, None
    later = [each for each in days if each[0] > first[0]]
    second = _nearest(later, far, "far ")
    return second if isinstance(second, str) else (soon, expiry(chain, second[0], second[2]))


def _nearest(days: list[tuple[date, int, str]], aim: Aim, which: str = "") -> tuple[date, int, str] | str:
    target, tolerance, exact = aim
    if exact is not None:
        found = [each for each in days if each[0] == exact]
        return found[0] if found else f"the {which}expiration {exact} is not listed"
    if not days:
        return f"no {which}expiration is listed"
    best = min(days, key=lambda each: (abs(each[1] - target), each))
    if abs(best[1] - target) > tolerance:
        return f"the {which}expiration nearest to {target} days is {best[0]} in {best[1]}; {tolerance} days off at most"
    return best
