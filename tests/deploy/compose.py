"""docker-compose.yml as Compose would read it, for tests: no container engine is needed to look at it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from tests.stack import ROOT

FILE = ROOT / "docker-compose.yml"
_VARIABLE = re.compile(r"\$(?:(\$)|\{(\w+)(?::-([^}]*))?\})")


def compose(variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The whole file with `variables` put in; `$$` is a dollar."""
    given = variables or {}

    def put_in(value: Any) -> Any:
        if isinstance(value, str):
            return _VARIABLE.sub(lambda at: at[1] or given.get(at[2]) or at[3] or "", value)
        if isinstance(value, list):
            return [put_in(one) for one in value]
        if isinstance(value, dict):
            return {name: put_in(one) for name, one in value.items()}
        return value

    read: dict[str, Any] = put_in(yaml.safe_load(FILE.read_text()))
    return read


def services(variables: Mapping[str, str] | None = None) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose(variables)["services"]
    return found


def seconds(text: str) -> float:
    """Of a duration such as 20s."""
    assert text.endswith("s"), text
    return float(text[:-1])
