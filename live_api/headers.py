"""What browsers are told beside every answer: what a page may do, who may read, and what is not to be kept.

One ASGI middleware around all else. A header that a route has set itself stands, so a page with other needs says so
where it is made. Lines of WebSockets go past it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from live_api.admission import Origins

_Header = tuple[bytes, bytes]
_HOST = re.compile(rb"[A-Za-z0-9._-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")
_ALWAYS: tuple[_Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    # The wall keeps a screen awake, and may fill it; nothing else of a machine is any of its business.
    (
        b"permissions-policy",
        b"camera=(), display-capture=(), fullscreen=(self), geolocation=(), microphone=(), midi=(), payment=(), "
        b"screen-wake-lock=(self), usb=()",
    ),
)
_HSTS = (b"strict-transport-security", b"max-age=31536000")
ANYBODYS = ("/s.js",)
"""What pages of any origin are to load."""
OF_PERSONS = ("/v1/people", "/v1/persons", "/v1/churn", "/v1/session", "/v1/tickets", "/v1/keys", "/v1/audit", "/auth")
"""Beginnings of the paths whose answers are about somebody: nothing on the way keeps them, whatever a route says."""
_API = "/v1/"
_NO_STORE = (b"cache-control", b"no-store")
_READ = (b"GET", b"HEAD")
_SENT = (b"POST",)
_TICKETS = "/v1/tickets"
"""Asked for with POST, by whoever then reads a line."""
_ASKED_WITH = b"Accept, Authorization, Content-Type, If-None-Match, Last-Event-ID"
_TOLD = b"ETag, Retry-After"
_PREFLIGHT_S = b"600"


class Headers:
    """ASGI middleware: sets them.

    Pages of `origins` may read what whoever is logged in there may read, and may show the wall in a frame; with `*`
    those of any origin may read what needs no login. *Cost*: one pass over the headers of each answer, and nothing on
    a WebSocket.
    """

    def __init__(self, app: ASGIApp, origins: Origins) -> None:
        self._app = app
        self._listed = frozenset(origin.encode() for origin in origins.allowed if origin != "*")
        self._any = "*" in origins.allowed
        framers = " ".join(origin for origin in origins.allowed if origin != "*")
        self._framed = framers or "'none'"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"].removeprefix(scope.get("root_path", "").rstrip("/"))
        asked = {name: value for name, value in scope["headers"] if name in _LOOKED_AT}
        readers = self._readers(asked.get(b"origin"))
        wanted = asked.get(b"access-control-request-method")
        # Whoever lets strangers' pages send something answers for that.
        if readers and scope["method"] == "OPTIONS" and wanted in (_SENT if path == _TICKETS else _READ):
            await self._preflight(path, readers, send)
            return
        secure = scope.get("scheme") == "https"

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                host = asked.get(b"host", b"")
                headers = self._completed(message.get("headers", ()), path, readers, secure=secure)
                # What a browser has already keeps its policy: this answer does not know of what kind it is.
                message["headers"] = headers if message["status"] == 304 else self._with_policy(headers, host)
            await send(message)

        await self._app(scope, receive, with_headers)

    def _readers(self, origin: bytes | None) -> list[_Header]:
        """Which pages may read the answer, besides our own; none: no others."""
        if origin is not None and origin in self._listed:
            return [(b"access-control-allow-origin", origin), (b"access-control-allow-credentials", b"true")]
        # Never with credentials: any page at all could read what whoever looks at it may.
        return [(b"access-control-allow-origin", b"*")] if origin is not None and self._any else []

    async def _preflight(self, path: str, readers: list[_Header], send: Send) -> None:
        methods = _SENT if path == _TICKETS else _READ
        headers = [
            *readers,
            (b"access-control-allow-methods", b", ".join(methods)),
            (b"access-control-allow-headers", _ASKED_WITH),
            (b"access-control-max-age", _PREFLIGHT_S),
            (b"vary", b"Origin"),
            *_ALWAYS,
        ]
        await send({"type": "http.response.start", "status": 204, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    def _completed(self, own: Iterable[_Header], path: str, readers: list[_Header], *, secure: bool) -> list[_Header]:
        headers = list(own)
        if path.startswith(OF_PERSONS):
            headers = [one for one in headers if one[0].lower() != b"cache-control"] + [_NO_STORE]
        elif path.startswith(_API):
            # What says nothing of itself is of this moment, and of whoever asked.
            headers = _with(headers, [_NO_STORE])
        told = [*_ALWAYS]
        if self._framed == "'none'":
            told.append((b"x-frame-options", b"DENY"))
        told.append((b"cross-origin-resource-policy", b"cross-origin" if path in ANYBODYS else b"same-origin"))
        if secure:
            told.append(_HSTS)
        if readers and not any(name.lower() == b"access-control-allow-origin" for name, _ in headers):
            told += [*readers, (b"access-control-expose-headers", _TOLD)]
        headers = _with(headers, told)
        return _varying(headers) if self._listed or self._any else headers

    def _with_policy(self, headers: list[_Header], host: bytes) -> list[_Header]:
        kind = next((value for name, value in headers if name.lower() == b"content-type"), b"")
        is_page = kind.startswith(b"text/html")
        policy = page_policy(host, self._framed) if is_page else f"default-src 'none'; frame-ancestors {self._framed}"
        return _with(headers, [(b"content-security-policy", policy.encode())])


_LOOKED_AT = frozenset({b"origin", b"host", b"access-control-request-method"})


def page_policy(host: bytes = b"", framed: str = "'none'") -> str:
    """What a page of ours may do: load from us, and speak with us.

    `host` is what it calls us by. Safari before 15.4 does not take a WebSocket to one's own host for 'self', so it is
    named; `base-uri` is for the `<base>` that the server puts in.
    """
    lines = f" ws://{host.decode()} wss://{host.decode()}" if _HOST.fullmatch(host) else ""
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
        f"connect-src 'self'{lines}; base-uri 'self'; form-action 'self'; frame-ancestors {framed}"
    )


def _with(headers: list[_Header], more: Iterable[_Header]) -> list[_Header]:
    """Those of `more` too that have not been set."""
    known = {name.lower() for name, _ in headers}
    return headers + [one for one in more if one[0] not in known]


def _varying(headers: list[_Header]) -> list[_Header]:
    """Whoever keeps answers keeps those for one origin apart from those for another."""
    said = [value for name, value in headers if name.lower() == b"vary"]
    if any(b"origin" in value.lower() for value in said):
        return headers
    others = [one for one in headers if one[0].lower() != b"vary"]
    return [*others, (b"vary", b", ".join([*said, b"Origin"]))]
