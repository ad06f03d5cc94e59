"""Windows: which panes of time there are, and which of them make up a window.

Every event falls into one pane of each kind: a fixed width, counted from the epoch in UTC, or an hour, day, week or
month of a time zone. A window is one pane, or, when it slides, the last few of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

import numpy as np

from stream.arrays import Ints
from stream.durations import DAY_MS, SECOND_MS, TOTAL, TOTAL_MS, duration_ms, window_ms

_CALENDAR_MS = {"hour": 3_600_000, "day": DAY_MS, "week": 7 * DAY_MS, "month": 30 * DAY_MS}
_QUARTER_S = 900
"""Every zone's clock has been set, since 2000, by whole quarters of an hour and at one."""
_CACHED = 100_000
_MOST_PANES = 1_000
_LONGEST_MS = 366 * DAY_MS
_SLIDING = re.compile(r"([^/]+)/([^/]+)")


class Panes(Protocol):
    """A division of time without gaps. Seconds are since the epoch, UTC."""

    @property
    def grain_ms(self) -> int:
        """A width that divides every pane: events of one such slice are in one pane. 0: any."""
        ...

    def start_s(self, time_ms: Ints) -> Ints:
        """Start of the pane that each time (n) falls into."""
        ...

    def next_s(self, start_s: Ints) -> Ints:
        """Start of the pane after each (n)."""
        ...

    def back_s(self, start_s: Ints, panes: int) -> Ints:
        """Start of the pane so many before each (n)."""
        ...


@dataclass(frozen=True, slots=True)
class Fixed:
    """Panes of one width, counted from the epoch."""

    width_ms: int

    @property
    def grain_ms(self) -> int:
        return self.width_ms

    def start_s(self, time_ms: Ints) -> Ints:
        return time_ms // self.width_ms * (self.width_ms // SECOND_MS)

    def next_s(self, start_s: Ints) -> Ints:
        return start_s + self.width_ms // SECOND_MS

    def back_s(self, start_s: Ints, panes: int) -> Ints:
        return start_s - panes * (self.width_ms // SECOND_MS)


@dataclass(frozen=True, slots=True)
class Whole:
    """One pane that holds all of time."""

    grain_ms: int = 0

    def start_s(self, time_ms: Ints) -> Ints:
        return np.zeros_like(time_ms)

    def next_s(self, start_s: Ints) -> Ints:
        return np.full_like(start_s, TOTAL_MS // SECOND_MS)

    def back_s(self, start_s: Ints, panes: int) -> Ints:
        return np.zeros_like(start_s)


@dataclass(frozen=True, slots=True)
class Calendar:
    """Hours, days, weeks from Monday, or months of a time zone, as long as its clocks make them."""

    unit: str
    zone: ZoneInfo
    _starts: dict[int, int] = field(default_factory=dict, compare=False)
    _nexts: dict[int, int] = field(default_factory=dict, compare=False)

    @property
    def grain_ms(self) -> int:
        return _QUARTER_S * SECOND_MS

    def start_s(self, time_ms: Ints) -> Ints:
        quarters, inverse = np.unique(time_ms // (_QUARTER_S * SECOND_MS), return_inverse=True)
        known = self._starts
        if len(known) > _CACHED:
            known.clear()
        starts = []
        for quarter in quarters.tolist():
            start = known.get(quarter)
            if start is None:
                start = known[quarter] = self._start_of(quarter * _QUARTER_S)
            starts.append(start)
        return np.array(starts, dtype=np.int64)[inverse]

    def next_s(self, start_s: Ints) -> Ints:
        different, inverse = np.unique(start_s, return_inverse=True)
        known = self._nexts
        if len(known) > _CACHED:
            known.clear()
        nexts = []
        for start in different.tolist():
            following = known.get(start)
            if following is None:
                following = known[start] = self._next_of(start)
            nexts.append(following)
        return np.array(nexts, dtype=np.int64)[inverse]

    def back_s(self, start_s: Ints, panes: int) -> Ints:
        if self.unit != "day" and panes:
            raise ValueError(f"expected days, which alone can slide; found {self.unit}")
        # Step by step: a zone may leave out a whole day.
        for _ in range(panes):
            start_s = self.start_s(start_s * SECOND_MS - 1)
        return start_s

    def _start_of(self, time_s: int) -> int:
        if self.unit == "hour":
            return self._hour_of(time_s)
        day = self._local(time_s).date()
        if self.unit == "week":
            day -= timedelta(days=day.weekday())
        elif self.unit == "month":
            day = day.replace(day=1)
        return self._midnight(day)

    def _hour_of(self, time_s: int) -> int:
        """An hour during which the clocks were set, other than by whole hours, ends there and another begins."""
        offset = self._offset_s(time_s)
        start = time_s - (time_s + offset) % 3600
        quarter = time_s - time_s % _QUARTER_S
        while quarter > start and self._offset_s(quarter - _QUARTER_S) == offset:
            quarter -= _QUARTER_S
        return max(start, quarter) if self._offset_s(start) != offset else start

    def _next_of(self, start_s: int) -> int:
        if self.unit == "hour":
            following = start_s + _QUARTER_S
            while self._hour_of(following) == start_s:
                following += _QUARTER_S
            return following
        day = self._local(start_s).date()
        if self.unit == "month":
            return self._midnight(date(day.year + day.month // 12, day.month % 12 + 1, 1))
        return self._midnight(day + timedelta(days=7 if self.unit == "week" else 1))

    def _local(self, time_s: int) -> datetime:
        return datetime.fromtimestamp(time_s, self.zone)

    def _offset_s(self, time_s: int) -> int:
        offset = self._local(time_s).utcoffset()
        assert offset is not None
        return int(offset.total_seconds())

    def _midnight(self, day: date) -> int:
        """The first moment of a day. Where clocks are set forward at midnight, that is when they are."""
        return int(datetime(day.year, day.month, day.day, tzinfo=self.zone).astimezone(UTC).timestamp())


@dataclass(frozen=True, slots=True)
class Window:
    """One of a metric's windows."""

    name: str
    panes: Panes
    panes_name: str
    """The panes as the catalog writes them: windows of equal panes share their state."""
    span: int = 1
    """How many panes a window has; more than one slide, by a pane at a time."""
    about_ms: int = 0
    """Its width, of months about."""

    @property
    def grain_ms(self) -> int:
        """Such windows end at multiples of it only."""
        return self.panes.grain_ms or DAY_MS

    def next_ms(self, start_ms: int) -> int:
        """Start of the window after the one that starts then."""
        return self.on_ms(start_ms, 1)

    def end_ms(self, start_ms: int) -> int:
        """End of the window that starts then."""
        return self.on_ms(start_ms, self.span)

    def on_ms(self, start_ms: int, panes: int) -> int:
        """Start of the pane so many after the one that starts then."""
        if isinstance(self.panes, Fixed):
            return start_ms + panes * self.panes.width_ms
        start_s = np.array([start_ms // SECOND_MS])
        for _ in range(panes):
            start_s = self.panes.next_s(start_s)
        return int(start_s[0]) * SECOND_MS

    def between(self, start_ms: int, end_ms: int) -> int:
        """How many panes start from the one that starts at `start_ms` to before `end_ms`."""
        if isinstance(self.panes, Fixed):
            return max(-((start_ms - end_ms) // self.panes.width_ms), 0)
        count = 0
        while start_ms < end_ms:
            start_ms, count = self.next_ms(start_ms), count + 1
        return count

    def before_ms(self, start_ms: int, panes: int) -> int:
        """Start of the pane so many before the one that starts then."""
        if isinstance(self.panes, Fixed):
            return start_ms - panes * self.panes.width_ms
        for _ in range(panes):
            start_ms = int(self.panes.start_s(np.array([start_ms - 1]))[0]) * SECOND_MS
        return start_ms


def window_of(text: str, zone: ZoneInfo) -> Window:
    """A window as the catalog writes it.

    `10s`, `1h`, `1d`: fixed, a divisor of the day. `hour`, `day`, `week`, `month`: of the platform's calendar.
    `5m/10s`, `7d/day`: the last 5 minutes, every 10 s; the last 7 days of the calendar, every day. Raises ValueError.
    """
    found = _SLIDING.fullmatch(text)
    if found is None:
        panes = _panes(text, zone)
        return Window(text, panes, text, about_ms=_CALENDAR_MS.get(text, panes.grain_ms or TOTAL_MS))
    width, every = found[1], found[2]
    panes = _panes(every, zone)
    size_ms = duration_ms(width)
    if isinstance(panes, Calendar):
        if every != "day" or size_ms % DAY_MS:
            raise ValueError(
                f"expected whole days, such as 7d/day, where a window slides with the calendar; found {text!r}"
            )
        span = size_ms // DAY_MS
    else:
        if every == TOTAL or size_ms % panes.grain_ms:
            raise ValueError(f"expected a width that is a multiple of its step, such as 5m/10s; found {text!r}")
        span = size_ms // panes.grain_ms
    if not 2 <= span <= _MOST_PANES or size_ms > _LONGEST_MS:
        raise ValueError(f"expected 2 to {_MOST_PANES} steps and at most 366d, found {text!r}")
    return Window(text, panes, every, span, size_ms)


def _panes(text: str, zone: ZoneInfo) -> Panes:
    if text in _CALENDAR_MS:
        return Calendar(text, zone)
    return Whole() if text == TOTAL else Fixed(window_ms(text))
