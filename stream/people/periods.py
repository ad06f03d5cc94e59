"""Periods of time by number, so that "the next one" and "how many later" are arithmetic: also where days differ."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Literal, Protocol
from zoneinfo import ZoneInfo

import numpy as np

from stream.arrays import Ints
from stream.durations import SECOND_MS
from stream.windows import Calendar

Unit = Literal["day", "week", "month"]
_CACHED = 100_000
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
    """Days, weeks from Monday or months of a time zone, counted from those that the epoch is in there."""

    def __init__(self, unit: Unit, zone: ZoneInfo) -> None:
        self.window: str = unit
        self._calendar = Calendar(unit, zone)
        self._zone = zone
        self._numbers: dict[int, int] = {}
        """Of each start, in seconds."""
        self._starts: dict[int, int] = {}

    def of(self, time_ms: Ints) -> Ints:
        return _looked_up(self._calendar.start_s(time_ms), self._numbers, self._number_of)

    def start_ms(self, number: Ints) -> Ints:
        return _looked_up(number, self._starts, self._start_of) * SECOND_MS

    def _number_of(self, start_s: int) -> int:
        # A day begins at one where clocks are set at midnight, but on no other date.
        day = datetime.fromtimestamp(start_s, self._zone).date()
        if self.window == "day":
            return (day - _EPOCH).days
        if self.window == "week":
            return (day - _MONDAY).days // 7
        return (day.year - _EPOCH.year) * 12 + day.month - 1

    def _start_of(self, number: int) -> int:
        if self.window == "day":
            day = _EPOCH + timedelta(days=number)
        elif self.window == "week":
            day = _MONDAY + timedelta(weeks=number)
        else:
            day = date(_EPOCH.year + number // 12, number % 12 + 1, 1)
        midnight = datetime(day.year, day.month, day.day, tzinfo=self._zone)
        return int(midnight.astimezone(UTC).timestamp())


def _looked_up(keys: Ints, known: dict[int, int], work_out: Callable[[int], int]) -> Ints:
    different, place = np.unique(keys, return_inverse=True)
    found = []
    for key in different.tolist():
        value = known.get(key)
        if value is None:
            if len(known) > _CACHED:
                known.clear()
            value = known[key] = work_out(key)
        found.append(value)
    return np.array(found, dtype=np.int64)[place] if found else np.empty(0, dtype=np.int64)
