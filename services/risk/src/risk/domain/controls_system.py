"""Controls of the system around the order: the gate, the session, the executor, the broker's word on the account."""

from __future__ import annotations

from collections.abc import Sequence

from risk.domain.case import Case
from risk.domain.control import Breach, Control, Measured, Scope, flag

EXECUTOR_SECONDS = 5
"""The executor speaks once a second; silent for longer it cannot be taken to be there."""
PASSING_HOLDS = frozenset({"throttled", "second_sweep"})
"""The executor waits these out by itself within the life of an approval."""


def _count(reasons: Sequence[str] | None) -> Measured:
    return None if reasons is None else (len(reasons), ", ".join(reasons))


def _holds(case: Case) -> Measured:
    found = case.around.executor_holds
    return None if found is None else _count([each for each in found if each not in PASSING_HOLDS])


def _frozen(case: Case) -> Measured:
    reason = case.account.frozen.get(case.trade.underlying_symbol)
    return int(reason is not None), reason or ""


def _candidate(case: Case) -> Measured:
    candidate = case.trade.candidate
    return flag(candidate is not None and candidate.passed)


def _reservation(case: Case) -> Measured:
    if case.refusal is None:
        return 0
    return 1, f"{case.refusal.limit}: {case.refusal.value} against {case.refusal.allowed} {case.refusal.detail}".strip()


CONTROLS = (
    Control(25, "valid_until", "The proposal has not expired.", "s left", ">=", 0,
            lambda case: (case.trade.valid_until - case.now).total_seconds(), Scope.EVERY),
    Control(25, "market_open", "The options market is open.", "", ">=", 1,
            lambda case: flag(case.quotes.market_open), Scope.EVERY),
    Control(25, "session_open_minutes_min", "Time since the open.", "minutes", ">=", "session_open_minutes_min",
            lambda case: case.quotes.minutes_since_open),
    Control(25, "session_close_minutes_min", "Time to the close.", "minutes", ">=", "session_close_minutes_min",
            lambda case: case.quotes.minutes_to_close),
    Control(25, "closing_minutes_min", "Time to the close for a closing order.", "minutes", ">=",
            "closing_minutes_min", lambda case: case.quotes.minutes_to_close, Scope.CLOSING),
    Control(28, "gate", "No stop forbids it: everything, account, strategy, underlying.", "", "<=", 0,
            lambda case: (int(not case.around.gate.allows(case.trade.purpose)), case.around.gate.value), Scope.EVERY),
    Control(30, "executor_heard", "Since the executor last said how the account stands.", "s", "<=",
            EXECUTOR_SECONDS, lambda case: case.around.executor_age_seconds),
    Control(30, "executor_holds", "Reasons why the executor opens nothing: recovery, reconciliation, stream, lease.",
            "reasons", "<=", 0, _holds),
    Control(31, "frozen", "Broker and ledger agree in this underlying, and no order is there that is not ours.", "",
            "<=", 0, _frozen, Scope.OPENING),
    Control(33, "clock_skew_max_seconds", "Local less broker's clock, magnitude.", "s", "<=",
            "clock_skew_max_seconds", lambda case: case.around.clock_skew_seconds),
    Control(34, "versions_agree", "Trading processes of another build, schema or mode.", "processes", "<=", 0,
            lambda case: _count(case.around.strangers)),
    Control(35, "armed", "A person has armed automation for this account.", "", ">=", 1,
            lambda case: flag(case.around.armed), Scope.AUTOMATED),
    Control(35, "candidate_passed", "The candidate passed every rule of its scan.", "", ">=", 1, _candidate,
            Scope.AUTOMATED),
    Control(35, "account_restricted", "What the broker restricts the account to.", "restrictions", "<=", 0,
            lambda case: _count(case.around.restrictions), breach=Breach.STOP_ACCOUNT),
    Control(35, "reservation", "The ledger takes the reservation beside all others, under the account's lock.", "",
            "<=", 0, _reservation),
)  # fmt: skip
"""In the order of the checklist."""
