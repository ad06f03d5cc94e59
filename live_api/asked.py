"""What a request asks for, held against what there is: the same answers from every route."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime

from fastapi import HTTPException, Request

from live_api.described import Described


def asked_for(known: Mapping[str, Described], metric: str, window: str) -> Described:
    """The metric asked for. Answers 404 where there is none, 400 where it has no such window."""
    found = known.get(metric)
    if found is None:
        raise HTTPException(404, f"metric: expected one of {', '.join(known)}; found {metric!r}")
    if window not in found["windows"]:
        raise HTTPException(400, f"window: expected one of {', '.join(found['windows'])}; found {window!r}")
    return found


def dimensions_asked(metric: Described, request: Request, own: Collection[str]) -> dict[str, str]:
    """The dimensions asked for: all parameters but the route's `own`. Answers 400 for one the metric has not."""
    dimensions = {name: value for name, value in request.query_params.items() if name not in own}
    for name in dimensions:
        if name not in metric["by"]:
            by = ", ".join(metric["by"]) or "none"
            raise HTTPException(400, f"{name}: {metric['name']} has no such dimension; its dimensions: {by}")
    return dimensions


async def json_body(request: Request, most_bytes: int) -> bytes:
    """What the request brings, which it says is JSON. Answers 413 where it is longer, and 415 for all else."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise HTTPException(415, f"Content-Type: expected application/json; found {kind[:100]!r}")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > most_bytes:
            raise HTTPException(413, f"expected at most {most_bytes} bytes")
    return body


def time_ms(name: str, text: str | None) -> int | None:
    """ISO 8601 or epoch milliseconds. A time without a zone is UTC."""
    if text is None:
        return None
    if text.removeprefix("-").isdecimal() and len(text) <= 16:
        return int(text)
    try:
        # A "+" that was not percent-encoded arrives as a space.
        when = datetime.fromisoformat(text.strip().replace(" ", "+") if text.count(" ") == 1 else text)
    except ValueError:
        raise HTTPException(400, f"{name}: expected ISO 8601 or epoch milliseconds; found {text!r}") from None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return int(when.timestamp() * 1_000)
