"""When nothing may be opened: every reason at once, each with its code."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Hold(StrEnum):
    """Why opening orders wait. Cancellations never do."""

    STARTING = "starting"
    STOPPED_HERE = "stopped_here"
    """Broker and ledger do not know each other: a person must look."""
    STREAM_RECONCILING = "stream_reconciling"
    """The account stream is away or was: everything is being read again."""
    SECOND_SWEEP = "second_sweep"
    """Read once; a second reading must agree."""
    LEASE = "lease"
    DATABASE = "database"
    BUS = "bus"
    STREAM = "stream"
    BROKER = "broker"
    RECONCILIATION = "reconciliation"
    """Broker and ledger have not been compared for too long."""
    CLOCK = "clock"
    VERSIONS = "versions"
    THROTTLED = "throttled"


class Stage(StrEnum):
    """How far an account has come since its start or its last gap."""

    STARTING = "starting"
    RECOVERING = "recovering"
    ADOPTED = "adopted"
    """Everything at the broker is known: closes and cancellations go."""
    READY = "ready"
    STOPPED = "stopped"
    """Nothing is sent until a person has looked and started anew; cancellations go."""

    @property
    def closes(self) -> bool:
        return self in (Stage.ADOPTED, Stage.READY)


@dataclass(frozen=True, slots=True)
class Limits:
    """Longest silences, seconds."""

    database_seconds: float = 1.0
    bus_seconds: float = 5.0
    stream_seconds: float = 20.0
    broker_seconds: float = 60.0
    reconciliation_seconds: float = 60.0
    clock_seconds: float = 2.0
    lease_margin_seconds: float = 3.0


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of the surroundings of one account; None = never seen."""

    stage: Stage
    lease_seconds_left: float
    """On the monotonic clock, counted from before the lease was asked for."""
    database_seconds: float | None
    """The newest commit took so long; infinite when it failed."""
    bus_age: float | None
    stream_age: float | None
    broker_age: float | None
    reconciliation_age: float | None
    clock_skew: float | None
    """Local less broker's time."""
    strangers: tuple[str, ...] = ()
    """Processes of another build, schema or mode."""
    throttled: bool = False


_STAGES = {
    Stage.STARTING: Hold.STARTING,
    Stage.RECOVERING: Hold.STREAM_RECONCILING,
    Stage.ADOPTED: Hold.SECOND_SWEEP,
    Stage.STOPPED: Hold.STOPPED_HERE,
}


def holds(facts: Facts, limits: Limits) -> tuple[Hold, ...]:
    """Every reason why nothing may be opened now; empty when all is well. What was never seen is a reason."""
    found = [_STAGES[facts.stage]] if facts.stage in _STAGES else []
    if facts.lease_seconds_left <= limits.lease_margin_seconds:
        found.append(Hold.LEASE)
    for age, longest, code in (
        (facts.database_seconds, limits.database_seconds, Hold.DATABASE),
        (facts.bus_age, limits.bus_seconds, Hold.BUS),
        (facts.stream_age, limits.stream_seconds, Hold.STREAM),
        (facts.broker_age, limits.broker_seconds, Hold.BROKER),
        (facts.reconciliation_age, limits.reconciliation_seconds, Hold.RECONCILIATION),
    ):
        if age is None or age > longest:
            found.append(code)
    if facts.clock_skew is not None and abs(facts.clock_skew) > limits.clock_seconds:
        found.append(Hold.CLOCK)
    if facts.strangers:
        found.append(Hold.VERSIONS)
    if facts.throttled:
        found.append(Hold.THROTTLED)
    return tuple(found)


def closing_holds(found: Iterable[Hold]) -> tuple[Hold, ...]:
    """Those that stop a closing order too: no lease or ledger, no permit; before adoption, no facts."""
    strict = {
        Hold.STARTING, Hold.STOPPED_HERE, Hold.STREAM_RECONCILING, Hold.LEASE, Hold.DATABASE, Hold.THROTTLED,
    }  # fmt: skip
    return tuple(each for each in found if each in strict)


@dataclass(frozen=True, slots=True)
class Build:
    """What a process says of itself."""

    name: str
    build_id: str
    schema_hash: str
    mode: str


def strangers(own: Build, others: Iterable[Build]) -> tuple[str, ...]:
    """Processes that must not trade together with this one, with what differs."""
    found = []
    for each in others:
        different = [name for name in ("build_id", "schema_hash", "mode") if getattr(each, name) != getattr(own, name)]
        if different:
            found.append(f"{each.name} ({', '.join(different)})")
    return tuple(sorted(found))


def clock_skew(samples: Iterable[float]) -> float | None:
    """Local less broker's clock from several answers, seconds; None without one.

    The broker's date has whole seconds and travels: of several readings the one nearest to zero is the least wrong.
    """
    return min(samples, key=abs, default=None)
