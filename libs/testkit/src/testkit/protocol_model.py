"""Explicit-state model of submit, stop, step and recovery against a broker that never dedupes; searched breadth-first.

The journal's moves are the product's own: `ledger.core.advance` over `schemas.orders.TRANSITIONS`, and its reserved and
terminal states. The world around it is the worst one: requests travel for as long as they like or vanish, accepted
orders hide from look-ups, processes die or sleep anywhere, a leader sleeps through the end of its lease, the reply to a
COMMIT is lost. A transaction is two steps, between which others act unless a lock forbids it. `Rules` names every
precaution of the protocol; switching one off makes a mutant, which the search must catch.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from schemas.orders import RESERVED_STATES, TERMINAL_STATES, IntentState
from testkit.protocol_steps import successors
from testkit.protocol_world import FILLED, LATE, LIVE, Bounds, Process, Rules, Trade, World, has

S = IntentState


@dataclass(frozen=True, slots=True)
class Report:
    """What a search found. violation: "" when nothing; trace: shortest road to it."""

    states: int
    transitions: int
    violation: str = ""
    trace: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.violation:
            return f"{self.states:,} states, {self.transitions:,} transitions, no violation"
        road = "".join(f"\n  {number:2d}. {each}" for number, each in enumerate(self.trace, 1))
        return f"{self.violation} after {len(self.trace)} steps ({self.states:,} states searched):{road}"


def explore(rules: Rules, bounds: Bounds) -> Report:
    """Search every reachable world; stops at the first that breaks an invariant, which is a nearest one.

    When none does, looks for worlds from which no settled one can be reached any more (liveness).
    """
    start = World(
        (Trade(S.APPROVED), Trade()), (Process(),) * bounds.executors, False, False, False, False, False,
        bounds.crashes, bounds.lost_leases,
    )  # fmt: skip
    number: dict[World, int] = {start: 0}
    came: list[tuple[int, str]] = [(-1, "")]
    before: list[list[int]] = [[]]
    settled: list[int] = []
    queue, transitions = deque([start]), 0
    while queue:
        world = queue.popleft()
        own = number[world]
        if is_settled(world):
            settled.append(own)
        for label, after, broken in successors(world, rules, bounds):
            transitions += 1
            known = number.get(after)
            if known is None:
                known = number[after] = len(came)
                came.append((own, label))
                before.append([own])
                broken = broken or broken_invariant(after, rules)
                queue.append(after)
            else:
                before[known].append(own)
            if broken:
                return Report(len(came), transitions, broken, (*_road(came, own), label))
    stuck = _never_settles(before, settled)
    if stuck is not None:
        return Report(len(came), transitions, "I25: nothing leads to a settled world any more", _road(came, stuck))
    return Report(len(came), transitions)


def _road(came: list[tuple[int, str]], at: int) -> tuple[str, ...]:
    road: list[str] = []
    while at > 0:
        at, label = came[at]
        road.append(label)
    return tuple(reversed(road))


def _never_settles(before: list[list[int]], settled: list[int]) -> int | None:
    """The nearest world from which no settled one can be reached; None when there is none."""
    reaches, stack = bytearray(len(before)), list(settled)
    for each in settled:
        reaches[each] = 1
    while stack:
        for each in before[stack.pop()]:
            if not reaches[each]:
                reaches[each] = 1
                stack.append(each)
    found = reaches.find(0)
    return None if found < 0 else found


def is_settled(world: World) -> bool:
    """The session is over, every intent is finished and the journal knows every fill."""
    return world.closed and all(
        trade.state is None or (trade.state in TERMINAL_STATES and (trade.booked or not has(trade, FILLED, LATE)))
        for trade in world.trades
    )


def broken_invariant(world: World, rules: Rules) -> str:
    """The first invariant a world breaks, "" for none."""
    fills = 0
    for trade in world.trades:
        if trade.permits > 1 or trade.requests > 1:
            return f"I1: {trade.permits} permits and {trade.requests} requests for one intent"
        if len(trade.orders) > 1:
            return "I2: two orders at the broker for one intent"
        if trade.requests > trade.permits:
            return "I3: a request without a permit"
        fills += has(trade, FILLED, LATE)
    if fills > 1 or sum(has(trade, LIVE) for trade in world.trades) > 1:
        return "I8: the order and its price step are both at the broker"
    reserved = RESERVED_STATES if rules.unknown_reserved else RESERVED_STATES - {S.UNKNOWN, S.QUARANTINE}
    if not any(trade.state in reserved for trade in world.trades):
        for trade in world.trades:
            if trade.under_way or has(trade, LIVE) or (has(trade, FILLED) and not trade.booked):
                return f"I9: nothing is reserved while the broker may fill (intent {trade.state})"
    return ""
