"""How many periods later something was, which cells of a retention table that is, and in which of them a person was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from stream.arrays import Ints
from stream.people.base import Array, Column
from stream.people.periods import Periods

_BITS = 64


class Numbering:
    """Periods by number, as `Periods` has them, found by binary search in the array of their beginnings.

    What is searched is all periods between the earliest and the latest that were ever asked for. Where clocks are set
    back over midnight the day that has begun goes on, so that numbers never fall as time goes by.
    """

    def __init__(self, periods: Periods) -> None:
        self._periods = periods
        self._first = 0
        """The number of the first,"""
        self._starts = np.empty(0, dtype=np.int64)
        """and when it and those after it begin; the last is there for its beginning alone."""

    def of(self, time_ms: Ints) -> Ints:
        """Number of the period that each time (n) falls into."""
        if not len(time_ms):
            return time_ms
        lowest, highest = int(time_ms.min()), int(time_ms.max())
        if not len(self._starts) or lowest < self._starts[0] or highest >= self._starts[-1]:
            low, high = self._periods.of(np.array([lowest, highest])).tolist()
            self._reach(low, high)
        # The last of those that begin at once: the day that a zone leaves out has no length.
        return np.searchsorted(self._starts, time_ms, side="right") - 1 + self._first

    def start_ms(self, number: Ints) -> Ints:
        """When each period (n) begins."""
        if len(number):
            self._reach(int(number.min()), int(number.max()))
        return self._starts[number - self._first]

    def _reach(self, low: int, high: int) -> None:
        after = self._first + len(self._starts) - 1
        if low >= self._first and high < after:
            return
        first, end = low - 1, high + 2
        if len(self._starts):
            first, end = min(first, self._first), max(end, after)
        self._first = first
        self._starts = self._periods.start_ms(np.arange(first, end + 1))


class Cells:
    """Offsets from 0 to `periods`, each a cell by itself, or in brackets that begin at the offsets of `begins`."""

    def __init__(self, periods: int, begins: Sequence[int] | None = None) -> None:
        firsts = list(range(periods + 1) if begins is None else begins)
        lasts = [first - 1 for first in firsts[1:]] + [periods]
        self.labels = [
            str(first) if first == last else f"{first}-{last}" for first, last in zip(firsts, lasts, strict=True)
        ]
        """What each cell is called: "0", "1-3"."""
        self._beyond = periods + 1
        self._cell = np.append(np.repeat(np.arange(len(firsts)), np.diff([*firsts, self._beyond])), -1)

    def __len__(self) -> int:
        return len(self.labels)

    def of(self, offset: Ints) -> Ints:
        """The cell of each offset (n) from 0 on; -1 beyond the last."""
        return self._cell[np.minimum(offset, self._beyond)]


class Seen(Protocol):
    """In which cells each person was seen, in one column of state."""

    @property
    def column(self) -> Column: ...

    def add(self, column: Array, owner: Ints, cell: Ints) -> tuple[Ints, Ints]:
        """Note that the units `owner` (n) were seen in cells (n), which rise for each unit; owners rise too.

        Returns those (k) of units and cells that are new.
        """
        ...

    def all_of(self, column: Array, unit: Ints) -> tuple[Ints, Ints]:
        """All units and cells (k) in which any of the units (n) was seen: places in `unit`, and cells."""
        ...


class Each:
    """A person was in the cells in which something of theirs was: a bit for each cell."""

    def __init__(self, cells: int) -> None:
        self._cells = cells
        self._words = -(-cells // _BITS)
        self.column = Column("seen", np.uint64, 0, self._words)

    def add(self, column: Array, owner: Ints, cell: Ints) -> tuple[Ints, Ints]:
        once = _changes(owner * self._cells + cell)
        owner, cell = owner[once], cell[once]
        words = column.reshape(-1)
        place = owner * self._words + cell // _BITS
        bit = np.uint64(1) << (cell % _BITS).astype(np.uint64)
        new = words[place] & bit == 0
        place, bit = place[new], bit[new]
        if len(place):
            begins = np.flatnonzero(_changes(place))
            words[place[begins]] |= np.bitwise_or.reduceat(bit, begins)
        return owner[new], cell[new]

    def all_of(self, column: Array, unit: Ints) -> tuple[Ints, Ints]:
        words = column.reshape(len(column), self._words)[unit].astype("<u8", copy=False)
        bits = np.unpackbits(words.view(np.uint8), axis=1, count=self._cells, bitorder="little")
        place, cell = np.nonzero(bits)
        return place, cell


class UpTo:
    """A person was in every cell up to the last one in which something of theirs was: only that is kept."""

    column = Column("furthest", np.int16, -1)

    def add(self, column: Array, owner: Ints, cell: Ints) -> tuple[Ints, Ints]:
        last = np.flatnonzero(np.append(owner[1:] != owner[:-1], True)) if len(owner) else owner
        unit, furthest = owner[last], cell[last]
        had = column[unit].astype(np.int64)
        further = furthest > had
        unit, furthest, had = unit[further], furthest[further], had[further]
        column[unit] = furthest
        place, cell = _counted(had + 1, furthest)
        return unit[place], cell

    def all_of(self, column: Array, unit: Ints) -> tuple[Ints, Ints]:
        furthest = column[unit].astype(np.int64)
        return _counted(np.zeros_like(furthest), furthest)


def _changes(values: Ints) -> Array:
    changes = np.ones(len(values), dtype=np.bool_)
    np.not_equal(values[1:], values[:-1], out=changes[1:])
    return changes


def _counted(first: Ints, last: Ints) -> tuple[Ints, Ints]:
    """Every whole number from `first` to `last` (n each), and to which of them (k) it belongs."""
    sizes = last - first + 1
    place = np.repeat(np.arange(len(first)), sizes)
    begins = np.cumsum(sizes) - sizes
    return place, np.arange(len(place)) - begins[place] + first[place]
