"""Where the shards' partials of one cube meet and become points."""

from __future__ import annotations

import math

import msgspec
import numpy as np

from sinks.records import Dimensions, Point, State
from stream.arrays import Floats, Ints, Mask
from stream.batches import Block, Emission, Partials
from stream.batches import State as Snapshot
from stream.clock import END_MS, NEVER_MS
from stream.plan import CubePlan, MetricPlan
from stream.rows import RowTable, pack, series_of, window_of
from stream.series import Series
from stream.snapshots import unpack_state

STATE_VERSION = 1
DURABLE_EVERY_MS = 1_000
"""How often open points are offered to databases."""
_EXACT = float(1 << 53)


class _Windows:
    """All windows of one width: each shard's latest accumulators, and what was sent of them."""

    def __init__(self, window: str, width_ms: int, metrics: tuple[MetricPlan, ...], shards: int) -> None:
        self.window = window
        self.width_ms = width_ms
        self.metrics = metrics
        self.specs = [(metric, column) for metric in metrics for column in metric.measure.columns]
        self.rows = RowTable()
        self.parts = [
            [self.rows.column(np.float64, column.reduce.neutral) for _, column in self.specs] for _ in range(shards)
        ]
        self.sent = [self.rows.column(np.float64, 0.0) for _ in metrics]
        self.revision = [self.rows.column(np.int64, 0) for _ in metrics]
        self.waiting = [self.rows.column(np.bool_, False) for _ in metrics]
        """Open points that changed since they were last offered to databases."""
        self.dirty = self.rows.column(np.bool_, False)
        self.closed = self.rows.column(np.bool_, False)
        self.touched = False
        """Whether any row is dirty."""
        self.closes_at_ms = NEVER_MS
        """No window closes before the watermark reaches this."""

    def take(self, shard: int, series: Ints, block: Block) -> None:
        rows = self.rows.find(pack(block.start_ms // self.width_ms, series))
        for place, values in zip(self.parts[shard], block.columns, strict=True):
            self.rows.get(place)[rows] = values
        self.rows.get(self.dirty)[rows] = True
        self.touched = True

    def merged(self, metric: int, rows: Ints) -> list[Floats]:
        """The columns of one metric over all shards, for these rows (n each)."""
        first = sum(len(earlier.measure.columns) for earlier in self.metrics[:metric])
        columns = self.metrics[metric].measure.columns
        return [
            column.reduce.ufunc.reduce([self.rows.get(part[first + i])[rows] for part in self.parts])
            for i, column in enumerate(columns)
        ]


class Merge:
    """Partials in, points out, for one cube.

    The latest partial of each shard replaces its earlier one, so partials that are sent again after a crash change
    nothing. A point is emitted only when its count changed or its window closed.
    """

    def __init__(self, plan: CubePlan, shards: int, allowed_lateness_ms: int) -> None:
        self._plan = plan
        self._allowed_lateness_ms = allowed_lateness_ms
        self._numbers: dict[Series, int] = {}
        self._dimensions: list[Dimensions] = []
        self._watermarks = [NEVER_MS] * shards
        self._closed_to_ms = NEVER_MS
        self._durable_at_ms = 0
        self._open_waiting = False
        self._windows = {
            window: _Windows(window, width, plan.metrics_of(window), shards) for window, width in plan.widths.items()
        }

    @property
    def watermark_ms(self) -> int:
        return min(self._watermarks)

    @property
    def next_offer_ms(self) -> int | None:
        """When open points are due to be offered to databases; None when none changed."""
        return self._durable_at_ms + DURABLE_EVERY_MS if self._open_waiting else None

    def add(self, partials: Partials) -> None:
        self._watermarks[partials.shard] = max(self._watermarks[partials.shard], partials.watermark_ms)
        for block in partials.blocks:
            numbers = np.array([self._number(series) for series in block.series], dtype=np.int64)
            self._windows[block.window].take(partials.shard, numbers, block)

    def emit(self, now_ms: int) -> Emission:
        """Points that changed since the last call, and every window that the watermark has passed.

        `now_ms` only spaces out what databases are offered; no value depends on it.
        """
        watermark_ms = self.watermark_ms
        offer = now_ms - self._durable_at_ms >= DURABLE_EVERY_MS
        live: list[Point] = []
        durable: list[Point] = []
        for windows in self._windows.values():
            self._emit_changed(windows, watermark_ms, live, durable)
            if offer:
                self._offer_open(windows, watermark_ms, durable)
            windows.rows.drop_before((watermark_ms - self._allowed_lateness_ms) // windows.width_ms)
        if offer:
            self._durable_at_ms = now_ms
            self._open_waiting = False
        self._closed_to_ms = watermark_ms
        return Emission(live, durable)

    def _emit_changed(self, windows: _Windows, watermark_ms: int, live: list[Point], durable: list[Point]) -> None:
        if not windows.touched and watermark_ms < windows.closes_at_ms:
            return
        table = windows.rows
        dirty, closed = table.get(windows.dirty), table.get(windows.closed)
        ends_ms = (window_of(table.key) + 1) * windows.width_ms
        closing = table.used() & ~closed & (ends_ms <= watermark_ms)
        open_ends_ms = ends_ms[table.used() & ~closed & ~closing]
        windows.touched, windows.closes_at_ms = False, int(open_ends_ms.min()) if len(open_ends_ms) else END_MS
        rows = np.flatnonzero(dirty | closing)
        if not len(rows):
            return
        # A window whose first event comes after it should have closed is a correction of "nothing happened".
        corrected = closed[rows] | (closing[rows] & (ends_ms[rows] <= self._closed_to_ms))
        settled = closed[rows] | closing[rows]
        for number in range(len(windows.metrics)):
            columns = windows.merged(number, rows)
            sent, waiting = table.get(windows.sent[number]), table.get(windows.waiting[number])
            changed = columns[0] != sent[rows]
            pick: Mask = (columns[0] > 0) & (changed | closing[rows])
            picked = rows[pick]
            if not len(picked):
                continue
            sent[picked] = columns[0][pick]
            table.get(windows.revision[number])[picked] += 1
            waiting[picked] = ~settled[pick]
            self._open_waiting = self._open_waiting or not settled[pick].all()
            states = np.where(corrected[pick], 2, np.where(settled[pick], 1, 0))
            points = self._points(windows, number, picked, [c[pick] for c in columns], states, watermark_ms)
            live.extend(points)
            durable.extend(point for point in points if point.state is not State.OPEN)
        dirty[rows] = False
        closed[rows] |= closing[rows]

    def _offer_open(self, windows: _Windows, watermark_ms: int, durable: list[Point]) -> None:
        table = windows.rows
        for number in range(len(windows.metrics)):
            waiting = table.get(windows.waiting[number])
            rows = np.flatnonzero(waiting)
            if len(rows):
                waiting[rows] = False
                columns = windows.merged(number, rows)
                states = np.zeros(len(rows), dtype=np.int64)
                durable.extend(self._points(windows, number, rows, columns, states, watermark_ms))

    def _points(
        self,
        windows: _Windows,
        number: int,
        rows: Ints,
        columns: list[Floats],
        states: Ints,
        watermark_ms: int,
    ) -> list[Point]:
        metric = windows.metrics[number]
        keys = windows.rows.key[rows]
        return [
            Point(
                metric=metric.name,
                window=windows.window,
                start_ms=start_ms,
                dimensions=self._dimensions[series],
                value=_number(value),
                count=int(count),
                state=_STATES[state],
                revision=revision,
                watermark_ms=watermark_ms,
            )
            for start_ms, series, value, count, state, revision in zip(
                (window_of(keys) * windows.width_ms).tolist(),
                series_of(keys).tolist(),
                metric.measure.value(columns).tolist(),
                columns[0].tolist(),
                states.tolist(),
                windows.rows.get(windows.revision[number])[rows].tolist(),
                strict=True,
            )
        ]

    def _number(self, series: Series) -> int:
        number = self._numbers.get(series)
        if number is None:
            number = self._numbers[series] = len(self._dimensions)
            self._dimensions.append(tuple(zip(self._plan.by, series, strict=True)))
        return number

    def to_bytes(self) -> bytes:
        tables: Snapshot = {}
        for window, windows in self._windows.items():
            rows = np.flatnonzero(windows.rows.used())
            metrics: Snapshot = {}
            for number, metric in enumerate(windows.metrics):
                own = [place for place, (owner, _) in enumerate(windows.specs) if owner is metric]
                metrics[metric.name] = {
                    "fingerprint": metric.fingerprint,
                    "parts": [
                        [windows.rows.get(part[place])[rows].tobytes() for place in own] for part in windows.parts
                    ],
                    "sent": windows.rows.get(windows.sent[number])[rows].tobytes(),
                    "revision": windows.rows.get(windows.revision[number])[rows].tobytes(),
                    "waiting": windows.rows.get(windows.waiting[number])[rows].tobytes(),
                }
            tables[window] = {
                "key": windows.rows.key[rows].tobytes(),
                "dirty": windows.rows.get(windows.dirty)[rows].tobytes(),
                "closed": windows.rows.get(windows.closed)[rows].tobytes(),
                "metrics": metrics,
            }
        state = {
            "version": STATE_VERSION,
            "watermarks": self._watermarks,
            "closed_to_ms": self._closed_to_ms,
            "series": [list(series) for series in self._numbers],
            "windows": tables,
        }
        return msgspec.msgpack.encode(state)

    def restore(self, snapshot: bytes) -> None:
        """Take over a snapshot. Metrics that changed start empty, as they do in the shards, which say so."""
        state = unpack_state(snapshot, STATE_VERSION)
        if len(state["watermarks"]) != len(self._watermarks):
            raise ValueError(
                f"expected a snapshot of {len(self._watermarks)} shards, found one of {len(state['watermarks'])}"
            )
        self._watermarks = state["watermarks"]
        self._open_waiting = True
        self._closed_to_ms = state["closed_to_ms"]
        for series in state["series"]:
            self._number(tuple(series))
        for window, windows in self._windows.items():
            table = state["windows"].get(window)
            if table is None:
                continue
            windows.touched = True
            rows = windows.rows.find(np.frombuffer(table["key"], dtype=np.int64))
            for place, name in ((windows.dirty, "dirty"), (windows.closed, "closed")):
                windows.rows.get(place)[rows] = np.frombuffer(table[name], dtype=np.bool_)
            for number, metric in enumerate(windows.metrics):
                kept = table["metrics"].get(metric.name)
                if kept is None or kept["fingerprint"] != metric.fingerprint:
                    continue
                own = [place for place, (owner, _) in enumerate(windows.specs) if owner is metric]
                for part, saved in zip(windows.parts, kept["parts"], strict=True):
                    for place, column in zip(own, saved, strict=True):
                        windows.rows.get(part[place])[rows] = np.frombuffer(column, dtype=np.float64)
                for place, name, dtype in (
                    (windows.sent[number], "sent", np.float64),
                    (windows.revision[number], "revision", np.int64),
                    (windows.waiting[number], "waiting", np.bool_),
                ):
                    windows.rows.get(place)[rows] = np.frombuffer(kept[name], dtype=dtype)


def _number(value: float) -> int | float | None:
    """Whole numbers as such, as far as they are exact; nothing where a total is beyond all floats."""
    if not math.isfinite(value):
        return None
    return int(value) if value.is_integer() and abs(value) < _EXACT else value


_STATES = (State.OPEN, State.FINAL, State.CORRECTED)
