"""As much of Flux as the project asks for, over rows in memory: strict, so that a query that is wrong fails here.

A column that is not there, two types in one table, an argument or a function that is not known: all are errors, where
InfluxDB sometimes would answer nothing instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*)
    |(?P<text>"(?:[^"\\]|\\.)*")
    |(?P<regex>/(?:[^/\\\n]|\\.)+/)
    |(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z)
    |(?P<duration>-?(?:\d+(?:ns|us|ms|mo|s|m|h|d|w|y))+)
    |(?P<number>-?\d+(?:\.\d+)?)
    |(?P<sign>\|>|=>|==|!=|=~|!~|>=|<=|[(){}\[\],:.<>])
    |(?P<word>[A-Za-z_]\w*)""",
    re.VERBOSE,
)
_UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


class FluxError(ValueError):
    """The query is none, or not over these rows."""


@dataclass(frozen=True)
class Written:
    """A row of a bucket: what one line of line protocol says."""

    measurement: str
    tags: tuple[tuple[str, str], ...]
    time_ms: int
    fields: Mapping[str, float | int | bool | str]


@dataclass
class Table:
    key: tuple[str, ...]
    """Columns of the group key."""
    rows: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Call:
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Condition:
    column: str
    operator: str
    value: Any


def ask(query: str, buckets: Mapping[str, Iterable[Written]], now_ms: int = 0) -> list[Table]:
    """The tables that a query answers."""
    calls = parse(query)
    first = calls[0]
    if first.name == "schema.tagValues":
        _only(first, "bucket", "tag")
        wanted = first.arguments["tag"]
        values = {value for row in buckets[first.arguments["bucket"]] for name, value in row.tags if name == wanted}
        return [Table((), [{"_value": value} for value in sorted(values)])]
    if first.name != "from":
        raise FluxError(f"expected from() first, found {first.name}()")
    _only(first, "bucket")
    if first.arguments["bucket"] not in buckets:
        raise FluxError(f"could not find bucket {first.arguments['bucket']!r}")
    if len(calls) < 2 or calls[1].name != "range":
        raise FluxError("expected range() behind from(): InfluxDB refuses to read without bounds")
    # What a filter would throw away anyway is not even looked at.
    conditions = calls[2].arguments["fn"] if len(calls) > 2 and calls[2].name == "filter" else []
    wanted = [one for one in conditions if one.column == "_measurement"]
    if not wanted:
        raise FluxError("expected filter() behind range(), which names a measurement")
    rows = buckets[first.arguments["bucket"]]
    tables = _tables(row for row in rows if all(_holds({"_measurement": row.measurement}, one) for one in wanted))
    for call in calls[1:]:
        tables = [table for table in _STAGES[call.name](tables, call, now_ms) if table.rows]
    return tables


def parse(query: str) -> list[Call]:
    """The calls of a pipeline, first to last."""
    tokens: list[tuple[str, str]] = []
    place = 0
    while place < len(query):
        found = _TOKEN.match(query, place)
        if found is None:
            raise FluxError(f"cannot read {query[place : place + 30]!r}")
        place = found.end()
        if found.lastgroup != "space":
            tokens.append((str(found.lastgroup), found[0]))
    return _Parser(tokens).query()


class _Parser:
    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._tokens = [*tokens, ("end", "")]
        self._imported: set[str] = set()

    def query(self) -> list[Call]:
        while self._is("import"):
            self._take("import")
            self._imported.add(self._value().rpartition("/")[2])
        calls = [self._call()]
        while self._is("|>"):
            self._take("|>")
            calls.append(self._call())
        if self._tokens[0][0] != "end":
            raise FluxError(f"expected |>, found {self._tokens[0][1]!r}")
        for call in calls:
            package, dot, _ = call.name.partition(".")
            if dot and package not in self._imported:
                raise FluxError(f"{package} is not imported")
            if call.name not in _STAGES and call.name not in ("from", "schema.tagValues"):
                raise FluxError(f"{call.name}() is not known here")
        return calls

    def _is(self, text: str) -> bool:
        return self._tokens[0][1] == text

    def _take(self, text: str | None = None) -> str:
        _, found = self._tokens.pop(0)
        if text is not None and found != text:
            raise FluxError(f"expected {text!r}, found {found!r}")
        return found

    def _call(self) -> Call:
        name = self._take()
        while self._is("."):
            name += self._take() + self._take()
        self._take("(")
        arguments: dict[str, Any] = {}
        while not self._is(")"):
            key = self._take()
            self._take(":")
            arguments[key] = self._value()
            if not self._is(")"):
                self._take(",")
        self._take(")")
        return Call(name, arguments)

    def _value(self) -> Any:
        kind, text = self._tokens[0]
        if text == "[":
            return self._several("[", "]", self._value)
        if text == "{":
            return dict(self._several("{", "}", self._pair))
        if text == "(":
            for part in ("(", "r", ")", "=>"):
                self._take(part)
            return self._conditions()
        self._take()
        if kind == "text":
            return _unquoted(text)
        if kind == "number":
            return float(text) if "." in text else int(text)
        if kind == "time":
            return int(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)
        if kind == "duration":
            return text
        if text in ("true", "false"):
            return text == "true"
        if text in _AGGREGATES:
            return text
        raise FluxError(f"expected a value, found {text!r}")

    def _several(self, begin: str, end: str, one: Any) -> list[Any]:
        self._take(begin)
        found = []
        while not self._is(end):
            found.append(one())
            if not self._is(end):
                self._take(",")
        self._take(end)
        return found

    def _pair(self) -> tuple[str, Any]:
        key = self._take()
        self._take(":")
        return key, self._value()

    def _conditions(self) -> list[Condition]:
        found = [self._condition()]
        while self._is("and"):
            self._take("and")
            found.append(self._condition())
        return found

    def _condition(self) -> Condition:
        for part in ("r", "["):
            self._take(part)
        column = self._value()
        self._take("]")
        operator = self._take()
        kind, text = self._tokens[0]
        if operator in ("=~", "!~"):
            if kind != "regex":
                raise FluxError(f"expected a regular expression, found {text!r}")
            self._take()
            return Condition(column, operator, re.compile(text[1:-1].replace("\\/", "/")))
        if operator not in ("==", "!="):
            raise FluxError(f"expected ==, != or =~, found {operator!r}")
        return Condition(column, operator, self._value())


def _unquoted(text: str) -> str:
    inside = text[1:-1]
    if re.search(r"(?<!\\)(?:\\\\)*\$\{", inside):
        raise FluxError(f"{text} is an expression, not a text")
    return re.sub(r"\\(.)", r"\1", inside)


def _tables(rows: Iterable[Written]) -> list[Table]:
    found: dict[Any, dict[int, dict[str, Any]]] = {}
    for row in rows:
        for name, value in row.fields.items():
            start = {"_measurement": row.measurement, "_field": name, "_time": row.time_ms, "_value": value}
            # The same series and time again is an upsert.
            found.setdefault((row.measurement, name, row.tags), {})[row.time_ms] = start | dict(row.tags)
    return [
        Table(("_measurement", "_field", *(tag for tag, _ in tags)), [own[time] for time in sorted(own)])
        for (_, _, tags), own in found.items()
    ]


def _only(call: Call, *names: str) -> None:
    if set(call.arguments) != set(names):
        raise FluxError(f"{call.name}(): expected {', '.join(names)}; found {', '.join(call.arguments)}")


def _columns(table: Table, names: Iterable[str], call: Call) -> list[str]:
    wanted = list(names)
    for name in wanted:
        if any(name not in row for row in table.rows):
            raise FluxError(f"{call.name}(): no column {name!r}")
    return wanted


def _moment(value: Any, now_ms: int) -> int:
    if isinstance(value, int):
        return value
    parts = re.fullmatch(r"(-?\d+)(ms|s|m|h|d|w)", value)
    if parts is None:
        raise FluxError(f"{value!r} is no duration of one unit")
    return now_ms + int(parts[1]) * _UNITS_MS[parts[2]]


def _range(tables: list[Table], call: Call, now_ms: int) -> list[Table]:
    if not {"start"} <= set(call.arguments) <= {"start", "stop"}:
        raise FluxError(f"range(): found {', '.join(call.arguments)}")
    start = _moment(call.arguments["start"], now_ms)
    stop = _moment(call.arguments.get("stop", now_ms), now_ms)
    return [Table(table.key, [row for row in table.rows if start <= row["_time"] < stop]) for table in tables]


def _filter(tables: list[Table], call: Call, _: int) -> list[Table]:
    _only(call, "fn")
    return [
        Table(table.key, [row for row in table.rows if all(_holds(row, one) for one in call.arguments["fn"])])
        for table in tables
    ]


def _holds(row: Mapping[str, Any], one: Condition) -> bool:
    value = row.get(one.column)
    if one.operator in ("==", "!="):
        return (value == one.value) is (one.operator == "==")
    found = isinstance(value, str) and one.value.search(value) is not None
    return found is (one.operator == "=~")


def _last(tables: list[Table], call: Call, _: int) -> list[Table]:
    _only(call)
    return [Table(table.key, table.rows[-1:]) for table in tables]


def _group(tables: list[Table], call: Call, _: int) -> list[Table]:
    if call.arguments.keys() - {"columns"}:
        raise FluxError(f"group(): found {', '.join(call.arguments)}")
    names = call.arguments.get("columns", [])
    for table in tables:
        _columns(table, names, call)
    rows = [row for table in tables for row in table.rows]
    kinds = {type(row["_value"]) for row in rows}
    if len(kinds) > 1:
        raise FluxError(f"group(): schema collision, _value is {kinds}")
    found: dict[Any, Table] = {}
    for row in rows:
        found.setdefault(tuple(row[name] for name in names), Table(tuple(names))).rows.append(row)
    return list(found.values())


def _aggregate_window(tables: list[Table], call: Call, _: int) -> list[Table]:
    """A row for each window that has any, under its end, as Flux has it."""
    _only(call, "every", "fn", "createEmpty")
    if call.arguments["createEmpty"]:
        raise FluxError("aggregateWindow(): without values there is nothing to sum up")
    every_ms = _moment(call.arguments["every"], 0)
    found = []
    for table in tables:
        windows: dict[int, list[float]] = {}
        for row in table.rows:
            windows.setdefault((row["_time"] // every_ms + 1) * every_ms, []).append(row["_value"])
        kept = {name: table.rows[0][name] for name in table.key} if table.rows else {}
        aggregate = _AGGREGATES[call.arguments["fn"]]
        found.append(
            Table(table.key, [kept | {"_time": t, "_value": aggregate(v)} for t, v in sorted(windows.items())])
        )
    return found


def _keep(tables: list[Table], call: Call, _: int) -> list[Table]:
    _only(call, "columns")
    found = []
    for table in tables:
        names = _columns(table, call.arguments["columns"], call)
        key = tuple(name for name in table.key if name in names)
        found.append(Table(key, [{name: row[name] for name in names} for row in table.rows]))
    return found


def _sort(tables: list[Table], call: Call, _: int) -> list[Table]:
    _only(call, "columns", "desc")
    for table in tables:
        names = _columns(table, call.arguments["columns"], call)
        table.rows.sort(key=lambda row: tuple(row[name] for name in names), reverse=call.arguments["desc"])
    return tables


def _limit(tables: list[Table], call: Call, _: int) -> list[Table]:
    _only(call, "n")
    return [Table(table.key, table.rows[: call.arguments["n"]]) for table in tables]


def _rename(tables: list[Table], call: Call, _: int) -> list[Table]:
    _only(call, "columns")
    names = call.arguments["columns"]
    for table in tables:
        _columns(table, names, call)
        table.rows = [{names.get(name, name): value for name, value in row.items()} for row in table.rows]
    return tables


def _pivot(tables: list[Table], call: Call, _: int) -> list[Table]:
    _only(call, "rowKey", "columnKey", "valueColumn")
    if call.arguments != {"rowKey": ["_time"], "columnKey": ["_field"], "valueColumn": "_value"}:
        raise FluxError("pivot(): not as expected")
    found: dict[Any, tuple[Table, dict[int, dict[str, Any]]]] = {}
    for table in tables:
        key = tuple(name for name in table.key if name != "_field")
        for row in table.rows:
            own = tuple((name, row[name]) for name in key)
            _, rows = found.setdefault(own, (Table(key), {}))
            made = rows.setdefault(row["_time"], {"_time": row["_time"], **dict(own)})
            made[row["_field"]] = row["_value"]
    return [Table(table.key, [rows[time] for time in sorted(rows)]) for table, rows in found.values()]


_AGGREGATES: Mapping[str, Any] = {"sum": sum, "max": max, "min": min}

_STAGES: Mapping[str, Any] = {
    "aggregateWindow": _aggregate_window,
    "range": _range,
    "filter": _filter,
    "last": _last,
    "group": _group,
    "keep": _keep,
    "sort": _sort,
    "limit": _limit,
    "rename": _rename,
    "pivot": _pivot,
}


def rfc3339(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
