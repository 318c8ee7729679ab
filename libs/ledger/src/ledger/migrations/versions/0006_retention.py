"""What was published and taken may be forgotten, when it is old enough; nothing else of outbox and inbox may."""

from __future__ import annotations

from ledger.inbox import KEPT_DAYS as INBOX_DAYS
from ledger.migrations.statements import run
from ledger.outbox import KEPT_DAYS as OUTBOX_DAYS

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_RETENTION = """
CREATE FUNCTION ledger.guard_outbox_delete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.published_at IS NULL OR OLD.published_at > clock_timestamp() - make_interval(days => {outbox}) THEN
        RAISE EXCEPTION 'message % is kept for {outbox} days after it was published', OLD.message_id;
    END IF;
    RETURN OLD;
END $$;
CREATE TRIGGER guard_outbox_delete BEFORE DELETE ON ledger.outbox
    FOR EACH ROW EXECUTE FUNCTION ledger.guard_outbox_delete();
CREATE FUNCTION ledger.guard_inbox_delete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.at > clock_timestamp() - make_interval(days => {inbox}) THEN
        RAISE EXCEPTION 'message % is remembered for {inbox} days', OLD.message_id;
    END IF;
    RETURN OLD;
END $$;
CREATE TRIGGER guard_inbox_delete BEFORE DELETE ON ledger.inbox
    FOR EACH ROW EXECUTE FUNCTION ledger.guard_inbox_delete();
CREATE INDEX outbox_published ON ledger.outbox (producer, published_at) WHERE published_at IS NOT NULL;
CREATE INDEX inbox_age ON ledger.inbox (consumer, at);
GRANT DELETE ON ledger.outbox, ledger.inbox TO tt_risk, tt_executor, tt_gateway;
GRANT INSERT ON ledger.inbox TO tt_gateway;
"""


def upgrade() -> None:
    run(_RETENTION.replace("{outbox}", str(OUTBOX_DAYS)).replace("{inbox}", str(INBOX_DAYS)))
