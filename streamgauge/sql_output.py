"""What a query gave, for people and for programs."""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import IO, Any

import orjson
from rich.console import Console
from rich.table import Table

from streamgauge.sql import Column
from streamgauge.terminal import printable

FORMATS = ("table", "csv", "json", "ndjson", "parquet")


def write_table(columns: Sequence[Column], rows: Iterator[Sequence[Any]], out: IO[str], limit: int) -> None:
    """The first `limit` rows (0: all), and a word about there being more."""
    table = Table(show_edge=False, pad_edge=False)
    for column in columns:
        right = column.kind == "number"
        table.add_column(
            printable(column.name), justify="right" if right else "left", overflow="ellipsis", no_wrap=True
        )
    count = 0
    for row in islice(rows, limit or None):
        count += 1
        table.add_row(*("" if value is None else printable(_text(value)) for value in row))
    console = Console(file=out, highlight=False, markup=False, width=None if out is sys.stdout else 200)
    console.print(table)
    more = limit and next(rows, None) is not None
    console.print(f"the first {count:,} rows; --limit shows more" if more else f"{count:,} rows")


def write_csv(columns: Sequence[Column], rows: Iterable[Sequence[Any]], out: IO[str]) -> None:
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([column.name for column in columns])
    writer.writerows([("" if value is None else _text(value)) for value in row] for row in rows)


def write_json(columns: Sequence[Column], rows: Iterable[Sequence[Any]], out: IO[bytes], *, lines: bool) -> None:
    """An array of objects, or one object a line."""
    first = True
    if not lines:
        out.write(b"[")
    for row in rows:
        text = orjson.dumps({c.name: _json(c, value) for c, value in zip(columns, row, strict=True)})
        out.write(text + b"\n" if lines else (b"\n" if first else b",\n") + text)
        first = False
    if not lines:
        out.write(b"\n]\n")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if hasattr(value, "isoformat"):
        return f"{value.isoformat(timespec='milliseconds' if value.microsecond else 'seconds')}Z"
    return str(value)


def _json(column: Column, value: Any) -> Any:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if column.kind == "json":
        return orjson.Fragment(value.encode())
    return _text(value) if column.kind == "time" else value
