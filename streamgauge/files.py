"""Event files as stream entries: NDJSON and CSV, plain or gzipped."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import IO

from stream.entries import Fields

_NDJSON, _CSV = {".json", ".ndjson", ".jsonl", ".log"}, {".csv"}


class FileError(ValueError):
    """A file that cannot be read as events. Names it, what was expected and what was found."""


class EventFile(AbstractContextManager["EventFile"]):
    """One file; iterating gives each event as the fields of a stream entry, broken lines included as they are."""

    def __init__(self, path: Path) -> None:
        suffixes = [suffix.lower() for suffix in path.suffixes]
        self._gzipped = bool(suffixes) and suffixes[-1] == ".gz"
        kind = (suffixes[-2] if len(suffixes) > 1 else "") if self._gzipped else (suffixes or [""])[-1]
        if kind not in _NDJSON | _CSV:
            raise FileError(f"{path}: expected a name that ends in .json, .ndjson, .jsonl or .csv, also with .gz")
        self._is_csv = kind in _CSV
        self.path = path
        self._raw: IO[bytes] | None = None
        self._file: IO[bytes] | None = None
        self.size_bytes = 0

    def __enter__(self) -> EventFile:
        try:
            self._raw = self.path.open("rb")
            self.size_bytes = self.path.stat().st_size
        except OSError as error:
            raise FileError(f"{self.path}: {error.strerror}") from error
        self._file = gzip.GzipFile(fileobj=self._raw) if self._gzipped else self._raw  # type: ignore[assignment]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._raw is not None:
            self._raw.close()

    def __iter__(self) -> Iterator[Fields]:
        if self._file is None:
            raise RuntimeError("enter the file before reading it")
        try:
            yield from self._rows(self._file) if self._is_csv else self._lines(self._file)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise FileError(f"{self.path}: not a whole gzip file: {error}") from error

    @property
    def done_bytes(self) -> int:
        return self._raw.tell() if self._raw is not None else 0

    @staticmethod
    def _lines(file: IO[bytes]) -> Iterator[Fields]:
        for line in file:
            text = line.strip()
            if text:
                yield [b"data", text]

    def _rows(self, file: IO[bytes]) -> Iterator[Fields]:
        # surrogateescape carries bytes that are not UTF-8 through the CSV reader, for the decoder to refuse.
        text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
        try:
            yield from self._csv(text)
        finally:
            # Left to itself it would close the file, which is still asked how far it is.
            text.detach()

    def _csv(self, text: io.TextIOWrapper) -> Iterator[Fields]:
        csv.field_size_limit(1 << 30)
        reader = csv.reader(text)
        header = next(reader, None)
        if not header:
            raise FileError(f"{self.path}: expected a header line with the names of the fields; found none")
        names = [name.encode("utf-8", "surrogateescape") for name in header]
        for row in reader:
            fields: Fields = []
            for name, value in zip(names, row, strict=False):
                fields += (name, value.encode("utf-8", "surrogateescape"))
            if fields:
                yield fields
