"""The routes for events in the OpenAPI document: they are none of FastAPI's, which so knows nothing of them."""

from __future__ import annotations

from typing import Any

from live_api.access.permissions import Permission

_EVENT = {"event": "signup", "id": "01J9Z6", "user_id": "42", "time": "2026-11-22T10:00:00Z", "value": 9.5}
_TRACK = {
    "type": "track",
    "event": "signup",
    "messageId": "01J9Z6",
    "userId": "42",
    "timestamp": "2026-11-22T10:00:00Z",
    "properties": {"value": 9.5},
}
_CAPTURE = {
    "api_key": "sg_…",
    "event": "signup",
    "uuid": "0192a4c8-5f6e-7c3a-9d54-0b8f5f2f8a11",
    "distinct_id": "42",
    "timestamp": "2026-11-22T10:00:00Z",
    "properties": {"value": 9.5},
}
_CLOUD = {
    "specversion": "1.0",
    "type": "signup",
    "source": "/shop",
    "id": "01J9Z6",
    "time": "2026-11-22T10:00:00Z",
    "data": {"user_id": "42", "value": 9.5},
}
_OBJECT: dict[str, Any] = {"type": "object"}
_ARRAY: dict[str, Any] = {"type": "array", "items": _OBJECT, "maxItems": 10_000}
_COUNT: dict[str, Any] = {"type": "integer", "minimum": 0}
_VERDICT: dict[str, Any] = {
    "type": "object",
    "required": ["accepted", "duplicates", "rejected"],
    "properties": {
        "accepted": _COUNT,
        "duplicates": _COUNT,
        "rejected": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["index", "code", "path", "message"],
                "properties": {
                    "index": _COUNT,
                    "code": {"type": "string"},
                    "path": {"type": "string"},
                    "message": {"type": "string"},
                },
            },
        },
        "detail": {"type": "string"},
    },
}
_TAKEN: dict[str, Any] = {"accepted": 2, "duplicates": 0, "rejected": []}
_MIXED: dict[str, Any] = {
    "accepted": 1,
    "duplicates": 0,
    "rejected": [
        {
            "index": 1,
            "code": "bad_type",
            "path": "value",
            "message": "value: expected a finite number, found 'much'",
        }
    ],
}
_NONE: dict[str, Any] = {"accepted": 0, "duplicates": 0, "rejected": [], "detail": "expected …; found …"}
_SHOWN = {"200": _TAKEN, "202": _TAKEN, "207": _MIXED}
_ANSWERS = {
    "200": "As 202 and 207, for PostHog's own clients, which expect nothing else",
    "202": "All events were taken, or had been before",
    "207": "Some events were rejected; the others were taken",
    "400": "No events could be told apart",
    "413": "More bytes or events than a request may have",
    "415": "Packed in a way that is not known",
    "429": "More events a second than one key may send",
    "503": "Nothing was written: Valkey is full or away, or the processor is behind",
}
_REFUSALS = {"401": "No key, or none that is good", "403": "Not allowed to send events, or not from this page"}
_KEY = {
    "name": "key",
    "in": "query",
    "required": False,
    "description": "A key that may do nothing but track, where no header can be set",
    "schema": {"type": "string"},
}
_SENT_AT = {
    "name": "X-Sent-At",
    "in": "header",
    "required": False,
    "description": "When the client sent this by its own clock: times of events are corrected by the difference",
    "schema": {"type": "string"},
    "example": "2026-11-22T10:00:01Z",
}


def paths() -> dict[str, Any]:
    found = {
        "/v1/events": _post(
            "Send events",
            'One event, an array, `{"events": […]}`, NDJSON, or CloudEvents.',
            {
                "application/json": _content({"oneOf": [_OBJECT, _ARRAY]}, [_EVENT, {**_EVENT, "value": "much"}]),
                "text/plain": _content({"type": "string"}, '{"event": "signup"}'),
                "application/x-ndjson": _content({"type": "string"}, '{"event": "signup"}\n{"event": "login"}\n'),
                "application/cloudevents+json": _content(_OBJECT, _CLOUD),
                "application/cloudevents-batch+json": _content(_ARRAY, [_CLOUD]),
            },
        ),
        "/v1/batch": _post(
            "Send calls as Segment's clients do",
            "Calls of all types in `batch`, with `sentAt`.",
            _json({"batch": [_TRACK], "sentAt": "2026-11-22T10:00:01Z"}),
        ),
        "/capture": _post("Send a capture as PostHog's clients do", "One capture, or an array.", _json(_CAPTURE)),
        "/batch": _post(
            "Send captures as PostHog's clients do",
            "Captures in `batch`, with `api_key` and `sent_at`.",
            _json({"api_key": "sg_…", "batch": [_CAPTURE], "sent_at": "2026-11-22T10:00:01Z"}),
        ),
        "/s.js": {
            "get": {
                "tags": ["events"],
                "summary": "The script for pages",
                "responses": {
                    "200": {
                        "description": "Sends a page view, and what `streamgauge('event', {…})` is told",
                        "content": {"text/javascript": _content({"type": "string"}, "(function () { … })()")},
                    }
                },
            }
        },
    }
    for call in ("track", "page", "screen", "identify", "group", "alias"):
        example = {key: value for key, value in _TRACK.items() if call == "track" or key not in ("event", "type")}
        found[f"/v1/{call}"] = _post(f"Send a call of Segment's {call}", "One call.", _json(example))
    return found


def _post(summary: str, text: str, content: dict[str, Any]) -> dict[str, Any]:
    answers: dict[str, Any] = {
        status: {"description": said, "content": {"application/json": _content(_VERDICT, _SHOWN.get(status, _NONE))}}
        for status, said in _ANSWERS.items()
    }
    for status in ("429", "503"):
        answers[status]["headers"] = {"Retry-After": {"description": "Seconds", "schema": {"type": "integer"}}}
    answers |= {status: {"description": said} for status, said in _REFUSALS.items()}
    return {
        "post": {
            "tags": ["events"],
            "x-permissions": [Permission.TRACK.value],
            "summary": summary,
            "description": f"{text} May be packed with gzip. The answer has a verdict on each event.",
            "parameters": [_KEY, _SENT_AT],
            "requestBody": {"required": True, "content": content},
            "responses": answers,
        }
    }


def _json(example: Any) -> dict[str, Any]:
    return {"application/json": _content(_OBJECT, example)}


def _content(schema: dict[str, Any], example: Any) -> dict[str, Any]:
    return {"schema": schema, "example": example}
