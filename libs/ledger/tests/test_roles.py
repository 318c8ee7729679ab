"""What each role may do to each table; everything else is refused: every role, table and operation is tried."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from chassis.database import transaction
from ledger import gate, intents
from ledger.intents import Permit
from schemas.account import GateMode, KillScope
from testkit.journal import ACCOUNT, Journal, approved, journal

RISK, EXECUTOR, GATEWAY = "tt_risk", "tt_executor", "tt_gateway"
ALLOWED: dict[str, dict[str, set[str]]] = {
    "account_risk": {RISK: {"INSERT", "UPDATE"}, EXECUTOR: {"INSERT", "UPDATE"}},
    "armed": {RISK: {"UPDATE"}, EXECUTOR: {"UPDATE"}, GATEWAY: {"INSERT", "UPDATE"}},
    "audit": {RISK: {"INSERT"}, EXECUTOR: {"INSERT"}, GATEWAY: {"INSERT"}},
    "balance": {RISK: {"UPDATE"}, EXECUTOR: {"INSERT", "UPDATE"}},
    "exec_lease": {EXECUTOR: {"INSERT", "UPDATE"}},
    "fill": {EXECUTOR: {"INSERT"}},
    "frozen": {EXECUTOR: {"INSERT", "UPDATE", "DELETE"}},
    "gate": {RISK: {"INSERT", "UPDATE"}, EXECUTOR: {"INSERT", "UPDATE"}, GATEWAY: {"INSERT", "UPDATE"}},
    "gate_clock": {RISK: {"UPDATE"}, EXECUTOR: {"UPDATE"}, GATEWAY: {"UPDATE"}},
    "inbox": {role: {"INSERT", "DELETE"} for role in (RISK, EXECUTOR, GATEWAY)},
    "intent": {RISK: {"INSERT"}, EXECUTOR: {"INSERT", "UPDATE"}},
    "limit_request": {GATEWAY: {"INSERT", "UPDATE"}},
    "limit_value": {GATEWAY: {"INSERT"}},
    "observation": {EXECUTOR: {"INSERT", "UPDATE"}},
    "outbox": {role: {"INSERT", "UPDATE", "DELETE"} for role in (RISK, EXECUTOR, GATEWAY)},
    "position": {EXECUTOR: {"INSERT", "UPDATE"}},
}
"""Table → role → what it may try; a trigger may still refuse the row. Everything else is denied, TRUNCATE always."""
ONLY_COLUMNS = {
    ("account_risk", RISK): {"lock_anchor", "net_liq", "held_max_loss", "buying_power_used", "buying_power_free",
                             "max_loss_of", "structures", "held_at"},
    ("account_risk", EXECUTOR): {"lock_anchor", "tokens", "tokens_at"},
    ("armed", RISK): {"lock_anchor"},
    ("armed", EXECUTOR): {"lock_anchor"},
    ("balance", RISK): {"at"},
    **{("gate", role): {"mode", "revision", "who", "why", "changed_at", "lock_anchor"}
       for role in (RISK, EXECUTOR, GATEWAY)},
    ("limit_request", GATEWAY): {"confirmed_by", "confirmed_at"},
    ("observation", EXECUTOR): {"seen_at", "applied"},
    ("outbox", RISK): {"published_at"},
    ("outbox", EXECUTOR): {"published_at"},
    ("outbox", GATEWAY): {"published_at"},
}  # fmt: skip
"""Where an UPDATE is granted for some columns: these, and no other."""
OPERATIONS = ("INSERT", "UPDATE", "DELETE", "TRUNCATE")


@pytest.fixture
async def ledger(database_url: str) -> AsyncIterator[Journal]:
    async with journal(database_url) as made:
        yield made


async def columns(ledger: Journal) -> dict[str, list[str]]:
    statement = (
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'ledger' "
        "AND table_name <> 'alembic_version' AND is_identity = 'NO' ORDER BY table_name, ordinal_position"
    )
    found: dict[str, list[str]] = {}
    async with ledger.owner.connect() as connection:
        for row in (await connection.execute(text(statement))).all():
            found.setdefault(row.table_name, []).append(row.column_name)
    return found


async def answer(ledger: Journal, role: str, statement: str) -> str:
    """What the database says to a statement; "" when it takes it. Nothing is kept."""
    try:
        async with ledger.engines[role].connect() as connection:
            await connection.execute(text(statement))
            await connection.rollback()
    except DBAPIError as error:
        return str(error.orig)
    return ""


def attempt(table: str, operation: str, column: str) -> str:
    return {
        "INSERT": f"INSERT INTO ledger.{table} ({column}) SELECT {column} FROM ledger.{table} WHERE false",
        "UPDATE": f"UPDATE ledger.{table} SET {column} = {column} WHERE false",
        "DELETE": f"DELETE FROM ledger.{table} WHERE false",
        "TRUNCATE": f"TRUNCATE ledger.{table} CASCADE",
    }[operation]


@pytest.mark.parametrize("role", [RISK, EXECUTOR, GATEWAY])
async def test_each_role_does_what_it_must_and_nothing_else(ledger: Journal, role: str) -> None:
    """I16: the matrix role × table × operation, each one attempted; a new table is denied until it is listed here."""
    wrong, tables = [], await columns(ledger)
    assert ALLOWED.keys() <= tables.keys()
    for table, names in tables.items():
        may = ALLOWED.get(table, {}).get(role, set())
        for operation in OPERATIONS:
            some = sorted(ONLY_COLUMNS.get((table, role), set()) & set(names))
            column = some[0] if operation == "UPDATE" and some else names[0]
            refused = "permission denied" in await answer(ledger, role, attempt(table, operation, column))
            if refused is (operation in may):
                wrong.append(f"{role} {operation} {table}: {'refused' if refused else 'taken'}")
        for column in set(names) - ONLY_COLUMNS.get((table, role), set(names)):
            taken = "permission denied" not in await answer(ledger, role, attempt(table, "UPDATE", column))
            wrong += [f"{role} UPDATE {table}.{column}: taken"] * taken
    assert not wrong


FORBIDDEN: list[tuple[str, str, str]] = [
    (EXECUTOR, "INSERT INTO ledger.intent SELECT (jsonb_populate_record(i, '{\"intent_id\": \"x\"}')).* "
               "FROM ledger.intent i LIMIT 1", "only risk approves|begins as denied or approved"),
    (EXECUTOR, "UPDATE ledger.intent SET quantity = 99, version = version + 1", "what intent .* orders is fixed"),
    (EXECUTOR, "UPDATE ledger.intent SET legs = '[]', version = version + 1", "orders is fixed"),
    (EXECUTOR, "UPDATE ledger.intent SET reserved_max_loss = 0, version = version + 1", "orders is fixed"),
    (EXECUTOR, "UPDATE ledger.intent SET valid_until = valid_until + interval '1 day', version = version + 1", "fixed"),
    (EXECUTOR, "UPDATE ledger.intent SET body_hash = 'other', version = version + 1", "permit of intent .* is fixed"),
    (EXECUTOR, "UPDATE ledger.intent SET limit_price = 0.05, version = version + 1", "permit of intent .* is fixed"),
    (EXECUTOR, "UPDATE ledger.intent SET state = 'approved', version = version + 1", "illegal move"),
    (EXECUTOR, "UPDATE ledger.intent SET state = 'dead', version = version + 1", "illegal move"),
    (EXECUTOR, "UPDATE ledger.intent SET version = version", "must move from version"),
    (EXECUTOR, "UPDATE ledger.intent SET version = version + 2", "must move from version"),
    (EXECUTOR, "UPDATE ledger.intent SET filled_quantity = 2, version = version + 1", "check constraint"),
    (EXECUTOR, "UPDATE ledger.intent SET external_identifier = 'tt-x', version = version + 1", "is fixed"),
    (EXECUTOR, "UPDATE ledger.exec_lease SET epoch = 0", "cannot fall"),
    (EXECUTOR, "UPDATE ledger.gate SET mode = 'run', revision = revision + 9", "may stop trading but not resume"),
    (RISK, "UPDATE ledger.gate SET mode = 'halt_opens', revision = revision + 9", "may stop trading but not resume"),
    (GATEWAY, "UPDATE ledger.gate SET mode = 'run', revision = revision + 9; ", "resume without its audit row"),
    (GATEWAY, "UPDATE ledger.gate SET mode = 'cancel_working', revision = revision", "revision must rise"),
    (GATEWAY, "UPDATE ledger.gate_clock SET revision = 0", "revision must rise"),
    (EXECUTOR, "UPDATE ledger.outbox SET published_at = NULL", "marked once"),
    (RISK, "DELETE FROM ledger.outbox", "is kept for 40 days"),
    ("owner", "UPDATE ledger.fill SET quantity = 9", "insert-only"),
    ("owner", "DELETE FROM ledger.fill", "insert-only"),
    ("owner", "DELETE FROM ledger.intent", "insert-only"),
    ("owner", "DELETE FROM ledger.permit", "insert-only"),
    ("owner", "UPDATE ledger.permit SET epoch = 9", "insert-only"),
    ("owner", "DELETE FROM ledger.gate", "insert-only"),
    ("owner", "DELETE FROM ledger.exec_lease", "insert-only"),
    ("owner", "UPDATE ledger.audit SET who = 'nobody'", "insert-only"),
]  # fmt: skip


async def test_the_guards_refuse_each_illegal_change(ledger: Journal) -> None:
    """On rows that exist: an intent that was permitted, a fill, a lease, a shut gate, an audit row."""
    await ledger.arm()
    await ledger.hold_lease()
    identity = await ledger.approve(quantity=1)
    assert isinstance(await ledger.claim(identity), Permit)
    async with ledger.owner.begin() as connection:
        await connection.execute(
            text(
                "INSERT INTO ledger.fill (account_number, broker_order_id, occ_symbol, fill_id, underlying_symbol, "
                "action, quantity, signed_quantity, fill_price, filled_at, booked_at) "
                "VALUES ('a', '1', 's', 'f', 'SPY', 'Buy to Open', 1, 1, 1, now(), now())"
            )
        )
    await ledger.stop(GateMode.REDUCE_ONLY)
    for role, statement, words in FORBIDDEN:
        with pytest.raises(DBAPIError, match=words):
            async with transaction(ledger.engines[role]) as session:
                await session.execute(text(statement.rstrip("; ")))


async def test_a_permit_cannot_be_had_around_the_claim(ledger: Journal) -> None:
    """The trigger knows gate and lease itself: an UPDATE that forgets them is refused."""
    await ledger.hold_lease()
    identity = await ledger.approve(purpose="open")
    statement = text(
        "UPDATE ledger.intent SET state = 'submitting', version = 2, external_identifier = 'tt-' || intent_id, "
        "body_hash = 'hash', epoch = :epoch, submitting_at = clock_timestamp() WHERE intent_id = :intent"
    )
    for epoch, words in ((ledger.epoch - 1, "while the lease is at"), (ledger.epoch, "the gate is shut")):
        if epoch == ledger.epoch:
            await ledger.stop(GateMode.HALT_OPENS)
        with pytest.raises(DBAPIError, match=words):
            async with transaction(ledger.engines[EXECUTOR]) as session:
                await session.execute(statement, {"epoch": epoch, "intent": identity})


async def test_a_second_permit_is_impossible_even_without_any_guard(ledger: Journal) -> None:
    """The primary key holds when the triggers of the intent are switched off."""
    await ledger.arm()
    await ledger.hold_lease()
    identity = await ledger.approve()
    assert isinstance(await ledger.claim(identity), Permit)
    async with ledger.owner.begin() as connection:
        for trigger in ("guard_intent", "guard_content"):
            await connection.execute(text(f"ALTER TABLE ledger.intent DISABLE TRIGGER {trigger}"))
        await connection.execute(text("UPDATE ledger.intent SET state = 'approved'"))
    with pytest.raises(DBAPIError, match="permit_pkey"):
        async with ledger.owner.begin() as connection:
            await connection.execute(text("UPDATE ledger.intent SET state = 'submitting'"))


@pytest.mark.parametrize(
    "forged", [{"quantity": 9}, {"worst_price": Decimal("0.01")}, {"purpose": "close"}, {"walk_step": 5}]
)
async def test_a_price_step_cannot_become_another_trade(ledger: Journal, forged: dict[str, object]) -> None:
    """The executor inserts steps only, and a step is its parent at another price."""
    await ledger.arm()
    await ledger.hold_lease()
    parent_id = await ledger.approve(quantity=2)
    assert isinstance(await ledger.claim(parent_id), Permit)
    async with transaction(ledger.engines[EXECUTOR]) as session:
        parent = await intents.get(session, parent_id)
    same = {
        "parent_intent_id": parent_id, "root_intent_id": parent_id, "walk_step": 1, "signal_id": parent.signal_id,
        "proposal_id": parent.proposal_id, "quantity": 2, "valid_until": datetime.now(UTC) + timedelta(seconds=9),
    }  # fmt: skip
    with pytest.raises(DBAPIError, match="its parent at another price"):
        async with transaction(ledger.engines[EXECUTOR]) as session:
            await intents.propose(session, approved(**{**same, **forged}), "executor")
    async with transaction(ledger.engines[EXECUTOR]) as session:
        await intents.propose(session, approved(**same), "executor")


async def test_a_resume_with_its_audit_row_passes(ledger: Journal) -> None:
    """I17, through the one function that does it."""
    await ledger.stop()
    await ledger.resume()
    async with transaction(ledger.engines[GATEWAY]) as session:
        state = await gate.read(session)
    assert state.mode_for(ACCOUNT, "s", "SPY") is GateMode.RUN
    assert [row.scope for row in state.rows] == [KillScope.ALL]
