"""What the broker showed of each order, kept as a set; fills that take back another; newer words of the broker."""

from __future__ import annotations

from ledger.migrations.statements import run, write_transitions

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_SCHEMA = """
CREATE TABLE ledger.observation (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, intent_id text NOT NULL REFERENCES ledger.intent,
    source text NOT NULL CHECK (source IN ('journal', 'reply', 'stream', 'rest', 'transactions')),
    state text NOT NULL, updated_at timestamptz, seen_at timestamptz NOT NULL,
    applied boolean NOT NULL DEFAULT false, booked_at timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE UNIQUE INDEX observation_once ON ledger.observation
    (intent_id, source, state, (COALESCE(updated_at, 'epoch'::timestamptz)));
ALTER TABLE ledger.fill ADD COLUMN corrects text;
CREATE UNIQUE INDEX fill_taken_back_once ON ledger.fill (account_number, broker_order_id, occ_symbol, corrects)
    WHERE corrects IS NOT NULL;
CREATE INDEX fill_of_symbol ON ledger.fill (account_number, occ_symbol);
CREATE FUNCTION ledger.guard_observation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.intent_id, NEW.source, NEW.state, NEW.updated_at) IS DISTINCT FROM
       (OLD.intent_id, OLD.source, OLD.state, OLD.updated_at) OR NEW.seen_at < OLD.seen_at THEN
        RAISE EXCEPTION 'what was observed is fixed';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guard_observation BEFORE UPDATE ON ledger.observation
    FOR EACH ROW EXECUTE FUNCTION ledger.guard_observation();
CREATE TRIGGER observation_stays BEFORE DELETE ON ledger.observation
    FOR EACH ROW EXECUTE FUNCTION ledger.refuse();
GRANT SELECT ON ledger.observation TO tt_risk, tt_executor, tt_gateway;
GRANT INSERT, UPDATE (seen_at, applied) ON ledger.observation TO tt_executor;
"""


def upgrade() -> None:
    run(_SCHEMA)
    write_transitions()
