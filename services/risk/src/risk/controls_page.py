"""The page of all controls, made from the controls: `python -m risk.controls_page > docs/risk-controls.md`."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from ledger.limits import COOL_OFF_MINUTES, LOOSENED_AT_ONCE_PCT, SPECS, LimitSpec
from risk.domain.control import Control
from risk.domain.decision import CONTROLS
from risk.domain.gauges import LEVELS

HEAD = f"""# Risk controls

Made by `python -m risk.controls_page > docs/risk-controls.md`: do not edit. Every control is evaluated on every
proposal of its scope, none is skipped; a missing fact denies and a missing limit denies. Each verdict is kept with
value, limit, margin and unit in the ledger and in `fact.risk.*`, and a denial names its rules.

Limits are versioned rows of the ledger, per account where it has its own. Each has a safe range that the database
enforces. Loosening one by more than {LOOSENED_AT_ONCE_PCT} % within a New York day waits for a second person, or for
the same one after {COOL_OFF_MINUTES} minutes. `tastytrades limits list`, `set`, `confirm`, `history`.

Gauges of every account are published at once on a change and at least once a second; reaching
{", ".join(f"{bound:g} % ({word})" for bound, word in reversed(LEVELS))} of a limit is an audit fact and a metric.
"""
TAIL = """## What stops by itself

| rule | when | what |
|---|---|---|
| daily_loss | loss of the day at `daily_loss_max` or `daily_loss_max_pct`, the nearer | account: reduce only |
| weekly_loss_max_pct, drawdown_max_pct | loss of the week, from the high-water mark | account: reduce only |
| position_loss_max_pct | one position lost more than this of net liq, at the mid | account: reduce only |
| broker_errors_max | more answers in a row that are the broker's own faults | account: reduce only |
| broker_rate_limit | the broker refused a request for its rate | account: reduce only |
| account_restricted | closed, closing only, frozen, margin call, day-trade call | account: reduce only |
| reconciliation_mismatch | broker and ledger differ for longer than they may | account: reduce only |
| feed_stop_seconds | market data this old while the market is open | everything: reduce only |
| contact_lost_seconds | bus or database silent this long, written once it can be | everything: reduce only |
| throttles | a control above that says so | strategy: no openings |

Reduce only means: nothing opens, working openings are cancelled, closes go. Each stop writes the gate with its reason
and an audit row; only a person resumes. What is not known denies proposals and stops nothing. A shorter silence than
those above denies too, and passes by itself.
"""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A point of the checklist that another part keeps."""

    number: int
    what: str
    kept_by: str


ELSEWHERE = (
    Elsewhere(7, "Limit orders for the day only: no other kind can be built", "executor, `new_order`"),
    Elsewhere(
        12, "Messages a second and a minute: a send waits for its turn", "ledger, in the transaction of the permit"
    ),
    Elsewhere(13, "Cancellations have a throttle of their own and never wait behind orders", "executor"),
    Elsewhere(16, "One decision per strategy, signal and purpose, for ever", "ledger, unique index"),
    Elsewhere(26, "Age of a working order, number of price steps", "executor, `order_timeout_seconds`, `walk_steps`"),
    Elsewhere(29, "Orders are for the day, and cancelled when the executor is gone", "executor, guardian"),
    Elsewhere(30, "Account stream, sweeps of orders, positions, balances and transactions", "executor"),
    Elsewhere(
        32, "A difference freezes its underlying; one that lasts stops everything", "executor, `mismatch_halt_seconds`"
    ),
    Elsewhere(36, "Alerts within five seconds", "Prometheus rules, `docs/runbook.md`"),
)


def render() -> str:
    """The page."""
    parts = [HEAD, "## Controls\n", _controls(), "## Kept elsewhere\n", _elsewhere(), "## Limits\n", _limits(), TAIL]
    return "\n".join(parts)


def _controls() -> str:
    rows = ["| # | rule | judges | measures | limit | on breach |", "|---|---|---|---|---|---|"]
    rows += [
        f"| {each.number} | `{each.rule}` | {each.scope.value} | {each.what} ({each.unit or 'yes or no'}) | "
        f"{_limit(each)} | {each.breach.value} |"
        for each in CONTROLS
    ]
    return "\n".join(rows) + "\n"


def _limit(control: Control) -> str:
    sign = "≤" if control.comparison == "<=" else "≥"
    if isinstance(control.limit, str):
        return f"{sign} `{control.limit}` ({SPECS[control.limit].default:f})"
    return f"{sign} {control.limit_text}" if callable(control.limit) else f"{sign} {control.limit}"


def _elsewhere() -> str:
    rows = ["| # | what | kept by |", "|---|---|---|"]
    rows += [f"| {each.number} | {each.what} | {each.kept_by} |" for each in ELSEWHERE]
    return "\n".join(rows) + "\n"


def _limits() -> str:
    rows = ["| limit | default | safe range | unit | loosened by |", "|---|---|---|---|---|"]
    rows += [_row(spec) for _, spec in sorted(SPECS.items())]
    return "\n".join(rows) + "\n"


def _row(spec: LimitSpec) -> str:
    direction = "lowering" if spec.is_floor else "raising"
    return f"| `{spec.name}` | {spec.default:f} | {spec.lowest:f} – {spec.highest:f} | {spec.unit} | {direction} |"


if __name__ == "__main__":
    sys.stdout.write(render())
