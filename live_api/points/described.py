"""How OpenAPI shows the answers of `GET /v1/points`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from live_api.points.question import ARROW, CSV

_HEAD = {
    "metric": "edits",
    "window": "1h",
    "step": "1h",
    "chosen": True,
    "why": "the finest of its windows of which the range has at most 1,000",
    "from": "2026-05-01T00:00:00Z",
    "to": "2026-05-31T00:00:00Z",
    "compare": "last_week",
    "fill": "none",
    "series_shown": 1,
    "series_total": 1,
    "series_truncated": False,
    "truncated": False,
}
_POINT = {
    "metric": "edits",
    "window": "1h",
    "start": "2026-05-01T00:00:00Z",
    "dimensions": {"channel": "#en"},
    "value": 1234,
    "count": 1234,
    "state": "final",
    "revision": 3,
}
_ROWS = {**_HEAD, "points": [_POINT], "compared": [{**_POINT, "then": "2026-04-24T00:00:00Z", "value": 1180}]}
_COLUMNS = {
    **_HEAD,
    "starts": [1777593600000, 1777597200000],
    "compared_starts": [1776988800000, 1776992400000],
    "series": [{"dimensions": {"channel": "#en"}, "values": [1234, None], "open": [], "compared": [1180, 1201]}],
}
_PLAIN = {"metric": "edits", "window": "1h", "points": [_POINT], "truncated": False}
_LINES = "start,channel,value,count,state,revision,error\r\n2026-05-01T00:00:00Z,#en,1234,1234,final,3,\r\n"


def _refused(text: str, detail: str) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"example": {"detail": detail}}}}


RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The points. With `window` and nothing but a range and dimensions, no more is said than those",
        "content": {
            "application/json": {
                "examples": {
                    "window": {"summary": "Of a window that is named", "value": _PLAIN},
                    "rows": {"summary": "A record a point, with another range beside it", "value": _ROWS},
                    "columns": {"summary": "shape=columns: a list a series", "value": _COLUMNS},
                }
            },
            CSV: {"example": _LINES},
            ARROW: {"schema": {"type": "string", "format": "binary"}},
        },
    },
    304: {"description": "What the client has, by If-None-Match, is what there is"},
    400: _refused("A parameter that is none", "compare: expected one of previous, yesterday, last_week; found 'today'"),
    404: _refused("No such metric", "metric: expected one of edits, bytes_added; found 'edit'"),
    422: _refused(
        "What cannot be answered exactly",
        "step: windows of a quantile cannot be put together exactly, so expected one of 1m, 1h; found '6h'",
    ),
    503: _refused("The store is away", "sqlite:////var/lib/streamgauge/points.db: another process holds the database"),
}
"""Of `GET /v1/points`, by status."""


def enum(values: Iterable[str]) -> dict[str, Any]:
    """What a parameter may be, for OpenAPI; the route itself checks it, to say it in its own words."""
    return {"enum": list(values)}
