"""Which intent an order of the broker belongs to, and what must not exist."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class BrokerOrder:
    """What identifies an order at the broker."""

    order_id: str
    intent_id: str | None
    """Named by its external identifier; None for one that is not ours by name."""
    underlying_symbol: str
    may_fill: bool
    replaces: str | None = None
    replaced_by: str | None = None


@dataclass(frozen=True, slots=True)
class Matched:
    """Orders at the broker against intents in the ledger."""

    ours: Mapping[str, str]
    """Order id → intent id."""
    foreign: tuple[BrokerOrder, ...]
    """Placed by somebody else."""
    orphaned: tuple[BrokerOrder, ...]
    """Named like ours, unknown to the ledger: it is older than the broker, or another installation trades here."""
    surplus: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Intent id → orders beyond the first that carry its name: what must never happen."""


def match(orders: Iterable[BrokerOrder], intents: Iterable[str], by_order_id: Mapping[str, str]) -> Matched:
    """By external identifier, then by the broker's number, then by replace links.

    intents: ids that the ledger knows; by_order_id: broker's number → intent id, as the ledger has them.
    """
    known, found = set(intents), list(orders)
    ours: dict[str, str] = {}
    orphaned, left = [], []
    for each in found:
        if each.intent_id is not None and each.intent_id in known:
            ours[each.order_id] = each.intent_id
        elif each.order_id in by_order_id:
            ours[each.order_id] = by_order_id[each.order_id]
        elif each.intent_id is not None:
            orphaned.append(each)
        else:
            left.append(each)
    return Matched(ours, tuple(left), tuple(orphaned), _surplus(found, ours, by_order_id))


def _surplus(
    orders: list[BrokerOrder], ours: Mapping[str, str], by_order_id: Mapping[str, str]
) -> dict[str, tuple[str, ...]]:
    """Orders that share an intent, without the one the ledger holds or else the oldest.

    An edit by hand keeps the name and links old and new: such a chain is one order.
    """
    groups: dict[str, list[BrokerOrder]] = {}
    for each in orders:
        if each.order_id in ours:
            groups.setdefault(ours[each.order_id], []).append(each)
    surplus = {}
    for intent_id, group in groups.items():
        numbers = {each.order_id for each in group}
        heads = [each for each in group if each.replaces not in numbers]
        if len(heads) < 2:
            continue
        heads.sort(key=lambda each: (each.order_id not in by_order_id, int(each.order_id)))
        surplus[intent_id] = tuple(each.order_id for each in heads[1:])
    return surplus
