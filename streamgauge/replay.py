"""`streamgauge replay`: event files into the catalog's streams, at a chosen pace."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import valkey
from valkey.exceptions import OutOfMemoryError, ValkeyError

from stream.batches import RawBatch
from stream.catalog import Catalog
from stream.decode import Decoder
from stream.entries import Fields
from stream.plan import compile_plan
from stream.walltime import clock_ms
from streamgauge.files import EventFile
from streamgauge.progress import progress_bar

_BATCH = 1_000
_SMALLEST_BATCH = 20
_FULL_WAIT_S = 1.0


class Pace:
    """How long to wait before the next batch. Sans I/O: `now_s` is passed in."""

    def __init__(self, *, rate: float | None, speed: float | None) -> None:
        self.rate = rate
        self.speed = speed
        self._started_s: float | None = None
        self._sent = 0
        self._first_event_ms: int | None = None

    def wait_s(self, now_s: float, events: int, event_ms: int | None) -> float:
        """Seconds to wait before `events` more may go, the first of which happened at `event_ms`."""
        if self._started_s is None:
            self._started_s = now_s
        due_s = now_s
        if self.rate is not None:
            due_s = self._started_s + self._sent / self.rate
        elif self.speed is not None and event_ms is not None:
            if self._first_event_ms is None:
                self._first_event_ms = event_ms
            # Events that are out of order are due at once; time never runs back.
            due_s = self._started_s + (event_ms - self._first_event_ms) / 1_000 / self.speed
        self._sent += events
        return max(0.0, due_s - now_s)


def replay(
    catalog: Catalog,
    paths: list[Path],
    client: valkey.Valkey,
    pace: Pace,
    *,
    stopped: Callable[[float], bool],
    quiet: bool = False,
) -> int:
    """Add every event of the files to the catalog's streams in turn. Returns how many were added.

    `stopped(s)` waits up to s seconds and says whether to end. Waits and goes on while the server is full; raises
    ValkeyError when it is away.
    """
    streams = catalog.platform.streams
    # Pacing by event time reads each event's time; by rate, small batches keep the flow even.
    decoder = Decoder(compile_plan(catalog)) if pace.speed is not None else None
    size = _BATCH if pace.rate is None else int(min(_BATCH, max(_SMALLEST_BATCH, pace.rate / 10)))
    if decoder is not None:
        size = _SMALLEST_BATCH
    sent = 0
    with progress_bar(quiet) as bar:
        for path in paths:
            with EventFile(path) as file:
                for batch in _batches(file, size):
                    event_ms = _first_time(decoder, batch)
                    if stopped(pace.wait_s(time.monotonic(), len(batch), event_ms)):
                        return sent
                    # A batch stays together, so that events of one moment meet in one stream.
                    added = _add(client, streams[(sent // size) % len(streams)], batch, stopped)
                    sent += added
                    if added < len(batch):
                        return sent
                    bar.advance(len(batch), file.done_bytes, file.size_bytes)
                bar.advance(0, file.size_bytes, file.size_bytes)
    return sent


def _batches(file: EventFile, size: int) -> Iterator[list[Fields]]:
    batch: list[Fields] = []
    for fields in file:
        batch.append(fields)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _first_time(decoder: Decoder | None, batch: list[Fields]) -> int | None:
    if decoder is None:
        return None
    now_ms = clock_ms()
    decoded = decoder.decode(RawBatch("", [(b"%d-0" % now_ms, fields) for fields in batch], False, now_ms), now_ms)
    return int(decoded.time_ms.min()) if len(decoded.time_ms) else None


def _add(client: valkey.Valkey, stream: str, batch: list[Fields], stopped: Callable[[float], bool]) -> int:
    """Add a batch. Returns how many were added: fewer when asked to stop while the server was full."""
    size = len(batch)
    while True:
        pipe = client.pipeline(transaction=False)
        for fields in batch:
            pipe.execute_command("XADD", stream, "*", *fields)
        answers = pipe.execute(raise_on_error=False)
        left = [fields for fields, answer in zip(batch, answers, strict=True) if isinstance(answer, OutOfMemoryError)]
        for answer in answers:
            if isinstance(answer, ValkeyError) and not isinstance(answer, OutOfMemoryError):
                raise answer
        if not left:
            return size
        # Producers back off when the server is full; what was taken is not sent again.
        batch = left
        if stopped(_FULL_WAIT_S):
            return size - len(left)
