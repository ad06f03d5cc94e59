"""What is wrong with a catalog, said so that whoever wrote it can put it right: key, expected, found."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a catalog."""

    key: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.key}: expected {self.expected}; found {self.found}"


class CatalogError(ValueError):
    """A catalog that cannot be used. `problems` has every reason, `source` the file."""

    def __init__(self, source: str, problems: list[Problem]) -> None:
        super().__init__("\n".join(f"{source}: {problem}" for problem in problems))
        self.source = source
        self.problems = problems


def problem_of(
    error: dict[str, Any], raw: Mapping[str, Any], known_keys: Callable[[Sequence[Any]], list[str]]
) -> Problem:
    """One of pydantic's errors in our words. `known_keys` gives the keys that are allowed at a place."""
    location = error["loc"]
    key = key_of(location, raw)
    if error["type"] == "extra_forbidden":
        known = known_keys(location)
        near = difflib.get_close_matches(str(location[-1]), known, 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        return Problem(key, f"one of {', '.join(known)}", f"unknown key {location[-1]!r}{hint}")
    if error["type"] == "missing":
        return Problem(key, "a value, as this key is required", "nothing")
    if error["type"] in ("model_type", "dict_type") and isinstance(error["input"], list):
        return Problem(key, f"one table, [{key}]", f"several, [[{key}]]")
    if error["type"] == "list_type" and isinstance(error["input"], dict):
        keep = "; for how long things are kept is said in [keep]" if key == "retention" else ""
        return Problem(key, f"tables, [[{key}]], of which there may be several{keep}", f"[{key}]")
    message = str(error["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
    message = message.replace("a valid dictionary", "a table")
    message = message.replace("a valid list", 'a list, such as ["a", "b"]')
    message = message.replace("List should have", "a list with")
    message = message.replace(" after validation", "")
    message = message.replace("String should match", "a text that matches")
    if error["type"] == "value_error":
        head, sep, rest = message.partition(": expected ")
        if sep:
            key, message = f"{key}.{head}" if key else head, f"expected {rest}"
        message = message.removeprefix("expected ")
        expected, sep, found = message.replace("; found ", ", found ").rpartition(", found ")
        return Problem(key or "catalog", expected, found) if sep else Problem(key or "catalog", message, "otherwise")
    return Problem(key or "catalog", message, repr(error["input"]))


def key_of(location: Sequence[Any], raw: Any) -> str:
    """`("metric", 2, "by")` → `metric[2] "edits".by`."""
    text, here = "", raw
    for part in location:
        if isinstance(part, int):
            here = here[part] if isinstance(here, list) and part < len(here) else None
            text += f"[{part}]"
            if isinstance(here, dict) and isinstance(here.get("name"), str):
                text += f' "{here["name"]}"'
        else:
            here = here.get(part) if isinstance(here, dict) else None
            text += f".{part}" if text else str(part)
    return text


def tables_of(raw: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """The tables of an array of tables, as TOML has them; what is none keeps its place as an empty one."""
    found = raw.get(key)
    return [table if isinstance(table, dict) else {} for table in found] if isinstance(found, list) else []
