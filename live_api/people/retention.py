"""Of the people who began in a period, how many came back so many periods later: the matrix of cohorts and offsets."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from live_api.people.past import Counted, Number, Past, count, local_day, number, share
from sinks.records import Point
from stream.people.periods import Unit

MOST_COHORTS = 400
_Row = tuple[int, str | None]
"""When a cohort begins, and which segment of it; None for all of it."""


class Cells(Protocol):
    @property
    def labels(self) -> Sequence[str]:
        """What the offsets that are told apart are called: `"0"`, `"1-3"`."""


class Declared(Protocol):
    """What a table needs to know of a `[[retention]]`."""

    @property
    def name(self) -> str: ...
    @property
    def period(self) -> Unit: ...
    @property
    def mode(self) -> str: ...
    @property
    def rolling(self) -> bool: ...
    @property
    def cells(self) -> Cells: ...
    @property
    def length_ms(self) -> int:
        """Of a period that is counted from a person's own beginning."""

    @property
    def segmented(self) -> bool: ...
    @property
    def did(self) -> str | None: ...
    @property
    def within_ms(self) -> int:
        """Until so long after their start people may move to those who `did`."""

    @property
    def revenue(self) -> str | None: ...


def read(past: Past, declared: Declared, *, cohorts: int, segment: str | None) -> dict[str, Any]:
    """The cohorts of the latest `cohorts` periods in which anybody began. Raises SinkError, TooMuch."""
    name, period = declared.name, declared.period
    periods = Counted(period, past.zone)
    last = past.last_start([f"{name}_people"], period)
    if last is None:
        return table(declared, [], [], [], periods=periods, zone=past.zone, as_of_ms=past.as_of_ms)
    [from_ms] = periods.starts(periods.of(last) + 1 - cohorts, 1)
    labels = ["segment"] if declared.segmented else []
    chosen = {} if segment is None else {"segment": segment}

    def points(what: str, *by: str) -> list[Point]:
        return past.points(f"{name}_{what}", period, [*by, *labels], from_ms=from_ms, dimensions=chosen)

    people, returned = points("people"), points("returned", "offset")
    revenue = [] if declared.revenue is None else points("revenue", "offset")
    with_sums = declared.segmented and segment is None
    return table(
        declared,
        people,
        returned,
        revenue,
        periods=periods,
        zone=past.zone,
        as_of_ms=past.as_of_ms,
        with_sums=with_sums,
    )


def table(
    declared: Declared,
    people: Sequence[Point],
    returned: Sequence[Point],
    revenue: Sequence[Point],
    *,
    periods: Counted,
    zone: ZoneInfo,
    as_of_ms: int | None,
    with_sums: bool = False,
) -> dict[str, Any]:
    """A row for each cohort in which anybody began, and for each segment of it; oldest first, its largest first.

    `people` are by cohort (their window), and by `segment` where there are any; `returned` and `revenue` also by
    `offset`. `with_sums` puts before the segments of a cohort one row of all of them: everybody is in one segment.

    A cell is partial until all people of its cohort have had all of its time.
    """
    sizes: defaultdict[_Row, int] = defaultdict(int)
    back: defaultdict[tuple[_Row, str], int] = defaultdict(int)
    paid: defaultdict[_Row, Number] = defaultdict(int)
    for point in people:
        for row in _rows(point, with_sums):
            sizes[row] += count(point)
    for point in returned:
        for row in _rows(point, with_sums):
            back[row, dict(point.dimensions)["offset"]] += count(point)
    for point in revenue:
        for row in _rows(point, with_sums):
            paid[row] += number(point) or 0
    offsets = [(label, *_bounds(label)) for label in declared.cells.labels]
    elapsed = _Elapsed(declared, periods, as_of_ms, {start for start, _ in sizes}, offsets[-1][2] if offsets else 0)
    counted: dict[str, list[int]] = {label: [0, 0] for label, _, _ in offsets}
    cohorts = []
    for row in sorted(sizes, key=lambda row: (row[0], row[1] is not None, -sizes[row], row[1] or "")):
        (start, segment), size = row, sizes[row]
        if size <= 0:  # all of them were taken back
            continue
        cells: list[dict[str, Any] | None] = []
        for label, first, last in offsets:
            came = back.get((row, label))
            if came is None and not elapsed.begun(start, first):
                cells.append(None)
                continue
            partial = not elapsed.over(start, last)
            cells.append({"offset": label, "people": came or 0, "share": share(came or 0, size), "partial": partial})
            if not partial and not (with_sums and segment is not None):
                counted[label][0] += came or 0
                counted[label][1] += size
        of_all = None if declared.revenue is None else paid.get(row, 0)
        cohorts.append(
            {
                "cohort": local_day(start, zone),
                "segment": segment,
                "people": size,
                "cells": cells,
                "revenue": of_all,
                "ltv": share(of_all, size),
            }
        )
    return {
        "period": declared.period,
        "mode": declared.mode,
        "rolling": declared.rolling,
        "offsets": [label for label, _, _ in offsets],
        "cohorts": cohorts,
        "overall": [
            {"offset": label, "people": came, "of": of, "share": share(came, of)}
            for label, (came, of) in counted.items()
        ],
    }


class _Elapsed:
    """Which offsets of which cohorts have begun, and which are over, as of a moment."""

    def __init__(
        self, declared: Declared, periods: Counted, as_of_ms: int | None, cohorts: set[int], furthest: int
    ) -> None:
        self._as_of_ms = -math.inf if as_of_ms is None else as_of_ms
        self._own_ms = declared.length_ms if declared.rolling else None
        self._settles_ms = declared.within_ms if declared.did is not None else 0
        self._numbers: Mapping[int, int] = {start: periods.of(start) for start in cohorts}
        if self._numbers:
            low, high = min(self._numbers.values()), max(self._numbers.values()) + furthest + 2
            self._starts = dict(enumerate(periods.starts(low, high - low), low))

    def begun(self, cohort: int, offset: int) -> bool:
        """Whether anybody of the cohort has come so far."""
        own = self._own_ms
        start = self._starts[self._numbers[cohort] + offset] if own is None else cohort + offset * own
        return self._as_of_ms > start

    def over(self, cohort: int, offset: int) -> bool:
        """Whether all of the cohort have had all of the offset, and none of them moves to another segment any more."""
        place, own = self._numbers[cohort], self._own_ms
        end = self._starts[place + 1]
        last = self._starts[place + offset + 1] if own is None else end + (offset + 1) * own
        return self._as_of_ms >= max(last, end + self._settles_ms)


def _rows(point: Point, with_sums: bool) -> Iterator[_Row]:
    segment = dict(point.dimensions).get("segment")
    yield point.start_ms, segment
    if with_sums and segment is not None:
        yield point.start_ms, None


def _bounds(label: str) -> tuple[int, int]:
    """First and last offset of a cell: `"4"`, `"4-7"`."""
    first, _, last = label.partition("-")
    return int(first), int(last or first)
