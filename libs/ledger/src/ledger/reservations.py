"""The account's risk row: locked by every approval and every permit, so that no two together exceed a limit."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from ledger import limits as hard
from ledger import throttles
from ledger.exposure import Holdings, Outstanding, Refusal, Reservation, judge
from ledger.journal import legs_of
from ledger.limits import HardLimits
from ledger.tables import Intent
from schemas.orders import RESERVED_STATES
from schemas.symbols import parse_occ
from schemas.trade import Purpose

_NEVER = datetime.max.replace(tzinfo=UTC)
_ENSURE = text("INSERT INTO ledger.account_risk (account_number) VALUES (:account) ON CONFLICT DO NOTHING")
_LOCK = text(
    "SELECT net_liq, held_max_loss, buying_power_used, buying_power_free, max_loss_of, structures, held_at, tokens, "
    "tokens_at, clock_timestamp() AS now FROM ledger.account_risk WHERE account_number = :account FOR UPDATE"
)
_HOLD = text(
    "UPDATE ledger.account_risk SET net_liq = :net_liq, held_max_loss = :max_loss, buying_power_used = :used, "
    "buying_power_free = :free, max_loss_of = CAST(:of AS jsonb), structures = CAST(:structures AS jsonb), "
    "held_at = :at WHERE account_number = :account"
)
_SPEND = text(
    "UPDATE ledger.account_risk SET tokens = :tokens, tokens_at = clock_timestamp() WHERE account_number = :account"
)
_TRADES = text(
    "SELECT count(*) AS trades, count(*) FILTER (WHERE source = :automated) AS automated FROM ledger.intent "
    "WHERE account_number = :account AND walk_step = 0 AND purpose = 'open' AND root_intent_id <> :root "
    "AND state NOT IN ('proposed', 'denied', 'expired', 'withdrawn') AND created_at >= ledger.day_start()"
)


@dataclass(frozen=True, slots=True)
class AccountRisk:
    """The locked row. held_at: when risk last wrote the holdings, None = never."""

    held: Holdings
    held_at: datetime | None
    tokens: Decimal | None
    tokens_at: datetime | None
    now: datetime


async def lock(session: AsyncSession, account_number: str) -> AccountRisk:
    """Lock an account's risk row until this transaction ends."""
    values = {"account": account_number}
    row = (await session.execute(_LOCK, values)).one_or_none()
    if row is None:
        await session.execute(_ENSURE, values)
        row = (await session.execute(_LOCK, values)).one()
    held = Holdings(
        row.net_liq, row.held_max_loss, row.buying_power_used, row.buying_power_free,
        {symbol: Decimal(amount) for symbol, amount in row.max_loss_of.items()}, frozenset(row.structures),
    )  # fmt: skip
    return AccountRisk(held, row.held_at, row.tokens, row.tokens_at, row.now)


async def set_holdings(session: AsyncSession, account_number: str, held: Holdings, at: datetime) -> None:
    """Write what is held, as risk reckons it, read at `at` or before. Locks the row."""
    await lock(session, account_number)
    loss_of = {symbol: str(amount) for symbol, amount in held.max_loss_of.items()}
    values = {
        "account": account_number, "net_liq": held.net_liq, "max_loss": held.max_loss, "used": held.buying_power_used,
        "free": held.buying_power_free, "of": json.dumps(loss_of),
        "structures": json.dumps(sorted(held.structures)), "at": at,
    }  # fmt: skip
    await session.execute(_HOLD, values)


async def outstanding(
    session: AsyncSession, account_number: str, *, without_root: str = "", held_at: datetime | None = None
) -> Outstanding:
    """Sums over what is reserved, each walk once at its newest step.

    without_root: a walk that is left out. held_at: what filled after it is not among the holdings yet and counts too.
    """
    statement = select(Intent).where(
        Intent.account_number == account_number,
        Intent.purpose == Purpose.OPEN.value,
        Intent.root_intent_id != without_root,
        col(Intent.state).in_([state.value for state in RESERVED_STATES])
        | ((col(Intent.filled_quantity) > 0) & (col(Intent.updated_at) > (held_at or _NEVER))),
    )
    newest: dict[str, Intent] = {}
    for row in (await session.execute(statement)).scalars():
        before = newest.get(row.root_intent_id)
        if before is None or row.walk_step > before.walk_step:
            newest[row.root_intent_id] = row
    loss_of: dict[str, Decimal] = {}
    for row in newest.values():
        of = loss_of.get(row.underlying_symbol, Decimal(0))
        loss_of[row.underlying_symbol] = of + (row.reserved_max_loss or Decimal(0))
    values = {"account": account_number, "root": without_root, "automated": throttles.AUTOMATED}
    counts = (await session.execute(_TRADES, values)).one()
    return Outstanding(
        sum(loss_of.values(), Decimal(0)),
        sum((row.reserved_buying_power or Decimal(0) for row in newest.values()), Decimal(0)),
        loss_of,
        frozenset(structure_of(row) for row in newest.values()),
        counts.trades,
        counts.automated,
    )


async def reserve(
    session: AsyncSession,
    account_number: str,
    wanted: Reservation,
    limits: HardLimits,
    *,
    held: Holdings | None = None,
) -> Refusal | None:
    """Judge an opening order beside everything held and reserved, under the account's lock.

    Call `gate.lock_shared` first where the transaction reads the gate at all: the gate comes before the account's row.
    With None, insert the approved intent in this same transaction: the lock is kept until it ends, so the next
    proposal sees it. held: what risk has just reckoned; it is written to the row. Without it the row's own counts.
    """
    account = await lock(session, account_number)
    if held is not None:
        await set_holdings(session, account_number, held, account.now)
    held_at = account.now if held is not None else account.held_at
    others = await outstanding(session, account_number, held_at=held_at)
    return judge(wanted, held or account.held, others, limits)


async def recheck(session: AsyncSession, intent: Intent) -> Refusal | None:
    """Everything that may forbid the permit of an approved intent, under the account's lock; takes a message's token.

    Exposure is judged once risk has written the account's holdings; a close is held to the message rate alone.
    """
    account = await lock(session, intent.account_number)
    limits = await hard.current(session, intent.account_number)
    opens, step = intent.purpose == Purpose.OPEN.value, intent.walk_step > 0
    tokens = throttles.refilled(account.tokens, account.tokens_at, account.now, limits)
    traffic, repeats, lost = await throttles.sent(session, intent, tokens)
    if opens:
        allowed = limits.of("unknown_orders_max")
        if lost.of_strategy or allowed is None or lost.of_account > allowed:
            return Refusal("unknown_orders_max", Decimal(lost.of_account), allowed, "orders whose fate is unknown")
        if throttles.is_repeatable(intent) and (refusal := throttles.repeated(repeats, limits)):
            return refusal
    if refusal := throttles.throttled(traffic, limits, step=step, closes=not opens):
        return refusal
    if opens and account.held_at is not None:
        others = await outstanding(
            session, intent.account_number, without_root=intent.root_intent_id, held_at=account.held_at
        )
        if refusal := judge(reservation_of(intent), account.held, others, limits):
            return refusal
    await session.execute(_SPEND, {"account": intent.account_number, "tokens": tokens - 1})
    return None


def reservation_of(intent: Intent) -> Reservation:
    """What an intent reserves."""
    return Reservation(
        intent.reserved_max_loss or Decimal(0),
        intent.reserved_buying_power or Decimal(0),
        intent.underlying_symbol,
        structure_of(intent),
        intent.source == throttles.AUTOMATED,
    )


def structure_of(intent: Intent) -> str:
    """What counts as one position: underlying and nearest expiration."""
    expiration = min(parse_occ(leg.occ_symbol).expiration for leg in legs_of(intent))
    return f"{intent.underlying_symbol} {expiration.isoformat()}"
