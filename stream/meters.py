"""What the processor says of itself: all instruments in one object, which the dataflow's parts tell what they did.

Counted for each batch, write and epoch, never for each event. Counters begin at 0 with the process, and what is read
again after a crash is counted again; the built-in metric `streamgauge_rejects` is the exact one.
"""

from __future__ import annotations

import math
import time
from collections import Counter as Tally
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.process_collector import ProcessCollector

from sinks.records import Reason
from sinks.spool import Waiting
from stream.batches import Decoded, RawBatch, Status
from stream.clock import NEVER_MS
from stream.walltime import clock_ms

_PREFIX = "streamgauge_processor"
_FRESH_S = (0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_PAUSE_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_EPOCH_S = (0.1, 0.25, 0.5, 1.0, 2.0, 2.5, 3.0, 5.0, 10.0, 30.0, 60.0)


@dataclass(slots=True)
class Read:
    """What came of one stream in an epoch."""

    batches: int = 0
    entries: int = 0
    events: int = 0


@dataclass(frozen=True, slots=True)
class Epoch:
    """One epoch that is committed, in one process."""

    lasted_s: float
    """From the end of the one before to its own."""
    commit_s: float
    snapshot_s: float
    read: Mapping[str, Read]


class Meters:
    """The instruments of one process, and the registry they are read from.

    Labels are streams, shards, reasons, sinks and parts of the processor, all of which are few and known at start.
    It is told by the worker and by readers' threads, and read by others. *Failure*: none of its methods raises.
    *Cost*: some tens of microseconds a batch.
    """

    def __init__(self, clock: Callable[[], int] = clock_ms, stopwatch: Callable[[], float] = time.perf_counter) -> None:
        """`clock` gives epoch milliseconds, `stopwatch` seconds since any moment."""
        self._clock = clock
        self._stopwatch = stopwatch
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)

        self._batches = self._counter("received_batches", "Batches read that had entries", "stream")
        self._entries = self._counter("received_entries", "Entries read", "stream")
        self._events = self._counter("received_events", "Events found in entries, refused ones included", "stream")
        self._discarded = self._counter("discarded_events", "Events that were not counted", "reason")
        self._late = self._counter("late_events", "Events behind the watermark that were still counted", "shard")
        self._lag_entries = self._gauge("lag_entries", "Entries that are not read yet; NaN while not known", "stream")
        self._lag_s = self._gauge(
            "lag_seconds", "How long ago the last entry read was added; 0 when caught up", "stream"
        )
        self._reported = self._gauge(
            "reported_timestamp_seconds", "When the stream was last heard of, at least each second", "stream"
        )
        self._queued = self._gauge("queued_batches", "Batches that are read and wait to be decoded", "stream")
        self._gaps = self._counter("gaps", "Times that entries were gone before they were read", "stream")
        self._lost = self._counter("lost_entries", "Entries that were gone before they were read", "stream")
        self._lost_exact = self._gauge(
            "lost_entries_exact", "0 when there was a gap whose size could not be told, else 1", "stream"
        )
        self._watermark = self._gauge("watermark_timestamp_seconds", "The shard's watermark", "shard")
        self._event_lag_s = self._gauge(
            "event_time_lag_seconds", "How far the shard's watermark is behind the clock", "shard"
        )
        self._fresh_s = self._histogram(
            "freshness_seconds", "Age of the oldest entry that a write to the live sink first counts", _FRESH_S
        )
        self._sent = self._counter("sent_points", "Points that a sink has taken", "sink")
        self._sent_events = self._counter("sent_events", "What left this part, by way of a sink: points", "sink")
        self._refused = self._counter("discarded_points", "Points that a sink will never take", "sink")
        self._letters = self._counter("sent_dead_letters", "Dead letters written")
        self._scored = self._counter("scored_windows", "Closed windows that rules have judged")
        self._open_alerts = self._gauge("open_alerts", "Alerts that are not resolved, as of the last ten seconds")
        self._notifications = self._counter("notifications", "Notifications written to the outbox")
        self._archived = self._counter("archived_events", "Events that are in files of the archive")
        self._archive_files = self._counter("archive_files", "Files of the archive that were written")
        self._waiting_events = self._gauge("archive_waiting_events", "Events that wait for the archive", "shard")
        self._waiting_bytes = self._gauge("archive_waiting_bytes", "Size of those on disk", "shard")
        self._waiting_s = self._gauge("archive_waiting_seconds", "How long the oldest of them waits", "shard")
        self._errors = self._counter("errors", "What went wrong and was handled", "stage")
        self._retries = self._counter("retries", "What was tried again after an error", "stage")
        self._failing_s = self._gauge(
            "failing_seconds", "How long a stage has been tried again; 0 when it works", "stage"
        )
        self._loop_s = self._gauge("loop_seconds", "Since the engine last asked for more, or tried a write again")
        self._spool_lines = self._gauge("influx_waiting_lines", "Lines on disk that InfluxDB has not taken yet")
        self._spool_bytes = self._gauge("influx_waiting_bytes", "Bytes of those")
        self._spool_age_s = self._gauge("influx_oldest_waiting_seconds", "How long the oldest of them has waited")
        self._spool_dropped = self._counter("influx_dropped_lines", "Lines of open windows that a full spool let go of")
        self._spool_asides = self._counter("influx_set_aside", "Damaged files of the spool that were set aside")
        self._spool_sent_at = self._gauge("influx_last_success_timestamp_seconds", "When InfluxDB last took a write")
        self._free = self._gauge("state_free_bytes", "Free space where the state directory is; NaN while not known")
        self._epoch_s = self._histogram("epoch_seconds", "From the end of one epoch to the next", _EPOCH_S)
        self._commit_s = self._histogram(
            "epoch_commit_seconds", "From the end of an epoch until reading goes on", _PAUSE_S
        )
        self._snapshot_s = self._histogram(
            "epoch_snapshot_seconds", "Spent in taking the snapshots of one epoch", _PAUSE_S, "part"
        )
        self._snapshot_bytes = self._gauge("snapshot_bytes", "Size of the latest snapshots", "part")

        self._turned_s: float | None = None
        self._loop_s.set_function(lambda: math.nan if (ago_s := self.turned_ago_s()) is None else ago_s)
        self._failing_since_s: dict[str, float] = {}
        for reason in Reason:
            self._discarded.labels(reason.value)
        for stage in ("read", "decode"):
            self.stage(stage)
        self._status: dict[str, Status] = {}
        self._watermarks_ms: dict[str, int] = {}
        self._waits_since_ms: dict[str, int | None] = {}
        self._sizes: dict[str, dict[str, int]] = {}
        self._spent_s: dict[str, float] = {}
        """What the snapshots of each part took in the epoch that has ended."""
        self._ended_s: dict[str, float] = {}
        """When the epoch ended at each source, until it is known to be committed."""
        self._last_end_s: float | None = None
        self._tell_epoch: Callable[[Epoch], None] | None = None
        self._read: dict[str, Read] = {}
        """What was read since the last epoch was told, while anybody wants to know."""

    def kept_where(self, free_bytes: Callable[[], int]) -> None:
        """The state is kept; `free_bytes` tells, from any thread, how much room there is. It may raise OSError."""

        def free() -> float:
            try:
                return free_bytes()
            except OSError:
                return math.nan

        self._free.set_function(free)

    def reading(self, stream: str, queued: Callable[[], int]) -> None:
        """A stream is being read; `queued` tells, from any thread, how many batches wait."""
        self._queued.labels(stream).set_function(queued)

    def received(self, batch: RawBatch, decoded: Decoded) -> None:
        """A batch was read and decoded."""
        stream = batch.stream
        if batch.entries:
            self._batches.labels(stream).inc()
            self._entries.labels(stream).inc(len(batch.entries))
            self._events.labels(stream).inc(len(decoded.time_ms) + len(decoded.rejects))
            if self._tell_epoch is not None:
                read = self._read.setdefault(stream, Read())
                read.batches += 1
                read.entries += len(batch.entries)
                read.events += len(decoded.time_ms) + len(decoded.rejects)
        if decoded.rejects:
            for reason, events in Tally(letter.reason for letter in decoded.rejects).items():
                self._discarded.labels(reason.value).inc(events)
        if decoded.status is not None:
            self._reports(decoded.status)

    def _reports(self, status: Status) -> None:
        stream, before = status.stream, self._status.get(status.stream)
        self._status[stream] = status
        self._lag_entries.labels(stream).set(math.nan if status.lag is None else status.lag)
        self._lag_s.labels(stream).set(status.lag_ms / 1_000)
        self._reported.labels(stream).set(status.at_ms / 1_000)
        # Known since the state directory was made, so the first value is already a count, and no increase.
        self._gaps.labels(stream).inc(max(0, status.gaps - (before.gaps if before else 0)))
        self._lost.labels(stream).inc(max(0, status.lost - (before.lost if before else 0)))
        self._lost_exact.labels(stream).set(status.lost_exact)

    def counted(
        self, shard: int, watermark_ms: int, *, late: int, too_late: int, duplicates: int, suppressed: int = 0
    ) -> None:
        """A shard has taken in its part of some batches; the last four are how many events of them were so."""
        name = str(shard)
        self._late.labels(name).inc(late)
        if too_late:
            self._discarded.labels(Reason.TOO_LATE.value).inc(too_late)
        if duplicates:
            self._discarded.labels(Reason.DUPLICATE.value).inc(duplicates)
        if suppressed:
            self._discarded.labels(Reason.SUPPRESSED.value).inc(suppressed)
        if watermark_ms == NEVER_MS:
            return
        known = name in self._watermarks_ms
        self._watermarks_ms[name] = watermark_ms
        self._watermark.labels(name).set(watermark_ms / 1_000)
        if not known:
            # Asked for when it is read: a processor that hangs falls behind, and that has to show.
            self._event_lag_s.labels(name).set_function(lambda: (self._clock() - self._watermarks_ms[name]) / 1_000)

    def left_out(self, events: Tally[Reason]) -> None:
        """So many events were left out before they came to a shard."""
        for reason, number in events.items():
            self._discarded.labels(reason.value).inc(number)

    def shown(self, oldest_added_ms: int) -> None:
        """The live sink has written points that count entries for the first time, the oldest of them added then."""
        self._fresh_s.observe((self._clock() - oldest_added_ms) / 1_000)

    def sent(self, sink: str, points: int, *, refused: int = 0) -> None:
        """A sink has answered for all points of a write."""
        self._sent.labels(sink).inc(points)
        self._sent_events.labels(sink).inc(points)
        self._refused.labels(sink).inc(refused)

    def archived(self, events: int, files: int) -> None:
        """So many events are in files of the archive."""
        self._archived.inc(events)
        self._archive_files.inc(files)

    def waits(self, shard: int, events: int, size_bytes: int, since_ms: int | None) -> None:
        """What of a shard is not yet in the archive, and since when."""
        name = str(shard)
        known = name in self._waits_since_ms
        self._waits_since_ms[name] = since_ms
        self._waiting_events.labels(name).set(events)
        self._waiting_bytes.labels(name).set(size_bytes)
        if not known:
            # Asked for when it is read, as for the watermark.
            self._waiting_s.labels(name).set_function(lambda: self._waited_s(name))

    def _waited_s(self, shard: str) -> float:
        since_ms = self._waits_since_ms[shard]
        return 0.0 if since_ms is None else max(0.0, (self._clock() - since_ms) / 1_000)

    def sent_letters(self, letters: int) -> None:
        self._letters.inc(letters)

    def scored(self, windows: int) -> None:
        """The store has taken what rules made of so many windows."""
        self._scored.inc(windows)

    def alerts_open(self, alerts: int) -> None:
        self._open_alerts.set(alerts)

    def notified(self, notifications: int) -> None:
        self._notifications.inc(notifications)

    def spooling(self, waiting: Callable[[], Waiting], clock: Callable[[], int]) -> None:
        """Something waits for InfluxDB; `waiting` tells, from any thread, how much."""

        def age_s() -> float:
            oldest_ms = waiting().oldest_ms
            return 0.0 if oldest_ms is None else max(0.0, (clock() - oldest_ms) / 1_000)

        self._spool_lines.set_function(lambda: waiting().lines)
        self._spool_bytes.set_function(lambda: waiting().size_bytes)
        self._spool_age_s.set_function(age_s)

    def spool_dropped(self, lines: int) -> None:
        self._spool_dropped.inc(lines)

    def spool_set_aside(self) -> None:
        self._spool_asides.inc()

    def spool_sent(self) -> None:
        """InfluxDB has taken a write, or refused it for good."""
        self._spool_sent_at.set(self._clock() / 1_000)

    def stage(self, name: str) -> None:
        """There is such a stage: its counters begin at 0, so that the first error is an increase."""
        self._errors.labels(name)
        self._retries.labels(name)
        if name not in ("read", "decode"):  # which are not tried again as a write is, but go on with what comes
            self._failing_s.labels(name).set_function(lambda: self._failing_for_s(name))

    def failed(self, stage: str) -> None:
        """Something was caught and logged at `stage`: `read`, `decode`, or a sink's name."""
        self._errors.labels(stage).inc()

    def retried(self, stage: str) -> None:
        self._retries.labels(stage).inc()
        self._turned_s = self._stopwatch()
        self._failing_since_s.setdefault(stage, self._turned_s)

    def turned_ago_s(self) -> float | None:
        """Since the engine last asked for more, or a write was tried again; None before it began. From any thread."""
        return None if self._turned_s is None else self._stopwatch() - self._turned_s

    def works(self, stage: str) -> None:
        """What was tried again at `stage` has worked."""
        self._failing_since_s.pop(stage, None)

    def _failing_for_s(self, stage: str) -> float:
        since_s = self._failing_since_s.get(stage)
        return 0.0 if since_s is None else self._stopwatch() - since_s

    def each_epoch(self, tell: Callable[[Epoch], None]) -> None:
        """Have `tell` called, by the worker, with each epoch that is committed. It must be quick, and not raise."""
        self._tell_epoch = tell

    def snapshot(self, part: str, key: str, take: Callable[[], bytes]) -> bytes:
        """Take a snapshot of the logic `key` of a part, by `take`."""
        began_s = self._stopwatch()
        taken = take()
        self._spent_s[part] = self._spent_s.get(part, 0.0) + self._stopwatch() - began_s
        # The engine asks only those that had work in the epoch; the others' latest is still what is saved.
        sizes = self._sizes.setdefault(part, {})
        sizes[key] = len(taken)
        self._snapshot_bytes.labels(part).set(sum(sizes.values()))
        return taken

    def epoch_ended(self, source: str) -> None:
        """The engine has closed the epoch at a source."""
        self._ended_s[source] = self._stopwatch()

    def called(self, source: str) -> None:
        """The engine calls a source for more, which it does once all epochs that ended there are committed."""
        self._turned_s = self._stopwatch()
        if source not in self._ended_s:
            return
        ended_s = max(self._ended_s.values())
        self._ended_s.clear()
        commit_s = self._stopwatch() - ended_s
        self._commit_s.observe(commit_s)
        if self._last_end_s is not None:
            self._epoch_s.observe(ended_s - self._last_end_s)
            if self._tell_epoch is not None:
                read, self._read = self._read, {}
                self._tell_epoch(Epoch(ended_s - self._last_end_s, commit_s, sum(self._spent_s.values()), read))
        self._last_end_s = ended_s
        for part, spent_s in self._spent_s.items():
            self._snapshot_s.labels(part).observe(spent_s)
        self._spent_s.clear()

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"{_PREFIX}_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"{_PREFIX}_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"{_PREFIX}_{name}", text, labels, registry=self.registry, buckets=buckets)
