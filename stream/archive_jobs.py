"""What is done about the archive off the worker: by one thread, so that neither a bucket nor Parquet is waited for."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sinks.archive import Archive, OutOfStep
from sinks.errors import Retryable, SinkError
from stream.archive_pending import Increments, Pending
from stream.meters import Meters

logger = logging.getLogger(__name__)

STAGE = "archive"
_LONGEST_BACKOFF_S = 60.0
_IDLE_S = 0.5
_LEAVE_S = 2.0


@dataclass(frozen=True, slots=True)
class Desk:
    """What jobs work with."""

    archive: Archive
    pending: Pending
    archived: Callable[[int, int], None] = lambda events, files: None
    """Told how many events, in how many files, are now in the archive."""


class Job(Protocol):
    """Something that may be done again when it failed, or was cut off, with the same result."""

    @property
    def done(self) -> threading.Event: ...

    @property
    def shard(self) -> int | None:
        """Jobs of one shard are done in their order; None: as soon as can be."""
        ...

    def run(self, desk: Desk) -> None: ...


@dataclass(frozen=True, slots=True)
class Settle:
    """Goes before the rolls of a run: see `Archive.settle`."""

    shard: int
    last: int
    waiting_from: int
    is_new: bool
    done: threading.Event = field(default_factory=threading.Event)

    def run(self, desk: Desk) -> None:
        desk.archive.settle(self.shard, self.last, self.waiting_from, is_new=self.is_new)


@dataclass(frozen=True, slots=True)
class Roll:
    """Makes files of the archive of some increments."""

    shard: int
    increments: Increments
    again: bool
    """Whether it may have been done before."""
    done: threading.Event = field(default_factory=threading.Event)

    def run(self, desk: Desk) -> None:
        rows = desk.pending.read(self.increments.names(self.shard))
        if rows is not None and len(rows):
            first, last = self.increments.first, self.increments.last
            files = desk.archive.write(self.shard, first, last, rows, again=self.again)
            desk.archived(len(rows), files)


@dataclass(frozen=True, slots=True)
class Erase:
    """Takes a person out of what waits."""

    person: str
    names: Sequence[str]
    done: threading.Event = field(default_factory=threading.Event)
    shard: int | None = None

    def run(self, desk: Desk) -> None:
        desk.pending.without(self.names, self.person)


class Jobs(Protocol):
    """Whoever does jobs, some time."""

    @property
    def failure(self) -> SinkError | None:
        """Why nothing is done any more."""
        ...

    def submit(self, job: Job) -> None: ...


class JobThread:
    """Does jobs in a thread of its own, one at a time: what failed is tried again, for as long as it takes.

    *Failure*: full-jitter back-off of up to a minute for a place that is away; other jobs are done meanwhile, but for
    later ones of the same shard. OutOfStep ends it.
    """

    def __init__(self, desk: Desk, meters: Meters) -> None:
        self._desk = desk
        self._meters = meters
        meters.stage(STAGE)
        self._changed = threading.Condition()
        self._at_once: deque[Job] = deque()
        self._of_shards: dict[int, deque[Job]] = {}
        self._not_before_s: dict[int | None, float] = {}
        self._backoff_s: dict[int | None, float] = {}
        self._stopped = False
        self._thread: threading.Thread | None = None
        self.failure: SinkError | None = None

    def submit(self, job: Job) -> None:
        with self._changed:
            if job.shard is None:
                self._at_once.append(job)
            else:
                self._of_shards.setdefault(job.shard, deque()).append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="archive", daemon=True)
                self._thread.start()
            self._changed.notify()

    def stop(self) -> None:
        """Begin no other job; what is not done is after the next start."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(_LEAVE_S)

    def _work(self) -> None:
        while (queue := self._next()) is not None:
            job = queue[0]
            try:
                job.run(self._desk)
            except OutOfStep as error:
                self.failure = error
                return
            except Exception as error:
                self._failed(job, error)
                continue
            self._backoff_s.pop(job.shard, None)
            if not self._backoff_s:
                self._meters.works(STAGE)
            with self._changed:
                queue.popleft()
            job.done.set()

    def _next(self) -> deque[Job] | None:
        """The queue whose first job is to be done; None at the end."""
        with self._changed:
            while not self._stopped:
                now_s = time.monotonic()
                queues: list[tuple[int | None, deque[Job]]] = [(None, self._at_once), *self._of_shards.items()]
                for shard, queue in queues:
                    if queue and self._not_before_s.get(shard, 0.0) <= now_s:
                        return queue
                self._changed.wait(_IDLE_S)
            return None

    def _failed(self, job: Job, error: Exception) -> None:
        backoff_s = self._backoff_s.get(job.shard, 0.5)
        wait_s = random.uniform(0, backoff_s)
        self._backoff_s[job.shard] = min(_LONGEST_BACKOFF_S, backoff_s * 2)
        self._not_before_s[job.shard] = time.monotonic() + wait_s
        self._meters.failed(STAGE)
        self._meters.retried(STAGE)
        if isinstance(error, SinkError):
            asked_s = error.retry_after_s if isinstance(error, Retryable) else None
            if asked_s is not None:
                self._not_before_s[job.shard] = time.monotonic() + asked_s
            logger.warning("events wait on disk; trying again in %.1f s: %s", asked_s or wait_s, error)
        else:
            logger.exception("events wait on disk; trying again in %.1f s", wait_s)
