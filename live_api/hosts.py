"""Which names a request may call us by, when we are only there for this machine."""

from __future__ import annotations

from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from live_api.admission import Origins


class OwnNames:
    """ASGI middleware: whoever calls us by a name that is not ours gets 403, for a WebSocket before there is one.

    A page under a name that leads to this machine's loopback is of our origin to its browser, which then sends no
    Origin with what it gets; the name is all that gives it away.
    """

    def __init__(self, app: ASGIApp, origins: Origins) -> None:
        self._app = app
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        hosts = HTTPConnection(scope).headers.getlist("host")
        if len(hosts) == 1 and self._origins.name_us(hosts[0]):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": ""})
        else:
            await PlainTextResponse(_REFUSED, 403)(scope, receive, send)


_REFUSED = (
    "This is served to its own machine only, and under this name it may be anybody's page.\n"
    "Use localhost, or list the origin of a proxy in STREAMGAUGE_ORIGINS.\n"
)
