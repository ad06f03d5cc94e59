"""REST: what there is to see, and the points of the past."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, HTTPException, Query, Request

from live_api.asked import asked_for, dimensions_asked, time_ms
from live_api.context import Context
from live_api.described import described
from sinks.errors import SinkError

MAX_POINTS = 10_000
_OWN_PARAMETERS = {"metric", "window", "from", "to"}


def router(context: Context) -> APIRouter:
    """Routes over the catalog and the store."""
    api = APIRouter(prefix="/v1")
    known = described(context.catalog)

    @api.get("/metrics", summary="Every metric of the catalog, and how many events were refused")
    async def metrics() -> dict[str, Any]:
        rejects = context.feed.rejects()
        platform = context.catalog.platform
        return {
            "platform": {"name": platform.name, "timezone": platform.timezone},
            "metrics": list(known.values()),
            "rejects": rejects,
            "rejected_total": sum(rejects.values()),
            "version": context.version,
        }

    @api.get("/points", summary="Points of one metric, from the store")
    def points(
        request: Request,
        metric: str = Query(description="Name of a metric of the catalog"),
        window: str = Query(description="One of its windows, such as 1m"),
        from_: str | None = Query(None, alias="from", description="ISO 8601 or epoch ms; starts at or after"),
        to: str | None = Query(None, description="ISO 8601 or epoch ms; starts before"),
    ) -> dict[str, Any]:
        found = asked_for(known, metric, window)
        dimensions = dimensions_asked(found, request, _OWN_PARAMETERS)
        try:
            rows = context.store.points(
                metric,
                window,
                from_ms=time_ms("from", from_),
                to_ms=time_ms("to", to),
                dimensions=dimensions,
                limit=MAX_POINTS + 1,
            )
        except SinkError as error:
            raise HTTPException(503, str(error)) from error
        return {
            "metric": metric,
            "window": window,
            # A former catalog may have had the metric with other dimensions.
            "points": [
                point.to_json() for point in rows[:MAX_POINTS] if [n for n, _ in point.dimensions] == found["by"]
            ],
            "truncated": len(rows) > MAX_POINTS,
        }

    return api
