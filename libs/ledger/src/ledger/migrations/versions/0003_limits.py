"""Hard limits as versioned rows, the account's risk row that every permit locks, and the indexes of the throttles."""

from __future__ import annotations

from alembic import op

from ledger.limits import COOL_OFF_MINUTES, LOOSENED_AT_ONCE_PCT, SPECS
from ledger.migrations.statements import quoted, run

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_SCHEMA = """
CREATE TABLE ledger.limit_range (
    name text PRIMARY KEY, unit text NOT NULL, lowest numeric NOT NULL, highest numeric NOT NULL,
    is_floor boolean NOT NULL, CHECK (lowest <= highest));
CREATE TABLE ledger.limit_request (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL REFERENCES ledger.limit_range,
    account_number text NOT NULL, value numeric NOT NULL, who text NOT NULL, why text NOT NULL,
    asked_at timestamptz NOT NULL DEFAULT clock_timestamp(), confirmed_by text, confirmed_at timestamptz);
CREATE TABLE ledger.limit_value (
    name text REFERENCES ledger.limit_range, account_number text, version int CHECK (version > 0),
    value numeric NOT NULL, who text NOT NULL CHECK (who <> ''), why text NOT NULL CHECK (length(trim(why)) >= 8),
    confirmed_by text, request_id bigint UNIQUE REFERENCES ledger.limit_request,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(), PRIMARY KEY (name, account_number, version));
CREATE FUNCTION ledger.day_start() RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT date_trunc('day', clock_timestamp() AT TIME ZONE 'America/New_York') AT TIME ZONE 'America/New_York'
$$;
CREATE FUNCTION ledger.limit_loosened_pct(a_name text, an_account text, a_value numeric) RETURNS numeric
LANGUAGE plpgsql STABLE AS $$
DECLARE
    floor boolean := (SELECT is_floor FROM ledger.limit_range WHERE name = a_name);
    base numeric := (
        SELECT value FROM ledger.limit_value WHERE name = a_name AND account_number IN ('', an_account)
        ORDER BY changed_at >= ledger.day_start(),
            CASE WHEN changed_at >= ledger.day_start() THEN account_number <> '' ELSE account_number = '' END,
            CASE WHEN changed_at >= ledger.day_start() THEN version ELSE -version END LIMIT 1);
    moved numeric;
BEGIN
    IF base IS NULL THEN
        RETURN 0;
    END IF;
    moved := CASE WHEN floor THEN base - a_value ELSE a_value - base END;
    IF moved <= 0 THEN
        RETURN 0;
    END IF;
    RETURN CASE WHEN base = 0 THEN 1000 ELSE 100 * moved / abs(base) END;
END $$;
CREATE FUNCTION ledger.guard_limit() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    span ledger.limit_range := (SELECT r FROM ledger.limit_range r WHERE r.name = NEW.name);
    asked ledger.limit_request;
    newest int := (SELECT coalesce(max(version), 0) FROM ledger.limit_value
                   WHERE name = NEW.name AND account_number = NEW.account_number);
BEGIN
    IF NEW.value < span.lowest OR NEW.value > span.highest THEN
        RAISE EXCEPTION 'limit % may be % to %, not %', NEW.name, span.lowest, span.highest, NEW.value;
    END IF;
    IF NEW.version <> newest + 1 THEN
        RAISE EXCEPTION 'limit % must move from version % to the next', NEW.name, newest;
    END IF;
    IF current_user <> (SELECT tableowner FROM pg_tables WHERE schemaname = 'ledger' AND tablename = 'limit_value')
       AND ledger.limit_loosened_pct(NEW.name, NEW.account_number, NEW.value) > {at_once} THEN
        SELECT * INTO asked FROM ledger.limit_request WHERE id = NEW.request_id;
        IF asked.id IS NULL OR asked.confirmed_by IS DISTINCT FROM NEW.confirmed_by OR NEW.confirmed_by IS NULL
           OR (asked.name, asked.account_number, asked.value, asked.who)
              IS DISTINCT FROM (NEW.name, NEW.account_number, NEW.value, NEW.who)
           OR (asked.confirmed_by = asked.who
               AND asked.asked_at > clock_timestamp() - make_interval(mins => {cool_off})) THEN
            RAISE EXCEPTION 'loosening limit % by more than {at_once} %% in a day needs a second person', NEW.name;
        END IF;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER guard_limit BEFORE INSERT ON ledger.limit_value FOR EACH ROW EXECUTE FUNCTION ledger.guard_limit();
CREATE TRIGGER limit_is_final BEFORE UPDATE OR DELETE ON ledger.limit_value
    FOR EACH ROW EXECUTE FUNCTION ledger.refuse();
CREATE TRIGGER limit_request_stays BEFORE DELETE ON ledger.limit_request
    FOR EACH ROW EXECUTE FUNCTION ledger.refuse();
CREATE TABLE ledger.account_risk (
    account_number text PRIMARY KEY, net_liq numeric(14,2), held_max_loss numeric(14,2),
    buying_power_used numeric(14,2), buying_power_free numeric(14,2), max_loss_of jsonb NOT NULL DEFAULT '{}',
    structures jsonb NOT NULL DEFAULT '[]', held_at timestamptz, tokens numeric(10,4), tokens_at timestamptz,
    lock_anchor int NOT NULL DEFAULT 0);
CREATE INDEX intent_sent ON ledger.intent (account_number, submitting_at) WHERE submitting_at IS NOT NULL;
CREATE INDEX intent_lost ON ledger.intent (account_number) WHERE state IN ('unknown', 'quarantine');
GRANT SELECT ON ledger.limit_range, ledger.limit_request, ledger.limit_value, ledger.account_risk
    TO tt_risk, tt_executor, tt_gateway;
GRANT INSERT ON ledger.limit_value TO tt_gateway;
GRANT INSERT, UPDATE (confirmed_by, confirmed_at) ON ledger.limit_request TO tt_gateway;
GRANT INSERT (account_number) ON ledger.account_risk TO tt_risk, tt_executor;
GRANT UPDATE (lock_anchor, tokens, tokens_at) ON ledger.account_risk TO tt_executor;
GRANT UPDATE (lock_anchor, net_liq, held_max_loss, buying_power_used, buying_power_free, max_loss_of, structures,
    held_at) ON ledger.account_risk TO tt_risk;
"""


def upgrade() -> None:
    schema = _SCHEMA.replace("{at_once}", str(LOOSENED_AT_ONCE_PCT)).replace("{cool_off}", str(COOL_OFF_MINUTES))
    run(schema)
    ranges = ", ".join(
        f"('{spec.name}', '{quoted(spec.unit)}', {spec.lowest}, {spec.highest}, {spec.is_floor})"
        for spec in SPECS.values()
    )
    op.execute(f"INSERT INTO ledger.limit_range VALUES {ranges}")
    values = ", ".join(
        f"('{spec.name}', '', 1, {spec.default}, 'installation', 'the default of the product')"
        for spec in SPECS.values()
    )
    op.execute(f"INSERT INTO ledger.limit_value (name, account_number, version, value, who, why) VALUES {values}")
