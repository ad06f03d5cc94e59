from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import valkey

from sinks.errors import Retryable
from sinks.live_scores import LiveScores
from sinks.score_store import ScoreStore
from stream.batches import Forgotten, Scores
from stream.meters import Meters
from stream.score_writers import ScoreSinks, model_writer, person_score_writer
from stream.writers import Patience
from tests.scores import ADA, AS_OF_MS, BOB, CID, DAY_MS, score, status
from tests.servers import ValkeyServer

KEY = "streamgauge:scores:shop"


@pytest.fixture(scope="module")
def client() -> Iterator[valkey.Valkey]:
    with ValkeyServer() as server:
        client = valkey.Valkey.from_url(server.connection_url)
        yield client
        client.close()


@pytest.fixture
def sinks(tmp_path: Path, client: valkey.Valkey) -> Iterator[ScoreSinks]:
    client.flushall()
    store = ScoreStore(f"sqlite:///{tmp_path / 'points.db'}", busy_timeout_s=0.1)
    store.setup()
    yield ScoreSinks(store, LiveScores(client, KEY))
    store.close()


@pytest.fixture
def meters() -> Meters:
    return Meters(lambda: 0)


def patience(name: str, meters: Meters, budget_s: float | None = 1.0) -> Patience:
    return Patience(name, threading.Event(), budget_s, meters)


def read(meters: Meters, name: str, **labels: str) -> float | None:
    return meters.registry.get_sample_value(f"streamgauge_processor_{name}", labels)


def kept(sinks: ScoreSinks, client: valkey.Valkey) -> tuple[list[str], list[str]]:
    """Who has a score in the store, and who in the hash."""
    found: list[bytes] = client.hkeys(KEY)  # type: ignore[assignment]
    return sorted(one.score.person for one in sinks.store.at_risk()), sorted(key.decode() for key in found)


def test_a_day_is_in_both_places_and_who_left_in_none(sinks: ScoreSinks, client: valkey.Valkey, meters: Meters) -> None:
    write = person_score_writer(sinks, patience("person_scores", meters), patience("live_scores", meters), meters)
    days = [
        Scores(AS_OF_MS, [score(ADA), score(BOB)]),
        Scores(AS_OF_MS + DAY_MS, [score(BOB, 0.3, 1), score(CID, 0.6, 1)], left=[ADA]),
    ]
    write([*days])
    assert kept(sinks, client) == ([CID, BOB], [CID, BOB])
    write([days[0]])
    write([days[1]])
    assert kept(sinks, client) == ([CID, BOB], [CID, BOB]), "a replay ends where it ended"
    found = sinks.store.of(BOB)
    assert found is not None
    assert found.score == score(BOB, 0.3, 1)
    assert read(meters, "sent_points_total", sink="person_scores") == 8


def test_who_is_forgotten_has_no_score_anywhere_and_gets_none_that_was_said_before(
    sinks: ScoreSinks, client: valkey.Valkey, meters: Meters
) -> None:
    write = person_score_writer(sinks, patience("person_scores", meters), patience("live_scores", meters), meters)
    write([Scores(AS_OF_MS, [score(ADA), score(BOB)]), Forgotten(ADA, "1-0")])
    assert kept(sinks, client) == ([BOB], [BOB])
    assert sinks.store.has_forgotten("1-0")
    write([Forgotten(CID, "2-0")])
    assert sinks.store.has_forgotten("2-0"), "also where there was nothing"


def test_a_crowd_is_written_a_part_at_a_time(sinks: ScoreSinks, client: valkey.Valkey, meters: Meters) -> None:
    write = person_score_writer(sinks, patience("person_scores", meters), patience("live_scores", meters), meters)
    crowd = [score(f"{n:032x}") for n in range(10_001)]
    write([Scores(AS_OF_MS, crowd)])
    assert sum(one.people for one in sinks.store.counts()) == client.hlen(KEY) == 10_001


def test_nobody_counts_as_forgotten_while_the_hash_still_has_them(sinks: ScoreSinks, meters: Meters) -> None:
    away = valkey.Valkey(port=1, socket_connect_timeout=0.2)
    sinks.store.write([score()])
    gone = ScoreSinks(sinks.store, LiveScores(away, KEY))
    write = person_score_writer(gone, patience("person_scores", meters), patience("live_scores", meters, 0.05), meters)
    with pytest.raises(Retryable):
        write([Forgotten(ADA, "1-0")])
    assert not sinks.store.has_forgotten("1-0")
    away.close()


def test_a_database_that_is_away_for_a_while_is_waited_for(sinks: ScoreSinks, meters: Meters, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "points.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    letting_go = threading.Timer(0.3, lambda: other.execute("COMMIT"))
    letting_go.start()
    person_score_writer(sinks, patience("person_scores", meters, 9.0), patience("live_scores", meters), meters)(
        [Scores(AS_OF_MS, [score()])]
    )
    letting_go.join()
    model_writer(sinks.store, patience("models", meters))([status(), status(day=1)])
    other.close()
    assert sinks.store.of(ADA) is not None
    assert sinks.store.models() == [status(day=1)]
    assert read(meters, "retries_total", stage="person_scores")


def test_a_full_server_is_told_of_and_the_store_has_the_scores(
    sinks: ScoreSinks, client: valkey.Valkey, meters: Meters
) -> None:
    write = person_score_writer(sinks, patience("person_scores", meters), patience("live_scores", meters), meters)
    client.config_set("maxmemory", 1)
    try:
        write([Scores(AS_OF_MS, [score()])])
    finally:
        client.config_set("maxmemory", 0)
    assert kept(sinks, client) == ([ADA], [])
    assert read(meters, "errors_total", stage="live_scores") == 1
