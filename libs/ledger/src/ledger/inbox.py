"""Take each message once, however often it is delivered."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, func

from ledger.tables import InboxRow

KEPT_DAYS = 35
"""How long a message is remembered: longer than any stream redelivers it."""
_FORGET = text(
    "DELETE FROM ledger.inbox WHERE (consumer, message_id) IN (SELECT consumer, message_id FROM ledger.inbox "
    "WHERE consumer = :consumer AND at < clock_timestamp() - make_interval(days => :days) LIMIT :most) "
    "RETURNING message_id"
)


async def first_time(session: AsyncSession, consumer: str, message_id: str) -> bool:
    """Note a message in this transaction; False when an earlier transaction has taken it."""
    statement = (
        insert(InboxRow)
        .values(consumer=consumer, message_id=message_id, at=func.clock_timestamp())
        .on_conflict_do_nothing()
        .returning(col(InboxRow.message_id))
    )
    return (await session.execute(statement)).scalar() is not None


async def forget(session: AsyncSession, consumer: str, *, most: int = 10_000) -> int:
    """Delete what a consumer took longer ago than it must be remembered; returns how many rows."""
    values = {"consumer": consumer, "days": KEPT_DAYS, "most": most}
    return len((await session.execute(_FORGET, values)).all())
