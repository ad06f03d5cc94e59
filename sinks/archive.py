"""The archive of events as Parquet: see `sinks.archive_layout` for how it is laid out."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from datetime import date
from functools import cached_property

import polars as pl

from sinks import archive_io
from sinks.archive_files import ASIDE, Span, listed, span_of
from sinks.archive_layout import ENTRY_MS, ENTRY_NO, STREAM, TIME, day_of, directory_of
from sinks.archive_place import Place, open_place
from sinks.errors import Misconfigured

logger = logging.getLogger(__name__)

ORDER = (TIME, ENTRY_MS, ENTRY_NO)
"""Rows of a file are in this order."""
ROW_GROUP = 122_880
"""Rows of a group, of which engines read those that they need."""
_DAY_MS = 86_400_000


class OutOfStep(Misconfigured):
    """The archive has what the state knows nothing of, and which of both is right cannot be told."""


class Archive:
    """Writes events of one state, some increments of one shard at a time.

    *Guarantee*: a file is there as a whole or not at all; the same increments always make the same names, so that
    writing them again changes nothing. *Failure*: `Misconfigured` for what a person must change, `Retryable` for all
    else; nothing is lost, as the caller still has the increments. *Cost*: 1 to 2 µs an event of ten columns.
    """

    def __init__(self, url: str, state: str) -> None:
        """`state`: what tells this state from all others, letters and digits."""
        self._url = url
        self._state = state or "0"

    @cached_property
    def place(self) -> Place:
        """Opened on first use; raises `Misconfigured`."""
        return open_place(self._url)

    def setup(self) -> None:
        """Try the place out. Raises `Misconfigured` and `Retryable`."""
        archive_io.probe(self.place)

    def write(self, shard: int, first: int, last: int, rows: pl.DataFrame, *, again: bool = False) -> int:
        """Write events (with a column `stream`) that the shard counted in some increments. Returns how many files.

        `again`: they may be there already, also joined into others.
        """
        span = Span(self._state, shard, first, last)
        files = 0
        for day, stream, part in parts_of(rows):
            directory = directory_of(day, stream)
            if not (again and self._has(directory, span)):
                archive_io.write(self.place, f"{directory}/{span.name}", parquet_of(part))
                files += 1
        return files

    def settle(self, shard: int, last: int, waiting_from: int, *, is_new: bool) -> None:
        """Leave nothing in the archive that the shard will count again.

        It goes on after its increment `last`; those from `waiting_from` on it still has. `is_new`: it goes on from
        nothing. Raises OutOfStep where that cannot be done.
        """
        found = listed(self.place)
        own = [(file.name, file.span) for file in found if file.span is not None and file.span.state == self._state]
        mine = [(name, span) for name, span in own if span.shard == shard]
        if is_new and mine:
            raise OutOfStep(
                f"{self.place.url} has {len(mine)} files of this very state, such as {mine[0][0]}, but the state knows "
                "nothing of them: its `recovery` is gone. Restore it; or move state.json away too, and name another "
                "place with ARCHIVE_URL, to count and to archive anew"
            )
        others = {file.span.state for file in found if file.span is not None and file.span.state != self._state}
        if is_new and others and not own:
            logger.warning(
                "%s has events that other states have archived (%s). If the streams still have those events, they are "
                "now archived a second time: name another place with ARCHIVE_URL, or move those files away",
                self.place.url,
                ", ".join(sorted(others)),
            )
        beyond = [(name, span) for name, span in mine if span.last > last]
        mixed = [name for name, span in beyond if span.first < waiting_from]
        if mixed:
            raise OutOfStep(
                f"{self.place.url} has files with events that this state counts only now, joined with older ones: "
                f"{', '.join(mixed[:3])}{' …' if len(mixed) > 3 else ''}. The state is older than they are: restore a "
                "newer one, or move those files away"
            )
        for name, _ in beyond:
            archive_io.rename(self.place, name, f"{name}{ASIDE}")
        if beyond:
            logger.warning(
                "the state is older than %d files of %s: their events are counted again, so they were renamed to "
                "…%s%s, and no longer count. Delete them once those events are there",
                len(beyond),
                self.place.url,
                beyond[0][0].rpartition("/")[2],
                ASIDE,
            )

    def _has(self, directory: str, span: Span) -> bool:
        names = [span_of(name) for name in archive_io.find(self.place, directory)]
        return any(one is not None and one != span and one.has(span) for one in names)


def parts_of(rows: pl.DataFrame) -> Iterator[tuple[date, str, pl.DataFrame]]:
    """The rows of each day and stream, in their order."""
    for (stream,), part in rows.partition_by(STREAM, as_dict=True, include_key=False).items():
        ordered = part.sort(ORDER)
        day = ordered[TIME].dt.epoch("ms") // _DAY_MS
        for number, begin, length in zip(*_runs(day), strict=True):
            yield day_of(number * _DAY_MS), str(stream), ordered.slice(begin, length)


def parquet_of(rows: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    rows.write_parquet(buffer, compression="zstd", compression_level=1, statistics=True, row_group_size=ROW_GROUP)
    return buffer.getvalue()


def _runs(values: pl.Series) -> tuple[list[int], list[int], list[int]]:
    """Each value of a sorted column, where it begins, and how often it is there."""
    runs = values.rle().struct.unnest()
    lengths = runs["len"].cast(pl.Int64)
    return runs["value"].to_list(), (lengths.cum_sum() - lengths).to_list(), lengths.to_list()
