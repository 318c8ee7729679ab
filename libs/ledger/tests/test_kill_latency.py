"""Stops against saturating submitters: no permit after the commit, and how long the commit takes."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from chassis.database import transaction
from ledger import gate
from ledger.intents import ClaimRefusal, Permit
from schemas.account import GateMode, KillScope
from testkit.journal import Journal, journal

SCALE = int(os.environ.get("TT_TEST_SCALE", "1"))
STOPS, SUBMITTERS, WARM_PERMITS = 40 * SCALE, 6, 3


@pytest.fixture
async def ledger(database_url: str) -> AsyncIterator[Journal]:
    async with journal(database_url, pool_size=SUBMITTERS + 2) as made:
        await made.lift_throttles()
        await made.hold_lease()
        yield made


@dataclass
class Trial:
    """One stop: permits with the instant the database gave them, and claims that began after the commit."""

    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    running: asyncio.Event = field(default_factory=asyncio.Event)
    permits: list[datetime] = field(default_factory=list)
    refused: int = 0
    late: int = 0
    impatient: int = 0
    claim_seconds: list[float] = field(default_factory=list)


async def submit(ledger: Journal, account: str, supply: list[str], trial: Trial) -> None:
    """Claim as fast as it goes until the stop refuses, and once more after that."""
    while supply:
        began_late = trial.stopped.is_set()
        began = time.perf_counter()
        try:
            answer = await ledger.claim(supply.pop(), epoch=1)
        except DBAPIError as error:  # a lock that others held for half a second: nothing was permitted
            if "lock timeout" not in str(error.orig):
                raise
            trial.impatient += 1
            continue
        trial.claim_seconds.append(time.perf_counter() - began)
        if isinstance(answer, Permit):
            assert answer.intent.submitting_at is not None
            trial.permits.append(answer.intent.submitting_at)
            trial.late += began_late
            if len(trial.permits) >= WARM_PERMITS:
                trial.running.set()
        elif answer is ClaimRefusal.GATE:
            trial.refused += 1
            if began_late:
                return
        else:
            raise AssertionError(f"{account}: {answer}")


async def supply_of(ledger: Journal, accounts: list[str], each: int) -> dict[str, list[str]]:
    """Approved orders of every account, inserted in one statement."""
    model = await ledger.approve(account_number=accounts[0], source="demo", strategy_id="model")
    statement = text(
        "INSERT INTO ledger.intent SELECT (jsonb_populate_record(i, jsonb_build_object("
        "'intent_id', g.id, 'root_intent_id', g.id, 'signal_id', g.id, 'account_number', g.account, "
        "'strategy_id', 'fast'))).* FROM ledger.intent i, "
        "(SELECT gen_random_uuid()::text AS id, a AS account FROM unnest(CAST(:accounts AS text[])) a, "
        "generate_series(1, :each)) g WHERE i.intent_id = :model RETURNING intent_id, account_number"
    )
    found: dict[str, list[str]] = {account: [] for account in accounts}
    async with ledger.owner.begin() as connection:
        for row in await connection.execute(statement, {"accounts": accounts, "each": each, "model": model}):
            found[row.account_number].append(row.intent_id)
    return found


async def test_no_permit_follows_the_commit_of_a_stop(ledger: Journal, capsys: pytest.CaptureFixture[str]) -> None:
    """I4 under load: six accounts claim as fast as they can, and in the middle of it everything is stopped."""
    accounts = [f"5WT1{number:04d}" for number in range(SUBMITTERS)]
    for account in accounts:
        await ledger.hold_lease(account, seconds=3600)
    commits: list[float] = []
    claims: list[float] = []
    permits = late = 0
    for _ in range(STOPS):
        # the throttles of a day bound a history: yesterday's permits are out of their windows
        async with ledger.owner.begin() as connection:
            await connection.execute(text("SET LOCAL session_replication_role = replica"))
            await connection.execute(
                text(
                    "UPDATE ledger.intent SET submitting_at = submitting_at - interval '2 days' "
                    "WHERE submitting_at > clock_timestamp() - interval '1 day'"
                )
            )
            await connection.execute(text("UPDATE ledger.account_risk SET tokens = NULL, tokens_at = NULL"))
        supply = await supply_of(ledger, accounts, 8)
        trial = Trial()
        running = [asyncio.create_task(submit(ledger, account, supply[account], trial)) for account in accounts]
        await asyncio.wait_for(trial.running.wait(), 30)
        began = time.perf_counter()
        async with transaction(ledger.engines["tt_risk"]) as session:
            await gate.tighten(session, KillScope.ALL, "", GateMode.CANCEL_WORKING, "demo", "trial", "risk")
        commits.append(time.perf_counter() - began)
        trial.stopped.set()
        async with transaction(ledger.engines["tt_risk"]) as session:
            committed = (await session.execute(text("SELECT clock_timestamp()"))).scalar_one()
        await asyncio.gather(*running)
        late += trial.late + sum(at > committed for at in trial.permits)
        permits += len(trial.permits)
        claims += trial.claim_seconds
        await ledger.resume()
    with capsys.disabled():
        print(f"\n    {STOPS} stops against {SUBMITTERS} submitters: {permits:,} permits, {late} late; ", end="")  # noqa: T201
        print(f"stop {_spread(commits)}; claim {_spread(claims)}", end="")  # noqa: T201
    assert late == 0
    assert permits >= WARM_PERMITS * STOPS


def _spread(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    p50, p99 = ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return f"p50 {1e3 * p50:.0f} p99 {1e3 * p99:.0f} max {1e3 * ordered[-1]:.0f} ms"
