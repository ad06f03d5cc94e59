"""The archive's part on the engine. Nothing is decided here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from bytewax.operators import StatefulBatchLogic

from sinks.errors import SinkError
from stream.adapters import Clock, restored, said
from stream.archiving import Archiving
from stream.batches import Accepted, Forgotten, Lines
from stream.ending import Ending
from stream.meters import Meters

ToArchive = Accepted | Lines | Forgotten
FromArchive = Lines | Forgotten


class ArchiveLogic(StatefulBatchLogic["ToArchive", "FromArchive", bytes]):
    """An Archiving on the engine: takes what a shard has counted, and hands on the rest.

    Who is forgotten is handed on once nothing that waits here has them, behind all that was said of them before.
    """

    def __init__(
        self, make: Callable[[], Archiving], snapshot: bytes | None, ending: Ending, clock: Clock, meters: Meters
    ) -> None:
        self._archiving = make()
        self._ending = ending
        self._clock = clock
        self._meters = meters
        self._wake_s = min(1.0, self._archiving.roll_ms / 60_000)
        if snapshot:
            restored(ending, self._archiving.restore, snapshot)

    @said
    def on_batch(self, values: list[ToArchive]) -> tuple[Iterable[FromArchive], bool]:
        out: list[FromArchive] = []
        for value in values:
            if isinstance(value, Accepted):
                self._archiving.add(value, self._clock())
            elif isinstance(value, Forgotten):
                self._archiving.forget(value)
            else:
                out.append(value)
        return [*out, *self._done()], StatefulBatchLogic.RETAIN

    @said
    def on_notify(self) -> tuple[Iterable[FromArchive], bool]:
        return self._done(), StatefulBatchLogic.RETAIN

    def on_eof(self) -> tuple[Iterable[FromArchive], bool]:
        return (), StatefulBatchLogic.RETAIN

    def notify_at(self) -> datetime | None:
        # A snapshot is taken only of those that had work.
        return datetime.fromtimestamp(self._clock() / 1_000 + self._wake_s, UTC) if self._archiving.is_busy else None

    @said
    def snapshot(self) -> bytes:
        try:
            taken = self._meters.snapshot("archive", str(self._archiving.shard), self._take)
        except SinkError as error:
            raise self._ending.fail(error) from None
        return taken

    def _take(self) -> bytes:
        return self._archiving.to_bytes(self._clock())

    def _done(self) -> list[Forgotten]:
        if self._archiving.failure is not None:
            raise self._ending.fail(self._archiving.failure)
        waiting = self._archiving.waiting
        if self._archiving.shard is not None:
            self._meters.waits(self._archiving.shard, waiting.rows, waiting.size_bytes, waiting.since_ms)
        return self._archiving.forgotten_by_now()
