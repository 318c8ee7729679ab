"""A data folder of the first release goes on: its rows become part of everything that was added since."""

from __future__ import annotations

import asyncio

import asyncpg

from chassis.database import make_engine, transaction
from ledger import audit_chain, gate, intents, limits, migrations
from schemas.orders import TRANSITIONS, IntentState
from testkit.journal import ACCOUNT, LONG, SHORT

OLD_ROWS = f"""
INSERT INTO ledger.intent VALUES (
    'old', '{ACCOUNT}', 'p', 'default', 's', 'open', 'scanner', 'SPY', 'put_credit_spread',
    '[{{"occ_symbol": "{SHORT}", "action": "Sell to Open", "quantity": 1}},
      {{"occ_symbol": "{LONG}", "action": "Buy to Open", "quantity": 1}}]', 1, 1.25, 1.10, NULL, 0.01, 'approved', NULL,
    1, NULL, 'old', 0, NULL, NULL, NULL, NULL, '', '', '[]', '', NULL, 'Unknown', 375, 375, NULL, NULL, 0, NULL,
    now(), now(), now(), NULL, NULL, NULL);
UPDATE ledger.intent SET state = 'submitting', version = 2, external_identifier = 'tt-old', body_hash = 'hash',
    epoch = 1, submitting_at = now();
UPDATE ledger.intent SET state = 'filled', version = 3, broker_order_id = '17', filled_quantity = 1;
INSERT INTO ledger.fill VALUES
    ('{ACCOUNT}', '17', '{SHORT}', 'f1', 'old', 'SPY', 'Sell to Open', 1, -1, 1.3, now(), now());
INSERT INTO ledger.audit (at, who, action, target, detail, outcome) VALUES
    (now(), 'ann', 'stop', 'all', '{{"why": "é \\"quoted\\""}}', 'ok'), (now(), 'bob', 'resume', 'all', '{{}}', 'ok');
UPDATE ledger.gate_clock SET revision = 2;
UPDATE ledger.gate SET mode = 'reduce_only', revision = 2;
"""


async def test_an_existing_ledger_migrates_with_its_rows(database_url: str) -> None:
    """Permit, chain and limits are made from what is there; stop and order stay; a second run changes nothing."""
    await asyncio.to_thread(migrations.upgrade, database_url, revision="0001")
    connection = await asyncpg.connect(database_url)
    await connection.execute(OLD_ROWS)
    for _ in range(2):
        await asyncio.to_thread(migrations.upgrade, database_url)
    permits = await connection.fetch("SELECT intent_id, epoch, body_hash FROM ledger.permit")
    moves = await connection.fetch("SELECT from_state, to_state FROM ledger.transition")
    await connection.close()
    engine = make_engine(database_url, role="tt_risk")
    async with transaction(engine) as session:
        found = await audit_chain.verify(session)
        state = await gate.read(session)
        old = await intents.get(session, "old")
        in_force = await limits.current(session, ACCOUNT)
    await engine.dispose()
    assert [tuple(row) for row in permits] == [("old", 1, "hash")]
    assert {tuple(row) for row in moves} == {(old, new) for old, targets in TRANSITIONS.items() for new in targets}
    assert (found.sound, found.rows) == (True, 2), found.problems
    assert [row.mode for row in state.rows] == ["reduce_only"]
    assert old.state == IntentState.FILLED
    assert dict(in_force.values) == dict(limits.DEFAULTS.values)
