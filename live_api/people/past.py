"""What the store has of the metrics that tables of people are made of, and up to when that is known."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np

from sinks.records import ALL_READ_MS, Point, State
from sinks.store import Store
from stream.people.periods import CalendarPeriods, Unit

MOST_POINTS = 200_000
"""So many points a table may be made of: a retention of 400 days of 400 cohorts is 80,000."""
Number = int | float


class TooMuch(Exception):
    """A table would be made of more points than one answer may cost."""


class Past:
    """What one table is made of: it remembers the latest watermark of all points that it was asked for."""

    def __init__(self, store: Store, zone: ZoneInfo, watermark_ms: int | None) -> None:
        """`watermark_ms` is the one that is known already, if any."""
        self._store = store
        self.zone = zone
        self.as_of_ms = watermark_ms

    def starts(self, metric: str, window: str, *, to_ms: int | None = None, limit: int = 1) -> list[int]:
        """When the latest `limit` windows of a metric start, oldest first. Raises SinkError."""
        return self._store.starts(metric, window, to_ms=to_ms, limit=limit)

    def last_start(self, metrics: Iterable[str], window: str, *, to_ms: int | None = None) -> int | None:
        """When the latest window of any of the metrics starts; None where there is none. Raises SinkError."""
        return max((start for name in metrics for start in self.starts(name, window, to_ms=to_ms)), default=None)

    def points(
        self,
        metric: str,
        window: str,
        by: Collection[str] | int = (),
        *,
        from_ms: int | None = None,
        to_ms: int | None = None,
        dimensions: Mapping[str, str] | None = None,
    ) -> list[Point]:
        """The points that start in `[from_ms, to_ms)` and have just the dimensions `by`, or just so many: a former
        catalog may have had the metric with others. Raises TooMuch, SinkError."""
        found = self._store.points(
            metric, window, from_ms=from_ms, to_ms=to_ms, dimensions=dimensions, limit=MOST_POINTS + 1
        )
        if len(found) > MOST_POINTS:
            raise TooMuch(f"{metric} has more than {MOST_POINTS:,} points in that time; ask for less of it")
        known = [point.watermark_ms for point in found if 0 <= point.watermark_ms < ALL_READ_MS]
        if known:
            self.as_of_ms = max(*known, self.as_of_ms or 0)
        if isinstance(by, int):
            return [point for point in found if len(point.dimensions) == by]
        return [point for point in found if {name for name, _ in point.dimensions} == set(by)]

    def at(self, metric: str, window: str, start_ms: int, by: Collection[str] | int = ()) -> list[Point]:
        """The points of the window that starts then. Raises TooMuch, SinkError."""
        return self.points(metric, window, by, from_ms=start_ms, to_ms=start_ms + 1)


def number(point: Point | None) -> Number | None:
    """The value of a point that has one number; None where there is none."""
    value = None if point is None else point.value
    return value if isinstance(value, int | float) else None


def count(point: Point | None) -> int:
    """The value of a count; 0 where there is none."""
    return round(number(point) or 0)


def share(part: Number | None, whole: Number | None) -> float | None:
    """`part` of `whole`; None where there is nothing to divide by, or nothing is known."""
    return part / whole if whole and part is not None else None


def settled(points: Iterable[Point]) -> State:
    """How settled a row is that is made of several points: no more than the least of them."""
    states = {point.state for point in points}
    if not states or State.OPEN in states:
        return State.OPEN
    return State.CORRECTED if State.CORRECTED in states else State.FINAL


def local_day(time_ms: int, zone: ZoneInfo) -> str:
    """The day that a moment falls on: `2026-05-04`."""
    return datetime.fromtimestamp(time_ms / 1_000, zone).date().isoformat()


class Counted:
    """The calendar's periods of one unit by number, one moment at a time."""

    def __init__(self, unit: Unit, zone: ZoneInfo) -> None:
        self._periods = CalendarPeriods(unit, zone)

    def of(self, time_ms: int) -> int:
        """Number of the period that a time falls into."""
        return int(self._periods.of(np.array([time_ms]))[0])

    def starts(self, first: int, count: int) -> list[int]:
        """When each of so many periods begins, from number `first` on."""
        return [int(start) for start in self._periods.start_ms(np.arange(first, first + count))]


def by_start(points: Iterable[Point]) -> dict[int, Point]:
    """Points of one series by the start of their windows."""
    return {point.start_ms: point for point in points}
