"""How many people came in a day, a week and a month, and on how many days of the month each of them did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from live_api.people.past import Counted, Past, by_start, count, local_day, settled, share
from sinks.records import Point, State
from stream.people.periods import Unit

SPANS = ("dau", "wau", "mau")
HISTOGRAM = "stickiness_days"
_DAY: Unit = "day"


def read(past: Past, *, limit: int) -> dict[str, Any]:
    """The latest `limit` days, and the histogram of the latest. Raises SinkError, TooMuch."""
    last = past.last_start(SPANS, _DAY)
    if last is None:
        return table([], {}, [], zone=past.zone)
    days = Counted(_DAY, past.zone)
    starts = days.starts(days.of(last) + 1 - limit, limit + 1)
    found = {name: past.points(name, _DAY, from_ms=starts[0], to_ms=starts[-1]) for name in SPANS}
    counted = past.last_start([HISTOGRAM], _DAY)
    histogram = [] if counted is None else past.at(HISTOGRAM, _DAY, counted, ("days",))
    return table(starts, found, histogram, zone=past.zone, as_of_ms=past.as_of_ms)


def table(
    starts: Sequence[int],
    points: Mapping[str, Sequence[Point]],
    histogram: Sequence[Point],
    *,
    zone: ZoneInfo,
    as_of_ms: int | None = None,
) -> dict[str, Any]:
    """A row for each day from the first of which anything is known.

    `starts` has the beginnings of all that may be shown, and last the end of the last. `histogram` are points of one
    day, by `days`.
    """
    of = {name: by_start(points.get(name, ())) for name in SPANS}
    known = sorted({start for found in of.values() for start in found})
    rows = []
    for start, end in pairwise(starts):
        if not known or start < known[0]:
            continue
        row = {name: found.get(start) for name, found in of.items()}
        there = [point for point in row.values() if point is not None]
        state = settled(there)
        if not there and as_of_ms is not None and as_of_ms >= end:
            state = State.FINAL
        counts = {name: count(point) for name, point in row.items()}
        stickiness = share(counts["dau"], counts["mau"])
        rows.append({"day": local_day(start, zone), **counts, "stickiness": stickiness, "state": state.value})
    bins = [(int(value), count(point)) for point in histogram for _, value in point.dimensions if value.isdecimal()]
    return {"days": rows, "histogram": [{"days": days, "people": people} for days, people in sorted(bins) if people]}
