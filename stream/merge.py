"""Where the shards' partials of one cube meet and become points."""

from __future__ import annotations

import numpy as np

from sinks.records import Dimensions, Point, State
from stream.batches import Emission, Partials, RollBack, earliest
from stream.clock import END_MS, NEVER_MS
from stream.outputs import Output
from stream.plan import CubePlan
from stream.rows import MOST_SERIES
from stream.series import SeriesIndex
from stream.snapshots import pack_state, unpack_state
from stream.totals import Totals

STATE_VERSION = 3
DURABLE_EVERY_MS = 1_000
"""How often open points are offered to databases."""


class Merge:
    """Partials in, points out, for one cube.

    The latest partial of each shard replaces its earlier one, so partials that are sent again after a crash change
    nothing. A point is emitted only when its count changed or its window closed.
    """

    def __init__(self, plan: CubePlan, shards: int, allowed_lateness_ms: int) -> None:
        self._plan = plan
        self._allowed_lateness_ms = allowed_lateness_ms
        # How many there may be was decided in the shards.
        self._index = SeriesIndex(len(plan.by), MOST_SERIES)
        self._dimensions: list[Dimensions] = []
        """Of each series in the index, by its number."""
        self._watermarks = [NEVER_MS] * shards
        self._closed_to_ms = NEVER_MS
        self._rolled_back: tuple[RollBack, ...] = ()
        self._durable_at_ms = 0
        self._added_ms: int | None = None
        """When the oldest entry was added that was counted since the last emission."""
        self._totals = {
            name: Totals(division, plan.metrics_in(name), shards) for name, division in plan.divisions.items()
        }
        self._most_panes = {
            name: max(window.span for window in plan.windows if window.panes_name == name) for name in self._totals
        }
        names = [metric.name for metric in plan.metrics]
        self._outputs = {
            window.name: Output(
                window,
                self._totals[window.panes_name],
                [metric for metric in plan.metrics if window in metric.windows],
                [derived for derived in plan.derived if window in derived.windows],
                names,
            )
            for window in plan.windows
        }

    @property
    def watermark_ms(self) -> int:
        return min(self._watermarks)

    @property
    def next_offer_ms(self) -> int | None:
        """When open points are due to be offered to databases; None when none changed."""
        waiting = any(output.waiting for output in self._outputs.values())
        return self._durable_at_ms + DURABLE_EVERY_MS if waiting else None

    def add(self, partials: Partials) -> None:
        self._watermarks[partials.shard] = max(self._watermarks[partials.shard], partials.watermark_ms)
        self._added_ms = earliest(self._added_ms, partials.added_ms)
        for block in partials.blocks:
            self._totals[block.panes].take(partials.shard, self._index.numbers(block.series), block)
        self._name_new_series()

    def emit(self, now_ms: int) -> Emission:
        """Points that changed since the last call, and every window that the watermark has passed.

        `now_ms` only spaces out what databases are offered; no value depends on it.
        """
        watermark_ms = self.watermark_ms
        live: list[Point] = []
        for output in self._outputs.values():
            live.extend(output.emit(watermark_ms, self._closed_to_ms, self._dimensions))
        durable = [point for point in live if point.state is not State.OPEN]
        if now_ms - self._durable_at_ms >= DURABLE_EVERY_MS:
            self._durable_at_ms = now_ms
            for output in self._outputs.values():
                durable.extend(output.offer())
        for totals in self._totals.values():
            totals.clean()
        self._closed_to_ms = watermark_ms
        if NEVER_MS < watermark_ms < END_MS:
            self._expire(watermark_ms - self._allowed_lateness_ms)
        added_ms, self._added_ms = self._added_ms, None
        rolled_back, self._rolled_back = self._rolled_back, ()
        return Emission(live, durable, added_ms if live else None, watermark_ms, rolled_back)

    def _expire(self, before_ms: int) -> None:
        for name, totals in self._totals.items():
            start_s = totals.division.start_s(np.array([before_ms]))
            totals.drop_before(int(totals.division.back_s(start_s, self._most_panes[name] - 1)[0]))
            for window in self._plan.windows:
                if window.panes_name == name:
                    self._outputs[window.name].expire(int(start_s[0]))

    def _name_new_series(self) -> None:
        for series in self._index.series[len(self._dimensions) :]:
            self._dimensions.append(tuple(zip(self._plan.by, series, strict=True)))

    def to_bytes(self) -> bytes:
        state = {
            "watermarks": self._watermarks,
            "closed_to_ms": self._closed_to_ms,
            "series": self._index.to_state(),
            "panes": {name: totals.to_state() for name, totals in self._totals.items()},
            "windows": {name: output.to_state() for name, output in self._outputs.items()},
        }
        return pack_state(STATE_VERSION, state)

    def restore(self, snapshot: bytes) -> None:
        """Take over a snapshot. Metrics that changed start empty, as they do in the shards, which say so."""
        state = unpack_state(snapshot, STATE_VERSION)
        if len(state["watermarks"]) != len(self._watermarks):
            raise ValueError(
                f"expected a snapshot of {len(self._watermarks)} shards, found one of {len(state['watermarks'])}"
            )
        self._watermarks = state["watermarks"]
        self._closed_to_ms = state["closed_to_ms"]
        self._index.restore(state["series"])
        self._name_new_series()
        if self._plan.on is not None:
            names = (*(metric.name for metric in self._plan.metrics), *(one.name for one in self._plan.derived))
            self._rolled_back = (RollBack(names, self._closed_to_ms),)
        for name, totals in self._totals.items():
            if name in state["panes"]:
                totals.restore(state["panes"][name])
        for name, output in self._outputs.items():
            if name in state["windows"]:
                output.restore(state["windows"][name])
