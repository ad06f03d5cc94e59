"""Several processes write to one store at once; and what PostgreSQL does that SQLite does not."""

from __future__ import annotations

import random
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import psycopg
import pytest

from sinks.errors import Misconfigured, Retryable, SinkError
from sinks.records import Point, State
from sinks.store import Store
from tests.postgres import PASSWORD, Postgres, only_postgresql, running_postgres, sql

START_MS = 1_442_016_000_000
MINUTE_MS = 60_000
DAY_MS = 86_400_000


def point(start_ms: int = START_MS, value: float = 1, *, by: str = "a", state: State = State.FINAL) -> Point:
    return Point("edits", "1m", start_ms, (("by", by),), value, 1, state, 1, start_ms)


# Two processors.

_WRITER = """
import random, sys
from sinks.errors import Retryable
from sinks.records import Point, State
from sinks.store import Store

url, seed = sys.argv[1], int(sys.argv[2])
rng, retries = random.Random(seed), 0
store = Store(url, busy_timeout_s=30)
store.setup()
sys.stdin.read()
for round in range(20):
    # Of every key each says an open value, at times, and once its final one; in an order of its own.
    keys = [(series, window) for series in range(12) for window in range(20)]
    rng.shuffle(keys)
    points = [
        Point(
            "edits", "1m", window * 60_000, (("series", str(series)), ("kind", "x")), series * 100 + window + 0.5
            if window == round else -1 - rng.random(), 1, State.FINAL if window == round else State.OPEN, round, 0,
        )
        for series, window in keys
    ]
    while True:
        try:
            store.write(points)
            break
        except Retryable as error:
            retries += 1
            print(error, file=sys.stderr)
store.close()
print(retries)
"""


def test_two_processes_write_the_same_keys_and_no_final_value_is_lost(database_url: str) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, database_url, str(seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in (1, 2)
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.close()
        writer.stdin = None
    told = [writer.communicate(timeout=120) for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0], told
    # Sorted as they are, they never wait for each other in a circle.
    assert [retries.strip() for retries, _ in told] == ["0", "0"], told
    store = Store(database_url)
    found = {(one.dimensions[0][1], one.start_ms): one for one in store.points("edits", "1m")}
    store.close()
    assert len(found) == 12 * 20
    for (series, start_ms), one in found.items():
        assert one.value == int(series) * 100 + start_ms // MINUTE_MS + 0.5
        # The same value twice is no correction.
        assert one.state is State.FINAL
    assert sql(database_url, "SELECT count(*) FROM series") == [(12,)]
    assert sql(database_url, "SELECT count(*) FROM series_dimension") == [(24,)]


def test_writing_goes_on_while_another_prunes(database_url: str) -> None:
    writer, pruner = Store(database_url, busy_timeout_s=30), Store(database_url, busy_timeout_s=30)
    writer.setup()
    failures: list[BaseException] = []
    done = threading.Event()

    def prune() -> None:
        try:
            while not done.is_set():
                pruner.prune("1m", START_MS + DAY_MS)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=prune)
    thread.start()
    rng = random.Random(7)
    try:
        for _ in range(60):
            points = [point(by=str(by)) for by in rng.sample(range(30), 20)]
            for _ in range(20):
                try:
                    writer.write(points)
                    break
                except Retryable:
                    continue
            else:
                raise AssertionError("twenty attempts were not enough")
    finally:
        done.set()
        thread.join()
    assert [error for error in failures if not isinstance(error, Retryable)] == []
    writer.write([point(by=str(by)) for by in range(30)])
    assert len(writer.points("edits", "1m")) == 30
    writer.close()
    pruner.close()


# PostgreSQL.


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[Postgres]:
    """A server that may be stopped."""
    with running_postgres() as server:
        yield server


def test_a_server_that_is_away_is_retryable_and_after_its_return_all_goes_on(own_postgres: Postgres) -> None:
    with own_postgres.database() as name:
        store = Store(own_postgres.url(name))
        store.setup()
        store.write([point(value=1)])
        own_postgres.stop()
        try:
            for _ in range(2):
                with pytest.raises(Retryable):
                    store.write([point(value=2)])
            with pytest.raises(Retryable):
                store.points("edits", "1m")
        finally:
            own_postgres.start()
        # The connections of before are dead, and nobody notices.
        store.write([point(START_MS + MINUTE_MS, value=2)])
        assert [one.value for one in store.points("edits", "1m")] == [1, 2]
        store.close()


def test_a_connection_cut_in_the_midst_of_a_write_loses_nothing(postgres: Postgres) -> None:
    with postgres.database() as name:
        store, url = Store(postgres.url(name)), postgres.url(name)
        store.setup()
        store.write([point(value=1)])
        blocked = threading.Event()
        failures: list[SinkError] = []

        def write() -> None:
            blocked.set()
            try:
                store.write([point(value=2)])
            except SinkError as error:
                failures.append(error)

        with psycopg.connect(url) as other:
            other.execute("LOCK TABLE points IN ACCESS EXCLUSIVE MODE")
            thread = threading.Thread(target=write)
            thread.start()
            waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            while not (found := sql(url, waiting)):
                pass
            sql(url, f"SELECT pg_terminate_backend({found[0][0]})")
            thread.join()
            other.rollback()
        assert [type(error) for error in failures] == [Retryable]
        assert [one.value for one in store.points("edits", "1m")] == [1]
        store.write([point(value=2)])
        assert [(one.value, one.state) for one in store.points("edits", "1m")] == [(2, State.CORRECTED)]
        store.close()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda url: url.replace(PASSWORD, "wrong"), "authentication failed"),
        (lambda url: url.replace("tests:", "nobody_here:"), "authentication failed"),
        (lambda url: f"{url}_not", "does not exist"),
        (lambda url: url.replace(f":{PASSWORD}", ""), "no password supplied"),
    ],
    ids=["password", "user", "database", "none"],
)
@only_postgresql
def test_a_refused_login_is_a_misconfiguration(database_url: str, change: Callable[[str], str], says: str) -> None:
    store = Store(change(database_url))
    with pytest.raises(Misconfigured, match=f"{says}.*DATABASE_URL") as raised:
        store.setup()
    assert PASSWORD not in str(raised.value)
    assert "wrong" not in str(raised.value)
    store.close()


@only_postgresql
def test_a_database_that_takes_no_writes_is_a_misconfiguration(database_url: str) -> None:
    store = Store(database_url)
    store.setup()
    store.write([point()])
    store.close()
    [(name,)] = sql(database_url, "SELECT current_database()")
    sql(database_url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with pytest.raises(Misconfigured, match=r"is read-only.*DATABASE_URL"):
        store.write([point(value=2)])
    assert store.points("edits", "1m") == [point()]
    store.close()


@only_postgresql
def test_a_user_who_may_not_write_is_told_so(database_url: str, postgres: Postgres) -> None:
    owner = Store(database_url)
    owner.setup()
    owner.close()
    [(name,)] = sql(database_url, "SELECT current_database()")
    sql(database_url, "CREATE ROLE reader LOGIN PASSWORD 'r'", "GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
    try:
        store = Store(postgres.url(name, user="reader", password="r"))
        assert store.points("edits", "1m") == []
        with pytest.raises(Misconfigured, match=r"permission denied.*what its user may do"):
            store.write([point()])
        store.close()
    finally:
        sql(database_url, "DROP OWNED BY reader", "DROP ROLE reader")


@pytest.mark.parametrize("state", ["53100", "53300", "40P01", "40001", "57P01", "57P03", "55P03", "58030", "08006"])
@only_postgresql
def test_what_passes_by_itself_is_retryable(database_url: str, state: str) -> None:
    """A full disk, too many connections, a deadlock, a failed serialization, a shutdown, a start, a lock, a failing
    disk and a lost connection, as the server says them itself."""
    store = Store(database_url)
    store.setup()
    sql(
        database_url,
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN RAISE 'so it is' USING ERRCODE = '{state}'; END $$",
        "CREATE TRIGGER fail BEFORE INSERT ON points EXECUTE FUNCTION fail()",
    )
    with pytest.raises(Retryable, match=r": so it is$"):
        store.write([point()])
    sql(database_url, "DROP TRIGGER fail ON points")
    store.write([point()])
    assert store.points("edits", "1m") == [point()]
    store.close()


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
@only_postgresql
def test_every_spelling_of_the_url_is_taken(database_url: str, scheme: str) -> None:
    store = Store(database_url.replace("postgresql", scheme, 1))
    store.setup()
    store.write([point()])
    assert store.points("edits", "1m") == [point()]
    store.close()


def test_a_host_that_says_nothing_is_retryable() -> None:
    """Connections to it are taken, and nobody is behind them."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        store = Store(f"postgresql://u@127.0.0.1:{server.getsockname()[1]}/x?connect_timeout=2")
        with pytest.raises(Retryable, match="timeout"):
            store.write([point()])
        store.close()


def test_texts_of_any_kind_come_back(database_url: str) -> None:
    nasty = ["\0", "a\0b", "\\", "\\N", "{}", '"', "'", "%s", "?", "\u2028", "😀", "", "NULL", "a,b", "\x7f", "\u200f"]
    store = Store(database_url)
    store.setup()
    points = [point(by=text) for text in nasty]
    store.write(points)
    store.write(points)
    assert {one.dimensions for one in store.points("edits", "1m")} == {one.dimensions for one in points}
    for one in points:
        # NUL is its picture to who asks, so that PostgreSQL has an answer.
        assert one in store.points("edits", "1m", dimensions=dict(one.dimensions))
    store.close()


def test_order_is_by_code_point_whatever_the_database_sorts_by(database_url: str) -> None:
    store = Store(database_url)
    store.setup()
    texts = ["Z", "a", "B", "ä", "_", "-", "1"]
    store.write([point(by=text) for text in texts])
    found = [one.dimensions[0][1] for one in store.points("edits", "1m")]
    assert found == sorted(texts)
    store.close()
