"""Alerts, what rules made of windows, silences, and the log of deliveries.

Databases that say version 3 may have only some of these tables, as they came one after the other under that number.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Boolean, Column, Double, ForeignKey, Integer, Text, UniqueConstraint

from sinks.migrations.columns import KeyText, RowId

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "alerts",
        Column("id", Text, primary_key=True),
        Column("rule", KeyText, nullable=False),
        Column("metric", KeyText, nullable=False),
        Column("severity", Text, nullable=False),
        Column("status", Text, nullable=False),
        Column("opened_ms", BigInteger, nullable=False),
        Column("last_seen_ms", BigInteger, nullable=False),
        Column("resolved_ms", BigInteger),
        Column("at_ms", BigInteger, nullable=False, comment="the latest of last_seen_ms and resolved_ms"),
        Column(
            "stage", Integer, nullable=False, comment="0 open, 1 acknowledged, 2 resolved: never back at one moment"
        ),
        Column("state_json", Text, nullable=False, comment="the whole alert"),
        if_not_exists=True,
    )
    op.create_index("alerts_by_opening", "alerts", ["opened_ms"], if_not_exists=True)
    op.create_index("alerts_by_status", "alerts", ["status", "opened_ms"], if_not_exists=True)
    op.create_table(
        "scored_series",
        Column("id", RowId, primary_key=True),
        Column("rule", KeyText, nullable=False),
        Column("dimensions", KeyText, nullable=False, comment="canonical JSON object: sorted names, no spaces"),
        Column("metric", KeyText, nullable=False),
        Column("window", KeyText, nullable=False),
        Column("names", Text, nullable=False, comment="JSON array: the names in the order of the metric's `by`"),
        UniqueConstraint("rule", "dimensions"),
        sqlite_autoincrement=True,
        if_not_exists=True,
    )
    op.create_index("scored_series_by_metric", "scored_series", ["metric", "window"], if_not_exists=True)
    op.create_table(
        "scores",
        Column("series_id", RowId, ForeignKey("scored_series.id"), primary_key=True, autoincrement=False),
        Column("start_ms", BigInteger, primary_key=True, autoincrement=False),
        Column("value", Double),
        Column("score", Double, nullable=False),
        Column("warm", Boolean, nullable=False),
        Column("anomalous", Boolean, nullable=False),
        Column("expected", Double),
        Column("lower", Double),
        Column("upper", Double),
        Column("why", Text, nullable=False),
        sqlite_with_rowid=False,
        if_not_exists=True,
    )
    op.create_table(
        "silences",
        Column("id", Text, primary_key=True),
        Column("rule", Text, comment="NULL: every rule"),
        Column("dimensions", Text, nullable=False, comment="JSON array of pairs; none for all series"),
        Column("made_by", Text, nullable=False),
        Column("reason", Text, nullable=False),
        Column("made_ms", BigInteger, nullable=False),
        Column("until_ms", BigInteger, nullable=False),
        if_not_exists=True,
    )
    op.create_index("ix_silences_until_ms", "silences", ["until_ms"], if_not_exists=True)
    op.create_table(
        "rules",
        Column("rule", Text, primary_key=True),
        Column("at_ms", BigInteger, nullable=False),
        Column("series_json", Text, nullable=False, comment="how many series are learning, ok, pending, firing, …"),
        if_not_exists=True,
    )
    op.create_table(
        "deliveries",
        Column("id", RowId, primary_key=True),
        Column("endpoint", KeyText, nullable=False),
        Column("notification", Text, nullable=False),
        Column("attempt", Integer, nullable=False),
        Column("at_ms", BigInteger, nullable=False),
        Column("outcome", Text, nullable=False),
        Column("status", Integer),
        Column("duration_ms", Double),
        Column("error", Text),
        if_not_exists=True,
    )
    op.create_index("ix_deliveries_at_ms", "deliveries", ["at_ms"], if_not_exists=True)
    op.create_index("deliveries_by_endpoint", "deliveries", ["endpoint", "at_ms"], if_not_exists=True)
