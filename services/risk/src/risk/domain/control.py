"""A control: a named rule with a value, a limit and a margin. Evaluated on every proposal it is meant for."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Literal

from risk.domain.case import Case, Number
from schemas.trade import RuleResult

Measured = Number | None | tuple[Number | None, str]
"""What was measured, with a word to it where there is one; None = a fact is missing."""


class Scope(StrEnum):
    """Proposals that a control judges."""

    EVERY = "every proposal"
    OPENING = "opening proposals"
    AUTOMATED = "opening proposals of automation"
    CLOSING = "closing proposals"

    def takes(self, case: Case) -> bool:
        """Whether a proposal is judged."""
        match self:
            case Scope.EVERY:
                return True
            case Scope.OPENING:
                return case.opens
            case Scope.AUTOMATED:
                return case.opens and case.automated
            case _:
                return not case.opens


class Breach(StrEnum):
    """What follows beside the denial."""

    DENY = "denied"
    WRONG = "denied, and counted against the strategy"
    """The proposal is wrong in itself: a few of these stop the strategy."""
    STOP_STRATEGY = "denied, and the strategy stops until a person resumes it"
    STOP_ACCOUNT = "denied; the account stops by itself until a person resumes it"


@dataclass(frozen=True, slots=True)
class Control:
    """One rule. limit: the name of a hard limit, a number, or how to reckon it from the case."""

    number: int
    """In the product's checklist of controls."""
    rule: str
    what: str
    unit: str
    comparison: Literal["<=", ">="]
    limit: str | int | Callable[[Case], Number | None]
    value: Callable[[Case], Measured]
    scope: Scope = Scope.OPENING
    breach: Breach = Breach.DENY
    limit_text: str = ""
    """The limit in words where it is reckoned."""

    def judge(self, case: Case) -> RuleResult:
        """The verdict: a missing fact and a missing limit deny."""
        measured = self.value(case)
        value, detail = measured if isinstance(measured, tuple) else (measured, "")
        limit = self._limit(case)
        if isinstance(value, float) and not math.isfinite(value):
            value = None
        if value is None or limit is None:
            return RuleResult(
                rule=self.rule, passed=False, value=None if value is None else float(value),
                limit=None if limit is None else float(limit), comparison=self.comparison, margin=None, unit=self.unit,
                detail=("the limit is missing" if limit is None else detail or "the fact is missing")[:300],
            )  # fmt: skip
        margin = Decimal(str(value)) - Decimal(str(limit))
        if self.comparison == "<=":
            margin = -margin
        return RuleResult(
            rule=self.rule, passed=margin >= 0, value=float(value), limit=float(limit), comparison=self.comparison,
            margin=float(margin), unit=self.unit, detail=detail[:300],
        )  # fmt: skip

    def _limit(self, case: Case) -> Number | None:
        if isinstance(self.limit, str):
            return case.limit(self.limit)
        return self.limit(case) if callable(self.limit) else self.limit


def flag(value: bool | None) -> int | None:
    """1 for yes, 0 for no."""
    return None if value is None else int(value)
