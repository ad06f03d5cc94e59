"""The whole processor in one object, without an engine: what `compute` runs and what tests compare with.

The same classes in the same order as `stream.flow`; only the wiring differs.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from sinks.records import DeadLetter, Point
from sinks.score_records import ModelStatus
from stream.batches import Emission, RawBatch, RollBack
from stream.closings import Closings
from stream.decode import Decoder
from stream.enrich import Enricher, Pseudonyms
from stream.forecasts import Forecasts, Outlook, source_of
from stream.merge import Merge
from stream.people.journal import Files, MemoryFiles
from stream.plan import Plan
from stream.shard import Shard

logger = logging.getLogger(__name__)


class Pipeline:
    """Raw batches in; points and refused events out.

    `whole_input` is for input that is all there, such as files: windows stay open until `finish`, and no event is
    too late.
    """

    def __init__(
        self,
        plan: Plan,
        pseudonyms: Pseudonyms,
        *,
        shards: int = 1,
        whole_input: bool = False,
        files: Files | None = None,
        outlooks: Mapping[str, Sequence[Outlook]] = MappingProxyType({}),
    ) -> None:
        """`outlooks`: what is to be forecast, by cube."""
        self._whole_input = whole_input
        self.fields_seen: set[str] = set()
        """Fields for which any event had a value."""
        self._decoder = Decoder(plan)
        self._enricher = Enricher(plan, pseudonyms, shards)
        self._files = MemoryFiles() if files is None else files
        self._shards = [Shard(plan, number, self._files) for number in range(shards)]
        self._merges = {cube.key: Merge(cube, shards, plan.event.allowed_lateness_ms) for cube in plan.all_cubes}
        self._closings = Closings(outlooks)
        self._forecasts = {cube: Forecasts(some) for cube, some in outlooks.items()}
        self.models: dict[str, ModelStatus] = {}
        """How each of its models stands, by name."""

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

    def snapshot(self) -> tuple[Files, list[bytes], dict[str, bytes]]:
        """What another goes on from, of the same catalog and as many shards."""
        shards = [shard.to_bytes() for shard in self._shards]
        merges = {key: merge.to_bytes() for key, merge in self._merges.items()}
        forecasts = {source_of(cube): one.to_bytes() for cube, one in self._forecasts.items()}
        return self._files, shards, merges | forecasts

    def restore(self, snapshot: tuple[Files, list[bytes], dict[str, bytes]]) -> None:
        """Go on from a snapshot of any catalog. It has to be made with the files of that."""
        _, shards, merges = snapshot
        for shard, saved in zip(self._shards, shards, strict=True):
            shard.restore(saved, logger.warning)
        for key, merge in self._merges.items():
            if key in merges:
                merge.restore(merges[key])
        for cube, forecasts in self._forecasts.items():
            if source_of(cube) in merges:
                forecasts.restore(merges[source_of(cube)])

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
        rolled_back: list[RollBack] = []
        for key, merge in self._merges.items():
            emission = merge.emit(now_ms)
            for one in (emission, *self._foretold(key, emission)):
                live.extend(one.live)
                durable.extend(one.durable)
                rolled_back.extend(one.rolled_back)
        return Emission(live, durable, rolled_back=tuple(rolled_back))

    def _foretold(self, cube: str, emission: Emission) -> Iterator[Emission]:
        for _, closed in self._closings.of((cube, emission)):
            foretold = self._forecasts[cube].take(closed.points, closed.watermark_ms)
            self.models |= {status.name: status for status in foretold.statuses}
            yield foretold.emission
