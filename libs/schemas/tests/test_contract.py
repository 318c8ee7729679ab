"""The contract: committed documents are current, subjects are declared once, and a break is refused."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from schemas import subjects
from schemas.account import GateMode, Heartbeat, KillScope
from schemas.commands import KillCommand, parse_kill
from schemas.contract import CHANNELS, incompatibilities, main, message_schemas
from schemas.orders import RESERVED_STATES, TERMINAL_STATES, TRANSITIONS, ExecuteIntent, IntentState

DOCUMENTS = Path(__file__).parents[3] / "docs" / "contract"


def test_committed_documents_are_what_the_code_generates() -> None:
    """AsyncAPI and JSON Schema on disk never lag behind the code."""
    assert main(["check", str(DOCUMENTS)]) == 0


def test_removing_a_field_is_refused() -> None:
    """A reader built on the old schema still finds its field."""
    old = message_schemas()["Fill"]
    new = copy.deepcopy(old)
    del new["properties"]["fees"]
    assert incompatibilities(old, new) == ["Fill.fees was removed"]


def test_a_new_required_field_is_refused_but_an_optional_one_is_fine() -> None:
    """An old writer still makes valid messages."""
    old = message_schemas()["Fill"]
    new = copy.deepcopy(old)
    new["properties"]["venue"] = {"type": "string", "default": ""}
    assert incompatibilities(old, new) == []
    new["required"] = [*new["required"], "venue"]
    assert incompatibilities(old, new) == ["Fill.venue became required"]


def test_narrowing_a_type_and_removing_an_enum_value_are_refused() -> None:
    """What was a legal value stays one."""
    old = message_schemas()["OrderEvent"]
    new = copy.deepcopy(old)
    new["properties"]["quantity"] = {"type": "string"}
    new["$defs"]["IntentState"]["enum"].remove("unknown")
    assert len(incompatibilities(old, new)) == 2


def test_a_raised_version_allows_the_break() -> None:
    """An incompatible change is possible, but never silently."""
    old = message_schemas()["Fill"]
    new = copy.deepcopy(old) | {"x-version": 2}
    del new["properties"]["fees"]
    assert incompatibilities(old, new) == []


def test_every_durable_channel_is_caught_by_exactly_one_stream() -> None:
    """No subject falls beside its stream and none lands in two."""
    for channel in CHANNELS:
        catching = [s.name for s in subjects.ALL_STREAMS if any(_covers(p, channel.subject) for p in s.subjects)]
        assert catching == ([channel.stream.name] if channel.stream else []), channel.subject


def _covers(pattern: str, subject: str) -> bool:
    expected, given = pattern.split("."), subject.split(".")
    if expected[-1] == ">":
        return given[: len(expected) - 1] == expected[:-1]
    return len(expected) == len(given) and all(e in ("*", g) for e, g in zip(expected, given, strict=True))


def test_every_state_is_reachable_and_terminal_states_only_move_by_late_facts() -> None:
    """The table has no orphan and no escape."""
    reached, frontier = {IntentState.PROPOSED}, [IntentState.PROPOSED]
    while frontier:
        for state in TRANSITIONS[frontier.pop()] - reached:
            reached.add(state)
            frontier.append(state)
    assert reached == set(IntentState) == set(TRANSITIONS)
    assert not TERMINAL_STATES & RESERVED_STATES
    never_permitted = {IntentState.DENIED, IntentState.EXPIRED, IntentState.WITHDRAWN}
    assert all(not TRANSITIONS[state] for state in never_permitted)
    decided = {IntentState.PROPOSED, IntentState.APPROVED, IntentState.SUBMITTING, IntentState.UNKNOWN}
    assert not any(TRANSITIONS[state] & decided for state in TERMINAL_STATES)


def test_only_an_approved_intent_can_get_a_send_permit() -> None:
    """SUBMITTING has one way in, so an intent is sent at most once."""
    assert [state for state, following in TRANSITIONS.items() if IntentState.SUBMITTING in following] == [
        IntentState.APPROVED
    ]


@pytest.mark.parametrize(
    "raw", [b"", b"   ", b"stop!", b"[]", b'{"mode":"typo"}', b'{"mode":"run"}', b'{"scope":"account"}']
)
def test_a_control_message_that_cannot_be_read_stops_everything(raw: bytes) -> None:
    """A stop is never lost to a typing error, and this subject can never resume."""
    command = parse_kill(raw)
    assert (command.scope, command.mode) == (KillScope.ALL, GateMode.CANCEL_WORKING)


def test_a_readable_control_message_keeps_its_scope() -> None:
    """An operator can stop one underlying."""
    command = parse_kill(b'{"scope":"underlying","scope_value":"SPY","mode":"halt_opens","who":"op","why":"news"}')
    assert command == KillCommand(
        ts_event=command.ts_event,
        scope=KillScope.UNDERLYING,
        scope_value="SPY",
        mode=GateMode.HALT_OPENS,
        who="op",
        why="news",
    )


def test_commands_refuse_unknown_fields_and_facts_ignore_them() -> None:
    """A misspelt limit on a command is an error; a newer producer's extra fact is not."""
    now = datetime.now(UTC)
    base = {"ts_event": now, "intent_id": "i", "account_number": "a", "valid_until": now}
    with pytest.raises(ValidationError, match="limit_prize"):
        ExecuteIntent.model_validate(base | {"limit_prize": "1"})
    beat = {"ts_event": now, "service": "s", "instance": "0", "mode": "sim", "build_id": "b", "config_hash": "c"}
    assert Heartbeat.model_validate(beat | {"schema_hash": "h", "started_at": now, "colour": "blue"}).service == "s"


def test_a_naive_time_is_refused() -> None:
    """Every instant on the wire has a zone."""
    with pytest.raises(ValidationError, match="no time zone"):
        ExecuteIntent.model_validate(
            {
                "ts_event": datetime(2026, 1, 2),  # noqa: DTZ001 - a naive time is the point
                "intent_id": "i",
                "account_number": "a",
                "valid_until": datetime.now(UTC),
            }
        )
