"""One shard's accumulators of one cube: every series in every pane that may still change."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from math import gcd
from typing import Any

import numpy as np
import numpy.typing as npt

from sinks.records import OTHER
from stream.arrays import Floats, Ints
from stream.batches import Block, State
from stream.clock import NEVER_MS
from stream.durations import DAY_MS
from stream.evaluate import Contribution, Evaluation
from stream.grouping import Groups, numbered
from stream.labels import Labels
from stream.measures.base import COUNT, Column, Reduce, Sketch
from stream.measures.retractable import MOVES
from stream.plan import CubePlan, MetricPlan
from stream.rows import RowTable, pack, series_of, start_of
from stream.series import SeriesIndex, rows_of
from stream.windows import Panes as Division

logger = logging.getLogger(__name__)

MOST_ROWS = 2_000_000
"""Series times open windows of one kind that a cube holds at the most; each takes 8 bytes a column here and again
where shards are merged."""
Notice = Callable[[str], None]
"""Is told, in words, what part of a snapshot could not be taken over and why."""


def noticed(text: str) -> None:
    """A `Notice` that is logged."""
    logger.warning("%s", text, extra={"event": "state_partly_taken"})


class _Table:
    """All panes of one kind."""

    def __init__(self, division: Division, metrics: tuple[MetricPlan, ...], columns: list[int]) -> None:
        self.division = division
        self.metrics = metrics
        self.columns = columns
        """Which of the cube's columns are kept here."""
        self.rows = RowTable()
        self.specs = [(metric, column) for metric in metrics for column in metric.measure.columns]
        self.places = [self.rows.column(np.float64, column.reduce.neutral) for _, column in self.specs]
        self.sketches: list[tuple[MetricPlan, Sketch, int]] = [
            (metric, metric.measure.sketch, self.rows.column(object, None))
            for metric in metrics
            if metric.measure.sketch is not None
        ]
        self.dirty = self.rows.column(np.bool_, False)
        self._is_full = False
        self.dropped_s = NEVER_MS
        """Panes that start before are settled for good, and never begin again: not even if the lateness is raised."""

    def fold(self, keys: Ints, values: list[Floats]) -> Ints:
        """Reduce `values` (one array of n for each of the cube's columns) into the rows of `keys` (n, distinct).

        Returns the rows (n).
        """
        rows = self.rows.find(keys)
        for place, (_, spec), column in zip(self.places, self.specs, self.columns, strict=True):
            array = self.rows.get(place)
            array[rows] = spec.reduce.ufunc(array[rows], values[column])
        self.rows.get(self.dirty)[rows] = True
        return rows

    def within_limit(self, keys: Ints, index: SeriesIndex) -> Ints:
        """The keys (n), with `__other__` for the series of those that would be a row too many."""
        room = max(0, MOST_ROWS - len(self.rows))
        if len(keys) <= room:
            return keys
        new = np.unique(keys[self.rows.look_up(keys) < 0])
        if len(new) <= room:
            return keys
        if not self._is_full:
            self._is_full = True
            names = ", ".join(metric.name for metric in self.metrics)
            logger.warning(
                "%s: more than %d series and windows are open at once; what is new counts as %s. Lower "
                "allowed_lateness, take longer windows or fewer dimensions",
                *(names, MOST_ROWS, OTHER),
            )
        return np.where(np.isin(keys, new[room:]), pack(start_of(keys), np.full(len(keys), index.other())), keys)

    def merge(self, rows: Ints, partials: Mapping[str, list[tuple[int, Any]]]) -> None:
        """Merge sketches into their rows; `rows` (n) has that of each of the batch's groups, -1: none."""
        row_of = rows.tolist()
        for metric, sketch, place in self.sketches:
            states = self.rows.get(place)
            for group, partial in partials[metric.name]:
                row = row_of[group]
                if row >= 0:
                    state = states[row]
                    states[row] = partial if state is None else sketch.merge(state, partial)


class Panes:
    """The cube. `add` is order-free: any order and any split of the events leads to the same accumulators.

    A batch is first reduced to its distinct pairs of series and smallest slice of time, those to each kind of pane.
    *Cost*: some passes over the batch, then work by those pairs.
    """

    def __init__(self, plan: CubePlan) -> None:
        self.plan = plan
        self.index = SeriesIndex(len(plan.by), plan.max_series)
        self._specs = [(metric, column) for metric in plan.metrics for column in metric.measure.columns]
        self._tables = {
            name: _Table(
                division,
                plan.metrics_in(name),
                [place for place, (metric, _) in enumerate(self._specs) if name in metric.panes],
            )
            for name, division in plan.divisions.items()
        }
        self._grain_ms = gcd(*(division.grain_ms for division in plan.divisions.values())) or DAY_MS

    def add(self, evaluation: Evaluation) -> None:
        """Add a batch (n events)."""
        contributions = [evaluation.contribution(metric) for metric in self.plan.metrics]
        masks = [contribution.mask for contribution in contributions]
        rows: Ints | None = None
        if all(mask is not None for mask in masks):
            # Series come into being only through events that count for one of the cube's metrics.
            rows = np.flatnonzero(np.logical_or.reduce([mask for mask in masks if mask is not None]))
            if len(rows) == len(evaluation.time_ms):
                rows = None
            elif not len(rows):
                return
        self._add(
            _some(evaluation.time_ms, rows),
            [Labels(_some(labels.codes, rows), labels.texts) for labels in map(evaluation.labels, self.plan.by)],
            [
                Contribution(
                    None if taken.mask is None else _some(taken.mask, rows),
                    None if taken.values is None else _some(taken.values, rows),
                )
                for taken in contributions
            ],
            evaluation,
            rows,
            None if evaluation.weight is None else _some(evaluation.weight, rows),
        )

    def count(self, time_ms: Ints, dimensions: list[Labels]) -> None:
        """Count events (n) for every metric of a cube whose metrics take no values."""
        self._add(time_ms, dimensions, [Contribution(None, None) for _ in self.plan.metrics], None, None)

    def _add(
        self,
        time_ms: Ints,
        dimensions: list[Labels],
        contributions: list[Contribution],
        evaluation: Evaluation | None,
        events: Ints | None,
        weight: Ints | None = None,
    ) -> None:
        """`events` (n) are the places of the given events among those evaluated; None: they are the same.

        `weight` (n): how often each counts; None: once.
        """
        keys, group = self._slices(time_ms, dimensions)
        by_name = dict(zip((metric.name for metric in self.plan.metrics), contributions, strict=True))
        everyone = Contribution(None, None)
        counted = _reduced(COUNT, everyone, group, len(keys), weight)
        reduced = [
            counted
            if column is COUNT and by_name[metric.name].mask is None
            else _reduced(column, by_name[metric.name], group, len(keys), weight)
            for metric, column in self._specs
        ]
        partials = {} if evaluation is None else self._sketched(group, len(keys), by_name, evaluation, events)
        slice_ms, series = start_of(keys) * self._grain_ms, series_of(keys)
        for table in self._tables.values():
            start_s = table.division.start_s(slice_ms)
            held = np.flatnonzero(start_s >= table.dropped_s)
            if not len(held):
                continue
            wide, held_group = numbered(table.within_limit(pack(start_s[held], series[held]), self.index))
            values = [
                column.reduce.by_group(values[held], held_group, len(wide))
                for (_, column), values in zip(self._specs, reduced, strict=True)
            ]
            rows = table.fold(wide, values)
            if table.sketches:
                row_of = np.full(len(keys), -1, dtype=np.int64)
                row_of[held] = rows[held_group]
                table.merge(row_of, partials)

    def _slices(self, time_ms: Ints, dimensions: list[Labels]) -> tuple[Ints, Ints]:
        """The different pairs of a slice of time and a series, packed (m), and which each event (n) is in (n)."""
        if dimensions:
            different, which = rows_of(dimensions)
        else:
            different, which = [()], np.zeros(len(time_ms), dtype=np.int64)
        was_full = self.index.overflowed
        numbers = self.index.numbers(different)
        if self.index.overflowed and not was_full:
            logger.warning(
                "%s: more than %d series by %s; what is new counts as %s. Raise max_series, or take fewer dimensions",
                *(self.plan.names, self.plan.max_series, ", ".join(self.plan.by), OTHER),
            )
        slices = time_ms // self._grain_ms
        first = int(slices.min())
        # By the batch's own few series: their numbers in the index may lie far apart.
        pairs, group = numbered((slices - first) * len(different) + which)
        later, which = np.divmod(pairs, len(different))
        keys = pack(first + later, numbers[which])
        if len(np.unique(numbers)) < len(numbers):
            # Several of the batch's series are one: `__other__`, or texts that are equal as far as they are kept.
            keys, place = numbered(keys)
            group = place[group]
        return keys, group

    def _sketched(
        self, group: Ints, groups: int, by_name: Mapping[str, Contribution], evaluation: Evaluation, events: Ints | None
    ) -> dict[str, list[tuple[int, Any]]]:
        """What the batch adds to each metric that has a sketch: (group, its sketch) where there is anything."""
        result: dict[str, list[tuple[int, Any]]] = {}
        parts: Groups | None = None
        for metric in self.plan.metrics:
            sketch = metric.measure.sketch
            if sketch is None:
                continue
            parts = parts or Groups(group, groups)
            prepared, empty = evaluation.prepared(metric), sketch.empty()
            result[metric.name] = [
                (number, sketch.add(empty, prepared, some if events is None else events[some]))
                for number, some in parts.of(by_name[metric.name].mask)
            ]
        return result

    def take_dirty(self) -> list[Block]:
        """The accumulators of every row that changed since the last call."""
        blocks: list[Block] = []
        for name, table in self._tables.items():
            dirty = table.rows.get(table.dirty)
            rows = np.flatnonzero(dirty)
            if not len(rows):
                continue
            dirty[rows] = False
            keys = table.rows.key[rows]
            blocks.append(
                Block(
                    panes=name,
                    start_s=start_of(keys),
                    series=[self.index.series[number] for number in series_of(keys).tolist()],
                    columns=[table.rows.get(place)[rows] for place in table.places],
                    sketches=[list(table.rows.get(place)[rows]) for _, sketch, place in table.sketches],
                )
            )
        return blocks

    def expire(self, before_ms: int) -> None:
        """Drop the panes that ended at or before `before_ms`: no event that is still taken can change them."""
        for table in self._tables.values():
            table.dropped_s = max(table.dropped_s, int(table.division.start_s(np.array([before_ms]))[0]))
            table.rows.drop_before(table.dropped_s)

    def to_state(self) -> State:
        tables: State = {}
        for name, table in self._tables.items():
            rows = np.flatnonzero(table.rows.used())
            metrics: State = {
                metric.name: {"fingerprint": metric.fingerprint, "columns": {}} for metric in table.metrics
            }
            for place, (metric, column) in zip(table.places, table.specs, strict=True):
                metrics[metric.name]["columns"][column.name] = table.rows.get(place)[rows].tobytes()
            for metric, sketch, place in table.sketches:
                metrics[metric.name]["sketches"] = [
                    None if state is None else sketch.to_bytes(state) for state in table.rows.get(place)[rows]
                ]
            tables[name] = {"dropped_s": table.dropped_s, "key": table.rows.key[rows].tobytes(), "metrics": metrics}
        return {"series": self.index.to_state(), "panes": tables}

    def restore(self, state: State, notice: Notice) -> None:
        """Take over a snapshot; metrics that are new or mean something else now start empty."""
        self.index.restore(state["series"])
        for name, table in self._tables.items():
            saved = state["panes"].get(name)
            if saved is None:
                notice(f"windows of {name} of {', '.join(m.name for m in table.metrics)} are new and start empty")
                continue
            table.dropped_s = saved["dropped_s"]
            rows = table.rows.find(np.frombuffer(saved["key"], dtype=np.int64))
            # Everything is sent again once: what the snapshot had not yet sent would otherwise wait for an event.
            table.rows.get(table.dirty)[rows] = True
            for place, (metric, column) in zip(table.places, table.specs, strict=True):
                kept = saved["metrics"].get(metric.name)
                if kept is None or kept["fingerprint"] != metric.fingerprint:
                    if column is COUNT:
                        change = "is new" if kept is None else "has changed its meaning"
                        notice(f"metric {metric.name} ({name}) {change} and starts empty")
                    continue
                table.rows.get(place)[rows] = np.frombuffer(kept["columns"][column.name], dtype=np.float64)
            for metric, sketch, place in table.sketches:
                kept = saved["metrics"].get(metric.name)
                if kept is not None and kept["fingerprint"] == metric.fingerprint:
                    states = table.rows.get(place)
                    for row, raw in zip(rows.tolist(), kept["sketches"], strict=True):
                        states[row] = None if raw is None else sketch.from_bytes(raw)


def _some(array: npt.NDArray[Any], rows: Ints | None) -> npt.NDArray[Any]:
    return array if rows is None else array[rows]


def _reduced(
    column: Column, contribution: Contribution, group: Ints, groups: int, weight: Ints | None = None
) -> Floats:
    """One metric's column of a batch, reduced to its groups."""
    mask = contribution.mask
    if column.ones:
        some = group if mask is None else group[mask]
        if weight is None:
            return np.bincount(some, minlength=groups).astype(np.float64)
        weights = np.abs(weight) if column is MOVES else weight
        return Reduce.ADD.by_group((weights if mask is None else weights[mask]).astype(np.float64), some, groups)
    values = contribution.values
    assert values is not None, "the catalog gives each measure what it takes"
    if mask is not None:
        values = np.where(mask, values, column.reduce.neutral)
    if weight is not None:
        values = values * weight
    return column.reduce.by_group(values, group, groups)
