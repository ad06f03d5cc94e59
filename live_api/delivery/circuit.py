"""A circuit breaker: an endpoint that fails again and again is only asked now and then. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

FAILURES = 5
FIRST_PROBE_MS, LONGEST_PROBE_MS = 10_000, 300_000


@dataclass(slots=True)
class Circuit:
    """Open after `threshold` failures one after another, of whatever notifications. Then one attempt at a time is a
    probe: the first after `first_ms`, and each later one after twice as long, up to `longest_ms`. One success closes
    it. Attempts that were under way when it opened say nothing new: their failures put no probe off."""

    threshold: int = FAILURES
    first_ms: int = FIRST_PROBE_MS
    longest_ms: int = LONGEST_PROBE_MS
    failures: int = 0
    """One after another, up to now."""
    opened_ms: int | None = None
    """Since when it is open; None while it is closed."""
    probe_ms: int = 0
    """When the next probe may be."""
    wait_ms: int = 0

    @property
    def open(self) -> bool:
        return self.opened_ms is not None

    def room(self, now_ms: int, under_way: int, most: int) -> int:
        """How many attempts may begin now."""
        if not self.open:
            return max(0, most - under_way)
        return 1 if under_way == 0 and now_ms >= self.probe_ms else 0

    def succeeded(self) -> bool:
        """Returns whether that closed it."""
        was_open = self.open
        self.failures, self.opened_ms, self.probe_ms, self.wait_ms = 0, None, 0, 0
        return was_open

    def failed(self, now_ms: int) -> bool:
        """Returns whether that opened it."""
        self.failures += 1
        if self.failures < self.threshold:
            return False
        opened = not self.open
        if opened:
            self.opened_ms, self.wait_ms = now_ms, self.first_ms
        elif now_ms >= self.probe_ms:
            self.wait_ms = min(self.wait_ms * 2, self.longest_ms)
        else:
            return False
        self.probe_ms = now_ms + self.wait_ms
        return opened

    def to_state(self) -> dict[str, Any]:
        """What a restart should not forget."""
        return {
            "failures": self.failures,
            "opened_ms": self.opened_ms,
            "probe_ms": self.probe_ms,
            "wait_ms": self.wait_ms,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of `to_state`."""
        self.failures, self.opened_ms = state["failures"], state["opened_ms"]
        self.probe_ms, self.wait_ms = state["probe_ms"], state["wait_ms"]
