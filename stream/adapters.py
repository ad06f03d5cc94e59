"""Our pure classes in the engine's operators and sinks. Nothing is decided here.

The engine ends the whole dataflow on any exception, and in a cluster hides which: so everything that a sink may raise
is caught, retried or logged at this boundary.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, TypeVar

from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import DynamicSink, StatelessSinkPartition

from sinks.base import Sink
from sinks.deadletter import DeadLetterSink
from sinks.errors import Misconfigured, Rejected, Retryable
from sinks.live import LiveSink
from sinks.records import DeadLetter, Point, Reason
from stream.batches import Emission, Partials, ShardBatch, Status
from stream.merge import Merge
from stream.shard import Shard

logger = logging.getLogger(__name__)

X = TypeVar("X")
Clock = Callable[[], int]

_LONGEST_BACKOFF_S = 5.0


class ShardLogic(StatefulBatchLogic[ShardBatch, "Partials | DeadLetter", bytes]):
    """A Shard on the engine: ticks at once after a quiet spell, and at most every `tick_ms`.

    The engine does not tell a logic its key, so the shard is made when its first batch says which one it is; a
    snapshot waits unread until then.
    """

    def __init__(self, make: Callable[[int], Shard], snapshot: bytes | None, *, tick_ms: int, clock: Clock) -> None:
        self._make = make
        self._shard: Shard | None = None
        self._snapshot = snapshot
        self._tick_ms = tick_ms
        self._clock = clock
        self._next_tick_ms = 0
        self._pending = False

    def on_batch(self, values: list[ShardBatch]) -> tuple[Iterable[Partials | DeadLetter], bool]:
        if self._shard is None:
            self._shard = self._make(values[0].shard)
            if self._snapshot is not None:
                self._shard.restore(self._snapshot, logger.warning)
        out: list[Partials | DeadLetter] = []
        for batch in values:
            out.extend(self._shard.add(batch))
        self._pending = True
        out.extend(self._tick())
        return out, StatefulBatchLogic.RETAIN

    def on_notify(self) -> tuple[Iterable[Partials | DeadLetter], bool]:
        return self._tick(), StatefulBatchLogic.RETAIN

    def on_eof(self) -> tuple[Iterable[Partials | DeadLetter], bool]:
        # Streams do not end; the engine says so also when it stops, and then windows must stay as they are.
        return (), StatefulBatchLogic.RETAIN

    def notify_at(self) -> datetime | None:
        return datetime.fromtimestamp(self._next_tick_ms / 1_000, UTC) if self._pending else None

    def snapshot(self) -> bytes:
        if self._shard is None:
            return self._snapshot or b""
        return self._shard.to_bytes()

    def _tick(self) -> list[Partials]:
        now_ms = self._clock()
        if self._shard is None or not self._pending or now_ms < self._next_tick_ms:
            return []
        self._pending = False
        self._next_tick_ms = now_ms + self._tick_ms
        return self._shard.tick()


class MergeLogic(StatefulBatchLogic[Partials, Emission, bytes]):
    """A Merge on the engine: emits as soon as a shard has spoken. Made, like a shard, by its first item."""

    def __init__(self, make: Callable[[str], Merge], snapshot: bytes | None, clock: Clock) -> None:
        self._make = make
        self._merge: Merge | None = None
        self._snapshot = snapshot
        self._clock = clock

    def on_batch(self, values: list[Partials]) -> tuple[Iterable[Emission], bool]:
        if self._merge is None:
            self._merge = self._make(values[0].cube)
            if self._snapshot is not None:
                self._merge.restore(self._snapshot)
        for partials in values:
            self._merge.add(partials)
        return self._emit()

    def on_notify(self) -> tuple[Iterable[Emission], bool]:
        return self._emit()

    def on_eof(self) -> tuple[Iterable[Emission], bool]:
        return (), StatefulBatchLogic.RETAIN

    def notify_at(self) -> datetime | None:
        due_ms = None if self._merge is None else self._merge.next_offer_ms
        return None if due_ms is None else datetime.fromtimestamp(due_ms / 1_000, UTC)

    def snapshot(self) -> bytes:
        if self._merge is None:
            return self._snapshot or b""
        return self._merge.to_bytes()

    def _emit(self) -> tuple[Iterable[Emission], bool]:
        if self._merge is None:
            return (), StatefulBatchLogic.RETAIN
        emission = self._merge.emit(self._clock())
        return ([emission] if emission.live or emission.durable else ()), StatefulBatchLogic.RETAIN


class Patience:
    """How long to go on with a write that fails for now: full-jitter back-off within a budget.

    With a budget of None it goes on until the processor drains; after that, or when the budget is spent, the error is
    raised, the processor ends, and restarts from its snapshot with nothing lost.
    """

    def __init__(self, name: str, draining: threading.Event, budget_s: float | None) -> None:
        self._name = name
        self._draining = draining
        self._budget_s = budget_s

    def __call__(self, write: Callable[[], None]) -> None:
        started, backoff_s = time.monotonic(), 0.1
        while True:
            try:
                write()
                return
            except Retryable as error:
                wait_s = error.retry_after_s or random.uniform(0, backoff_s)
                backoff_s = min(_LONGEST_BACKOFF_S, backoff_s * 2)
                spent = self._budget_s is not None and time.monotonic() - started + wait_s > self._budget_s
                if spent or self._draining.is_set():
                    logger.error("%s: giving up: %s", self._name, error)
                    raise
                logger.warning("%s: trying again in %.1f s: %s", self._name, wait_s, error)
                self._draining.wait(wait_s)
            except Misconfigured as error:
                logger.critical("%s: %s", self._name, error)
                raise


class _Writer(StatelessSinkPartition[X]):
    def __init__(self, write: Callable[[list[X]], None]) -> None:
        self._write = write

    def write_batch(self, items: list[X]) -> None:
        self._write(items)


class CallSink(DynamicSink[X]):
    """A sink made of one function, which must not return before everything is written."""

    def __init__(self, write: Callable[[list[X]], None]) -> None:
        self._write = write

    def build(self, step_id: str, worker_index: int, worker_count: int) -> _Writer[X]:
        return _Writer(self._write)


def live_writer(sink: LiveSink, patience: Patience, clock: Clock) -> Callable[[list[Emission | Status]], None]:
    """Points of every emission and the streams' status, as one entry for each call."""

    def write(items: list[Emission | Status]) -> None:
        points: list[Point] = []
        status: dict[str, dict[str, Any]] = {}
        for item in items:
            if isinstance(item, Emission):
                points.extend(item.live)
            else:
                status[item.stream] = asdict(item)
        if points or status:
            patience(lambda: sink.write(points, status, now_ms=clock()))

    return write


def durable_writer(
    name: str, sink: Sink, patience: Patience, refuse: Callable[[Sequence[DeadLetter]], None]
) -> Callable[[list[Emission]], None]:
    """Points for a database; what it will never take goes to `refuse`."""

    def write(items: list[Emission]) -> None:
        points = [point for item in items for point in item.durable]
        if not points:
            return
        try:
            patience(lambda: sink.write(points))
        except Rejected as error:
            logger.error("%s refused %d points: %s", name, len(error.lines), error)
            refuse([DeadLetter(name, "", 0, Reason.BAD_TYPE, str(error), line) for line in error.lines])

    return write


def deadletter_writer(sink: DeadLetterSink, patience: Patience) -> Callable[[Sequence[DeadLetter]], None]:
    def write(items: Sequence[DeadLetter]) -> None:
        if items:
            patience(lambda: sink.write(items))

    return write
