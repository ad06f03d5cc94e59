"""What a measure is: named accumulator columns that merge, and a value worked out from them.

State is columnar. One row is one series in one window; a measure says which columns it needs and how each is
reduced. Every reduction is associative and commutative with a neutral start value, so batches, shards, windows
and replays may be combined in any order and any split gives the same result.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import numpy as np

from stream.arrays import Floats, Ints


class Reduce(Enum):
    """How two accumulators of one column become one."""

    ADD = (np.add, 0.0)
    MIN = (np.minimum, np.inf)
    MAX = (np.maximum, -np.inf)

    def __init__(self, ufunc: np.ufunc, neutral: float) -> None:
        self.ufunc = ufunc
        self.neutral = neutral

    def by_group(self, values: Floats, group: Ints, groups: int) -> Floats:
        """Reduce `values` (n) to one per group (groups); `group` (n) says which. Cost: O(n)."""
        if self is Reduce.ADD:
            return np.bincount(group, weights=values, minlength=groups).astype(np.float64, copy=False)
        result = np.full(groups, self.neutral)
        self.ufunc.at(result, group, values)
        return result


@dataclass(frozen=True, slots=True)
class Column:
    """One accumulator of a measure."""

    name: str
    reduce: Reduce
    ones: bool = False
    """Reduces 1 for each event instead of the event's value."""


COUNT = Column("count", Reduce.ADD, ones=True)
"""Every measure's first column: how many events contributed. Exact up to 2^53."""


class Measure(Protocol):
    """One kind of aggregate. Stateless: the state is the columns."""

    @property
    def name(self) -> str: ...

    @property
    def needs_value(self) -> bool:
        """Whether the catalog must say which `value` to aggregate."""
        ...

    @property
    def columns(self) -> tuple[Column, ...]:
        """The accumulators; the first is always COUNT."""
        ...

    def value(self, columns: list[Floats]) -> Floats:
        """The measure of each row (n) from its columns (each n). Rows with a count of 0 are never asked for."""
        ...
