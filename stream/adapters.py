"""Our pure classes in the engine's operators and sinks. Nothing is decided here.

The engine ends the whole dataflow on any exception, and in a cluster hides which: so what may raise is caught here, or
by the writers (`stream.writers`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import wraps
from typing import ParamSpec, Protocol, TypeVar

from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import DynamicSink, StatelessSinkPartition

from sinks.alert_records import Command
from sinks.errors import SinkError
from sinks.records import DeadLetter, Point, Reason
from sinks.score_records import ModelStatus
from stream.alerts import Alerts, Outcome, ScoredBatch
from stream.batches import (
    Accepted,
    Closed,
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
from stream.decode import Decoder
from stream.ending import Ending
from stream.entries import Fields, flat_bytes
from stream.merge import Merge
from stream.meters import Meters
from stream.panes import noticed
from stream.shard import Shard
from stream.snapshots import StateError

logger = logging.getLogger(__name__)

_BEHIND_TICK_MS = 500

X = TypeVar("X")
X_co = TypeVar("X_co", covariant=True)
P = ParamSpec("P")
Clock = Callable[[], int]
FromShard = Partials | DeadLetter | Lines | PersonDays | Forgotten | Accepted
FromChurn = Emission | Scores | ModelStatus | Forgotten


def said(method: Callable[P, X]) -> Callable[P, X]:
    """Log what a method raises: in a cluster the engine says no more than that another member is gone."""

    @wraps(method)
    def logged(*arguments: P.args, **named: P.kwargs) -> X:
        try:
            return method(*arguments, **named)
        except StateError:
            raise  # is told by whoever started the run
        except Exception:
            logger.exception("%s", method.__qualname__, extra={"event": "step_failed"})
            raise

    return logged


def decode_safely(decoder: Decoder, batch: RawBatch, now_ms: int, failed: Callable[[], None] = lambda: None) -> Decoded:
    """Decode a batch; if that should ever raise, call `failed` and refuse the entries that make it.

    An exception here would end the dataflow, and the same entry would end it again after every restart.
    """
    try:
        return decoder.decode(batch, now_ms)
    except Exception:
        failed()
        logger.exception("%s: a batch could not be decoded; looking for the entry", batch.stream)
    good: list[tuple[bytes, Fields]] = []
    refused: list[DeadLetter] = []
    for entry_id, fields in batch.entries:
        try:
            decoder.decode(replace(batch, entries=[(entry_id, fields)]), now_ms)
            good.append((entry_id, fields))
        except Exception as error:
            message = f"could not be decoded: {error!r}"
            letter = DeadLetter(batch.stream, entry_id.decode(), 0, Reason.MALFORMED, message, flat_bytes(fields))
            refused.append(letter)
    decoded = decoder.decode(replace(batch, entries=good), now_ms)
    return replace(decoded, rejects=[*decoded.rejects, *refused])


class ShardLogic(StatefulBatchLogic["ShardBatch | Tombstone", "FromShard", bytes]):
    """A Shard on the engine: ticks at once after a quiet spell, and at most every `tick_ms`, less often in a backlog.

    The engine does not tell a logic its key, so the shard is made when its first batch says which one it is; a
    snapshot waits unread until then.
    """

    def __init__(
        self,
        make: Callable[[int], Shard],
        snapshot: bytes | None,
        ending: Ending,
        *,
        tick_ms: int,
        clock: Clock,
        meters: Meters,
    ) -> None:
        self._make = make
        self._meters = meters
        self._ending = ending
        self._shard: Shard | None = None
        self._number = 0
        self._snapshot = snapshot
        self._tick_ms = tick_ms
        self._clock = clock
        self._ticked_ms = 0
        self._caught_up = True
        self._pending = False

    @said
    def on_batch(self, values: list[ShardBatch | Tombstone]) -> tuple[Iterable[FromShard], bool]:
        if self._shard is None:
            self._number = values[0].shard
            self._shard = self._make(self._number)
            if self._snapshot is not None:
                restored(self._ending, self._shard.restore, self._snapshot, noticed)
        out: list[FromShard] = []
        shard, late, duplicates = self._shard, self._shard.late, self._shard.duplicates
        suppressed, too_late = self._shard.suppressed, 0
        for value in values:
            if isinstance(value, Tombstone):
                out.append(shard.forget(value))
                continue
            letters = shard.add(value)
            if (accepted := shard.accepted()) is not None:
                out.append(accepted)
            too_late += len(letters)
            out.extend(letters)
            self._caught_up = value.caught_up
        self._meters.counted(
            self._number,
            shard.watermark_ms,
            late=shard.late - late,
            too_late=too_late,
            duplicates=shard.duplicates - duplicates,
            suppressed=shard.suppressed - suppressed,
        )
        self._pending = True
        out.extend(self._tick())
        return out, StatefulBatchLogic.RETAIN

    @said
    def on_notify(self) -> tuple[Iterable[FromShard], bool]:
        return self._tick(), StatefulBatchLogic.RETAIN

    def on_eof(self) -> tuple[Iterable[FromShard], bool]:
        # Streams do not end; the engine says so also when it stops, and then windows must stay as they are.
        return (), StatefulBatchLogic.RETAIN

    def notify_at(self) -> datetime | None:
        return datetime.fromtimestamp(self._due_ms / 1_000, UTC) if self._pending else None

    @said
    def snapshot(self) -> bytes:
        if self._shard is None:
            return self._snapshot or b""
        return self._meters.snapshot("shard", str(self._number), self._shard.to_bytes)

    @property
    def _due_ms(self) -> int:
        # Nobody waits for each tenth of a second of what is long past, and every tick has its price.
        if not self._caught_up:
            return self._ticked_ms + max(self._tick_ms, _BEHIND_TICK_MS)
        # Batches come each tick, some a little early: those are not to wait for the next.
        return self._ticked_ms + self._tick_ms * 3 // 4

    def _tick(self) -> Sequence[FromShard]:
        now_ms = self._clock()
        if self._shard is None or not self._pending or now_ms < self._due_ms:
            return []
        self._pending = False
        self._ticked_ms = now_ms
        told: list[FromShard] = [*self._shard.tick()]
        if lines := self._shard.lines():
            told.append(Lines(lines))
        if (days := self._shard.days()) is not None:
            told.append(days)
        return told


class MergeLogic(StatefulBatchLogic[Partials, Emission, bytes]):
    """A Merge on the engine: emits as soon as a shard has spoken. Made, like a shard, by its first item."""

    def __init__(
        self,
        make: Callable[[str], Merge],
        snapshot: bytes | None,
        ending: Ending,
        clock: Clock,
        meters: Meters,
        watched: Collection[str] = (),
    ) -> None:
        """`watched`: cubes of which it is told each second how far they have come, also when nothing happened there."""
        self._watched = watched
        self._told_s: int | None = None
        self._make = make
        self._meters = meters
        self._cube = ""
        self._ending = ending
        self._merge: Merge | None = None
        self._snapshot = snapshot
        self._clock = clock

    @said
    def on_batch(self, values: list[Partials]) -> tuple[Iterable[Emission], bool]:
        if self._merge is None:
            self._cube = values[0].cube
            self._merge = self._make(self._cube)
            if self._snapshot is not None:
                restored(self._ending, self._merge.restore, self._snapshot)
        for partials in values:
            self._merge.add(partials)
        return self._emit()

    @said
    def on_notify(self) -> tuple[Iterable[Emission], bool]:
        return self._emit()

    def on_eof(self) -> tuple[Iterable[Emission], bool]:
        return (), StatefulBatchLogic.RETAIN

    def notify_at(self) -> datetime | None:
        due_ms = None if self._merge is None else self._merge.next_offer_ms
        return None if due_ms is None else datetime.fromtimestamp(due_ms / 1_000, UTC)

    @said
    def snapshot(self) -> bytes:
        if self._merge is None:
            return self._snapshot or b""
        return self._meters.snapshot("merge", self._cube, self._merge.to_bytes)

    def _emit(self) -> tuple[Iterable[Emission], bool]:
        if self._merge is None:
            return (), StatefulBatchLogic.RETAIN
        emission = self._merge.emit(self._clock())
        watermark_s = emission.watermark_ms // 1_000
        news = self._cube in self._watched and watermark_s != self._told_s
        self._told_s = watermark_s
        return (
            [emission] if emission.live or emission.durable or emission.rolled_back or news else ()
        ), StatefulBatchLogic.RETAIN


class _OfWindows(Protocol[X_co]):
    def take(self, points: Iterable[Point], watermark_ms: int, until_ms: int | None) -> X_co: ...

    def to_bytes(self) -> bytes: ...

    def restore(self, snapshot: bytes) -> None: ...


class WindowsLogic(StatefulBatchLogic[Closed, X, bytes]):
    """What is made of windows that closed, on the engine: a Scorer, or Forecasts. Made, like a shard, by its first
    item."""

    def __init__(
        self, name: str, make: Callable[[str], _OfWindows[X]], snapshot: bytes | None, ending: Ending, meters: Meters
    ) -> None:
        """`name`: of the part, in the meters of snapshots."""
        self._name = name
        self._make = make
        self._meters = meters
        self._ending = ending
        self._cube = ""
        self._stage: _OfWindows[X] | None = None
        self._snapshot = snapshot

    @said
    def on_batch(self, values: list[Closed]) -> tuple[Iterable[X], bool]:
        if self._stage is None:
            self._cube = values[0].cube
            self._stage = self._make(self._cube)
            if self._snapshot:
                restored(self._ending, self._stage.restore, self._snapshot)
        return [
            self._stage.take(value.points, value.watermark_ms, value.until_ms) for value in values
        ], StatefulBatchLogic.RETAIN

    def on_eof(self) -> tuple[Iterable[X], bool]:
        return (), StatefulBatchLogic.RETAIN

    @said
    def snapshot(self) -> bytes:
        if self._stage is None:
            return self._snapshot or b""
        return self._meters.snapshot(self._name, self._cube, self._stage.to_bytes)


class ChurnLogic(StatefulBatchLogic["PersonDays | Forgotten", "FromChurn", bytes]):
    """A ChurnStage on the engine: one for all of it."""

    def __init__(
        self,
        make: Callable[[], ChurnStage],
        snapshot: bytes | None,
        ending: Ending,
        clock: Clock,
        meters: Meters,
    ) -> None:
        self._meters = meters
        self._clock = clock
        self._stage = make()
        if snapshot:
            restored(ending, self._stage.restore, snapshot)

    @said
    def on_batch(self, values: list[PersonDays | Forgotten]) -> tuple[Iterable[FromChurn], bool]:
        out: list[FromChurn] = []
        for value in values:
            if isinstance(value, Forgotten):
                self._stage.forget(value.person)
                # Behind all that was said of them, so that none of it is written after they are forgotten.
                out.append(value)
            else:
                self._stage.add(value)
                for day in self._stage.advance():
                    out.extend((day.emission, *day.scores, day.status))
        out.append(self._stage.progress())
        return out, StatefulBatchLogic.RETAIN

    def on_notify(self) -> tuple[Iterable[FromChurn], bool]:
        return (), StatefulBatchLogic.RETAIN

    def on_eof(self) -> tuple[Iterable[FromChurn], bool]:
        return (), StatefulBatchLogic.RETAIN

    def notify_at(self) -> datetime | None:
        # Days are long: files that are needed no more would wait for them, with people who are forgotten.
        return datetime.fromtimestamp(self._clock() / 1_000 + 1, UTC) if self._stage.has_old_files else None

    @said
    def snapshot(self) -> bytes:
        return self._meters.snapshot("churn", "0", self._stage.to_bytes)


class FormerChurnLogic(StatefulBatchLogic[Forgotten, "Scores | Forgotten", bytes]):
    """On the engine, in the place of a ChurnStage, for catalogs that have no `[churn]`."""

    def __init__(self, former: FormerChurn, snapshot: bytes | None, ending: Ending, clock: Clock) -> None:
        self._clock = clock
        self._former = former
        if snapshot:
            restored(ending, former.restore, snapshot)

    @said
    def on_batch(self, values: list[Forgotten]) -> tuple[Iterable[Scores | Forgotten], bool]:
        return [*self._told(), *values], StatefulBatchLogic.RETAIN

    @said
    def on_notify(self) -> tuple[Iterable[Scores | Forgotten], bool]:
        return self._told(), StatefulBatchLogic.RETAIN

    def on_eof(self) -> tuple[Iterable[Scores | Forgotten], bool]:
        return (), StatefulBatchLogic.RETAIN

    def notify_at(self) -> datetime | None:
        return None if self._former.is_done else datetime.fromtimestamp(self._clock() / 1_000 + 1, UTC)

    @said
    def snapshot(self) -> bytes:
        return self._former.to_bytes()

    def _told(self) -> list[Scores | Forgotten]:
        told = self._former.tell()
        return [] if told is None else [told]


class AlertLogic(StatefulBatchLogic["ScoredBatch | list[Command]", Outcome, bytes]):
    """The Alerts on the engine: one for all of it."""

    def __init__(
        self, make: Callable[[], Alerts], snapshot: bytes | None, ending: Ending, clock: Clock, meters: Meters
    ) -> None:
        self._meters = meters
        self._clock = clock
        self._alerts = make()
        if snapshot:
            restored(ending, self._alerts.restore, snapshot)

    @said
    def on_batch(self, values: list[ScoredBatch | list[Command]]) -> tuple[Iterable[Outcome], bool]:
        for value in values:
            if isinstance(value, ScoredBatch):
                self._alerts.add(value)
            else:
                for command in value:
                    self._alerts.command(command)
        return self._advance()

    @said
    def on_notify(self) -> tuple[Iterable[Outcome], bool]:
        return self._advance()

    def on_eof(self) -> tuple[Iterable[Outcome], bool]:
        return (), StatefulBatchLogic.RETAIN

    def notify_at(self) -> datetime:
        return datetime.fromtimestamp(self._alerts.next_ms / 1_000, UTC)

    @said
    def snapshot(self) -> bytes:
        return self._meters.snapshot("alerts", "0", self._alerts.to_bytes)

    def _advance(self) -> tuple[Iterable[Outcome], bool]:
        outcome = self._alerts.advance(self._clock())
        return ([outcome] if outcome else ()), StatefulBatchLogic.RETAIN


class EndingLogic(StatefulBatchLogic[int, "int", bytes]):
    """Where a worker hears that the run is to end."""

    def __init__(self, ending: Ending) -> None:
        self._ending = ending

    @said
    def on_batch(self, values: list[int]) -> tuple[Iterable[int], bool]:
        self._ending.tell(min(values))
        return (), StatefulBatchLogic.DISCARD

    def on_eof(self) -> tuple[Iterable[int], bool]:
        return (), StatefulBatchLogic.RETAIN

    @said
    def snapshot(self) -> bytes:
        return b""


def restored(ending: Ending, restore: Callable[..., None], *arguments: object) -> None:
    try:
        restore(*arguments)
    except ValueError as error:
        raise ending.fail(error if isinstance(error, StateError) else StateError(str(error))) from error


class _Writer(StatelessSinkPartition[X]):
    def __init__(self, write: Callable[[list[X]], None], ending: Ending) -> None:
        self._write = write
        self._ending = ending

    def write_batch(self, items: list[X]) -> None:
        try:
            self._write(items)
        except SinkError as error:
            raise self._ending.fail(error) from None


class CallSink(DynamicSink[X]):
    """A sink made of one function, which must not return before everything is written."""

    def __init__(self, write: Callable[[list[X]], None], ending: Ending) -> None:
        self._write = write
        self._ending = ending

    def build(self, step_id: str, worker_index: int, worker_count: int) -> _Writer[X]:
        return _Writer(self._write, self._ending)
