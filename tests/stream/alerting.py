"""A rule and its windows for tests: scores in, what people see and hear out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from sinks.alert_records import Alert, Change, Command, Notification, Order, Scored, Severity
from sinks.records import Dimensions
from stream.alerts import Alerts, Outcome, ScoredBatch
from stream.rules import Lifecycle

MINUTE = 60_000
START = 1_700_000_040_000
LIFE = Lifecycle(
    rule="slow",
    identity="1",
    limits=((Severity.WARNING, 3.0), (Severity.CRITICAL, 6.0)),
    quiet_below=1.5,
)


def life(**changes: Any) -> Lifecycle:
    return replace(LIFE, **changes)


def row(score: float, minute: int, dimensions: Dimensions = (), rule: str = "slow", **changes: Any) -> Scored:
    """The window of a minute; `None` for a score is a window without events or value."""
    found: dict[str, Any] = {
        "rule": rule,
        "metric": "latency",
        "window": "1m",
        "start_ms": START + minute * MINUTE,
        "dimensions": dimensions,
        "value": score * 10,
        "score": score,
        "warm": True,
        "anomalous": False,
        "why": "highest in 2 days" if score >= 3 else "",
        "events": 5,
    }
    return Scored(**found | changes)


def nothing(minute: int, dimensions: Dimensions = (), rule: str = "slow") -> Scored:
    return row(0.0, minute, dimensions, rule, value=None, events=0)


def end(minute: int) -> int:
    return START + (minute + 1) * MINUTE


@dataclass
class World:
    """Alerts whose wall clock is the end of the latest window, as when nothing lags."""

    rules: dict[str, Lifecycle] = field(default_factory=lambda: {"slow": LIFE})
    sources: tuple[str, ...] = ("cube",)
    now_ms: int | None = None
    heard: list[Notification] = field(default_factory=list)
    seen: dict[str, Alert] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.alerts = Alerts(self.rules, self.sources, "test")

    def show(self, *rows: Scored, source: str = "cube", to: int | None = None) -> Outcome:
        """Show windows, and that no more comes of those that ended by the latest, or by that of minute `to`."""
        ends = [(one.start_ms + MINUTE, one) for one in rows]
        watermark_ms = end(to) if to is not None else max(at for at, _ in ends)
        self.alerts.add(ScoredBatch(source, watermark_ms, watermark_ms, ends))
        return self.advance(watermark_ms)

    def scores(self, scores: Iterable[float | None], first: int = 0, dimensions: Dimensions = ()) -> None:
        for minute, score in enumerate(scores, first):
            self.show(nothing(minute, dimensions) if score is None else row(score, minute, dimensions))

    def advance(self, now_ms: int) -> Outcome:
        outcome = self.alerts.advance(self.now_ms or now_ms)
        self.heard.extend(outcome.notifications)
        self.seen.update({alert.id: alert for alert in outcome.alerts})
        self.outcomes.append(outcome)
        return outcome

    def say(self, order: Order, alert: str | None = None, *, minute: int, **more: Any) -> Outcome:
        self.alerts.command(Command(order, "ada", end(minute), "test", alert, **more))
        return self.advance(end(minute))

    def restarted(self, rules: dict[str, Lifecycle] | None = None) -> None:
        """Go on from a snapshot, with other rules perhaps."""
        snapshot = self.alerts.to_bytes()
        self.rules = self.rules if rules is None else rules
        self.alerts = Alerts(self.rules, self.sources, "test")
        self.alerts.restore(snapshot)

    @property
    def changes(self) -> list[Change]:
        """What was told, in order."""
        return [change for notification in self.heard for change, _ in notification.alerts]

    @property
    def one(self) -> Alert:
        """The only episode there was."""
        (alert,) = self.seen.values()
        return alert
