"""How many send permits a second does the ledger give? `python -m bench.submit_transaction` prints one JSON line.

One permit = one transaction on a durable PostgreSQL: the intent's compare-and-set, the gate share-locked, the lease,
the account's risk row with every hard limit and throttle, the permit, and the fact in the outbox. One lane is one
account that claims one order after another, as an executor does; six lanes are six accounts at once.
"""

from __future__ import annotations

import asyncio
import json
import time
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.machine import facts
from chassis.database import transaction
from chassis.embedded import start_postgres
from ledger import intents
from ledger.exposure import Holdings
from ledger.intents import Permit
from ledger.reservations import set_holdings
from testkit.journal import Journal, approved, journal

PERMITS = 240
FLAT = Holdings(Decimal(10**9), Decimal(0), Decimal(0), Decimal(10**9))


async def _lane(ledger: Journal, account: str, waiting: list[str], seconds: list[float]) -> None:
    for intent_id in waiting:
        began = time.perf_counter()
        answer = await ledger.claim(intent_id, epoch=1)
        seconds.append(time.perf_counter() - began)
        if not isinstance(answer, Permit):
            raise RuntimeError(f"{account}: {answer}")


async def _run(ledger: Journal, lanes: int, prefix: str) -> dict[str, float]:
    accounts = [f"{prefix}{number}" for number in range(lanes)]
    waiting: dict[str, list[str]] = {}
    for account in accounts:
        await ledger.hold_lease(account)
        async with transaction(ledger.engines["tt_risk"]) as session:
            first = approved()
            await set_holdings(session, account, FLAT, first.created_at)
            rows = [approved(account_number=account, source="demo") for _ in range(PERMITS // lanes)]
            for row in rows:
                await intents.propose(session, row, "risk")
        waiting[account] = [row.intent_id for row in rows]
    seconds: list[float] = []
    began = time.perf_counter()
    # between messages the bucket must refill: the bench measures the transaction, so each lane stays within the burst
    for start in range(0, PERMITS // lanes, 20):
        await asyncio.gather(
            *(_lane(ledger, account, waiting[account][start : start + 20], seconds) for account in accounts)
        )
        async with ledger.owner.begin() as connection:
            await connection.exec_driver_sql("UPDATE ledger.account_risk SET tokens = NULL, tokens_at = NULL")
    wall = time.perf_counter() - began
    ordered = sorted(seconds)
    return {
        "permits_per_second": round(len(seconds) / wall, 1),
        "p50_ms": round(1e3 * ordered[len(ordered) // 2], 2),
        "p99_ms": round(1e3 * ordered[int(len(ordered) * 0.99)], 2),
    }


async def _measure(url: str) -> dict[str, Any]:
    async with journal(url) as ledger:
        await ledger.lift_throttles()
        await ledger.set_limits(daily_trades_max="500")
        return {"one_lane": await _run(ledger, 1, "ONE"), "six_lanes": await _run(ledger, 6, "SIX")}


def measure() -> dict[str, Any]:
    """The question, and what was measured."""
    with TemporaryDirectory() as folder:
        server = start_postgres(Path(folder) / "postgres", log_path=Path(folder) / "postgres.log", durable=True)
        try:
            found = asyncio.run(_measure(server.url))
        finally:
            server.stop()
    return {"what": "send permits of the ledger, each one durable transaction", **found}


if __name__ == "__main__":
    print(json.dumps({"name": "submit_transaction", **measure(), "machine": facts()}))
