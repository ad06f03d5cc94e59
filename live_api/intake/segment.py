"""Segment's calls as events of the catalog."""

from __future__ import annotations

from typing import Any

from live_api.intake.sent import Names, Sent, Unusable, at, fill, loads, put, sent_of, too_many
from live_api.intake.verdict import Rejected
from sinks.records import Reason
from stream.entries import MAX_ELEMENTS

CALLS = ("track", "page", "screen", "identify", "group", "alias")
_OF_PERSONS = ("identify", "group")


def read(body: bytes, call: str | None, names: Names) -> Sent:
    """A call, or several in `batch`. `call` is what the address says it is. Raises Unusable."""
    whole = loads(body)
    if not isinstance(whole, dict):
        raise Unusable("expected a call of Segment as a JSON object")
    several = whole.get("batch") if call is None else None
    if call is None and not isinstance(several, list):
        raise Unusable("batch: expected an array of calls")
    calls = [whole] if several is None else several
    if len(calls) > MAX_ELEMENTS:
        return too_many(len(calls), whole.get("writeKey"))
    context = whole.get("context") if several is not None else None
    mapped = [_event(index, one, call, context, names) for index, one in enumerate(calls)]
    return sent_of(mapped, whole.get("sentAt"), whole.get("writeKey"))


def _event(index: int, call: Any, kind: str | None, shared: Any, names: Names) -> dict[str, Any] | Rejected:
    if not isinstance(call, dict):
        return Rejected(index, Reason.MALFORMED, "", "expected a call as a JSON object")
    kind = kind or call.get("type")
    if kind not in CALLS:
        message = f"type: expected one of {', '.join(CALLS)}"
        return Rejected(index, Reason.MISSING_FIELD if kind is None else Reason.BAD_TYPE, "type", message)
    named = call.get("event") if kind == "track" else kind
    if not named:
        return Rejected(index, Reason.MISSING_FIELD, "event", "event: expected a value, found none")
    given = call.get("traits" if kind in _OF_PERSONS else "properties")
    event = dict(given) if isinstance(given, dict) else {}
    context = call.get("context", shared)
    put(event, "context", context)
    fill(event, "group_id", call.get("groupId"))
    fill(event, "type", kind)
    if kind in ("page", "screen"):
        fill(event, f"{kind}_name", call.get("name"))
        fill(event, f"{kind}_category", call.get("category"))
    fill(event, names.ip, at(context, "ip"))
    fill(event, names.user_agent, at(context, "userAgent"))
    fill(event, names.url, at(context, "page", "url"))
    fill(event, names.referrer, at(context, "page", "referrer"))
    # The envelope comes last: no property stands in for it.
    put(event, names.consent, call.get("consent"))
    put(event, names.anonymous, call.get("anonymousId"))
    put(event, names.person, call.get("userId"))
    put(event, names.time, call.get("originalTimestamp", call.get("timestamp")))
    put(event, names.id, call.get("messageId"))
    put(event, names.name, named)
    return event
