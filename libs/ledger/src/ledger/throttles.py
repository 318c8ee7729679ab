"""How many messages and repeated trades an account may send; judged in the transaction that permits one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from ledger.exposure import Refusal
from ledger.limits import HardLimits
from ledger.tables import Intent
from schemas.trade import Purpose

STEP_SHARE = Decimal("0.7")
"""Part of the minute's, hour's and day's messages that price steps may use: the rest is kept for new orders."""
AUTOMATED = "scanner"


@dataclass(frozen=True, slots=True)
class Traffic:
    """Messages sent so far; tokens: what the bucket holds now."""

    tokens: Decimal
    last_minute: int
    last_hour: int
    today: int


@dataclass(frozen=True, slots=True)
class Repeats:
    """Automated opening orders sent: of the same strategy, underlying and structure, and of the strategy."""

    in_ten_minutes: int
    today: int
    of_strategy_today: int


@dataclass(frozen=True, slots=True)
class Lost:
    """Orders whose fate is unknown: of the account, and those of the strategy among them."""

    of_account: int
    of_strategy: int


def throttled(traffic: Traffic, limits: HardLimits, *, step: bool, closes: bool) -> Refusal | None:
    """The message throttle that forbids one more; a first close is held to the rate alone. None when it may go."""
    if limits.of("messages_per_second") is None or traffic.tokens < 1:
        return Refusal("messages_per_second", None, limits.of("messages_per_second"), "the burst is used up")
    if closes and not step:
        return None
    share = STEP_SHARE if step else Decimal(1)
    for name, count in (
        ("messages_per_minute", traffic.last_minute),
        ("messages_per_hour", traffic.last_hour),
        ("messages_per_day", traffic.today),
    ):
        allowed = limits.of(name)
        if allowed is None or count + 1 > max(Decimal(1), allowed * share):
            return Refusal(name, Decimal(count + 1), allowed, "price steps leave room for new orders" if step else "")
    return None


def repeated(repeats: Repeats, limits: HardLimits) -> Refusal | None:
    """The repeated-execution throttle that forbids one more automated opening order; None when it may go."""
    for name, count in (
        ("repeated_opens_per_10_minutes", repeats.in_ten_minutes),
        ("repeated_opens_per_day", repeats.today),
        ("strategy_opens_per_day", repeats.of_strategy_today),
    ):
        allowed = limits.of(name)
        if allowed is None or count + 1 > allowed:
            return Refusal(name, Decimal(count + 1), allowed)
    return None


def refilled(tokens: Decimal | None, at: datetime | None, now: datetime, limits: HardLimits) -> Decimal:
    """What the bucket holds now: `messages_per_second` flow in, at most `messages_burst`; full when never used."""
    burst, rate = limits.of("messages_burst") or Decimal(0), limits.of("messages_per_second") or Decimal(0)
    if tokens is None or at is None:
        return burst
    return min(burst, tokens + rate * Decimal(str(max(0.0, (now - at).total_seconds()))))


_SENT = text(
    "SELECT count(*) FILTER (WHERE submitting_at > clock_timestamp() - interval '1 minute') AS minute, "
    "count(*) FILTER (WHERE submitting_at > clock_timestamp() - interval '1 hour') AS hour, "
    "count(*) FILTER (WHERE submitting_at >= ledger.day_start()) AS today, "
    "count(*) FILTER (WHERE opened AND same AND submitting_at > clock_timestamp() - interval '10 minutes') AS ten, "
    "count(*) FILTER (WHERE opened AND same AND submitting_at >= ledger.day_start()) AS repeated, "
    "count(*) FILTER (WHERE opened AND submitting_at >= ledger.day_start()) AS strategy, "
    "(SELECT count(*) FROM ledger.intent WHERE account_number = :account AND state IN ('unknown', 'quarantine')) "
    "AS lost, (SELECT count(*) FROM ledger.intent WHERE account_number = :account AND strategy_id = :strategy "
    "AND state IN ('unknown', 'quarantine')) AS lost_of_strategy FROM ("
    "SELECT submitting_at, strategy_id = :strategy AND purpose = 'open' AND source = :automated AND walk_step = 0 "
    "AS opened, underlying_symbol = :underlying AND spread_type = :spread AS same FROM ledger.intent "
    "WHERE account_number = :account "
    "AND submitting_at >= least(ledger.day_start(), clock_timestamp() - interval '1 hour')) sent"
)


async def sent(session: AsyncSession, intent: Intent, tokens: Decimal) -> tuple[Traffic, Repeats, Lost]:
    """What the account of an intent has sent, what automation has sent like it, and what is unknown."""
    values = {
        "account": intent.account_number, "strategy": intent.strategy_id, "underlying": intent.underlying_symbol,
        "spread": intent.spread_type, "automated": AUTOMATED,
    }  # fmt: skip
    row = (await session.execute(_SENT, values)).one()
    return (
        Traffic(tokens, row.minute, row.hour, row.today),
        Repeats(row.ten, row.repeated, row.strategy),
        Lost(row.lost, row.lost_of_strategy),
    )


def is_repeatable(intent: Intent) -> bool:
    """Whether the repeated-execution throttle counts an intent: automation's own opening orders, price steps not."""
    return intent.source == AUTOMATED and intent.purpose == Purpose.OPEN.value and intent.walk_step == 0
