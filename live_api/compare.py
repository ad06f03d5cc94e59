"""REST: what a number was at the same time yesterday."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from fastapi import APIRouter, HTTPException, Query, Request

from live_api.access.guard import identity_of, requires
from live_api.access.permissions import Permission
from live_api.access.within import metrics_within
from live_api.asked import asked_for, dimensions_asked
from live_api.described import Described, described
from live_api.stored import or_503
from live_api.yesterday import Then, at_same_time_yesterday
from sinks.records import Point, iso
from sinks.store import Store
from stream.catalog import Catalog
from stream.walltime import clock_ms

_OWN_PARAMETERS = {"metric", "window", "key"}
_STEP_MS = 10_000
"""Every screen asks the same, so an answer is worked out once in so long."""
_MOST_ANSWERS = 10_000


def router(catalog: Catalog, store: Store, *, clock: Callable[[], int] = clock_ms) -> APIRouter:
    """The route over the catalog and the store."""
    api = APIRouter(prefix="/v1")
    known = described(catalog)
    keys = {metric.name: metric.keys for metric in catalog.every_metric}
    answers: dict[tuple[Any, ...], Then] = {}
    lock = threading.Lock()

    def worked_out(
        found: Described, window: str, key: str | None, dimensions: dict[str, str], now_ms: int, *, shown: bool
    ) -> Then:
        def read(name: str, from_ms: int, to_ms: int) -> Sequence[Point]:
            if not shown:
                return ()
            points = store.points(found["name"], name, from_ms=from_ms, to_ms=to_ms, dimensions=dimensions)
            # A former catalog may have had the metric with more dimensions.
            return [point for point in points if [name for name, _ in point.dimensions] == found["by"]]

        zone = catalog.platform.zone
        return at_same_time_yesterday(read, found["measure"], found["windows"], window, zone, now_ms=now_ms, key=key)

    @api.get(
        "/compare",
        dependencies=[requires(Permission.VIEW_NUMBERS)],
        summary="What a number was at the same time yesterday; null where that is not known",
    )
    def compare(
        request: Request,
        metric: str = Query(description="Name of a metric of the catalog"),
        window: str = Query(description="One of its windows, such as 1d"),
        key: str | None = Query(None, description="Which value of a quantile or top_k, such as p99"),
    ) -> dict[str, Any]:
        rows = identity_of(request).rows
        found = asked_for(metrics_within(known, rows), metric, window)
        _check_key(found, key, keys[found["name"]])
        dimensions = dimensions_asked(found, request, _OWN_PARAMETERS)
        if missing := [name for name in found["by"] if name not in dimensions]:
            raise HTTPException(400, f"{missing[0]}: expected a value, as one series is compared; found none")
        now_ms = clock() // _STEP_MS * _STEP_MS
        shown = rows.show(tuple(dimensions.items()))
        question = (metric, window, key, tuple(sorted(dimensions.items())), shown, now_ms)
        with or_503(), lock:
            if question not in answers:
                if len(answers) >= _MOST_ANSWERS or (answers and next(iter(answers))[-1] != now_ms):
                    answers.clear()
                answers[question] = worked_out(found, window, key, dimensions, now_ms, shown=shown)
            then = answers[question]
        return {"metric": metric, "window": window, "at": iso(then.at_ms), "value": then.value}

    return api


def _check_key(metric: Described, key: str | None, keys: Sequence[str]) -> None:
    if keys and key not in keys:
        raise HTTPException(400, f"key: expected one of {', '.join(keys)}; found {key!r}")
    if metric["measure"] == "top_k" and key is None:
        raise HTTPException(400, f"key: expected one of the texts of {metric['name']}; found none")
    if not keys and metric["measure"] != "top_k" and key is not None:
        raise HTTPException(400, f"key: expected none, as {metric['name']} has one value; found {key!r}")
