"""Answers as JSON, by point or by column, as CSV, and as an Arrow IPC stream."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import orjson
import polars as pl

from live_api.points.answer import Answer, Cell, cells
from live_api.points.question import Question
from sinks.records import Value, iso
from sinks.runs import STATES, Run, json_of

MOST_POINTS = 10_000
"""Of one answer in JSON by point."""
_COUNTED = frozenset({"count", "distinct"})
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What begins a formula in a spreadsheet."""


class Row(NamedTuple):
    """One window of one series, and the one beside it."""

    place: int
    """Which window of the range."""
    run: Run
    cell: Cell | None
    beside: Cell | None


def head(asked: Question, found: Answer) -> dict[str, Any]:
    """What is said beside the points: which windows these are, and what is not there."""
    choice = found.choice
    return {
        "metric": asked.metric["name"],
        "window": choice.window.name,
        "step": choice.step.name,
        "chosen": choice.chosen,
        "why": choice.why,
        "from": iso(choice.starts[0]) if choice.starts else None,
        "to": iso(choice.end_ms) if choice.starts else None,
        "compare": asked.compare,
        "fill": asked.fill,
        "series_shown": len(found.runs),
        "series_total": found.series_total,
        "series_truncated": found.series_total > asked.limit,
    }


def as_rows(asked: Question, found: Answer) -> bytes:
    """JSON by point, in the order of their start and then of their dimensions; the earliest `MOST_POINTS`."""
    starts, window = found.choice.starts, found.choice.step.name
    points, compared = [], []
    rows = sorted(_rows(found), key=lambda row: row.place)
    for row in rows[:MOST_POINTS]:
        said = {"metric": asked.metric["name"], "window": window, "start": iso(starts[row.place])}
        dimensions = dict(row.run.dimensions)
        if row.cell is not None:
            points.append(said | {"dimensions": dimensions} | _said(row.cell))
        if row.beside is not None:
            assert found.then is not None
            at_ms = found.then[row.place]
            assert at_ms is not None
            compared.append(said | {"then": iso(at_ms), "dimensions": dimensions} | _said(row.beside))
    body = head(asked, found)
    body |= {"points": points} | ({} if found.then is None else {"compared": compared})
    return orjson.dumps(body | {"truncated": len(rows) > MOST_POINTS})


def as_columns(asked: Question, found: Answer) -> bytes:
    """JSON by series: one list of starts, epoch ms, and for each series one of values, as long; null where there is
    none."""
    starts, ends = found.choice.starts, found.ends
    beside: list[Run] | list[None] = found.compared or [None] * len(found.runs)
    parts = []
    for run, then in zip(found.runs, beside, strict=True):
        about = orjson.dumps(dict(run.dimensions)).decode()
        opened = [start for start, state in zip(run.starts, run.states, strict=True) if state == 0]
        if opened:
            place = {start: index for index, start in enumerate(starts)}
            opened = [place[start] for start in opened]
        text = f'{{"dimensions":{about},"values":[{_row(run, starts, ends, found)}],"open":{opened}'
        if then is not None and found.then is not None:
            text += f',"compared":[{_row(then, found.then, found.then_ends, found)}]'
        parts.append(text + "}")
    said = head(asked, found) | {"truncated": False, "starts": starts}
    if found.then is not None:
        said["compared_starts"] = found.then
    return b'%b,"series":[%b]}' % (orjson.dumps(said)[:-1], ",".join(parts).encode())


def as_csv(asked: Question, found: Answer) -> bytes:
    """RFC 4180 with a header. A text that a spreadsheet would take for a formula has an apostrophe before it."""
    names = _columns(asked, found)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([_safe(name) for name in names])
    for row in sorted(_rows(found), key=lambda row: row.place):
        starts = found.choice.starts
        line: list[object] = [iso(starts[row.place]), *(_safe(value) for _, value in row.run.dimensions)]
        line += [*_values(asked, row.cell), *_rest(row.cell)]
        if found.then is not None:
            at_ms = found.then[row.place]
            line += ["" if at_ms is None else iso(at_ms), *_values(asked, row.beside)]
        writer.writerow(["" if one is None else one for one in line])
    return text.getvalue().encode()


def as_arrow(asked: Question, found: Answer) -> bytes:
    """An Arrow IPC stream of one table, with the columns of the CSV."""
    number: Any = pl.Int64 if asked.metric["measure"] in _COUNTED else pl.Float64
    if asked.metric["measure"] == "top_k":
        number = pl.String
    rows = sorted(_rows(found), key=lambda row: row.place)
    columns: list[tuple[Any, list[Any]]] = [
        (pl.Datetime("ms", "UTC"), [found.choice.starts[row.place] for row in rows])
    ]
    columns += [(pl.String, [row.run.dimensions[i][1] for row in rows]) for i in range(len(asked.metric["by"]))]
    columns += [(number, list(one)) for one in _across([_values(asked, row.cell) for row in rows], asked)]
    rest = [_rest(row.cell) for row in rows]
    kinds = (pl.Int64, pl.String, pl.Int64, pl.Float64)
    columns += [(kind, [one[i] for one in rest]) for i, kind in enumerate(kinds)]
    if found.then is not None:
        columns.append((pl.Datetime("ms", "UTC"), [found.then[row.place] for row in rows]))
        columns += [(number, list(one)) for one in _across([_values(asked, row.beside) for row in rows], asked)]
    named = zip(_columns(asked, found), columns, strict=True)
    table = pl.DataFrame([_series(name, kind, values) for name, (kind, values) in named])
    out = io.BytesIO()
    table.write_ipc_stream(out)
    return out.getvalue()


def _series(name: str, kind: Any, values: list[Any]) -> pl.Series:
    if isinstance(kind, pl.Datetime):
        return pl.Series(name, values, pl.Int64).cast(kind)
    return pl.Series(name, values, kind, strict=False)


def _rows(found: Answer) -> Iterator[Row]:
    """Every window of every series that something is known of, here or beside it; by series."""
    starts, ends = found.choice.starts, found.ends
    for i, run in enumerate(found.runs):
        here = cells(run, starts, ends, found.filling)
        beside: Sequence[Cell | None] = [None] * len(here)
        if found.then is not None:
            beside = cells(found.compared[i], found.then, found.then_ends, found.filling)
        for index, (cell, other) in enumerate(zip(here, beside, strict=True)):
            if cell is not None or other is not None:
                yield Row(index, run, cell, other)


def _row(run: Run, starts: Sequence[int | None], ends: Sequence[int], found: Answer) -> str:
    if run.starts == starts:
        return run.values_json
    return json_of([None if cell is None else cell.value for cell in cells(run, starts, ends, found.filling)])


def _said(cell: Cell) -> dict[str, Any]:
    said = {"value": cell.value, "count": cell.events, "state": STATES[cell.state].value, "revision": cell.revision}
    if cell.error is not None:
        said["error"] = cell.error
    return said | ({"filled": True} if cell.filled else {})


def _columns(asked: Question, found: Answer) -> list[str]:
    values = list(asked.keys) or ["value"]
    compared = [] if found.then is None else ["then", *(f"then_{name}" for name in values)]
    own = ["start", *values, "count", "state", "revision", "error", *compared]
    by = [f"dimension.{name}" if name in own else name for name in asked.metric["by"]]
    return ["start", *by, *own[1:]]


def _values(asked: Question, cell: Cell | None) -> list[Any]:
    """The value, or of several that are known by name, each; a top list as JSON."""
    value: Value = None if cell is None else cell.value
    if asked.keys:
        return [value.get(key) if isinstance(value, dict) else None for key in asked.keys]
    return [orjson.dumps(value).decode() if isinstance(value, dict) else value]


def _rest(cell: Cell | None) -> list[Any]:
    return [None] * 4 if cell is None else [cell.events, STATES[cell.state].value, cell.revision, cell.error]


def _across(rows: Sequence[Sequence[Any]], asked: Question) -> list[tuple[Any, ...]]:
    return list(zip(*rows, strict=True)) if rows else [()] * max(1, len(asked.keys))


def _safe(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text
