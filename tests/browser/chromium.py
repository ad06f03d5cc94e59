"""Debian's Chromium, driven by Playwright, which brings no browser of its own here."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import orjson
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.patience import PATIENCE

_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
AWAY = r"ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE|ERR_SOCKET_NOT_CONNECTED|net::ERR_ABORTED"
"""What Chromium itself writes to the console while the server is away, whatever the page does."""
_NOWHERE = ("data", "blob", "about")


@contextmanager
def chromium() -> Iterator[Browser]:
    program = shutil.which("chromium")
    # A failure on purpose: a skipped browser would leave a green run in which nobody has looked.
    assert program, "chromium is not installed; these tests need it: apt-get install -y chromium"
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=program, args=_ARGUMENTS)
        try:
            yield launched
        finally:
            launched.close()


@dataclass
class Watch:
    """What goes wrong in a page, and with whom it speaks. `excused` are patterns of what is meant to go wrong."""

    excused: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    origins: set[str] = field(default_factory=set)
    """Host and port of everything that was asked for."""

    def over(self, context: BrowserContext) -> None:
        context.on("request", lambda request: self._went(request.url))
        context.on("page", self._page)

    def _page(self, page: Page) -> None:
        page.on("websocket", lambda socket: self._went(socket.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda said: self.errors.append(said.text) if said.type in ("error", "warning") else None)

    def _went(self, url: str) -> None:
        where = urlsplit(url)
        if where.scheme not in _NOWHERE:
            self.origins.add(where.netloc)

    def problems(self) -> list[str]:
        """Errors that nobody expects, and origins besides the first machine's own."""
        errors = [one for one in self.errors if not any(re.search(pattern, one) for pattern in self.excused)]
        foreign = [one for one in self.origins if one.partition(":")[0] not in ("127.0.0.1", "localhost")]
        several = sorted(self.origins) if len(self.origins) > 1 else []
        return errors + [f"asked of {one}" for one in foreign or several]


class Frames:
    """What the server said over each WebSocket of a page, in order; the latest socket is the last."""

    def __init__(self, page: Page) -> None:
        self.sockets: list[list[dict[str, Any]]] = []
        page.on("websocket", self._opened)

    def _opened(self, socket: Any) -> None:
        frames: list[dict[str, Any]] = []
        self.sockets.append(frames)
        socket.on("framereceived", lambda payload: frames.append(orjson.loads(payload)))

    def said(self, op: str) -> list[dict[str, Any]]:
        """The latest socket's messages of one kind."""
        return [frame for frame in (self.sockets[-1] if self.sockets else []) if frame["op"] == op]


def until(page: Page, probe: Callable[[], object], *, within_s: float = 15.0, what: str = "it") -> None:
    """Wait for something outside of the page, while the page's own events go on."""
    within_s *= PATIENCE
    deadline_s = time.monotonic() + within_s
    while not probe():
        assert time.monotonic() < deadline_s, f"{what} did not happen within {within_s:.0f} s"
        page.wait_for_timeout(50)
