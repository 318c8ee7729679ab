"""When an open position is closed: a decision that needs proof.

`exit_rules` judges one look at the market; here looks become a decision: a rule must hold on `exit_confirmations` good
looks in a row. Quotes that are missing, stale or one-sided neither trigger nor confirm anything, calendar rules
included: nothing can be closed at a known price then. Pure: a state and a look in, a decision and the next state out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from strategies.exit_rules import Book, ExitCheck, ExitRule, Look, OpenPosition, assess, option_legs, unusable
from strategies.rules import RuleSet

__all__ = [
    "Book",
    "ExitAction",
    "ExitCheck",
    "ExitDecision",
    "ExitRule",
    "ExitState",
    "Look",
    "OpenPosition",
    "assess",
    "decide",
    "step",
    "unusable",
]


class ExitAction(StrEnum):
    HOLD = "hold"
    CONFIRM = "confirm"
    """A rule holds; more good quotes must agree."""
    CLOSE = "close"
    BLIND = "blind"
    """Quotes are missing or bad: nothing can be judged. `reasons` says what is wrong."""


@dataclass(frozen=True, slots=True)
class ExitState:
    """What is remembered between looks; plain values, so that a service can store it."""

    confirmations: Mapping[ExitRule, int] = field(default_factory=dict)
    counted_at: datetime | None = None
    """When the last look that counted was."""
    quoted_at: Mapping[str, datetime] = field(default_factory=dict)
    """Times of the quotes that it used."""


@dataclass(frozen=True, slots=True)
class ExitDecision:
    action: ExitAction
    rule: ExitRule | None
    """The most urgent rule that closes or is being confirmed."""
    checks: tuple[ExitCheck, ...]
    confirmations: int
    """Of `rule`, out of `exit_confirmations`."""
    reasons: tuple[str, ...] = ()


def decide(position: OpenPosition, look: Look, state: ExitState, rules: RuleSet) -> tuple[ExitDecision, ExitState]:
    """Assess one look and move the state machine."""
    if bad := unusable(position, look, rules):
        return step(state, (), bad, {}, look.now, rules)
    quoted_at = {each.symbol: look.books[each.symbol].at for each in option_legs(position)}
    return step(state, assess(position, look, rules), (), quoted_at, look.now, rules)


def step(
    state: ExitState,
    checks: tuple[ExitCheck, ...],
    bad: tuple[str, ...],
    quoted_at: Mapping[str, datetime],
    now: datetime,
    rules: RuleSet,
) -> tuple[ExitDecision, ExitState]:
    """One move of the state machine.

    A look counts when every quote is newer than the one counted before, or has stood for `exit_settle_seconds` since:
    a bad print is gone by then, and a contract that nobody quotes anew still counts. Bad looks leave the counts alone;
    a good look at which a rule does not hold sets its count to nothing; looks further apart than
    `exit_confirmation_gap_seconds` start anew.
    """
    if bad:
        return ExitDecision(ExitAction.BLIND, None, checks, 0, bad), state
    last = state.counted_at
    counted = last is None or _confirms(state, last, quoted_at, now, timedelta(seconds=rules.exit_settle_seconds))
    lapsed = last is None or now - last > timedelta(seconds=rules.exit_confirmation_gap_seconds)
    before: Mapping[ExitRule, int] = {} if lapsed else state.confirmations
    counts = {
        check.rule: min(before.get(check.rule, 0) + counted, rules.exit_confirmations)
        for check in checks
        if check.triggered
    }
    new = ExitState(counts, now, dict(quoted_at)) if counted else replace(state, confirmations=counts)
    for action, least in ((ExitAction.CLOSE, rules.exit_confirmations), (ExitAction.CONFIRM, 0)):
        if due := [rule for rule in ExitRule if counts.get(rule, -1) >= least]:
            return ExitDecision(action, due[0], checks, counts[due[0]]), new
    return ExitDecision(ExitAction.HOLD, None, checks, 0), new


def _confirms(
    state: ExitState, last: datetime, quoted_at: Mapping[str, datetime], now: datetime, settle: timedelta
) -> bool:
    """Whether this look says something that the last counted one did not."""
    newer = (
        symbol not in state.quoted_at or at > state.quoted_at[symbol] or now - max(at, last) >= settle
        for symbol, at in quoted_at.items()
    )
    return now > last and all(newer)
