from __future__ import annotations

from collections.abc import Iterator

import pytest

from sinks.alert_store import AlertStore
from sinks.pruned import PrunedStore
from sinks.records import Point, State
from sinks.store import Store
from tests.alerts import alert, resolved

MINUTE = 60_000
HOUR = 60 * MINUTE
START = 1_442_016_000_000
FAR_AHEAD = 1 << 62
NEVER = -(1 << 62)


def point(start_ms: int, watermark_ms: int, window: str = "1s", **dimensions: str) -> Point:
    return Point("edits", window, start_ms, tuple(dimensions.items()), 1, 1, State.FINAL, 1, watermark_ms)


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    made = Store(database_url)
    yield made
    made.close()


@pytest.fixture
def pruned(store: Store) -> PrunedStore:
    made = PrunedStore(store, {"1s": HOUR, "1m": 24 * HOUR})
    made.setup()
    return made


def starts(store: Store, window: str = "1s") -> list[int]:
    return [(one.start_ms - START) // MINUTE for one in store.points("edits", window)]


def test_what_is_older_than_its_window_is_kept_goes(store: Store, pruned: PrunedStore) -> None:
    for minute in range(0, 181, 5):
        at = START + minute * MINUTE
        pruned.write([point(at, at), point(at, at, "1m"), point(at, at, "1h")])
    # An hour of seconds, measured from the last watermark; a day of minutes; hours for ever.
    assert starts(store) == list(range(120, 181, 5))
    assert starts(store, "1m") == starts(store, "1h") == list(range(0, 181, 5))


def test_it_looks_every_five_minutes_of_event_time(store: Store, pruned: PrunedStore) -> None:
    pruned.write([point(START, START)])
    old = START - 2 * HOUR
    pruned.write([point(old, START + 4 * MINUTE)])
    assert starts(store) == [-120, 0]
    pruned.write([point(START + MINUTE, START + 5 * MINUTE - 1)])
    assert -120 in starts(store)
    pruned.write([point(START + 2 * MINUTE, START + 5 * MINUTE)])
    assert starts(store) == [0, 1, 2]


def test_a_replay_of_old_events_keeps_as_much_as_their_day_did(store: Store, pruned: PrunedStore) -> None:
    pruned.write([point(START + minute * MINUTE, START + minute * MINUTE) for minute in range(30)])
    pruned.write([point(START + 31 * MINUTE, START + 31 * MINUTE)])
    assert len(starts(store)) == 31


def test_the_end_of_all_input_is_no_time(store: Store, pruned: PrunedStore) -> None:
    pruned.write([point(START, START)])
    pruned.write([point(START + MINUTE, FAR_AHEAD)])
    pruned.write([point(START + 2 * MINUTE, FAR_AHEAD)])
    assert starts(store) == [0, 1, 2]
    pruned.write([point(START + 3 * MINUTE, START + 6 * MINUTE)])
    assert starts(store) == [0, 1, 2, 3]


@pytest.mark.parametrize("first", [[], [point(START, FAR_AHEAD)], [point(START, NEVER)]], ids=["none", "end", "never"])
def test_a_beginning_without_a_watermark_does_no_harm(store: Store, pruned: PrunedStore, first: list[Point]) -> None:
    pruned.write(first)
    pruned.write([point(START, START)])
    pruned.write([point(START + MINUTE, START + 6 * MINUTE)])
    assert starts(store) == [0, 1]


def test_a_watermark_that_stays_behind_prunes_nothing(store: Store, pruned: PrunedStore) -> None:
    pruned.write([point(START, START)])
    pruned.write([point(START - 3 * HOUR, START - 3 * HOUR)])
    pruned.write([point(START - 2 * HOUR, START - 2 * HOUR)])
    assert starts(store) == [-180, -120, 0]


def test_alerts_that_have_ended_go_with_the_watermark(store: Store, database_url: str) -> None:
    alerts = AlertStore(database_url)
    pruned = PrunedStore(store, {}, (alerts, HOUR))
    pruned.setup()
    times = {"old": START - 90 * MINUTE, "young": START - 30 * MINUTE}
    ended = {name: resolved(alert(name, opened_ms=at, last_seen_ms=at)) for name, at in times.items()}
    still_open = alert("open", opened_ms=START - 10 * HOUR, last_seen_ms=START - 10 * HOUR)
    alerts.write([*ended.values(), still_open])
    pruned.write([point(START, START)])
    assert len(alerts.alerts()) == 3
    pruned.write([point(START, START + 6 * MINUTE)])
    assert alerts.alerts() == [ended["young"], still_open]
    alerts.close()


def test_points_are_upserts_as_in_the_store_itself(store: Store, pruned: PrunedStore) -> None:
    pruned.write([point(START, START)])
    pruned.write([point(START, START)])
    assert starts(store) == [0]
    # Series that came back after they were pruned are written again.
    pruned.write([point(START + 2 * HOUR, START + 2 * HOUR, kind="new")])
    pruned.write([point(START + 2 * HOUR, START + 2 * HOUR)])
    assert starts(store) == [120, 120]
    pruned.close()
