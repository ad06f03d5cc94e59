"""Points and their series."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, Double, ForeignKey, Text, UniqueConstraint

from sinks.migrations.columns import KeyText, RowId

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "meta",
        Column("key", Text, primary_key=True),
        Column("value", Text, nullable=False),
    )
    op.create_table(
        "series",
        Column("id", RowId, primary_key=True),
        Column("metric", KeyText, nullable=False),
        Column("window", KeyText, nullable=False),
        Column("dimensions", KeyText, nullable=False, comment="canonical JSON object: sorted names, no spaces"),
        Column("names", Text, nullable=False, comment="JSON array: the names in the order of the metric's `by`"),
        UniqueConstraint("metric", "window", "dimensions"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "series_dimension",
        Column("name", KeyText, primary_key=True),
        Column("value", KeyText, primary_key=True),
        Column("series_id", RowId, ForeignKey("series.id", ondelete="CASCADE"), primary_key=True),
    )
    op.create_index("ix_series_dimension_series_id", "series_dimension", ["series_id"])
    op.create_table(
        "points",
        Column("series_id", RowId, ForeignKey("series.id"), primary_key=True, autoincrement=False),
        Column("start_ms", BigInteger, primary_key=True, autoincrement=False),
        Column("value", Double, comment="for SQL readers: the value where it is one number, NULL elsewhere"),
        Column("value_json", Text, nullable=False, comment="the exact value as JSON"),
        Column("count", BigInteger, nullable=False),
        Column("state", Text, nullable=False),
        Column("revision", BigInteger, nullable=False),
        Column("watermark_ms", BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
