"""Broker against ledger, all the time: differences, foreign orders, busts, legs that fill alone, clocks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import nats
from sqlalchemy import text

from chassis.database import transaction
from executor.domain.conditions import Hold, Stage
from schemas import subjects
from schemas.account import Heartbeat
from schemas.orders import IntentState
from schemas.trade import ProposeTrade
from testkit import eventually

if TYPE_CHECKING:
    from conftest import Rig

ACCOUNT = "5WT00001"


async def test_a_difference_found_twice_freezes_the_underlying_and_thaws_by_itself(rig: Rig) -> None:
    symbol = next(option.occ for option in rig.simulator.options if option.root_symbol == "SPY")
    rig.simulator_broker.positions[symbol] = (3, Decimal("1.00"))
    await eventually(rig.frozen, timeout=10)
    assert "broker reports 3, ledger holds 0" in (await rig.frozen())["SPY"]
    waits = await rig.approve("-0.05")
    await rig.until(waits, IntentState.WITHDRAWN)
    assert (await rig.intent(waits)).reason_code == "frozen"
    del rig.simulator_broker.positions[symbol]

    async def thawed() -> bool:
        return not await rig.frozen()

    await eventually(thawed, timeout=10)


async def test_a_difference_that_stays_halts_every_opening_order(rig: Rig) -> None:
    object.__setattr__(rig.executor.settings, "mismatch_halt_seconds", 1.0)
    symbol = next(option.occ for option in rig.simulator.options if option.root_symbol == "SPY")
    rig.simulator_broker.positions[symbol] = (3, Decimal("1.00"))

    async def halted() -> bool:
        return await rig.mode() == "halt_opens" and "mismatch_halt" in await rig.alarms()

    await eventually(halted, timeout=10)


async def test_an_order_of_somebody_else_freezes_its_underlying_and_is_left_alone(rig: Rig) -> None:
    await rig.fills("never")
    short, _ = rig.legs()
    await rig.fault("foreign_order", symbol=short, action="Buy to Open")
    await eventually(rig.frozen, timeout=10)
    assert "is not ours" in (await rig.frozen())["SPY"]
    assert "foreign_order" in await rig.alarms()
    assert [order.status for order in rig.working()] == ["Live"]


async def test_fills_of_somebody_else_are_booked_so_that_positions_add_up(rig: Rig) -> None:
    short, _ = rig.legs()
    await rig.fault("foreign_order", symbol=short, action="Buy to Open", becomes="Filled")
    await eventually(rig.at_broker, timeout=10)

    async def booked() -> bool:
        return await rig.held() == rig.at_broker()

    await eventually(booked, timeout=10)

    async def free() -> bool:
        return not await rig.frozen()

    await eventually(free, timeout=10)


async def test_two_orders_with_one_name_stop_everything_and_the_surplus_goes(rig: Rig) -> None:
    """What must never happen, should it happen."""
    await rig.fills("never")
    intent_id = await rig.approve("0.30")
    await rig.until(intent_id, IntentState.WORKING)
    first = rig.working()[0]
    body = {
        "order-type": "Limit", "time-in-force": "Day", "price": "9.90", "price-effect": "Credit",
        "external-identifier": f"tt-{intent_id}",
        "legs": [
            {"symbol": leg["symbol"], "action": leg["action"], "quantity": 1, "instrument-type": "Equity Option"}
            for leg in first.legs
        ],
    }  # fmt: skip
    second = rig.simulator_broker.submit(body, rig.simulator.now)

    async def stopped() -> bool:
        told = "duplicate_order" in await rig.alarms()
        return told and await rig.mode() == "cancel_working" and second.is_terminal

    await eventually(stopped, timeout=15)


async def test_a_bust_is_booked_as_a_compensating_row_and_reported(rig: Rig) -> None:
    """The fill stays in the ledger; the position follows the broker's."""
    await rig.fills("immediate")
    intent_id = await rig.approve("-0.05")
    await rig.until(intent_id, IntentState.FILLED)
    await rig.fault("bust_trade")
    await eventually(lambda: not rig.at_broker(), timeout=10)

    async def followed() -> bool:
        return not await rig.held() and "trade_busted" in await rig.alarms() and not await rig.frozen()

    await eventually(followed, timeout=15)
    async with transaction(rig.risk) as session:
        rows = (await session.execute(text("SELECT corrects FROM ledger.fill ORDER BY booked_at"))).scalars().all()
    assert len(rows) == 4
    assert sum(corrects is not None for corrects in rows) == 2
    assert (await rig.states(intent_id))[-1] == IntentState.FILLED.value


async def test_a_fill_that_the_stream_lost_is_found_within_seconds(rig: Rig) -> None:
    """The stream beats and says nothing: the list of orders is read all the same."""
    await rig.fills("never")
    intent_id = await rig.approve("-0.05")
    await rig.until(intent_id, IntentState.WORKING)
    await rig.fault("drop_frames", stream="account", frames=["Order", "CurrentPosition", "AccountBalance"])
    await rig.fills("immediate")
    await rig.until(intent_id, IntentState.FILLED, timeout=5)
    assert await rig.held() == rig.at_broker() != {}


async def test_legs_that_fill_one_after_the_other_are_not_hung(rig: Rig) -> None:
    await rig.fills("immediate")
    await rig.fault("late_leg_fills", seconds=0.5)
    intent_id = await rig.approve("-0.05")
    await rig.until(intent_id, IntentState.FILLED)

    async def whole() -> bool:
        return await rig.held() == rig.at_broker()

    await eventually(whole, timeout=10)
    await eventually(lambda: not rig.lane.uneven_since)
    assert "hung_structure" not in await rig.alarms()


async def test_a_leg_that_stays_alone_freezes_and_its_close_is_proposed(rig: Rig) -> None:
    """Through the same door as every trade: the executor itself sends nothing for it."""
    await rig.fills("immediate")
    await rig.fault("late_leg_fills", seconds=600)
    client = await nats.connect(rig.nats_url)
    proposed = await client.subscribe(subjects.propose("executor"))
    intent_id = await rig.approve("-0.05")
    await rig.until(intent_id, IntentState.FILLED)
    sent = rig.wire.requests
    message = await proposed.next_msg(timeout=15)
    await client.close()
    proposal = ProposeTrade.model_validate_json(message.data)
    short, _ = rig.legs()
    assert [(leg.occ_symbol, leg.action.value, leg.quantity) for leg in proposal.legs] == [(short, "Buy to Close", 1)]
    assert any(step.intent_id in proposal.signal_id for step in await rig.walk(intent_id))
    assert "hung_structure" in await rig.alarms()
    assert "SPY" in await rig.frozen()
    assert rig.wire.requests == sent


async def test_a_small_fill_is_unwound_through_the_same_door(idle_rig: Rig) -> None:
    """Where that is the policy: two of four units filled, the rest cancelled, a close of the two proposed."""
    rig = idle_rig
    await rig.start(partial_fill_policy="unwind", partial_fill_min_pct=60, order_timeout_seconds=4)
    try:
        client = await nats.connect(rig.nats_url)
        proposed = await client.subscribe(subjects.propose("executor"))
        await rig.fills("partial:600")
        intent_id = await rig.approve("-0.05", quantity=4)
        message = await proposed.next_msg(timeout=15)
        await client.close()
        proposal = ProposeTrade.model_validate_json(message.data)
        last = (await rig.walk(intent_id))[-1]
        assert (last.state, last.filled_quantity) == (IntentState.CANCELLED.value, 2)
        assert proposal.quantity == 2
        assert {leg.action.value for leg in proposal.legs} == {"Buy to Close", "Sell to Close"}
    finally:
        await rig.stop()


async def test_a_clock_that_is_wrong_holds_opens_back(rig: Rig) -> None:
    await rig.fault("skew_clock", seconds=30)
    await eventually(lambda: rig.lane.holds == (Hold.CLOCK,), timeout=15)
    waits = await rig.approve("-0.05", valid_until=datetime.now(UTC) + timedelta(seconds=1))
    await rig.until(waits, IntentState.EXPIRED)
    assert (await rig.intent(waits)).reason_code == "held_clock"
    assert rig.wire.requests == 0


async def test_a_process_of_another_build_holds_opens_back(rig: Rig) -> None:
    client = await nats.connect(rig.nats_url)
    beat = Heartbeat(
        ts_event=datetime.now(UTC), service="risk", instance="0", mode="sim", build_id="another", config_hash="x",
        schema_hash="another", started_at=datetime.now(UTC),
    )  # fmt: skip
    await client.publish(subjects.heartbeat("risk", "0"), beat.model_dump_json().encode())
    await client.flush()
    await client.close()
    await eventually(lambda: rig.lane.holds == (Hold.VERSIONS,), timeout=10)
    reason = await rig.executor.probe()
    assert reason is not None
    assert "versions" in reason


async def test_a_slow_account_does_not_hold_up_another(idle_rig: Rig) -> None:
    """Each account has a lane: while one cannot be read, the other recovers and trades."""
    rig = idle_rig
    other = rig.brokerage.open(100_000, "Margin").account
    await rig.fault("hold_response", method="GET", path=f"/accounts/{other}/*", account=other)
    await rig.start(ready=False)
    try:
        await eventually(lambda: rig.executor.desk.lanes and rig.lane.stage is Stage.READY, timeout=20)
        assert rig.executor.desk.lanes[other].stage is Stage.RECOVERING
        await rig.fills("immediate")
        intent_id = await rig.approve("-0.05")
        await rig.until(intent_id, IntentState.FILLED)
        reason = await rig.executor.probe()
        assert reason is not None
        assert reason.startswith(other)
    finally:
        await rig.stop()
