"""A database with the tables of this version in it."""

from __future__ import annotations

from sqlalchemy import func, inspect, select, text
from sqlalchemy.engine import Engine
from sqlalchemy.schema import CreateColumn

from sinks import schema
from sinks.database import place_of, transaction
from sinks.errors import Misconfigured
from sinks.schema import SCHEMA_VERSION

_meta = schema.meta
_points = schema.points


def prepare(engine: Engine) -> None:
    """Create what is missing and check the schema version; `Misconfigured` for a newer database.

    Anybody who writes or reads may call it, any number of times.
    """
    with transaction(engine, write=True) as connection:
        if engine.dialect.name == "postgresql":
            # CREATE TABLE IF NOT EXISTS fails there when two processes start together. The number is
            # ours.
            connection.execute(select(func.pg_advisory_xact_lock(0x73676175)))
        found = None
        if inspect(connection).has_table(_meta.name):
            version = select(_meta.c.value).where(_meta.c.key == "schema_version")
            found = connection.execute(version).scalar_one_or_none()
        if found is not None and int(found) > SCHEMA_VERSION:
            raise Misconfigured(
                f"{place_of(engine)} was written by a newer streamgauge: its schema version is {found}, this "
                f"one knows up to {SCHEMA_VERSION}. Upgrade streamgauge or set another DATABASE_URL."
            )
        schema.tables.create_all(connection)
        if found is None:
            connection.execute(_meta.insert().values(key="schema_version", value=str(SCHEMA_VERSION)))
            return
        if int(found) < 2:
            column = CreateColumn(_points.c.error).compile(dialect=connection.dialect)
            connection.execute(text(f"ALTER TABLE {_points.name} ADD COLUMN {column}"))
        # Versions 3, 4 and 5 only have more tables.
        if int(found) < SCHEMA_VERSION:
            connection.execute(_meta.update().where(_meta.c.key == "schema_version").values(value=str(SCHEMA_VERSION)))
