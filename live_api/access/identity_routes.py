"""REST: who asks, sessions of browsers that begin with a key, and tickets for live lines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from pydantic import BaseModel, Field, ValidationError
from starlette.responses import JSONResponse

from live_api.access.browsers import Browser, cookie_of, is_secure, set_cookie
from live_api.access.entrance import Entrance
from live_api.access.guard import PUBLIC, address_of, identity_of, requires
from live_api.access.identity import Identity
from live_api.access.login_routes import ended
from live_api.access.permissions import Permission
from live_api.access.tickets import line_ms
from live_api.asked import json_body
from live_api.stored import or_503
from sinks.audit_store import Action
from sinks.key_records import id_of
from sinks.records import iso
from stream.walltime import clock_ms

_NO_STORE = {"Cache-Control": "no-store"}


_MOST_BYTES = 4_096


class _Shown(BaseModel):
    key: str = Field(max_length=200, description="An API key")


_BODY = {"requestBody": {"required": True, "content": {"application/json": {"schema": _Shown.model_json_schema()}}}}


def router(entrance: Entrance, *, clock: Callable[[], int] = clock_ms) -> APIRouter:
    """Routes about whoever asks."""
    api = APIRouter(prefix="/v1")
    issuer = entrance.issuer

    def described(identity: Identity) -> dict[str, Any]:
        told = identity.to_json()
        return {
            "name": identity.name,
            "permissions": told["permissions"],
            "rows": told["rows"],
            "login": {"key": True, "oidc": issuer is not None and bool(issuer.oidc.client_id)},
            "until": None if identity.until_ms is None else iso(identity.until_ms),
        }

    @api.get("/session", dependencies=[PUBLIC], summary="Who asks, what they may do, and how one can log in")
    async def whoever(request: Request, response: Response) -> dict[str, Any]:
        response.headers.update(_NO_STORE)
        return described(identity_of(request))

    @api.post(
        "/session",
        dependencies=[PUBLIC],
        summary="Let this browser in with a key; it keeps a cookie, not the key",
        openapi_extra=_BODY,
    )
    async def begin(request: Request) -> Response:
        # Else a strange page could have its visitors be here as somebody else.
        if request.headers.get("origin") is not None and not entrance.asking.own_page(request):
            raise HTTPException(403, "Origin: expected a page of this server; found another")
        key = (await _shown(request)).key.strip()
        identity = await entrance.asking.key(key, address_of(request))
        if not identity.permissions - {Permission.TRACK}:
            raise HTTPException(403, f"{identity.name} may send events only, and there is nothing for it to see")
        secure = is_secure(request, entrance.access.public_url)
        former = cookie_of(request, secure=secure)
        with or_503():
            if former is not None:
                await asyncio.to_thread(entrance.browsers.end, former)
            browser = Browser(identity, id_of(key), identity.until_ms)
            token = await asyncio.to_thread(entrance.browsers.begin, browser, clock())
        await asyncio.to_thread(entrance.audit.may, identity.name, Action.LOGGED_IN, "session", "key")
        response = JSONResponse(described(identity), headers=_NO_STORE)
        set_cookie(response, token, secure=secure)
        return response

    @api.delete("/session", dependencies=[PUBLIC], status_code=204, summary="End the session of this browser")
    async def end(request: Request) -> Response:
        return await ended(request, entrance)

    @api.post(
        "/tickets",
        dependencies=[requires(Permission.VIEW_NUMBERS)],
        summary="A ticket that opens one live line within a minute",
    )
    def ticket(request: Request, response: Response) -> dict[str, Any]:
        response.headers.update(_NO_STORE)
        identity, now_ms = identity_of(request), clock()
        with or_503():
            made = entrance.tickets.issue(identity, now_ms)
        return {
            "ticket": made.token,
            "expires_in_s": (made.until_ms - now_ms) / 1_000,
            "line_s": line_ms(identity, now_ms) / 1_000,
        }

    return api


async def _shown(request: Request) -> _Shown:
    """The body. Not read by the framework, which takes any length from anybody, and says again what was wrong in it."""
    body = await json_body(request, _MOST_BYTES)
    try:
        return _Shown.model_validate_json(body)
    except ValidationError:
        raise HTTPException(400, 'expected {"key": …}, with a text of at most 200 characters') from None
