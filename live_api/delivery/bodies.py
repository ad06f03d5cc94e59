"""What is sent: a notification in each of the formats that receivers know. Pure; the same bytes each time.

Adding a format is one function here, one line in `BODIES`, and its name in `stream.webhooks.FORMATS`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from sinks.alert_records import Alert, AlertStatus, Change, Notification, worst
from sinks.records import iso

_SHOWN_ALERTS = 10
"""Of a group, in a message for people; more are counted."""
_SLACK_TEXT = 2_900
"""Slack takes 3,000 characters in a section."""
_SLACK_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_TEAMS_TEXT_BYTES = 1_800
"""Of a line as JSON. Teams takes some 28 KB in all."""
_PAGERDUTY_SUMMARY = 1_024
_FIELD = re.compile(r"\{([a-z_.]+)\}")
_LABEL = re.compile(r"[^a-zA-Z0-9_]")
_STANDARD_LINE = "{change}: {alert.title} {alert.dimensions} ({alert.severity}): {alert.why}"
_COLORS = {"info": "#439fe0", "warning": "#daa038", "error": "#e8590c", "critical": "#c92a2a", "resolved": "#2f9e44"}
_NEVER = "0001-01-01T00:00:00Z"
"""How Alertmanager writes that something has not ended."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an endpoint wants of notifications."""

    name: str
    template: str | None = None
    routing_key: str | None = None
    """PagerDuty's; part of the body there."""

    def __repr__(self) -> str:
        return f"Wanted({self.name!r})"


@dataclass(frozen=True, slots=True)
class Body:
    """One request."""

    id: str
    """Its `webhook-id`: the same at each attempt."""
    content: bytes

    def __repr__(self) -> str:
        return f"Body({self.id!r}, {len(self.content)} bytes)"


def bodies(form: str, notification: Notification, wanted: Wanted) -> list[Body]:
    """The requests that tell a notification, in their order. PagerDuty takes one for each alert, others one in all."""
    made = BODIES[form](notification, wanted)
    ids = [notification.id if number == 0 else f"{notification.id}-{number}" for number in range(len(made))]
    return [Body(own, orjson.dumps(body)) for own, body in zip(ids, made, strict=True)]


def line(notification: Notification, change: Change, alert: Alert, template: str | None = None) -> str:
    """The line that people read. What an alert has not got is left empty."""
    values = {f"alert.{name}": value for name, value in alert.to_json().items()}
    values |= {
        "platform": notification.platform,
        "change": change.value,
        "alert.title": alert.called,
        "alert.metric": alert.metric,
        "alert.window": alert.window,
        "alert.dimensions": ", ".join(f"{name}={value}" for name, value in alert.dimensions),
    }
    text = _FIELD.sub(lambda found: _text(values[found[1]]), template or _STANDARD_LINE)
    return " ".join(text.split())


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _message(notification: Notification, wanted: Wanted) -> str:
    lines = [line(notification, change, alert, wanted.template) for change, alert in notification.alerts]
    more = len(lines) - _SHOWN_ALERTS
    return "\n".join(lines if more <= 0 else [*lines[:_SHOWN_ALERTS], f"and {more} more"])


def _generic(notification: Notification, wanted: Wanted) -> list[dict[str, Any]]:
    """In the spirit of Standard Webhooks: what happened, when, and to what."""
    changes = {change for change, _ in notification.alerts}
    about: dict[str, Any]
    if len(notification.alerts) == 1:
        [(change, alert)] = notification.alerts
        kind, about = f"alert.{change.value}", alert.to_json()
    else:
        kind = f"alerts.{changes.pop().value}" if len(changes) == 1 else "alerts.changed"
        about = {"alerts": [{"change": change.value, **alert.to_json()} for change, alert in notification.alerts]}
    return [
        {
            "type": kind,
            "timestamp": iso(notification.at_ms),
            "platform": notification.platform,
            "group": notification.group,
            "message": _message(notification, wanted),
            "data": about,
        }
    ]


def _alertmanager(notification: Notification, wanted: Wanted) -> list[dict[str, Any]]:
    """Version 4 of what Alertmanager sends, for receivers that were made for it."""
    alerts = []
    for change, alert in notification.alerts:
        alerts.append(
            {
                "status": "resolved" if _is_over(alert) else "firing",
                "labels": _labels(notification, alert),
                "annotations": {
                    "summary": line(notification, change, alert),
                    "description": alert.why,
                    "value": _text(alert.actual),
                    "expected": _text(alert.expected),
                },
                "startsAt": iso(alert.opened_ms),
                "endsAt": _NEVER if alert.resolved_ms is None else iso(alert.resolved_ms),
                "generatorURL": "",
                "fingerprint": alert.id[:16],
            }
        )
    return [
        {
            "version": "4",
            "groupKey": notification.group,
            "truncatedAlerts": 0,
            "status": "firing" if any(alert["status"] == "firing" for alert in alerts) else "resolved",
            "receiver": wanted.name,
            "groupLabels": {"alertname": notification.rule},
            "commonLabels": _common([alert["labels"] for alert in alerts]),
            "commonAnnotations": _common([alert["annotations"] for alert in alerts]),
            "externalURL": "",
            "alerts": alerts,
        }
    ]


def _labels(notification: Notification, alert: Alert) -> dict[str, str]:
    labels = {
        "alertname": alert.rule,
        "severity": alert.severity.value,
        "platform": notification.platform,
        "metric": alert.metric,
        "window": alert.window,
    }
    for name, value in alert.dimensions:
        label = _LABEL.sub("_", name)
        if not label or label[0].isdigit() or label in labels:
            label = f"dimension_{label}"
        labels[label] = value
    return labels


def _common(of: Sequence[Any]) -> dict[str, str]:
    first: Mapping[str, str] = of[0]
    return {name: value for name, value in first.items() if all(one.get(name) == value for one in of)}


def _pagerduty(notification: Notification, wanted: Wanted) -> list[dict[str, Any]]:
    """Events API v2: an incident for each episode, whose id is the key that its end finds it by."""
    made = []
    for change, alert in notification.alerts:
        event: dict[str, Any] = {
            "routing_key": wanted.routing_key,
            "event_action": "resolve" if _is_over(alert) else "trigger",
            "dedup_key": alert.id,
            "payload": {
                "summary": line(notification, change, alert)[:_PAGERDUTY_SUMMARY],
                "source": notification.platform,
                "severity": alert.severity.value,
                "timestamp": iso(alert.opened_ms),
                "component": alert.metric,
                "group": notification.group,
                "class": alert.rule,
                "custom_details": alert.to_json(),
            },
            "client": "streamgauge",
        }
        made.append(event)
    return made


def _slack(notification: Notification, wanted: Wanted) -> list[dict[str, Any]]:
    message = _message(notification, wanted)
    section = {"type": "section", "text": {"type": "mrkdwn", "text": _escaped(message, _SLACK_TEXT), "verbatim": True}}
    facts = f"{notification.platform} · {iso(notification.at_ms)}"
    context = {"type": "context", "elements": [{"type": "plain_text", "text": facts}]}
    # A `text` beside attachments would be shown too, and everything be said twice; `fallback` is for notifications.
    fallback = _escaped(message, _SLACK_TEXT)
    return [
        {"attachments": [{"color": _COLORS[_look(notification)], "fallback": fallback, "blocks": [section, context]}]}
    ]


def _escaped(text: str, most: int) -> str:
    """For Slack, to which `<!channel>` would be a call to everybody. Cut before, so that no escape is torn apart."""
    pieces: list[str] = []
    size = 0
    for char in text:
        piece = _SLACK_ESCAPES.get(char, char)
        size += len(piece)
        if size >= most:
            return "".join(pieces) + "…"
        pieces.append(piece)
    return "".join(pieces)


def _teams(notification: Notification, wanted: Wanted) -> list[dict[str, Any]]:
    """A message with an Adaptive Card, as Teams' Workflows take it. Text runs know no Markdown, so that no value of a
    dimension becomes a link."""
    colors = {"info": "Accent", "resolved": "Good", "warning": "Warning", "error": "Attention", "critical": "Attention"}
    blocks = [
        {
            "type": "RichTextBlock",
            "inlines": [
                {"type": "TextRun", "text": _cut(text, _TEAMS_TEXT_BYTES), "color": colors[_look(notification)]}
            ],
        }
        for text in _message(notification, wanted).split("\n")
    ]
    facts = {"type": "TextRun", "text": f"{notification.platform} · {iso(notification.at_ms)}", "isSubtle": True}
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "msteams": {"width": "Full"},
        "body": [*blocks, {"type": "RichTextBlock", "inlines": [facts]}],
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return [{"type": "message", "attachments": [attachment]}]


def _cut(text: str, most_bytes: int) -> str:
    """What of it fits as JSON, where some letters take four bytes and some escapes six."""
    size = 0
    for place, char in enumerate(text):
        size += len(orjson.dumps(char)) - 2
        if size > most_bytes:
            return text[:place] + "…"
    return text


def _is_over(alert: Alert) -> bool:
    return alert.status is AlertStatus.RESOLVED


def _look(notification: Notification) -> str:
    open_ones = [alert for _, alert in notification.alerts if not _is_over(alert)]
    return worst(open_ones).value if open_ones else "resolved"


BODIES: Mapping[str, Callable[[Notification, Wanted], list[dict[str, Any]]]] = {
    "generic": _generic,
    "alertmanager": _alertmanager,
    "pagerduty": _pagerduty,
    "slack": _slack,
    "teams": _teams,
}
