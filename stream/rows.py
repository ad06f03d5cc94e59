"""Rows keyed by (window, series), kept as columns that grow together."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from stream.arrays import Ints, Mask
from stream.hashing import enter, places

_SERIES_BITS = 24
"""More series than a cube may have; what is left holds the start of any window, in seconds."""
_SERIES_MASK = (1 << _SERIES_BITS) - 1
MOST_SERIES = _SERIES_MASK
"""Numbers that series may have, one kept for `__other__`."""
_FIRST_CAPACITY = 16
_UNUSED = np.iinfo(np.int64).min
_NO_ROW = -1
BLANK = object()
"""For columns of which every row is set by whoever makes it."""

Array = npt.NDArray[Any]


def pack(start_s: Ints, series: Ints) -> Ints:
    """One sortable number for each pair of a window's start and a series number (n)."""
    return (start_s << _SERIES_BITS) | series


def start_of(key: Ints) -> Ints:
    """Start of the window, seconds since the epoch."""
    return key >> _SERIES_BITS


def series_of(key: Ints) -> Ints:
    return key & _SERIES_MASK


class RowTable:
    """Columns over rows that are found by key and dropped by window.

    The index is a hash table with open addressing in one array, searched for all keys at once. *Cost*: finding a row
    50 ns, 8 bytes a row; nothing is scanned unless a window expired.
    """

    def __init__(self, expected: int = _FIRST_CAPACITY) -> None:
        """`expected`: how many rows there will be, about: there is room for them without moving any."""
        self._slots: npt.NDArray[np.int32] = np.full(4 * _FIRST_CAPACITY, _NO_ROW, dtype=np.int32)
        """Row at each place of the hash table; -1 for none. Never more than half full."""
        self._free: Ints = np.empty(0, dtype=np.int64)
        self._used = 0
        """Rows in use or free: those behind were never used."""
        self._columns: list[tuple[Array, Any]] = []
        self._oldest_s: int | None = None
        self.capacity = max(_FIRST_CAPACITY, expected)
        self.key: Ints = np.full(self.capacity, _UNUSED, dtype=np.int64)
        """Key of each row (capacity)."""

    def __len__(self) -> int:
        return self._used - len(self._free)

    def column(self, dtype: npt.DTypeLike, fill: Any, width: int = 1) -> int:
        """Add a column whose unused rows hold `fill`, each so many of them. Returns its number for `get`.

        `BLANK`: who makes a row sets it. Memory that was never used is then not taken.
        """
        shape = self.capacity if width == 1 else (self.capacity, width)
        array = np.zeros(shape, dtype=dtype) if fill is BLANK else np.full(shape, fill, dtype=dtype)
        self._columns.append((array, fill))
        return len(self._columns) - 1

    def get(self, column: int) -> Array:
        """The column's array (capacity, or capacity x width). Valid until rows are added: ask again afterwards."""
        return self._columns[column][0]

    def used(self) -> Mask:
        used: Mask = self.key != _UNUSED
        return used

    def look_up(self, keys: Ints) -> Ints:
        """The row of each key (n); -1 for those that have none."""
        found = np.full(len(keys), -1, dtype=np.int64)
        left = np.arange(len(keys))
        place = self._place(keys)
        mask = len(self._slots) - 1
        while len(left):
            rows = self._slots[place]
            hit = (rows >= 0) & (self.key[rows] == keys[left])
            found[left[hit]] = rows[hit]
            on = (rows >= 0) & ~hit
            left, place = left[on], (place[on] + 1) & mask
        return found

    def find(self, keys: Ints) -> Ints:
        """The row of each key (n, distinct), adding those that are new."""
        rows = self.look_up(keys)
        new = rows < 0
        if new.any():
            rows[new] = self._add(keys[new])
        return rows

    def drop_before(self, start_s: int) -> None:
        """Drop the rows of all windows that start earlier."""
        if self._oldest_s is None or self._oldest_s >= start_s:
            return
        old = np.flatnonzero(self.used() & (start_of(self.key) < start_s))
        self._free = np.concatenate([self._free, old])
        self.key[old] = _UNUSED
        for array, fill in self._columns:
            if fill is not BLANK:
                array[old] = fill
        left = np.flatnonzero(self.used())
        self._oldest_s = int(start_of(self.key[left]).min()) if len(left) else None
        self._slots[:] = _NO_ROW
        self._enter(left)

    def rekey(self, rows: Ints, keys: Ints) -> None:
        """Have some rows (k) be found by other keys (k, of no row yet), and no longer by their own. *Cost*: that of
        entering all rows anew."""
        self.key[rows] = keys
        self._slots[:] = _NO_ROW
        self._enter(np.flatnonzero(self.used()))

    def _add(self, keys: Ints) -> Ints:
        """Rows for new keys (n, distinct)."""
        reused, self._free = self._free[: len(keys)], self._free[len(keys) :]
        fresh = len(keys) - len(reused)
        if self._used + fresh > self.capacity:
            self._grow(self._used + fresh)
        rows = np.concatenate([reused, np.arange(self._used, self._used + fresh)])
        self._used += fresh
        self.key[rows] = keys
        oldest_s = int(start_of(keys).min())
        self._oldest_s = oldest_s if self._oldest_s is None else min(self._oldest_s, oldest_s)
        if 2 * len(self) > len(self._slots):
            self._slots = np.full(1 << (4 * len(self)).bit_length(), _NO_ROW, dtype=np.int32)
            self._enter(np.flatnonzero(self.used()))
        else:
            self._enter(rows)
        return rows

    def _enter(self, rows: Ints) -> None:
        """Put rows (n) into the hash table."""
        enter(self._slots, rows, self._place(self.key[rows]), _NO_ROW)

    def _place(self, keys: Ints) -> Ints:
        return places(keys.view(np.uint64), len(self._slots))

    def _grow(self, at_least: int) -> None:
        capacity = max(at_least, self.capacity + max(_FIRST_CAPACITY, self.capacity // 2))
        self.key = _grown(self.key, capacity, _UNUSED)
        self._columns = [(_grown(array, capacity, fill), fill) for array, fill in self._columns]
        self.capacity = capacity


def raw(array: Array) -> Array:
    """The same, as one piece of memory for each row where it has records: numpy else copies field by field."""
    return array.view(f"V{array.dtype.itemsize}") if array.dtype.names else array


def _grown(array: Array, capacity: int, fill: Any) -> Array:
    """The array with more rows."""
    # The system gives zeros without touching them, so rows that are not used yet cost nothing.
    grown = np.zeros((capacity, *array.shape[1:]), dtype=array.dtype)
    raw(grown)[: len(array)] = raw(array)
    if fill is not BLANK and (fill is None or fill != 0):
        grown[len(array) :] = fill
    return grown
