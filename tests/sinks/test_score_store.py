from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sinks.errors import Misconfigured, Retryable
from sinks.score_records import Level, PersonScore
from sinks.score_store import ScoreStore
from tests.postgres import only_sqlite
from tests.scores import ADA, AS_OF_MS, BOB, CID, DAY_MS, score, status


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "points.db"


@pytest.fixture
def store(database_url: str) -> Iterator[ScoreStore]:
    store = ScoreStore(database_url, busy_timeout_s=0.2)
    store.setup()
    yield store
    store.close()


def persons(store: ScoreStore, **asked: object) -> list[str]:
    return [one.score.person for one in store.at_risk(**asked)]  # type: ignore[arg-type]


def test_a_score_comes_back_as_it_was(store: ScoreStore) -> None:
    told = [score(), score(BOB, 0.1 + 0.2, was=Level.HIGH, factors=(), actions=(), segment="“new”\n", proven=False)]
    store.write(told)
    for one in told:
        found = store.of(one.person)
        assert found is not None
        assert found.score == one
        assert found.changed_ms == AS_OF_MS
    assert store.of(CID) is None


def test_the_highest_come_first_level_by_level(store: ScoreStore) -> None:
    chances = [0.05, 0.5, 0.55, 0.79, 0.8, 0.8, 0.93]
    told = [score(f"{n:02x}" * 16, chance) for n, chance in enumerate(chances)]
    store.write(told)
    expected = sorted(told, key=lambda one: (-one.probability, one.person))
    assert persons(store) == [one.person for one in expected]
    assert persons(store, level=Level.HIGH) == [one.person for one in expected if one.probability >= 0.8]
    assert persons(store, level=Level.MEDIUM, limit=2) == [told[3].person, told[2].person]


@given(
    st.lists(st.sampled_from([0.0, 0.2, 0.5, 0.5000000001, 0.7, 0.8, 1.0]), max_size=12),
    st.integers(1, 5),
    st.sampled_from([None, *Level]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
def test_pages_together_are_the_whole(store: ScoreStore, chances: list[float], size: int, level: Level | None) -> None:
    store.drop((f"{n:032x}" for n in range(12)), AS_OF_MS + 1)
    store.write([score(f"{n:032x}", chance) for n, chance in enumerate(chances)])
    whole = store.at_risk(level)
    assert len(whole) == sum(level is None or one.score.level is level for one in store.at_risk())
    pages, after = [], None
    while page := store.at_risk(level, size, after=after):
        assert len(page) <= size
        pages += page
        after = page[-1].place
    assert pages == whole


def test_some_may_be_asked_for(store: ScoreStore) -> None:
    store.write([score(ADA, 0.9), score(BOB, 0.85, segment="new"), score(CID, 0.6)])
    store.write([score(ADA, 0.95, 1), score(BOB, 0.7, 1, segment="new"), score(CID, 0.9, 1)])
    assert persons(store, segment="new") == [BOB]
    assert persons(store, segment="nobody's") == []
    assert persons(store, changed_since_ms=AS_OF_MS + 1) == [CID, BOB], "of Ada the same is said as before"
    assert persons(store, changed_since_ms=AS_OF_MS) == [ADA, CID, BOB]
    assert persons(store, level=Level.HIGH, changed_since_ms=AS_OF_MS + DAY_MS, segment="often, of late") == [CID]
    assert [one.changed_ms - AS_OF_MS for one in store.at_risk()] == [0, DAY_MS, DAY_MS]


steps = st.lists(st.tuples(st.sampled_from([ADA, BOB]), st.integers(0, 4), st.sampled_from([0.3, 0.6, 0.9])))


@given(steps, st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
def test_the_latest_moment_stands_however_scores_are_batched_and_replayed(
    store: ScoreStore, said: list[tuple[str, int, float]], data: st.DataObject
) -> None:
    store.drop([ADA, BOB], AS_OF_MS + 9 * DAY_MS)
    told = [score(person, chance, day) for person, day, chance in said]
    cut = data.draw(st.integers(0, len(told)))
    store.write(told[:cut])
    store.write(told[cut:])
    last: dict[str, PersonScore] = {}
    for one in told:
        if one.person not in last or one.as_of_ms >= last[one.person].as_of_ms:
            last[one.person] = one
    for person in (ADA, BOB):
        found = store.of(person)
        assert (None if found is None else found.score) == last.get(person)


def test_a_replay_takes_nothing_back_not_even_when_a_level_changed(store: ScoreStore) -> None:
    days = [[score(ADA, 0.9)], [score(ADA, 0.6, 1)], [score(ADA, 0.7, 2)]]
    for day in [*days, *days[1:]]:
        store.write(day)
    store.drop([ADA], AS_OF_MS + DAY_MS)
    [found] = store.at_risk()
    assert found.score == days[2][0]
    assert found.changed_ms == AS_OF_MS + DAY_MS


def test_who_is_active_no_more_has_no_score(store: ScoreStore) -> None:
    crowd = [f"{n:032x}" for n in range(1_234)]
    store.write([score(person) for person in [*crowd, ADA]])
    store.write([score(crowd[0], day=1)])
    assert store.drop([*crowd, *crowd, BOB], AS_OF_MS + DAY_MS) == 1_233
    assert sorted(persons(store)) == sorted([ADA, crowd[0]])
    assert store.drop([], AS_OF_MS) == 0


def test_who_is_forgotten_is_gone_and_nobody_else(store: ScoreStore) -> None:
    store.write([score(), score(BOB)])
    assert not store.has_forgotten("5-0")
    assert store.forget(ADA, "5-0") == 1
    assert store.has_forgotten("5-0")
    assert not store.has_forgotten("5-1")
    assert store.forget(ADA, "5-0") == 0, "the same again, after a crash"
    assert persons(store) == [BOB]
    assert store.forget(BOB) == 1


def test_people_are_counted_by_level_and_segment(store: ScoreStore) -> None:
    assert store.counts() == []
    store.write([score(ADA, 0.25), score(BOB, 0.9), score(CID, 0.8, 1), score("00" * 16, 0.5, segment="new")])
    told = [(one.level, one.segment, one.people, one.expected, one.as_of_ms - AS_OF_MS) for one in store.counts()]
    assert told == [
        (Level.HIGH, "often, of late", 2, pytest.approx(1.7), DAY_MS),
        (Level.MEDIUM, "new", 1, 0.5, 0),
        (Level.LOW, "often, of late", 1, 0.25, 0),
    ]


def test_models_are_kept_by_name_and_never_go_back(store: ScoreStore) -> None:
    assert store.models() == []
    forecast = status("forecast edits@1m", quality={"mase": {"1": 0.5}, "coverage": math.nan}, drifted_ms=AS_OF_MS)
    store.write_models([status(day=1), forecast, status(day=2, samples=7), status(day=1)])
    [churn, found] = store.models()
    assert churn == status(day=2, samples=7)
    assert churn == store.model("churn")
    assert found.quality == {"mase": {"1": 0.5}, "coverage": None}, "JSON has no NaN"
    assert found.drifted_ms == AS_OF_MS
    assert store.model("nothing") is None
    store.write_models([status(samples=3)])
    assert store.model("churn") == churn


# The database.


@only_sqlite
def test_who_is_asked_for_is_found_by_an_index(store: ScoreStore, path: Path) -> None:
    with sqlite3.connect(path) as connection:
        by_level = connection.execute(
            "EXPLAIN QUERY PLAN SELECT * FROM churn_scores WHERE level = 'high' AND probability <= 0.9"
            " ORDER BY probability DESC, person LIMIT 10"
        ).fetchall()
        by_change = connection.execute("EXPLAIN QUERY PLAN SELECT * FROM churn_scores WHERE changed_ms >= 1").fetchall()
    connection.close()
    assert [row[3] for row in by_level] == [
        "SEARCH churn_scores USING INDEX churn_scores_by_level (level=? AND probability<?)"
    ]
    assert "churn_scores_by_change" in by_change[0][3]


@only_sqlite
def test_a_write_is_whole_or_not_at_all(store: ScoreStore, path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(
            f"CREATE TRIGGER t BEFORE INSERT ON churn_scores WHEN new.person = '{BOB}'"
            " BEGIN SELECT RAISE(ABORT, 'not that one'); END"
        )
    connection.close()
    with pytest.raises(Misconfigured, match="not that one"):
        store.write([score(), score(BOB)])
    assert persons(store) == []


def test_nothing_to_write_needs_no_database(tmp_path: Path) -> None:
    store = ScoreStore(f"sqlite:///{tmp_path}/nowhere/points.db")
    store.write([])
    store.write_models([])
    store.drop([], 0)
    with pytest.raises(Misconfigured, match="DATABASE_URL"):
        store.write([score()])
    store.close()


@only_sqlite
def test_another_writer_is_waited_for_and_then_retryable(store: ScoreStore, path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for write in (
        lambda: store.write([score()]),
        lambda: store.write_models([status()]),
        lambda: store.drop([ADA], AS_OF_MS),
        lambda: store.forget(ADA, "1-0"),
    ):
        with pytest.raises(Retryable, match="holds the database"):
            write()
    assert store.of(ADA) is None
    other.execute("COMMIT")
    store.write([score()])
    assert persons(store) == [ADA]
    other.close()
