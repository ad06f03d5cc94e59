"""`/openapi.json` and `/docs`: the document of the API, and a page that shows it with nothing from anywhere else."""

from __future__ import annotations

from pathlib import Path

import orjson
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from live_api.pages import root_of, with_base

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'self'; form-action 'none'; frame-ancestors 'none'"
)
"""What the page may do. Swagger UI styles some of its elements one by one, hence the inline styles; no script is."""
_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_NOT_BUILT = "The page is not built; the document is at openapi.json, beside this one.\n"


def api_page_routes(app: FastAPI, static: Path) -> list[BaseRoute]:
    """Routes for everybody: what the API can be asked says nothing about events."""

    def document(request: Request) -> Response:
        # Relative to where a proxy shows us, so that what is tried on the page comes here.
        body = app.openapi() | {"servers": [{"url": root_of(request) or "/"}]}
        return Response(orjson.dumps(body), media_type="application/json", headers={"Cache-Control": "no-cache"})

    def page(request: Request) -> Response:
        try:
            html = (static / "apidocs/page.html").read_text(encoding="utf-8")
        except FileNotFoundError:
            return PlainTextResponse(_NOT_BUILT, 503)
        return HTMLResponse(with_base(html, f"{root_of(request)}/"), headers=_HEADERS)

    return [Route("/openapi.json", document), Route("/docs", page), Route("/docs/", page)]
