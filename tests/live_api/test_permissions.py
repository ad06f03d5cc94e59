"""Every route with every permission: what the code declares, what requests get, and what docs/security.md says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3
from fastapi import FastAPI, HTTPException
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute

from live_api.access.guard import check_whole
from live_api.access.identity import LOCAL, NOBODY, Identity, Rows
from live_api.access.permissions import PERMISSIONS, Permission, Role
from live_api.app import create_app
from stream.catalog import parse
from tests.servers import ValkeyServer
from tests.stack import ROOT

from .conftest import CATALOG, Api

PAGES = {"/openapi.json", "/docs", "/docs/", "/docs/oauth2-redirect", "/redoc", "/", "/board", "/board/{name:path}", ""}
"""The wall's own files and what the API says of itself: the same for everybody, and nothing about events."""
BESIDES = {
    "GET /v1/churn/{person}": frozenset({Permission.VIEW_OWN}),
}
"""What has to be there too, as the route asks for two things."""
VALUES = {"id": "me", "person": "me", "analysis": "x", "name": "x", "metric": "orders"}


def routes_of(app: FastAPI) -> Iterator[BaseRoute]:
    for route in app.routes:
        included = getattr(route, "original_router", None)
        yield from [route] if included is None else included.routes


def declared_by(route: BaseRoute) -> tuple[Permission, ...] | None:
    """The permissions of which any one will do; none for everybody; None where nothing is said."""
    if isinstance(route, APIRoute):
        calls = [dependency.call for dependency in route.dependant.dependencies]
        found = [call.permissions for call in calls if hasattr(call, "permissions")]
        return found[0] if len(found) == 1 else None
    permissions: tuple[Permission, ...] | None = getattr(getattr(route, "endpoint", None), "permissions", None)
    return permissions


def app_of(store_url: str, valkey_url: str = "valkey://127.0.0.1:1") -> FastAPI:
    return create_app(parse(CATALOG), valkey_url=valkey_url, store_url=store_url, version="0")[0]


def table(app: FastAPI) -> dict[str, tuple[Permission, ...]]:
    """Method and path → permissions, of all that is no page."""
    found = {}
    for route in routes_of(app):
        if isinstance(route, APIRoute | Route) and route.path not in PAGES:
            permissions = declared_by(route)
            assert permissions is not None, f"{route.path} does not say who may ask it"
            for method in route.methods - {"HEAD", "OPTIONS"}:
                found[f"{method} {route.path.replace(':path', '')}"] = permissions
    return found


APP = app_of("sqlite:////nowhere/x.db")
TABLE = table(APP)


def test_there_is_no_route_of_another_kind() -> None:
    for route in routes_of(APP):
        if isinstance(route, Mount):
            assert route.path == "", route
        elif isinstance(route, WebSocketRoute):
            # It says itself why it ends, as no browser can read a refused handshake: see the tests of the live line.
            assert route.path == "/v1/ws"
        else:
            assert isinstance(route, APIRoute | Route), route
    assert len(TABLE) > 30


class Asked:
    """An API whose every request is of `identity`."""

    def __init__(self, api: Api, whose: list[Identity]) -> None:
        self.api, self._whose = api, whose
        self._http = urllib3.PoolManager(retries=False, timeout=10)

    def status(self, route: str, identity: Identity) -> int:
        self._whose[:] = [identity]
        method, _, path = route.partition(" ")
        path = re.sub(r"\{(\w+)\}", lambda found: VALUES[found[1]], path)
        answer = self._http.request(method, self.api.url + path, redirect=False, preload_content=False)
        try:
            return answer.status
        finally:
            answer.close()


@pytest.fixture(scope="module")
def asked(valkey_server: ValkeyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    whose = [NOBODY]

    async def identify(_: Any) -> Identity:
        return whose[0]

    url = f"sqlite:///{tmp_path_factory.mktemp('store')}/points.db"
    api = Api(valkey_server.connection_url, url, identify=identify)
    yield Asked(api, whose)
    api.stop()


def somebody(*permissions: Permission, rows: Rows | None = None) -> Identity:
    return Identity("key:x", frozenset(permissions), rows or Rows(), "a3" * 16)


@pytest.mark.parametrize("route", TABLE)
def test_each_permission_on_each_route(asked: Asked, route: str) -> None:
    wanted = TABLE[route]
    if not wanted:
        assert asked.status(route, NOBODY) not in (403,)
        return
    assert asked.status(route, NOBODY) == 401
    assert asked.status(route, LOCAL) not in (401, 403)
    assert asked.status(route, somebody()) == 403
    for permission in Permission:
        status = asked.status(route, somebody(permission, *BESIDES.get(route, ())))
        assert (status not in (401, 403)) == (permission in wanted), f"{permission}: {status}"


WHOLE = {route for route in TABLE if re.search("/v1/(people|churn$|models|deliveries|audit)", route)}


@pytest.mark.parametrize("route", sorted(WHOLE))
def test_what_cannot_be_divided_is_kept_from_who_sees_some_rows(asked: Asked, route: str) -> None:
    limited = somebody(*Permission, rows=Rows.of({"country": ["de"]}))
    assert asked.status(route, limited) == 403
    assert asked.status(route, somebody(*Permission)) != 403


def test_the_reason_names_what_limits_them() -> None:
    with pytest.raises(HTTPException, match="key:x sees the rows of their country only"):
        check_whole(somebody(rows=Rows.of({"country": ["de"]})))


def test_files_are_exports(asked: Asked) -> None:
    route = "GET /v1/points?metric=orders&window=1m&format={}"
    for kind in ("csv", "arrow"):
        assert asked.status(route.format(kind), somebody(Permission.VIEW_NUMBERS)) == 403
        assert asked.status(route.format(kind), somebody(Permission.VIEW_NUMBERS, Permission.EXPORT)) == 200
    assert asked.status(route.format("json"), somebody(Permission.VIEW_NUMBERS)) == 200


def test_the_document_has_every_route_with_its_permissions() -> None:
    text = (ROOT / "docs/security.md").read_text()
    rows = re.findall(r"^\| `([A-Z]+ /[^`]*)` \| (.*?) \|", text, re.MULTILINE)
    said = {route: tuple(re.findall(r"`(\w+)`", permissions)) for route, permissions in rows}
    assert said == {route: tuple(one.value for one in wanted) for route, wanted in TABLE.items()}


def test_the_document_has_every_role_with_its_permissions() -> None:
    text = (ROOT / "docs/security.md").read_text()
    [head] = re.findall(r"^\| permission \| .*? \| (.*?) \|$", text, re.MULTILINE)
    roles = re.findall(r"`(\w+)`", head)
    assert roles == [role.value for role in Role]
    for permission in Permission:
        [row] = re.findall(rf"^\| `{permission}` \| .*? \| (.*?) \|$", text, re.MULTILINE)
        held = [cell.strip() == "✓" for cell in row.split("|")]
        assert held == [permission in PERMISSIONS[role] for role in Role], permission


def test_an_installation_is_told_to_who_looks_after_it(asked: Asked) -> None:
    asked.status("GET /readyz", NOBODY)
    told = asked.api.get("/readyz")
    assert told.keys() - {"http"} == {"status", "reasons"}
    asked.status("GET /readyz", somebody(Permission.VIEW_HEALTH))
    assert "system" in asked.api.get("/readyz")


def test_nothing_of_this_needs_a_place(tmp_path: Path) -> None:
    assert not (tmp_path / "x.db").exists()
    app_of(f"sqlite:///{tmp_path}/x.db")
    assert not (tmp_path / "x.db").exists()
