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
class Delivery:
    """Contracts that ended without an order: expired, exercised, assigned, adjusted."""

    reference: str
    symbol: str
    action: OrderAction
    quantity: int
    price: Decimal
    at: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Reversal:
    """A trade that was taken back; with a price it stands again at that price."""

    transaction_id: int
    order_id: str
    symbol: str
    quantity: int
    price: Decimal
    """Of the trade that was taken back, $ per share."""
    corrected_price: Decimal | None
    at: datetime


def deliveries(entries: Iterable[Entry], held: Mapping[str, int]) -> list[Delivery]:
    """What must be booked because contracts ended, oldest first. held: the ledger's signed contracts.

    The broker names no action for an expiration: it closes what is held. A symbol that the ledger does not hold is left
    alone.
    """
    found = []
    for each in sorted(entries, key=lambda entry: (entry.at, entry.transaction_id)):
        if each.kind != "Receive Deliver" or each.quantity <= 0 or len(each.symbol) != 21:
            continue
        if each.action is not None:
            action = OrderAction(each.action)
        elif held.get(each.symbol, 0):
            action = OrderAction.SELL_TO_CLOSE if held[each.symbol] > 0 else OrderAction.BUY_TO_CLOSE
        else:
            continue
        reference = f"transaction-{each.transaction_id}"
        found.append(
            Delivery(reference, each.symbol, action, each.quantity, each.price, each.at, each.sub_kind or each.kind)
        )
    return found


def reversals(entries: Iterable[Entry]) -> list[Reversal]:
    """Trades that the broker took back, oldest first; one entered anew for the same execution corrects the price."""
    rows = sorted(entries, key=lambda entry: entry.transaction_id)
    by_id = {each.transaction_id: each for each in rows}
    gone = {each.reverses for each in rows if each.reverses is not None}
    found = []
    for each in rows:
        if each.reverses is None or each.kind != "Trade" or len(each.symbol) != 21:
            continue
        original = by_id.get(each.reverses, each)
        if original.order_id is None:
            continue
        again = [
            row.price
            for row in rows
            if row.kind == "Trade"
            and row.reverses is None
            and row.transaction_id > each.transaction_id
            and row.transaction_id not in gone
            and (row.order_id, row.symbol, row.exec_id) == (original.order_id, original.symbol, original.exec_id)
        ]
        found.append(
            Reversal(
                each.transaction_id, original.order_id, original.symbol, original.quantity, original.price,
                again[-1] if again else None, each.at,
            )
        )  # fmt: skip
    return found


def unbooked(entries: Iterable[Entry], booked: Mapping[tuple[str, str], int]) -> set[str]:
    """Orders whose standing trades add up to more than their fills. booked: (order, symbol) → contracts that stand."""
    rows = list(entries)
    gone = {each.reverses for each in rows if each.reverses is not None}
    traded: dict[tuple[str, str], int] = {}
    for each in rows:
        if each.kind != "Trade" or not each.order_id or len(each.symbol) != 21:
            continue
        if each.reverses is None and each.transaction_id not in gone:
            key = (each.order_id, each.symbol)
            traded[key] = traded.get(key, 0) + each.quantity
    return {order for (order, symbol), count in traded.items() if count > booked.get((order, symbol), 0)}
