"""`streamgauge webhooks test`: one message that says that it is a test."""

from __future__ import annotations

import secrets
from dataclasses import replace

from live_api.delivery.attempts import Attempt, send
from live_api.delivery.bodies import bodies
from live_api.delivery.egress import Egress
from live_api.delivery.endpoints import Endpoint
from sinks.alert_records import Alert, AlertStatus, Change, Notification, Resolution, Severity


async def try_out(endpoint: Endpoint, platform: str, now_ms: int) -> list[Attempt]:
    """Send it, and return what came of each request; it ends with the first that was not taken."""
    egress = Egress(allowed=endpoint.allowed, timeout_s=endpoint.timeout_s)
    attempts = []
    try:
        for body in bodies(endpoint.form, _message(endpoint.form, platform, now_ms), endpoint.wanted):
            attempts.append(await send(endpoint, egress, body, now_ms))
            if not attempts[-1].delivered:
                break
    finally:
        await egress.aclose()
    return attempts


def _message(form: str, platform: str, now_ms: int) -> Notification:
    own = f"test-{secrets.token_hex(8)}"
    opened = Alert(
        id=own,
        rule="test",
        metric="test",
        window="1m",
        dimensions=(),
        severity=Severity.INFO,
        status=AlertStatus.FIRING,
        opened_ms=now_ms,
        last_seen_ms=now_ms,
        score=0.0,
        peak=0.0,
        why="a test message of streamgauge; nothing is wrong",
    )
    over = replace(opened, status=AlertStatus.RESOLVED, resolved_ms=now_ms, resolution=Resolution.BY_HAND)
    # An incident that a test opened must not wait for somebody to close it.
    both = form == "pagerduty"
    alerts = ((Change.OPENED, opened), (Change.RESOLVED, over)) if both else ((Change.OPENED, opened),)
    return Notification(own, own, "test", platform, now_ms, alerts)
