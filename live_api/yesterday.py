"""What a number was at the same time yesterday, put together exactly or not at all.

How a window stood in the middle of it is not stored: its point says how it ended. For measures that add up it is put
together from the shorter windows before that moment. A window without events has no point, and neither has one that was
deleted or never written. The counts tell which it is: shorter windows that are all there have together just the events
of the longer one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np

from sinks.records import Point, State
from stream.durations import DAY_MS, MINUTE_MS, SECOND_MS, TOTAL
from stream.windows import Calendar, Panes, Window, window_of

RESOLUTION_MS = 5 * MINUTE_MS
"""What is put together ends within so much of the same time; other windows up to this length are taken as a whole."""
_SEEN_WITHIN_MS = 8 * DAY_MS
_SEEN_WITHIN = 200
"""A series without a point for so long, or for so many windows, may not have been counted from the next one's start."""

Number = int | float


Read = Callable[[str, int, int], Sequence[Point]]
"""Points of one series: those of a window that start in [from, to), epoch ms."""


class Then(NamedTuple):
    """What a number was."""

    at_ms: int
    """Up to when that goes."""
    value: Number | None
    """None where it is not known."""


def at_same_time_yesterday(
    read: Read,
    measure: str,
    windows: Sequence[str],
    window: str,
    zone: ZoneInfo,
    *,
    now_ms: int,
    key: str | None = None,
) -> Then:
    """What the number of one series in `window` was 24 hours before `now_ms`; for windows of the calendar, at the same
    local time of the day before.

    count and sum, and mean, min and max over more than `RESOLUTION_MS`, are put together up to that time from
    `windows`, which are all that the metric has. Of anything else, and of windows that slide, it is the whole window
    that was open then, if it, or its step, is no longer than that. `key` chooses among the values of a quantile or a
    top list. What is longer than a day, was not counted from its beginning, or has anything missing, is not known.
    """
    shown = window_of(window, zone)
    moment_ms = same_time_yesterday(now_ms, shown, zone)
    if moment_ms is None or window == TOTAL or shown.about_ms > DAY_MS:
        return Then(now_ms - DAY_MS, None)
    grows = measure in _ADD_UP or (measure in _COMBINE and shown.about_ms > RESOLUTION_MS)
    if not grows or shown.span > 1:
        return _as_a_whole(read, shown, moment_ms, key)
    others = [window_of(name, zone) for name in windows if name != TOTAL]
    shorter = sorted((one for one in others if one.span == 1), key=lambda one: -one.about_ms)
    found = _until(read, shown, shorter, moment_ms)
    if found is None:
        return Then(moment_ms, None)
    at_ms, points = found
    return Then(at_ms, _COMBINE[measure](points))


def same_time_yesterday(now_ms: int, window: Window, zone: ZoneInfo) -> int | None:
    """24 hours before, or for windows of the calendar the same local time of the day before, epoch ms.

    Of a time that came twice that day it is the first, as long after midnight as it is today. A time that was skipped
    is the moment when clocks were set forward. None where there was no such day.
    """
    if not isinstance(window.panes, Calendar):
        return now_ms - DAY_MS
    wall = datetime.fromtimestamp(now_ms // SECOND_MS, zone).replace(tzinfo=None, fold=0) - timedelta(days=1)
    found = wall.replace(tzinfo=zone).astimezone(UTC)
    if found.astimezone(zone).replace(tzinfo=None) == wall:
        return int(found.timestamp()) * SECOND_MS + now_ms % SECOND_MS
    # Of a time that was skipped, the offset from after the change gives one before it, and the other way round.
    set_s = _change_between(int(wall.replace(tzinfo=zone, fold=1).timestamp()), int(found.timestamp()), zone)
    there_was = datetime.fromtimestamp(set_s, zone).date() == wall.date()
    return set_s * SECOND_MS if there_was else None


def _change_between(before_s: int, after_s: int, zone: ZoneInfo) -> int:
    offset = datetime.fromtimestamp(after_s, zone).utcoffset()
    while after_s - before_s > 1:
        middle_s = (before_s + after_s) // 2
        if datetime.fromtimestamp(middle_s, zone).utcoffset() == offset:
            after_s = middle_s
        else:
            before_s = middle_s
    return after_s


def _as_a_whole(read: Read, window: Window, moment_ms: int, key: str | None) -> Then:
    """The window that was open at a moment, as it ended."""
    start_ms, end_ms = _span(window.panes, moment_ms)
    if end_ms - start_ms > RESOLUTION_MS:
        return Then(moment_ms, None)
    first_ms = int(window.panes.back_s(_array(start_ms // SECOND_MS), window.span - 1)[0]) * SECOND_MS
    points = read(window.name, first_ms, first_ms + 1)
    value = points[0].value if points and points[0].state is not State.OPEN else None
    if isinstance(value, Mapping):
        value = None if key is None else value.get(key)
    return Then(end_ms, value)


def _until(read: Read, window: Window, shorter: Sequence[Window], moment_ms: int) -> tuple[int, list[Point]] | None:
    """Points that make up a window as far as it had come at a moment, and up to when they go. `shorter` windows are
    tried from the longest to the shortest: each gives what was whole by then, and the next what is inside the last."""
    start_ms, end_ms = _span(window.panes, moment_ms)
    whole = read(window.name, start_ms, start_ms + 1)
    before_ms = min(_SEEN_WITHIN_MS, _SEEN_WITHIN * window.about_ms)
    if not whole or not read(window.name, start_ms - before_ms, start_ms):
        return None
    if whole[0].state is State.OPEN and whole[0].watermark_ms < moment_ms:
        return None
    parts: list[Point] = []
    count, entered = whole[0].count, False
    for finer in shorter:
        inner_ms, inner_end_ms = _span(finer.panes, moment_ms)
        if inner_end_ms - inner_ms >= end_ms - start_ms or not _divides(finer.panes, start_ms, end_ms):
            continue
        points = read(finer.name, start_ms, end_ms)
        if sum(point.count for point in points) != count:
            continue
        parts += [point for point in points if point.start_ms < inner_ms]
        inside = [point for point in points if point.start_ms == inner_ms]
        if not inside or inner_ms == moment_ms:
            return moment_ms, parts
        start_ms, end_ms, count, entered = inner_ms, inner_end_ms, inside[0].count, True
    return (start_ms, parts) if entered and end_ms - start_ms <= RESOLUTION_MS else None


def _span(panes: Panes, time_ms: int) -> tuple[int, int]:
    """Start and end of the pane that a time is in, epoch ms."""
    start_s = panes.start_s(_array(time_ms))
    return int(start_s[0]) * SECOND_MS, int(panes.next_s(start_s)[0]) * SECOND_MS


def _divides(panes: Panes, start_ms: int, end_ms: int) -> bool:
    """Whether no pane reaches over either end."""
    ends = np.array([start_ms, end_ms], dtype=np.int64)
    return bool((panes.start_s(ends) * SECOND_MS == ends).all())


def _array(number: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array([number], dtype=np.int64)


def _numbers(points: Sequence[Point]) -> list[Number] | None:
    """Their values; None when one of them has none."""
    values = [point.value for point in points if isinstance(point.value, int | float)]
    return values if len(values) == len(points) else None


def _total(points: Sequence[Point]) -> Number | None:
    values = _numbers(points)
    if values is None:
        return None
    return sum(values) if all(isinstance(value, int) for value in values) else math.fsum(values)


def _mean(points: Sequence[Point]) -> Number | None:
    values = _numbers(points)
    if not values:
        return None
    counts = [point.count for point in points]
    return math.fsum(value * count for value, count in zip(values, counts, strict=True)) / sum(counts)


def _least(points: Sequence[Point]) -> Number | None:
    values = _numbers(points)
    return min(values) if values else None


def _greatest(points: Sequence[Point]) -> Number | None:
    values = _numbers(points)
    return max(values) if values else None


_ADD_UP = frozenset({"count", "sum"})
_COMBINE: Mapping[str, Callable[[Sequence[Point]], Number | None]] = {
    "count": _total,
    "sum": _total,
    "mean": _mean,
    "min": _least,
    "max": _greatest,
}
"""Measures whose value over a time follows from those over its parts."""
