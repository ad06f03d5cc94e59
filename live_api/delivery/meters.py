"""What the deliverer says of itself, for Prometheus."""

from __future__ import annotations

import math
import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.process_collector import ProcessCollector

from sinks.deliveries import Outcome

_PREFIX = "streamgauge_deliver"
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class DeliveryMeters:
    """The instruments of one process that delivers, and the registry they are read from."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._deliveries = Counter(
            f"{_PREFIX}_deliveries", "Attempts, by what came of them", ("endpoint", "outcome"), registry=self.registry
        )
        self._seconds = Histogram(
            f"{_PREFIX}_request_seconds", "What requests took", ("endpoint",), buckets=_SECONDS, registry=self.registry
        )
        self._waiting = self._gauge("waiting", "Notifications that are still to be delivered")
        self._oldest_s = self._gauge("oldest_waiting_seconds", "Since the oldest of them was taken up; 0 for none")
        self._open = self._gauge("circuit_open", "1 while only probes are sent, as the endpoint fails")
        self._disabled = self._gauge("disabled", "1 while it is switched off, as it answered 410")
        self._active = self._gauge("active", "1 while this process is the one that delivers to it")
        self._reached = self._gauge("reached_timestamp_seconds", "When Valkey last answered about it; 0 before that")
        self._received = self._counter("received_events", "Notifications taken up", "endpoint")
        self._sent = self._counter("sent_events", "Notifications delivered", "endpoint")
        self._discarded = self._counter("discarded_events", "Notifications that were not delivered", "reason")
        self._errors = self._counter("errors", "What went wrong and was handled", "stage")
        self._loop_s = Gauge(
            f"{_PREFIX}_loop_seconds", "Since the loop of this process last turned", registry=self.registry
        )
        self._turned_s: float | None = None
        self._loop_s.set_function(lambda: math.nan if (ago_s := self.turned_ago_s()) is None else ago_s)
        for reason in ("dead", "skipped"):
            self._discarded.labels(reason)
        for stage in ("request", "valkey", "log"):
            self._errors.labels(stage)
        self._unlogged = Counter(
            f"{_PREFIX}_unlogged", "Attempts that the delivery log could not take", registry=self.registry
        )

    def of(self, endpoint: str) -> None:
        """An endpoint begins at 0."""
        for outcome in Outcome:
            self._deliveries.labels(endpoint, outcome.value)
        self._received.labels(endpoint)
        self._sent.labels(endpoint)
        for gauge in (self._waiting, self._oldest_s, self._open, self._disabled, self._active, self._reached):
            gauge.labels(endpoint).set(0)

    def attempted(self, endpoint: str, outcome: Outcome, duration_ms: float | None) -> None:
        self._deliveries.labels(endpoint, outcome.value).inc()
        if outcome is Outcome.DELIVERED:
            self._sent.labels(endpoint).inc()
        elif outcome is Outcome.DEAD:
            self._discarded.labels("dead").inc()
        else:
            self._errors.labels("request").inc()
        if duration_ms is not None:
            self._seconds.labels(endpoint).observe(duration_ms / 1_000)

    def stands(
        self, endpoint: str, *, waiting: int, oldest_ms: int | None, now_ms: int, circuit_open: bool, disabled: bool
    ) -> None:
        """How it is now."""
        self._waiting.labels(endpoint).set(waiting)
        self._oldest_s.labels(endpoint).set(0 if oldest_ms is None else max(0, now_ms - oldest_ms) / 1_000)
        self._open.labels(endpoint).set(circuit_open)
        self._disabled.labels(endpoint).set(disabled)

    def received(self, endpoint: str, notifications: int, *, skipped: int) -> None:
        """So many were taken up, and so many more need not be delivered: it is not told of them, or was already."""
        self._received.labels(endpoint).inc(notifications)
        self._discarded.labels("skipped").inc(skipped)

    def reached(self, endpoint: str, now_ms: int) -> None:
        """Valkey has answered."""
        self._reached.labels(endpoint).set(now_ms / 1_000)

    def unreached(self) -> None:
        """Valkey has not."""
        self._errors.labels("valkey").inc()

    def turned(self) -> None:
        """The loop of the process has come round."""
        self._turned_s = time.monotonic()

    def turned_ago_s(self) -> float | None:
        return None if self._turned_s is None else time.monotonic() - self._turned_s

    def active(self, endpoint: str, *, active: bool) -> None:
        self._active.labels(endpoint).set(active)

    def unlogged(self, attempts: int) -> None:
        self._unlogged.inc(attempts)
        self._errors.labels("log").inc()

    def _counter(self, name: str, documentation: str, label: str) -> Counter:
        return Counter(f"{_PREFIX}_{name}", documentation, (label,), registry=self.registry)

    def _gauge(self, name: str, documentation: str) -> Gauge:
        return Gauge(f"{_PREFIX}_{name}", documentation, ("endpoint",), registry=self.registry)
