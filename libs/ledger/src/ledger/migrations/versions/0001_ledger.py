"""The ledger: gate, intents, fills, positions, balances, leases, outbox, inbox, audit; roles and guards."""

from __future__ import annotations

from alembic import op

from schemas.account import GateMode
from schemas.orders import TERMINAL_STATES, TRANSITIONS

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TABLES = """
CREATE TABLE ledger.transition (from_state text, to_state text, PRIMARY KEY (from_state, to_state));
CREATE TABLE ledger.gate_mode (mode text PRIMARY KEY, severity int NOT NULL);
CREATE TABLE ledger.gate (
    scope text, scope_value text, mode text NOT NULL REFERENCES ledger.gate_mode, revision bigint NOT NULL,
    who text NOT NULL, why text NOT NULL, changed_at timestamptz NOT NULL, lock_anchor int NOT NULL DEFAULT 0,
    PRIMARY KEY (scope, scope_value));
CREATE TABLE ledger.gate_clock (id int PRIMARY KEY CHECK (id = 1), revision bigint NOT NULL);
CREATE TABLE ledger.armed (
    account_number text PRIMARY KEY, armed boolean NOT NULL, who text NOT NULL, why text NOT NULL,
    changed_at timestamptz NOT NULL, lock_anchor int NOT NULL DEFAULT 0);
CREATE TABLE ledger.intent (
    intent_id text PRIMARY KEY, account_number text NOT NULL, proposal_id text NOT NULL, strategy_id text NOT NULL,
    signal_id text NOT NULL, purpose text NOT NULL CHECK (purpose IN ('open', 'close')), source text NOT NULL,
    underlying_symbol text NOT NULL, spread_type text NOT NULL, legs jsonb NOT NULL,
    quantity int NOT NULL CHECK (quantity > 0), limit_price numeric(12,4) NOT NULL, worst_price numeric(12,4) NOT NULL,
    decision_mid numeric(12,4), tick_size numeric(12,4) NOT NULL, state text NOT NULL, previous_state text,
    version int NOT NULL, parent_intent_id text REFERENCES ledger.intent, root_intent_id text NOT NULL,
    walk_step int NOT NULL, external_identifier text UNIQUE, broker_order_id text, body_hash text, epoch bigint,
    reason_code text NOT NULL, reason text NOT NULL, rules jsonb NOT NULL, thesis text NOT NULL, candidate_id text,
    sector text NOT NULL, reserved_max_loss numeric(14,2), reserved_buying_power numeric(14,2),
    reserved_delta double precision, reserved_vega double precision, filled_quantity int NOT NULL,
    average_fill_price numeric(12,4), valid_until timestamptz NOT NULL, created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL, submitting_at timestamptz, root_submitted_at timestamptz, observed_at timestamptz,
    CHECK (state NOT IN ('submitting', 'unknown', 'quarantine') OR external_identifier IS NOT NULL),
    CHECK (filled_quantity BETWEEN 0 AND quantity),
    UNIQUE (account_number, strategy_id, signal_id, purpose, walk_step),
    UNIQUE (account_number, broker_order_id));
CREATE INDEX intent_open ON ledger.intent (account_number) WHERE state NOT IN ({terminal});
CREATE INDEX intent_created ON ledger.intent (created_at DESC);
CREATE TABLE ledger.fill (
    account_number text, broker_order_id text, occ_symbol text, fill_id text, intent_id text REFERENCES ledger.intent,
    underlying_symbol text NOT NULL, action text NOT NULL, quantity int NOT NULL CHECK (quantity > 0),
    signed_quantity int NOT NULL, fill_price numeric(12,4) NOT NULL CHECK (fill_price >= 0),
    filled_at timestamptz NOT NULL, booked_at timestamptz NOT NULL,
    PRIMARY KEY (account_number, broker_order_id, occ_symbol, fill_id));
CREATE INDEX fill_of_intent ON ledger.fill (intent_id);
CREATE TABLE ledger.position (
    account_number text, occ_symbol text, underlying_symbol text NOT NULL, signed_quantity int NOT NULL,
    average_open_price numeric(12,4) NOT NULL, PRIMARY KEY (account_number, occ_symbol));
CREATE TABLE ledger.frozen (
    account_number text, underlying_symbol text, reason text NOT NULL, since timestamptz NOT NULL,
    PRIMARY KEY (account_number, underlying_symbol));
CREATE TABLE ledger.balance (
    account_number text PRIMARY KEY, net_liq numeric(14,2), cash numeric(14,2), buying_power numeric(14,2),
    maintenance_requirement numeric(14,2), market_date date NOT NULL, start_of_day_net_liq numeric(14,2),
    high_water_mark numeric(14,2), at timestamptz NOT NULL);
CREATE TABLE ledger.exec_lease (
    account_number text PRIMARY KEY, holder text NOT NULL, epoch bigint NOT NULL, expires_at timestamptz NOT NULL,
    lock_anchor int NOT NULL DEFAULT 0);
CREATE TABLE ledger.outbox (
    id bigserial PRIMARY KEY, producer text NOT NULL, subject text NOT NULL, message_id text NOT NULL UNIQUE,
    headers jsonb NOT NULL, payload text NOT NULL, created_at timestamptz NOT NULL, published_at timestamptz);
CREATE INDEX outbox_due ON ledger.outbox (producer, id) WHERE published_at IS NULL;
CREATE TABLE ledger.inbox (
    consumer text, message_id text, at timestamptz NOT NULL, PRIMARY KEY (consumer, message_id));
CREATE TABLE ledger.audit (
    id bigserial PRIMARY KEY, at timestamptz NOT NULL, who text NOT NULL, action text NOT NULL, target text NOT NULL,
    detail jsonb NOT NULL, outcome text NOT NULL);
"""

_GUARDS = """
CREATE FUNCTION ledger.guard_intent() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.state NOT IN ('denied', 'approved') OR NEW.version <> 1 THEN
            RAISE EXCEPTION 'an intent begins as denied or approved, not %', NEW.state;
        END IF;
        IF NEW.parent_intent_id IS NULL AND current_user = 'tt_executor' THEN
            RAISE EXCEPTION 'only risk approves a new trade';
        END IF;
        RETURN NEW;
    END IF;
    IF NEW.state <> OLD.state AND NOT EXISTS (
        SELECT 1 FROM ledger.transition WHERE from_state = OLD.state AND to_state = NEW.state) THEN
        RAISE EXCEPTION 'illegal move of intent % from % to %', OLD.intent_id, OLD.state, NEW.state;
    END IF;
    IF NEW.version <> OLD.version + 1 THEN
        RAISE EXCEPTION 'intent % must move from version % to the next, not to %', OLD.intent_id, OLD.version,
            NEW.version;
    END IF;
    IF NEW.filled_quantity < OLD.filled_quantity THEN
        RAISE EXCEPTION 'fills of intent % cannot vanish', OLD.intent_id;
    END IF;
    IF OLD.external_identifier IS NOT NULL AND NEW.external_identifier IS DISTINCT FROM OLD.external_identifier THEN
        RAISE EXCEPTION 'the external identifier of intent % is fixed', OLD.intent_id;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guard_intent BEFORE INSERT OR UPDATE ON ledger.intent
    FOR EACH ROW EXECUTE FUNCTION ledger.guard_intent();
CREATE FUNCTION ledger.guard_gate() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    before int := (SELECT severity FROM ledger.gate_mode WHERE mode = OLD.mode);
    after int := (SELECT severity FROM ledger.gate_mode WHERE mode = NEW.mode);
BEGIN
    IF after < before AND current_user IN ('tt_risk', 'tt_executor') THEN
        RAISE EXCEPTION '% may stop trading but not resume it', current_user;
    END IF;
    IF NEW.revision <= OLD.revision THEN
        RAISE EXCEPTION 'the gate revision must rise';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guard_gate BEFORE UPDATE ON ledger.gate FOR EACH ROW EXECUTE FUNCTION ledger.guard_gate();
CREATE FUNCTION ledger.guard_lease() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.epoch < OLD.epoch THEN
        RAISE EXCEPTION 'the lease epoch of % cannot fall', OLD.account_number;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guard_lease BEFORE UPDATE ON ledger.exec_lease FOR EACH ROW EXECUTE FUNCTION ledger.guard_lease();
CREATE FUNCTION ledger.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION '% is insert-only', TG_TABLE_NAME; END $$;
CREATE TRIGGER fill_is_final BEFORE UPDATE OR DELETE ON ledger.fill FOR EACH ROW EXECUTE FUNCTION ledger.refuse();
CREATE TRIGGER audit_is_final BEFORE UPDATE OR DELETE ON ledger.audit FOR EACH ROW EXECUTE FUNCTION ledger.refuse();
CREATE TRIGGER intent_stays BEFORE DELETE ON ledger.intent FOR EACH ROW EXECUTE FUNCTION ledger.refuse();
CREATE TRIGGER gate_stays BEFORE DELETE ON ledger.gate FOR EACH ROW EXECUTE FUNCTION ledger.refuse();
"""

_ROLES = """
DO $$ DECLARE name text; BEGIN
    FOREACH name IN ARRAY ARRAY['tt_risk', 'tt_executor', 'tt_gateway'] LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', name);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;
        END;
        EXECUTE format('GRANT %I TO CURRENT_USER', name);
    END LOOP;
END $$;
GRANT USAGE ON SCHEMA ledger TO tt_risk, tt_executor, tt_gateway;
GRANT SELECT ON ALL TABLES IN SCHEMA ledger TO tt_risk, tt_executor, tt_gateway;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA ledger TO tt_risk, tt_executor, tt_gateway;
GRANT INSERT ON ledger.outbox, ledger.audit TO tt_risk, tt_executor, tt_gateway;
GRANT UPDATE (published_at) ON ledger.outbox TO tt_risk, tt_executor, tt_gateway;
GRANT INSERT, UPDATE ON ledger.gate TO tt_risk, tt_executor, tt_gateway;
GRANT UPDATE ON ledger.gate_clock TO tt_risk, tt_executor, tt_gateway;
GRANT INSERT, UPDATE ON ledger.armed TO tt_gateway;
GRANT UPDATE (lock_anchor) ON ledger.armed TO tt_executor, tt_risk;
GRANT INSERT, UPDATE ON ledger.intent TO tt_risk, tt_executor;
GRANT INSERT ON ledger.inbox TO tt_risk, tt_executor;
GRANT INSERT ON ledger.fill TO tt_executor;
GRANT INSERT, UPDATE ON ledger.position, ledger.balance, ledger.exec_lease TO tt_executor;
GRANT UPDATE (at) ON ledger.balance TO tt_risk;
GRANT INSERT, UPDATE, DELETE ON ledger.frozen TO tt_executor;
"""


def upgrade() -> None:
    terminal = ", ".join(f"'{state.value}'" for state in sorted(TERMINAL_STATES))
    for block in (_TABLES.replace("{terminal}", terminal), _GUARDS, _ROLES):
        for statement in _statements(block):
            op.execute(statement)
    moves = [(old.value, new.value) for old, targets in TRANSITIONS.items() for new in sorted(targets)]
    op.execute("INSERT INTO ledger.transition VALUES " + ", ".join(f"('{old}', '{new}')" for old, new in moves))
    modes = ", ".join(f"('{mode.value}', {mode.severity})" for mode in GateMode)
    op.execute(f"INSERT INTO ledger.gate_mode VALUES {modes}")
    op.execute("INSERT INTO ledger.gate_clock VALUES (1, 1)")
    op.execute("INSERT INTO ledger.gate VALUES ('all', '', 'run', 1, 'installation', 'nothing is armed yet', now(), 0)")


def _statements(block: str) -> list[str]:
    """Split at semicolons outside dollar quotes: the driver takes one statement at a time."""
    found, quoted, current = [], False, ""
    for line in block.strip().splitlines():
        quoted ^= line.count("$$") % 2 == 1
        current += line + "\n"
        if line.rstrip().endswith(";") and not quoted:
            found.append(current)
            current = ""
    return found
