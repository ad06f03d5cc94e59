"""Alerts and notifications for tests."""

from __future__ import annotations

from typing import Any

from sinks.alert_records import Alert, AlertStatus, Change, Notification, Resolution, Severity, stable_id

AT_MS = 1_700_000_000_000


def alert(rule: str = "edits_high", channel: str = "#en", **values: Any) -> Alert:
    given: dict[str, Any] = {
        "id": stable_id(rule, channel),
        "rule": rule,
        "metric": "edits",
        "window": "1m",
        "dimensions": (("channel", channel),),
        "severity": Severity.CRITICAL,
        "status": AlertStatus.FIRING,
        "opened_ms": AT_MS,
        "last_seen_ms": AT_MS,
        "score": 7.25,
        "peak": 8.5,
        "why": "highest in 8 days",
        "actual": 1234.0,
        "expected": 300.0,
    }
    return Alert(**given | values)


def resolved(of: Alert) -> Alert:
    from dataclasses import replace

    return replace(of, status=AlertStatus.RESOLVED, resolved_ms=of.opened_ms + 60_000, resolution=Resolution.RECOVERED)


def notification(group: str = "g", number: int = 0, change: Change = Change.OPENED, **values: Any) -> Notification:
    """The `number`-th of a group."""
    about = alert(channel=group, **values)
    if change is Change.RESOLVED:
        about = resolved(about)
    own = stable_id(group, number, change)
    return Notification(own, group, about.rule, "Shop", AT_MS + number, ((change, about),))
