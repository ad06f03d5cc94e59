"""A store that forgets its shortest windows, which would otherwise be nearly all of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from sinks.alert_store import AlertStore
from sinks.records import ALL_READ_MS, Point
from sinks.store import Store

_PRUNE_EVERY_MS = 5 * 60_000


class PrunedStore:
    """Writes to a Store, and every five minutes of event time deletes what is older than its window is kept.

    `keep_ms` has the windows that are not kept for ever, each with for how long; `alerts` the store of alerts and for
    how long those that have ended are kept, if not for ever. Age is measured from the watermark, so a replay of old
    events keeps as much as the day they happened. The alerts' store stays the caller's.
    """

    def __init__(self, store: Store, keep_ms: Mapping[str, int], alerts: tuple[AlertStore, int] | None = None) -> None:
        self._store = store
        self._keep_ms = dict(keep_ms)
        self._alerts = alerts
        self._pruned_at_ms: int | None = None

    def setup(self) -> None:
        self._store.setup()

    def write(self, points: Sequence[Point]) -> None:
        self._store.write(points)
        watermark_ms = max((p.watermark_ms for p in points if p.watermark_ms < ALL_READ_MS), default=0)
        if self._pruned_at_ms is None:
            self._pruned_at_ms = watermark_ms
        elif watermark_ms - self._pruned_at_ms >= _PRUNE_EVERY_MS:
            self._pruned_at_ms = watermark_ms
            for window, keep_ms in self._keep_ms.items():
                self._store.prune(window, watermark_ms - keep_ms)
            if self._alerts is not None:
                alerts, keep_ms = self._alerts
                alerts.prune_ended(watermark_ms - keep_ms)

    def roll_back(self, metrics: Collection[str], after_ms: int) -> int:
        return self._store.roll_back(metrics, after_ms)

    def close(self) -> None:
        self._store.close()
