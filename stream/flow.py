"""The dataflow: read, decode, split, count, merge, write. Short enough to read aloud."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.recovery import (
    InconsistentPartitionsError,
    MissingPartitionsError,
    NoPartitionsError,
    RecoveryConfig,
    init_db_dir,
)
from bytewax.run import cli_main

from sinks.alert_records import COMMANDS_STREAM, Command
from sinks.base import Sink
from sinks.deadletter import DeadLetterSink
from sinks.errors import SinkError
from sinks.live import LiveSink
from sinks.person_store import PersonStore
from sinks.records import DeadLetter
from sinks.score_records import ModelStatus
from stream.adapters import (
    AlertLogic,
    CallSink,
    ChurnLogic,
    EndingLogic,
    FormerChurnLogic,
    FromChurn,
    FromShard,
    MergeLogic,
    ShardLogic,
    WindowsLogic,
    decode_safely,
)
from stream.alert_writers import AlertSinks, alert_writer, score_writer
from stream.alerts import Alerts, ScoredBatch
from stream.archive_adapter import ArchiveLogic, ToArchive
from stream.archive_jobs import Jobs
from stream.archive_pending import Pending
from stream.archiving import Archiving
from stream.batches import (
    Accepted,
    Decoded,
    Emission,
    Forgotten,
    Lines,
    Partials,
    PersonDays,
    RawBatch,
    Scores,
    ShardBatch,
    Tombstone,
)
from stream.churn import ChurnStage
from stream.churn_former import FormerChurn
from stream.closings import Closings
from stream.commands import Commands, Erasures
from stream.continuity import GapError, OnGap
from stream.decode import Decoder
from stream.ending import Ending
from stream.enrich import Enricher, Pseudonyms
from stream.forecasts import Forecasts, Foretold, Outlook, source_of
from stream.geo import Geo
from stream.given import CHURN
from stream.letters import Letters
from stream.merge import Merge
from stream.meters import Meters
from stream.people.journal import Files
from stream.plan import Plan
from stream.reader import GATHER_MS, ClientFactory
from stream.routing import worker_keys
from stream.rules import Lifecycle
from stream.score import Scorer, Watch
from stream.score_writers import ScoreSinks, model_writer, person_score_writer
from stream.shard import Shard
from stream.snapshots import StateError
from stream.source import EndingSource, ValkeySource
from stream.statuses import Statuses
from stream.walltime import clock_ms
from stream.writers import Patience, deadletter_writer, durable_writer, live_writer, person_writer

X = TypeVar("X")
_ORDERS_POLL = timedelta(milliseconds=100)
_UNUSABLE = (InconsistentPartitionsError, MissingPartitionsError, NoPartitionsError)


class ClusterError(RuntimeError):
    """The engine gave up: in a cluster mostly because another process is gone."""


@dataclass(frozen=True, slots=True)
class Member:
    """One process of a cluster, each of which is one worker."""

    number: int = 0
    addresses: tuple[str, ...] = ()
    """Where each process listens for the others, host:port, in their order; none where there is one process."""

    @property
    def processes(self) -> int:
        return max(1, len(self.addresses))


@dataclass(frozen=True, slots=True)
class ArchiveParts:
    """What puts events into the archive. Used too while a catalog has none any more, for what still waits."""

    pending: Pending
    jobs: Jobs
    roll_ms: int
    """How long events wait for their file of the archive, about."""


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
    alert_sinks: AlertSinks
    watches: dict[str, list[Watch]]
    """The rules, by the key of who says the points of their metrics."""
    outlooks: dict[str, list[Outlook]]
    """The forecasts, by the key of the cube that their metrics are in."""
    rules: dict[str, Lifecycle]
    platform: str
    ending: Ending
    people: PersonStore
    """Where persons' own records go."""
    files: Files
    """Where what is known of people is written down with each snapshot."""
    scores: ScoreSinks
    """Where what models say of people goes, and how they stand."""
    archive: ArchiveParts
    """Where events are archived."""
    geo: Geo | None = None
    """Where addresses are; None: nobody knows."""
    keep_events_ms: int | None = None
    """For how long persons' single events stay in their records; None: for good."""
    shard_keys: tuple[str, ...] = ("0",)
    """What the engine knows each shard by; fixed for the life of a recovery directory."""
    member: Member = Member()
    most_processes: int = 1
    """The most processes that the recovery directory has ever had."""
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
    meters: Meters = field(default_factory=Meters)
    """What is told of all that the parts do."""


def build(parts: Parts) -> Dataflow:
    """Wire the parts. Building it runs nothing."""
    plan, clock, ending, member, meters = parts.plan, parts.clock, parts.ending, parts.member, parts.meters
    decoder = Decoder(plan)
    enricher = Enricher(plan, parts.pseudonyms, len(parts.shard_keys), parts.geo)
    cubes = {cube.key: cube for cube in plan.all_cubes}
    source = ValkeySource(
        parts.connect,
        plan.streams,
        clock=clock,
        ending=ending,
        meters=meters,
        trim=parts.trim,
        retired=parts.retired,
        on_gap=parts.on_gap,
        group=parts.group,
        gather_ms=min(parts.tick_ms, GATHER_MS),
    )

    orders = ValkeySource(
        parts.connect,
        (COMMANDS_STREAM,),
        clock=clock,
        ending=ending,
        meters=meters,
        poll=_ORDERS_POLL,
    )

    erasures = Erasures(parts.platform, len(parts.shard_keys))

    def patience(name: str, budget_s: float | None = None) -> Patience:
        return Patience(name, ending.asked, budget_s, meters)

    refuse = deadletter_writer(parts.deadletter, patience("deadletter"), meters)

    letters = Letters(plan, parts.pseudonyms)

    def refuse_events(events: Sequence[DeadLetter]) -> None:
        refuse([letters.kept(one) for one in events])

    def decode(batch: RawBatch) -> Decoded:
        decoded = decode_safely(decoder, batch, clock(), lambda: meters.failed("decode"))
        meters.received(batch, decoded)
        return replace(decoded, added_ms=batch.added_ms)

    def split(batch: Decoded) -> list[tuple[str, ShardBatch | Tombstone]]:
        split = enricher.split(batch)
        meters.left_out(enricher.left_out)
        enricher.left_out.clear()
        return [(parts.shard_keys[part.shard], part) for part in split]

    def bury(batch: RawBatch) -> list[tuple[str, ShardBatch | Tombstone]]:
        return [(parts.shard_keys[one.shard], one) for one in erasures.of(batch)]

    def make_shard(number: int) -> Shard:
        return Shard(plan, number, parts.files)

    def make_archiving() -> Archiving:
        return Archiving(plan, parts.archive.pending, parts.archive.jobs, parts.archive.roll_ms)

    def make_merge(key: str) -> Merge:
        return Merge(cubes[key], len(parts.shard_keys), plan.event.allowed_lateness_ms)

    def shard(snapshot: bytes | None) -> ShardLogic:
        return ShardLogic(make_shard, snapshot, ending, tick_ms=parts.tick_ms, clock=clock, meters=meters)

    def archive(snapshot: bytes | None) -> ArchiveLogic:
        return ArchiveLogic(make_archiving, snapshot, ending, clock, meters)

    def merge(snapshot: bytes | None) -> MergeLogic:
        return MergeLogic(make_merge, snapshot, ending, clock, meters, {*parts.watches, *parts.outlooks})

    def make_churn() -> ChurnStage:
        assert plan.churn is not None
        return ChurnStage(plan.churn, len(parts.shard_keys), parts.files)

    def churn(snapshot: bytes | None) -> ChurnLogic:
        return ChurnLogic(make_churn, snapshot, ending, clock, meters)

    def former_churn(snapshot: bytes | None) -> FormerChurnLogic:
        return FormerChurnLogic(FormerChurn(parts.files), snapshot, ending, clock)

    def make_scorer(cube: str) -> Scorer:
        return Scorer(cube, parts.watches.get(cube, ()))

    def score(snapshot: bytes | None) -> WindowsLogic[ScoredBatch]:
        return WindowsLogic("score", make_scorer, snapshot, ending, meters)

    def make_forecasts(cube: str) -> Forecasts:
        return Forecasts(parts.outlooks.get(cube, ()))

    def forecast(snapshot: bytes | None) -> WindowsLogic[Foretold]:
        return WindowsLogic("forecast", make_forecasts, snapshot, ending, meters)

    def make_alerts() -> Alerts:
        return Alerts(parts.rules, parts.watches, parts.platform)

    def alerts(snapshot: bytes | None) -> AlertLogic:
        return AlertLogic(make_alerts, snapshot, ending, clock, meters)

    flow = Dataflow("streamgauge")
    raw = op.input("source", flow, source)
    decoded = op.map("decode", raw, decode)
    said = op.input("said", flow, orders)
    parted = op.merge("parted", op.flat_map("split", decoded, split), op.flat_map("bury", said, bury))
    counted = op.stateful_batch("shard", parted, shard)
    merged = op.stateful_batch("merge", op.flat_map("by_cube", counted, _by_cube), merge)
    learned = op.flat_map("learned", merged, Closings(parts.outlooks).of)
    foretold = op.stateful_batch("forecast", learned, forecast)
    emitted = op.merge("emitted", merged, op.map("forecasts", foretold, _emitted))
    models = op.flat_map("forecast_models", foretold, _statuses)
    if plan.churn is not None:
        looked_at = op.map("looked_at", op.stateful_batch("churn", op.flat_map("days", counted, _days), churn), _alone)
        emitted = op.merge("emitted_too", emitted, op.flat_map("of_churn", looked_at, _emissions))
        models = op.merge("models_too", models, op.flat_map("of_models", looked_at, _models))
        of_persons = op.flat_map("of_persons", looked_at, _scores)
    else:
        # The same step as above: what is in the snapshots of a catalog that had [churn] is for this one.
        former = op.stateful_batch("churn", op.flat_map("forgotten", counted, _forgotten), former_churn)
        of_persons = op.map("of_persons", former, _alone)
    lasting, passing = patience("person_scores", parts.patience_s), patience("live_scores")
    keep_persons = person_score_writer(parts.scores, lasting, passing, meters)
    op.output("person_scores", of_persons, CallSink(keep_persons, ending))
    points = op.map("points", emitted, _alone)

    statuses = op.flat_map("status", decoded, Statuses().of)
    live = live_writer(parts.live, patience("live"), clock, meters)
    op.output("live", op.merge("live_items", points, statuses), CallSink(live, ending))
    for name, database in parts.databases.items():
        write = durable_writer(name, database, patience(name, parts.patience_s), refuse, meters)
        op.output(name, points, CallSink(write, ending))
    if parts.alert_sinks.influx is not None:
        from stream.influx_writer import influx_writer  # half a second, for those who have none

        spool = influx_writer(parts.alert_sinks.influx, patience("influx"))
        op.output("influx", points, CallSink(spool, ending))
    refused = op.merge(
        "refused", op.flat_map("undecodable", decoded, _rejects), op.flat_map("too_late", counted, _too_late)
    )
    op.output("deadletter", refused, CallSink(refuse_events, ending))
    # Also without [archive]: what is in the snapshots of a catalog that had it is for this step.
    archived = op.stateful_batch("archive", op.flat_map("to_archive", counted, _to_archive), archive)
    if plan.event.person is not None:
        keep = person_writer(parts.people, patience("people", parts.patience_s), parts.keep_events_ms, clock, meters)
        op.output("people", op.map("lines", archived, _alone), CallSink(keep, ending))

    closed = op.flat_map("closed", emitted, Closings(parts.watches).of)
    scored = op.map("scored", op.stateful_batch("score", closed, score), _alone)
    orders_given = op.flat_map("commands", said, Commands().of)
    judged = op.merge(
        "judged", op.map("scores_alike", scored, _to_alerts), op.map("commands_alike", orders_given, _to_alerts)
    )
    outcomes = op.map("outcomes", op.stateful_batch("alerts", judged, alerts), _alone)
    keep_models = model_writer(parts.scores.store, patience("models", parts.patience_s))
    op.output("models", models, CallSink(keep_models, ending))
    keep_scores = score_writer(parts.alert_sinks.store, patience("scores", parts.patience_s), meters)
    op.output("scores_kept", scored, CallSink(keep_scores, ending))
    lasting, passing = patience("alerts", parts.patience_s), patience("notifications")
    tell = alert_writer(parts.alert_sinks, lasting, passing, clock, meters)
    op.output("told", outcomes, CallSink(tell, ending))

    def finish() -> None:
        source.finish()
        orders.finish()

    keys = worker_keys(member.processes)
    last = EndingSource(ending, keys, member.number, parts.most_processes, finish, meters)
    op.stateful_batch("ending", op.input("asked", flow, last), lambda _: EndingLogic(ending))
    return flow


def make_recovery(recovery: Path, partitions: int, held: Collection[int]) -> None:
    """Make the engine's recovery directory, with those of its partitions that are to be `held` in it."""
    # Made aside and renamed: half a directory would be refused for ever after.
    made = recovery.with_suffix(".new")
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    init_db_dir(made, partitions)
    for part in set(range(partitions)) - set(held):
        (made / f"part-{part}.sqlite3").unlink()
    made.rename(recovery)


def execute(parts: Parts, recovery: Path, *, snapshot_every: timedelta) -> None:
    """Run until `parts.ending` is asked for and everything is committed, in all processes.

    Raises what a sink raised for good, or a reader, StateError for a snapshot that cannot be read, and ClusterError
    when the engine gives up for a reason of its own.
    """
    addresses = list(parts.member.addresses) or None
    config = RecoveryConfig(recovery, timedelta(0))
    try:
        cli_main(
            build(parts),
            process_id=parts.member.number,
            addresses=addresses,
            epoch_interval=snapshot_every,
            recovery_config=config,
        )
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the engine's panics are no Exceptions
        # It also wraps what our code raises in errors of its own.
        if parts.ending.failure is not None:
            raise parts.ending.failure from None
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, SinkError | StateError | GapError):
                raise cause from None
            if isinstance(cause, _UNUSABLE):
                raise StateError(str(cause)) from None
            cause = cause.__cause__ or cause.__context__
        if addresses is None and isinstance(error, Exception):
            raise
        raise ClusterError(str(error)) from error


def _by_cube(item: tuple[str, FromShard]) -> list[tuple[str, Partials]]:
    value = item[1]
    return [(value.cube, value)] if isinstance(value, Partials) else []


def _too_late(item: tuple[str, FromShard]) -> list[DeadLetter]:
    value = item[1]
    return [value] if isinstance(value, DeadLetter) else []


def _to_archive(item: tuple[str, FromShard]) -> list[tuple[str, ToArchive]]:
    """Records of persons go the same way, so that their end is behind all that was said of them."""
    key, value = item
    return [(key, value)] if isinstance(value, Accepted | Lines | Forgotten) else []


def _emitted(item: tuple[str, Foretold]) -> tuple[str, Emission]:
    cube, foretold = item
    return source_of(cube), foretold.emission


def _statuses(item: tuple[str, Foretold]) -> list[ModelStatus]:
    return item[1].statuses


def _days(item: tuple[str, FromShard]) -> list[tuple[str, PersonDays | Forgotten]]:
    """All people meet in one model."""
    value = item[1]
    return [(CHURN, value)] if isinstance(value, PersonDays | Forgotten) else []


def _forgotten(item: tuple[str, FromShard]) -> list[tuple[str, Forgotten]]:
    value = item[1]
    return [(CHURN, value)] if isinstance(value, Forgotten) else []


def _emissions(value: FromChurn) -> list[tuple[str, Emission]]:
    return [(CHURN, value)] if isinstance(value, Emission) else []


def _scores(value: FromChurn) -> list[Scores | Forgotten]:
    return [value] if isinstance(value, Scores | Forgotten) else []


def _models(value: FromChurn) -> list[ModelStatus]:
    return [value] if isinstance(value, ModelStatus) else []


def _alone(item: tuple[str, X]) -> X:
    return item[1]


def _to_alerts(item: ScoredBatch | list[Command]) -> tuple[str, ScoredBatch | list[Command]]:
    """All alerts are one state: a total mutes the parts that another worker has scored."""
    return "alerts", item


def _rejects(batch: Decoded) -> Sequence[DeadLetter]:
    return batch.rejects
