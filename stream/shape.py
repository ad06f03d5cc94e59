"""The shape of an event: a struct type that reads only the fields the catalog names."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any

import msgspec

from stream.expressions import FieldType

ACCEPTED: dict[FieldType, Any] = {
    FieldType.STRING: str | int | float | bool | None,
    FieldType.NUMBER: int | float | str | None,
    FieldType.BOOLEAN: bool | str | int | None,
}
"""JSON types that a field of each type may come as. Text for numbers and booleans, as flat fields have nothing else."""
PLAIN: dict[FieldType, Any] = {
    FieldType.STRING: str | int | float | bool | None,
    FieldType.NUMBER: int | float | None,
    FieldType.BOOLEAN: bool | None,
}
"""JSON types that can be read natively: what is written as a text is meant as one."""
TIME_ACCEPTED = str | int | float | None


def struct_of(types: dict[str, Any]) -> tuple[type, dict[str, Callable[[Any], Any]]]:
    """A struct type for events with these fields, where `a.b` is field b of the object a, and a getter for each."""
    fields: list[tuple[str, Any, Any]] = []
    rename: dict[str, str] = {}
    getters: dict[str, Callable[[Any], Any]] = {}
    inner: dict[str, dict[str, Any]] = {}
    for name, accepted in types.items():
        head, dot, rest = name.partition(".")
        if dot:
            inner.setdefault(head, {})[rest] = accepted
            continue
        attribute = f"f{len(fields)}"
        fields.append((attribute, accepted, None))
        rename[attribute] = name
        getters[name] = attrgetter(attribute)
    for head, nested in inner.items():
        struct, nested_getters = struct_of(nested)
        attribute = f"f{len(fields)}"
        fields.append((attribute, struct | None, None))
        rename[attribute] = head
        for rest, getter in nested_getters.items():
            getters[f"{head}.{rest}"] = _inner_getter(attribute, getter)
    return msgspec.defstruct("Event", fields, rename=rename, gc=False), getters


def _inner_getter(attribute: str, getter: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def get(event: Any) -> Any:
        inner = getattr(event, attribute)
        return None if inner is None else getter(inner)

    return get


def nested(values: dict[str, Any]) -> dict[str, Any]:
    """`{"a.b": 1}` → `{"a": {"b": 1}}`."""
    result: dict[str, Any] = {}
    for name, value in values.items():
        here = result
        *parents, last = name.split(".")
        for parent in parents:
            here = here.setdefault(parent, {})
        here[last] = value
    return result
