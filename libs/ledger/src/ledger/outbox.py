"""Messages promised in a transaction, published after it: at least once, and in order for each aggregate.

The rows of one aggregate are inserted under its lock, so their ids rise in the order of their commits; rows of
different aggregates may overtake each other. One relay of a producer publishes at a time, whoever else runs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from sqlalchemy import text, update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlmodel import col, func, select

from chassis.failpoints import failpoint
from ledger import inbox
from ledger.tables import OutboxRow
from schemas.base import Message

VALID_UNTIL, TYPE, VERSION = "tt-valid-until", "tt-type", "tt-version"
KEPT_DAYS = 40
"""How long a published message stays; longer than a consumer remembers it."""
_BATCH, _IDLE_SECONDS, _RETRY_SECONDS, _FORGET_SECONDS = 100, 0.1, 0.5, 3600.0
_ALONE = text("SELECT pg_try_advisory_xact_lock(hashtextextended('ledger.outbox:' || :producer, 0))")
_BACKLOG = text(
    "SELECT count(*) AS messages, coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0) AS age "
    "FROM ledger.outbox WHERE producer = :producer AND published_at IS NULL"
)
_FORGET = text(
    "DELETE FROM ledger.outbox WHERE id IN (SELECT id FROM ledger.outbox WHERE producer = :producer "
    "AND published_at < clock_timestamp() - make_interval(days => :days) LIMIT :most) RETURNING id"
)


@dataclass(frozen=True, slots=True)
class Backlog:
    """What a producer has promised and not yet published. age_seconds: of the oldest, 0 without any."""

    messages: int
    age_seconds: float


async def backlog(session: AsyncSession, producer: str) -> Backlog:
    """How far the relay of a producer is behind."""
    row = (await session.execute(_BACKLOG, {"producer": producer})).one()
    return Backlog(row.messages, float(row.age))


async def forget(session: AsyncSession, producer: str, *, most: int = 10_000) -> int:
    """Delete what was published longer ago than it must be kept; returns how many rows."""
    values = {"producer": producer, "days": KEPT_DAYS, "most": most}
    return len((await session.execute(_FORGET, values)).all())


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
        self._forget_at = time.monotonic() + _FORGET_SECONDS

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
            if time.monotonic() >= self._forget_at:
                self._forget_at = time.monotonic() + _FORGET_SECONDS
                await self._forget()
            if count < _BATCH:
                try:
                    await asyncio.wait_for(self._woken.wait(), _IDLE_SECONDS)
                except TimeoutError:
                    continue

    async def flush(self) -> int:
        """Publish what is due now; returns how many messages. 0 while another relay of the producer is at it."""
        async with AsyncSession(self._engine) as session, session.begin():
            if not (await session.execute(_ALONE, {"producer": self._producer})).scalar_one():
                return 0
            due = (
                await session.execute(
                    select(OutboxRow)
                    .where(OutboxRow.producer == self._producer, col(OutboxRow.published_at).is_(None))
                    .order_by(col(OutboxRow.id))
                    .limit(_BATCH)
                )
            ).scalars()
            done: list[int | None] = []
            failpoint("ledger.outbox.read")
            try:
                for row in due:
                    await self._publish(
                        row.subject, row.payload.encode(), message_id=row.message_id, headers=row.headers
                    )
                    failpoint("ledger.outbox.published")
                    done.append(row.id)
            finally:
                if done:
                    await session.execute(
                        update(OutboxRow).where(col(OutboxRow.id).in_(done)).values(published_at=func.clock_timestamp())
                    )
                    failpoint("ledger.outbox.before_mark")
                    await session.commit()
                    failpoint("ledger.outbox.marked")
            self.published += len(done)
            return len(done)

    async def _forget(self) -> None:
        """Failing to forget harms nothing: the next hour tries again."""
        try:
            async with AsyncSession(self._engine) as session, session.begin():
                await forget(session, self._producer)
                await inbox.forget(session, self._producer)
        except Exception as error:  # the edge: the database may be away for any reason
            self._on_failure(error)
