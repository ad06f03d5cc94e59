"""One shard's accumulators of one cube: every series in every window that may still change."""

from __future__ import annotations

from collections.abc import Callable
from math import gcd

import numpy as np
import polars as pl

from stream.arrays import Floats, Ints, Mask
from stream.batches import Block, State
from stream.durations import TOTAL
from stream.measures.base import COUNT, Column
from stream.plan import CubePlan, MetricPlan
from stream.rows import RowTable, pack, series_of, window_of
from stream.series import SeriesIndex, dimension_rows

Notice = Callable[[str], None]
"""Is told, in words, what part of a snapshot could not be taken over and why."""


class Contribution:
    """What one metric takes from a batch: which rows (n) count, and their values (n) where it has any."""

    __slots__ = ("mask", "values")

    def __init__(self, mask: Mask | None, values: Floats | None) -> None:
        self.mask = mask
        """None: every row counts."""
        self.values = values


class _Windows:
    """All windows of one width."""

    def __init__(self, width_ms: int, metrics: tuple[MetricPlan, ...], columns: list[int]) -> None:
        self.width_ms = width_ms
        self.metrics = metrics
        self.columns = columns
        """Which of the cube's columns are kept here."""
        self.rows = RowTable()
        self.places: list[int] = []
        self.specs: list[Column] = []
        for metric in metrics:
            for column in metric.measure.columns:
                self.places.append(self.rows.column(np.float64, column.reduce.neutral))
                self.specs.append(column)
        self.dirty = self.rows.column(np.bool_, False)

    def fold(self, keys: Ints, values: list[Floats]) -> None:
        """Reduce `values` (one array of n for each of the cube's columns) into the rows of `keys` (n, distinct)."""
        rows = self.rows.find(keys)
        for place, spec, column in zip(self.places, self.specs, self.columns, strict=True):
            array = self.rows.get(place)
            array[rows] = spec.reduce.ufunc(array[rows], values[column])
        self.rows.get(self.dirty)[rows] = True


class Panes:
    """The cube. `add` is order-free: any order and any split of the events leads to the same accumulators.

    *Cost*: one pass over the batch to number its series, then work by the distinct (series, window) pairs.
    """

    def __init__(self, plan: CubePlan) -> None:
        self.plan = plan
        self.index = SeriesIndex(len(plan.by), plan.max_series)
        self._specs = [(metric, column) for metric in plan.metrics for column in metric.measure.columns]
        finite = [width for window, width in plan.widths.items() if window != TOTAL]
        self._base_ms = gcd(*finite) if finite else plan.widths[TOTAL]
        self._windows = {
            window: _Windows(
                width,
                plan.metrics_of(window),
                [place for place, (metric, _) in enumerate(self._specs) if window in metric.windows],
            )
            for window, width in plan.widths.items()
        }

    def add(self, frame: pl.DataFrame, time_ms: Ints, contributions: list[Contribution]) -> None:
        """Add a batch (n rows). `contributions` has one entry for each metric of the cube."""
        masks = [contribution.mask for contribution in contributions]
        if all(mask is not None for mask in masks):
            # Series come into being only through events that count for one of the cube's metrics.
            rows = np.flatnonzero(np.logical_or.reduce([mask for mask in masks if mask is not None]))
            if not len(rows):
                return
            if len(rows) < len(time_ms):
                frame, time_ms = frame[rows], time_ms[rows]
                contributions = [_taken(contribution, rows) for contribution in contributions]
        if self.plan.by:
            series = self.index.numbers(dimension_rows(frame, self.plan.by))
        else:
            series = np.full(len(time_ms), self.index.numbers([()])[0], dtype=np.int64)
        keys, group = np.unique(pack(time_ms // self._base_ms, series), return_inverse=True)
        by_group = {
            metric.name: contribution for metric, contribution in zip(self.plan.metrics, contributions, strict=True)
        }
        reduced = [_reduced(column, by_group[metric.name], group, len(keys)) for metric, column in self._specs]
        start_ms, series = window_of(keys) * self._base_ms, series_of(keys)
        for windows in self._windows.values():
            if windows.width_ms == self._base_ms:
                windows.fold(keys, reduced)
                continue
            wide, wide_group = np.unique(pack(start_ms // windows.width_ms, series), return_inverse=True)
            values = [
                column.reduce.by_group(values, wide_group, len(wide))
                for (_, column), values in zip(self._specs, reduced, strict=True)
            ]
            windows.fold(wide, values)

    def take_dirty(self) -> list[Block]:
        """The accumulators of every row that changed since the last call."""
        blocks: list[Block] = []
        for window, windows in self._windows.items():
            dirty = windows.rows.get(windows.dirty)
            rows = np.flatnonzero(dirty)
            if not len(rows):
                continue
            dirty[rows] = False
            keys = windows.rows.key[rows]
            blocks.append(
                Block(
                    window=window,
                    start_ms=window_of(keys) * windows.width_ms,
                    series=[self.index.series[number] for number in series_of(keys).tolist()],
                    columns=[windows.rows.get(place)[rows] for place in windows.places],
                )
            )
        return blocks

    def expire(self, before_ms: int) -> None:
        """Drop the windows that ended at or before `before_ms`: no event that is still taken can change them."""
        for windows in self._windows.values():
            windows.rows.drop_before(before_ms // windows.width_ms)

    def to_state(self) -> State:
        tables: State = {}
        for window, windows in self._windows.items():
            rows = np.flatnonzero(windows.rows.used())
            metrics: State = {}
            for place, (metric, column) in zip(windows.places, self._specs_of(windows), strict=True):
                state = metrics.setdefault(metric.name, {"fingerprint": metric.fingerprint, "columns": {}})
                state["columns"][column.name] = windows.rows.get(place)[rows].tobytes()
            tables[window] = {"key": windows.rows.key[rows].tobytes(), "metrics": metrics}
        return {"series": self.index.to_state(), "windows": tables}

    def restore(self, state: State, notice: Notice) -> None:
        """Take over a snapshot; metrics that are new or mean something else now start empty."""
        self.index.restore(state["series"])
        for window, windows in self._windows.items():
            table = state["windows"].get(window)
            if table is None:
                notice(f"window {window} of {', '.join(m.name for m in windows.metrics)} is new and starts empty")
                continue
            rows = windows.rows.find(np.frombuffer(table["key"], dtype=np.int64))
            # Everything is sent again once: what the snapshot had not yet sent would otherwise wait for an event.
            windows.rows.get(windows.dirty)[rows] = True
            for place, (metric, column) in zip(windows.places, self._specs_of(windows), strict=True):
                kept = table["metrics"].get(metric.name)
                if kept is None or kept["fingerprint"] != metric.fingerprint:
                    if column is COUNT:
                        change = "is new" if kept is None else "has changed its meaning"
                        notice(f"metric {metric.name} ({window}) {change} and starts empty")
                    continue
                windows.rows.get(place)[rows] = np.frombuffer(kept["columns"][column.name], dtype=np.float64)

    def _specs_of(self, windows: _Windows) -> list[tuple[MetricPlan, Column]]:
        return [self._specs[place] for place in windows.columns]


def _taken(contribution: Contribution, rows: Ints) -> Contribution:
    mask, values = contribution.mask, contribution.values
    return Contribution(None if mask is None else mask[rows], None if values is None else values[rows])


def _reduced(column: Column, contribution: Contribution, group: Ints, groups: int) -> Floats:
    """One metric's column of a batch, reduced to its groups."""
    mask = contribution.mask
    if column.ones:
        weights = np.ones(len(group)) if mask is None else mask.astype(np.float64)
        return column.reduce.by_group(weights, group, groups)
    values = contribution.values
    assert values is not None, "the catalog gives a value to every measure that needs one"
    if mask is not None:
        values = np.where(mask, values, column.reduce.neutral)
    return column.reduce.by_group(values, group, groups)
