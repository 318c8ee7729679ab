"""Who did what: a row and a fact, in the transaction of the act."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from ledger import outbox
from ledger.tables import AuditRow
from schemas import subjects
from schemas.account import AuditEntry


def record(
    session: AsyncSession,
    producer: str,
    who: str,
    action: str,
    *,
    target: str = "",
    detail: Mapping[str, str] | None = None,
    outcome: str = "ok",
) -> None:
    """Note an act of a person or an automatic stop."""
    entry = AuditEntry(
        ts_event=datetime.now(UTC), who=who, action=action, target=target, detail=dict(detail or {}), outcome=outcome
    )
    session.add(
        AuditRow(at=entry.ts_event, who=who, action=action, target=target, detail=entry.detail, outcome=outcome)
    )
    outbox.enqueue(session, producer, subjects.fact_audit(producer), entry, message_id=f"audit-{uuid.uuid4()}")


async def recent(session: AsyncSession, limit: int) -> Sequence[AuditRow]:
    """Newest first."""
    statement = select(AuditRow).order_by(col(AuditRow.id).desc()).limit(limit)
    return (await session.execute(statement)).scalars().all()
