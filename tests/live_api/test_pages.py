from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from live_api import app
from live_api.boards import boards_of
from live_api.pages import page_routes, with_base
from stream.catalog import parse

from .conftest import CATALOG, Api

Start = Callable[..., Api]

BOARDS = (
    CATALOG
    + """
[[board]]
name = "ops"
title = "Operations <& all>"
[[board.tile]]
type = "number"
metric = "revenue"

[[board]]
name = "night"
[[board.tile]]
type = "status"
"""
)
PAGE = "<!doctype html><html><head><title>the wall</title></head><body></body></html>"


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    static = tmp_path / "static"
    static.mkdir()
    (static / "index.html").write_text(PAGE)
    (tmp_path / "secret.txt").write_text("not for everybody")
    monkeypatch.setattr(app, "STATIC", static)
    return static


@pytest.fixture
def api(start: Start, built: Path) -> Api:
    return start(catalog=BOARDS)


def client_of(index: Path, root_path: str = "") -> TestClient:
    return TestClient(Starlette(routes=page_routes(index, boards_of(parse(BOARDS)))), root_path=root_path)


# REST


def test_which_boards_there_are(api: Api) -> None:
    assert api.get("/v1/boards") == {
        "http": 200,
        "boards": [
            {"name": "ops", "title": "Operations <& all>", "derived": False},
            {"name": "night", "title": "Night", "derived": False},
        ],
        "default": "ops",
    }


def test_a_board_with_its_tiles(api: Api) -> None:
    found = api.get("/v1/boards/ops")
    assert {key: found[key] for key in ("name", "title", "derived", "platform")} == {
        "name": "ops",
        "title": "Operations <& all>",
        "derived": False,
        "platform": {"name": "Shop", "timezone": "Europe/Berlin"},
    }
    (tile,) = found["tiles"]
    assert (tile["id"], tile["type"], tile["metric"]["name"], tile["target"]) == ("t0", "number", "revenue", 500)


def test_a_catalog_without_boards_has_one_all_the_same(start: Start, built: Path) -> None:
    api = start()
    assert api.get("/v1/boards")["boards"] == [{"name": "default", "title": "Overview", "derived": True}]
    assert api.get("/v1/boards")["default"] == "default"
    assert len(api.get("/v1/boards/default")["tiles"]) == 4
    assert api.request("/board/default").status == 200


@pytest.mark.parametrize("name", ["nothing", "Ops", "ops%20", "..%2fops", "ops%00"])
def test_a_board_that_there_is_not_is_refused_with_those_there_are(api: Api, name: str) -> None:
    answer = api.request(f"/v1/boards/{name}")
    assert answer.status == 404
    if b"board:" in answer.data:
        assert "expected one of ops, night; found" in json.loads(answer.data)["detail"]


# Pages


@pytest.mark.parametrize("path", ["/", "/board/ops", "/board/night", "/board/ops?theme=dark&kiosk"])
def test_every_board_is_the_same_page_that_knows_its_root(api: Api, path: str) -> None:
    page = api.request(path)
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert page.headers["cache-control"] == "no-cache"
    assert page.data.decode() == PAGE.replace("<head>", '<head><base href="/" />')


def test_a_page_that_was_not_changed_is_not_sent_again(api: Api, built: Path) -> None:
    first = api.request("/board/ops")
    for known in (first.headers["etag"], f'"x", W/{first.headers["etag"]}'):
        again = api.request("/board/ops", headers={"If-None-Match": known})
        assert (again.status, again.data) == (304, b"")
        assert again.headers["cache-control"] == first.headers["cache-control"]
    (built / "index.html").write_text(PAGE.replace("wall", "new wall"))
    changed = api.request("/board/ops", headers={"If-None-Match": first.headers["etag"]})
    assert changed.status == 200
    assert b"new wall" in changed.data


def test_while_the_page_is_built_anew_it_is_to_be_asked_for_again(api: Api, built: Path) -> None:
    (built / "index.html").unlink()
    answer = api.request("/board/ops")
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")


def test_the_page_under_a_proxys_path(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(PAGE)
    client = client_of(tmp_path / "index.html", "/metrics/wall")
    for path in ("/metrics/wall/", "/metrics/wall/board/night"):
        assert '<base href="/metrics/wall/" />' in client.get(path).text
    answer = client.get("/metrics/wall/board/night/?kiosk", follow_redirects=False)
    assert answer.headers["location"] == "/metrics/wall/board/night?kiosk"
    assert 'href="/metrics/wall/board/ops"' in client.get("/metrics/wall/board/x").text


def test_a_root_with_quotes_stays_inside_its_attribute() -> None:
    assert with_base(PAGE, '/"><script>').count("<script>") == 0


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<!doctype html><title>x</title>", '<!doctype html><base href="/" /><title>x</title>'),
        ("<title>x</title>", '<base href="/" /><title>x</title>'),
    ],
)
def test_a_page_without_a_head_has_its_root_too(html: str, expected: str) -> None:
    assert with_base(html, "/") == expected


def test_a_slash_too_many_is_taken_away(api: Api) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", api.port, timeout=20)
    connection.request("GET", "/board/ops/?rotate=30")
    redirect = connection.getresponse()
    assert (redirect.status, redirect.headers["location"]) == (307, "/board/ops?rotate=30")
    connection.close()


@pytest.mark.parametrize(
    "path",
    [
        *("/board/nothing", "/board/", "/board", "/board/ops/more", "/board/Ops"),
        *("/board/../secret.txt", "/board/%2e%2e/secret.txt", "/board/..%2f..%2fsecret.txt", "/board/%2e%2e%2fops"),
        "/board/%3Cscript%3Ealert(1)%3C/script%3E",
        "/board/%00",
        "/board//evil.example/",
    ],
)
def test_a_board_that_there_is_not_is_a_page_that_names_those_there_are(api: Api, path: str) -> None:
    # Not urllib3, which tidies paths up.
    connection = http.client.HTTPConnection("127.0.0.1", api.port, timeout=20)
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    assert answer.status == 404
    assert answer.headers["cache-control"] == "no-cache"
    assert '<a href="/board/ops">ops</a>: Operations &lt;&amp; all&gt;' in body
    assert '<a href="/board/night">night</a>' in body
    assert "<script>" not in body
    assert "not for everybody" not in body


def test_without_the_built_files_a_board_says_what_to_do(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "STATIC", tmp_path / "nothing")
    assert start(catalog=BOARDS).request("/board/ops").status == 503
