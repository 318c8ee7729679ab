"""The journal on a real PostgreSQL: permits, the gate, guards, fills, outbox."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlmodel import select

from chassis.database import make_engine, transaction
from ledger import fills, gate, inbox, intents, lease, migrations
from ledger.intents import ClaimRefusal, Permit
from ledger.outbox import Relay
from ledger.tables import Intent, OutboxRow
from schemas.account import GateMode, KillScope
from schemas.orders import Fill, IntentState
from schemas.trade import OrderAction
from testkit.journal import lift_throttles

ACCOUNT, SHORT = "5WT00001", "SPY   270115P00600000"
Engines = dict[str, AsyncEngine]


@pytest.fixture
async def engines(database_url: str) -> AsyncIterator[Engines]:
    await asyncio.to_thread(migrations.upgrade, database_url)
    made = {
        role: make_engine(database_url, role=role, pool_size=8) for role in ("tt_risk", "tt_executor", "tt_gateway")
    }
    yield made
    for engine in made.values():
        await engine.dispose()


def approved(**changes: Any) -> Intent:
    now, identity = datetime.now(UTC), str(uuid.uuid4())
    values: dict[str, Any] = {
        "intent_id": identity, "account_number": ACCOUNT, "proposal_id": identity, "strategy_id": "default",
        "signal_id": identity, "purpose": "open", "source": "scanner", "underlying_symbol": "SPY",
        "spread_type": "put_credit_spread",
        "legs": [
            {"occ_symbol": SHORT, "action": "Sell to Open", "quantity": 1},
            {"occ_symbol": "SPY   270115P00595000", "action": "Buy to Open", "quantity": 1},
        ],
        "quantity": 1, "limit_price": Decimal("1.25"), "worst_price": Decimal("1.10"), "tick_size": Decimal("0.01"),
        "state": "approved", "root_intent_id": identity, "valid_until": now + timedelta(seconds=30),
        "created_at": now, "updated_at": now, "reserved_max_loss": Decimal("375"),
    }  # fmt: skip
    return Intent(**values | changes)


async def propose(engines: Engines, **changes: Any) -> str:
    intent = approved(**changes)
    async with transaction(engines["tt_risk"]) as session:
        await intents.propose(session, intent, "risk")
    return intent.intent_id


async def hold_lease(engines: Engines) -> int:
    async with transaction(engines["tt_executor"]) as session:
        epoch = await lease.acquire(session, ACCOUNT, "e1", 30)
    assert epoch is not None
    return epoch


async def arm(engines: Engines) -> None:
    async with transaction(engines["tt_gateway"]) as session:
        await gate.set_armed(session, ACCOUNT, True, "demo", "for this test", "gateway")


async def claim(engines: Engines, intent_id: str, epoch: int) -> Permit | ClaimRefusal:
    async with transaction(engines["tt_executor"]) as session:
        return await intents.claim(session, intent_id, holder="e1", epoch=epoch, body_hash="hash", producer="executor")


async def test_migrations_can_run_twice(engines: Engines, database_url: str) -> None:
    await asyncio.to_thread(migrations.upgrade, database_url)
    async with transaction(engines["tt_risk"]) as session:
        state = await gate.read(session)
    assert [(row.scope, row.mode) for row in state.rows] == [(KillScope.ALL, GateMode.RUN)]


async def test_an_intent_is_permitted_once(engines: Engines) -> None:
    await arm(engines)
    epoch = await hold_lease(engines)
    intent_id = await propose(engines)
    answers = await asyncio.gather(*(claim(engines, intent_id, epoch) for _ in range(8)))
    assert sum(isinstance(answer, Permit) for answer in answers) == 1
    assert {answer for answer in answers if not isinstance(answer, Permit)} == {ClaimRefusal.TAKEN}


async def test_automation_that_is_not_armed_gets_no_permit(engines: Engines) -> None:
    epoch = await hold_lease(engines)
    assert await claim(engines, await propose(engines), epoch) is ClaimRefusal.NOT_ARMED


async def test_a_person_needs_no_arming(engines: Engines) -> None:
    epoch = await hold_lease(engines)
    assert isinstance(await claim(engines, await propose(engines, source="demo"), epoch), Permit)


async def test_a_lost_lease_permits_nothing(engines: Engines) -> None:
    await arm(engines)
    epoch = await hold_lease(engines)
    assert await claim(engines, await propose(engines), epoch - 1) is ClaimRefusal.LEASE


async def test_an_expired_approval_permits_nothing(engines: Engines) -> None:
    await arm(engines)
    epoch = await hold_lease(engines)
    late = datetime.now(UTC) - timedelta(seconds=1)
    assert await claim(engines, await propose(engines, valid_until=late), epoch) is ClaimRefusal.EXPIRED


@pytest.mark.parametrize(
    ("scope", "value"),
    [
        (KillScope.ALL, ""),
        (KillScope.ACCOUNT, ACCOUNT),
        (KillScope.STRATEGY, "default"),
        (KillScope.UNDERLYING, "SPY"),
    ],
)
async def test_each_scope_stops(engines: Engines, scope: KillScope, value: str) -> None:
    await arm(engines)
    epoch = await hold_lease(engines)
    intent_id = await propose(engines)
    async with transaction(engines["tt_risk"]) as session:
        await gate.tighten(session, scope, value, GateMode.HALT_OPENS, "demo", "stop", "risk")
    assert await claim(engines, intent_id, epoch) is ClaimRefusal.GATE


async def test_a_close_is_permitted_while_opens_are_halted(engines: Engines) -> None:
    epoch = await hold_lease(engines)
    intent_id = await propose(engines, purpose="close", source="demo")
    async with transaction(engines["tt_risk"]) as session:
        await gate.tighten(session, KillScope.ALL, "", GateMode.REDUCE_ONLY, "demo", "stop", "risk")
    assert isinstance(await claim(engines, intent_id, epoch), Permit)


async def test_nothing_is_permitted_after_a_stop_has_committed(engines: Engines, database_url: str) -> None:
    """Stops that race with claims of the same account: every permit was committed before the stop it raced."""
    await lift_throttles(database_url)
    await arm(engines)
    epoch = await hold_lease(engines)
    violations = permits = 0
    for trial in range(15):
        waiting = [await propose(engines) for _ in range(3)]
        stopped_at: list[datetime] = []

        async def stop(after: float, stopped_at: list[datetime] = stopped_at) -> None:
            await asyncio.sleep(after)
            async with transaction(engines["tt_risk"]) as session:
                await gate.tighten(session, KillScope.ALL, "", GateMode.CANCEL_WORKING, "demo", "trial", "risk")
            async with transaction(engines["tt_risk"]) as session:
                stopped_at.append((await session.execute(text("SELECT clock_timestamp()"))).scalar_one())

        answers = await asyncio.gather(stop((trial % 10) / 1000), *(claim(engines, each, epoch) for each in waiting))
        # every claim that begins now comes after the commit
        late = await asyncio.gather(*(claim(engines, each, epoch) for each in waiting))
        violations += sum(isinstance(answer, Permit) for answer in late)
        for answer in answers[1:]:
            if isinstance(answer, Permit):
                permits += 1
                assert answer.intent.submitting_at is not None
                violations += answer.intent.submitting_at > stopped_at[0]
        async with transaction(engines["tt_gateway"]) as session:
            await gate.loosen(session, KillScope.ALL, "", "demo", "next trial", "gateway")
    assert violations == 0
    assert permits > 0


async def test_only_the_gateway_resumes(engines: Engines) -> None:
    async with transaction(engines["tt_risk"]) as session:
        await gate.tighten(session, KillScope.ALL, "", GateMode.REDUCE_ONLY, "demo", "stop", "risk")
    with pytest.raises(DBAPIError, match="may stop trading but not resume it"):
        async with transaction(engines["tt_executor"]) as session:
            await gate.loosen(session, KillScope.ALL, "", "demo", "a long reason", "executor")
    async with transaction(engines["tt_gateway"]) as session:
        assert (await gate.loosen(session, KillScope.ALL, "", "demo", "a long reason", "gateway")).changed


async def test_a_laxer_stop_changes_nothing_and_a_short_reason_is_refused(engines: Engines) -> None:
    async with transaction(engines["tt_risk"]) as session:
        await gate.tighten(session, KillScope.ALL, "", GateMode.CANCEL_WORKING, "demo", "stop", "risk")
        assert not (
            await gate.tighten(session, KillScope.ALL, "", GateMode.HALT_OPENS, "demo", "softer", "risk")
        ).changed
    with pytest.raises(ValueError, match="at least 8 characters"):
        async with transaction(engines["tt_gateway"]) as session:
            await gate.loosen(session, KillScope.ALL, "", "demo", "why", "gateway")


async def test_the_database_refuses_what_the_code_must_not_do(engines: Engines) -> None:
    intent_id = await propose(engines)
    cases: Mapping[str, tuple[str, str]] = {
        "illegal move": ("tt_executor", "UPDATE ledger.intent SET state = 'filled', version = version + 1"),
        "to the next": ("tt_executor", "UPDATE ledger.intent SET reason = 'x', version = version + 2"),
        "insert-only": ("tt_gateway", "DELETE FROM ledger.intent"),
        "permission denied": ("tt_gateway", "UPDATE ledger.intent SET reason = 'x', version = version + 1"),
        "permission denied for table fill": ("tt_risk", "INSERT INTO ledger.fill DEFAULT VALUES"),
    }
    for message, (role, statement) in cases.items():
        with pytest.raises(DBAPIError, match=message if message != "insert-only" else "permission denied|insert-only"):
            async with transaction(engines[role]) as session:
                await session.execute(text(statement))
    with pytest.raises(DBAPIError, match="only risk approves"):
        async with transaction(engines["tt_executor"]) as session:
            await intents.propose(session, approved(), "executor")
    async with transaction(engines["tt_risk"]) as session:
        assert (await intents.get(session, intent_id)).state == IntentState.APPROVED.value


async def test_the_same_signal_is_approved_once(engines: Engines) -> None:
    await propose(engines, signal_id="s1")
    with pytest.raises(DBAPIError, match="duplicate key"):
        await propose(engines, signal_id="s1")


async def test_a_fill_is_booked_once(engines: Engines) -> None:
    fill = Fill(
        ts_event=datetime.now(UTC), account_number=ACCOUNT, intent_id=None, broker_order_id="1", fill_id="f1",
        occ_symbol=SHORT, action=OrderAction.SELL_TO_OPEN, quantity=2, fill_price=Decimal("1.30"),
        filled_at=datetime.now(UTC),
    )  # fmt: skip

    async def book() -> bool:
        async with transaction(engines["tt_executor"]) as session:
            return await fills.book(session, fill, "SPY", "executor")

    assert sorted(await asyncio.gather(*(book() for _ in range(5)))) == [False] * 4 + [True]
    async with transaction(engines["tt_executor"]) as session:
        held = await fills.positions(session, ACCOUNT)
    assert [(row.occ_symbol, row.signed_quantity) for row in held] == [(SHORT, -2)]


async def test_a_price_step_takes_over_the_reservation(engines: Engines) -> None:
    root = await propose(engines)
    async with transaction(engines["tt_executor"]) as session:
        parent = await intents.get(session, root)
        await intents.child(
            session, parent, str(uuid.uuid4()), Decimal("1.20"), datetime.now(UTC) + timedelta(seconds=9), "executor"
        )
    async with transaction(engines["tt_risk"]) as session:
        found = await intents.reserved(session, ACCOUNT)
    assert [(each.walk_step, each.reserved_max_loss) for each in found] == [(1, Decimal("375.00"))]


async def test_the_outbox_publishes_in_order_and_again_after_a_failure(engines: Engines) -> None:
    intent_id = await propose(engines)
    await arm(engines)
    epoch = await hold_lease(engines)
    sent: list[str] = []
    failures = iter([True, False, False, False])

    async def publish(subject: str, data: bytes, *, message_id: str, headers: Mapping[str, str]) -> None:
        if message_id.startswith(intent_id) and next(failures):
            raise OSError("bus away")
        sent.append(message_id)

    relay = Relay(engines["tt_risk"], "risk", publish, lambda error: None)
    with pytest.raises(OSError, match="bus away"):
        await relay.flush()
    assert await relay.flush() >= 1
    assert sent.count(f"{intent_id}-1") == 1
    await claim(engines, intent_id, epoch)
    executor = Relay(engines["tt_executor"], "executor", publish, lambda error: None)
    await executor.flush()
    assert sent[-1] == f"{intent_id}-2"
    assert await relay.flush() == await executor.flush() == 0
    async with transaction(engines["tt_risk"]) as session:
        rows = (await session.execute(select(OutboxRow).where(OutboxRow.published_at == None))).all()  # noqa: E711
    # what the gateway enqueued waits for the gateway
    assert all(row[0].producer == "gateway" for row in rows)


async def test_a_message_is_taken_once(engines: Engines) -> None:
    async def take() -> bool:
        async with transaction(engines["tt_risk"]) as session:
            return await inbox.first_time(session, "risk", "m1")

    assert sorted(await asyncio.gather(*(take() for _ in range(4)))) == [False, False, False, True]
