"""The whole processor in one object, without an engine: what `compute` runs and what tests compare with.

The same classes in the same order as `stream.flow`; only the wiring differs.
"""

from __future__ import annotations

from dataclasses import replace

from sinks.records import DeadLetter, Point
from stream.batches import Emission, RawBatch
from stream.decode import Decoder
from stream.enrich import Enricher, Pseudonyms
from stream.merge import Merge
from stream.plan import Plan
from stream.shard import Shard


class Pipeline:
    """Raw batches in; points and refused events out.

    `whole_input` is for input that is all there, such as files: windows stay open until `finish`, and no event is
    too late.
    """

    def __init__(self, plan: Plan, pseudonyms: Pseudonyms, *, shards: int = 1, whole_input: bool = False) -> None:
        self._whole_input = whole_input
        self.fields_seen: set[str] = set()
        """Fields for which any event had a value."""
        self._decoder = Decoder(plan)
        self._enricher = Enricher(plan, pseudonyms, shards)
        self._shards = [Shard(plan, number) for number in range(shards)]
        self._merges = {cube.key: Merge(cube, shards, plan.event.allowed_lateness_ms) for cube in plan.all_cubes}

    @property
    def duplicates(self) -> int:
        """Events that were there before, and so were not counted again."""
        return sum(shard.duplicates for shard in self._shards)

    def add(self, batch: RawBatch, now_ms: int) -> list[DeadLetter]:
        """Count a batch. Returns what was refused."""
        decoded = self._decoder.decode(batch, now_ms)
        refused = list(decoded.rejects)
        for name in decoded.frame.columns:
            if name not in self.fields_seen and decoded.frame[name].null_count() < decoded.frame.height:
                self.fields_seen.add(name)
        for shard, part in zip(self._shards, self._enricher.split(decoded), strict=True):
            refused.extend(shard.add(replace(part, max_event_ms=None) if self._whole_input else part))
        return refused

    def tick(self, now_ms: int) -> Emission:
        """Points that changed since the last tick."""
        for shard in self._shards:
            for partials in shard.tick():
                self._merges[partials.cube].add(partials)
        return self._emit(now_ms)

    def finish(self, now_ms: int) -> Emission:
        """All input has been read: close every window."""
        for shard in self._shards:
            for partials in shard.finish():
                self._merges[partials.cube].add(partials)
        return self._emit(now_ms)

    def _emit(self, now_ms: int) -> Emission:
        live: list[Point] = []
        durable: list[Point] = []
        for merge in self._merges.values():
            emission = merge.emit(now_ms)
            live.extend(emission.live)
            durable.extend(emission.durable)
        return Emission(live, durable)
