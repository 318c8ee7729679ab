"""Take each message once, however often it is delivered."""

from __future__ import annotations

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, func

from ledger.tables import InboxRow


async def first_time(session: AsyncSession, consumer: str, message_id: str) -> bool:
    """Note a message in this transaction; False when an earlier transaction has taken it."""
    statement = (
        insert(InboxRow)
        .values(consumer=consumer, message_id=message_id, at=func.clock_timestamp())
        .on_conflict_do_nothing()
        .returning(col(InboxRow.message_id))
    )
    return (await session.execute(statement)).scalar() is not None
