"""The tables of the store."""

from __future__ import annotations

from sqlalchemy import (
    DDL,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    event,
)

SCHEMA_VERSION = 6
"""Counts changes of the tables below, each a revision in `sinks.migrations`. A database of a newer version is refused,
never guessed at."""

tables = MetaData()
# Sorted by code point in both databases, whatever collation the PostgreSQL cluster was made with.
_KeyText = Text().with_variant(Text(collation="C"), "postgresql")
_SeriesId = BigInteger().with_variant(Integer, "sqlite")

meta = Table(
    "meta",
    tables,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

# A point's key is (metric, window, dimensions, start). The first three repeat in every point of a series, so
# they stand once here and a point carries their number: a quarter of the bytes, and a short key to look up.
series = Table(
    "series",
    tables,
    Column("id", _SeriesId, primary_key=True),
    Column("metric", _KeyText, nullable=False),
    Column("window", _KeyText, nullable=False),
    Column("dimensions", _KeyText, nullable=False, comment="canonical JSON object: sorted names, no spaces"),
    Column("names", Text, nullable=False, comment="JSON array: the names in the order of the metric's `by`"),
    UniqueConstraint("metric", "window", "dimensions"),
    # A number is never given twice: a writer that still knows the number of a pruned series must fail, not
    # write into another series.
    sqlite_autoincrement=True,
)

series_dimension = Table(
    "series_dimension",
    tables,
    Column("name", _KeyText, primary_key=True),
    Column("value", _KeyText, primary_key=True),
    Column("series_id", _SeriesId, ForeignKey("series.id", ondelete="CASCADE"), primary_key=True, index=True),
)

# The primary key is the only index: every query first finds its series (few) and then a range of starts in
# each.
points = Table(
    "points",
    tables,
    Column("series_id", _SeriesId, ForeignKey("series.id"), primary_key=True, autoincrement=False),
    Column("start_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("value", Double, comment="for SQL readers: the value where it is one number, NULL elsewhere"),
    # The value itself. A float column cannot tell 1234 from 1234.0, nor hold a quantile's several numbers.
    Column("value_json", Text, nullable=False, comment="the exact value as JSON"),
    Column("count", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("watermark_ms", BigInteger, nullable=False),
    Column("error", Double, comment="how far off the value may be, as a share of it; NULL where it is exact"),
    sqlite_with_rowid=False,
)

# What is asked by has a column of its own; the alert itself is its JSON.
alerts = Table(
    "alerts",
    tables,
    Column("id", Text, primary_key=True),
    Column("rule", _KeyText, nullable=False),
    Column("metric", _KeyText, nullable=False),
    Column("severity", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("opened_ms", BigInteger, nullable=False),
    Column("last_seen_ms", BigInteger, nullable=False),
    Column("resolved_ms", BigInteger),
    Column("at_ms", BigInteger, nullable=False, comment="the latest of last_seen_ms and resolved_ms"),
    Column("stage", Integer, nullable=False, comment="0 open, 1 acknowledged, 2 resolved: never back at one moment"),
    Column("state_json", Text, nullable=False, comment="the whole alert"),
    Index("alerts_by_opening", "opened_ms"),
    Index("alerts_by_status", "status", "opened_ms"),
)

# As with points: what repeats in every score of a series stands once here.
scored_series = Table(
    "scored_series",
    tables,
    Column("id", _SeriesId, primary_key=True),
    Column("rule", _KeyText, nullable=False),
    Column("dimensions", _KeyText, nullable=False, comment="canonical JSON object: sorted names, no spaces"),
    Column("metric", _KeyText, nullable=False),
    Column("window", _KeyText, nullable=False),
    Column("names", Text, nullable=False, comment="JSON array: the names in the order of the metric's `by`"),
    UniqueConstraint("rule", "dimensions"),
    Index("scored_series_by_metric", "metric", "window"),
    sqlite_autoincrement=True,
)

scores = Table(
    "scores",
    tables,
    Column("series_id", _SeriesId, ForeignKey("scored_series.id"), primary_key=True, autoincrement=False),
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
)

silences = Table(
    "silences",
    tables,
    Column("id", Text, primary_key=True),
    Column("rule", Text, comment="NULL: every rule"),
    Column("dimensions", Text, nullable=False, comment="JSON array of pairs; none for all series"),
    Column("made_by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("made_ms", BigInteger, nullable=False),
    Column("until_ms", BigInteger, nullable=False, index=True),
)

rules = Table(
    "rules",
    tables,
    Column("rule", Text, primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("series_json", Text, nullable=False, comment="how many series are learning, ok, pending, firing, …"),
)

deliveries = Table(
    "deliveries",
    tables,
    Column("id", _SeriesId, primary_key=True),
    Column("endpoint", _KeyText, nullable=False),
    Column("notification", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("at_ms", BigInteger, nullable=False, index=True),
    Column("outcome", Text, nullable=False),
    Column("status", Integer),
    Column("duration_ms", Double),
    Column("error", Text),
    Index("deliveries_by_endpoint", "endpoint", "at_ms"),
)

# Asked for by the person, and deleted by them; nothing here is found by what it says.
person_lines = Table(
    "person_lines",
    tables,
    Column("person", _KeyText, primary_key=True, comment="pseudonym, 32 hex digits"),
    Column("kind", _KeyText, primary_key=True),
    Column("reference", BigInteger, primary_key=True, autoincrement=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("fields_json", Text, nullable=False),
    Index("person_lines_by_time", "person", "at_ms"),
    sqlite_with_rowid=False,
)

# One row a person: every day there is a new score of everybody who is active, and nobody asks for that of yesterday.
churn_scores = Table(
    "churn_scores",
    tables,
    Column("person", _KeyText, primary_key=True, comment="pseudonym, 32 hex digits"),
    Column("as_of_ms", BigInteger, nullable=False, comment="what was known up to this moment, itself included"),
    Column("changed_ms", BigInteger, nullable=False, comment="as_of_ms of the first score of this level in a row"),
    Column("level", Text, nullable=False, comment="low, medium or high"),
    Column("probability", Double, nullable=False),
    Column("segment", Text, nullable=False),
    Column("score_json", Text, nullable=False, comment="all else that is said of them"),
    Index("churn_scores_by_change", "changed_ms"),
    sqlite_with_rowid=False,
)
Index("churn_scores_by_level", churn_scores.c.level, churn_scores.c.probability.desc(), churn_scores.c.person)

models = Table(
    "models",
    tables,
    Column("name", _KeyText, primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("status_json", Text, nullable=False, comment="how the model stands"),
)

api_keys = Table(
    "api_keys",
    tables,
    Column("id", _KeyText, primary_key=True, comment="8 letters and digits, as in the key itself"),
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

audit = Table(
    "audit",
    tables,
    Column("id", _SeriesId, primary_key=True),
    Column("at_ms", BigInteger, nullable=False, index=True),
    Column("who", _KeyText, nullable=False),
    Column("action", _KeyText, nullable=False),
    Column("subject", _KeyText, nullable=False, comment="a pseudonym in groups of 8-4-4-4-12 digits, or a name"),
    Column("detail", Text, nullable=False),
)

# The log only grows, whoever writes to the database. The owner of the tables can take the triggers away, but not by
# mistake.
_ONLY_GROWS = (
    "CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log only grows'); END",
    "CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log only grows'); END",
)
_ONLY_GROWS_POSTGRESQL = (
    "CREATE OR REPLACE FUNCTION streamgauge_only_grows() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN RAISE EXCEPTION 'the audit log only grows'; END $$",
    "CREATE TRIGGER audit_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON audit "
    "FOR EACH STATEMENT EXECUTE FUNCTION streamgauge_only_grows()",
)
for _dialect, _statements in (("sqlite", _ONLY_GROWS), ("postgresql", _ONLY_GROWS_POSTGRESQL)):
    for _statement in _statements:
        event.listen(audit, "after_create", DDL(_statement).execute_if(dialect=_dialect))  # type: ignore[no-untyped-call]
