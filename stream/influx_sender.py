"""The thread that sends what waits for InfluxDB. No engine here."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence

from sinks.errors import Misconfigured, Rejected, Retryable
from sinks.influx import BATCH_LINES, InfluxSink
from sinks.influx_tiers import Tier
from sinks.line_protocol import last_of_each
from sinks.records import DeadLetter, Reason
from sinks.spool import Spool
from sinks.spool_places import Places
from sinks.spool_segment import Record
from stream.meters import Meters

logger = logging.getLogger(__name__)

STAGE = "influx"
_ENOUGH_LINES = 1_000
_LONGEST_WAIT_S = 1.0
_LONGEST_BACKOFF_S, _LONGEST_ASKED_S = 15.0, 300.0
_SAY_EVERY_S = 60.0
_LOOK_EVERY_S = 0.5


class Sender:
    """Sends what is in a spool, in its order, 1,000 to 5,000 lines at a time or what there is after a second.

    *Guarantee*: a record is marked as sent after InfluxDB has taken its lines, or they are dead letters; so each is
    sent at least once, and never behind one that was added later. *Failure*: while InfluxDB is away or busy it tries
    again without end, after what that asks for (5 minutes at the most) or with full jitter up to 15 s; what can never
    work is given to `stop`, and it ends with everything still in the spool. *Cost*: a thread; some 8 µs a line.
    """

    def __init__(
        self,
        sink: InfluxSink,
        spool: Spool,
        places: Places,
        refuse: Callable[[Sequence[DeadLetter]], None],
        stop: Callable[[Misconfigured], None],
        meters: Meters,
        *,
        drains: bool = True,
    ) -> None:
        """`drains`: whether this process sends what earlier generations have left; if not, it waits until that is done.

        `refuse` may wait, and raise `Retryable`.
        """
        self._sink = sink
        self._spool = spool
        self._places = places
        self._refuse = refuse
        self._stop = stop
        self._meters = meters
        self._drains = drains
        self._news = threading.Event()
        self._closing = threading.Event()
        self._deadline_s = 0.0
        self._backoff_s = 0.0
        self._failing_since_s: float | None = None
        self._said_s = 0.0
        self._thread = threading.Thread(target=self._run, name="influx", daemon=True)
        meters.stage(STAGE)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Something was added."""
        self._news.set()

    def close(self, within_s: float) -> bool:
        """Send what can be sent within so long. Returns whether the thread has ended."""
        self._deadline_s = time.monotonic() + within_s
        self._closing.set()
        self._news.set()
        if self._thread.is_alive():
            self._thread.join(within_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            try:
                self._work()
            except _Ended:
                return
            except Misconfigured as error:
                self._meters.failed(STAGE)
                logger.critical("influx: %s What waits stays in %s", error, self._spool.directory)
                self._stop(error)
                return

    def _work(self) -> None:
        """Send until the end. Comes back after what could not be done now; raises `_Ended`, and `Misconfigured`."""
        try:
            self._earlier()
            while self._await_work():
                self._send_next(self._spool)
        except (Retryable, OSError) as error:  # of an earlier spool that cannot be read or deleted now
            self._failed(error, None)
        else:
            raise _Ended

    def _earlier(self) -> None:
        """What waits in spools of another number of processes comes before all else."""
        while left := self._places.earlier():
            if not self._drains:
                self._pause(_LOOK_EVERY_S)
                continue
            for directory in left:
                spool = Spool(directory, 1, on_aside=self._aside)
                spool.open()
                try:
                    logger.info("influx: %d lines of %s are sent first", spool.waiting.lines, directory)
                    while spool.waiting.lines:
                        if self._closing.is_set() and time.monotonic() >= self._deadline_s:
                            raise _Ended
                        self._send_next(spool)
                finally:
                    spool.close()
                self._places.remove(directory)

    def _aside(self, said: str) -> None:
        self._meters.spool_set_aside()
        logger.error("influx: %s", said)

    def _await_work(self) -> bool:
        """Wait until there is enough to send, or it has waited long enough. False when the time to end has come."""
        began_s = time.monotonic()
        while True:
            self._news.clear()
            lines = self._spool.waiting.lines
            if self._closing.is_set():
                return lines > 0 and time.monotonic() < self._deadline_s
            waited_s = time.monotonic() - began_s
            if lines >= _ENOUGH_LINES or (lines and waited_s >= _LONGEST_WAIT_S):
                return True
            self._news.wait(_LONGEST_WAIT_S - waited_s if lines else None)
            if not lines:
                began_s = time.monotonic()

    def _send_next(self, spool: Spool) -> None:
        """Send some records, or wait because they cannot be sent now. Raises `_Ended` when it is to end meanwhile."""
        try:
            records = spool.peek(BATCH_LINES)
            if records:
                self._post(records)
                spool.sent(records[-1].seq)
        except Retryable as error:
            self._failed(error, error.retry_after_s)
        except Misconfigured:
            raise
        except Exception as error:  # a thread that ends without a word would be an outage for good
            logger.exception("influx: unexpected")
            self._failed(error, None)
        else:
            self._succeeded()

    def _post(self, records: Sequence[Record]) -> None:
        lines = sum(len(record.lines) for record in records)
        try:
            self._sink.post({tier: last_of_each(_lines(records, tier)) for tier in Tier})
            self._meters.sent(STAGE, lines)
        except Rejected as error:
            self._meters.failed(STAGE)
            logger.error("influx refused %d lines, which are dead letters now: %s", len(error.lines), error)
            self._refuse([DeadLetter(STAGE, "", 0, Reason.BAD_TYPE, str(error), line) for line in error.lines])
            self._meters.sent(STAGE, max(0, lines - len(error.lines)), refused=len(error.lines))

    def _succeeded(self) -> None:
        self._meters.spool_sent()
        self._meters.works(STAGE)
        if self._failing_since_s is not None:
            away_s = time.monotonic() - self._failing_since_s
            logger.info("influx: takes writes again, after %.0f s; %d lines wait", away_s, self._spool.waiting.lines)
        self._failing_since_s, self._backoff_s = None, 0.0

    def _failed(self, error: Exception, asked_s: float | None) -> None:
        self._meters.failed(STAGE)
        if self._closing.is_set():
            raise _Ended
        now_s = time.monotonic()
        self._backoff_s = min(_LONGEST_BACKOFF_S, self._backoff_s * 2 or 0.2)
        wait_s = random.uniform(0, self._backoff_s) if asked_s is None else min(asked_s, _LONGEST_ASKED_S)
        if self._failing_since_s is None or now_s - self._said_s >= _SAY_EVERY_S:
            waiting = self._spool.waiting
            logger.warning(
                "influx: %s. %d lines (%.1f MB) wait on disk, nothing is lost; trying again until it is back",
                error,
                waiting.lines,
                waiting.size_bytes / 1e6,
            )
            self._said_s = now_s
        if self._failing_since_s is None:
            self._failing_since_s = now_s
        self._pause(wait_s)
        self._meters.retried(STAGE)

    def _pause(self, seconds: float) -> None:
        if self._closing.wait(seconds):
            raise _Ended


class _Ended(Exception):
    """It is to end, and what waits will have to wait."""


def _lines(records: Iterable[Record], tier: Tier) -> list[bytes]:
    return [line for record in records if record.tier == tier for line in record.lines]
