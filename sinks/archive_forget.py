"""Forgetting a person in the archive: files that have events of theirs are written anew without."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl

from sinks import archive_io
from sinks.archive import parquet_of
from sinks.archive_files import ASIDE, SUFFIX, ArchiveFile, listed
from sinks.archive_place import Place


def tells_of(rows: pl.DataFrame, person: str) -> pl.Series:
    """Which rows (n) have a person, by pseudonym, in any text."""
    found = pl.Series([False], dtype=pl.Boolean()).new_from_index(0, len(rows))
    for column in rows.get_columns():
        if column.dtype == pl.String():
            found |= column.eq_missing(person)
    return found


def erase(place: Place, person: str) -> tuple[int, int]:
    """Delete the events of a person, by pseudonym. Returns how many, and of how many files.

    *Guarantee*: each file is as before, or without them. *Failure*: raises what `archive_io` raises; to be done again
    then. *Cost*: the texts of all files are read.
    """
    events = files = 0
    for file in everything(place):
        texts = texts_of(place, file)
        if texts is None or not tells_of(texts, person).any():
            continue
        rows = pl.read_parquet(io.BytesIO(archive_io.read(place, file.name)))
        others = rows.filter(~tells_of(rows, person))
        if len(others):
            archive_io.write(place, file.name, parquet_of(others))
        else:
            archive_io.delete(place, file.name)
        events += len(rows) - len(others)
        files += 1
    return events, files


def look(place: Place, tells: Callable[[bytes], bool]) -> tuple[int, int]:
    """How many files there are, and how many events in them of which a text `tells`, each being given in quotes."""
    files = found = 0
    for file in everything(place):
        texts = texts_of(place, file)
        files += 1
        if texts is None:
            continue
        told = pl.Series([False], dtype=pl.Boolean()).new_from_index(0, len(texts))
        for column in texts.get_columns():
            values = [value for value in column.unique().to_list() if value is not None]
            if tells(b"\n".join(b'"%b"' % value.encode() for value in values)):
                named = [value for value in values if tells(b'"%b"' % value.encode())]
                told |= column.is_in(named).fill_null(False)
        found += int(told.sum())
    return files, found


def everything(place: Place) -> Iterator[ArchiveFile]:
    """All files with events, also those that do not count."""
    yield from listed(place)
    yield from listed(place, suffix=f"{SUFFIX}{ASIDE}")


def texts_of(place: Place, file: ArchiveFile) -> pl.DataFrame | None:
    """The columns of a file that are texts; None without any, or where it has just been joined into another."""
    with archive_io.explained(place):
        try:
            if place.is_local:
                lazily = pl.scan_parquet(Path(place.path(file.name)), hive_partitioning=False)
            else:
                lazily = pl.scan_parquet(io.BytesIO(archive_io.read(place, file.name)))
            names = [name for name, kind in lazily.collect_schema().items() if kind == pl.String()]
            return lazily.select(names).collect() if names else None
        except FileNotFoundError:
            return None
