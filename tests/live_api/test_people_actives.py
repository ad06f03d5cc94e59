from __future__ import annotations

from zoneinfo import ZoneInfo

from live_api.people.actives import table
from sinks.records import State

from .people import DAY_MS, UTC_ZONE, ms, point

FIRST = ms("2026-05-04")
STARTS = [FIRST + day * DAY_MS for day in range(-3, 4)]


def test_days_as_they_are_shown() -> None:
    points = {
        "dau": [point("dau", "day", FIRST, 2), point("dau", "day", FIRST + 2 * DAY_MS, 3, state=State.OPEN)],
        "wau": [point("wau", "day", FIRST + day * DAY_MS, 2 + day) for day in range(3)],
        "mau": [point("mau", "day", FIRST + day * DAY_MS, 4) for day in range(3)],
    }
    histogram = [point("stickiness_days", "day", FIRST, n, days=days) for days, n in (("10", 1), ("2", 3), ("3", 0))]
    assert table(STARTS, points, histogram, zone=UTC_ZONE) == {
        "days": [
            {"day": "2026-05-04", "dau": 2, "wau": 2, "mau": 4, "stickiness": 0.5, "state": "final"},
            {"day": "2026-05-05", "dau": 0, "wau": 3, "mau": 4, "stickiness": 0.0, "state": "final"},
            {"day": "2026-05-06", "dau": 3, "wau": 4, "mau": 4, "stickiness": 0.75, "state": "open"},
        ],
        "histogram": [{"days": 2, "people": 3}, {"days": 10, "people": 1}],
    }


def test_a_day_is_the_platforms() -> None:
    start = ms("2026-05-03T22:00")
    points = {"dau": [point("dau", "day", start, 1)]}
    found = table([start, start + DAY_MS], points, [], zone=ZoneInfo("Europe/Berlin"))
    assert found["days"] == [{"day": "2026-05-04", "dau": 1, "wau": 0, "mau": 0, "stickiness": None, "state": "final"}]


def test_nothing_known_is_no_day() -> None:
    assert table([], {}, [], zone=UTC_ZONE) == {"days": [], "histogram": []}
