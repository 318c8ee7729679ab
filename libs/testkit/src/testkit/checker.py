"""An independent checker of a ledger against the simulator's own history: it shares no code with what it checks.

Everything is read at rest, when faults are healed and nothing is under way. Each violation names the invariant.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

import asyncpg

Event = Mapping[str, Any]
Row = Mapping[str, Any]
FillKey = tuple[str, str, str]
"""Broker's order, symbol, fill id."""

PROVED_ABSENT = frozenset({"proposed", "denied", "approved", "expired", "withdrawn", "not_sent", "rejected", "dead"})
"""States that say that the broker has no order of this intent."""
IN_FLIGHT = frozenset({"proposed", "approved", "submitting", "unknown"})
"""States in which nothing may rest."""
_OURS = "tt-"
_ENDS = {
    "Filled": "filled", "Cancelled": "cancelled", "Rejected": "venue_rejected", "Expired": "broker_expired",
    "Removed": "removed", "Partially Removed": "removed",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that is wrong. kind: what it counts as; invariant: `I1` … `I25`."""

    kind: str
    invariant: str
    detail: str

    def __str__(self) -> str:
        return f"{self.kind} ({self.invariant}): {self.detail}"


@dataclass(frozen=True, slots=True)
class Stop:
    """A stop of everything in an account, by the ledger's clock: from just after its commit until a resume."""

    committed_at: datetime
    stops_closes: bool
    resumed_at: datetime | None = None

    def holds(self, at: datetime, purpose: str) -> bool:
        """Whether nothing of this purpose may be permitted at a moment."""
        inside = self.committed_at < at and (self.resumed_at is None or at < self.resumed_at)
        return inside and (self.stops_closes or purpose == "open")


@dataclass(frozen=True, slots=True)
class Truth:
    """What the simulator knows of one account, and what was done to it."""

    account_number: str
    history: Sequence[Event]
    positions: Mapping[str, int]
    """Symbol → signed contracts that the broker holds."""
    working: Mapping[str, str] = field(default_factory=dict)
    """Orders that may still fill, by number → external identifier."""
    stops: Sequence[Stop] = ()
    max_loss_allowed: Decimal | None = None
    """Dollars that all opening orders together may risk; None = not checked."""


@dataclass(frozen=True, slots=True)
class Books:
    """What the ledger says of one account."""

    intents: Sequence[Row]
    permits: Sequence[Row]
    fills: Sequence[Row]
    positions: Mapping[str, int]
    frozen: frozenset[str]
    unpublished: int
    steps: Sequence[Row]
    """Facts of the outbox about orders: intent, version, state, in the order in which they were written."""


async def read(connection: asyncpg.Connection[Any], account_number: str) -> Books:
    """Read an account's books in one snapshot."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        ask = connection.fetch
        positions = await ask(
            "SELECT occ_symbol, signed_quantity FROM ledger.position WHERE account_number = $1", account_number
        )
        frozen = await ask("SELECT underlying_symbol FROM ledger.frozen WHERE account_number = $1", account_number)
        unpublished = await connection.fetchval("SELECT count(*) FROM ledger.outbox WHERE published_at IS NULL")
        return Books(
            await ask("SELECT * FROM ledger.intent WHERE account_number = $1 ORDER BY created_at", account_number),
            await ask(
                "SELECT p.*, i.purpose, i.valid_until FROM ledger.permit p JOIN ledger.intent i USING (intent_id) "
                "WHERE p.account_number = $1 ORDER BY p.permitted_at",
                account_number,
            ),
            await ask("SELECT * FROM ledger.fill WHERE account_number = $1", account_number),
            {row["occ_symbol"]: row["signed_quantity"] for row in positions if row["signed_quantity"]},
            frozenset(row["underlying_symbol"] for row in frozen),
            unpublished,
            await ask(
                "SELECT payload::jsonb ->> 'intent_id' AS intent_id, (payload::jsonb ->> 'aggregate_version')::int AS "
                "version, payload::jsonb ->> 'state' AS state FROM ledger.outbox WHERE subject LIKE $1 ORDER BY id",
                f"fact.order.{account_number}.%",
            ),
        )


def check(truth: Truth, books: Books) -> list[Violation]:
    """Everything that is wrong at rest; empty when ledger and broker agree and no invariant was broken."""
    found: list[Violation] = []
    for part in (_orders, _permits, _fills, _ends, _risk, _facts):
        found += part(truth, books)
    return found


def _submitted(truth: Truth) -> list[Event]:
    return [event for event in truth.history if event["what"] == "submitted"]


def _ours(events: Iterable[Event]) -> list[Event]:
    return [event for event in events if str(event.get("external-identifier") or "").startswith(_OURS)]


def signed_fills(history: Iterable[Event]) -> dict[FillKey, int]:
    """Signed contracts of everything that ever filled at the simulator."""
    found: dict[FillKey, int] = {}
    for event in history:
        actions = {leg["symbol"]: leg["action"] for leg in event.get("legs", ())}
        for fill in event.get("fills", ()):
            sign = 1 if actions[fill["symbol"]].startswith("Buy") else -1
            found[str(event["order-id"]), fill["symbol"], fill["fill-id"]] = sign * int(fill["quantity"])
    return found


def _orders(truth: Truth, books: Books) -> list[Violation]:
    """I1, I2, I3, I6, I19: one order an intent, each after its permit, as it was permitted, filled within its size."""
    ours = _ours(_submitted(truth))
    counts = Counter(event["external-identifier"] for event in ours)
    found = [
        Violation("duplicate", "I2", f"{name} was accepted {count} times")
        for name, count in counts.items()
        if count > 1
    ]
    intents = {row["intent_id"]: row for row in books.intents}
    permitted = {row["intent_id"] for row in books.permits}
    for event in ours:
        identity = event["external-identifier"].removeprefix(_OURS)
        intent = intents.get(identity)
        if intent is None or identity not in permitted:
            found.append(Violation("duplicate", "I3", f"order {event['order-id']} of {identity} was never permitted"))
            continue
        if Decimal(event["price"]) != intent["limit_price"]:
            text = f"order {event['order-id']} went out at {event['price']}, its permit says {intent['limit_price']}"
            found.append(Violation("mismatch", "I3", text))
    filled: Counter[tuple[str, str]] = Counter()
    for (order, symbol, _), count in signed_fills(truth.history).items():
        filled[order, symbol] += abs(count)
    for event in ours:
        found += [
            Violation("duplicate", "I6", f"order {event['order-id']} filled more than was ordered")
            for leg in event["legs"]
            if filled[str(event["order-id"]), leg["symbol"]] > int(leg["quantity"])
        ]
    return found


def _permits(truth: Truth, books: Books) -> list[Violation]:
    """I4, I14, I15: no permit after a stop's commit, none after its approval ended, no epoch that falls."""
    found = []
    epoch = 0
    for row in books.permits:
        identity, at = row["intent_id"], row["permitted_at"]
        if any(stop.holds(at, row["purpose"]) for stop in truth.stops):
            found.append(Violation("permit_after_kill", "I4", f"{identity} was permitted at {at} under a stop"))
        if at > row["valid_until"]:
            found.append(Violation("mismatch", "I14", f"{identity} was permitted after {row['valid_until']}"))
        if row["epoch"] < epoch:
            found.append(Violation("mismatch", "I15", f"{identity} was permitted in epoch {row['epoch']} < {epoch}"))
        epoch = max(epoch, row["epoch"])
    return found


def _fills(truth: Truth, books: Books) -> list[Violation]:
    """I5, I7: every fill is booked once, and what they add up to is what the broker holds."""
    theirs = signed_fills(truth.history)
    rows = [row for row in books.fills if row["corrects"] is None]
    ours = {(row["broker_order_id"], row["occ_symbol"], row["fill_id"]): row["signed_quantity"] for row in rows}
    found = [Violation("lost_fill", "I5", f"fill {key} is not booked") for key in sorted(theirs.keys() - ours.keys())]
    invented = [key for key in ours.keys() - theirs.keys() if not key[2].endswith("corrected")]
    found += [Violation("mismatch", "I5", f"fill {key} is invented") for key in sorted(invented)]
    found += [
        Violation("mismatch", "I5", f"fill {key} is {ours[key]}, the broker says {theirs[key]}")
        for key in sorted(theirs.keys() & ours.keys())
        if theirs[key] != ours[key]
    ]
    for symbol in sorted(truth.positions.keys() | books.positions.keys()):
        broker, ledger = truth.positions.get(symbol, 0), books.positions.get(symbol, 0)
        if broker != ledger:
            kept = " (frozen)" if symbol[:6].rstrip() in books.frozen else ""
            found.append(Violation("mismatch", "I7", f"{symbol}: broker {broker}, ledger {ledger}{kept}"))
    return found


def _ends(truth: Truth, books: Books) -> list[Violation]:
    """I9, I25: nothing rests in flight, and every intent stands where its order stands."""
    found = [
        Violation("unrest", "I25", f"{row['intent_id']} rests {row['state']} ({row['reason_code']}: {row['reason']})")
        for row in books.intents
        if row["state"] in IN_FLIGHT
    ]
    last = {event["external-identifier"]: event for event in _ours(truth.history) if "status" in event}
    names = {event["external-identifier"] for event in _ours(_submitted(truth))}
    working = set(truth.working.values())
    for row in books.intents:
        name, state = f"{_OURS}{row['intent_id']}", row["state"]
        if name not in names:
            if state not in PROVED_ABSENT | {"quarantine"} | IN_FLIGHT:
                found.append(Violation("mismatch", "I11", f"{row['intent_id']} is {state} and no order exists"))
            continue
        if state in PROVED_ABSENT:
            found.append(Violation("mismatch", "I9", f"{row['intent_id']} is {state} and its order exists"))
        ends = _ENDS.get(str(last[name]["status"]))
        if (
            ends is not None
            and name not in working
            and state not in (ends, "replace_pending")
            and state not in IN_FLIGHT
        ):
            found.append(Violation("mismatch", "I25", f"{row['intent_id']} is {state}, its order is {ends}"))
    return found


def _risk(truth: Truth, books: Books) -> list[Violation]:
    """I8: all that is open, unknown or filled together keeps the limit, by the broker's account and by the ledger's."""
    allowed = truth.max_loss_allowed
    if allowed is None:
        return []
    filled = {
        event["external-identifier"].removeprefix(_OURS)
        for event in _ours(truth.history)
        if event.get("fills") or event.get("order-id") in truth.working
    }
    gone = {"denied", "expired", "withdrawn", "not_sent", "rejected", "dead", "cancelled", "broker_expired",
            "venue_rejected", "removed"}  # fmt: skip
    risk: dict[str, Decimal] = {}
    for row in books.intents:
        counts = row["state"] not in gone | {"approved"} or row["filled_quantity"] or row["intent_id"] in filled
        if row["purpose"] == "open" and counts:
            risk[row["root_intent_id"]] = row["reserved_max_loss"] or Decimal(0)
    total = sum(risk.values(), Decimal(0))
    return [Violation("limit_breach", "I8", f"{total} at risk of {allowed}")] if total > allowed else []


def _facts(truth: Truth, books: Books) -> list[Violation]:
    """I10, I13: what was promised is published, versions have no gap, and what has ended does not live again."""
    found = []
    if books.unpublished:
        found.append(Violation("mismatch", "I13", f"{books.unpublished} promised messages were not published"))
    versions: dict[str, int] = {}
    ended: dict[str, str] = {}
    for step in books.steps:
        identity, version, state = step["intent_id"], step["version"], step["state"]
        if identity in versions and version != versions[identity] + 1:
            found.append(Violation("mismatch", "I13", f"{identity}: version {version} follows {versions[identity]}"))
        versions[identity] = version
        if ended.get(identity) == "filled" and state != "filled":
            found.append(Violation("mismatch", "I10", f"{identity} was filled and became {state}"))
        ended[identity] = state
    return found


async def sound(connection: asyncpg.Connection[Any]) -> list[Violation]:
    """I16, I17 for the whole ledger: every resume has its audit row, by who may resume."""
    rows = await connection.fetch(
        "SELECT g.scope, g.scope_value, g.revision FROM ledger.gate g WHERE g.mode = 'run' AND g.who <> 'migration' "
        "AND NOT EXISTS (SELECT 1 FROM ledger.audit a WHERE a.action = 'resume' "
        "AND a.detail ->> 'revision' = g.revision::text) AND g.revision > 1"
    )
    return [Violation("mismatch", "I17", f"{row['scope']} {row['scope_value']} runs without an audit") for row in rows]
