"""The one place where a request is let through or not: every route says here what it needs.

A route is declared with `dependencies=[requires(…)]`, or wrapped by `guarded(…)` where it is none of FastAPI's; what is
`PUBLIC` says so. A test holds every route of the application to that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Depends, HTTPException, Request
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from live_api.identity import NOBODY, Identity
from live_api.permissions import Permission

_IDENTITY = "streamgauge.identity"
Identify = Callable[[HTTPConnection], Awaitable[Identity]]
"""Who a connection is of. Raises HTTPException 401 for credentials that are not good; none at all are no error."""
Endpoint = Callable[[Request], Awaitable[Response]]


OF_ALL_PERSONS = frozenset({Permission.VIEW_OTHERS, Permission.VIEW_BEHAVIOUR, Permission.PREDICTIONS})
"""What is known of people is of all they did, in whatever rows: it is for those who see every row."""


def identity_of(connection: HTTPConnection) -> Identity:
    """Who asks; nobody where no middleware has looked."""
    found: Identity = connection.scope.get(_IDENTITY, NOBODY)
    return found


def check(connection: HTTPConnection, *permissions: Permission) -> Identity:
    """Who asks, if they may: any one of `permissions` will do. Answers 401 to nobody in particular, 403 to others."""
    identity = identity_of(connection)
    if any(identity.may(permission) for permission in permissions):
        if identity.rows.limited and OF_ALL_PERSONS.issuperset(permissions):
            raise HTTPException(403, f"expected somebody who sees every row; {identity.name} sees some only")
        return identity
    wanted = " or ".join(permissions)
    if identity.name == NOBODY.name:
        raise HTTPException(
            401, f"expected a key or a login that may {wanted}; found none", {"WWW-Authenticate": "Bearer"}
        )
    raise HTTPException(403, f"expected somebody who may {wanted}; {identity.name} may not")


def requires(*permissions: Permission) -> Any:
    """A dependency for a route of FastAPI: any one of `permissions` will do."""

    async def permitted(request: Request) -> Identity:
        return check(request, *permissions)

    permitted.permissions = permissions  # type: ignore[attr-defined]
    return Depends(permitted)


async def _public() -> None:
    """Everybody may."""


_public.permissions = ()  # type: ignore[attr-defined]
PUBLIC = Depends(_public)
"""A dependency for a route of FastAPI that everybody may ask, and that says nothing about events."""


def guarded(endpoint: Endpoint, *permissions: Permission) -> Endpoint:
    """An endpoint of Starlette behind `check`."""

    async def behind(request: Request) -> Response:
        check(request, *permissions)
        return await endpoint(request)

    behind.permissions = permissions  # type: ignore[attr-defined]
    return behind


Holder = Callable[[str], Awaitable[Identity | None]]
"""Whose a ticket is; None for one that is of no use."""


def by_ticket(endpoint: Endpoint, holder: Holder, *permissions: Permission) -> Endpoint:
    """As `guarded`, for those that can send no header: `?ticket=` says who asks, once, before all else does."""

    async def with_ticket(request: Request) -> Response:
        ticket = request.query_params.get("ticket")
        # A HEAD reads nothing, and must not use up what the GET behind it needs.
        if ticket is not None and request.method != "HEAD":
            found = await holder(ticket)
            if found is None:
                raise HTTPException(401, "ticket: expected one that has not been used and is not too old")
            request.scope[_IDENTITY] = found
        return await behind(request)

    behind = guarded(endpoint, *permissions)
    with_ticket.permissions = permissions  # type: ignore[attr-defined]
    return with_ticket


class Identified:
    """ASGI middleware: finds out who asks, once for each request and each handshake."""

    def __init__(self, app: ASGIApp, identify: Identify) -> None:
        self._app, self._identify = app, identify

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            try:
                scope[_IDENTITY] = await self._identify(HTTPConnection(scope))
            except HTTPException as error:
                if scope["type"] == "websocket":
                    # The line says itself why it ends, as browsers cannot read a refused handshake.
                    scope[_IDENTITY] = NOBODY
                else:
                    await refusal(error)(scope, receive, send)
                    return
        await self._app(scope, receive, send)


def refusal(error: HTTPException) -> Response:
    """The answer that FastAPI would give, for those outside of it."""
    return JSONResponse({"detail": error.detail}, error.status_code, error.headers)
