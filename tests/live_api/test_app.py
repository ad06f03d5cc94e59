from __future__ import annotations

import http.client
import logging
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from live_api import app
from live_api.admission import Origins
from sinks.errors import Misconfigured
from stream.catalog import parse

from .conftest import CATALOG, Api, Processor, point

Start = Callable[..., Api]


def refused(api: Api, path: str = "/v1/ws", **options: Any) -> int:
    with pytest.raises(InvalidStatus) as caught, connect(f"ws://127.0.0.1:{api.port}{path}", **options):
        pass
    return int(caught.value.response.status_code)


# Who may open the WebSocket


@pytest.mark.parametrize(
    ("origin", "host", "let_in"),
    [
        (None, "wall.example:8000", True),
        ("http://wall.example:8000", "wall.example:8000", True),
        ("https://wall.example", "wall.example", True),
        ("http://[::1]:8000", "[::1]:8000", True),
        ("http://wall.example", "wall.example:8000", False),
        ("http://evil.example", "wall.example", False),
        ("http://wall.example.evil.example", "wall.example", False),
        ("http://evil.example/wall.example", "wall.example", False),
        ("http://wall.example@evil.example", "wall.example", False),
        ("null", "wall.example", False),
        ("", "wall.example", False),
        ("wall.example", "wall.example", False),
        ("file://", "wall.example", False),
        ("http://[", "wall.example", False),
        ("http://[::1", "wall.example", False),
    ],
)
def test_same_origin(origin: str | None, host: str, let_in: bool) -> None:
    assert Origins().allow(origin, host) is let_in


def test_another_origin_is_refused_before_accept(start: Start, processor: Processor) -> None:
    api = start()
    assert refused(api, origin="http://evil.example") == 403
    assert refused(api, origin="null") == 403
    assert refused(api, additional_headers={"Origin": "http://[::1"}) == 403
    with api.connect(origin=f"http://127.0.0.1:{api.port}") as websocket:
        websocket.send('{"op":"hello","topics":[]}')
        assert '"welcome"' in str(websocket.recv(timeout=20))


def test_a_websocket_elsewhere_is_refused_without_an_error_in_the_log(
    start: Start, processor: Processor, caplog: pytest.LogCaptureFixture, built: Path
) -> None:
    api = start()
    with caplog.at_level(logging.ERROR):
        assert refused(api, "/v1/nothing") in (403, 404)
    assert caplog.records == []


def test_on_loopback_nothing_is_told_under_another_name(start: Start, processor: Processor) -> None:
    """A page of evil.example, whose owner has it lead to 127.0.0.1, sends no Origin with what it gets from there."""
    api = start(origins=Origins(["https://wall.example"], loopback=True))
    for path in (
        "/v1/live?topics=metric:revenue",
        "/v1/points?metric=revenue&window=1m",
        "/v1/metrics",
        "/",
        "/readyz",
    ):
        answer = api.request(path, headers={"Host": f"evil.example:{api.port}"})
        assert (answer.status, b"STREAMGAUGE_ORIGINS" in answer.data) == (403, True), path
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    upgrade |= {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Host": f"evil.example:{api.port}"}
    assert api.request("/v1/ws", headers=upgrade).status == 403
    for host in (f"127.0.0.1:{api.port}", f"localhost:{api.port}", f"[::1]:{api.port}", "wall.example"):
        assert api.request("/v1/metrics", headers={"Host": host}).status == 200
    with socket.create_connection(("127.0.0.1", api.port)) as nameless:
        nameless.sendall(b"GET /v1/metrics HTTP/1.0\r\n\r\n")
        assert nameless.recv(100).split()[1] == b"403"
    with api.connect() as websocket:
        websocket.send('{"op":"hello","topics":[]}')
        assert '"welcome"' in str(websocket.recv(timeout=20))


# The wall


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    static = tmp_path / "static"
    (static / "assets").mkdir(parents=True)
    (static / "index.html").write_text("<!doctype html><title>the wall</title>")
    (static / "favicon.svg").write_text("<svg/>")
    (static / "assets" / "index-Ab12.js").write_text("export {}")
    (tmp_path / "secret.txt").write_text("not for everybody")
    monkeypatch.setattr(app, "STATIC", static)
    return static


def test_the_wall_is_served(start: Start, built: Path) -> None:
    api = start()
    page = api.request("/")
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert b"the wall" in page.data
    assert page.headers["cache-control"] == "no-cache"
    script = api.request("/assets/index-Ab12.js")
    assert script.status == 200
    assert "javascript" in script.headers["content-type"]
    assert script.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert api.request("/favicon.svg").headers["cache-control"] == "no-cache"


def test_what_was_not_changed_is_not_sent_again(start: Start, built: Path) -> None:
    api = start()
    for path in ("/", "/assets/index-Ab12.js"):
        first = api.request(path)
        again = api.request(path, headers={"If-None-Match": first.headers["etag"]})
        assert (again.status, again.data) == (304, b"")
        # A cache takes over the headers of a 304.
        assert again.headers["cache-control"] == first.headers["cache-control"]


def test_a_page_that_is_not_there_is_not_kept(start: Start, built: Path) -> None:
    api = start()
    for path in ("/nothing", "/assets/old-Cd34.js"):
        answer = api.request(path)
        assert answer.status == 404
        assert "immutable" not in answer.headers.get("cache-control", "")


@pytest.mark.parametrize(
    "path", ["/../secret.txt", "/assets/../../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt"]
)
def test_nothing_outside_the_built_files_is_served(start: Start, built: Path, path: str) -> None:
    api = start()
    # Not urllib3, which tidies paths up.
    connection = http.client.HTTPConnection("127.0.0.1", api.port, timeout=20)
    connection.request("GET", path)
    answer = connection.getresponse()
    assert answer.status == 404
    assert b"not for everybody" not in answer.read()
    connection.close()


def test_without_the_built_files_a_page_says_what_to_do(
    start: Start, processor: Processor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "STATIC", tmp_path / "nothing")
    processor.say(point(1))
    api = start().caught_up()
    page = api.request("/")
    assert page.status == 503
    assert page.headers["content-type"].startswith("text/plain")
    assert "uv sync --reinstall-package streamgauge" in page.data.decode()
    # The rest works.
    assert api.get("/v1/metrics")["http"] == 200
    with api.live("metric:*") as client:
        client.until(lambda c: c.total("revenue@1m") == 1)


# The rest of the application


def test_the_api_describes_itself(start: Start) -> None:
    api = start()
    described = api.get("/openapi.json")
    assert (described["info"]["title"], described["info"]["version"]) == ("streamgauge", "1.2.3")
    assert set(described["paths"]) >= {
        "/v1/metrics",
        "/v1/points",
        "/v1/compare",
        "/v1/boards",
        "/v1/boards/{name}",
        "/v1/people",
        "/v1/people/{analysis}",
        "/v1/persons/{id}",
        "/v1/churn",
        "/v1/churn/{person}",
        "/v1/models",
        "/v1/models/{name}",
        "/v1/alerts",
        "/v1/alerts/{id}",
        "/v1/alerts/{id}/ack",
        "/v1/alerts/{id}/resolve",
        "/v1/alerts/{id}/false_alarm",
        "/v1/alerts/{id}/silence",
        "/v1/silences",
        "/v1/silences/{id}",
        "/v1/rules",
        "/v1/scores",
        "/v1/deliveries",
        "/v1/session",
        "/v1/tickets",
        "/v1/audit",
        "/auth/login",
        "/auth/callback",
        "/auth/logout",
        "/healthz",
        "/readyz",
    }
    assert api.request("/docs").status == 200


def test_a_store_that_can_never_work_is_refused_at_once() -> None:
    with pytest.raises(Misconfigured, match="DATABASE_URL"):
        app.create_app(parse(CATALOG), valkey_url="valkey://127.0.0.1", store_url="mysql://x", version="1")
