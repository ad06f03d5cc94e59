"""How many people are how much engaged: by level, and by score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from live_api.people.past import Past, count, local_day
from sinks.records import Point

PEOPLE, SCORES = "engagement_people", "engagement_scores"
_DAY = "day"


def read(past: Past, levels: Mapping[str, float]) -> dict[str, Any]:
    """Levels and scores of the latest day. `levels` have the score that each begins at. Raises SinkError, TooMuch."""
    start = past.last_start([PEOPLE, SCORES], _DAY)
    if start is None:
        return table(None, [], [], rising(levels), zone=past.zone)
    people = past.at(PEOPLE, _DAY, start, ("level",))
    scores = past.at(SCORES, _DAY, start, ("score",))
    return table(start, people, scores, rising(levels), zone=past.zone)


def table(
    start_ms: int | None, people: Sequence[Point], scores: Sequence[Point], levels: Sequence[str], *, zone: ZoneInfo
) -> dict[str, Any]:
    """A row for each level of `levels`, in that order, and behind them any other; scores from the lowest up.

    `people` and `scores` are points of one day, by `level` and by `score`.
    """
    of_level = dict.fromkeys(levels, 0) | {_only(point): count(point) for point in people}
    of_score = {_only(point): count(point) for point in scores}
    return {
        "day": None if start_ms is None else local_day(start_ms, zone),
        "levels": [{"level": level, "people": of_level[level]} for level in of_level],
        "scores": [{"score": score, "people": of_score[score]} for score in sorted(of_score, key=_by_number)],
    }


def rising(levels: Mapping[str, float]) -> list[str]:
    """Levels in the order of the scores that they begin at."""
    return sorted(levels, key=lambda level: levels[level])


def _only(point: Point) -> str:
    return point.dimensions[0][1]


def _by_number(text: str) -> tuple[float, str]:
    """A score is called by where it begins: `"0.5"`, `"10"`. What is no number comes last."""
    try:
        return float(text), text
    except ValueError:
        return float("inf"), text
