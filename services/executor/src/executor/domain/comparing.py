"""Broker against ledger: positions, orders, transactions, and a broker or a ledger that has lost its memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from schemas.trade import OrderAction

FORGOTTEN_SECONDS = 60.0
"""An order younger than this may not be in a list yet."""


def disagreements(ledger: Mapping[str, int], broker: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """Contract → (ledger, broker) signed quantities where they differ."""
    symbols = ledger.keys() | broker.keys()
    pairs = {symbol: (ledger.get(symbol, 0), broker.get(symbol, 0)) for symbol in symbols}
    return {symbol: pair for symbol, pair in pairs.items() if pair[0] != pair[1]}


def root_of(symbol: str) -> str:
    """Underlying under which a difference is kept: the root of a contract, a stock itself."""
    return symbol[:6].rstrip()


def told(differences: Mapping[str, tuple[int, int]]) -> dict[str, str]:
    """Underlying → first difference in words."""
    found: dict[str, str] = {}
    for symbol, (ours, theirs) in sorted(differences.items()):
        found.setdefault(root_of(symbol), f"{symbol}: broker reports {theirs}, ledger holds {ours}")
    return found


def lasting(
    before: Mapping[str, tuple[int, int]], now: Mapping[str, tuple[int, int]]
) -> dict[str, tuple[int, int]]:  # fmt: skip
    """Differences that two comparisons in a row have found the same: a fill between two reads is none."""
    return {symbol: pair for symbol, pair in now.items() if before.get(symbol) == pair}


@dataclass(frozen=True, slots=True)
class Memory:
    """What ledger and broker remember of each other."""

    expected_orders: Mapping[str, datetime]
    """Broker's numbers that the ledger has → when they were sent; of the time searched."""
    listed_orders: frozenset[str]
    orphaned_orders: tuple[str, ...]
    """Orders that carry our name and that the ledger does not know."""
    ledger_positions: int
    broker_positions: int


def lost_memory(memory: Memory, now: datetime) -> str | None:
    """Why neither may be believed; None when they know each other.

    An emptied broker (a sandbox is wiped every day) lists nothing of what the ledger sent; a ledger restored from an
    old copy does not know its own orders. Either would turn every figure of risk into fiction.
    """
    if memory.orphaned_orders:
        return (
            f"{len(memory.orphaned_orders)} orders at the broker carry this system's name and are not in the ledger "
            f"(first: {memory.orphaned_orders[0]}): the ledger is older than the broker, or another installation "
            "trades in this account. Restore the newest copy, or separate them, then start again"
        )
    settled = [
        number for number, at in memory.expected_orders.items() if (now - at).total_seconds() > FORGOTTEN_SECONDS
    ]
    nothing_held = memory.broker_positions == 0 and memory.ledger_positions > 0
    if settled and not memory.listed_orders & set(memory.expected_orders) and (nothing_held or len(settled) > 1):
        return (
            f"the broker lists none of the {len(settled)} orders the ledger has sent and {memory.broker_positions} "
            f"positions against {memory.ledger_positions}: the account was emptied. Start with a new ledger, or "
            "another account"
        )
    return None


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the account's history that concerns a contract."""

    transaction_id: int
    kind: str
    """`Trade`, `Receive Deliver`, in the broker's words."""
    sub_kind: str
    symbol: str
    action: str | None
    quantity: int
    price: Decimal
    at: datetime
    order_id: str | None
    exec_id: str | None
    reverses: int | None
    description: str = ""


@dataclass(frozen=True, slots=True)
class Compensation:
    """A booking that no fill of an order explains."""

    reference: str
    symbol: str
    action: OrderAction
    quantity: int
    price: Decimal
    at: datetime
    reason: str


_OPPOSITE = {
    OrderAction.BUY_TO_OPEN: OrderAction.SELL_TO_CLOSE,
    OrderAction.SELL_TO_OPEN: OrderAction.BUY_TO_CLOSE,
    OrderAction.BUY_TO_CLOSE: OrderAction.SELL_TO_OPEN,
    OrderAction.SELL_TO_CLOSE: OrderAction.BUY_TO_OPEN,
}


def compensations(entries: Iterable[Entry]) -> list[Compensation]:
    """What must be booked beside the fills, oldest first: busted trades, and contracts that were delivered or ended.

    A reversal carries the trade it takes back in `reverses`; it is booked as the opposite of that trade, or of itself
    where the broker repeats the trade's action, at the trade's price.
    """
    found = []
    by_id = {each.transaction_id: each for each in entries}
    for each in sorted(by_id.values(), key=lambda entry: (entry.at, entry.transaction_id)):
        if each.quantity <= 0 or len(each.symbol) != 21:
            continue
        if each.reverses is not None:
            busted = by_id.get(each.reverses, each)
            if busted.action is None:
                continue
            found.append(_booking(each, _OPPOSITE[OrderAction(busted.action)], f"trade {each.reverses} was reversed"))
        elif each.kind == "Receive Deliver" and each.action in set(OrderAction):
            found.append(_booking(each, OrderAction(each.action), each.sub_kind or each.kind))
    return found


def _booking(entry: Entry, action: OrderAction, reason: str) -> Compensation:
    return Compensation(
        f"transaction-{entry.transaction_id}", entry.symbol, action, entry.quantity, entry.price, entry.at, reason
    )


def unbooked(entries: Iterable[Entry], booked: Mapping[tuple[str, str], int]) -> set[str]:
    """Orders whose trades in the history add up to more than their fills. booked: (order, symbol) → contracts."""
    traded: dict[tuple[str, str], int] = {}
    for each in entries:
        if each.kind == "Trade" and each.order_id and each.reverses is None and len(each.symbol) == 21:
            key = (each.order_id, each.symbol)
            traded[key] = traded.get(key, 0) + each.quantity
    return {order for (order, symbol), count in traded.items() if count > booked.get((order, symbol), 0)}
