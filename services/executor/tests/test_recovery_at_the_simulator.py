"""Starts, gaps of the stream and lost memories: what an executor does before it sends anything."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from chassis.database import transaction
from executor.domain.conditions import Hold, Stage
from executor.health import state_of
from executor.recovery import STEPS
from ledger import intents
from ledger.tables import Intent
from schemas.orders import IntentState
from testkit import eventually

if TYPE_CHECKING:
    from conftest import Rig

ACCOUNT = "5WT00001"


async def test_a_start_takes_thirteen_steps_in_their_order(rig: Rig) -> None:
    """Each with its outcome and time, and all of them well within the budget."""
    assert [step.name for step in rig.lane.steps] == list(STEPS)
    assert [step.number for step in rig.lane.steps] == list(range(1, 14))
    assert {step.outcome for step in rig.lane.steps[1:]} == {"ok"}
    assert sum(step.seconds for step in rig.lane.steps) < 10
    assert await rig.executor.probe() is None
    assert rig.lane.holds == ()


async def test_nothing_opens_before_the_second_sweep_and_closes_do(idle_rig: Rig) -> None:
    """Once everything at the broker is adopted, what reduces risk may go; what adds risk waits for a second look."""
    rig = idle_rig
    await rig.start()
    await rig.fills("immediate")
    opened = await rig.approve("-0.05")
    await rig.until(opened, IntentState.FILLED)
    await rig.kill()
    await rig.start(ready=False, second_sweep_seconds=30)
    try:
        await eventually(lambda: rig.executor.desk.lanes and rig.lane.stage is Stage.ADOPTED, timeout=20)
        assert await rig.executor.probe() is None
        assert rig.lane.holds == (Hold.SECOND_SWEEP,)
        waits, goes = await rig.approve("-0.05"), await rig.approve_close()
        await rig.until(goes, IntentState.FILLED)
        assert await rig.states(waits) == [IntentState.APPROVED.value]
        assert rig.accepted(waits) == 0
    finally:
        await rig.stop()


async def test_what_was_being_sent_at_a_crash_is_unknown_and_adopted(rig: Rig) -> None:
    """A permit without an outcome belongs to a dead process: it is looked up, never used again."""
    intent_id = await rig.approve("0.30", valid_until=datetime.now(UTC) + timedelta(seconds=60))
    await rig.until(intent_id, IntentState.WORKING)
    async with transaction(rig.executor.engine) as session:
        lost = Intent(
            **(await intents.get(session, intent_id)).model_dump()
            | {
                "intent_id": "lost", "root_intent_id": intent_id, "parent_intent_id": intent_id, "body_hash": None,
                "external_identifier": None, "broker_order_id": None, "version": 1, "state": "approved", "walk_step": 1,
                "submitting_at": None, "epoch": None,
            }
        )  # fmt: skip
        await intents.propose(session, lost, "executor")
        await intents.record(
            session, lost, IntentState.SUBMITTING, "executor", external_identifier="tt-lost", epoch=rig.lane.epoch,
            body_hash="hash", submitting_at=datetime.now(UTC),
        )  # fmt: skip
    await rig.change("lost", "epoch = 0")
    await rig.executor.recovery.orphans(rig.lane)
    await rig.until("lost", IntentState.UNKNOWN, IntentState.QUARANTINE)
    assert rig.accepted("lost") == 0


async def test_an_order_that_was_accepted_as_the_process_died_is_adopted_with_its_fills(idle_rig: Rig) -> None:
    """Killed between acceptance and answer: the next process finds order and fills, and sends nothing."""
    rig = idle_rig
    await rig.start()
    await rig.fills("immediate")
    await rig.fault("hold_response", times=1)
    intent_id = await rig.approve("-0.05")
    await eventually(lambda: rig.accepted(intent_id) == 1)
    await rig.kill()
    before = rig.lane.epoch
    await rig.start()
    try:
        await rig.until(intent_id, IntentState.FILLED)
        assert rig.accepted(intent_id) == 1
        assert await rig.held() == rig.at_broker() != {}
        assert rig.lane.epoch is not None
        assert before is not None
        assert rig.lane.epoch > before
        assert not await rig.frozen()
    finally:
        await rig.stop()


async def test_a_gap_of_the_stream_leads_through_the_same_steps(rig: Rig) -> None:
    """What was filled while nobody listened is in the ledger before anything opens."""
    await rig.fills("never")
    intent_id = await rig.approve("-0.05")
    await rig.until(intent_id, IntentState.WORKING)
    began = rig.lane.recovery_began
    await rig.fault("drop_frames", stream="account", frames=["Order"])
    await rig.fills("immediate")
    await rig.fault("disconnect", stream="account")
    await eventually(lambda: rig.lane.recovery_began > began and rig.lane.stage is Stage.READY, timeout=20)
    assert [step.name for step in rig.lane.steps] == list(STEPS)
    await rig.until(intent_id, IntentState.FILLED)
    assert await rig.held() == rig.at_broker() != {}


async def test_while_the_stream_is_away_opens_wait_and_cancellations_go(rig: Rig) -> None:
    await rig.fills("never")
    works = await rig.approve("0.30")
    await rig.until(works, IntentState.WORKING)
    await rig.fault("refuse_connection", stream="account")
    await rig.fault("disconnect", stream="account")
    await eventually(lambda: Hold.STREAM_RECONCILING in rig.lane.holds, timeout=10)
    reason = await rig.executor.probe()
    assert reason is not None
    assert "stream_reconciling" in reason
    waits = await rig.approve("-0.05", valid_until=datetime.now(UTC) + timedelta(seconds=1))
    number = (await rig.intent(works)).broker_order_id
    assert number is not None
    await rig.executor.cancels.cancel(ACCOUNT, number, "requested")
    await rig.until(works, IntentState.CANCELLED)
    await rig.until(waits, IntentState.EXPIRED)
    assert (await rig.intent(waits)).reason_code == "held_stream_reconciling"
    assert rig.accepted(waits) == 0


async def test_an_emptied_broker_stops_the_account_until_a_person_has_looked(idle_rig: Rig) -> None:
    """A sandbox that is wiped every day: nothing is sent against a ledger that describes another world."""
    rig = idle_rig
    await rig.start()
    await rig.fills("immediate")
    opened = await rig.approve("-0.05")
    await rig.until(opened, IntentState.FILLED)
    await rig.kill()
    await rig.fault("wipe_account")
    await eventually(lambda: not rig.simulator_broker.orders, timeout=10)
    await rig.age(opened)
    await rig.start(ready=False)
    try:
        await eventually(lambda: rig.executor.desk.lanes and rig.lane.stage is Stage.STOPPED, timeout=20)
        assert "the account was emptied" in rig.lane.reason
        reason = await rig.executor.probe()
        assert reason is not None
        assert "stopped_here" in reason
        waits = await rig.approve("-0.05", valid_until=datetime.now(UTC) + timedelta(seconds=1))
        await rig.until(waits, IntentState.EXPIRED)
        assert rig.accepted(waits) == 0
        assert "stopped_here" in await rig.alarms()
    finally:
        await rig.stop()


async def test_orders_of_ours_that_the_ledger_does_not_know_stop_the_account(idle_rig: Rig) -> None:
    """A ledger restored from an old copy does not know its own orders."""
    rig = idle_rig
    await rig.start()
    await rig.fills("never")
    short, long = rig.legs()
    body = {
        "order-type": "Limit", "time-in-force": "Day", "price": "0.90", "price-effect": "Credit",
        "external-identifier": "tt-00000000-0000-0000-0000-000000000001",
        "legs": [
            {"symbol": short, "action": "Sell to Open", "quantity": 1, "instrument-type": "Equity Option"},
            {"symbol": long, "action": "Buy to Open", "quantity": 1, "instrument-type": "Equity Option"},
        ],
    }  # fmt: skip
    await rig.kill()
    rig.simulator_broker.submit(body, rig.simulator.now)
    await rig.start(ready=False)
    try:
        await eventually(lambda: rig.executor.desk.lanes and rig.lane.stage is Stage.STOPPED, timeout=20)
        assert "older than the broker" in rig.lane.reason
        assert [order.status for order in rig.working()] == ["Live"]
    finally:
        await rig.stop()


async def test_the_health_page_shows_every_step(rig: Rig) -> None:
    shown = state_of(rig.lane)
    assert (shown["stage"], shown["opens_held"], shown["stream"]) == ("ready", [], "live")
    steps = shown["recovery"]
    assert isinstance(steps, list)
    assert [row["step"] for row in steps] == list(STEPS)


async def test_a_lease_that_another_process_holds_is_waited_for(idle_rig: Rig) -> None:
    """Two executors never send for one account: the second waits until the first's lease has ended."""
    rig = idle_rig
    await rig.start(instance="a", lease_seconds=4)
    await rig.kill()
    began = time.monotonic()
    await rig.start(instance="b", lease_seconds=4)
    try:
        assert time.monotonic() - began > 1
        assert rig.lane.epoch == 2
    finally:
        await rig.stop()
