"""Deleting all that a table has of a person, and the note that it has been done."""

from __future__ import annotations

from sqlalchemy import Table, delete, func, select
from sqlalchemy.engine import Engine

from sinks import schema
from sinks.database import transaction

_meta = schema.meta


def forget(engine: Engine, table: Table, person: str, note: str | None) -> int:
    """Delete the rows of a person, by pseudonym; how many. `note`, if any, is written in the same transaction.

    What was deleted is overwritten in the pages of an SQLite file.
    """
    with transaction(engine, write=True) as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA secure_delete=ON")
        if note is not None:
            connection.execute(delete(_meta).where(_meta.c.key == note))
            connection.execute(_meta.insert().values(key=note, value="done"))
        return connection.execute(delete(table).where(table.c.person == person)).rowcount


def is_noted(engine: Engine, note: str) -> bool:
    """Whether a note was written."""
    query = select(func.count()).select_from(_meta).where(_meta.c.key == note)
    with transaction(engine) as connection:
        return bool(connection.execute(query).scalar_one())
