from __future__ import annotations

from collections.abc import Iterator

import pytest

from sinks.audit_store import Action, AuditStore, Entry
from sinks.errors import SinkError
from tests.postgres import sql

PERSON = "a3" * 16


@pytest.fixture
def store(database_url: str) -> Iterator[AuditStore]:
    made = AuditStore(database_url)
    made.setup()
    yield made
    made.close()


def test_what_is_written_is_read_the_newest_first(store: AuditStore) -> None:
    read = Entry(1_000, "key:abc", Action.READ_PERSON, PERSON)
    exported = Entry(2_000, "user:ada", Action.EXPORTED, "orders", "csv")
    for entry in (read, exported):
        store.write(entry)
    assert store.read() == [exported, read]
    assert store.read(limit=1) == [exported]
    assert store.read(from_ms=1_001) == [exported]
    assert store.read(who="key:abc") == [read]
    assert store.read(action=Action.EXPORTED) == [exported]
    assert store.read(subject=PERSON) == [read]


def test_nothing_in_the_log_can_be_changed_or_deleted(store: AuditStore, database_url: str) -> None:
    store.write(Entry(1_000, "local", Action.ERASED, PERSON))
    ways = ["UPDATE audit SET who = 'nobody'", "DELETE FROM audit"]
    if database_url.startswith("postgresql"):
        ways.append("TRUNCATE audit")
    for way in ways:
        with pytest.raises(Exception, match="the audit log only grows"):
            sql(database_url, way)
    assert len(store.read()) == 1


def test_a_pseudonym_is_not_among_the_bytes_of_the_store(store: AuditStore, database_url: str) -> None:
    store.write(Entry(1_000, "local", Action.ERASED, PERSON))
    [row] = sql(database_url, "SELECT subject FROM audit")
    assert row == ("a3a3a3a3-a3a3-a3a3-a3a3-a3a3a3a3a3a3",)


def test_what_a_client_sent_is_cut(store: AuditStore) -> None:
    store.write(Entry(1_000, "x" * 9_999, Action.REFUSED, "y" * 9_999, "z" * 9_999))
    [entry] = store.read()
    assert (len(entry.who), len(entry.subject), len(entry.detail)) == (500, 500, 500)


def test_a_log_that_cannot_be_written_is_said() -> None:
    with pytest.raises(SinkError):
        AuditStore("sqlite:////nowhere/at/all.db").write(Entry(1_000, "local", Action.ERASED, PERSON))
