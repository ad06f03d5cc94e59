"""The alerts that are known: what the hub tells those who asked for them. Values, no socket and no clock."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import orjson

from live_api.access.identity import EVERY_ROW, Rows

MAX_ALERTS = 1_000
FORGET_MS = 24 * 3_600_000
"""How long a resolved alert is told of."""
RESOLVED = "resolved"


class Alerts:
    """Alerts by id, in order of change; the oldest resolved ones make room, then the oldest.

    As long as nobody has said anything of alerts, not even that there are none, nothing is told of them: that none is
    known to fire and that none fires are not the same.
    """

    def __init__(self) -> None:
        self.watched_since: int | None = None
        """The seq of the first word about alerts; None before it."""
        self._alerts: OrderedDict[str, tuple[int, dict[str, Any]]] = OrderedDict()

    def apply(self, alerts: Mapping[str, dict[str, Any]], seq: int) -> None:
        """Take in alerts as they are now; none is a word too."""
        if self.watched_since is None:
            self.watched_since = seq
        for name, alert in alerts.items():
            self._put(name, alert, seq)

    def _put(self, name: str, alert: dict[str, Any], seq: int) -> None:
        known = self._alerts.get(name)
        if known is not None and known[1] == alert:
            # Said again, as the processor does for whoever begins to listen. Those who do already have it.
            return
        self._alerts[name] = (seq, alert)
        self._alerts.move_to_end(name)
        while len(self._alerts) > MAX_ALERTS:
            done = (name for name, (_, alert) in self._alerts.items() if alert.get("status") == RESOLVED)
            del self._alerts[next(done, next(iter(self._alerts)))]

    def recall(self, alerts: Mapping[str, dict[str, Any]], since: int, seq: int) -> None:
        """Take in, as a change of `seq`, what a store has of alerts of which nothing was heard after `since`. That a
        store has some does not say that somebody watches now."""
        for name, alert in alerts.items():
            if name not in self._alerts or self._alerts[name][0] <= since:
                self._put(name, alert, seq)

    def restart(self) -> None:
        """Count from the beginning again."""
        self.watched_since = None if self.watched_since is None else 0
        self._alerts = OrderedDict((name, (0, alert)) for name, (_, alert) in self._alerts.items())

    def changes(self, since: int, rows: Rows = EVERY_ROW) -> bytes | None:
        """JSON of those in `rows` that changed after `since`; None when none did, and as long as nobody watches."""
        if self.watched_since is None:
            return None
        if self.watched_since > since:
            # What a store had before the first word was not told yet.
            return orjson.dumps({name: alert for name, (_, alert) in self._alerts.items() if _is_in(rows, alert)})
        changed: dict[str, dict[str, Any]] = {}
        for name, (seq, alert) in reversed(self._alerts.items()):
            if seq <= since:
                break
            if _is_in(rows, alert):
                changed[name] = alert
        return orjson.dumps(changed) if changed else None

    def snapshot(self, now_ms: int, rows: Rows = EVERY_ROW) -> bytes | None:
        """JSON of all in `rows` but those that were resolved long ago; None as long as nothing is known."""
        if self.watched_since is None:
            return None
        told = {
            name: alert
            for name, (_, alert) in self._alerts.items()
            if not _is_old(alert, now_ms) and _is_in(rows, alert)
        }
        return orjson.dumps(told)


def _is_in(rows: Rows, alert: Mapping[str, Any]) -> bool:
    if not rows.limited:
        return True
    series = alert.get("series")
    dimensions = series.get("dimensions") if isinstance(series, Mapping) else None
    # What does not say whose it is, is nobody's who sees some rows only.
    return isinstance(dimensions, Mapping) and rows.show(tuple(dimensions.items()))


def _is_old(alert: Mapping[str, Any], now_ms: int) -> bool:
    resolved = alert.get("resolved")
    return isinstance(resolved, int | float) and now_ms - resolved > FORGET_MS
