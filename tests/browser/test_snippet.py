"""`/s.js` in a page of another origin: what it sends is in a real stream."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import valkey
from playwright.sync_api import Browser

from live_api.intake.snippet import MOST_BYTES
from stream.enrich import MADE, Pseudonyms
from tests.browser.chromium import until
from tests.live_api.conftest import Api
from tests.servers import ValkeyServer

pytestmark = pytest.mark.browser

CATALOG = """
[platform]
name = "Pages"
[event]
person = "user_id"
id = "id"
name = "event"
[ingest]
properties = ["path", "plan", "referrer"]
[[metric]]
name = "views"
measure = "count"
"""
PSEUDONYMS = Pseudonyms(b"the-key-of-these-tests")


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path) -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_page_says_what_happens_on_it(browser: Browser, site: ThreadingHTTPServer, tmp_path: Path) -> None:
    page_url = f"http://127.0.0.1:{site.server_address[1]}"
    with ValkeyServer() as server:
        client: valkey.Valkey = server.client()
        api = Api(
            server.connection_url,
            f"sqlite:///{tmp_path}/points.db",
            catalog=CATALOG,
            pseudonym=PSEUDONYMS.of,
            ingest_origins=(page_url,),
        )

        def events() -> list[dict[str, Any]]:
            entries: Any = client.xrange("events:{0}")
            return [event for _, fields in entries for event in json.loads(fields[b"batch"])]

        try:
            (tmp_path / "index.html").write_text(
                f'<!doctype html><title>a</title><link rel="icon" href="data:,"><script src="{api.url}/s.js"></script>'
            )
            context = browser.new_context()
            page = context.new_page()
            said: list[str] = []
            page.on("console", lambda message: said.append(message.text))
            page.on("pageerror", lambda error: said.append(str(error)))
            answered = page.goto(f"{page_url}/index.html")
            assert answered is not None
            page.evaluate("streamgauge('signup', {plan: 'pro', user_id: 'ann', other: 1})")
            page.evaluate("history.pushState({}, '', '/next?a=1')")
            page.evaluate("history.pushState({}, '', '/next?a=1#part')")
            page.go_back()
            page.go_back()
            until(page, lambda: len(events()) >= 4)
            assert said == []
            assert [event["event"] for event in events()].count("page") == 3
            shown = [event["path"] for event in events() if event["event"] == "page"]
            assert sorted(shown) == ["/index.html", "/index.html", "/next"]
            (signup,) = [event for event in events() if event["event"] == "signup"]
            assert signup.keys() == {"id", "event", "plan", "user_id", "time"}
            assert signup["user_id"] == MADE + PSEUDONYMS.of("ann")
            assert len({event["id"] for event in events()}) == 4
            assert context.cookies() == []
            assert page.evaluate("localStorage.length + sessionStorage.length") == 0
            client.flushall()
            page.add_init_script("Object.defineProperty(navigator, 'globalPrivacyControl', {value: true})")
            page.goto(f"{page_url}/index.html")
            page.evaluate("streamgauge('signup', {user_id: 'ann'})")
            until(page, lambda: len(events()) >= 2)
            assert all("user_id" not in event for event in events())
            script = api.request("/s.js")
            assert len(script.data) <= MOST_BYTES
            assert "javascript" in script.headers["content-type"]
            context.close()
        finally:
            api.stop()
