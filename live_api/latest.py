"""The latest points of every series: what the hub knows, and what changed since a client last heard.

No socket and no clock. Values are absolute, so leaving out what was overtaken loses nothing.

A `seq` is the number of the live stream's entry that brought a change (`seq_of`), so all API processes over one stream
count alike, and a client may go on with another process, or with the same one after a restart, where it was.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from sinks.records import Point, series_key, taken_over

if TYPE_CHECKING:
    from live_api.interest import Wanted

WINDOWS_KEPT = 8
"""Windows of each series in a snapshot: those with the latest starts."""
RING_MS = 60_000
"""Windows that changed so recently are kept besides, so that a client which was away no longer is told all of it."""
MOST_WINDOWS = 128
"""Windows of one series, whatever changed when: a backlog may pass through thousands in a second."""
MAX_SERIES = 100_000
_SUB_BITS = 11


def seq_of(entry_id: str) -> int:
    """The seq of a live stream's entry: its milliseconds and its place among those of one millisecond.

    Grows as entry ids do, and is exact in a JavaScript number until the year 2109.
    """
    ms, _, sub = entry_id.partition("-")
    return int(ms) << _SUB_BITS | min(int(sub or 0), (1 << _SUB_BITS) - 1)


@dataclass(slots=True, eq=False)
class Series:
    """One series and its latest windows."""

    metric: str
    window: str
    dimensions: dict[str, str]
    key_json: bytes
    """Its key, as JSON with a colon behind it."""
    points: dict[int, tuple[int, Point]] = field(default_factory=dict)
    """By start: the seq of the latest change, and the point."""
    seq: int = 0
    whole: bytes | None = None
    """What a snapshot says of it, as long as that is so."""
    wanted: list[Wanted] = field(default_factory=list)
    """The sets of topics it is of."""

    def changed(self, since: int) -> bytes:
        """`"key":{…}` with the points that changed after `since`, oldest window first."""
        return self.key_json + self._json(sorted(start for start, (seq, _) in self.points.items() if seq > since))

    def snapshot(self) -> bytes:
        """`"key":{…}` with its latest windows."""
        if self.whole is None:
            self.whole = self.key_json + self._json(sorted(self.points)[-WINDOWS_KEPT:])
        return self.whole

    def _json(self, starts: list[int]) -> bytes:
        """Points as [start, value, count, state, revision], and behind them the error of a value that has one."""
        points = [(start, self.points[start][1]) for start in starts]
        body: dict[str, Any] = {
            "metric": self.metric,
            "window": self.window,
            "dimensions": self.dimensions,
            "points": [
                (start, point.value, point.count, point.state, point.revision)
                if point.error is None
                else (start, point.value, point.count, point.state, point.revision, point.error)
                for start, point in points
            ],
        }
        return orjson.dumps(body)


class Latest:
    """Series by key, in order of change.

    `apply` takes points in; `commit` ends a tick: only then do frames show them. A client that has heard up to some seq
    gets all that changed since, or, where too much has been dropped meanwhile, nothing of it: then it needs a snapshot.
    """

    def __init__(self) -> None:
        self.seq = 0
        self._series: OrderedDict[str, Series] = OrderedDict()
        self._of_window: dict[tuple[str, str], dict[str, Series]] = {}
        """The series of each metric and window, by key."""
        self._come: dict[Series, None] = {}
        self._gone: dict[Series, None] = {}
        self._staged: list[tuple[int, list[Point]]] = []
        self._staged_seq = 0
        self._known_from = 0
        """Who has heard less than this may have missed something for good."""

    def __len__(self) -> int:
        return len(self._series)

    @property
    def settled(self) -> bool:
        """Whether frames show all that came in."""
        return self._staged_seq <= self.seq and not self._staged

    def apply(self, points: Iterable[Point], seq: int) -> None:
        """Take in what the entry of that seq brought."""
        # Never less than before: the order of changes is what makes it cheap to find those since some seq.
        self._staged_seq = max(self._staged_seq, seq)
        self._staged.append((self._staged_seq, list(points)))

    def missed(self, seq: int) -> None:
        """Something before `seq` has not been seen, and never will be: who has heard less needs a snapshot."""
        self._known_from = max(self._known_from, seq)

    def restart(self) -> None:
        """Count from the beginning again, as the live stream was made anew. What is known is kept."""
        self.commit()
        for series in self._series.values():
            series.seq = 0
            series.points = {start: (0, point) for start, (_, point) in series.points.items()}
        self.seq = self._staged_seq = self._known_from = 0

    def commit(self) -> bool:
        """End the tick. Returns whether anything had changed."""
        staged, self._staged = self._staged, []
        forget_before = self._staged_seq - (RING_MS << _SUB_BITS)
        changed = False
        for seq, points in staged:
            for point in points:
                changed |= self._put(point, seq, forget_before)
        self.seq = max(self.seq, self._staged_seq)
        while len(self._series) > MAX_SERIES:
            key, oldest = self._series.popitem(last=False)
            del self._of_window[oldest.metric, oldest.window][key]
            self._come.pop(oldest, None)
            self._gone[oldest] = None
            self.missed(oldest.seq)
        return changed

    def _put(self, point: Point, seq: int, forget_before: int) -> bool:
        key = series_key(point.metric, point.window, point.dimensions)
        series = self._series.get(key)
        if series is None:
            dimensions = dict(point.dimensions)
            series = Series(point.metric, point.window, dimensions, orjson.dumps(key) + b":")
            self._series[key] = series
            self._of_window.setdefault((point.metric, point.window), {})[key] = series
            self._come[series] = None
        known = series.points.get(point.start_ms)
        taken = point if known is None else taken_over(known[1], point)
        if taken is None:
            return False
        series.points[point.start_ms] = (seq, taken)
        series.seq = seq
        series.whole = None
        self._series.move_to_end(key)
        if len(series.points) > WINDOWS_KEPT:
            self._drop(series, point.start_ms, forget_before)
        return True

    def _drop(self, series: Series, just_changed: int, forget_before: int) -> None:
        """Let go of old windows: those that nobody in the ring has to be told, and whatever is too many."""
        for start in sorted(series.points)[:-WINDOWS_KEPT]:
            seq = series.points[start][0]
            if start != just_changed and (seq <= forget_before or len(series.points) > MOST_WINDOWS):
                del series.points[start]
                self.missed(seq)

    def knows_since(self, since: int) -> bool:
        """Whether all that changed after `since` is still known."""
        return self._known_from <= since <= self.seq

    def changes(self, since: int) -> Iterator[Series]:
        """The series that changed after seq `since`, latest change first."""
        for series in reversed(self._series.values()):
            if series.seq <= since:
                return
            yield series

    def all(self) -> Iterable[Series]:
        """Every series."""
        return self._series.values()

    def take_moves(self) -> tuple[Iterable[Series], Iterable[Series]]:
        """The series that have come, and those that were let go, since this was last asked."""
        come, gone = self._come, self._gone
        self._come, self._gone = {}, {}
        return come, gone

    def groups(self, metric: str | None = None) -> list[tuple[str, str]]:
        """Metrics and windows that there are series of; those of one metric."""
        return [group for group in self._of_window if metric in (None, group[0])]

    def find(self, metric: str, window: str, dimensions: Mapping[str, str]) -> Iterable[Series]:
        """The series of a metric's window that have these dimensions."""
        found = self._of_window.get((metric, window), {})
        if not dimensions or not found:
            return found.values()
        names = next(iter(found.values())).dimensions
        if names.keys() == dimensions.keys():
            one = found.get(series_key(metric, window, tuple((name, dimensions[name]) for name in names)))
            return [one] if one is not None else []
        asked = dimensions.items()
        return [series for series in found.values() if asked <= series.dimensions.items()]

    def values(self, metric: str, window: str) -> dict[tuple[str, ...], Point]:
        """The latest point of each series of a metric's window, by dimension values."""
        found = self._of_window.get((metric, window), {}).values()
        return {tuple(series.dimensions.values()): series.points[max(series.points)][1] for series in found}

    def recall(self, points: Iterable[Point], since: int, seq: int | None = None) -> int:
        """Take in what a store has of windows that have not changed after `since`: as a change of `seq`, or of one more
        than the latest that came in. Returns which that was."""
        staged = {
            (series_key(point.metric, point.window, point.dimensions), point.start_ms)
            for at, some in self._staged
            if at > since
            for point in some
        }
        unheard = []
        for point in points:
            key = series_key(point.metric, point.window, point.dimensions)
            series = self._series.get(key)
            known = None if series is None else series.points.get(point.start_ms)
            if (known is None or known[0] <= since) and (key, point.start_ms) not in staged:
                unheard.append(point)
        seq = self._staged_seq + 1 if seq is None else seq
        self.apply(unheard, seq)
        return seq
