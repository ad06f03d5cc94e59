"""The HTTP API as `docs/http.md` has it, made of the application's own description and of what its routes need."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from streamgauge.reference_tables import Undocumented


def routes_of(application: Any) -> str:
    """The HTTP API: of each route who may ask it, what it takes and what it answers."""
    asked: Mapping[str, Any] = application.openapi()["paths"]
    needs = dict(_permissions(application.routes))
    sections = []
    for path, methods in asked.items():
        for method, about in methods.items():
            sections.append(_route(method.upper(), path, about, needs.pop((method.upper(), path), None)))
    for (method, path), permissions in needs.items():
        # A browser asks these by itself before it sends or reads.
        if method not in ("HEAD", "OPTIONS"):
            sections.append(f"### `{method} {path}`\n\nNeeds {_asked(permissions)}. Not in `/openapi.json`.\n")
    return "\n".join(sections)


def _permissions(routes: Any) -> Iterator[tuple[tuple[str, str], tuple[str, ...]]]:
    for route in routes:
        included = getattr(route, "original_router", None)
        if included is not None:
            yield from _permissions(included.routes)
            continue
        named = [getattr(route, "endpoint", None), *(one.dependency for one in getattr(route, "dependencies", []))]
        found = [one.permissions for one in named if hasattr(one, "permissions")]
        for method in getattr(route, "methods", None) or () if found else ():
            path = re.sub(r"{(\w+):\w+}", r"{\1}", route.path)
            yield (method, path), tuple(str(one) for permissions in found for one in permissions)


def _asked(permissions: tuple[str, ...]) -> str:
    return " or ".join(f"`{one}`" for one in permissions) if permissions else "nothing: everybody may"


def _route(method: str, path: str, about: Mapping[str, Any], needs: tuple[str, ...] | None) -> str:
    said = " ".join(about.get("description", "").split())
    if "Needs the permission" not in said:
        if needs is None:
            raise Undocumented(f"{method} {path}: expected `requires(…)`, `guarded(…)` or PUBLIC, found none")
        said = f"{said} Needs {_asked(needs)}.".strip()
    lines = [f"### `{method} {path}`", "", f"{about['summary']}. {said}", ""]
    rows = [_parameter(one) for one in about.get("parameters", ())]
    body = about.get("requestBody", {}).get("content", {})
    for kind, one in body.items():
        schema = one.get("schema", {})
        must = schema.get("required", ())
        rows += [
            _row(name, f"body, {_kind(value)}", "required" if name in must else "none", value.get("description"))
            for name, value in schema.get("properties", {}).items()
        ] or [_row("body", f"`{kind}`", "required", schema.get("description"))]
    if rows:
        lines += ["| parameter | in | default | meaning |", "|---|---|---|---|", *rows, ""]
    shown = about["responses"].keys() - {"401", "403", "422"}
    answers = {status: one["description"] for status, one in about["responses"].items() if status in shown}
    told = ", ".join(
        f"`{status}`" + ("" if words in ("Successful Response", "") else f" {words}")
        for status, words in answers.items()
    )
    return "\n".join([*lines, f"Answers {told}.", ""])


def _parameter(one: Mapping[str, Any]) -> str:
    schema = one.get("schema", {})
    default = schema.get("default")
    shown = "required" if one.get("required") else "none" if default is None else f"`{default}`"
    kind = f"{one['in']}, {_kind(schema)}"
    return _row(one["name"], kind, shown, one.get("description") or schema.get("description"))


def _kind(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return " ".join(f"`{one}`" for one in schema["enum"])
    of = [one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"] or [{}]
    least, most = of[0].get("minimum"), of[0].get("maximum")
    bounds = f" {least} to {most:,}" if least is not None and most is not None else ""
    kind = str(of[0].get("type", "any"))
    return {"string": "text", "integer": "whole number"}.get(kind, kind) + bounds


def _row(name: str, kind: str, default: str, meaning: str | None) -> str:
    return f"| `{name}` | {kind} | {default} | {' '.join((meaning or '').split()).replace('|', chr(92) + '|')} |"
