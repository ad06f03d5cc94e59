"""What browsers are told beside every answer."""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from live_api import app
from live_api.admission import Origins
from live_api.headers import Headers

from .conftest import Api

Start = Callable[..., Api]
WALL = "https://wall.example"


async def page(_: Request) -> Response:
    return HTMLResponse("<!doctype html>")


async def own(_: Request) -> Response:
    return PlainTextResponse(
        "own", headers={"Content-Security-Policy": "own", "Cache-Control": "max-age=9", "Vary": "Accept"}
    )


async def taken(_: Request) -> Response:
    return PlainTextResponse("taken", headers={"Access-Control-Allow-Origin": "https://tracked.example"})


async def plain(_: Request) -> Response:
    return PlainTextResponse("plain")


def client(*allowed: str, base_url: str = "http://gauge.example:8000") -> TestClient:
    paths = ("/v1/points", "/v1/people", "/v1/session", "/assets/x.js", "/s.js", "/v1/tickets")
    routes = [
        Route("/", page),
        Route("/own", own),
        Route("/taken", taken),
        Route("/v1/persons/x", own),
        *(Route(path, plain) for path in paths),
    ]
    inner = Starlette(routes=routes)
    return TestClient(Headers(inner, Origins(allowed)), base_url=base_url)


def policy(headers: Mapping[str, str]) -> dict[str, str]:
    parts = (part.strip().partition(" ") for part in headers["content-security-policy"].split(";"))
    return {name: value for name, _, value in parts}


def test_a_page_may_load_from_us_and_speak_with_us_only() -> None:
    told = policy(client().get("/").headers)
    assert told == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "font-src": "'self'",
        "connect-src": "'self' ws://gauge.example:8000 wss://gauge.example:8000",
        "base-uri": "'self'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
    }


@pytest.mark.parametrize("host", ["a b", "x;script-src *", "x'", "", "a/b", "a,b"])
def test_a_host_that_is_none_is_not_repeated(host: str) -> None:
    told = client().get("/", headers={"Host": host}).headers
    assert policy(told)["connect-src"] == "'self'"


def test_what_is_no_page_may_nothing() -> None:
    assert policy(client().get("/v1/points").headers) == {"default-src": "'none'", "frame-ancestors": "'none'"}


def test_what_stands_beside_everything() -> None:
    for path in ("/", "/v1/points", "/nowhere"):
        told = client().get(path).headers
        assert told["x-content-type-options"] == "nosniff"
        assert told["referrer-policy"] == "no-referrer"
        assert told["cross-origin-opener-policy"] == "same-origin"
        assert told["cross-origin-resource-policy"] == "same-origin"
        assert told["x-frame-options"] == "DENY"
        assert "screen-wake-lock=(self)" in told["permissions-policy"]
        assert "camera=()" in told["permissions-policy"]


def test_the_tracker_is_for_pages_of_any_origin() -> None:
    assert client().get("/s.js").headers["cross-origin-resource-policy"] == "cross-origin"


def test_what_a_route_says_stands() -> None:
    told = client(WALL).get("/own").headers
    assert (told["content-security-policy"], told["cache-control"], told["vary"]) == (
        "own",
        "max-age=9",
        "Accept, Origin",
    )


def test_https_is_to_stay_https() -> None:
    assert "strict-transport-security" not in client().get("/").headers
    told = client(base_url="https://gauge.example").get("/").headers
    assert told["strict-transport-security"] == "max-age=31536000"


def test_nothing_about_somebody_is_kept() -> None:
    for path in ("/v1/people", "/v1/session", "/v1/persons/x", "/v1/points"):
        assert client().get(path).headers["cache-control"] == "no-store"
    assert "cache-control" not in client().get("/assets/x.js").headers


def test_listed_origins_may_read_as_whoever_is_logged_in() -> None:
    told = client(WALL).get("/v1/points", headers={"Origin": WALL}).headers
    assert told["access-control-allow-origin"] == WALL
    assert told["access-control-allow-credentials"] == "true"
    assert "ETag" in told["access-control-expose-headers"]
    assert told["vary"] == "Origin"


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "https://wall.example.evil.example", None])
def test_others_may_not(origin: str | None) -> None:
    told = client(WALL).get("/v1/points", headers={"Origin": origin} if origin else {})
    assert not [name for name in told.headers if name.startswith("access-control")]
    assert told.headers["vary"] == "Origin"
    asked = {"Origin": origin or WALL, "Access-Control-Request-Method": "GET"}
    if origin is not None:
        assert client(WALL).options("/v1/points", headers=asked).status_code == 405


def test_any_origin_never_gets_credentials() -> None:
    told = client("*").get("/v1/points", headers={"Origin": "https://any.example"}).headers
    assert told["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in told
    both = client("*", WALL).get("/v1/points", headers={"Origin": WALL}).headers
    assert (both["access-control-allow-origin"], both["access-control-allow-credentials"]) == (WALL, "true")


def test_a_browser_that_asks_first_is_told_what_it_may() -> None:
    asked = {"Origin": WALL, "Access-Control-Request-Method": "GET"}
    answer = client(WALL).options("/v1/points", headers=asked)
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == WALL
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.headers["access-control-allow-methods"] == "GET, HEAD"
    assert "Authorization" in answer.headers["access-control-allow-headers"]
    assert answer.headers["access-control-max-age"] == "600"
    asked["Access-Control-Request-Method"] = "POST"
    assert client(WALL).options("/v1/tickets", headers=asked).headers["access-control-allow-methods"] == "POST"
    # What is sent elsewhere is for those to answer who take it.
    assert client(WALL).options("/v1/points", headers=asked).status_code == 405


def test_a_route_that_answers_strangers_itself_is_not_given_credentials() -> None:
    told = client(WALL).get("/taken", headers={"Origin": WALL}).headers
    assert told["access-control-allow-origin"] == "https://tracked.example"
    assert "access-control-allow-credentials" not in told


def test_listed_origins_may_show_the_wall_in_a_frame() -> None:
    told = client(WALL, "*").get("/").headers
    assert policy(told)["frame-ancestors"] == WALL
    assert "x-frame-options" not in told


def test_a_line_goes_past_it() -> None:
    seen: list[object] = []

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(send)

    async def send(_: Message) -> None: ...
    async def receive() -> Message:
        return {}

    asyncio.run(Headers(inner, Origins())({"type": "websocket"}, receive, send))
    assert seen == [send]


def ask(api: Api, path: str, **headers: str) -> http.client.HTTPMessage:
    connection = http.client.HTTPConnection("127.0.0.1", api.port, timeout=10)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.headers


def test_the_api_says_them_and_not_what_it_is_made_with(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "index.html").write_text("<!doctype html><html><head></head></html>")
    monkeypatch.setattr(app, "STATIC", tmp_path)
    api = start(origins=Origins([WALL], loopback=True))
    for path in ("/", "/board/nowhere", "/v1/metrics", "/v1/nothing"):
        told = ask(api, path)
        assert "server" not in told
        assert told["x-content-type-options"] == "nosniff"
    assert "style-src 'sha256-" in (ask(api, "/board/nowhere")["content-security-policy"] or "")
    # A page that a browser has keeps the policy that came with it.
    known = ask(api, "/")["etag"]
    assert known is not None
    assert "content-security-policy" not in ask(api, "/", **{"If-None-Match": known})
    # A name that is not ours is refused, and that says them too.
    assert ask(api, "/v1/metrics", Host="evil.example")["x-content-type-options"] == "nosniff"
    assert ask(api, "/v1/metrics", Origin=WALL)["access-control-allow-origin"] == WALL
    # Only a proxy that is trusted says that somebody came by https; this machine is, unless something else is said.
    assert ask(api, "/v1/metrics", **{"X-Forwarded-Proto": "https"})["strict-transport-security"] is not None
