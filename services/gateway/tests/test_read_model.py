"""Channels, deltas without gaps, bounded history, and when a stop counts as confirmed."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from gateway.domain import KEPT, PERMISSIONS, Channel, KillRecord, Permission, ReadModel, Role, scope_fault
from schemas.account import KillScope
from schemas.commands import KillAck, KillCommand

NOW = datetime(2026, 11, 24, 17, 0, tzinfo=UTC)
EXPECTED = ("scanner", "risk", "executor", "gateway")


def test_a_delta_holds_what_changed_once() -> None:
    model = ReadModel()
    model.put(Channel.GATE, "gate", {"revision": 1})
    model.put(Channel.GATE, "gate", {"revision": 2})
    delta = model.take(Channel.GATE)
    assert delta is not None
    assert (delta.seq, delta.put, delta.deleted) == (1, {"gate": {"revision": 2}}, [])
    assert model.take(Channel.GATE) is None


def test_an_equal_value_is_no_change() -> None:
    model = ReadModel()
    model.put(Channel.GATE, "gate", {"revision": 1})
    model.take(Channel.GATE)
    model.put(Channel.GATE, "gate", {"revision": 1})
    assert model.take(Channel.GATE) is None


def test_what_is_deleted_is_told_even_when_it_was_new() -> None:
    model = ReadModel()
    model.put(Channel.POSITIONS, "a", {"x": 1})
    model.delete(Channel.POSITIONS, "a")
    delta = model.take(Channel.POSITIONS)
    assert delta is not None
    assert (delta.put, delta.deleted) == ({}, ["a"])


def test_a_growing_channel_keeps_its_newest() -> None:
    model = ReadModel()
    for number in range(KEPT[Channel.KILL] + 5):
        model.put(Channel.KILL, str(number), {"n": number})
    assert len(model.items(Channel.KILL)) == KEPT[Channel.KILL]
    assert "0" not in model.items(Channel.KILL)


operations = st.lists(
    st.tuples(st.sampled_from(["put", "delete", "take"]), st.sampled_from("abc"), st.integers(0, 3)), max_size=40
)


@given(operations)
def test_applying_every_delta_gives_the_snapshot(acts: list[tuple[str, str, int]]) -> None:
    """A reader who follows the numbers knows what the server knows."""
    model, seen, last = ReadModel(), dict[str, object](), 0
    for act, key, value in [*acts, ("take", "a", 0)]:
        if act == "put":
            model.put(Channel.POSITIONS, key, {"v": value})
        elif act == "delete":
            model.delete(Channel.POSITIONS, key)
        elif (delta := model.take(Channel.POSITIONS)) is not None:
            assert delta.seq == last + 1
            last = delta.seq
            seen.update(delta.put)
            for each in delta.deleted:
                seen.pop(each, None)
    assert seen == model.items(Channel.POSITIONS)
    assert model.seq(Channel.POSITIONS) == last


def ack(service: str, working: int | None = None) -> KillAck:
    return KillAck(ts_event=NOW, service=service, instance="0", working_orders=working)


def test_a_stop_is_confirmed_when_all_have_said_so_and_nothing_works() -> None:
    record = KillRecord(KillCommand(ts_event=NOW), NOW)
    for service in ("scanner", "risk", "gateway"):
        record.acknowledge(ack(service))
    assert not record.confirmed(EXPECTED)
    record.acknowledge(ack("executor", 2))
    assert record.working_orders == 2
    assert not record.confirmed(EXPECTED)
    record.acknowledge(ack("executor", 0))
    assert record.confirmed(EXPECTED)


def test_an_executor_that_has_not_counted_confirms_nothing() -> None:
    record = KillRecord(KillCommand(ts_event=NOW), NOW)
    for service in EXPECTED:
        record.acknowledge(ack(service))
    assert record.working_orders is None
    assert not record.confirmed(EXPECTED)


def test_only_an_admin_resumes_and_everyone_but_a_viewer_stops() -> None:
    assert [role for role in Role if Permission.RESUME in PERMISSIONS[role]] == [Role.ADMIN]
    assert [role for role in Role if Permission.STOP not in PERMISSIONS[role]] == [Role.VIEWER]


def test_a_scope_needs_its_value() -> None:
    assert scope_fault(KillScope.ALL, "") is None
    assert scope_fault(KillScope.ACCOUNT, "") is not None
    assert scope_fault(KillScope.ALL, "SPY") is not None
