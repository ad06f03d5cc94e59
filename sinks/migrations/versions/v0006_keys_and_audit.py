"""API keys, and the log of who did what."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, Text

from sinks.migrations.columns import KeyText, RowId

revision = "0006"
down_revision = "0005"

_SQLITE = (
    "CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log only grows'); END",
    "CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log only grows'); END",
)
_POSTGRESQL = (
    "CREATE OR REPLACE FUNCTION streamgauge_only_grows() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN RAISE EXCEPTION 'the audit log only grows'; END $$",
    "CREATE TRIGGER audit_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON audit "
    "FOR EACH STATEMENT EXECUTE FUNCTION streamgauge_only_grows()",
)


def upgrade() -> None:
    op.create_table(
        "api_keys",
        Column("id", KeyText, primary_key=True, comment="8 letters and digits, as in the key itself"),
        Column("name", Text, nullable=False),
        Column("hash", Text, nullable=False, comment="SHA-256 of the key, in hex; the key itself is nowhere"),
        Column("role", Text, comment="NULL: only what is in permissions"),
        Column("permissions", Text, nullable=False, comment="JSON array, besides those of the role"),
        Column("rows", Text, nullable=False, comment="JSON object: values of dimensions; none: every row"),
        Column("person", Text, comment="pseudonym of whose key it is"),
        Column("created_ms", BigInteger, nullable=False),
        Column("expires_ms", BigInteger),
        Column("revoked_ms", BigInteger),
        Column("last_used_ms", BigInteger, comment="to the minute"),
    )
    op.create_table(
        "audit",
        Column("id", RowId, primary_key=True),
        Column("at_ms", BigInteger, nullable=False),
        Column("who", KeyText, nullable=False),
        Column("action", KeyText, nullable=False),
        Column("subject", KeyText, nullable=False, comment="a pseudonym in groups of 8-4-4-4-12 digits, or a name"),
        Column("detail", Text, nullable=False),
    )
    op.create_index("ix_audit_at_ms", "audit", ["at_ms"])
    for statement in _SQLITE if op.get_bind().dialect.name == "sqlite" else _POSTGRESQL:
        op.execute(statement)
