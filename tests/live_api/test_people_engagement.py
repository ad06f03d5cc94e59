from __future__ import annotations

from live_api.people.engagement import rising, table

from .people import UTC_ZONE, ms, point

START = ms("2026-05-04")


def test_levels_are_in_the_catalogs_order_and_scores_rise() -> None:
    people = [point("engagement_people", "day", START, n, level=level) for level, n in (("core", 2), ("old", 1))]
    scores = [
        point("engagement_scores", "day", START, 1, score=score) for score in ("100", "20", "5", "__other__", "0.5")
    ]
    found = table(START, people, scores, ["casual", "core"], zone=UTC_ZONE)
    assert found == {
        "day": "2026-05-04",
        "levels": [
            {"level": "casual", "people": 0},
            {"level": "core", "people": 2},
            {"level": "old", "people": 1},
        ],
        "scores": [{"score": score, "people": 1} for score in ("0.5", "5", "20", "100", "__other__")],
    }


def test_levels_rise() -> None:
    assert rising({"power": 20, "casual": 1, "regular": 5}) == ["casual", "regular", "power"]


def test_nothing_known() -> None:
    assert table(None, [], [], ["a"], zone=UTC_ZONE) == {
        "day": None,
        "levels": [{"level": "a", "people": 0}],
        "scores": [],
    }
