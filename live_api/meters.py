"""What the hub says of itself: all instruments in one object, which the hub and its lines tell what they did.

Counted for each tick and each set of topics, never for each client. Counters begin at 0 with the process.
"""

from __future__ import annotations

import math
import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.process_collector import ProcessCollector

_PREFIX = "streamgauge_hub"
_COMMON = "streamgauge_api"
_AGE_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
_ENCODE_S = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5)


class HubMeters:
    """The instruments of one API process, and the registry they are read from. None of its methods raises."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._clients = self._gauge("clients", "Clients that have said hello and are told", "line")
        self._dirty = self._gauge("dirty_clients", "Clients that are behind, as their line takes nothing")
        self._joined = self._counter("joined_clients", "Clients that said hello", "first")
        self._frames = self._counter("sent_frames", "Snapshots, updates and heartbeats written to clients")
        self._bytes = self._counter("sent_bytes", "Bytes of those")
        self._conflated = self._counter(
            "conflated_updates", "Updates that a client behind did not get by themselves, but merged with later ones"
        )
        self._evicted = self._counter("evicted_clients", "Connections that the hub ended", "reason")
        self._refused = self._counter("refused_clients", "Connections that were not let in", "reason")
        self._age_s = self._histogram(
            "age_at_send_seconds", "Since the processor sent the oldest update that a tick passed on", _AGE_S
        )
        self._encode_s = self._histogram("encode_seconds", "Spent in a tick on putting frames together", _ENCODE_S)
        self._encoded = self._counter("encoded_frames", "Frames put together; each is shared by all who need it")
        self._received = self._common("received_events", "Points taken from the live stream")
        self._sent = self._common("sent_events", "Frames written to clients")
        self._discarded = self._common("discarded_events", "What was not passed on by itself", "reason")
        self._errors = self._common("errors", "What went wrong and was handled", "stage")
        self._loop_s = Gauge(
            f"{_COMMON}_loop_seconds", "Since the loop of this process last turned", registry=self.registry
        )
        self._turned_s: float | None = None
        self._loop_s.set_function(lambda: math.nan if (ago_s := self.turned_ago_s()) is None else ago_s)
        for reason in ("conflated", "foreign", "failed"):
            self._discarded.labels(reason)
        for stage in ("live", "store", "entry"):
            self._errors.labels(stage)
        for first in ("update", "snapshot"):
            self._joined.labels(first)

    def joined(self, kind: str, *, resumed: bool) -> None:
        """A client said hello; `resumed`: it had most of what there is."""
        self._clients.labels(kind).inc()
        self._joined.labels("update" if resumed else "snapshot").inc()

    def left(self, kind: str) -> None:
        self._clients.labels(kind).dec()

    def wrote(self, frames: int, size_bytes: int) -> None:
        """One frame was written to so many clients."""
        self._frames.inc(frames)
        self._bytes.inc(frames * size_bytes)
        self._sent.inc(frames)

    def conflated(self, updates: int) -> None:
        self._conflated.inc(updates)
        self._discarded.labels("conflated").inc(updates)

    def received(self, points: int) -> None:
        """So many points came over the live stream."""
        self._received.inc(points)

    def discarded(self, reason: str) -> None:
        """An entry of the live stream was left out."""
        self._discarded.labels(reason).inc()

    def failed(self, stage: str) -> None:
        """Something was caught and logged: in reading the `live` stream, an `entry` of it, or the `store`."""
        self._errors.labels(stage).inc()

    def turned(self) -> None:
        """The loop of the process has come round."""
        self._turned_s = time.monotonic()

    def turned_ago_s(self) -> float | None:
        return None if self._turned_s is None else time.monotonic() - self._turned_s

    def behind(self, clients: int) -> None:
        """So many clients are behind at the end of a tick."""
        self._dirty.set(clients)

    def evicted(self, reason: str) -> None:
        self._evicted.labels(reason).inc()

    def refused(self, reason: str) -> None:
        self._refused.labels(reason).inc()

    def aged(self, seconds: float) -> None:
        """A tick passed on updates, the oldest of which was sent so long ago."""
        self._age_s.observe(seconds)

    def encoded(self, frames: int, seconds: float) -> None:
        """So many frames were put together since the last tick, and for how long."""
        if frames:
            self._encoded.inc(frames)
            self._encode_s.observe(seconds)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"{_PREFIX}_{name}", text, labels, registry=self.registry)

    def _common(self, name: str, text: str, *labels: str) -> Counter:
        """What every part of the product counts under the same name."""
        return Counter(f"{_COMMON}_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"{_PREFIX}_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"{_PREFIX}_{name}", text, buckets=buckets, registry=self.registry)
