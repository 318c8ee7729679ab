"""A migrated ledger to act on as its services do: approve, arm, take the lease, claim, stop."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis.database import make_engine, transaction
from ledger import gate, intents, lease, migrations
from ledger.intents import ClaimRefusal, Permit
from ledger.limits import SPECS
from ledger.tables import Intent
from schemas.account import GateMode, KillScope

ACCOUNT = "5WT00001"
SHORT, LONG = "SPY   270115P00600000", "SPY   270115P00595000"
ROLES = ("tt_risk", "tt_executor", "tt_gateway")


def approved(**changes: object) -> Intent:
    """A put spread of SPY that risk approved, valid for 30 seconds, proposed by the scanner."""
    now, identity = datetime.now(UTC), str(uuid.uuid4())
    values: dict[str, Any] = {
        "intent_id": identity, "account_number": ACCOUNT, "proposal_id": identity, "strategy_id": "default",
        "signal_id": identity, "purpose": "open", "source": "scanner", "underlying_symbol": "SPY",
        "spread_type": "put_credit_spread",
        "legs": [
            {"occ_symbol": SHORT, "action": "Sell to Open", "quantity": 1},
            {"occ_symbol": LONG, "action": "Buy to Open", "quantity": 1},
        ],
        "quantity": 1, "limit_price": Decimal("1.25"), "worst_price": Decimal("1.10"), "tick_size": Decimal("0.01"),
        "state": "approved", "root_intent_id": identity, "valid_until": now + timedelta(seconds=30),
        "created_at": now, "updated_at": now, "reserved_max_loss": Decimal("375"),
    }  # fmt: skip
    values.update(changes)
    return Intent(**values)


@dataclass(slots=True)
class Journal:
    """One fresh database, an engine for each role, and the owner's own."""

    url: str
    engines: dict[str, AsyncEngine] = field(default_factory=dict)
    epoch: int = 0

    @property
    def owner(self) -> AsyncEngine:
        """Connects as who migrates: no role, no guard of who may do what."""
        return self.engines["owner"]

    async def approve(self, **changes: object) -> str:
        """Insert an approved intent as risk does; returns its id."""
        intent = approved(**changes)
        async with transaction(self.engines["tt_risk"]) as session:
            await intents.propose(session, intent, "risk")
        return intent.intent_id

    async def hold_lease(self, account_number: str = ACCOUNT, holder: str = "e1", seconds: float = 30) -> int:
        """Take the lease; its epoch."""
        async with transaction(self.engines["tt_executor"]) as session:
            epoch = await lease.acquire(session, account_number, holder, seconds)
        assert epoch is not None
        self.epoch = epoch
        return epoch

    async def arm(self, account_number: str = ACCOUNT) -> None:
        """Let automation open positions."""
        async with transaction(self.engines["tt_gateway"]) as session:
            await gate.set_armed(session, account_number, True, "demo", "for this test", "gateway")

    async def claim(self, intent_id: str, epoch: int | None = None, holder: str = "e1") -> Permit | ClaimRefusal:
        """Ask for the permit of an intent."""
        async with transaction(self.engines["tt_executor"]) as session:
            return await intents.claim(
                session, intent_id, holder=holder, epoch=self.epoch if epoch is None else epoch, body_hash="hash",
                producer="executor",
            )  # fmt: skip

    async def stop(self, mode: GateMode = GateMode.CANCEL_WORKING) -> None:
        """Commit a stop of everything."""
        async with transaction(self.engines["tt_risk"]) as session:
            await gate.tighten(session, KillScope.ALL, "", mode, "demo", "stop for this test", "risk")

    async def resume(self) -> None:
        """Let everything run again."""
        async with transaction(self.engines["tt_gateway"]) as session:
            await gate.loosen(session, KillScope.ALL, "", "demo", "the next trial begins", "gateway")

    async def set_limits(self, **values: str) -> None:
        """Set limits as the owner, whom no day's quarter holds back; only the safe ranges do."""
        await set_limits(self.url, values)

    async def lift_throttles(self) -> None:
        """As many messages and repetitions as the safe ranges allow."""
        await lift_throttles(self.url)


async def set_limits(database_url: str, values: Mapping[str, str]) -> None:
    """Write new versions of everybody's limits as the database's owner."""
    connection = await asyncpg.connect(database_url)
    try:
        for name, value in values.items():
            await connection.execute(
                "INSERT INTO ledger.limit_value (name, account_number, version, value, who, why) "
                "SELECT $1, '', max(version) + 1, $2, 'owner', 'for this test' "
                "FROM ledger.limit_value WHERE name = $1 AND account_number = ''",
                name,
                Decimal(value),
            )
    finally:
        await connection.close()


async def lift_throttles(database_url: str) -> None:
    """Let an account send as many messages and repetitions as the safe ranges allow."""
    names = [name for name in SPECS if name.startswith(("messages_", "repeated_")) or name == "strategy_opens_per_day"]
    await set_limits(database_url, {name: str(SPECS[name].highest) for name in names})


@asynccontextmanager
async def journal(database_url: str, *, pool_size: int = 8) -> AsyncIterator[Journal]:
    """Migrate a fresh database and open it as every role."""
    await asyncio.to_thread(migrations.upgrade, database_url)
    engines = {role: make_engine(database_url, role=role, pool_size=pool_size) for role in ROLES}
    engines["owner"] = make_engine(database_url, pool_size=2)
    try:
        yield Journal(database_url, engines)
    finally:
        for engine in engines.values():
            await engine.dispose()
