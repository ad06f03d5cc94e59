"""The files of an archive, and which of them count.

A file's name says who wrote it, and which of their events are in it: `<state>-<shard>-<first>-<last>.parquet` has, of
its day and stream, what the shard of that state counted from its increment `first` to `last`. So a name that lies
within another's is of a file that was joined into that other one and is only not deleted yet: whoever leaves those out
has each event once, at any moment.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from sinks import archive_io
from sinks.archive_layout import day_named, stream_named
from sinks.archive_place import Place

SUFFIX = ".parquet"
ASIDE = ".aside"
"""What is put behind the names of files that do not count, as their events will be counted again."""
_NAME = re.compile(r"([0-9a-z]+)-(\d+)-(\d+)-(\d+)\.parquet\Z")
_FEW_DAYS = 40


@dataclass(frozen=True, slots=True)
class Span:
    """Who wrote a file, and which of their increments are in it."""

    state: str
    shard: int
    first: int
    last: int

    @property
    def name(self) -> str:
        return f"{self.state}-{self.shard}-{self.first}-{self.last}{SUFFIX}"

    def has(self, other: Span) -> bool:
        """Whether all of another is in this one."""
        alike = (self.state, self.shard) == (other.state, other.shard)
        return alike and self.first <= other.first and other.last <= self.last


@dataclass(frozen=True, slots=True)
class ArchiveFile:
    """One file of events."""

    name: str
    """Below the place."""
    day: date
    stream: str
    size_bytes: int
    span: Span | None
    """None for files that are none of ours."""

    @property
    def directory(self) -> str:
        return self.name.rpartition("/")[0]


def span_of(name: str) -> Span | None:
    """What the name of a file says; None for those that are none of ours."""
    found = _NAME.match(name.rpartition("/")[2])
    return None if found is None else Span(found[1], int(found[2]), int(found[3]), int(found[4]))


def files_of(
    place: Place, days: tuple[date, date] | None = None, streams: Collection[str] | None = None
) -> list[ArchiveFile]:
    """The files that count, each event once, by day, stream and name: of all `days` from the first to the last given,
    and of all `streams`. Paths are `place.path(file.name)`. Raises what `archive_io` raises."""
    found = [file for file in listed(place, days) if streams is None or file.stream in streams]
    left_out = {file.name for file in joined(found)}
    return [file for file in found if file.name not in left_out]


def listed(place: Place, days: tuple[date, date] | None = None, *, suffix: str = SUFFIX) -> list[ArchiveFile]:
    """All files of events, by day, stream and name, also those that do not count."""
    found: list[ArchiveFile] = []
    for below in _below(days):
        for name, about in archive_io.find(place, below).items():
            parts = name.split("/")
            if len(parts) != 3 or not name.endswith(suffix) or parts[2].startswith((".", "_")):
                continue
            day, stream = day_named(parts[0]), stream_named(parts[1])
            if day is None or stream is None or (days is not None and not days[0] <= day <= days[1]):
                continue
            found.append(ArchiveFile(name, day, stream, int(about.get("size") or 0), span_of(name)))
    return sorted(found, key=lambda file: (file.day, file.stream, file.name))


def joined(files: Iterable[ArchiveFile]) -> Iterator[ArchiveFile]:
    """Those of some files whose events are all in another of them too."""
    alike: dict[tuple[str, str, int], list[tuple[Span, ArchiveFile]]] = {}
    for file in files:
        if file.span is not None:
            alike.setdefault((file.directory, file.span.state, file.span.shard), []).append((file.span, file))
    for some in alike.values():
        some.sort(key=lambda one: (one[0].first, -one[0].last))
        last = -1
        for span, file in some:
            if span.last <= last:
                yield file
            last = max(last, span.last)


def _below(days: tuple[date, date] | None) -> list[str]:
    """The directories to look through."""
    if days is None or (days[1] - days[0]).days >= _FEW_DAYS:
        return [""]
    return [f"day={(days[0] + timedelta(number)).isoformat()}" for number in range((days[1] - days[0]).days + 1)]
