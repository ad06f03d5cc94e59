from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sinks.errors import Misconfigured, Retryable
from sinks.person_records import PersonLine
from sinks.person_store import PersonStore
from tests.postgres import only_sqlite

START_MS = 1_442_016_000_000
ADA, BOB = "0a" * 16, "fe" * 16


def line(reference: int = 1, at: int = 0, *, person: str = ADA, kind: str = "session", **fields: Any) -> PersonLine:
    return PersonLine(person, kind, reference, START_MS + at, fields)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "points.db"


@pytest.fixture
def store(database_url: str) -> Iterator[PersonStore]:
    store = PersonStore(database_url, busy_timeout_s=0.2)
    store.setup()
    yield store
    store.close()


def put(store: PersonStore, *lines: PersonLine) -> None:
    store.write([(one, False) for one in lines])


def test_a_line_comes_back_as_it_was(store: PersonStore) -> None:
    told = line(7, pages=3, duration_s=12.5, bounced=False, entry_page="a “page”\0\n", device="")
    put(store, told)
    assert store.of(ADA) == [told]
    assert told.to_json() == {
        "kind": "session",
        "reference": "0000000000000007",
        "at": "2015-09-12T00:00:00Z",
        "fields": {"pages": 3, "duration_s": 12.5, "bounced": False, "entry_page": "a “page”\0\n", "device": ""},
    }


@pytest.mark.parametrize("reference", [0, 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
def test_any_64_bits_are_a_reference(store: PersonStore, reference: int) -> None:
    put(store, line(reference))
    assert store.of(ADA) == [line(reference)]
    store.write([(line(reference), True)])
    assert store.of(ADA) == []


def test_the_latest_come_first_and_some_may_be_asked_for(store: PersonStore) -> None:
    told = [line(1, 5), line(2, 9), line(3, 7, kind="funnel"), line(1, 5, kind="event"), line(1, 8, person=BOB)]
    put(store, *told)
    assert store.of(ADA) == [told[1], told[2], told[3], told[0]]
    assert store.of(ADA, 2) == [told[1], told[2]]
    assert store.of(ADA, 1, kind="session") == [told[1]]
    assert store.of(BOB) == [told[4]]
    assert store.of("00" * 16) == []
    assert (store.count(ADA), store.count(BOB), store.count("00" * 16)) == (4, 1, 0)


def test_a_line_replaces_the_one_of_its_key(store: PersonStore) -> None:
    put(store, line(1, pages=1))
    put(store, line(1, 3, pages=2), line(1, 4, pages=3), line(1, kind="event"))
    assert store.of(ADA) == [line(1, 4, pages=3), line(1, kind="event")]


def test_numbers_that_json_has_not_are_left_out(store: PersonStore) -> None:
    put(store, line(1, a=math.nan, b=math.inf, c=1.5))
    assert store.of(ADA) == [line(1, c=1.5)]


words = st.lists(
    st.tuples(st.sampled_from([ADA, BOB]), st.sampled_from(["session", "event"]), st.integers(0, 2), st.booleans()),
    max_size=12,
)


@given(words, st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
def test_the_last_word_stands_however_words_are_batched(
    store: PersonStore, said: list[tuple[str, str, int, bool]], data: st.DataObject
) -> None:
    for person in (ADA, BOB):
        store.forget(person)
    lines = [(line(ref, n, person=who, kind=kind, n=n), gone) for n, (who, kind, ref, gone) in enumerate(said)]
    cut = data.draw(st.integers(0, len(lines)))
    store.write(lines[:cut])
    store.write(lines[cut:])
    store.write(lines[cut:])
    last = {(one.person, one.kind, one.reference): (one, gone) for one, gone in lines}
    for person in (ADA, BOB):
        expected = [one for one, gone in last.values() if one.person == person and not gone]
        assert store.of(person) == sorted(expected, key=lambda one: -one.at_ms)


def test_who_is_forgotten_is_gone_and_nobody_else(store: PersonStore) -> None:
    put(store, line(1), line(2), line(1, kind="event"), line(1, person=BOB))
    assert store.forget(ADA) == 3
    assert (store.count(ADA), store.count(BOB)) == (0, 1)
    assert store.forget(ADA) == 0


def test_old_lines_go(store: PersonStore) -> None:
    people = [f"{part:02x}" * 16 for part in range(256)]
    put(store, *(line(n, at, person=person) for person in people for n, at in enumerate((0, 10, 20))))
    assert store.prune(START_MS + 10) == 256
    assert store.prune(START_MS + 10) == 0
    assert {store.count(person) for person in people} == {2}


# The database.


@only_sqlite
def test_a_write_is_whole_or_not_at_all(store: PersonStore, path: Path) -> None:
    put(store, line(1))
    with sqlite3.connect(path) as connection:
        connection.execute(
            "CREATE TRIGGER t BEFORE INSERT ON person_lines WHEN new.reference = 9"
            " BEGIN SELECT RAISE(ABORT, 'not that one'); END"
        )
    connection.close()
    with pytest.raises(Misconfigured, match="not that one"):
        store.write([(line(1), True), (line(2), False), (line(9), False)])
    assert store.of(ADA) == [line(1)]


def test_nothing_to_write_needs_no_database(tmp_path: Path) -> None:
    store = PersonStore(f"sqlite:///{tmp_path}/nowhere/points.db")
    store.write([])
    with pytest.raises(Misconfigured, match="DATABASE_URL"):
        put(store, line())
    store.close()


@only_sqlite
def test_another_writer_is_waited_for_and_then_retryable(store: PersonStore, path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Retryable, match="holds the database"):
        put(store, line())
    assert store.of(ADA) == []
    other.execute("COMMIT")
    put(store, line())
    assert store.count(ADA) == 1
    other.close()


def test_who_is_forgotten_as_an_entry_asks_is_noted_with_it(store: PersonStore) -> None:
    put(store, line(1), line(2), line(1, person=BOB))
    assert not store.has_forgotten("5-0")
    assert store.forget(ADA, "5-0") == 2
    assert store.has_forgotten("5-0")
    assert not store.has_forgotten("5-1")
    assert store.forget(ADA, "5-0") == 0, "the same again, after a crash"
    assert (store.count(ADA), store.count(BOB)) == (0, 1)


@only_sqlite
def test_scrubbed_no_byte_of_a_deleted_row_is_left(store: PersonStore, path: Path) -> None:
    put(store, *(line(number, page="x" * 300) for number in range(400)), line(1, person=BOB))
    store.forget(ADA, "5-0")
    assert store.scrub()
    content = path.read_bytes() + Path(f"{path}-wal").read_bytes()
    assert ADA.encode() not in content
    assert BOB.encode() in content
    assert store.count(BOB) == 1


@only_sqlite
def test_scrubbing_waits_for_who_writes(store: PersonStore, path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Retryable):
        store.scrub()
    other.execute("ROLLBACK")
    other.close()
    assert store.scrub()
