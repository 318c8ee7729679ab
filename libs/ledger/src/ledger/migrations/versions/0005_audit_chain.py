"""Every audit row is a link of a hash chain, in the order of the commits; rows that exist become its beginning."""

from __future__ import annotations

from ledger.migrations.statements import run

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_CHAIN = """
CREATE TABLE ledger.audit_chain (
    seq bigint PRIMARY KEY, audit_id bigint NOT NULL UNIQUE REFERENCES ledger.audit, hash bytea NOT NULL);
CREATE TABLE ledger.audit_head (id int PRIMARY KEY CHECK (id = 1), seq bigint NOT NULL, hash bytea NOT NULL);
INSERT INTO ledger.audit_head VALUES (1, 0, decode(repeat('00', 32), 'hex'));
CREATE FUNCTION ledger.audit_field(a text) RETURNS bytea LANGUAGE sql IMMUTABLE SET search_path = pg_catalog AS $$
    SELECT convert_to(octet_length(convert_to(a, 'UTF8')) || ':', 'UTF8') || convert_to(a, 'UTF8')
$$;
CREATE FUNCTION ledger.audit_canonical(a ledger.audit) RETURNS bytea LANGUAGE sql STABLE
SET search_path = pg_catalog AS $$
    SELECT ledger.audit_field(a.id::text)
        || ledger.audit_field((extract(epoch FROM a.at) * 1000000)::bigint::text)
        || ledger.audit_field(a.who) || ledger.audit_field(a.action) || ledger.audit_field(a.target)
        || ledger.audit_field(a.outcome)
        || coalesce((SELECT string_agg(ledger.audit_field(key) || ledger.audit_field(coalesce(value, '')), ''::bytea
                                       ORDER BY key COLLATE "C") FROM jsonb_each_text(a.detail)), ''::bytea)
$$;
CREATE FUNCTION ledger.chain_audit() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog AS $$
DECLARE
    head ledger.audit_head;
    link bytea;
BEGIN
    SELECT * INTO head FROM ledger.audit_head WHERE id = 1 FOR UPDATE;
    link := sha256(head.hash || ledger.audit_canonical(NEW));
    INSERT INTO ledger.audit_chain VALUES (head.seq + 1, NEW.id, link);
    UPDATE ledger.audit_head SET seq = head.seq + 1, hash = link WHERE id = 1;
    RETURN NULL;
END $$;
DO $$ DECLARE
    each ledger.audit;
    head bytea := decode(repeat('00', 32), 'hex');
    number bigint := 0;
BEGIN
    FOR each IN SELECT * FROM ledger.audit ORDER BY id LOOP
        number := number + 1;
        head := sha256(head || ledger.audit_canonical(each));
        INSERT INTO ledger.audit_chain VALUES (number, each.id, head);
    END LOOP;
    UPDATE ledger.audit_head SET seq = number, hash = head;
END $$;
CREATE CONSTRAINT TRIGGER chain_audit AFTER INSERT ON ledger.audit DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION ledger.chain_audit();
CREATE TRIGGER chain_is_final BEFORE UPDATE OR DELETE ON ledger.audit_chain
    FOR EACH ROW EXECUTE FUNCTION ledger.refuse();
CREATE TRIGGER head_stays BEFORE DELETE ON ledger.audit_head FOR EACH ROW EXECUTE FUNCTION ledger.refuse();
CREATE TRIGGER audit_stays_whole BEFORE TRUNCATE ON ledger.audit EXECUTE FUNCTION ledger.refuse();
CREATE TRIGGER chain_stays_whole BEFORE TRUNCATE ON ledger.audit_chain EXECUTE FUNCTION ledger.refuse();
CREATE TRIGGER fill_stays_whole BEFORE TRUNCATE ON ledger.fill EXECUTE FUNCTION ledger.refuse();
GRANT SELECT ON ledger.audit_chain, ledger.audit_head TO tt_risk, tt_executor, tt_gateway;
REVOKE ALL ON FUNCTION ledger.chain_audit() FROM PUBLIC;
"""


def upgrade() -> None:
    run(_CHAIN)
