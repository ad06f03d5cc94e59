"""Reading one Valkey stream in a thread of its own, with its own offset.

The thread waits on the socket so that the worker never does; between them is a short queue, so a worker that falls
behind stops the reading instead of filling the memory.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from queue import Empty, Full, Queue
from typing import cast

import valkey
from valkey.exceptions import ResponseError, ValkeyError

from stream.batches import RawBatch
from stream.continuity import Found, GapError, OnGap, StreamInfo, Verdict, describe, judge, settle
from stream.entries import Fields
from stream.monitor import MonitoringGroup
from stream.position import BEGINNING, Position

logger = logging.getLogger(__name__)

_COUNT = 2_000
_BLOCK_MS = 1_000
GATHER_MS = 100
"""Rest after a read that reached the end, to the next multiple of it: many small batches cost far more than few larger
ones, and as all readers go on at the same moments, one tick serves what they bring."""
_QUEUED_BATCHES = 8
_RECENT = 10_000
_REPORT_EVERY_MS = 1_000
_TRIM_EVERY_S = 5.0
_PAUSED_S = 0.02
_FIRST_BACKOFF_S, _LONGEST_BACKOFF_S = 0.1, 5.0

ClientFactory = Callable[[float], valkey.Valkey]
"""Makes a client that waits at most so many seconds for an answer."""


class StreamReader:
    """Reads `stream` from behind `position` on, reconnecting for ever and never losing its place.

    An empty batch is queued each second without entries, so that whoever reads the queue knows that the end was
    reached, or, when nothing comes at all, that it is not known. Entries that are gone before they were read are
    counted in the position of the next batch, and `on_gap` says where to go on. `group` is the monitoring group.
    """

    def __init__(
        self,
        connect: ClientFactory,
        stream: str,
        position: Position,
        *,
        clock: Callable[[], int],
        trim: bool = False,
        on_gap: OnGap = OnGap.EARLIEST,
        group: str | None = None,
        failed: Callable[[], None] = lambda: None,
        gather_ms: int = GATHER_MS,
    ) -> None:
        """`failed` is called, in the reader's thread, for each error that it tries again after."""
        self._failed = failed
        self._gather_ms = gather_ms
        self._connect = connect
        self._stream = stream
        self._position = position
        self._clock = clock
        self._on_gap = on_gap
        self._trim = trim
        self._group = MonitoringGroup(stream, group) if group is not None else None
        self._committed: Position | None = None
        self._told = threading.Event()
        self._trimmed_at_s = 0.0
        self._reported_at_ms = 0
        self._recent: deque[bytes] = deque(maxlen=_RECENT)
        """Ids of the last entries read: what tells a server that lost some from a stream that was made anew."""
        self._failure: GapError | None = None
        self._paused = threading.Event()
        self._stopped = threading.Event()
        self._queue: Queue[RawBatch] = Queue(_QUEUED_BATCHES)
        self._thread = threading.Thread(target=self._run, name=f"read {stream}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def take(self) -> RawBatch | None:
        """All that was read since, as one batch, or None when there is nothing. Never waits.

        Raises GapError behind the last batch before a gap, when that is the policy.
        """
        failure = self._failure
        batches: list[RawBatch] = []
        with suppress(Empty):
            while len(batches) < _QUEUED_BATCHES:
                batches.append(self._queue.get_nowait())
        if batches:
            return joined(batches)
        if failure is not None:
            raise failure
        return None

    def queued(self) -> int:
        """Batches that wait to be taken."""
        return self._queue.qsize()

    def pause(self) -> None:
        """Read no more, but go on with what follows a commit."""
        self._paused.set()

    def stop(self) -> None:
        """Ask the thread to end; it does within the second that a read may wait."""
        self._stopped.set()

    def committed(self, position: Position) -> None:
        """Everything up to `position` is in a snapshot that survives a crash."""
        self._told.clear()
        self._committed = position

    def told(self, within_s: float) -> bool:
        """Wait until the monitoring group shows what was committed last."""
        return self._told.wait(within_s)

    def _run(self) -> None:
        backoff_s = _FIRST_BACKOFF_S
        while not self._stopped.is_set():
            try:
                client = self._connect(_BLOCK_MS / 1_000 + 5)
                # What happened while there was no connection must not wait for the first entry.
                if not self._paused.is_set():
                    self._read(client, block=False)
                while not self._stopped.is_set():
                    if self._paused.is_set():
                        self._stopped.wait(_PAUSED_S)
                    else:
                        self._read(client)
                    self._follow_commit(client)
                    backoff_s = _FIRST_BACKOFF_S
            except GapError as error:
                self._failure = error
                return
            except ValkeyError as error:
                if isinstance(error, ResponseError) and "WRONGTYPE" in str(error):
                    logger.error("%s is not a stream; waiting until it is one", self._stream)
                self._failed()
                wait_s = random.uniform(0, backoff_s)
                backoff_s = min(_LONGEST_BACKOFF_S, backoff_s * 2)
                logger.warning("reading %s failed, trying again in %.1f s: %s", self._stream, wait_s, error)
                self._stopped.wait(wait_s)

    def _read(self, client: valkey.Valkey, *, block: bool = True) -> None:
        entries, info = self._ask(client, block)
        ids = [entry_id for entry_id, _ in entries]
        found = judge(self._position, ids, info, self._was_read)
        verdict = settle(found, info, self._on_gap)
        self._tell(verdict)
        position = verdict.after
        if verdict.is_gap and self._on_gap is OnGap.LATEST:
            entries, ids = [], []
        now_ms = self._clock()
        report = verdict.is_gap or now_ms - self._reported_at_ms >= _REPORT_EVERY_MS
        if report:
            self._reported_at_ms = now_ms
            position = position.marked()
        caught_up = len(entries) < _COUNT and (not verdict.is_gap or info is None or position.id == info.last)
        lag = info.added - position.read if info and info.added is not None and position.read is not None else None
        if not self._put(RawBatch(self._stream, entries, caught_up, now_ms, report, position, lag)):
            return
        self._position = position
        if verdict.found is Found.RECREATED:
            self._recent.clear()
        self._recent.extend(ids)
        if entries and caught_up:
            self._stopped.wait((self._gather_ms - self._clock() % self._gather_ms) / 1_000)

    def _was_read(self, entry_id: str) -> bool:
        return entry_id.encode() in self._recent

    def _tell(self, verdict: Verdict) -> None:
        """Log what was found. Raises GapError when it is a gap, and the policy is to end."""
        if verdict.found is Found.CONTINUES:
            return
        text = f"{self._stream} {describe(verdict)}"
        if verdict.found is Found.BEGINS:
            logger.info("%s", text, extra={"event": "stream_begun"})
        elif verdict.is_gap and self._on_gap is OnGap.ERROR:
            raise GapError(text)
        elif verdict.is_gap and self._on_gap is OnGap.LATEST:
            logger.error("%s; skipping to its end, %s", text, verdict.after.id)
        else:
            logger.error("%s", text, extra={"event": "stream_gap"})

    def _ask(self, client: valkey.Valkey, block: bool) -> tuple[list[tuple[bytes, Fields]], StreamInfo | None]:
        """The next entries, and what the server says of the stream after it gave them; None when there is none."""
        pipe = client.pipeline(transaction=False)
        wait = ("BLOCK", _BLOCK_MS) if block else ()
        pipe.execute_command("XREAD", "COUNT", _COUNT, *wait, "STREAMS", self._stream, self._position.id)
        pipe.execute_command("XINFO STREAM", self._stream)
        reply, about = pipe.execute(raise_on_error=False)
        if isinstance(reply, Exception):
            raise reply
        # Lists of two where the type says tuples: to make them would take a tenth of the reading.
        entries = cast(list[tuple[bytes, Fields]], reply[0][1]) if reply else []
        if isinstance(about, Exception):
            if "no such key" in str(about):
                return entries, None
            raise about
        return entries, StreamInfo.of(about)

    def _follow_commit(self, client: valkey.Valkey) -> None:
        """What may be done once a snapshot is safe: show it, and trim what is below it."""
        committed = self._committed
        if committed is None:
            return
        if not self._told.is_set():
            if self._group is not None:
                self._group.move(client, committed)
            if committed is self._committed:
                self._told.set()
        if self._trim and committed.id != BEGINNING and time.monotonic() - self._trimmed_at_s >= _TRIM_EVERY_S:
            self._trimmed_at_s = time.monotonic()
            client.execute_command("XTRIM", self._stream, "MINID", "~", committed.id)

    def _put(self, batch: RawBatch) -> bool:
        while not self._stopped.is_set() and not self._paused.is_set():
            try:
                self._queue.put(batch, timeout=0.5)
                return True
            except Full:
                continue
        return False


def joined(batches: list[RawBatch]) -> RawBatch:
    """Batches of one stream, read one behind the other, as one: larger ones cost less for each event."""
    if len(batches) == 1:
        return batches[0]
    entries = [entry for batch in batches for entry in batch.entries]
    return replace(batches[-1], entries=entries, report=any(batch.report for batch in batches))


def client_factory(url: str) -> ClientFactory:
    """Clients for `StreamReader`: bytes as they come, replies of XREAD and XINFO STREAM as nested lists."""

    def connect(timeout_s: float) -> valkey.Valkey:
        client = valkey.Valkey.from_url(url, socket_timeout=timeout_s, socket_connect_timeout=5)
        # The library's own parsing of XREAD makes dicts, which loses repeated field names and half the speed.
        client.set_response_callback("XREAD", lambda reply, **_: reply)
        client.set_response_callback("XINFO STREAM", lambda reply, **_: reply)
        return client

    return connect
