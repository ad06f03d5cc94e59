"""Tables of keys and of settings as the documents have them, made of the code and of the docstrings in it."""

from __future__ import annotations

import ast
import re
import types
from inspect import getsource
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import orjson
from annotated_types import Ge, Gt, Le, Len, Lt, MaxLen
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from stream.boards import Board, BoardName, Tile
from stream.catalog import Event, Platform
from stream.forecast import Forecast
from stream.intake import Enrich, Ingest
from stream.keeping import Archive, Buckets, Influx, Keep
from stream.metrics import Metric, Window
from stream.people.declared import People
from stream.rules import Limit, Off, Rule
from stream.tables import Duration, FieldName, MetricName, WindowText
from stream.webhooks import EnvironmentName, Webhook, WebhookName
from streamgauge.settings import Settings, variables

_OF_CATALOG = (Platform, Event, Metric, People, Board, Tile, Rule, Forecast, Webhook, Influx, Archive, Keep, Buckets)
TABLES: dict[str, type[BaseModel]] = {table.__name__: table for table in (*_OF_CATALOG, Ingest, Enrich)}
"""The tables of the catalog whose keys the documents have from here."""
_CALLED: list[tuple[Any, str]] = [
    (Duration, "duration"),
    (Off, 'duration or `"off"`'),
    (Limit, "number or duration"),
    (FieldName, "field"),
    (MetricName, "name"),
    (BoardName, "name"),
    (WebhookName, "name"),
    (EnvironmentName, "variable"),
    (Window, "window"),
    (WindowText, "window"),
]
_SEVERAL = {
    "text": "texts",
    "number": "numbers",
    "field": "fields",
    "name": "names",
    "window": "windows",
    "table": "tables",
}
_PLAIN = {str: "text", int: "whole number", float: "number", bool: "`true` or `false`", Path: "path", SecretStr: "text"}
_WORTH_SAYING = 100
_DEFAULT = re.compile(r"(?:^|(?<=[.!?:]) )Default: (.+?)\.?$", re.DOTALL)


class Undocumented(ValueError):
    """Something that has no words of its own. Says what, and where they belong."""


def keys_table(table: type[BaseModel]) -> str:
    """The keys of a table of the catalog, in the order in which the code has them."""
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    hints = get_type_hints(table, include_extras=True)
    words = _docstrings(table)
    for name, field in table.model_fields.items():
        said = _DEFAULT.search(words[name])
        meaning = _DEFAULT.sub("", words[name]).replace("|", "\\|")
        default = said[1] if said else "required" if field.is_required() else _shown(field)
        kind = _type(_without_bounds(hints[name])) + _limits(field.metadata)
        rows.append(f"| `{field.alias or name}` | {kind} | {default} | {meaning} |")
    return "\n".join(rows) + "\n"


def settings_table() -> str:
    """Every variable of the environment."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    words = _docstrings(Settings)
    for name, variable in variables().items():
        said = _DEFAULT.search(words[name])
        default = Settings.model_fields[name].default
        shown = said[1] if said else "empty" if _plain(default) == "" else _bare(default)
        rows.append(f"| `{variable}` | {shown} | {_DEFAULT.sub('', words[name])} |")
    return "\n".join(rows) + "\n"


def _docstrings(of: type[BaseModel]) -> dict[str, str]:
    """What stands behind each field, on one line."""
    [tree] = ast.parse(getsource(of)).body
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for one, after in zip(tree.body, [*tree.body[1:], None], strict=True):
        if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name):
            text = after.value if isinstance(after, ast.Expr) else None
            found[one.target.id] = str(text.value) if isinstance(text, ast.Constant) else ""
    missing = [name for name in of.model_fields if not found.get(name)]
    if missing:
        raise Undocumented(f"{of.__module__}.{of.__name__}: expected a docstring behind {', '.join(missing)}")
    return {name: " ".join(found[name].split()) for name in of.model_fields}


def _without_bounds(hint: Any) -> Any:
    """A field's type as such: its own bounds are among the field's."""
    known = any(hint == one for one, _ in _CALLED)
    return get_args(hint)[0] if get_origin(hint) is Annotated and not known else hint


def _type(hint: Any) -> str:
    for known, name in _CALLED:
        if hint == known:
            return name
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        bounds = [limit for one in arguments[1:] for limit in (one.metadata if isinstance(one, FieldInfo) else [one])]
        return _type(arguments[0]) + _limits(bounds)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_type(one) for one in arguments if one is not types.NoneType))
    if origin is Literal:
        return ", ".join(f'`"{one}"`' for one in arguments)
    if origin is list:
        inner, comma, more = _type(arguments[0]).partition(",")
        return f"list of {_SEVERAL.get(inner, inner)}{comma}{more}"
    if origin is dict:
        if get_origin(arguments[1]) in (Union, types.UnionType):
            return "table"
        return f"table of {_type(arguments[1])} by {_type(arguments[0])}"
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return "table"
    if isinstance(hint, type) and issubclass(hint, str) and hint is not str:
        return "severity" if hint.__name__ == "Severity" else "text"
    return _PLAIN.get(hint, "text")


def _limits(found: list[Any]) -> str:
    """Bounds of numbers, and of short lists, in words; those of texts are told by `check`."""
    least = next((one for one in found if isinstance(one, Ge | Gt)), None)
    most = next((one for one in found if isinstance(one, Le | Lt)), None)
    longest = next((one.max_length for one in found if isinstance(one, MaxLen | Len)), None)
    words = []
    if least is not None:
        words.append(f"from {least.ge:,}" if isinstance(least, Ge) else f"above {least.gt}")
    if most is not None:
        words.append(f"to {most.le:,}" if isinstance(most, Le) else f"below {most.lt}")
    if not words and longest is not None and longest < _WORTH_SAYING:
        words.append(f"up to {longest}")
    return f", {' '.join(words)}" if words else ""


def _plain(value: Any) -> Any:
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def _bare(value: Any) -> str:
    """A default as the environment has it."""
    return "none" if value is None else f"`{_plain(value)}`"


def _shown(field: FieldInfo) -> str:
    """A default as TOML has it."""
    value = field.get_default(call_default_factory=True)
    if value is None or value == {}:
        return "none"
    if isinstance(value, BaseModel):
        return "those of its keys"
    return f"`{orjson.dumps(value).decode().replace(',', ', ')}`"
