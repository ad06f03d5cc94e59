"""The wall's pages: the built `index.html`, told where its root is, at `/` and at `/board/<name>`."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

_HEADERS = {"Cache-Control": "no-cache"}
_STYLE = "body { font: 1.5rem/1.6 system-ui, sans-serif; margin: 3rem }"
_POLICY = (
    f"default-src 'none'; style-src 'sha256-{b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Of the page that is made here: its style stands in it."""


class _Named(Protocol):
    @property
    def title(self) -> str: ...


def page_routes(
    index: Path, boards: Mapping[str, _Named], knows: Callable[[Request], bool] = lambda _: True
) -> list[BaseRoute]:
    """Routes for the default board and for each by its name.

    Any board's page is the same one, which finds out by its address what to show. It is asked for each time, and sent
    when it has changed. A name that no board has is answered with 404 and the boards there are, to who `knows` them.
    """

    def page(request: Request) -> Response:
        root = root_of(request)
        try:
            html = with_base(index.read_text(encoding="utf-8"), f"{root}/")
        except FileNotFoundError:
            # It is being built anew.
            return PlainTextResponse("The wallboard is being built.\n", 503, headers={**_HEADERS, "Retry-After": "5"})
        etag = f'"{hashlib.sha256(html.encode()).hexdigest()[:32]}"'
        headers = {**_HEADERS, "ETag": etag}
        if etag in (one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")):
            return Response(status_code=304, headers=headers)
        return HTMLResponse(html, headers=headers)

    def board(request: Request) -> Response:
        name = request.path_params.get("name", "")
        # Who may not know which boards there are gets the page, which then asks who they are.
        if name in boards or not knows(request):
            return page(request)
        if name.rstrip("/") in boards:
            query = f"?{request.url.query}" if request.url.query else ""
            return RedirectResponse(f"{root_of(request)}/board/{quote(name.rstrip('/'))}{query}", headers=_HEADERS)
        headers = {**_HEADERS, "Content-Security-Policy": _POLICY}
        return HTMLResponse(_no_board(name, f"{root_of(request)}/", boards), 404, headers=headers)

    return [Route("/", page), Route("/board", board), Route("/board/{name:path}", board)]


def root_of(request: Request) -> str:
    """The path under which a proxy shows us, without a slash at its end; empty where there is none."""
    return str(request.scope.get("root_path", "")).rstrip("/")


def with_base(html: str, href: str) -> str:
    """A page whose relative addresses begin at `href`, wherever it is shown."""
    base = f'<base href="{escape(href)}" />'
    head = html.find("<head>")
    # A page without a head begins with one all the same, behind its doctype.
    at = head + len("<head>") if head >= 0 else html.find(">") + 1 if html.lstrip().startswith("<!") else 0
    return html[:at] + base + html[at:]


def _no_board(name: str, root: str, boards: Mapping[str, _Named]) -> str:
    links = "".join(
        f'<li><a href="{escape(root)}board/{quote(known)}">{escape(known)}</a>: {escape(board.title)}</li>'
        for known, board in boards.items()
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8" /><title>No such board</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1" />'
        f'<meta name="color-scheme" content="dark light" /><style>{_STYLE}</style></head>'
        f"<body><h1>No board {escape(name[:100])!r}</h1>"
        f"<p>There are:</p><ul>{links}</ul></body></html>"
    )
