from __future__ import annotations

import math
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from sinks.errors import Misconfigured, Retryable
from sinks.records import Dimensions, Point, State, Value
from sinks.store import Store
from tests.postgres import only_sqlite, sql

START_MS = 1_442_016_000_000
MINUTE_MS = 60_000
DAY_MS = 86_400_000


def point(
    start_ms: int = START_MS,
    value: Value = 1,
    *,
    metric: str = "edits",
    window: str = "1m",
    dimensions: Dimensions = (("channel", "#en"),),
    state: State = State.OPEN,
    revision: int = 1,
    watermark_ms: int | None = None,
) -> Point:
    watermark_ms = start_ms if watermark_ms is None else watermark_ms
    return Point(metric, window, start_ms, dimensions, value, 1, state, revision, watermark_ms)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "points.db"


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    store = Store(database_url, busy_timeout_s=0.2)
    store.setup()
    yield store
    store.close()


# What is written comes back.


def test_points_come_back_as_they_were(store: Store) -> None:
    points = [
        point(START_MS, 7, state=State.FINAL, revision=3, watermark_ms=START_MS + 5),
        point(START_MS + MINUTE_MS, {"p50": 1.5, "p99": 9.0}),
        point(START_MS + 2 * MINUTE_MS, None),
        point(START_MS + 3 * MINUTE_MS, 0.1),
    ]
    store.write(points)
    assert store.points("edits", "1m") == points


@pytest.mark.parametrize("value", [0, -3, 2**53 + 1, 10**400, 1234.0, 0.1, 1e300, -0.0, {}, {"a": 1, "b": 0.5}])
def test_a_value_keeps_its_type(store: Store, value: Value) -> None:
    store.write([point(value=value)])
    (found,) = store.points("edits", "1m")
    assert repr(found.value) == repr(value)


@pytest.mark.parametrize(
    ("value", "stored"), [(math.nan, None), (math.inf, None), ({"p50": math.nan, "p99": 1.0}, {"p99": 1.0})]
)
def test_a_value_that_is_no_number_is_no_value(store: Store, value: Value, stored: Value) -> None:
    store.write([point(value=value)])
    assert store.points("edits", "1m")[0].value == stored


def test_the_value_is_a_number_to_sql(store: Store, database_url: str) -> None:
    store.write([point(i, value) for i, value in enumerate([7, 0.5, None, {"p50": 1.0}, 10**400])])
    found = sql(database_url, "SELECT value FROM points ORDER BY start_ms")
    assert found == [(7.0,), (0.5,), (None,), (None,), (None,)]


texts = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.lists(st.tuples(texts, texts), max_size=4, unique_by=lambda pair: pair[0]).map(tuple))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
def test_any_text_may_be_a_dimension_and_be_asked_for(store: Store, dimensions: Dimensions) -> None:
    written = point(dimensions=dimensions)
    store.write([written])
    assert written in store.points("edits", "1m", dimensions=dict(dimensions))
    for name, value in dimensions:
        for found in store.points("edits", "1m", dimensions={name: value}):
            assert dict(found.dimensions)[name] == value


# Questions.


def test_points_are_ordered_by_start_and_then_dimensions(store: Store) -> None:
    points = [
        point(START_MS + start * MINUTE_MS, dimensions=(("channel", channel),))
        for start in range(3)
        for channel in ("#de", "#en", "#é")
    ]
    store.write(points[::-1])
    assert store.points("edits", "1m") == points
    assert store.points("edits", "1m", limit=4) == points[:4]


def test_a_range_is_half_open(store: Store) -> None:
    points = [point(START_MS + i * MINUTE_MS) for i in range(5)]
    store.write(points)
    found = store.points("edits", "1m", from_ms=START_MS + MINUTE_MS, to_ms=START_MS + 3 * MINUTE_MS)
    assert found == points[1:3]
    assert store.points("edits", "1m", from_ms=START_MS + 4 * MINUTE_MS) == points[4:]
    assert store.points("edits", "1m", to_ms=START_MS) == []


def test_metrics_and_windows_are_kept_apart(store: Store) -> None:
    points = [point(metric=metric, window=window) for metric in ("edits", "views") for window in ("10s", "1m")]
    store.write(points)
    assert store.points("edits", "1m") == [points[1]]
    assert store.points("edits", "1d") == []


def test_any_subset_of_the_dimensions_filters(store: Store) -> None:
    points = [point(dimensions=(("country", c), ("platform", p))) for c in ("de", "fr") for p in ("tv", "web")]
    store.write(points)
    assert store.points("edits", "1m", dimensions={"platform": "tv"}) == [points[0], points[2]]
    assert store.points("edits", "1m", dimensions={"platform": "tv", "country": "fr"}) == [points[2]]
    assert store.points("edits", "1m", dimensions={"platform": "de"}) == []
    assert store.points("edits", "1m", dimensions={"browser": "tv"}) == []


def test_the_order_of_the_dimensions_is_that_of_the_latest_write(store: Store) -> None:
    store.write([point(value=1, dimensions=(("b", "x"), ("a", "y")))])
    reordered = point(value=2, dimensions=(("a", "y"), ("b", "x")))
    store.write([reordered])
    assert store.points("edits", "1m") == [reordered]


# What each series last was.


def test_latest_gives_the_latest_windows_of_each_series(store: Store) -> None:
    of_en = [point(START_MS + i * MINUTE_MS) for i in range(4)]
    of_de = [point(START_MS, dimensions=(("channel", "#de"),))]
    store.write(of_en + of_de)
    assert store.latest(START_MS) == of_de + of_en[-2:]
    assert store.latest(START_MS, per_series=1) == of_de + of_en[-1:]
    assert store.latest(START_MS, per_series=9) == of_de + of_en


def test_latest_leaves_out_series_that_ended_before(store: Store) -> None:
    ended = point(START_MS, dimensions=(("channel", "#de"),))
    going_on = [point(START_MS), point(START_MS + MINUTE_MS)]
    store.write([ended, *going_on])
    assert store.latest(START_MS + MINUTE_MS) == going_on
    assert store.latest(START_MS + MINUTE_MS + 1) == []


def test_latest_keeps_a_long_window_that_is_still_emitted(store: Store) -> None:
    noon = START_MS + DAY_MS // 2
    yesterday = point(START_MS - DAY_MS, window="1d", state=State.FINAL)
    today = point(START_MS, window="1d", watermark_ms=noon)
    store.write([yesterday, today])
    assert store.latest(noon - MINUTE_MS) == [yesterday, today]


# When the latest windows start.


def test_starts_are_the_latest_of_any_series(store: Store) -> None:
    of_en = [point(START_MS + minute * MINUTE_MS) for minute in (0, 1, 4)]
    of_de = [point(START_MS + minute * MINUTE_MS, dimensions=(("channel", "#de"),)) for minute in (0, 3)]
    store.write([*of_en, *of_de, point(START_MS + 9 * MINUTE_MS, window="1h"), point(metric="views")])

    def minutes(**asked: int) -> list[int]:
        return [(start_ms - START_MS) // MINUTE_MS for start_ms in store.starts("edits", "1m", **asked)]

    assert minutes() == [4]
    assert minutes(limit=3) == [1, 3, 4]
    assert minutes(limit=99) == [0, 1, 3, 4]
    assert minutes(to_ms=START_MS + 4 * MINUTE_MS, limit=2) == [1, 3]
    assert minutes(to_ms=START_MS) == []
    assert store.starts("nothing", "1m") == []


# Settled points stay settled.


@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 2), st.sampled_from(State), st.integers(0, 99)), min_size=1, max_size=6),
        max_size=6,
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
def test_the_last_write_wins_but_open_never_replaces_settled(
    store: Store, writes: list[list[tuple[int, State, int]]]
) -> None:
    store.prune("1m", START_MS + DAY_MS)
    expected: dict[int, Point] = {}
    for write in writes:
        points = [point(START_MS + i, value, state=state) for i, state, value in write]
        store.write(points)
        for one in points:
            before = expected.get(one.start_ms)
            if before is None or before.state is State.OPEN or one.state is State.CORRECTED:
                expected[one.start_ms] = one
            elif one.state is State.FINAL:
                corrects = before.state is State.CORRECTED or one.value != before.value
                expected[one.start_ms] = replace(one, state=State.CORRECTED) if corrects else one
    assert store.points("edits", "1m") == [expected[start_ms] for start_ms in sorted(expected)]


def test_a_replay_changes_nothing(store: Store) -> None:
    history = [
        [point(value=1), point(START_MS + MINUTE_MS, 5)],
        [point(value=2, state=State.FINAL, revision=2)],
        [point(value=3, state=State.CORRECTED, revision=3)],
    ]
    for points in history:
        store.write(points)
    before = store.points("edits", "1m")
    for points in history:
        store.write(points)
    assert store.points("edits", "1m") == before


@pytest.mark.parametrize(
    ("first", "second", "state"),
    [
        (2.0, 2.0 + 1e-12, State.FINAL),
        (2.0, 2.1, State.CORRECTED),
        (-2.0, -2.1, State.CORRECTED),
        (0, 1, State.CORRECTED),
        (None, 1, State.CORRECTED),
        (1, None, State.CORRECTED),
        (None, None, State.FINAL),
        ({"a": 1}, {"a": 1}, State.FINAL),
        ({"a": 1}, {"a": 2}, State.CORRECTED),
    ],
)
@pytest.mark.parametrize("at_once", [False, True])
def test_another_value_of_a_settled_point_is_a_correction(
    store: Store, first: Value, second: Value, state: State, at_once: bool
) -> None:
    points = [point(value=first, state=State.FINAL), point(value=second, state=State.FINAL)]
    for write in [points] if at_once else [[one] for one in points]:
        store.write(write)
    assert [(one.value, one.state) for one in store.points("edits", "1m")] == [(second, state)]


def test_what_was_corrected_remains_so(store: Store) -> None:
    store.write([point(value=7, state=State.CORRECTED)])
    store.write([point(value=7, state=State.FINAL)])
    assert [(one.value, one.state) for one in store.points("edits", "1m")] == [(7, State.CORRECTED)]


def test_the_same_value_of_more_events_is_a_correction(store: Store) -> None:
    store.write([point(value=7, state=State.FINAL)])
    store.write([replace(point(value=7, state=State.FINAL), count=2)])
    assert [(one.count, one.state) for one in store.points("edits", "1m")] == [(2, State.CORRECTED)]


# Pruning.


def test_prune_takes_the_points_of_one_window_before_a_time(store: Store) -> None:
    minutes = [point(START_MS + i * MINUTE_MS) for i in range(4)]
    hours = [point(window="1h")]
    store.write(minutes + hours)
    assert store.prune("1m", START_MS + 3 * MINUTE_MS) == 3
    assert store.points("edits", "1m") == minutes[3:]
    assert store.points("edits", "1h") == hours
    assert store.prune("1m", START_MS) == 0


def test_pruning_takes_a_transaction_for_so_many_points(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sinks.store._POINTS_A_PRUNE", 7)
    channels = [(("channel", str(number)),) for number in range(3)]
    store.write([point(START_MS + i * MINUTE_MS, dimensions=one) for one in channels for i in range(10)])
    assert store.prune("1m", START_MS + 7 * MINUTE_MS) == 21
    assert {(one.start_ms - START_MS) // MINUTE_MS for one in store.points("edits", "1m")} == {7, 8, 9}
    assert store.prune("1m", START_MS + 9 * MINUTE_MS) == 6


def test_what_would_be_pruned_is_told_beforehand(store: Store) -> None:
    channels = [(("channel", str(number)),) for number in range(450)]
    store.write([point(START_MS + n % 9 * MINUTE_MS, dimensions=one) for n, one in enumerate(channels)])
    store.write([point(START_MS - DAY_MS, window="1h")])
    assert store.before("1m", START_MS) == (0, None)
    assert store.before("1m", START_MS + 2 * MINUTE_MS) == (100, START_MS)
    assert store.prune("1m", START_MS + 2 * MINUTE_MS) == 100
    assert store.before("1m", START_MS + DAY_MS) == (350, START_MS + 2 * MINUTE_MS)


def test_how_far_time_has_come(store: Store) -> None:
    assert store.newest_ms() is None
    store.write([point(START_MS, watermark_ms=1 << 62)])
    # All was read is no time.
    assert store.newest_ms() == START_MS
    store.write([point(START_MS, metric="views", watermark_ms=START_MS + 5)])
    assert store.newest_ms() == START_MS + 5
    store.write([point(START_MS - DAY_MS, metric="views", watermark_ms=START_MS + 7)])
    store.write([point(START_MS + 1, metric="views", window="total", watermark_ms=START_MS + 6)])
    assert store.newest_ms() == START_MS + 6


def test_a_series_left_empty_goes_and_may_come_back(store: Store, database_url: str) -> None:
    many = [point(dimensions=(("channel", str(i)),)) for i in range(450)]
    store.write(many)
    assert store.prune("1m", START_MS + 1) == 450
    assert _count(database_url, "series") == _count(database_url, "series_dimension") == 0
    store.write(many[:3])
    assert store.points("edits", "1m", dimensions={"channel": "2"}) == [many[2]]


def test_a_writer_survives_the_pruning_of_its_series_by_another(store: Store, database_url: str) -> None:
    other = Store(database_url)
    store.write([point()])
    assert other.prune("1m", START_MS + 1) == 1
    other.write([point(metric="views")])
    store.write([point(value=2)])
    assert store.points("edits", "1m") == [point(value=2)]
    assert store.points("views", "1m") == [point(metric="views")]
    other.close()


def _count(url: str, table: str) -> int:
    [(number,)] = sql(url, f"SELECT count(*) FROM {table}")
    return int(number)


# Several at once.


def _rounds(channel: str, rounds: int) -> Iterator[Sequence[Point]]:
    for revision in range(1, rounds + 1):
        yield [
            point(START_MS + i * MINUTE_MS, revision, dimensions=(("channel", channel),), revision=revision)
            for i in range(50)
        ]


def test_threads_share_a_store(database_url: str) -> None:
    store = Store(database_url)
    store.setup()
    failures: list[BaseException] = []

    def write(channel: str) -> None:
        try:
            for points in _rounds(channel, 10):
                store.write(points)
        except BaseException as error:
            failures.append(error)

    def read() -> None:
        try:
            for _ in range(40):
                found = store.points("edits", "1m", dimensions={"channel": "#0"})
                assert len({one.revision for one in found}) <= 1, "half a transaction was read"
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(f"#{i}",)) for i in range(4)]
    threads += [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert {one.revision for one in store.points("edits", "1m")} == {10}
    assert len(store.points("edits", "1m")) == 200
    store.close()


_WRITER = """
import sys
from sinks.records import Point, State
from sinks.store import Store
from tests.postgres import only_sqlite, sql

store = Store(sys.argv[1])
store.setup()
for revision in range(1, 31):
    store.write([
        Point("edits", "1m", i * 60_000, (("by", sys.argv[2]),), revision, 1, State.OPEN, revision, 0)
        for i in range(100)
    ])
store.close()
"""


def test_processes_share_a_database(database_url: str) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", _WRITER, database_url, name]) for name in ("one", "two")]
    store = Store(database_url)
    store.setup()
    try:
        while any(writer.poll() is None for writer in writers):
            revisions = {one.revision for one in store.points("edits", "1m", dimensions={"by": "one"})}
            assert len(revisions) <= 1, "half a transaction was read"
    finally:
        statuses = [writer.wait(timeout=30) for writer in writers]
    assert statuses == [0, 0]
    assert {one.revision for one in store.points("edits", "1m")} == {30}
    assert len(store.points("edits", "1m")) == 200
    store.close()


# What goes wrong says what to do.


def test_setup_may_be_repeated(store: Store, database_url: str) -> None:
    store.write([point()])
    store.setup()
    again = Store(database_url)
    again.setup()
    assert again.points("edits", "1m") == [point()]
    again.close()


@only_sqlite
def test_a_locked_database_is_retryable(store: Store, path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Retryable, match="another process holds the database"):
        store.write([point()])
    assert store.points("edits", "1m") == []
    other.execute("ROLLBACK")
    other.close()
    store.write([point()])
    assert store.points("edits", "1m") == [point()]


@only_sqlite
def test_a_full_disk_is_retryable_and_loses_nothing_written(store: Store, path: Path) -> None:
    store.write([point()])
    with store._engine.connect() as connection:
        # A limit of pages answers as a full disk does, with SQLITE_FULL.
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    many = [point(START_MS + i, dimensions=(("channel", "x" * 500 + str(i)),)) for i in range(500)]
    with pytest.raises(Retryable, match="disk is full"):
        store.write(many)
    with store._engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count=1000000")
    assert store.points("edits", "1m") == [point()]
    store.write(many)
    assert len(store.points("edits", "1m")) == 501


def test_a_directory_that_is_read_only_is_a_misconfiguration(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    user = os.geteuid()
    if user == 0:
        # Root may write anywhere, so it steps down to nobody for this.
        os.seteuid(65534)
    try:
        _expect_no_access(f"sqlite:///{tmp_path}/points.db")
    finally:
        os.seteuid(user)
        tmp_path.chmod(0o700)


def test_a_directory_that_is_not_there_is_a_misconfiguration(tmp_path: Path) -> None:
    _expect_no_access(f"sqlite:///{tmp_path}/nowhere/points.db")


@only_sqlite
def test_a_database_that_is_read_only_is_a_misconfiguration(store: Store, path: Path) -> None:
    store.write([point()])
    _expect_no_access(f"sqlite:///file:{path}?mode=ro&uri=true")


def _expect_no_access(url: str) -> None:
    store = Store(url)
    with pytest.raises(Misconfigured, match=r"cannot be opened for writing.*DATABASE_URL"):
        store.write([point()])
    store.close()


def test_a_file_that_is_no_database_is_a_misconfiguration(path: Path) -> None:
    path.write_text("not a database, but long enough to have been one" * 100)
    store = Store(f"sqlite:///{path}")
    with pytest.raises(Misconfigured, match="not a sound SQLite database"):
        store.setup()
    store.close()


def test_a_store_that_was_not_set_up_says_so(database_url: str) -> None:
    store = Store(database_url)
    with pytest.raises(Misconfigured, match=r"(no such table|does not exist)(?s:.*)setup\(\)"):
        store.points("edits", "1m")
    store.close()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("points.db", "expected one like sqlite:////"),
        ("mysql://localhost/points", "expected sqlite or postgresql"),
        ("sqlite://", "in memory, expected a file"),
        ("sqlite:///:memory:", "in memory, expected a file"),
        ("postgresql+nothing://localhost/points", "psycopg"),
    ],
)
def test_a_url_that_can_never_work_is_refused_at_once(url: str, says: str) -> None:
    with pytest.raises(Misconfigured, match=says):
        Store(url)
