"""What a measure is: a mergeable partial for each series in each window, and a value worked out of it.

State is columnar where it can be. One row is one series in one window; a measure says which columns it needs and how
each is reduced, and may keep a sketch beside them: one object for each row. Every reduction and every merge is
associative and commutative with a neutral start, so batches, shards, windows and replays may be combined in any order
and any split gives the same result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

import numpy as np

from sinks.records import Value
from stream.arrays import Floats, Ints
from stream.labels import Texts


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


class Takes(Enum):
    """What `value` of a metric is to its measure."""

    NOTHING = "no value"
    NUMBER = "a number"
    NUMBER_OR_NOTHING = "a number, or no value"
    TEXT = "a text or a number"


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a sketch may take from a batch of n events."""

    values: Floats | Texts | None
    time_ms: Ints
    entry_ms: Ints
    """First part of the stream entry's id (n), for ties in time."""
    entry_no: Ints
    """Its second part and the place in the entry, as one number (n)."""
    weight: Ints | None = None
    """How often each counts (n), less than 0 to take it back; None: once each."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a metric may say beside its measure; each measure names those it reads."""

    quantiles: tuple[float, ...] = (0.5, 0.9, 0.99)
    k: int = 10
    exact_up_to: int = 1_000


class Sketch(Protocol):
    """State that is more than a few numbers: plain data (tuples, dicts, arrays) that survives pickling.

    A state is never changed once it is there, so states may be shared. *Guarantee*: bounded memory a state, whatever is
    added. *Cost*: `add`, `merge` and `to_bytes` are called for every series in every window that is touched:
    microseconds. What can be worked out once for a batch is `prepare`'s.
    """

    def empty(self) -> Any:
        """The neutral state."""
        ...

    def prepare(self, inputs: Inputs) -> Any:
        """What `add` needs of a batch, worked out for all its events at once. The same whatever the options."""
        ...

    def add(self, state: Any, prepared: Any, rows: Ints) -> Any:
        """The state with the events at `rows` (k) of a prepared batch."""
        ...

    def merge(self, one: Any, other: Any) -> Any:
        """Both together."""
        ...

    def to_bytes(self, state: Any) -> bytes:
        """For snapshots; equal states need not give equal bytes."""
        ...

    def from_bytes(self, raw: bytes) -> Any:
        """The state that `to_bytes` of a measure with the same options was given."""
        ...


class Measure(Protocol):
    """One kind of aggregate with its options. It has no state of its own: that is in the columns and sketches."""

    @property
    def name(self) -> str: ...

    @property
    def options(self) -> frozenset[str]:
        """Which of `Options` it reads."""
        ...

    @property
    def takes(self) -> Takes:
        """What the catalog's `value` has to give."""
        ...

    @property
    def columns(self) -> tuple[Column, ...]:
        """The accumulators; the first is always COUNT."""
        ...

    @property
    def sketch(self) -> Sketch | None:
        """What is kept beside the columns."""
        ...

    def value(self, columns: list[Floats], sketches: Sequence[Any], seconds: Floats) -> Floats | list[Value]:
        """The measure of each row (n) from its columns (each n), its sketches (n; none for measures without) and how
        long its window has lasted so far (n). Rows with a count of 0 are never asked for. NaN and None: no value.
        """
        ...

    def error(self, columns: list[Floats], sketches: Sequence[Any]) -> Sequence[float | None] | None:
        """How far off each value (n) may be, as a share of the true one; None for a value, or for all, that are exact.

        A measure that states a standard error instead of a bound, or a share of something else, says so.
        """
        ...


class Exact:
    """What measures have in common that read no options and are exact."""

    options: frozenset[str] = frozenset()
    sketch: Sketch | None = None

    def error(self, columns: list[Floats], sketches: Sequence[Any]) -> None:
        return None
