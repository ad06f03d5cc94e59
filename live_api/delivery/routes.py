"""REST: the log of deliveries."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from live_api.access.guard import WHOLE, requires
from live_api.access.permissions import Permission
from live_api.stored import or_503
from sinks.deliveries import Deliveries

MOST = 1_000


def router(log: Deliveries) -> APIRouter:
    """Routes over the delivery log."""
    api = APIRouter(prefix="/v1")

    @api.get(
        "/deliveries",
        dependencies=[requires(Permission.VIEW_HEALTH), WHOLE],
        summary="What webhooks were told, and what came of it",
    )
    def deliveries(
        endpoint: Annotated[str | None, Query(description="Only of this webhook")] = None,
        limit: Annotated[int, Query(ge=1, le=MOST, description="How many")] = 100,
    ) -> dict[str, Any]:
        """The newest first."""
        with or_503("the store cannot be read now"):
            found = log.read(endpoint, limit=limit)
        return {"deliveries": [one.to_json() for one in found]}

    return api
