"""Schema changes of the gateway."""

from __future__ import annotations

from pathlib import Path

from ledger import migrations


def upgrade(database_url: str) -> None:
    """Bring the schema `gateway` to its newest revision; libpq URL. The ledger's schema and roles come first."""
    migrations.upgrade(database_url, Path(__file__).parent)
