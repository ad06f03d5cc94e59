"""An archive as tests make one: what the processor's own classes accept, in files of the layout."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path

import polars as pl

from sinks.archive_layout import ENTRY_MS, ENTRY_NO, IDENTITY, SHARD, TIME, column_of, day_of, directory_of
from stream import identity, origins
from stream.batches import RawBatch, ShardBatch
from stream.catalog import Catalog
from stream.decode import Decoder
from stream.dedupe import Seen
from stream.enrich import Enricher, Pseudonyms
from stream.plan import Plan, compile_plan


class Archiver:
    """Takes the raw batches that a processor takes, and keeps what it counts: each event once, none that is too late.

    `too_late` is asked which rows of a batch were refused, as the shards decide that.
    """

    def __init__(self, plan: Plan, pseudonyms: Pseudonyms, place: Path, *, shards: int = 1, seed: int = 1) -> None:
        self._plan = plan
        self._decoder = Decoder(plan)
        self._enricher = Enricher(plan, pseudonyms, shards)
        self._seen = [Seen(plan.event.dedupe_ms, 1_000_000) if plan.event.dedupe_ms else None for _ in range(shards)]
        self._place = place
        self._chance = random.Random(seed)
        self._files = 0
        self.rows = 0

    def add(self, batch: RawBatch, now_ms: int, late: Iterable[str] = ()) -> None:
        """`late`: the ids of entries whose events were refused as too late."""
        refused = set(late)
        entries = [entry for entry in batch.entries if entry[0].decode() not in refused]
        decoded = self._decoder.decode(RawBatch(batch.stream, entries, batch.caught_up, batch.read_at_ms), now_ms)
        for part in self._enricher.split(decoded):
            self._keep(part)

    def _keep(self, part: ShardBatch) -> None:
        frame, time_ms = part.frame, part.time_ms
        seen = self._seen[part.shard]
        if seen is not None and len(time_ms):
            first = seen.first(frame[identity.IDENTITY].to_numpy(), part.read_at_ms)
            frame, time_ms = frame.filter(pl.Series(first)), time_ms[first]
        if not len(time_ms):
            return
        when = pl.from_epoch(pl.Series(TIME, time_ms), time_unit="ms").dt.replace_time_zone("UTC")
        columns = [
            when,
            frame[origins.ENTRY_MS].alias(ENTRY_MS),
            frame[origins.ENTRY_NO].alias(ENTRY_NO),
            frame[identity.IDENTITY].alias(IDENTITY),
            pl.Series(SHARD, [part.shard] * len(time_ms), dtype=pl.Int32),
            *(frame[name].alias(column_of(name)) for name in self._plan.fields),
        ]
        rows = pl.DataFrame(columns).with_columns(pl.Series("day", [day_of(time) for time in time_ms.tolist()]))
        for (day,), own in rows.group_by("day"):
            assert hasattr(day, "isoformat")
            directory = self._place / directory_of(day, part.stream)  # type: ignore[arg-type]
            directory.mkdir(parents=True, exist_ok=True)
            self._files += 1
            name = f"{self._chance.randrange(1 << 32):08x}-{self._files}.parquet"
            own.drop("day").write_parquet(directory / name)
            self.rows += own.height


def archive(
    catalog: Catalog,
    batches: Iterable[RawBatch],
    place: Path,
    key: bytes,
    *,
    shards: int = 1,
    now_ms: int | None = None,
) -> int:
    """Archive what a processor of `catalog` would count of some batches; how many events."""
    archiver = Archiver(compile_plan(catalog), Pseudonyms(key), place, shards=shards)
    for batch in batches:
        archiver.add(batch, batch.read_at_ms if now_ms is None else now_ms)
    return archiver.rows
