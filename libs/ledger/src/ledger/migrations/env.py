"""Alembic's entry point."""

from __future__ import annotations

import asyncio

from alembic import context
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

_LOCK = 7_411_900


def _migrate(connection: Connection) -> None:
    connection.execute(text("CREATE SCHEMA IF NOT EXISTS ledger"))
    context.configure(connection=connection, version_table_schema="ledger", transaction_per_migration=False)
    context.run_migrations()


async def _run() -> None:
    url = str(context.config.attributes["database_url"])
    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://", 1))
    async with engine.begin() as connection:
        await connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
        await connection.run_sync(_migrate)
    await engine.dispose()


asyncio.run(_run())
