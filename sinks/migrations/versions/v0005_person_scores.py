"""How likely each person is to leave, and how each model stands."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, Double, Text, text

from sinks.migrations.columns import KeyText

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "churn_scores",
        Column("person", KeyText, primary_key=True, comment="pseudonym, 32 hex digits"),
        Column("as_of_ms", BigInteger, nullable=False, comment="what was known up to this moment, itself included"),
        Column("changed_ms", BigInteger, nullable=False, comment="as_of_ms of the first score of this level in a row"),
        Column("level", Text, nullable=False, comment="low, medium or high"),
        Column("probability", Double, nullable=False),
        Column("segment", Text, nullable=False),
        Column("score_json", Text, nullable=False, comment="all else that is said of them"),
        sqlite_with_rowid=False,
    )
    op.create_index("churn_scores_by_change", "churn_scores", ["changed_ms"])
    op.create_index("churn_scores_by_level", "churn_scores", ["level", text("probability DESC"), "person"])
    op.create_table(
        "models",
        Column("name", KeyText, primary_key=True),
        Column("at_ms", BigInteger, nullable=False),
        Column("status_json", Text, nullable=False, comment="how the model stands"),
    )
