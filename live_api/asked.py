"""What a request asks for, held against what there is: the same answers from every route."""

from __future__ import annotations

from collections.abc import Collection, Mapping

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
