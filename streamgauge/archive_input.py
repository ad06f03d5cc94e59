"""The files of an archive, to be read on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

from sinks.archive_layout import day_named, stream_named
from sinks.archive_place import Place, open_place
from sinks.errors import Misconfigured
from stream.archived import ArchiveError, ArchiveFile
from streamgauge.settings import Settings

WORD = "archive"
"""Stands for the place that is set."""


def place_named(text: str, settings: Settings, state: Path) -> Place:
    """The archive that `archive` (the one that is set, else the platform's own), a directory, `archive://PATH` or a
    URL names. Raises `Misconfigured`."""
    return open_place((settings.archive_url or str((state / "archive").resolve())) if text == WORD else text)


def names_in(place: Place, first: date | None = None, last: date | None = None) -> list[str]:
    """The files of events below a place, by day, stream and name; those of the days from `first` to `last`, where that
    is said."""
    found: list[str] = []
    try:
        paths: list[str] = place.files.find(place.root) if place.files.exists(place.root) else []
    except OSError as error:
        raise Misconfigured(f"the archive at {place.url} cannot be listed: {error}") from error
    for path in paths:
        name = str(path)[len(place.root) + 1 :]
        parts = name.split("/")
        if len(parts) != 3 or not name.endswith(".parquet") or any(part.startswith((".", "_")) for part in parts):
            continue
        day = day_named(parts[0])
        if day is None or stream_named(parts[1]) is None:
            continue
        if (first is None or day >= first) and (last is None or day <= last):
            found.append(name)
    return sorted(found)


@contextmanager
def at_hand(place: Place) -> Iterator[Files]:
    """The files of a place on this machine, until the end of the block."""
    if place.is_local:
        yield Files(place, None)
        return
    with TemporaryDirectory(prefix="streamgauge-archive-") as directory:
        yield Files(place, Path(directory))


class Files:
    """Files of a place, each brought here once where it is not here."""

    def __init__(self, place: Place, directory: Path | None) -> None:
        self._place = place
        self._directory = directory

    def of(self, name: str) -> ArchiveFile:
        """A file by its name below the place. Raises ArchiveError."""
        day, stream = name.split("/")[:2]
        found, of_stream = day_named(day), stream_named(stream)
        if found is None or of_stream is None:
            raise ArchiveError(f"{name}: expected a name such as day=2026-11-21/stream=events/1.parquet")
        return ArchiveFile(name, str(self._local(name)), found, of_stream)

    def _local(self, name: str) -> Path:
        if self._directory is None:
            return Path(self._place.path(name))
        local = self._directory / name
        if not local.exists():
            local.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._place.files.get_file(self._place.path(name), str(local))
            except OSError as error:
                raise ArchiveError(f"{name} of {self._place.url} cannot be read: {error}") from error
        return local
