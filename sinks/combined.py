"""Longer windows out of shorter ones, where that gives just what the longer one would have been.

Counts and sums add up, of extremes the extreme is taken, a mean is weighted by its counts and a rate by how long it
lasted. Of anything else a value does not follow from those of its parts.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Double, and_, case, cast, func, literal, or_, select
from sqlalchemy.engine import Connection

from sinks import schema
from sinks.records import ALL_READ_MS, Dimensions, State, Value
from sinks.runs import STATES, Run, json_of

_points = schema.points

MEASURES = ("count", "sum", "mean", "min", "max", "rate")
"""Those that can be combined."""
_MOST_EXACT = 1 << 53
"""Whole numbers of floats are exact up to it."""


@dataclass(frozen=True, slots=True)
class Combine:
    """How windows are put together."""

    measure: str
    width_ms: int
    """Of the windows that are combined; of those of the calendar, about."""
    slice_ms: int
    """What is put together in SQL: a width that divides the windows that are asked for."""


class Part(NamedTuple):
    """What some of the windows inside a longer one come to."""

    start_ms: int
    number: float | None
    """Σ value; of a mean Σ value * count, of a rate Σ value * s, of an extreme the extreme. None without any value."""
    events: int
    fractional: bool
    """A value has a fraction."""
    unknown: bool
    """A value is no number that a float can hold."""
    open: bool
    corrected: bool
    revision: int
    watermark_ms: int
    """The least of theirs."""
    latest_ms: int
    """The latest of theirs."""


def parts_of(
    connection: Connection, ids: Collection[int], from_ms: int, to_ms: int, how: Combine
) -> Iterator[tuple[int, Part]]:
    """Parts of each series, by id and start."""
    value, count = _points.c.value, _points.c["count"]
    sliced = (_points.c.start_ms - _points.c.start_ms % how.slice_ms).label("slice")
    numbers = {"mean": func.sum(value * count), "min": func.min(value), "max": func.max(value)}
    number = func.sum(value * _lasted_s(how.width_ms)) if how.measure == "rate" else numbers.get(how.measure)
    has_fraction = or_(_points.c.value_json.like("%.%"), _points.c.value_json.like("%e%"))
    # A null in both columns is a window whose events are all gone again.
    no_number = and_(value.is_(None), _points.c.value_json != "null")
    query = select(
        _points.c.series_id,
        sliced,
        func.sum(value) if number is None else number,
        func.sum(count),
        func.max(case((has_fraction, 1), else_=0)) if how.measure in ("sum", "min", "max") else literal(0),
        func.max(case((no_number, 1), else_=0)),
        func.max(case((_points.c.state == State.OPEN.value, 1), else_=0)),
        func.max(case((_points.c.state == State.CORRECTED.value, 1), else_=0)),
        func.sum(_points.c.revision),
        func.min(_points.c.watermark_ms),
        func.max(_points.c.watermark_ms),
    ).where(_points.c.series_id.in_(ids), _points.c.start_ms >= from_ms, _points.c.start_ms < to_ms)
    query = query.group_by(_points.c.series_id, sliced).order_by(_points.c.series_id, sliced)
    for series_id, start_ms, total, events, fractional, unknown, is_open, corrected, *rest in connection.execute(query):
        # PostgreSQL adds whole numbers up as decimals.
        revision, watermark_ms, latest_ms = map(int, rest)
        yield (
            series_id,
            Part(
                start_ms,
                None if total is None else float(total),
                int(events),
                bool(fractional),
                bool(unknown),
                bool(is_open),
                bool(corrected),
                revision,
                watermark_ms,
                latest_ms,
            ),
        )


def run_of(
    dimensions: Dimensions,
    parts: Iterable[Part],
    starts: Sequence[int],
    end_ms: int,
    how: Combine,
    watermark_ms: int | None,
) -> Run:
    """The windows that start at `starts`, the last until `end_ms`, of parts by start.

    A window is open while one of its parts is, and until the watermark has passed its end.
    """
    together: dict[int, Part] = {}
    for part in parts:
        index = bisect_right(starts, part.start_ms) - 1
        known = together.get(index)
        together[index] = part if known is None else _both(known, part, how.measure)
    ends = [*starts[1:], end_ms]
    states = []
    values: list[Value] = []
    for index, part in together.items():
        known_to = max(watermark_ms or 0, part.watermark_ms)
        settled = State.CORRECTED if part.corrected else State.FINAL
        state = State.OPEN if part.open or ends[index] > known_to else settled
        states.append(STATES.index(state))
        if state is State.OPEN:
            known_to = max(watermark_ms or 0, part.latest_ms if part.latest_ms < ALL_READ_MS else 0)
        values.append(_value(part, how.measure, min(ends[index], known_to) - starts[index]))
    return Run(
        dimensions,
        [starts[index] for index in together],
        json_of(values),
        states,
        [part.events for part in together.values()],
        [part.revision for part in together.values()],
        [None] * len(together),
    )


def _both(one: Part, other: Part, measure: str) -> Part:
    put: Any = {"min": min, "max": max}.get(measure, lambda two: two[0] + two[1])
    numbers = [part.number for part in (one, other) if part.number is not None]
    return Part(
        one.start_ms,
        numbers[0] if len(numbers) == 1 else put(numbers) if numbers else None,
        one.events + other.events,
        one.fractional or other.fractional,
        one.unknown or other.unknown,
        one.open or other.open,
        one.corrected or other.corrected,
        one.revision + other.revision,
        min(one.watermark_ms, other.watermark_ms),
        max(one.latest_ms, other.latest_ms),
    )


def _value(part: Part, measure: str, lasted_ms: int) -> Value:
    if part.number is None or part.unknown:
        return None
    if measure == "mean":
        return part.number / part.events if part.events else None
    if measure == "rate":
        return part.number * 1_000 / lasted_ms if lasted_ms > 0 else None
    whole = measure == "count" or not part.fractional
    exact = whole and part.number.is_integer() and abs(part.number) <= _MOST_EXACT
    return int(part.number) if exact else part.number


def _lasted_s(width_ms: int) -> Any:
    """How long a window had lasted when its rate was worked out."""
    past = _points.c.watermark_ms - _points.c.start_ms
    so_far = and_(_points.c.state == State.OPEN.value, past < width_ms)
    return cast(case((so_far, past), else_=width_ms), Double) / 1_000.0
