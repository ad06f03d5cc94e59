"""PostHog's captures as events of the catalog."""

from __future__ import annotations

from typing import Any

from live_api.intake.sent import Names, Sent, Unusable, at, fill, loads, put, sent_of, too_many
from live_api.intake.verdict import Rejected
from sinks.records import Reason
from stream.entries import MAX_ELEMENTS


def read(body: bytes, names: Names, received_ms: int) -> Sent:
    """A capture, an array of them, or several in `batch`. Raises Unusable."""
    whole = loads(body)
    captures = whole if isinstance(whole, list) else at(whole, "batch")
    if captures is None and isinstance(whole, dict):
        captures = [whole]
    if not isinstance(captures, list):
        raise Unusable("expected a capture of PostHog as a JSON object, or an array of them in batch")
    key = at(whole, "api_key") or at(whole, "token")
    if key is None and captures:
        # In a browser it is in each of them.
        key = at(captures[0], "api_key") or at(captures[0], "properties", "token")
    if len(captures) > MAX_ELEMENTS:
        return too_many(len(captures), key)
    sent_at = at(whole, "sent_at") or at(whole, "sentAt")
    return sent_of([_event(index, one, names, received_ms) for index, one in enumerate(captures)], sent_at, key)


def _event(index: int, capture: Any, names: Names, received_ms: int) -> dict[str, Any] | Rejected:
    if not isinstance(capture, dict):
        return Rejected(index, Reason.MALFORMED, "", "expected a capture as a JSON object")
    named = capture.get("event")
    if not named:
        return Rejected(index, Reason.MISSING_FIELD, "event", "event: expected a value, found none")
    given = capture.get("properties")
    event = dict(given) if isinstance(given, dict) else {}
    person = capture.get("distinct_id")
    person = event.pop("distinct_id", None) if person is None else person
    event.pop("token", None)
    offset, time = capture.get("offset"), capture.get("timestamp")
    if time is None and isinstance(offset, int | float) and 0 <= offset < received_ms:
        time = received_ms - int(offset)
    fill(event, names.ip, event.get("$ip"))
    fill(event, names.user_agent, event.get("$raw_user_agent"))
    fill(event, names.url, event.get("$current_url"))
    fill(event, names.referrer, event.get("$referrer"))
    # The envelope comes last: no property stands in for it.
    put(event, names.person or names.anonymous, person)
    put(event, names.time, time)
    put(event, names.id, capture.get("uuid"))
    put(event, names.name, named)
    return event
