"""Writing to sinks from the dataflow: how long to go on trying, and what becomes of what is refused.

No engine here. Everything that a sink may raise is retried, dead-lettered or logged before it can end the dataflow.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from sinks.base import Forgetful, Sink
from sinks.deadletter import DeadLetterSink
from sinks.errors import Misconfigured, Rejected, Retryable
from sinks.live import LiveSink
from sinks.person_records import PersonLine
from sinks.person_store import PersonStore
from sinks.records import DeadLetter, Point, Reason
from stream.batches import Emission, Forgotten, Lines, Status, earliest
from stream.meters import Meters
from stream.people.people import EVENT

logger = logging.getLogger(__name__)

Clock = Callable[[], int]
_PRUNE_EVERY_MS = 3_600_000

_LONGEST_BACKOFF_S = 5.0


class Patience:
    """How long to go on with a write that fails for now: full-jitter back-off within a budget.

    With a budget of None it goes on until the processor drains; after that, or when the budget is spent, the error is
    raised, the processor ends, and restarts from its snapshot with nothing lost.
    """

    def __init__(self, name: str, draining: threading.Event, budget_s: float | None, meters: Meters) -> None:
        self._name = name
        self._meters = meters
        meters.stage(name)
        self._draining = draining
        self._budget_s = budget_s

    def __call__(self, write: Callable[[], object]) -> None:
        started, backoff_s = time.monotonic(), 0.1
        while True:
            try:
                write()
                self._meters.works(self._name)
                return
            except Retryable as error:
                self._meters.failed(self._name)
                wait_s = error.retry_after_s or random.uniform(0, backoff_s)
                backoff_s = min(_LONGEST_BACKOFF_S, backoff_s * 2)
                spent = self._budget_s is not None and time.monotonic() - started + wait_s > self._budget_s
                if spent or self._draining.is_set():
                    logger.error("%s: giving up: %s", self._name, error)
                    raise
                logger.warning("%s: trying again in %.1f s: %s", self._name, wait_s, error)
                self._meters.retried(self._name)
                self._draining.wait(wait_s)
            except Misconfigured as error:
                self._meters.failed(self._name)
                logger.critical("%s: %s", self._name, error)
                raise


def live_writer(
    sink: LiveSink, patience: Patience, clock: Clock, meters: Meters
) -> Callable[[list[Emission | Status]], None]:
    """Points of every emission and the streams' status, as one entry for each call."""

    def write(items: list[Emission | Status]) -> None:
        points: list[Point] = []
        added_ms: int | None = None
        status: dict[str, dict[str, Any]] = {}
        for item in items:
            if isinstance(item, Emission):
                points.extend(item.live)
                added_ms = earliest(added_ms, item.added_ms)
            else:
                status[item.stream] = asdict(item)
        if points or status:
            patience(lambda: sink.write(points, status, now_ms=clock()))
            meters.sent("live", len(points))
            if added_ms is not None:
                meters.shown(added_ms)

    return write


def durable_writer(
    name: str, sink: Sink, patience: Patience, refuse: Callable[[Sequence[DeadLetter]], None], meters: Meters
) -> Callable[[list[Emission]], None]:
    """Points for a database; what it will never take goes to `refuse`."""

    def write(items: list[Emission]) -> None:
        points = [point for item in items for point in item.durable]
        if isinstance(sink, Forgetful):
            for back in (back for item in items for back in item.rolled_back):
                patience(partial(sink.roll_back, back.metrics, back.after_ms))
        if not points:
            return
        try:
            patience(lambda: sink.write(points))
            meters.sent(name, len(points))
        except Rejected as error:
            meters.failed(name)
            meters.sent(name, max(0, len(points) - len(error.lines)), refused=len(error.lines))
            logger.error("%s refused %d points: %s", name, len(error.lines), error)
            refuse([DeadLetter(name, "", 0, Reason.BAD_TYPE, str(error), line) for line in error.lines])

    return write


def person_writer(
    store: PersonStore, patience: Patience, keep_ms: int | None, clock: Clock, meters: Meters
) -> Callable[[list[Lines | Forgotten]], None]:
    """Lines of persons' records, and the end of such a record. Those of single events are kept for `keep_ms`."""
    pruned_ms = 0

    def keep(lines: list[tuple[PersonLine, bool]]) -> None:
        if lines:
            patience(lambda: store.write(lines))
            meters.sent("people", len(lines))

    def forget(item: Forgotten) -> None:
        patience(lambda: store.forget(item.person, item.entry))

    def write(items: list[Lines | Forgotten]) -> None:
        nonlocal pruned_ms
        # In their order: what a shard said before it forgot somebody must not come back.
        lines: list[tuple[PersonLine, bool]] = []
        for item in items:
            if isinstance(item, Lines):
                lines.extend(line for told in item.told for line in told.lines())
            else:
                keep(lines)
                lines = []
                forget(item)
        keep(lines)
        now_ms = clock()
        if keep_ms is not None and now_ms - pruned_ms >= _PRUNE_EVERY_MS:
            pruned_ms = now_ms
            patience(lambda: store.prune(now_ms - keep_ms, kind=EVENT))

    return write


def deadletter_writer(
    sink: DeadLetterSink, patience: Patience, meters: Meters
) -> Callable[[Sequence[DeadLetter]], None]:
    def write(items: Sequence[DeadLetter]) -> None:
        if items:
            patience(lambda: sink.write(items))
            meters.sent_letters(len(items))

    return write
