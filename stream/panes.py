"""One shard's accumulators of one cube: every series in every pane that may still change."""

from __future__ import annotations

from collections.abc import Callable
from math import gcd
from typing import Any

import numpy as np

from stream.arrays import Floats, Ints, Mask
from stream.batches import Block, State
from stream.clock import NEVER_MS
from stream.durations import DAY_MS
from stream.evaluate import Contribution, Evaluation
from stream.measures.base import COUNT, Column, Labels, Sketch
from stream.plan import CubePlan, MetricPlan
from stream.rows import RowTable, pack, series_of, start_of
from stream.series import SeriesIndex, rows_of
from stream.windows import Panes as Division

Notice = Callable[[str], None]
"""Is told, in words, what part of a snapshot could not be taken over and why."""


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

    def sketch(self, rows: Ints, group: Ints, prepared: dict[str, tuple[Any, Mask | None]]) -> None:
        """Add events (n) to the sketches of their rows; `group` (n) says which of `rows` each is for, -1: none."""
        order = np.argsort(group, kind="stable")
        for metric, sketch, place in self.sketches:
            inputs, mask = prepared[metric.name]
            events = order if mask is None else order[mask[order]]
            events = events[group[events] >= 0]
            if not len(events):
                continue
            groups, starts = np.unique(group[events], return_index=True)
            states = self.rows.get(place)
            for number, some in zip(groups.tolist(), np.split(events, starts[1:]), strict=True):
                row = rows[number]
                state = states[row]
                states[row] = sketch.add(sketch.empty() if state is None else state, inputs, some)


class Panes:
    """The cube. `add` is order-free: any order and any split of the events leads to the same accumulators.

    *Cost*: one pass over the batch to number its series, then work by the distinct (series, pane) pairs, and for
    sketches by the events.
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
        time_ms = evaluation.time_ms
        contributions = evaluation.contributions(self.plan)
        dimensions = [evaluation.labels(name) for name in self.plan.by]
        masks = [contribution.mask for contribution in contributions]
        prepared = {
            metric.name: (metric.measure.sketch.prepare(evaluation.inputs(contribution.known)), contribution.mask)
            for metric, contribution in zip(self.plan.metrics, contributions, strict=True)
            if metric.measure.sketch is not None
        }
        rows: Ints | None = None
        if all(mask is not None for mask in masks):
            # Series come into being only through events that count for one of the cube's metrics.
            rows = np.flatnonzero(np.logical_or.reduce([mask for mask in masks if mask is not None]))
            if not len(rows):
                return
            if len(rows) == len(time_ms):
                rows = None
            else:
                time_ms = time_ms[rows]
                contributions = [_taken(contribution, rows) for contribution in contributions]
                dimensions = [Labels(labels.codes[rows], labels.texts) for labels in dimensions]
        self._add(time_ms, dimensions, contributions, prepared, rows)

    def count(self, time_ms: Ints, dimensions: list[Labels]) -> None:
        """Count events (n) for every metric of a cube whose metrics take no values."""
        self._add(time_ms, dimensions, [Contribution(None, None) for _ in self.plan.metrics], {}, None)

    def _add(
        self,
        time_ms: Ints,
        dimensions: list[Labels],
        contributions: list[Contribution],
        prepared: dict[str, tuple[Any, Mask | None]],
        events: Ints | None,
    ) -> None:
        """`events` (n) are the places of the given events among the prepared ones; None: they are the same."""
        if dimensions:
            different, which = rows_of(dimensions)
            series = self.index.numbers(different)[which]
        else:
            series = np.full(len(time_ms), self.index.numbers([()])[0], dtype=np.int64)
        keys, group = np.unique(pack(time_ms // self._grain_ms, series), return_inverse=True)
        by_name = dict(zip((metric.name for metric in self.plan.metrics), contributions, strict=True))
        reduced = [_reduced(column, by_name[metric.name], group, len(keys)) for metric, column in self._specs]
        slice_ms, series = start_of(keys) * self._grain_ms, series_of(keys)
        for table in self._tables.values():
            start_s = table.division.start_s(slice_ms)
            held = np.flatnonzero(start_s >= table.dropped_s)
            if not len(held):
                continue
            wide, held_group = np.unique(pack(start_s[held], series[held]), return_inverse=True)
            values = [
                column.reduce.by_group(values[held], held_group, len(wide))
                for (_, column), values in zip(self._specs, reduced, strict=True)
            ]
            rows = table.fold(wide, values)
            wide_group = np.full(len(keys), -1, dtype=np.int64)
            wide_group[held] = held_group
            if table.sketches:
                which = wide_group[group]
                if events is not None:
                    # The prepared events are all of the batch's; those left out are in no group.
                    some = np.full(int(events[-1]) + 1, -1, dtype=np.int64)
                    some[events] = which
                    which = some
                table.sketch(rows, which, prepared)

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
                    sketches=[
                        [None if state is None else sketch.copy(state) for state in table.rows.get(place)[rows]]
                        for _, sketch, place in table.sketches
                    ],
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


def _taken(contribution: Contribution, rows: Ints) -> Contribution:
    mask, values = contribution.mask, contribution.values
    if isinstance(values, Labels):
        values = None  # only sketches take labels, and they have them prepared
    return Contribution(None if mask is None else mask[rows], None if values is None else values[rows])


def _reduced(column: Column, contribution: Contribution, group: Ints, groups: int) -> Floats:
    """One metric's column of a batch, reduced to its groups."""
    mask = contribution.mask
    if column.ones:
        weights = np.ones(len(group)) if mask is None else mask.astype(np.float64)
        return column.reduce.by_group(weights, group, groups)
    values = contribution.values
    assert isinstance(values, np.ndarray), "the catalog gives each measure what it takes"
    if mask is not None:
        values = np.where(mask, values, column.reduce.neutral)
    return column.reduce.by_group(values, group, groups)
