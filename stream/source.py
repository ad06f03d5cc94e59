"""Valkey streams as a Bytewax source, one partition a stream; and the source that ends a run."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from bytewax.inputs import AbortExecution, FixedPartitionedSource, StatefulSourcePartition

from stream.batches import RawBatch
from stream.continuity import GapError, OnGap
from stream.ending import Ending
from stream.meters import Meters
from stream.position import BEGINNING, Position
from stream.reader import GATHER_MS, ClientFactory, StreamReader

_POLL = timedelta(milliseconds=10)
_RETIRED_POLL = timedelta(seconds=5)
_ENDING_POLL = timedelta(milliseconds=20)
_LAST_WORD_S = 1.0
"""How long the end of a run may wait until the monitoring groups show its last snapshot."""


class ValkeySource(FixedPartitionedSource[RawBatch, str]):
    """Reads streams from their positions in the snapshot, from the beginning where there is none.

    *Guarantee*: exactly once into the state, as position and state are of one snapshot. *Failure*: waits while Valkey
    is away; raises GapError for entries lost unread, when `on_gap` says so. *Parallelism*: one partition for each
    stream.

    When `ending` is asked for, each partition stops reading. `retired` are streams that an earlier catalog named: the
    engine insists on a partition for each that is in the snapshot, and their positions are kept for the day they come
    back. `group` is the monitoring group of each stream; none is kept without a name.
    """

    def __init__(
        self,
        connect: ClientFactory,
        streams: tuple[str, ...],
        *,
        clock: Callable[[], int],
        ending: Ending,
        meters: Meters,
        trim: bool = False,
        retired: tuple[str, ...] = (),
        on_gap: OnGap = OnGap.EARLIEST,
        group: str | None = None,
        gather_ms: int = GATHER_MS,
        poll: timedelta = _POLL,
    ) -> None:
        """`poll`: how soon a stream is looked at again that had nothing."""
        self._poll = poll
        self._gather_ms = gather_ms
        self._on_gap = on_gap
        self._group = group
        self._parts: list[_Partition] = []
        self._retired = retired
        self._connect = connect
        self._streams = streams
        self._clock = clock
        self._ending = ending
        self._meters = meters
        self._trim = trim

    def list_parts(self) -> list[str]:
        return [*self._streams, *self._retired]

    def build_part(self, step_id: str, for_part: str, resume_state: str | None) -> _Partition | _Retired:
        if for_part in self._retired:
            return _Retired(resume_state or BEGINNING)
        position = Position.from_text(resume_state) if resume_state else Position()
        reader = StreamReader(
            self._connect,
            for_part,
            position,
            clock=self._clock,
            trim=self._trim,
            on_gap=self._on_gap,
            group=self._group,
            failed=self._read_failed,
            gather_ms=self._gather_ms,
        )
        self._meters.reading(for_part, reader.queued)
        part = _Partition(for_part, reader, position, self._ending, self._meters, self._poll)
        self._parts.append(part)
        return part

    def _read_failed(self) -> None:
        self._meters.failed("read")
        self._meters.retried("read")

    def finish(self) -> None:
        """Everything is committed, and this worker is about to leave."""
        until_s = time.monotonic() + _LAST_WORD_S
        for part in self._parts:
            part.commit_last()
        for part in self._parts:
            part.reader.told(max(0.0, until_s - time.monotonic()))
            part.reader.stop()


class _Partition(StatefulSourcePartition[RawBatch, str]):
    def __init__(
        self,
        stream: str,
        reader: StreamReader,
        position: Position,
        ending: Ending,
        meters: Meters,
        poll: timedelta,
    ) -> None:
        self.reader = reader
        self._poll = poll
        self._stream = stream
        self._meters = meters
        self._position = position
        self._ending = ending
        self._snapshots: list[Position] = []
        self._quiet = False
        reader.start()

    def next_batch(self) -> list[RawBatch]:
        self._meters.called(self._stream)
        if self._ending.asked.is_set():
            self.reader.pause()
            self._quiet = True
            return []
        try:
            batch = self.reader.take()
        except GapError as error:
            raise self._ending.fail(error) from None
        self._quiet = batch is None
        if batch is None:
            return []
        if batch.position is not None:
            self._position = batch.position
        return [batch]

    def next_awake(self) -> datetime | None:
        return datetime.now(UTC) + self._poll if self._quiet else None

    def snapshot(self) -> str:
        self._meters.epoch_ended(self._stream)
        # A snapshot taken now is committed some time before the one after the next.
        self._snapshots = [*self._snapshots[-2:], self._position]
        if len(self._snapshots) == 3:
            self.reader.committed(self._snapshots[0])
        return self._position.to_text()

    def commit_last(self) -> None:
        """The last snapshot is committed as well."""
        if self._snapshots:
            self.reader.committed(self._snapshots[-1])

    def close(self) -> None:
        self.reader.stop()


class _Retired(StatefulSourcePartition[RawBatch, str]):
    """A stream that the catalog no longer names: not read, its offset kept."""

    def __init__(self, offset: str) -> None:
        self._offset = offset

    def next_batch(self) -> list[RawBatch]:
        return []

    def next_awake(self) -> datetime | None:
        return datetime.now(UTC) + _RETIRED_POLL

    def snapshot(self) -> str:
        return self._offset


class EndingSource(FixedPartitionedSource[tuple[str, int], str]):
    """Emits (key, epoch) for every key of `keys` when this process is asked to end, and ends it when that is due.

    *Parallelism*: each worker has a partition of its own, so that workers that read no stream can end as well. The
    engine insists on a partition for each that is in the snapshot: worker 0 has those of workers that are no more, up
    to the `most` there ever were.
    """

    def __init__(
        self, ending: Ending, keys: tuple[str, ...], worker: int, most: int, finish: Callable[[], None], meters: Meters
    ) -> None:
        """`finish` is called when everything is committed, before the run is left."""
        self._ending = ending
        self._finish = finish
        self._meters = meters
        self._keys = keys
        self._parts = [worker, *(range(len(keys), most) if worker == 0 else ())]

    def list_parts(self) -> list[str]:
        return [str(part) for part in self._parts]

    def build_part(self, step_id: str, for_part: str, resume_state: str | None) -> _EndingPartition:
        self._ending.begun = True
        return _EndingPartition(f"ending {for_part}", self._ending, self._keys, self._finish, self._meters)


class _EndingPartition(StatefulSourcePartition[tuple[str, int], str]):
    def __init__(
        self, name: str, ending: Ending, keys: tuple[str, ...], finish: Callable[[], None], meters: Meters
    ) -> None:
        self._name = name
        self._meters = meters
        self._ending = ending
        self._finish = finish
        self._keys = keys
        self._epoch = 0
        """Counted from the start of the run; every partition of the cluster is told of each epoch's end."""
        self._said = False

    def next_batch(self) -> list[tuple[str, int]]:
        # The engine calls this only after all epochs before this one were committed by all workers.
        self._meters.called(self._name)
        if self._ending.due(self._epoch):
            self._finish()
            raise AbortExecution
        if not self._ending.asked.is_set() or self._said:
            return []
        self._said = True
        return [(key, self._epoch) for key in self._keys]

    def next_awake(self) -> datetime | None:
        return datetime.now(UTC) + _ENDING_POLL

    def snapshot(self) -> str:
        self._epoch += 1
        self._meters.epoch_ended(self._name)
        return ""
