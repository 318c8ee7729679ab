"""One lane for each account: what is held in hand for it. A slow account waits in its own lane."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime

from executor.domain.conditions import Hold, Stage, closing_holds
from schemas.trade import Purpose
from tastyclient import AccountStream, Notification

ABSENT = float("-inf")


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a recovery and what came of it."""

    number: int
    name: str
    outcome: str
    """`ok`, `held` (done, and something is not as it should be), `failed`."""
    seconds: float
    detail: str = ""


@dataclass(slots=True)
class Lookup:
    """An intent whose fate is unknown and the look-ups made for it."""

    intent_id: str
    root_intent_id: str
    sent_at: float
    """Monotonic seconds."""
    throttled: bool = False
    asked: int = 0
    absences: int = 0
    """Complete answers without the order."""


@dataclass(slots=True)
class CancelAsked:
    """A cancellation and how often the broker was asked for it."""

    reason: str
    first_at: float
    last_at: float
    asked: int = 1


@dataclass(slots=True)
class Lane:
    """Everything about one account that is not in the ledger, and may be lost."""

    account_number: str
    epoch: int | None = None
    """Of the lease held."""
    renewed_at: float = ABSENT
    """Monotonic seconds just before the lease was last asked for."""
    stage: Stage = Stage.STARTING
    reason: str = "not started"
    holds: tuple[Hold, ...] = (Hold.STARTING,)
    steps: list[Step] = field(default_factory=list)
    """Of the newest recovery, in order."""
    recovery_began: float = ABSENT
    read_at: float = ABSENT
    """When the broker's state was read for it."""
    sending: asyncio.Lock = field(default_factory=asyncio.Lock)
    """One send at a time."""
    sweeping: asyncio.Lock = field(default_factory=asyncio.Lock)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    sweep: asyncio.Event = field(default_factory=asyncio.Event)
    lookup: asyncio.Event = field(default_factory=asyncio.Event)
    cancel: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: set[str] = field(default_factory=set)
    """Intents that a command named and nobody has looked at yet."""
    notifications: asyncio.Queue[Notification] = field(default_factory=asyncio.Queue)
    stream: AccountStream | None = None
    stream_reason: str = "not connected yet"
    unbroken_since: float = float("inf")
    """Monotonic seconds since which the stream has had no gap."""
    finishing: asyncio.Task[None] | None = None
    seen: dict[int, tuple[object, ...]] = field(default_factory=dict)
    """Order → what was last read of it: the same again says nothing new."""
    lookups: dict[str, Lookup] = field(default_factory=dict)
    cancels: dict[str, CancelAsked] = field(default_factory=dict)
    cancel_roots: set[str] = field(default_factory=set)
    """Walks whose cancellation was asked for: a step that appears late is cancelled too."""
    unsent: set[str] = field(default_factory=set)
    """Permits of this process of which no byte has been written."""
    not_before: dict[str, float] = field(default_factory=dict)
    """Retried intent → monotonic seconds of its turn."""
    mid_at_send: dict[str, object] = field(default_factory=dict)
    extended: set[str] = field(default_factory=set)
    """Walks that work for a second time-out."""
    unwinding: set[str] = field(default_factory=set)
    """Orders whose small fill is to be closed once they have ended."""
    uneven_since: dict[str, float] = field(default_factory=dict)
    proposed: set[str] = field(default_factory=set)
    """Repairs and unwindings that were proposed."""
    throttled_until: float = ABSENT
    reconciled_at: float = ABSENT
    """Monotonic seconds of the newest complete comparison."""
    transactions_at: float = ABSENT
    differences: dict[str, tuple[int, int]] = field(default_factory=dict)
    different_since: dict[str, float] = field(default_factory=dict)
    frozen: dict[str, str] = field(default_factory=dict)
    """Underlyings in which nothing opens, with the reason; as the newest comparison wrote them."""
    foreign: dict[str, str] = field(default_factory=dict)
    """Working orders of somebody else → underlying."""
    missing: dict[str, str] = field(default_factory=dict)
    """Orders of ours that the broker does not list → underlying."""
    hung: dict[str, str] = field(default_factory=dict)
    """Underlying → hung structure in words."""
    left_working: int | None = None
    swept_at: float = ABSENT
    """When the stop's sweep that counted `left_working` began."""
    balance_at: datetime | None = None

    def holds_for(self, purpose: Purpose) -> tuple[Hold, ...]:
        """What keeps an order of this purpose back."""
        return self.holds if purpose is Purpose.OPEN else closing_holds(self.holds)

    def is_open(self, root_intent_id: str, broker_order_id: str | None) -> bool:
        """Whether a walk may be stepped: nothing of it is unknown, and its cancellation was not asked for."""
        unknown = any(each.root_intent_id == root_intent_id for each in self.lookups.values())
        return not unknown and broker_order_id not in self.cancels and root_intent_id not in self.cancel_roots

    def lease_left(self, now: float, seconds: float) -> float:
        """Seconds for which the lease is surely still ours, on the monotonic clock."""
        return self.renewed_at + seconds - now if self.epoch is not None else 0.0
