from __future__ import annotations

from live_api.people.paths import table
from sinks.records import Point

from .people import ms, point

START = ms("2026-05-04")


def ways(*told: tuple[str, str, int]) -> list[Point]:
    return [point("clicks_transitions", "day", START, n, from_=one, to=other) for one, other, n in told]


def test_ways_as_they_are_shown() -> None:
    points = ways(
        ("Home", "Song", 5),
        ("Song", "Home", 9),
        ("About", "Home", 5),
        ("__other__", "__other__", 1),
        ("__start__", "Home", 3),
        ("__start__", "Song", 4),
        ("Song", "__end__", 7),
        ("Gone", "Home", 0),
    )
    assert table("day", START, points, limit=50) == {
        "window": "day",
        "start": "2026-05-04T00:00:00Z",
        "transitions": [
            {"from": "Song", "to": "Home", "count": 9},
            {"from": "About", "to": "Home", "count": 5},
            {"from": "Home", "to": "Song", "count": 5},
            {"from": "__other__", "to": "__other__", "count": 1},
        ],
        "starts": [{"page": "Song", "count": 4}, {"page": "Home", "count": 3}],
        "ends": [{"page": "Song", "count": 7}],
    }


def test_only_the_most_are_told() -> None:
    found = table("day", START, ways(*((f"p{n:03}", "x", n) for n in range(100))), limit=3)
    assert [one["count"] for one in found["transitions"]] == [99, 98, 97]


def test_nothing_known() -> None:
    assert table("1h", None, [], limit=5) == {
        "window": "1h",
        "start": None,
        "transitions": [],
        "starts": [],
        "ends": [],
    }
