"""The API's own document: true of what the API answers, and complete."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
import urllib3
from fastapi import APIRouter, FastAPI
from openapi_spec_validator import validate
from starlette.testclient import TestClient

from live_api.access.guard import PUBLIC, requires
from live_api.access.permissions import Permission
from live_api.api_page import CONTENT_SECURITY_POLICY, api_page_routes
from live_api.openapi import describe, operation_id
from sinks.alert_records import Silence
from sinks.alert_store import AlertStore
from sinks.deliveries import Deliveries, Delivery, Outcome
from sinks.person_records import PersonLine
from sinks.person_store import PersonStore
from sinks.score_store import ScoreStore
from sinks.store import Store
from stream.catalog import load
from stream.walltime import clock_ms
from streamgauge.places import find_catalog
from tests.live_api.conftest import Api, Processor, point
from tests.live_api.test_alert_routes import alert, scored
from tests.scores import score, status
from tests.servers import ValkeyServer

EXAMPLES: dict[str, dict[str, Any]] = json.loads((Path(__file__).parents[2] / "live_api/examples.json").read_text())
PERSON = EXAMPLES["GET /v1/persons/{id}"]["ask"]["id"]
ALERT = EXAMPLES["GET /v1/alerts/{id}"]["ask"]["id"]
SILENCE = Silence("5ea252202b96757e145ec983", "Ada", "migration", 0, 1 << 45, "api_slow")
HOUR_MS = 3_600_000
PUBLIC_ONES = {"GET /v1/session", "POST /v1/session", "DELETE /v1/session"}
_http = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(30))


@pytest.fixture(scope="module")
def api(valkey_server: ValkeyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """The demo's catalog, and a little of everything that examples show."""
    url = f"sqlite:///{tmp_path_factory.mktemp('store')}/points.db"
    now_ms = clock_ms()
    store = Store(url)
    store.setup()
    store.write([point(41.5, now_ms // HOUR_MS * HOUR_MS, metric="food_saved", window="1h")])
    store.close()
    alerts = AlertStore(url)
    rule = {"rule": "crawler", "metric": "anonymous_search_share", "window": "1m", "dimensions": ()}
    alerts.write([alert(ALERT, **rule)], [scored(0, **rule)], silences=[SILENCE], at_ms=now_ms)
    alerts.close()
    log = Deliveries(url)
    log.write([Delivery("ops", "n1", 1, now_ms, Outcome.DELIVERED, 200, 1.5)])
    log.close()
    persons = PersonStore(url)
    persons.write([(PersonLine(PERSON, "event", 1, now_ms, {"event": "page_view"}), False)])
    persons.close()
    scores = ScoreStore(url)
    scores.write([score(PERSON, 0.95)])
    scores.write_models([status(day=1)])
    scores.close()
    made = Api(valkey_server.connection_url, url, catalog=load(find_catalog("food_sharing")))
    yield made
    made.stop()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield f"{method.upper()} {path}", operation


def asked(operation: dict[str, Any], path: str) -> str:
    """The address that the examples of an operation's parameters make."""
    query = []
    for parameter in operation.get("parameters", ()):
        given = parameter.get("example", next(iter(parameter.get("schema", {}).get("examples", ())), None))
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", quote(given, safe=""))
        elif given is not None:
            query.append((parameter["name"], given))
    return f"{path}?{urlencode(query, doseq=True)}" if query else path


def test_it_is_openapi_3_1_and_says_of_each_operation_all_there_is(api: Api) -> None:
    document = api.get("/openapi.json")
    document.pop("http")
    validate(document)
    assert document["openapi"] == "3.1.0"
    assert document["servers"] == [{"url": "/"}]
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    tags = {tag["name"] for tag in document["tags"]}
    names = []
    for name, operation in operations(document):
        names.append(operation["operationId"])
        assert operation["summary"], name
        assert operation["tags"], name
        if "/v1/" in name and name not in PUBLIC_ONES:
            assert operation["security"], name
            assert {"401", "403", "503"} <= set(operation["responses"]), name
            assert "Needs the permission" in operation["description"], name
        for code, answer in operation["responses"].items():
            for kind, content in answer.get("content", {}).items():
                said = "example" in content or "examples" in content
                assert said or kind == "application/vnd.apache.arrow.stream", f"{name}: {code} has no example"
        answers = operation["responses"].items()
        # Some have nothing to say: what they do is elsewhere.
        assert any(code in ("204", "303") or ("content" in one and code < "300") for code, one in answers), name
        if "requestBody" in operation:
            assert "example" in operation["requestBody"]["content"]["application/json"], name
    assert len(names) == len(set(names))
    assert {tag for _, operation in operations(document) for tag in operation["tags"]} >= tags


def test_every_example_is_of_an_operation_there_is(api: Api) -> None:
    assert set(EXAMPLES) <= {name for name, _ in operations(api.get("/openapi.json"))}


def test_what_can_be_asked_is_answered_as_it_says(api: Api, valkey_client: Any) -> None:
    Processor(valkey_client).say()
    document = api.get("/openapi.json")
    document.pop("http")
    tried = 0
    for name, operation in operations(document):
        method, path = name.split()
        # There is no issuer here that one could log in with.
        if method != "GET" or path == "/v1/ws" or path.startswith("/auth/"):
            continue
        answer = _http.request("GET", api.url + asked(operation, path), preload_content=False)
        said = operation["responses"].get(str(answer.status))
        kind = answer.headers["content-type"].partition(";")[0]
        assert said is not None, f"{name}: {answer.status}"
        assert answer.status < 300 or name == "GET /readyz", f"{name}: {answer.status} {answer.data!r}"
        assert kind in said["content"], f"{name}: {kind}"
        if kind == "application/json":
            content = said["content"][kind]
            shown = [one["value"] for one in content.get("examples", {}).values()] or [content["example"]]
            keys = set(json.loads(answer.data))
            assert keys in [set(one) for one in shown], f"{name}: {sorted(keys)}"
        answer.close()
        tried += 1
    assert tried > 15


def test_what_is_wrong_is_answered_as_it_says(api: Api) -> None:
    paths = api.get("/openapi.json")["paths"]
    for asked_for, code in [
        ("/v1/points?metric=none", 404),
        ("/v1/alerts?status=open", 400),
        ("/v1/alerts?limit=0", 422),
        ("/v1/people/none", 404),
    ]:
        answer = api.request(asked_for)
        assert answer.status == code
        path = asked_for.partition("?")[0].replace("people/none", "people/{analysis}")
        example = paths[path]["get"]["responses"][str(code)]["content"]["application/json"]["example"]
        assert type(json.loads(answer.data)["detail"]) is type(example["detail"])


def test_under_a_proxys_path_it_is_told_relative_to_that(api: Api) -> None:
    app = FastAPI(title="t", version="1", openapi_url=None)
    describe(app)
    app.router.routes.extend(api_page_routes(app, Path("nowhere")))
    with TestClient(app, root_path="/wall") as client:
        assert client.get("/openapi.json").json()["servers"] == [{"url": "/wall"}]
        assert client.get("/docs").status_code == 503


def test_what_others_add_is_told_as_well() -> None:
    app, router = FastAPI(title="t", version="1"), APIRouter()

    @router.get("/v1/things/{name:path}", dependencies=[requires(Permission.EXPORT)], summary="A thing")
    async def things(name: str) -> dict[str, str]:
        return {"name": name}

    @router.get("/open", dependencies=[PUBLIC], summary="Open")
    async def opened() -> dict[str, str]:
        return {}

    app.include_router(router)
    extra = {"/v1/more": {"post": {"summary": "More", "x-permissions": ["track"], "responses": {"202": {}}}}}
    describe(app, extra, cookie="session", oidc_issuer="https://login.example/realms/ops/")
    document = app.openapi()
    schemes = document["components"]["securitySchemes"]
    assert schemes["login"]["name"] == "session"
    where = "https://login.example/realms/ops/.well-known/openid-configuration"
    assert schemes["oidc"]["openIdConnectUrl"] == where
    thing = document["paths"]["/v1/things/{name}"]["get"]
    assert thing["security"] == [{"key": []}, {"login": []}, {"oidc": []}]
    assert "`export`" in thing["description"]
    assert set(thing["responses"]) == {"200", "401", "403", "422", "503"}
    assert document["paths"]["/open"]["get"]["security"] == []
    more = document["paths"]["/v1/more"]["post"]
    assert "`track`" in more["description"]
    assert "x-permissions" not in more
    # What was handed over is as it was: a second application may be made of it.
    assert extra["/v1/more"]["post"]["x-permissions"] == ["track"]


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("get", "/v1/boards/{name}", "get_v1_boards_name"),
        ("GET", "/healthz", "get_healthz"),
        ("post", "/v1/alerts/{id}/false_alarm", "post_v1_alerts_id_false_alarm"),
    ],
)
def test_an_operation_is_called_by_what_it_does(method: str, path: str, name: str) -> None:
    assert operation_id(method, path) == name


def test_the_page_loads_nothing_from_elsewhere(api: Api) -> None:
    page = api.request("/docs")
    assert page.status == 200
    assert page.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    html = page.data.decode()
    assert '<base href="/" />' in html
    assert "//" not in html.replace("<!doctype html>", "")
    for part in ("apidocs/swagger-ui-bundle.js", "apidocs/swagger-ui.css", "apidocs/start.js"):
        assert part in html
        assert api.request(f"/{part}").status == 200
    assert api.request("/apidocs/LICENSE").status == 200
