"""SQL over the archive and the store together: DuckDB in this process, which may read these and nothing else.

The events are read where they are. Rows of the store are copied into memory, only of the tables that the query names,
and only those that the range lets through.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from sinks.archive_layout import column_of
from sinks.archive_place import Place
from stream.catalog import Catalog
from stream.expressions import FieldType
from streamgauge.sql_tables import TABLES, Range, StoreReader, StoreTable

EVENTS = "events"
_TYPES = {FieldType.STRING: "VARCHAR", FieldType.NUMBER: "DOUBLE", FieldType.BOOLEAN: "BOOLEAN"}
_OWN = {
    "time": "TIMESTAMPTZ",
    "entry_ms": "BIGINT",
    "entry_no": "BIGINT",
    "identity": "UBIGINT",
    "shard": "INTEGER",
}
_PARTITIONS = {"day": "DATE", "stream": "VARCHAR"}
_NESTED = ("map", "struct", "list", "array", "union", "json", "variant")
_WHOLE = ("tinyint", "smallint", "integer", "bigint", "utinyint", "usmallint", "uinteger", "ubigint")
_FETCHED = 10_000


class QueryError(Exception):
    """A query that cannot be answered, in DuckDB's words or ours."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a result, and how its values are given."""

    name: str
    kind: str
    """`number`, `boolean`, `time`, `json` (its text) or `text`."""


class Session:
    """One connection with the views; made by `session`."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def rows(self, query: str) -> tuple[list[Column], Iterator[Sequence[Any]]]:
        """The columns of a query's result, and its rows as they come. Raises QueryError, also while they do."""
        with _in_words():
            made = self._connection.sql(query)
            if made is None:
                raise QueryError("the query has no result")
            columns, shown = [], []
            for place, (name, of_type) in enumerate(zip(made.columns, made.types, strict=True)):
                kind, text = _shown(f"c{place}", of_type)
                columns.append(Column(name, kind))
                shown.append(f"{text} AS c{place}")
            names = ", ".join(f"c{place}" for place in range(len(columns)))
            if not _is_plain(query):
                # Of a few rows. Numbers such as decimals are none that JSON has.
                found = [[_as_it_is(value) for value in row] for row in made.fetchall()]
                return [Column(column.name, "text") for column in columns], iter(found)
            self._connection.execute(f"SELECT {', '.join(shown)} FROM ({_bare(query)}\n) AS result({names})")
        return columns, self._fetched()

    def _fetched(self) -> Iterator[Sequence[Any]]:
        while True:
            with _in_words():
                some = self._connection.fetchmany(_FETCHED)
            if not some:
                return
            yield from some

    def to_parquet(self, query: str, path: Path) -> int:
        """Write the result to a file of those that the session was allowed; how many rows."""
        with _in_words():
            quoted = str(path).replace("'", "''")
            text = f"COPY ({_bare(query)}\n) TO '{quoted}' (FORMAT parquet, USE_TMP_FILE false)"
            (count,) = self._connection.execute(text).fetchone() or (0,)
            return int(count)


@contextmanager
def session(
    catalog: Catalog,
    query: str,
    place: Place | None,
    names: Sequence[str],
    store_url: str | None,
    wanted: Range,
    *,
    memory: str = "1GB",
    threads: int = 2,
    writes: Path | None = None,
) -> Iterator[Session]:
    """What a query may read, until the end of the block. Raises QueryError, and the errors of `sinks.errors`.

    `names` are those of the archive's files below its `place`; `writes` is the one file that may be written, by
    `to_parquet`. *Guarantee*: whatever the query is, nothing else is written, and nothing else read.
    """
    check(query)
    with _in_words():
        connection = duckdb.connect(
            ":memory:",
            config={
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "memory_limit": memory,
                "threads": threads,
                # Rather an error than files where nobody looks for them.
                "temp_directory": "",
            },
        )
    try:
        with _in_words():
            connection.execute("SET TimeZone = 'UTC'")
            paths = [] if place is None else _of_events(connection, catalog, place, names, wanted)
            reader = StoreReader(store_url, wanted)
            try:
                for table in TABLES.values():
                    _of_store(connection, table, reader, is_named=_names(query, table.name))
            finally:
                reader.close()
            allowed = [*paths, *([] if writes is None else [str(writes)])]
            connection.execute(f"SET allowed_paths = [{', '.join(_quoted(path) for path in allowed)}]")
            connection.execute("SET enable_external_access = false")
            connection.execute("SET lock_configuration = true")
        yield Session(connection)
    finally:
        connection.close()


def check(query: str) -> None:
    """Raise QueryError for anything but one statement that reads."""
    with _in_words():
        statements = duckdb.extract_statements(query)
    if len(statements) != 1:
        raise QueryError(f"expected one statement, found {len(statements)}")
    kind = statements[0].type.name
    if kind == "EXPLAIN" and not re.match(r"\s*EXPLAIN\s+(ANALYZE\s+)?(SELECT|WITH|FROM)\b", query, re.IGNORECASE):
        raise QueryError("expected EXPLAIN of a SELECT")
    if kind not in ("SELECT", "EXPLAIN"):
        raise QueryError(f"expected a query that reads (SELECT, WITH, FROM, DESCRIBE, SUMMARIZE), found {kind}")


def _of_events(
    connection: duckdb.DuckDBPyConnection, catalog: Catalog, place: Place, names: Sequence[str], wanted: Range
) -> list[str]:
    """Make the view of the events; the paths it reads."""
    types = {**_OWN, **{column_of(name): _TYPES[kind] for name, kind in catalog.field_types.items()}, **_PARTITIONS}
    if not names:
        empty = ", ".join(f"NULL::{kind} AS {_name(name)}" for name, kind in types.items())
        connection.execute(f"CREATE VIEW {EVENTS} AS SELECT {empty} WHERE false")
        return []
    if not place.is_local:
        connection.register_filesystem(place.files)
    prefix = "" if place.is_local else f"{place.url.partition('://')[0]}://"
    paths = [prefix + place.path(name) for name in names]
    files = ", ".join(_quoted(path) for path in paths)
    read = f"read_parquet([{files}], hive_partitioning = true, union_by_name = true)"
    there = {str(row[0]) for row in connection.execute(f"DESCRIBE SELECT * FROM {read}").fetchall()}
    # What the catalog reads since today only is there too, and has no values.
    more = "".join(f", NULL::{kind} AS {_name(name)}" for name, kind in types.items() if name not in there)
    limits = []
    if wanted.since_ms is not None:
        since = datetime.fromtimestamp(wanted.since_ms / 1_000, UTC)
        limits += [f"day >= DATE '{since.date()}'", f"time >= TIMESTAMPTZ '{since.isoformat()}'"]
    if wanted.until_ms is not None:
        until = datetime.fromtimestamp(wanted.until_ms / 1_000, UTC)
        limits += [f"day <= DATE '{until.date()}'", f"time < TIMESTAMPTZ '{until.isoformat()}'"]
    where = f" WHERE {' AND '.join(limits)}" if limits else ""
    connection.execute(f"CREATE VIEW {EVENTS} AS SELECT *{more} FROM {read}{where}")
    return paths


def _of_store(connection: duckdb.DuckDBPyConnection, table: StoreTable, reader: StoreReader, *, is_named: bool) -> None:
    kinds = {pl.String: "VARCHAR", pl.Int64: "BIGINT", pl.Float64: "DOUBLE", pl.Boolean: "BOOLEAN"}
    columns = ", ".join(f"{_name(name)} {kinds[kind]}" for name, kind in table.columns.items())
    connection.execute(f"CREATE TEMP TABLE {table.name}_rows ({columns})")
    if is_named:
        for frame in reader.frames(table):
            connection.register("rows_to_take", _Arrow(frame))
            connection.execute(f"INSERT INTO {table.name}_rows SELECT * FROM rows_to_take")
            connection.unregister("rows_to_take")
    connection.execute(f"CREATE TEMP VIEW {table.name} AS SELECT {table.shown} FROM {table.name}_rows")


class _Arrow:
    """A frame as DuckDB takes it without pyarrow, which it asks for where it sees a frame of Polars."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self._frame = frame

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._frame.__arrow_c_stream__(requested_schema)


@contextmanager
def _in_words() -> Iterator[None]:
    try:
        yield
    except duckdb.ParserException as error:
        bare = re.search(r'(?<!["\w])window(?!["\w])', str(error), re.IGNORECASE)
        hint = '\nwindow is a word of SQL: the column is written "window"' if bare else ""
        raise QueryError(f"{str(error).strip()}{hint}") from error
    except duckdb.Error as error:
        raise QueryError(str(error).strip()) from error
    except (OSError, RuntimeError) as error:
        raise QueryError(str(error)) from error


def _names(query: str, table: str) -> bool:
    """Whether a query may be about a table; a column of that name is taken for it too."""
    return re.search(rf"\b{table}\b", query, re.IGNORECASE) is not None


def _is_plain(query: str) -> bool:
    """Whether it can stand in brackets: what describes a query cannot."""
    return (
        re.match(r"(\s|--[^\n]*\n|/\*.*?\*/)*(SELECT|WITH|FROM|VALUES|\()", query, re.IGNORECASE | re.DOTALL)
        is not None
    )


def _as_it_is(value: object) -> object:
    return value if value is None or isinstance(value, str | int | float) else str(value)


def _bare(query: str) -> str:
    return query.strip().rstrip(";")


def _shown(column: str, of_type: Any) -> tuple[str, str]:
    """What kind of values a column has, and SQL that gives them as Python knows them."""
    name = str(of_type.id).lower()
    if name in _NESTED or str(of_type) == "JSON":
        return "json", f"to_json({column})::VARCHAR"
    if name in _WHOLE or name in ("double", "float"):
        return "number", column
    if name == "boolean":
        return "boolean", column
    if name in ("hugeint", "uhugeint", "decimal", "bignum"):
        return "json", f"{column}::VARCHAR"
    if name == "timestamp with time zone":
        return "time", f"({column} AT TIME ZONE 'UTC')"
    return "text", f"{column}::VARCHAR"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def days_of(wanted: Range) -> tuple[date | None, date | None]:
    """The first and the last day of archived events that a range can be about."""

    def day(time_ms: int | None) -> date | None:
        if time_ms is None:
            return None
        with suppress(ValueError, OverflowError, OSError):
            return datetime.fromtimestamp(time_ms / 1_000, UTC).date()
        return None

    return day(wanted.since_ms), day(wanted.until_ms)
