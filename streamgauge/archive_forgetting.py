"""The archive's part in forgetting a person, and in looking whether they are forgotten."""

from __future__ import annotations

import fcntl
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from sinks.archive_forget import erase, look, tells_of
from sinks.archive_place import open_place
from stream.archive_pending import SUFFIX
from streamgauge.forgetting import Marks
from streamgauge.forgotten import Scan


@contextmanager
def changing(state: Path) -> Iterator[None]:
    """Be the only one who writes files of the archive anew; waits for whoever is. New ones come all the same."""
    state.mkdir(parents=True, exist_ok=True)
    with (state / "archive.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def forget_in_archive(url: str, state: Path, pseudonym: str) -> str:
    """Delete a person's events. Returns what to say of it."""
    with changing(state):
        events, files = erase(open_place(url), pseudonym)
    return f"archive: {events:,} events deleted, {files:,} files written anew"


def scan_archive(url: str, marks: Marks) -> Scan:
    files, found = look(open_place(url), marks.tells)
    return Scan("archive", f"{files:,} files", found, "events" if found else "")


def scan_pending(directory: Path, marks: Marks) -> Scan:
    """Events on this machine that wait for the archive."""
    read = found = 0
    for path in sorted(directory.glob("*")):
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            continue
        read += 1
        try:
            found += int(tells_of(pl.read_ipc(io.BytesIO(content)), marks.pseudonym.decode()).any())
        except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException):
            # Half written when its process ended, or damaged: nobody knows whose events are in it.
            found += 1
    broken = any(not path.name.endswith(SUFFIX) for path in directory.glob("*"))
    note = f"delete what cannot be read in {directory} by hand" if found and broken else "files" if found else ""
    return Scan("state, archive-pending", f"{read:,} files", found, note)
