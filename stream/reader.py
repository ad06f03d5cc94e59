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
from queue import Empty, Full, Queue
from typing import Any

import valkey
from valkey.exceptions import ResponseError, ValkeyError

from stream.batches import RawBatch

logger = logging.getLogger(__name__)

BEGINNING = "0-0"
_COUNT = 2_000
_BLOCK_MS = 1_000
_GATHER_S = 0.03
"""Rest after a read that reached the end: many small batches cost far more than few larger ones."""
_QUEUED_BATCHES = 4
_RECENT = 10_000
_REPORT_EVERY_MS = 1_000
_TRIM_EVERY_S = 5.0
_FIRST_BACKOFF_S, _LONGEST_BACKOFF_S = 0.1, 5.0

ClientFactory = Callable[[float], valkey.Valkey]
"""Makes a client that waits at most so many seconds for an answer."""


class StreamReader:
    """Reads `stream` from behind `offset` on, reconnecting for ever and never losing its place.

    An empty batch is queued each second without entries, so that whoever reads the queue knows that the end was
    reached, or, when nothing comes at all, that it is not known.
    """

    def __init__(
        self, connect: ClientFactory, stream: str, offset: str, *, clock: Callable[[], int], trim: bool = False
    ) -> None:
        self._connect = connect
        self._stream = stream
        self._offset = offset
        self._clock = clock
        self._trim = trim
        self._trim_below: str | None = None
        self._trimmed_at_s = 0.0
        self._reported_at_ms = 0
        self._recent: deque[bytes] = deque(maxlen=_RECENT)
        """Ids of the last entries read: what tells a server that lost some from a stream that was made anew."""
        self._stopped = threading.Event()
        self._queue: Queue[RawBatch] = Queue(_QUEUED_BATCHES)
        self._thread = threading.Thread(target=self._run, name=f"read {stream}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def take(self) -> RawBatch | None:
        """The next batch, or None when there is none yet. Never waits."""
        try:
            return self._queue.get_nowait()
        except Empty:
            return None

    def stop(self) -> None:
        """Ask the thread to end; it does within the second that a read may wait."""
        self._stopped.set()

    def committed(self, offset: str) -> None:
        """Everything up to `offset` is in a snapshot that survives a crash."""
        self._trim_below = offset

    def _run(self) -> None:
        backoff_s = _FIRST_BACKOFF_S
        while not self._stopped.is_set():
            try:
                client = self._connect(_BLOCK_MS / 1_000 + 5)
                self._check_offset(client)
                while not self._stopped.is_set():
                    self._read(client)
                    backoff_s = _FIRST_BACKOFF_S
            except ValkeyError as error:
                if isinstance(error, ResponseError) and "WRONGTYPE" in str(error):
                    logger.error("%s is not a stream; waiting until it is one", self._stream)
                wait_s = random.uniform(0, backoff_s)
                backoff_s = min(_LONGEST_BACKOFF_S, backoff_s * 2)
                logger.warning("reading %s failed, trying again in %.1f s: %s", self._stream, wait_s, error)
                self._stopped.wait(wait_s)

    def _check_offset(self, client: valkey.Valkey) -> None:
        """A recreated stream answers an old offset with nothing, for ever: its events are read from its beginning."""
        try:
            info: Any = client.xinfo_stream(self._stream)
        except ResponseError as error:
            if "no such key" in str(error):
                if self._offset != BEGINNING:
                    logger.error("%s is gone; its next events are read from the beginning", self._stream)
                    self._offset = BEGINNING
                return
            raise
        last = _text(info["last-generated-id"])
        if _order(last) >= _order(self._offset):
            return
        if last.encode() in self._recent:
            # A server that lost its latest writes, in a failover or a crash, and not a new stream.
            logger.error("%s lost its entries after %s; reading on from there", self._stream, last)
            self._offset = last
        else:
            logger.error("%s was recreated (its last id is %s): reading from its beginning", self._stream, last)
            self._offset = BEGINNING

    def _read(self, client: valkey.Valkey) -> None:
        reply: Any = client.execute_command(
            "XREAD", "COUNT", _COUNT, "BLOCK", _BLOCK_MS, "STREAMS", self._stream, self._offset
        )
        entries = reply[0][1] if reply else []
        if not entries:
            # Nothing in a whole second: perhaps nothing came, perhaps the stream was made anew.
            self._check_offset(client)
        now_ms = self._clock()
        report = now_ms - self._reported_at_ms >= _REPORT_EVERY_MS
        if report:
            self._reported_at_ms = now_ms
        caught_up = len(entries) < _COUNT
        batch = RawBatch(self._stream, [(id_, fields) for id_, fields in entries], caught_up, now_ms, report)
        if not self._put(batch):
            return
        if entries:
            self._offset = _text(entries[-1][0])
            self._recent.extend(entry_id for entry_id, _ in entries)
            if caught_up:
                self._stopped.wait(_GATHER_S)
        if self._trim and self._trim_below and time.monotonic() - self._trimmed_at_s >= _TRIM_EVERY_S:
            self._trimmed_at_s = time.monotonic()
            client.execute_command("XTRIM", self._stream, "MINID", "~", self._trim_below)

    def _put(self, batch: RawBatch) -> bool:
        while not self._stopped.is_set():
            try:
                self._queue.put(batch, timeout=0.5)
                return True
            except Full:
                continue
        return False


def client_factory(url: str) -> ClientFactory:
    """Clients for `StreamReader`: bytes as they come, replies of XREAD as nested lists."""

    def connect(timeout_s: float) -> valkey.Valkey:
        client = valkey.Valkey.from_url(url, socket_timeout=timeout_s, socket_connect_timeout=5)
        # The library's own parsing of XREAD makes dicts, which loses repeated field names and half the speed.
        client.set_response_callback("XREAD", lambda reply, **_: reply)
        return client

    return connect


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _order(entry_id: str) -> tuple[int, int]:
    time_ms, _, number = entry_id.partition("-")
    return int(time_ms), int(number or 0)
