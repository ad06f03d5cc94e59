"""The files of an archive, to be read on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

from sinks.archive_files import files_of
from sinks.archive_layout import day_named, stream_named
from sinks.archive_place import Place, open_place
from stream.archived import ArchiveError, ArchiveFile
from streamgauge.settings import Settings, archive_url

WORD = "archive"
"""Stands for the place that is set."""


def place_named(text: str, settings: Settings, state: Path) -> Place:
    """The archive that `archive` (the one that is set, else the platform's own), a directory, `archive://PATH` or a
    URL names. Raises `Misconfigured`."""
    return open_place(archive_url(settings, state) if text == WORD else text)


def names_in(place: Place, first: date | None = None, last: date | None = None) -> list[str]:
    """The files of events below a place that count, by day, stream and name; those of the days from `first` to `last`,
    where that is said. Raises the errors of `sinks.errors`."""
    return [file.name for file in files_of(place, (first or date.min, last or date.max))]


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
