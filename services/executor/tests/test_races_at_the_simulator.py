"""Races, lost answers and busy signals: nothing is sent twice, everything is found, nothing is left uncancelled."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from executor.domain.conditions import Hold
from schemas.orders import CancelOrders, IntentState
from testkit import eventually

if TYPE_CHECKING:
    from conftest import Rig

ACCOUNT = "5WT00001"


def cancel_of(intent_id: str, *, give_up: bool = False) -> CancelOrders:
    now = datetime.now(UTC)
    return CancelOrders(
        ts_event=now, account_number=ACCOUNT, intent_id=intent_id, requested_by="demo", give_up=give_up,
        reason="the broker says so", valid_until=now + timedelta(seconds=60),
    )  # fmt: skip


async def test_an_order_that_shows_up_late_is_adopted_cancelled_and_reported(rig: Rig) -> None:
    """Held for seconds on the way to the broker: set aside as absent, then it appears after all."""
    await rig.fills("never")
    await rig.fault("hold_request", seconds=6, times=1)
    intent_id = await rig.approve("0.30")
    await rig.until(intent_id, IntentState.QUARANTINE)
    await rig.until(intent_id, IntentState.CANCELLED)
    assert rig.accepted(intent_id) == 1
    assert not rig.working()
    assert {"quarantine", "zombie"} <= set(await rig.alarms())


async def test_an_unknown_order_holds_its_strategy_back_in_its_underlying(rig: Rig) -> None:
    """And frees it once it is known."""
    await rig.fills("never")
    object.__setattr__(rig.executor.settings, "quarantine_after_seconds", 60.0)
    await rig.fault("hide_orders", seconds=3)
    await rig.fault("drop_frames", stream="account", frames=["Order"], ends=3)
    rig.wire.faults = ["lost_answer"]
    unknown = await rig.approve("0.30")
    await rig.until(unknown, IntentState.UNKNOWN)
    second = await rig.approve("0.30")
    await rig.until(second, IntentState.WITHDRAWN)
    assert (await rig.intent(second)).reason_code == "unknown_order"
    await rig.until(unknown, IntentState.WORKING)
    third = await rig.approve("0.30")
    await rig.until(third, IntentState.WORKING)


async def test_an_operator_gives_up_what_is_set_aside_and_nothing_else(rig: Rig) -> None:
    """The request never arrived: dead by the operator's word, and its strategy may open again."""
    await rig.fills("never")
    await rig.fault("error_before", times=1)
    lost = await rig.approve("0.30")
    await rig.until(lost, IntentState.QUARANTINE)
    await rig.executor.on_cancel(cancel_of(lost, give_up=True))
    await rig.until(lost, IntentState.DEAD)
    assert (await rig.intent(lost)).reason == "demo: the broker says so"
    working = await rig.approve("0.30")
    await rig.until(working, IntentState.WORKING)
    await rig.executor.on_cancel(cancel_of(working, give_up=True))
    assert (await rig.intent(working)).state == IntentState.WORKING.value
    assert not rig.accepted(lost)


async def test_too_many_requests_are_looked_up_twice_before_they_count_as_refused(rig: Rig) -> None:
    """And nothing opens for a minute."""
    await rig.fault("throttle", method="POST", path="/accounts/*/orders", times=1)
    intent_id = await rig.approve("0.30")
    await rig.until(intent_id, IntentState.UNKNOWN, timeout=2)
    assert Hold.THROTTLED in await eventually(lambda: rig.lane.holds)
    await rig.until(intent_id, IntentState.REJECTED, timeout=14)
    assert (await rig.intent(intent_id)).reason_code == "throttled"
    assert rig.accepted(intent_id) == 0


async def test_a_token_that_ends_on_the_way_leads_to_a_new_intent(rig: Rig) -> None:
    """The refusal proves that nothing was taken: a child goes out with a fresh token, the first one stays refused."""
    await rig.fills("never")
    await rig.fault("expire_token", path="/accounts/*/orders", times=1)
    intent_id = await rig.approve("0.30")
    await rig.until(intent_id, IntentState.WORKING)
    first, second = await rig.walk(intent_id)
    assert (first.state, second.state) == (IntentState.REJECTED.value, IntentState.WORKING.value)
    assert second.parent_intent_id == intent_id
    assert len(rig.working()) == 1


async def test_a_request_that_never_left_is_tried_three_times_as_new_intents(rig: Rig) -> None:
    """Each with its own name; then it is given up, and the reservation with it."""

    class Unreachable:
        sent = 0

        async def __call__(self, *_: object) -> object:
            from tastyclient import NotSentError

            self.sent += 1
            raise NotSentError("POST /orders was not sent (ConnectError)")

    unreachable = Unreachable()
    rig.executor.client.submit = unreachable  # type: ignore[assignment, method-assign]
    intent_id = await rig.approve("0.30")

    async def given_up() -> bool:
        return await rig.states(intent_id) == [IntentState.NOT_SENT.value] * 4

    await eventually(given_up, timeout=10)
    steps = await rig.walk(intent_id)
    assert len({step.external_identifier for step in steps}) == 4
    assert unreachable.sent == 4
    assert rig.wire.requests == 0


async def test_a_fill_that_wins_against_the_cancellation_is_booked(rig: Rig) -> None:
    await rig.fills("never")
    intent_id = await rig.approve("0.30")
    await rig.until(intent_id, IntentState.WORKING)
    await rig.fault("fill_before_cancel", times=1)
    await rig.executor.on_cancel(cancel_of(intent_id))
    await rig.until(intent_id, IntentState.FILLED)
    assert await rig.held() == rig.at_broker() != {}
    await eventually(lambda: not rig.lane.cancels)


async def test_a_cancellation_that_is_stuck_is_asked_for_again_and_reported(rig: Rig) -> None:
    """The broker says Cancel Requested and nothing follows."""
    await rig.fills("never")
    object.__setattr__(rig.executor.settings, "cancel_alarm_seconds", 1.0)
    intent_id = await rig.approve("0.30")
    await rig.until(intent_id, IntentState.WORKING)
    await rig.fault("cancel_race", becomes="stuck", times=1)
    await rig.executor.on_cancel(cancel_of(intent_id))
    await eventually(lambda: any(asked.asked >= 2 for asked in rig.lane.cancels.values()), timeout=10)

    async def reported() -> bool:
        return "cancel_stuck" in await rig.alarms()

    await eventually(reported, timeout=10)


async def test_a_cancellation_noted_before_a_crash_is_asked_for_by_the_next_process(idle_rig: Rig) -> None:
    """Acknowledged to the bus only with the wish on disk."""
    rig = idle_rig
    await rig.start()
    await rig.fills("never")
    intent_id = await rig.approve("0.30")
    await rig.until(intent_id, IntentState.WORKING)
    await rig.fault("error_before", method="DELETE", path="/accounts/*/orders/*", times=1, status=503)
    await rig.executor.on_cancel(cancel_of(intent_id))
    await rig.kill()
    await rig.start(ready=False)
    try:
        await rig.until(intent_id, IntentState.CANCELLED)
    finally:
        await rig.stop()


async def test_a_cancellation_before_the_send_withdraws(rig: Rig) -> None:
    rig.lane.throttled_until = float("inf")
    await eventually(lambda: Hold.THROTTLED in rig.lane.holds)
    intent_id = await rig.approve("0.30")
    await rig.executor.on_cancel(cancel_of(intent_id))
    assert await rig.states(intent_id) == [IntentState.WITHDRAWN.value]


async def test_a_fill_that_aborts_the_replacement_is_booked_and_the_step_refused(rig: Rig) -> None:
    """Any fill of the old order aborts its replacement."""
    await rig.fills("never")
    await rig.fault("fill_before_cancel", method="PUT", times=1)
    intent_id = await rig.approve("0.05", worst_price=Decimal("0.01"))

    async def aborted() -> bool:
        rig.quote()
        return (await rig.states(intent_id))[:2] == [IntentState.FILLED.value, IntentState.REJECTED.value]

    await eventually(aborted, timeout=15, every=0.2)
    assert await rig.held() == rig.at_broker() != {}
    assert not rig.working()


async def test_a_replacement_that_never_arrived_leaves_the_old_order_and_ends_the_walk(rig: Rig) -> None:
    """Set aside as absent: the old order is the broker's again, and no step follows beside an unknown one."""
    await rig.fills("never")
    rig.wire.faults = ["", "never_arrived"]
    intent_id = await rig.approve("0.30", worst_price=Decimal("0.01"))

    async def set_aside() -> bool:
        rig.quote()
        return await rig.states(intent_id) == [IntentState.WORKING.value, IntentState.QUARANTINE.value]

    await eventually(set_aside, timeout=20, every=0.2)
    assert len(rig.working()) == 1
    assert rig.wire.requests == 2


async def test_nothing_is_sent_without_a_fresh_quote_at_the_send(rig: Rig) -> None:
    """The permit is void when the quotes have aged since it was given."""
    await rig.fills("never")
    original = rig.executor.client.access_token

    async def slow() -> str:
        from schemas.columns import ColumnKind

        rig.executor.market.chains["SPY"].at[ColumnKind.QUOTE][:] = 1
        return await original()

    rig.executor.client.access_token = slow  # type: ignore[method-assign]
    intent_id = await rig.approve("0.30")
    await rig.until(intent_id, IntentState.NOT_SENT)
    assert (await rig.intent(intent_id)).reason_code == "stale_quote"
    assert rig.wire.requests == 0


async def test_a_second_close_beside_an_unknown_one_waits(rig: Rig) -> None:
    """The first may have closed the position already: for a minute nothing is sent beside it."""
    await rig.fills("immediate")
    opened = await rig.approve("-0.05")
    await rig.until(opened, IntentState.FILLED)
    await rig.fills("never")
    rig.wire.faults = ["never_arrived"]
    first = await rig.approve_close()
    await rig.until(first, IntentState.UNKNOWN, IntentState.QUARANTINE)
    requests = rig.wire.requests
    second = await rig.approve_close(valid_until=datetime.now(UTC) + timedelta(seconds=2))
    await rig.until(second, IntentState.EXPIRED)
    assert rig.wire.requests == requests


async def test_a_close_is_sent_with_strict_position_effect(rig: Rig) -> None:
    """Without its position the broker refuses it, instead of opening one the other way round."""
    await rig.fills("immediate")
    intent_id = await rig.approve_close()
    await rig.until(intent_id, IntentState.REJECTED)
    assert (await rig.intent(intent_id)).reason_code == "closing_with_no_position"
    assert rig.at_broker() == {}
