"""Every trap of the bus has its setting; each is shown on a real server."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import nats
import psutil
import pytest
from faststream.nats import NatsBroker
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from chassis.bus import (
    PoisonMessage,
    PublishError,
    latest,
    make_broker,
    missing_consumers,
    ordered,
    provision,
    publish_durable,
    raw_client,
)
from chassis.embedded import Server, start_nats
from chassis.service import Service, _reasons
from chassis.settings import ServiceSettings
from schemas import subjects
from schemas.account import AuditEntry, Balance
from testkit import eventually


class Settings(ServiceSettings):
    service = "risk"


def entry(text: str = "a") -> AuditEntry:
    return AuditEntry(ts_event=datetime.now(UTC), who="test", action=text)


SUBJECT = subjects.fact_audit("test")


@pytest.fixture
async def broker(provisioned_nats_url: str) -> AsyncIterator[NatsBroker]:
    made = make_broker(Settings(nats_url=provisioned_nats_url))
    await made.connect()
    yield made
    made._stopping_on_purpose = True  # type: ignore[attr-defined]
    await made.stop()


async def test_a_message_whose_handler_failed_comes_back_after_a_delay_and_in_order(broker: NatsBroker) -> None:
    """Nothing is lost, nothing overtakes, and the retry is no hot loop."""
    seen: list[str] = []

    @broker.subscriber(**ordered(SUBJECT, subjects.AUDIT, "t-order"))
    async def handle(message: AuditEntry) -> None:
        seen.append(message.action)
        if seen.count("0") == 1:
            raise RuntimeError("a passing fault")

    for number in range(4):
        await publish_durable(broker, SUBJECT, entry(str(number)), message_id=f"order-{number}")
    await broker.start()
    await eventually(lambda: len(seen) >= 5)
    assert seen == ["0", "0", "1", "2", "3"]


async def test_poison_goes_to_the_dead_letters_once_and_the_line_moves_on(broker: NatsBroker) -> None:
    """Bad JSON, a bad schema and a refused content are kept with their error; the next message is handled."""
    seen: list[str] = []

    @broker.subscriber(**ordered(SUBJECT, subjects.AUDIT, "t-poison"))
    async def handle(message: AuditEntry) -> None:
        if message.action == "never":
            raise PoisonMessage("this can never be handled")
        seen.append(message.action)

    await broker.start()
    await publish_durable(broker, SUBJECT, b"{not json", message_id="p1")
    await publish_durable(broker, SUBJECT, b'{"who": 1}', message_id="p2")
    await publish_durable(broker, SUBJECT, entry("never"), message_id="p3")
    await publish_durable(broker, SUBJECT, entry("good"), message_id="p4")
    await eventually(lambda: seen)
    jetstream = raw_client(broker).jetstream()
    dead = await jetstream.stream_info("DLQ")
    assert dead.state.messages == 3
    kept = await jetstream.get_msg("DLQ", dead.state.first_seq)
    assert kept.data == b"{not json"
    assert kept.headers is not None
    assert kept.headers["tt-subject"] == SUBJECT
    assert seen == ["good"]


async def test_a_message_that_keeps_failing_ends_in_the_dead_letters(broker: NatsBroker) -> None:
    """Bounded deliveries, and never silence."""
    calls = 0

    @broker.subscriber(**ordered(SUBJECT, subjects.AUDIT, "t-bounded"))
    async def handle(message: AuditEntry) -> None:
        nonlocal calls
        calls += 1
        raise RuntimeError("always")

    await broker.start()
    await publish_durable(broker, SUBJECT, entry(), message_id="b1")

    async def buried() -> bool:
        return bool((await raw_client(broker).jetstream().stream_info("DLQ")).state.messages)

    await eventually(buried, timeout=40)
    assert calls == 5


async def test_a_command_past_its_time_is_never_handled(broker: NatsBroker) -> None:
    """valid_until is checked before the handler."""
    seen: list[str] = []

    @broker.subscriber(**ordered(SUBJECT, subjects.AUDIT, "t-late"))
    async def handle(message: AuditEntry) -> None:
        seen.append(message.action)

    now = datetime.now(UTC)
    await publish_durable(broker, SUBJECT, entry("late"), message_id="l1", valid_until=now - timedelta(seconds=1))
    await publish_durable(broker, SUBJECT, entry("in time"), message_id="l2", valid_until=now + timedelta(minutes=1))
    await broker.start()
    await eventually(lambda: seen)
    assert seen == ["in time"]


async def test_the_same_message_id_is_stored_once(broker: NatsBroker) -> None:
    """A relay may publish again after a crash."""
    assert await publish_durable(broker, SUBJECT, entry(), message_id="same") is True
    assert await publish_durable(broker, SUBJECT, entry(), message_id="same") is False


async def test_a_durable_publish_that_no_stream_catches_raises(broker: NatsBroker) -> None:
    """Silence is not an acknowledgement."""
    with pytest.raises(PublishError):
        await publish_durable(broker, "nobody.listens", entry(), message_id="x", timeout=0.5)


async def test_latest_gives_the_last_value_of_every_subject_and_then_changes(broker: NatsBroker) -> None:
    """A reader that starts late knows the state."""
    seen: list[tuple[str, str | None]] = []

    def balance(cash: str, account: str) -> Balance:
        return Balance.model_validate(
            {
                "ts_event": datetime.now(UTC),
                "account_number": account,
                "net_liq": None,
                "cash": cash,
                "buying_power": None,
            }
        )

    for number, (cash, account) in enumerate([("1", "A"), ("2", "A"), ("3", "B")]):
        subject = subjects.fact_balance(account)
        await publish_durable(broker, subject, balance(cash, account), message_id=f"state-{number}")

    @broker.subscriber(**latest(subjects.fact_balance(), subjects.STATE))
    async def handle(message: Balance) -> None:
        seen.append((message.account_number, str(message.cash)))

    await broker.start()
    await eventually(lambda: len(seen) == 2)
    await publish_durable(broker, subjects.fact_balance("B"), balance("4", "B"), message_id="state-4")
    await eventually(lambda: len(seen) == 3)
    assert sorted(seen) == [("A", "2"), ("B", "3"), ("B", "4")]


async def test_one_trace_goes_through_publisher_and_handler(broker: NatsBroker) -> None:
    """The trace id in the headers is the handler's."""
    trace.set_tracer_provider(TracerProvider())
    found: list[int] = []

    @broker.subscriber(**ordered(SUBJECT, subjects.AUDIT, "t-trace"))
    async def handle(message: AuditEntry) -> None:
        found.append(trace.get_current_span().get_span_context().trace_id)

    await broker.start()
    with TracerProvider().get_tracer("test").start_as_current_span("origin") as span:
        await publish_durable(broker, SUBJECT, entry(), message_id="t1")
    await eventually(lambda: found)
    assert found == [span.get_span_context().trace_id]


async def test_provisioning_twice_changes_nothing(provisioned_nats_url: str) -> None:
    """Streams are declared once; a second run finds them as they are."""
    assert await provision(provisioned_nats_url) == []


async def test_order_facts_cannot_be_deleted_or_purged(broker: NatsBroker) -> None:
    """The journal of orders only grows."""
    jetstream = raw_client(broker).jetstream()
    ack = await jetstream.publish(subjects.fact_order("A", "i"), b"{}")
    with pytest.raises(nats.js.errors.APIError):
        await jetstream.delete_msg("ORDERS", ack.seq)
    with pytest.raises(nats.js.errors.APIError):
        await jetstream.purge_stream("ORDERS")


def test_every_message_is_synced_before_it_is_acknowledged(own_server: Server, tmp_path: Path) -> None:
    """The server itself says that it syncs always."""
    monitor = re.search(r'http: "([^"]+)"', (tmp_path / "nats" / "nats.conf").read_text())
    assert monitor is not None
    state = httpx.get(f"http://{monitor[1]}/varz", trust_env=False).json()
    assert state["jetstream"]["config"]["sync_always"] is True
    own_server.stop()


@pytest.fixture
def own_server(tmp_path: Path) -> Server:
    return start_nats(tmp_path / "nats", log_path=tmp_path / "nats.log")


async def test_consumers_go_on_after_the_server_was_killed(own_server: Server, tmp_path: Path) -> None:
    """kill -9 of the bus: both presets receive again, nothing acknowledged is lost, publishing meanwhile raises."""
    await provision(own_server.url)
    made = make_broker(Settings(nats_url=own_server.url))
    order: list[str] = []
    state: list[str] = []

    @made.subscriber(**ordered(SUBJECT, subjects.AUDIT, "t-kill"))
    async def on_order(message: AuditEntry) -> None:
        order.append(message.action)

    @made.subscriber(**latest(subjects.fact_balance(), subjects.STATE))
    async def on_state(message: Balance) -> None:
        state.append(str(message.cash))

    await made.start()
    await publish_durable(made, SUBJECT, entry("before"), message_id="k1")
    await eventually(lambda: order == ["before"])
    own_server.process.send_signal(signal.SIGKILL)
    own_server.process.wait()
    await eventually(lambda: not raw_client(made).is_connected)
    with pytest.raises(PublishError):
        await publish_durable(made, SUBJECT, entry("lost"), message_id="k2", timeout=1)
    again = start_nats(tmp_path / "nats", port=own_server.port, log_path=tmp_path / "nats.log")
    try:
        await eventually(lambda: raw_client(made).is_connected, timeout=20)
        balance = {
            "ts_event": datetime.now(UTC),
            "account_number": "A",
            "net_liq": None,
            "cash": "7",
            "buying_power": None,
        }

        await publish_durable(made, SUBJECT, entry("after"), message_id="k3")
        await publish_durable(made, subjects.fact_balance("A"), Balance.model_validate(balance), message_id="k4")
        await eventually(lambda: "after" in order, timeout=30)
        await eventually(lambda: state, timeout=30)
        # an acknowledgement the server had not synced is asked for again: handlers are idempotent
        assert list(dict.fromkeys(order)) == ["before", "after"]
        assert set(state) == {"7"}
        made._stopping_on_purpose = True  # type: ignore[attr-defined]
        await made.stop()
    finally:
        again.stop()
    await asyncio.sleep(0)


async def test_a_deleted_consumer_is_noticed(broker: NatsBroker) -> None:
    """The framework would wait for ever, and the connection looks well: both presets are asked about by name."""

    @broker.subscriber(**ordered(SUBJECT, subjects.AUDIT, "t-deleted"))
    async def on_entry(message: AuditEntry) -> None: ...

    @broker.subscriber(**latest(subjects.fact_balance(), subjects.STATE))
    async def on_state(message: Balance) -> None: ...

    await broker.start()
    assert await missing_consumers(broker) == []
    jetstream = raw_client(broker).jetstream()
    await jetstream.delete_consumer(subjects.AUDIT.name, "t-deleted")
    (state,) = await jetstream.consumers_info(subjects.STATE.name)
    await jetstream.delete_consumer(subjects.STATE.name, state.name)
    assert sorted(await missing_consumers(broker)) == sorted([SUBJECT, subjects.fact_balance()])


async def test_a_frozen_server_is_not_ready_though_it_looks_connected(own_server: Server) -> None:
    """Readiness asks for an answer; and a bus that is away is not a bus that lost its consumers."""
    made = make_broker(Settings(nats_url=own_server.url))
    await made.connect()
    try:
        own_server.process.send_signal(signal.SIGSTOP)
        await eventually(lambda: psutil.Process(own_server.process.pid).status() == psutil.STATUS_STOPPED)
        assert raw_client(made).is_connected
        (reason,) = await _reasons(Service(Settings(), broker=made))
        assert reason.startswith("nats: no answer")
        assert await missing_consumers(made) == []
    finally:
        own_server.process.send_signal(signal.SIGCONT)
        await eventually(lambda: raw_client(made).is_connected, timeout=20)
        made._stopping_on_purpose = True  # type: ignore[attr-defined]
        with contextlib.suppress(nats.errors.FlushTimeoutError):  # the thawed server may still be behind
            await made.stop()
        own_server.stop()


def test_a_preset_refuses_the_wrong_kind_of_stream() -> None:
    """State is never acknowledged, facts always are."""
    with pytest.raises(ValueError, match=r"latest\(\)"):
        ordered(subjects.GATE, subjects.STATE, "x")
    with pytest.raises(ValueError, match=r"ordered\(\)"):
        latest(subjects.fact_order(), subjects.ORDERS)
