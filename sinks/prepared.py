"""A database with the tables of this version in it."""

from __future__ import annotations

import logging

from sqlalchemy import Column, MetaData, PrimaryKeyConstraint, String, Table, func, inspect, select
from sqlalchemy.engine import Connection, Engine

from sinks import migrations, schema
from sinks.database import place_of, transaction
from sinks.errors import Misconfigured
from sinks.schema import SCHEMA_VERSION

logger = logging.getLogger(__name__)

_meta = schema.meta
_VERSION = "schema_version"
_FIRST_OF_MANY = 3
"""The version that did not say which of its tables there are."""

# As alembic makes it.
_revision = Table(
    migrations.REVISION_TABLE,
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name=f"{migrations.REVISION_TABLE}_pkc"),
)


def prepare(engine: Engine) -> None:
    """Make an empty database one of this version, migrate one of an earlier; `Misconfigured` for one of a later.

    Anybody who writes or reads may call it, any number of times; of several at once one does it, and the others wait.

    *Guarantee*: one transaction: when it fails, the database is as it was. *Cost*: a millisecond where there is nothing
    to do.
    """
    with transaction(engine, write=True) as connection:
        if engine.dialect.name == "postgresql":
            # What BEGIN IMMEDIATE is to SQLite. The number is ours.
            connection.execute(select(func.pg_advisory_xact_lock(0x73676175)))
        tables = set(inspect(connection).get_table_names())
        version, revision = _version(connection, tables), _revision_of(connection, tables)
        _refuse_newer(engine, version, revision)
        if revision == _name(SCHEMA_VERSION):
            return
        if version is None and revision is None:
            # The same as all revisions one after the other, in a tenth of the time.
            schema.tables.create_all(connection)
            _stamp(connection, SCHEMA_VERSION)
            connection.execute(_meta.insert().values(key=_VERSION, value=str(SCHEMA_VERSION)))
            return
        if revision is None and version is not None:
            # From before there were revisions.
            _stamp(connection, version - 1 if version == _FIRST_OF_MANY else version)
            if version == SCHEMA_VERSION:
                return
        found = version if revision is None else int(revision)
        logger.info("%s: its schema version is %s and becomes %d", place_of(engine), found, SCHEMA_VERSION)
        migrations.upgrade(connection)
        # Programs from before there were revisions look here.
        connection.execute(_meta.update().where(_meta.c.key == _VERSION).values(value=str(SCHEMA_VERSION)))


def version_in(connection: Connection) -> int | None:
    """The schema version of a database, which is only read; None for one that has nothing of ours, and 0 for one of
    an unknown version."""
    tables = set(inspect(connection).get_table_names())
    revision = _revision_of(connection, tables)
    if revision is None:
        return _version(connection, tables)
    return int(revision) if revision.isdigit() else 0


def _version(connection: Connection, tables: set[str]) -> int | None:
    """What `meta` says; None for a database that has nothing of ours."""
    if _meta.name not in tables:
        return None
    found = connection.execute(select(_meta.c.value).where(_meta.c.key == _VERSION)).scalar_one_or_none()
    return None if found is None else int(found)


def _revision_of(connection: Connection, tables: set[str]) -> str | None:
    """The last revision that the database has had; None for one from before there were any."""
    if _revision.name not in tables:
        return None
    return connection.execute(select(_revision.c.version_num)).scalar_one_or_none()


def _refuse_newer(engine: Engine, version: int | None, revision: str | None) -> None:
    known = revision is None or revision in map(_name, range(1, SCHEMA_VERSION + 1))
    if known and (version is None or version <= SCHEMA_VERSION):
        return
    found = version if known else revision
    raise Misconfigured(
        f"{place_of(engine)} was written by a newer streamgauge: its schema version is {found}, this "
        f"one knows up to {SCHEMA_VERSION}. Upgrade streamgauge or set another DATABASE_URL."
    )


def _stamp(connection: Connection, version: int) -> None:
    _revision.create(connection, checkfirst=True)
    connection.execute(_revision.insert().values(version_num=_name(version)))


def _name(version: int) -> str:
    return f"{version:04}"
