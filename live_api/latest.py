"""The latest points of every series: what the hub knows, and what changed since a client last heard.

No socket and no clock. Values are absolute, so leaving out what was overtaken loses nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from sinks.records import Point, series_key, taken_over

WINDOWS_KEPT = 8
"""Windows kept of each series: those with the latest starts, and a late correction until the next change."""
MAX_SERIES = 100_000

Matcher = Callable[["Series"], bool]


@dataclass(slots=True)
class Series:
    """One series and its latest windows."""

    metric: str
    window: str
    dimensions: dict[str, str]
    points: dict[int, tuple[int, Point]] = field(default_factory=dict)
    """By start: the seq of the latest change, and the point."""
    seq: int = 0

    def to_json(self, since: int) -> dict[str, Any]:
        """What changed after `since`, oldest window first; points as [start, value, count, state, revision], and behind
        them the error of a value that has one.
        """
        changed = sorted(start for start, (seq, _) in self.points.items() if seq > since)
        return {
            "metric": self.metric,
            "window": self.window,
            "dimensions": self.dimensions,
            "points": [
                (start, point.value, point.count, point.state, point.revision)
                if point.error is None
                else (start, point.value, point.count, point.state, point.revision, point.error)
                for start, (_, point) in ((start, self.points[start]) for start in changed)
            ],
        }


class Latest:
    """Series by key, in order of change.

    `apply` takes points in; `commit` ends a tick and gives it the next seq. A client that has heard up to some seq gets
    all that changed since as one `changes`, or, where too much has been dropped meanwhile, None: then it needs all.
    """

    def __init__(self) -> None:
        self.seq = 0
        self._series: OrderedDict[str, Series] = OrderedDict()
        self._of_window: dict[tuple[str, str], set[str]] = {}
        """Keys of the series of each metric and window."""
        self._staged: list[Point] = []
        """Points that belong to the next seq: no frame shows them before their tick."""
        self._dropped = 0
        """The latest seq of any point that was dropped: who heard less has missed something for good."""

    def __len__(self) -> int:
        return len(self._series)

    def apply(self, points: Iterable[Point]) -> None:
        """Take in points. They belong to the next seq."""
        self._staged.extend(points)

    def commit(self) -> bool:
        """End the tick. Returns whether anything had changed."""
        points, self._staged = self._staged, []
        if not any([self._put(point, self.seq + 1) for point in points]):
            return False
        self.seq += 1
        while len(self._series) > MAX_SERIES:
            key, oldest = self._series.popitem(last=False)
            self._of_window[oldest.metric, oldest.window].discard(key)
            self._dropped = max(self._dropped, oldest.seq)
        return True

    def _put(self, point: Point, seq: int) -> bool:
        key = series_key(point.metric, point.window, point.dimensions)
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = Series(point.metric, point.window, dict(point.dimensions))
            self._of_window.setdefault((point.metric, point.window), set()).add(key)
        known = series.points.get(point.start_ms)
        taken = point if known is None else taken_over(known[1], point)
        if taken is None:
            return False
        series.points[point.start_ms] = (seq, taken)
        series.seq = seq
        self._series.move_to_end(key)
        if len(series.points) > WINDOWS_KEPT:
            self._drop_point(series, point.start_ms)
        return True

    def changes(self, since: int, matches: Matcher) -> dict[str, Any] | None:
        """What changed after seq `since` in the series that match; None when that is no longer known in full."""
        if since < self._dropped or since > self.seq:
            return None
        result: dict[str, Any] = {}
        for key, series in reversed(self._series.items()):
            if series.seq <= since:
                break
            if matches(series):
                result[key] = series.to_json(since)
        return result

    def snapshot(self, matches: Matcher) -> dict[str, Any]:
        """All that is known of the series that match."""
        return {key: series.to_json(0) for key, series in self._series.items() if matches(series)}

    def values(self, metric: str, window: str) -> dict[tuple[str, ...], Point]:
        """The latest point of each series of a metric's window, by dimension values."""
        found = (self._series[key] for key in self._of_window.get((metric, window), ()))
        return {tuple(series.dimensions.values()): series.points[max(series.points)][1] for series in found}

    def _drop_point(self, series: Series, just_changed: int) -> None:
        oldest = min(start for start in series.points if start != just_changed)
        seq, _ = series.points.pop(oldest)
        self._dropped = max(self._dropped, seq)
