"""What an Alembic `env.py` of this product does: one schema, one lock, asyncpg."""

from __future__ import annotations

import asyncio
import zlib

from alembic import context
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine


def migrate(schema: str) -> None:
    """Run the migrations of a schema under an advisory lock, in one transaction. Called by `env.py` only."""

    def run(connection: Connection) -> None:
        connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {schema}"))
        context.configure(connection=connection, version_table_schema=schema)
        context.run_migrations()

    async def connect() -> None:
        url = str(context.config.attributes["database_url"])
        engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://", 1))
        async with engine.begin() as connection:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": zlib.crc32(schema.encode())})
            await connection.run_sync(run)
        await engine.dispose()

    asyncio.run(connect())
