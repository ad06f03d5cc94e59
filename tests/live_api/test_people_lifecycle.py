from __future__ import annotations

from live_api.people.lifecycle import table
from sinks.records import Point, State

from .people import DAY_MS, ms, point

FIRST = ms("2026-05-04")
STARTS = [FIRST + day * DAY_MS for day in range(-2, 5)]


def counts(day: int, state: State = State.FINAL, **of: int) -> dict[str, Point]:
    return {kind: point(f"{kind}_day", "day", FIRST + day * DAY_MS, n, state=state) for kind, n in of.items()}


def joined(*days: dict[str, Point]) -> dict[str, list[Point]]:
    kinds = dict.fromkeys(kind for day in days for kind in day)
    return {kind: [day[kind] for day in days if kind in day] for kind in kinds}


def test_bars_as_they_are_shown() -> None:
    found = table(
        "day",
        STARTS,
        joined(
            counts(0, active=4, new=4),
            counts(1, State.OPEN, active=6, new=2, returning=3, resurrecting=1, dormant=1, previous=4),
        ),
        as_of_ms=FIRST + DAY_MS + 1,
    )
    assert found["period"] == "day"
    assert found["bars"][:2] == [
        {
            "start": "2026-05-04T00:00:00Z",
            "active": 4,
            "new": 4,
            "returning": 0,
            "resurrecting": 0,
            "dormant": 0,
            "churn_rate": None,
            "growth": None,
            "state": "final",
        },
        {
            "start": "2026-05-05T00:00:00Z",
            "active": 6,
            "new": 2,
            "returning": 3,
            "resurrecting": 1,
            "dormant": 1,
            "churn_rate": 0.25,
            "growth": 0.5,
            "state": "open",
        },
    ]


def test_a_period_in_which_nothing_was_said_is_one_of_nobody() -> None:
    points = joined(counts(0, active=4), counts(1, dormant=4, previous=4), counts(3, active=1, resurrecting=1))
    bars = table("day", STARTS, points, as_of_ms=FIRST + 3 * DAY_MS)["bars"]
    assert [bar["start"][8:10] for bar in bars] == ["04", "05", "06", "07"]
    assert [bar["active"] for bar in bars] == [4, 0, 0, 1]
    assert [(bar["churn_rate"], bar["growth"]) for bar in bars] == [
        (None, None),
        (1.0, -1.0),
        (None, None),
        (None, None),
    ]
    assert [bar["state"] for bar in bars] == ["final"] * 4
    assert [bar["state"] for bar in table("day", STARTS, points)["bars"]] == ["final", "final", "open", "final"]


def test_a_bar_is_as_settled_as_the_least_of_its_numbers() -> None:
    points = joined(
        {**counts(0, State.CORRECTED, active=4), **counts(0, new=4)},
        {**counts(1, State.CORRECTED, active=4), **counts(1, State.OPEN, new=4)},
    )
    assert [bar["state"] for bar in table("day", STARTS, points)["bars"]][:2] == ["corrected", "open"]


def test_nothing_known_is_no_bar() -> None:
    assert table("week", STARTS, {}) == {"period": "week", "bars": []}
