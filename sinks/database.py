"""An SQL database as our sinks use it: opened the same way, its errors in the words of `sinks.errors`."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Table, create_engine, event, exc
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, Connection, Engine, make_url

from sinks.errors import Misconfigured, Retryable, SinkError

_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_NO_ACCESS = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}
_NOT_OURS = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}

# PostgreSQL's SQLSTATEs that time alone may mend: connection exceptions, deadlocks and failed serializations,
# insufficient resources (disk and connections), an object in use, an operator's intervention such as a restart, and
# errors of its own files.
_PASSING_CLASSES = ("08", "40", "53", "55", "57", "58")
_READ_ONLY = "25006"
_NO_TABLE = ("42P01", "42703")
# A connection that is refused while it is made has no SQLSTATE, and says why in words.
_REFUSALS = ("authentication failed", "does not exist", "no pg_hba.conf entry", "permission denied", "no password")


# A server that is gone without a word is noticed within half a minute, not after the two hours of the kernel.
_WAITS = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 30_000,
}


def open_database(url: str, *, busy_timeout_s: float) -> Engine:
    """An engine for an SQLite file or a PostgreSQL server; connects to nothing yet.

    SQLite runs in WAL mode, so readers and the one writer do not wait for each other; two writers wait up to
    `busy_timeout_s`. PostgreSQL is spoken to by psycopg 3 unless the URL names another driver; what the URL says of
    timeouts stands. Raises `Misconfigured` for a URL that can never work.
    """
    try:
        parsed = make_url(url)
    except exc.ArgumentError:
        # The URL is not repeated: what cannot be parsed may still hold a password.
        raise Misconfigured(
            "DATABASE_URL is not a database URL; expected one like sqlite:////var/lib/streamgauge/points.db"
        ) from None
    if parsed.drivername == "postgres":
        # As libpq and most hosts spell it.
        parsed = parsed.set(drivername="postgresql")
    backend = parsed.get_backend_name()
    if backend not in ("sqlite", "postgresql"):
        raise Misconfigured(f"DATABASE_URL names {backend!r}, expected sqlite or postgresql")
    if backend == "postgresql" and "+" not in parsed.drivername:
        # SQLAlchemy would take psycopg2.
        parsed = parsed.set(drivername="postgresql+psycopg")
    if backend == "sqlite" and _in_memory(parsed):
        raise Misconfigured("DATABASE_URL names an SQLite database in memory, expected a file")
    try:
        if backend == "postgresql":
            waits = {name: value for name, value in _WAITS.items() if name not in parsed.query}
            return create_engine(parsed, pool_pre_ping=True, connect_args=waits)
        engine = create_engine(parsed, connect_args={"timeout": busy_timeout_s})
    except (exc.NoSuchModuleError, ModuleNotFoundError) as error:
        raise Misconfigured(
            f'DATABASE_URL needs a driver that is not installed ({error}); pip install "psycopg[binary]"'
        ) from error
    event.listen(engine, "connect", _set_pragmas)
    event.listen(engine, "begin", _begin)
    return engine


def insert_into(engine: Engine, table: Table) -> Any:
    """An INSERT in the engine's dialect, which knows `on_conflict_do_update`."""
    return (postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert)(table)


def place_of(engine: Engine) -> str:
    """The database's URL as it may be shown: without its password."""
    return engine.url.render_as_string(hide_password=True)


@contextmanager
def transaction(engine: Engine, *, write: bool = False) -> Iterator[Connection]:
    """Commits at the end of the block, rolls back when it raises; database errors leave as sink errors."""
    try:
        with engine.connect() as connection:
            connection = connection.execution_options(streamgauge_write=write)
            with connection.begin():
                yield connection
    except exc.SQLAlchemyError as error:
        raise as_sink_error(error, place_of(engine)) from error


def as_sink_error(error: exc.SQLAlchemyError, place: str) -> SinkError:
    """`Retryable` for a database that is busy, full or away; `Misconfigured` for what a person must put
    right.

    An error that is neither, such as a statement that it does not understand, is `Misconfigured` too: nothing
    is gained by repeating it.
    """
    cause = error.orig if isinstance(error, exc.DBAPIError) else None
    if isinstance(cause, sqlite3.Error):
        return _of_sqlite(cause, place)
    if isinstance(error, exc.TimeoutError):
        return Retryable(f"{place}: all connections are in use: {error}")
    if isinstance(error, exc.DBAPIError) and cause is not None:
        return _of_postgresql(error, cause, place)
    return Misconfigured(f"{place}: {error}. Check DATABASE_URL and what its user may do.")


def _of_postgresql(error: exc.DBAPIError, cause: BaseException, place: str) -> SinkError:
    state: str = getattr(cause, "sqlstate", None) or ""
    # In one line, without the statement and the place in it.
    text = " ".join(str(getattr(getattr(cause, "diag", None), "message_primary", None) or cause).split())
    if state == _READ_ONLY:
        return Misconfigured(f"{place} is read-only ({text}); set DATABASE_URL to one that takes writes")
    if state in _NO_TABLE:
        return Misconfigured(f"{place}: {text}. Was setup() called?")
    if state.startswith(_PASSING_CLASSES):
        return Retryable(f"{place}: {text}")
    lost = isinstance(error, exc.OperationalError | exc.InterfaceError) and not state
    if lost and not any(refusal in text for refusal in _REFUSALS):
        return Retryable(f"{place}: {text}")
    return Misconfigured(f"{place}: {text}. Check DATABASE_URL and what its user may do.")


def _of_sqlite(cause: sqlite3.Error, place: str) -> SinkError:
    # The low byte is the error, the rest says which kind of it.
    code = (getattr(cause, "sqlite_errorcode", None) or 0) & 0xFF
    if code in _BUSY:
        return Retryable(f"{place}: another process holds the database ({cause})")
    if code == sqlite3.SQLITE_FULL:
        return Retryable(f"{place}: the disk is full ({cause}); free some space")
    if code == sqlite3.SQLITE_IOERR:
        return Retryable(f"{place}: {cause}; the disk may be full or failing")
    if code in _NO_ACCESS:
        return Misconfigured(
            f"{place} cannot be opened for writing ({cause}). The directory must exist and be writable, for "
            "SQLite keeps two more files beside the database; set DATABASE_URL to such a path."
        )
    if code in _NOT_OURS:
        return Misconfigured(f"{place} is not a sound SQLite database ({cause}); set another DATABASE_URL")
    return Misconfigured(f"{place}: {cause}. Was setup() called?")


def _in_memory(url: URL) -> bool:
    return url.database in (None, "", ":memory:") or "mode=memory" in str(url)


def _set_pragmas(connection: Any, _record: object) -> None:
    # Transactions are ours to begin: Python's sqlite3 would begin them late, and never as IMMEDIATE.
    connection.isolation_level = None
    cursor = connection.cursor()
    _into_wal(cursor)
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _into_wal(cursor: sqlite3.Cursor) -> None:
    """Waits as long as a write would: SQLite itself does not, where another process changes the journal's mode at the
    same moment, as when several open a new file."""
    (busy_timeout_ms,) = cursor.execute("PRAGMA busy_timeout").fetchone()
    until = time.monotonic() + busy_timeout_ms / 1_000
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if (error.sqlite_errorcode & 0xFF) not in _BUSY or time.monotonic() >= until:
                raise
            time.sleep(0.01)


def _begin(connection: Connection) -> None:
    # A writer takes its lock at once: turning a reader into a writer midway fails without waiting when
    # another process has written meanwhile.
    write = connection.get_execution_options().get("streamgauge_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
