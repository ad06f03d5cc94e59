"""Periods of time by number, so that "the next one" and "how many later" are arithmetic: also where days differ."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Literal, Protocol
from zoneinfo import ZoneInfo

import numpy as np

from stream.arrays import Ints
from stream.durations import DAY_MS, SECOND_MS
from stream.grouping import numbered
from stream.windows import Calendar

Unit = Literal["day", "week", "month"]
_CACHED = 100_000
_DAY_S = 86_400
_LAST_YEAR = 2100
_EPOCH = date(1970, 1, 1)
_MONDAY = date(1969, 12, 29)
"""The Monday of the week that the epoch is in."""


class Periods(Protocol):
    """A division of time into numbered periods without gaps."""

    @property
    def window(self) -> str:
        """The window of a metric that spans one period, as a catalog writes it."""
        ...

    def of(self, time_ms: Ints) -> Ints:
        """Number of the period that each time (n) falls into."""
        ...

    def start_ms(self, number: Ints) -> Ints:
        """When each period (n) begins; it ends where the next one does."""
        ...


class FixedPeriods:
    """Periods of one width, counted from the epoch."""

    def __init__(self, window: str, width_ms: int) -> None:
        self.window = window
        self._width_ms = width_ms

    def of(self, time_ms: Ints) -> Ints:
        return time_ms // self._width_ms

    def start_ms(self, number: Ints) -> Ints:
        return number * self._width_ms


class CalendarPeriods:
    """Days, weeks from Monday or months of a time zone, counted from those that the epoch is in there.

    A day that a zone left out, as Samoa the 30th of December 2011, has no number: the next one is the 31st.
    """

    def __init__(self, unit: Unit, zone: ZoneInfo) -> None:
        self.window: str = unit
        self._calendar = Calendar(unit, zone)
        self._zone = zone
        self._left_out = left_out_days(zone) if unit == "day" else ()
        self._numbers: dict[int, int] = {}
        """Of each start, in seconds."""
        self._starts: dict[int, int] = {}

    def of(self, time_ms: Ints) -> Ints:
        slices, place = numbered(time_ms // self._calendar.grain_ms)
        starts = self._calendar.start_s(slices * self._calendar.grain_ms)
        return _looked_up(starts, self._numbers, self._number_of)[place]

    def start_ms(self, number: Ints) -> Ints:
        return _looked_up(number, self._starts, self._start_of) * SECOND_MS

    def _number_of(self, start_s: int) -> int:
        # A day begins at one where clocks are set at midnight, but on no other date.
        day = datetime.fromtimestamp(start_s, self._zone).date()
        if self.window == "day":
            days = (day - _EPOCH).days
            return days - bisect_right(self._left_out, days)
        if self.window == "week":
            return (day - _MONDAY).days // 7
        return (day.year - _EPOCH.year) * 12 + day.month - 1

    def _start_of(self, number: int) -> int:
        if self.window == "day":
            for left_out in self._left_out:
                number += left_out <= number
            day = _EPOCH + timedelta(days=number)
        elif self.window == "week":
            day = _MONDAY + timedelta(weeks=number)
        else:
            day = date(_EPOCH.year + number // 12, number % 12 + 1, 1)
        return _midnight_s(day, self._zone)


class FixedDays:
    """Days of 24 hours, each with the moment that it ends at and without the one that the day before it ends at.

    They end at midnight of a zone as it is without summer time, which 2020 decides: no day is longer than another, and
    what a model learns of days does not change with the clocks. Numbered from the one that the epoch is in.
    """

    def __init__(self, zone: ZoneInfo) -> None:
        offsets = (datetime(2020, month, 1, tzinfo=zone).utcoffset() for month in (1, 7))
        # Not what the zone calls standard time: in some that is the one of summer.
        self._offset_ms = int(min(offset or timedelta(0) for offset in offsets).total_seconds()) * SECOND_MS

    def of(self, time_ms: Ints) -> Ints:
        """Number of the day that each moment (n) is in."""
        return (time_ms + (self._offset_ms - 1)) // DAY_MS

    def end_ms(self, day: Ints) -> Ints:
        """When each day (n) ends."""
        return (day + 1) * DAY_MS - self._offset_ms

    def passed(self, time_ms: int) -> int:
        """Number of the last day that has ended at a moment."""
        return (time_ms + self._offset_ms) // DAY_MS - 1


@lru_cache
def left_out_days(zone: ZoneInfo) -> tuple[int, ...]:
    """The dates that a zone went over when it changed sides of the date line, in days since the epoch."""
    found = []
    for month in range((_LAST_YEAR - _EPOCH.year) * 12):
        first = date(_EPOCH.year + month // 12, month % 12 + 1, 1)
        after = date(_EPOCH.year + (month + 1) // 12, (month + 1) % 12 + 1, 1)
        days = (after - first).days
        if _midnight_s(after, zone) - _midnight_s(first, zone) <= (days - 1) * _DAY_S:
            dates = [first + timedelta(days=day) for day in range(days + 1)]
            starts = [_midnight_s(day, zone) for day in dates]
            found += [(dates[day] - _EPOCH).days for day in range(days) if starts[day] == starts[day + 1]]
    return tuple(found)


def _midnight_s(day: date, zone: ZoneInfo) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC).timestamp())


def _looked_up(keys: Ints, known: dict[int, int], work_out: Callable[[int], int]) -> Ints:
    different, place = numbered(keys)
    found = []
    for key in different.tolist():
        value = known.get(key)
        if value is None:
            if len(known) > _CACHED:
                known.clear()
            value = known[key] = work_out(key)
        found.append(value)
    return np.array(found, dtype=np.int64)[place] if found else np.empty(0, dtype=np.int64)
