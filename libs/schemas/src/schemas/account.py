"""State of an account: positions, balances, the gate, and who is alive."""

from __future__ import annotations

from datetime import date
from enum import StrEnum

from schemas.base import Message, UtcDatetime, Value
from schemas.money import Money, Price
from schemas.trade import Leg, Purpose


class PositionLeg(Value):
    """One holding."""

    occ_symbol: str
    signed_quantity: int
    """Contracts, short negative."""
    average_open_price: Price
    """Unsigned, $ per share."""
    mark: Price | None = None
    multiplier: int = 100
    expiration: date | None = None


class Position(Message):
    """State: everything held in one underlying of one account, according to the ledger's fills."""

    account_number: str
    underlying_symbol: str
    legs: tuple[PositionLeg, ...]
    """Empty when flat."""
    frozen: bool = False
    """True while the broker reports something else; nothing opens here until explained."""
    reason: str = ""


class Balance(Message):
    """State: the broker's balances of one account. Missing stays None."""

    account_number: str
    net_liq: Money | None
    cash: Money | None
    buying_power: Money | None
    """Derivative buying power still free."""
    buying_power_used: Money | None = None
    maintenance_requirement: Money | None = None
    day_pnl: Money | None = None
    start_of_day_net_liq: Money | None = None
    high_water_mark: Money | None = None


class GateMode(StrEnum):
    """What one gate row allows."""

    RUN = "run"
    HALT_OPENS = "halt_opens"
    """No new opening orders; working orders stay."""
    REDUCE_ONLY = "reduce_only"
    """Only orders that reduce a position; working opening orders are cancelled."""
    CANCEL_WORKING = "cancel_working"
    """Nothing is sent; every working order is cancelled."""
    FLATTEN = "flatten"
    """As CANCEL_WORKING, then positions are closed by explicit human order."""

    @property
    def severity(self) -> int:
        """0 for RUN; a stop never lowers it."""
        return list(GateMode).index(self)

    def allows(self, purpose: Purpose) -> bool:
        """Whether an order of this purpose may be sent."""
        if self is GateMode.RUN:
            return True
        return purpose is Purpose.CLOSE and self is not GateMode.CANCEL_WORKING

    @property
    def cancels_opens(self) -> bool:
        """Whether working opening orders are cancelled."""
        return self.severity >= GateMode.REDUCE_ONLY.severity


class KillScope(StrEnum):
    ALL = "all"
    ACCOUNT = "account"
    STRATEGY = "strategy"
    UNDERLYING = "underlying"


class GateRow(Value):
    scope: KillScope
    scope_value: str = ""
    """Account number, strategy id or underlying symbol; empty for `all`."""
    mode: GateMode
    revision: int
    who: str
    why: str
    changed_at: UtcDatetime


class GateState(Message):
    """State: every gate row, as committed in the ledger."""

    revision: int
    """Rises with every change of any row."""
    rows: tuple[GateRow, ...]
    armed_accounts: tuple[str, ...] = ()
    """Accounts whose automation may open positions."""

    def mode_for(self, account_number: str, strategy_id: str, underlying_symbol: str) -> GateMode:
        """Strictest mode of the rows that concern an order; RUN only when the row for `all` is there and runs."""
        own = {
            KillScope.ALL: "",
            KillScope.ACCOUNT: account_number,
            KillScope.STRATEGY: strategy_id,
            KillScope.UNDERLYING: underlying_symbol,
        }
        modes = [row.mode for row in self.rows if row.scope_value == own[row.scope]]
        if not any(row.scope is KillScope.ALL for row in self.rows):
            return GateMode.CANCEL_WORKING
        return max(modes, key=lambda mode: mode.severity)


class Heartbeat(Message):
    """A process says it is alive."""

    service: str
    instance: str
    mode: str
    build_id: str
    config_hash: str
    schema_hash: str
    gate_revision: int | None = None
    killed: bool = False
    """True when the local kill flag is set."""
    loop_lag_ms: float = 0.0
    started_at: UtcDatetime
    ready: bool = True
    reason: str = ""
    memory_mb: float | None = None


class AccountStanding(Message):
    """State: how an account stands at the broker, as the executor sees it; once a second, on core NATS."""

    account_number: str
    instance: str
    holds: tuple[str, ...]
    """Why the executor opens nothing now; empty when it would."""
    clock_skew_seconds: float | None = None
    """Local less broker's time."""
    restrictions: tuple[str, ...] | None = None
    """What the broker restricts the account to; None while it has not said."""
    errors_in_a_row: int = 0
    """Answers of the broker that were faults of its own, since the last good one."""
    rate_limited: bool = False
    """Whether the broker refused a request for its rate within the last minute."""
    mismatch: str = ""
    """Where broker and ledger differ for longer than they may."""


class AskEffect(Message):
    """Question to the executor: what would this order take from buying power? Nothing is sent but a dry run."""

    account_number: str
    purpose: Purpose
    legs: tuple[Leg, ...]
    quantity: int
    price: Price
    """Net $ per share, credit positive."""


class BrokerEffect(Message):
    """Answer: the broker's own word on an order that was not sent."""

    account_number: str
    buying_power: Money | None = None
    """Taken: positive; freed: negative. None when the broker refused or did not answer."""
    fees: Money | None = None
    """Paid: negative."""
    refusal: str = ""
    """Why the broker would refuse it, in its words."""
    failure: str = ""
    """Why there is no answer."""


class AuditEntry(Message):
    """Fact: a person or an automatic stop did something."""

    who: str
    action: str
    target: str = ""
    detail: dict[str, str] = {}
    outcome: str = "ok"
