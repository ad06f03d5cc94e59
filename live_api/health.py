"""Whether this process lives, and whether what it shows can be believed."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from live_api.context import Context
from live_api.feed import OF_ALL_ROWS, SILENT_AFTER_MS
from live_api.guard import PUBLIC, identity_of
from live_api.permissions import Permission
from stream.walltime import clock_ms


def router(context: Context) -> APIRouter:
    """`/healthz` is about the process alone; `/readyz` about the live numbers: server, processor, and every stream."""
    api = APIRouter()

    @api.get("/healthz", dependencies=[PUBLIC], summary="Whether the process answers")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @api.get(
        "/readyz",
        dependencies=[PUBLIC],
        summary="Whether live numbers are current",
        responses={503: {"description": "not ready"}},
    )
    async def readyz(request: Request, response: Response) -> dict[str, Any]:
        system = context.feed.describe()
        reasons = []
        if not context.feed.caught_up:
            reasons.append("the live stream has not been read to its end yet")
        if system["state"] == "valkey_down":
            reasons.append("Valkey is out of reach")
        if system["state"] == "processor_silent" and context.feed.caught_up:
            reasons.append("the processor has not been heard of for 5 s")
        if context.feed.unread is not None:
            reasons.append(f"the store has not been read yet: {context.feed.unread}")
        if not reasons:
            now_ms = clock_ms()
            for stream in context.catalog.platform.streams:
                seen_ms = system["streams"].get(stream, {}).get("seen_ms", 0)
                if now_ms - seen_ms >= SILENT_AFTER_MS:
                    reasons.append(f"the stream {stream} has not been read for 5 s")
        response.status_code = 503 if reasons else 200
        told: dict[str, Any] = {"status": "not ready" if reasons else "ready", "reasons": reasons}
        # Names of streams and how much is in them are for those who look after the installation.
        identity = identity_of(request)
        if not identity.may(Permission.VIEW_HEALTH):
            return told
        hidden = OF_ALL_ROWS if identity.rows.limited else ()
        return told | {"system": {name: value for name, value in system.items() if name not in hidden}}

    return api
