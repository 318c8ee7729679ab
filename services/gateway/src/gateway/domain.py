"""The read model: channels of keyed items with sequence numbers, as the browsers see them; who may do what. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from schemas.account import KillScope
from schemas.commands import KillAck, KillCommand

Item = Mapping[str, Any]


class Role(StrEnum):
    """What a person may do; each is a set of permissions, not a rank."""

    VIEWER = "viewer"
    TRADER = "trader"
    RISK = "risk"
    OPERATOR = "operator"
    ADMIN = "admin"


class Permission(StrEnum):
    READ = "read"
    TRADE = "trade"
    """Propose trades, cancel orders, arm and disarm."""
    STOP = "stop"
    RESUME = "resume"
    LIMITS = "change limits"


PERMISSIONS: Mapping[Role, frozenset[Permission]] = {
    Role.VIEWER: frozenset({Permission.READ}),
    Role.TRADER: frozenset({Permission.READ, Permission.TRADE, Permission.STOP}),
    Role.RISK: frozenset({Permission.READ, Permission.STOP}),
    Role.OPERATOR: frozenset({Permission.READ, Permission.STOP}),
    Role.ADMIN: frozenset(Permission),
}


class Channel(StrEnum):
    """What a browser can subscribe to."""

    CYCLE = "cycle"
    CANDIDATES = "candidates"
    ORDERS = "orders"
    FILLS = "fills"
    POSITIONS = "positions"
    BALANCES = "balances"
    PORTFOLIO = "portfolio"
    VOLATILITY = "volatility"
    RISK = "risk"
    GATE = "gate"
    KILL = "kill"
    HEALTH = "health"
    FEED = "feed"
    QUOTES = "quotes"
    DECISIONS = "decisions"


KEPT: Mapping[Channel, int] = {
    Channel.ORDERS: 400,
    Channel.FILLS: 800,
    Channel.DECISIONS: 200,
    Channel.KILL: 20,
}
"""Newest items kept of channels that only grow."""


@dataclass(slots=True)
class Delta:
    """What changed in one channel."""

    seq: int
    put: dict[str, Item]
    deleted: list[str]


@dataclass(slots=True)
class _Content:
    items: dict[str, Item] = field(default_factory=dict)
    seq: int = 0
    put: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)


class ReadModel:
    """All channels. Changes gather until `take` turns them into one delta with the next sequence number."""

    def __init__(self) -> None:
        self._content = {channel: _Content() for channel in Channel}

    def put(self, channel: Channel, key: str, item: Item) -> None:
        """Set an item; the oldest goes when a bounded channel is full."""
        content = self._content[channel]
        if content.items.get(key) == item:
            return
        content.items[key] = item
        content.put.add(key)
        content.deleted.discard(key)
        if (bound := KEPT.get(channel)) is not None and len(content.items) > bound:
            self.delete(channel, next(iter(content.items)))

    def delete(self, channel: Channel, key: str) -> None:
        """Remove an item."""
        content = self._content[channel]
        if content.items.pop(key, None) is not None:
            content.put.discard(key)
            content.deleted.add(key)

    def replace(self, channel: Channel, items: Mapping[str, Item]) -> None:
        """Make a channel hold exactly these items."""
        for key in self._content[channel].items.keys() - items.keys():
            self.delete(channel, key)
        for key, item in items.items():
            self.put(channel, key, item)

    def get(self, channel: Channel, key: str) -> Item | None:
        """One item."""
        return self._content[channel].items.get(key)

    def items(self, channel: Channel) -> dict[str, Item]:
        """Everything in a channel, oldest first."""
        return self._content[channel].items

    def seq(self, channel: Channel) -> int:
        """Sequence number of the last delta taken."""
        return self._content[channel].seq

    def take(self, channel: Channel) -> Delta | None:
        """What changed since the last call, or None."""
        content = self._content[channel]
        if not content.put and not content.deleted:
            return None
        content.seq += 1
        delta = Delta(content.seq, {key: content.items[key] for key in content.put}, sorted(content.deleted))
        content.put, content.deleted = set(), set()
        return delta


ACK_SECONDS = 1.0
"""A process that has not confirmed a stop by then is shown red."""


@dataclass(slots=True)
class KillRecord:
    """One stop, and who has confirmed it."""

    command: KillCommand
    requested_at: datetime
    revision: int | None = None
    gate_seconds: float | None = None
    """From the request to the gate's commit, where this process asked for it."""
    overdue: tuple[str, ...] = ()
    """Services that had not confirmed in time; one that does so later leaves the list."""
    over: bool = False
    """The scope was resumed meanwhile: nothing more is done to stop it."""
    acks: dict[str, KillAck] = field(default_factory=dict)

    def acknowledge(self, ack: KillAck) -> None:
        """Take a confirmation; a later one of the same process replaces the earlier."""
        self.acks[f"{ack.service}.{ack.instance}"] = ack
        self.overdue = tuple(name for name in self.overdue if name != ack.service)

    def silent(self, expected: Iterable[str]) -> list[str]:
        """Expected services that have confirmed nothing yet."""
        return sorted(set(expected) - {ack.service for ack in self.acks.values()})

    @property
    def working_orders(self) -> int | None:
        """Orders that may still fill, as the executor last counted them; None while it has not."""
        counts = [ack.working_orders for ack in self.acks.values() if ack.service == "executor"]
        return counts[-1] if counts else None

    def confirmed(self, expected: Iterable[str]) -> bool:
        """Every expected service has acknowledged, and the executor finds no working order left."""
        services = {ack.service for ack in self.acks.values()}
        return set(expected) <= services and self.working_orders == 0

    def item(self, expected: Iterable[str]) -> Item:
        """As the browsers see it."""
        return {
            "command_id": self.command.command_id,
            "scope": self.command.scope.value,
            "scope_value": self.command.scope_value,
            "mode": self.command.mode.value,
            "who": self.command.who,
            "why": self.command.why,
            "requested_at": self.requested_at.isoformat(),
            "revision": self.revision,
            "acks": [ack.model_dump(mode="json") for ack in self.acks.values()],
            "confirmed": self.confirmed(expected),
            "working_orders": self.working_orders,
            "gate_seconds": self.gate_seconds,
            "overdue": list(self.overdue),
        }


def scope_fault(scope: KillScope, scope_value: str) -> str | None:
    """What is wrong with a scope; None when it is fine."""
    if scope is KillScope.ALL and scope_value:
        return "leave it empty: the scope `all` has no value"
    if scope is not KillScope.ALL and not scope_value:
        return f"name the {scope.value} to stop"
    return None
