"""REST: who asks, and tickets for live lines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response

from live_api.guard import PUBLIC, identity_of, requires
from live_api.permissions import Permission
from live_api.tickets import Tickets, line_ms
from sinks.errors import SinkError
from sinks.records import iso
from stream.walltime import clock_ms

_NO_STORE = {"Cache-Control": "no-store"}


def router(tickets: Tickets, *, oidc: bool = False, clock: Callable[[], int] = clock_ms) -> APIRouter:
    """Routes about whoever asks. `oidc`: whether people can log in with somebody who knows them."""
    api = APIRouter(prefix="/v1")

    @api.get("/session", dependencies=[PUBLIC], summary="Who asks, what they may do, and how one can log in")
    async def whoever(request: Request, response: Response) -> dict[str, Any]:
        response.headers.update(_NO_STORE)
        identity = identity_of(request)
        told = identity.to_json()
        return {
            "name": identity.name,
            "permissions": told["permissions"],
            "rows": told["rows"],
            "login": {"key": True, "oidc": oidc},
            "until": None if identity.until_ms is None else iso(identity.until_ms),
        }

    @api.post(
        "/tickets",
        dependencies=[requires(Permission.VIEW_NUMBERS)],
        summary="A ticket that opens one live line within a minute",
    )
    def ticket(request: Request, response: Response) -> dict[str, Any]:
        response.headers.update(_NO_STORE)
        identity, now_ms = identity_of(request), clock()
        try:
            made = tickets.issue(identity, now_ms)
        except SinkError as error:
            raise HTTPException(503, str(error)) from error
        return {
            "ticket": made.token,
            "expires_in_s": (made.until_ms - now_ms) / 1_000,
            "line_s": line_ms(identity, now_ms) / 1_000,
        }

    return api
