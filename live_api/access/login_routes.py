"""The way of a browser to the issuer and back: `/auth/login`, `/auth/callback`, `/auth/logout`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, HTTPException, Query, Request, Response
from starlette.responses import RedirectResponse

from live_api.access.browsers import MOST_PERSON_MS, Browser, cookie_of, drop_cookie, is_secure, set_cookie
from live_api.access.entrance import Entrance
from live_api.access.guard import PUBLIC
from live_api.access.issuer import Issuer
from live_api.access.logins import WITHIN_S, Login, Logins, new_login
from live_api.access.oidc import Unverified, identity_from
from live_api.admission import Bucket
from live_api.stored import or_503
from sinks.audit_store import Action
from stream.walltime import clock_ms

_NO_STORE = {"Cache-Control": "no-store"}
_LOGINS_A_SECOND = 20.0
"""Each is kept in Valkey until the browser is back, and anybody can begin one."""


def router(
    entrance: Entrance, *, clock: Callable[[], int] = clock_ms, monotonic: Callable[[], float] = time.monotonic
) -> APIRouter:
    """Authorization code with PKCE, state and nonce. All of them are for everybody: who comes is not known yet."""
    api = APIRouter(prefix="/auth")
    access, issuer, logins = entrance.access, entrance.issuer, Logins(entrance.client)
    pace = Bucket(_LOGINS_A_SECOND, 5 * _LOGINS_A_SECOND, monotonic())

    def known() -> Issuer:
        if issuer is None or not issuer.oidc.client_id:
            raise HTTPException(404, "logins need STREAMGAUGE_OIDC_ISSUER and STREAMGAUGE_OIDC_CLIENT_ID")
        return issuer

    def back(request: Request) -> str:
        root = access.public_url.rstrip("/") if access.public_url else str(request.base_url).rstrip("/")
        return f"{root}/auth/callback"

    @api.get(
        "/login",
        dependencies=[PUBLIC],
        status_code=303,
        response_class=RedirectResponse,
        summary="Log in with the OIDC issuer, and come back",
    )
    async def login(
        request: Request, to: Annotated[str, Query(description="The path to come back to, such as /board/x")] = "/"
    ) -> Response:
        told = known()
        if not pace.take(monotonic()):
            raise HTTPException(503, "too many logins begin just now", {"Retry-After": "5"})
        begun = new_login(back(request), to)
        with or_503():
            url = await told.login_url(begun.back, begun.state, begun.nonce, begun.challenge)
            await asyncio.to_thread(logins.begin, begun)
        response = RedirectResponse(url, 303, _NO_STORE)
        secure = is_secure(request, access.public_url)
        # Not `Strict`: the browser comes back from the issuer's page, and must bring it along.
        response.set_cookie(
            _name(secure), begun.binding, WITHIN_S, path="/", secure=secure, httponly=True, samesite="lax"
        )
        return response

    @api.get(
        "/callback",
        dependencies=[PUBLIC],
        status_code=303,
        response_class=RedirectResponse,
        summary="Where the OIDC issuer sends browsers back to",
    )
    async def callback(
        request: Request,
        code: Annotated[str | None, Query()] = None,
        state: Annotated[str, Query()] = "",
        error: Annotated[str | None, Query()] = None,
    ) -> Response:
        told = known()
        secure = is_secure(request, access.public_url)
        with or_503():
            begun = await asyncio.to_thread(logins.take, state)
        if begun is None or not begun.is_of(request.cookies.get(_name(secure))):
            raise HTTPException(401, "this login was not begun here, or too long ago; begin again at /auth/login")
        if error is not None or code is None:
            raise HTTPException(401, f"the issuer says: {(error or 'no code')[:200]}")
        try:
            with or_503():
                response = await _logged_in(request, told, begun, code, secure)
        except Unverified as why:
            raise HTTPException(401, f"expected an ID token of {told.oidc.issuer} for this login; {why}") from None
        response.delete_cookie(_name(secure), path="/", secure=secure, httponly=True, samesite="lax")
        return response

    async def _logged_in(request: Request, told: Issuer, begun: Login, code: str, secure: bool) -> Response:
        token = await told.id_token(code, begun.back, begun.verifier)
        claims = await told.claims(token, told.oidc.client_id)
        if claims.get("nonce") != begun.nonce:
            raise Unverified("it is of another login")
        until_ms = clock() + MOST_PERSON_MS
        identity = replace(await entrance.asking.person_of(identity_from(claims, told.oidc)), until_ms=until_ms)
        if not identity.permissions:
            claim = told.oidc.roles_claim
            raise HTTPException(403, f"{identity.name} has no role here: none of the claim {claim!r} is one")
        former = cookie_of(request, secure=secure)
        if former is not None:
            await asyncio.to_thread(entrance.browsers.end, former)
        session = await asyncio.to_thread(entrance.browsers.begin, Browser(identity, None, until_ms), clock())
        await asyncio.to_thread(entrance.audit.may, identity.name, Action.LOGGED_IN, "session", "oidc")
        response = RedirectResponse(quote(begun.to, safe="/?&=%:,;@+~!$'()*#[]"), 303, _NO_STORE)
        set_cookie(response, session, secure=secure)
        return response

    @api.post("/logout", dependencies=[PUBLIC], status_code=204, summary="End the session of this browser")
    async def logout(request: Request) -> Response:
        return await ended(request, entrance)

    return api


async def ended(request: Request, entrance: Entrance) -> Response:
    """The session of a browser is over. Answers 403 to pages of others, 503."""
    if request.headers.get("origin") is not None and not entrance.asking.own_page(request):
        raise HTTPException(403, "Origin: expected a page of this server; found another")
    secure = is_secure(request, entrance.access.public_url)
    cookie = cookie_of(request, secure=secure)
    if cookie is not None:
        with or_503():
            await asyncio.to_thread(entrance.browsers.end, cookie)
    response = Response(status_code=204, headers=_NO_STORE)
    drop_cookie(response, secure=secure)
    return response


def _name(secure: bool) -> str:
    return "__Host-streamgauge-login" if secure else "streamgauge-login"
