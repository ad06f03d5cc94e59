"""One file of a spool, and what of it is not sent."""

from __future__ import annotations

import os
from array import array
from dataclasses import dataclass, field
from pathlib import Path

from sinks.spool_segment import FILE_HEAD, Kind, Placed

SUFFIX = ".spool"


@dataclass(slots=True, eq=False)
class Segment:
    """A file, and what of it is not sent. Its records are kept as columns, as there may be half a million."""

    path: Path
    kind: Kind
    fd: int = -1
    """Where it is added to; -1 when it is not any more."""
    size_bytes: int = 0
    head: int = 0
    """Place of the first record that is not sent."""
    seqs: array[int] = field(default_factory=lambda: array("Q"))
    offsets: array[int] = field(default_factory=lambda: array("Q"))
    sizes: array[int] = field(default_factory=lambda: array("L"))
    lines: array[int] = field(default_factory=lambda: array("L"))
    at_ms: array[int] = field(default_factory=lambda: array("Q"))
    waiting_lines: int = 0
    waiting_bytes: int = 0
    _reader: int = -1

    @classmethod
    def create(cls, directory: Path, kind: Kind, seq: int) -> Segment:
        path = directory / f"{kind.name.lower()}-{seq:020d}{SUFFIX}"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            os.pwrite(fd, FILE_HEAD, 0)
            parent = os.open(directory, os.O_RDONLY)
            try:
                os.fsync(parent)
            finally:
                os.close(parent)
        except OSError:
            os.close(fd)
            path.unlink()
            raise
        return cls(path, kind, fd, len(FILE_HEAD))

    @property
    def waits(self) -> bool:
        return self.head < len(self.seqs)

    def append(self, placed: Placed, *, counts: bool = True) -> None:
        """A record was written; `counts`: at its end."""
        for column, value in zip(
            (self.seqs, self.offsets, self.sizes, self.lines, self.at_ms),
            (placed.seq, placed.offset, placed.size_bytes, placed.lines, placed.at_ms),
            strict=True,
        ):
            column.append(value)
        self.waiting_lines += placed.lines
        self.waiting_bytes += placed.size_bytes
        if counts:
            self.size_bytes += placed.size_bytes

    def placed(self, place: int) -> Placed:
        return Placed(self.seqs[place], self.offsets[place], self.sizes[place], self.lines[place], self.at_ms[place])

    def forget_to(self, seq: int) -> bool:
        """All up to `seq` were sent. Returns whether nothing of it waits any more."""
        while self.waits and self.seqs[self.head] <= seq:
            self.waiting_lines -= self.lines[self.head]
            self.waiting_bytes -= self.sizes[self.head]
            self.head += 1
        return not self.waits

    def read(self, placed: Placed) -> bytes:
        """The bytes of a record, fewer where they are not there."""
        try:
            if self._reader < 0:
                self._reader = os.open(self.path, os.O_RDONLY)
            return os.pread(self._reader, placed.size_bytes, placed.offset)
        except OSError:
            return b""

    def close(self) -> None:
        for fd in (self.fd, self._reader):
            if fd >= 0:
                os.close(fd)
        self.fd = self._reader = -1

    def delete(self) -> None:
        self.close()
        self.path.unlink(missing_ok=True)
