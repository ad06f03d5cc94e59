"""Lines that wait on disk until a server takes them: in order, bounded, and there after a crash."""

from __future__ import annotations

import errno
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from sinks.errors import Misconfigured, Retryable
from sinks.spool_file import SUFFIX, Segment
from sinks.spool_segment import FILE_HEAD, BrokenRecord, Kind, Placed, Record, pack, scan, set_aside, unpack

_MOST_SEGMENT_BYTES = 4_000_000
_ACK_BYTES = 12
_FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_UNWRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.EISDIR)


@dataclass(frozen=True, slots=True)
class Added:
    """Lines to be added, of one kind and for one of the buckets."""

    kind: Kind
    tier: int
    lines: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Waiting:
    """What is there and not sent."""

    lines: int
    size_bytes: int
    file_bytes: int
    """What the files take, with records in them that are sent and not deleted yet."""
    oldest_ms: int | None
    """When the oldest record was added; None where nothing waits."""


class Spool:
    """Records in a directory of their own, which one process adds to and one thread of it sends from.

    *Guarantee*: records come out in the order they went in. Final ones are on the disk when `add` returns and stay
    until they are `sent`, through the end of the process and of the machine's power; open ones through the end of the
    process. What was sent does not come back. Past `limit_bytes`, or when the disk is full, the oldest *open* records
    are let go of; final ones never are. One write that is larger than the limit is taken when nothing else waits.
    *Failure*: no room for final records → `Retryable`, with none of them added; a directory that cannot be written →
    `Misconfigured`. A file that is damaged is kept aside as `….corrupt`, and the sound records in it are sent all the
    same.
    *Cost*: one write for each kind in `add`, and for final ones a wait for the disk. All of the directory is read when
    it is opened.
    """

    def __init__(
        self,
        directory: Path,
        limit_bytes: int,
        *,
        on_dropped: Callable[[int], None] = lambda _: None,
        on_aside: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`on_dropped` is told of open lines that were let go of, `on_aside` of what was kept aside, in words.

        Lines that are on their way at that moment may arrive all the same.
        """
        self.directory = directory
        self.limit_bytes = limit_bytes
        self._segment_bytes = max(16_384, min(_MOST_SEGMENT_BYTES, limit_bytes // 16))
        self._on_dropped = on_dropped
        self._on_aside = on_aside
        self._lock = threading.Lock()
        self._segments: dict[Kind, deque[Segment]] = {kind: deque() for kind in Kind}
        self._next_seq = 1
        self._sent_seq = 0
        self._ack_slot = 0
        self._ack = -1

    def open(self) -> None:
        """Read what is there. Raises `Misconfigured` where nothing can be kept."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            for unfinished in self.directory.glob("*.new"):
                unfinished.unlink()
            acknowledged = self._open_ack()
            self._load(acknowledged)
        except OSError as error:
            raise self._unusable(error) from error

    def add(self, entries: Sequence[Added], now_ms: int) -> None:
        """Add records, in this order, as far as they have lines. Open ones are let go of where there is no room."""
        with self._lock:
            records: dict[Kind, list[Record]] = {}
            seq = self._next_seq
            for kind in (Kind.OPEN, Kind.FINAL):
                given = [entry for entry in entries if entry.kind is kind and entry.lines]
                records[kind] = [
                    Record(seq + place, kind, entry.tier, now_ms, list(entry.lines))
                    for place, entry in enumerate(given)
                ]
                seq += len(given)
            packed = {kind: [pack(record) for record in of_kind] for kind, of_kind in records.items()}
            needed = _size(packed[Kind.FINAL])
            if needed and not self._make_room(needed):
                raise self._no_room(f"it has reached INFLUX_SPOOL_MB, {self.limit_bytes / 1e6:.0f} MB")
            for kind in (Kind.OPEN, Kind.FINAL):
                if records[kind]:
                    self._add(records[kind], packed[kind], needed if kind is Kind.OPEN else 0)

    def peek(self, most_lines: int) -> list[Record]:
        """The oldest records that are not sent: one where there are any, and as many more as have no more lines."""
        with self._lock:
            packed = list(self._oldest(most_lines))
        found: list[Record] = []
        for segment, placed, data in packed:
            try:
                found.append(unpack(data))
            except BrokenRecord as error:
                with self._lock:
                    self._repair(segment, placed, str(error))
                break  # the next call goes on behind it
        return found or (self.peek(most_lines) if packed else [])

    def sent(self, seq: int) -> None:
        """All records up to this one were taken."""
        with self._lock:
            self._sent_seq = max(self._sent_seq, seq)
            is_noted = self._note_sent()
            done = [
                (segments, segment)
                for segments in self._segments.values()
                for segment in segments
                if segment.forget_to(self._sent_seq)
                and (segment.fd < 0 or segment.size_bytes > self._segment_bytes // 4)
            ]
            if done:
                # Or what was sent before could come back after a loss of power, and replace what came later.
                with suppress(OSError):
                    os.fdatasync(self._ack)
                for segments, segment in done:
                    segments.remove(segment)
                    segment.delete()
            if not is_noted:
                self._note_sent()  # there may be room now

    @property
    def waiting(self) -> Waiting:
        with self._lock:
            segments = [segment for kind in Kind for segment in self._segments[kind]]
            oldest = [segment.at_ms[segment.head] for segment in segments if segment.waits]
            lines = sum(segment.waiting_lines for segment in segments)
            waiting_bytes = sum(segment.waiting_bytes for segment in segments)
            return Waiting(lines, waiting_bytes, self._file_bytes(), min(oldest, default=None))

    def close(self) -> None:
        """Give back the files."""
        with self._lock:
            for segments in self._segments.values():
                for segment in segments:
                    segment.close()
            if self._ack >= 0:
                os.close(self._ack)
                self._ack = -1

    def _note_sent(self) -> bool:
        try:
            os.pwrite(self._ack, _ack(self._sent_seq), self._ack_slot * _ACK_BYTES)
        except OSError:
            return False
        self._ack_slot = 1 - self._ack_slot
        return True

    # Adding.

    def _add(self, records: Sequence[Record], packed: Sequence[bytes], reserved: int) -> None:
        """Add records of one kind, and leave room for so many bytes."""
        kind = records[0].kind
        has_room = self._make_room(_size(packed) + reserved)
        while has_room:
            try:
                self._write(kind, records[0].seq, packed)
                break
            except OSError as error:
                if error.errno in _UNWRITABLE:
                    raise self._unusable(error) from error
                if error.errno not in _FULL_DISK:
                    raise Retryable(f"{self.directory}: cannot be written: {error.strerror}") from error
                has_room = self._drop_oldest_open()
                if not has_room and kind is Kind.FINAL:
                    raise self._no_room(f"its disk is full ({error.strerror})") from error
        if not has_room:
            self._on_dropped(sum(len(record.lines) for record in records))
            return
        self._next_seq = records[-1].seq + 1
        segment = self._segments[kind][-1]
        for record, data in zip(records, packed, strict=True):
            segment.append(Placed(record.seq, segment.size_bytes, len(data), len(record.lines), record.at_ms))

    def _make_room(self, size: int) -> bool:
        """Let go of open records until so many bytes may be added. False when that was not enough."""
        while self._file_bytes() + size > self.limit_bytes:
            if not self._drop_oldest_open():
                # One write alone may be larger than all that may wait, and would never fit otherwise.
                return not any(segment.waits for segment in self._segments[Kind.FINAL])
        return True

    def _no_room(self, why: str) -> Retryable:
        return Retryable(f"the spool {self.directory} has no room: {why}, and all that waits in it is final")

    def _write(self, kind: Kind, seq: int, packed: Sequence[bytes]) -> None:
        """Write records at the end of the last segment, or of a new one: all of them or none."""
        segments = self._segments[kind]
        if segments and (segments[-1].fd < 0 or segments[-1].size_bytes > self._segment_bytes):
            segments[-1].close()
        if not segments or segments[-1].fd < 0:
            segments.append(Segment.create(self.directory, kind, seq))
        segment = segments[-1]
        data, at = b"".join(packed), segment.size_bytes
        try:
            while data:
                written = os.pwrite(segment.fd, data, at)
                data, at = data[written:], at + written
            if kind is Kind.FINAL:
                os.fdatasync(segment.fd)
        except OSError:
            os.ftruncate(segment.fd, segment.size_bytes)
            raise

    def _file_bytes(self) -> int:
        return sum(segment.size_bytes for segments in self._segments.values() for segment in segments)

    def _drop_oldest_open(self) -> bool:
        segments = self._segments[Kind.OPEN]
        if not segments:
            return False
        segment = segments.popleft()
        segment.delete()
        if segment.waiting_lines:
            self._on_dropped(segment.waiting_lines)
        return True

    # Reading.

    def _oldest(self, most_lines: int) -> Iterator[tuple[Segment, Placed, bytes]]:
        unsent = {kind: self._unsent(kind) for kind in Kind}
        heads = {kind: next(unsent[kind], None) for kind in Kind}
        lines = 0
        while True:
            found = [(head[1].seq, kind, *head) for kind, head in heads.items() if head is not None]
            if not found:
                return
            _, of, segment, placed = min(found, key=lambda one: one[0])
            if lines and lines + placed.lines > most_lines:
                return
            lines += placed.lines
            yield segment, placed, segment.read(placed)
            heads[of] = next(unsent[of], None)

    def _unsent(self, kind: Kind) -> Iterator[tuple[Segment, Placed]]:
        for segment in self._segments[kind]:
            for place in range(segment.head, len(segment.seqs)):
                yield segment, segment.placed(place)

    def _repair(self, segment: Segment, placed: Placed, why: str) -> None:
        """What could be read when it was opened, and cannot now."""
        segments = self._segments[segment.kind]
        if segment not in segments:
            return
        place = segments.index(segment)
        segment.close()
        lost = f"{segment.waiting_lines} lines"
        try:
            again = self._read(segment.path, segment.kind, is_last=False, acknowledged=self._sent_seq)
        except OSError as error:  # such as too many open files, or no room to set it aside: it is all still there
            raise Retryable(f"{segment.path} cannot be read or mended: {error.strerror}") from error
        if again is None:
            self._on_aside(f"{segment.path}: {why}; {lost} of it are lost")
            segments.remove(segment)
        elif again.seqs and again.seqs[again.head :].count(placed.seq):
            raise Retryable(f"{segment.path} cannot be read: {why}")
        else:
            segments[place] = again

    # Opening.

    def _open_ack(self) -> int | None:
        """How far was sent. None where that is not known: records are there, and nothing that says it."""
        path = self.directory / "sent"
        found = path.read_bytes() if path.exists() else b""
        self._ack = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        slots = [found[at : at + _ACK_BYTES] for at in (0, _ACK_BYTES)]
        known = [seq for slot in slots if (seq := _acked(slot)) is not None]
        if known:
            newest = max(known)
            # The other slot is written next, whichever that is.
            self._ack_slot = 1 if slots[0] == _ack(newest) else 0
            return newest
        if any(self.directory.glob(f"*{SUFFIX}")):
            self._on_aside(
                f"{path}: it does not say how far was sent; final lines are sent again, and open ones are not"
            )
            return None
        with suppress(OSError):
            os.pwrite(self._ack, _ack(0), 0)
            self._ack_slot = 1
        return 0

    def _load(self, acknowledged: int | None) -> None:
        self._sent_seq = acknowledged or 0
        newest = self._sent_seq
        for kind in Kind:
            paths = sorted(self.directory.glob(f"{kind.name.lower()}-*{SUFFIX}"))
            for path in paths:
                segment = self._read(path, kind, is_last=path == paths[-1], acknowledged=self._sent_seq)
                if segment is None:
                    continue
                newest = max(newest, *segment.seqs) if segment.seqs else newest
                if kind is Kind.OPEN and acknowledged is None and segment.waiting_lines:
                    self._on_dropped(segment.waiting_lines)
                    segment.delete()
                elif not segment.waits:
                    segment.delete()
                else:
                    self._segments[kind].append(segment)
        self._next_seq = newest + 1
        if acknowledged is None:
            with suppress(OSError):
                os.pwrite(self._ack, _ack(0), 0)

    def _read(self, path: Path, kind: Kind, *, is_last: bool, acknowledged: int) -> Segment | None:
        """A segment that is not added to any more, repaired where it has to be. None where there is no such file."""
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        found = scan(data)
        torn = found.torn_at is not None
        if torn and is_last:
            # Whoever wrote it was ended in the middle, and had promised nothing.
            os.truncate(path, found.torn_at or 0)
        if found.broken or (torn and not is_last):
            kept = set_aside(path, data, found.records)
            lost = sum(end - begin for begin, end in found.broken) or len(data) - (found.torn_at or 0)
            self._on_aside(
                f"{path} is damaged: {lost} of {len(data)} bytes are no sound records; it is kept as {kept.name}, "
                f"and its {len(found.records)} sound records are still there"
            )
            found = scan(path.read_bytes())
        segment = Segment(path, kind, size_bytes=path.stat().st_size)
        for placed in found.records:
            segment.append(placed, counts=False)
        segment.forget_to(acknowledged)
        return segment

    def _unusable(self, error: OSError) -> Misconfigured | Retryable:
        if error.errno in _FULL_DISK:
            return Retryable(f"{self.directory}: {error.strerror}")
        return Misconfigured(
            f"{self.directory} cannot be written: {error.strerror}. What waits for InfluxDB is kept there: give the "
            "state directory (STREAMGAUGE_STATE) to the processor's user, on a disk that can be written."
        )


def _size(packed: Sequence[bytes]) -> int:
    """What records take in a file, with the head of one, as there may have to be a new one."""
    return sum(map(len, packed)) + len(FILE_HEAD) if packed else 0


def _acked(slot: bytes) -> int | None:
    """The inverse of `_ack`; None for anything else."""
    if len(slot) != _ACK_BYTES:
        return None
    seq = int.from_bytes(slot[:8], "little")
    return seq if slot == _ack(seq) else None


def _ack(seq: int) -> bytes:
    number = seq.to_bytes(8, "little")
    return number + crc32(number).to_bytes(4, "little")
