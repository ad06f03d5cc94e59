"""The one place where a request is let through or not: every route says here what it needs.

A route is declared with `dependencies=[requires(…)]`, or wrapped by `guarded(…)` where it is none of FastAPI's; what is
`PUBLIC` says so. A test holds every route of the application to that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Depends, HTTPException, Request
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from live_api.access.identity import NOBODY, Identity
from live_api.access.permissions import Permission

_IDENTITY = "streamgauge.identity"
_REFUSED = "streamgauge.refused"
Identify = Callable[[HTTPConnection], Awaitable[Identity]]
"""Who a connection is of. Raises HTTPException 401 for credentials that are not good; none at all are no error."""
Endpoint = Callable[[Request], Awaitable[Response]]


def address_of(connection: HTTPConnection) -> str:
    """Where it comes from, as a trusted proxy says or else as it is; empty where nobody knows."""
    return connection.client.host if connection.client is not None else ""


def identity_of(connection: HTTPConnection) -> Identity:
    """Who asks; nobody where no middleware has looked."""
    found: Identity = connection.scope.get(_IDENTITY, NOBODY)
    return found


def identify_as(connection: HTTPConnection, identity: Identity) -> None:
    """Somebody who showed who they are in a way of a route's own, such as a key in the body."""
    connection.scope[_IDENTITY] = identity
    connection.scope.pop(_REFUSED, None)


def refused_of(connection: HTTPConnection) -> HTTPException | None:
    """Why who asks is not known, although they showed something; None where they did not, or it is."""
    found: HTTPException | None = connection.scope.get(_REFUSED)
    return found


def check(connection: HTTPConnection, *permissions: Permission) -> Identity:
    """Who asks, if they may: any one of `permissions` will do. Answers 401 to nobody in particular, 403 to others, and
    what `identify` had to say of credentials that are not good."""
    identity = identity_of(connection)
    refused = refused_of(connection)
    if refused is not None:
        raise refused
    if any(identity.may(permission) for permission in permissions):
        return identity
    wanted = " or ".join(permissions)
    if identity.name == NOBODY.name:
        raise HTTPException(
            401, f"expected a key or a login that may {wanted}; found none", {"WWW-Authenticate": "Bearer"}
        )
    if not identity.permissions:
        raise HTTPException(403, f"expected somebody who may {wanted}; {identity.name} has no role here")
    raise HTTPException(403, f"expected somebody who may {wanted}; {identity.name} may not")


def check_whole(identity: Identity) -> None:
    """Answers 403 to somebody who is shown some rows only, where numbers are of all rows and cannot be told apart."""
    if identity.rows.limited:
        limits = ", ".join(name for name, _ in identity.rows.allowed)
        raise HTTPException(
            403, f"{identity.name} sees the rows of their {limits} only, and this cannot be divided by {limits}"
        )


async def _whole(request: Request) -> None:
    check_whole(identity_of(request))


WHOLE = Depends(_whole)
"""A dependency, behind `requires`, for a route whose numbers are of all rows."""


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
            request.scope.pop(_REFUSED, None)
        return await behind(request)

    behind = guarded(endpoint, *permissions)
    with_ticket.permissions = permissions  # type: ignore[attr-defined]
    return with_ticket


class Identified:
    """ASGI middleware: finds out who asks, once for each request and each handshake, and tells of whom was sent away.

    `refused` is told who, by which method and route, and with which status; never the address itself, which may have
    somebody's id in it.
    """

    def __init__(
        self, app: ASGIApp, identify: Identify, refused: Callable[[str, str, str], None] | None = None
    ) -> None:
        self._app, self._identify, self._refused = app, identify, refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            try:
                scope[_IDENTITY] = await self._identify(HTTPConnection(scope))
            except HTTPException as error:
                # Said by `check`: what everybody may ask is answered all the same, and a live line says itself why it
                # ends, as browsers cannot read a refused handshake.
                scope[_IDENTITY], scope[_REFUSED] = NOBODY, error
        if self._refused is None or scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        statuses: list[int] = []

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])
            await send(message)

        await self._app(scope, receive, noted)
        if statuses and statuses[0] in (401, 403):
            who = scope[_IDENTITY].name
            await asyncio.to_thread(self._refused, who, f"{scope['method']} {_route(scope)}", f"status {statuses[0]}")


def _route(scope: Scope) -> str:
    """The path of the route that answered, as it is declared."""
    route = scope.get("route")
    if route is None:
        # FastAPI's routes say which they are, Starlette's only whose turn it was.
        among, answered = getattr(scope.get("app"), "routes", ()), scope.get("endpoint", scope)
        route = next((one for one in among if getattr(one, "endpoint", None) is answered), None)
    return getattr(route, "path", "no route")


def refusal(error: HTTPException) -> Response:
    """The answer that FastAPI would give, for those outside of it."""
    return JSONResponse({"detail": error.detail}, error.status_code, error.headers)
