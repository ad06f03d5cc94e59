"""What is for InfluxDB: on disk before the dataflow goes on, and then a thread's own business.

No engine here. The way of healthy days and that of an outage are the same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from sinks.alert_lines import alert_lines
from sinks.alert_records import Alert
from sinks.errors import Misconfigured
from sinks.influx import InfluxSink
from sinks.influx_tiers import Tier
from sinks.line_protocol import LineEncoder
from sinks.records import DeadLetter, Point, State
from sinks.spool import Added, Spool
from sinks.spool_places import Places
from sinks.spool_segment import Kind
from stream.batches import Emission
from stream.influx_sender import Sender
from stream.meters import Meters
from stream.writers import Clock, Patience

logger = logging.getLogger(__name__)

_NEARLY_FULL, _HAS_ROOM = 0.8, 0.6
_SAY_EVERY_MS = 60_000
_SHORT_MOMENT_S = 2.0


class InfluxWriter:
    """Takes points and alerts into a spool, from which a thread of its own sends them.

    *Guarantee*: final and corrected points, and alerts, are on disk when a write returns, and are sent in the order of
    the writes until InfluxDB has taken or refused them; refused lines are dead letters. Open points are let go of when
    the spool is full, the oldest first. *Failure*: a spool that is full of final points → `Retryable`; a directory that
    cannot be written → `Misconfigured`. What the sender meets is its own business, see `Sender`. *Cost*: 2 µs a point
    and a wait for the disk.
    """

    def __init__(self, sink: InfluxSink, places: Places, limit_bytes: int, meters: Meters, clock: Clock) -> None:
        self._sink = sink
        self._meters = meters
        self._clock = clock
        self._limit_bytes = limit_bytes
        self._encoder = LineEncoder()
        self._places = places
        self._spool = Spool(places.own, limit_bytes, on_dropped=self._dropped, on_aside=self._aside)
        self._sender: Sender | None = None
        self._is_filling = False
        self._untold_lines = 0
        self._told_ms: int | None = None

    def setup(self) -> None:
        """Read what waits from before. Raises `Misconfigured`."""
        self._spool.open()
        waiting = self._spool.waiting
        if waiting.lines:
            logger.info("influx: %d lines wait from before, and are sent first", waiting.lines)

    def start(
        self, refuse: Callable[[Sequence[DeadLetter]], None], stop: Callable[[Misconfigured], None], *, drains: bool
    ) -> None:
        """Begin to send. `refuse` is given what InfluxDB will never take; `stop` why nothing can be sent at all.

        `drains`: whether it is this process that sends what earlier generations left behind; others wait for it.
        """
        self._sender = Sender(self._sink, self._spool, self._places, refuse, stop, self._meters, drains=drains)
        self._meters.spooling(lambda: self._spool.waiting, self._clock)
        self._sender.start()

    def write(self, points: Sequence[Point]) -> None:
        """Take in `points`, the oldest windows first; open ones as far as the sink was asked for them."""
        added: list[Added] = []
        for tier, of_tier in self._sink.by_tier(points).items():
            of_tier.sort(key=_start)
            for kind in Kind:
                lines = self._encoder.lines(
                    point for point in of_tier if (point.state is State.OPEN) is (kind is Kind.OPEN)
                )
                added.append(Added(kind, tier, lines))
        self._add(added)

    def write_alerts(self, changes: Sequence[tuple[int, Alert]]) -> None:
        """Take in what alerts have become, each with the moment from which on."""
        self._add([Added(Kind.FINAL, Tier.RAW, alert_lines(changes))])

    def close(self) -> None:
        """Send what can be sent in a moment; the rest stays for the next start."""
        is_idle = self._sender is None or self._sender.close(_SHORT_MOMENT_S)
        if is_idle:
            waiting = self._spool.waiting
            if waiting.lines:
                logger.info("influx: %d lines wait in %s for the next start", waiting.lines, self._spool.directory)
            self._spool.close()
            self._sink.close()

    def _add(self, added: Sequence[Added]) -> None:
        if not any(one.lines for one in added):
            return
        self._spool.add(added, self._clock())
        if self._sender is not None:
            self._sender.wake()
        self._say_how_full()

    def _say_how_full(self) -> None:
        waiting = self._spool.waiting
        share = waiting.file_bytes / self._limit_bytes
        if share >= _NEARLY_FULL and not self._is_filling:
            self._is_filling = True
            logger.warning(
                "influx: the spool %s is %.0f %% full, with %d lines; when it is full the oldest open points go first, "
                "and when only final ones are left, counting waits until InfluxDB is back (INFLUX_SPOOL_MB)",
                self._spool.directory,
                share * 100,
                waiting.lines,
            )
        elif share <= _HAS_ROOM and self._is_filling:
            self._is_filling = False
            logger.info("influx: the spool has room again, %.0f %% full", share * 100)
        now_ms = self._clock()
        if self._untold_lines and (self._told_ms is None or now_ms - self._told_ms >= _SAY_EVERY_MS):
            logger.warning(
                "influx: the spool is full; %d lines of open windows were let go of, the oldest first, and nothing "
                "final",
                self._untold_lines,
            )
            self._untold_lines, self._told_ms = 0, now_ms

    def _dropped(self, lines: int) -> None:
        self._meters.spool_dropped(lines)
        self._untold_lines += lines

    def _aside(self, said: str) -> None:
        self._meters.spool_set_aside()
        logger.error("influx: %s", said)


def influx_writer(writer: InfluxWriter, patience: Patience) -> Callable[[list[Emission]], None]:
    """Points of every emission that a database should keep. `patience` waits for room, as nothing may be let go of."""

    def write(items: list[Emission]) -> None:
        points = [point for item in items for point in item.durable]
        if points:
            patience(lambda: writer.write(points))

    return write


def _start(point: Point) -> int:
    return point.start_ms
