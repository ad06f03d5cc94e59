"""The archive's part in each snapshot, for one shard: what was counted since the last one is on disk with it.

The rows of a snapshot are an *increment*, one file on this machine. Every minute or so a snapshot says which increments
make the next files of the archive, a *roll*; and once that snapshot is certainly committed, the roll is written, off
the worker. So whatever a crash goes back to, a roll has the same increments and makes the same files.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Collection
from dataclasses import astuple, dataclass, field, replace

from sinks.errors import SinkError
from stream.archive_jobs import Erase, Job, Jobs, Roll, Settle
from stream.archive_pending import Increments, Pending, rows_of
from stream.batches import Accepted, Forgotten, State
from stream.people.journal import KEPT
from stream.plan import Plan
from stream.snapshots import pack_state, unpack_state

STATE_VERSION = 1
COMMITTED = 2
"""A snapshot is certainly committed when so many others were taken after it (see `stream.source`)."""
MOST_ROWS = 1_000_000
MOST_BYTES = 64 << 20
MOST_FILES = 1_000
"""A roll has no more than about so much, as it is in memory at once."""


@dataclass(slots=True)
class _Planned:
    """A roll on its way."""

    increments: Increments
    said_at: int
    """Number of the snapshot that was the first to say so."""
    job: Job | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """What is not yet in the archive."""

    rows: int
    size_bytes: int
    since_ms: int | None
    """When the oldest of it was counted; None without any."""


@dataclass(slots=True)
class Archiving:
    """Batches in, increments and rolls out; no clock, no thread, no engine.

    *Guarantee*: after any crash, each event that was counted is in the archive once. *Failure*: `Retryable` from
    `to_bytes` where the disk is full, and then the snapshot must not be. Whoever is forgotten is in no file that is
    made after that. *Cost*: 0.3 µs an event, and two fsyncs a snapshot.
    """

    plan: Plan
    pending: Pending
    jobs: Jobs
    roll_ms: int = 60_000
    shard: int | None = None
    """Known with the first batch, or from the snapshot."""
    _run: str = field(default_factory=lambda: secrets.token_hex(4))
    _sequence: int = 0
    """Of the last increment."""
    _snapshots: int = 0
    """Taken since this object was made."""
    _batches: list[Accepted] = field(default_factory=list)
    _rows: int = 0
    _since_ms: int = 0
    _open: Increments | None = None
    """Increments that are in no roll yet."""
    _rolls: deque[_Planned] = field(default_factory=deque)
    _gone: deque[tuple[int, list[str]]] = field(default_factory=deque)
    """Files that are needed no more, and as of which snapshot."""
    _erasures: deque[tuple[Forgotten, Job]] = field(default_factory=deque)

    def add(self, batch: Accepted, now_ms: int) -> None:
        if self.shard is None:
            self.shard = batch.shard
            self.jobs.submit(Settle(self.shard, last=0, waiting_from=1, is_new=True))
            self._let_go_of_others(())
        if not self._batches:
            self._since_ms = now_ms
        self._batches.append(batch)
        self._rows += len(batch.time_ms)

    def forget(self, forgotten: Forgotten) -> None:
        """Nothing that is made from now on has this person; `forgotten_by_now` says when nothing here has."""
        field = self.plan.event.person
        if field is not None:
            self._batches = [one for batch in self._batches if (one := _without(batch, field, forgotten.person))]
            self._rows = sum(len(batch.time_ms) for batch in self._batches)
        names = [] if self.shard is None else self.pending.of_shard(self.shard)
        job = Erase(forgotten.person, names)
        self._erasures.append((forgotten, job))
        if names:
            self.jobs.submit(job)
        else:
            job.done.set()

    def forgotten_by_now(self) -> list[Forgotten]:
        """Whom no file here has any more, in the order in which they were named, each once."""
        done: list[Forgotten] = []
        while self._erasures and self._erasures[0][1].done.is_set():
            done.append(self._erasures.popleft()[0])
        return done

    @property
    def failure(self) -> SinkError | None:
        """Why no more can be archived, until a person acts."""
        return self.jobs.failure

    @property
    def is_busy(self) -> bool:
        """Whether further snapshots have something to do."""
        return bool(self._batches or self._open or self._rolls or self._gone or self._erasures)

    @property
    def waiting(self) -> Waiting:
        parts = [planned.increments for planned in self._rolls] + ([self._open] if self._open else [])
        since_ms = [part.since_ms for part in parts] + ([self._since_ms] if self._batches else [])
        return Waiting(
            sum(part.rows for part in parts) + self._rows,
            sum(part.size_bytes for part in parts),
            min(since_ms, default=None),
        )

    def to_bytes(self, now_ms: int) -> bytes:
        """A snapshot, with what was counted since the last one on disk. Raises Retryable where it is full."""
        if self._batches:
            self._write_increment()
        self._snapshots += 1
        while self._rolls and (job := self._rolls[0].job) is not None and job.done.is_set():
            self._let_go(self._rolls.popleft().increments)
        if self._open is not None and self._is_due(self._open, now_ms):
            self._plan_roll(self._snapshots)
        for planned in self._rolls:
            if planned.job is None and self._snapshots - planned.said_at >= COMMITTED:
                self._begin(planned, again=False)
        # Snapshots that may still be gone back to name them.
        while self._gone and self._snapshots - self._gone[0][0] >= KEPT:
            self.pending.delete(self._gone.popleft()[1])
        state: State = {
            "shard": self.shard,
            "sequence": self._sequence,
            "open": None if self._open is None else astuple(self._open),
            "rolls": [astuple(planned.increments) for planned in self._rolls],
            "erasures": [astuple(forgotten) for forgotten, _ in self._erasures],
        }
        return pack_state(STATE_VERSION, state)

    def restore(self, snapshot: bytes) -> None:
        """Go on from a snapshot. Raises StateError, also where a file that it names is not there."""
        state = unpack_state(snapshot, STATE_VERSION)
        self.shard, self._sequence = state["shard"], state["sequence"]
        if self.shard is None:
            return
        known = [Increments(*one) for one in state["rolls"]]
        if state["open"] is not None:
            self._open = Increments(*state["open"])
        names = [name for one in [*known, *([self._open] if self._open else [])] for name in one.names(self.shard)]
        self.pending.missing(names)
        waiting_from = min((one.first for one in known), default=self._open.first if self._open else self._sequence + 1)
        for forgotten in state["erasures"]:
            self.forget(Forgotten(*forgotten))
        self.jobs.submit(Settle(self.shard, self._sequence, waiting_from, is_new=False))
        for increments in known:
            # The snapshot that is gone on from is committed.
            self._rolls.append(_Planned(increments, said_at=-COMMITTED))
            self._begin(self._rolls[-1], again=True)
        if self._open is not None:
            # Another run may have other columns. The next snapshot is the first to say so.
            self._plan_roll(1)
        self._let_go_of_others(names)

    def _write_increment(self) -> None:
        assert self.shard is not None
        rows = rows_of(self.plan, self._batches, self.plan.streams)
        made = Increments(self._run, self._sequence + 1, self._sequence + 1, len(rows), 0, self._since_ms)
        made = replace(made, size_bytes=self.pending.write(made.names(self.shard)[0], rows))
        self._sequence += 1
        self._batches, self._rows = [], 0
        self._open = made if self._open is None else self._open.and_then(made)

    def _is_due(self, increments: Increments, now_ms: int) -> bool:
        files = increments.last - increments.first + 1
        if increments.rows >= MOST_ROWS or increments.size_bytes >= MOST_BYTES or files >= MOST_FILES:
            return True
        # While the archive is away, fewer and larger rolls are planned.
        return not self._rolls and not 0 <= now_ms - increments.since_ms < self.roll_ms

    def _plan_roll(self, said_at: int) -> None:
        assert self._open is not None
        self._rolls.append(_Planned(self._open, said_at))
        self._open = None

    def _begin(self, planned: _Planned, *, again: bool) -> None:
        assert self.shard is not None
        job = Roll(self.shard, planned.increments, again=again)
        planned.job = job
        self.jobs.submit(job)

    def _let_go_of_others(self, names: Collection[str]) -> None:
        """Of what was written after the snapshot that is gone on from."""
        assert self.shard is not None
        left = set(self.pending.of_shard(self.shard)) - set(names)
        if left:
            self._gone.append((self._snapshots, sorted(left)))

    def _let_go(self, increments: Increments) -> None:
        assert self.shard is not None
        self._gone.append((self._snapshots, increments.names(self.shard)))


def _without(batch: Accepted, field: str, person: str) -> Accepted | None:
    others = batch.frame[field].ne_missing(person)
    if others.all():
        return batch
    if not others.any():
        return None
    return replace(batch, frame=batch.frame.filter(others), time_ms=batch.time_ms[others.to_numpy()])
