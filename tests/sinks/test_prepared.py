"""Databases of every version so far, as they were, in files of `databases`."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from sinks import migrations, schema
from sinks.alert_store import AlertStore, Watched
from sinks.database import open_database
from sinks.deliveries import Deliveries
from sinks.errors import Misconfigured, Retryable
from sinks.person_store import PersonStore
from sinks.prepared import prepare
from sinks.records import Point, State
from sinks.schema import SCHEMA_VERSION
from sinks.store import Store
from tests.alerts import alert
from tests.postgres import only_postgresql, sql

DATABASES = Path(__file__).parent / "databases"
VERSIONS = range(1, 6)
"""Those from before there were revisions."""
START_MS = 1_442_016_000_000
PERSON = "a3" * 16


def made_by(version: int, url: str) -> None:
    """Make an empty database what a program of that version made of it, with some rows."""
    kind = url.partition(":")[0]
    statements = (DATABASES / f"version_{version}.{kind}.sql").read_text().split(";\n")
    sql(url, *filter(str.strip, statements))


def setup(url: str) -> None:
    engine = open_database(url, busy_timeout_s=5)
    try:
        prepare(engine)
    finally:
        engine.dispose()


def differences(url: str) -> list[Any]:
    """What alembic would change to make the database's tables those of `schema`."""
    engine = open_database(url, busy_timeout_s=5)
    with engine.connect() as connection:
        options = {"version_table": migrations.REVISION_TABLE, "compare_server_default": True}
        found: list[Any] = compare_metadata(MigrationContext.configure(connection, opts=options), schema.tables)
    engine.dispose()
    return found


def shape(url: str) -> dict[str, Any]:
    """Tables as the database itself describes them, columns in their order."""
    if url.startswith("sqlite"):
        tables = sql(url, "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
        # What alembic's comparison does not see: WITHOUT ROWID, AUTOINCREMENT. ALTER TABLE leaves its column's comma
        # elsewhere.
        return {name: sorted(re.findall(r"\w+", text)) for name, text in tables}
    columns = "table_name, ordinal_position, column_name, data_type, collation_name, is_nullable, column_default"
    found = sql(url, f"SELECT {columns} FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2")
    indexes = sql(url, "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'")
    return {"columns": found, "indexes": sorted(indexes)}


def content(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables."""
    if url.startswith("sqlite"):
        names = sql(url, "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
    else:
        names = sql(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return {name: sorted(sql(url, f"SELECT * FROM {name}"), key=repr) for (name,) in names}


# The chain.


def test_revisions_are_numbered_without_a_gap_up_to_the_version() -> None:
    script = ScriptDirectory(str(Path(migrations.__file__).parent))
    chain = [one.revision for one in script.walk_revisions()]
    assert chain == [f"{number:04}" for number in range(SCHEMA_VERSION, 0, -1)]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_database_of_an_earlier_version_becomes_one_of_this(database_url: str, version: int) -> None:
    made_by(version, database_url)
    before = content(database_url)
    setup(database_url)
    assert differences(database_url) == []
    after = content(database_url)
    assert after["meta"] == [("schema_version", str(SCHEMA_VERSION))]
    assert after[migrations.REVISION_TABLE] == [(f"{SCHEMA_VERSION:04}",)]
    for name in before.keys() - {"meta", "points"}:
        assert after[name] == before[name], name
    setup(database_url)
    assert content(database_url) == after
    store = Store(database_url)
    error = None if version == 1 else 0.01
    assert store.points("edits", "1m", dimensions={"channel": "#en"}) == [
        Point("edits", "1m", START_MS, (("channel", "#en"),), 7, 7, State.FINAL, 3, START_MS + 65_000),
        Point(
            "edits", "1m", START_MS + 60_000, (("channel", "#en"),), {"p50": 1.5}, 4, State.OPEN, 1,
            START_MS + 65_000, error,
        ),
    ]  # fmt: skip
    # And it is written to as any other, with a series more.
    new = Point("edits", "1m", START_MS, (("channel", "#fr"),), 1, 1, State.FINAL, 1, START_MS, 0.5)
    store.write([new])
    assert store.points("edits", "1m", dimensions={"channel": "#fr"}) == [new]
    store.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_migration_is_one_line_of_the_log(database_url: str, version: int, caplog: pytest.LogCaptureFixture) -> None:
    made_by(version, database_url)
    caplog.set_level("INFO")
    setup(database_url)
    said = [record.getMessage() for record in caplog.records]
    if version == SCHEMA_VERSION:
        assert said == []
    else:
        assert len(said) == 1
        assert f"its schema version is {version} and becomes {SCHEMA_VERSION}" in said[0]


@pytest.mark.parametrize("version", [3, 4, 5])
def test_what_is_beside_the_points_is_read_as_before(database_url: str, version: int) -> None:
    made_by(version, database_url)
    alerts, people, log = AlertStore(database_url), PersonStore(database_url), Deliveries(database_url)
    alerts.setup()
    assert alerts.watched() == {"busy": Watched(START_MS + 65_000, {"ok": 2})}
    assert [one.why for one in alerts.scores("edits", "1m")] == ["a record"]
    assert [one.id for one in alerts.silences(START_MS)] == ["s1"]
    assert [one.notification for one in log.read()] == ["n1"]
    assert people.count(PERSON) == (1 if version > 3 else 0)
    alerts.write([alert()])
    assert alerts.alerts() == [alert()]
    for store in (alerts, people, log):
        store.close()


def test_version_3_may_have_only_some_of_its_tables(database_url: str) -> None:
    made_by(3, database_url)
    sql(database_url, "DROP TABLE deliveries", "DROP TABLE scores", "DROP TABLE silences")
    setup(database_url)
    assert differences(database_url) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_an_empty_database_gets_what_migrations_make(
    request: pytest.FixtureRequest, tmp_path: Path, database_url: str, version: int
) -> None:
    made_by(version, database_url)
    setup(database_url)
    if database_url.startswith("sqlite"):
        new = f"sqlite:///{tmp_path}/new.db"
        setup(new)
        assert shape(new) == shape(database_url)
        assert differences(new) == []
        return
    server = request.getfixturevalue("postgres")
    with server.database() as name:
        setup(server.url(name))
        assert shape(server.url(name)) == shape(database_url)
        assert differences(server.url(name)) == []


def test_what_is_up_to_date_needs_no_alembic(database_url: str) -> None:
    program = (
        "import sys; from sinks.store import Store; s = Store(sys.argv[1]); s.setup(); s.setup()\n"
        "assert 'alembic' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program, database_url], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# What may not be done.


@pytest.mark.parametrize(
    "newer",
    [
        f"UPDATE meta SET value = '{SCHEMA_VERSION + 1}' WHERE key = 'schema_version'",
        f"UPDATE {migrations.REVISION_TABLE} SET version_num = '{SCHEMA_VERSION + 1:04}'",
        f"UPDATE {migrations.REVISION_TABLE} SET version_num = 'ae1027a6acf'",
    ],
)
def test_a_newer_database_is_refused_and_left_alone(database_url: str, newer: str) -> None:
    setup(database_url)
    sql(database_url, newer, "DROP TABLE models")
    before = content(database_url)
    with pytest.raises(Misconfigured, match=rf"newer streamgauge.* is \w+, .*up to {SCHEMA_VERSION}. Upgrade"):
        setup(database_url)
    assert content(database_url) == before


def test_a_newer_database_from_before_revisions_is_refused_too(database_url: str) -> None:
    sql(
        database_url,
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
        f"INSERT INTO meta VALUES ('schema_version', '{SCHEMA_VERSION + 1}')",
    )
    with pytest.raises(Misconfigured, match=rf"newer streamgauge.* is {SCHEMA_VERSION + 1}, .*Upgrade"):
        setup(database_url)
    assert list(content(database_url)) == ["meta"]


def test_a_migration_that_fails_leaves_the_database_as_it_was(database_url: str) -> None:
    made_by(1, database_url)
    # In the way of the fourth of the four revisions.
    sql(database_url, "CREATE TABLE churn_scores (mine INTEGER)", "INSERT INTO churn_scores VALUES (7)")
    before, tables = content(database_url), shape(database_url)
    for _ in range(2):
        with pytest.raises(Misconfigured, match="churn_scores"):
            setup(database_url)
        assert content(database_url) == before
        assert shape(database_url) == tables
    sql(database_url, "DROP TABLE churn_scores")
    setup(database_url)
    assert differences(database_url) == []


_STARTER = """
import sys
from sinks.records import Point, State
from sinks.store import Store

store = Store(sys.argv[1])
sys.stdin.read()
store.setup()
store.write([Point("edits", "1m", int(sys.argv[2]) * 60_000, (), 1, 1, State.FINAL, 1, 0)])
store.close()
"""


@pytest.mark.parametrize("version", [None, 1])
def test_several_processes_may_start_at_once(database_url: str, version: int | None) -> None:
    if version is not None:
        made_by(version, database_url)
    starters = [
        subprocess.Popen([sys.executable, "-c", _STARTER, database_url, str(number)], stdin=subprocess.PIPE)
        for number in range(3)
    ]
    for starter in starters:
        assert starter.stdin is not None
        starter.stdin.close()
    assert [starter.wait(timeout=60) for starter in starters] == [0] * 3
    assert differences(database_url) == []
    assert content(database_url)[migrations.REVISION_TABLE] == [(f"{SCHEMA_VERSION:04}",)]
    store = Store(database_url)
    assert [one.start_ms for one in store.points("edits", "1m", to_ms=START_MS)] == [i * 60_000 for i in range(3)]
    store.close()


def test_who_opens_a_new_file_waits_for_whoever_has_begun_to_fill_it(tmp_path: Path) -> None:
    # Nobody has set its journal's mode yet, and setting it does not wait by itself.
    path = tmp_path / "points.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    other.execute("CREATE TABLE another (key TEXT)")
    with pytest.raises(Retryable, match="another process holds the database"):
        Store(f"sqlite:///{path}", busy_timeout_s=0.1).setup()
    ending = threading.Timer(0.5, other.execute, ["COMMIT"])
    ending.start()
    setup(f"sqlite:///{path}")
    ending.join()
    other.close()
    assert content(f"sqlite:///{path}")[migrations.REVISION_TABLE] == [(f"{SCHEMA_VERSION:04}",)]


# Databases shared with others, and places with odd names.


@only_postgresql
def test_alembic_of_another_program_is_left_alone(database_url: str) -> None:
    sql(
        database_url,
        "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)",
        "INSERT INTO alembic_version VALUES ('1975ea83b712')",
    )
    setup(database_url)
    assert content(database_url)["alembic_version"] == [("1975ea83b712",)]


def test_a_path_may_have_any_name(tmp_path: Path) -> None:
    directory = tmp_path / "50% of: all"
    directory.mkdir()
    url = f"sqlite:///{directory}/points.db"
    made_by(1, url)
    setup(url)
    assert differences(url) == []
