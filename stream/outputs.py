"""One window of a cube: which of its windows changed or closed, and what was sent of each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from sinks.records import Dimensions, Point, State, Value
from stream.arrays import Floats, Ints, Mask
from stream.batches import State as Snapshot
from stream.derived import ZERO_WITHOUT_EVENTS
from stream.measures.retractable import Retractable
from stream.plan import DerivedPlan, MetricPlan
from stream.rows import RowTable, pack, series_of, start_of
from stream.totals import Totals, picked
from stream.windows import Window

_EXACT = float(1 << 53)
_STATES = (State.OPEN, State.FINAL, State.CORRECTED)
_OPEN_END_S = 1 << 62
_COUNTS, _CHANGES = 0, 1
"""Places of columns: every measure's first, and the second of those of what may be taken back."""


@dataclass(frozen=True, slots=True)
class _Targets:
    """Windows (n) to look at, and the rows they are made of."""

    start_s: Ints
    end_s: Ints
    series: Ints
    rows: Ints
    group: Ints | None
    """Which window each row is a part of; None: each row is one window."""


@dataclass(slots=True)
class _Combined:
    """One metric over the targets (n)."""

    columns: list[Floats]
    sketches: list[Any]
    measured: Floats | None = None
    """Its values as input of others."""


class Output:
    """Says what is new about every series in every window of one kind."""

    def __init__(
        self, window: Window, totals: Totals, metrics: list[MetricPlan], derived: list[DerivedPlan], names: list[str]
    ) -> None:
        self._window = window
        self._totals = totals
        self._places = {metric.name: place for place, metric in enumerate(totals.metrics)}
        self._metrics = metrics
        self._derived = derived
        self._names = names
        """Names of the cube's metrics, to which the inputs of derived ones refer."""
        self._rows = RowTable()
        self._settled = self._rows.column(np.bool_, False)
        self._fingerprints = {metric.name: metric.fingerprint for metric in metrics} | {
            one.name: one.fingerprint for one in derived
        }
        self._sent = {name: self._rows.column(np.float64, 0.0) for name in self._fingerprints}
        """Events that were counted in what was last sent; of what may be taken back, changes."""
        self._by = _CHANGES if any(isinstance(metric.measure, Retractable) for metric in totals.metrics) else _COUNTS
        """Which column of a metric tells whether it has changed."""
        self._revision = {name: self._rows.column(np.int64, 0) for name in self._fingerprints}
        self._closed = totals.rows.column(np.bool_, False) if window.span == 1 else -1
        """Where a window is a pane: whether it was sent as closed, kept with the pane, so that it need not be found."""
        self._closes_at_s: int = -_OPEN_END_S
        """No window closes before the watermark reaches this."""
        self._says_all = False
        """Whether everything that can still change is to be sent again, as what was sent last may not be so."""
        self._waiting: dict[tuple[str, int, Dimensions], Point] = {}
        """Open points that databases have not been offered yet."""

    @property
    def waiting(self) -> bool:
        return bool(self._waiting)

    def offer(self) -> list[Point]:
        """Open points that changed since the last call."""
        points = list(self._waiting.values())
        self._waiting.clear()
        return points

    def emit(self, watermark_ms: int, closed_to_ms: int, dimensions: list[Dimensions]) -> list[Point]:
        """Points that changed, and those of windows that the watermark has passed, since it was at `closed_to_ms`."""
        watermark_s, closed_to_s = watermark_ms // 1_000, closed_to_ms // 1_000
        if not self._totals.touched and watermark_s < self._closes_at_s and not self._says_all:
            return []
        one = self._window.span == 1
        targets = self._single(watermark_s) if one else self._sliding(watermark_s, closed_to_s)
        said_all, self._says_all = self._says_all, False
        if targets is None:
            return []
        rows = self._rows.find(pack(targets.start_s, targets.series))
        settled: Mask = targets.end_s <= watermark_s
        was_settled = self._rows.get(self._settled)[rows]
        closing = settled & ~was_settled
        # A window whose first event comes after it should have closed is a correction of "nothing happened".
        corrected = settled & (was_settled | (targets.end_s <= closed_to_s))
        # What is only sent again has not changed.
        state = np.where(corrected & (not said_all), 2, settled)
        whole_s = targets.end_s - targets.start_s
        seconds = np.where(settled, whole_s, np.clip(watermark_s - targets.start_s, 1, whole_s)).astype(np.float64)
        combined: dict[str, _Combined] = {}
        points: list[Point] = []

        def select(name: str, counts: Floats) -> Mask:
            sent = self._rows.get(self._sent[name])
            pick: Mask = (counts > 0) & ((counts != sent[rows]) | closing)
            sent[rows[pick]] = counts[pick]
            self._rows.get(self._revision[name])[rows[pick]] += 1
            return pick

        def add(name: str, pick: Mask, values: Floats | list[Value], counts: Floats, errors: Any) -> None:
            points.extend(
                self._points(name, targets, rows, pick, values, counts, errors, state, watermark_ms, dimensions)
            )

        for metric in self._metrics:
            found = self._combine(metric.name, targets, combined)
            pick = select(metric.name, found.columns[self._by])
            nothing = pick & (found.columns[0] <= 0)
            if nothing.any():
                # All that was said has been taken back; where nothing was said, nobody has to be told.
                pick &= ~nothing
                nothing &= self._rows.get(self._revision[metric.name])[rows] > 1
                zero = 0.0 if metric.measure.name in ZERO_WITHOUT_EVENTS else math.nan
                values: Floats | list[Value] = np.full(int(nothing.sum()), zero)
                add(metric.name, nothing, values, found.columns[0][nothing], None)
            if pick.any():
                columns, sketches = [column[pick] for column in found.columns], picked(found.sketches, pick)
                values = metric.measure.value(columns, sketches, seconds[pick])
                add(metric.name, pick, values, columns[0], metric.measure.error(columns, sketches))
        for derived in self._derived:
            inputs = [self._names[place] for place in derived.inputs]
            parts = [self._combine(name, targets, combined) for name in inputs]
            total = np.sum([part.columns[self._by] for part in parts], axis=0)
            pick = select(derived.name, total)
            if pick.any():
                measured = [self._measured(name, seconds, combined)[pick] for name in inputs]
                result = derived.derived.compute(measured)
                some = np.isfinite(result)
                gone = pick.copy()
                gone[pick] = ~some & (self._rows.get(self._revision[derived.name])[rows[pick]] > 1)
                if self._by == _CHANGES and gone.any():
                    counts = np.zeros(int(gone.sum()))
                    add(derived.name, gone, np.full(len(counts), math.nan), counts, None)
                pick[pick] = some
                counts = np.max([part.columns[0][pick] for part in parts], axis=0)
                add(derived.name, pick, result[some], counts, None)
        self._rows.get(self._settled)[rows] |= settled
        if targets.group is None:
            self._totals.rows.get(self._closed)[targets.rows] |= settled
        for point in points:
            key = point.metric, point.start_ms, point.dimensions
            if point.state is State.OPEN:
                self._waiting[key] = point
            else:
                self._waiting.pop(key, None)
        return points

    def expire(self, before_s: int) -> None:
        """Forget the windows that can no longer change: `before_s` is the start of the first pane that can."""
        start_s = self._totals.division.back_s(np.array([before_s]), self._window.span - 1)
        self._rows.drop_before(int(start_s[0]))

    def _single(self, watermark_s: int) -> _Targets | None:
        totals = self._totals
        used = totals.rows.used()
        end_s = totals.end_s()
        settled = totals.rows.get(self._closed)
        closing = used & ~settled & (end_s <= watermark_s)
        later = end_s[used & ~settled & ~closing]
        self._closes_at_s = int(later.min()) if len(later) else _OPEN_END_S
        rows = np.flatnonzero(used if self._says_all else (totals.dirty() & used) | closing)
        if not len(rows):
            return None
        keys = totals.rows.key[rows]
        return _Targets(start_of(keys), end_s[rows], series_of(keys), rows, None)

    def _sliding(self, watermark_s: int, closed_to_s: int) -> _Targets | None:
        """Windows that end with a pane which has closed since, or that a changed pane is a part of.

        Of the windows that are still open, those that end with the newest pane or before: the others would say less.
        """
        totals, division, span = self._totals, self._totals.division, self._window.span
        all_rows = np.flatnonzero(totals.rows.used())
        if not len(all_rows):
            return None
        dirty = totals.dirty()[all_rows]
        ends = totals.end_s()[all_rows]
        # Windows behind the newest pane that are closed already have been said without what is new.
        newest_s = max(int(ends.max()), min(closed_to_s, watermark_s))
        lowest = [int(ends[dirty].min())] if dirty.any() else []
        after = ends[ends > closed_to_s]
        # Panes that ended before may still be part of windows that close only now.
        lowest.append(max(closed_to_s, int(ends.min())) if len(after) < len(ends) else int(after.min()))
        lowest_s = division.start_s(np.array([min(lowest) * 1_000]))
        near = (ends > int(division.back_s(lowest_s, span)[0])) | self._says_all
        rows, dirty, ends = all_rows[near], dirty[near], ends[near]
        series = series_of(totals.rows.key[rows])
        wanted: list[Ints] = []
        closes_at_s, end_s = _OPEN_END_S, ends
        ends_of: list[Ints] = []
        for _ in range(span):
            ends_of.append(end_s)
            take = (dirty & (end_s <= newest_s)) | ((end_s > closed_to_s) & (end_s <= watermark_s))
            wanted.append(pack(end_s[take], series[take]))
            later = end_s[end_s > watermark_s]
            closes_at_s = min(closes_at_s, int(later.min()) if len(later) else _OPEN_END_S)
            end_s = division.next_s(end_s)
        self._closes_at_s = closes_at_s
        if self._says_all:
            known = self._rows.key[self._rows.used()]
            known_end_s = start_of(known)
            for _ in range(span):
                known_end_s = division.next_s(known_end_s)
            wanted.append(pack(known_end_s, series_of(known)))
        targets = np.unique(np.concatenate(wanted))
        if not len(targets):
            return None
        parts: list[Ints] = []
        groups: list[Ints] = []
        for end_s in ends_of:
            keys = pack(end_s, series)
            place = np.minimum(np.searchsorted(targets, keys), len(targets) - 1)
            hit = targets[place] == keys
            parts.append(rows[hit])
            groups.append(place[hit])
        target_end_s = start_of(targets)
        start_s = division.back_s(target_end_s, span)
        return _Targets(start_s, target_end_s, series_of(targets), np.concatenate(parts), np.concatenate(groups))

    def _combine(self, name: str, targets: _Targets, known: dict[str, _Combined]) -> _Combined:
        found = known.get(name)
        if found is None:
            columns, sketches = self._totals.combined(
                self._places[name], targets.rows, targets.group, len(targets.start_s)
            )
            found = known[name] = _Combined(columns, sketches)
        return found

    def _measured(self, name: str, seconds: Floats, known: dict[str, _Combined]) -> Floats:
        """A metric's values over all targets, as others are worked out of them."""
        found = known[name]
        if found.measured is None:
            measure = self._totals.metrics[self._places[name]].measure
            nothing = 0.0 if measure.name in ZERO_WITHOUT_EVENTS else math.nan
            found.measured = np.full(len(seconds), nothing)
            some = found.columns[0] > 0
            if some.any():
                columns = [column[some] for column in found.columns]
                values = measure.value(columns, picked(found.sketches, some), seconds[some])
                found.measured[some] = np.array(values, dtype=np.float64)
        return found.measured

    def _points(
        self,
        name: str,
        targets: _Targets,
        rows: Ints,
        pick: Mask,
        values: Floats | list[Value],
        counts: Floats,
        errors: Any,
        state: Ints,
        watermark_ms: int,
        dimensions: list[Dimensions],
    ) -> list[Point]:
        plain = values if isinstance(values, list) else [_number(value) for value in values.tolist()]
        return [
            Point(
                metric=name,
                window=self._window.name,
                start_ms=start_s * 1_000,
                dimensions=dimensions[series],
                value=value,
                count=int(count),
                state=_STATES[settled],
                revision=revision,
                watermark_ms=watermark_ms,
                error=error,
            )
            for start_s, series, value, count, settled, revision, error in zip(
                targets.start_s[pick].tolist(),
                targets.series[pick].tolist(),
                plain,
                counts.tolist(),
                state[pick].tolist(),
                self._rows.get(self._revision[name])[rows[pick]].tolist(),
                [None] * len(plain) if errors is None else errors,
                strict=True,
            )
        ]

    def to_state(self) -> Snapshot:
        rows = np.flatnonzero(self._rows.used())
        return {
            "fingerprints": self._fingerprints,
            "key": self._rows.key[rows].tobytes(),
            "settled": self._rows.get(self._settled)[rows].tobytes(),
            "sent": {name: self._rows.get(place)[rows].tobytes() for name, place in self._sent.items()},
            "revision": {name: self._rows.get(place)[rows].tobytes() for name, place in self._revision.items()},
            "waiting": [
                (p.metric, p.start_ms, p.dimensions, p.value, p.count, p.revision, p.watermark_ms, p.error)
                for p in self._waiting.values()
            ],
        }

    def restore(self, state: Snapshot) -> None:
        rows = self._rows.find(np.frombuffer(state["key"], dtype=np.int64))
        settled = np.frombuffer(state["settled"], dtype=np.bool_)
        self._rows.get(self._settled)[rows] = settled
        if self._window.span == 1:
            panes = self._totals.rows.look_up(self._rows.key[rows])
            self._totals.rows.get(self._closed)[panes[panes >= 0]] = settled[panes >= 0]
        same = {name for name, mark in self._fingerprints.items() if state["fingerprints"].get(name) == mark}
        for name in self._fingerprints:
            if name in same:
                self._rows.get(self._sent[name])[rows] = np.frombuffer(state["sent"][name], dtype=np.float64)
                self._rows.get(self._revision[name])[rows] = np.frombuffer(state["revision"][name], dtype=np.int64)
        if self._by == _CHANGES:
            self._says_all = True
            for place in self._sent.values():
                self._rows.get(place)[rows] = -1.0
        for metric, start_ms, pairs, value, count, revision, watermark_ms, error in state["waiting"]:
            if metric in same:
                dimensions = tuple((name, text) for name, text in pairs)
                self._waiting[metric, start_ms, dimensions] = Point(
                    metric,
                    self._window.name,
                    start_ms,
                    dimensions,
                    value,
                    count,
                    State.OPEN,
                    revision,
                    watermark_ms,
                    error,
                )


def _number(value: float) -> int | float | None:
    """Whole numbers as such, as far as they are exact; nothing where a total is beyond all floats."""
    if not math.isfinite(value):
        return None
    return int(value) if value.is_integer() and abs(value) < _EXACT else value
