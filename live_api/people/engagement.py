"""How many people are how much engaged: by level, and by score."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from live_api.people.past import Past, count, local_day
from sinks.records import Point

PEOPLE, SCORES = "engagement_people", "engagement_scores"
_DAY = "day"


def read(past: Past, levels: Iterable[Any]) -> dict[str, Any]:
    """Levels and scores of the latest day. `levels` are the catalog's. Raises SinkError, TooMuch."""
    start = past.last_start([PEOPLE, SCORES], _DAY)
    if start is None:
        return table(None, [], [], names(levels), zone=past.zone)
    people = past.at(PEOPLE, _DAY, start, ("level",))
    scores = past.at(SCORES, _DAY, start, ("score",))
    return table(start, people, scores, names(levels), zone=past.zone)


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


def names(levels: Iterable[Any]) -> list[str]:
    """What levels are called: each is a name or a table with one; of a mapping, its keys."""
    return [level if isinstance(level, str) else str(getattr(level, "name", level)) for level in levels]


def _only(point: Point) -> str:
    return point.dimensions[0][1]


def _by_number(text: str) -> tuple[float, str]:
    """`"0"`, `"10-20"` and `"100+"` by their first number; what has none comes last."""
    digits = text.lstrip("<>≤≥ ").partition("-")[0].rstrip("+ ")
    try:
        return float(digits), text
    except ValueError:
        return float("inf"), text
