"""Limits of every control of risk; where each day began, so that a week's loss is known."""

from __future__ import annotations

from alembic import op

from ledger.limits import SPECS
from ledger.migrations.statements import run

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_DAYS = """
CREATE TABLE ledger.balance_day (
    account_number text, market_date date, start_of_day_net_liq numeric(14,2),
    PRIMARY KEY (account_number, market_date));
INSERT INTO ledger.balance_day SELECT account_number, market_date, start_of_day_net_liq FROM ledger.balance;
CREATE FUNCTION ledger.keep_balance_day() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog AS $$
BEGIN
    INSERT INTO ledger.balance_day VALUES (NEW.account_number, NEW.market_date, NEW.start_of_day_net_liq)
        ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER keep_balance_day AFTER INSERT OR UPDATE OF market_date ON ledger.balance
    FOR EACH ROW EXECUTE FUNCTION ledger.keep_balance_day();
REVOKE ALL ON FUNCTION ledger.keep_balance_day() FROM PUBLIC;
CREATE INDEX intent_of_day ON ledger.intent (account_number, created_at);
GRANT SELECT ON ledger.balance_day TO tt_risk, tt_executor, tt_gateway;
"""


def upgrade() -> None:
    run(_DAYS)
    ranges = ", ".join(
        f"('{spec.name}', '{spec.unit}', {spec.lowest}, {spec.highest}, {spec.is_floor})" for spec in SPECS.values()
    )
    op.execute(
        f"INSERT INTO ledger.limit_range VALUES {ranges} ON CONFLICT (name) DO UPDATE SET unit = excluded.unit, "
        "lowest = excluded.lowest, highest = excluded.highest, is_floor = excluded.is_floor"
    )
    values = ", ".join(f"('{spec.name}', {spec.default})" for spec in SPECS.values())
    op.execute(
        "INSERT INTO ledger.limit_value (name, account_number, version, value, who, why) "
        "SELECT given.name, '', 1, given.value, 'installation', 'the default of the product' "
        f"FROM (VALUES {values}) AS given (name, value) "
        "WHERE NOT EXISTS (SELECT 1 FROM ledger.limit_value old "
        "WHERE old.name = given.name AND old.account_number = '')"
    )
