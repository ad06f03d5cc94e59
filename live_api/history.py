"""REST: what there is to see, and the points of the past."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, HTTPException, Query, Request, Response

from live_api.access.auditing import Audit
from live_api.access.guard import check, identity_of, requires
from live_api.access.identity import LASTING
from live_api.access.permissions import Permission
from live_api.access.within import metrics_within
from live_api.context import Context
from live_api.described import described
from live_api.points import cached, formats, plain
from live_api.points.answer import answer
from live_api.points.choose import Impossible
from live_api.points.described import RESPONSES, enum
from live_api.points.question import ARROW, CSV, FILLS, FORMATS, SHAPES, Question, question
from live_api.points.shift import COMPARES
from live_api.stored import or_503
from sinks.audit_store import Action
from sinks.history import History
from stream.durations import duration_ms
from stream.metrics import GivenMetric
from stream.walltime import clock_ms

MAX_POINTS = formats.MOST_POINTS
_KINDS = {"json": "application/json", "csv": f"{CSV}; charset=utf-8; header=present", "arrow": ARROW}


def router(context: Context, history: History, audit: Audit, *, clock: Callable[[], int] = clock_ms) -> APIRouter:
    """Routes over the catalog and the store."""
    api = APIRouter(prefix="/v1")
    known = described(context.catalog)
    keys = {metric.name: metric.keys for metric in context.catalog.every_metric}
    later = {one.name for one in context.catalog.every_metric if one.on is not None or isinstance(one, GivenMetric)}
    zone = context.catalog.platform.zone
    lateness_ms = duration_ms(context.catalog.event.allowed_lateness)

    @api.get(
        "/metrics",
        dependencies=[requires(Permission.VIEW_NUMBERS)],
        summary="Every metric of the catalog, and how many events were refused",
    )
    async def metrics(request: Request) -> dict[str, Any]:
        rows = identity_of(request).rows
        platform = context.catalog.platform
        told: dict[str, Any] = {
            "platform": {"name": platform.name, "timezone": platform.timezone},
            "metrics": list(metrics_within(known, rows).values()),
        }
        if not rows.limited:
            # Of events that were refused nobody knows whose they were.
            rejects = context.feed.rejects()
            told |= {"rejects": rejects, "rejected_total": sum(rejects.values())}
        return told | {"version": context.version}

    @api.get(
        "/points",
        dependencies=[requires(Permission.VIEW_NUMBERS)],
        summary="Points of one metric, from the store",
        responses=RESPONSES,
        response_class=Response,
    )
    def points(
        request: Request,
        metric: str = Query(description="Name of a metric of the catalog", examples=["edits"]),
        window: str | None = Query(
            None, description="One of its windows, such as 1m; auto or none: the finest that gives at most 1,000 points"
        ),
        from_: str | None = Query(
            None,
            alias="from",
            description="ISO 8601, epoch ms, now, or a time from now such as -30d; windows that start at or after it",
            examples=["-30d", "2026-05-01T00:00:00Z"],
        ),
        to: str | None = Query(None, description="The same; windows that start before it", examples=["now"]),
        step: str | None = Query(
            None,
            description="Longer windows, put together from those there are: 5m, 6h, 7d, day, week, month. Of counts, "
            "sums, means, extremes and rates only: of others that would not be exact",
        ),
        compare: str | None = Query(
            None,
            description="Beside each window the one of the range before, of yesterday, or of a week before",
            json_schema_extra=enum(COMPARES),
        ),
        fill: str | None = Query(
            None,
            description="What stands where there were no events, behind the first point and before the watermark",
            json_schema_extra=enum(FILLS),
        ),
        format_: str | None = Query(None, alias="format", description="Or by Accept", json_schema_extra=enum(FORMATS)),
        shape: str | None = Query(
            None, description="Of JSON: a record a point, or a list a series", json_schema_extra=enum(SHAPES)
        ),
        limit: str | None = Query(None, description="The so many largest series; at most 1,000"),
    ) -> Response:
        identity = identity_of(request)
        offered = metrics_within(known, identity.rows)
        found = offered.get(metric)
        if found is None:
            raise HTTPException(404, f"metric: expected one of {', '.join(offered)}; found {metric!r}")
        of_events = metric not in later
        asked = question(found, keys[metric], request, now_ms=clock(), of_events=of_events, rows=identity.rows)
        if asked.format != "json":
            check(request, Permission.EXPORT)
            audit.must(identity, Action.EXPORTED, metric, asked.format)
        try:
            with or_503():
                return _plain(request, asked) if asked.plain else _answered(request, asked)
        except Impossible as error:
            raise HTTPException(422, str(error)) from error

    def _answered(request: Request, asked: Question) -> Response:
        with history.reading() as past:
            read = answer(past, asked, zone)
        write = {"csv": formats.as_csv, "arrow": formats.as_arrow}.get(asked.format)
        if write is None:
            write = formats.as_columns if asked.shape == "columns" else formats.as_rows
        return cached.response(
            request,
            cached.tag(asked, read, context.version),
            lambda: write(asked, read),
            kind=_KINDS[asked.format],
            # What a browser keeps it may show to whoever logs in next.
            keep_s=cached.keep_s(asked, read, lateness_ms) if identity_of(request).name in LASTING else 0,
            name=f"{asked.metric['name']}-{read.choice.step.name.replace('/', '-')}.{asked.format}",
        )

    def _plain(request: Request, asked: Question) -> Response:
        """Who names a window and asks for nothing else gets its points as they are, and no word more."""
        assert asked.window is not None
        with history.reading() as past:
            runs = plain.earliest(past, asked, zone, MAX_POINTS + 1)
        if runs is not None:
            body = plain.written(asked, runs, MAX_POINTS)
        else:
            rows = context.store.points(
                asked.metric["name"],
                asked.window,
                from_ms=asked.from_ms,
                to_ms=asked.to_ms,
                dimensions=asked.dimensions,
                limit=MAX_POINTS + 1,
            )
            body = plain.written_points(asked, rows, MAX_POINTS)
        etag = cached.tag_of(body, asked)
        return cached.response(request, etag, lambda: body, kind=_KINDS["json"], keep_s=0, name="")

    return api
