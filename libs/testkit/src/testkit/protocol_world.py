"""The world of the order protocol as values: precautions, mutants, bounds, intents, processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from schemas.orders import IntentState

S = IntentState


@dataclass(frozen=True, slots=True)
class Rules:
    """The precautions of the protocol. All on = as the product does it."""

    compare_and_set: bool = True
    gate_checked: bool = True
    """The claim reads the gate in its own transaction."""
    gate_locked: bool = True
    """It reads it FOR SHARE, so that a stop waits for the claim."""
    lease_checked: bool = True
    """The claim share-locks the lease of its own epoch."""
    validity_checked: bool = True
    deadline_kept: bool = True
    """A permit is void when the send deadline has passed."""
    latch_kept: bool = True
    """A process that heard of a stop does not use its permit."""
    stop_writes_gate: bool = True
    """False: a stop is a broadcast only."""
    timeout_is_unknown: bool = True
    """False: a time-out counts as a rejection."""
    unknown_reserved: bool = True
    sent_once: bool = True
    """False: a time-out sends again."""
    absence_waits: bool = True
    """False: an order that a look-up does not list is sent again."""
    dead_after_session: bool = True
    """False: an order that a look-up does not list is dead."""
    recovery_never_sends: bool = True
    recovery_marks_unknown: bool = True
    doubt_never_sends: bool = True
    """After a lost COMMIT reply the process does not send."""
    doubt_reads_epoch: bool = True
    """... and says "not sent" only of a permit that is its own."""
    step_replaces: bool = True
    """False: a price step is an order of its own, beside the old one."""
    step_waits_for_parent: bool = True
    """False: a step is claimed without locking and comparing its parent."""
    stop_reads_broker: bool = True
    """False: a stop cancels what the journal calls working, and nothing else."""
    observation_obeys_table: bool = True
    """False: what was observed last is applied, whatever came before."""


MUTANTS: dict[str, Rules] = {
    "remove the compare-and-set": Rules(compare_and_set=False),
    "remove the gate from the transaction": Rules(gate_checked=False),
    "read the gate without a lock": Rules(gate_locked=False),
    "drop the lease epoch": Rules(lease_checked=False),
    "claim an expired approval": Rules(validity_checked=False),
    "ignore the send deadline": Rules(deadline_kept=False),
    "ignore the local stop": Rules(latch_kept=False),
    "stop by broadcast only": Rules(stop_writes_gate=False),
    "time-out means rejected": Rules(timeout_is_unknown=False),
    "drop the reservation of the unknown": Rules(unknown_reserved=False),
    "send again after a time-out": Rules(sent_once=False),
    "send again after a look-up": Rules(absence_waits=False),
    "absent means dead": Rules(dead_after_session=False),
    "send again on recovery": Rules(recovery_never_sends=False),
    "forget what was being sent": Rules(recovery_marks_unknown=False),
    "send after a lost COMMIT reply": Rules(doubt_never_sends=False),
    "call another's permit unsent": Rules(doubt_reads_epoch=False),
    "step with a second order": Rules(step_replaces=False),
    "step without its parent's lock": Rules(step_waits_for_parent=False),
    "stop from the journal alone": Rules(stop_reads_broker=False),
    "apply late observations": Rules(observation_obeys_table=False),
}
"""What must be caught, each by a violated invariant with its shortest trace."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much may go wrong in one history."""

    executors: int = 2
    crashes: int = 3
    lost_leases: int = 1
    """Leases that end while their holder still lives."""
    steps: bool = True
    """The order may be replaced by one price step."""
    raw_stop: bool = True
    """A stop may come as a bare message, before the gate is written."""
    commit_doubt: bool = True
    """Replies to COMMIT may be lost."""

    def __str__(self) -> str:
        with_them = [name for name in ("steps", "raw_stop", "commit_doubt") if getattr(self, name)]
        return "-".join((f"{self.executors}x", f"{self.crashes}crashes", f"{self.lost_leases}lost", *with_them))


LIVE, FILLED, LATE, CANCELLED, REPLACED, EXPIRED = "live", "filled", "filled late", "cancelled", "replaced", "expired"
STATE_OF = {
    LIVE: S.WORKING, FILLED: S.FILLED, LATE: S.FILLED, CANCELLED: S.CANCELLED, REPLACED: S.CANCELLED,
    EXPIRED: S.BROKER_EXPIRED,
}  # fmt: skip


class Trade(NamedTuple):
    """One intent: its journal, its requests under way, its orders at the broker as (status, visible)."""

    state: IntentState | None = None
    permits: int = 0
    requests: int = 0
    under_way: int = 0
    orders: tuple[tuple[str, bool], ...] = ()
    booked: bool = False
    """Its fills are in the journal."""


IDLE, RECOVERING, READY, CLAIMING, PERMITTED, WAITING, DOUBT_MINE, DOUBT_NONE = range(8)
NO_LEASE, STALE, CURRENT = range(3)


class Process(NamedTuple):
    """An executor: where it stands, about which trade, its lease as it really is, what it heard."""

    at: int = IDLE
    about: int = 0
    lease: int = NO_LEASE
    latched: bool = False
    tardy: bool = False
    reply: str = ""


class World(NamedTuple):
    """Everything. `trades`: the order and its price step."""

    trades: tuple[Trade, Trade]
    processes: tuple[Process, ...]
    stopped: bool = False
    """A stop was confirmed to the person who asked."""
    raw_sent: bool = False
    lease_valid: bool = False
    late: bool = False
    """The approval's valid_until has passed."""
    closed: bool = False
    """The session is over: nothing lands or fills any more, everything shows."""
    crashes: int = 0
    lost_leases: int = 0


Step = tuple[str, World, str]
"""What happens, the world after it, and the invariant it breaks ("" for none)."""


def has(trade: Trade, *statuses: str) -> bool:
    """Whether the broker has an order of the trade in one of the statuses."""
    return any(status in statuses for status, _ in trade.orders)
