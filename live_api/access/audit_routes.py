"""REST: the audit log."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Response

from live_api.access.guard import WHOLE, requires
from live_api.access.permissions import Permission
from live_api.asked import time_ms
from live_api.stored import answered
from sinks.audit_store import Action, AuditStore

MOST = 1_000
_ACTIONS = ", ".join(Action)


def router(audit: AuditStore) -> APIRouter:
    """Routes over the audit log."""
    api = APIRouter(prefix="/v1")

    @api.get(
        "/audit",
        dependencies=[requires(Permission.ADMINISTER), WHOLE],
        summary="Who read of persons, exported, answered alerts, had somebody forgotten, made keys, or was sent away",
    )
    def entries(
        response: Response,
        from_: Annotated[str | None, Query(alias="from", description="ISO 8601 or epoch ms: at or after it")] = None,
        action: Annotated[str | None, Query(description=f"One of {_ACTIONS}")] = None,
        who: Annotated[str | None, Query(description="Only of them, such as key:ab12cd34")] = None,
        subject: Annotated[str | None, Query(description="Only about this: a pseudonym, or a name")] = None,
        limit: Annotated[int, Query(ge=1, le=MOST, description="How many")] = 100,
    ) -> dict[str, Any]:
        """The newest first."""
        response.headers["Cache-Control"] = "no-store"
        if action is not None and action not in tuple(Action):
            raise HTTPException(400, f"action: expected one of {_ACTIONS}; found {action[:100]!r}")
        found = answered(
            audit,
            lambda: audit.read(
                from_ms=time_ms("from", from_),
                who=who,
                action=None if action is None else Action(action),
                subject=subject,
                limit=limit,
            ),
        )
        return {"entries": [one.to_json() for one in found]}

    return api
