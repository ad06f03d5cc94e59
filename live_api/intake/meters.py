"""What the door says of itself. Counted for each request, never for each event."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

from live_api.intake.verdict import NOT_WRITTEN, Verdict

_PREFIX = "streamgauge_ingest"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class IngestMeters:
    """The instruments of one API process. None of its methods raises."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry = registry or CollectorRegistry()
        self._received = self._counter(registry, "received_events", "Events that came in over HTTP")
        self._accepted = self._counter(registry, "accepted_events", "Those that were written to a stream")
        self._duplicates = self._counter(registry, "duplicate_events", "Those that had been written shortly before")
        self._discarded = self._counter(registry, "discarded_events", "Those that were not taken", "reason")
        self._errors = self._counter(registry, "errors", "Requests whose events could not be taken", "stage")
        self._seconds = Histogram(
            f"{_PREFIX}_request_seconds", "From a request's head to its answer", registry=registry, buckets=_SECONDS
        )

    def judged(self, verdict: Verdict) -> None:
        """A request's events got their verdict."""
        self._received.inc(verdict.accepted + verdict.duplicates + len(verdict.rejected))
        self._accepted.inc(verdict.accepted)
        self._duplicates.inc(verdict.duplicates)
        if verdict.rejected:
            for one in verdict.rejected:
                self._discarded.labels(one.code).inc()
            if any(one.code == NOT_WRITTEN for one in verdict.rejected):
                self.failed("write")

    def failed(self, stage: str) -> None:
        """A request was refused whole: at `body`, `parse`, `rate`, `backlog`, `person` or `write`."""
        self._errors.labels(stage).inc()

    def took(self, seconds: float) -> None:
        self._seconds.observe(seconds)

    @staticmethod
    def _counter(registry: CollectorRegistry, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"{_PREFIX}_{name}", text, labels, registry=registry)
