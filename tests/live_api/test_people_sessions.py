from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from live_api.people.past import Past
from live_api.people.sessions import read, table
from sinks.records import State
from sinks.store import Store

from .people import DAY_MS, HOUR_MS, UTC_ZONE, ms, point

START = ms("2026-05-04")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(f"sqlite:///{tmp_path}/points.db")
    made.setup()
    yield made
    made.close()


def test_windows_as_they_are_shown() -> None:
    points = {
        "sessions": [point("sessions", "day", START, 10), point("sessions", "day", START + DAY_MS, 3)],
        "bounce_rate": [point("bounce_rate", "day", START, 0.4)],
        "session_duration": [point("session_duration", "day", START, 61.5)],
        "session_pages": [point("session_pages", "day", START, 2.5)],
        "engaged_rate": [point("engaged_rate", "day", START, 0.5, state=State.CORRECTED)],
        "engaged_time": [point("engaged_time", "day", START, 12)],
    }
    pages = {"entry_pages": [point("entry_pages", "day", START, n, page=page) for page, n in (("a", 1), ("b", 2))]}
    split = {"device": [point("sessions_by_device", "day", START, n, device=d) for d, n in (("phone", 2), ("tv", 0))]}
    assert table("day", points, pages, split, {"active_now": 4}, limit=50) == {
        "window": "day",
        "periods": [
            {
                "start": "2026-05-04T00:00:00Z",
                "sessions": 10,
                "bounce_rate": 0.4,
                "duration_s": 61.5,
                "pages": 2.5,
                "engaged_rate": 0.5,
                "engaged_s": 12,
                "state": "corrected",
            },
            {
                "start": "2026-05-05T00:00:00Z",
                "sessions": 3,
                "bounce_rate": None,
                "duration_s": None,
                "pages": None,
                "engaged_rate": None,
                "engaged_s": None,
                "state": "final",
            },
        ],
        "entry_pages": [{"page": "b", "count": 2}, {"page": "a", "count": 1}],
        "exit_pages": [],
        "by": {"device": [{"value": "phone", "count": 2}]},
        "active_now": 4,
        "concurrent": None,
    }


def test_the_latest_windows_are_read_and_what_was_most_in_the_last(store: Store) -> None:
    told = [point("sessions", "1h", START + hour * HOUR_MS, hour) for hour in range(5)]
    told += [point("exit_pages", "1h", START + hour * HOUR_MS, hour, page=f"p{hour}") for hour in range(5)]
    told += [point("sessions_by_utm_source", "1h", START + 4 * HOUR_MS, 7, **{"utm.source": "mail"})]
    # Of a former catalog.
    told += [point("sessions", "1h", START + 4 * HOUR_MS, 99, country="DE")]
    store.write(told)
    found = read(Past(store, UTC_ZONE, None), "1h", {"utm.source": "sessions_by_utm_source"}, {}, periods=2, limit=9)
    assert [row["sessions"] for row in found["periods"]] == [3, 4]
    assert found["exit_pages"] == [{"page": "p4", "count": 4}]
    assert found["by"] == {"utm.source": [{"value": "mail", "count": 7}]}


@pytest.mark.parametrize(
    ("window", "as_of", "expected"),
    [
        ("1m", START + 90_000, 5),
        ("1m", START + 10 * 60_000, 0),
        ("1m", None, 5),
        ("total", START + 40 * DAY_MS, 5),
        (None, START, None),
    ],
)
def test_who_is_here_now(store: Store, window: str | None, as_of: int | None, expected: int | None) -> None:
    start = 0 if window == "total" else START
    store.write([point("active_now", window or "1m", start, 5), point("sessions", "day", START, 1)])
    past = Past(store, UTC_ZONE, as_of)
    found = read(past, "day", {}, {} if window is None else {"active_now": window}, periods=9, limit=9)
    assert (found["active_now"], found["concurrent"]) == (expected, None)


def test_nothing_known(store: Store) -> None:
    found = read(
        Past(store, UTC_ZONE, None), "day", {"device": "sessions_by_device"}, {"active_now": "1m"}, periods=9, limit=9
    )
    assert found["periods"] == []
    assert (found["by"], found["active_now"]) == ({"device": []}, None)
