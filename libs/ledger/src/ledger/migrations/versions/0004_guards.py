"""The database refuses what no code may do: second permits, forged steps, silent resumes, writes of another's rows."""

from __future__ import annotations

from alembic import op

from ledger.limits import SPECS
from ledger.migrations.statements import quoted, run

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_PERMITS = """
CREATE TABLE ledger.permit (
    intent_id text PRIMARY KEY REFERENCES ledger.intent, account_number text NOT NULL, epoch bigint NOT NULL,
    body_hash text NOT NULL, permitted_at timestamptz NOT NULL);
INSERT INTO ledger.permit
    SELECT intent_id, account_number, coalesce(epoch, 0), coalesce(body_hash, ''), submitting_at FROM ledger.intent
    WHERE submitting_at IS NOT NULL;
CREATE TRIGGER permit_is_final BEFORE UPDATE OR DELETE ON ledger.permit
    FOR EACH ROW EXECUTE FUNCTION ledger.refuse();
CREATE FUNCTION ledger.issue_permit() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog AS $$
DECLARE
    held ledger.exec_lease;
    strictest int;
BEGIN
    IF NEW.body_hash IS NULL OR NEW.submitting_at IS NULL OR NEW.external_identifier IS NULL THEN
        RAISE EXCEPTION 'a permit of intent % names no request', NEW.intent_id;
    END IF;
    SELECT * INTO held FROM ledger.exec_lease WHERE account_number = NEW.account_number;
    IF held.epoch IS DISTINCT FROM NEW.epoch THEN
        RAISE EXCEPTION 'a permit of epoch % was asked for while the lease is at %', NEW.epoch, held.epoch;
    END IF;
    SELECT max(m.severity) INTO strictest FROM ledger.gate g JOIN ledger.gate_mode m USING (mode)
        WHERE (g.scope, g.scope_value) IN (('all', ''), ('account', NEW.account_number),
            ('strategy', NEW.strategy_id), ('underlying', NEW.underlying_symbol))
          AND NOT (NEW.purpose = 'close' AND g.mode <> 'cancel_working');
    IF NOT EXISTS (SELECT 1 FROM ledger.gate WHERE scope = 'all') OR coalesce(strictest, 0) > 0 THEN
        RAISE EXCEPTION 'no permit for intent %: the gate is shut', NEW.intent_id;
    END IF;
    INSERT INTO ledger.permit VALUES (NEW.intent_id, NEW.account_number, NEW.epoch, NEW.body_hash, NEW.submitting_at);
    RETURN NULL;
END $$;
CREATE TRIGGER issue_permit AFTER UPDATE ON ledger.intent FOR EACH ROW
    WHEN (NEW.state = 'submitting' AND OLD.state <> 'submitting') EXECUTE FUNCTION ledger.issue_permit();
CREATE FUNCTION ledger.guard_content() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    parent ledger.intent;
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.parent_intent_id IS NULL THEN
            RETURN NEW;
        END IF;
        SELECT * INTO parent FROM ledger.intent WHERE intent_id = NEW.parent_intent_id;
        IF (NEW.account_number, NEW.strategy_id, NEW.signal_id, NEW.purpose, NEW.source, NEW.underlying_symbol,
            NEW.legs, NEW.root_intent_id, NEW.worst_price, NEW.walk_step)
           IS DISTINCT FROM
           (parent.account_number, parent.strategy_id, parent.signal_id, parent.purpose, parent.source,
            parent.underlying_symbol, parent.legs, parent.root_intent_id, parent.worst_price, parent.walk_step + 1)
           OR NEW.quantity > parent.quantity THEN
            RAISE EXCEPTION 'a price step is its parent at another price';
        END IF;
        RETURN NEW;
    END IF;
    IF (NEW.intent_id, NEW.account_number, NEW.proposal_id, NEW.strategy_id, NEW.signal_id, NEW.purpose, NEW.source,
        NEW.underlying_symbol, NEW.spread_type, NEW.legs, NEW.quantity, NEW.worst_price, NEW.parent_intent_id,
        NEW.root_intent_id, NEW.walk_step, NEW.rules, NEW.valid_until, NEW.created_at, NEW.reserved_max_loss,
        NEW.reserved_buying_power, NEW.reserved_delta, NEW.reserved_vega)
       IS DISTINCT FROM
       (OLD.intent_id, OLD.account_number, OLD.proposal_id, OLD.strategy_id, OLD.signal_id, OLD.purpose, OLD.source,
        OLD.underlying_symbol, OLD.spread_type, OLD.legs, OLD.quantity, OLD.worst_price, OLD.parent_intent_id,
        OLD.root_intent_id, OLD.walk_step, OLD.rules, OLD.valid_until, OLD.created_at, OLD.reserved_max_loss,
        OLD.reserved_buying_power, OLD.reserved_delta, OLD.reserved_vega) THEN
        RAISE EXCEPTION 'what intent % orders is fixed', OLD.intent_id;
    END IF;
    IF OLD.submitting_at IS NOT NULL AND (NEW.submitting_at, NEW.body_hash, NEW.epoch, NEW.limit_price)
       IS DISTINCT FROM (OLD.submitting_at, OLD.body_hash, OLD.epoch, OLD.limit_price) THEN
        RAISE EXCEPTION 'the permit of intent % is fixed', OLD.intent_id;
    END IF;
    IF NEW.limit_price < NEW.worst_price THEN
        RAISE EXCEPTION 'the limit of intent % is past its worst price', OLD.intent_id;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guard_content BEFORE INSERT OR UPDATE ON ledger.intent
    FOR EACH ROW EXECUTE FUNCTION ledger.guard_content();
ALTER TABLE ledger.intent ADD CONSTRAINT external_identifier_names_the_intent
    CHECK (external_identifier IS NULL OR external_identifier = 'tt-' || intent_id);
CREATE UNIQUE INDEX intent_signal_once ON ledger.intent (account_number, strategy_id, signal_id, purpose)
    WHERE parent_intent_id IS NULL;
"""

_GATE = """
CREATE OR REPLACE FUNCTION ledger.guard_gate() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    before int := (SELECT severity FROM ledger.gate_mode WHERE mode = OLD.mode);
    after int := (SELECT severity FROM ledger.gate_mode WHERE mode = NEW.mode);
BEGIN
    IF after < before AND current_user <> 'tt_gateway' AND current_user <> (
        SELECT tableowner FROM pg_tables WHERE schemaname = 'ledger' AND tablename = 'gate') THEN
        RAISE EXCEPTION '% may stop trading but not resume it', current_user;
    END IF;
    IF NEW.revision <= OLD.revision THEN
        RAISE EXCEPTION 'the gate revision must rise';
    END IF;
    IF (NEW.scope, NEW.scope_value) IS DISTINCT FROM (OLD.scope, OLD.scope_value) THEN
        RAISE EXCEPTION 'a row of the gate keeps its scope';
    END IF;
    RETURN NEW;
END $$;
CREATE FUNCTION ledger.guard_gate_clock() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.revision <= OLD.revision OR NEW.id <> OLD.id THEN
        RAISE EXCEPTION 'the gate revision must rise';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guard_gate_clock BEFORE UPDATE ON ledger.gate_clock
    FOR EACH ROW EXECUTE FUNCTION ledger.guard_gate_clock();
CREATE TRIGGER gate_clock_stays BEFORE DELETE ON ledger.gate_clock
    FOR EACH ROW EXECUTE FUNCTION ledger.refuse();
CREATE INDEX audit_of_resume ON ledger.audit ((detail ->> 'revision')) WHERE action = 'resume';
CREATE FUNCTION ledger.resume_is_audited() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog AS $$
BEGIN
    IF (SELECT severity FROM ledger.gate_mode WHERE mode = NEW.mode)
       < (SELECT severity FROM ledger.gate_mode WHERE mode = OLD.mode)
       AND NOT EXISTS (SELECT 1 FROM ledger.audit
                       WHERE action = 'resume' AND detail ->> 'revision' = NEW.revision::text) THEN
        RAISE EXCEPTION 'a resume without its audit row (revision %)', NEW.revision;
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER resume_is_audited AFTER UPDATE ON ledger.gate DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION ledger.resume_is_audited();
"""

_RIGHTS = """
CREATE TRIGGER lease_stays BEFORE DELETE ON ledger.exec_lease FOR EACH ROW EXECUTE FUNCTION ledger.refuse();
CREATE FUNCTION ledger.guard_outbox() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.published_at IS NOT NULL OR NEW.published_at IS NULL THEN
        RAISE EXCEPTION 'message % is marked once', OLD.message_id;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guard_outbox BEFORE UPDATE ON ledger.outbox FOR EACH ROW EXECUTE FUNCTION ledger.guard_outbox();
REVOKE UPDATE ON ledger.intent FROM tt_risk;
REVOKE UPDATE ON ledger.gate FROM tt_risk, tt_executor, tt_gateway;
GRANT UPDATE (mode, revision, who, why, changed_at, lock_anchor) ON ledger.gate TO tt_risk, tt_executor, tt_gateway;
GRANT SELECT ON ledger.permit TO tt_risk, tt_executor, tt_gateway;
REVOKE ALL ON FUNCTION ledger.issue_permit(), ledger.resume_is_audited() FROM PUBLIC;
"""


def upgrade() -> None:
    for block in (_PERMITS, _GATE, _RIGHTS):
        run(block)
    ranges = ", ".join(
        f"('{spec.name}', '{quoted(spec.unit)}', {spec.lowest}, {spec.highest}, {spec.is_floor})"
        for spec in SPECS.values()
    )
    op.execute(
        f"INSERT INTO ledger.limit_range VALUES {ranges} ON CONFLICT (name) DO UPDATE SET unit = excluded.unit, "
        "lowest = excluded.lowest, highest = excluded.highest, is_floor = excluded.is_floor"
    )
