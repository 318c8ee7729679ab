"""Create the database, migrate it and provision the streams; run once before the services start."""

from __future__ import annotations

import asyncio
import os
import sys
from urllib.parse import urlsplit, urlunsplit


async def create_database(database_url: str) -> bool:
    """Create the database that the URL names when it does not exist. Returns whether it was created."""
    import asyncpg

    parts = urlsplit(database_url)
    name = parts.path.lstrip("/")
    try:
        connection = await asyncpg.connect(database_url, timeout=10)
    except asyncpg.InvalidCatalogNameError:
        maintenance = await asyncpg.connect(urlunsplit(parts._replace(path="/postgres")), timeout=10)
        try:
            quoted = name.replace('"', '""')
            await maintenance.execute(f'CREATE DATABASE "{quoted}"')
        finally:
            await maintenance.close()
        return True
    await connection.close()
    return False


def main() -> int:
    """Entry point of `python -m tastytrades.prepare`; reads TT_DATABASE_URL and TT_NATS_URL."""
    from chassis.bus import provision
    from gateway import migrations as gateway_migrations
    from ledger import migrations as ledger_migrations

    database_url, nats_url = os.environ["TT_DATABASE_URL"], os.environ["TT_NATS_URL"]
    created = asyncio.run(create_database(database_url))
    ledger_migrations.upgrade(database_url)
    gateway_migrations.upgrade(database_url)
    changed = asyncio.run(provision(nats_url))
    sys.stdout.write(f"database {'created' if created else 'found'}; streams: {', '.join(changed) or 'unchanged'}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
