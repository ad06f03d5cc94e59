"""Lines of persons' own records."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, Text

from sinks.migrations.columns import KeyText

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "person_lines",
        Column("person", KeyText, primary_key=True, comment="pseudonym, 32 hex digits"),
        Column("kind", KeyText, primary_key=True),
        Column("reference", BigInteger, primary_key=True, autoincrement=False),
        Column("at_ms", BigInteger, nullable=False),
        Column("fields_json", Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("person_lines_by_time", "person_lines", ["person", "at_ms"])
