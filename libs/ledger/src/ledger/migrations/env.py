"""Alembic's entry point."""

from ledger.migrations.environment import migrate

migrate("ledger")
