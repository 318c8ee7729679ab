"""Observations in the journal on a real PostgreSQL: kept as a set, applied by the pure function, corrected by rows."""

from __future__ import annotations

import asyncio
import os
import random
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlmodel import select

from chassis.database import make_engine, transaction
from ledger import fills, intents, lease, migrations, observing
from ledger.core import IllegalMoveError
from ledger.observations import Observation, Source
from ledger.observing import Observed
from ledger.tables import Intent, ObservationRow
from schemas.orders import Fill, IntentState
from schemas.trade import OrderAction

SCALE = int(os.environ.get("TT_TEST_SCALE", "1"))
ACCOUNT, SHORT, LONG = "5WT00001", "SPY   270115P00600000", "SPY   270115P00595000"
NOON = datetime(2026, 11, 24, 17, 0, tzinfo=UTC)
S = IntentState


@pytest.fixture
async def engines(database_url: str) -> AsyncIterator[dict[str, AsyncEngine]]:
    await asyncio.to_thread(migrations.upgrade, database_url)
    made = {role: make_engine(database_url, role=role) for role in ("tt_risk", "tt_executor")}
    yield made
    for engine in made.values():
        await engine.dispose()


async def sent(engines: dict[str, AsyncEngine], quantity: int = 2, account: str = ACCOUNT) -> str:
    """An intent that was permitted."""
    identity, now = str(uuid.uuid4()), datetime.now(UTC)
    intent = Intent(
        intent_id=identity, account_number=account, proposal_id=identity, strategy_id="manual", signal_id=identity,
        purpose="open", source="demo", underlying_symbol="SPY", spread_type="put_credit_spread",
        legs=[
            {"occ_symbol": SHORT, "action": "Sell to Open", "quantity": 1},
            {"occ_symbol": LONG, "action": "Buy to Open", "quantity": 1},
        ],
        quantity=quantity, limit_price=Decimal("1.25"), worst_price=Decimal("1.10"), tick_size=Decimal("0.01"),
        state="approved", root_intent_id=identity, valid_until=now + timedelta(seconds=30), created_at=now,
        updated_at=now,
    )  # fmt: skip
    async with transaction(engines["tt_risk"]) as session:
        await intents.propose(session, intent, "risk")
    async with transaction(engines["tt_executor"]) as session:
        epoch = await lease.acquire(session, account, "e1", 30)
        assert epoch is not None
        permit = await intents.claim(session, identity, holder="e1", epoch=epoch, body_hash="hash", producer="executor")
        assert isinstance(permit, intents.Permit)
    return identity


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def fill(intent_id: str, number: int, symbol: str, contracts: int, price: str, account: str = ACCOUNT) -> Fill:
    action = OrderAction.SELL_TO_OPEN if symbol == SHORT else OrderAction.BUY_TO_OPEN
    return Fill(
        ts_event=at(number), account_number=account, intent_id=intent_id, broker_order_id="17", fill_id=f"f{number}",
        occ_symbol=symbol, action=action, quantity=contracts, fill_price=Decimal(price), filled_at=at(number),
    )  # fmt: skip


async def take(engines: dict[str, AsyncEngine], intent_id: str, *messages: Observation | Fill) -> Observed:
    """One transaction: fills first, as the executor does."""
    async with transaction(engines["tt_executor"]) as session:
        intent = await intents.get(session, intent_id, lock=True)
        for each in messages:
            if isinstance(each, Fill):
                await fills.book(session, each, "SPY", "executor")
        looks = [each for each in messages if isinstance(each, Observation)]
        for look in looks or [Observation(S.WORKING, Source.REST, at(0), at(0))]:
            found = await observing.observe(session, intent, look, "executor", broker_order_id="17")
        return found


async def stands(engines: dict[str, AsyncEngine], intent_id: str, account: str = ACCOUNT) -> tuple[object, ...]:
    async with transaction(engines["tt_executor"]) as session:
        row = await intents.get(session, intent_id)
        held = {each.occ_symbol: each for each in await fills.positions(session, account)}
        kept = (await session.execute(select(ObservationRow).where(ObservationRow.intent_id == intent_id))).scalars()
        return (
            row.state, row.filled_quantity, row.average_fill_price, row.observed_at,
            sorted((symbol, each.signed_quantity, each.average_open_price) for symbol, each in held.items()),
            sorted((each.state, each.source, each.updated_at) for each in kept),
        )  # fmt: skip


async def test_any_order_of_messages_ends_the_same(engines: dict[str, AsyncEngine]) -> None:
    """I11 in the database: the same messages in shuffled orders, repeated ones among them."""
    ends = []
    for seed in range(8 * SCALE):
        account = f"5WT{seed:05d}"
        intent_id = await sent(engines, account=account)
        messages: list[tuple[Observation | Fill, ...]] = [
            (Observation(S.ACKED, Source.REPLY, at(1), at(1)),),
            (Observation(S.WORKING, Source.STREAM, at(2), at(2)),),
            (fill(intent_id, 1, SHORT, 1, "2.10", account), Observation(S.WORKING, Source.STREAM, at(3), at(3))),
            (fill(intent_id, 2, SHORT, 1, "2.00", account),),
            (Observation(S.CANCELLED, Source.STREAM, at(5), at(5)),),
            (fill(intent_id, 3, LONG, 2, "1.00", account), Observation(S.CANCELLED, Source.REST, at(6), at(5))),
        ]
        order = [*messages, *messages[:3]]
        random.Random(seed).shuffle(order)
        for each in order:
            await take(engines, intent_id, *each)
        ends.append(await stands(engines, intent_id, account))
    assert all(end == ends[0] for end in ends)
    assert ends[0][:2] == (S.FILLED, 2)


async def test_a_fill_after_the_end_is_booked_and_told(engines: dict[str, AsyncEngine]) -> None:
    """The second leg's fill comes when the order was seen cancelled."""
    intent_id = await sent(engines)
    await take(
        engines, intent_id, fill(intent_id, 1, SHORT, 1, "2.10"), Observation(S.CANCELLED, Source.REST, at(5), at(5))
    )
    found = await take(engines, intent_id, fill(intent_id, 2, LONG, 1, "1.00"))
    assert (found.state, found.filled_late, found.regressed) == (S.CANCELLED, True, True)
    assert (await stands(engines, intent_id))[1:3] == (1, Decimal("1.1000"))


async def test_a_request_is_kept_and_a_late_message_does_not_undo_it(engines: dict[str, AsyncEngine]) -> None:
    """Our own cancel stands until a list asked for afterwards shows the order unchanged."""
    intent_id, now = await sent(engines), datetime.now(UTC)
    await take(engines, intent_id, Observation(S.WORKING, Source.STREAM, now, now))
    async with transaction(engines["tt_executor"]) as session:
        intent = await intents.get(session, intent_id, lock=True)
        assert await intents.record(session, intent, S.CANCEL_PENDING, "executor")
    late = await take(engines, intent_id, Observation(S.WORKING, Source.STREAM, now + timedelta(seconds=9), now))
    assert (late.state, late.regressed) == (S.CANCEL_PENDING, True)
    unchanged = Observation(S.WORKING, Source.REST, datetime.now(UTC) + timedelta(seconds=1), now)
    assert (await take(engines, intent_id, unchanged)).state is S.WORKING


async def test_what_was_never_permitted_cannot_be_at_the_broker(engines: dict[str, AsyncEngine]) -> None:
    intent_id = await sent(engines)
    async with transaction(engines["tt_risk"]) as session:
        twin = await intents.get(session, intent_id)
        identity = str(uuid.uuid4())
        values = twin.model_dump() | {
            "intent_id": identity, "signal_id": identity, "root_intent_id": identity, "state": "denied", "version": 1,
            "previous_state": None, "external_identifier": None, "epoch": None, "body_hash": None,
        }  # fmt: skip
        await intents.propose(session, Intent(**values), "risk")
    with pytest.raises(IllegalMoveError, match="denied was seen working"):
        await take(engines, identity, Observation(S.WORKING, Source.REST, at(1), at(1)))


async def test_a_bust_compensates_once(engines: dict[str, AsyncEngine]) -> None:
    """The fill stays, a row takes it back, the position follows, and the intent stays filled."""
    intent_id = await sent(engines, quantity=1)
    await take(
        engines, intent_id, fill(intent_id, 1, SHORT, 1, "2.10"), fill(intent_id, 2, LONG, 1, "1.00"),
        Observation(S.FILLED, Source.STREAM, at(3), at(3)),
    )  # fmt: skip

    async def back(price: Decimal | None) -> bool:
        async with transaction(engines["tt_executor"]) as session:
            return await fills.take_back(
                session, ACCOUNT, "17", SHORT, "f1", corrected_price=price, at=at(60), producer="executor"
            )

    assert [await back(Decimal("2.05")), await back(None)] == [True, False]
    state, filled, _, _, held, _ = await stands(engines, intent_id)
    assert (state, filled) == (S.FILLED, 1)
    assert (SHORT, -1, Decimal("2.0500")) in held  # type: ignore[operator]
    found = await take(engines, intent_id, Observation(S.FILLED, Source.REST, at(61), at(3)))
    assert found.changed
    assert (await stands(engines, intent_id))[2] == Decimal("1.0500")


async def test_fills_of_one_contract_booked_at_once_add_up(engines: dict[str, AsyncEngine]) -> None:
    """Two sources tell of different fills in the same instant."""
    intent_id = await sent(engines, quantity=8)

    async def book(number: int) -> None:
        async with transaction(engines["tt_executor"]) as session:
            await fills.book(session, fill(intent_id, number, SHORT, 1, "2.00"), "SPY", "executor")

    await asyncio.gather(*(book(number) for number in range(8)))
    assert (await stands(engines, intent_id))[4] == [(SHORT, -8, Decimal("2.0000"))]


async def test_an_observation_cannot_be_rewritten(engines: dict[str, AsyncEngine]) -> None:
    intent_id = await sent(engines)
    await take(engines, intent_id, Observation(S.WORKING, Source.STREAM, at(2), at(2)))
    for statement in ("UPDATE ledger.observation SET state = 'filled'", "DELETE FROM ledger.observation"):
        with pytest.raises(DBAPIError, match="permission denied"):
            async with transaction(engines["tt_executor"]) as session:
                await session.execute(text(statement))
