"""Database sessions: a block commits when it ends and rolls back when it raises."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

_LOCK_TIMEOUT_MS, _STATEMENT_TIMEOUT_MS = 5_000, 15_000


def make_engine(database_url: str, *, role: str | None = None, pool_size: int = 5) -> AsyncEngine:
    """An engine for a libpq URL. With `role`, every connection acts as that PostgreSQL role."""
    url = database_url.replace("postgres://", "postgresql://", 1).replace("postgresql://", "postgresql+asyncpg://", 1)
    settings = {
        "lock_timeout": str(_LOCK_TIMEOUT_MS),
        "statement_timeout": str(_STATEMENT_TIMEOUT_MS),
        "timezone": "UTC",
    }
    engine = create_async_engine(
        url, pool_size=pool_size, pool_pre_ping=True, connect_args={"server_settings": settings, "timeout": 5}
    )
    if role is not None:
        quoted = '"' + role.replace('"', '""') + '"'

        @event.listens_for(engine.sync_engine, "connect")
        def act_as(connection: object, _: object) -> None:
            cursor = connection.cursor()  # type: ignore[attr-defined]
            cursor.execute(f"SET ROLE {quoted}")
            cursor.close()
            connection.commit()  # type: ignore[attr-defined]

    return engine


@asynccontextmanager
async def transaction(engine: AsyncEngine) -> AsyncIterator[AsyncSession]:
    """One transaction: committed when the block ends, rolled back when it raises."""
    async with AsyncSession(engine, expire_on_commit=False) as session, session.begin():
        yield session
