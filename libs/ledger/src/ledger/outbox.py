"""Messages promised in a transaction, published after it: at least once, in order per producer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Protocol

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlmodel import col, func, select

from ledger.tables import OutboxRow
from schemas.base import Message

VALID_UNTIL, TYPE, VERSION = "tt-valid-until", "tt-type", "tt-version"
_BATCH, _IDLE_SECONDS, _RETRY_SECONDS = 100, 0.1, 0.5


def enqueue(
    session: AsyncSession,
    producer: str,
    subject: str,
    message: Message,
    *,
    message_id: str,
    valid_until: datetime | None = None,
) -> None:
    """Promise a message with this transaction."""
    headers = {TYPE: message.type_name(), VERSION: str(message.version)}
    if valid_until is not None:
        headers[VALID_UNTIL] = valid_until.isoformat()
    session.add(
        OutboxRow(
            producer=producer,
            subject=subject,
            message_id=message_id,
            headers=headers,
            payload=message.model_dump_json(),
            created_at=datetime.now(UTC),
        )
    )


class Publish(Protocol):
    """Publishes one message and raises unless it is stored."""

    def __call__(self, subject: str, data: bytes, *, message_id: str, headers: Mapping[str, str]) -> Awaitable[object]:
        """Publish."""


class Relay:
    """Publishes the outbox of one producer. `wake` after a commit saves the poll's wait."""

    def __init__(
        self, engine: AsyncEngine, producer: str, publish: Publish, on_failure: Callable[[Exception], None]
    ) -> None:
        self._engine, self._producer, self._publish, self._on_failure = engine, producer, publish, on_failure
        self._woken = asyncio.Event()
        self.published = 0

    def wake(self) -> None:
        """Something was committed."""
        self._woken.set()

    async def run(self) -> None:
        """Publish for ever; a failure is reported and tried again."""
        while True:
            self._woken.clear()
            try:
                count = await self.flush()
            except Exception as error:  # the edge: bus or database may be away for any reason; the rows stay
                self._on_failure(error)
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            if count < _BATCH:
                try:
                    await asyncio.wait_for(self._woken.wait(), _IDLE_SECONDS)
                except TimeoutError:
                    continue

    async def flush(self) -> int:
        """Publish what is due now; returns how many messages."""
        async with AsyncSession(self._engine) as session, session.begin():
            due = (
                await session.execute(
                    select(OutboxRow)
                    .where(OutboxRow.producer == self._producer, col(OutboxRow.published_at).is_(None))
                    .order_by(col(OutboxRow.id))
                    .limit(_BATCH)
                )
            ).scalars()
            done: list[int | None] = []
            try:
                for row in due:
                    await self._publish(
                        row.subject, row.payload.encode(), message_id=row.message_id, headers=row.headers
                    )
                    done.append(row.id)
            finally:
                if done:
                    await session.execute(
                        update(OutboxRow).where(col(OutboxRow.id).in_(done)).values(published_at=func.clock_timestamp())
                    )
                    await session.commit()
            self.published += len(done)
            return len(done)
