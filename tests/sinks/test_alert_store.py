from __future__ import annotations

import math
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sinks.alert_records import Alert, AlertStatus, Resolution, Scored, Severity, Silence
from sinks.alert_store import AlertStore, Watched
from sinks.errors import Misconfigured, Retryable
from sinks.records import Dimensions, Point, State
from sinks.store import Store
from tests.postgres import only_sqlite, sql

START_MS = 1_442_016_000_000
MINUTE_MS = 60_000
DAY_MS = 86_400_000
EN: Dimensions = (("channel", "#en"), ("bot", "no"))


def alert(id_: str = "a1", **over: Any) -> Alert:
    fields: dict[str, Any] = {
        "id": id_,
        "rule": "edits_low",
        "metric": "edits",
        "window": "1m",
        "dimensions": EN,
        "severity": Severity.WARNING,
        "status": AlertStatus.FIRING,
        "opened_ms": START_MS,
        "last_seen_ms": START_MS,
        "score": 4.5,
        "peak": 5.0,
        "why": "lowest in 8 days",
        "actual": 3.0,
        "expected": 40.0,
        "lower": 12.0,
        "upper": 68.5,
    }
    return Alert(**fields | over)


def scored(start: int = 0, score: float = 0.5, **over: Any) -> Scored:
    fields: dict[str, Any] = {
        "rule": "edits_low",
        "metric": "edits",
        "window": "1m",
        "start_ms": START_MS + start * MINUTE_MS,
        "dimensions": EN,
        "value": 3.0,
        "score": score,
        "warm": True,
        "anomalous": False,
    }
    return Scored(**fields | over)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "points.db"


@pytest.fixture
def store(database_url: str) -> Iterator[AlertStore]:
    store = AlertStore(database_url, busy_timeout_s=0.2)
    store.setup()
    yield store
    store.close()


# Alerts.


def test_an_alert_comes_back_as_it_was(store: AlertStore) -> None:
    plain = alert("a1", dimensions=(), actual=None, expected=None, lower=None, upper=None)
    whole = alert(
        "a2",
        severity=Severity.CRITICAL,
        status=AlertStatus.RESOLVED,
        opened_ms=START_MS - MINUTE_MS,
        acked_by="Ada",
        acked_ms=START_MS + 1,
        resolved_ms=START_MS + 2,
        resolution=Resolution.BY_HAND,
        resolved_by="Bo\0b",
        note="a line\nand “another”",
        muted_by="edits_all",
        silenced_until_ms=START_MS + DAY_MS,
    )
    store.write([plain, whole])
    assert store.alerts() == [plain, whole]
    assert store.alert("a2") == whole
    assert store.alert("a3") is None


def test_numbers_that_json_has_not_do_no_harm(store: AlertStore) -> None:
    store.write([alert(score=math.inf, peak=math.nan, actual=math.nan)])
    found = store.alert("a1")
    assert found is not None
    assert (found.score, found.peak, found.actual) == (1.7976931348623157e308, 0.0, None)


def test_what_alerts_are_asked_by(store: AlertStore) -> None:
    ended = {"status": AlertStatus.RESOLVED, "resolved_ms": START_MS + 5 * MINUTE_MS}
    told = [
        alert("a", opened_ms=START_MS + 2),
        alert("b", opened_ms=START_MS + 1, status=AlertStatus.ACKNOWLEDGED, severity=Severity.CRITICAL),
        alert("c", opened_ms=START_MS, rule="other", last_seen_ms=START_MS + MINUTE_MS),
        alert("d", opened_ms=START_MS - 1, **ended),
    ]
    store.write(told[::-1])

    def ids(**asked: Any) -> str:
        return "".join(one.id for one in store.alerts(**asked))

    assert ids() == "abcd"
    assert ids(limit=2) == "ab"
    assert ids(active=True) == "abc"
    assert ids(status=AlertStatus.ACKNOWLEDGED) == "b"
    assert ids(status=AlertStatus.RESOLVED) == "d"
    assert ids(severity=Severity.WARNING) == "acd"
    assert ids(rule="other") == "c"
    # Anything that happened since: the end of the last strange window, or of the alert.
    assert ids(since_ms=START_MS + MINUTE_MS) == "cd"
    assert ids(since_ms=START_MS + MINUTE_MS + 1, active=True) == ""


EPISODE = [
    alert(),
    alert(last_seen_ms=START_MS + MINUTE_MS, severity=Severity.CRITICAL),
    alert(last_seen_ms=START_MS + MINUTE_MS, status=AlertStatus.ACKNOWLEDGED, acked_by="Ada", acked_ms=START_MS + 7),
    alert(
        last_seen_ms=START_MS + MINUTE_MS,
        status=AlertStatus.RESOLVED,
        acked_by="Ada",
        acked_ms=START_MS + 7,
        resolved_ms=START_MS + 3 * MINUTE_MS,
        resolution=Resolution.RECOVERED,
    ),
]


@pytest.mark.parametrize("order", list(permutations(range(4))))
@pytest.mark.parametrize("at_once", [True, False])
def test_a_replay_never_leads_back(store: AlertStore, order: tuple[int, ...], at_once: bool) -> None:
    said = [EPISODE[i] for i in order]
    if at_once:
        store.write(said)
    for one in [] if at_once else said:
        store.write([one])
    assert store.alerts() == [EPISODE[-1]]


def test_a_resolved_one_opens_again_only_with_what_came_later(store: AlertStore) -> None:
    store.write(EPISODE)
    again = alert(last_seen_ms=START_MS + 3 * MINUTE_MS)
    store.write([again])
    assert store.alert("a1") == EPISODE[-1]
    later = replace(again, last_seen_ms=START_MS + 3 * MINUTE_MS + 1)
    store.write([later])
    assert store.alert("a1") == later


def test_of_one_moment_the_last_word_stands(store: AlertStore) -> None:
    silenced = alert(silenced_until_ms=START_MS + DAY_MS)
    store.write([alert(), silenced])
    assert store.alert("a1") == silenced
    store.write([alert()])
    assert store.alert("a1") == alert()


# Scores.


def test_scores_come_back_as_they_were(store: AlertStore) -> None:
    told = [
        scored(0, value=None, warm=False),
        scored(1, expected=40.0, lower=12.0, upper=68.5),
        scored(2, 7.25, anomalous=True, why="lowest in 8 days"),
    ]
    store.write(scored=told[::-1])
    assert store.scores("edits", "1m") == told
    assert store.scores("edits", "10s") == store.scores("views", "1m") == []


def test_a_score_is_an_upsert(store: AlertStore) -> None:
    store.write(scored=[scored(0, 1.0), scored(1, 1.0)])
    store.write(scored=[scored(0, 2.0), scored(0, 3.0), scored(0, 9.0, rule="other")])
    assert [(one.rule, one.score) for one in store.scores("edits", "1m")] == [
        ("edits_low", 3.0),
        ("other", 9.0),
        ("edits_low", 1.0),
    ]


def test_a_rule_that_moves_to_another_window_takes_its_series_along(store: AlertStore) -> None:
    store.write(scored=[scored(0)])
    store.write(scored=[scored(1, window="1h")])
    assert store.scores("edits", "1m") == []
    assert len(store.scores("edits", "1h")) == 2


def test_scores_that_json_has_not(store: AlertStore) -> None:
    told = [scored(0, math.inf), scored(1, -math.inf), scored(2, math.nan, value=math.nan, upper=math.inf)]
    store.write(scored=told)
    found = store.scores("edits", "1m")
    assert [one.score for one in found] == [1.7976931348623157e308, -1.7976931348623157e308, 0.0]
    assert (found[2].value, found[2].upper) == (None, None)


def test_a_range_of_scores_is_half_open_and_cut_at_a_length(store: AlertStore) -> None:
    told = [scored(i, float(i)) for i in range(5)]
    store.write(scored=told)
    found = store.scores("edits", "1m", from_ms=START_MS + MINUTE_MS, to_ms=START_MS + 3 * MINUTE_MS)
    assert found == told[1:3]
    assert store.scores("edits", "1m", limit=2) == told[:2]


texts = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.lists(st.tuples(texts, texts), max_size=4, unique_by=lambda pair: pair[0]).map(tuple))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
def test_any_text_may_be_a_dimension_and_be_asked_for(store: AlertStore, dimensions: Dimensions) -> None:
    written = scored(dimensions=dimensions)
    store.write([alert("any", dimensions=dimensions)], [written])
    assert written in store.scores("edits", "1m", dimensions=dict(dimensions))
    for name, value in dimensions:
        assert written in store.scores("edits", "1m", dimensions={name: value})
        assert written not in store.scores("edits", "1m", dimensions={name: value + "x"})


def test_more_series_than_a_statement_has_parameters(store: AlertStore) -> None:
    told = [scored(start, dimensions=(("channel", f"{i:04}"),)) for start in range(2) for i in range(700)]
    store.write(scored=told)
    assert store.scores("edits", "1m") == told
    assert store.scores("edits", "1m", limit=701) == told[:701]
    assert store.scores("edits", "1m", dimensions={"channel": "0650"}) == [told[650], told[1350]]


def test_old_scores_go_and_so_do_series_without_any(store: AlertStore, database_url: str) -> None:
    old = scored(0, dimensions=(("channel", "#gone"),))
    told = [scored(i) for i in range(4)]
    store.write(scored=[old, *told])
    assert store.prune(START_MS + 2 * MINUTE_MS) == 3
    assert store.scores("edits", "1m") == told[2:]
    assert sql(database_url, "SELECT count(*) FROM scored_series") == [(1,)]
    store.write(scored=[old])
    assert store.scores("edits", "1m") == [old, *told[2:]]
    assert store.prune(START_MS) == 0


# Silences and rules.


def test_silences_are_those_that_have_not_ended(store: AlertStore) -> None:
    short = Silence("s1", "Ada", "a planned\nmigration", START_MS, START_MS + 10, "edits_low", EN)
    long = Silence("s2", "Bob", "everything", START_MS, START_MS + 20)
    store.write(silences=[long, short])
    assert store.silences(START_MS) == [short, long]
    assert store.silences(START_MS + 10) == [long]
    # Ended before its time.
    store.write(silences=[long, replace(long, until_ms=START_MS + 5)])
    assert store.silences(START_MS + 5) == [short]


def test_what_rules_watch_over(store: AlertStore) -> None:
    assert store.watched() == {}
    store.write(watch={"a": {"learning": 3, "ok": 20}, "b": {}}, at_ms=START_MS)
    store.write(watch={"a": {"ok": 23}}, at_ms=START_MS + 1)
    assert store.watched() == {"a": Watched(START_MS + 1, {"ok": 23}), "b": Watched(START_MS, {})}


# The database.


def test_it_shares_a_database_with_the_points(store: AlertStore, database_url: str) -> None:
    points = Store(database_url)
    points.setup()
    one = Point("edits", "1m", START_MS, EN, 3, 3, State.FINAL, 1, START_MS)
    points.write([one])
    store.write([alert()], [scored()])
    points.prune("1m", START_MS + DAY_MS)
    store.setup()
    assert store.scores("edits", "1m") == [scored()]
    points.close()


def test_a_write_is_whole_or_not_at_all(store: AlertStore, database_url: str) -> None:
    sql(database_url, "DROP TABLE silences")
    silence = Silence("s", "Ada", "", START_MS, START_MS + 1)
    with pytest.raises(Misconfigured, match="silences"):
        store.write([alert()], [scored()], silences=[silence], watch={"a": {}}, at_ms=1)
    assert store.alerts() == []
    assert store.scores("edits", "1m") == []
    assert store.watched() == {}


def test_nothing_to_write_needs_no_database(tmp_path: Path) -> None:
    store = AlertStore(f"sqlite:///{tmp_path}/nowhere/points.db")
    store.write()
    store.write([], [], watch={})
    with pytest.raises(Misconfigured, match="DATABASE_URL"):
        store.write([alert()])
    store.close()


@only_sqlite
def test_another_writer_is_waited_for_and_then_retryable(store: AlertStore, path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Retryable, match="holds the database"):
        store.write([alert()])
    threading.Timer(0.05, lambda: other.execute("COMMIT")).start()
    store.write([alert()])
    assert store.alerts() == [alert()]
    other.close()
