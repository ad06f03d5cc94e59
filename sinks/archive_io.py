"""Files of an archive: whole or not at all, on disk and in buckets, with errors that say what to do."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sinks.archive_place import Place
from sinks.errors import Misconfigured, Retryable, SinkError

NEW = ".new"
"""How the names of files end that are not whole yet; they begin with a dot."""
_FOR_GOOD = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG}
)
_NO_CREDENTIALS = frozenset({"NoCredentialsError", "PartialCredentialsError", "ParamValidationError", "NoRegionError"})


@contextmanager
def explained(place: Place) -> Iterator[None]:
    """Raises `Misconfigured` for what will not go away by itself, `Retryable` for all else that a place may raise."""
    try:
        yield
    except SinkError:
        raise
    except OSError as error:
        lasting = error.errno in _FOR_GOOD if place.is_local else isinstance(error, PermissionError | FileNotFoundError)
        raise _of(place, error, lasting) from error
    except Exception as error:
        if place.is_local:
            raise
        # Drivers raise errors of the libraries below them too.
        raise _of(place, error, type(error).__name__ in _NO_CREDENTIALS) from error


def write(place: Place, name: str, content: bytes) -> None:
    """Write a file, or replace it. It is there as a whole, also after a power cut, or the call does not return."""
    with explained(place):
        if place.is_local:
            write_whole(Path(place.path(name)), content)
        else:
            place.files.pipe_file(place.path(name), content)


def read(place: Place, name: str) -> bytes:
    with explained(place):
        content: bytes = place.files.cat_file(place.path(name))
        return content


def delete(place: Place, name: str) -> None:
    """Delete a file, if it is there."""
    with explained(place):
        try:
            place.files.rm_file(place.path(name))
        except FileNotFoundError:
            return
        if place.is_local:
            sync_directory(Path(place.path(name)).parent)


def rename(place: Place, name: str, to: str) -> None:
    with explained(place):
        if place.is_local:
            os.replace(place.path(name), place.path(to))
            sync_directory(Path(place.path(to)).parent)
        else:
            place.files.mv(place.path(name), place.path(to))


def find(place: Place, below: str = "") -> dict[str, dict[str, Any]]:
    """All files, or those below a directory, by their names below the place; each with its `size` at least."""
    with explained(place):
        root = place.path(below) if below else place.root
        # The driver of disks leaves out what it may not look into, as if nothing were there.
        found = dict(_on_disk(root)) if place.is_local else place.files.find(root, detail=True)
        return {str(path)[len(place.root) + 1 :]: about for path, about in found.items()}


def _on_disk(root: str) -> Iterator[tuple[str, dict[str, Any]]]:
    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):  # not there yet, or deleted meanwhile
            raise error

    for directory, _, names in os.walk(root, onerror=refuse):
        for path in (f"{directory}/{name}" for name in names):
            with suppress(FileNotFoundError):
                found = os.stat(path)
                yield path, {"size": found.st_size, "mtime": found.st_mtime}


def probe(place: Place) -> None:
    """Write a file there and delete it. Raises `Misconfigured` where that can never work, and `Retryable`."""
    name = f".probe-{secrets.token_hex(4)}"
    write(place, name, b"streamgauge")
    delete(place, name)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file of a disk at once, and have it there after a power cut too. Makes directories that are not there."""
    _make(path.parent)
    made = path.parent / f".{path.name}.{os.getpid()}{NEW}"
    try:
        with made.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        made.rename(path)
    except OSError:
        made.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Have the names in a directory there after a power cut too."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make(directory: Path) -> None:
    if not directory.is_dir():
        _make(directory.parent)
        directory.mkdir(exist_ok=True)
        sync_directory(directory.parent)


def _of(place: Place, error: Exception, lasting: bool) -> SinkError:
    text = str(error) or type(error).__name__
    if lasting:
        return Misconfigured(
            f"the archive at {place.url} cannot be used: {text}. ARCHIVE_URL names a directory or bucket that is "
            "there and may be written to"
        )
    return Retryable(f"the archive at {place.url}: {text}")
