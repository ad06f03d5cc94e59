"""`/s.js`: what a page loads to say that it is looked at, and what happens on it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

_FILE = Path(__file__).parent / "s.js"
MOST_BYTES = 1_024


class Snippet:
    """The script, the same for everybody. It sets no cookie and stores nothing."""

    def __init__(self) -> None:
        self._body = _FILE.read_bytes()
        self._headers = {
            "Cache-Control": "public, max-age=3600",
            "ETag": f'"{hashlib.sha256(self._body).hexdigest()[:32]}"',
            # Pages of any site load it; what may send is decided where it sends to.
            "Cross-Origin-Resource-Policy": "cross-origin",
            "X-Content-Type-Options": "nosniff",
        }

    async def endpoint(self, request: Request) -> Response:
        if self._headers["ETag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=self._headers)
        return Response(self._body, headers=self._headers, media_type="text/javascript")
