"""A segment: one file of a spool, to which records are only ever added.

A file begins with eight bytes, `SGSPOOL` and the version of the format. A record is a head of 40 bytes and a body:

| bytes | what |
|---|---|
| 4 | how every record begins, the version among it |
| 1, 1, 2 | kind, tier, nothing yet |
| 4, 4 | number of lines, size of the body |
| 8, 8 | sequence number, when it was added (epoch ms) |
| 4, 4 | CRC-32 of the body, CRC-32 of the head up to here |
| … | the lines with a newline between them, compressed (Zstandard) |

All numbers are little-endian. The head has a checksum of its own so that a record whose end is missing, which is what a
process leaves that was killed while it wrote, can be told from one whose length is damaged.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from struct import Struct
from zlib import crc32

import zstandard

VERSION = 1
FILE_HEAD = b"SGSPOOL" + bytes([VERSION])
_MAGIC = b"\xb5SG" + bytes([VERSION])
_HEAD = Struct("<4sBBHIIQQI")
_CRC = Struct("<I")
HEAD_BYTES = _HEAD.size + _CRC.size
_LEVEL = 1


class Kind(IntEnum):
    """What the lines of a record are of: windows that are over, or those that may still grow."""

    FINAL = 0
    OPEN = 1


@dataclass(frozen=True, slots=True)
class Record:
    """Lines that were added together."""

    seq: int
    kind: Kind
    tier: int
    """Which of the buckets they are for."""
    at_ms: int
    """When they were added."""
    lines: list[bytes]


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a record is in its segment, and what its head says."""

    seq: int
    offset: int
    size_bytes: int
    """Head and body."""
    lines: int
    at_ms: int


@dataclass(slots=True)
class Scanned:
    """What is in a segment's file."""

    records: list[Placed] = field(default_factory=list)
    """The sound ones, in their order."""
    broken: list[tuple[int, int]] = field(default_factory=list)
    """From where to where there is something that is no sound record."""
    torn_at: int | None = None
    """Where the last record begins, when its end is missing."""


class BrokenRecord(ValueError):
    """Bytes that are not the record they should be."""


def pack(record: Record) -> bytes:
    """A record as it stands in a file."""
    body = zstandard.ZstdCompressor(_LEVEL).compress(b"\n".join(record.lines))
    head = _HEAD.pack(
        _MAGIC, record.kind, record.tier, 0, len(record.lines), len(body), record.seq, record.at_ms, crc32(body)
    )
    return b"".join((head, _CRC.pack(crc32(head)), body))


def unpack(data: bytes) -> Record:
    """The inverse of `pack`. Raises BrokenRecord."""
    head = _head(data, 0)
    if head is None or not _is_whole(data, 0, head):
        raise BrokenRecord("its checksum does not fit")
    _, kind, tier, _, lines, _, seq, at_ms, _ = head
    try:
        body = zstandard.ZstdDecompressor().decompress(data[HEAD_BYTES:])
        return Record(seq, Kind(kind), tier, at_ms, body.split(b"\n") if lines else [])
    except (zstandard.ZstdError, ValueError) as error:
        raise BrokenRecord(str(error)) from error


def scan(data: bytes) -> Scanned:
    """Every sound record of a file, also those behind what is damaged."""
    found = Scanned()
    last_seq = -1
    at = len(FILE_HEAD)
    if data[:at] != FILE_HEAD:
        if FILE_HEAD.startswith(data[:at]):
            found.torn_at = 0
            return found
        at = 0
    while at < len(data):
        head = _head(data, at)
        if head is not None and head[6] > last_seq and _is_whole(data, at, head):
            last_seq, size = head[6], HEAD_BYTES + head[5]
            found.records.append(Placed(last_seq, at, size, head[4], head[7]))
            at += size
            continue
        following = _next_sound(data, at + 1, last_seq)
        if following is not None:
            found.broken.append((at, following))
            at = following
            continue
        is_torn = at > 0 and (at + HEAD_BYTES + head[5] > len(data) if head is not None else _is_begun(data[at:]))
        if is_torn:
            found.torn_at = at
        else:
            found.broken.append((at, len(data)))
        break
    return found


def set_aside(path: Path, data: bytes, records: Sequence[Placed]) -> Path:
    """Keep the file as `….corrupt`, and put one with only its sound records in its place. Returns where it is kept."""
    written = path.with_suffix(".new")
    with written.open("wb") as file:
        file.write(FILE_HEAD)
        for record in records:
            file.write(data[record.offset : record.offset + record.size_bytes])
        file.flush()
        os.fsync(file.fileno())
    kept, number = path.with_suffix(".corrupt"), 1
    while kept.exists():
        kept, number = path.with_suffix(f".{number}.corrupt"), number + 1
    # At no moment is there no file of that name.
    os.link(path, kept)
    written.replace(path)
    return kept


def _head(data: bytes, at: int) -> tuple[bytes, int, int, int, int, int, int, int, int] | None:
    """The head that stands there; None for anything else."""
    end = at + _HEAD.size
    if data[at : at + len(_MAGIC)] != _MAGIC or end + _CRC.size > len(data):
        return None
    if crc32(data[at:end]) != _CRC.unpack_from(data, end)[0]:
        return None
    return _HEAD.unpack_from(data, at)


def _is_whole(data: bytes, at: int, head: tuple[bytes, int, int, int, int, int, int, int, int]) -> bool:
    begin = at + HEAD_BYTES
    end = begin + head[5]
    return end <= len(data) and crc32(data[begin:end]) == head[8]


def _next_sound(data: bytes, at: int, last_seq: int) -> int | None:
    while (at := data.find(_MAGIC, at)) >= 0:
        head = _head(data, at)
        if head is not None and head[6] > last_seq and _is_whole(data, at, head):
            return at
        at += 1
    return None


def _is_begun(tail: bytes) -> bool:
    """Whether it is what there is of a head before its end was written."""
    return len(tail) < HEAD_BYTES and tail[: len(_MAGIC)] == _MAGIC[: len(tail)]
