"""Events that came before: an at-least-once producer, or a replayed dead letter, counts once."""

from __future__ import annotations

import numpy as np
import polars as pl

from stream.arrays import Mask
from stream.batches import State
from stream.digests import Hashes
from stream.hashing import enter, places

_FIRST_PLACES = 1 << 10
_EMPTY = np.uint64(0)


class HashSet:
    """A set of 64-bit hashes, asked and added to many at a time. *Cost*: 60 ns a hash, 24 to 48 bytes each."""

    def __init__(self) -> None:
        self._places: Hashes = np.zeros(_FIRST_PLACES, dtype=np.uint64)
        """Open addressing; 0 for no hash. Never more than half full."""
        self._kept: Hashes = np.zeros(_FIRST_PLACES, dtype=np.uint64)
        """The hashes in the order in which they came, for snapshots; room for more behind them."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def has(self, hashes: Hashes) -> Mask:
        """Which of the hashes (n) are in the set."""
        found = np.zeros(len(hashes), dtype=np.bool_)
        hashes = _without_zero(hashes)
        left, place = np.arange(len(hashes)), places(hashes, len(self._places))
        mask = len(self._places) - 1
        while len(left):
            there = self._places[place]
            hit = there == hashes[left]
            found[left[hit]] = True
            on = (there != _EMPTY) & ~hit
            left, place = left[on], (place[on] + 1) & mask
        return found

    def add(self, hashes: Hashes) -> None:
        """Add hashes (n, distinct) that are not in the set."""
        hashes, before = _without_zero(hashes), self._count
        self._count += len(hashes)
        if self._count > len(self._kept):
            kept = np.zeros(max(self._count, 2 * len(self._kept)), dtype=np.uint64)
            kept[:before] = self._kept[:before]
            self._kept = kept
        self._kept[before : self._count] = hashes
        if 2 * self._count > len(self._places):
            self._places = np.zeros(1 << (4 * self._count).bit_length(), dtype=np.uint64)
            hashes = self._kept[: self._count]
        enter(self._places, hashes, places(hashes, len(self._places)), 0)

    def to_bytes(self) -> bytes:
        return self._kept[: self._count].tobytes()

    @classmethod
    def from_bytes(cls, raw: bytes) -> HashSet:
        made = cls()
        made.add(np.frombuffer(raw, dtype=np.uint64))
        return made


class Seen:
    """The identities of the last events, in two generations of `window_ms` each.

    *Guarantee*: an event is recognised for at least `window_ms` after it was first read, or among at least the last
    `most / 2` events where there are more in that time: memory is bounded. Two different events are taken for one with
    a chance of `most` in 2^64.
    """

    def __init__(self, window_ms: int, most: int) -> None:
        self._window_ms = window_ms
        self._most = most
        self._old, self._new = HashSet(), HashSet()
        self._old_bytes = b""
        """`_old` does not change: its bytes are made once, not for each snapshot."""
        self._began_ms = 0

    def first(self, hashes: Hashes, read_at_ms: int) -> Mask:
        """Which of the events (n) were not seen before, the first of several in the batch among them. Remembers all."""
        if read_at_ms - self._began_ms >= self._window_ms or 2 * len(self._new) >= self._most:
            self._turn(read_at_ms)
        # Polars' own hash is used within this one call only.
        result: Mask = pl.Series(hashes).is_first_distinct().to_numpy(writable=True)
        result &= ~self._new.has(hashes)
        if len(self._old):
            result &= ~self._old.has(hashes)
        self._new.add(hashes if result.all() else hashes[result])
        return result

    def _turn(self, read_at_ms: int) -> None:
        # After twice the window nothing of before counts any more.
        gone = self._began_ms and read_at_ms - self._began_ms >= 2 * self._window_ms
        self._old, self._new = HashSet() if gone else self._new, HashSet()
        self._old_bytes = self._old.to_bytes()
        self._began_ms = read_at_ms

    def to_state(self) -> State:
        return {"began_ms": self._began_ms, "old": self._old_bytes, "new": self._new.to_bytes()}

    def restore(self, state: State) -> None:
        self._began_ms = state["began_ms"]
        self._old_bytes = state["old"]
        self._old, self._new = HashSet.from_bytes(state["old"]), HashSet.from_bytes(state["new"])


def _without_zero(hashes: Hashes) -> Hashes:
    """0 marks an empty place; the one hash in 2^64 that is 0 shares with 1."""
    return np.where(hashes == _EMPTY, np.uint64(1), hashes)
