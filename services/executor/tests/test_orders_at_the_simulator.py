"""Orders against a broker that answers, refuses, stays silent after accepting, or never gets the request."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from chassis.database import transaction
from ledger import gate, intents
from schemas.account import GateMode, KillScope
from schemas.columns import ColumnKind
from schemas.commands import KillCommand
from schemas.orders import IntentState
from testkit import eventually

if TYPE_CHECKING:
    from conftest import Rig

ACCOUNT = "5WT00001"


async def test_an_approved_order_is_sent_once_filled_and_booked(rig: Rig) -> None:
    intent_id = await rig.approve("-0.05")
    await rig.until(intent_id, IntentState.FILLED)
    assert rig.accepted(intent_id) == 1
    assert await rig.held() == rig.at_broker() != {}


async def test_an_answer_that_is_lost_is_unknown_then_adopted_and_never_sent_again(rig: Rig) -> None:
    rig.wire.faults = ["lost_answer"]
    intent_id = await rig.approve("0.30")
    await rig.until(intent_id, IntentState.WORKING, IntentState.FILLED)
    assert rig.accepted(intent_id) == 1


async def test_silence_after_sending_is_unknown_then_adopted(rig: Rig) -> None:
    rig.wire.faults = ["silent"]
    intent_id = await rig.approve("0.30")
    await rig.until(intent_id, IntentState.WORKING, IntentState.FILLED)
    assert rig.accepted(intent_id) == 1


async def test_a_5xx_before_the_broker_saw_it_stays_reserved_and_is_not_sent_again(rig: Rig) -> None:
    """Nobody can tell it from a lost answer: it is set aside, its risk stays reserved."""
    rig.wire.faults = ["never_arrived"]
    intent_id = await rig.approve("0.30")
    await rig.until(intent_id, IntentState.QUARANTINE)
    assert rig.accepted(intent_id) == 0
    assert rig.wire.requests == 1
    async with transaction(rig.risk) as session:
        assert [each.intent_id for each in await intents.reserved(session, ACCOUNT)] == [intent_id]


async def test_a_refusal_is_final_and_says_why(rig: Rig) -> None:
    rig.simulator_broker.cash = Decimal(10)
    intent_id = await rig.approve()
    await rig.until(intent_id, IntentState.REJECTED)
    async with transaction(rig.risk) as session:
        intent = await intents.get(session, intent_id)
    assert intent.reason_code == "margin_check_failed"


async def test_the_walk_replaces_the_order_step_by_step(rig: Rig) -> None:
    """Each step is an intent of its own; the broker holds one live order at a time."""
    await rig.approve("0.05", worst_price=Decimal("0.01"))

    async def walked() -> bool:
        rig.quote()
        async with transaction(rig.risk) as session:
            steps = [each for each in await intents.in_states(session, set(IntentState)) if each.walk_step]
        return any(each.state == IntentState.FILLED.value for each in steps)

    await eventually(walked, timeout=25, every=0.2)
    history = rig.simulator_broker.history()
    identities = [event["external-identifier"] for event in history if event["what"] == "submitted"]
    assert len(identities) == len(set(identities))
    assert sum(event["what"] == "filled" for event in history) == 1
    assert [event["order-id"] for event in history if event.get("status") == "Live"]


async def test_a_lost_answer_to_a_price_step_is_adopted(rig: Rig) -> None:
    rig.wire.faults = ["", "lost_answer"]
    await rig.approve("0.20", worst_price=Decimal("0.01"))

    async def settled() -> bool:
        rig.quote()
        async with transaction(rig.risk) as session:
            found = await intents.in_states(session, set(IntentState))
        children = [each for each in found if each.walk_step]
        return bool(children) and not any(
            each.state in (IntentState.UNKNOWN.value, IntentState.SUBMITTING.value) for each in found
        )

    await eventually(settled, timeout=20, every=0.2)
    live = [order for order in rig.simulator_broker.orders.values() if order.status == "Live"]
    assert len(live) <= 1


async def test_a_stop_cancels_at_the_broker_and_nothing_is_sent_after_it(rig: Rig) -> None:
    first = await rig.approve("0.50")
    await rig.until(first, IntentState.WORKING)
    rig.executor.kill_switch.latch(KillCommand(who="demo", why="trial"))
    await rig.executor.on_kill(KillCommand(who="demo", why="trial"))
    second = await rig.approve("0.50")
    await rig.until(first, IntentState.CANCELLED)
    await rig.until(second, IntentState.WITHDRAWN)
    assert rig.accepted(second) == 0


async def test_the_gate_alone_stops_without_any_message(rig: Rig) -> None:
    """The database is the authority: a process that heard nothing gets no permit."""
    async with transaction(rig.gateway) as session:
        await gate.tighten(session, KillScope.UNDERLYING, "SPY", GateMode.HALT_OPENS, "demo", "trial", "gateway")
    intent_id = await rig.approve()
    await rig.until(intent_id, IntentState.WITHDRAWN)
    assert rig.wire.requests == 0


async def test_stale_quotes_never_trade(rig: Rig) -> None:
    chain = rig.executor.market.chains["SPY"]
    intent_id = await rig.approve(valid_until=datetime.now(UTC) + timedelta(seconds=2))
    chain.at[ColumnKind.QUOTE][:] = time.time_ns() - 60 * 10**9
    await rig.until(intent_id, IntentState.EXPIRED, IntentState.WORKING, IntentState.FILLED)
    if rig.wire.requests == 0:
        assert await rig.states(intent_id) == [IntentState.EXPIRED.value]
