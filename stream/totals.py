"""What the shards have said about one cube, for one kind of panes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from stream.arrays import Floats, Ints, Mask
from stream.batches import Block, State
from stream.plan import MetricPlan
from stream.rows import RowTable, pack, start_of
from stream.windows import Panes


class Totals:
    """Each shard's latest partials of every series in every pane of one kind."""

    def __init__(self, division: Panes, metrics: tuple[MetricPlan, ...], shards: int) -> None:
        self.division = division
        self.metrics = metrics
        self.rows = RowTable()
        self._columns = [
            [
                [self.rows.column(np.float64, column.reduce.neutral) for column in metric.measure.columns]
                for metric in metrics
            ]
            for _ in range(shards)
        ]
        """Places by shard, metric and column."""
        self._sketches = [
            [None if metric.measure.sketch is None else self.rows.column(object, None) for metric in metrics]
            for _ in range(shards)
        ]
        self._end = self.rows.column(np.int64, 0)
        self._dirty = self.rows.column(np.bool_, False)
        self.touched = False
        """Whether any row is dirty."""

    def take(self, shard: int, series: Ints, block: Block) -> None:
        """Replace what a shard said before about the block's series, whose numbers (n) are given, in their panes."""
        rows = self._rows(pack(block.start_s, series))
        columns, sketches = iter(block.columns), iter(block.sketches)
        for places, sketch in zip(self._columns[shard], self._sketches[shard], strict=True):
            for place in places:
                self.rows.get(place)[rows] = next(columns)
            if sketch is not None:
                self.rows.get(sketch)[rows] = np.fromiter(next(sketches), dtype=object, count=len(rows))

    def dirty(self) -> Mask:
        """Rows that changed since `clean` (capacity)."""
        return self.rows.get(self._dirty)

    def clean(self) -> None:
        self.rows.get(self._dirty)[:] = False
        self.touched = False

    def end_s(self) -> Ints:
        """End of each row's pane (capacity)."""
        return self.rows.get(self._end)

    def combined(self, metric: int, rows: Ints, group: Ints | None, groups: int) -> tuple[list[Floats], list[Any]]:
        """One metric's columns over all shards (groups each) and its sketches (groups; none without).

        `group` (n) says which of the results each of `rows` (n) is a part of; None: each is one by itself.
        """
        measure = self.metrics[metric].measure
        columns: list[Floats] = []
        for number, column in enumerate(measure.columns):
            parts = [self.rows.get(shard[metric][number])[rows] for shard in self._columns]
            values = parts[0] if len(parts) == 1 else column.reduce.ufunc.reduce(parts)
            columns.append(values if group is None else column.reduce.by_group(values, group, groups))
        if measure.sketch is None:
            return columns, []
        states: list[Any] = [None] * groups
        for shard in self._sketches:
            place = shard[metric]
            assert place is not None
            targets = range(groups) if group is None else group.tolist()
            for target, state in zip(targets, self.rows.get(place)[rows], strict=True):
                if state is not None:
                    before = states[target]
                    states[target] = state if before is None else measure.sketch.merge(before, state)
        return columns, states

    def drop_before(self, start_s: int) -> None:
        self.rows.drop_before(start_s)

    def _rows(self, keys: Ints) -> Ints:
        rows = self.rows.find(keys)
        ends = self.rows.get(self._end)
        new = rows[ends[rows] == 0]
        if len(new):
            ends[new] = self.division.next_s(start_of(self.rows.key[new]))
        self.rows.get(self._dirty)[rows] = True
        self.touched = True
        return rows

    def to_state(self) -> State:
        rows = np.flatnonzero(self.rows.used())
        metrics: State = {}
        for number, metric in enumerate(self.metrics):
            sketch = metric.measure.sketch
            metrics[metric.name] = {
                "fingerprint": metric.fingerprint,
                "columns": [
                    [self.rows.get(place)[rows].tobytes() for place in shard[number]] for shard in self._columns
                ],
                "sketches": []
                if sketch is None
                else [
                    [
                        None if state is None else sketch.to_bytes(state)
                        for state in self.rows.get(_there(shard[number]))[rows]
                    ]
                    for shard in self._sketches
                ],
            }
        dirty = self.dirty()[rows]
        return {"key": self.rows.key[rows].tobytes(), "dirty": dirty.tobytes(), "metrics": metrics}

    def restore(self, state: State) -> None:
        """Take over a snapshot; metrics that mean something else now start empty."""
        rows = self._rows(np.frombuffer(state["key"], dtype=np.int64))
        # A pane that did not change must not look changed: the oldest are kept for windows that slide on from them, and
        # those that ended with them would be put together again without what was before.
        dirty = np.frombuffer(state["dirty"], dtype=np.bool_)
        self.rows.get(self._dirty)[rows] = dirty
        self.touched = bool(dirty.any())
        for number, metric in enumerate(self.metrics):
            kept = state["metrics"].get(metric.name)
            if kept is None or kept["fingerprint"] != metric.fingerprint:
                continue
            for shard, saved in zip(self._columns, kept["columns"], strict=True):
                for place, raw in zip(shard[number], saved, strict=True):
                    self.rows.get(place)[rows] = np.frombuffer(raw, dtype=np.float64)
            sketch = metric.measure.sketch
            if sketch is not None:
                for shard_sketches, states in zip(self._sketches, kept["sketches"], strict=True):
                    column = self.rows.get(_there(shard_sketches[number]))
                    for row, raw in zip(rows.tolist(), states, strict=True):
                        column[row] = None if raw is None else sketch.from_bytes(raw)


def _there(place: int | None) -> int:
    assert place is not None
    return place


def picked(states: Sequence[Any], pick: Mask) -> list[Any]:
    """The sketches of the rows that are picked; none where there are none at all."""
    return [states[row] for row in np.flatnonzero(pick).tolist()] if states else []
