"""The audit chain on a real PostgreSQL: linked at commit, verified from the outside, and broken by every tampering."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import make_engine, transaction
from ledger import audit, audit_chain
from ledger.audit_chain import Anchor, Verification
from testkit.journal import Journal, journal

SCALE = int(os.environ.get("TT_TEST_SCALE", "1"))
KEY = b"kept outside the database"


@pytest.fixture
async def ledger(database_url: str) -> AsyncIterator[Journal]:
    async with journal(database_url) as made:
        yield made


async def write(ledger: Journal, number: int, role: str = "tt_gateway") -> None:
    async with transaction(ledger.engines[role]) as session:
        detail = {"value": f"{number} €", "why": 'a "reason"\n\\', "Ärger": "", "a": str(number)}
        audit.record(session, "gateway", "ann", "set limit", target=f"limit {number}", detail=detail)


async def verified(ledger: Journal, anchors: list[Anchor] | None = None) -> Verification:
    async with transaction(ledger.engines["tt_gateway"]) as session:
        return await audit_chain.verify(session, anchors or [])


async def test_rows_written_at_once_form_one_chain(ledger: Journal) -> None:
    """I18: every committed row has its link, reckoned here as the database reckoned it."""
    await asyncio.gather(*(write(ledger, number, ("tt_risk", "tt_gateway")[number % 2]) for number in range(24)))
    found = await verified(ledger)
    assert found.sound, found.problems
    assert (found.rows, found.head.seq) == (24, 24)


async def test_what_was_rolled_back_leaves_no_gap(ledger: Journal) -> None:
    await write(ledger, 1)
    async with ledger.engines["tt_gateway"].connect() as connection, AsyncSession(connection) as session:
        audit.record(session, "gateway", "ann", "nothing")
        await session.flush()
        await session.rollback()
    await write(ledger, 2)
    assert (await verified(ledger)).rows == 2
    assert (await verified(ledger)).sound


TAMPERED = {
    "UPDATE ledger.audit SET who = 'bob' WHERE id = {third}": "audit row {third} of link 3 is not what was written",
    "UPDATE ledger.audit SET detail = detail || '{{\"value\": \"1\"}}' WHERE id = {third}": "link 3 is not what was",
    "UPDATE ledger.audit SET at = at + interval '1 microsecond' WHERE id = {third}": "link 3 is not what was written",
    "DELETE FROM ledger.audit_chain WHERE seq = 3": "link 3 is missing",
    "DELETE FROM ledger.audit_chain WHERE seq = 6": "the head says 6 links, the chain has 5",
    "UPDATE ledger.audit_head SET seq = 5": "the head says 5 links, the chain has 6",
    "UPDATE ledger.audit_chain SET audit_id = -audit_id WHERE seq = 3": "audit row -{third} of link 3 is gone",
    "INSERT INTO ledger.audit SELECT id + 1000, at, who, action, target, detail, outcome FROM ledger.audit LIMIT 1":
        "is not in the chain",
}  # fmt: skip


@pytest.mark.parametrize("statement", TAMPERED)
async def test_every_tampering_is_found_and_named(ledger: Journal, statement: str) -> None:
    """Done as the owner with every trigger off, which is more than any service can do."""
    for number in range(6):
        await write(ledger, number)
    async with ledger.owner.begin() as connection:
        third = (await connection.execute(text("SELECT audit_id FROM ledger.audit_chain WHERE seq = 3"))).scalar_one()
        await connection.execute(text("SET LOCAL session_replication_role = replica"))
        await connection.exec_driver_sql(statement.format(third=third))
    found = await verified(ledger)
    assert not found.sound
    assert any(TAMPERED[statement].format(third=third) in problem for problem in found.problems), found.problems


async def test_a_chain_that_was_rewritten_as_a_whole_disagrees_with_its_anchor(ledger: Journal, tmp_path: Path) -> None:
    """Who owns the database can forge a sound chain, but not the head that was kept elsewhere."""
    anchors = tmp_path / "kept" / "anchors.jsonl"
    for number in range(3):
        await write(ledger, number)
        async with transaction(ledger.engines["tt_gateway"]) as session:
            await audit_chain.write_anchor(session, anchors, KEY)
    kept = audit_chain.read_anchors(anchors, KEY)
    assert (await verified(ledger, kept)).sound
    async with ledger.owner.begin() as connection:
        for table in ("audit", "audit_chain"):
            await connection.execute(text(f"ALTER TABLE ledger.{table} DISABLE TRIGGER USER"))
        await connection.execute(text("DELETE FROM ledger.audit_chain"))
        await connection.execute(text("DELETE FROM ledger.audit WHERE target = 'limit 2'"))
        await connection.execute(text("UPDATE ledger.audit SET who = 'nobody'"))
        await connection.execute(text(REWRITE))
    assert (await verified(ledger)).sound
    assert [problem.split(" anchored")[0] for problem in (await verified(ledger, kept)).problems] == [
        "link 1 is not the one", "link 2 is not the one", "link 3 was",
    ]  # fmt: skip


REWRITE = """
DO $$ DECLARE each ledger.audit; head bytea := decode(repeat('00', 32), 'hex'); number bigint := 0; BEGIN
    FOR each IN SELECT * FROM ledger.audit ORDER BY id LOOP
        number := number + 1;
        head := sha256(head || ledger.audit_canonical(each));
        INSERT INTO ledger.audit_chain VALUES (number, each.id, head);
    END LOOP;
    UPDATE ledger.audit_head SET seq = number, hash = head;
END $$"""


async def test_an_anchor_that_was_changed_is_refused(ledger: Journal, tmp_path: Path) -> None:
    anchors = tmp_path / "anchors.jsonl"
    async with transaction(ledger.engines["tt_gateway"]) as session:
        await audit_chain.write_anchor(session, anchors, KEY)
    anchors.write_text(anchors.read_text().replace('"seq": 0', '"seq": 1'))
    with pytest.raises(ValueError, match="line 1 of the anchors was not written with this key"):
        audit_chain.read_anchors(anchors, KEY)
    anchors.write_text("not JSON\n")
    with pytest.raises(ValueError, match="line 1 of the anchors cannot be read"):
        audit_chain.read_anchors(anchors, KEY)
    assert audit_chain.read_anchors(tmp_path / "none", KEY) == []


async def test_a_long_chain_is_verified_in_a_stream(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The rate is printed: a million rows take less than a minute."""
    import time

    rows = 5_000 * SCALE
    async with journal(database_url) as ledger:
        async with ledger.owner.begin() as connection:
            await connection.execute(text("ALTER TABLE ledger.audit DISABLE TRIGGER chain_audit"))
            await connection.execute(
                text(
                    "INSERT INTO ledger.audit (at, who, action, target, detail, outcome) SELECT now(), 'ann', 'stop', "
                    "'account ' || n, jsonb_build_object('why', 'row ' || n, 'value', n::text), 'ok' "
                    "FROM generate_series(1, :rows) n"
                ),
                {"rows": rows},
            )
        patient = make_engine(database_url)
        async with patient.begin() as connection:
            await connection.execute(text("SET LOCAL statement_timeout = 0"))
            await connection.execute(text(REWRITE))
        await patient.dispose()
        began = time.process_time()
        found = await verified(ledger)
        seconds = time.process_time() - began
    assert found.sound, found.problems
    assert found.rows == rows
    with capsys.disabled():
        print(f"\n    {rows:,} audit rows verified in {seconds:.2f} CPU-s: {seconds / rows * 1e6:.1f} s a million")  # noqa: T201
    assert seconds / rows * 1e6 < 60
