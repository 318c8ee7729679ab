"""Life of an order: states of an intent, the transition table, and the facts about it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from pydantic import Field

from schemas.base import Command, Message, UtcDatetime, Value
from schemas.money import Money, Price
from schemas.trade import Leg, OrderAction, Purpose, RuleResult, SpreadType


class IntentState(StrEnum):
    """Where one order intent stands. One intent is sent to the broker at most once, for ever."""

    PROPOSED = "proposed"
    DENIED = "denied"
    """Risk said no."""
    APPROVED = "approved"
    """Reservation taken; not sent."""
    EXPIRED = "expired"
    """valid_until passed before it was sent; never sent."""
    WITHDRAWN = "withdrawn"
    """Cancelled by us before it was sent; never sent."""
    SUBMITTING = "submitting"
    """Send permit committed; the outcome is not known yet."""
    NOT_SENT = "not_sent"
    """Proved by the sending process: no byte of the request left."""
    REJECTED = "rejected"
    """The broker refused it with proof."""
    UNKNOWN = "unknown"
    """Sent or possibly sent, outcome unknown; its risk stays reserved."""
    QUARANTINE = "quarantine"
    """Unknown and absent from the broker's lists so far; looked up until the session ends."""
    DEAD = "dead"
    """An unknown proved to have never become an order."""
    ACKED = "acked"
    WORKING = "working"
    CANCEL_PENDING = "cancel_pending"
    REPLACE_PENDING = "replace_pending"
    FILLED = "filled"
    CANCELLED = "cancelled"
    BROKER_EXPIRED = "broker_expired"
    VENUE_REJECTED = "venue_rejected"
    REMOVED = "removed"


S = IntentState

TERMINAL_STATES: frozenset[IntentState] = frozenset(
    {
        S.DENIED,
        S.EXPIRED,
        S.WITHDRAWN,
        S.NOT_SENT,
        S.REJECTED,
        S.DEAD,
        S.FILLED,
        S.CANCELLED,
        S.BROKER_EXPIRED,
        S.VENUE_REJECTED,
        S.REMOVED,
    }
)
"""States that change no more, but for fills that arrive late."""

AT_BROKER: frozenset[IntentState] = frozenset({S.ACKED, S.WORKING, S.CANCEL_PENDING, S.REPLACE_PENDING})
"""The broker has the order and it may still fill."""

RESERVED_STATES: frozenset[IntentState] = AT_BROKER | {S.APPROVED, S.SUBMITTING, S.UNKNOWN, S.QUARANTINE}
"""States that count against the limits at their worst."""

_BROKER_OUTCOMES = frozenset({S.FILLED, S.CANCELLED, S.BROKER_EXPIRED, S.VENUE_REJECTED, S.REMOVED})
_LIVE = AT_BROKER | _BROKER_OUTCOMES

TRANSITIONS: Mapping[IntentState, frozenset[IntentState]] = MappingProxyType(
    {
        S.PROPOSED: frozenset({S.DENIED, S.APPROVED, S.EXPIRED}),
        S.DENIED: frozenset(),
        S.APPROVED: frozenset({S.SUBMITTING, S.EXPIRED, S.WITHDRAWN}),
        S.EXPIRED: frozenset(),
        S.WITHDRAWN: frozenset(),
        # a stream message may overtake the HTTP reply, so SUBMITTING may move to any broker state
        S.SUBMITTING: frozenset({S.NOT_SENT, S.REJECTED, S.UNKNOWN}) | _LIVE,
        # found at the broker in spite of a proof: followed, never ignored
        S.NOT_SENT: _LIVE,
        S.REJECTED: _LIVE,
        # recovery may call unknown what the sending process then proves
        S.UNKNOWN: frozenset({S.QUARANTINE, S.NOT_SENT, S.REJECTED}) | _LIVE,
        S.QUARANTINE: frozenset({S.DEAD, S.NOT_SENT, S.REJECTED}) | _LIVE,
        S.DEAD: _LIVE,
        S.ACKED: _LIVE - {S.ACKED},
        S.WORKING: _LIVE - {S.WORKING, S.ACKED},
        # a cancel or replace may lose its race against a fill, or be refused and leave the order working
        S.CANCEL_PENDING: _LIVE - {S.CANCEL_PENDING, S.ACKED},
        S.REPLACE_PENDING: _LIVE - {S.REPLACE_PENDING, S.ACKED},
        S.FILLED: frozenset(),
        # a fill that the venue reported late completes an order we saw end; the broker's newer word corrects which end
        S.CANCELLED: _BROKER_OUTCOMES - {S.CANCELLED},
        S.BROKER_EXPIRED: _BROKER_OUTCOMES - {S.BROKER_EXPIRED},
        S.VENUE_REJECTED: _BROKER_OUTCOMES - {S.VENUE_REJECTED},
        S.REMOVED: _BROKER_OUTCOMES - {S.REMOVED},
    }
)
"""Every legal move. What is not listed is refused, in Python and by a trigger in the ledger."""


class OrderEvent(Message):
    """Fact: an intent changed. Published by the ledger's outbox on `fact.order.{account}.{intent}`."""

    account_number: str
    intent_id: str
    parent_intent_id: str | None = None
    """The intent whose price step this one is."""
    root_intent_id: str
    """First intent of the walk."""
    aggregate_version: int
    """Rises by one with each change of the intent."""
    state: IntentState
    previous_state: IntentState | None
    purpose: Purpose
    strategy_id: str
    source: str
    underlying_symbol: str
    spread_type: SpreadType
    legs: tuple[Leg, ...]
    quantity: int
    filled_quantity: int = 0
    """Complete units filled."""
    limit_price: Price
    worst_price: Price
    """Where the walk ends."""
    average_fill_price: Price | None = None
    """Net, $ per share, credit positive."""
    decision_mid: Price | None = None
    broker_order_id: str | None = None
    external_identifier: str | None = None
    reason_code: str = ""
    reason: str = ""
    rules: tuple[RuleResult, ...] = ()
    """Controls that decided it, with value, limit and margin."""
    thesis: str = ""
    candidate_id: str | None = None
    walk_step: int = 0
    created_at: UtcDatetime


class Fill(Message):
    """Fact: contracts of one leg traded. Booked once per (account, broker_order_id, occ_symbol, fill_id)."""

    account_number: str
    intent_id: str | None
    """None for an order that is not ours."""
    broker_order_id: str
    fill_id: str
    occ_symbol: str
    action: OrderAction
    quantity: int = Field(gt=0)
    fill_price: Price
    """Unsigned, $ per share of the leg."""
    fees: Money | None = None
    filled_at: UtcDatetime
    corrects: str | None = None
    """fill_id of the execution that this one takes back: the broker busted or corrected it."""


class ExecuteIntent(Command):
    """Wake the executor for an approved intent. Ids only: the ledger holds the order."""

    intent_id: str
    account_number: str
    valid_until: UtcDatetime


class CancelOrders(Command):
    """Cancel one intent's working order, or all of an account when intent_id is None."""

    account_number: str
    intent_id: str | None = None
    broker_order_id: str | None = None
    requested_by: str
    reason: str = ""
    give_up: bool = False
    """An operator has proof that the broker never took the order: one in quarantine is declared dead."""
    valid_until: UtcDatetime


class RiskDecision(Message):
    """Fact: what risk said of a proposal, with every control's value, limit and margin."""

    account_number: str
    proposal_id: str
    intent_id: str
    approved: bool
    underlying_symbol: str
    spread_type: SpreadType
    reason_codes: tuple[str, ...] = ()
    controls: tuple[RuleResult, ...] = ()
    candidate_id: str | None = None
    quantity: int = 0
    reserved_max_loss: Money | None = None
    """Magnitude."""
    reserved_buying_power: Money | None = None
    """Magnitude."""


class LimitGauge(Value):
    """One portfolio limit as a gauge."""

    name: str
    value: float | None
    limit: float | None
    unit: str
    used_pct: float | None = None
    """100 = at the limit."""
    level: str = "ok"
    """ok, warning (80 %), critical (95 %), violation (100 %), unknown."""


class RiskState(Message):
    """State: where an account stands against its limits."""

    account_number: str
    gauges: tuple[LimitGauge, ...]
    armed: bool
    """Whether automatic trading may open positions."""
    day_trades: int = 0
    busy_underlyings: tuple[str, ...] = ()
    """Underlyings with a position, a reservation or a freeze: nothing more opens there by itself."""
