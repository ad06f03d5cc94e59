"""Valkey streams as a Bytewax source, one partition a stream; and the source that ends a run."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from bytewax.inputs import AbortExecution, FixedPartitionedSource, StatefulSourcePartition

from stream.batches import RawBatch
from stream.ending import Ending
from stream.reader import BEGINNING, ClientFactory, StreamReader

_POLL = timedelta(milliseconds=10)
_RETIRED_POLL = timedelta(seconds=5)
_ENDING_POLL = timedelta(milliseconds=20)


class ValkeySource(FixedPartitionedSource[RawBatch, str]):
    """Reads streams from their offsets in the snapshot, from the beginning where there is none.

    *Guarantee*: exactly once into the state, as offset and state are of one snapshot. *Failure*: waits while Valkey
    is away. *Parallelism*: one partition for each stream.

    `draining` is set by whoever wants the dataflow to end: each partition then stops reading. `retired` are streams
    that an earlier catalog named: the engine insists on a partition for each that is in the snapshot, and their offsets
    are kept for the day they come back.
    """

    def __init__(
        self,
        connect: ClientFactory,
        streams: tuple[str, ...],
        *,
        clock: Callable[[], int],
        draining: threading.Event,
        trim: bool = False,
        retired: tuple[str, ...] = (),
    ) -> None:
        self._retired = retired
        self._connect = connect
        self._streams = streams
        self._clock = clock
        self._draining = draining
        self._trim = trim

    def list_parts(self) -> list[str]:
        return [*self._streams, *self._retired]

    def build_part(self, step_id: str, for_part: str, resume_state: str | None) -> _Partition | _Retired:
        if for_part in self._retired:
            return _Retired(resume_state or BEGINNING)
        reader = StreamReader(self._connect, for_part, resume_state or BEGINNING, clock=self._clock, trim=self._trim)
        return _Partition(reader, resume_state or BEGINNING, self._draining)


class _Partition(StatefulSourcePartition[RawBatch, str]):
    def __init__(self, reader: StreamReader, offset: str, draining: threading.Event) -> None:
        self._reader = reader
        self._offset = offset
        self._draining = draining
        self._snapshots: list[str] = []
        self._quiet = False
        reader.start()

    def next_batch(self) -> list[RawBatch]:
        if self._draining.is_set():
            self._reader.stop()
            self._quiet = True
            return []
        batch = self._reader.take()
        self._quiet = batch is None
        if batch is None:
            return []
        if batch.entries:
            self._offset = batch.entries[-1][0].decode()
        return [batch]

    def next_awake(self) -> datetime | None:
        return datetime.now(UTC) + _POLL if self._quiet else None

    def snapshot(self) -> str:
        # A snapshot taken now is committed some time before the one after the next.
        self._snapshots = [*self._snapshots[-2:], self._offset]
        if len(self._snapshots) == 3:
            self._reader.committed(self._snapshots[0])
        return self._offset

    def close(self) -> None:
        self._reader.stop()


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

    def __init__(self, ending: Ending, keys: tuple[str, ...], worker: int, most: int) -> None:
        self._ending = ending
        self._keys = keys
        self._parts = [worker, *(range(len(keys), most) if worker == 0 else ())]

    def list_parts(self) -> list[str]:
        return [str(part) for part in self._parts]

    def build_part(self, step_id: str, for_part: str, resume_state: str | None) -> _EndingPartition:
        self._ending.begun = True
        return _EndingPartition(self._ending, self._keys)


class _EndingPartition(StatefulSourcePartition[tuple[str, int], str]):
    def __init__(self, ending: Ending, keys: tuple[str, ...]) -> None:
        self._ending = ending
        self._keys = keys
        self._epoch = 0
        """Counted from the start of the run; every partition of the cluster is told of each epoch's end."""
        self._said = False

    def next_batch(self) -> list[tuple[str, int]]:
        # The engine calls this only after all epochs before this one were committed by all workers.
        if self._ending.due(self._epoch):
            raise AbortExecution
        if not self._ending.asked.is_set() or self._said:
            return []
        self._said = True
        return [(key, self._epoch) for key in self._keys]

    def next_awake(self) -> datetime | None:
        return datetime.now(UTC) + _ENDING_POLL

    def snapshot(self) -> str:
        self._epoch += 1
        return ""
