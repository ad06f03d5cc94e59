"""The records of persons in SQL: what is told about one person, and what is deleted when they are to be forgotten."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import bindparam, delete, func, select

from sinks import schema
from sinks.database import insert_into, open_database, place_of, transaction
from sinks.errors import Retryable
from sinks.forgotten_rows import forget, is_noted
from sinks.person_records import PersonLine
from sinks.prepared import prepare

_lines = schema.person_lines
_KEY = ("person", "kind", "reference")
_SIGN = 1 << 63
_PARTS = 256


class PersonStore:
    """Lines of persons' records as rows, by pseudonym.

    `url` as for `sinks.store.Store`, and as there: creating one connects to nothing, several threads and processes
    may share a database.

    *Guarantee*: `write` is one transaction, committed when it returns: of each (person, kind, reference) the last word
    stands. To write the same again changes nothing.
    *Failure*: as `Store`: `Retryable` or `Misconfigured`, and nothing was written.
    *Cost*: some 20 µs a line on SQLite, in batches of 1,000 or more.
    """

    def __init__(self, url: str, *, busy_timeout_s: float = 5.0) -> None:
        self._engine = open_database(url, busy_timeout_s=busy_timeout_s)
        statement: Any = insert_into(self._engine, _lines)
        self._upsert = statement.on_conflict_do_update(
            index_elements=[_lines.c[name] for name in _KEY],
            set_={column.name: statement.excluded[column.name] for column in _lines.c if column.name not in _KEY},
        )
        self._delete = delete(_lines).where(*(_lines.c[name] == bindparam(f"its_{name}") for name in _KEY))

    def setup(self) -> None:
        """Create what is missing and check the schema version; `Misconfigured` for a newer database."""
        prepare(self._engine)

    def write(self, lines: Sequence[tuple[PersonLine, bool]]) -> None:
        """Upsert each line, or delete the one in its place where it is `gone`, in order and in one transaction."""
        if not lines:
            return
        # PostgreSQL refuses to upsert a row twice in one statement. Sorted, so that two writers cannot wait for each
        # other.
        last = {(line.person, line.kind, line.reference): (line, gone) for line, gone in lines}
        told = [last[key] for key in sorted(last)]
        kept = [_row(line) for line, gone in told if not gone]
        gone_keys = [
            {"its_person": line.person, "its_kind": line.kind, "its_reference": _signed(line.reference)}
            for line, gone in told
            if gone
        ]
        with transaction(self._engine, write=True) as connection:
            if gone_keys:
                connection.execute(self._delete, gone_keys)
            if kept:
                connection.execute(self._upsert, kept)

    def of(self, person: str, limit: int = 1_000, *, kind: str | None = None) -> list[PersonLine]:
        """What is known of a person, the latest first; `kind` keeps the lines of one kind."""
        query = select(_lines.c.kind, _lines.c.reference, _lines.c.at_ms, _lines.c.fields_json)
        query = query.where(_lines.c.person == person)
        if kind is not None:
            query = query.where(_lines.c.kind == kind)
        query = query.order_by(_lines.c.at_ms.desc(), _lines.c.kind, _lines.c.reference).limit(limit)
        with transaction(self._engine) as connection:
            return [
                PersonLine(person, found, reference % (1 << 64), at_ms, orjson.loads(fields))
                for found, reference, at_ms, fields in connection.execute(query)
            ]

    def count(self, person: str) -> int:
        """How many lines a person has."""
        query = select(func.count()).select_from(_lines).where(_lines.c.person == person)
        with transaction(self._engine) as connection:
            return int(connection.execute(query).scalar_one())

    def forget(self, person: str, entry: str | None = None) -> int:
        """Delete all that is kept of a person; how many lines that were. In the same transaction it is noted that this
        has been done as the stream's `entry` asks."""
        return forget(self._engine, _lines, person, None if entry is None else _noted(entry))

    def has_forgotten(self, entry: str) -> bool:
        """Whether what the stream's `entry` asks has been done."""
        return is_noted(self._engine, _noted(entry))

    def scrub(self) -> bool:
        """Leave nothing of deleted rows in the file; False for a database that does this by itself, in its own time.

        *Cost*: the whole file is written anew, and nobody else may write meanwhile. *Failure*: `Retryable` while others
        write or read.
        """
        if self._engine.dialect.name != "sqlite":
            return False
        raw = self._engine.raw_connection()
        try:
            cursor = raw.cursor()
            cursor.execute("VACUUM")
            (busy, _, _) = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            cursor.close()
        except sqlite3.Error as error:
            raise Retryable(f"{place_of(self._engine)}: {error}") from error
        finally:
            raw.close()
        if busy:
            raise Retryable(f"{place_of(self._engine)}: others read what was written before")
        return True

    def prune(self, before_ms: int, *, kind: str | None = None) -> int:
        """Delete the lines from before `before_ms`, or those of one kind; how many.

        Works in several short transactions, a part of the persons each, so that a writer never waits long.
        """
        removed = 0
        for part in range(_PARTS):
            old = delete(_lines).where(_lines.c.person >= f"{part:02x}", _lines.c.at_ms < before_ms)
            if kind is not None:
                old = old.where(_lines.c.kind == kind)
            if part + 1 < _PARTS:
                old = old.where(_lines.c.person < f"{part + 1:02x}")
            with transaction(self._engine, write=True) as connection:
                removed += connection.execute(old).rowcount
        return removed

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


def _noted(entry: str) -> str:
    return f"forgotten {entry}"


def _row(line: PersonLine) -> dict[str, Any]:
    return {
        "person": line.person,
        "kind": line.kind,
        "reference": _signed(line.reference),
        "at_ms": line.at_ms,
        "fields_json": orjson.dumps(_finite(line.fields)).decode(),
    }


def _signed(reference: int) -> int:
    """SQL's 64 bits have a sign."""
    return reference - (1 << 64) if reference >= _SIGN else reference


def _finite(fields: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no NaN and no infinity: such a field is left out."""
    return {name: value for name, value in fields.items() if not isinstance(value, float) or math.isfinite(value)}
