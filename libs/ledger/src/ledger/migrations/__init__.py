"""Schema changes of the ledger."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config


def upgrade(database_url: str, scripts: Path = Path(__file__).parent, revision: str = "head") -> None:
    """Bring the schema of `scripts` to a revision, the newest unless named; libpq URL.

    Idempotent, safe to run by several at once.
    """
    config = Config()
    config.set_main_option("script_location", str(scripts))
    config.attributes["database_url"] = database_url
    command.upgrade(config, revision)
