"""The outbox with real PostgreSQL and NATS: order, duplicates, two relays, retention, backlog."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime

import nats
import pytest
from nats.js import JetStreamContext
from nats.js.api import StreamConfig
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from chassis.database import transaction
from ledger import inbox, outbox
from ledger.outbox import Relay
from schemas.account import AuditEntry
from testkit import eventually
from testkit.journal import Journal, journal

STREAM, SUBJECT = "OUTBOX_TEST", "outbox-test"


@pytest.fixture
async def ledger(database_url: str) -> AsyncIterator[Journal]:
    async with journal(database_url) as made:
        yield made


@pytest.fixture
async def stream(nats_url: str) -> AsyncIterator[JetStreamContext]:
    """A stream that forgets message ids at once, so that a duplicate gets through to its reader."""
    client = await nats.connect(nats_url)
    context = client.jetstream()
    await context.add_stream(StreamConfig(name=STREAM, subjects=[f"{SUBJECT}.>"], duplicate_window=0.1))
    yield context
    await context.delete_stream(STREAM)
    await client.close()


async def promise(ledger: Journal, aggregate: str, version: int) -> None:
    """One version of an aggregate, in a transaction of its own, under the aggregate's lock."""
    async with transaction(ledger.engines["tt_risk"]) as session:
        await session.execute(text("SELECT pg_advisory_xact_lock(hashtext(:key))"), {"key": aggregate})
        entry = AuditEntry(ts_event=datetime.now(UTC), who="ann", action=f"{version}")
        outbox.enqueue(session, "risk", f"{SUBJECT}.{aggregate}", entry, message_id=f"{aggregate}-{version}")


def relay(ledger: Journal, publish: outbox.Publish) -> Relay:
    return Relay(ledger.engines["tt_risk"], "risk", publish, lambda error: None)


async def test_two_relays_of_one_producer_neither_reorder_nor_repeat(ledger: Journal) -> None:
    """They run at once, against writers, and every aggregate's versions arrive in order, each once."""
    sent: list[str] = []

    async def publish(subject: str, data: bytes, *, message_id: str, headers: Mapping[str, str]) -> None:
        await asyncio.sleep(0)  # lets the other relay in
        sent.append(message_id)

    async def write(aggregate: str) -> None:
        for version in range(1, 11):
            await promise(ledger, aggregate, version)

    async def follow(own: Relay) -> None:
        while len(sent) < 80:
            await own.flush()

    one, other = relay(ledger, publish), relay(ledger, publish)
    writers = [write(f"a{number}") for number in range(8)]
    await asyncio.wait_for(asyncio.gather(follow(one), follow(other), *writers), 60)
    assert len(sent) == len(set(sent)) == 80
    for number in range(8):
        own = [message for message in sent if message.startswith(f"a{number}-")]
        assert own == [f"a{number}-{version}" for version in range(1, 11)]
    assert one.published + other.published == 80


async def test_a_relay_waits_while_another_holds_the_producer(ledger: Journal) -> None:
    await promise(ledger, "a", 1)
    entered, leave = asyncio.Event(), asyncio.Event()

    async def slow(subject: str, data: bytes, *, message_id: str, headers: Mapping[str, str]) -> None:
        entered.set()
        await leave.wait()

    async def never(subject: str, data: bytes, *, message_id: str, headers: Mapping[str, str]) -> None:
        raise AssertionError("published beside the other relay")

    first = asyncio.create_task(relay(ledger, slow).flush())
    await entered.wait()
    assert await relay(ledger, never).flush() == 0
    leave.set()
    assert await first == 1
    assert await relay(ledger, never).flush() == 0


async def test_a_crash_between_publish_and_mark_sends_the_same_id_again_and_the_inbox_drops_it(
    ledger: Journal, stream: JetStreamContext
) -> None:
    """I13: at least once on the wire, once in effect."""

    async def dies(subject: str, data: bytes, *, message_id: str, headers: Mapping[str, str]) -> None:
        await stream.publish(subject, data, headers={"Nats-Msg-Id": message_id})
        raise OSError("the process is gone before it could mark the row")

    async def lives(subject: str, data: bytes, *, message_id: str, headers: Mapping[str, str]) -> object:
        return await stream.publish(subject, data, headers={"Nats-Msg-Id": message_id})

    await promise(ledger, "a", 1)
    await promise(ledger, "a", 2)
    with pytest.raises(OSError, match="gone before"):
        await relay(ledger, dies).flush()

    async def ids_are_forgotten() -> bool:
        """The server takes an id again that it has seen: what came before it is forgotten too."""
        answer = await stream.publish(f"{SUBJECT}.probe", b"", headers={"Nats-Msg-Id": "probe"})
        return not answer.duplicate

    assert await ids_are_forgotten()
    await eventually(ids_are_forgotten)
    await relay(ledger, lives).flush()
    reader = await stream.pull_subscribe(f"{SUBJECT}.a", stream=STREAM)
    taken, effects = [], []
    for message in await reader.fetch(3, timeout=5):
        identity = (message.headers or {})["Nats-Msg-Id"]
        taken.append(identity)
        async with transaction(ledger.engines["tt_risk"]) as session:
            if await inbox.first_time(session, "risk", identity):
                effects.append(identity)
        await message.ack()
    assert taken == ["a-1", "a-1", "a-2"]
    assert effects == ["a-1", "a-2"]


async def test_the_backlog_is_counted_and_aged(ledger: Journal) -> None:
    async def publish(subject: str, data: bytes, *, message_id: str, headers: Mapping[str, str]) -> None:
        return None

    await promise(ledger, "a", 1)
    await promise(ledger, "a", 2)
    async with transaction(ledger.engines["tt_risk"]) as session:
        behind = await outbox.backlog(session, "risk")
    assert behind.messages == 2
    assert 0 < behind.age_seconds < 60
    await relay(ledger, publish).flush()
    async with transaction(ledger.engines["tt_risk"]) as session:
        assert await outbox.backlog(session, "risk") == outbox.Backlog(0, 0.0)


async def test_only_what_is_old_is_forgotten(ledger: Journal) -> None:
    """What was not published never, what was published or taken after its days; the database refuses anything else."""

    async def publish(subject: str, data: bytes, *, message_id: str, headers: Mapping[str, str]) -> None:
        return None

    for version in (1, 2):
        await promise(ledger, "a", version)
    await relay(ledger, publish).flush()
    await promise(ledger, "a", 3)
    async with transaction(ledger.engines["tt_risk"]) as session:
        for identity in ("m1", "m2"):
            await inbox.first_time(session, "risk", identity)
    async with ledger.owner.begin() as connection:
        await connection.execute(text("ALTER TABLE ledger.outbox DISABLE TRIGGER guard_outbox"))
        for statement in (
            "UPDATE ledger.outbox SET published_at = now() - interval '41 days' WHERE message_id = 'a-1'",
            "UPDATE ledger.inbox SET at = now() - interval '36 days' WHERE message_id = 'm1'",
        ):
            await connection.execute(text(statement))
    async with transaction(ledger.engines["tt_risk"]) as session:
        assert (await outbox.forget(session, "risk"), await inbox.forget(session, "risk")) == (1, 1)
        assert (await outbox.forget(session, "risk"), await inbox.forget(session, "risk")) == (0, 0)
    for statement, words in (("DELETE FROM ledger.outbox", "kept for"), ("DELETE FROM ledger.inbox", "remembered for")):
        with pytest.raises(DBAPIError, match=words):
            async with transaction(ledger.engines["tt_risk"]) as session:
                await session.execute(text(statement))
