"""Through the closed windows of every series: each once and in order, also those in which nothing happened."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from sinks.records import Dimensions, Point, State
from stream.choice import matches
from stream.clock import END_MS, NEVER_MS
from stream.durations import DAY_MS
from stream.windows import Window

logger = logging.getLogger(__name__)

T = TypeVar("T")

_DORMANT_MS = 3 * DAY_MS
_DORMANT_WINDOWS = 100
"""A series without events for so long, whichever is longer, is watched no more until one comes."""
_FORGOTTEN_MS = 60 * DAY_MS
"""After so long what was learned of it is forgotten as well."""


@dataclass(slots=True)
class Walked(Generic[T]):
    """A series, and how far it has been walked through."""

    learned: T
    next_ms: int
    """Start of the first window that has not been visited."""
    data_ms: int
    """End of the last window that had events."""
    dormant: bool = False
    packed: bytes | None = field(default=None, repr=False)
    """What was learned as bytes, as long as it has not changed: most windows are long, and snapshots frequent."""


@dataclass(frozen=True, slots=True)
class Visit(Generic[T]):
    """A window of a series that has closed."""

    dimensions: Dimensions
    series: Walked[T]
    start_ms: int
    end_ms: int
    """When it was known. That is its end, but of what is said of windows to come."""
    point: Point | None
    """None where nothing happened."""
    falls_silent: bool = False
    """The window is not to be looked at: with it the series is watched no more, until it has a point again."""


@dataclass(frozen=True, slots=True)
class Path:
    """Which series are walked through, and how."""

    name: str
    """In the log, such as `rule slow`."""
    metric: str
    window: Window
    dimensions: Mapping[str, str]
    """Only series that have these."""
    max_series: int
    zero: bool
    """Whether the metric is 0 in a window without events; otherwise it has no value then."""
    key: str | None = None
    """Which value of several is looked at."""
    ahead: str | None = None
    """The dimension that says how many windows before its own a point is known; None: it is known when that closes."""
    most_silent: int | None = None
    """Windows without events that a series is watched through at the most, however short they are; None: any number."""

    @property
    def key_of_points(self) -> tuple[str, str]:
        return self.metric, self.window.name

    @property
    def dormant_ms(self) -> int:
        usual_ms = max(_DORMANT_MS, _DORMANT_WINDOWS * self.window.about_ms)
        return usual_ms if self.most_silent is None else min(usual_ms, self.most_silent * self.window.about_ms)

    def takes(self, dimensions: Dimensions) -> bool:
        """Whether a series is one of those that are walked through."""
        return matches(self.dimensions, dimensions)

    def end_ms(self, start_ms: int, dimensions: Dimensions) -> int:
        """When the window that starts then is known of a series."""
        if self.ahead is not None:
            start_ms = self.window.before_ms(start_ms, int(dict(dimensions)[self.ahead]))
        return self.window.end_ms(start_ms)

    def value(self, point: Point | None) -> float:
        """What a window has for a value: NaN for none."""
        if point is None:
            return 0.0 if self.zero else math.nan
        found = point.value
        if isinstance(found, Mapping):
            found = found.get(self.key or "")
        return math.nan if found is None else float(found)


class Walk(Generic[T]):
    """The series of one metric in one window, each with what was learned of it.

    Each window is visited once, when it closes, with the value it has then. What is corrected later is not visited
    again.

    *Guarantee*: every window of a series is visited exactly once and in order, in any order of points within a batch
    and however they are cut into batches, over restarts too.
    """

    def __init__(self, path: Path, make: Callable[[], T]) -> None:
        """`make` gives what has learned nothing yet."""
        self.path = path
        self._make = make
        self.series: dict[Dimensions, Walked[T]] = {}
        self._full = False
        """Whether all of them are walked through, as far as is known."""
        self._crowded = False
        """Whether there are more than that, and the log has said so."""

    def over(self, points: Iterable[Point], watermark_ms: int) -> Iterator[Visit[T]]:
        """Visit the windows that closed: those of `points`, whosever they are, and those that passed without events."""
        mine = [p for p in points if p.state is State.FINAL and (p.metric, p.window) == self.path.key_of_points]
        for point in sorted(mine, key=lambda point: (point.start_ms, point.dimensions)):
            if self.path.takes(point.dimensions):
                yield from self._to(point)
        if NEVER_MS < watermark_ms < END_MS:
            for dimensions, series in self.series.items():
                while not series.dormant and self.path.end_ms(series.next_ms, dimensions) <= watermark_ms:
                    yield self._visit(dimensions, series, None)
            self._forget(watermark_ms)

    def relearn(self, series: Walked[T]) -> None:
        """Forget what was learned of a series."""
        series.learned = self._make()

    def _to(self, point: Point) -> Iterator[Visit[T]]:
        series = self.series.get(point.dimensions)
        if series is None:
            if len(self.series) >= self.path.max_series and not self._make_room():
                self._crowd()
                return
            series = self.series[point.dimensions] = Walked(self._make(), point.start_ms, point.start_ms)
        if point.start_ms < series.next_ms and not series.dormant:
            return
        if series.dormant:
            series.dormant, series.next_ms = False, max(series.next_ms, point.start_ms)
        while series.next_ms < point.start_ms and not series.dormant:
            yield self._visit(point.dimensions, series, None)
        series.dormant = False
        series.next_ms = point.start_ms
        yield self._visit(point.dimensions, series, point)

    def _visit(self, dimensions: Dimensions, series: Walked[T], point: Point | None) -> Visit[T]:
        start_ms = series.next_ms
        end_ms = self.path.end_ms(start_ms, dimensions)
        series.next_ms = self.path.window.next_ms(start_ms)
        if point is not None:
            series.data_ms = end_ms
        elif end_ms - series.data_ms > self.path.dormant_ms:
            series.dormant = True
            self._full = False
            return Visit(dimensions, series, start_ms, end_ms, None, falls_silent=True)
        series.packed = None
        return Visit(dimensions, series, start_ms, end_ms, point)

    def _forget(self, watermark_ms: int) -> None:
        old = [d for d, s in self.series.items() if watermark_ms - s.data_ms > _FORGOTTEN_MS and s.dormant]
        for dimensions in old:
            del self.series[dimensions]

    def _make_room(self) -> bool:
        """Forget the series that has been silent for longest, of those that are not watched until they speak."""
        if self._full:
            return False
        dormant = [dimensions for dimensions, series in self.series.items() if series.dormant]
        if not dormant:
            self._full = True
            return False
        del self.series[min(dormant, key=lambda dimensions: self.series[dimensions].data_ms)]
        return True

    def _crowd(self) -> None:
        if not self._crowded:
            self._crowded = True
            most = self.path.max_series
            logger.warning("%s watches %d series, its max_series, and leaves others out", self.path.name, most)

    def to_state(self, pack: Callable[[T], bytes]) -> list[Any]:
        """What has changed since the last time is packed anew, the rest is not."""
        rows: list[Any] = []
        for dimensions, series in self.series.items():
            if series.packed is None:
                series.packed = pack(series.learned)
            rows.append((dimensions, series.next_ms, series.data_ms, series.dormant, series.packed))
        return rows

    def restore(self, rows: Iterable[Any], unpack: Callable[[bytes], T]) -> None:
        """Take over a state. A series that `unpack` raises ValueError for begins to learn anew, and the log says so."""
        for pairs, next_ms, data_ms, dormant, packed in rows:
            dimensions = tuple((name, value) for name, value in pairs)
            if not self.path.takes(dimensions):
                continue
            try:
                learned, kept = unpack(packed), packed
            except ValueError as error:
                logger.warning("%s learns %s anew: %s", self.path.name, dict(dimensions), error)
                learned, kept = self._make(), None
            self.series[dimensions] = Walked(learned, next_ms, data_ms, dormant, kept)
