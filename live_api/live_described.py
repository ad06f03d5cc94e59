"""How OpenAPI shows the live line, whose routes are none of FastAPI's. docs/protocol.md says all of it."""

from __future__ import annotations

from typing import Any

from live_api.access.permissions import Permission

_HELLO = {"op": "hello", "topics": ["metric:food_saved@1m", "system"]}
_SERIES = {
    "metric": "food_saved",
    "window": "1m",
    "dimensions": {},
    "points": [[1711999980000, 41.5, 7, "open", 3]],
}
_UPDATE = {"op": "update", "seq": 3506176000204800, "t": 1712000000100, "series": {"food_saved@1m": _SERIES}}
_EVENT = (
    "id: a1b2c3d4:3506176000204800\n"
    'data: {"op":"update","seq":3506176000204800,"t":1712000000100,"series":{"food_saved@1m":{"metric":"food_saved",'
    '"window":"1m","dimensions":{},"points":[[1711999980000,41.5,7,"open",3]]}}}\n\n'
)
_REFUSED = {"text/plain": {"example": "busy; come back in a moment\n"}}
_UNKNOWN = {
    "op": "error",
    "code": "unknown_topic",
    "message": "expected a metric, one of food_saved, posts and 3 others; found 'metric:food'",
}

LIVE_PATHS: dict[str, dict[str, Any]] = {
    "/v1/live": {
        "get": {
            "summary": "The live line as Server-Sent Events",
            "description": "The same messages as over the WebSocket, each with `id: epoch:seq`; a client that comes "
            "back with it as `Last-Event-ID` goes on where it was.",
            "x-permissions": [Permission.VIEW_NUMBERS],
            "parameters": [
                {
                    "name": "topics",
                    "in": "query",
                    "description": "What to be told of; any number of them",
                    "schema": {"type": "array", "items": {"type": "string"}},
                    "explode": True,
                    "example": ["metric:food_saved@1m", "system"],
                },
                {
                    "name": "resume",
                    "in": "query",
                    "description": "`epoch:seq` of the last message, for those who cannot send `Last-Event-ID`",
                    "schema": {"type": "string"},
                },
            ],
            "responses": {
                "200": {
                    "description": "Messages, until either side ends it",
                    "content": {"text/event-stream": {"schema": {"type": "string"}, "example": _EVENT}},
                },
                "400": {
                    "description": "A topic that is none",
                    "content": {"application/json": {"example": _UNKNOWN}},
                },
                "503": {"description": "As many clients as there may be; see Retry-After", "content": _REFUSED},
            },
        }
    },
    "/v1/ws": {
        "get": {
            "summary": "The live line over a WebSocket",
            "description": "Text frames of one JSON object each: `hello` from the client, then `welcome`, `snapshot` "
            "and at most one `update` a tick. Values are absolute: a frame that is missed does no harm. Close codes "
            "3000 to 3499 and 4000 to 4499 ask to come back. Tools that speak HTTP alone cannot try it.",
            "x-permissions": [Permission.VIEW_NUMBERS],
            "responses": {
                "101": {
                    "description": "The line is open",
                    "content": {
                        "application/json": {
                            "examples": {
                                "hello": {"summary": "What a client says first", "value": _HELLO},
                                "update": {"summary": "What it hears from then on", "value": _UPDATE},
                            }
                        }
                    },
                },
                "503": {"description": "As many clients as there may be", "content": _REFUSED},
            },
        }
    },
}
