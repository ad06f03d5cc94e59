"""Open addressing over arrays: how a table of hashes is entered by many at a time. The tables keep what they are of."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from stream.arrays import Ints

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def places(keys: npt.NDArray[np.uint64], size: int) -> Ints:
    """Where each key (n) begins to look in a table of `size`, a power of two."""
    shift = np.uint64(64 - (size.bit_length() - 1))
    found: Ints = ((keys * _GOLDEN) >> shift).view(np.int64)
    return found


def enter(table: npt.NDArray[Any], values: npt.NDArray[Any], place: Ints, empty: int) -> None:
    """Put values (n, distinct) into a table that has room, from their places (n) on; `empty` marks what is free."""
    mask = len(table) - 1
    while len(values):
        free = table[place] == empty
        # Of several that want one place the last gets it; the others go on with those that found it taken.
        table[place[free]] = values[free]
        on = table[place] != values
        values, place = values[on], (place[on] + 1) & mask
