"""The whole processor in one object, without an engine: what `compute` runs and what tests compare with.

The same classes in the same order as `stream.flow`; only the wiring differs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import polars as pl

from sinks.records import DeadLetter, Point, Reason
from sinks.score_records import ModelStatus
from stream.batches import Emission, Partials, PersonDays, RawBatch, RollBack, ShardBatch, Tombstone
from stream.churn import ChurnDay, ChurnStage
from stream.closings import Closings
from stream.decode import Decoder
from stream.enrich import Enricher, Pseudonyms, shard_of
from stream.forecasts import Forecasts, Outlook
from stream.geo import Geo
from stream.merge import Merge
from stream.origins import NOWHERE
from stream.panes import noticed
from stream.people.journal import Files, MemoryFiles
from stream.plan import Plan
from stream.shard import Shard, through_days


class Snapshot(NamedTuple):
    """All that a pipeline knows."""

    files: Files
    shards: list[bytes]
    merges: dict[str, bytes]
    """By the key of the cube."""
    forecasts: dict[str, bytes]
    """By the key of the cube that they are of."""
    churn: bytes | None
    """None for catalogs without `[churn]`."""


class Pipeline:
    """Raw batches in; points and refused events out.

    `whole_input` is for input that is all there, such as files: windows stay open until `finish`, and no event is
    too late. Events that were decoded and split before, such as those of an archive, come in by `take`, and time goes
    on by `pass_to`.
    """

    def __init__(
        self,
        plan: Plan,
        pseudonyms: Pseudonyms | None,
        *,
        shards: int = 1,
        whole_input: bool = False,
        files: Files | None = None,
        outlooks: Mapping[str, Sequence[Outlook]] = MappingProxyType({}),
        on_churn: Callable[[ChurnDay], None] | None = None,
        geo: Geo | None = None,
    ) -> None:
        """`pseudonyms`: None where no raw batch will come. `outlooks`: what is to be forecast, by cube. `on_churn` is
        told of each day that the stage of churn finishes. `geo` says where addresses are."""
        self._plan = plan
        self._whole_input = whole_input
        self.fields_seen: set[str] = set()
        """Fields for which any event had a value."""
        self._decoder = Decoder(plan)
        self._enricher = None if pseudonyms is None else Enricher(plan, pseudonyms, shards, geo)
        self._files = MemoryFiles() if files is None else files
        self._shards = [Shard(plan, number, self._files) for number in range(shards)]
        self._merges = {cube.key: Merge(cube, shards, plan.event.allowed_lateness_ms) for cube in plan.all_cubes}
        self._closings = Closings(outlooks)
        self._forecasts = {cube: Forecasts(some) for cube, some in outlooks.items()}
        self._churn = None if plan.churn is None else ChurnStage(plan.churn, shards, self._files)
        self._on_churn = on_churn
        self.models: dict[str, ModelStatus] = {}
        """How each of its models stands, by name."""

    @property
    def duplicates(self) -> int:
        """Events that were there before, and so were not counted again."""
        return sum(shard.duplicates for shard in self._shards)

    @property
    def left_out(self) -> Mapping[Reason, int]:
        """Events of bots, and of those who are not sampled."""
        return {} if self._enricher is None else self._enricher.left_out

    def add(self, batch: RawBatch, now_ms: int) -> list[DeadLetter]:
        """Count a batch. Returns what was refused."""
        assert self._enricher is not None, "a pipeline without pseudonyms takes no raw batches"
        decoded = self._decoder.decode(batch, now_ms)
        parts = self._enricher.split(decoded)
        for frame in (decoded.frame, *(part.frame for part in parts)):
            for name in frame.columns:
                if name not in self.fields_seen and frame[name].null_count() < frame.height:
                    self.fields_seen.add(name)
        return [*decoded.rejects, *self.take(parts)]

    def take(self, parts: Iterable[ShardBatch]) -> list[DeadLetter]:
        """Count events that are decoded, pseudonymised and split already. Returns what came too late."""
        late: list[DeadLetter] = []
        for part in parts:
            late.extend(self._shards[part.shard].add(replace(part, max_event_ms=None) if self._whole_input else part))
        return late

    def pass_to(self, watermark_ms: int, now_ms: int) -> Emission:
        """All events before a moment were taken: points that follow, of windows that end by then as settled ones.

        Only for plans of one stream whose events are in no disorder (`out_of_orderness_ms` 0).
        """
        (stream,) = self._plan.streams
        for number, shard in enumerate(self._shards):
            shard.add(nothing(number, stream, watermark_ms))
        emission = self.tick(now_ms)
        for shard in self._shards:
            # Nobody asks for persons' own records here, and they would be as long as the input.
            shard.lines()
        return emission

    def forget(self, person: str) -> None:
        """Let go of all that is known of a person, by pseudonym, and take nothing of theirs from now on."""
        number = shard_of(person, len(self._shards))
        self._shards[number].forget(Tombstone(number, person, ""))
        if self._churn is not None:
            self._churn.forget(person)

    def snapshot(self) -> Snapshot:
        """What another goes on from, of the same catalog and as many shards."""
        shards = [shard.to_bytes() for shard in self._shards]
        merges = {key: merge.to_bytes() for key, merge in self._merges.items()}
        forecasts = {cube: one.to_bytes() for cube, one in self._forecasts.items()}
        churn = None if self._churn is None else self._churn.to_bytes()
        return Snapshot(self._files, shards, merges, forecasts, churn)

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from a snapshot of any catalog. It has to be made with the files of that."""
        for shard, saved in zip(self._shards, snapshot.shards, strict=True):
            shard.restore(saved, noticed)
        for key, merge in self._merges.items():
            if key in snapshot.merges:
                merge.restore(snapshot.merges[key])
        for cube, forecasts in self._forecasts.items():
            if cube in snapshot.forecasts:
                forecasts.restore(snapshot.forecasts[cube])
        if self._churn is not None and snapshot.churn is not None:
            self._churn.restore(snapshot.churn)

    def tick(self, now_ms: int) -> Emission:
        """Points that changed since the last tick."""
        for shard in self._shards:
            self._merge(shard.tick())
            self._hear(shard.days())
        return self._emit(now_ms)

    def finish(self, now_ms: int) -> Emission:
        """All input has been read: close every window."""
        finished: list[Point] = []
        # A day at a time, so that nobody has to hold the rows of all days at once.
        for told in through_days(self._shards, self._plan):
            self._hear(told)
            finished.extend(self._finished_days())
            # Nor those of their records, which nobody asks for here.
            self._shards[told.shard].lines()
        for shard in self._shards:
            self._merge(shard.finish())
            self._hear(shard.days())
        emission = self._emit(now_ms)
        return replace(emission, live=[*finished, *emission.live], durable=[*finished, *emission.durable])

    def _merge(self, said: Iterable[Partials]) -> None:
        for partials in said:
            self._merges[partials.cube].add(partials)

    def _hear(self, told: PersonDays | None) -> None:
        if told is not None and self._churn is not None:
            self._churn.add(told)

    def _finished_days(self) -> list[Point]:
        """Points of the days that the stage of churn can finish."""
        points: list[Point] = []
        for day in () if self._churn is None else self._churn.advance():
            points.extend(day.emission.live)
            self.models[day.status.name] = day.status
            if self._on_churn is not None:
                self._on_churn(day)
        return points

    def _emit(self, now_ms: int) -> Emission:
        live = self._finished_days()
        durable = list(live)
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


def nothing(shard: int, stream: str, max_event_ms: int | None) -> ShardBatch:
    """A batch without events, which says how far its stream has come."""
    no_times = np.empty(0, dtype=np.int64)
    return ShardBatch(shard, stream, pl.DataFrame(), no_times, no_times, NOWHERE, max_event_ms, False, 0)
