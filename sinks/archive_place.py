"""Where an archive is: a directory, or a bucket behind fsspec."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sinks.errors import Misconfigured

_S3 = {"use_listings_cache": False, "config_kwargs": {"connect_timeout": 5, "read_timeout": 30}}


@dataclass(frozen=True, slots=True)
class Place:
    """A root below which files are."""

    files: Any
    """An `fsspec.AbstractFileSystem`."""
    root: str
    """Path of the root as `files` knows it, without a slash at its end."""
    is_local: bool
    url: str
    """As it was given, for messages."""

    def path(self, name: str) -> str:
        return f"{self.root}/{name}"


def open_place(url: str) -> Place:
    """The place that a directory's path, `file://…`, `archive://…` or `s3://bucket/prefix` names; connects to nothing.

    `archive://PATH` is another word for a directory. Raises `Misconfigured` for a URL that can never work, or one
    whose driver is not installed.
    """
    import fsspec  # a tenth of a second, for those who have no archive

    named = f"file://{url.removeprefix('archive://')}" if url.startswith("archive://") else url
    if named.startswith("archive:") or named in ("", "file://"):
        raise Misconfigured(f"ARCHIVE_URL is {url!r}, expected a directory or s3://bucket/prefix")
    protocol = named.partition("://")[0] if "://" in named else "file"
    if protocol not in ("file", "s3"):
        raise Misconfigured(f"ARCHIVE_URL is {url!r}, expected a directory or s3://bucket/prefix")
    try:
        # What is there is asked for each time, as others write there too.
        files, root = fsspec.url_to_fs(named, **(_S3 if protocol == "s3" else {}))
    except ImportError as error:
        raise Misconfigured(
            f'ARCHIVE_URL {url!r} needs a driver that is not installed ({error}); pip install "streamgauge[s3]"'
        ) from error
    except ValueError as error:
        raise Misconfigured(f"ARCHIVE_URL is {url!r}: {error}") from error
    return Place(files, str(root).rstrip("/"), protocol == "file", url)
