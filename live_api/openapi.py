"""The document of the API, OpenAPI 3.1: what FastAPI knows of its routes, and what only we know of them.

The one place for that. What is no route of FastAPI's is put in by whoever calls `describe`. Examples of answers are
real ones, in `examples.json`; a route that has examples of its own keeps them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute, iter_route_contexts

from live_api.access.permissions import Permission

_EXAMPLES = Path(__file__).with_name("examples.json")
_ABOUT = """Live numbers of a stream of events: what they are now, what they were, and what is out of the ordinary.

Times are ISO 8601 in UTC or epoch milliseconds. An error is `{"detail": …}`, which names the parameter, what was
expected and what was found."""
_TAGS = {
    "numbers": ("Metrics and their points", ("metrics", "points", "compare", "scores")),
    "boards": ("What stands on the walls", ("boards",)),
    "live": ("Numbers as they change: docs/protocol.md has the words", ("live", "ws")),
    "alerts": ("What is out of the ordinary, and what somebody says about it", ("alerts", "silences", "rules")),
    "events": ("Events from producers", ()),
    "access": ("Who asks, and what they may do", ("session", "tickets", "auth", "audit")),
    "people": ("Analyses of people, and who may leave", ("people", "persons", "churn", "models")),
    "installation": ("How the parts stand", ("healthz", "readyz", "deliveries")),
}
_TAG_OF = {segment: tag for tag, (_, segments) in _TAGS.items() for segment in segments}
_PROBLEM = {"$ref": "#/components/schemas/Problem"}
_AWAY = "sqlite:////var/lib/streamgauge/points.db: another process holds the database"
_INVALID = {
    "detail": [
        {
            "type": "greater_than_equal",
            "loc": ["query", "limit"],
            "msg": "Input should be greater than or equal to 1",
            "input": "0",
            "ctx": {"ge": 1},
        }
    ]
}
_WORDS = {
    "200": "The answer",
    "202": "It is on its way to the processor",
    "400": "A parameter, or the body, that is none",
    "401": "Nobody is known by that",
    "403": "They may not",
    "404": "There is no such thing",
    "409": "It is too late for that",
    "429": "Too often",
    "503": "What it takes to answer is away; come back later",
}


def describe(
    app: FastAPI,
    extra_paths: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    cookie: str | None = None,
    oidc_issuer: str | None = None,
) -> None:
    """Have `app.openapi()` tell all that there is to tell; call it when every route is there.

    `extra_paths`: path items of routes that are none of FastAPI's, `x-permissions` in an operation says which
    permissions it needs, any one of them. `cookie`: the name of the one that a login leaves with a browser;
    `oidc_issuer`: who signs tokens of people.
    """
    schemes: dict[str, Any] = {
        "key": {"type": "http", "scheme": "bearer", "description": "A key, as `streamgauge keys create` printed it"}
    }
    if cookie is not None:
        schemes["login"] = {"type": "apiKey", "in": "cookie", "name": cookie}
    if oidc_issuer is not None:
        where = f"{oidc_issuer.rstrip('/')}/.well-known/openid-configuration"
        schemes["oidc"] = {"type": "openIdConnect", "openIdConnectUrl": where}

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app, extra_paths or {}, schemes)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def operation_id(method: str, path: str) -> str:
    """`GET /v1/boards/{name}` → `get_v1_boards_name`"""
    parts = path.strip("/").replace("{", "").replace("}", "").replace(":path", "")
    return "_".join([method.lower(), *parts.replace("-", "_").split("/")])


def _document(app: FastAPI, extra: Mapping[str, Mapping[str, Any]], schemes: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = get_openapi(
        title=app.title,
        version=app.version,
        openapi_version="3.1.0",
        description=_ABOUT,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        routes=app.routes,
        tags=[{"name": name, "description": text} for name, (text, _) in _TAGS.items()],
    )
    needs = _permissions(app)
    made["paths"] |= orjson.loads(orjson.dumps(dict(extra)))
    components = made.setdefault("components", {})
    components["securitySchemes"] = dict(schemes)
    components.setdefault("schemas", {})["Problem"] = {
        "type": "object",
        "required": ["detail"],
        "properties": {"detail": {"type": "string", "description": "What was expected, and what was found"}},
    }
    examples: dict[str, dict[str, Any]] = orjson.loads(_EXAMPLES.read_bytes())
    for path, item in made["paths"].items():
        for method, operation in item.items():
            permissions = operation.pop("x-permissions", None)
            if permissions is None:
                permissions = needs.get((method.upper(), path))
            _identify(operation, method, path)
            _secure(operation, permissions, schemes)
            if path.startswith("/v1/") and "503" not in operation["responses"]:
                operation["responses"]["503"] = _refused(_WORDS["503"], _AWAY)
            _exemplify(operation, examples.get(f"{method.upper()} {path}", {}))
    return made


def _permissions(app: FastAPI) -> dict[tuple[str, str], tuple[Permission, ...]]:
    """Which permissions each operation asks for, any one of them; none for a public one."""
    found = {}
    for route in iter_route_contexts(app.routes):
        if isinstance(route.original_route, APIRoute):
            asked = [getattr(one.dependency, "permissions", ()) for one in route.original_route.dependencies]
            for method in route.methods or ():
                found[method, route.path_format or ""] = tuple(one for group in asked for one in group)
    return found


def _identify(operation: dict[str, Any], method: str, path: str) -> None:
    operation["operationId"] = operation_id(method, path)
    segment = path.removeprefix("/v1").strip("/").split("/")[0]
    operation.setdefault("tags", [_TAG_OF.get(segment, segment)])


def _secure(operation: dict[str, Any], permissions: tuple[str, ...] | None, schemes: Mapping[str, Any]) -> None:
    """Say which permission it takes, and what comes of it where somebody has none."""
    if not permissions:
        operation["security"] = []
        return
    operation["security"] = [{name: []} for name in schemes]
    wanted = " or ".join(permissions)
    said = f"Needs the permission {' or '.join(f'`{one}`' for one in permissions)}."
    operation["description"] = f"{operation['description']}\n\n{said}" if operation.get("description") else said
    nobody = f"expected a key or a login that may {wanted}; found none"
    somebody = f"expected somebody who may {wanted}; key:4f1c may not"
    for status, text, detail in (("401", _WORDS["401"], nobody), ("403", _WORDS["403"], somebody)):
        operation["responses"].setdefault(status, _refused(text, detail))


def _refused(text: str, detail: str) -> dict[str, Any]:
    return {
        "description": text,
        "content": {"application/json": {"schema": _PROBLEM, "example": {"detail": detail}}},
    }


def _exemplify(operation: dict[str, Any], known: Mapping[str, Any]) -> None:
    """Put in the examples that there are: `ask` has those of parameters, `body` that of the request."""
    for parameter in operation.get("parameters", ()):
        if parameter["name"] in known.get("ask", {}):
            parameter["example"] = known["ask"][parameter["name"]]
    if "body" in known:
        operation["requestBody"]["content"]["application/json"].setdefault("example", known["body"])
    for status, example in known.items():
        if status.isdigit():
            usual = {"description": _WORDS[status]}
            answer = operation["responses"].setdefault(status, usual)
            content = answer.setdefault("content", {}).setdefault("application/json", {})
            if int(status) >= 400 and set(example) == {"detail"}:
                content.setdefault("schema", _PROBLEM)
            if "examples" not in content:
                content.setdefault("example", example)
    invalid = operation["responses"].get("422", {}).get("content", {}).get("application/json", {})
    if "HTTPValidationError" in str(invalid.get("schema")):
        invalid.setdefault("example", _INVALID)
