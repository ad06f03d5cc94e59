"""Joining the small files of days that are over: of each day and stream, those that one shard of one state wrote."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby

import polars as pl

from sinks import archive_io
from sinks.archive import ORDER, parquet_of
from sinks.archive_files import ArchiveFile, Span, joined, listed
from sinks.archive_place import Place

logger = logging.getLogger(__name__)

MOST_BYTES = 32 << 20
"""Files are joined up to this size: a million events of ten columns or so."""
_MOST_ROWS = 4_000_000
"""And never to more than so many rows, as they are in memory at once."""
_ABANDONED_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What there is to do."""

    groups: list[list[ArchiveFile]]
    """Files that become one each, in the order of what is in them."""
    leftovers: list[ArchiveFile]
    """Files that were joined into others before, and are only to be deleted."""


def plan(place: Place, last: date) -> Plan:
    """What to join of all days up to `last`."""
    files = listed(place, (date.min, last))
    leftovers = list(joined(files))
    names = {file.name for file in leftovers}
    own = [(file.span, file) for file in files if file.span is not None and file.name not in names]
    own.sort(key=lambda one: (one[1].day, one[1].stream, one[0].state, one[0].shard, one[0].first))
    groups: list[list[ArchiveFile]] = []
    for _, alike in groupby(own, key=lambda one: (one[1].directory, one[0].state, one[0].shard)):
        groups.extend(group for group in _by_size(file for _, file in alike) if len(group) > 1)
    return Plan(groups, leftovers)


def compact(place: Place, done: Plan) -> Iterator[tuple[ArchiveFile, int]]:
    """Do it, one group after the other. Gives the first file of each with how many files it has become.

    *Guarantee*: a crash at any point loses nothing, and whoever goes by `files_of` has each event once at any moment;
    the next run finishes what was begun. *Failure*: raises what `archive_io` raises.
    """
    for file in done.leftovers:
        archive_io.delete(place, file.name)
    for group in done.groups:
        yield group[0], join(place, group)


def join(place: Place, files: Sequence[ArchiveFile]) -> int:
    """Join files in a row of one shard. Returns how many there are now: files in which a field has another type stay
    apart, as nobody but their readers can say what it is to be."""
    made, some, frames = 0, list[ArchiveFile](), list[pl.DataFrame]()
    for file in files:
        frame = pl.read_parquet(io.BytesIO(archive_io.read(place, file.name)))
        rows = len(frame) + sum(map(len, frames))
        if frames and (rows > _MOST_ROWS or not _alike(frames, frame)):
            made += _replace(place, some, frames)
            some, frames = [], []
        some.append(file)
        frames.append(frame)
    return made + _replace(place, some, frames)


def remove_abandoned(place: Place) -> int:
    """Delete what was being written on a disk when its process ended, a day ago or more."""
    removed = 0
    for name, about in archive_io.find(place).items() if place.is_local else ():
        hidden = name.rpartition("/")[2].startswith(".")
        if hidden and name.endswith(archive_io.NEW) and time.time() - about["mtime"] > _ABANDONED_S:
            archive_io.delete(place, name)
            removed += 1
    return removed


def _replace(place: Place, files: Sequence[ArchiveFile], frames: list[pl.DataFrame]) -> int:
    first, last = files[0].span, files[-1].span
    assert first is not None
    assert last is not None
    if len(files) > 1:
        # Its name has those of all that it replaces: from now on they do not count, deleted or not.
        span = Span(first.state, first.shard, first.first, last.last)
        rows = pl.concat(frames, how="diagonal").sort(ORDER)
        archive_io.write(place, f"{files[0].directory}/{span.name}", parquet_of(rows))
        for file in files:
            archive_io.delete(place, file.name)
    return 1


def _alike(frames: Sequence[pl.DataFrame], other: pl.DataFrame) -> bool:
    """Whether all columns that they share have one type."""
    return all(frame.schema.get(name, kind) == kind for frame in frames for name, kind in other.schema.items())


def _by_size(files: Iterator[ArchiveFile]) -> Iterator[list[ArchiveFile]]:
    group: list[ArchiveFile] = []
    for file in files:
        if group and sum(one.size_bytes for one in group) + file.size_bytes > MOST_BYTES:
            yield group
            group = []
        group.append(file)
    if group:
        yield group
