"""Whether a read went on where the one before ended: what the server's counters say, and what to do about it.

The server counts every entry it ever took (`entries-added`), and a position has what that counter was at the last
entry read. Entries that are gone unread are the difference between the two, less what is still there. No socket here.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise
from typing import Any

from stream.position import BEGINNING, Position, order


class OnGap(StrEnum):
    """What to do when entries are gone that were never read."""

    ERROR = "error"
    """End the processor."""
    EARLIEST = "earliest"
    """Go on with the first entry that is there."""
    LATEST = "latest"
    """Skip to the end of the stream."""


class GapError(Exception):
    """Entries are gone that were never read, and the policy is to end. Says which, and how many."""


class Found(StrEnum):
    CONTINUES = "continues"
    BEGINS = "begins"
    """Nothing was read of it before, and some of it is gone already. Nothing that was ever asked for is missing."""
    TRIMMED = "trimmed"
    """Everything up to the next entry is gone, and some of it was never read."""
    DELETED = "deleted"
    """Entries between others were deleted before they were read."""
    RECREATED = "recreated"
    """It is another stream than the one that was read."""
    TAIL_LOST = "tail lost"
    """The server has forgotten entries that were read: a failover, or a crash between two writes to its disk."""


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """What XINFO STREAM says. `added` is None for servers that do not count (before 7.0)."""

    last: str
    """The highest id ever given out."""
    first: str | None
    """The first entry that is there, None when there is none."""
    newest: str | None
    """The last entry that is there: before `last` when that was deleted."""
    length: int
    added: int | None
    max_deleted: str = BEGINNING
    """The highest id that was deleted by itself, not by trimming."""

    @classmethod
    def of(cls, reply: list[Any]) -> StreamInfo:
        """From the server's answer as it comes: name, value, name, value …"""
        found = {bytes(name): value for name, value in zip(reply[::2], reply[1::2], strict=True)}
        first, newest = found[b"first-entry"], found[b"last-entry"]
        return cls(
            last=found[b"last-generated-id"].decode(),
            first=first[0].decode() if first else None,
            newest=newest[0].decode() if newest else None,
            length=found[b"length"],
            added=found.get(b"entries-added"),
            max_deleted=found.get(b"max-deleted-entry-id", b"0-0").decode(),
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found, and where reading goes on with all that is there. Until `settle` no gap is counted in `after`."""

    found: Found
    before: Position
    after: Position
    lost: int | None = 0
    """Entries that are gone and were never read; None when that cannot be known."""
    until: str | None = None
    """The first entry that is there behind what was lost, None when there is none."""

    @property
    def is_gap(self) -> bool:
        return self.found in (Found.TRIMMED, Found.RECREATED)


def judge(
    position: Position, ids: Sequence[bytes], info: StreamInfo | None, is_recent: Callable[[str], bool]
) -> Verdict:
    """What became of a stream, from what the server says of it *after* the entries `ids` were read behind `position`.

    In this order nothing that is trimmed meanwhile can go unnoticed: what is in the stream now was in it then. `info`
    is None when there is no such stream; `is_recent` knows the ids of the last entries read.

    *Guarantee*: `lost` is exact as long as the server counts and `position.read` is known; over all verdicts its sum
    is the number of entries that were added and never read, once the end is reached.
    """
    at = ids[-1].decode() if ids else position.id
    if ids and (info is None or order(info.last) < order(at)):
        # Made anew since the read: the next one will tell.
        return Verdict(Found.CONTINUES, position, position.moved(at, _plus(position.read, len(ids))))
    if info is None:
        if position.id == BEGINNING:
            return Verdict(Found.CONTINUES, position, position.moved(BEGINNING, 0))
        return Verdict(Found.RECREATED, position, replace(position, id=BEGINNING, read=0, trail=()), None)
    if order(info.last) < order(at):
        return _went_back(position, info, is_recent)
    if info.first is not None and order(info.first) <= order(position.id):
        return _attached(position, at, len(ids), info)
    if info.added is None:
        return Verdict(Found.CONTINUES, position, position.moved(at, None))
    # Nothing is left of what had been read before: all that is there is unread, or among `ids`.
    until = ids[0].decode() if ids else info.first
    there = 0 if info.first is None else len(ids) - bisect_left(ids, order(info.first), key=_order)
    read = info.added - info.length + there
    # At the end the counter is that of the highest id, whatever was deleted before it.
    after = position.moved(info.last if read == info.added else at, read)
    if position.read is None:
        if position.id == BEGINNING:
            earlier = read - len(ids)
            return Verdict(Found.BEGINS if earlier else Found.CONTINUES, position, after, earlier, until)
        if order(info.last) == order(position.id):
            return Verdict(Found.CONTINUES, position, after)
        return Verdict(Found.TRIMMED, position, after, None, until)
    lost = read - position.read - len(ids)
    if lost < 0:
        # Fewer were added than were read: not the same stream, though its ids are higher.
        return Verdict(Found.RECREATED, position, replace(after, trail=()), None, until)
    return Verdict(Found.TRIMMED if lost else Found.CONTINUES, position, after, lost, until if lost else None)


def settle(verdict: Verdict, info: StreamInfo | None, policy: OnGap) -> Verdict:
    """The verdict with its gap counted, and with `after` where the policy wants it to be.

    What `latest` skips is lost too. Entries that somebody deleted one by one are counted under any policy, and that is
    all: the reader is past them, and somebody wanted it so.
    """
    if verdict.found is Found.DELETED:
        return replace(verdict, after=verdict.after.losing(verdict.lost))
    if not verdict.is_gap:
        return verdict
    if policy is not OnGap.LATEST or info is None:
        return replace(verdict, after=verdict.after.losing(verdict.lost))
    end = verdict.after.moved(info.last, info.added)
    if verdict.lost is not None and verdict.before.read is not None and info.added is not None:
        lost = info.added - verdict.before.read
        return replace(verdict, after=end.losing(lost), lost=lost, until=None)
    # All that is there is unread: either it is another stream, or it was trimmed past its reader.
    counted = end.losing(None)
    return replace(verdict, after=replace(counted, lost=counted.lost + info.length), until=None)


def describe(verdict: Verdict) -> str:
    """What was found, in words that follow the stream's name."""
    before, after, until = verdict.before, verdict.after, verdict.until
    number = "an unknown number of" if verdict.lost is None else f"{verdict.lost:,}"
    entries = "entry" if verdict.lost == 1 else "entries"
    match verdict.found:
        case Found.CONTINUES:
            return "goes on where it was"
        case Found.BEGINS:
            return f"begins at {until or 'its end'}: {number} {entries} before that had been removed already"
        case Found.TRIMMED:
            return f"lost {number} {entries} after {before.id} and before {until or 'its end'}, which were never read"
        case Found.DELETED:
            return f"lost {number} {entries} up to {after.id}, which were deleted one by one and never read"
        case Found.RECREATED:
            begins = f"begins at {until}" if until is not None else "has nothing yet"
            return f"was made anew and {begins}: lost {number} {entries} after {before.id}, which were never read"
        case Found.TAIL_LOST:
            return f"was set back by its server to before {before.id}, which had been read; reading on after {after.id}"


def _went_back(position: Position, info: StreamInfo, is_recent: Callable[[str], bool]) -> Verdict:
    """The server's last id is before what was read."""
    if is_recent(info.last) or _on_trail(position, info):
        kept = tuple(mark for mark in position.trail if order(mark[0]) <= order(info.last))
        after = replace(position, id=info.last, read=info.added, trail=kept)
        return Verdict(Found.TAIL_LOST, position, after)
    read = None if info.added is None else info.added - info.length
    anew = replace(position, id=BEGINNING, read=read, trail=())
    return Verdict(Found.RECREATED, position, anew, None, info.first)


def _on_trail(position: Position, info: StreamInfo) -> bool:
    """Whether the stream was once exactly so: its last id and its count lie between the same two marks.

    A stream made anew would need the ids of the old one's last seconds and its count at that time.
    """
    if info.added is None or position.read is None:
        return False
    last, added = order(info.last), info.added
    return any(
        (last == order(id_) and added == read) or (order(id_) < last < order(next_id) and read < added < next_read)
        for (id_, read), (next_id, next_read) in pairwise((*position.trail, (position.id, position.read)))
    )


def _attached(position: Position, at: str, count: int, info: StreamInfo) -> Verdict:
    """Something that was read before is still there, so nothing was trimmed unread."""
    read = _plus(position.read, count)
    if info.added is None:
        return Verdict(Found.CONTINUES, position, position.moved(at, None))
    if info.newest is None or order(info.newest) <= order(at):
        # The end, where the server's counter is ours, whatever was deleted between.
        after = position.moved(info.last, info.added)
        if read is None or read == info.added:
            return Verdict(Found.CONTINUES, position, after)
        if read < info.added:
            return Verdict(Found.DELETED, position, after, info.added - read)
        return Verdict(Found.TAIL_LOST, position, replace(after, trail=()))
    if read is None:
        return Verdict(Found.CONTINUES, position, position.moved(at, _derived(at, info)))
    if read >= info.added:
        # More was read than was ever added, and there is more behind: the count is known again at the end.
        return Verdict(Found.TAIL_LOST, position, replace(position.moved(at, None), trail=()))
    return Verdict(Found.CONTINUES, position, position.moved(at, read))


def _derived(at: str, info: StreamInfo) -> int | None:
    """The count at the first entry that is there, as long as none behind it was deleted; None anywhere else."""
    if info.added is None or info.first != at or order(info.max_deleted) >= order(at):
        return None
    return info.added - info.length + 1


def _order(entry_id: bytes) -> tuple[int, int]:
    return order(entry_id.decode())


def _plus(read: int | None, count: int) -> int | None:
    return None if read is None else read + count
