"""Who is new, who came again, who came back and who stayed away, period by period."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from live_api.people.past import Counted, Past, by_start, count, settled, share
from sinks.records import Point, State, iso
from stream.people.periods import Unit

KINDS = ("active", "new", "returning", "resurrecting", "dormant", "previous")
MOST_BARS = 400


def read(past: Past, period: Unit, *, limit: int) -> dict[str, Any]:
    """The bars of the latest `limit` periods. Raises SinkError, TooMuch."""
    periods = Counted(period, past.zone)
    last = past.last_start([f"{kind}_{period}" for kind in KINDS], period)
    if last is None:
        return table(period, [], {})
    after = periods.of(last) + 1
    starts = periods.starts(after - limit, limit + 1)
    found = {kind: past.points(f"{kind}_{period}", period, from_ms=starts[0], to_ms=starts[-1]) for kind in KINDS}
    return table(period, starts, found, as_of_ms=past.as_of_ms)


def table(
    period: str, starts: Sequence[int], points: Mapping[str, Sequence[Point]], *, as_of_ms: int | None = None
) -> dict[str, Any]:
    """A bar for each period from the first in which anything is known.

    `starts` has the beginnings of all that may be shown, and last the end of the last; `points` those of each of
    `KINDS`. A period in between without a point is one in which nobody came, or is known to have stayed away.
    """
    of = {kind: by_start(points.get(kind, ())) for kind in KINDS}
    known = sorted({start for found in of.values() for start in found})
    bars = []
    for start, end in pairwise(starts):
        if not known or start < known[0]:
            continue
        row = {kind: found.get(start) for kind, found in of.items()}
        there = [point for point in row.values() if point is not None]
        state = settled(there)
        if not there and as_of_ms is not None and as_of_ms >= end:
            state = State.FINAL
        counts = {kind: count(point) for kind, point in row.items()}
        previous = counts.pop("previous")
        bars.append(
            {
                "start": iso(start),
                **counts,
                "churn_rate": share(counts["dormant"], previous),
                "growth": share(counts["active"] - previous, previous),
                "state": state.value,
            }
        )
    return {"period": period, "bars": bars}
