"""From which page people went to which, where they began and where they left."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from live_api.people.past import Past, count
from sinks.records import Point, iso

START, END = "__start__", "__end__"
MOST_TRANSITIONS = 500


def read(past: Past, name: str, window: str, *, limit: int) -> dict[str, Any]:
    """The transitions of the latest window. Raises SinkError, TooMuch."""
    metric = f"{name}_transitions"
    start = past.last_start([metric], window)
    points = [] if start is None else past.at(metric, window, start, ("from", "to"))
    return table(window, start, points, limit=limit)


def table(window: str, start_ms: int | None, points: Sequence[Point], *, limit: int) -> dict[str, Any]:
    """The `limit` transitions, starts and ends that were the most. `points` are of one window, by `from` and `to`."""
    transitions: list[tuple[int, str, str]] = []
    starts: list[tuple[int, str]] = []
    ends: list[tuple[int, str]] = []
    for point in points:
        ways, one, other = count(point), dict(point.dimensions)["from"], dict(point.dimensions)["to"]
        if ways <= 0:  # taken back
            continue
        if one == START:
            starts.append((ways, other))
        elif other == END:
            ends.append((ways, one))
        else:
            transitions.append((ways, one, other))
    transitions.sort(key=lambda row: (-row[0], *row[1:]))
    return {
        "window": window,
        "start": None if start_ms is None else iso(start_ms),
        "transitions": [{"from": one, "to": other, "count": ways} for ways, one, other in transitions[:limit]],
        "starts": most(starts, "page", limit),
        "ends": most(ends, "page", limit),
    }


def most(counted: Iterable[tuple[int, str]], called: str, limit: int) -> list[dict[str, Any]]:
    """Rows of the `limit` that were the most; of as many, in order of the text."""
    ordered = sorted(counted, key=lambda row: (-row[0], row[1]))
    return [{called: text, "count": times} for times, text in ordered[:limit]]
