"""The dataflow: read, decode, split, count, merge, write. Short enough to read aloud."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main

from sinks.base import Sink
from sinks.deadletter import DeadLetterSink
from sinks.errors import SinkError
from sinks.live import LiveSink
from sinks.records import DeadLetter
from stream.adapters import CallSink, MergeLogic, ShardLogic, decode_safely
from stream.batches import Decoded, Emission, Partials, RawBatch, ShardBatch, Status
from stream.continuity import GapError, OnGap
from stream.decode import Decoder
from stream.enrich import Enricher, Pseudonyms
from stream.merge import Merge
from stream.plan import Plan
from stream.reader import ClientFactory
from stream.shard import Shard
from stream.source import ValkeySource
from stream.walltime import clock_ms
from stream.writers import Patience, deadletter_writer, durable_writer, live_writer

RECOVERY_PARTITIONS = 16
"""Fixed for the life of a recovery directory: the most workers that can ever share it."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything the dataflow is made of; the front door puts it together."""

    plan: Plan
    pseudonyms: Pseudonyms
    connect: ClientFactory
    live: LiveSink
    deadletter: DeadLetterSink
    databases: dict[str, Sink]
    """Where durable points go, by name; empty is fine."""
    draining: threading.Event
    """Set it to end the run with everything committed."""
    shards: int = 1
    tick_ms: int = 100
    retired: tuple[str, ...] = ()
    """Streams of earlier catalogs that the recovery directory still knows."""
    trim: bool = False
    """Whether entries that can never be needed again are trimmed from the streams."""
    on_gap: OnGap = OnGap.EARLIEST
    """What to do when entries are gone that were never read."""
    group: str | None = None
    """Consumer group that shows how far each stream is counted; None for none."""
    patience_s: float | None = 60.0
    """How long a database may be away before the processor restarts."""
    clock: Callable[[], int] = clock_ms


def build(parts: Parts) -> Dataflow:
    """Wire the parts. Building it runs nothing."""
    plan, clock = parts.plan, parts.clock
    decoder = Decoder(plan)
    enricher = Enricher(plan, parts.pseudonyms, parts.shards)
    cubes = {cube.key: cube for cube in plan.all_cubes}
    source = ValkeySource(
        parts.connect,
        plan.streams,
        clock=clock,
        draining=parts.draining,
        trim=parts.trim,
        retired=parts.retired,
        on_gap=parts.on_gap,
        group=parts.group,
    )
    refuse = deadletter_writer(parts.deadletter, Patience("deadletter", parts.draining, None))

    def decode(batch: RawBatch) -> Decoded:
        return decode_safely(decoder, batch, clock())

    def split(batch: Decoded) -> list[tuple[str, ShardBatch]]:
        return [(str(part.shard), part) for part in enricher.split(batch)]

    def make_shard(number: int) -> Shard:
        return Shard(plan, number)

    def make_merge(key: str) -> Merge:
        return Merge(cubes[key], parts.shards, plan.event.allowed_lateness_ms)

    def shard(snapshot: bytes | None) -> ShardLogic:
        return ShardLogic(make_shard, snapshot, tick_ms=parts.tick_ms, clock=clock)

    def merge(snapshot: bytes | None) -> MergeLogic:
        return MergeLogic(make_merge, snapshot, clock)

    flow = Dataflow("streamgauge")
    raw = op.input("source", flow, source)
    decoded = op.map("decode", raw, decode)
    parted = op.flat_map("split", decoded, split)
    counted = op.stateful_batch("shard", parted, shard)
    merged = op.stateful_batch("merge", op.flat_map("by_cube", counted, _by_cube), merge)
    points = op.map("points", merged, _emission)

    statuses = op.flat_map("status", decoded, _status)
    live = live_writer(parts.live, Patience("live", parts.draining, None), clock)
    op.output("live", op.merge("live_items", points, statuses), CallSink(live))
    for name, database in parts.databases.items():
        write = durable_writer(name, database, Patience(name, parts.draining, parts.patience_s), refuse)
        op.output(name, points, CallSink(write))
    refused = op.merge(
        "refused", op.flat_map("undecodable", decoded, _rejects), op.flat_map("too_late", counted, _too_late)
    )
    op.output("deadletter", refused, CallSink(refuse))
    return flow


def execute(parts: Parts, recovery: Path, *, snapshot_every: timedelta) -> None:
    """Run until `parts.draining` is set and a last snapshot is committed.

    Raises what ended it for good: a sink's error, or a reader's.
    """
    if not recovery.exists():
        # Made aside and renamed: half a directory would be refused for ever after.
        made = recovery.with_suffix(".new")
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True)
        init_db_dir(made, RECOVERY_PARTITIONS)
        made.rename(recovery)
    try:
        cli_main(build(parts), epoch_interval=snapshot_every, recovery_config=RecoveryConfig(recovery, timedelta(0)))
    except Exception as error:
        # The engine wraps what our code raises in errors of its own.
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, SinkError | GapError):
                raise cause from None
            cause = cause.__cause__ or cause.__context__
        raise


def _by_cube(item: tuple[str, Partials | DeadLetter]) -> list[tuple[str, Partials]]:
    value = item[1]
    return [(value.cube, value)] if isinstance(value, Partials) else []


def _too_late(item: tuple[str, Partials | DeadLetter]) -> list[DeadLetter]:
    value = item[1]
    return [value] if isinstance(value, DeadLetter) else []


def _emission(item: tuple[str, Emission]) -> Emission:
    return item[1]


def _status(batch: Decoded) -> list[Status]:
    return [batch.status] if batch.status is not None else []


def _rejects(batch: Decoded) -> Sequence[DeadLetter]:
    return batch.rejects
