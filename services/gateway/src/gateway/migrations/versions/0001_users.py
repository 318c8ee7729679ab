"""Users and their sessions."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "CREATE TABLE gateway.user (username text PRIMARY KEY, password_hash text NOT NULL, "
        "role text NOT NULL CHECK (role IN ('viewer', 'trader', 'risk', 'operator', 'admin')), "
        "created_at timestamptz NOT NULL)"
    )
    op.execute(
        "CREATE TABLE gateway.session (token_hash text PRIMARY KEY, "
        "username text NOT NULL REFERENCES gateway.user ON DELETE CASCADE, csrf_token text NOT NULL, "
        "created_at timestamptz NOT NULL, expires_at timestamptz NOT NULL)"
    )
    op.execute("CREATE INDEX session_expires ON gateway.session (expires_at)")
    op.execute("GRANT USAGE ON SCHEMA gateway TO tt_gateway")
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON gateway.user, gateway.session TO tt_gateway")
