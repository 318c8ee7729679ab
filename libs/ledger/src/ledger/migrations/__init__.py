"""Schema changes of the ledger. `upgrade` is idempotent and takes a lock, so that only one process migrates."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config


def upgrade(database_url: str) -> None:
    """Bring the schema `ledger` to the newest revision; libpq URL."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["database_url"] = database_url
    command.upgrade(config, "head")
