"""Limits, reservations and throttles on a real PostgreSQL: what two transactions at once may not do together."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlmodel import select

from chassis.database import transaction
from ledger import claims, gate, intents, limits, reservations
from ledger.exposure import Holdings, Refusal
from ledger.intents import ClaimRefusal, Permit
from ledger.tables import AuditRow, Intent
from schemas.account import GateMode
from schemas.orders import IntentState
from testkit.journal import ACCOUNT, Journal, approved, journal

SCALE = int(os.environ.get("TT_TEST_SCALE", "1"))
PROPOSALS, CONNECTIONS = 1_000 * SCALE, 8
D = Decimal
FLAT = Holdings(D(100_000), D(0), D(0), D(100_000))
REASON = "for the test of limits"


@pytest.fixture
async def ledger(database_url: str) -> AsyncIterator[Journal]:
    async with journal(database_url) as made:
        yield made


async def change(ledger: Journal, name: str, value: str, who: str = "ann", account: str = "") -> limits.LimitChange:
    async with transaction(ledger.engines["tt_gateway"]) as session:
        return await limits.change(session, name, D(value), who, REASON, "gateway", account_number=account)


async def confirm(ledger: Journal, request: int | None, who: str) -> limits.LimitChange:
    assert request is not None
    async with transaction(ledger.engines["tt_gateway"]) as session:
        return await limits.confirm(session, request, who, "gateway")


async def in_force(ledger: Journal, account: str = ACCOUNT) -> limits.HardLimits:
    async with transaction(ledger.engines["tt_risk"]) as session:
        return await limits.current(session, account)


# limits


async def test_every_limit_begins_with_its_default(ledger: Journal) -> None:
    assert dict((await in_force(ledger)).values) == dict(limits.DEFAULTS.values)


async def test_a_limit_is_a_row_of_its_own_version(ledger: Journal) -> None:
    """Who, why and when stay; an account's own limit wins over everybody's."""
    assert await change(ledger, "positions_max", "15") == limits.LimitChange(2, None)
    assert await change(ledger, "positions_max", "12", account=ACCOUNT) == limits.LimitChange(1, None)
    assert (await in_force(ledger)).of("positions_max") == 12
    assert (await in_force(ledger, "5WT00002")).of("positions_max") == 15
    async with transaction(ledger.engines["tt_risk"]) as session:
        versions = await limits.history(session, "positions_max")
        noted = (await session.execute(select(AuditRow))).scalars().all()
    assert [(each.version, each.value, each.who) for each in versions] == [(2, 15, "ann"), (1, 20, "installation")]
    assert [each.action for each in noted] == ["set limit", "set limit"]


@pytest.mark.parametrize(("name", "value"), [("cash_reserve_min_pct", "19.99"), ("exposure_max_pct", "85.01")])
async def test_no_value_beyond_the_safe_range(ledger: Journal, name: str, value: str) -> None:
    """Neither by this code nor by any other, not even the owner's."""
    with pytest.raises(ValueError, match="may be"):
        await change(ledger, name, value)
    with pytest.raises(asyncpg.RaiseError, match="may be"):
        await ledger.set_limits(**{name: value})


async def test_loosening_by_more_than_a_quarter_takes_two_people(ledger: Journal) -> None:
    """Asked by one, confirmed by another; small steps within a day do not add up to more."""
    assert (await change(ledger, "trade_risk_max_pct", "2.5")).version == 2
    asked = await change(ledger, "trade_risk_max_pct", "2.6")
    assert asked.version is None
    assert (await in_force(ledger)).of("trade_risk_max_pct") == D("2.5")
    with pytest.raises(DBAPIError, match="needs a second person"):
        await confirm(ledger, asked.request_id, "ann")
    assert (await confirm(ledger, asked.request_id, "bob")).version == 3
    assert (await in_force(ledger)).of("trade_risk_max_pct") == D("2.6")
    with pytest.raises(LookupError, match="no change of a limit waits"):
        await confirm(ledger, asked.request_id, "bob")


async def test_an_account_of_its_own_is_no_way_around_the_quarter(ledger: Journal) -> None:
    assert (await change(ledger, "trade_risk_max_pct", "2.5", account=ACCOUNT)).version == 1
    assert (await change(ledger, "trade_risk_max_pct", "3.1", account=ACCOUNT)).version is None


async def test_a_floor_is_loosened_by_lowering_it(ledger: Journal) -> None:
    assert (await change(ledger, "cash_reserve_min_pct", "45")).version == 2
    assert (await change(ledger, "cash_reserve_min_pct", "20")).version == 3  # a fifth below where the day began


async def test_the_same_person_may_confirm_after_the_cool_off(ledger: Journal) -> None:
    asked = await change(ledger, "trade_risk_max_pct", "5")
    async with ledger.owner.begin() as connection:
        await connection.execute(text("UPDATE ledger.limit_request SET asked_at = asked_at - interval '11 minutes'"))
    assert (await confirm(ledger, asked.request_id, "ann")).version == 2


async def test_a_tightening_is_immediate(ledger: Journal) -> None:
    assert (await change(ledger, "exposure_max_pct", "50")).version == 2


@pytest.mark.parametrize("role", ["tt_risk", "tt_executor"])
async def test_only_the_gateway_sets_limits_and_nobody_rewrites_them(ledger: Journal, role: str) -> None:
    with pytest.raises(DBAPIError, match="permission denied"):
        async with transaction(ledger.engines[role]) as session:
            await limits.change(session, "positions_max", D(15), "ann", REASON, "risk")
    for statement in ("UPDATE ledger.limit_value SET value = 1", "DELETE FROM ledger.limit_value"):
        with pytest.raises(DBAPIError, match="insert-only"):
            async with ledger.owner.begin() as connection:
                await connection.execute(text(statement))


# reservations


def wish(draw: random.Random) -> Intent:
    symbol = draw.choice(["SPY", "QQQ", "IWM", "GLD", "TLT"])
    loss = D(draw.choice([300, 480, 900, 1_500, 2_000]))
    legs = [
        {"occ_symbol": f"{symbol:<6}270115P00{draw.choice([600, 595])}000", "action": "Sell to Open", "quantity": 1}
    ]
    return approved(
        underlying_symbol=symbol, legs=legs, reserved_max_loss=loss, reserved_buying_power=loss, source="demo"
    )


async def approve(
    ledger: Journal, intent: Intent, in_force: limits.HardLimits, held: Holdings | None
) -> Refusal | None:
    """As risk does: judged and inserted in one transaction."""
    async with transaction(ledger.engines["tt_risk"]) as session:
        wanted = reservations.reservation_of(intent)
        refusal = await reservations.reserve(session, intent.account_number, wanted, in_force, held=held)
        if refusal is None:
            await intents.propose(session, intent, "risk")
        return refusal


async def reserved(ledger: Journal) -> tuple[Decimal, Decimal]:
    """Everything reserved, and the most of one underlying."""
    statement = (
        "SELECT coalesce(sum(loss), 0), coalesce(max(loss), 0) FROM (SELECT sum(reserved_max_loss) AS loss "
        "FROM ledger.intent WHERE state = 'approved' GROUP BY underlying_symbol) each"
    )
    async with transaction(ledger.engines["tt_risk"]) as session:
        row = (await session.execute(text(statement))).one()
    return row[0], row[1]


async def test_thousands_of_proposals_at_once_breach_no_limit(ledger: Journal) -> None:
    """I8 on eight connections; orders end in between, so that there is always room to race for."""
    await ledger.set_limits(daily_trades_max="500")
    in_force_ = await in_force(ledger)
    async with transaction(ledger.engines["tt_risk"]) as session:
        await reservations.set_holdings(session, ACCOUNT, FLAT, datetime.now(UTC))
    refusals: dict[str, int] = {}
    left, worst = PROPOSALS, D(0)

    async def propose(worker: int) -> None:
        nonlocal left, worst
        draw = random.Random(worker)
        mine: list[str] = []
        while left > 0:
            left -= 1
            intent = wish(draw)
            refusal = await approve(ledger, intent, in_force_, None)
            name = refusal.limit if refusal else "taken"
            refusals[name] = refusals.get(name, 0) + 1
            if refusal is None:
                mine.append(intent.intent_id)
                total, one = await reserved(ledger)
                worst = max(worst, total)
                assert total <= 10_000
                assert one <= 20_000
            if mine and draw.random() < 0.15:
                async with transaction(ledger.engines["tt_executor"]) as session:
                    ended = await intents.get(session, mine.pop(), lock=True)
                    await intents.record(session, ended, IntentState.WITHDRAWN, "executor")

    await asyncio.gather(*(propose(worker) for worker in range(CONNECTIONS)))
    assert refusals["taken"] > 100
    assert refusals["open_order_value_max_pct"] > 50
    assert worst > 9_000


async def test_what_risk_wrote_is_used_and_its_absence_denies(ledger: Journal) -> None:
    in_force_ = await in_force(ledger)
    refusal = await approve(ledger, approved(), in_force_, None)
    assert refusal is not None
    assert refusal.detail == "the fact is missing"
    assert await approve(ledger, approved(), in_force_, FLAT) is None
    assert await approve(ledger, approved(), in_force_, None) is None


async def test_a_fill_that_is_not_among_the_holdings_yet_still_counts(ledger: Journal) -> None:
    """Between the fill and risk's next reckoning nothing may slip through."""
    await ledger.arm()
    await ledger.hold_lease()
    identity = await ledger.approve(reserved_max_loss=D(9_000))
    assert isinstance(await ledger.claim(identity), Permit)
    async with transaction(ledger.engines["tt_executor"]) as session:
        intent = await intents.get(session, identity, lock=True)
        await intents.record(session, intent, IntentState.FILLED, "executor", filled_quantity=1)
    async with transaction(ledger.engines["tt_risk"]) as session:
        earlier = datetime.now(UTC) - timedelta(minutes=1)
        assert (await reservations.outstanding(session, ACCOUNT, held_at=earlier)).max_loss == 9_000
        assert (await reservations.outstanding(session, ACCOUNT, held_at=datetime.now(UTC))).max_loss == 0


# the permit


@pytest.fixture
async def ready(ledger: Journal) -> Journal:
    """Armed, with the lease held."""
    await ledger.arm()
    await ledger.hold_lease()
    return ledger


async def test_a_permit_is_refused_beyond_a_limit_that_was_tightened_since(ready: Journal) -> None:
    """The approval was right when it was given."""
    async with transaction(ready.engines["tt_risk"]) as session:
        await reservations.set_holdings(session, ACCOUNT, FLAT, datetime.now(UTC))
    identity = await ready.approve(reserved_max_loss=D(375), reserved_buying_power=D(375))
    await change(ready, "trade_risk_max_pct", "0.3")
    async with transaction(ready.engines["tt_executor"]) as session:
        answer = await intents.claim(
            session, identity, holder="e1", epoch=ready.epoch, body_hash="hash", producer="executor"
        )
        detail = claims.detail(session)
    assert answer is ClaimRefusal.LIMIT
    assert detail == Refusal("trade_risk_max_pct", D("0.375"), D("0.3"))


async def test_a_burst_of_three_then_one_a_second(ready: Journal) -> None:
    answers = [await ready.claim(await ready.approve(source="demo")) for _ in range(4)]
    assert [isinstance(answer, Permit) for answer in answers] == [True, True, True, False]
    assert answers[3] is ClaimRefusal.THROTTLE


async def test_a_full_minute_holds_and_price_steps_leave_room(ready: Journal) -> None:
    """Seven of ten may be steps; a first close passes also when the minute is full."""
    await ready.set_limits(messages_per_second="10", messages_burst="30", messages_per_minute="10")
    sent = [await ready.approve(source="demo") for _ in range(10)]
    answers = [await ready.claim(each) for each in sent[:7]]
    async with transaction(ready.engines["tt_executor"]) as session:
        parent = await intents.get(session, sent[0], lock=True)
        child = await intents.child(
            session, parent, "child", D("1.20"), datetime.now(UTC) + timedelta(seconds=9), "executor"
        )
        step = await intents.claim(
            session, child.intent_id, holder="e1", epoch=ready.epoch, body_hash="hash", producer="executor"
        )
    answers += [await ready.claim(each) for each in sent[7:]]
    full = await ready.claim(await ready.approve(source="demo"))
    close = await ready.claim(await ready.approve(source="demo", purpose="close"))
    assert [isinstance(answer, Permit) for answer in answers] == [True] * 10
    assert (step, full) == (ClaimRefusal.THROTTLE, ClaimRefusal.THROTTLE)
    assert isinstance(close, Permit)


async def test_automation_that_repeats_itself_stops_until_a_person_resumes(ready: Journal) -> None:
    """Two opens of the same in ten minutes; the third stops the strategy."""
    answers = [await ready.claim(await ready.approve()) for _ in range(3)]
    assert [isinstance(answer, Permit) for answer in answers] == [True, True, False]
    assert answers[2] is ClaimRefusal.REPEATED
    third = await ready.approve(underlying_symbol="QQQ")
    async with transaction(ready.engines["tt_executor"]) as session:
        assert await claims.stop_repeating(session, await intents.get(session, third), "executor")
        state = await gate.read(session)
    assert state.mode_for(ACCOUNT, "default", "QQQ") is GateMode.HALT_OPENS
    assert await ready.claim(third) is ClaimRefusal.GATE


async def test_an_unknown_order_stops_its_strategy_and_two_stop_the_account(ready: Journal) -> None:
    """Their risk is not over; a close passes."""
    await ready.lift_throttles()
    for strategy, answer in (("one", ClaimRefusal.UNKNOWN_ORDERS), ("other", None)):
        lost = await ready.approve(strategy_id=strategy)
        assert isinstance(await ready.claim(lost), Permit)
        async with transaction(ready.engines["tt_executor"]) as session:
            await intents.record(session, await intents.get(session, lost, lock=True), IntentState.UNKNOWN, "executor")
        found = await ready.claim(await ready.approve(strategy_id="one"))
        assert found is ClaimRefusal.UNKNOWN_ORDERS
        third = await ready.claim(await ready.approve(strategy_id="third"))
        assert isinstance(third, Permit) if answer else third is ClaimRefusal.UNKNOWN_ORDERS
    assert isinstance(await ready.claim(await ready.approve(strategy_id="one", purpose="close")), Permit)
