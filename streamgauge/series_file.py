"""A series in a file: CSV with a column `timestamp` and a column `value`, plain or gzipped."""

from __future__ import annotations

import csv
import gzip
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TextIO

import polars as pl

from stream.convert import times_of_texts
from streamgauge.files import FileError

_CHUNK = 10_000
_MISSING = {"", "nan", "null", "none", "na", "n/a"}


@dataclass(frozen=True, slots=True)
class SeriesRow:
    """One row: both columns as they are in the file, and what they mean."""

    timestamp: str
    shown: str
    time_ms: int
    value: float
    """NaN where there is none, or one that is not finite."""


def read_series(path: Path) -> Iterator[SeriesRow]:
    """The rows of a file, in its order. Raises FileError, which names the line.

    The columns may be in any order and others beside them. Times are ISO 8601 (UTC where they do not say) or epoch s,
    ms, us or ns. A value that is empty, `nan`, `null` or `none` is a row without one.
    """
    try:
        with _open(path) as file:
            yield from _rows(path, file)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise FileError(f"{path}: not a whole gzip file: {error}") from error
    except UnicodeDecodeError as error:
        raise FileError(f"{path}: expected text in UTF-8, found {error.object[error.start : error.end]!r}") from error
    except csv.Error as error:
        raise FileError(f"{path}: not CSV: {error}") from error
    except OSError as error:
        raise FileError(f"{path}: {error.strerror or error}") from error


def _open(path: Path) -> TextIO:
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _rows(path: Path, file: TextIO) -> Iterator[SeriesRow]:
    reader = csv.reader(file)
    names = [name.strip().lower() for name in next(reader, [])]
    for name in ("timestamp", "value"):
        if names.count(name) != 1:
            found = ", ".join(names) or "an empty file"
            raise FileError(f"{path}:1: expected a header with one column {name!r}, found {found}")
    time_at, value_at = names.index("timestamp"), names.index("value")
    numbered = ((reader.line_num, row) for row in reader if row)
    while chunk := list(islice(numbered, _CHUNK)):
        for line, row in chunk:
            if len(row) <= max(time_at, value_at):
                raise FileError(f"{path}:{line}: expected {len(names)} columns, found {len(row)}")
        texts = [row[time_at].strip() for _, row in chunk]
        bad: dict[int, tuple[object, str]] = {}
        times_ms = times_of_texts("timestamp", pl.Series(texts, dtype=pl.String()), bad)  # type: ignore[arg-type]
        for place, (line, row) in enumerate(chunk):
            if place in bad:
                raise FileError(f"{path}:{line}: {bad[place][1]}")
            shown = row[value_at].strip()
            yield SeriesRow(texts[place], shown, int(times_ms[place]), _value(f"{path}:{line}", shown))


def _value(where: str, text: str) -> float:
    if text.lower() in _MISSING:
        return math.nan
    try:
        value = float(text)
    except ValueError:
        raise FileError(f"{where}: value: expected a number or nothing, found {text!r}") from None
    return value if math.isfinite(value) else math.nan
